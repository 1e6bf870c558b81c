//! BigCache: freed mappings of up to 16 MiB, by call site and size class.
//!
//! A program that takes a buffer at one place takes the like of it there again. The block that the
//! same site gave is the best match: as large, and touched in the same way.

use super::policy;
use super::records::Record;
use super::store::Bins;

/// The blocks, and how often one was wanted.
pub(super) struct BigCache {
    /// The blocks.
    pub(super) bins: Bins,
    /// Takes that found one, and that did not.
    pub(super) hits: u64,
    /// See `hits`.
    pub(super) misses: u64,
    /// Blocks that went back to the system.
    pub(super) evictions: u64,
}

impl BigCache {
    /// Empty.
    pub(super) const NEW: Self = Self {
        bins: Bins::NEW,
        hits: 0,
        misses: 0,
        evictions: 0,
    };

    /// A block for `need` bytes: the site's own if there is one.
    pub(super) fn find(&self, need: usize, align: usize, key: u32) -> Option<u32> {
        let rank = |record: &Record| {
            let fits = record.address().is_multiple_of(align)
                && policy::fits(record.mapped(), policy::mapped(need));
            fits.then(|| if record.key() == key { 2 } else { 1 })
        };
        self.bins
            .find(need, need + need / 4 + policy::mapped(1), 2, rank)
    }
}
