//! Misuse, the ends of the number line, very many blocks, forks, and memory that runs out.

use std::thread;
use std::vec::Vec;

use super::*;
use crate::base::SLOT;

fn at(p: NonNull<u8>, offset: usize) -> NonNull<u8> {
    // SAFETY: stays in the block.
    unsafe { p.add(offset) }
}

#[test]
fn misuse_is_seen() {
    alone(|| {
        let front = new_front();
        for bytes in [100 << 10, 3 << 20] {
            // Twice: the second time, the block is one that the front keeps.
            for _ in 0..3 {
                let p = take(Some(&front), plain(bytes, 1)).unwrap();
                let e = entry(p);
                // SAFETY: these pointers are all wrong, and none is used.
                unsafe {
                    for offset in [8, PAGE, PAGE + 16] {
                        let q = at(p, offset);
                        assert_eq!(give(None, q, entry(p)), Err(Misuse::NotABlock));
                        assert_eq!(usable(q, entry(p)), Err(Misuse::NotABlock));
                    }
                    give(Some(&front), p, e).unwrap();
                    let again = give(Some(&front), p, e);
                    assert!(
                        matches!(again, Err(Misuse::DoubleFree | Misuse::NotABlock)),
                        "{again:?}"
                    );
                    assert!(usable(p, e).is_err());
                    assert_eq!(resize(None, p, e, bytes, 1), Resize::CannotInPlace);
                }
            }
        }
        let p = take(None, plain(100 << 10, 1)).unwrap();
        // SAFETY: the block is ours; then it is not.
        unsafe {
            give(None, p, entry(p)).unwrap();
            assert_eq!(give(None, p, Entry::RUN), Err(Misuse::NotABlock));
            assert_eq!(
                give(None, p, Entry::large(0xff_ffff)),
                Err(Misuse::NotABlock)
            );
            assert_eq!(give(None, p, Entry::FOREIGN), Err(Misuse::NotABlock));
        }
        retire(&front);
        check().unwrap();
    });
}

#[test]
fn the_largest_numbers_are_refused() {
    alone(|| {
        let front = new_front();
        for bytes in [
            isize::MAX as usize,
            isize::MAX as usize - 4095,
            1 << 62,
            1 << 47,
            1 << 46,
            usize::MAX,
        ] {
            for growing in [false, true] {
                for align in [16, 1 << 30, 1 << 46, 1 << 62] {
                    let request = Request {
                        growing,
                        align,
                        ..plain(bytes, 1)
                    };
                    assert_eq!(take(Some(&front), request), None, "{bytes} at {align}");
                }
            }
        }
        let p = take(None, plain(5 << 20, 1)).unwrap();
        let q = take(None, plain(50 << 10, 1)).unwrap();
        for bytes in [isize::MAX as usize, usize::MAX, 1 << 46] {
            // SAFETY: both are live.
            unsafe {
                assert_eq!(resize(None, p, entry(p), bytes, 1), Resize::CannotInPlace);
                assert_eq!(resize(None, q, entry(q), bytes, 1), Resize::CannotInPlace);
            }
        }
        free(&front, p);
        free(&front, q);
        retire(&front);
        check().unwrap();
    });
}

#[test]
fn every_alignment_is_served() {
    alone(|| {
        let front = new_front();
        for shift in 4..34 {
            for bytes in [1, 40 << 10, 1 << 20, 3 << 20] {
                for growing in [false, true] {
                    let align = 1 << shift;
                    let request = Request {
                        align,
                        growing,
                        ..plain(bytes, shift)
                    };
                    let p = take(Some(&front), request).unwrap();
                    assert_eq!(p.as_ptr() as usize % align, 0);
                    touch(p, bytes);
                    free(&front, p);
                }
            }
        }
        retire(&front);
        check().unwrap();
    });
}

#[test]
fn runs_can_be_the_whole_of_a_superslab_and_no_more() {
    alone(|| {
        for pages in (200..=256).chain(1..9) {
            for align in [1, 16, 32, 64, 128, 256usize] {
                let request = Request {
                    align: align * PAGE,
                    ..plain(pages * PAGE, 1)
                };
                let p = take(None, request).unwrap();
                assert_eq!(p.as_ptr() as usize % (align * PAGE), 0);
                free_shared(p);
            }
        }
        check().unwrap();
    });
}

