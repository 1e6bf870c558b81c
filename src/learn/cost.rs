//! What a window cost, in nanoseconds of one processor per millisecond.
//!
//! Three terms, all measured: page faults on memory that had been given back (their number, times what
//! a fault has been timed to cost here), the time in calls that gave memory back, and the rent of
//! memory that was kept free. The rent has a price, which is the one thing that cannot be measured:
//! how much processor time a byte is worth to who runs the program.

use crate::base::PAGE;

/// What a GiB of free memory costs in a process that uses `cpu_ns` of processor time per millisecond and
/// has `resident` bytes: `weight` per cent of what all of its time is worth for all of its bytes, in
/// nanoseconds per millisecond. What is resident beside the heap, and small, is not for us to save.
pub(crate) fn price(cpu_ns: u64, resident: usize, weight: u64) -> u64 {
    const LEAST: usize = 32 << 20;
    let all = u128::from(cpu_ns) * u128::from(weight) / 100;
    ((all << 30) / resident.max(LEAST) as u128) as u64
}

/// For how long a page may be away, in ms, so that keeping it would have cost no more than the fault at its
/// return, `fault_ns`: the point at which rent and price meet (see [`super::pace`]).
pub(crate) fn patience(fault_ns: u64, price: u64) -> u64 {
    const PAGES: u64 = (1 << 30) / PAGE as u64;
    fault_ns.saturating_mul(PAGES) / price.max(1)
}

/// What a window cost.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Cost {
    /// Faults on memory that had been given back too early, in ns per ms.
    pub(crate) missed: u64,
    /// Calls that gave memory back, in ns per ms.
    pub(crate) given: u64,
    /// Bytes that were kept free, on average. What they cost depends on their price, which may change.
    pub(crate) kept: u64,
}

impl Cost {
    /// Nothing.
    pub(crate) const NOTHING: Self = Self {
        missed: 0,
        given: 0,
        kept: 0,
    };

    /// The cost of a window of `ms` milliseconds in which `pages` were missed, at `fault_ns` each,
    /// giving back took `given_ns`, and free memory added up to `kib_ms`.
    pub(crate) fn of(ms: u64, pages: u64, fault_ns: u64, given_ns: u64, kib_ms: u64) -> Self {
        let ms = ms.max(1);
        Self {
            missed: pages.saturating_mul(fault_ns) / ms,
            given: given_ns / ms,
            kept: (kib_ms / ms).saturating_mul(1024),
        }
    }

    /// The rent of what was kept, in ns per ms, where a GiB has `price`.
    pub(crate) fn rent(&self, price: u64) -> u64 {
        // In KiB: no product of a size in bytes and a price overflows then.
        (self.kept >> 10).saturating_mul(price) >> 20
    }

    /// All of it.
    pub(crate) fn total(&self, price: u64) -> u64 {
        self.missed
            .saturating_add(self.given)
            .saturating_add(self.rent(price))
    }

    /// This and `other`, which counts for a quarter.
    pub(crate) fn mixed_with(&self, other: &Self) -> Self {
        let mix = |a: u64, b: u64| ((3 * u128::from(a) + u128::from(b)) / 4) as u64;
        Self {
            missed: mix(self.missed, other.missed),
            given: mix(self.given, other.given),
            kept: mix(self.kept, other.kept),
        }
    }

    /// The bytes whose rent at `price`, beside the rent that was paid, would be what was paid for faults. That calls gave
    /// the memory back cost time as well, and is in the [`total`](Self::total), but does not point anywhere: after a
    /// burst nearly all goes back whatever the strategy is.
    pub(crate) fn affords(&self, price: u64) -> usize {
        let more = self.missed.saturating_sub(self.rent(price));
        let bytes = (u128::from(more) << 30) / u128::from(price.max(1));
        bytes.min(1 << 46) as usize
    }

