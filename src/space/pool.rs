//! Where slabs come from and where they go: the SuperSlabs of the process, under one lock.
//!
//! SuperSlabs with free slots stand in lists by the largest slab that fits, so that small slabs do
//! not break up what large ones need. Free slots that are still resident are counted in the warm
//! budget; their SuperSlabs queue by the time when the last such slot came, and the oldest are
//! purged, all such slots of a SuperSlab at a time, when the budget is exceeded. `large` keeps free memory
//! in the same budget: what has lain there for longest goes first, whosever it is.
//!
//! Callers: `slab` (slabs), `large` (whole SuperSlabs for page runs).

use core::ptr::{self, NonNull, null_mut};
use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    compiler_fence,
};

use super::superslab::{HEADER_END, Slab, State, SuperSlab};
use super::{huge, warm};
use crate::base::size::SLOT_PAGES;
use crate::base::{Hook, PAGE, SLOT, SLOTS, SUPERSLAB, knobs};
use crate::learn;
use crate::os;
use crate::sync::Lock;

/// Orders of slabs: 64, 128, 256 and 512 KiB.
const ORDERS: usize = 4;
/// The list of SuperSlabs that are free as a whole.
const EMPTY: usize = ORDERS;
/// Not in a list: nothing free.
const NONE: u8 = 0xff;
/// All slots but the header's.
const ALL: u32 = !1;
/// SuperSlabs mapped by one call, at most.
const BATCH_MAX: usize = 16;
/// With fewer SuperSlabs than this, each hole between them may be a mapping more: `vm.max_map_count`
/// is 65,530. With more, those free as a whole stay mapped while they are less than a quarter.
const FEW: usize = 8192;
struct Pool {
    lists: [*mut SuperSlab; ORDERS + 1],
    oldest: *mut SuperSlab,
    newest: *mut SuperSlab,
    /// The SuperSlab mapped last; the others follow by `earlier`.
    last: *mut SuperSlab,
    /// SuperSlabs, and how many of them are free as a whole.
    count: usize,
    empty: usize,
    /// Bytes of free slots that are resident: the pool's part of the warm memory.
    warm: isize,
}

// SAFETY: the pointers are to headers that only the holder of the lock uses.
unsafe impl Send for Pool {}

const NEW: Pool = Pool {
    lists: [null_mut(); ORDERS + 1],
    oldest: null_mut(),
    newest: null_mut(),
    last: null_mut(),
    count: 0,
    empty: 0,
    warm: 0,
};

static POOL: Lock<Pool> = Lock::new(NEW);
/// Who else keeps free memory in the warm budget. Its calls are made without a lock of this module.
pub(crate) struct Keeper {
    /// When the oldest of it was last added to, in ms; `None`: there is none.
    pub(crate) oldest: fn() -> Option<u32>,
    /// Gives the oldest of it back. False if there is none.
    pub(crate) give_oldest: fn() -> bool,
}

/// The other keeper, or NULL. It is a static, so there is nothing to order.
static OTHER: AtomicPtr<Keeper> = AtomicPtr::new(null_mut());

/// Tells whether no thread is delivering frees (see `slab::remote::Flight`); set by `heap`.
// SAFETY: a type of function pointers.
static NOBODY_DELIVERS: Hook<fn() -> bool> = unsafe { Hook::unset() };
/// SuperSlabs, slabs taken and given, slots purged: for reports.
pub(crate) static SUPERSLABS: AtomicU64 = AtomicU64::new(0);
/// See [`SUPERSLABS`].
pub(crate) static SLABS_TAKEN: AtomicU64 = AtomicU64::new(0);
/// See [`SUPERSLABS`].
pub(crate) static SLABS_GIVEN: AtomicU64 = AtomicU64::new(0);

/// Where groups of free slots for a slab of `order` begin.
const fn groups(free: u32, order: usize) -> u32 {
    let mut groups = free;
    if order >= 1 {
        groups &= groups >> 1 & 0x5555_5555;
    }
    if order >= 2 {
        groups &= groups >> 2 & 0x1111_1111;
    }
    if order >= 3 {
        groups &= groups >> 4 & 0x0101_0101;
    }
    groups
}

