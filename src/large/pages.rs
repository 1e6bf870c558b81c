//! The SuperSlabs of page runs: which pages are free, which of them are warm, where there is room.
//!
//! Three bits a page in the SuperSlab's header say whether it is free, whether its content is known
//! to be zero, and whether it is free and may be resident (warm). One word for a run's first page
//! says how long it is.
//!
//! SuperSlabs stand in bins by their longest run of free pages, and a request goes to the first bin
//! that fits: the fullest SuperSlab that can serve it. Those with warm pages queue by age.
//!
//! Used by `runs`, under its lock.

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::Ordering::Relaxed;

use super::bits::Bits;
use super::policy::RUN_PAGES;
use super::runs::{EARNED, PURGED};
use super::word::WordCell;
use crate::base::size::SLOT_PAGES;
use crate::base::{PAGE, SLOT, SLOTS, SUPERSLAB, knobs};
use crate::learn::{self, monitor::LONGEST_PATIENCE_MS, pace};
use crate::os;
use crate::space::{map, pool, superslab, warm};

/// Pages of a SuperSlab.
pub(super) const PAGES: usize = SUPERSLAB / PAGE;
/// The first page that runs may use.
pub(super) const FIRST: usize = SLOT_PAGES;
const _: () = assert!(PAGES - FIRST == RUN_PAGES);

/// The header of a SuperSlab of runs.
///
/// # Invariants
/// * A page is in `free` exactly if no run with a word covers it; pages below `FIRST` never are.
/// * `warm` is a part of `free`, and disjoint from `zero`.
/// * A free page in `zero` reads as zero, and so does one behind `touched()` of its run. (A run
///   grows into its window without the lock; what it touched leaves `zero` when it comes back.)
/// * `longest` is the longest run in `free`, and the bin that the SuperSlab stands in.
/// * All fields but `words` belong to the holder of the lock.
#[repr(C)]
pub(super) struct Header {
    _pool: [u8; superslab::LENT_FROM],
    /// Pages that no run covers.
    pub(super) free: Bits,
    /// Pages known to read as zero.
    pub(super) zero: Bits,
    /// Free pages that may be resident.
    pub(super) warm: Bits,
    /// Next in the bin.
    pub(super) next: *mut Header,
    /// The one before it in the bin.
    pub(super) prev: *mut Header,
    /// Next in the queue by age.
    pub(super) newer: *mut Header,
    /// The one before it in that queue.
    pub(super) older: *mut Header,
    /// Pages of the longest run of free ones.
    pub(super) longest: u16,
    /// Runs that are out.
    pub(super) runs: u16,
    /// It is in the queue by age.
    pub(super) queued: bool,
    /// The one of `Runs` when it was borrowed.
    pub(super) generation: u32,
    /// When a page last became warm.
    pub(super) stamp: u32,
    /// When the warm pages were last given back.
    pub(super) purged: u32,
    /// For the first page of each run.
    pub(super) words: [WordCell; PAGES],
}

const _: () = assert!(size_of::<Header>() <= SLOT);

/// All SuperSlabs of runs.
pub(super) struct Runs {
    /// SuperSlabs by `longest`.
    pub(super) bins: [*mut Header; RUN_PAGES + 1],
    /// Bins that are not empty.
    pub(super) filled: Bits,
    /// The end of the queue by age that goes first.
    pub(super) oldest: *mut Header,
    /// Its other end.
    pub(super) newest: *mut Header,
    /// Warm pages in all SuperSlabs.
    pub(super) warm_pages: usize,
    /// What of it stands in the warm budget; the rest is earned.
    pub(super) charged: usize,
    /// Bytes that may be warm beyond the budget.
    pub(super) earned: usize,
    /// When that was last earned or halved.
    pub(super) regretted_ms: u32,
    /// SuperSlabs that went back lately because the budget was exceeded, and when the last one did.
    pub(super) shrunk: usize,
    /// See `shrunk`.
    pub(super) shrunk_ms: u32,
    /// SuperSlabs borrowed.
    pub(super) superslabs: usize,
    /// Those of them without runs.
    pub(super) empty: usize,
    /// Counts the forks that abandoned everything older.
    pub(super) generation: u32,
}

// SAFETY: the pointers are to headers that only the holder of the lock uses.
unsafe impl Send for Runs {}

/// No SuperSlabs; zeroed memory is the same.
pub(super) const NEW: Runs = Runs {
    bins: [null_mut(); RUN_PAGES + 1],
    filled: Bits::NONE,
    oldest: null_mut(),
    newest: null_mut(),
    warm_pages: 0,
    charged: 0,
    earned: 0,
    regretted_ms: 0,
    shrunk: 0,
    shrunk_ms: 0,
    superslabs: 0,
    empty: 0,
    generation: 0,
};

