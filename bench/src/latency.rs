//! Latencies that a workload counted by the second, as percentiles: overall, and as curves over time.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::launch::{Curve, Metric};

/// The percentiles of every report.
const PERCENTILES: [(&str, f64); 3] = [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9)];

/// What came in so far, by operation.
#[derive(Default)]
pub(crate) struct Latencies {
    operations: BTreeMap<String, Operation>,
}

struct Operation {
    all: Histogram<u64>,
    /// For each second p50, p99, p99.9 and the maximum.
    seconds: Vec<(f64, [f64; 4])>,
}

impl Latencies {
    /// `SECOND OPERATION NANOSECONDS:COUNT …`: what was counted in one second.
    pub(crate) fn add(&mut self, text: &str) -> Option<()> {
        let mut words = text.split(' ');
        let second: f64 = words.next()?.parse().ok()?;
        let name = words.next()?;
        let mut histogram = Histogram::<u64>::new(3).ok()?;
        for word in words {
            let (value, count) = word.split_once(':')?;
            histogram
                .record_n(value.parse().ok()?, count.parse().ok()?)
                .ok()?;
        }
        let figures = figures(&histogram);
        match self.operations.get_mut(name) {
            Some(operation) => {
                operation.all.add(&histogram).ok()?;
                operation.seconds.push((second, figures));
            }
            None => {
                let operation = Operation {
                    all: histogram,
                    seconds: vec![(second, figures)],
                };
                self.operations.insert(name.to_string(), operation);
            }
        }
        Some(())
    }

    /// Rows and curves.
    pub(crate) fn finish(self) -> (Vec<Metric>, Vec<Curve>) {
        let names = PERCENTILES.iter().map(|p| p.0).chain(["max"]);
        let (mut metrics, mut curves) = (Vec::new(), Vec::new());
        for (operation, of) in &self.operations {
            for (i, (name, value)) in names.clone().zip(figures(&of.all)).enumerate() {
                metrics.push(Metric {
                    name: format!("{operation} {name}"),
                    value,
                    unit: "ns".into(),
                });
                curves.push(Curve {
                    name: format!("{operation} {name}"),
                    unit: "ns".into(),
                    points: of.seconds.iter().map(|(s, f)| (*s, f[i])).collect(),
                });
            }
        }
        (metrics, curves)
    }
}

fn figures(histogram: &Histogram<u64>) -> [f64; 4] {
    let at = |p| histogram.value_at_percentile(p) as f64;
    [
        at(PERCENTILES[0].1),
        at(PERCENTILES[1].1),
        at(PERCENTILES[2].1),
        histogram.max() as f64,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_add_up_and_stay_apart() {
        let mut latencies = Latencies::default();
        latencies.add("1 free 10:990 500:10").expect("a line");
        latencies.add("2 free 10:1000").expect("a line");
        let (metrics, curves) = latencies.finish();
        let metric = |name: &str| metrics.iter().find(|m| m.name == name).map(|m| m.value);
        assert_eq!(metric("free p50"), Some(10.0));
        assert_eq!(metric("free p99.9"), Some(500.0));
        assert_eq!(metric("free max"), Some(500.0));
        let max = curves
            .iter()
            .find(|c| c.name == "free max")
            .expect("a curve");
        assert_eq!(max.points, [(1.0, 500.0), (2.0, 10.0)]);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(Latencies::default().add("1 free 10"), None);
        assert_eq!(Latencies::default().add("x free 10:1"), None);
    }
}
