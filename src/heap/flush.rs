//! A full magazine gets room; blocks of other heaps go to their outbox; slabs that emptied, and
//! pages inside slabs that did, go back.

use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use core::ptr::null_mut;
use core::sync::atomic::Ordering::Relaxed;

use super::refill::report;
use super::{ClassState, Heap, current, magazine, orphans, tls};
use crate::base::class::MAGAZINE_MAX;
use crate::base::{CLASSES, Class, ClassInfo, N_CLASSES, PAGE, knobs};
use crate::large;
use crate::learn::{demand, monitor::LONGEST_PATIENCE_MS};
use crate::os;
use crate::slab::{self, Misuse, Slab, State, remote};
use crate::space::{huge, map, warm};
use crate::sync::primitive::{AtomicU32, AtomicU64};

/// Bytes that a class keeps behind its first magazine, at most.
const STACK_BYTES: usize = 1 << 20;
/// Magazines' worth of blocks, at most.
const STACK_MAX: usize = 64;
/// Bytes that all that stays behind first magazines of a heap may pin, at least; at most the heap's share of what may
/// stay free in the process: who goes idle after a burst keeps its magazines.
const PINNED_MIN: usize = 512 << 10;
/// Empty magazines that a heap keeps.
const SPARES: u32 = 16;
/// Free bytes inside slabs in use that are not worth a look.
const HOLES_MIN: usize = 1 << 20;
/// Larger blocks of others are not kept waiting: few of them are many bytes.
const OUTBOX_BLOCK_MAX: usize = 4096;
/// Flushes without a refill between them, or bytes flushed so, after which a class is taken to be shrinking. If it
/// is nearly empty, too, its magazine gets little room: each block in it keeps a page, and perhaps a slab, from
/// going back.
const SHRINKING: u16 = 16;
/// See [`SHRINKING`].
const SHRINKING_BYTES: usize = 256 << 10;
/// That room.
const SHRINKING_ROOM: usize = 4;
/// Slabs of a class that are mostly free are gathered into few if there are more than this.
const FEW_SLABS: u32 = 4;
/// Room in the magazine of such a class: with little, blocks come back to their slabs soon.
pub(super) const GATHER_ROOM: usize = 16;
/// With as many flushes without a refill between them, or refills without a flush, it does not swing,
/// but shrinks or grows, and there is nothing to gather.
pub(super) const ONE_WAY: u16 = 3;
/// Gathering ends when as many blocks have come back as this many times those there are, and no slab
/// has become free.
const GATHER_TIMES: usize = 16;
/// Pages that must be free side by side to be worth a system call.
pub(super) const RUN_MIN: usize = 2;
/// Idle pages are looked for no sooner than this after the last look, in ms: what was free for as long goes back.
/// No patience is longer, so nobody would have paid as much for keeping it.
const IDLE_MS: u64 = LONGEST_PATIENCE_MS as u64;
/// Slabs that one look takes, and bytes that it gives back, about, at most: somebody's malloc or free waits for it.
/// The next look goes on where this one ended.
const IDLE_SLABS: usize = if cfg!(test) { 16 } else { 2048 };
/// See [`IDLE_SLABS`].
const IDLE_BYTES: usize = 4 << 20;
/// Slabs of a class that a look walks past to where the last one ended, about, at most.
const WALK: usize = 16 * IDLE_SLABS;
/// Where the system refuses to take memory, as it does when all is locked, it is not asked again for so long.
const REFUSED_MS: u64 = 60_000;

/// Bytes that so many free blocks of a class, here and there, may keep resident.
fn pages_of(blocks: usize, info: &ClassInfo) -> usize {
    blocks * (info.size as usize).max(PAGE)
}

/// What a class is charged for `kept` blocks behind its first magazine, while the program has `used`. Not only for their
/// bytes: each keeps a page resident, if nothing else does; but not for more than is free in the class's slabs. After a
/// burst that built up and dropped much, that is many times the blocks. A class that swings is charged for what goes beyond
/// the bytes that are always in use of it: who replaces blocks at random needs about that.
fn charge(kept: usize, used: usize, state: &ClassState, info: &ClassInfo) -> usize {
    let free = (state.slabs as usize * info.blocks as usize).saturating_sub(used);
    let all = (free * info.size as usize).min(pages_of(kept, info));
    if state.limit > 1 {
        let always = demand::always(state.used).min(used);
        all.saturating_sub(always * info.size as usize)
    } else {
        all
    }
}

