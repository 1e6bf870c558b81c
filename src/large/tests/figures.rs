//! What it costs: soft faults and system calls in loops, memory that stays, steps of growth. Times
//! are printed by `cargo test --release large -- --ignored --nocapture`.

use core::sync::atomic::{AtomicBool, AtomicPtr};
use std::sync::Barrier;
use std::time::{Duration, Instant};
use std::vec::Vec;
use std::{println, thread};

use super::*;
use crate::base::SLOT;
use crate::space::{huge, superslab::Slab};

fn cycle(front: &Front, bytes: usize, site: usize) {
    let p = take(Some(front), plain(bytes, site)).unwrap();
    touch(p, bytes);
    free(front, p);
}

#[test]
fn a_loop_that_takes_touches_and_gives_faults_only_at_first() {
    alone(|| {
        for (bytes, most) in [
            (64 << 10, 200),
            (256 << 10, 200),
            (2 << 20, 200),
            (16 << 20, 200),
        ] {
            let front = new_front();
            let start = faults();
            for _ in 0..6 {
                cycle(&front, bytes, bytes);
            }
            let (first, calls) = (faults() - start, os_calls());
            for _ in 0..1000 {
                cycle(&front, bytes, bytes);
            }
            assert_eq!(os_calls(), calls, "{bytes}: system calls");
            assert!(faults() - start - first < 20, "{bytes}: faults go on");
            assert!(first <= most, "{bytes}: {first} faults at first");
            retire(&front);
            // It would leave in the course of the next loop.
            trim();
        }
        check().unwrap();
    });
}

#[test]
fn sparse_sites_never_get_huge_pages() {
    alone(|| {
        let front = new_front();
        // What earlier tests learned of other sites does not matter.
        let bytes = 24 << 20;
        for _ in 0..20 {
            let p = take(Some(&front), plain(bytes, 0x5a5a)).unwrap();
            touch(p, 64 << 10);
            let mut out = [0u8; 1];
            assert!(crate::os::resident(
                NonNull::new((p.as_ptr() as usize + (10 << 20)) as *mut u8).unwrap(),
                &mut out
            ));
            assert_eq!(out[0] & 1, 0);
            free(&front, p);
        }
        retire(&front);
    });
}

#[test]
fn zeros_that_were_written_are_not_taken_for_pages_that_were_not() {
    alone(|| {
        let bytes = 8 << 20;
        // Whether the block that a site takes next is on huge pages; so many bytes of it are set to `value`.
        let is_huge = |site: usize, touched: usize, value: u8| {
            let p = take(None, plain(bytes, site)).unwrap();
            // SAFETY: the block is as long.
            unsafe { p.write_bytes(value, touched) };
            let Block::Mapping(_, record) = block_at(p) else {
                panic!("a run of {bytes} bytes");
            };
            let huge = record.has(records::flag::HUGE);
            free_shared(p);
            trim();
            huge
        };
        // One that clears its blocks: the first look says nothing, and stops bets on others until the second.
        assert!(is_huge(1, bytes, 0));
        assert!(!is_huge(2, bytes, 1));
        assert!(!is_huge(1, bytes, 0));
        assert!(is_huge(1, bytes, 0) && is_huge(1, bytes, 0));
        assert!(is_huge(2, bytes, 1) && is_huge(3, bytes, 1));
        // And one that does not touch them: nobody is trusted any more.
        assert!(is_huge(4, PAGE, 1));
        assert!(!is_huge(4, PAGE, 1) && !is_huge(4, bytes, 1));
        assert!(!is_huge(5, bytes, 1) && is_huge(5, bytes, 1));
        check().unwrap();
    });
}

#[test]
fn who_takes_zeros_and_touches_little_keeps_nothing_that_would_not_serve() {
    alone(|| {
        let (bytes, turns) = (2 << 20, 20);
        let request = Request {
            zero: true,
            ..plain(bytes, 1)
        };
        let mut most = 0;
        for turn in 0..turns {
            let p = take(None, request).unwrap();
            touch(p, PAGE);
            free_shared(p);
            if turn > 0 {
                most = most.max(counts().kept_bytes);
            }
        }
        assert_eq!(most, 0);
        // Who touches all of them has them kept.
        let request = Request { site: 2, ..request };
        for _ in 0..3 {
            let p = take(None, request).unwrap();
            touch(p, bytes);
            free_shared(p);
        }
        assert!(counts().kept_bytes >= bytes);
        trim();
        check().unwrap();
    });
}

#[test]
fn a_buffer_that_outgrew_runs_has_huge_pages_from_the_start_if_its_site_fills_them() {
    alone(|| {
        let front = new_front();
        let bytes = policy::RUN_MAX + PAGE;
        let is_huge = |first: usize, touched: usize, growing: bool, site: usize| {
            let take = |bytes: usize| {
                let request = Request {
                    growing,
                    ..plain(bytes, site)
                };
                take(Some(&front), request).unwrap()
            };
            // What its first block shows, and another while that one, if it was kept, is out.
            let p = take(first);
            touch(p, touched);
            free_shared(p);
            let (p, q) = (take(bytes), take(bytes));
            let Block::Mapping(_, record) = block_at(q) else {
                panic!("a run of {bytes} bytes");
            };
            free_shared(p);
            free_shared(q);
            record.has(records::flag::HUGE)
        };
        let large = 3 << 20;
        assert!(is_huge(large, large, true, 1));
        // One whose buffers are touched here and there, one whose stay small, and one whose do not grow.
        assert!(!is_huge(large, PAGE, true, 2));
        assert!(!is_huge(bytes, bytes, true, 3));
        assert!(!is_huge(large, large, false, 4));
        retire(&front);
        check().unwrap();
    });
}

