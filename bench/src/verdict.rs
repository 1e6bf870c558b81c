//! What came out of `hakmem-bench learning`: the best fixed setting of each workload and over all of them, how far
//! learning is from it, and how soon learning settled.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::learning::{self, SUBJECT};
use crate::record::{Results, Sample};
use crate::stats::{self, Summary};
use crate::table;

/// In each workload learning may cost this much more than the best fixed setting, in time and in memory.
const NEAR: f64 = 1.03;
/// Over all workloads the best fixed setting costs at least this much more than learning.
const BETTER: f64 = 1.15;
/// A phase change is followed within so many windows of the allocator's.
const WINDOWS: f64 = 3.0;

/// What a setting used in a workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Used {
    /// CPU time in seconds.
    pub(crate) time: Summary,
    /// Resident memory over time, in MiB s.
    pub(crate) memory: Summary,
}

/// One thing's cost over another's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    pub(crate) time: f64,
    pub(crate) memory: f64,
}

impl Cost {
    /// Time and memory in one figure: either may be bought with the other at the same rate.
    pub(crate) fn score(self) -> f64 {
        (self.time * self.memory).sqrt()
    }
}

/// A workload and a setting.
type Key = (String, String);

/// The figures of all processes that count.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// In the order of the run.
    pub(crate) workloads: Vec<String>,
    /// Learning, the fixed settings, the rest.
    pub(crate) settings: Vec<String>,
    used: BTreeMap<Key, Used>,
    /// Processes that do not count, and why.
    pub(crate) voids: Vec<String>,
}

/// Learning against the best fixed setting of a workload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) workload: String,
    /// The fixed setting with the best score.
    pub(crate) best: String,
    pub(crate) own: Used,
    pub(crate) other: Used,
    /// Learning's over the best setting's.
    pub(crate) cost: Cost,
}

impl Row {
    pub(crate) fn is_near(&self) -> bool {
        self.cost.time <= NEAR && self.cost.memory <= NEAR
    }

    /// The verdict in words; what is not near says whether it might be noise.
    pub(crate) fn verdict(&self) -> String {
        if self.is_near() {
            return "yes".into();
        }
        let beyond = |cost: f64, own: &Summary, other: &Summary| {
            cost > NEAR && cost - NEAR > stats::noise(false, own, other)
        };
        if beyond(self.cost.time, &self.own.time, &self.other.time)
            || beyond(self.cost.memory, &self.own.memory, &self.other.memory)
        {
            "NO".into()
        } else {
            "NO, by less than the spread".into()
        }
    }
}

impl Figures {
    /// Void samples do not count, nor do those whose data came out otherwise than in the first process.
    pub(crate) fn of(results: &Results) -> Self {
        let mut this = Self::default();
        let mut checksums: BTreeMap<&str, f64> = BTreeMap::new();
        let mut values: BTreeMap<Key, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
        for sample in &results.samples {
            if let Err(reason) = count(sample, &mut checksums, &mut values) {
                let line = format!("{} under {}: {reason}", sample.bench, sample.allocator);
                if !this.voids.contains(&line) {
                    this.voids.push(line);
                }
            } else if !this.workloads.contains(&sample.bench) {
                this.workloads.push(sample.bench.clone());
            }
        }
        for (key, (time, memory)) in values {
            if let (Some(time), Some(memory)) = (stats::summarise(&time), stats::summarise(&memory))
            {
                this.used.insert(key, Used { time, memory });
            }
        }
        let mut settings: Vec<String> = this.used.keys().map(|k| k.1.clone()).collect();
        settings.sort_by_key(|s| (learning::place(s), s.clone()));
        settings.dedup();
        this.settings = settings;
        this
    }

    pub(crate) fn used(&self, workload: &str, setting: &str) -> Option<&Used> {
        self.used.get(&(workload.to_string(), setting.to_string()))
    }

    /// A setting's cost over learning's.
    pub(crate) fn cost(&self, workload: &str, setting: &str) -> Option<Cost> {
        let (this, own) = (self.used(workload, setting)?, self.used(workload, SUBJECT)?);
        Some(Cost {
            time: stats::cost_ratio(this.time.median, own.time.median, "s")?,
            memory: stats::cost_ratio(this.memory.median, own.memory.median, "MiB s")?,
        })
    }

    fn fixed(&self) -> impl Iterator<Item = &String> {
        self.settings.iter().filter(|s| learning::is_fixed(s))
    }