impl Heap {
    /// Pushes a block of this heap whose magazine is full.
    ///
    /// # Safety
    /// `this` is real and the calling thread's; the slab map says that `block` is in a slab of this
    /// heap, of this class.
    pub(crate) unsafe fn push_slow(this: *mut Self, block: *mut u8, class: Class) {
        // SAFETY: the caller's.
        unsafe {
            let heap = &mut *this;
            let number = class.number();
            let info = class.info();
            let top = heap.tops[number];
            if magazine::is_full(top) {
                let state = &mut heap.classes[number];
                let more = state.behind() + 1;
                // The program may free as many more before the next look.
                let surely = state
                    .used_when_full(info)
                    .saturating_sub(info.magazine as usize);
                state.used = demand::in_use(state.used, surely);
                if top == magazine::dummy() {
                    let Some(empty) = heap.empty_magazine() else {
                        let mut one = [null_mut(), block];
                        let end = one.as_mut_ptr();
                        heap.put(end.add(1), end, class);
                        return;
                    };
                    heap.tops[number] = magazine::clear(empty, info);
                    heap.used |= 1 << number;
                    heap.classes[number].limit = u16::from(knobs::MAGAZINE.get());
                } else if more > u32::from(state.limit)
                    || state.is_sparse(info)
                    || !heap.may_keep(class, more)
                    || !heap.keep_full(class)
                {
                    heap.overflow(class);
                }
            }
            let above = heap.tops[number].add(1);
            above.write(block);
            heap.tops[number] = above;
        }
    }

    /// Whether the blocks of so many magazines of a class may stay behind the first; if so, they are charged for. The loaded
    /// one is full.
    fn may_keep(&mut self, class: Class, behind: u32) -> bool {
        let info = class.info();
        let state = &self.classes[class.number()];
        let kept = behind as usize * info.magazine as usize;
        let its = charge(kept, state.used_when_full(info), state, info);
        let pinned = self.pinned - state.pinned as usize + its;
        let may = pinned <= PINNED_MIN || pinned <= warm::share(huge::HEAPS.load(Relaxed));
        if may {
            self.classes[class.number()].pinned = its as u32;
            self.pinned = pinned;
        }
        may
    }

    /// Makes room in the loaded magazine of a class, which is full, and keeps what is in it. [`Heap::may_keep`] has allowed
    /// that. A class whose magazines hold few blocks gets a wider one: full ones behind it would be fetched and put away
    /// every few calls. False if there is no memory for another one.
    unsafe fn keep_full(&mut self, class: Class) -> bool {
        let number = class.number();
        let info = class.info();
        let room = info.magazine as usize;
        let top = self.tops[number];
        // SAFETY: the magazine is this heap's, and full.
        unsafe {
            if magazine::can_widen(info) {
                let sentinel = magazine::sentinel(top);
                if magazine::below(sentinel) >= room {
                    self.tops[number] = magazine::shift(sentinel, room);
                    self.classes[number].widened += 1;
                    self.stacked += info.widened_bytes();
                } else {
                    // Those that have been in it for longest.
                    let Some(empty) = self.empty_magazine() else {
                        self.uncharge(class);
                        return false;
                    };
                    let bottom = magazine::clear(empty, info);
                    bottom
                        .add(1)
                        .copy_from_nonoverlapping(sentinel.add(1), room);
                    self.classes[number].stack.push(empty);
                    self.stacked += info.magazine_bytes();
                    self.tops[number] = magazine::drop_oldest(sentinel, room);
                }
            } else {
                let Some(empty) = self.empty_magazine() else {
                    self.uncharge(class);
                    return false;
                };
                self.classes[number].stack.push(magazine::of(top));
                self.stacked += info.magazine_bytes();
                self.tops[number] = magazine::clear(empty, info);
            }
        }
        true
    }

    /// Takes the full magazine right behind the loaded one of a class, for the caller to use or to give.
    #[inline]
    pub(super) fn unstack(&mut self, class: Class) -> Option<magazine::Magazine> {
        let full = self.classes[class.number()].stack.pop()?;
        self.stacked -= class.info().magazine_bytes();
        self.uncharge(class);
        Some(full)
    }

    /// The loaded magazine of a class, which is empty or about to be, has no more room than it began with.
    #[inline]
    pub(super) fn narrow(&mut self, class: Class) {
        let widened = self.classes[class.number()].widened;
        if widened != 0 {
            self.narrow_by(class, widened);
        }
    }