/// The slots of a slab of `order` that starts at `slot`.
const fn span(slot: usize, order: usize) -> u32 {
    (((1u64 << (1 << order)) - 1) as u32) << slot
}

impl Pool {
    /// Puts `ss` into the list that its free slots ask for.
    unsafe fn relist(&mut self, ss: *mut SuperSlab) {
        // SAFETY: the lock is held; `ss` and its neighbours are headers.
        unsafe {
            let list = match (*ss).free {
                0 => NONE,
                ALL => EMPTY as u8,
                free => {
                    let mut order = ORDERS - 1;
                    while groups(free, order) == 0 {
                        order -= 1;
                    }
                    order as u8
                }
            };
            if list == (*ss).list {
                return;
            }
            self.empty += usize::from(list as usize == EMPTY);
            self.empty -= usize::from((*ss).list as usize == EMPTY);
            if (*ss).list != NONE {
                if (*ss).prev.is_null() {
                    self.lists[(*ss).list as usize] = (*ss).next;
                } else {
                    (*(*ss).prev).next = (*ss).next;
                }
                if !(*ss).next.is_null() {
                    (*(*ss).next).prev = (*ss).prev;
                }
            }
            (*ss).list = list;
            if list != NONE {
                let head = self.lists[list as usize];
                (*ss).prev = null_mut();
                (*ss).next = head;
                if !head.is_null() {
                    (*head).prev = ss;
                }
                self.lists[list as usize] = ss;
            }
        }
    }

    /// Enters `ss` into the queue of those with free resident slots, or takes it out, as it should.
    unsafe fn requeue(&mut self, ss: *mut SuperSlab) {
        // SAFETY: the lock is held; `ss` and its neighbours are headers.
        unsafe {
            if (*ss).dirty == 0 {
                self.dequeue(ss);
            } else if !(*ss).queued {
                (*ss).queued = true;
                (*ss).older = self.newest;
                (*ss).newer = null_mut();
                if self.newest.is_null() {
                    self.oldest = ss;
                } else {
                    (*self.newest).newer = ss;
                }
                self.newest = ss;
            }
        }
    }

    /// Takes `ss` out of that queue if it is in it.
    unsafe fn dequeue(&mut self, ss: *mut SuperSlab) {
        // SAFETY: the lock is held; `ss` and its neighbours are headers.
        unsafe {
            if !(*ss).queued {
                return;
            }
            (*ss).queued = false;
            if (*ss).older.is_null() {
                self.oldest = (*ss).newer;
            } else {
                (*(*ss).older).newer = (*ss).newer;
            }
            if (*ss).newer.is_null() {
                self.newest = (*ss).older;
            } else {
                (*(*ss).newer).older = (*ss).older;
            }
        }
    }

    /// Takes the slots in `mask` out of the free ones.
    unsafe fn remove(&mut self, ss: *mut SuperSlab, mask: u32) {
        // SAFETY: the lock is held.
        unsafe {
            self.keep(-(resident_bytes(ss, mask & (*ss).dirty) as isize));
            (*ss).free &= !mask;
            (*ss).dirty &= !mask;
            self.relist(ss);
            self.requeue(ss);
        }
    }

    /// Adds the slots in `mask` to the free ones; `dirty` of them have resident pages.
    unsafe fn insert(&mut self, ss: *mut SuperSlab, mask: u32, dirty: u32) {
        // SAFETY: the lock is held.
        unsafe {
            (*ss).free |= mask;
            (*ss).dirty |= dirty;
            self.relist(ss);
            if dirty != 0 {
                (*ss).stamp = os::now_ms() as u32;
                if self.newest != ss {
                    self.dequeue(ss);
                }
            }
            self.requeue(ss);
            self.keep(resident_bytes(ss, dirty) as isize);
        }
    }

    fn keep(&mut self, bytes: isize) {
        self.warm += bytes;
        warm::keep(bytes);
    }

