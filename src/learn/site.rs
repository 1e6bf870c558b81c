//! What is known of a call site and a size class of large blocks: a pure state machine.
//!
//! Keeping a freed block is renting memory; giving it back is a debt of one page fault for each
//! page at the next take (here 1.5 us for a small page, 40 - 200 us for a huge one). Without knowing the
//! future, the ski-rental rule (see [`super::pace`]) is to rent for as long as the debt would have cost. A
//! block that is wanted again soon after it was given back is a *regret*; each earns its site a credit, and
//! each credit lets one block stay although the warm budget is spent: the site's working set, no more.
//! The credit comes back with the block when it is taken, to who takes it. Credit halves with time, so a site that
//! has stopped loses it. Buffers that grow come to any size: of theirs a block is worth keeping, and missed, only if
//! it is not much larger than what they come to.
//!
//! How densely blocks are touched is seen when the first of them is freed: populating and huge pages are
//! for those that are touched all over. One in [`LOOK_EACH`] later ones is looked at, too, for behind one call site there may
//! be a program's own allocator, or another phase. In pages that were made resident ahead, content tells: zeros may have
//! been written, so what seems untouched there is a doubt, and the next blocks get small pages, of which the system knows.

use super::since;
use crate::base::PAGE;

/// Blocks that went back to the system longer apart than this do not count together.
const APART_MS: u32 = 1000;
/// Credit halves in this time.
const HALVING_MS: u32 = 2000;
/// Of fresh blocks of a site of which something is known one in so many is looked at when it is freed; of one that was
/// doubted wrongly, fewer.
const LOOK_EACH: u8 = 8;
/// How often that is halved, at most.
const TRUST_MAX: u8 = 3;
/// What a look at a block that seems untouched adds to the doubts; one at a block that was touched takes one off.
const DOUBT: u8 = 2;
/// So many touched blocks in a row make a sparse site a dense one.
const DENSE_IN_ROW: u8 = 3;

impl Density {
    /// The density that has this number.
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        [Self::Unknown, Self::Sparse, Self::Dense]
            .into_iter()
            .find(|density| *density as u64 == number)
    }
}

/// How much of its blocks a site touches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Density {
    /// Not looked at yet.
    Unknown = 0,
    /// Some block was mostly untouched, lately: no huge pages.
    Sparse = 1,
    /// The blocks that were looked at were touched all over.
    Dense = 2,
}

/// What is known of one site and size class.
///
/// # Invariants
/// `given_back` counts blocks that went back to the system at most [`APART_MS`] apart, the last
/// of them at `given_back_ms`. Times are of the policy's clock, in ms, and wrap.
#[derive(Clone, Copy)]
pub(crate) struct Site {
    /// Whose it is; 0 for nobody's.
    pub(crate) key: u32,
    /// The size class.
    pub(crate) bin: u16,
    credit: u8,
    given_back: u8,
    /// See [`Density`].
    pub(crate) density: Density,
    seen_ms: u32,
    given_back_ms: u32,
    /// What its buffers came to lately, in pages, if they are such that grow; 0: none was seen.
    grown: u32,
    /// Fresh blocks freed since it is dense or sparse; it wraps.
    fresh: u8,
    /// Of a dense one: see [`DOUBT`]. Of a sparse one: touched blocks in a row.
    contrary: u8,
    /// How often doubts were wrong.
    trust: u8,
}

impl Site {
    /// A site seen for the first time.
    pub(crate) const fn new(key: u32, bin: u16) -> Self {
        Self {
            key,
            bin,
            credit: 0,
            given_back: 0,
            density: Density::Unknown,
            seen_ms: 0,
            given_back_ms: 0,
            grown: 0,
            fresh: 0,
            contrary: 0,
            trust: 0,
        }
    }

    /// Rises with the time of the last event (of one run of the clock).
    pub(crate) fn age_order(&self) -> u32 {
        self.seen_ms
    }