impl Runs {
    unsafe fn unlink(&mut self, h: *mut Header) {
        // SAFETY: the lock is held; `h` stands in the bin of its `longest`.
        unsafe {
            let bin = (*h).longest as usize;
            if (*h).prev.is_null() {
                self.bins[bin] = (*h).next;
                if (*h).next.is_null() {
                    self.filled.remove(bin, bin + 1);
                }
            } else {
                (*(*h).prev).next = (*h).next;
            }
            if !(*h).next.is_null() {
                (*(*h).next).prev = (*h).prev;
            }
        }
    }

    unsafe fn link(&mut self, h: *mut Header, longest: usize) {
        // SAFETY: the lock is held; `h` stands in no bin.
        unsafe {
            let head = self.bins[longest];
            (*h).longest = longest as u16;
            (*h).prev = null_mut();
            (*h).next = head;
            if head.is_null() {
                self.filled.insert(longest, longest + 1);
            } else {
                (*head).prev = h;
            }
            self.bins[longest] = h;
        }
    }

    unsafe fn relink(&mut self, h: *mut Header, longest: usize) {
        // SAFETY: the lock is held; `h` stands in a bin.
        unsafe {
            if longest != (*h).longest as usize {
                self.unlink(h);
                self.link(h, longest);
            }
        }
    }

    /// Takes `h` out of the queue by age, and puts it at the young end if it has warm pages.
    ///
    /// # Safety
    /// The lock is held, and `h` is one of the SuperSlabs.
    pub(super) unsafe fn requeue(&mut self, h: *mut Header, now: u32) {
        // SAFETY: the lock is held; the queue holds headers.
        unsafe {
            let warm = !(*h).warm.is_empty();
            if warm {
                (*h).stamp = now;
            }
            if (*h).queued && !(warm && self.newest == h) {
                match (*h).older.as_mut() {
                    Some(older) => older.newer = (*h).newer,
                    None => self.oldest = (*h).newer,
                }
                match (*h).newer.as_mut() {
                    Some(newer) => newer.older = (*h).older,
                    None => self.newest = (*h).older,
                }
                (*h).queued = false;
            }
            if warm && !(*h).queued {
                (*h).older = self.newest;
                (*h).newer = null_mut();
                match self.newest.as_mut() {
                    Some(newest) => newest.newer = h,
                    None => self.oldest = h,
                }
                self.newest = h;
                (*h).queued = true;
            }
        }
    }

    /// Brings the warm budget up to date with `warm_pages` and `earned`.
    pub(super) fn recharge(&mut self) {
        let warm = self.warm_pages * PAGE;
        let target = warm.saturating_sub(self.earned);
        EARNED.store(warm - target, Relaxed);
        if target != self.charged {
            warm::keep(target as isize - self.charged as isize);
            self.charged = target;
        }
    }

    /// Notes that `pages` which had been given back are wanted again; or that time has passed.
    pub(super) fn regret(&mut self, pages: usize, now: u32) {
        if pages > 0 {
            learn::missed(pages * PAGE);
            if knobs::PACE.get() {
                self.earned = pace::earn(self.earned, pages * PAGE, warm::earned_max());
                self.regretted_ms = now;
            }
        } else if self.earned > 0 {
            self.earned = self.earned.min(warm::earned_max());
            let idle = learn::since(now, self.regretted_ms);
            let half_life = pace::stay_ms(learn::patience_ms());
            if idle >= half_life {
                self.earned = pace::lapse(self.earned, idle.into(), half_life.into());
                self.regretted_ms = now;
            }
        }
    }

    /// Borrows a SuperSlab.
    pub(super) fn grow(&mut self, now: u32) -> Option<*mut Header> {
        let start = pool::take_superslab()?;
        let ss: *const superslab::SuperSlab = start.as_ptr().cast();
        let mut resident = Bits::NONE;
        for slot in 1..SLOTS {
            // SAFETY: the SuperSlab is ours, and the pool's notes are still in it.
            resident.set_slot(slot, unsafe { (*ss).slabs[slot].resident });
        }
        if !map::set(start, SLOTS, map::Entry::RUN) {
            // SAFETY: just taken, and nothing in it was touched; all of it is named resident, so
            // that nobody takes it for zero.
            unsafe { pool::give_superslab(start, SUPERSLAB) };
            return None;
        }
        let h: *mut Header = start.as_ptr().cast();
        // SAFETY: the header's part of the first slot is ours to write; zeroed words are valid.
        unsafe {
            (&raw mut (*h).words).write_bytes(0, 1);
            (*h).free = Bits::range(FIRST, PAGES);
            (*h).zero = Bits::range(FIRST, PAGES);
            for (start, end) in resident.runs() {
                (*h).zero.remove(start, end);
            }
            (*h).warm = resident;
            (*h).newer = null_mut();
            (*h).older = null_mut();
            (*h).runs = 0;
            (*h).queued = false;
            (*h).generation = self.generation;
            // One went back for this one to be made anew: what is not resident of it may be missed.
            (*h).purged =
                if self.shrunk > 0 && learn::since(now, self.shrunk_ms) <= learn::patience_ms() {
                    self.shrunk -= 1;
                    self.shrunk_ms
                } else {
                    self.shrunk = 0;
                    now.wrapping_sub(LONGEST_PATIENCE_MS + 1)
                };
            self.warm_pages += resident.count(0, PAGES);
            self.superslabs += 1;
            self.empty += 1;
            self.link(h, RUN_PAGES);
            self.requeue(h, now);
        }
        Some(h)
    }