    /// Maps SuperSlabs, more at once the more there are. False when not even one can be had.
    fn grow(&mut self) -> bool {
        let piecewise = !knobs::SUPERSLABS.get();
        let batch = if knobs::BATCH.get() && !piecewise {
            (self.count / 8).clamp(1, BATCH_MAX)
        } else {
            1
        };
        for batch in [batch, 1] {
            let bytes = batch * SUPERSLAB;
            let start = if piecewise {
                os::reserve_aligned(bytes, SUPERSLAB)
            } else {
                os::map_aligned(0, bytes, SUPERSLAB)
            };
            let Some(start) = start else { continue };
            // SAFETY: just reserved by us.
            if piecewise && !unsafe { os::commit(start, SLOT) } {
                // SAFETY: nobody has seen it.
                unsafe { os::discard_reserved(start, bytes) };
                continue;
            }
            let huge = !piecewise && huge::advise(start, bytes, self.count);
            for i in (0..batch).rev() {
                // SAFETY: fresh zeroed memory, ours alone, and a zeroed header is valid.
                unsafe { self.enter(start.add(i * SUPERSLAB).cast(), piecewise, huge) };
            }
            return true;
        }
        false
    }

    /// Counts all free slots of a SuperSlab as resident that had huge pages: its first touch may have
    /// made them so, although nobody has used them.
    unsafe fn count_unused(&mut self, ss: *mut SuperSlab) {
        // SAFETY: the lock is held; free slots are its holder's.
        unsafe {
            let unused = (*ss).free & !(*ss).dirty;
            let mut left = unused;
            while left != 0 {
                (*ss).slabs[left.trailing_zeros() as usize].resident = u16::MAX;
                left &= left - 1;
            }
            self.insert(ss, 0, unused);
        }
    }

    unsafe fn enter(&mut self, ss: NonNull<SuperSlab>, piecewise: bool, huge: bool) {
        let ss = ss.as_ptr();
        // SAFETY: the caller's: a zeroed header that nobody else knows of.
        unsafe {
            (*ss).list = NONE;
            (*ss).piecewise = piecewise;
            (*ss).huge = AtomicBool::new(huge);
            self.link_to_all(ss);
            self.insert(ss, ALL, 0);
        }
    }
}

/// Tells this module how deliveries under way are found. Before the first one.
pub(crate) fn set_nobody_delivers(check: fn() -> bool) {
    NOBODY_DELIVERS.set(check);
}

impl Pool {
    /// Whether one more SuperSlab that is free as a whole should rather be unmapped.
    fn has_too_many_empty(&self) -> bool {
        self.count < FEW || self.empty > self.count / 4
    }

    /// Unmaps a SuperSlab that is free as a whole and in no list of the pool. False if some thread
    /// may still use its header, or the system refuses.
    unsafe fn unmap(&mut self, ss: *mut SuperSlab) -> bool {
        let Some(check) = NOBODY_DELIVERS.get() else {
            return false;
        };
        // SAFETY: the lock is held, and all slots are this thread's. After the check nobody can
        // come by a pointer to this header: there is no block in it to free, and no notice of it
        // in a queue.
        unsafe {
            // Twice: a delivery is counted before it sets `pending`, and the walk of a queue before
            // it clears it.
            if !check()
                || (1..SLOTS).any(|slot| {
                    let slab = &raw const (*ss).slabs[slot];
                    // ORDERING: Acquire pairs with the store that ends the notice.
                    Slab::notice(slab).pending.load(Acquire) != 0
                })
                || !check()
            {
                return false;
            }
            // Out of the list first: a fork in between must find only what is mapped.
            self.unlink_from_all(ss);
            if !os::unmap(NonNull::new_unchecked(ss.cast()), SUPERSLAB) {
                self.link_to_all(ss);
                return false;
            }
            true
        }
    }

    /// Adds a SuperSlab to the list of all.
    unsafe fn link_to_all(&mut self, ss: *mut SuperSlab) {
        // SAFETY: the lock is held.
        unsafe {
            (*ss).later = null_mut();
            (*ss).earlier = self.last;
            if !self.last.is_null() {
                (*self.last).later = ss;
            }
        }
        // What is in the list is linked, for a child of a fork that walks it.
        compiler_fence(Release);
        self.last = ss;
        self.count += 1;
        SUPERSLABS.fetch_add(1, Relaxed);
    }

