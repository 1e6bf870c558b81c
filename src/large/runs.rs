//! Page runs: blocks of whole pages in SuperSlabs that are borrowed from the pool.
//!
//! A run can be longer than what the program asked for, when the program is growing a buffer: the
//! pages behind are its to grow into, and cost nothing until then. A run grows and shrinks within
//! its pages without the lock.
//!
//! When the warm budget is exceeded, the oldest SuperSlab's warm pages go back. If purged pages are
//! wanted again within a second, that is a regret, and runs earn as much memory as was regretted
//! beyond the budget.
//!
//! Callers: `front` and the entry points in `mod`.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicIsize, AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::pages::{FIRST, Header, NEW, PAGES, Runs};
use super::policy::{self, RUN_PAGES};
use super::word::{State, Word, WordCell};
use super::{Misuse, audit, lent, now};
use crate::base::size::SLOT_PAGES;
use crate::base::{PAGE, SUPERSLAB};
use crate::learn::{self, monitor::LONGEST_PATIENCE_MS};
use crate::space::warm;
use crate::sync::Lock;

static RUNS: Lock<Runs> = Lock::new(NEW);
/// Runs made and not taken back, those in fronts included; and the bytes that they may use.
pub(super) static BLOCKS: AtomicIsize = AtomicIsize::new(0);
/// See [`BLOCKS`].
pub(super) static BYTES: AtomicIsize = AtomicIsize::new(0);
/// Bytes that are free and resident because they were earned, beyond the budget. The holder of the lock sets it.
pub(super) static EARNED: AtomicUsize = AtomicUsize::new(0);
/// Bytes given back to the system.
pub(super) static PURGED: AtomicU64 = AtomicU64::new(0);

fn used(bytes: isize) {
    if bytes != 0 {
        BYTES.fetch_add(bytes, Relaxed);
        warm::used(bytes);
    }
}

/// The word of the run that starts at `p`, if `p` may be the start of one.
///
/// # Safety
/// The slab map says that `p` lies in a SuperSlab of runs.
#[inline]
pub(super) unsafe fn cell<'a>(p: NonNull<u8>) -> Result<&'a WordCell, Misuse> {
    let at = p.as_ptr() as usize;
    let page = (at & (SUPERSLAB - 1)) / PAGE;
    if !at.is_multiple_of(PAGE) || page < FIRST {
        return Err(Misuse::NotABlock);
    }
    let header = (at & !(SUPERSLAB - 1)) as *const Header;
    // SAFETY: the map entry says that the SuperSlab has a Header, which stays while a run in it lives.
    unsafe { Ok(&(*header).words[page]) }
}

/// The word of the live run at `p`.
///
/// # Safety
/// As for [`cell`].
#[inline]
pub(super) unsafe fn live<'a>(p: NonNull<u8>) -> Result<(&'a WordCell, Word), Misuse> {
    // SAFETY: the caller's.
    let cell = unsafe { cell(p) }?;
    let word = cell.get();
    match word.state() {
        State::Live => Ok((cell, word)),
        State::Kept => Err(Misuse::DoubleFree),
        State::None => Err(Misuse::NotABlock),
    }
}

/// Makes `need` pages of the run in `cell` the program's: it was in a front.
#[inline]
pub(super) fn reuse(cell: &WordCell, word: Word, need: usize) {
    if need != word.used() {
        used((need as isize - word.used() as isize) * PAGE as isize);
    }
    cell.set(word.with_used(need).with_state(State::Live));
}

/// A run of `pages` for the site `key`, in a window of `window` pages that it can grow into, at a
/// multiple of `align` pages. `None`: out of memory.
pub(super) fn take(
    pages: usize,
    align: usize,
    window: usize,
    key: u32,
    zero: bool,
) -> Option<NonNull<u8>> {
    debug_assert!(pages > 0 && pages <= window && window <= RUN_PAGES && align <= PAGES / 2);
    let now = now();
    warm::tick(pages * PAGE);
    let mut runs = RUNS.lock();
    let fit = (window + align - 1).min(RUN_PAGES);
    let h = match runs.filled.next_in(fit) {
        bin if bin <= RUN_PAGES => runs.bins[bin],
        _ => runs.grow(now)?,
    };
    // SAFETY: the lock is held; the bins hold headers whose longest free run is what the bin says.
    unsafe {
        let start = (*h).free.find(window, align)?;
        let end = start + pages;
        let zeroed = (*h).zero;
        if learn::since(now, (*h).purged) <= learn::patience_ms() {
            runs.regret(zeroed.count(start, end), now);
        } else {
            runs.regret(0, now);
        }
        if (*h).runs == 0 {
            runs.empty -= 1;
        }
        (*h).runs += 1;
        let before = runs.occupy(h, start, window, now);
        let touched = before.max(pages);
        (*h).zero.remove(start, start + touched);
        (*h).words[start].set(Word::new(window, pages, touched, key));
        runs.recharge();
        drop(runs);
        BLOCKS.fetch_add(1, Relaxed);
        used((pages * PAGE) as isize);
        let base = h.cast::<u8>();
        if zero {
            let mut at = start;
            while at < end {
                let dirty = zeroed.next_in(at).min(end);
                base.add(at * PAGE).write_bytes(0, (dirty - at) * PAGE);
                at = zeroed.next_out(dirty).min(end);
            }
        }
        NonNull::new(base.add(start * PAGE))
    }
}

