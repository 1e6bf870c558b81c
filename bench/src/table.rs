//! Rows from samples, and the table on the terminal.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::instructions;
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
    /// How many processes each allocator had.
    pub(crate) processes: BTreeMap<String, Processes>,
}

/// How many processes a measurement had under an allocator.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Processes {
    pub(crate) all: u32,
    /// Of them those that count.
    pub(crate) proven: u32,
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

    /// The best of the others, and the subject's cost over its: infinite where the best is 0 and the subject is not.
    pub(crate) fn against_best(&self, subject: &str) -> Option<(&str, f64)> {
        let own = self.cells.get(subject)?.median;
        let (name, best) = self.best_peer(subject)?;
        let ratio = stats::cost_ratio(own, best, &self.unit);
        Some((name, ratio.unwrap_or(f64::INFINITY)))
    }

    /// The same in words.
    pub(crate) fn comparison(&self, subject: &str) -> String {
        match self.against_best(subject) {
            Some((name, ratio)) if ratio.is_finite() => format!("{ratio:.2} {name}"),
            Some((name, _)) => format!("best 0: {name}"),
            None => "-".into(),
        }
    }

    /// An allocator's figure, with its spread where that is above 5 %, and how many of its processes count where not
    /// all do.
    pub(crate) fn cell(&self, name: &str) -> String {
        let processes = self.processes.get(name).copied().unwrap_or_default();
        let Some(s) = self.cells.get(name) else {
            return if processes.all > processes.proven {
                "void".into()
            } else {
                "-".into()
            };
        };
        let mut text = figure(s.median);
        if s.spread > 0.05 {
            text += &format!(" ±{:.0}%", s.spread * 100.0);
        }
        if processes.all > processes.proven {
            text += &format!(" ({} of {})", processes.proven, processes.all);
        }
        text
    }

    /// How many processes an allocator had.
    pub(crate) fn repetitions(&self) -> u32 {
        self.processes.values().map(|p| p.all).max().unwrap_or(0)
    }

    /// Whether the figures come out the same each time.
    pub(crate) fn is_exact(&self) -> bool {
        self.unit == instructions::UNIT && instructions::repeats(&self.metric)
    }

    /// Whether the row counts in means. One in which nothing is written measures address space, not what programs do;
    /// one that says the same as another would count that twice.
    pub(crate) fn is_in_means(&self) -> bool {
        !matches!(self.metric.as_str(), "bare" | "90 % freed, over live")
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
    let mut processes: BTreeMap<&str, BTreeMap<String, Processes>> = BTreeMap::new();
    for sample in &results.samples {
        let of = processes.entry(&sample.bench).or_default();
        let of = of.entry(sample.allocator.clone()).or_default();
        of.all += 1;
        if sample.void.is_some() {
            continue;
        }
        of.proven += 1;
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
                    processes: BTreeMap::new(),
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
            row.processes = processes[row.bench.as_str()].clone();
            row
        })
        .collect()
}