    /// The loaded magazine of a class counts as widened so many times less.
    fn narrow_by(&mut self, class: Class, times: u8) {
        self.classes[class.number()].widened -= times;
        self.stacked -= usize::from(times) * class.info().widened_bytes();
        self.uncharge(class);
    }

    /// A class is not charged for more than what may stay behind its first magazine: that has become less.
    fn uncharge(&mut self, class: Class) {
        let info = class.info();
        let state = &mut self.classes[class.number()];
        let left = pages_of(state.behind() as usize * info.magazine as usize, info);
        let less = (state.pinned as usize).saturating_sub(left);
        state.pinned -= less as u32;
        self.pinned -= less;
    }

    /// Makes room in the loaded magazine of a class by putting blocks back into their slabs, and learns how many more it
    /// should have kept.
    unsafe fn overflow(&mut self, class: Class) {
        let number = class.number();
        let info = class.info();
        let state = &mut self.classes[number];
        let sparse = state.is_sparse(info);
        let mut also = 0;
        if state.refills_in_row > 0 {
            // The demand swings.
            let most = (STACK_BYTES / info.magazine_bytes()).min(STACK_MAX) as u16;
            let now = os::now_ms() as u32;
            let ms = match state.swung_ms {
                0 => 0,
                before => now.wrapping_sub(before),
            };
            state.swung_ms = now;
            if knobs::MAGAZINE.get() && knobs::DEMAND.get() && !sparse {
                let (refills, flushes) = (state.refills_in_row, state.flushes_in_row);
                state.limit = demand::after_swing(state.limit, refills, flushes, ms, most);
                also = state.behind().saturating_sub(u32::from(state.limit));
            }
            state.refills_in_row = 0;
            state.flushes_in_row = 0;
        }
        state.flushes_in_row = state.flushes_in_row.saturating_add(1);
        state.flushes += 1;
        if knobs::DEMAND.get() && demand::only_shrinks(state.limit, state.flushes_in_row) {
            // What is kept is not used.
            state.limit /= 2;
            also = state.behind().saturating_sub(u32::from(state.limit));
        }
        if sparse {
            state.gathered += GATHER_ROOM as u32;
            also = state.behind();
        }
        let behind = state.behind();
        if state.flushes_in_row >= ONE_WAY {
            // Less is in use than when that was kept, so perhaps less may stay.
            while also < behind && !self.may_keep(class, behind - also) {
                also += 1;
            }
        }
        // SAFETY: the magazines are this heap's, and hold blocks of its slabs.
        unsafe {
            while also > 0
                && let Some(full) = self.unstack(class)
            {
                magazine::clear(full, info);
                self.put_down_to(full.add(MAGAZINE_MAX), full, class);
                self.spare.push(full);
                also -= 1;
            }
            self.put_some(class, also);
            while self.spare.len > SPARES
                && let Some(spare) = self.spare.pop()
            {
                magazine::give(spare);
            }
            if !self.outbox.is_empty() {
                self.flush_outbox();
            }
            if self.freed > HOLES_MIN && self.has_holes() {
                self.look_for_holes(false);
            }
            self.look_for_idle();
        }
    }

    /// Puts as many blocks of the loaded magazine of a class, which is full, back into their slabs as it is for, those that
    /// came last; and as many of the oldest `narrower` times, so often it is not wide any more.
    unsafe fn put_some(&mut self, class: Class, narrower: u32) {
        let number = class.number();
        let info = class.info();
        let room = info.magazine as usize;
        let state = &self.classes[number];
        if narrower >= u32::from(state.widened) || state.drops_all(info) {
            // SAFETY: the caller's.
            return unsafe { self.empty_into_slabs(class) };
        }
        let top = self.tops[number];
        // SAFETY: the magazine is this heap's, full, and wide enough for that.
        unsafe {
            let rest = top.sub(room);
            self.put_down_to(top, rest.add(1), class);
            self.tops[number] = rest;
            if narrower > 0 {
                let sentinel = magazine::sentinel(rest);
                let raised = sentinel.add(narrower as usize * room);
                self.put_down_to(raised, sentinel, class);
                raised.write(null_mut());
                self.narrow_by(class, narrower as u8);
            }
        }
    }

