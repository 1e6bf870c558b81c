//! The warm budget: how much free memory may stay resident.
//!
//! Freed memory is the cheapest memory there is to hand out again, so some of it stays: a floor,
//! which the strategy in force sets ([`crate::learn`]), plus a share of what is in use. Whoever keeps
//! free memory adds it to [`WARM`] and gives the oldest back as soon as the sum is over [`budget`];
//! so a process that goes idle is already small, and no thread has to see to it. Only what lies in
//! fronts cannot be given back by others, and what of it is too much does not count ([`counted`]).

use core::sync::atomic::{AtomicIsize, AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::base::knobs;
use crate::learn::{self, Holds, pace};
use crate::os;

/// Resident bytes that are free and kept: empty slabs, free runs, cached large blocks.
pub(crate) static WARM: AtomicIsize = AtomicIsize::new(0);
/// What of that lies in the fronts of threads, which nobody else can reach.
pub(crate) static FRONTS: AtomicUsize = AtomicUsize::new(0);
/// Bytes in use: slabs that some heap holds, runs and large blocks that the program holds.
pub(crate) static LIVE: AtomicIsize = AtomicIsize::new(0);
/// The share of the bytes in use, in per cent (`HAKMEM_WARM_PERCENT`).
pub(crate) static PERCENT: AtomicUsize = AtomicUsize::new(10);

/// Purging starts when the budget is exceeded by this much, and ends when it is met.
pub(crate) const SLACK: usize = 1 << 20;

/// Bytes given back that have not been missed yet.
static OUT: AtomicUsize = AtomicUsize::new(0);
/// See [`earned`].
static EARNED: AtomicUsize = AtomicUsize::new(0);
/// Since when `OUT` is counted, in ms: at most twice as long as what went back can be missed.
static SINCE: AtomicU64 = AtomicU64::new(0);
/// When memory was last missed, in ms.
static MISSED_AT: AtomicU64 = AtomicU64::new(0);
/// When somebody last took memory or gave some, in ms, while anything was earned or one was reluctant to.
static CALLED_AT: AtomicU64 = AtomicU64::new(0);
/// See [`pace::reluctance`].
static RELUCTANCE: AtomicU64 = AtomicU64::new(0);
/// What is earned is at most this, and this many times the floor and a part of what is in use: a process that
/// goes idle after a burst keeps it, and the strategy in force is the one that has to answer for that.
const EARNED_MAX: usize = 16 << 20;
/// See [`EARNED_MAX`].
const EARNED_FLOORS: usize = 2;
/// See [`EARNED_MAX`].
const EARNED_PART: usize = 8;

/// Notes that `bytes` went back to the system.
pub(crate) fn gave_back(bytes: usize) {
    let now = os::now_ms();
    if now.saturating_sub(SINCE.load(Relaxed)) > learn::patience_ms().into() {
        // What went back earlier was not wanted again soon: it was right to give it back.
        SINCE.store(now, Relaxed);
        OUT.store(bytes, Relaxed);
    } else {
        OUT.fetch_add(bytes, Relaxed);
    }
}

/// What went back until now is not missed.
pub(crate) fn forget_given() {
    OUT.store(0, Relaxed);
}

/// Notes that `bytes` had to be had from the system. As far as as much had been given back, that
/// was too early: so much more may stay from now on, until it is no longer missed.
pub(crate) fn regret(bytes: usize) {
    let out = OUT.load(Relaxed);
    if out == 0 {
        return;
    }
    let now = os::now_ms();
    if now.saturating_sub(SINCE.load(Relaxed)) > 2 * u64::from(learn::patience_ms()) {
        OUT.store(0, Relaxed);
        return;
    }
    let missed = bytes.min(out);
    if missed != 0 {
        let less = |out: usize| Some(out.saturating_sub(missed));
        // Never fails: the closure always has an answer.
        let _ = OUT.fetch_update(Relaxed, Relaxed, less);
        learn::missed(missed);
        if knobs::PACE.get() {
            let before = EARNED.load(Relaxed);
            let most = pace::reluctantly(earned_max(), RELUCTANCE.load(Relaxed)).max(before);
            EARNED.store(pace::earn(before, missed, most), Relaxed);
            MISSED_AT.store(now, Relaxed);
            if before == 0 {
                CALLED_AT.fetch_max(now, Relaxed);
            }
        }
    }
}

fn stay_ms() -> u64 {
    pace::stay_ms(learn::patience_ms()).into()
}

/// Notes that somebody takes memory or gives some, while `warm` bytes are free: what is earned of it has waited
/// since the last call.
#[inline(never)]
fn called(now: u64, warm: usize) {
    if CALLED_AT.load(Relaxed) >= now {
        return;
    }
    let idle = now.saturating_sub(CALLED_AT.fetch_max(now, Relaxed));
    // What may be there is not always there.
    let waited = warm > unearned() + EARNED.load(Relaxed) / 2;
    let before = RELUCTANCE.load(Relaxed);
    RELUCTANCE.store(pace::reluctance(before, idle, stay_ms(), waited), Relaxed);
}

/// In the child of a fork, which begins with `warm` free bytes: what its parent waited for is not its own.
pub(crate) fn after_fork(warm: isize) {
    WARM.store(warm, Relaxed);
    RELUCTANCE.store(0, Relaxed);
    CALLED_AT.store(os::now_ms(), Relaxed);
}

/// What may be earned at most, of slabs and of runs each; of slabs less after pauses ([`pace::reluctantly`]).
pub(crate) fn earned_max() -> usize {
    let live = LIVE.load(Relaxed).max(0) as usize;
    of_limit((learn::warm_floor() * EARNED_FLOORS + live / EARNED_PART).min(EARNED_MAX))
}

/// Bytes that may stay resident because as much was missed lately when it did not: a program that
/// frees and takes the same memory again and again pays for it once.
pub(crate) fn earned() -> usize {
    let earned = EARNED.load(Relaxed);
    if earned == 0 {
        return 0;
    }
    let (now, missed) = (os::now_ms(), MISSED_AT.load(Relaxed));
    let half_life = stay_ms();
    if now.saturating_sub(missed) < half_life {
        return earned.min(earned_max());
    }
    let left = pace::lapse(earned, now - missed, half_life);
    EARNED.store(left, Relaxed);
    MISSED_AT.store(now, Relaxed);
    left
}

/// `most`, or less where the process is in a control group that allows it little memory: what may be
/// kept, beyond the budget's floor and share, because it was wanted again before. There are three such
/// kinds: slabs here, runs, and what call sites have earned.
pub(crate) fn of_limit(most: usize) -> usize {
    learn::strategy::of_limit(most)
}

/// What of the budget needs not be earned.
fn unearned() -> usize {
    let live = LIVE.load(Relaxed).max(0) as usize;
    learn::warm_floor() + live / 100 * PERCENT.load(Relaxed)
}

/// Free bytes that may stay resident now.
pub(crate) fn budget() -> usize {
    unearned() + earned()
}

/// What of the budget, without what was earned, falls to one of `heaps`.
pub(crate) fn share(heaps: usize) -> usize {
    unearned() / heaps.max(1)
}

/// Bytes that the fronts of all threads may keep without having earned them. It follows what is in use only a little: a
/// thread may sleep.
pub(crate) fn fronts_max() -> usize {
    let live = LIVE.load(Relaxed).max(0) as usize;
    learn::warm_floor() / 2 + live / 64
}

/// The warm bytes that count in the budget: not those that fronts keep beyond what they may. That is what is left of a
/// time when more was in use, in threads that sleep since, and those that do not would pay for it.
pub(crate) fn counted() -> usize {
    let warm = WARM.load(Relaxed).max(0) as usize;
    match FRONTS.load(Relaxed) {
        0 => warm,
        fronts => warm.saturating_sub(fronts.saturating_sub(fronts_max())),
    }
}

/// Bytes by which that exceeds the budget.
pub(crate) fn excess() -> usize {
    counted().saturating_sub(budget())
}

/// Whether that is more than [`SLACK`].
pub(crate) fn must_purge() -> bool {
    // With little kept there is nothing to compute.
    WARM.load(Relaxed) > SLACK as isize && excess() > SLACK
}

/// Whether `bytes` more may stay without anything being given back for them.
pub(crate) fn has_room(bytes: usize) -> bool {
    counted() + bytes <= budget() + SLACK
}

/// Notes that `bytes` of free resident memory are kept (or, negative, no longer).
pub(crate) fn keep(bytes: isize) {
    WARM.fetch_add(bytes, Relaxed);
}

/// Notes for the learning layer that `bytes` were taken from here or given back.
#[inline]
pub(crate) fn tick(bytes: usize) {
    learn::tick(bytes, holds());
}

/// Has the learning layer look at what is kept, for a thread that makes no such calls.
pub(crate) fn look() {
    learn::look_anyway(holds());
}

/// What there is, now that somebody takes memory or gives some.
fn holds() -> Holds {
    // Fronts first, for they are charged there first.
    let fronts = FRONTS.load(Relaxed);
    let (all, warm) = (WARM.load(Relaxed).max(0) as usize, counted());
    if EARNED.load(Relaxed) != 0 || RELUCTANCE.load(Relaxed) != 0 {
        called(os::now_ms(), warm);
    }
    Holds {
        warm,
        left_alone: all.saturating_sub(fronts),
        may_stay: learn::warm_floor().saturating_sub(fronts.min(fronts_max())),
        resident: all + LIVE.load(Relaxed).max(0) as usize,
    }
}

/// Notes that `bytes` came into use (or, negative, are free again).
pub(crate) fn used(bytes: isize) {
    LIVE.fetch_add(bytes, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::process::in_child;
    extern crate std;

    /// Two calls `pause` ms apart, with `warm` bytes free beside what needs not be earned; the steps of
    /// reluctance after that.
    fn pause(pause: u64, warm: usize) -> u32 {
        EARNED.store(4 << 20, Relaxed);
        let warm = unearned() + warm;
        let now = os::now_ms() + 10_000;
        called(now, warm);
        RELUCTANCE.store(0, Relaxed);
        called(now + pause, warm);
        let left = pace::reluctantly(1 << 20, RELUCTANCE.load(Relaxed));
        (1usize << 20).ilog2() - left.ilog2()
    }

    #[test]
    fn what_was_earned_and_there_makes_reluctant_if_nobody_calls() {
        assert!(in_child(|| pause(2 * stay_ms(), 4 << 20) == 1));
        assert!(in_child(|| pause(9 * stay_ms(), 4 << 20) == 3));
        assert!(in_child(|| pause(stay_ms(), 4 << 20) == 0));
        // All of it was in use: who computes for long does not pause.
        assert!(in_child(|| pause(9 * stay_ms(), 1 << 20) == 0));
        // A child has not waited; its memory is what it is told.
        assert!(in_child(|| {
            let reluctant = pause(9 * stay_ms(), 4 << 20) == 3;
            after_fork(12);
            reluctant && RELUCTANCE.load(Relaxed) == 0 && WARM.load(Relaxed) == 12
        }));
    }

    /// By way of [`tick`], and in real time: a delay only makes the pause longer.
    #[test]
    fn who_takes_memory_after_a_pause_becomes_reluctant() {
        assert!(in_child(|| {
            // The first lock of a new process would do it, and tell what is warm.
            crate::sync::forked();
            // A tick may end a window, and the next strategy would have another floor.
            learn::strategy::USERS_FLOOR.store(1 << 20, Relaxed);
            EARNED.store(4 << 20, Relaxed);
            RELUCTANCE.store(0, Relaxed);
            WARM.store((unearned() + (4 << 20)) as isize, Relaxed);
            CALLED_AT.store(os::now_ms(), Relaxed);
            tick(1);
            let before = RELUCTANCE.load(Relaxed);
            std::thread::sleep(std::time::Duration::from_millis(2 * stay_ms() + 20));
            tick(1);
            before < RELUCTANCE.load(Relaxed)
        }));
    }

    #[test]
    fn what_lies_in_fronts_is_not_left_alone() {
        assert!(in_child(|| {
            WARM.store(10 << 20, Relaxed);
            FRONTS.store(4 << 20, Relaxed);
            LIVE.store(7 << 20, Relaxed);
            let holds = holds();
            (holds.left_alone, holds.resident) == (6 << 20, 17 << 20)
        }));
    }

    #[test]
    fn reluctance_bounds_what_is_earned_and_takes_nothing_away() {
        assert!(in_child(|| {
            let earn = |bytes| {
                gave_back(bytes);
                regret(bytes);
                EARNED.load(Relaxed)
            };
            // What the tests of the parent waited for.
            RELUCTANCE.store(0, Relaxed);
            EARNED.store(0, Relaxed);
            let most = earned_max();
            let all = earn(2 * most) == most;
            RELUCTANCE.store(u64::MAX, Relaxed);
            let kept = earn(2 * most) == most;
            EARNED.store(0, Relaxed);
            all && kept && earn(2 * most) == pace::reluctantly(most, u64::MAX)
        }));
    }
}
