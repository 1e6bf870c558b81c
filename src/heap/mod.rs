//! One thread's front. The fast path is here and in [`tls`] and [`magazine`]: no atomics, no locks,
//! no block is touched.
//!
//! Only the owning thread uses a heap, but for [`Heap::queue`], to which others push, the
//! counters, which reports read, the process that it belongs to, and what its front offers, which others take if the thread
//! sleeps.
//! Heaps are recycled, never unmapped: their numbers stand in the slab map, and other threads may look
//! at their queues at any time.

mod birth;
mod flush;
pub(crate) mod magazine;
#[cfg(all(test, loom))]
mod models;
mod orphans;
mod outbox;
mod refill;
pub(crate) mod tls;

pub(crate) use birth::{
    check_accounts, current, each_heap, guarded, is_stray, new_process, owner, set_aside, shared,
    shared_if_made,
};
pub(crate) use flush::{free_remote, is_mine};

use core::ptr::null_mut;
use core::sync::atomic::AtomicU32;

use crate::base::{CLASSES, Class, N_CLASSES};
use crate::large;
use crate::slab::{Slab, remote::Queue};
use crate::space::map::{self, Window};
use magazine::Top;
use outbox::Outbox;

/// A heap's share of one class.
pub(crate) struct ClassState {
    /// Slabs with free blocks; the first serves.
    partial: *mut Slab,
    /// The last of them.
    partial_end: *mut Slab,
    /// Slabs without.
    full: *mut Slab,
    /// Full magazines behind the loaded one.
    stack: magazine::List,
    /// How many times the loaded one was widened, each by as many slots as it is for.
    widened: u8,
    /// What the class is charged for both, in bytes; 0 without any.
    pinned: u32,
    /// How many there may be of both together.
    limit: u16,
    /// See [`demand::in_use`](crate::learn::demand::in_use).
    used: u32,
    /// When it last went from refills to flushes, in ms; 0: never.
    swung_ms: u32,
    /// Blocks of the next refill.
    want: u8,
    /// Slabs owned.
    pub(crate) slabs: u32,
    /// Blocks of those slabs that are not in them: in magazines, or the program's.
    pub(crate) out: u32,
    /// Refills from slabs since the last flush, and flushes since the last refill: what changes
    /// `limit` when one turns to the other.
    refills_in_row: u16,
    flushes_in_row: u16,
    /// Blocks that came back while it was sparse, about, since its slabs became more or fewer.
    gathered: u32,
    /// Fresh pages handed out: grows the steps of populating.
    fresh_pages: u32,
    /// Refills from slabs, and flushes to them.
    pub(crate) refills: u64,
    /// See `refills`.
    pub(crate) flushes: u64,
}

impl ClassState {
    const fn new() -> Self {
        Self {
            partial: null_mut(),
            partial_end: null_mut(),
            full: null_mut(),
            stack: magazine::List::new(),
            widened: 0,
            pinned: 0,
            limit: 1,
            used: 0,
            swung_ms: 0,
            want: 0,
            slabs: 0,
            out: 0,
            refills_in_row: 0,
            flushes_in_row: 0,
            gathered: 0,
            fresh_pages: 0,
            refills: 0,
            flushes: 0,
        }
    }
}

/// Where refills found blocks, and what came of flushes; the owner writes, reports read.
#[derive(Default, Clone, Copy)]
pub(crate) struct Counts {
    /// Refills from a full magazine behind the loaded one.
    pub(crate) from_stack: u64,
    /// Slabs adopted.
    pub(crate) adopted: u64,
    /// Fresh slabs.
    pub(crate) created: u64,
    /// Slabs of other threads' frees drained, and blocks that they held.
    pub(crate) drains: u64,
    /// See `drains`.
    pub(crate) drained: u64,
    /// Looks for holes.
    pub(crate) hole_passes: u64,
    /// Bytes that they gave back.
    pub(crate) hole_bytes: u64,
}

