//! What a window asked for: how its requests are spread over sizes, and how far two windows are apart.

/// Bins there are: one a doubling.
pub(crate) const BINS: usize = 32;

/// Requests by log2 of their size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sizes(pub(crate) [u32; BINS]);

impl Sizes {
    /// None.
    pub(crate) const NONE: Self = Self([0; BINS]);

    /// The bin of `bytes`.
    #[inline]
    pub(crate) fn bin(bytes: usize) -> usize {
        (bytes.max(1).ilog2() as usize).min(BINS - 1)
    }

    /// All of them.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|n| u64::from(*n)).sum()
    }

    /// Adds the requests of another window. What there were becomes half where it would be too many.
    pub(crate) fn add(&mut self, other: &Self) {
        const MOST: u32 = u32::MAX / 2;
        if self.0.iter().any(|n| *n > MOST) {
            self.0.iter_mut().for_each(|n| *n /= 2);
        }
        for (n, more) in self.0.iter_mut().zip(&other.0) {
            *n = n.saturating_add(*more);
        }
    }

    /// Whether the two are further apart than `shift` per mille, and than chance makes two samples of one
    /// distribution as small as they are.
    pub(crate) fn differ(&self, other: &Self, shift: u32) -> bool {
        // The standard deviation of a distance is about 1 / sqrt(n) for a handful of bins.
        let fewest = self.total().min(other.total()).max(1);
        let chance = 1500 / fewest.isqrt().max(1);
        u64::from(self.distance(other)) > u64::from(shift) + chance
    }

    /// The total variation distance of the two distributions, in per mille; 0 if one is empty.
    pub(crate) fn distance(&self, other: &Self) -> u32 {
        let (a, b) = (self.total(), other.total());
        if a == 0 || b == 0 {
            return 0;
        }
        let apart: u64 = self
            .0
            .iter()
            .zip(&other.0)
            .map(|(x, y)| (u64::from(*x) * 1000 / a).abs_diff(u64::from(*y) * 1000 / b))
            .sum();
        (apart / 2) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_of_shares_not_of_counts() {
        let (mut a, mut b) = (Sizes::NONE, Sizes::NONE);
        assert_eq!(a.distance(&b), 0);
        a.0[5] = 100;
        assert_eq!(a.distance(&b), 0);
        b.0[5] = 7;
        assert_eq!(a.distance(&b), 0);
        b.0[9] = 7;
        assert_eq!(a.distance(&b), 500);
        assert_eq!(b.distance(&a), 500);
        a.0[5] = 0;
        a.0[20] = 1;
        assert_eq!(a.distance(&b), 1000);
    }

    #[test]
    fn few_requests_differ_by_chance() {
        let (mut a, mut b) = (Sizes::NONE, Sizes::NONE);
        (a.0[5], a.0[6]) = (10, 0);
        (b.0[5], b.0[6]) = (5, 5);
        assert!(!a.differ(&b, 250));
        for _ in 0..10 {
            a.add(&a.clone());
            b.add(&b.clone());
        }
        assert!(a.differ(&b, 250) && !a.differ(&b, 500));
    }

    #[test]
    fn every_size_has_a_bin() {
        assert_eq!(Sizes::bin(0), 0);
        assert_eq!(Sizes::bin(4096), 12);
        assert_eq!(Sizes::bin(usize::MAX), BINS - 1);
    }
}
