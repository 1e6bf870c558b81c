//! BigCache: freed mappings of up to 16 MiB of blocks that do not grow, by call site and size class.
//!
//! A program that takes a buffer at one place takes the like of it there again. The block that the
//! same site gave is a good match: as large, and touched in the same way. One that was made for a request of this size is
//! as good, whoever gave it, if both sites are known to touch all of their blocks: the last one freed serves, and what sites
//! that pass blocks on do not need leaves in time.

use super::policy;
use super::records::Record;
use super::sites;
use super::store::Bins;

/// A block for `need` bytes; `dense`: the site is known to touch all of its blocks.
pub(super) fn find(bins: &Bins, need: usize, align: usize, key: u32, dense: bool) -> Option<u32> {
    let rank = |record: &Record| {
        let (room, own) = (record.mapped(), record.key() == key);
        if !record.address().is_multiple_of(align) {
            None
        } else if policy::fits(room, policy::mapped(need)) {
            let best = own || dense && sites::may_serve(record, need);
            Some(if best { 3 } else { 1 })
        } else {
            (own && policy::fits_loosely(room, need)).then_some(2)
        }
    };
    bins.find(need, need + need / 2 + policy::mapped(1), 3, rank)
}