    /// The credit that is left at `now`.
    pub(crate) fn credit(&self, now: u32) -> u8 {
        let halvings = since(now, self.seen_ms) / HALVING_MS;
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

    /// A take that found nothing kept. True if that is a regret, because a block of the site went back no
    /// more than `patience` ms ago; it earns a credit, if there are any.
    pub(crate) fn missed(&mut self, now: u32, patience: u32, credits: bool) -> bool {
        let recent = since(now, self.given_back_ms) <= patience;
        let regret = recent && self.given_back > 0;
        self.given_back = if regret { self.given_back - 1 } else { 0 };
        self.settle(now, u8::from(regret && credits));
        regret
    }

    /// A take that found a kept block: if that was earned, the credit comes back.
    pub(crate) fn hit(&mut self, now: u32, earned: bool) {
        self.settle(now, earned as u8);
    }

    /// Credit that was earned in another process.
    pub(crate) fn grant(&mut self, now: u32, amount: u8) {
        self.settle(now, amount);
    }

    /// A block stays on credit.
    pub(crate) fn spend(&mut self, now: u32) {
        self.settle(now, 0);
        self.credit = self.credit.saturating_sub(1);
    }

    /// A block of the site went back to the system.
    pub(crate) fn gave_back(&mut self, now: u32) {
        if since(now, self.given_back_ms) > APART_MS {
            self.given_back = 0;
        }
        self.given_back = self.given_back.saturating_add(1);
        self.given_back_ms = now;
    }

    /// A buffer that grew came to `used` bytes, and was freed to where all threads keep; it counts for a quarter.
    pub(crate) fn grew_to(&mut self, used: usize) {
        let pages = (used / PAGE).clamp(1, (u32::MAX / 4) as usize) as u32;
        self.grown = match self.grown {
            0 => pages,
            // Upwards: who comes to whole huge pages is not taken to miss them by a page.
            before => (3 * before + pages).div_ceil(4),
        };
    }

    /// Whether its buffers came to `bytes` lately, on average.
    pub(crate) fn comes_to(&self, bytes: usize) -> bool {
        self.grown as usize >= bytes / PAGE
    }

    /// Whether the next buffer is likely to use most of a block of which `touched` bytes are resident. Where
    /// buffers end with any size, the block that one of the largest leaves costs more rent than the others save by it.
    pub(crate) fn fills(&self, touched: usize) -> bool {
        let grown = self.grown as usize;
        touched / PAGE <= grown + grown / 4
    }

    /// An earned block waited in vain.
    pub(crate) fn wasted(&mut self) {
        self.credit /= 2;
    }

    /// Whether it is taken to be dense, but its next blocks shall show that on small pages.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.density == Density::Dense && self.contrary >= DOUBT
    }

    /// Whether somebody should look at a fresh block that is freed.
    pub(crate) fn wants_look(&mut self) -> bool {
        self.fresh = self.fresh.wrapping_add(1);
        self.density == Density::Unknown
            || self.is_in_doubt()
            || self.fresh.is_multiple_of(LOOK_EACH << self.trust)
    }

    /// Notes what a look at a block showed; `sure`: the system knew which pages had been touched.
    pub(crate) fn looked(&mut self, seen: Density, sure: bool) {
        use Density::{Dense, Sparse};
        match (self.density, seen) {
            (Dense, Sparse) if !sure => self.contrary = self.contrary.saturating_add(DOUBT),
            (Dense, Dense) if sure && self.is_in_doubt() => {
                self.trust = (self.trust + 1).min(TRUST_MAX);
                self.contrary = 0;
            }
            (Dense, Dense) => self.contrary = self.contrary.saturating_sub(1),
            (Sparse, Dense) if self.contrary + 1 < DENSE_IN_ROW => self.contrary += 1,
            (Sparse, Sparse) => self.contrary = 0,
            _ => (self.density, self.contrary) = (seen, 0),
        }
    }

