//! One slab: which of its blocks are free, in a bitmap that is never in the blocks.
//!
//! A slab belongs to one heap, and only that heap's thread calls what is here (but for
//! [`remote`]). The blocks below the watermark have a bit each, set while free; those above have
//! never been handed out, and neither their bits nor their pages have been touched.

pub(crate) mod remote;

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

pub(crate) use crate::base::Misuse;
pub(crate) use crate::space::superslab::{Slab, State};

use crate::base::size::SLOT_PAGES;
use crate::base::{CLASSES, Class, ClassInfo, N_CLASSES, PAGE, SLOT, knobs};
use crate::learn;
use crate::os;
use crate::space::{huge, map, pool, warm};

/// Blocks larger than this are not populated ahead: their pages may never be touched.
const POPULATE_MAX: usize = 4096;

/// A slab of `class` for the heap numbered `owner`, entered in the slab map. `None`: out of memory.
pub(crate) fn create(class: Class, owner: u32) -> Option<*mut Slab> {
    let order = class.info().order as usize;
    warm::tick(class.size());
    let slab = pool::take_slab(order)?.as_ptr();
    // SAFETY: the slab is ours until it is in the map.
    unsafe {
        (*slab).summary = 0;
        (*slab).next = null_mut();
        (*slab).prev = null_mut();
        (*slab).free = 0;
        (*slab).watermark = 0;
        (*slab).freed = 0;
        (*slab).holes = 0;
        forget_idle(slab);
        (*slab).class = class.number() as u8;
        (*slab).state = State::Partial;
        if !map::set(
            Slab::start(slab),
            1 << order,
            map::Entry::slab(owner, class),
        ) {
            (*slab).state = State::Free;
            pool::give_slab(slab, order);
            return None;
        }
        Some(slab)
    }
}

/// Makes all of a fresh slab's memory read as zero: that of one that went back may still hold what was
/// in it.
///
/// # Safety
/// The caller's thread owns it, and has taken nothing from it.
pub(crate) unsafe fn clear(slab: *mut Slab) {
    // SAFETY: the caller's.
    unsafe {
        for slot in 0..1 << info(slab).order {
            for page in 0..SLOT_PAGES {
                if (*slab.add(slot)).resident & 1 << page != 0 {
                    Slab::start(slab)
                        .add(slot * SLOT + page * PAGE)
                        .write_bytes(0, PAGE);
                }
            }
        }
    }
}

/// Gives a slab back of which every block is free.
///
/// # Safety
/// The caller's thread owns it, it is in no list, and `free == watermark`.
pub(crate) unsafe fn release(slab: *mut Slab) {
    // SAFETY: the caller's.
    unsafe {
        debug_assert_eq!((*slab).free, (*slab).watermark);
        let info = info(slab);
        let order = info.order as usize;
        let mut summary = (*slab).summary;
        while summary != 0 {
            Slab::words(slab, info)
                .add(summary.trailing_zeros() as usize)
                .write(0);
            summary &= summary - 1;
        }
        (*slab).summary = 0;
        (*slab).state = State::Free;
        // What had been purged inside it was taken off what is in use, as all of it is now.
        warm::used(((*slab).holes as usize * PAGE) as isize);
        (*slab).holes = 0;
        map::set(Slab::start(slab), 1 << order, map::Entry::FOREIGN);
        pool::give_slab(slab, order);
    }
}

/// What is fixed for the slab's class.
///
/// # Safety
/// `slab` is a slab.
#[inline(always)]
pub(crate) unsafe fn info(slab: *const Slab) -> &'static ClassInfo {
    // SAFETY: the caller's; the class of a slab is below N_CLASSES.
    unsafe { crate::base::CLASSES.get_unchecked((*slab).class as usize) }
}

/// What is wrong, and with the block at which address.
pub(crate) type Found = (Misuse, usize);