/// A thread's heap.
///
/// # Invariants
/// * `tops[c]` points into a magazine of this heap, or is [`magazine::dummy`].
/// * `tag` is `id << 8`: the slab map's entry of a slab of mine, XOR `tag`, is its class.
/// * `window` is some window of the slab map, or one that no address lies in.
/// * A slab is in `partial` or `full` of its class exactly if the slab map names this heap, unless its thread has vanished
///   in a fork.
#[repr(C)]
pub(crate) struct Heap {
    tag: usize,
    id: u32,
    window: Window,
    tops: [Top; N_CLASSES],
    // What follows is used on slow paths only.
    /// Slabs that other threads freed into.
    pub(crate) queue: Queue,
    next: *mut Heap,
    /// In which process a thread has it: see `ANY_PROCESS` in [`birth`].
    process: AtomicU32,
    /// Its blocks are guarded: their slabs say so in the slab map, and start out zero.
    sealed: bool,
    /// An orphan was this heap's for a moment, lately; see [`Heap::send_on`].
    had_orphan: bool,
    /// Classes that were ever used, a bit each.
    used: u128,
    /// Bytes that are free in slabs and resident, about: what looking for holes may gain.
    dirty: isize,
    /// Bytes that are free in slabs and not resident.
    holes: usize,
    /// Bytes freed into slabs since the last look for holes.
    freed: usize,
    /// Bytes of slabs owned.
    slab_bytes: usize,
    /// When it last looked for idle pages, in ms.
    looked: u64,
    /// The class that it looks at next, then.
    looked_at: usize,
    /// Slabs of that class, from the end of its list on, that the last look has seen.
    looked_past: usize,
    spare: magazine::List,
    /// Bytes of the blocks in full magazines behind the loaded ones, and, on average, in loaded ones that were widened for
    /// being so.
    stacked: usize,
    /// The sum of the classes' `pinned`.
    pinned: usize,
    outbox: Outbox,
    /// The block that realloc grew last, and how many times in a row it did.
    grown: (*mut u8, u8),
    /// Freed large blocks at hand.
    pub(crate) large: large::Front,
    /// Counters for reports.
    pub(crate) counts: Counts,
    pub(crate) classes: [ClassState; N_CLASSES],
}

// SAFETY: the statics NO_HEAP and GONE are never written, see `is_real`.
unsafe impl Sync for Heap {}

/// A block's entry in the slab map XOR a heap's tag.
///
/// # Invariants
/// Below [`N_CLASSES`]: the block is in a slab of this class of that heap. Otherwise the low byte is
/// the kind in an entry that is not that heap's, or that of no slab.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look(pub(crate) usize);

impl Look {
    /// The class of a slab of that heap, if that is what the block is in.
    #[inline(always)]
    pub(crate) fn own_class(self) -> Option<Class> {
        Class::from_number(self.0)
    }

    /// The class of a slab that is another heap's, if that is what the block is in.
    #[inline(always)]
    pub(crate) fn others_class(self) -> Option<Class> {
        let kind = self.0 & 0xff;
        if self.0 >= N_CLASSES && kind != 0 {
            Class::from_number(kind)
        } else {
            None
        }
    }
}

/// The owner number of the two heaps that are none.
const NOBODY: u32 = remote_orphan() - 1;
const fn remote_orphan() -> u32 {
    crate::slab::remote::ORPHAN
}

const fn nobody() -> Heap {
    Heap {
        tag: (NOBODY as usize) << 8,
        id: NOBODY,
        // No address lies in a window that starts beyond the address space.
        window: Window {
            first: 1 << 60,
            leaf: core::ptr::null(),
        },
        tops: [magazine::dummy(); N_CLASSES],
        queue: Queue::closed(),
        next: null_mut(),
        process: AtomicU32::new(0),
        sealed: false,
        had_orphan: false,
        used: 0,
        dirty: 0,
        holes: 0,
        freed: 0,
        slab_bytes: 0,
        looked: 0,
        looked_at: 0,
        looked_past: 0,
        spare: magazine::List::new(),
        stacked: 0,
        pinned: 0,
        outbox: Outbox::new(),
        grown: (null_mut(), 0),
        // SAFETY: a zeroed front is empty, by its own word.
        large: unsafe { core::mem::zeroed() },
        counts: Counts {
            from_stack: 0,
            adopted: 0,
            created: 0,
            drains: 0,
            drained: 0,
            hole_passes: 0,
            hole_bytes: 0,
        },
        classes: [const { ClassState::new() }; N_CLASSES],
    }
}

/// The heap of threads that have none yet.
pub(crate) static NO_HEAP: Heap = nobody();
/// The heap of threads that had one, and are ending.
pub(crate) static GONE: Heap = nobody();

impl Heap {
    /// Pops a block of a class, or null.
    ///
    /// # Safety
    /// `this` is [`tls::heap`]'s; the class number is below [`N_CLASSES`].
    #[inline(always)]
    pub(crate) unsafe fn pop(this: *mut Self, class: usize) -> *mut u8 {
        // SAFETY: the top points at a slot (invariant). A heap that is none has the dummy, whose
        // slot holds null, so nothing is written to it.
        unsafe {
            let top_of = (&raw mut (*this).tops).cast::<Top>().add(class);
            let top = *top_of;
            let block = *top;
            if !block.is_null() {
                *top_of = top.sub(1);
            }
            block
        }
    }

    /// What this heap's window of the slab map says of a block; `None` if it is not in the window.
    ///
    /// # Safety
    /// `this` is [`tls::heap`]'s; `block` is anything.
    #[inline(always)]
    pub(crate) unsafe fn look(this: *const Self, block: *mut u8) -> Option<Look> {
        // SAFETY: the index is inside the window's leaf.
        unsafe {
            let at = (block as usize >> crate::base::size::SLOT_SHIFT)
                .wrapping_sub((*this).window.first);
            if at >= map::LEAF_SLOTS {
                return None;
            }
            let entry = (*(*this).window.leaf.add(at)).load(core::sync::atomic::Ordering::Relaxed);
            Some(Look(entry as usize ^ (*this).tag))
        }
    }