#[test]
fn a_mix_of_sizes_makes_no_system_calls() {
    alone(|| {
        let front = new_front();
        let mut live = [None; 8];
        let mut seed = 7u64;
        let mut calls_in = |turns: usize| {
            let calls = os_calls();
            for i in 0..turns {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let bytes = (33 << 10) + (seed >> 33) as usize % (479 << 10);
                if let Some(p) = live[i % 8].take() {
                    free(&front, p);
                }
                let p = take(Some(&front), plain(bytes, 3)).unwrap();
                touch(p, bytes);
                live[i % 8] = Some(p);
            }
            os_calls() - calls
        };
        calls_in(10_000);
        // Who is kept from running for long loses what was earned, and begins again: so not all of them at once.
        let calls: Vec<_> = (0..50).map(|_| calls_in(2000)).collect();
        assert!(calls.iter().any(|calls| *calls < 2), "{calls:?}");
        live.into_iter().flatten().for_each(|p| free(&front, p));
        retire(&front);
        check().unwrap();
    });
}

#[test]
fn what_is_freed_stays_only_up_to_the_budget() {
    alone(|| {
        let front = new_front();
        for round in 0..2 {
            let blocks: Vec<_> = (0..800)
                .map(|i| {
                    let bytes = if i % 40 == 0 { 4 << 20 } else { 200 << 10 };
                    let p = take(Some(&front), plain(bytes, 50 + i % 3 + round * 100)).unwrap();
                    touch(p, bytes);
                    p
                })
                .collect();
            blocks.into_iter().for_each(|p| free(&front, p));
            thread::sleep(Duration::from_millis(1100));
        }
        let counts = counts();
        let resident = counts.kept_bytes + counts.warm_run_bytes + counts.front_bytes;
        assert!(
            resident <= (8 << 20) + warm::SLACK + (1 << 20),
            "{counts:?}"
        );
        retire(&front);
        check().unwrap();
    });
}

/// Grows as realloc would: in place if it can, else take, copy, give. The bytes copied, and the steps.
fn grow(front: &Front, limit: usize, site: usize) -> (usize, usize) {
    let (p, copied, steps) = grown(front, limit, site);
    free(front, p);
    (copied, steps)
}

/// As [`grow`], with the block, which stays.
fn grown(front: &Front, limit: usize, site: usize) -> (NonNull<u8>, usize, usize) {
    let (mut bytes, mut copied, mut steps) = (8 << 10, 0, 0);
    let mut p = take(
        Some(front),
        Request {
            growing: true,
            ..plain(bytes, site)
        },
    )
    .unwrap();
    while bytes < limit {
        let next = (bytes + bytes / 2).min(limit);
        steps += 1;
        // SAFETY: live.
        p = match unsafe { resize(Some(front), p, entry(p), next, site) } {
            Resize::InPlace => p,
            Resize::Moved(p) => p,
            Resize::CannotInPlace => {
                let q = take(
                    Some(front),
                    Request {
                        growing: true,
                        ..plain(next, site)
                    },
                )
                .unwrap();
                // SAFETY: both are live, and as long.
                unsafe { q.copy_from_nonoverlapping(p, bytes) };
                copied += bytes;
                free(front, p);
                q
            }
        };
        touch(p, next);
        bytes = next;
    }
    (p, copied, steps)
}

#[test]
fn growth_copies_little_and_then_nothing() {
    alone(|| {
        let front = new_front();
        assert_eq!(grow(&front, 64 << 10, 1).0, 0);
        let copied: Vec<_> = (0..8).map(|_| grow(&front, 64 << 20, 2).0).collect();
        assert!(copied[0] <= 4 << 20, "{copied:?}");
        assert_eq!(copied[7], 0, "{copied:?}");
        // A site whose buffers stay small does not get what a large one left.
        let p = take(
            Some(&front),
            Request {
                growing: true,
                ..plain(10 << 10, 3)
            },
        )
        .unwrap();
        assert!(matches!(entry(p).kind(), Kind::Run));
        free(&front, p);
        retire(&front);
        check().unwrap();
    });
}

#[test]
fn a_small_buffer_does_not_hold_for_long_what_a_large_one_left() {
    alone(|| {
        let front = new_front();
        let room = |p: NonNull<u8>| block_at(p).room();
        // Whatever is freed is kept.
        crate::learn::strategy::USERS_FLOOR.store(1 << 30, Relaxed);
        for front in [&front, &new_front()] {
            for _ in 0..6 {
                grow(front, 64 << 20, 5);
            }
            // It may be taken once for a buffer that was expected to grow as far.
            let mut rooms = Vec::new();
            for _ in 0..4 {
                let (p, ..) = grown(front, 5 << 19, 5);
                rooms.push(room(p));
                free(front, p);
            }
            assert!(rooms[1..].iter().all(|room| *room <= 16 << 20), "{rooms:?}");
            // And buffers that grow far have theirs again.
            let mut faulted = Vec::new();
            for _ in 0..4 {
                let before = faults();
                grow(front, 64 << 20, 5);
                faulted.push(faults() - before);
            }
            assert!(faulted[3] < 1000, "{faulted:?}");
            retire(front);
        }
        check().unwrap();
    });
}

