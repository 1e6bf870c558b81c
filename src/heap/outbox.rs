//! Frees of other threads' blocks, gathered per bitmap word.
//!
//! A consumer frees what a producer allocated in about the order in which it was handed out, which
//! is bitmap order: so up to 64 frees become one atomic OR. What is gathered is bounded, and goes
//! out when its word is full, when its place is needed, after [`ADDS`] frees, when this heap
//! refills or flushes, and when its thread ends.

use core::ptr::{null, null_mut};
use core::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Relaxed, Release},
};

use super::orphans;
use super::refill::report;
use crate::slab::{Misuse, Slab, remote};

const LEN: usize = 8;
/// Frees after which everything goes out.
const ADDS: u32 = 512;

/// The blocks of one remote word. No bits in `mask`: an empty place.
#[derive(Clone, Copy)]
struct Place {
    word: *const AtomicU64,
    mask: u64,
    slab: *mut Slab,
}

/// See the module. Zeroed memory is an empty outbox.
pub(super) struct Outbox {
    places: [Place; LEN],
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
        let empty = Place { word: null(), mask: 0, slab: null_mut() };
        Self { places: [empty; LEN], adds: 0, in_flight: AtomicU32::new(0), blocks: 0, atomics: 0 }
    }

    /// Whether nothing waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.adds == 0
    }

    /// Adds the block that has `bit` in the slab's remote word `word`.
    ///
    /// # Safety
    /// The block is in use, and is freed with this.
    #[inline(always)]
    pub(super) unsafe fn add(&mut self, slab: *mut Slab, word: *const AtomicU64, bit: u64) {
        let at = &mut self.places[(word as usize / 8) % LEN];
        let mask = at.mask | bit;
        self.adds += 1;
        if at.word == word && at.mask != mask && mask != u64::MAX && self.adds < ADDS {
            at.mask = mask;
        } else {
            // SAFETY: the caller's.
            unsafe { self.add_slow(slab, word, bit) }
        }
    }

    /// As [`Outbox::add`], when something must go out, or is wrong.
    #[cold]
    #[inline(never)]
    unsafe fn add_slow(&mut self, slab: *mut Slab, word: *const AtomicU64, bit: u64) {
        let at = (word as usize / 8) % LEN;
        let old = self.places[at];
        if old.word != word {
            self.places[at] = Place { word, mask: bit, slab };
            // SAFETY: what was added and not delivered.
            unsafe { self.deliver(old) };
        } else if old.mask & bit != 0 {
            report(Misuse::DoubleFree, Slab::base(slab));
        } else {
            self.places[at].mask |= bit;
            if self.places[at].mask == u64::MAX {
                let full = core::mem::replace(&mut self.places[at].mask, 0);
                // SAFETY: as above.
                unsafe { self.deliver(Place { mask: full, ..old }) };
            }
        }
        if self.adds >= ADDS {
            // SAFETY: as above.
            unsafe { self.flush() };
        }
    }

    /// Delivers everything.
    pub(super) unsafe fn flush(&mut self) {
        self.adds = 0;
        for i in 0..LEN {
            let place = self.places[i];
            self.places[i].mask = 0;
            // SAFETY: what was added and not delivered.
            unsafe { self.deliver(place) };
        }
    }

    unsafe fn deliver(&mut self, place: Place) {
        if place.mask == 0 {
            return;
        }
        self.blocks += place.mask.count_ones() as u64;
        self.atomics += 1;
        // ORDERING: only this thread writes it. The bits are set after it by a
        // sequentially consistent operation: who sees them sees this, too.
        self.in_flight.store(1, Relaxed);
        // SAFETY: the caller's.
        match unsafe { remote::deliver(place.slab, place.word, place.mask) } {
            Ok(false) => {}
            Ok(true) => orphans::emptied(place.slab),
            Err(misuse) => report(misuse, Slab::base(place.slab)),
        }
        // ORDERING: Release: after the last use of the notice.
        self.in_flight.store(0, Release);
    }
}