    /// The fixed setting with the best score in a workload.
    pub(crate) fn best(&self, workload: &str) -> Option<&str> {
        self.fixed()
            .filter_map(|s| Some((s, self.cost(workload, s)?.score())))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(s, _)| s.as_str())
    }

    /// Learning against the best of each workload.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.workloads
            .iter()
            .filter_map(|workload| {
                let best = self.best(workload)?;
                let cost = self.cost(workload, best)?;
                Some(Row {
                    workload: workload.clone(),
                    best: best.into(),
                    own: *self.used(workload, SUBJECT)?,
                    other: *self.used(workload, best)?,
                    cost: Cost {
                        time: 1.0 / cost.time,
                        memory: 1.0 / cost.memory,
                    },
                })
            })
            .collect()
    }

    /// The geometric mean over all workloads of a setting's cost; `None` when it lacks one of them.
    pub(crate) fn overall(&self, setting: &str) -> Option<Cost> {
        let costs: Vec<Cost> = self
            .workloads
            .iter()
            .map(|w| self.cost(w, setting))
            .collect::<Option<_>>()?;
        let mean =
            |of: fn(&Cost) -> f64| stats::geometric_mean(&costs.iter().map(of).collect::<Vec<_>>());
        Some(Cost {
            time: mean(|c| c.time)?,
            memory: mean(|c| c.memory)?,
        })
    }

    /// The fixed setting with the best score over all workloads.
    pub(crate) fn best_overall(&self) -> Option<(&str, Cost)> {
        self.fixed()
            .filter_map(|s| Some((s.as_str(), self.overall(s)?)))
            .min_by(|a, b| a.1.score().total_cmp(&b.1.score()))
    }
}

/// Adds what a sample used to the values, unless it does not count.
fn count<'a>(
    sample: &'a Sample,
    checksums: &mut BTreeMap<&'a str, f64>,
    values: &mut BTreeMap<Key, (Vec<f64>, Vec<f64>)>,
) -> Result<(), String> {
    if let Some(reason) = &sample.void {
        return Err(reason.clone());
    }
    let metric = |name: &str| {
        let found = sample.metrics.iter().find(|m| m.name == name);
        found.map(|m| m.value)
    };
    let (Some(usage), Some(memory), Some(checksum)) =
        (sample.usage, metric("byte-seconds"), metric("checksum"))
    else {
        return Err("its figures are not complete".into());
    };
    if *checksums.entry(&sample.bench).or_insert(checksum) != checksum {
        return Err("its data came out otherwise than elsewhere".into());
    }
    // Files that are older than this program's own check of each process may have one that was not seen.
    if let Some(reason) = learning::not_in_force(&sample.allocator, &sample.curves) {
        return Err(reason);
    }
    let (times, memories) = values
        .entry((sample.bench.clone(), sample.allocator.clone()))
        .or_default();
    times.push(usage.cpu);
    memories.push(memory);
    Ok(())
}

/// The points of a sample's curve.
pub(crate) fn curve<'a>(sample: &'a Sample, name: &str) -> Option<&'a [(f64, f64)]> {
    let curve = sample.curves.iter().find(|c| c.name == name)?;
    Some(&curve.points)
}

/// How learning came to what it did in a phase; a workload without phases is one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settled {
    pub(crate) workload: String,
    /// From 1.
    pub(crate) phase: usize,
    /// When it began, in seconds.
    pub(crate) begin: f64,
    /// Windows in it.
    pub(crate) windows: f64,
    /// What was kept for most of its second half, in KiB.
    pub(crate) held: f64,
    /// Windows until what was kept was within a factor of two of that.
    pub(crate) decision: f64,
    /// Windows until one had a cost at most a quarter above the median in the second half.
    pub(crate) cost: f64,
}

impl Settled {
    /// `None` where so few windows ended that nothing is shown.
    pub(crate) fn is_soon(&self) -> Option<bool> {
        (self.windows > WINDOWS).then_some(self.decision <= WINDOWS && self.cost <= WINDOWS)
    }
}

/// The phases of learning's processes whose curves were kept; empty when the library does not tell its decisions.
pub(crate) fn settled(results: &Results) -> Vec<Settled> {
    let mut seen = BTreeSet::new();
    results
        .samples
        .iter()
        .filter(|s| s.allocator == SUBJECT && s.void.is_none() && !s.curves.is_empty())
        .filter(|s| seen.insert(s.bench.clone()))
        .flat_map(phases)
        .collect()
}