#[test]
#[ignore = "prints times"]
fn times() {
    alone(|| {
        let front = new_front();
        for bytes in [40 << 10, 64 << 10, 256 << 10, 2 << 20, 16 << 20, 64 << 20] {
            let (f, calls, t) = (faults(), os_calls(), Instant::now());
            let turns = 10_000;
            for _ in 0..turns {
                cycle(&front, bytes, bytes + 7);
            }
            let touching = t.elapsed() / turns;
            let (f, calls) = (faults() - f, os_calls() - calls);
            let t = Instant::now();
            for _ in 0..1_000_000 {
                let p = take(Some(&front), plain(bytes, bytes + 7)).unwrap();
                free(&front, p);
            }
            let ns = t.elapsed().as_nanos() as f64 / 1e6;
            println!(
                "{:6} KiB: {touching:?} a turn touched, {ns:.1} ns not, {f} faults, {calls} calls",
                bytes >> 10
            );
        }
        for (lo, hi) in [
            (33 << 10, 512 << 10),
            (33 << 10, 1 << 20),
            (1 << 20, 8 << 20),
        ] {
            let mut live = [None; 8];
            let mut seed = 7u64;
            let (f, calls, t) = (faults(), os_calls(), Instant::now());
            for i in 0..20_000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let bytes = lo + (seed >> 33) as usize % (hi - lo);
                if let Some(p) = live[i % 8].take() {
                    free(&front, p);
                }
                let p = take(Some(&front), plain(bytes, 3)).unwrap();
                touch(p, bytes);
                live[i % 8] = Some(p);
            }
            println!(
                "mix {}-{} KiB: {:?} a turn, {} faults, {} calls",
                lo >> 10,
                hi >> 10,
                t.elapsed() / 20_000,
                faults() - f,
                os_calls() - calls
            );
            live.into_iter().flatten().for_each(|p| free(&front, p));
        }
        for (limit, turns) in [(64 << 10, 100_000), (64 << 20, 1000)] {
            let t = Instant::now();
            let mut last = (0, 0);
            for _ in 0..turns {
                last = grow(&front, limit, 11);
            }
            println!(
                "growth from 8 KiB to {} KiB: {:?}, {} steps, {} bytes copied",
                limit >> 10,
                t.elapsed() / turns,
                last.1,
                last.0
            );
        }
        println!("{:?}\n{:?}", counts(), front.counts());
        retire(&front);
        for threads in [1, 2, 8, 32] {
            let t = Instant::now();
            thread::scope(|s| {
                for id in 0..threads {
                    s.spawn(move || {
                        let front = new_front();
                        let mut live = [None; 16];
                        let mut seed = id as u64;
                        for _ in 0..100_000 / threads {
                            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                            let bytes = (64 << 10) + (seed >> 33) as usize % (960 << 10);
                            let i = (seed >> 20) as usize % 16;
                            if let Some(p) = live[i].take() {
                                free(&front, p);
                            }
                            let p = take(Some(&front), plain(bytes, 3)).unwrap();
                            touch(p, PAGE);
                            live[i] = Some(p);
                        }
                        live.into_iter().flatten().for_each(|p| free(&front, p));
                        retire(&front);
                    });
                }
            });
            println!(
                "{threads} threads replacing 64 KiB - 1 MiB: {:?} each",
                t.elapsed() / 100_000
            );
        }
        println!("{:?}", counts());
    });
}

#[test]
fn a_block_of_64_mib_is_kept_after_others() {
    alone(|| {
        let front = new_front();
        for bytes in [2 << 20, 16 << 20, 64 << 20] {
            for _ in 0..6 {
                cycle(&front, bytes, bytes + 7);
            }
            let calls = os_calls();
            for _ in 0..10 {
                cycle(&front, bytes, bytes + 7);
            }
            assert_eq!(os_calls(), calls, "{bytes}: {:?}", counts());
        }
        retire(&front);
    });
}

/// The strategy that keeps least is in force, and stays so.
fn least_strategy() {
    crate::base::knobs::ELO.set(false);
    crate::learn::strategy::set(0);
}

#[test]
fn what_sites_have_earned_stays_under_any_strategy() {
    alone(|| {
        let front = new_front();
        least_strategy();
        let turn = || {
            for bytes in [24 << 20, 8 << 20] {
                cycle(&front, bytes, bytes + 7);
            }
        };
        // Who is kept from running for as long as a block may wait begins again.
        let stays = (0..20).any(|_| {
            let calls = os_calls();
            for _ in 0..10 {
                turn();
            }
            os_calls() == calls
        });
        assert!(stays, "{:?}", counts());
        // A floor that the user has set bounds it, but for one block.
        crate::learn::strategy::USERS_FLOOR.store(0, Relaxed);
        for _ in 0..6 {
            turn();
        }
        assert!(counts().earned_bytes < 32 << 20, "{:?}", counts());
        retire(&front);
        check().unwrap();
    });
}

/// A front with blocks of 8 MiB and 2 MiB that their sites have earned.
fn front_with_earned_blocks() -> Box<Front> {
    let front = new_front();
    least_strategy();
    earn(&front);
    front
}

/// Has the front keep such blocks.
fn earn(front: &Front) {
    let there = (0..20).any(|_| {
        for _ in 0..6 {
            cycle(front, 8 << 20, 7);
            cycle(front, 2 << 20, 8);
        }
        front.counts().large_blocks == 2 && counts().earned_bytes >= 10 << 20
    });
    assert!(there, "{:?}", counts());
}

#[test]
fn what_is_more_than_a_threads_share_is_for_all() {
    alone(|| {
        // Of eight threads each may keep 4 MiB.
        huge::HEAPS.store(8, Relaxed);
        least_strategy();
        let (front, other) = (new_front(), new_front());
        let held = |by: &Front| (by.counts().large_blocks, counts().kept_blocks);
        // Who is kept from running for as long as a block may wait begins again.
        let shared = (0..20).any(|_| {
            for _ in 0..6 {
                cycle(&front, 8 << 20, 7);
                cycle(&front, 2 << 20, 8);
            }
            let earned = counts().earned_bytes == 10 << 20 && held(&front) == (1, 1);
            // Another thread has it without asking the system.
            let calls = os_calls();
            let p = take(Some(&other), plain(8 << 20, 7)).unwrap();
            let found = os_calls() == calls && counts().kept_blocks == 0;
            free(&other, p);
            earned && found && held(&other) == (0, 1)
        });
        assert!(shared, "{:?}", counts());
        // What came when there were fewer leaves.
        huge::HEAPS.store(1, Relaxed);
        earn(&front);
        huge::HEAPS.store(8, Relaxed);
        assert!(front.age(now().wrapping_add(1)));
        assert!(front.totals().1.all <= 4 << 20, "{:?}", counts());
        retire(&front);
        retire(&other);
        check().unwrap();
    });
}

#[test]
fn who_says_how_much_may_stay_is_not_overruled_by_one_block() {
    alone(|| {
        crate::learn::strategy::USERS_FLOOR.store(0, Relaxed);
        warm::PERCENT.store(0, Relaxed);
        let front = new_front();
        for _ in 0..20 {
            cycle(&front, 24 << 20, 7);
            assert_eq!(counts().kept_bytes + front.totals().1.all, 0);
        }
        retire(&front);
        check().unwrap();
    });
}

fn half_of_patience() {
    let half = u64::from(crate::learn::patience_ms()) / 2;
    thread::sleep(Duration::from_millis(half + 10));
}