    /// Hands an empty SuperSlab without warm pages back to the pool.
    ///
    /// # Safety
    /// The lock is held, and `h` is such a SuperSlab.
    pub(super) unsafe fn shrink(&mut self, h: *mut Header) {
        // SAFETY: the lock is held; nothing in the SuperSlab is used, and nobody can free into it.
        unsafe {
            self.unlink(h);
            self.superslabs -= 1;
            self.empty -= 1;
            // What the system refused to take is resident, and not zero.
            let clean = (*h).zero.count(FIRST, PAGES) == RUN_PAGES;
            let start = NonNull::new_unchecked(h.cast::<u8>());
            map::set(start, SLOTS, map::Entry::FOREIGN);
            pool::give_superslab(start, if clean { 0 } else { SUPERSLAB });
        }
    }

    /// Gives the warm pages of `h` back.
    ///
    /// # Safety
    /// The lock is held, and `h` is one of the SuperSlabs.
    pub(super) unsafe fn purge(&mut self, h: *mut Header, now: u32) {
        // SAFETY: the lock is held, and warm pages are free.
        unsafe {
            let warm = (*h).warm;
            for (start, end) in warm.runs() {
                let bytes = (end - start) * PAGE;
                let at = NonNull::new_unchecked(h.cast::<u8>().add(start * PAGE));
                if learn::give_back(|| os::purge(at, bytes)) {
                    (*h).zero.insert(start, end);
                    PURGED.fetch_add(bytes as u64, Relaxed);
                }
            }
            self.warm_pages -= warm.count(0, PAGES);
            (*h).warm = Bits::NONE;
            (*h).purged = now;
            self.requeue(h, now);
            self.recharge();
            if (*h).runs == 0 && self.empty > 1 {
                self.shrink(h);
                self.shrunk += 1;
                self.shrunk_ms = now;
            }
        }
    }

    /// Makes the pages from `start` on free. `touched` of them may have content.
    ///
    /// # Safety
    /// The lock is held, and the pages are nobody's any more.
    pub(super) unsafe fn release(
        &mut self,
        h: *mut Header,
        start: usize,
        len: usize,
        touched: usize,
        now: u32,
    ) {
        // SAFETY: the lock is held, and the pages are nobody's.
        unsafe {
            (*h).free.insert(start, start + len);
            (*h).zero.remove(start, start + touched);
            // Pages behind `touched` are as they were when the run was made: zero, or content of
            // before that the system would not take.
            (*h).warm.insert(start, start + touched);
            self.warm_pages += touched;
            let from = (*h).free.start_of_run_to(start);
            let to = (*h).free.next_out(start + len);
            self.relink(h, ((*h).longest as usize).max(to - from));
            self.requeue(h, now);
            self.recharge();
        }
    }

    /// Makes free pages a run's. Returns how many of the pages were touched before, counted from
    /// `start` to the last of them.
    ///
    /// # Safety
    /// The lock is held, and the pages are free.
    pub(super) unsafe fn occupy(
        &mut self,
        h: *mut Header,
        start: usize,
        len: usize,
        now: u32,
    ) -> usize {
        let end = start + len;
        // SAFETY: the lock is held, and the pages are free.
        unsafe {
            let touched = (*h).zero.start_of_run_to(end).saturating_sub(start);
            let whole = (*h).free.next_out(end) - (*h).free.start_of_run_to(start);
            (*h).free.remove(start, end);
            let warm = (*h).warm.take_out(start, end);
            if warm > 0 {
                self.warm_pages -= warm;
                if (*h).warm.is_empty() {
                    self.requeue(h, now);
                }
            }
            if whole == (*h).longest as usize {
                let longest = (*h).free.longest();
                self.relink(h, longest);
            }
            touched
        }
    }
}
