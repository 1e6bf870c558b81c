//! BigCache: freed mappings of up to 16 MiB of blocks that do not grow, by call site and size class.
//!
//! A program that takes a buffer at one place takes the like of it there again. The block that the
//! same site gave is the best match: as large, and touched in the same way.

use super::policy;
use super::records::Record;
use super::store::Bins;

/// A block for `need` bytes: the site's own if there is one.
pub(super) fn find(bins: &Bins, need: usize, align: usize, key: u32) -> Option<u32> {
    let rank = |record: &Record| {
        let (room, own) = (record.mapped(), record.key() == key);
        if !record.address().is_multiple_of(align) {
            None
        } else if policy::fits(room, policy::mapped(need)) {
            Some(if own { 3 } else { 1 })
        } else {
            (own && policy::fits_loosely(room, need)).then_some(2)
        }
    };
    bins.find(need, need + need / 2 + policy::mapped(1), 3, rank)
}