fn phases(sample: &Sample) -> Vec<Settled> {
    let (Some(windows), Some(decision), Some(cost)) = (
        curve(sample, "window"),
        curve(sample, "decision"),
        curve(sample, "cost"),
    ) else {
        return Vec::new();
    };
    let begins: Vec<f64> = match curve(sample, "phase") {
        Some(marks) => marks.iter().map(|m| m.0).collect(),
        None => vec![0.0],
    };
    let mut found = Vec::new();
    for (number, begin) in begins.iter().enumerate() {
        let end = begins.get(number + 1).copied().unwrap_or(f64::INFINITY);
        let first = windows.partition_point(|w| w.0 < *begin);
        let last = windows.partition_point(|w| w.0 < end);
        if last <= first {
            continue;
        }
        let half = first + (last - first) / 2;
        let held = most_frequent(&decision[half..last]);
        let costs: Vec<f64> = cost[half..last].iter().map(|c| c.1).collect();
        let usual = stats::summarise(&costs).map_or(0.0, |s| s.median);
        let before = first.checked_sub(1).map_or(0.0, |i| windows[i].1);
        let since = |is: &dyn Fn(usize) -> bool| {
            let at = (first..last).find(|i| is(*i)).unwrap_or(last - 1);
            windows[at].1 - before
        };
        found.push(Settled {
            workload: sample.bench.clone(),
            phase: number + 1,
            begin: *begin,
            windows: windows[last - 1].1 - before,
            held,
            decision: since(&|i| decision[i].1 >= held / 2.0 && decision[i].1 <= held * 2.0),
            // Until a window has ended, the cost is that of another phase.
            cost: since(&|i| windows[i].1 > before && cost[i].1 <= usual * 1.25),
        });
    }
    found
}

/// The value that stands in most points.
fn most_frequent(points: &[(f64, f64)]) -> f64 {
    let count = |v: f64| points.iter().filter(|p| p.1 == v).count();
    points
        .iter()
        .map(|p| p.1)
        .max_by_key(|v| count(*v))
        .unwrap_or(0.0)
}

/// What is claimed of learning and did not come out so.
pub(crate) fn failures(figures: &Figures, settled: &[Settled]) -> Vec<String> {
    let mut lines: Vec<String> = figures.voids.iter().map(|v| format!("void: {v}")).collect();
    let rows = figures.rows();
    lines.extend(rows.iter().filter(|r| !r.is_near()).map(|r| {
        format!(
            "{}: x {:.3} in time and x {:.3} in memory of {}",
            r.workload, r.cost.time, r.cost.memory, r.best
        )
    }));
    match figures.best_overall() {
        Some((_, cost)) if cost.score() >= BETTER => {}
        Some((name, cost)) => lines.push(format!(
            "over all workloads {name} costs only x {:.3}",
            cost.score()
        )),
        None => lines.push("no fixed setting was measured in all workloads".into()),
    }
    if settled.is_empty() {
        lines.push("the library does not tell its decisions".into());
    }
    lines.extend(
        settled
            .iter()
            .filter(|s| s.is_soon() == Some(false))
            .map(|s| {
                format!(
                    "{} phase {}: settled after {} windows, its cost after {}",
                    s.workload, s.phase, s.decision, s.cost
                )
            }),
    );
    lines
}

/// The sentence about all workloads together.
pub(crate) fn conclusion(figures: &Figures) -> String {
    let Some((name, cost)) = figures.best_overall() else {
        return "no fixed setting was measured in all workloads".into();
    };
    let score = cost.score();
    format!(
        "over all workloads the best fixed setting is {name}: its score is x {score:.3} of learning's (time x {:.3}, memory x {:.3}); at least {:.0} % more: {}",
        cost.time,
        cost.memory,
        (BETTER - 1.0) * 100.0,
        if score >= BETTER { "yes" } else { "NO" }
    )
}

/// A table of words: its head, and its lines.
pub(crate) type Words = (Vec<String>, Vec<Vec<String>>);

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_string()).collect()
}

/// Learning against the best fixed setting of each workload.
pub(crate) fn verdicts(figures: &Figures) -> Words {
    let head = words(&[
        "workload",
        "best fixed setting",
        "CPU s",
        "learning",
        "ratio",
        "MiB s",
        "learning",
        "ratio",
        "ratio of scores",
        "within 3 %",
    ]);
    let figure = |s: &Summary| {
        let spread = if s.spread > 0.02 {
            format!(" ±{:.0}%", s.spread * 100.0)
        } else {
            String::new()
        };
        table::figure(s.median) + &spread
    };
    let lines = figures.rows().into_iter().map(|r| {
        vec![
            r.workload.clone(),
            r.best.clone(),
            figure(&r.other.time),
            figure(&r.own.time),
            format!("{:.3}", r.cost.time),
            figure(&r.other.memory),
            figure(&r.own.memory),
            format!("{:.3}", r.cost.memory),
            format!("{:.3}", r.cost.score()),
            r.verdict(),
        ]
    });
    (head, lines.collect())
}

