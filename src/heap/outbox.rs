//! Frees of other threads' blocks, gathered per bitmap word.
//!
//! A consumer frees what a producer allocated in about the order in which it was handed out, which
//! is bitmap order: so up to 64 frees become one atomic OR. What is gathered is bounded, and goes
//! out when its word is full, when its place is needed, after [`ADDS`] frees, when this heap
//! refills or flushes, and when its thread ends.

use core::ptr::null_mut;

use crate::base::Class;
use crate::slab::{Misuse, Slab, remote};

const LEN: usize = 8;
/// Frees after which everything goes out.
const ADDS: u32 = 512;

#[derive(Clone, Copy)]
struct Place {
    slab: *mut Slab,
    /// The slab's class, which a block in use keeps; the slab itself is its owner's to read.
    class: Class,
    word: u8,
    mask: u64,
}

/// See the module. Zeroed memory is an empty outbox.
pub(super) struct Outbox {
    places: [Place; LEN],
    adds: u32,
    /// Blocks sent, and atomics that carried them.
    pub(super) blocks: u64,
    /// See `blocks`.
    pub(super) atomics: u64,
}

impl Outbox {
    pub(super) const fn new() -> Self {
        let empty = Place { slab: null_mut(), class: Class::of(0), word: 0, mask: 0 };
        Self { places: [empty; LEN], adds: 0, blocks: 0, atomics: 0 }
    }

    /// Whether nothing waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.adds == 0
    }

    /// Adds block `index` of the slab; calls `emptied` for orphans that may be empty.
    ///
    /// # Safety
    /// The block is in use, and is freed with this.
    pub(super) unsafe fn add(
        &mut self,
        slab: *mut Slab,
        class: Class,
        index: usize,
        emptied: impl Fn(*mut Slab),
    ) -> Result<(), Misuse> {
        let (word, bit) = ((index / 64) as u8, 1u64 << (index % 64));
        let place = ((slab as usize / size_of::<Slab>()) ^ (word as usize * 5)) % LEN;
        let at = &mut self.places[place];
        if at.slab != slab || at.word != word {
            let old = core::mem::replace(at, Place { slab, class, word, mask: bit });
            if old.mask != 0 {
                // SAFETY: these blocks were added and not delivered.
                unsafe { self.deliver(old, &emptied)? };
            }
        } else if at.mask & bit != 0 {
            return Err(Misuse::DoubleFree);
        } else {
            at.mask |= bit;
            if at.mask == u64::MAX {
                let full = *at;
                at.mask = 0;
                // SAFETY: as above.
                unsafe { self.deliver(full, &emptied)? };
            }
        }
        self.adds += 1;
        if self.adds >= ADDS {
            // SAFETY: as above.
            unsafe { self.flush(emptied)? };
        }
        Ok(())
    }

    /// Delivers everything.
    pub(super) unsafe fn flush(&mut self, emptied: impl Fn(*mut Slab)) -> Result<(), Misuse> {
        self.adds = 0;
        for i in 0..LEN {
            let place = self.places[i];
            self.places[i].mask = 0;
            if place.mask != 0 {
                // SAFETY: these blocks were added and not delivered.
                unsafe { self.deliver(place, &emptied)? };
            }
        }
        Ok(())
    }

    unsafe fn deliver(&mut self, place: Place, emptied: &impl Fn(*mut Slab)) -> Result<(), Misuse> {
        self.blocks += place.mask.count_ones() as u64;
        self.atomics += 1;
        // SAFETY: the caller's.
        if unsafe { remote::deliver(place.slab, place.class.info(), place.word as usize, place.mask)? } {
            emptied(place.slab);
        }
        Ok(())
    }
}