    /// Puts the blocks of the loaded magazine back into their slabs.
    pub(super) unsafe fn empty_into_slabs(&mut self, class: Class) {
        let number = class.number();
        let info = class.info();
        // SAFETY: from the top down to the sentinel lie blocks of this heap's slabs.
        unsafe {
            let top = self.tops[number];
            let first = magazine::of(top);
            self.put_down_to(top, first, class);
            self.narrow(class);
            let state = &self.classes[number];
            self.tops[number] = if state.drops_all(info) {
                magazine::clear_for(first, info, SHRINKING_ROOM)
            } else if state.flushes_in_row < ONE_WAY && state.is_sparse(info) {
                magazine::clear_for(first, info, GATHER_ROOM)
            } else {
                magazine::clear(first, info)
            };
        }
    }

    /// Puts the blocks in a magazine from `top` down to `last` back into their slabs, or down to the sentinel if that comes
    /// first.
    unsafe fn put_down_to(&mut self, top: magazine::Top, last: magazine::Top, class: Class) {
        let info = class.info();
        // SAFETY: there lie blocks of this heap's slabs.
        unsafe {
            let (mut at, mut before) = (top, null_mut());
            while at >= last && !(*at).is_null() {
                let block = *at as usize;
                let slab = Slab::around(block, info);
                if slab != before {
                    let index = info.index_of(block - Slab::base(slab));
                    _mm_prefetch::<_MM_HINT_T0>(Slab::words(slab, info).add(index / 64).cast());
                    _mm_prefetch::<_MM_HINT_T0>(slab.cast());
                    before = slab;
                }
                at = at.sub(1);
            }
            self.put(top, at, class);
        }
    }

    /// Puts the blocks in the slots from `top` down back into their slabs, but not that in `end`: neighbours of one slab
    /// together.
    #[inline]
    unsafe fn put(&mut self, top: magazine::Top, end: magazine::Top, class: Class) {
        let info = class.info();
        let mut at = top;
        while at != end {
            // SAFETY: the slab map said that the blocks are in slabs of this heap.
            unsafe {
                let slab = Slab::around(*at as usize, info);
                let result = match (*slab).state {
                    // The slab went back as a whole: this block was in it twice.
                    State::Free | State::Orphan => Err((Misuse::DoubleFree, *at as usize)),
                    _ => slab::put(slab, info, at, end),
                };
                match result {
                    Ok(rest) => {
                        self.came_back(slab, at.offset_from(rest) as usize);
                        at = rest;
                    }
                    Err(found) => report(found),
                }
            }
        }
    }

    /// `n` blocks of a slab are free again: it changes lists, or goes.
    #[inline]
    pub(super) unsafe fn came_back(&mut self, slab: *mut Slab, n: usize) {
        // SAFETY: a slab of this heap.
        unsafe {
            let info = &CLASSES[(*slab).class as usize];
            let state = &mut self.classes[(*slab).class as usize];
            self.dirty += (n * info.size as usize) as isize;
            self.freed += n * info.size as usize;
            state.out = state.out.wrapping_sub(n as u32);
            if (*slab).state == State::Full {
                state.unlink(slab);
                state.link(slab, State::Partial);
                // With another one, an empty slab is not needed any more.
                let end = state.partial_end;
                if end != slab && (*end).free == (*end).watermark {
                    state.unlink(end);
                    self.release(end);
                }
            }
            let state = &mut self.classes[(*slab).class as usize];
            // The last slab with free blocks stays: it serves the next refill.
            if (*slab).free == (*slab).watermark && state.partial != state.partial_end {
                state.unlink(slab);
                self.release(slab);
            }
        }
    }

    /// Gives back an empty slab that is in no list.
    pub(super) unsafe fn release(&mut self, slab: *mut Slab) {
        // SAFETY: a slab of this heap.
        unsafe {
            let info = &CLASSES[(*slab).class as usize];
            let state = &mut self.classes[(*slab).class as usize];
            state.slabs -= 1;
            state.gathered = 0;
            self.slab_bytes -= info.slab_bytes();
            let holes = (*slab).holes as usize * PAGE;
            let free = (*slab).free as usize * info.size as usize;
            self.holes -= holes.min(self.holes);

            self.dirty -= free.saturating_sub(holes) as isize;
            slab::release(slab);
        }
    }

