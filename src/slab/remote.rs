//! Blocks freed by threads that do not own them: one atomic OR for up to 64 of them.
//!
//! The freeing thread sets bits in the slab's remote words. Who sets the first since the owner last
//! looked also pushes the slab on its owner's [`Queue`]; the owner drains the queue when it refills.
//!
//! The owner may change meanwhile: its thread dies, the slab is an orphan, another heap adopts it.
//! The slab map names the owner, and `Notice::pending` says that some thread is responsible for
//! telling it. Three rules keep every bit from being forgotten:
//! * A bit is set before `pending` is looked at, and the owner clears `pending` before it looks at
//!   the words, all sequentially consistent: whoever sees `pending` set can rely on a look to come.
//! * Who adopts a slab writes its name into the map before it looks at the words; who finds an
//!   orphan, or in the child of a fork the slab of a vanished thread, clears `pending` before it reads the map again. So
//!   one of them sees the other.
//! * A slab that reaches a heap that does not own it any more is sent on.

use core::ptr::null_mut;
use core::sync::atomic::Ordering::{Relaxed, Release, SeqCst};

use super::{Found, Misuse, Slab};
use crate::base::Hook;
use crate::space::map::{self, Kind};
use crate::sync::primitive::{AtomicPtr, AtomicU32, AtomicU64, fence, yield_now};

/// The owner number of slabs whose thread is gone.
pub(crate) const ORPHAN: u32 = map::Entry::OWNERS - 1;

/// Marks the queue of a heap without a thread.
const CLOSED: *mut Slab = core::ptr::dangling_mut::<Slab>();

/// Slabs of a heap into which other threads have freed: a stack that many push to and one empties
/// as a whole, so no node can come back under a pusher's hand (no ABA).
pub(crate) struct Queue {
    head: AtomicPtr<Slab>,
    /// Those that the owner has taken and not come to yet, but for the one that it is at: if it vanishes in a fork, the child
    /// finds them here.
    taken: core::sync::atomic::AtomicPtr<Slab>,
}

impl Queue {
    /// A queue that accepts nothing.
    pub(crate) const fn closed() -> Self {
        Self {
            head: AtomicPtr::new(CLOSED),
            taken: core::sync::atomic::AtomicPtr::new(null_mut()),
        }
    }

    /// Lets it accept slabs.
    pub(crate) fn open(&self) {
        self.head.store(null_mut(), SeqCst);
    }

    /// Whether there is nothing to drain. A hint.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Relaxed).is_null()
    }

    /// Pushes a slab of which this thread has set `pending`. False when the queue is closed.
    fn push(&self, slab: *mut Slab) -> bool {
        let notice = Slab::notice(slab);
        let mut head = self.head.load(Relaxed);
        loop {
            if head == CLOSED {
                return false;
            }
            notice.next.store(head, Relaxed);
            // ORDERING: SeqCst publishes `next` to the swap in `take`.
            match self.head.compare_exchange_weak(head, slab, SeqCst, Relaxed) {
                Ok(_) => return true,
                Err(now) => head = now,
            }
        }
    }

    fn take(&self, leave: *mut Slab) -> *mut Slab {
        // ORDERING: SeqCst pairs with the push.
        let head = self.head.swap(leave, SeqCst);
        if head == CLOSED { null_mut() } else { head }
    }

    /// Empties the queue, and calls `own` for each slab that the heap numbered `owner` holds;
    /// others are sent on. Bits set before `own` is called are there for it to drain. `flight` is
    /// the heap's count of deliveries under way.
    pub(crate) fn drain(&self, owner: u32, flight: &AtomicU32, own: impl FnMut(*mut Slab)) {
        self.walk(self.take(null_mut()), owner, flight, own);
    }

    /// As [`Queue::drain`], and accepts nothing from then on.
    pub(crate) fn close(&self, owner: u32, flight: &AtomicU32, own: impl FnMut(*mut Slab)) {
        self.walk(self.take(CLOSED), owner, flight, own);
    }

    /// In the child of a fork, of the heap numbered `owner`, whose thread has vanished: nobody is to be told any more of what
    /// was freed into its slabs. It stays there until somebody frees into them again. Slabs of others are sent on. A signal
    /// handler may fork here, and its child does the rest before the interrupted call goes on.
    pub(crate) fn forsake(&self, owner: u32, flight: &AtomicU32) {
        loop {
            let slab = self.taken.load(Relaxed);
            if slab.is_null() {
                if self.is_empty() {
                    return;
                }
                self.taken.store(self.take(null_mut()), Relaxed);
                continue;
            }
            let next = Slab::notice(slab).next.load(Relaxed);
            let came = self.taken.compare_exchange(slab, next, Relaxed, Relaxed);
            if came.is_ok() {
                Self::clear(slab, owner, flight);
            }
        }
    }

    fn walk(
        &self,
        mut slab: *mut Slab,
        owner: u32,
        flight: &AtomicU32,
        mut own: impl FnMut(*mut Slab),
    ) {
        self.taken.store(slab, Relaxed);
        while !slab.is_null() {
            let next = Slab::notice(slab).next.load(Relaxed);
            // Before `pending` is cleared: then the slab may be in another queue.
            self.taken.store(next, Relaxed);
            if Self::clear(slab, owner, flight) {
                own(slab);
            }
            slab = next;
        }
    }

    /// Clears `pending` of a slab that was in the queue. Whether it is the heap's; if not, it is sent on.
    fn clear(slab: *mut Slab, owner: u32, flight: &AtomicU32) -> bool {
        // While `pending` is set, the slab's SuperSlab stays; from then on, the flight sees to it
        // as long as this thread does not own the slab.
        // ORDERING: Relaxed: the store below releases it to who sees `pending` cleared.
        flight.store(1, Relaxed);
        // ORDERING: SeqCst: the first rule at the head of the file.
        Slab::notice(slab).pending.store(0, SeqCst);
        fence(SeqCst);
        let mine = map::lookup(Slab::base(slab)).owner() == owner;
        if !mine {
            notify(slab);
        }
        // ORDERING: Release: after the last use of the notice. Before `own`, which may unmap.
        flight.store(0, Release);
        mine
    }
}

