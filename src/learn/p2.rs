//! A quantile of a stream in five numbers: Jain and Chlamtac, "The P² Algorithm for Dynamic Calculation
//! of Quantiles and Histograms Without Storing Observations" (CACM 28, 1985).

/// The estimator of one quantile.
///
/// # Invariants
/// With five or more observations, `heights` and `at` rise; `at[0]` is 1 and `at[4]` is `count`.
#[derive(Clone, Copy)]
pub(crate) struct Quantile {
    /// Which, between 0 and 1.
    p: f64,
    /// The observations seen: of five markers, the value and the rank.
    heights: [f64; 5],
    at: [f64; 5],
    count: u64,
}

impl Quantile {
    /// Nothing seen.
    pub(crate) const fn new(p: f64) -> Self {
        Self {
            p,
            heights: [0.0; 5],
            at: [1.0, 2.0, 3.0, 4.0, 5.0],
            count: 0,
        }
    }

    /// Observations seen.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Sees one more.
    pub(crate) fn add(&mut self, x: f64) {
        self.count += 1;
        if self.count <= 5 {
            let n = self.count as usize;
            self.heights[n - 1] = x;
            let mut i = n - 1;
            while i > 0 && self.heights[i - 1] > self.heights[i] {
                self.heights.swap(i - 1, i);
                i -= 1;
            }
            return;
        }
        let h = &mut self.heights;
        let cell = if x < h[0] {
            h[0] = x;
            0
        } else if x >= h[4] {
            h[4] = x;
            3
        } else {
            (0..4).rfind(|i| h[*i] <= x).unwrap_or(0)
        };
        for at in &mut self.at[cell + 1..] {
            *at += 1.0;
        }
        let last = (self.count - 1) as f64;
        let wanted = [self.p / 2.0, self.p, (1.0 + self.p) / 2.0];
        for (i, wanted) in wanted.into_iter().enumerate() {
            let off = 1.0 + last * wanted - self.at[i + 1];
            let i = i + 1;
            let (below, above) = (self.at[i] - self.at[i - 1], self.at[i + 1] - self.at[i]);
            if (off >= 1.0 && above > 1.0) || (off <= -1.0 && below > 1.0) {
                let step = if off > 0.0 { 1.0 } else { -1.0 };
                let height = self.parabolic(i, step);
                self.heights[i] = if self.heights[i - 1] < height && height < self.heights[i + 1] {
                    height
                } else {
                    self.linear(i, step)
                };
                self.at[i] += step;
            }
        }
    }

    fn parabolic(&self, i: usize, step: f64) -> f64 {
        let (h, n) = (&self.heights, &self.at);
        let up = (n[i] - n[i - 1] + step) * (h[i + 1] - h[i]) / (n[i + 1] - n[i]);
        let down = (n[i + 1] - n[i] - step) * (h[i] - h[i - 1]) / (n[i] - n[i - 1]);
        h[i] + step / (n[i + 1] - n[i - 1]) * (up + down)
    }

    fn linear(&self, i: usize, step: f64) -> f64 {
        let (h, n) = (&self.heights, &self.at);
        let j = if step > 0.0 { i + 1 } else { i - 1 };
        h[i] + step * (h[j] - h[i]) / (n[j] - n[i])
    }

    /// The quantile, of what has been seen; 0 if nothing has.
    pub(crate) fn get(&self) -> f64 {
        match self.count {
            0 => 0.0,
            1..=5 => {
                let last = self.count as usize - 1;
                self.heights[((last as f64 * self.p + 0.5) as usize).min(last)]
            }
            _ => self.heights[2],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    /// A stream of pseudo-random numbers below one.
    fn stream() -> impl FnMut() -> f64 {
        let mut state = 88_172_645_463_325_252_u64;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    #[test]
    fn it_is_close_to_the_exact_quantile() {
        let mut random = stream();
        for p in [0.5, 0.9, 0.99] {
            let mut quantile = Quantile::new(p);
            // Latencies have a long tail.
            let mut all: Vec<f64> = (0..20_000).map(|_| -random().max(1e-9).ln()).collect();
            for x in &all {
                quantile.add(*x);
            }
            all.sort_by(f64::total_cmp);
            let exact = all[(all.len() as f64 * p) as usize];
            let ours = quantile.get();
            assert!(
                (ours / exact - 1.0).abs() < 0.05,
                "p {p}: {ours} for {exact}"
            );
            assert!(quantile.heights.is_sorted() && quantile.at.is_sorted());
        }
    }

    #[test]
    fn few_observations_are_exact() {
        let mut median = Quantile::new(0.5);
        assert_eq!(median.get(), 0.0);
        for (x, expected) in [(9.0, 9.0), (1.0, 9.0), (5.0, 5.0), (7.0, 7.0), (3.0, 5.0)] {
            median.add(x);
            assert_eq!(median.get(), expected, "after {x}");
        }
        assert_eq!(median.count(), 5);
    }
}