/// Takes a run back. The caller sees to the warm budget afterwards.
///
/// # Safety
/// `p` is the start of a run in a SuperSlab of runs, in state Live or Kept, and the caller has it.
pub(super) unsafe fn give(p: NonNull<u8>, cell: &WordCell) {
    let now = now();
    let word = cell.get();
    let at = p.as_ptr() as usize;
    let h = (at & !(SUPERSLAB - 1)) as *mut Header;
    BLOCKS.fetch_sub(1, Relaxed);
    used(-(word.bytes() as isize));
    warm::tick(word.bytes());
    let mut runs = RUNS.lock();
    cell.clear();
    // SAFETY: the lock is held, and the run was the caller's.
    unsafe {
        if (*h).generation != runs.generation {
            return;
        }
        (*h).runs -= 1;
        if (*h).runs == 0 {
            runs.empty += 1;
        }
        runs.release(
            h,
            (at & (SUPERSLAB - 1)) / PAGE,
            word.len(),
            word.touched(),
            now,
        );
    }
}

/// Makes the run at `p` `need` pages long where it is, if it can be.
///
/// # Safety
/// `p` is the start of a live run, which the caller has.
pub(super) unsafe fn resize(p: NonNull<u8>, cell: &WordCell, word: Word, need: usize) -> bool {
    let at = p.as_ptr() as usize;
    let start = (at & (SUPERSLAB - 1)) / PAGE;
    let h = (at & !(SUPERSLAB - 1)) as *mut Header;
    let before = word;
    let mut word = word;
    if need > word.len() {
        if start + need > PAGES {
            return false;
        }
        let mut runs = RUNS.lock();
        // SAFETY: the lock is held; the run is the caller's.
        unsafe {
            let end = start + word.len();
            let room = (*h).free.next_out(end) - end;
            if (*h).generation != runs.generation || word.len() + room < need {
                return false;
            }
            let wish = if super::gets_room(word.key()) {
                policy::run_window(need)
            } else {
                need
            };
            let more = wish.min(word.len() + room) - word.len();
            let touched = runs.occupy(h, end, more, now());
            let touched = if touched > 0 {
                word.len() + touched
            } else {
                word.touched()
            };
            let touched = touched.max(need);
            (*h).zero.remove(start, start + touched);
            word = Word::new(word.len() + more, word.used(), touched, word.key());
            runs.recharge();
        }
    } else if need < word.used() && word.touched() - need >= SLOT_PAGES {
        let tail = word.len() - need;
        let touched = word.touched() - need;
        let mut runs = RUNS.lock();
        // SAFETY: the lock is held; the tail is the caller's, who does not use it any more.
        unsafe {
            if (*h).generation == runs.generation {
                runs.release(h, start + need, tail, touched, now());
                used((need as isize - word.used() as isize) * PAGE as isize);
                cell.set(lent::resized_run(
                    before,
                    Word::new(need, need, need, word.key()),
                ));
                return true;
            }
        }
    }
    used((need as isize - word.used() as isize) * PAGE as isize);
    cell.set(lent::resized_run(before, word.with_used(need)));
    true
}

/// When the oldest SuperSlab with warm pages last got one, if any stand in the warm budget: to give earned ones back
/// would not lower it.
pub(super) fn oldest() -> Option<u32> {
    let runs = RUNS.lock();
    if runs.charged == 0 {
        return None;
    }
    // SAFETY: the lock is held; the queue holds headers.
    unsafe { runs.oldest.as_ref().map(|h| h.stamp) }
}

/// Gives the oldest SuperSlab's warm pages back, at `now` as far as anybody misses them. False when there are none.
pub(super) fn purge_oldest(now: u32) -> bool {
    let mut runs = RUNS.lock();
    let h = runs.oldest;
    // SAFETY: the lock is held; the queue holds headers.
    !h.is_null()
        && unsafe {
            runs.purge(h, now);
            true
        }
}

/// Notes that time has passed: what was earned lapses, and counts in the budget then.
pub(super) fn lapse(now: u32) {
    if EARNED.load(Relaxed) != 0 {
        let mut runs = RUNS.lock();
        runs.regret(0, now);
        runs.recharge();
    }
}

/// Gives all warm pages and every empty SuperSlab back.
pub(super) fn trim() {
    {
        let mut runs = RUNS.lock();
        runs.earned = 0;
        runs.recharge();
    }
    // Too long ago to be missed.
    while purge_oldest(now().wrapping_sub(LONGEST_PATIENCE_MS + 1)) {}
    let mut runs = RUNS.lock();
    // That was no decision of ours.
    runs.shrunk = 0;
    loop {
        let h = runs.bins[RUN_PAGES];
        // SAFETY: the lock is held; a SuperSlab in this bin is free as a whole, and purged.
        unsafe {
            if h.is_null() || !(*h).warm.is_empty() {
                break;
            }
            runs.shrink(h);
        }
    }
}

/// Bytes that are free and resident.
pub(super) fn warm_bytes() -> usize {
    RUNS.lock().warm_pages * PAGE
}

/// Bytes that are charged to the warm budget.
pub(super) fn charged() -> usize {
    RUNS.lock().charged
}

/// In the child of a fork: if a thread that is gone held the lock, abandons every SuperSlab. Live
/// runs stay valid; what is given back later is lost. Returns what is charged to the warm budget.
///
/// # Safety
/// As for [`Lock::recover`].
pub(super) unsafe fn after_fork() -> usize {
    // SAFETY: the caller's.
    unsafe {
        RUNS.recover(|runs| {
            // First: a child that is forked in the middle of this does the rest, and one more.
            runs.generation += 1;
            let generation = runs.generation;
            *runs = Runs { generation, ..NEW };
            EARNED.store(0, Relaxed);
        });
        (*RUNS.value()).charged
    }
}

/// See [`audit::runs`].
pub(super) fn check() -> Result<(), &'static str> {
    audit::runs(&RUNS.lock())
}
