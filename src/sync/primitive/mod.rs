//! The atomic words by which threads talk to each other: core's, or in a model loom's.
//!
//! The protocols (the remote words and their queues, orphans, the slab map, the slots of fronts, the futex lock) take their
//! words from here, so that the models run the code that the library runs. Counters for reports, and
//! what is set once before the second thread, are core's everywhere.

#[cfg(not(all(test, loom)))]
mod real {
    pub(crate) use crate::os::{futex_wait, futex_wake, map, yield_now};
    pub(crate) use crate::sync::short::{ShortGuard, ShortLock};
    pub(crate) use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, fence};
}
#[cfg(not(all(test, loom)))]
pub(crate) use real::*;

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, loom))]
pub(crate) use model::*;