    /// Takes over what another process has learned.
    pub(crate) fn teach(&mut self, density: Density) {
        (self.density, self.contrary) = (density, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_comes_from_regret_and_goes_with_time() {
        let mut site = Site::new(2, 3);
        assert!(!site.missed(5000, 100, true));
        assert_eq!(site.credit(5000), 0);
        site.gave_back(5020);
        site.gave_back(5030);
        for credit in [1, 2, 2] {
            site.missed(5050, 100, true);
            assert_eq!(site.credit(5050), credit);
        }
        site.spend(5060);
        assert_eq!(site.credit(5060), 1);
        site.hit(5070, true);
        site.hit(5070, false);
        assert_eq!(site.credit(5070), 2);
        site.gave_back(5080);
        assert!(!site.missed(5080 + 101, 100, true));
        assert_eq!(site.credit(5080 + 101), 2);
        assert_eq!(site.credit(100_000), 0);
        site.gave_back(100_010);
        assert!(site.missed(100_020, 100, false));
        assert_eq!(site.credit(100_020), 0);
    }

    #[test]
    fn a_block_stays_for_buffers_that_come_as_far() {
        let mut site = Site::new(3, 0);
        assert!(!site.fills(PAGE) && !site.comes_to(PAGE));
        for _ in 0..9 {
            site.grew_to(100 * PAGE);
            assert!(site.fills(100 * PAGE) && !site.fills(126 * PAGE));
            assert!(site.comes_to(100 * PAGE) && !site.comes_to(101 * PAGE));
        }
        // One that came far says little of the next, many of them do.
        site.grew_to(400 * PAGE);
        assert!(!site.fills(400 * PAGE));
        for _ in 0..9 {
            site.grew_to(400 * PAGE);
        }
        assert!(site.fills(400 * PAGE));
        let mut site = Site::new(3, 0);
        site.grew_to(300 * PAGE);
        for _ in 0..20 {
            site.grew_to(512 * PAGE);
        }
        assert!(site.comes_to(512 * PAGE) && !site.comes_to(513 * PAGE));
        for bytes in [usize::MAX, usize::MAX, 0] {
            site.grew_to(bytes);
            assert!(site.fills(PAGE) && !site.fills(usize::MAX));
        }
    }

    use Density::{Dense, Sparse};

    /// What is thought of a site after looks at blocks on small pages.
    fn after(seen: &[Density]) -> Site {
        let mut site = Site::new(2, 3);
        seen.iter().for_each(|seen| site.looked(*seen, true));
        site
    }

    #[test]
    fn a_site_is_sparse_at_once_and_dense_again_after_a_while() {
        assert_eq!(after(&[Dense]).density, Dense);
        assert_eq!(after(&[Dense, Sparse]).density, Sparse);
        assert_eq!(after(&[Sparse, Dense, Dense]).density, Sparse);
        assert_eq!(
            after(&[Sparse, Dense, Dense, Sparse, Dense, Dense]).density,
            Sparse
        );
        assert_eq!(after(&[Sparse, Dense, Dense, Dense]).density, Dense);
    }

    #[test]
    fn zeros_are_a_doubt_and_small_pages_tell() {
        let mut site = after(&[Dense]);
        site.looked(Sparse, false);
        assert!(site.density == Dense && site.is_in_doubt());
        // The zeros had been written.
        site.looked(Dense, true);
        assert!(site.density == Dense && !site.is_in_doubt());
        site.looked(Sparse, false);
        site.looked(Sparse, true);
        assert!(site.density == Sparse && !site.is_in_doubt());
        // One block in three that seems untouched is none too many, one in two is.
        for (touched, doubt) in [(2, false), (1, true)] {
            let mut site = after(&[Dense]);
            for _ in 0..10 {
                site.looked(Sparse, false);
                (0..touched).for_each(|_| site.looked(Dense, false));
            }
            assert_eq!(site.is_in_doubt(), doubt);
        }
    }

    #[test]
    fn a_known_site_is_looked_at_now_and_then() {
        let looks = |site: &mut Site| (0..64).filter(|_| site.wants_look()).count();
        assert_eq!(looks(&mut Site::new(2, 3)), 64);
        assert_eq!(looks(&mut after(&[Sparse])), 8);
        let mut site = after(&[Dense]);
        assert_eq!(looks(&mut site), 8);
        for rest in [4, 2, 1, 1] {
            site.looked(Sparse, false);
            assert_eq!(looks(&mut site), 64);
            site.looked(Dense, true);
            assert_eq!(looks(&mut site), rest);
        }
    }
}