    /// Takes it out.
    unsafe fn unlink_from_all(&mut self, ss: *mut SuperSlab) {
        // SAFETY: the lock is held.
        unsafe {
            let (earlier, later) = ((*ss).earlier, (*ss).later);
            if later.is_null() {
                self.last = earlier;
            } else {
                (*later).earlier = earlier;
            }
            if !earlier.is_null() {
                (*earlier).later = later;
            }
        }
        self.count -= 1;
        SUPERSLABS.fetch_sub(1, Relaxed);
    }
}

/// Returns the address space of SuperSlabs that are free as a whole. False if there were none.
pub(crate) fn unmap_empty() -> bool {
    let mut pool = POOL.lock();
    let mut done = false;
    let mut ss = pool.lists[EMPTY];
    while !ss.is_null() {
        // SAFETY: the lock is held.
        unsafe {
            let next = (*ss).next;
            let dirty = (*ss).dirty;
            pool.remove(ss, ALL);
            if pool.unmap(ss) {
                done = true;
            } else {
                pool.insert(ss, ALL, dirty);
            }
            ss = next;
        }
    }
    done
}

unsafe fn resident_bytes(ss: *const SuperSlab, mut slots: u32) -> usize {
    let mut pages = 0;
    while slots != 0 {
        // SAFETY: the slots are free, so the holder of the lock owns their descriptors.
        pages += unsafe {
            (*ss).slabs[slots.trailing_zeros() as usize]
                .resident
                .count_ones()
        };
        slots &= slots - 1;
    }
    pages as usize * PAGE
}

/// A slab of `order` (64 KiB << order), with its descriptor reset except for `resident`, and its
/// bitmap zero. `None`: out of memory.
pub(crate) fn take_slab(order: usize) -> Option<NonNull<Slab>> {
    let mut pool = POOL.lock();
    let ss = loop {
        if let Some(ss) = pool.lists[order..].iter().find(|ss| !ss.is_null()) {
            break *ss;
        }
        if !pool.grow() {
            return None;
        }
    };
    // SAFETY: the lock is held, and the lists hold headers with a fitting group.
    unsafe {
        let free = groups((*ss).free, order);
        let warm = free & (*ss).dirty;
        let slot = if warm != 0 { warm } else { free }.trailing_zeros() as usize;
        pool.remove(ss, span(slot, order));
        let piecewise = (*ss).piecewise;
        drop(pool);
        let slab = &raw mut (*ss).slabs[slot];
        if piecewise && !os::commit(Slab::start(slab), SLOT << order) {
            POOL.lock().insert(ss, span(slot, order), 0);
            return None;
        }
        if (*ss).huge.load(Relaxed) {
            // The first touch of any page makes them all resident.
            for i in 0..1 << order {
                (*slab.add(i)).resident = u16::MAX;
            }
        }
        SLABS_TAKEN.fetch_add(1, Relaxed);
        warm::used((SLOT << order) as isize);
        NonNull::new(slab)
    }
}

/// Takes a slab back, and gives the oldest free memory to the system if too much is warm.
///
/// # Safety
/// The slab came from [`take_slab`] with this order, all its blocks are free, its bitmap and
/// remote words are zero, its map entries are cleared, and its `resident` fields are right.
pub(crate) unsafe fn give_slab(slab: *mut Slab, order: usize) {
    let ss = SuperSlab::around(slab as usize);
    warm::used(-((SLOT << order) as isize));
    warm::tick(SLOT << order);
    SLABS_GIVEN.fetch_add(1, Relaxed);
    // SAFETY: the caller owns the slab's slots until they are inserted.
    unsafe {
        let slot = (slab as usize - &raw const (*ss).slabs as usize) / size_of::<Slab>();
        let mask = span(slot, order);
        if (*ss).piecewise && os::decommit(Slab::start(slab), SLOT << order) {
            for i in 0..1 << order {
                (*ss).slabs[slot + i].resident = 0;
            }
        }
        let mut dirty = 0;
        for i in slot..slot + (1 << order) {
            if (*ss).slabs[i].resident != 0 {
                dirty |= 1 << i;
            }
        }
        POOL.lock().insert(ss, mask, dirty);
    }
    meet_budget();
}

