//! What is decided about large blocks, as pure functions: sizes, room to grow, keep or give back.
//!
//! Keeping a freed block is renting memory; giving it back is a debt of one page fault for each
//! page at the next take (here 1.2 us for a small page, 70 us for a huge one). Without knowing the
//! future, the ski-rental rule is to rent for as long as the debt would have cost. A block that is
//! wanted again soon after it was given back is a *regret*; each earns its site a credit, and each
//! credit lets one block stay although the warm budget is spent: the site's working set, no more.
//! The credit comes back with the block when it is taken. Credit halves with time, so a site that
//! has stopped loses it.

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
/// The smallest mapping that the Whale cache keeps, and that huge pages are asked for.
pub(super) const WHALE_MIN: usize = 2 << 20;
/// With more ranges of their own than this, mappings are kept and purged instead of unmapped: a
/// range can cost one of the 65,530 mappings that the system allows, and the program needs some.
pub(super) const RANGES_MAX: usize = 16 << 10;
/// Earned memory of all mappings together, while little is live.
const EARNED_FLOOR: usize = 64 << 20;
/// What of the earned bytes one front keeps at most, unless it is one block.
pub(super) const FRONT_EARNED: usize = 16 << 20;
/// The largest block that can be earned, even if it is more than that: then it is the only one.
pub(super) const EARNED_BLOCK: usize = 128 << 20;
/// Earned memory of page runs, at most.
pub(super) const RUNS_EARNED_MAX: usize = 32 << 20;
/// A take this long after a give-back is a regret.
pub(super) const REGRET_MS: u32 = 1000;
/// An earned block that nobody took for this long has to go.
pub(super) const EARNED_MS: u32 = 4000;
/// Credit halves in this time.
const HALVING_MS: u32 = 2000;
/// Blocks whose site is not known to be dense may hold this much in huge pages, all together.
///
/// A first take of 16 MiB in small pages is 4,096 faults and 5 ms; in huge ones 8 and 0.4 ms. The
/// bet is lost once: the first block that comes back sparse ends it for the whole process.
pub(super) const UNPROVEN_HUGE: usize = 16 << 20;
/// What the front of one thread may keep without having earned it.
pub(super) const FRONT_BYTES: usize = 4 << 20;

/// Bytes that sites may keep beyond the warm budget.
pub(super) fn earned_max(live: usize) -> usize {
    EARNED_FLOOR + live / 8
}

/// Bytes that all fronts together may keep without having earned them. It follows what is live only
/// a little: what the front of a sleeping thread holds cannot be reached by another.
pub(super) fn fronts_max(floor: usize, live: usize) -> usize {
    floor / 2 + live / 64
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

/// The window in pages if a request of `need` bytes (a multiple of a page) can be served by a run.
pub(super) fn run_fits(need: usize, align: usize, key: u32) -> Option<usize> {
    if need > RUN_MAX || align > RUN_ALIGN_MAX {
        return None;
    }
    let (pages, align) = (need / PAGE, align / PAGE);
    // In an empty SuperSlab, the first place that is aligned so begins here.
    let first = align.max(SLOT_PAGES);
    let fits = |window: &usize| first + window <= SUPERSLAB / PAGE;
    let window = if is_growing(key) {
        run_window(pages)
    } else {
        pages
    };
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
    room >= need && room - need <= need / 8 + PAGE
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

/// How much of its blocks a site touches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Density {
    /// Not looked at yet.
    Unknown = 0,
    /// Some block was mostly untouched: no huge pages, ever.
    Sparse = 1,
    /// Every block that was looked at was touched all over.
    Dense = 2,
}

/// What is known of one site and size class.
///
/// # Invariants
/// `given_back` counts blocks that went back to the system at most [`REGRET_MS`] apart, the last
/// of them at `given_back_ms`. Times are of the policy's clock, in ms, and wrap.
#[derive(Clone, Copy)]
pub(super) struct Site {
    /// Whose it is; 0 for nobody's.
    pub(super) key: u32,
    /// The size class.
    pub(super) bin: u16,
    credit: u8,
    given_back: u8,
    /// See [`Density`].
    pub(super) density: Density,
    seen_ms: u32,
    given_back_ms: u32,
}

impl Site {
    /// A site seen for the first time.
    pub(super) const fn new(key: u32, bin: u16) -> Self {
        Self {
            key,
            bin,
            credit: 0,
            given_back: 0,
            density: Density::Unknown,
            seen_ms: 0,
            given_back_ms: 0,
        }
    }

    /// Rises with the time of the last event (of one run of the clock).
    pub(super) fn age_order(&self) -> u32 {
        self.seen_ms
    }

    /// The credit that is left at `now`.
    pub(super) fn credit(&self, now: u32) -> u8 {
        let halvings = now.wrapping_sub(self.seen_ms) / HALVING_MS;
        if halvings >= 8 {
            0
        } else {
            self.credit >> halvings
        }
    }

    fn settle(&mut self, now: u32, amount: u8) {
        self.credit = self.credit(now).saturating_add(amount);
        self.seen_ms = now;
    }

    /// A take that found nothing kept. A regret earns a credit.
    pub(super) fn missed(&mut self, now: u32) {
        let recent = now.wrapping_sub(self.given_back_ms) <= REGRET_MS;
        let regret = recent && self.given_back > 0;
        self.given_back = if regret { self.given_back - 1 } else { 0 };
        self.settle(now, regret as u8);
    }

    /// A take that found a kept block: if that was earned, the credit comes back.
    pub(super) fn hit(&mut self, now: u32, earned: bool) {
        self.settle(now, earned as u8);
    }

    /// A block stays on credit.
    pub(super) fn spend(&mut self, now: u32) {
        self.settle(now, 0);
        self.credit = self.credit.saturating_sub(1);
    }

    /// A block of the site went back to the system.
    pub(super) fn gave_back(&mut self, now: u32) {
        if now.wrapping_sub(self.given_back_ms) > REGRET_MS {
            self.given_back = 0;
        }
        self.given_back = self.given_back.saturating_add(1);
        self.given_back_ms = now;
    }

    /// An earned block waited in vain.
    pub(super) fn wasted(&mut self) {
        self.credit /= 2;
    }

    /// Notes what a look at a block showed.
    pub(super) fn looked(&mut self, density: Density) {
        if self.density != Density::Sparse {
            self.density = density;
        }
    }
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
    fn credit_comes_from_regret_and_goes_with_time() {
        let mut site = Site::new(2, 3);
        site.missed(5000);
        assert_eq!(site.credit(5000), 0);
        site.gave_back(5020);
        site.gave_back(5030);
        for credit in [1, 2, 2] {
            site.missed(5050);
            assert_eq!(site.credit(5050), credit);
        }
        site.spend(5060);
        assert_eq!(site.credit(5060), 1);
        site.hit(5070, true);
        site.hit(5070, false);
        assert_eq!(site.credit(5070), 2);
        site.gave_back(5080);
        site.missed(5080 + REGRET_MS + 1);
        assert_eq!(site.credit(5080 + REGRET_MS + 1), 2);
        assert_eq!(site.credit(100_000), 0);
    }

    #[test]
    fn a_sparse_site_stays_sparse() {
        let mut site = Site::new(2, 3);
        site.looked(Density::Dense);
        assert_eq!(site.density, Density::Dense);
        site.looked(Density::Sparse);
        site.looked(Density::Dense);
        assert_eq!(site.density, Density::Sparse);
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
