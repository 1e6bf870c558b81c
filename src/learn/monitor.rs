//! Counts what a window costs, and shows the windows to the lifecycle.
//!
//! Whoever takes or gives slabs, runs or mappings calls [`tick`]; once in a while a tick looks at the
//! clock, and when a window is over, at what it cost. Nobody waits: if another thread is looking, it
//! looks for both.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::cost::{self, Cost};
use super::lifecycle::{Explore, Idle, Lifecycle, Window};
use super::p2::Quantile;
use super::sizes::{BINS, Sizes};
use super::strategy::{self, STRATEGIES};
use crate::base::{Hook, PAGE, SUPERSLAB, knobs};
use crate::os;
use crate::sync::primitive::ShortLock;

/// A window is over after this many operations, if they took [`SHORTEST_MS`] ...
const OPERATIONS: u32 = 10_000;
const SHORTEST_MS: u64 = 50;
/// ... or after this long. The original waited for 2 s: most programs end before they have learned then.
pub(super) const LONGEST_MS: u64 = 500;
/// Operations of one size between two looks at the clock.
const LOOK_EVERY: u32 = 16;
/// What a fault is taken to cost until one has been timed.
const FAULT_NS: u64 = 1000;
/// Faults that are timed, and as many as say something.
const TIMED: u64 = 64;
const ENOUGH_FAULTS: u64 = 5;
/// And faults of huge pages.
const TIMED_HUGE: u64 = 8;
/// Small faults that one of a huge page is taken to cost until one has been timed: 115 - 130 where this was written.
const HUGE_FAULT: u64 = 128;
/// What took less than as many has not cleared a huge page: there was none to be had.
const HUGE_FAULT_LEAST: u64 = 16;
/// Small pages in a huge one.
const HUGE_PAGES: u64 = (SUPERSLAB / PAGE) as u64;

/// Calls of which the 99th percentile says something.
const ENOUGH: u64 = 50;

static OPERATIONS_BY_SIZE: [AtomicU32; BINS] = [const { AtomicU32::new(0) }; BINS];
/// Pages that had been given back too early, ever.
static MISSED: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds in calls that gave memory back, ever.
static GIVEN_NS: AtomicU64 = AtomicU64::new(0);
/// Faults that were timed, what they took, and the median of that: a fault for which the host has to find memory, or
/// during which the thread loses its processor, says nothing of the next one.
static FAULTS: AtomicU64 = AtomicU64::new(0);
static FAULT_TIMES: ShortLock<Quantile> = ShortLock::new(Quantile::new(0.5));
static FAULT_MEDIAN_NS: AtomicU64 = AtomicU64::new(FAULT_NS);
/// Faults of huge pages that were timed, and what the fastest took: on a virtual machine the first ones wait for
/// the host to find the memory.
static HUGE_FAULTS: AtomicU64 = AtomicU64::new(0);
static HUGE_FAULT_NS: AtomicU64 = AtomicU64::new(u64::MAX);
/// How many of them took so long that a huge page can have been cleared.
static WERE_HUGE: AtomicU64 = AtomicU64::new(0);
/// What a per cent of memory is worth, in hundredths of what a per cent of time is (see [`cost::price`]).
pub(crate) static WEIGHT: AtomicU64 = AtomicU64::new(50);
/// What a GiB that was kept free cost in the last window; see [`cost::price`].
static PRICE: AtomicU64 = AtomicU64::new(0);

/// See [`patience_ms`]: bounds, and what it is for the first [`SHORTEST_MS`]: about what it comes to in a process of
/// 100 MiB that keeps a processor busy half of the time, where a fault takes 1.5 us.
const SHORTEST_PATIENCE_MS: u32 = 20;
pub(crate) const LONGEST_PATIENCE_MS: u32 = 1000;
const FIRST_PATIENCE_MS: u32 = 150;
/// The least of [`patience_huge_ms`]: the clock is coarse.
const SHORTEST_HUGE_PATIENCE_MS: u32 = 10;
static PATIENCE: AtomicU32 = AtomicU32::new(FIRST_PATIENCE_MS);

/// Who is told of each window.
// SAFETY: a type of function pointers.
static TELL: Hook<fn(&Lifecycle)> = unsafe { Hook::unset() };

/// The least that was [`Holds::left_alone`] in the window under way.
static LEAST: AtomicUsize = AtomicUsize::new(usize::MAX);