#[test]
fn a_million_mappings_are_few_areas() {
    alone(|| {
        let count = if cfg!(debug_assertions) {
            100_000
        } else {
            1_000_000
        };
        let mut blocks: Vec<NonNull<u8>> = (0..count)
            .map(|_| take(None, plain(2 << 20, 1)).unwrap())
            .collect();
        let maps = std::fs::read("/proc/self/maps").unwrap();
        let lines = maps.iter().filter(|b| **b == b'\n').count();
        assert!(lines < 20_000, "{lines} areas");
        let mut seed = 9u64;
        for i in (1..blocks.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            blocks.swap(i, (seed >> 33) as usize % (i + 1));
        }
        // Some go and come while most are there.
        for p in blocks.iter_mut().take(count / 10) {
            free_shared(*p);
            let zero = Request {
                zero: true,
                ..plain(2 << 20, 1)
            };
            *p = take(None, zero).unwrap();
            // SAFETY: live, and zero.
            unsafe {
                assert_eq!(p.read(), 0);
                p.write(1);
            }
        }
        for p in blocks {
            free_shared(p);
        }
        check().unwrap();
        trim();
        check().unwrap();
        let maps = std::fs::read("/proc/self/maps").unwrap();
        let after = maps.iter().filter(|b| **b == b'\n').count();
        assert!(after < 2000, "{after} areas");
    });
}

#[test]
fn a_range_that_was_taken_is_nobodys_neighbour() {
    alone(|| {
        let request = plain(2 << 20, 1);
        let blocks: Vec<_> = (0..=policy::RANGES_MAX)
            .map(|_| take(None, request).unwrap())
            .collect();
        let bytes = policy::mapped(request.bytes);
        free_shared(blocks[blocks.len() / 2]);
        trim();
        let found = shelf::take(bytes, bytes, SLOT, 2, false);
        let Some(direct::Found::Range(n)) = found else {
            panic!("no range is kept");
        };
        // Before it is live, too: between the two its new owner has tagged it.
        let record = records::get(n).unwrap();
        assert!(record.state() == records::State::Leaving);
        shelf::keep_range(n, record);
        for (i, p) in blocks.iter().enumerate() {
            if i != blocks.len() / 2 {
                free_shared(*p);
            }
        }
        trim();
        check().unwrap();
    });
}

#[test]
fn a_million_runs_are_live_at_once() {
    alone(|| {
        let count = if cfg!(debug_assertions) {
            100_000
        } else {
            1_000_000
        };
        let blocks: Vec<NonNull<u8>> = (0..count)
            .map(|_| take(None, plain(64 << 10, 1)).unwrap())
            .collect();
        check().unwrap();
        for p in blocks {
            free_shared(p);
        }
        check().unwrap();
        trim();
        assert_eq!(counts().warm_run_bytes, 0);
    });
}

/// Bytes of addresses that the process uses.
fn addresses() -> u64 {
    let mut statm = [0u8; 128];
    let text = crate::os::read_file(b"/proc/self/statm\0", &mut statm).unwrap();
    let digits = text.iter().take_while(|b| **b != b' ');
    digits.fold(0, |n, b| n * 10 + (b - b'0') as u64) * PAGE as u64
}

/// The process may use so many from now on.
fn limit_addresses(most: u64) {
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a plain call.
    unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) };
}

#[test]
fn without_addresses_for_huge_pages_small_ones_do() {
    alone(|| {
        let growing = |bytes: usize| Request {
            growing: true,
            ..plain(bytes, 1)
        };
        let bytes = policy::RUN_MAX + PAGE;
        let is_huge = |p: NonNull<u8>| match block_at(p) {
            Block::Mapping(_, record) => record.has(records::flag::HUGE),
            Block::Run(..) => panic!("a run"),
        };
        // A site that fills its buffers, and what it has kept is out.
        let p = take(None, growing(3 << 20)).unwrap();
        touch(p, 3 << 20);
        free_shared(p);
        let held = [(); 2].map(|()| take(None, growing(bytes)).unwrap());
        assert!(is_huge(held[1]));
        limit_addresses(addresses() + (3 << 19));
        let p = take(None, growing(bytes)).unwrap();
        assert!(!is_huge(p));
        assert_eq!(take(None, plain(2 << 20, 2)), None);
        limit_addresses(libc::RLIM_INFINITY);
        for p in held.into_iter().chain([p]) {
            touch(p, bytes);
            free_shared(p);
        }
        check().unwrap();
    });
}

#[test]
fn a_huge_page_is_no_reason_to_refuse() {
    alone(|| {
        // What the first mapping of a process needs beside is there.
        free_shared(take(None, plain(2 << 20, 1)).unwrap());
        trim();
        for bytes in [3 << 20, 6 << 20, 11 << 20] {
            limit_addresses(addresses() + bytes as u64 + (1 << 20));
            let p = take(None, plain(bytes, bytes)).unwrap();
            limit_addresses(libc::RLIM_INFINITY);
            touch(p, bytes);
            free_shared(p);
            check().unwrap();
        }
    });
}

