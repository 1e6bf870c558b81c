//! Page runs: blocks of whole pages in SuperSlabs that are borrowed from the pool.
//!
//! Three bits a page in the SuperSlab's header say whether it is free, whether its content is known
//! to be zero, and whether it is free and may be resident (warm). One word for a run's first page
//! says how long it is. A run can be longer than what the program asked for, when the program is
//! growing a buffer: the pages behind are its to grow into, and cost nothing until then.
//!
//! SuperSlabs stand in bins by their longest run of free pages, and a request goes to the first bin
//! that fits: the fullest SuperSlab that can serve it. Those with warm pages queue by age; the
//! oldest give theirs back when the warm budget is exceeded. If purged pages are wanted again within a
//! second, that is a regret, and runs earn as much memory as was regretted beyond the budget.
//!
//! Callers: `front` and the entry points in `mod`.

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicIsize, AtomicU64, Ordering::Relaxed};

use super::Misuse;
use super::bits::Bits;
use super::policy::{self, RUN_PAGES};
use super::word::{State, Word, WordCell};
use crate::base::size::SLOT_PAGES;
use crate::base::{PAGE, SLOT, SLOTS, SUPERSLAB};
use crate::os;
use crate::space::{map, pool, superslab, warm};
use crate::sync::Lock;

const PAGES: usize = SUPERSLAB / PAGE;
/// The first page that runs may use.
const FIRST: usize = SLOT_PAGES;
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
struct Header {
    _pool: [u8; crate::space::superslab::LENT_FROM],
    free: Bits,
    zero: Bits,
    warm: Bits,
    next: *mut Header,
    prev: *mut Header,
    newer: *mut Header,
    older: *mut Header,
    longest: u16,
    runs: u16,
    queued: bool,
    generation: u32,
    /// When a page last became warm.
    stamp: u32,
    /// When the warm pages were last given back.
    purged: u32,
    words: [WordCell; PAGES],
}

const _: () = assert!(size_of::<Header>() <= SLOT);

struct Runs {
    bins: [*mut Header; RUN_PAGES + 1],
    /// Bins that are not empty.
    filled: Bits,
    oldest: *mut Header,
    newest: *mut Header,
    warm_pages: usize,
    /// What of it stands in the warm budget; the rest is earned.
    charged: usize,
    earned: usize,
    regretted_ms: u32,
    superslabs: usize,
    empty: usize,
    /// Counts the forks that abandoned everything older.
    generation: u32,
}

// SAFETY: the pointers are to headers that only the holder of the lock uses.
unsafe impl Send for Runs {}

const NEW: Runs = Runs {
    bins: [null_mut(); RUN_PAGES + 1],
    filled: Bits::NONE,
    oldest: null_mut(),
    newest: null_mut(),
    warm_pages: 0,
    charged: 0,
    earned: 0,
    regretted_ms: 0,
    superslabs: 0,
    empty: 0,
    generation: 0,
};