/// When the window under way began, for who wants to know without the lock.
static BEGAN: AtomicU64 = AtomicU64::new(0);

/// The process is new, and nobody has looked yet.
static ANEW: AtomicBool = AtomicBool::new(false);
/// A strategy to begin with was asked for.
static STARTED: AtomicBool = AtomicBool::new(false);
/// That of a profile is to stay in force.
static FIXED: AtomicBool = AtomicBool::new(false);
/// When somebody last looked.
static LOOKED: AtomicU64 = AtomicU64::new(0);
/// See [`set_free_beside`].
// SAFETY: a type of function pointers.
static FREE_BESIDE: Hook<fn() -> usize> = unsafe { Hook::unset() };

/// The window that is under way.
struct Monitor {
    lifecycle: Lifecycle,
    began_ms: u64,
    /// The processor time that the process had used then.
    began_cpu_ns: u64,
    looked_ms: u64,
    /// Free memory at the last look, in bytes, and its sum over the time since `began_ms`, in KiB.
    free: usize,
    kib_ms: u64,
    /// All that was resident at the last look, and its sum over that time.
    resident: usize,
    resident_kib_ms: u64,
    /// The counters, when it began.
    sizes: Sizes,
    missed: u64,
    given_ns: u64,
    /// Of what giving back took, since the strategy came into force.
    p99: Quantile,
}

const P99: Quantile = Quantile::new(0.99);
const NEW: Monitor = Monitor {
    lifecycle: Lifecycle::NEW,
    began_ms: 0,
    began_cpu_ns: 0,
    looked_ms: 0,
    free: 0,
    kib_ms: 0,
    resident: 0,
    resident_kib_ms: 0,
    sizes: Sizes::NONE,
    missed: 0,
    given_ns: 0,
    p99: P99,
};

static MONITOR: ShortLock<Monitor> = ShortLock::new(NEW);

/// What a process has at a time, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Holds {
    /// Free as a whole, as the budget counts it.
    pub(crate) warm: usize,
    /// What of that anybody may take: what lies in fronts counts there while it is in use, too.
    pub(crate) left_alone: usize,
    /// What of the floor in force is not for fronts.
    pub(crate) may_stay: usize,
    /// In use or free.
    pub(crate) resident: usize,
}

/// Notes that `bytes` were taken or given, by a process that `holds` so much.
#[inline]
pub(crate) fn tick(bytes: usize, holds: Holds) {
    if knobs::ELO.get() {
        note_least(holds.left_alone);
        let before = OPERATIONS_BY_SIZE[Sizes::bin(bytes)].fetch_add(1, Relaxed);
        if before.is_multiple_of(LOOK_EVERY) {
            look(holds);
        }
    }
}

/// Looks at the clock for a thread whose calls are all served at once, so that nothing is noted.
pub(crate) fn look_anyway(holds: Holds) {
    if knobs::ELO.get() {
        note_least(holds.left_alone);
        look(holds);
    }
}

fn note_least(left_alone: usize) {
    // Seldom: a locked operation in each tick would cost.
    if left_alone < LEAST.load(Relaxed) {
        LEAST.fetch_min(left_alone, Relaxed);
    }
}

/// What was given back at most so long ago, in ms, and is wanted again, should have been kept.
#[inline]
pub(crate) fn patience_ms() -> u32 {
    PATIENCE.load(Relaxed)
}

/// The same with a mapping of `bytes` for which huge pages are asked for: it comes back at less, so it goes back
/// earlier.
pub(crate) fn patience_huge_ms(bytes: usize) -> u32 {
    of_huge_pages(patience_ms(), bytes, huge_fault())
}

/// Small faults that one of the mapping costs, where a huge one is as much as `huge`: what does not fill a huge page
/// is small ones.
fn faults_of(bytes: usize, huge: u64) -> u64 {
    (bytes / SUPERSLAB) as u64 * huge + (bytes % SUPERSLAB / PAGE) as u64
}

/// The patience with `bytes` where a huge page costs as much as `huge` small ones, and that with a small one is `ms`.
fn of_huge_pages(ms: u32, bytes: usize, huge: u64) -> u32 {
    let pages = (bytes / PAGE).max(1) as u64;
    let ms = u64::from(ms) * faults_of(bytes, huge) / pages;
    (ms as u32).max(SHORTEST_HUGE_PATIENCE_MS)
}