/// The address of the block that the lowest of `bits` in word `w` of the slab's bitmaps stands for.
///
/// # Safety
/// `slab` is a slab.
unsafe fn block_at(slab: *const Slab, w: usize, bits: u64) -> usize {
    let index = w * 64 + bits.trailing_zeros() as usize;
    // SAFETY: the caller's.
    Slab::base(slab) + index * unsafe { info(slab) }.size as usize
}

/// Whether it can hand out a block.
///
/// # Safety
/// The caller's thread owns it.
#[inline(always)]
pub(crate) unsafe fn has_free(slab: *const Slab) -> bool {
    // SAFETY: the caller's.
    unsafe { (*slab).summary != 0 || (*slab).watermark < info(slab).blocks as u32 }
}

/// What a refill brought.
#[derive(Clone, Copy, Default)]
pub(crate) struct Refill {
    /// Blocks written.
    pub(crate) blocks: usize,
    /// How many of them had been freed before.
    pub(crate) reused: usize,
    /// How many of those are on pages that were still resident.
    pub(crate) warm: usize,
    /// Pages above the watermark that had not been resident.
    pub(crate) fresh_pages: usize,
    /// Pages that had been purged.
    pub(crate) refilled_holes: usize,
}

/// Takes up to `want` blocks, those freed before first, each kind in address order, and writes
/// them to `top` and the slots below it, so that they are popped in address order. `step` is how
/// many fresh pages are worth populating at a time; 0 or 1 for none.
///
/// # Safety
/// The caller's thread owns the slab; `want` slots at and below `top` are its own.
pub(crate) unsafe fn refill(
    slab: *mut Slab,
    top: *mut *mut u8,
    want: usize,
    step: usize,
) -> Refill {
    // SAFETY: the caller's; all indices are below the class's blocks by the slab's invariants.
    unsafe {
        let info = info(slab);
        let size = info.size as usize;
        let base = Slab::base(slab);
        let words = Slab::words(slab, info);
        let mut done = Refill::default();
        let mut n = 0;
        while n < want && (*slab).summary != 0 {
            let w = (*slab).summary.trailing_zeros() as usize;
            let mut bits = *words.add(w);
            while bits != 0 && n < want {
                let index = w * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                top.sub(n).write((base + index * size) as *mut u8);
                n += 1;
            }
            words.add(w).write(bits);
            if bits == 0 {
                (*slab).summary &= (*slab).summary - 1;
            }
        }
        (*slab).free -= n as u32;
        if n != 0 {
            (*slab).idle &= *words;
        }
        done.warm = n;
        done.reused = n;
        if (*slab).holes != 0 && n != 0 {
            let holes = (*slab).holes;
            done.warm = fill_holes(slab, top, n, size);
            done.refilled_holes = (holes - (*slab).holes) as usize;
        }
        let fresh = (want - n).min(info.blocks as usize - (*slab).watermark as usize);
        if fresh != 0 {
            let first = base + (*slab).watermark as usize * size;
            for i in 0..fresh {
                top.sub(n + i).write((first + i * size) as *mut u8);
            }
            (*slab).watermark += fresh as u32;
            let step = if size <= POPULATE_MAX { step } else { 0 };
            done.fresh_pages = touch(slab, first - base, fresh * size, step, info);
        }
        done.blocks = n + fresh;
        done
    }
}

/// Notes that the pages of the blocks just taken will be resident again; returns how many of the
/// blocks lie on pages that already were.
unsafe fn fill_holes(slab: *mut Slab, top: *mut *mut u8, n: usize, size: usize) -> usize {
    let mut warm = 0;
    // SAFETY: the blocks are the slab's.
    unsafe {
        for i in 0..n {
            let offset = *top.sub(i) as usize - Slab::base(slab);
            let mut cold = 0;
            for page in offset / PAGE..(offset + size).div_ceil(PAGE) {
                let (of, bit) = (slab.add(page / SLOT_PAGES), 1 << (page % SLOT_PAGES));
                if (*of).resident & bit == 0 {
                    (*of).resident |= bit;
                    cold += 1;
                }
            }
            (*slab).holes -= (cold as u32).min((*slab).holes);
            warm += usize::from(cold == 0);
        }
    }
    warm
}

