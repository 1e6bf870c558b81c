//! The word of a place in a front: which block lies there, and whether any thread may have it.
//!
//! The thread that owns the front lays blocks down and claims them. What its call sites have earned lies there
//! as an offer, which another thread may take when the owner sleeps. The bytes that it is charged for stand in the
//! word, too: who gets the block gets the charge.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::compiler_fence;

use crate::base::SLOT;
use crate::sync::primitive::AtomicU64;

/// Any thread may take the block: above this bit stands the charge in units of 64 KiB, above that the address.
const OFFERED: u64 = 1;
/// Another thread has taken it, and its charge.
const TAKEN: u64 = 2;
/// The charge.
const UNITS: u64 = (SLOT - 1) as u64 & !OFFERED;
/// No larger charge fits.
pub(super) const CHARGE_MAX: usize = (UNITS as usize >> 1) * SLOT;

/// The address of the block that a word stands for, or 0.
#[inline(always)]
fn address_in(word: u64) -> usize {
    let bits = if word & OFFERED == 0 {
        TAKEN
    } else {
        OFFERED | UNITS
    };
    (word & !bits) as usize
}

/// See the module. Zeroed, it is empty.
///
/// # Invariants
/// 0: no block lies here; [`TAKEN`]: nor does one, and the owner has to see it. With [`OFFERED`] an address that
/// is a multiple of 64 KiB, and a charge; without, one that is a multiple of a page. Only the owner writes,
/// except that any thread may turn an offer into `TAKEN`.
pub(super) struct Slot(AtomicU64);

impl Slot {
    /// The address of the block that lies here, or 0.
    #[inline(always)]
    pub(super) fn at(&self) -> usize {
        address_in(self.0.load(Relaxed))
    }

    /// Whether no block lies here, and none was taken unseen.
    #[inline(always)]
    pub(super) fn is_out(&self) -> bool {
        self.0.load(Relaxed) == 0
    }

    /// The owner lays a block down, which stays its own.
    #[inline(always)]
    pub(super) fn lay(&self, at: usize) {
        self.0.store(at as u64, Relaxed);
    }

    /// The owner lays a block down that is charged for `charge` bytes, a multiple of 64 KiB: any thread may take it.
    #[inline(always)]
    pub(super) fn offer(&self, at: usize, charge: usize) {
        debug_assert!((at | charge).is_multiple_of(SLOT) && charge <= CHARGE_MAX);
        let units = (charge / SLOT) as u64;
        // ORDERING: Release pairs with the Acquire in `take`: what the record says of the block.
        self.0.store(at as u64 | units << 1 | OFFERED, Release);
    }

    /// The owner takes the block that lies here, if another thread does not have it: its address.
    #[inline(always)]
    pub(super) fn claim(&self) -> Option<NonNull<u8>> {
        let word = self.0.load(Relaxed);
        let block = NonNull::new(address_in(word) as *mut u8)?;
        if word & OFFERED == 0 {
            self.0.store(0, Relaxed);
            return Some(block);
        }
        // ORDERING: Relaxed: what was offered was the owner's own.
        let claimed = self.0.compare_exchange(word, 0, Relaxed, Relaxed);
        claimed.is_ok().then_some(block)
    }

    /// Whether another thread has taken what was offered here.
    #[inline(always)]
    pub(super) fn was_taken(&self) -> bool {
        self.0.load(Relaxed) == TAKEN
    }

    /// The owner, which has forgotten what was charged for it, too, makes the empty slot as it was at first.
    pub(super) fn reset(&self) {
        // What is charged is forgotten before, also for a signal handler that forks.
        compiler_fence(Release);
        self.0.store(0, Relaxed);
    }

    /// Whether the block may be had by any thread.
    pub(super) fn is_offered(&self) -> bool {
        self.0.load(Relaxed) & OFFERED != 0
    }

    /// Another thread takes what is offered: its address, and the bytes that it is charged for.
    pub(super) fn take(&self) -> Option<(usize, usize)> {
        let word = self.0.load(Relaxed);
        if word & OFFERED == 0 {
            return None;
        }
        // ORDERING: Acquire pairs with the Release in `offer`.
        let took = self.0.compare_exchange(word, TAKEN, Acquire, Relaxed);
        let charge = (word & UNITS) as usize / 2 * SLOT;
        took.ok().map(|word| (address_in(word), charge))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn new() -> Slot {
        Slot(AtomicU64::new(0))
    }

    fn at(block: NonNull<u8>) -> usize {
        block.as_ptr() as usize
    }

    #[test]
    fn what_is_laid_down_is_the_owners() {
        let slot = new();
        assert!(slot.is_out() && slot.claim().is_none());
        slot.lay(0x7fff_ffff_f000);
        assert_eq!((slot.at(), slot.is_out()), (0x7fff_ffff_f000, false));
        assert!(!slot.is_offered() && slot.take().is_none());
        assert_eq!(slot.claim().map(at), Some(0x7fff_ffff_f000));
        assert!(slot.is_out() && !slot.was_taken());
    }

    #[test]
    fn what_is_offered_goes_with_its_charge() {
        let slot = new();
        for charge in [0, SLOT, CHARGE_MAX] {
            slot.offer(0x7fff_ffff_0000, charge);
            assert_eq!(slot.at(), 0x7fff_ffff_0000);
            assert!(slot.is_offered());
            assert_eq!(slot.claim().map(at), Some(0x7fff_ffff_0000));
            assert!(slot.is_out());
            slot.offer(0x7fff_ffff_0000, charge);
            assert_eq!(slot.take(), Some((0x7fff_ffff_0000, charge)));
            assert!(slot.at() == 0 && !slot.is_out() && slot.claim().is_none());
            assert!(slot.was_taken());
            slot.reset();
            assert!(!slot.was_taken() && slot.is_out());
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::sync::primitive;
    use loom::{cell::UnsafeCell, thread};
    use std::boxed::Box;
    use std::vec::Vec;
    extern crate std;

    /// The owner lays a block down and claims it again while two others try to take it: one of them has it, with what
    /// was written of it before it was offered.
    #[test]
    fn one_gets_what_is_offered() {
        struct Place {
            slot: Slot,
            block: UnsafeCell<u32>,
        }
        // SAFETY: loom checks it.
        unsafe impl Sync for Place {}
        primitive::model(
            Some(3),
            || (),
            || {
                let place: &'static _ = Box::leak(Box::new(Place {
                    slot: Slot(AtomicU64::new(0)),
                    block: UnsafeCell::new(0),
                }));
                let use_it = |by: u32| {
                    // SAFETY: loom checks that nobody else does.
                    place.block.with_mut(|block| unsafe { *block = by });
                };
                // So that loom knows the word before there are threads.
                assert!(place.slot.is_out());
                let others: Vec<_> = (1..=2)
                    .map(|by| {
                        thread::spawn(move || {
                            let took = place.slot.take();
                            if let Some(took) = took {
                                assert_eq!(took, (SLOT, 2 * SLOT));
                                use_it(by);
                            }
                            took.is_some()
                        })
                    })
                    .collect();
                use_it(0);
                place.slot.offer(SLOT, 2 * SLOT);
                let mine = place.slot.claim().is_some();
                if mine {
                    use_it(3);
                }
                let theirs = others.into_iter().map(|other| other.join().unwrap());
                let got = usize::from(mine) + theirs.filter(|took| *took).count();
                assert_eq!(got, 1);
                assert!(place.slot.at() == 0 && place.slot.was_taken() != mine);
            },
        );
    }
}