/// Finds the queue of the heap with a number, unless its thread has vanished, so that nobody will look; set once, by `heap`,
/// which layers above.
pub(crate) type Finder = fn(u32) -> Option<&'static Queue>;
// SAFETY: a type of function pointers.
static FINDER: Hook<Finder> = unsafe { Hook::unset() };

/// Tells this module how queues are found. Before the first heap exists.
pub(crate) fn set_finder(finder: Finder) {
    FINDER.set(finder);
}

fn queue_of(owner: u32) -> Option<&'static Queue> {
    FINDER.get().and_then(|find| find(owner))
}

/// A delivery under way: while one is, no SuperSlab is unmapped, so that the notice of a slab whose
/// last bit has just been taken by its owner can still be written.
pub(crate) struct Flight<'a>(&'a AtomicU32);

impl<'a> Flight<'a> {
    /// Counts it in `count`, which `unmap` checks see.
    #[inline]
    pub(crate) fn start(count: &'a AtomicU32) -> Self {
        // ORDERING: before the bits are set: who sees the bits sees this, too.
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Flight<'_> {
    #[inline]
    fn drop(&mut self) {
        // ORDERING: after the last use of the notice.
        // It is 0 already in the child of a fork that a signal handler made meanwhile.
        let mut now = self.0.load(Relaxed);
        while now != 0 {
            match self.0.compare_exchange(now, now - 1, SeqCst, Relaxed) {
                Ok(_) => break,
                Err(other) => now = other,
            }
        }
    }
}

/// Sets the bits of `mask` in `word`, a remote word of the slab, and sees that the owner learns of it.
/// True when the slab is an orphan that somebody should look at: these seem to have been the last blocks in use, or
/// only a quarter, a sixteenth and so on of all its blocks still is.
///
/// # Safety
/// The blocks are in use, and the caller frees them with this.
pub(crate) unsafe fn deliver(
    slab: *mut Slab,
    word: *const AtomicU64,
    mask: u64,
) -> Result<bool, Found> {
    let at = word;
    // SAFETY: the caller's: a block in use keeps its slab.
    let word = unsafe { &*word };
    // Read before the bits are set: afterwards the slab may be anybody's.
    let entry = map::lookup(Slab::base(slab));
    // ORDERING: SeqCst: releases what this thread did with the blocks to the owner's drain, and
    // the first rule at the head of the file.
    let twice = word.fetch_or(mask, SeqCst) & mask;
    if twice != 0 {
        // SAFETY: the caller's.
        return Err((Misuse::DoubleFree, unsafe { block_of(slab, at, twice) }));
    }
    notify(slab);
    let Kind::Slab(class) = entry.kind() else {
        return Ok(false);
    };
    if entry.owner() != ORPHAN {
        // It may have become an orphan meanwhile, with these blocks counted as in use.
        return Ok(map::lookup(Slab::base(slab)).owner() == ORPHAN);
    }
    let live = &Slab::notice(slab).orphan_live;
    let n = mask.count_ones();
    // It may be too low: these blocks may have been found in the words before they are taken off
    // here. Then somebody looks too early, which puts it right. It is never too high.
    // ORDERING: Release pairs with the Acquire in `orphans`: after the bits.
    let before = live.fetch_sub(n, Release);
    let left = before.wrapping_sub(n);
    let blocks = class.info().blocks.into();
    Ok(left as i32 <= 0 || quarterings(blocks, left) != quarterings(blocks, before))
}

/// How often `blocks` can be divided by four before there are fewer than `live`, which is not 0.
fn quarterings(blocks: u32, live: u32) -> u32 {
    (blocks / live).max(1).ilog2() / 2
}

/// The address of the block that the lowest of `bits` in `word` stands for.
///
/// # Safety
/// `word` is one of the slab's remote words.
pub(crate) unsafe fn block_of(slab: *mut Slab, word: *const AtomicU64, bits: u64) -> usize {
    // SAFETY: the caller's.
    unsafe {
        let first = Slab::remote(slab, super::info(slab));
        super::block_at(slab, word.offset_from_unsigned(first), bits)
    }
}

/// Sees that the owner of the slab looks at its remote words after this.
fn notify(slab: *mut Slab) {
    let notice = Slab::notice(slab);
    loop {
        // ORDERING: SeqCst: the first rule at the head of the file. The load is for speed.
        if notice.pending.load(SeqCst) != 0 || notice.pending.swap(1, SeqCst) != 0 {
            return;
        }
        // This thread is responsible now.
        loop {
            let entry = map::lookup(Slab::base(slab));
            let queue = match entry.kind() {
                Kind::Slab(_) if entry.owner() != ORPHAN => queue_of(entry.owner()),
                _ => None,
            };
            if let Some(queue) = queue {
                if queue.push(slab) {
                    return;
                }
                // Closed between our look at the map and the push: the map says more now, or as
                // soon as the dying thread gets to it.
                if map::lookup(Slab::base(slab)) == entry {
                    yield_now();
                }
                continue;
            }
            // ORDERING: SeqCst: the second rule at the head of the file.
            notice.pending.store(0, SeqCst);
            fence(SeqCst);
            if map::lookup(Slab::base(slab)) == entry {
                return;
            }
            break;
        }
    }
}