#[test]
fn what_was_earned_leaves_a_front_when_its_thread_goes_on_with_others() {
    alone(|| {
        // A delay only makes them wait for longer.
        let front = front_with_earned_blocks();
        let gone = (0..40).any(|i| {
            half_of_patience();
            cycle(&front, 3 << 20, 100 + i);
            counts().earned_bytes == 0
        });
        assert!(gone, "{:?}", counts());
        // With other blocks than large ones, too.
        let front = front_with_earned_blocks();
        let gone = (0..40).any(|_| {
            half_of_patience();
            look_for_idle(&front);
            counts().earned_bytes == 0
        });
        assert!(gone, "{:?}", counts());
        check().unwrap();
    });
}

/// Another thread looks.
fn visit(front: &Front, now: u32) -> usize {
    front.visit(now, earned::generation())
}

/// What others see of a thread is what it did since somebody looked last.
#[test]
fn what_was_earned_is_taken_from_a_thread_that_does_nothing() {
    alone(|| {
        const LONG: u32 = LONGEST_PATIENCE_MS + 1;
        let front = front_with_earned_blocks();
        let earned = counts().earned_bytes;
        let there = || front.counts().large_blocks;
        assert_eq!(visit(&front, 1000), 0);
        assert_eq!(visit(&front, 1000 + LONG - 1), 0);
        // Who took one meanwhile, or gave one back, or has one that is out, waits.
        cycle(&front, 8 << 20, 7);
        assert_eq!(visit(&front, 1000 + LONG), 0);
        let p = take(Some(&front), plain(2 << 20, 8)).unwrap();
        assert_eq!(visit(&front, 1000 + 2 * LONG), 0);
        free(&front, p);
        assert_eq!(visit(&front, 1000 + 3 * LONG), 0);
        let p = take(Some(&front), plain(2 << 20, 8)).unwrap();
        assert_eq!(visit(&front, 1000 + 4 * LONG), 0);
        assert_eq!(visit(&front, 1000 + 5 * LONG - 1), 0);
        assert_eq!((there(), counts().earned_bytes), (1, earned));
        // Who is about to take it may be forked: in the child it counts no more.
        assert!(in_child(|| {
            crate::sync::forked();
            let generation = earned::generation();
            // SAFETY: no other thread exists here.
            unsafe { after_fork(None) };
            front.visit(1000 + 5 * LONG, generation) == 0 && there() == 1
        }));
        // Without credit it does not stay as earned elsewhere.
        shelf::forget_sites();
        assert_eq!(visit(&front, 1000 + 5 * LONG), 8 << 20);
        assert_eq!((there(), counts().earned_bytes), (0, 2 << 20));
        // Who has not seen it yet may be forked.
        assert!(in_child(|| {
            crate::sync::forked();
            // SAFETY: no other thread exists here.
            unsafe { after_fork(Some(&front)) };
            counts().earned_bytes == 2 << 20 && check_accounts(&front).is_ok()
        }));
        check().unwrap();
        check_accounts(&front).unwrap();
        front.check().unwrap();
        // It goes on as if it had never had that, and so does who has the front after it.
        free(&front, p);
        earn(&front);
        check_accounts(&front).unwrap();
        front.check().unwrap();
        retire(&front);
        earn(&front);
        assert_eq!(visit(&front, u32::MAX), 0);
        retire(&front);
        check().unwrap();
    });
}

#[test]
fn a_small_request_does_not_wait_until_all_is_taken() {
    static FRONTS: [AtomicPtr<Front>; 2] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 2];
    // SAFETY: made before they are asked for, and never freed; no other thread exists.
    let fronts = || FRONTS.iter().map(|front| unsafe { &*front.load(Relaxed) });
    alone(|| {
        for front in &FRONTS {
            front.store(Box::leak(front_with_earned_blocks()), Relaxed);
        }
        set_each_front(|visit| {
            for front in &FRONTS {
                // SAFETY: as above.
                visit(unsafe { &*front.load(Relaxed) });
            }
        });
        let later = now() + 10_000;
        assert_eq!(visit_fronts(later, 1), 0);
        let later = later + LONGEST_PATIENCE_MS + 1;
        // One front; the next one goes on at once, and then it is not time.
        let left = || {
            fronts()
                .map(|front| front.counts().large_blocks)
                .sum::<usize>()
        };
        for blocks in [2, 0] {
            assert_eq!((visit_fronts(later, 1), left()), (10 << 20, blocks));
        }
        assert_eq!(visit_fronts(later, 1), 0);
        fronts().for_each(retire);
        check().unwrap();
    });
}

/// A thread that is taken for asleep again and again, and another that does so.
#[test]
fn who_takes_what_others_earned_meets_them_awake() {
    static FRONT: AtomicPtr<Front> = AtomicPtr::new(core::ptr::null_mut());
    alone(|| {
        FRONT.store(Box::leak(front_with_earned_blocks()), Relaxed);
        // SAFETY: never freed; one of the two threads only visits.
        let front = || unsafe { &*FRONT.load(Relaxed) };
        let works = AtomicBool::new(true);
        let taken = thread::scope(|scope| {
            scope.spawn(|| {
                let verified = |bytes: usize, site: usize| {
                    let p = take(Some(front()), plain(bytes, site)).unwrap();
                    let mark = bytes ^ site;
                    // SAFETY: the block's first and last word.
                    unsafe {
                        let (first, last) = (p.cast::<usize>(), p.add(bytes - 8).cast::<usize>());
                        first.write_volatile(mark);
                        last.write_volatile(mark);
                        thread::yield_now();
                        assert_eq!((first.read_volatile(), last.read_volatile()), (mark, mark));
                    }
                    p
                };
                for turn in 0..30_000 {
                    let (p, q) = (verified(8 << 20, 7), verified(2 << 20, 8));
                    free(front(), if turn % 2 == 0 { p } else { q });
                    free(front(), if turn % 2 == 0 { q } else { p });
                }
                works.store(false, Relaxed);
            });
            let (mut now, mut taken) = (1000, 0);
            while works.load(Relaxed) {
                taken += visit(front(), now);
                now = now.wrapping_add(LONGEST_PATIENCE_MS + 1) % (1 << 30);
            }
            taken
        });
        assert!(taken > 0);
        check_accounts(front()).unwrap();
        retire(front());
        check().unwrap();
        trim();
        assert_eq!(counts().earned_bytes, 0);
    });
}

