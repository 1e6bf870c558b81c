//! Instructions by callgrind: exact and, but for what follows the clock, repeatable, where time is neither.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::allocators::Ready;
use crate::launch::{self, Job, Metric, Outcome};
use crate::packages;
use crate::workloads::Workloads;

/// The unit of every figure here.
pub(crate) const UNIT: &str = "instructions";

/// Whether a loop takes as many instructions each time. What replaces blocks at random follows what is learned of it,
/// some of that by the clock.
pub(crate) fn repeats(metric: &str) -> bool {
    !metric.ends_with("at random")
}

/// One outcome with a metric for each loop of workloads/instr.c: instructions a turn, what the same loop takes
/// around two functions that do nothing taken off.
pub(crate) fn measure(workloads: &Workloads, ready: &Ready) -> Result<Outcome> {
    packages::program("valgrind", "valgrind")?;
    let stem = std::env::temp_dir().join(format!("hakmem-bench-callgrind-{}", std::process::id()));
    let (dump, log) = (stem.with_extension("out"), stem.with_extension("log"));
    let args = [
        "--tool=callgrind".to_string(),
        format!("--callgrind-out-file={}", dump.display()),
        "--combine-dumps=yes".into(),
        // Written, and set to zero, whenever the workload returns from its function `mark`.
        "--dump-after=mark".into(),
        format!("--log-file={}", log.display()),
        workloads.path("instr").display().to_string(),
    ];
    let fit = [workloads.path("libfit.so")];
    let mut job = Job::workload(std::path::Path::new("valgrind"), &args);
    job.extra_preload = &fit;
    let outcome = launch::launch(workloads, ready, &job);
    let text = fs::read_to_string(&dump).unwrap_or_default();
    let _ = fs::remove_file(&dump);
    let _ = fs::remove_file(&log);
    let mut outcome = outcome?;
    let totals: Vec<u64> = text
        .lines()
        .filter_map(|l| l.strip_prefix("totals: ")?.trim().parse().ok())
        .collect();
    outcome.metrics = per_turn(&outcome.sections, &totals)?;
    Ok(outcome)
}

/// Metrics from the sections, in order, and callgrind's totals: one before the first section, then for each
/// section one for the line that announces it and one for its loop.
fn per_turn(sections: &[String], totals: &[u64]) -> Result<Vec<Metric>> {
    if sections.is_empty() || totals.len() < 1 + 2 * sections.len() {
        bail!(
            "callgrind gave {} counts for {} sections",
            totals.len(),
            sections.len()
        );
    }
    let mut counted = Vec::new();
    for (i, section) in sections.iter().enumerate() {
        let mut parts = section.split('\t');
        let (Some(name), Some(turns), Some(calls)) = (parts.next(), parts.next(), parts.next())
        else {
            bail!("not a section: {section}");
        };
        let turns: f64 = turns.parse().context("a section's turns")?;
        counted.push((name, calls, turns, totals[2 + 2 * i] as f64));
    }
    // For each loop: few and many turns around nothing, few and many around the allocator.
    let mut metrics = Vec::new();
    for four in counted.chunks(4) {
        let [none_few, none_many, few, many] = four else {
            bail!("a loop is not complete");
        };
        if (none_few.1, few.1) != ("none", "real") || none_few.0 != many.0 {
            bail!("the sections are not in order");
        }
        let slope = |few: &(&str, &str, f64, f64), many: &(&str, &str, f64, f64)| {
            (many.3 - few.3) / (many.2 - few.2)
        };
        metrics.push(Metric {
            name: few.0.to_string(),
            value: slope(few, many) - slope(none_few, none_many),
            unit: UNIT.into(),
        });
    }
    Ok(metrics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_loop_and_what_happens_once_fall_out() {
        let sections: Vec<String> = [
            "pair\t10\tnone",
            "pair\t30\tnone",
            "pair\t10\treal",
            "pair\t30\treal",
        ]
        .map(String::from)
        .to_vec();
        // Nine instructions a turn around nothing, 43 around the allocator, 1,000 once.
        let totals = [500, 7, 100, 7, 280, 7, 1430, 7, 2290, 99];
        let metrics = per_turn(&sections, &totals).expect("complete");
        assert_eq!(metrics.len(), 1);
        assert_eq!(metrics[0].value, 34.0);
        assert!(per_turn(&sections, &totals[..5]).is_err());
    }
}