/// Notes that the pages of `bytes` from `offset` on become resident, and populates `step` pages
/// from the first that is not. Returns how many were not.
unsafe fn touch(
    slab: *mut Slab,
    offset: usize,
    bytes: usize,
    step: usize,
    info: &ClassInfo,
) -> usize {
    let end = (offset + bytes).div_ceil(PAGE);
    let mut first = offset / PAGE;
    // SAFETY: the pages lie in the slab; slot i of it has descriptor i.
    unsafe {
        let is_resident =
            |page: usize| (*slab.add(page / SLOT_PAGES)).resident & 1 << (page % SLOT_PAGES) != 0;
        while first < end && is_resident(first) {
            first += 1;
        }
        if first == end {
            return 0;
        }
        let mut last = end;
        if step > 1 && knobs::POPULATE.get() && !pool::is_huge(slab) {
            let pages = info.slab_bytes() / PAGE;
            let want = (first + step).max(end).min(pages);
            // What is resident behind ends the step: it would be walked for nothing.
            while last < want && !is_resident(last) {
                last += 1;
            }
            if last - first > 1 {
                let fresh = Slab::start(slab).add(first * PAGE);
                huge::populate(fresh, (last - first) * PAGE);
            }
        }
        for page in first..last {
            (*slab.add(page / SLOT_PAGES)).resident |= 1 << (page % SLOT_PAGES);
        }
        last - first
    }
}

/// Takes back the blocks in the slots of a magazine from `top` down, as far as they lie in the slab, and not that in
/// `end`. Returns the slot where that ended.
///
/// # Safety
/// The caller's thread owns the slab, the block at `top` lies in it, and `end` is below `top`.
#[inline(always)]
pub(crate) unsafe fn put(
    slab: *mut Slab,
    info: &ClassInfo,
    top: *mut *mut u8,
    end: *mut *mut u8,
) -> Result<*mut *mut u8, Found> {
    let base = Slab::base(slab);
    let words = Slab::words(slab, info);
    let mut at = top;
    let mut summary = 0;
    // SAFETY: the caller's; the index is below the class's blocks, so the word is the slab's.
    unsafe {
        while at != end {
            let address = *at as usize;
            let offset = address.wrapping_sub(base);
            if offset >= info.slab_bytes() {
                break;
            }
            let index = info.index_of(offset);
            if index * info.size as usize != offset || index >= (*slab).watermark as usize {
                return Err((Misuse::NotABlock, address));
            }
            let word = words.add(index / 64);
            let bit = 1u64 << (index % 64);
            if *word & bit != 0 {
                return Err((Misuse::DoubleFree, address));
            }
            *word |= bit;
            summary |= 1 << (index / 64);
            at = at.sub(1);
        }
        let blocks = top.offset_from(at) as u32;
        (*slab).summary |= summary;
        (*slab).free += blocks;
        (*slab).freed = (*slab).freed.saturating_add(blocks);
    }
    Ok(at)
}

/// Takes back what other threads have freed: moves the remote words into the bitmap. Returns the
/// number of blocks.
///
/// # Safety
/// The caller's thread owns the slab.
pub(crate) unsafe fn drain(slab: *mut Slab) -> Result<usize, Found> {
    // SAFETY: the caller's.
    unsafe {
        let info = info(slab);
        let words = Slab::words(slab, info);
        let remote = Slab::remote(slab, info);
        let mut total = 0;
        for w in 0..((*slab).watermark as usize).div_ceil(64) {
            let word = &*remote.add(w);
            if word.load(Relaxed) == 0 {
                continue;
            }
            // ORDERING: SeqCst pairs with the fetch_or in `remote::deliver`: what the freeing
            // thread did with the block happened before, and see there for the notice.
            let bits = word.swap(0, SeqCst);
            let own = words.add(w);
            if *own & bits != 0 {
                return Err((Misuse::DoubleFree, block_at(slab, w, *own & bits)));
            }
            let last = 63 - bits.leading_zeros();
            if w * 64 + last as usize >= (*slab).watermark as usize {
                return Err((Misuse::NotABlock, block_at(slab, w, 1 << last)));
            }
            *own |= bits;
            (*slab).summary |= 1 << w;
            total += bits.count_ones();
        }
        (*slab).free += total;
        (*slab).freed = (*slab).freed.saturating_add(total);
        Ok(total as usize)
    }
}