/// Threads take and free large blocks, then sleep but for one.
#[test]
fn what_threads_that_sleep_have_earned_goes_back() {
    const THREADS: usize = 4;
    static FRONTS: [AtomicPtr<Front>; THREADS] =
        [const { AtomicPtr::new(core::ptr::null_mut()) }; THREADS];
    /// The front of thread `i`.
    fn front(i: usize) -> &'static Front {
        // SAFETY: made before the threads are, and never freed; only the thread `i` does more than visit it, and count.
        unsafe { &*FRONTS[i].load(Relaxed) }
    }
    alone(|| {
        for place in &FRONTS {
            place.store(Box::leak(new_front()), Relaxed);
        }
        set_each_front(|visit| (0..THREADS).for_each(|i| visit(front(i))));
        least_strategy();
        let (have_earned, go_on) = (Barrier::new(THREADS), AtomicBool::new(true));
        let work = |i: usize| {
            while front(i).counts().large_bytes < 4 << 20 {
                cycle(front(i), 4 << 20, 7);
            }
            have_earned.wait();
            while go_on.load(Relaxed) {
                // The first one goes on, with other blocks.
                if i == 0 {
                    cycle(front(i), 2 << 20, 8);
                    let keeps = |i| front(i).counts().large_blocks > 0;
                    go_on.store((1..THREADS).any(keeps), Relaxed);
                }
                thread::sleep(Duration::from_millis(10));
            }
            retire(front(i));
        };
        thread::scope(|scope| {
            for i in 0..THREADS {
                let work = &work;
                scope.spawn(move || work(i));
            }
        });
        check().unwrap();
        trim();
        assert_eq!(counts().earned_bytes, 0);
    });
}

#[test]
fn time_in_use_is_not_waiting() {
    alone(|| {
        let front = front_with_earned_blocks();
        let there = |front: &Front| front.counts().large_bytes;
        let bytes = 8 << 20;
        let p = take(Some(&front), plain(bytes, 7)).unwrap();
        // Looked at while it is out, for longer than it may wait. (One look a tick of the clock.)
        thread::sleep(Duration::from_millis(10));
        look_for_idle(&front);
        half_of_patience();
        free(&front, p);
        look_for_idle(&front);
        assert!(there(&front) >= bytes);
        // For so long that the place is given up, it has one at its return.
        let p = take(Some(&front), plain(bytes, 7)).unwrap();
        let charged = counts().earned_bytes;
        let given_up = (0..40).any(|_| {
            half_of_patience();
            look_for_idle(&front);
            counts().earned_bytes + bytes <= charged && there(&front) == 0
        });
        assert!(given_up, "{:?}", counts());
        let calls = os_calls();
        free(&front, p);
        let p = take(Some(&front), plain(bytes, 7)).unwrap();
        assert_eq!(os_calls(), calls);
        free(&front, p);
        retire(&front);
        check().unwrap();
    });
}

#[test]
fn what_leaves_a_front_does_not_exceed_the_budget() {
    alone(|| {
        let front = front_with_earned_blocks();
        // As if the sites' credit had lapsed, and much were in use.
        shelf::forget_sites();
        let live = take(Some(&front), plain(200 << 20, 99)).unwrap();
        // And the budget were spent.
        let full = 1 << 30;
        warm::keep(full);
        let gone = (0..40).any(|_| {
            half_of_patience();
            look_for_idle(&front);
            front.counts().large_blocks == 0
        });
        assert!(gone && counts().kept_bytes == 0, "{:?}", counts());
        warm::keep(-full);
        free(&front, live);
        check().unwrap();
    });
}

#[test]
fn an_earned_block_that_serves_stays_whatever_else_is_freed() {
    alone(|| {
        let front = front_with_earned_blocks();
        let others: Vec<_> = (0..6)
            .map(|i| take(Some(&front), plain(3 << 20, 100 + i)).unwrap())
            .collect();
        let evictions = front.counts().evictions;
        for other in others {
            half_of_patience();
            cycle(&front, 8 << 20, 7);
            free(&front, other);
        }
        // The one that did not serve has left, and nothing else.
        let counts = front.counts();
        assert_eq!((counts.large_blocks, counts.evictions), (1, evictions + 1));
        retire(&front);
        check().unwrap();
    });
}

#[test]
fn buffers_of_any_size_do_not_keep_what_the_largest_left() {
    alone(|| {
        let front = new_front();
        least_strategy();
        let large = 24 << 20;
        // Who is kept from running for as long as a block may wait begins again.
        let found = (0..20).any(|_| {
            for _ in 0..6 {
                free_shared(grown(&front, large, 5).0);
            }
            let earned = counts().earned_bytes >= large;
            // The next one has it, makes little use of it, and does not leave it in its thread's front.
            let (p, ..) = grown(&front, large / 10, 5);
            let found = earned && block_at(p).touched() >= large;
            free(&front, p);
            assert_eq!(front.counts().large_bytes, 0);
            assert!(counts().earned_bytes < large, "{:?}", counts());
            found
        });
        assert!(found, "{:?}", counts());
        // Where most come to less, theirs serve them, and what one leaves that came far does not stay, whatever credit
        // there is.
        let bytes = 4 << 20;
        let serves = (0..20).any(|_| {
            let [hits, ..] = counts().whale;
            for _ in 0..12 {
                free_shared(grown(&front, bytes, 5).0);
            }
            counts().whale[0] >= hits + 8 && (1..large).contains(&counts().earned_bytes)
        });
        assert!(serves, "{:?}", counts());
        free_shared(grown(&front, large, 5).0);
        assert!(counts().earned_bytes < large, "{:?}", counts());
        retire(&front);
        check().unwrap();
    });
}

#[test]
fn what_a_run_gives_up_where_it_is_meets_the_budget() {
    alone(|| {
        let blocks: Vec<_> = (0..60)
            .map(|_| {
                let p = take(None, plain(1 << 20, 7)).unwrap();
                touch(p, 1 << 20);
                p
            })
            .collect();
        for p in &blocks {
            // SAFETY: live.
            let resized = unsafe { resize(None, *p, entry(*p), 100 << 10, 7) };
            assert!(resized == Resize::InPlace);
        }
        let warm = counts().warm_run_bytes;
        assert!(warm <= warm::budget() + warm::SLACK, "{warm}");
        blocks.into_iter().for_each(free_shared);
        check().unwrap();
    });
}