/// What a GiB that was kept free cost in the last window.
pub(crate) fn price() -> u64 {
    PRICE.load(Relaxed)
}

/// Has `bytes` asked for what is free beside the warm budget: `heap`, which layers above, knows.
pub(crate) fn set_free_beside(bytes: fn() -> usize) {
    FREE_BESIDE.set(bytes);
}

fn free_beside() -> usize {
    FREE_BESIDE.get().map_or(0, |bytes| bytes())
}

#[cold]
#[inline(never)]
fn look(holds: Holds) {
    let now = os::now_ms();
    if now == LOOKED.swap(now, Relaxed) {
        // The clock is coarse: it has been looked at since it changed.
        return;
    }
    let free = holds.warm + free_beside();
    // No system call under the lock; often nobody needs it.
    let may_end = now.saturating_sub(BEGAN.load(Relaxed)) >= SHORTEST_MS;
    let cpu_ns = if may_end { os::process_ns() } else { 0 };
    let Some(mut monitor) = MONITOR.try_lock() else {
        return;
    };
    if let Some(strategy) = monitor.look(now, cpu_ns, free, holds) {
        LEAST.store(holds.left_alone, Relaxed);
        // Under the lock, so that the pointer and the lifecycle agree.
        strategy::set(strategy);
        if let Some(tell) = TELL.get() {
            let lifecycle = monitor.lifecycle;
            drop(monitor);
            tell(&lifecycle);
        }
    }
}

/// Notes that `bytes` that had been given back were wanted again.
#[inline]
pub(crate) fn missed(bytes: usize) {
    MISSED.fetch_add((bytes / PAGE) as u64, Relaxed);
}

/// The same of a mapping of `bytes` for which huge pages are asked for.
pub(crate) fn missed_huge(bytes: usize) {
    MISSED.fetch_add(faults_of(bytes, huge_fault()), Relaxed);
}

/// How many small faults one of a huge page costs.
fn huge_fault() -> u64 {
    in_small_faults(
        HUGE_FAULT_NS.load(Relaxed),
        HUGE_FAULTS.load(Relaxed),
        WERE_HUGE.load(Relaxed),
        fault_ns(),
    )
}

/// The same, if `huge` of those `timed` were, the fastest of which took `ns` (`u64::MAX`: there was none), and a small
/// one takes `fault_ns`.
fn in_small_faults(ns: u64, timed: u64, huge: u64, fault_ns: u64) -> u64 {
    match ns {
        // There are no huge pages, and one or the other just took long: all of the small ones will fault.
        _ if timed >= TIMED_HUGE && huge * 2 < timed => HUGE_PAGES,
        u64::MAX => HUGE_FAULT,
        ns => (ns / fault_ns.max(1)).clamp(1, HUGE_PAGES),
    }
}

/// Whether a fault that took `ns` can have cleared a huge page, where a small one takes `fault_ns`.
fn was_huge(ns: u64, fault_ns: u64) -> bool {
    ns >= HUGE_FAULT_LEAST * fault_ns
}

/// As [`time_fault`], of the fresh huge page at `page`.
///
/// # Safety
/// The byte is the caller's to write.
pub(crate) unsafe fn time_huge_fault(page: *mut u8) {
    if HUGE_FAULTS.load(Relaxed) < TIMED_HUGE {
        let before = os::now_ns();
        // SAFETY: the caller's.
        unsafe { page.write_volatile(0) };
        let took = os::now_ns().saturating_sub(before);
        if was_huge(took, fault_ns()) {
            HUGE_FAULT_NS.fetch_min(took, Relaxed);
            WERE_HUGE.fetch_add(1, Relaxed);
        }
        HUGE_FAULTS.fetch_add(1, Relaxed);
    }
}

/// Calls under way in which the program has memory given back.
static TRIMS: AtomicU32 = AtomicU32::new(0);

/// Does `trim`, which gives memory back because the program wants that, or has no other: nothing is learned from what
/// that takes.
pub(crate) fn trim(trim: impl FnOnce()) {
    TRIMS.fetch_add(1, Relaxed);
    trim();
    // It is 0 already in the child of a fork that a signal handler made meanwhile.
    let less = |n: u32| Some(n.saturating_sub(1));
    let _ = TRIMS.fetch_update(Relaxed, Relaxed, less);
}