/// One part of every setting's cost over learning's: a line a setting, a column a workload, the mean last.
pub(crate) fn matrix(figures: &Figures, of: fn(Cost) -> f64) -> Words {
    let mut head = words(&["setting"]);
    head.extend(figures.workloads.iter().cloned());
    head.push("mean".into());
    let lines = figures.settings.iter().map(|setting| {
        let cell = |cost: Option<Cost>| cost.map_or("-".into(), |c| format!("{:.2}", of(c)));
        let mut line = vec![setting.clone()];
        line.extend(figures.workloads.iter().map(|w| {
            let best = if figures.best(w) == Some(setting.as_str()) {
                "*"
            } else {
                ""
            };
            cell(figures.cost(w, setting)) + best
        }));
        line.push(cell(figures.overall(setting)));
        line
    });
    (head, lines.collect())
}

/// A part of the cost, and what it is called.
type Part = (&'static str, fn(Cost) -> f64);

/// All parts, the most important first.
pub(crate) const PARTS: [Part; 3] = [
    ("score, the root of time x memory", Cost::score),
    ("CPU time", |c| c.time),
    ("resident byte-seconds", |c| c.memory),
];

/// How soon learning settled.
pub(crate) fn settling(settled: &[Settled]) -> Words {
    let head = words(&[
        "workload",
        "phase",
        "at s",
        "windows",
        "kept KiB",
        "decision after",
        "cost after",
        "within 3 windows",
    ]);
    let lines = settled.iter().map(|s| {
        vec![
            s.workload.clone(),
            s.phase.to_string(),
            format!("{:.2}", s.begin),
            s.windows.to_string(),
            s.held.to_string(),
            s.decision.to_string(),
            s.cost.to_string(),
            match s.is_soon() {
                Some(true) => "yes".into(),
                Some(false) => "NO".into(),
                None => "too few".into(),
            },
        ]
    });
    (head, lines.collect())
}

/// Everything for a terminal.
pub(crate) fn render(figures: &Figures, settled: &[Settled]) -> String {
    let mut text = String::new();
    for (title, of) in PARTS {
        let _ = writeln!(
            text,
            "{title}: over learning's, * at the best fixed setting of a workload\n{}\n",
            drawn(&matrix(figures, of))
        );
    }
    let _ = writeln!(
        text,
        "learning against the best fixed setting of each workload\n{}\n{}\n",
        drawn(&verdicts(figures)),
        conclusion(figures)
    );
    if settled.is_empty() {
        text.push_str(
            "the library does not tell its decisions: nothing is known of how soon it settled\n",
        );
    } else {
        let _ = writeln!(
            text,
            "how soon learning settled\n{}",
            drawn(&self::settling(settled))
        );
    }
    for line in &figures.voids {
        let _ = writeln!(text, "void: {line}");
    }
    text
}

fn drawn((head, lines): &Words) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head);
    for line in lines {
        table.add_row(line.iter().enumerate().map(|(i, word)| {
            let side = if i == 0 {
                CellAlignment::Left
            } else {
                CellAlignment::Right
            };
            Cell::new(word).set_alignment(side)
        }));
    }
    table
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::launch::{Curve, Metric, Usage};

    pub(crate) fn sample(workload: &str, setting: &str, cpu: f64, memory: f64) -> Sample {
        let metric = |name: &str, value| Metric {
            name: name.into(),
            value,
            unit: String::new(),
        };
        Sample {
            bench: workload.into(),
            allocator: setting.into(),
            repetition: 0,
            metrics: vec![metric("byte-seconds", memory), metric("checksum", 7.0)],
            curves: Vec::new(),
            usage: Some(Usage {
                cpu,
                ..Usage::default()
            }),
            void: None,
        }
    }

    pub(crate) fn results(samples: Vec<Sample>) -> Results {
        Results {
            samples,
            ..Results::default()
        }
    }

    /// Learning as good as the best of two settings, each of which is bad in one of two workloads.
    pub(crate) fn two_workloads() -> Results {
        results(vec![
            sample("giants", SUBJECT, 1.0, 10.0),
            sample("giants", "keep-512K", 1.0, 10.0),
            sample("giants", "keep-32768K", 0.5, 80.0),
            sample("giants", "glibc", 0.1, 1.0),
            sample("periodic", SUBJECT, 1.02, 51.0),
            sample("periodic", "keep-512K", 4.0, 40.0),
            sample("periodic", "keep-32768K", 1.0, 50.0),
            sample("periodic", "glibc", 0.1, 1.0),
        ])
    }

    #[test]
    fn the_best_setting_is_the_one_with_the_best_score_and_no_peer() {
        let figures = Figures::of(&two_workloads());
        assert_eq!(figures.best("giants"), Some("keep-512K"));
        assert_eq!(figures.best("periodic"), Some("keep-32768K"));
        assert_eq!(
            figures.settings,
            [SUBJECT, "keep-512K", "keep-32768K", "glibc"]
        );
        let rows = figures.rows();
        assert!(rows[0].is_near());
        assert!((rows[1].cost.time - 1.02).abs() < 1e-9 && rows[1].is_near());
        let (name, cost) = figures.best_overall().expect("two settings");
        // The roots of 4/1.02 * 40/51 and of 1, and the mean of both.
        let score = (4.0 / 1.02 * 40.0 / 51.0_f64).sqrt().sqrt();
        assert_eq!(name, "keep-512K");
        assert!((cost.score() - score).abs() < 1e-9);
        assert!(conclusion(&figures).ends_with("yes"));
    }

    #[test]
    fn what_is_not_near_is_said() {
        let mut results = two_workloads();
        results.samples[4] = sample("periodic", SUBJECT, 1.2, 51.0);
        let figures = Figures::of(&results);
        assert!(!figures.rows()[1].is_near());
        assert_eq!(figures.rows()[1].verdict(), "NO");
        let (head, lines) = verdicts(&figures);
        let score = head
            .iter()
            .position(|h| h == "ratio of scores")
            .expect("a column");
        // The root of 1.2 and 51/50.
        assert_eq!(lines[1][score], "1.106");
        let lines = failures(&figures, &[]);
        assert!(
            lines[0].starts_with("periodic: x 1.200 in time"),
            "{lines:?}"
        );
        assert!(render(&figures, &[]).contains("NO"));
    }

    #[test]
    fn a_process_with_other_data_or_another_setting_does_not_count() {
        let mut results = two_workloads();
        results.samples[1].metrics[1].value = 8.0;
        results.samples[2].curves = vec![Curve {
            name: "decision".into(),
            unit: "KiB kept".into(),
            points: vec![(0.0, 32768.0), (0.1, 512.0)],
        }];
        let figures = Figures::of(&results);
        assert_eq!(figures.used("giants", "keep-512K"), None);
        assert_eq!(figures.used("giants", "keep-32768K"), None);
        assert_eq!(figures.voids.len(), 2, "{:?}", figures.voids);
        assert_eq!(figures.best_overall(), None, "neither has all workloads");
    }

    #[test]
    fn windows_count_from_the_phases_begin() {
        let mut sample = sample("phases", SUBJECT, 1.0, 1.0);
        let mut add = |name: &str, values: &[f64]| {
            let points = values.iter().enumerate();
            sample.curves.push(Curve {
                name: name.into(),
                unit: String::new(),
                points: points.map(|(i, v)| (i as f64, *v)).collect(),
            });
        };
        add(
            "window",
            &[1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 8.0, 9.0, 10.0, 11.0],
        );
        // From the sixth moment on the program does something else.
        add(
            "decision",
            &[512.0, 8e3, 9e3, 9e3, 9e3, 9e3, 9e3, 9e3, 512.0, 512.0],
        );
        add("cost", &[9.0, 1.0, 1.0, 1.0, 1.0, 9.0, 2.0, 2.0, 2.0, 2.0]);
        sample.curves.push(Curve {
            name: "phase".into(),
            unit: String::new(),
            points: vec![(0.0, 0.0), (4.5, 1.0)],
        });
        let found = settled(&results(vec![sample]));
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].held, found[0].decision, found[0].cost),
            (9e3, 2.0, 2.0)
        );
        assert_eq!(found[1].held, 512.0);
        assert_eq!((found[1].decision, found[1].cost), (5.0, 3.0));
        assert_eq!(found[0].is_soon(), Some(true));
        assert_eq!(found[1].is_soon(), Some(false));
        let short = Settled {
            windows: 3.0,
            ..found[1].clone()
        };
        assert_eq!(short.is_soon(), None);
    }
}