/// Takes so many KiB in slabs, all of whose pages become resident, and gives them back.
fn cycle_slabs(kib: usize) {
    let slabs: Vec<_> = (0..kib / 64).map(|_| pool::take_slab(0).unwrap()).collect();
    for slab in slabs {
        // SAFETY: the slab is ours, and was used as a slab is.
        unsafe {
            touch(Slab::start(slab.as_ptr()), SLOT);
            (*slab.as_ptr()).resident = u16::MAX;
            pool::give_slab(slab.as_ptr(), 0);
        }
    }
}

/// The same in runs, past the front.
fn cycle_runs(kib: usize) {
    let bytes = 64 << 10;
    let runs: Vec<_> = (0..kib / 64)
        .map(|_| take(None, plain(bytes, 7)).unwrap())
        .collect();
    for p in runs {
        touch(p, bytes);
        free_shared(p);
    }
}

/// Both keep free memory in one budget: who uses the one must not pay for what the other left.
#[test]
fn what_has_lain_for_longest_goes_first_be_it_slabs_or_runs() {
    for (left, used) in [
        (cycle_slabs as fn(usize), cycle_runs as fn(usize)),
        (cycle_runs, cycle_slabs),
    ] {
        alone(|| {
            least_strategy();
            // Who misses what went back would be given more after a while.
            crate::base::knobs::PACE.set(false);
            // No SuperSlab is free as a whole, and goes from the one to the other.
            let (slab, run) = (pool::take_slab(0), take(None, plain(64 << 10, 7)));
            assert!(slab.is_some() && run.is_some());
            // Each fits into the budget and what it may be exceeded by, both do not. What is left fits into the budget.
            left(448);
            thread::sleep(Duration::from_millis(20));
            used(1280);
            let calls = os_calls();
            for _ in 0..100 {
                used(1280);
            }
            let calls = os_calls() - calls;
            assert!(calls < 10, "{calls} system calls");
            check().unwrap();
            pool::check().unwrap();
        });
    }
}

#[test]
fn runs_that_were_earned_as_a_whole_are_not_asked_to_meet_the_budget() {
    alone(|| {
        least_strategy();
        // What was earned may lapse before anybody looks.
        let seen = (0..20).any(|_| {
            for _ in 0..3 {
                cycle_runs(4096);
            }
            let mut held = Vec::new();
            while runs::charged() > 0 && held.len() < 100 {
                held.push(take(None, plain(64 << 10, 7)).unwrap());
            }
            let there = runs::warm_bytes() > 0 && runs::EARNED.load(Relaxed) > 0;
            let asked = runs::oldest().is_some();
            held.into_iter().for_each(free_shared);
            there && !asked
        });
        assert!(seen, "{:?}", counts());
        check().unwrap();
    });
}

#[test]
fn runs_whose_superslabs_went_back_are_missed() {
    alone(|| {
        let cycle = || {
            let blocks: Vec<_> = (0..20)
                .map(|_| {
                    let p = take(None, plain(500 << 10, 7)).unwrap();
                    touch(p, 500 << 10);
                    p
                })
                .collect();
            blocks.into_iter().for_each(free_shared);
            runs::EARNED.load(Relaxed)
        };
        // Who is kept from running for longer than patience begins again.
        assert!((0..50).any(|_| {
            trim();
            cycle();
            cycle() >= 4 << 20
        }));
        // And what is wanted no longer is not earned for ever.
        runs::lapse(now() + 100 * crate::learn::monitor::LONGEST_PATIENCE_MS);
        assert_eq!(runs::EARNED.load(Relaxed), 0);
        check().unwrap();
    });
}

#[test]
fn a_front_does_not_charge_for_long_what_is_in_use() {
    alone(|| {
        crate::learn::strategy::USERS_FLOOR.store(4 << 20, Relaxed);
        let front = new_front();
        let request = plain(1 << 20, 7);
        for _ in 0..2 {
            let p = take(Some(&front), request).unwrap();
            touch(p, 1 << 20);
            free(&front, p);
        }
        let p = take(Some(&front), request).unwrap();
        assert!(front.totals().0 >= 1 << 20);
        for later in [0, crate::learn::monitor::LONGEST_PATIENCE_MS + 1] {
            front.age(now() + 1 + later);
        }
        assert_eq!(front.totals().0, 0);
        free(&front, p);
        retire(&front);
        check().unwrap();
    });
}

