//! The Whale cache: freed mappings of 2 MiB and more that BigCache does not keep, by size: large ones, and buffers that
//! grow, whose mappings are several times what they begin with.
//!
//! One such block is worth thousands of page faults. A buffer that grows may have a block of any
//! size that its site gave, if the last one grew far in it and not too much is lent.

use super::lent;
use super::policy;
use super::records::{Record, flag};
use super::sites;
use super::store::Bins;

/// A block for `need` bytes; `dense`: the site is known to touch all of its blocks.
pub(super) fn find(bins: &Bins, need: usize, align: usize, key: u32, dense: bool) -> Option<u32> {
    let grows = policy::is_growing(key);
    let limit = if grows {
        usize::MAX
    } else {
        need + need / 4 + policy::mapped(1)
    };
    let room = policy::growth_limit(need);
    let rank = |record: &Record| {
        if !record.address().is_multiple_of(align) {
            None
        } else if record.key() == key && grows {
            let may = record.mapped() <= room
                || record.has(flag::FILLED) && lent::may_be(record.touched(), need);
            may.then_some(3)
        } else {
            let room = record.mapped();
            let best = record.key() == key || dense && sites::may_serve(record, need);
            policy::fits(room, policy::mapped(need)).then_some(if best { 2 } else { 1 })
        }
    };
    bins.find(need, limit, if grows { 3 } else { 2 }, rank)
}