/// Has memory of `keeper` given back, too, when the budget is exceeded.
pub(crate) fn set_other(keeper: &'static Keeper) {
    if OTHER.load(Relaxed).is_null() {
        OTHER.store(ptr::from_ref(keeper).cast_mut(), Relaxed);
    }
}

/// Gives free memory back to the system if the budget is exceeded, oldest first, until it is met.
pub(crate) fn meet_budget() {
    if warm::must_purge() {
        purge_oldest_of_all();
    }
}

#[cold]
#[inline(never)]
fn purge_oldest_of_all() {
    // SAFETY: only `set_other` writes it.
    let other = unsafe { OTHER.load(Relaxed).as_ref() };
    let mut refused = false;
    while warm::excess() > 0 {
        let own = if refused { None } else { oldest() };
        let theirs = other.and_then(|other| (other.oldest)());
        let own_first = match (own, theirs) {
            (None, None) => break,
            (Some(own), Some(theirs)) => !is_before(theirs, own),
            (own, _) => own.is_some(),
        };
        if own_first {
            refused = purge_oldest().is_none();
        } else if !other.is_some_and(|other| (other.give_oldest)()) {
            // Another thread has done it.
            break;
        }
    }
}

/// Whether one time in ms is before another: they wrap.
pub(crate) fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// When the oldest SuperSlab with free resident slots last got one, if there is any.
fn oldest() -> Option<u32> {
    let pool = POOL.lock();
    // SAFETY: the lock is held; the queue holds headers.
    unsafe { pool.oldest.as_ref().map(|ss| ss.stamp) }
}

/// Gives free slots back to the system, oldest first, until at most `target` warm bytes are left.
/// False when nothing was given back.
pub(crate) fn purge_to(target: usize) -> bool {
    let mut done = false;
    while warm::WARM.load(Relaxed) > target as isize
        && let Some(bytes) = purge_oldest()
    {
        done |= bytes > 0;
    }
    done
}

/// Gives the free slots of the oldest SuperSlab that has resident ones back to the system: so many bytes. `None` if there
/// are none, or the system refuses.
fn purge_oldest() -> Option<usize> {
    let mut pool = POOL.lock();
    let ss = pool.oldest;
    if ss.is_null() {
        return None;
    }
    // SAFETY: the lock is held. The slots are taken out while the system works on them, so the
    // lock need not be held meanwhile.
    unsafe {
        let dirty = (*ss).dirty;
        let bytes = resident_bytes(ss, dirty);
        // With huge pages, slots that were never used may be resident as well.
        let whole = (*ss).free == ALL || (*ss).huge.load(Relaxed);
        let mask = if whole { (*ss).free } else { dirty };
        pool.remove(ss, mask);
        // Unmapped, it can be mapped with a huge page again; emptied, it never will have one.
        let rather_unmap = (*ss).huge.load(Relaxed) || pool.has_too_many_empty();
        if mask == ALL && rather_unmap && learn::give_back(|| pool.unmap(ss)) {
            warm::gave_back(bytes);
            return Some(bytes);
        }
        drop(pool);
        let refused = learn::give_back(|| purge_slots(ss, mask)) & dirty;
        POOL.lock().insert(ss, mask, refused);
        if refused == dirty {
            // Refused (locked memory, say): it would be refused again.
            return None;
        }
        warm::gave_back(bytes);
        Some(bytes)
    }
}

/// Whether the slab's SuperSlab has asked for huge pages.
///
/// # Safety
/// The slab is somebody's.
pub(crate) unsafe fn is_huge(slab: *const Slab) -> bool {
    // SAFETY: the caller's: headers of slabs in use stay.
    unsafe { (*SuperSlab::around(slab as usize)).huge.load(Relaxed) }
}