static RUNS: Lock<Runs> = Lock::new(NEW);
/// Runs made and not taken back, those in fronts included; and the bytes that they may use.
pub(super) static BLOCKS: AtomicIsize = AtomicIsize::new(0);
/// See [`BLOCKS`].
pub(super) static BYTES: AtomicIsize = AtomicIsize::new(0);
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
    // SAFETY: the map entry says that the SuperSlab has a Header, and headers are never unmapped.
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
    unsafe fn requeue(&mut self, h: *mut Header, now: u32) {
        // SAFETY: the lock is held; the queue holds headers.
        unsafe {
            let warm = (*h).warm != Bits::NONE;
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
    fn recharge(&mut self) {
        let target = (self.warm_pages * PAGE).saturating_sub(self.earned);
        if target != self.charged {
            warm::keep(target as isize - self.charged as isize);
            self.charged = target;
        }
    }

    /// Notes that `pages` which had been given back are wanted again; or that time has passed.
    fn regret(&mut self, pages: usize, now: u32) {
        if pages > 0 {
            self.earned = (self.earned + pages * PAGE).min(policy::RUNS_EARNED_MAX);
            self.regretted_ms = now;
        } else if self.earned > 0 && now.wrapping_sub(self.regretted_ms) > policy::EARNED_MS {
            self.earned /= 2;
            self.regretted_ms = now;
        }
    }

    /// Borrows a SuperSlab.
    fn grow(&mut self, now: u32) -> Option<*mut Header> {
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
            (*h).purged = now.wrapping_sub(policy::REGRET_MS + 1);
            self.warm_pages += resident.count(0, PAGES);
            self.superslabs += 1;
            self.empty += 1;
            self.link(h, RUN_PAGES);
            self.requeue(h, now);
        }
        Some(h)
    }

    /// Hands an empty SuperSlab without warm pages back to the pool.
    unsafe fn shrink(&mut self, h: *mut Header) {
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
    unsafe fn purge(&mut self, h: *mut Header, now: u32) {
        // SAFETY: the lock is held, and warm pages are free.
        unsafe {
            let warm = (*h).warm;
            for (start, end) in warm.runs() {
                let bytes = (end - start) * PAGE;
                let at = NonNull::new_unchecked(h.cast::<u8>().add(start * PAGE));
                if os::purge(at, bytes) {
                    (*h).zero.insert(start, end);
                    PURGED.fetch_add(bytes as u64, Relaxed);
                }
            }
            self.warm_pages -= warm.count(0, PAGES);
            (*h).warm = Bits::NONE;
            (*h).purged = now;
            self.requeue(h, now);
            if (*h).runs == 0 && self.empty > 1 {
                self.shrink(h);
            }
            self.recharge();
        }
    }

    /// Makes the pages from `start` on free. `touched` of them may have content.
    unsafe fn release(
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
    unsafe fn occupy(&mut self, h: *mut Header, start: usize, len: usize, now: u32) -> usize {
        let end = start + len;
        // SAFETY: the lock is held, and the pages are free.
        unsafe {
            let warm = (*h).warm.count(start, end);
            let touched = (*h).zero.start_of_run_to(end).saturating_sub(start);
            let whole = (*h).free.next_out(end) - (*h).free.start_of_run_to(start);
            (*h).free.remove(start, end);
            if warm > 0 {
                (*h).warm.remove(start, end);
                self.warm_pages -= warm;
                if (*h).warm == Bits::NONE {
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

fn now() -> u32 {
    os::now_ms() as u32
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
        if now.wrapping_sub((*h).purged) <= policy::REGRET_MS {
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
            let wish = if policy::is_growing(word.key()) {
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
                cell.set(Word::new(need, need, need, word.key()));
                return true;
            }
        }
    }
    used((need as isize - word.used() as isize) * PAGE as isize);
    cell.set(word.with_used(need));
    true
}

/// When the oldest warm pages became warm, if there are any.
pub(super) fn oldest() -> Option<u32> {
    let runs = RUNS.lock();
    // SAFETY: the lock is held; the queue holds headers.
    unsafe { runs.oldest.as_ref().map(|h| h.stamp) }
}

/// Gives the oldest SuperSlab's warm pages back. False when there are none.
pub(super) fn purge_oldest() -> bool {
    let mut runs = RUNS.lock();
    let h = runs.oldest;
    // SAFETY: the lock is held; the queue holds headers.
    !h.is_null()
        && unsafe {
            runs.purge(h, now());
            true
        }
}

/// Gives all warm pages and every empty SuperSlab back.
pub(super) fn trim() {
    {
        let mut runs = RUNS.lock();
        runs.earned = 0;
        runs.recharge();
    }
    while purge_oldest() {}
    let mut runs = RUNS.lock();
    loop {
        let h = runs.bins[RUN_PAGES];
        // SAFETY: the lock is held; a SuperSlab in this bin is free as a whole, and purged.
        unsafe {
            if h.is_null() || (*h).warm != Bits::NONE {
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

/// In the child of a fork: if a thread that is gone held the lock, abandons every SuperSlab. Live
/// runs stay valid; what is given back later is lost.
///
/// # Safety
/// No other thread exists.
pub(super) unsafe fn after_fork() {
    // SAFETY: the caller's.
    unsafe {
        if RUNS.reset() {
            let runs = RUNS.value();
            let generation = (*runs).generation + 1;
            warm::keep(-((*runs).charged as isize));
            *runs = NEW;
            (*runs).generation = generation;
        }
    }
}

/// Walks every SuperSlab. Other threads must not resize meanwhile.
pub(super) fn check() -> Result<(), &'static str> {
    let runs = RUNS.lock();
    let (mut superslabs, mut empty, mut warm_pages, mut queued) = (0, 0, 0, 0);
    for bin in 0..=RUN_PAGES {
        let mut h = runs.bins[bin];
        if h.is_null() == (runs.filled.next_in(bin) == bin) {
            return Err("a bin and its bit disagree");
        }
        while !h.is_null() {
            // SAFETY: the lock is held; the bins hold headers.
            unsafe {
                superslabs += 1;
                empty += ((*h).runs == 0) as usize;
                queued += (*h).queued as usize;
                warm_pages += (*h).warm.count(0, PAGES);
                check_one(h, bin)?;
                h = (*h).next;
            }
        }
    }
    let mut h = runs.oldest;
    while !h.is_null() {
        queued = queued
            .checked_sub(1)
            .ok_or("the queue by age is too long")?;
        // SAFETY: as above.
        h = unsafe { (*h).newer };
    }
    if (superslabs, empty, warm_pages, queued) != (runs.superslabs, runs.empty, runs.warm_pages, 0)
    {
        return Err("sums over the SuperSlabs of runs are wrong");
    }
    if runs.charged != (warm_pages * PAGE).saturating_sub(runs.earned) {
        return Err("warm runs and the budget disagree");
    }
    Ok(())
}

unsafe fn check_one(h: *const Header, bin: usize) -> Result<(), &'static str> {
    // SAFETY: the lock is held by the caller.
    let h = unsafe { &*h };
    let mut covered = Bits::range(0, FIRST);
    let mut runs = 0;
    for page in FIRST..PAGES {
        let word = h.words[page].get();
        if word.state() == State::None {
            continue;
        }
        runs += 1;
        let end = page + word.len();
        if end > PAGES || word.len() == 0 || covered.count(page, end) != 0 {
            return Err("runs overlap");
        }
        if word.used() > word.touched() || word.touched() > word.len() {
            return Err("a run uses more than it has");
        }
        covered.insert(page, end);
    }
    let mut free = Bits::range(0, PAGES);
    for (start, end) in covered.runs() {
        free.remove(start, end);
    }
    if free != h.free || runs != h.runs {
        return Err("free pages and runs disagree");
    }
    if h.free.longest() != bin || h.longest as usize != bin {
        return Err("a SuperSlab stands in the wrong bin");
    }
    if h.warm.and(&h.free) != h.warm || h.warm.and(&h.zero) != Bits::NONE {
        return Err("a warm page is in use or zero");
    }
    if h.queued != (h.warm != Bits::NONE) {
        return Err("warm pages and the queue by age disagree");
    }
    for slot in 0..SLOTS {
        if map::lookup(h as *const Header as usize + slot * SLOT) != map::Entry::RUN {
            return Err("a SuperSlab of runs is not in the slab map");
        }
    }
    Ok(())
}