    /// Puts everything that this heap keeps at hand back, and gives back what that frees.
    ///
    /// # Safety
    /// `this` is real and the calling thread's.
    pub(crate) unsafe fn trim(this: *mut Self) {
        // SAFETY: the caller's.
        unsafe {
            let heap = &mut *this;
            large::retire(&heap.large);
            heap.flush_outbox();
            heap.drain_queue();
            let mut classes = heap.used;
            while classes != 0 {
                let number = classes.trailing_zeros() as usize;
                classes &= classes - 1;
                if let Some(class) = Class::from_number(number) {
                    heap.empty_all_into_slabs(class, |heap, magazine| heap.spare.push(magazine));
                    let state = &mut heap.classes[number];
                    let last = state.partial;
                    if !last.is_null() && (*last).free == (*last).watermark {
                        state.unlink(last);
                        heap.release(last);
                    }
                }
            }
            heap.look_for_holes(true);
            orphans::trim(heap);
            // Others may have told us of what they freed into those meanwhile.
            heap.drain_queue();
        }
    }

    /// Puts the blocks of all magazines of a class back; `with` gets those that were behind the
    /// loaded one.
    pub(super) unsafe fn empty_all_into_slabs(
        &mut self,
        class: Class,
        with: impl Fn(&mut Self, magazine::Magazine),
    ) {
        let number = class.number();
        // SAFETY: the magazines are this heap's, and hold blocks of its slabs.
        unsafe {
            loop {
                self.empty_into_slabs(class);
                let Some(full) = self.unstack(class) else {
                    break;
                };
                with(self, magazine::of(self.tops[number]));
                magazine::clear(full, class.info());
                self.tops[number] = full.add(MAGAZINE_MAX);
            }
        }
    }

    /// Whether looking for holes may be worth it: much is free, and enough of it is new.
    fn has_holes(&self) -> bool {
        let kept = self.slab_bytes - self.holes.min(self.slab_bytes);
        let dirty = self.dirty.max(0) as usize;
        let used = kept.saturating_sub(dirty);
        let earned = warm::earned() / huge::HEAPS.load(Relaxed).max(1);
        dirty > (used / 2).max(HOLES_MIN) + earned && self.freed > (used + dirty) / 8
    }

    /// If it is time: gives back large blocks that call sites have earned and do not want any more, and the pages that
    /// nobody has used for [`IDLE_MS`], of blocks of a page or more, and of slabs that had another use before. How many
    /// blocks of a slab are in use varies; without this, the most that ever were would stay resident. Of a class, it
    /// begins with the slabs that have been partly free for longest.
    pub(super) unsafe fn look_for_idle(&mut self) {
        // What was written into a guarded block after its free is to be found. Models have to repeat, and do not go by
        // the clock.
        if self.sealed || cfg!(all(test, loom)) {
            return;
        }
        let now = os::now_ms();
        if now.saturating_sub(self.looked) < IDLE_MS {
            return;
        }
        self.looked = now;
        if !self.queue.is_empty() {
            // A thread whose magazines are never empty does not refill.
            // SAFETY: between two steps of the caller's.
            unsafe { self.drain_queue() };
        }
        large::look_for_idle(&self.large);
        if !knobs::HOLE_PURGE.get() {
            return;
        }
        self.counts.hole_passes += 1;
        let (mut slabs, mut bytes) = (0, 0);
        for _ in 0..N_CLASSES {
            let number = self.looked_at;
            let mut slab = self.classes[number].partial_end;
            let mut past = 0;
            while !slab.is_null() {
                if slabs >= IDLE_SLABS || bytes >= IDLE_BYTES {
                    (self.looked_at, self.looked_past) = if past < WALK {
                        (number, past)
                    } else {
                        ((number + 1) % N_CLASSES, 0)
                    };
                    return;
                }
                // SAFETY: the list holds slabs of this heap.
                unsafe {
                    if past >= self.looked_past {
                        let gone = slab::purge_idle(slab);
                        self.counts.hole_bytes += gone.beyond as u64;
                        self.gone(gone.holes);
                        slabs += 1;
                        bytes += gone.holes + gone.beyond;
                        if gone.refused {
                            self.looked = now + REFUSED_MS;
                            break;
                        }
                    }
                    slab = (*slab).prev;
                }
                past += 1;
            }
            self.looked_at = (number + 1) % N_CLASSES;
            self.looked_past = 0;
            if self.looked > now {
                return;
            }
        }
    }