/// Does `give`, which gives memory back to the system, and notes what that took.
pub(crate) fn give_back<T>(give: impl FnOnce() -> T) -> T {
    if !knobs::ELO.get() || TRIMS.load(Relaxed) != 0 {
        return give();
    }
    let before = os::now_ns();
    let result = give();
    let took = os::now_ns().saturating_sub(before);
    GIVEN_NS.fetch_add(took, Relaxed);
    if let Some(mut monitor) = MONITOR.try_lock() {
        monitor.p99.add(took as f64);
    }
    result
}

/// Touches the fresh page at `page`, which reads as zero, and times it, as long as that is of interest.
///
/// # Safety
/// The byte is the caller's to write.
pub(crate) unsafe fn time_fault(page: *mut u8) {
    if FAULTS.load(Relaxed) < TIMED {
        let before = os::now_ns();
        // SAFETY: the caller's.
        unsafe { page.write_volatile(0) };
        let took = os::now_ns().saturating_sub(before);
        FAULTS.fetch_add(1, Relaxed);
        // A thread that vanished in a fork keeps it, and nothing is timed any more.
        if let Some(mut times) = FAULT_TIMES.try_lock() {
            times.add(took as f64);
            if times.count() >= ENOUGH_FAULTS {
                FAULT_MEDIAN_NS.store(times.get() as u64, Relaxed);
            }
        }
    }
}

/// How many faults have been timed.
pub(crate) fn faults_timed() -> u64 {
    FAULTS.load(Relaxed)
}

/// What a fault has been timed to cost here, in ns.
pub(crate) fn fault_ns() -> u64 {
    FAULT_MEDIAN_NS.load(Relaxed)
}

/// Patience as it follows from a `price`.
fn set_patience(price: u64) {
    let patience = cost::patience(fault_ns(), price).min(LONGEST_PATIENCE_MS.into()) as u32;
    PATIENCE.store(patience.max(SHORTEST_PATIENCE_MS), Relaxed);
}

fn sizes_now() -> Sizes {
    let mut sizes = Sizes::NONE;
    for (size, count) in sizes.0.iter_mut().zip(&OPERATIONS_BY_SIZE) {
        *size = count.load(Relaxed);
    }
    sizes
}

impl Monitor {
    /// Begins a window in a process that is new: counters are its parent's, its clock of processor time
    /// is its own.
    fn begin_anew(&mut self) {
        *self = Self {
            lifecycle: self.lifecycle,
            sizes: sizes_now(),
            missed: MISSED.load(Relaxed),
            given_ns: GIVEN_NS.load(Relaxed),
            ..NEW
        };
    }

    /// Sees that `free` bytes are free at `now`, in a process that `holds` so much, when the process has used `cpu_ns` of
    /// processor time (if the window may be over). The strategy for the next window, if one is over.
    fn look(&mut self, now: u64, cpu_ns: u64, free: usize, holds: Holds) -> Option<usize> {
        if ANEW.swap(false, Relaxed) {
            self.begin_anew();
        }
        if self.began_ms == 0 {
            self.began_ms = now;
            self.began_cpu_ns = cpu_ns;
            BEGAN.store(now, Relaxed);
            self.looked_ms = now;
        }
        if now < self.looked_ms {
            // A thread that looked at the clock first and comes last.
            return None;
        }
        // What was free at the last look was so until now: memory is freed by operations, too.
        let since = now.saturating_sub(self.looked_ms);
        self.kib_ms += (self.free >> 10) as u64 * since;
        self.resident_kib_ms += (self.resident >> 10) as u64 * since;
        self.looked_ms = now;
        self.free = free;
        self.resident = holds.resident;
        let ms = now.saturating_sub(self.began_ms);
        if ms < SHORTEST_MS {
            return None;
        }
        let cpu_rate = cpu_ns.saturating_sub(self.began_cpu_ns) / ms;
        let mean_resident = (self.resident_kib_ms / ms) as usize * 1024;
        let latest = cost::price(cpu_rate, mean_resident, WEIGHT.load(Relaxed));
        if PRICE.load(Relaxed) == 0 {
            // The first window is long for a program that is brief: what is known of it by now is better than a guess.
            set_patience(latest);
        }
        let total = sizes_now();
        let mut sizes = Sizes::NONE;
        for (i, size) in sizes.0.iter_mut().enumerate() {
            *size = total.0[i].wrapping_sub(self.sizes.0[i]);
        }
        if ms < LONGEST_MS && sizes.total() < u64::from(OPERATIONS) {
            return None;
        }
        let (missed, given_ns) = (MISSED.load(Relaxed), GIVEN_NS.load(Relaxed));
        let before = (self.lifecycle.strategy, self.lifecycle.relearned);
        // Windows are compared at one price, which follows slowly.
        let price = match PRICE.load(Relaxed) {
            0 => latest,
            before => (7 * before + latest) / 8,
        };
        PRICE.store(price, Relaxed);
        set_patience(price);
        self.lifecycle.see(&Window {
            cost: Cost::of(
                ms,
                missed - self.missed,
                fault_ns(),
                given_ns - self.given_ns,
                self.kib_ms,
            ),
            price,
            ms,
            // With a floor of the user's it says nothing of the strategy.
            idle: match strategy::users_floor() {
                None => Idle {
                    bytes: LEAST.load(Relaxed),
                    of: holds.may_stay,
                },
                Some(_) => Idle::NONE,
            },
            p99_ns: if self.p99.count() < ENOUGH {
                0
            } else {
                self.p99.get() as u64
            },
            sizes,
        });
        self.began_ms = now;
        self.began_cpu_ns = cpu_ns;
        BEGAN.store(now, Relaxed);
        self.kib_ms = 0;
        self.resident_kib_ms = 0;
        self.sizes = total;
        self.missed = missed;
        self.given_ns = given_ns;
        if (self.lifecycle.strategy, self.lifecycle.relearned) != before {
            self.p99 = P99;
        }
        Some(self.lifecycle.strategy)
    }
}