/// Before a part of a SuperSlab is purged: the kernel must not fill the hole again by joining what is
/// left into a huge page.
///
/// # Safety
/// The slab is somebody's, or its slot is taken out of the pool.
pub(crate) unsafe fn before_purge(slab: *const Slab) {
    let ss = SuperSlab::around(slab as usize);
    // SAFETY: the caller's.
    unsafe {
        if (*ss).huge.load(Relaxed) && (*ss).huge.swap(false, Relaxed) {
            let start = NonNull::new_unchecked(ss.cast::<u8>());
            if SUPERSLABS.load(Relaxed) < FEW as u64 {
                // It may cost a mapping more.
                os::no_huge_pages(start, SUPERSLAB);
            }
            // The end of the header is not used.
            os::purge(start.add(HEADER_END), SLOT - HEADER_END);
            POOL.lock().count_unused(ss);
        }
    }
}

/// Purges the slots in `mask`, neighbours together; returns those that stayed resident. If they are
/// all that there are, so go the bitmaps and remote words, which are zero.
unsafe fn purge_slots(ss: *mut SuperSlab, mask: u32) -> u32 {
    // SAFETY: the slots are free and taken out of the pool: this thread's alone.
    unsafe {
        before_purge((&raw const (*ss).slabs).cast());
        if mask == ALL {
            let start = NonNull::new_unchecked(ss.cast::<u8>().add(PAGE));
            if os::purge(start, SUPERSLAB - PAGE) {
                let slabs = &mut (*ss).slabs;
                for slab in &mut slabs[1..] {
                    slab.resident = 0;
                }
                return 0;
            }
        }
    }
    let mut refused = 0;
    let mut left = mask;
    while left != 0 {
        let first = left.trailing_zeros() as usize;
        let count = (left >> first).trailing_ones() as usize;
        let run = (((1u64 << count) - 1) as u32) << first;
        left &= !run;
        // SAFETY: the slots are free and taken out of the pool: this thread's alone.
        unsafe {
            let start = NonNull::new_unchecked(ss.cast::<u8>().add(first * SLOT));
            if os::purge(start, count * SLOT) {
                for slot in first..first + count {
                    (*ss).slabs[slot].resident = 0;
                }
            } else {
                refused |= run;
            }
        }
    }
    refused
}

/// A whole SuperSlab, for page runs. The borrower may use all of it
/// from byte `superslab::LENT_FROM` on; the content is undefined. `None`: out of memory.
pub(crate) fn take_superslab() -> Option<NonNull<u8>> {
    let mut pool = POOL.lock();
    loop {
        let mut ss = pool.lists[EMPTY];
        // SAFETY: the lock is held.
        unsafe {
            while !ss.is_null() && (*ss).piecewise {
                ss = (*ss).next;
            }
            if !ss.is_null() {
                if (*ss).huge.swap(false, Relaxed) {
                    os::no_huge_pages(NonNull::new_unchecked(ss.cast()), SUPERSLAB);
                    pool.count_unused(ss);
                }
                pool.remove(ss, ALL);
                (*ss).lent = true;
                return NonNull::new(ss.cast());
            }
        }
        if !knobs::SUPERSLABS.get() {
            let fresh = os::map_aligned(0, SUPERSLAB, SUPERSLAB)?;
            // SAFETY: fresh memory, ours alone.
            unsafe { pool.enter(fresh.cast(), false, false) };
        } else if !pool.grow() {
            return None;
        }
    }
}

/// Takes a lent SuperSlab back; `resident_bytes` of it, without the header, may be resident.
///
/// # Safety
/// It came from [`take_superslab`], nothing in it is used, its map entries are cleared.
pub(crate) unsafe fn give_superslab(start: NonNull<u8>, resident_bytes: usize) {
    let ss: *mut SuperSlab = start.as_ptr().cast();
    // SAFETY: the borrower's, until it is inserted. The parts of the header that were lent are
    // made what slabs expect: zero.
    unsafe {
        {
            let mut pool = POOL.lock();
            if pool.has_too_many_empty() && pool.unmap(ss) {
                return;
            }
        }
        ptr::write_bytes(
            (&raw mut (*ss).slabs).cast::<u8>(),
            0,
            size_of_val(&(*ss).slabs),
        );
        let header = start.add(PAGE);
        if !os::purge(header, SLOT - PAGE) {
            ptr::write_bytes(header.as_ptr(), 0, SLOT - PAGE);
        }
        let dirty = if resident_bytes == 0 { 0 } else { ALL };
        if dirty != 0 {
            // Which pages they are is not known; count them as they were counted to us.
            let per_slot = (resident_bytes / PAGE).div_ceil(SLOTS - 1).min(SLOT_PAGES);
            let slabs = &mut (*ss).slabs;
            for slab in &mut slabs[1..] {
                slab.resident = ((1u32 << per_slot) - 1) as u16;
            }
        }
        let mut pool = POOL.lock();
        (*ss).lent = false;
        pool.insert(ss, ALL, dirty);
    }
}

