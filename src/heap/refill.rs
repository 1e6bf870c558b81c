//! An empty magazine gets blocks: from a full one behind it, from the heap's slabs, from what other
//! threads have freed, from orphans, from a fresh slab; in this order.

use core::ptr::null_mut;
use core::sync::atomic::Ordering::SeqCst;

use super::flush::{GATHER_ROOM, ONE_WAY};
use super::{ClassState, Heap, magazine, orphans};
use crate::base::class::MAGAZINE_MAX;
use crate::base::{Class, PAGE, knobs};
use crate::os;
use crate::slab::{self, Found, Slab, State};
use crate::space::{map, warm};
use crate::sync::primitive::fence;

/// Blocks of a class's first refill; later ones double.
const FIRST_WANT: usize = 8;
/// Pages of a populating step, at most, and at least where there is one.
const STEP_MAX: u32 = 16;
const STEP_MIN: u32 = 4;

impl Heap {
    /// A block of `class`: from its magazine, or else as [`Heap::refill`].
    ///
    /// # Safety
    /// As for [`Heap::refill`].
    #[inline]
    pub(crate) unsafe fn take(this: *mut Self, class: Class) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe {
            let block = Self::pop(this, class.number());
            if block.is_null() {
                Self::refill(this, class)
            } else {
                block
            }
        }
    }

    /// A block of `class`, whose magazine is empty. Null: out of memory.
    ///
    /// # Safety
    /// `this` is real and the calling thread's.
    pub(crate) unsafe fn refill(this: *mut Self, class: Class) -> *mut u8 {
        // SAFETY: the caller's; the parts of the heap are borrowed one at a time.
        unsafe {
            let heap = &mut *this;
            let number = class.number();
            let info = class.info();
            heap.narrow(class);
            if let Some(full) = heap.unstack(class) {
                heap.counts.from_stack += 1;
                let old = heap.tops[number];
                magazine::clear(full, info);
                heap.tops[number] = full.add(MAGAZINE_MAX);
                if old != magazine::dummy() {
                    heap.spare.push(magazine::of(old));
                }
                return Heap::pop(this, number);
            }
            if heap.outbox.is_due(info.size as usize) {
                heap.flush_outbox();
            }
            if !heap.queue.is_empty() {
                heap.drain_queue();
            }
            if heap.tops[number] == magazine::dummy() {
                let Some(magazine) = heap.empty_magazine() else {
                    return null_mut();
                };
                heap.tops[number] = magazine::clear(magazine, info);
                heap.used |= 1 << number;
                heap.classes[number].limit = u16::from(knobs::MAGAZINE.get());
            }
            let first = magazine::of(heap.tops[number]);
            let state = &mut heap.classes[number];
            let cap = info.magazine as usize;
            let mut want = (state.want as usize * 2).clamp(FIRST_WANT.min(cap), cap);
            state.want = want as u8;
            state.refills += 1;
            state.refills_in_row = state.refills_in_row.saturating_add(1);
            let mut bottom = magazine::bottom(info);
            if state.refills_in_row < ONE_WAY && state.is_sparse(info) {
                let room = GATHER_ROOM.min(cap);
                bottom = MAGAZINE_MAX - room;
                want = want.min(room / 2);
            }
            let top = first.add(bottom + want);
            let mut n = 0;
            while n < want {
                let slab = heap.classes[number].partial;
                if slab.is_null() {
                    if n > 0 || !heap.more_slabs(class) {
                        break;
                    }
                    continue;
                }
                let state = &mut heap.classes[number];
                let step = match state.fresh_pages / 8 {
                    0..STEP_MIN => 0,
                    step => step.min(STEP_MAX),
                };
                let got = slab::refill(slab, top.sub(n), want - n, step as usize);
                n += got.blocks;
                state.out = state.out.wrapping_add(got.blocks as u32);
                state.fresh_pages = state.fresh_pages.saturating_add(got.fresh_pages as u32);
                if got.fresh_pages != 0 {
                    warm::regret(got.fresh_pages * PAGE);
                }
                heap.dirty -= (got.warm * info.size as usize) as isize;
                if got.refilled_holes != 0 {
                    let bytes = got.refilled_holes * PAGE;
                    heap.holes -= bytes.min(heap.holes);
                    // What else is free on these pages is resident with them.
                    heap.dirty += bytes as isize;
                    heap.dirty -= ((got.reused - got.warm) * info.size as usize) as isize;
                    warm::regret(bytes);
                    warm::used(bytes as isize);
                }
                if !slab::has_free(slab) {
                    state.unlink(slab);
                    state.link(slab, State::Full);
                }
            }
            if n == 0 {
                heap.tops[number] = magazine::clear(first, info);
                return null_mut();
            }
            // What is not filled lies below; there the sentinel goes.
            top.sub(n).write(null_mut());
            heap.tops[number] = top;
            Heap::pop(this, number)
        }
    }

    /// Brings a slab with free blocks of `class` into its list: an orphan, or a fresh one.
    unsafe fn more_slabs(&mut self, class: Class) -> bool {
        // SAFETY: the slabs are this heap's from here on.
        unsafe {
            self.look_for_idle();
            if !self.sealed
                && let Some(slab) = orphans::adopt(class, self.id)
            {
                // ORDERING: the second rule in `slab::remote`: the map names us before we look.
                fence(SeqCst);
                self.counts.adopted += 1;
                slab::forget_idle(slab);
                if let Err(found) = slab::drain(slab) {
                    report(found);
                }
                let state = &mut self.classes[class.number()];
                state.slabs += 1;
                state.gathered = 0;
                state.out += (*slab).watermark - (*slab).free;
                self.slab_bytes += class.info().slab_bytes();
                let holes = (*slab).holes as usize * PAGE;
                self.holes += holes;
                self.dirty += ((*slab).free as usize * class.size()) as isize - holes as isize;
                let list = if slab::has_free(slab) {
                    State::Partial
                } else {
                    State::Full
                };
                state.link(slab, list);
                return true;
            }
            let Some(slab) = slab::create(class, self.id) else {
                return false;
            };
            if self.sealed {
                slab::clear(slab);
                map::set(
                    Slab::start(slab),
                    1 << class.info().order,
                    self.entry(class),
                );
            }
            self.counts.created += 1;
            let state = &mut self.classes[class.number()];
            state.slabs += 1;
            state.gathered = 0;
            state.link(slab, State::Partial);
            self.slab_bytes += class.info().slab_bytes();
            true
        }
    }

    /// A magazine with any content.
    pub(super) fn empty_magazine(&mut self) -> Option<magazine::Magazine> {
        self.spare.pop().or_else(magazine::take)
    }

    /// Takes back what other threads have freed.
    pub(super) unsafe fn drain_queue(&mut self) {
        let this: *mut Heap = self;
        // SAFETY: the queue is not touched by what `drain_slab` does.
        unsafe {
            (*this)
                .queue
                .drain((*this).id, &(*this).outbox.in_flight, |slab| {
                    (*this).drain_slab(slab)
                });
        }
    }

    pub(super) unsafe fn drain_slab(&mut self, slab: *mut Slab) {
        // SAFETY: the map says that the slab is this heap's.
        unsafe {
            match slab::drain(slab) {
                Ok(0) => {}
                Ok(n) => {
                    self.counts.drains += 1;
                    self.counts.drained += n as u64;
                    self.came_back(slab, n);
                }
                Err(found) => report(found),
            }
        }
    }

    pub(super) unsafe fn flush_outbox(&mut self) {
        // SAFETY: the outbox holds blocks that were added and not delivered.
        unsafe {
            self.outbox.flush();
            self.send_on();
        }
    }

    /// What others freed into orphans that this heap has looked at may have been told to it: the queue is emptied, for the
    /// thread may sleep from now on. No delivery is under way.
    pub(super) unsafe fn send_on(&mut self) {
        if self.had_orphan {
            self.had_orphan = false;
            // SAFETY: between two steps of the caller's.
            unsafe { self.drain_queue() };
        }
    }
}

