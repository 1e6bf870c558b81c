//! Frees of other threads' blocks, gathered per bitmap word.
//!
//! A consumer frees what a producer allocated in about the order in which it was handed out, which
//! is bitmap order: so up to 64 frees become one atomic OR. What is gathered is bounded, and goes
//! out, all of it, when the place of a word is needed for another, after [`ADDS`] frees, when this
//! heap refills or flushes, and when its thread ends.

use core::ptr::{null, null_mut};
use core::sync::atomic::Ordering::{Relaxed, Release};

use super::orphans;
use super::refill::report;
use crate::slab::{Misuse, Slab, remote};
use crate::sync::primitive::{AtomicU32, AtomicU64};

const LEN: usize = 8;
/// Frees after which everything goes out.
const ADDS: u32 = 512;

/// See the module. Zeroed memory is an empty outbox.
///
/// # Invariants
/// Place `i` holds the blocks with the bits of `masks[i]` in the remote word `words[i]` of
/// `slabs[i]`; it is empty if there are none.
pub(super) struct Outbox {
    words: [*const AtomicU64; LEN],
    masks: [u64; LEN],
    slabs: [*mut Slab; LEN],
    adds: u32,
    /// A delivery is under way; see `remote::Flight`.
    pub(super) in_flight: AtomicU32,
    /// Blocks sent, and atomics that carried them.
    pub(super) blocks: u64,
    /// See `blocks`.
    pub(super) atomics: u64,
}

impl Outbox {
    pub(super) const fn new() -> Self {
        Self {
            words: [null(); LEN],
            masks: [0; LEN],
            slabs: [null_mut(); LEN],
            adds: 0,
            in_flight: AtomicU32::new(0),
            blocks: 0,
            atomics: 0,
        }
    }

    /// Whether a refill with blocks of `size` bytes should send what waits first: few small blocks
    /// may wait for more, so that an atomic carries several.
    #[inline]
    pub(super) fn is_due(&self, size: usize) -> bool {
        self.adds != 0 && (self.adds >= ADDS / 2 || size > 1024)
    }

    /// Whether what it says of itself is so.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.is_empty() && self.masks.iter().any(|mask| *mask != 0) {
            return Err("an outbox that says that it is empty is not");
        }
        Ok(())
    }

    /// Whether nothing waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.adds == 0
    }

    /// Adds the block that has `bit` in the remote word `word`, if others of the word wait already
    /// and nothing has to go out. False: it is for [`Outbox::add_slow`].
    #[inline(always)]
    pub(super) fn add(&mut self, word: *const AtomicU64, bit: u64) -> bool {
        let at = (word as usize / 8) % LEN;
        let mask = self.masks[at] | bit;
        let adds = self.adds + 1;
        if self.words[at] != word || self.masks[at] == mask || adds >= ADDS {
            return false;
        }
        self.masks[at] = mask;
        self.adds = adds;
        true
    }

    /// As [`Outbox::add`], when something must go out, or is wrong.
    ///
    /// # Safety
    /// The block is in use, in `slab`, and is freed with this.
    pub(super) unsafe fn add_slow(&mut self, slab: *mut Slab, word: *const AtomicU64, bit: u64) {
        let at = (word as usize / 8) % LEN;
        // SAFETY: what was added and not delivered.
        unsafe {
            if self.words[at] != word {
                if self.masks[at] != 0 {
                    // All at once: neighbouring words share cache lines, and the owner of several
                    // is told once.
                    self.flush();
                }
                self.words[at] = word;
                self.slabs[at] = slab;
            } else if self.masks[at] & bit != 0 {
                report((Misuse::DoubleFree, remote::block_of(slab, word, bit)));
            }
            self.masks[at] |= bit;
            self.adds += 1;
            if self.adds >= ADDS {
                self.flush();
            }
        }
    }

    /// Delivers everything.
    pub(super) unsafe fn flush(&mut self) {
        self.adds = 0;
        for at in 0..LEN {
            // SAFETY: what was added and not delivered.
            unsafe { self.deliver(at) };
        }
    }

    /// Delivers what is in a place, and leaves it empty.
    unsafe fn deliver(&mut self, at: usize) {
        let mask = core::mem::replace(&mut self.masks[at], 0);
        if mask == 0 {
            return;
        }
        let slab = self.slabs[at];
        self.blocks += mask.count_ones() as u64;
        self.atomics += 1;
        // ORDERING: only this thread writes it. The bits are set after it by a
        // sequentially consistent operation: who sees them sees this, too.
        self.in_flight.store(1, Relaxed);
        // SAFETY: the caller's.
        unsafe { orphans::deliver(slab, self.words[at], mask) };
        // ORDERING: Release: after the last use of the notice.
        self.in_flight.store(0, Release);
    }
}