/// Sets how strategies are chosen.
pub(crate) fn set_explore(explore: Explore) {
    MONITOR.lock().lifecycle.set_explore(explore);
}

/// Sets the strategy to begin with.
pub(crate) fn start_with(strategy: usize) {
    let mut monitor = MONITOR.lock();
    monitor.lifecycle.start_with(strategy);
    strategy::set(strategy);
    STARTED.store(true, Relaxed);
}

/// Whether a strategy to begin with was asked for.
pub(crate) fn was_started() -> bool {
    STARTED.load(Relaxed)
}

/// Has the strategy of a profile stay in force, though none is tried.
pub(crate) fn fix() {
    FIXED.store(true, Relaxed);
}

/// Whether it is to stay.
pub(crate) fn is_fixed() -> bool {
    FIXED.load(Relaxed)
}

/// Has strategies tried for ever.
pub(crate) fn never_freeze() {
    MONITOR.lock().lifecycle.never_freeze();
}

/// Has `tell` called after each window, without the lock of this.
pub(crate) fn on_window(tell: fn(&Lifecycle)) {
    TELL.set(tell);
}

/// Begins where an earlier process ended; see [`Lifecycle::resume`].
pub(crate) fn resume(strategy: usize, frozen: Option<(Sizes, u64)>, ratings: &[i32; STRATEGIES]) {
    let mut monitor = MONITOR.lock();
    monitor.lifecycle.resume(strategy, frozen, ratings);
    strategy::set(strategy);
}

/// See [`Lifecycle::rate`].
pub(crate) fn rate(ratings: &[i32; STRATEGIES]) {
    MONITOR.lock().lifecycle.rate(ratings);
}

/// What has been learned so far.
pub(crate) fn lifecycle() -> Lifecycle {
    MONITOR.lock().lifecycle
}