#[test]
fn buffers_that_grow_get_most_of_the_addresses_that_there_are() {
    for bytes in [260 << 10, 3 << 20] {
        alone(|| {
            let most = 128 << 20;
            limit_addresses(addresses() + most);
            crate::os::limits::forget();
            let request = Request {
                growing: true,
                ..plain(bytes, 1)
            };
            let mut blocks = Vec::new();
            while let Some(p) = take(None, request) {
                blocks.push(p);
            }
            let n = blocks.len();
            assert!(n * bytes > most as usize / 10 * 8, "{n} of {bytes}");
            blocks.into_iter().for_each(free_shared);
            check().unwrap();
        });
    }
}

#[test]
fn out_of_memory_is_none_and_loses_nothing() {
    alone(|| {
        let front = new_front();
        assert!(in_child(|| {
            let now = addresses();
            let mut blocks = [None::<NonNull<u8>>; 4096];
            // Another limit each time, so that it is another mmap that fails.
            for extra in 0..64 {
                limit_addresses(now + (8 << 20) + extra * (3 << 16));
                let mut refused = 0;
                for (i, block) in blocks.iter_mut().enumerate() {
                    let bytes = [40 << 10, 300 << 10, 3 << 20, 20 << 20, 70 << 10][i % 5];
                    let request = Request {
                        growing: i % 7 == 0,
                        ..plain(bytes, i % 5)
                    };
                    *block = take(Some(&front), request);
                    if let Some(p) = *block {
                        touch(p, PAGE);
                        // SAFETY: live.
                        match unsafe { resize(None, p, entry(p), bytes * 2, 1) } {
                            Resize::Moved(q) => *block = Some(q),
                            Resize::InPlace | Resize::CannotInPlace => {}
                        }
                    } else {
                        refused += 1;
                    }
                }
                if refused == 0 || check().is_err() {
                    std::eprintln!("{extra} refused {refused} {:?}", check());
                    return false;
                }
                for block in &mut blocks {
                    if let Some(p) = block.take() {
                        free(&front, p);
                    }
                }
                if check().is_err() {
                    return false;
                }
            }
            true
        }));
    });
}

#[test]
fn a_child_of_a_fork_goes_on_whatever_other_threads_did() {
    alone(|| {
        let stop = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|s| {
            for site in 0..3 {
                let stop = &stop;
                s.spawn(move || {
                    let front = new_front();
                    while !stop.load(Relaxed) {
                        for bytes in [100 << 10, 5 << 20, 600 << 10, 20 << 20] {
                            let p = take(None, plain(bytes, site)).unwrap();
                            free(&front, p);
                        }
                    }
                    retire(&front);
                });
            }
            let front = new_front();
            let run = take(None, plain(100 << 10, 9)).unwrap();
            let mapping = take(None, plain(9 << 20, 9)).unwrap();
            let mut good = 0;
            for _ in 0..100 {
                good += in_child(|| {
                    // The first lock would do it, if some test has made a heap in this process: it knows of no front here.
                    crate::sync::forked();
                    // SAFETY: no other thread exists here.
                    let kept = unsafe {
                        crate::space::meta::after_fork();
                        crate::space::pool::after_fork() + after_fork(Some(&front)) as isize
                    };
                    warm::WARM.store(kept, Relaxed);
                    for p in [run, mapping] {
                        touch(p, 100 << 10);
                        free(&front, p);
                    }
                    for i in 0..300 {
                        let p = take(Some(&front), plain((i + 10) << 14, i)).unwrap();
                        touch(p, PAGE);
                        free(&front, p);
                    }
                    // What the threads' fronts and an abandoned cache kept does not count any more.
                    let accounts = check_accounts(&front).and_then(|kept| {
                        let all = crate::space::pool::warm() + kept as isize;
                        if warm::WARM.load(Relaxed) == all {
                            check()
                        } else {
                            Err("what is warm is not what is kept")
                        }
                    });
                    if let Err(e) = accounts {
                        _ = crate::os::write_all(2, e.as_bytes());
                        return false;
                    }
                    true
                }) as usize;
            }
            stop.store(true, Relaxed);
            assert_eq!(good, 100);
            free(&front, run);
            free(&front, mapping);
            retire(&front);
        });
        check().unwrap();
    });
}
