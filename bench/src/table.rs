//! Rows from samples, and the table on the terminal.

use std::collections::BTreeMap;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::launch::Metric;
use crate::record::{Results, Sample};
use crate::stats::{self, Summary};

/// One metric of one measurement over all allocators.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) bench: String,
    pub(crate) metric: String,
    pub(crate) unit: String,
    /// By allocator.
    pub(crate) cells: BTreeMap<String, Summary>,
}

impl Row {
    /// The best of the others: its name and figure.
    pub(crate) fn best_peer(&self, subject: &str) -> Option<(&str, f64)> {
        let higher = stats::higher_is_better(&self.unit);
        let peers = self
            .cells
            .iter()
            .filter(|(name, _)| name.as_str() != subject);
        peers
            .map(|(name, s)| (name.as_str(), s.median))
            .reduce(|best, next| {
                if (next.1 < best.1) != higher {
                    next
                } else {
                    best
                }
            })
    }

    /// The subject's cost over another's.
    pub(crate) fn ratio(&self, subject: &str, other: &str) -> Option<f64> {
        stats::cost_ratio(
            self.cells.get(subject)?.median,
            self.cells.get(other)?.median,
            &self.unit,
        )
    }
}

/// All rows, in the order in which they first appear. Void samples do not count.
pub(crate) fn rows(results: &Results) -> Vec<Row> {
    let mut rows: Vec<(Row, BTreeMap<String, Vec<f64>>)> = Vec::new();
    for sample in results.samples.iter().filter(|s| s.void.is_none()) {
        for metric in &sample.metrics {
            let found = rows
                .iter()
                .position(|(r, _)| r.bench == sample.bench && r.metric == metric.name);
            let at = found.unwrap_or_else(|| {
                let row = Row {
                    bench: sample.bench.clone(),
                    metric: metric.name.clone(),
                    unit: metric.unit.clone(),
                    cells: BTreeMap::new(),
                };
                rows.push((row, BTreeMap::new()));
                rows.len() - 1
            });
            rows[at]
                .1
                .entry(sample.allocator.clone())
                .or_default()
                .push(metric.value);
        }
    }
    rows.into_iter()
        .map(|(mut row, values)| {
            row.cells = values
                .into_iter()
                .filter_map(|(a, v)| Some((a, stats::summarise(&v)?)))
                .collect();
            row
        })
        .collect()
}

/// What the processes used, as rows: wall and CPU time, peak resident memory, minor faults.
pub(crate) fn usage_rows(results: &Results) -> Vec<Row> {
    let metric = |name: &str, value: f64, unit: &str| Metric {
        name: name.into(),
        value,
        unit: unit.into(),
    };
    let samples = results.samples.iter().filter_map(|s| {
        let usage = s.usage?;
        Some(Sample {
            metrics: vec![
                metric("wall", usage.wall, "s"),
                metric("cpu", usage.cpu, "s"),
                metric("peak", usage.peak as f64 / f64::from(1 << 20), "MiB"),
                metric("faults", usage.faults as f64, "faults"),
            ],
            ..s.clone()
        })
    });
    rows(&Results {
        samples: samples.collect(),
        ..Results::default()
    })
}

/// Whose ratios are shown: hakmem, or the first that was asked for.
pub(crate) fn subject(allocators: &[String]) -> String {
    let hakmem = allocators.iter().find(|a| *a == "hakmem");
    hakmem.or(allocators.first()).cloned().unwrap_or_default()
}

/// A figure in four significant digits at most.
pub(crate) fn figure(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.995 || v == 0.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if value == 0.0 { "0".into() } else { text }
}

/// The table for a terminal. A figure whose spread is above 5 % carries it.
pub(crate) fn render(rows: &[Row], allocators: &[String]) -> String {
    let subject = subject(allocators);
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Disabled);
    let mut header: Vec<String> = vec!["row".into(), "unit".into()];
    header.extend(allocators.iter().cloned());
    header.push(format!("{subject} / best other"));
    header.push("/ glibc".into());
    table.set_header(header);
    let (mut to_best, mut to_glibc) = (Vec::new(), Vec::new());
    for row in rows {
        let mut cells = vec![
            Cell::new(format!("{}: {}", row.bench, row.metric)),
            Cell::new(&row.unit),
        ];
        for name in allocators {
            let text = row.cells.get(name).map_or("-".into(), |s| {
                let noise = if s.spread > 0.05 {
                    format!(" ±{:.0}%", s.spread * 100.0)
                } else {
                    String::new()
                };
                figure(s.median) + &noise
            });
            cells.push(Cell::new(text).set_alignment(CellAlignment::Right));
        }
        let best = row
            .best_peer(&subject)
            .map(|(name, _)| (name, row.ratio(&subject, name)));
        let best = match best {
            Some((name, Some(ratio))) => {
                to_best.push(ratio);
                format!("{ratio:.2} {name}")
            }
            Some((name, None)) if row.cells.contains_key(&subject) => format!("more {name}"),
            _ => "-".into(),
        };
        let glibc = row.ratio(&subject, "glibc").filter(|_| subject != "glibc");
        to_glibc.extend(glibc);
        cells.push(Cell::new(best));
        cells.push(Cell::new(glibc.map_or("-".into(), |r| format!("{r:.2}"))));
        table.add_row(cells);
    }
    let mean =
        |ratios: &[f64]| stats::geometric_mean(ratios).map_or("-".into(), |m| format!("{m:.3}"));
    format!(
        "{table}\n{subject}, geometric mean over rows: {} of the best other, {} of glibc (below 1 is better)\n",
        mean(&to_best),
        mean(&to_glibc)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(allocator: &str, value: f64, unit: &str) -> Sample {
        Sample {
            bench: "b".into(),
            allocator: allocator.into(),
            repetition: 0,
            metrics: vec![Metric {
                name: "m".into(),
                value,
                unit: unit.into(),
            }],
            curves: Vec::new(),
            usage: None,
            void: None,
        }
    }

    #[test]
    fn the_best_peer_depends_on_the_units_direction() {
        for (unit, best) in [("ns/pair", "x"), ("Mop/s", "y")] {
            let samples = vec![
                sample("hakmem", 2.0, unit),
                sample("x", 3.0, unit),
                sample("y", 4.0, unit),
            ];
            let rows = rows(&Results {
                samples,
                ..Results::default()
            });
            assert_eq!(rows[0].best_peer("hakmem").map(|b| b.0), Some(best));
        }
    }

    #[test]
    fn a_void_sample_does_not_count() {
        let mut bad = sample("x", 1.0, "ns/pair");
        bad.void = Some("glibc served it".into());
        let rows = rows(&Results {
            samples: vec![bad, sample("y", 2.0, "ns/pair")],
            ..Results::default()
        });
        assert!(!rows[0].cells.contains_key("x"));
    }
}