/// In the child of a fork: learning begins anew if a thread that is gone was in the middle of it.
///
/// # Safety
/// As for [`crate::sync::Lock::recover`].
pub(crate) unsafe fn after_fork() {
    // SAFETY: the caller's.
    unsafe {
        MONITOR.recover(|monitor| {
            monitor.lifecycle = monitor.lifecycle.restarted();
            strategy::set(monitor.lifecycle.strategy);
        });
    }
    BEGAN.store(0, Relaxed);
    ANEW.store(true, Relaxed);
    TRIMS.store(0, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(resident: usize) -> Holds {
        Holds {
            warm: 0,
            left_alone: 0,
            may_stay: 0,
            resident,
        }
    }

    #[test]
    fn a_window_ends_with_time_or_operations_and_counts_what_was_kept() {
        let mut monitor = NEW;
        let all = holds(64 << 20);
        assert_eq!(monitor.look(1000, 0, 8 << 20, all), None);
        // Nothing happens for most of the window: what was kept was kept all the time.
        assert_eq!(monitor.look(1000 + LONGEST_MS - 1, 1, 8 << 20, all), None);
        let began = monitor.lifecycle.windows;
        let cpu = LONGEST_MS * 500_000;
        assert!(monitor.look(1000 + LONGEST_MS, cpu, 0, all).is_some());
        assert_eq!(monitor.lifecycle.windows, began + 1);
        let rent = monitor.lifecycle.last.rent(monitor.lifecycle.price);
        // Half of a processor, at half weight, for 64 MiB.
        let expected = 500_000 / 2 / 8;
        assert!(rent.abs_diff(expected) <= 1, "{rent} for {expected}");
        assert_eq!((monitor.kib_ms, monitor.began_ms), (0, 1000 + LONGEST_MS));
    }

    /// Other tests move what is known, so this has a process of its own.
    #[test]
    fn patience_is_measured_before_the_first_window_ends() {
        use crate::os::process::in_child;
        assert!(in_child(|| {
            let (mut monitor, all) = (NEW, holds(64 << 20));
            // What other tests did by then would end the window.
            monitor.sizes = sizes_now();
            PRICE.store(0, Relaxed);
            PATIENCE.store(FIRST_PATIENCE_MS, Relaxed);
            monitor.look(1000, 0, 0, all);
            monitor.look(999 + SHORTEST_MS, 0, 0, all);
            assert_eq!(patience_ms(), FIRST_PATIENCE_MS);
            // A whole processor for 64 MiB.
            monitor.look(1000 + SHORTEST_MS, SHORTEST_MS * 1_000_000, 0, all);
            let price = cost::price(1_000_000, all.resident, WEIGHT.load(Relaxed));
            let expected = cost::patience(fault_ns(), price) as u32;
            let expected = expected.clamp(SHORTEST_PATIENCE_MS, LONGEST_PATIENCE_MS);
            assert_eq!(patience_ms(), expected);
            monitor.lifecycle.windows == 0 && PRICE.load(Relaxed) == 0
        }));
    }

    #[test]
    fn a_huge_fault_costs_more_than_a_small_one_and_a_tail_as_much() {
        assert!(was_huge(170_000, 1450) && !was_huge(2000, 1450));
        assert_eq!(in_small_faults(170_000, 1, 1, 1450), 117);
        assert_eq!(in_small_faults(5_000_000, 8, 8, 1450), HUGE_PAGES);
        assert_eq!(in_small_faults(u64::MAX, 7, 0, 1450), HUGE_FAULT);
        assert_eq!(in_small_faults(u64::MAX, 8, 0, 1450), HUGE_PAGES);
        // A small one for which the host had to find memory.
        assert_eq!(in_small_faults(25_000, 8, 1, 1450), HUGE_PAGES);
        assert_eq!(of_huge_pages(150, SUPERSLAB, 128), 37);
        assert_eq!(of_huge_pages(150, SUPERSLAB + SUPERSLAB / 2, 128), 75);
        assert_eq!(of_huge_pages(150, 8 * SUPERSLAB, HUGE_PAGES), 150);
        assert_eq!(of_huge_pages(20, SUPERSLAB, 100), SHORTEST_HUGE_PATIENCE_MS);
        let before = MISSED.load(Relaxed);
        missed_huge(2 * SUPERSLAB + 3 * PAGE);
        assert!(MISSED.load(Relaxed) - before >= 2 * huge_fault() + 3);
    }

    /// A fork while another thread shows a window: in the child that thread will never let go.
    #[test]
    fn a_child_recovers_the_lock_of_a_vanished_thread_and_learns_anew() {
        use crate::os::process::in_child;
        extern crate std;
        for held in [false, true] {
            assert!(in_child(|| {
                MONITOR.lock().lifecycle.windows = 7;
                if held {
                    let thread = std::thread::spawn(|| core::mem::forget(MONITOR.lock()));
                    let stuck = thread.join().is_ok() && MONITOR.try_lock().is_none();
                    assert!(stuck);
                }
                // SAFETY: no other thread exists.
                unsafe { after_fork() };
                let Some(mut monitor) = MONITOR.try_lock() else {
                    return false;
                };
                // What a thread was in the middle of is forgotten; what was whole is kept.
                let known = monitor.lifecycle.windows == if held { 0 } else { 7 };
                // The clock of the window is the child's own.
                monitor.began_ms = 1;
                known && monitor.look(1000, 0, 0, holds(0)).is_none() && monitor.began_ms == 1000
            }));
        }
    }
}