/// Bytes of free slots that are resident.
pub(crate) fn warm() -> isize {
    POOL.lock().warm
}

/// Maps the first SuperSlab now (`HAKMEM_TINY_PREALLOCATE`).
pub(crate) fn preallocate() {
    let mut pool = POOL.lock();
    if pool.count == 0 {
        pool.grow();
    }
}

/// Calls `f` for each slab that somebody holds, under the pool's lock. What the slab says is racy
/// while other threads run: for reports and checks.
pub(crate) fn each_slab(f: impl FnMut(*mut Slab)) {
    POOL.lock().each_slab(f);
}

/// As [`each_slab`], in a process that is new.
///
/// # Safety
/// As for [`Lock::recover`]; the calling thread does not hold the pool's lock.
pub(crate) unsafe fn each_slab_alone(f: impl FnMut(*mut Slab)) {
    // SAFETY: the caller's.
    unsafe { (*POOL.value()).each_slab(f) };
}

impl Pool {
    fn each_slab(&self, mut f: impl FnMut(*mut Slab)) {
        let mut ss = self.last;
        while !ss.is_null() {
            // SAFETY: the lock is held: a SuperSlab is unmapped under it only.
            unsafe {
                if !(*ss).lent {
                    for slot in 1..SLOTS {
                        let slab = &raw mut (*ss).slabs[slot];
                        if (*ss).free & 1 << slot == 0 && (*slab).state != State::Free {
                            f(slab);
                        }
                    }
                }
                ss = (*ss).earlier;
            }
        }
    }
}

/// Walks the lists and the queue: what each header says must be what they say.
pub(crate) fn check() -> Result<(), &'static str> {
    let pool = POOL.lock();
    // SAFETY: the lock is held.
    unsafe {
        for (list, head) in pool.lists.iter().enumerate() {
            let (mut ss, mut before) = (*head, null_mut());
            while !ss.is_null() {
                if (*ss).list as usize != list || (*ss).prev != before {
                    return Err("a SuperSlab is in a list that it does not name");
                }
                if (*ss).dirty & !(*ss).free != 0 || (*ss).free & 1 != 0 {
                    return Err("a SuperSlab has slots that are warm and not free");
                }
                if (*ss).queued != ((*ss).dirty != 0) {
                    return Err("a SuperSlab with warm slots is not queued");
                }
                before = ss;
                ss = (*ss).next;
            }
        }
        let (mut ss, mut later, mut count) = (pool.last, null_mut(), 0);
        while !ss.is_null() {
            if (*ss).later != later {
                return Err("the list of all SuperSlabs is not linked both ways");
            }
            later = ss;
            ss = (*ss).earlier;
            count += 1;
        }
        if count != pool.count {
            return Err("the list of all SuperSlabs is not as long as it should be");
        }
        pool.check_queue()
    }
}

impl Pool {
    /// Walks the queue by age.
    unsafe fn check_queue(&self) -> Result<(), &'static str> {
        let (mut ss, mut before) = (self.oldest, null_mut::<SuperSlab>());
        // SAFETY: the lock is held; the queue holds headers.
        unsafe {
            while !ss.is_null() {
                if (*ss).older != before || !(*ss).queued || (*ss).dirty == 0 {
                    return Err("a SuperSlab is in the queue by age that should not be");
                }
                if !before.is_null() && is_before((*ss).stamp, (*before).stamp) {
                    return Err("the queue by age is not in order");
                }
                before = ss;
                ss = (*ss).newer;
            }
        }
        if self.newest == before {
            Ok(())
        } else {
            Err("the queue by age does not end where it should")
        }
    }
}