/// Makes the counts say what the bitmaps say: a vanished thread may have been in the middle of a change.
///
/// # Safety
/// The caller's thread owns the slab, or has the lock of its class's orphans, and nobody owns it.
pub(crate) unsafe fn recount(slab: *mut Slab) {
    // SAFETY: the caller's.
    unsafe {
        let words = Slab::words(slab, info(slab));
        (*slab).summary = 0;
        (*slab).free = 0;
        for w in 0..((*slab).watermark as usize).div_ceil(64) {
            let bits = *words.add(w);
            (*slab).summary |= u64::from(bits != 0) << w;
            (*slab).free += bits.count_ones();
        }
        let used = (*slab).watermark as usize * info(slab).size as usize;
        let cold = |page: &usize| {
            let (of, bit) = (slab.add(page / SLOT_PAGES), 1 << (page % SLOT_PAGES));
            (*of).resident & bit == 0
        };
        (*slab).holes = (0..used / PAGE).filter(cold).count() as u32;
    }
}

/// Gives back the pages of which every block is free, where at least `least` lie side by side.
/// Returns the bytes.
///
/// # Safety
/// The caller's thread owns the slab.
pub(crate) unsafe fn purge_holes(slab: *mut Slab, least: usize) -> usize {
    // SAFETY: the caller's.
    unsafe {
        (*slab).freed = 0;
        purge_free(slab, Slab::words(slab, info(slab)), least, purge_counted).bytes
    }
}

/// As [`purge_holes`]; what it takes is not counted for the strategy in force, which has no part in it.
///
/// # Safety
/// As [`purge_holes`].
pub(crate) unsafe fn purge_orphan(slab: *mut Slab, least: usize) -> usize {
    // SAFETY: the caller's.
    unsafe {
        (*slab).freed = 0;
        purge_free(slab, Slab::words(slab, info(slab)), least, os::purge).bytes
    }
}

/// Bytes of free blocks that may be resident.
///
/// # Safety
/// The caller's thread owns the slab.
pub(crate) unsafe fn dirty_bytes(slab: *const Slab) -> usize {
    // SAFETY: the caller's.
    unsafe {
        let free = (*slab).free as usize * info(slab).size as usize;
        free.saturating_sub((*slab).holes as usize * PAGE)
    }
}

/// What [`purge_idle`] gave back.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Idle {
    /// Bytes of blocks that had been used.
    pub(crate) holes: usize,
    /// Bytes above the watermark, which nobody counts as free: left resident by who had the slab before.
    pub(crate) beyond: usize,
    /// What else could have gone, or some of it, the system refused.
    pub(crate) refused: bool,
}

/// [`Slab::seen`] of a slab that has not been looked at.
const UNSEEN: u16 = u16::MAX;

/// Forgets what was seen idle: who takes a slab over has not seen it.
///
/// # Safety
/// The caller's thread owns the slab.
pub(crate) unsafe fn forget_idle(slab: *mut Slab) {
    // SAFETY: the caller's.
    unsafe {
        (*slab).idle = 0;
        (*slab).seen = UNSEEN;
    }
}

