//! What a window cost, in nanoseconds of one processor per millisecond.
//!
//! Three terms, all measured: page faults on memory that had been given back (their number, times what
//! a fault has been timed to cost here), the time in calls that gave memory back, and the rent of
//! memory that was kept free. The rent has a price, which is the one thing that cannot be measured:
//! how much processor a byte is worth to who runs the program.

/// What a GiB of free memory costs, in nanoseconds of one processor per millisecond: 15 % of it. Who
/// rents machines pays as much for 4 to 8 GiB as for a processor.
pub(crate) const PRICE: u64 = 150_000;

/// What happened between two looks at the clock.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Cost {
    /// Faults on memory that had been given back too early.
    pub(crate) missed: u64,
    /// Calls that gave memory back.
    pub(crate) given: u64,
    /// Free memory that was kept.
    pub(crate) rent: u64,
}

impl Cost {
    /// The cost of a window of `ms` milliseconds in which `pages` were missed, at `fault_ns` each,
    /// giving back took `given_ns`, and free memory added up to `byte_ms`; memory has `price`.
    pub(crate) fn of(
        ms: u64,
        pages: u64,
        fault_ns: u64,
        given_ns: u64,
        byte_ms: u64,
        price: u64,
    ) -> Self {
        let ms = ms.max(1);
        let bytes = byte_ms / ms;
        Self {
            missed: pages.saturating_mul(fault_ns) / ms,
            given: given_ns / ms,
            // In KiB: no product of a size in bytes and a price overflows then.
            rent: (bytes >> 10).saturating_mul(price) >> 20,
        }
    }

    /// All of it.
    pub(crate) fn total(&self) -> u64 {
        self.missed
            .saturating_add(self.given)
            .saturating_add(self.rent)
    }

    /// What would not have been paid if nothing had been given back: what is never wanted again has to go
    /// back once, and that costs the same sooner or later. Giving back costs no more than faulting in.
    fn avoidable(&self) -> u64 {
        self.missed.saturating_add(self.given.min(self.missed))
    }

    /// The bytes whose rent at `price` is what was paid for not keeping them.
    pub(crate) fn affords(&self, price: u64) -> usize {
        let bytes = (u128::from(self.avoidable()) << 30) / u128::from(price.max(1));
        bytes.min(1 << 46) as usize
    }

    /// Whether more should be kept, rather than less; `None` where it makes no difference.
    pub(crate) fn wants_more(&self) -> Option<bool> {
        let avoidable = self.avoidable();
        (avoidable != self.rent).then_some(avoidable > self.rent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gib_for_a_second_costs_its_price() {
        let cost = Cost::of(1000, 0, 1000, 0, (1 << 30) * 1000, PRICE);
        assert_eq!(
            cost,
            Cost {
                missed: 0,
                given: 0,
                rent: PRICE
            }
        );
        assert_eq!(cost.wants_more(), Some(false));
    }

    #[test]
    fn a_fault_costs_what_it_was_timed_at() {
        // 500 pages a second of 1.2 us are 600 ns a ms; so is the rent of 4 MiB, nearly.
        let faults = Cost::of(2000, 1000, 1200, 0, 0, PRICE);
        assert_eq!(faults.total(), 600);
        assert_eq!(faults.wants_more(), Some(true));
        let rent = Cost::of(2000, 0, 1200, 0, (4 << 20) * 2000, PRICE);
        assert_eq!(rent.total(), 585);
        assert_eq!(Cost::default().wants_more(), None);
        let given = Cost::of(2000, 0, 1200, 10_000_000, 2000, PRICE);
        assert_eq!((given.total(), given.wants_more()), (5000, None));
        assert!(faults.affords(PRICE).abs_diff(4 << 20) < 1 << 17);
        assert!(Cost::of(0, u64::MAX, u64::MAX, 0, u64::MAX, PRICE).missed == u64::MAX);
    }
}