/// What the processes used, as rows: wall and CPU time, peak resident memory, minor faults. What callgrind used says
/// nothing of an allocator.
pub(crate) fn usage_rows(results: &Results) -> Vec<Row> {
    let metric = |name: &str, value: f64, unit: &str| Metric {
        name: name.into(),
        value,
        unit: unit.into(),
    };
    let counted = |s: &Sample| s.metrics.iter().any(|m| m.unit == instructions::UNIT);
    let samples = results.samples.iter().filter(|s| !counted(s));
    let samples = samples.filter_map(|s| {
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
    let (mut to_best, mut to_glibc) = (Ratios::default(), Ratios::default());
    for row in rows {
        let mut cells = vec![
            Cell::new(format!("{}: {}", row.bench, row.metric)),
            Cell::new(&row.unit),
        ];
        for name in allocators {
            cells.push(Cell::new(row.cell(name)).set_alignment(CellAlignment::Right));
        }
        to_best.add(row, row.against_best(&subject).map(|best| best.1));
        let glibc = row.ratio(&subject, "glibc").filter(|_| subject != "glibc");
        to_glibc.add(row, glibc);
        cells.push(Cell::new(row.comparison(&subject)));
        cells.push(Cell::new(glibc.map_or("-".into(), |r| format!("{r:.2}"))));
        table.add_row(cells);
    }
    format!(
        "{table}\n{subject} over the best other: {to_best}\n{subject} over glibc: {to_glibc}\nbelow 1 is better; {LEFT_OUT}\n"
    )
}

/// Which rows have no part in means.
pub(crate) const LEFT_OUT: &str = "left out are rows in which an allocator has no figure, or 0; rows called \
     `bare`, in which nothing is written;\nand `90 % freed, over live`, which says the same as `90 % freed`";

/// One allocator's cost over another's, for a mean.
#[derive(Default)]
struct Ratios {
    counted: Vec<f64>,
    left_out: usize,
}

impl Ratios {
    fn add(&mut self, row: &Row, ratio: Option<f64>) {
        match ratio {
            Some(ratio) if row.is_in_means() && ratio.is_finite() && ratio > 0.0 => {
                self.counted.push(ratio);
            }
            _ => self.left_out += 1,
        }
    }
}

impl fmt::Display for Ratios {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match stats::typical(&self.counted) {
            Some(typical) => write!(
                f,
                "geometric mean {:.3}, median {:.3}, of {} rows; {} left out",
                typical.mean,
                typical.median,
                self.counted.len(),
                self.left_out
            ),
            None => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Usage;

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

    fn rows_of(samples: Vec<Sample>) -> Vec<Row> {
        rows(&Results {
            samples,
            ..Results::default()
        })
    }

    #[test]
    fn a_void_sample_does_not_count_and_is_seen() {
        let mut bad = sample("x", 1.0, "ns/pair");
        bad.void = Some("glibc served it".into());
        let good = sample("y", 2.0, "ns/pair");
        let rows = rows_of(vec![bad.clone(), good.clone()]);
        assert!(!rows[0].cells.contains_key("x"));
        assert_eq!(rows[0].cell("x"), "void");
        assert_eq!(rows[0].cell("y"), "2.00");
        assert_eq!(rows[0].cell("z"), "-");
        bad.allocator = "y".into();
        let rows = rows_of(vec![good, bad]);
        assert_eq!(rows[0].cell("y"), "2.00 (1 of 2)");
    }

    #[test]
    fn what_callgrind_used_is_no_usage() {
        let used = |unit| {
            let mut sample = sample("x", 1.0, unit);
            sample.usage = Some(Usage::default());
            usage_rows(&Results {
                samples: vec![sample],
                ..Results::default()
            })
        };
        assert_eq!(used("ns").len(), 4);
        assert!(used("instructions").is_empty());
    }

    #[test]
    fn where_the_best_is_0_there_is_no_ratio_but_a_loss() {
        let rows = rows_of(vec![sample("hakmem", 8.0, "MiB"), sample("x", 0.0, "MiB")]);
        assert_eq!(rows[0].against_best("hakmem"), Some(("x", f64::INFINITY)));
        assert_eq!(rows[0].comparison("hakmem"), "best 0: x");
        assert_eq!(rows[0].against_best("x"), Some(("hakmem", 0.0)));
    }

    #[test]
    fn a_mean_says_how_many_rows_it_leaves_out() {
        let mut samples = Vec::new();
        for (metric, own, other) in [
            ("a", 1.0, 2.0),
            ("b", 2.0, 2.0),
            ("c", 8.0, 2.0),
            ("zero", 1.0, 0.0),
            ("bare", 1.0, 100.0),
            ("90 % freed, over live", 1.0, 100.0),
        ] {
            for (allocator, value) in [("hakmem", own), ("glibc", other)] {
                let mut sample = sample(allocator, value, "MiB");
                sample.metrics[0].name = metric.into();
                samples.push(sample);
            }
        }
        let text = render(&rows_of(samples), &["hakmem".into(), "glibc".into()]);
        let line = "geometric mean 1.260, median 1.000, of 3 rows; 3 left out";
        assert_eq!(text.matches(line).count(), 2, "{text}");
    }
}