    /// Pushes a block of this heap. False, and nothing is done, if it is not a small block of this
    /// heap, or its magazine is full.
    ///
    /// # Safety
    /// `this` is [`tls::heap`]'s, and `look` is what it sees of the block.
    #[inline(always)]
    pub(crate) unsafe fn push(this: *mut Self, block: *mut u8, look: Look) -> bool {
        let class = look.0;
        if class >= N_CLASSES {
            return false;
        }
        // SAFETY: an entry that differs from the tag by a class's number is that of a slab of this
        // heap: then the class has a top, and the slot above a top that is not full is in its
        // magazine. A heap that is none matches no entry.
        unsafe {
            let top_of = (&raw mut (*this).tops).cast::<Top>().add(class);
            let above = (*top_of).add(1);
            if above as usize & (magazine::BYTES - 1) == 0 {
                return false;
            }
            above.write(block);
            *top_of = above;
            true
        }
    }

    /// How many times in a row the block would have been grown with this time: a loop that grows one
    /// buffer does nothing else in between.
    ///
    /// # Safety
    /// `this` is [`tls::heap`]'s.
    pub(crate) unsafe fn chain(this: *const Self, block: *mut u8) -> u8 {
        // SAFETY: the caller's.
        let (grown, times) = unsafe { (*this).grown };
        if grown == block {
            times.saturating_add(1)
        } else {
            1
        }
    }

    /// Notes that realloc moved a block to `block`, and the chain that this ends.
    ///
    /// # Safety
    /// `this` is [`tls::heap`]'s.
    pub(crate) unsafe fn set_chain(this: *mut Self, block: *mut u8, times: u8) {
        if Self::is_real(this) {
            // SAFETY: the calling thread's heap.
            unsafe { (*this).grown = (block, times) };
        }
    }

    /// Takes the window of the slab map that `address` lies in to hand, for the frees to come.
    ///
    /// # Safety
    /// `this` is real and the calling thread's.
    pub(crate) unsafe fn look_at(this: *mut Self, address: usize) {
        if let Some(window) = map::window_of(address) {
            // SAFETY: the caller's.
            unsafe { (*this).window = window };
        }
    }

    /// What the slab map says of its slabs of a class.
    fn entry(&self, class: Class) -> map::Entry {
        if self.sealed {
            map::Entry::sealed(self.id, class)
        } else {
            map::Entry::slab(self.id, class)
        }
    }

    /// Whether a thread owns it.
    #[inline(always)]
    pub(crate) fn is_real(this: *const Self) -> bool {
        this != &raw const NO_HEAP && this != &raw const GONE
    }

    /// Other heaps' blocks that this one freed, and the atomics that carried them.
    pub(crate) fn sent(&self) -> (u64, u64) {
        (self.outbox.blocks, self.outbox.atomics)
    }

    /// Blocks in this heap's magazines, by class. Racy unless the owner asks.
    pub(crate) fn in_magazines(&self, class: Class) -> usize {
        let number = class.number();
        let mut top = self.tops[number];
        if top == magazine::dummy() {
            return 0;
        }
        let first = magazine::of(top);
        let mut n = 0;
        // SAFETY: between the first slot and the top lie the magazine's slots.
        unsafe {
            while top >= first && !(*top).is_null() {
                n += 1;
                top = top.sub(1);
            }
        }
        n + self.classes[number].stack.blocks(class.info())
    }

    /// Checks the invariants of what this heap owns. Its own thread calls this.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        self.outbox.check()?;
        let (mut stacked, mut pinned) = (0, 0);
        for (number, info) in CLASSES.iter().enumerate().skip(1) {
            let state = &self.classes[number];
            let mut count = 0;
            stacked += state.stack.len as usize * info.magazine_bytes()
                + usize::from(state.widened) * info.widened_bytes();
            pinned += state.pinned as usize;
            if state.behind() == 0 && state.pinned != 0 {
                return Err("a class without full magazines is charged for some");
            }
            for (head, wanted) in [
                (state.partial, crate::slab::State::Partial),
                (state.full, crate::slab::State::Full),
            ] {
                let (mut slab, mut before) = (head, null_mut());
                while !slab.is_null() {
                    // SAFETY: the lists hold slabs of this heap.
                    unsafe {
                        crate::slab::check(slab)?;
                        if (*slab).state != wanted || (*slab).prev != before {
                            return Err("a slab is in a list that it does not name");
                        }
                        let class = Class::from_number(number).unwrap_or(Class::of(1));
                        if map::lookup(Slab::base(slab)) != self.entry(class) {
                            return Err("a slab is not in the slab map as its heap's");
                        }
                        before = slab;
                        slab = (*slab).next;
                        count += 1;
                    }
                }
            }
            if count != state.slabs {
                return Err("a heap has lost a slab");
            }
        }
        if (stacked, pinned) != (self.stacked, self.pinned) {
            return Err("what full magazines hold is not what they are counted for");
        }
        Ok(())
    }
}
