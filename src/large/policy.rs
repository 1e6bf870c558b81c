//! What is decided about large blocks, as pure functions: sizes, room to grow, what may be kept.
//! What is learned of call sites is in [`crate::learn::site`].

use crate::base::size::{SLOT_PAGES, SLOT_SHIFT};
use crate::base::{PAGE, SLOT, SMALL_MAX, SUPERSLAB, align_up};

/// The largest request that is served by page runs.
pub(super) const RUN_MAX: usize = 1 << 20;
/// The largest alignment that is served by page runs.
pub(super) const RUN_ALIGN_MAX: usize = 1 << 20;
/// Pages of a SuperSlab that runs may use: all but the first slot.
pub(super) const RUN_PAGES: usize = 496;
/// The largest block that BigCache keeps.
pub(super) const BIG_MAX: usize = 16 << 20;
/// The smallest mapping that the Whale cache keeps, and the least request that huge pages are for; buffers that grow may
/// have them from their first mapping on.
pub(super) const WHALE_MIN: usize = 2 << 20;
/// With more ranges of their own than this, mappings are kept and purged instead of unmapped: a
/// range can cost one of the 65,530 mappings that the system allows, and the program needs some.
pub(super) const RANGES_MAX: usize = 16 << 10;
/// Earned memory of all mappings together, while little is live.
const EARNED_FLOOR: usize = 64 << 20;
/// What of that may be of buffers that grow, or of all where the user has set the floor, in floors of the warm budget.
const EARNED_FLOORS: usize = 10;
/// What of the earned bytes one front keeps, and all together; see [`front_earned`].
const FRONT_EARNED: usize = 16 << 20;
/// See [`FRONT_EARNED`].
const FRONTS_EARNED: usize = 32 << 20;
/// The largest block that can be earned, even if it is more than that: then it is the only one.
pub(super) const EARNED_BLOCK: usize = 128 << 20;

/// The most that blocks whose sites are not known to be dense may hold in huge pages, all together.
pub(super) const BETS_MAX: usize = 256 << 20;

/// Whether a block of `mapped` bytes may have huge pages although its site is not known to be dense, while others such
/// have `unproven` bytes of them; `limit`: the most that all may have here.
///
/// A first take of 16 MiB in small pages is 4,096 faults and 5 ms; in huge ones 8 and 0.4 ms. The bet is lost once: the
/// first site whose block comes back zero, and its next fresh one sparse, ends it for the whole process. Each look at a block
/// that was dense raises it, so a program whose sites all are is trusted.
pub(super) fn may_bet(mapped: usize, unproven: usize, dense_looks: u32, limit: usize) -> bool {
    const FIRST: usize = 32 << 20;
    const STEP: usize = 16 << 20;
    unproven + mapped <= (FIRST + STEP * dense_looks as usize).min(limit)
}

/// Whether a block of `need` bytes has huge pages where the system gives them unasked, unless its site is known to be
/// sparse: filling it by small ones takes long, and of smaller sparse blocks a program may have many.
pub(super) fn is_systems(need: usize) -> bool {
    need >= 32 << 20
}

/// What the front of one thread may keep without having earned it.
pub(super) const FRONT_BYTES: usize = 4 << 20;
/// And so much of that whatever the others keep, which may belong to threads that sleep.
pub(super) const FRONT_LEAST: usize = 128 << 10;

/// Bytes that sites may keep beyond the warm budget, each what it took again soon enough; less if `users_floor` is set,
/// which bounds all of what is kept.
pub(super) fn earned_max(live: usize, users_floor: Option<usize>) -> usize {
    let most = EARNED_FLOOR + live / 8;
    users_floor.map_or(most, |floor| most.min(of_floors(floor)))
}

fn of_floors(floor: usize) -> usize {
    floor.saturating_mul(EARNED_FLOORS)
}

/// What of the bytes that sites have earned the front of one of `heaps` may keep. The rest lies where every thread finds
/// it: most of many threads sleep at a time, and those that do not would fault in anew what these keep. Where there is
/// one heap, it may be one block of any size instead.
pub(super) fn front_earned(heaps: usize) -> usize {
    (FRONTS_EARNED / heaps.max(1)).min(FRONT_EARNED)
}

/// [`earned_max`] of sites of buffers that grow, where `floor` is that of the warm budget. A block of theirs may be of any
/// size and serves any other: what was missed says little of how much of it was worth keeping, but the strategy that
/// sets the floor is rated by it.
pub(super) fn growing_max(live: usize, floor: usize) -> usize {
    earned_max(live, None).min(of_floors(floor))
}

/// Pages to set aside for a run of `pages` that is expected to grow. The address space behind costs
/// nothing until it is touched.
pub(super) fn run_window(pages: usize) -> usize {
    match pages {
        0..=4 => 8,
        5..=16 => 32,
        17..=64 => 128,
        _ => RUN_PAGES,
    }
}