    /// Free pages inside slabs, so many bytes, went back.
    fn gone(&mut self, bytes: usize) {
        self.dirty -= bytes as isize;
        self.holes += bytes;
        self.counts.hole_bytes += bytes as u64;
        warm::used(-(bytes as isize));
    }

    /// Gives back pages inside slabs in use of which every block is free; all of them, or only
    /// those of slabs of which a page or more came back since the last look.
    pub(crate) unsafe fn look_for_holes(&mut self, all: bool) {
        self.counts.hole_passes += 1;
        self.freed = 0;
        if !knobs::HOLE_PURGE.get() {
            return;
        }
        // Where most is free, what is left is in single pages.
        let mostly_free = self.dirty.max(0) as usize
            > (self.slab_bytes - self.holes.min(self.slab_bytes)) / 4 * 3;
        let least = if all || mostly_free { 1 } else { RUN_MIN };
        let mut classes = self.used;
        while classes != 0 {
            let number = classes.trailing_zeros() as usize;
            classes &= classes - 1;
            let size = CLASSES[number].size as usize;
            let mut slab = self.classes[number].partial;
            while !slab.is_null() {
                // SAFETY: the list holds slabs of this heap.
                unsafe {
                    if all || (*slab).freed as usize * size >= PAGE {
                        let bytes = slab::purge_holes(slab, least);
                        self.gone(bytes);
                        warm::gave_back(bytes);
                    }
                    if all {
                        self.counts.hole_bytes += slab::purge_beyond(slab).bytes as u64;
                    }
                    slab = (*slab).next;
                }
            }
        }
    }
}

impl ClassState {
    /// How many magazines' worth of blocks may stay behind the first: in the loaded one, if that was widened, and in the
    /// stack.
    pub(super) fn behind(&self) -> u32 {
        self.stack.len + u32::from(self.widened)
    }

    /// Blocks that the program has of it, those in queues and outboxes included, when the loaded magazine is full.
    fn used_when_full(&self, info: &ClassInfo) -> usize {
        let kept = (self.behind() as usize + 1) * info.magazine as usize;
        (self.out as usize).saturating_sub(kept)
    }

    /// Whether it only shrinks, and is nearly empty.
    fn drops_all(&self, info: &ClassInfo) -> bool {
        let nearly_empty = self.out as usize * 8 < self.slabs as usize * info.blocks as usize;
        self.shrinks(info) && nearly_empty
    }

    /// Whether it only shrinks, and has done so for a while.
    fn shrinks(&self, info: &ClassInfo) -> bool {
        let flushes = self.flushes_in_row;
        let bytes = flushes as usize * info.magazine_bytes();
        flushes > SHRINKING || bytes > SHRINKING_BYTES
    }

    /// Whether its slabs are mostly free, so many that it matters, and there is hope to change that.
    ///
    /// While blocks go from magazine to magazine they stay where they are, few in each of many slabs.
    /// If they go through the slabs instead, one slab fills up after the other, by the order of
    /// [`ClassState::link`], and the others empty.
    #[inline]
    pub(super) fn is_sparse(&self, info: &ClassInfo) -> bool {
        let blocks = self.slabs as usize * info.blocks as usize;
        let wanted = self.slabs > FEW_SLABS && (self.out as usize) < blocks / 2;
        wanted && (self.gathered as usize) < blocks * GATHER_TIMES
    }
}

/// Deliveries under way by threads without a heap.
pub(super) static HEAPLESS: AtomicU32 = AtomicU32::new(0);

/// Frees a block of a slab that is not the calling heap's.
///
/// # Safety
/// The slab map says that `block` is in a slab of `class`.
#[inline(always)]
pub(crate) unsafe fn free_remote(block: *mut u8, class: Class) {
    let info = class.info();
    let offset = block as usize & (info.slab_bytes() - 1);
    let index = info.index_of(offset);
    // That the block was ever handed out is for its owner to see.
    if index * info.size as usize != offset {
        report((Misuse::NotABlock, block as usize));
    }
    let heap = tls::heap();
    // SAFETY: a block in use keeps its slab and its class. A heap that is none has an outbox of
    // which every place is empty, so it is left by the slow path.
    unsafe {
        let word = Slab::remote_at(block as usize, info).add(index / 64);
        if !(*heap).outbox.add(word, 1 << (index % 64)) {
            free_remote_slow(block, info, word, index % 64);
        }
    }
}

