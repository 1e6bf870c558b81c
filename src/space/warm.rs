//! The warm budget: how much free memory may stay resident.
//!
//! Freed memory is the cheapest memory there is to hand out again, so some of it stays: a floor
//! plus a share of what is in use. Whoever keeps free memory adds it to [`WARM`] and gives the
//! oldest back as soon as the sum is over [`budget`]; so a process that goes idle is already
//! small, and no thread has to see to it.

use core::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};

/// Resident bytes that are free and kept: empty slabs, free runs, cached large blocks.
pub(crate) static WARM: AtomicIsize = AtomicIsize::new(0);
/// Bytes in use: slabs that some heap holds, runs and large blocks that the program holds.
pub(crate) static LIVE: AtomicIsize = AtomicIsize::new(0);
/// The floor of the budget in bytes (`HAKMEM_WARM_MB`).
pub(crate) static FLOOR: AtomicUsize = AtomicUsize::new(8 << 20);
/// The share of the bytes in use, in per cent (`HAKMEM_WARM_PERCENT`).
pub(crate) static PERCENT: AtomicUsize = AtomicUsize::new(10);

/// Free bytes that may stay resident now.
pub(crate) fn budget() -> usize {
    let live = LIVE.load(Relaxed).max(0) as usize;
    FLOOR.load(Relaxed) + live / 100 * PERCENT.load(Relaxed)
}

/// Bytes by which the warm memory exceeds the budget.
pub(crate) fn excess() -> usize {
    (WARM.load(Relaxed).max(0) as usize).saturating_sub(budget())
}

/// Notes that `bytes` of free resident memory are kept (or, negative, no longer).
pub(crate) fn keep(bytes: isize) {
    WARM.fetch_add(bytes, Relaxed);
}

/// Notes that `bytes` came into use (or, negative, are free again).
pub(crate) fn used(bytes: isize) {
    LIVE.fetch_add(bytes, Relaxed);
}
