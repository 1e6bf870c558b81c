//! The little statistics that a table needs.

use statrs::statistics::{Data, OrderStatistics, Statistics};

/// Several measurements of the same thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    /// The median.
    pub(crate) median: f64,
    /// Half of the range between the smallest and the largest, over the median: what may be noise.
    pub(crate) spread: f64,
    /// How many there were.
    pub(crate) count: usize,
}

/// Summarises; `None` for nothing.
pub(crate) fn summarise(values: &[f64]) -> Option<Summary> {
    if values.is_empty() {
        return None;
    }
    let median = Data::new(values.to_vec()).median();
    let range = Statistics::max(values) - Statistics::min(values);
    let spread = if median == 0.0 {
        0.0
    } else {
        range / 2.0 / median.abs()
    };
    Some(Summary {
        median,
        spread,
        count: values.len(),
    })
}

/// Whether more of a unit is better. Everything else is a cost.
pub(crate) fn higher_is_better(unit: &str) -> bool {
    unit.ends_with("op/s")
}

/// How many times the cost of `other` this costs: below 1 is better, whatever the unit's direction. `None` where
/// the other costs nothing and this does.
pub(crate) fn cost_ratio(this: f64, other: f64, unit: &str) -> Option<f64> {
    let (over, under) = if higher_is_better(unit) {
        (other, this)
    } else {
        (this, other)
    };
    if over == under {
        Some(1.0)
    } else if under == 0.0 {
        None
    } else {
        Some(over / under)
    }
}

/// Differences below this are never shown: layout alone moves a loop by as much.
const LEAST: f64 = 0.02;
/// One measurement has no spread; this is taken in its place.
const UNKNOWN: f64 = 0.05;

/// By which share two medians may differ without anything having changed. An exact figure is counted, not timed, and
/// comes out the same each time.
pub(crate) fn noise(exact: bool, a: &Summary, b: &Summary) -> f64 {
    if exact {
        return 0.5 / a.median.max(1.0);
    }
    let spread = |s: &Summary| if s.count > 1 { s.spread } else { UNKNOWN };
    (spread(a) + spread(b)).max(LEAST)
}

/// The geometric mean of positive ratios; `None` for nothing.
pub(crate) fn geometric_mean(ratios: &[f64]) -> Option<f64> {
    let positive: Vec<f64> = ratios.iter().copied().filter(|r| *r > 0.0).collect();
    (!positive.is_empty()).then(|| Statistics::geometric_mean(&positive))
}

/// Several ratios in two figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Typical {
    /// The geometric mean.
    pub(crate) mean: f64,
    /// The median, which a single row cannot move.
    pub(crate) median: f64,
}

/// Sums up positive ratios; `None` for nothing.
pub(crate) fn typical(ratios: &[f64]) -> Option<Typical> {
    Some(Typical {
        mean: geometric_mean(ratios)?,
        median: summarise(ratios)?.median,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_half_the_range() {
        let s = summarise(&[10.0, 12.0, 11.0]).expect("three values");
        assert_eq!(s.median, 11.0);
        assert!((s.spread - 1.0 / 11.0).abs() < 1e-12);
        assert_eq!(summarise(&[]), None);
    }

    #[test]
    fn a_ratio_below_one_is_better_in_either_direction() {
        assert_eq!(cost_ratio(1.0, 2.0, "ns/pair"), Some(0.5));
        assert_eq!(cost_ratio(2.0, 1.0, "Mop/s"), Some(0.5));
        assert_eq!(cost_ratio(0.0, 0.0, "faults/turn"), Some(1.0));
        assert_eq!(cost_ratio(1.0, 0.0, "faults/turn"), None);
    }

    #[test]
    fn a_geometric_mean_skips_what_has_no_logarithm() {
        let mean = geometric_mean(&[0.5, 2.0, 0.0]).expect("two positive values");
        assert!((mean - 1.0).abs() < 1e-12);
        assert_eq!(geometric_mean(&[]), None);
    }
}