#[test]
fn a_freed_run_moves_in_where_another_is_out() {
    alone(|| {
        crate::learn::strategy::USERS_FLOOR.store(8 << 20, Relaxed);
        let front = new_front();
        let request = |bytes| plain(bytes, 7);
        let kept = |front: &Front| {
            front.check().unwrap();
            let accounts = check_accounts(front).unwrap() as isize;
            (
                warm::WARM.load(Relaxed) - pool::warm() - accounts,
                front.totals().0,
            )
        };
        let blocks = |front: &Front| front.counts().run_blocks + front.counts().large_blocks;
        // A mapping, and runs none of which fits the request after it: all places.
        let runs = (1..rooms::PLACES).map(|i| (8 + 2 * i) * PAGE);
        let sizes: Vec<_> = core::iter::once(2 << 20).chain(runs).collect();
        // What is taken for the first time is looked at before it is kept.
        cycle(&front, sizes[0], 7);
        for bytes in &sizes {
            cycle(&front, *bytes, 7);
        }
        let mut out: Vec<_> = sizes
            .iter()
            .map(|n| take(Some(&front), request(*n)).unwrap())
            .collect();
        let mut expected: usize = sizes.iter().sum();
        assert_eq!((kept(&front), blocks(&front)), ((0, expected), 0));

        // There is no room for more, but for what takes the place of as much: who is not charged anew is not asked.
        warm::keep(1 << 30);
        // A mapping that nobody had before is for the shelf.
        let p = take(None, request(3 << 19)).unwrap();
        free(&front, p);
        assert_eq!((front.totals().0, blocks(&front)), (expected, 0));
        for (i, (pages, site)) in [(9, 7), (9, 7), (12, 8)].into_iter().enumerate() {
            let p = take(None, plain(pages * PAGE, site)).unwrap();
            free(&front, p);
            expected = expected - sizes[i] + pages * PAGE;
            assert_eq!((kept(&front), blocks(&front)), ((1 << 30, expected), i + 1));
        }
        let p = take(None, request(15 * PAGE)).unwrap();
        free(&front, p);
        assert_eq!(blocks(&front), 3);
        warm::keep(-(1 << 30));
        expected = front.totals().0;
        let p = take(None, request(17 * PAGE)).unwrap();
        free(&front, p);
        assert_eq!(blocks(&front), 4);
        // Not where another one is out, but at the place without a key, which the last one has left.
        assert_eq!(kept(&front), (0, expected + 17 * PAGE));

        // They are found there, and those that are out find places, too.
        for (left, pages, site) in [(3, 12, 8), (2, 9, 7), (1, 9, 7), (0, 17, 7)] {
            let p = take(Some(&front), plain(pages * PAGE, site)).unwrap();
            assert_eq!((kept(&front).0, blocks(&front)), (0, left));
            free_shared(p);
        }
        for (i, p) in out.drain(1..).enumerate() {
            free(&front, p);
            assert_eq!((kept(&front).0, blocks(&front)), (0, i + 1));
        }

        // Fronts may keep less: nothing moves in.
        let p = take(Some(&front), request(10 * PAGE)).unwrap();
        let (before, all) = (blocks(&front), kept(&front).1);
        crate::learn::strategy::USERS_FLOOR.store(0, Relaxed);
        assert!(all > warm::fronts_max());
        let other = take(None, request(9 * PAGE)).unwrap();
        free(&front, other);
        assert_eq!(blocks(&front), before);
        for p in [p, out[0]] {
            free_shared(p);
        }
        retire(&front);
        check().unwrap();
    });
}

/// A front with what the last blocks left of 128 MiB that were in use all at once.
fn front_after_a_burst() -> Box<Front> {
    least_strategy();
    let front = new_front();
    let request = plain(256 << 10, 7);
    let blocks: Vec<_> = (0..512)
        .map(|_| take(Some(&front), request).unwrap())
        .collect();
    for p in blocks {
        free(&front, p);
    }
    assert!(front.counts().run_blocks > 1, "{:?}", front.counts());
    front
}

#[test]
fn what_a_burst_left_in_a_front_makes_room() {
    alone(|| {
        let front = front_after_a_burst();
        let turns = 400;
        let (hits, bytes) = (front.counts().hits, front.totals().0);
        for _ in 0..turns {
            cycle(&front, 40_000, 8);
        }
        let counts = front.counts();
        assert!(counts.hits - hits > turns / 2, "{counts:?}");
        assert!(front.totals().0 < bytes);
        retire(&front);
        check().unwrap();
    });
}

#[test]
fn what_a_burst_left_in_the_front_of_a_thread_that_sleeps_is_not_for_others_to_pay() {
    alone(|| {
        let sleeper = front_after_a_burst();
        assert!(sleeper.totals().0 > warm::budget() + warm::SLACK);
        let (front, turns) = (new_front(), 100);
        for _ in 0..turns {
            cycle(&front, 40_000, 8);
        }
        let counts = front.counts();
        assert!(counts.hits > turns / 2, "{counts:?}");
        // Nor is it what they keep elsewhere.
        cycle_runs(448);
        let calls = os_calls();
        for _ in 0..100 {
            cycle_runs(448);
        }
        assert_eq!(os_calls(), calls);
        retire(&front);
        retire(&sleeper);
        check().unwrap();
    });
}

#[test]
fn a_thread_that_its_front_serves_sees_that_less_may_be_kept() {
    alone(|| {
        crate::base::knobs::ELO.set(false);
        crate::learn::strategy::set(crate::learn::strategy::STRATEGIES - 1);
        cycle_runs(16 << 10);
        let kept = counts().warm_run_bytes;
        assert!(kept >= 16 << 20, "{kept}");
        let front = new_front();
        cycle(&front, 40_000, 8);
        // As learning would do when nobody wants it.
        least_strategy();
        thread::sleep(Duration::from_millis(20));
        for _ in 0..1000 {
            cycle(&front, 40_000, 8);
        }
        assert_eq!(front.counts().misses, 1);
        let kept = counts().warm_run_bytes;
        assert!(kept <= warm::budget(), "{kept}");
        retire(&front);
        check().unwrap();
    });
}

#[test]
fn what_a_burst_left_in_a_front_goes_when_its_thread_goes_on_with_small_blocks() {
    alone(|| {
        let front = front_after_a_burst();
        front.age(now() + 1);
        let most = warm::fronts_max();
        assert!(front.totals().0 <= most, "{:?}", front.counts());
        retire(&front);
        check().unwrap();
    });
}

#[test]
fn small_buffers_together_hold_little_of_what_large_ones_left() {
    alone(|| {
        let front = new_front();
        crate::learn::strategy::USERS_FLOOR.store(4 << 20, Relaxed);
        for (large, small) in [(1 << 20, 12 << 10), (24 << 20, 3 << 19)] {
            let bound = policy::growing_max(0, crate::learn::warm_floor()).max(large);
            let (mut held, mut most) = (Vec::new(), 0);
            for _ in 0..60 {
                grow(&front, large, 5);
                held.push(grown(&front, small, 5).0);
                most = most.max(lent::sum());
            }
            assert!((1..=bound).contains(&most), "{most} of {large}");
            // Beyond what is lent, none has more than room to grow.
            let unused = |p: &NonNull<u8>| block_at(*p).touched() - block_at(*p).used();
            let unused: usize = held.iter().map(unused).sum();
            let room = held.len() * policy::growth_limit(small);
            assert!(unused <= bound + room, "{unused} of {large}");
            for p in held {
                free(&front, p);
            }
            assert_eq!(lent::sum(), 0);
        }
        retire(&front);
        check().unwrap();
    });
}

