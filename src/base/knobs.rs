//! The switches that the rest of the allocator reads: plain flags, set once from the environment.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// One feature that can be switched off.
pub(crate) struct Switch(AtomicBool);

impl Switch {
    const fn on() -> Self {
        Self(AtomicBool::new(true))
    }

    /// Whether the feature is on.
    #[inline(always)]
    pub(crate) fn get(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// Sets it. Before the first allocation that it concerns, or between any two.
    pub(crate) fn set(&self, on: bool) {
        self.0.store(on, Relaxed);
    }
}

/// `HAKMEM_TINY_USE_SUPERSLAB`: slabs come from SuperSlabs; off: each slab is mapped alone.
pub(crate) static SUPERSLABS: Switch = Switch::on();
/// `HAKMEM_TINY_PREALLOCATE`: the first SuperSlab is mapped at start, not at the first need.
pub(crate) static PREALLOCATE: Switch = Switch::on();
/// Not `HAKMEM_DISABLE_MAGAZINE`: more blocks of a class are kept at hand than one magazine is for.
pub(crate) static MAGAZINE: Switch = Switch::on();
/// Not `HAKMEM_DISABLE_OUTBOX`: frees of other threads' blocks are coalesced.
pub(crate) static OUTBOX: Switch = Switch::on();
/// Not `HAKMEM_DISABLE_BIGCACHE`: freed blocks of 32 KiB and more that do not grow are kept per call site.
pub(crate) static BIGCACHE: Switch = Switch::on();
/// Not `HAKMEM_DISABLE_WHALE`: freed mappings above 16 MiB, and of buffers that grow, are kept warm.
pub(crate) static WHALE: Switch = Switch::on();
/// Not `HAKMEM_DISABLE_BATCH`: SuperSlabs are mapped in growing batches.
pub(crate) static BATCH: Switch = Switch::on();
/// Not `HAKMEM_DISABLE_POPULATE`: fresh memory is made resident in steps.
pub(crate) static POPULATE: Switch = Switch::on();
/// Not `HAKMEM_DISABLE_THP`: huge pages are asked for where blocks are large and reused.
pub(crate) static THP: Switch = Switch::on();
/// Not `HAKMEM_DISABLE_HOLE_PURGE`: free pages inside slabs in use go back.
pub(crate) static HOLE_PURGE: Switch = Switch::on();
/// Not `HAKMEM_DISABLE_SITES`: call sites tell blocks apart; off: all have site 0.
pub(crate) static SITES: Switch = Switch::on();
/// Not `HAKMEM_DISABLE_ELO`: strategies compete.
pub(crate) static ELO: Switch = Switch::on();
/// Not `HAKMEM_DISABLE_CREDIT`: call sites earn room for the blocks that they take again and again.
pub(crate) static CREDIT: Switch = Switch::on();
/// Not `HAKMEM_DISABLE_DENSITY`: freed blocks are looked at, how much of them was touched.
pub(crate) static DENSITY: Switch = Switch::on();
/// Not `HAKMEM_DISABLE_GROWTH`: blocks that grow get headroom, and places where they can grow on.
pub(crate) static GROWTH: Switch = Switch::on();
/// Not `HAKMEM_DISABLE_DEMAND`: how many more follows the swings of the class.
pub(crate) static DEMAND: Switch = Switch::on();
/// Not `HAKMEM_DISABLE_PACE`: memory that was missed after it had been given back may stay.
pub(crate) static PACE: Switch = Switch::on();