/// In the child of a fork: if a thread that is gone held the lock, forgets what was free (it may
/// be half-linked) and starts anew. Returns the bytes that the pool keeps warm.
///
/// # Safety
/// As for [`Lock::recover`].
pub(crate) unsafe fn after_fork() -> isize {
    // SAFETY: the caller's. What is in the list of all is linked and mapped, whoever was changing it.
    unsafe {
        POOL.recover(|pool| {
            let last = pool.last;
            let (mut ss, mut later, mut count) = (last, null_mut(), 0);
            while !ss.is_null() {
                // By `earlier` it is whole at each moment; that way alone.
                (*ss).later = later;
                later = ss;
                // Slots that come back later start new lists.
                (*ss).free = 0;
                (*ss).dirty = 0;
                (*ss).list = NONE;
                (*ss).queued = false;
                ss = (*ss).earlier;
                count += 1;
            }
            *pool = Pool { last, count, ..NEW };
            SUPERSLABS.store(count as u64, Relaxed);
        });
        (*POOL.value()).warm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_aligned_and_whole() {
        assert_eq!(groups(ALL, 0), ALL);
        assert_eq!(groups(ALL, 1), 0x5555_5554);
        assert_eq!(groups(ALL, 2), 0x1111_1110);
        assert_eq!(groups(ALL, 3), 0x0101_0100);
        assert_eq!(groups(0b1110, 1), 0b100);
        assert_eq!(span(8, 3), 0xff00);
        assert_eq!(span(24, 3), 0xff00_0000);
    }

    #[test]
    fn what_huge_pages_made_resident_is_counted_when_they_go() {
        let ss: *mut SuperSlab = os::map_aligned(0, SUPERSLAB, SUPERSLAB)
            .unwrap()
            .as_ptr()
            .cast();
        let mut pool = NEW;
        // SAFETY: fresh memory of our own, in a pool of our own.
        unsafe {
            pool.enter(NonNull::new_unchecked(ss), false, true);
            pool.remove(ss, span(8, 3));
            pool.count_unused(ss);
            assert_eq!((*ss).dirty, ALL & !span(8, 3));
            assert_eq!(
                resident_bytes(ss, (*ss).dirty),
                SUPERSLAB - SLOT - (SLOT << 3)
            );
            assert_eq!((*ss).slabs[8].resident, 0);
            assert!((*ss).queued && pool.oldest == ss);
            // The sums for reports are of the process.
            pool.remove(ss, (*ss).free);
            pool.unlink_from_all(ss);
            assert!(os::unmap(NonNull::new_unchecked(ss.cast()), SUPERSLAB));
        }
    }

    #[test]
    fn the_superslab_that_got_no_free_slot_for_longest_is_the_oldest() {
        use crate::os::process::in_child;
        extern crate std;
        assert!(in_child(|| {
            let mut pool = NEW;
            let layout = core::alloc::Layout::new::<SuperSlab>();
            // SAFETY: zeroed headers are valid, and nobody else knows of these.
            unsafe {
                let [a, b] = [(); 2].map(|()| std::alloc::alloc_zeroed(layout).cast::<SuperSlab>());
                for ss in [a, b] {
                    (*ss).list = NONE;
                    pool.insert(ss, 1 << 1, 1 << 1);
                }
                let first = (pool.oldest, pool.newest) == (a, b);
                pool.insert(a, 1 << 2, 1 << 2);
                let then = (pool.oldest, pool.newest) == (b, a) && pool.check_queue().is_ok();
                pool.insert(b, 1 << 2, 0);
                pool.remove(b, 1 << 1);
                let last = (pool.oldest, pool.newest) == (a, a) && !(*b).queued;
                first && then && last && pool.check_queue().is_ok()
            }
        }));
    }

    #[test]
    fn slabs_come_zeroed_and_go_back() {
        for order in [0, 3, 1, 2, 0, 3] {
            let slab = take_slab(order).unwrap().as_ptr();
            let start = Slab::start(slab);
            assert_eq!(start.as_ptr() as usize % (SLOT << order), 0);
            // SAFETY: the slab is ours.
            unsafe {
                (*slab).resident = 1;
                start.write(1);
                give_slab(slab, order);
            }
            check().unwrap();
        }
        while purge_to(0) {}
    }
}