#[test]
fn what_was_not_worth_keeping_is_not_missed() {
    alone(|| {
        let front = new_front();
        least_strategy();
        // Each time another site. Who is kept from running for too long begins again.
        let tried = (1..20).any(|site| {
            let credit = || shelf::known(policy::key(site, true)).0;
            free_shared(grown(&front, 4 << 20, site).0);
            let (p, ..) = grown(&front, 24 << 20, site);
            // The first one was wanted again.
            let earned = credit() == 1;
            // Six times what they come to: it goes, and the next one that has to be mapped has lost nothing by it.
            free_shared(p);
            let (p, ..) = grown(&front, 4 << 20, site);
            assert!(credit() <= 1);
            free_shared(p);
            earned
        });
        assert!(tried);
        retire(&front);
        check().unwrap();
    });
}

/// Blocks are passed on from one site to the next, as images are from stage to stage; a third site takes smaller ones.
/// The two need one spare between them.
#[test]
fn sites_that_pass_blocks_on_share_what_is_kept() {
    // Two lie in a front at first, which all fit into; none, and they do not; there is no front.
    for (large, small, in_front) in [(6, 4, Some(2)), (12, 8, Some(0)), (12, 8, None)] {
        let (large, small, with_front) = (large << 20, small << 20, in_front.is_some());
        alone(|| {
            least_strategy();
            let front = new_front();
            let pass = |front: &Front, site, bytes, old: Option<NonNull<u8>>| {
                let p = take(with_front.then_some(front), plain(bytes, site)).unwrap();
                touch(p, bytes);
                match old {
                    Some(old) if with_front => free(front, old),
                    Some(old) => free_shared(old),
                    None => {}
                }
                Some(p)
            };
            let mut held = [None; 3];
            let mut turn = |front: &Front| {
                let sites = [(8, large), (16, large), (24, small)];
                for (old, (site, bytes)) in held.iter_mut().zip(sites) {
                    *old = pass(front, site, bytes, *old);
                }
            };
            turn(&front);
            // Each has one that is free.
            let both = (0..20).any(|_| {
                let spare = [8, 16].map(|site| pass(&front, site, large, None));
                for p in spare.into_iter().flatten() {
                    if with_front {
                        free(&front, p);
                    } else {
                        free_shared(p);
                    }
                }
                counts().earned_bytes >= 2 * large
                    && in_front.is_none_or(|n| front.counts().large_blocks >= n)
            });
            assert!(both, "{:?}", counts());
            // What nobody takes leaves in time. Who is kept from running begins again.
            let settled = (0..20).any(|_| {
                for _ in 0..40 {
                    turn(&front);
                    thread::sleep(Duration::from_millis(2));
                }
                let (before, calls) = (faults(), os_calls());
                for _ in 0..20 {
                    turn(&front);
                }
                (faults(), os_calls()) == (before, calls) && counts().earned_bytes < 2 * large
            });
            assert!(settled, "{:?}", counts());
            retire(&front);
            check().unwrap();
        });
    }
}

/// A block of 6 MiB that was earned and is in use, of a site that has no credit.
fn carried_block() -> (NonNull<u8>, &'static records::Record) {
    let (bytes, mut record) = (6 << 20, None);
    let earned = (0..20).any(|_| {
        let p = take(None, plain(bytes, 8)).unwrap();
        touch(p, bytes);
        if let Block::Mapping(_, its) = block_at(p) {
            record = Some(its);
        }
        free_shared(p);
        counts().earned_bytes >= bytes
    });
    assert!(earned, "{:?}", counts());
    let record = record.unwrap();
    // Kept long ago: it counts from when it is taken.
    record.set_stamp(long_ago());
    let p = take(None, plain(bytes, 16)).unwrap();
    shelf::forget_sites();
    (p, record)
}

fn long_ago() -> u32 {
    now().wrapping_sub(crate::learn::monitor::LONGEST_PATIENCE_MS + 100)
}

/// Whether that is kept as earned when it is freed. Who is kept from running for longer than it may wait begins again.
#[test]
fn a_block_that_was_out_for_long_has_to_be_earned_again() {
    alone(|| {
        least_strategy();
        let stays = (0..20).any(|_| {
            let (p, _) = carried_block();
            free_shared(p);
            counts().earned_bytes > 0
        });
        assert!(stays, "{:?}", counts());
        trim();
        let (p, record) = carried_block();
        record.set_stamp(long_ago());
        free_shared(p);
        assert_eq!(counts().earned_bytes, 0);
        check().unwrap();
    });
}

#[test]
fn no_credit_comes_back_with_a_block_for_which_there_was_none() {
    alone(|| {
        least_strategy();
        let key = policy::key(16, false);
        // Nor is it a reason to believe that the site would have touched all of it.
        let nothing = || shelf::known(key) == (0, Density::Unknown);
        let found = (0..20).any(|_| {
            let (p, _) = carried_block();
            let none = nothing();
            free_shared(p);
            let again = take(None, plain(6 << 20, 16)).unwrap();
            let none = none && nothing();
            free_shared(again);
            trim();
            // Otherwise it was missed, and that earned one.
            assert!(again != p || none);
            again == p
        });
        assert!(found, "{:?}", counts());
        check().unwrap();
    });
}

#[test]
fn a_block_of_another_site_is_for_those_that_touch_all_of_theirs() {
    alone(|| {
        let bytes = 8 << 20;
        let front = front_with_earned_blocks();
        use Density::{Dense, Sparse, Unknown};
        for (zero, given, taken, served) in [
            (false, Dense, Unknown, false),
            (false, Dense, Sparse, false),
            (true, Dense, Dense, false),
            (false, Sparse, Dense, false),
            (false, Dense, Dense, true),
        ] {
            for (site, density) in [(7, given), (160, taken)] {
                let key = policy::key(site, false);
                sites::note_density(key, sites::bin(key, bytes), density);
            }
            let hits = front.counts().hits;
            let request = Request {
                zero,
                ..plain(bytes, 160)
            };
            let p = take(Some(&front), request).unwrap();
            assert_eq!(
                front.counts().hits > hits,
                served,
                "{zero} {given:?} {taken:?}"
            );
            free_shared(p);
        }
        retire(&front);
        check().unwrap();
    });
}