/// Gives back the pages that were free at the last call and have not been used since: of blocks of a page or more,
/// and those above the watermark. Slabs on huge pages are left alone: for a few small ones a huge one would be lost.
/// What that takes is not counted for the strategy in force, which has no part in it.
///
/// # Safety
/// The caller's thread owns the slab.
pub(crate) unsafe fn purge_idle(slab: *mut Slab) -> Idle {
    let mut gone = Idle::default();
    // SAFETY: the caller's.
    unsafe {
        if pool::is_huge(slab) {
            return gone;
        }
        if info(slab).size as usize >= PAGE {
            // One word: see the assertion.
            let free = *Slab::words(slab, info(slab));
            let idle = core::mem::replace(&mut (*slab).idle, free) & free;
            if idle != 0 {
                let purged = purge_free(slab, &raw const idle, 1, os::purge);
                (gone.holes, gone.refused) = (purged.bytes, purged.refused);
            }
        }
        let watermark = (*slab).watermark as u16;
        if core::mem::replace(&mut (*slab).seen, watermark) == watermark {
            let purged = purge_beyond(slab);
            gone.beyond = purged.bytes;
            gone.refused |= purged.refused;
        }
    }
    gone
}

/// Gives back the pages above the watermark, which hold nothing.
///
/// # Safety
/// The caller's thread owns the slab.
pub(crate) unsafe fn purge_beyond(slab: *mut Slab) -> Purged {
    // SAFETY: the caller's. There are no blocks.
    unsafe {
        let info = info(slab);
        let used = (*slab).watermark as usize * info.size as usize;
        let pages = used.div_ceil(PAGE)..info.slab_bytes() / PAGE;
        purge_pages(slab, pages, 1, |_| true, os::purge)
    }
}

/// [`os::purge`], or something that does the same.
type Purge = unsafe fn(NonNull<u8>, usize) -> bool;

/// As [`os::purge`], for the learning layer to see what it takes.
unsafe fn purge_counted(start: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: the caller's.
    learn::give_back(|| unsafe { os::purge(start, bytes) })
}

const _: () = {
    let mut class = 1;
    while class < N_CLASSES {
        let info = &CLASSES[class];
        assert!((info.size as usize) < PAGE || info.blocks as u32 <= u64::BITS);
        assert!(info.blocks < UNSEEN);
        class += 1;
    }
};

/// What went back.
#[derive(Clone, Copy, Default)]
pub(crate) struct Purged {
    /// So much.
    pub(crate) bytes: usize,
    /// The system refused more.
    pub(crate) refused: bool,
}

/// Gives back the pages below the watermark of which every block is in `words`, which has a bit for each block of
/// the slab, where at least `least` lie side by side, and counts them as holes.
///
/// # Safety
/// The caller's thread owns the slab, and those blocks are free.
unsafe fn purge_free(slab: *mut Slab, words: *const u64, least: usize, purge: Purge) -> Purged {
    // SAFETY: the caller's. A page without a block that is in use has no content.
    unsafe {
        let info = info(slab);
        let watermark = (*slab).watermark as usize;
        // The page that the watermark lies in has blocks without a bit.
        let pages = 0..watermark * info.size as usize / PAGE;
        let all_free = |page: usize| {
            let first = info.index_of(page * PAGE);
            let last = info.index_of(page * PAGE + PAGE - 16).min(watermark - 1);
            all_set(words, first, last)
        };
        let purged = purge_pages(slab, pages, least, all_free, purge);
        (*slab).holes += (purged.bytes / PAGE) as u32;
        purged
    }
}

