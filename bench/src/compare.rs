//! Two files of results: what got better or worse beyond the spread.

use crate::record::{Circumstances, Results};
use crate::stats;
use crate::table;

/// One row of one allocator in both files.
#[derive(Debug)]
struct Change {
    row: String,
    unit: String,
    allocator: String,
    old: f64,
    new: f64,
    /// The new cost over the old one: below 1 is better.
    ratio: f64,
    /// What may be noise.
    noise: f64,
}

fn changes(old: &Results, new: &Results) -> Vec<Change> {
    let before = table::rows(old);
    let mut changes = Vec::new();
    for row in table::rows(new) {
        let Some(was) = before
            .iter()
            .find(|r| r.bench == row.bench && r.metric == row.metric && r.unit == row.unit)
        else {
            continue;
        };
        for (allocator, now) in &row.cells {
            let Some(then) = was.cells.get(allocator) else {
                continue;
            };
            changes.push(Change {
                row: format!("{}: {}", row.bench, row.metric),
                unit: row.unit.clone(),
                allocator: allocator.clone(),
                old: then.median,
                new: now.median,
                ratio: stats::cost_ratio(now.median, then.median, &row.unit)
                    .unwrap_or(f64::INFINITY),
                noise: stats::noise(row.is_exact(), then, now),
            });
        }
    }
    changes
}

/// What else may have moved the figures than a change of the subject.
fn differences(old: &Circumstances, new: &Circumstances, subject: &str) -> String {
    let parts = |c: &Circumstances| {
        let knobs: Vec<String> = c.knobs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let mut parts = vec![
            ("scale".to_string(), c.scale.clone()),
            ("processor".into(), c.cpu.clone()),
            ("number of processors".into(), c.cpus.to_string()),
            ("kernel".into(), c.kernel.clone()),
            ("THP".into(), c.thp.clone()),
            ("knobs".into(), format!("[{}]", knobs.join(" "))),
        ];
        // The subject is what changed, and an allocator that only one of them has is compared with nothing.
        let both = |name: &&String| {
            old.allocators.contains_key(*name) && new.allocators.contains_key(*name)
        };
        let others = c.allocators.keys().filter(both).filter(|n| *n != subject);
        parts.extend(others.map(|n| (n.clone(), c.allocators[n].clone())));
        parts
    };
    let pairs = parts(old).into_iter().zip(parts(new));
    pairs
        .filter(|(then, now)| then != now)
        .map(|((what, then), (_, now))| format!("not the same {what}: {then} and {now}\n"))
        .collect()
}

/// What there is to say about the two.
pub(crate) fn render(old: &Results, new: &Results, subject: &str) -> String {
    let mut text = String::new();
    let (a, b) = (&old.circumstances, &new.circumstances);
    text += &differences(a, b, subject);
    text += &format!("commits {} and {}\n", a.commit, b.commit);
    let all = changes(old, new);
    let (mut own, others): (Vec<_>, Vec<_>) = all.iter().partition(|c| c.allocator == subject);
    if own.is_empty() {
        return text + &format!("no row of {subject} is in both files\n");
    }
    own.sort_by(|x, y| y.ratio.total_cmp(&x.ratio));
    let width = own.iter().map(|c| c.row.chars().count()).max().unwrap_or(0);
    let mut show = |title: &str, rows: &[&&Change]| {
        text += &format!("\n{title}: {}\n", rows.len());
        for c in rows {
            let pad = width - c.row.chars().count();
            text += &format!(
                "  {}{}  {:>9} -> {:>9} {:12} x {:.3}  (spread {:.0} %)\n",
                c.row,
                " ".repeat(pad),
                table::figure(c.old),
                table::figure(c.new),
                c.unit,
                c.ratio,
                c.noise * 100.0
            );
        }
    };
    let worse: Vec<_> = own.iter().filter(|c| c.ratio > 1.0 + c.noise).collect();
    let better: Vec<_> = own
        .iter()
        .rev()
        .filter(|c| c.ratio < 1.0 / (1.0 + c.noise))
        .collect();
    show("worse", &worse);
    show("better", &better);
    text += &format!(
        "\nwithin the spread: {}\n",
        own.len() - worse.len() - better.len()
    );
    let mean = |changes: &[&Change]| {
        let ratios: Vec<f64> = changes
            .iter()
            .map(|c| c.ratio)
            .filter(|r| r.is_finite())
            .collect();
        stats::geometric_mean(&ratios)
    };
    if let Some(m) = mean(&own) {
        text += &format!("{subject}, geometric mean of new over old: {m:.3} (below 1 is better)\n");
    }
    if let Some(m) = mean(&others) {
        text += &format!(
            "the other allocators, which did not change: {m:.3}; what this is away from 1 is the machine's\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Metric;
    use crate::record::Sample;

    fn results(values: &[f64], unit: &str) -> Results {
        let samples = values
            .iter()
            .map(|v| Sample {
                bench: "b".into(),
                allocator: "hakmem".into(),
                repetition: 0,
                metrics: vec![Metric {
                    name: "m".into(),
                    value: *v,
                    unit: unit.into(),
                }],
                curves: Vec::new(),
                usage: None,
                void: None,
            })
            .collect();
        Results {
            samples,
            ..Results::default()
        }
    }

    #[test]
    fn only_what_is_beyond_the_spread_is_a_change() {
        let text = render(
            &results(&[10.0, 11.0, 9.0], "ns"),
            &results(&[11.0, 12.0, 10.0], "ns"),
            "hakmem",
        );
        assert!(text.contains("worse: 0"), "{text}");
        let text = render(
            &results(&[10.0, 10.1, 9.9], "ns"),
            &results(&[13.0, 13.1, 12.9], "ns"),
            "hakmem",
        );
        assert!(text.contains("worse: 1"), "{text}");
        let text = render(
            &results(&[10.0, 10.1, 9.9], "Mop/s"),
            &results(&[13.0, 13.1, 12.9], "Mop/s"),
            "hakmem",
        );
        assert!(text.contains("better: 1"), "{text}");
    }

    #[test]
    fn one_instruction_is_a_change_where_they_repeat() {
        let mut old = results(&[34.0], "instructions");
        let mut new = results(&[35.0], "instructions");
        let text = render(&old, &new, "hakmem");
        assert!(text.contains("worse: 1"), "{text}");
        for results in [&mut old, &mut new] {
            results.samples[0].metrics[0].name = "8 - 32 KiB replaced at random".into();
        }
        let text = render(&old, &new, "hakmem");
        assert!(text.contains("worse: 0"), "{text}");
    }

    #[test]
    fn other_circumstances_are_named() {
        let (mut old, mut new) = (results(&[1.0], "ns"), results(&[1.0], "ns"));
        let same = render(&old, &new, "hakmem");
        assert!(!same.contains("not the same"), "{same}");
        for (results, version, knob) in [(&mut old, "5.3.0", "off"), (&mut new, "5.3.1", "on")] {
            let c = &mut results.circumstances;
            for allocator in ["hakmem", "jemalloc"] {
                c.allocators.insert(allocator.into(), version.into());
            }
            c.knobs.insert("HAKMEM_EVO".into(), knob.into());
        }
        new.circumstances.cpus = 4;
        new.circumstances
            .allocators
            .insert("glibc".into(), "2.36".into());
        let text = render(&old, &new, "hakmem");
        for line in [
            "not the same number of processors: 0 and 4\n",
            "not the same knobs: [HAKMEM_EVO=off] and [HAKMEM_EVO=on]\n",
            "not the same jemalloc: 5.3.0 and 5.3.1\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert_eq!(text.matches("not the same").count(), 3, "{text}");
    }
}