/// The window in pages if a request of `need` bytes (a multiple of a page) can be served by a run; `with_room` to grow.
pub(super) fn run_fits(need: usize, align: usize, with_room: bool) -> Option<usize> {
    if need > RUN_MAX || align > RUN_ALIGN_MAX {
        return None;
    }
    let (pages, align) = (need / PAGE, align / PAGE);
    // In an empty SuperSlab, the first place that is aligned so begins here.
    let first = align.max(SLOT_PAGES);
    let fits = |window: &usize| first + window <= SUPERSLAB / PAGE;
    let window = if with_room { run_window(pages) } else { pages };
    Some(window).filter(fits).or(Some(pages).filter(fits))
}

/// The room that a kept block may have to serve the first `need` bytes of a growing buffer, unless its
/// last buffer grew far: what is resident beyond that would be held, and used by nobody.
pub(super) fn growth_limit(need: usize) -> usize {
    if need <= RUN_MAX {
        run_window(need / PAGE) * PAGE
    } else {
        mapped(room(need))
    }
}

/// Whether a buffer of `used` bytes has grown far in a block of `room`.
pub(super) fn filled(room: usize, used: usize) -> bool {
    used >= room / 8
}

/// Whether a block of `used` bytes is too large to be resized to so few `bytes` where it is.
pub(super) fn too_small(bytes: usize, used: usize) -> bool {
    (bytes < PAGE && used > PAGE) || (bytes <= SMALL_MAX / 2 && used > SMALL_MAX)
}

/// Bytes to map for a mapping of `bytes` that is expected to grow.
pub(super) fn room(bytes: usize) -> usize {
    bytes.saturating_add(bytes.saturating_mul(3).min(1 << 30))
}

/// Whether a kept block with `room` bytes may serve a request of `need` that will not grow: the
/// surplus is resident memory that nobody uses.
pub(super) fn fits(room: usize, need: usize) -> bool {
    room >= need && room <= fits_up_to(need)
}

/// The most room that [`fits`].
pub(super) fn fits_up_to(need: usize) -> usize {
    need + need / 8 + PAGE
}

/// Whether a mapping of `room` bytes is what would be mapped for a request of `need`.
pub(super) fn is_made_for(room: usize, need: usize) -> bool {
    let mapped = mapped(need);
    room == mapped || room == huge_mapped(mapped)
}

/// As [`fits`], for a site whose sizes vary: a third may be surplus. Fresh pages would cost more.
pub(super) fn fits_loosely(room: usize, need: usize) -> bool {
    room >= need && room - need <= need / 2
}

/// The bin of a mapping of `bytes`, a multiple of 64 KiB: exact below 512 KiB, eight a doubling above.
pub(super) fn bin(bytes: usize) -> usize {
    let slots = bytes >> SLOT_SHIFT;
    if slots < 8 {
        slots
    } else {
        let log = slots.ilog2() as usize;
        (log - 2) * 8 + ((slots >> (log - 3)) & 7)
    }
}
/// Bins there are.
pub(super) const BINS: usize = 256;

/// Bytes of the mapping for a request. The caller has excluded overflow.
pub(super) fn mapped(bytes: usize) -> usize {
    align_up(bytes, SLOT)
}

/// Bytes to map in huge pages for `mapped` bytes: up to the end of the last one, if little is added.
pub(super) fn huge_mapped(mapped: usize) -> usize {
    let whole = align_up(mapped, SUPERSLAB);
    if whole - mapped <= mapped / 8 {
        whole
    } else {
        mapped
    }
}

/// The identity of a call site: never 0, odd for growing buffers.
#[inline(always)]
pub(super) fn key(site: usize, growing: bool) -> u32 {
    let mixed = (site as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (mixed as u32 & !3) | 2 | growing as u32
}

/// Whether a key is a growing buffer's.
#[inline(always)]
pub(super) fn is_growing(key: u32) -> bool {
    key & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_rise_with_the_size_and_stay_in_the_table() {
        let mut last = 0;
        for slots in (1..5000).chain((13..31).map(|s| 1 << s)) {
            let b = bin(slots << SLOT_SHIFT);
            assert!(b >= last && b < BINS);
            last = b;
        }
        assert!(bin(7 << SLOT_SHIFT) + 1 == bin(8 << SLOT_SHIFT));
        assert!(bin(1 << 47) < BINS);
    }

    #[test]
    fn bets_are_small_until_they_are_won() {
        const MIB: usize = 1 << 20;
        let may = |mapped, unproven, looks| may_bet(mapped * MIB, unproven * MIB, looks, BETS_MAX);
        assert!(may(32, 0, 0) && !may(33, 0, 0) && may(24, 8, 0) && !may(24, 9, 0));
        assert!(may(32, 16, 1) && !may(33, 16, 1) && may(256, 0, 99) && !may(257, 0, 99));
        // In a control group of 256 MiB.
        let may = |mapped| may_bet(mapped * MIB, 0, 99, 16 * MIB);
        assert!(may(16) && !may(17));
    }

    #[test]
    fn windows_hold_what_they_are_for() {
        for pages in 1..=RUN_PAGES {
            assert!(run_window(pages) >= pages && run_window(pages) <= RUN_PAGES);
        }
        assert!(room(1 << 20) >= 4 << 20 && room(usize::MAX) == usize::MAX);
        assert!(
            fits(10 * PAGE, 9 * PAGE) && !fits(8 * PAGE, 9 * PAGE) && !fits(64 * PAGE, 16 * PAGE)
        );
    }
}