/// Gives back those of `pages` that may be resident and are `free`, where at least `least` lie side by side.
///
/// # Safety
/// The caller's thread owns the slab, and the pages have no content.
unsafe fn purge_pages(
    slab: *mut Slab,
    pages: core::ops::Range<usize>,
    least: usize,
    free: impl Fn(usize) -> bool,
    purge: Purge,
) -> Purged {
    let mut purged = Purged::default();
    let mut run = 0..0;
    // SAFETY: the caller's.
    unsafe {
        let mut flush = |run: core::ops::Range<usize>| {
            if run.len() < least {
                return;
            }
            pool::before_purge(slab);
            if purge(Slab::start(slab).add(run.start * PAGE), run.len() * PAGE) {
                for page in run.clone() {
                    (*slab.add(page / SLOT_PAGES)).resident &= !(1 << (page % SLOT_PAGES));
                }
                purged.bytes += run.len() * PAGE;
            } else {
                purged.refused = true;
            }
        };
        for page in pages {
            let resident = (*slab.add(page / SLOT_PAGES)).resident & 1 << (page % SLOT_PAGES) != 0;
            if resident && free(page) {
                if run.end == page {
                    run.end += 1;
                } else {
                    flush(run);
                    run = page..page + 1;
                }
            }
        }
        flush(run);
    }
    purged
}

/// Whether the bits from `first` to `last`, both included, are all set.
unsafe fn all_set(words: *const u64, first: usize, last: usize) -> bool {
    let (low, high) = (first / 64, last / 64);
    for w in low..=high {
        let mut mask = u64::MAX;
        if w == low {
            mask &= u64::MAX << (first % 64);
        }
        if w == high {
            mask &= u64::MAX >> (63 - last % 64);
        }
        // SAFETY: the caller's: the words of the slab's bitmap.
        if unsafe { *words.add(w) } & mask != mask {
            return false;
        }
    }
    true
}

/// Bytes of it that may be resident.
///
/// # Safety
/// `slab` is a slab that somebody holds; racy unless the caller owns it.
pub(crate) unsafe fn resident_bytes(slab: *const Slab) -> usize {
    // SAFETY: the caller's.
    unsafe {
        (0..info(slab).slab_bytes() / SLOT)
            .map(|i| (*slab.add(i)).resident.count_ones() as usize * PAGE)
            .sum()
    }
}