    /// What of `bytes` would be kept if the rent at `price` were to be what was paid for faults.
    pub(crate) fn share_worth(&self, bytes: usize, price: u64) -> usize {
        let (missed, rent) = (self.missed, self.rent(price));
        if missed >= rent {
            return bytes;
        }
        (bytes as u128 * u128::from(missed) / u128::from(rent)) as usize
    }

    /// Whether more should be kept, rather than less; `None` where it makes no difference.
    pub(crate) fn wants_more(&self, price: u64) -> Option<bool> {
        let (missed, rent) = (self.missed, self.rent(price));
        (missed != rent).then_some(missed > rent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 15 % of a processor for a GiB.
    const PRICE: u64 = 150_000;

    #[test]
    fn one_per_cent_of_time_is_worth_one_of_memory() {
        // A quarter of a processor and 256 MiB: a GiB is worth a whole one.
        assert_eq!(price(250_000, 256 << 20, 100), 1_000_000);
        assert_eq!(price(250_000, 256 << 20, 50), 500_000);
        assert_eq!(price(250_000, 1000, 100), price(250_000, 32 << 20, 100));
        // Then a page that takes 1 us to fault in may be away for 262 ms.
        assert_eq!(patience(1000, 1_000_000), 262);
        assert!(patience(1000, 0) > 1 << 20);
    }

    #[test]
    fn a_gib_for_a_second_costs_its_price() {
        let cost = Cost::of(1000, 0, 1000, 0, (1 << 20) * 1000);
        assert_eq!((cost.total(PRICE), cost.rent(PRICE)), (PRICE, PRICE));
        assert_eq!(cost.wants_more(PRICE), Some(false));
        assert_eq!(cost.total(2 * PRICE), 2 * PRICE);
    }

    #[test]
    fn a_fault_costs_what_it_was_timed_at() {
        // 500 pages a second of 1.2 us are 600 ns a ms; so is the rent of 4 MiB, nearly.
        let faults = Cost::of(2000, 1000, 1200, 0, 0);
        assert_eq!(faults.total(PRICE), 600);
        assert_eq!(faults.wants_more(PRICE), Some(true));
        let rent = Cost::of(2000, 0, 1200, 0, (4 << 10) * 2000);
        assert_eq!(rent.total(PRICE), 585);
        assert_eq!(Cost::default().wants_more(PRICE), None);
        assert!(faults.affords(PRICE).abs_diff(4 << 20) < 1 << 17);
        assert_eq!(faults.share_worth(1 << 20, PRICE), 1 << 20);
        // With three quarters of that rent paid already, a quarter is left to be worth it.
        let both = Cost::of(2000, 1000, 1200, 0, (3 << 10) * 2000);
        assert!(both.affords(PRICE).abs_diff(1 << 20) < 1 << 18);
        // Twice the rent that would be worth it: half as much.
        let rich = Cost::of(2000, 1000, 1200, 0, (8 << 10) * 2000);
        assert_eq!(
            (rich.affords(PRICE), rich.wants_more(PRICE)),
            (0, Some(false))
        );
        assert!(rich.share_worth(1 << 20, PRICE).abs_diff(1 << 19) < 1 << 15);
        assert_eq!(
            Cost::of(1000, 0, 1, 0, 1 << 30).share_worth(1 << 20, PRICE),
            0
        );
        let given = Cost::of(2000, 0, 1200, 10_000_000, 2000);
        assert_eq!((given.total(PRICE), given.wants_more(PRICE)), (5000, None));
        assert_eq!(
            Cost::of(0, u64::MAX, u64::MAX, 0, u64::MAX).missed,
            u64::MAX
        );
        // Half of the rent was paid for faults, and as much again for giving back: less should be kept.
        let burst = Cost::of(2000, 1000, 1200, 1_200_000, (8 << 10) * 2000);
        assert_eq!(
            (burst.affords(PRICE), burst.wants_more(PRICE)),
            (0, Some(false))
        );
        let mixed = Cost::default().mixed_with(&faults);
        assert_eq!(mixed.missed, 150);
    }
}
