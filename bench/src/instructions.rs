//! Instructions by callgrind: exact and repeatable, where time is neither.

use std::fs;

use anyhow::{Context, Result};

use crate::allocators::Ready;
use crate::launch::{self, Job, Metric, Outcome};
use crate::packages;
use crate::workloads::Workloads;

/// Turns of the two runs whose difference is counted: start-up falls out, rare slow paths are in.
const FEW: u32 = 10_000;
const MANY: u32 = 30_000;

/// One outcome with a metric for each row.
pub(crate) fn measure(
    workloads: &Workloads,
    ready: &Ready,
    rows: &[(&str, u32)],
) -> Result<Outcome> {
    packages::program("valgrind", "valgrind")?;
    let mut outcome = Outcome::default();
    let empty = per_turn(workloads, ready, "empty", 16, &mut outcome)?;
    for (kind, size) in rows {
        let value = per_turn(workloads, ready, kind, *size, &mut outcome)? - empty;
        outcome.metrics.push(Metric {
            name: format!("{kind} {size} B"),
            value,
            unit: "instructions".into(),
        });
    }
    Ok(outcome)
}

/// Instructions of one turn of a loop.
fn per_turn(
    workloads: &Workloads,
    ready: &Ready,
    kind: &str,
    size: u32,
    into: &mut Outcome,
) -> Result<f64> {
    let mut count = |turns: u32| -> Result<u64> {
        let log =
            std::env::temp_dir().join(format!("hakmem-bench-callgrind-{}", std::process::id()));
        let args = [
            "--tool=callgrind".to_string(),
            "--callgrind-out-file=/dev/null".into(),
            format!("--log-file={}", log.display()),
            workloads.path("instr").display().to_string(),
            kind.into(),
            size.to_string(),
            turns.to_string(),
        ];
        let fit = [workloads.path("libfit.so")];
        let mut job = Job::workload(std::path::Path::new("valgrind"), &args);
        job.extra_preload = &fit;
        let outcome = launch::launch(workloads, ready, &job);
        let text = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(&log);
        let outcome = outcome?;
        into.usage.extend(outcome.usage);
        into.proofs.extend(outcome.proofs);
        text.lines()
            .find_map(|l| l.split_once("Collected :"))
            .and_then(|(_, n)| n.trim().parse().ok())
            .context("callgrind gave no count")
    };
    let (few, many) = (count(FEW)?, count(MANY)?);
    Ok((many as f64 - few as f64) / f64::from(MANY - FEW))
}