/// Checks the invariants on [`Slab`].
///
/// # Safety
/// The caller's thread owns it, or nobody changes it.
pub(crate) unsafe fn check(slab: *const Slab) -> Result<(), &'static str> {
    // SAFETY: the caller's.
    unsafe {
        let info = info(slab);
        if (*slab).watermark > info.blocks as u32 {
            return Err("a slab has handed out more blocks than it has");
        }
        let mut free = 0;
        for w in 0..((*slab).watermark as usize).div_ceil(64) {
            let bits = *Slab::words(slab, info).add(w);
            free += bits.count_ones();
            if ((*slab).summary >> w & 1 != 0) != (bits != 0) {
                return Err("a slab's summary does not fit its bitmap");
            }
        }
        if free != (*slab).free || free > (*slab).watermark {
            return Err("a slab's count of free blocks does not fit its bitmap");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    /// As [`put`], of one block.
    unsafe fn put_one(slab: *mut Slab, class: Class, address: usize) -> Result<(), Misuse> {
        let mut slots = [null_mut(), address as *mut u8];
        let end = slots.as_mut_ptr();
        // SAFETY: the caller's; the slots are ours.
        match unsafe { put(slab, class.info(), end.add(1), end) } {
            Ok(rest) => {
                assert_eq!(rest, end);
                Ok(())
            }
            Err((misuse, at)) => {
                assert_eq!(at, address);
                Err(misuse)
            }
        }
    }

    #[test]
    fn neighbours_of_a_slab_come_back_together() {
        let class = Class::of(64);
        let slabs = [create(class, 1).unwrap(), create(class, 1).unwrap()];
        let mut blocks = [[null_mut::<u8>(); 3]; 2];
        // SAFETY: the slabs are ours, and so are the slots.
        unsafe {
            for (slab, blocks) in slabs.iter().zip(&mut blocks) {
                assert_eq!(refill(*slab, &raw mut blocks[2], 3, 0).blocks, 3);
            }
            let [[a, b, c], [d, e, f]] = blocks;
            // Nobody has been given what lies beyond the watermark.
            let beyond = Slab::base(slabs[0]) + (*slabs[0]).watermark as usize * class.size();
            assert_eq!(put_one(slabs[0], class, beyond), Err(Misuse::NotABlock));
            // From the end of the array down: two of the first slab, two of the second, one of the first.
            let mut slots = [null_mut(), c, d, e, b, a];
            let end = slots.as_mut_ptr();
            let (info, free) = (class.info(), (*slabs[0]).free);
            assert_eq!(put(slabs[0], info, end.add(5), end), Ok(end.add(3)));
            assert_eq!((*slabs[0]).free, free + 2);
            assert_eq!(put(slabs[1], info, end.add(3), end), Ok(end.add(1)));
            assert_eq!(put(slabs[0], info, end.add(1), end), Ok(end));
            let mut slots = [null_mut(), f, f];
            let end = slots.as_mut_ptr();
            let twice = Err((Misuse::DoubleFree, f as usize));
            assert_eq!(put(slabs[1], info, end.add(2), end), twice);
            // That one's second time ended it in the middle.
            (*slabs[1]).free += 1;
            (*slabs[1]).freed += 1;
            for slab in slabs {
                check(slab).unwrap();
                assert_eq!((*slab).free, (*slab).watermark);
                release(slab);
            }
        }
    }

    #[test]
    fn a_run_of_neighbours_may_span_words_and_ends_at_what_is_no_block() {
        for bytes in [64, 1536] {
            let class = Class::of(bytes);
            let slab = create(class, 1).unwrap();
            let mut slots = [null_mut::<u8>(); 81];
            // SAFETY: the slab is ours, and so are the slots.
            unsafe {
                let end = slots.as_mut_ptr();
                assert_eq!(refill(slab, end.add(80), 80, 0).blocks, 80);
                assert_eq!(put(slab, class.info(), end.add(80), end), Ok(end));
                check(slab).unwrap();
                assert_eq!((*slab).free, (*slab).watermark);
                assert_eq!(refill(slab, end.add(80), 79, 0).blocks, 79);
                let inside = (*end.add(80)).add(16);
                end.add(1).write(inside);
                let wrong = Err((Misuse::NotABlock, inside as usize));
                assert_eq!(put(slab, class.info(), end.add(80), end), wrong);
                // The others have come back, into two words.
                (*slab).summary |= 0b11;
                (*slab).free += 79;
                (*slab).freed += 79;
                check(slab).unwrap();
                release(slab);
            }
        }
    }

    /// Fills a slab of `bytes`, frees every `keep`-th block only, looks for holes, takes all again.
    fn life(bytes: usize) {
        let class = Class::of(bytes);
        let slab = create(class, 1).unwrap();
        let all = class.info().blocks as usize;
        let mut blocks: Vec<*mut u8> = std::vec![null_mut(); all];
        // SAFETY: the slab is ours, and so are the slots.
        unsafe {
            let mut taken = 0;
            while taken < all {
                let n = refill(
                    slab,
                    blocks.as_mut_ptr().add(all - 1 - taken),
                    50.min(all - taken),
                    0,
                );
                assert!(n.blocks > 0);
                taken += n.blocks;
            }
            assert!(!has_free(slab));
            blocks.reverse();
            for (i, block) in blocks.iter().enumerate() {
                assert_eq!(*block as usize, Slab::base(slab) + i * class.size());
                block.write_bytes(i as u8, class.size());
            }
            for block in &blocks[..all / 2] {
                put_one(slab, class, *block as usize).unwrap();
                assert_eq!(
                    put_one(slab, class, *block as usize),
                    Err(Misuse::DoubleFree)
                );
            }
            assert_eq!(
                put_one(slab, class, blocks[0] as usize + 1),
                Err(Misuse::NotABlock)
            );
            check(slab).unwrap();
            let purged = purge_holes(slab, 1);
            assert!(purged + 2 * PAGE >= all / 2 * class.size());
            assert_eq!(purge_holes(slab, 1), 0);
            // What a vanished thread leaves half-changed is found again.
            let known = ((*slab).summary, (*slab).free, (*slab).holes);
            ((*slab).summary, (*slab).free, (*slab).holes) = (0, 0, 0);
            recount(slab);
            assert_eq!(((*slab).summary, (*slab).free, (*slab).holes), known);
            for (i, block) in blocks.iter().enumerate().skip(all / 2) {
                assert!(
                    (0..class.size()).all(|at| block.add(at).read() == i as u8),
                    "{bytes} {i}"
                );
            }
            let mut again: Vec<*mut u8> = std::vec![null_mut(); all / 2];
            let n = refill(slab, again.as_mut_ptr().add(all / 2 - 1), all / 2, 0);
            assert_eq!(n.blocks, all / 2);
            assert_eq!((*slab).holes, 0);
            again.reverse();
            assert_eq!(again, blocks[..all / 2]);
            for block in &blocks {
                put_one(slab, class, *block as usize).unwrap();
            }
            check(slab).unwrap();
            release(slab);
        }
    }

    /// What was free at two looks goes back; what was used in between stays, and so does what is in use.
    #[test]
    fn what_is_idle_at_two_looks_goes_back() {
        let class = Class::of(16 << 10);
        let (size, pages) = (class.size(), class.size() / PAGE);
        let slab = create(class, 1).unwrap();
        let mut blocks = [null_mut::<u8>(); 8];
        // SAFETY: the slab is ours, and so are the slots.
        unsafe {
            assert_eq!(refill(slab, &raw mut blocks[7], 8, 0).blocks, 8);
            blocks.reverse();
            for block in blocks {
                block.write_bytes(7, size);
            }
            // Resident from a former use; what else is, is of other tests.
            for slot in 2..1 << class.info().order {
                (*slab.add(slot)).resident = 0;
            }
            let last = slab.add((1 << class.info().order) - 1);
            (*last).resident = 0b11;
            for block in &blocks[..4] {
                put_one(slab, class, *block as usize).unwrap();
            }
            assert_eq!(purge_idle(slab), Idle::default());
            // The first two are used.
            let mut two = [null_mut::<u8>(); 2];
            refill(slab, &raw mut two[1], 2, 0);
            for block in two {
                put_one(slab, class, block as usize).unwrap();
            }
            // Locked memory is refused: it stays what it was, and goes when it can.
            let locked = blocks[2].cast();
            assert_eq!(libc::mlock(locked, size), 0);
            let refused = purge_idle(slab);
            assert_eq!(
                (refused.holes, refused.beyond, refused.refused),
                (0, 2 * PAGE, true)
            );
            assert_eq!((*slab).holes, 0);
            assert_eq!(blocks[2].read(), 7);
            assert_eq!(libc::munlock(locked, size), 0);
            // The first two are used again.
            refill(slab, &raw mut two[1], 2, 0);
            for block in two {
                put_one(slab, class, block as usize).unwrap();
            }
            let idle = purge_idle(slab);
            assert_eq!((idle.holes, idle.beyond), (2 * size, 0));
            assert_eq!((*slab).holes as usize, 2 * pages);
            assert_eq!((*last).resident, 0);
            let idle = purge_idle(slab);
            assert_eq!((idle.holes, idle.beyond), (2 * size, 0));
            for block in &blocks[4..] {
                assert!((0..size).all(|i| block.add(i).read() == 7));
                put_one(slab, class, *block as usize).unwrap();
            }
            check(slab).unwrap();
            release(slab);
        }
        pool::check().unwrap();
    }

    #[test]
    fn a_slab_of_each_size_lives_and_goes() {
        for class in 1..crate::base::N_CLASSES {
            life(Class::from_number(class).unwrap().size());
        }
        pool::check().unwrap();
    }
}