/// As [`free_remote`], when the outbox does not take the block as it is.
#[cold]
#[inline(never)]
unsafe fn free_remote_slow(block: *mut u8, info: &ClassInfo, word: *const AtomicU64, bit: usize) {
    let slab = Slab::around(block as usize, info);
    // SAFETY: the caller's.
    unsafe {
        if knobs::OUTBOX.get()
            && let Some(heap) = current()
        {
            (*heap).outbox.add_slow(slab, word, 1 << bit);
            if info.size as usize > OUTBOX_BLOCK_MAX {
                (*heap).outbox.flush();
            }
            (*heap).send_on();
            return;
        }
        let _flight = remote::Flight::start(&HEAPLESS);
        orphans::deliver(slab, word, 1 << bit);
    }
}

/// What the slab map says of a block, for the slow path of free: its class, and whether it is the
/// calling heap's.
pub(crate) fn is_mine(entry: map::Entry) -> bool {
    let heap = tls::heap();
    // SAFETY: the calling thread's heap, or one that is none and has no slabs.
    Heap::is_real(heap) && unsafe { (*heap).id } == entry.owner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(loom))]
    #[test]
    fn looks_for_idle_pages_reach_every_slab() {
        extern crate std;

        assert!(crate::os::process::in_child(|| {
            let class = Class::of(PAGE);
            let slabs = 5 * IDLE_SLABS / 2;
            // SAFETY: nobody else uses this thread's heap.
            let take = |_| unsafe { Heap::take(current().expect("a heap"), class) };
            let blocks: std::vec::Vec<_> = (0..slabs * class.info().blocks as usize)
                .map(take)
                .collect();
            // SAFETY: the blocks are ours, and of this thread's heap.
            blocks
                .iter()
                .step_by(2)
                .for_each(|block| unsafe { Heap::push_slow(tls::heap(), *block, class) });
            // SAFETY: the heap is this thread's.
            let heap = unsafe { &mut *tls::heap() };
            // Twice each, and once for what other classes have.
            for _ in 0..3 * slabs / IDLE_SLABS {
                heap.looked = 0;
                // SAFETY: as above.
                unsafe { heap.look_for_idle() };
            }
            let (mut all, mut without) = (0, 0);
            let mut slab = heap.classes[class.number()].partial;
            while !slab.is_null() {
                // SAFETY: the list holds slabs of this heap.
                unsafe {
                    all += 1;
                    without += ((*slab).holes == 0) as usize;
                    slab = (*slab).next;
                }
            }
            all >= slabs - 2 && without <= 2
        }));
    }

    #[test]
    fn what_swings_is_charged_for_more_than_is_always_in_use() {
        let charge = |size, used, always, limit, kept| {
            let mut state = ClassState::new();
            (state.slabs, state.limit) = (100, limit);
            while demand::always(state.used) < always {
                state.used = demand::in_use(state.used, always);
            }
            charge(kept, used, &state, Class::of(size).info())
        };
        // Each of 64 B may keep a page, but no more than is free.
        assert_eq!(charge(64, 1000, 1000, 1, 126), 126 * PAGE);
        assert_eq!(charge(64, 1000, 1000, 2, 126), 126 * PAGE - 1000 * 64);
        assert_eq!(charge(64, 100 * 1024 - 126, 0, 1, 126), 126 * 64);
        // A block of 16 KiB keeps itself.
        let (all, size) = (12 * 16384, 16384);
        assert_eq!(charge(size, 8, 4, 1, 12), all);
        assert_eq!(charge(size, 8, 4, 2, 12), all - 4 * size);
        assert_eq!(charge(size, 3, 4, 2, 12), all - 3 * size);
        assert_eq!(charge(size, 50, 40, 2, 12), 0);
        assert_eq!(charge(size, 50, 40, 2, 0), 0);
    }

    /// Frees a block of this thread's heap.
    #[cfg(not(loom))]
    unsafe fn give(block: *mut u8, class: Class) {
        // SAFETY: the caller's.
        unsafe {
            let heap = tls::heap();
            if !Heap::look(heap, block).is_some_and(|look| Heap::push(heap, block, look)) {
                Heap::push_slow(heap, block, class);
            }
        }
    }

    /// Takes and frees `n` blocks in turns until that needs no slab and no full magazine any more; then `more` of them, and
    /// again when less may stay, which the class notices if it `shrinks` by so many. False if any of that does not come,
    /// or if the heap is not in order.
    #[cfg(not(loom))]
    fn comes_to_rest(class: Class, n: usize, more: usize, shrinks: bool) -> bool {
        extern crate std;
        // SAFETY: nobody else uses this thread's heap, and the blocks are ours, and of it.
        unsafe {
            let heap = current().expect("a heap");
            let mut blocks = std::vec::Vec::with_capacity(n + more);
            let mut round = move |n| {
                blocks.extend((0..n).map(|_| Heap::take(heap, class)));
                let all = blocks.len() == n && !blocks.contains(&null_mut());
                let mut sorted = blocks.clone();
                sorted.sort();
                sorted.dedup();
                blocks.drain(..).for_each(|block| give(block, class));
                all && sorted.len() == n && (*heap).check().is_ok()
            };
            let trips = move || {
                let state = &(*heap).classes[class.number()];
                ((*heap).counts.from_stack, state.refills, state.flushes)
            };
            let mut rested = false;
            // A swing that was interrupted for long keeps less; there are others.
            for _ in 0..10_000 {
                let before = trips();
                if !round(n) {
                    return false;
                }
                rested = trips() == before;
                if rested {
                    break;
                }
            }
            // Beyond what it has kept, it takes from slabs and gives to them.
            let went = rested && round(n + more) && round(1) && round(n);
            // As if less had been enough: who frees much then keeps even less.
            let state = &raw mut (*heap).classes[class.number()];
            ((*state).limit, (*state).flushes_in_row) = (2, 0);
            let less = round(n + more) && (*state).behind() < 2;
            let ok = went && (less || !shrinks);
            Heap::trim(heap);
            let state = &(*heap).classes[class.number()];
            ok && state.behind() == 0 && (*heap).check().is_ok() && (*heap).in_magazines(class) == 0
        }
    }

    #[cfg(not(loom))]
    #[test]
    fn a_swing_ends_in_one_magazine_as_far_as_that_can_be_wide() {
        let rests = |size, n, more, shrinks| {
            crate::os::process::in_child(|| comes_to_rest(Class::of(size), n, more, shrinks))
        };
        assert!(rests(16 << 10, 20, 30, false));
        assert!(rests(32 << 10, 16, 3, false));
        assert!(rests(8 << 10, 50, 300, true));
        assert!(rests(3 << 10, 40, 100, false));
    }

    #[cfg(not(loom))]
    #[test]
    fn what_was_kept_beside_much_in_use_goes_with_it() {
        extern crate std;

        assert!(crate::os::process::in_child(|| {
            crate::learn::strategy::USERS_FLOOR.store(1, Relaxed);
            warm::PERCENT.store(0, Relaxed);
            let class = Class::of(32 << 10);
            let heap = current().expect("a heap");
            let take = |n| {
                // SAFETY: nobody else uses this thread's heap.
                let blocks = (0..n).map(|_| unsafe { Heap::take(heap, class) });
                blocks.collect::<std::vec::Vec<_>>()
            };
            let give = |blocks: std::vec::Vec<*mut u8>| {
                // SAFETY: the blocks are ours, and of this thread's heap.
                blocks
                    .iter()
                    .for_each(|block| unsafe { give(*block, class) });
            };
            // SAFETY: the heap is this thread's.
            let state = || unsafe { &mut (*heap).classes[class.number()] };
            let kept = || state().behind() as usize * class.info().magazine_bytes();
            let all = take(60);
            let mut most = 0;
            for _ in 0..100 {
                (state().used, state().limit) = (60 * 256, 16);
                give(take(20));
                most = most.max(kept());
            }
            give(all);
            // SAFETY: as above.
            let is_in_order = unsafe { (*heap).check().is_ok() };
            is_in_order && most > PINNED_MIN && kept() <= PINNED_MIN
        }));
    }

    #[test]
    fn a_class_of_large_blocks_shrinks_after_fewer_flushes() {
        let shrinks = |size, flushes| {
            let mut state = ClassState::new();
            state.flushes_in_row = flushes;
            state.shrinks(Class::of(size).info())
        };
        assert!(!shrinks(16, SHRINKING) && shrinks(16, SHRINKING + 1));
        let info = Class::of(1024).info();
        let flushes = (SHRINKING_BYTES / info.magazine_bytes()) as u16;
        assert!(flushes < SHRINKING && !shrinks(1024, flushes) && shrinks(1024, flushes + 1));
    }
}