/// Ends the process for a misuse found when blocks are handed back.
#[cold]
pub(super) fn report((misuse, address): Found) -> ! {
    os::misuse("free", misuse.why(), address)
}

impl ClassState {
    /// Puts a slab that is in no list into the one for `state`, in front: one that has just been full
    /// is filled again first, so that those that empty can empty.
    pub(super) unsafe fn link(&mut self, slab: *mut Slab, state: State) {
        // SAFETY: slabs of this heap only.
        unsafe {
            (*slab).state = state;
            match state {
                State::Full => {
                    (*slab).prev = null_mut();
                    (*slab).next = self.full;
                    if !self.full.is_null() {
                        (*self.full).prev = slab;
                    }
                    self.full = slab;
                }
                _ => {
                    (*slab).prev = null_mut();
                    (*slab).next = self.partial;
                    if self.partial.is_null() {
                        self.partial_end = slab;
                    } else {
                        (*self.partial).prev = slab;
                    }
                    self.partial = slab;
                }
            }
        }
    }

    /// Takes a slab out of the list that it is in.
    pub(super) unsafe fn unlink(&mut self, slab: *mut Slab) {
        // SAFETY: slabs of this heap only.
        unsafe {
            let (prev, next) = ((*slab).prev, (*slab).next);
            if !prev.is_null() {
                (*prev).next = next;
            } else if (*slab).state == State::Full {
                self.full = next;
            } else {
                self.partial = next;
            }
            if !next.is_null() {
                (*next).prev = prev;
            } else if (*slab).state == State::Partial {
                self.partial_end = prev;
            }
        }
    }
}
