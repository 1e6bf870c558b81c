//! The instructions that hakmem's own paths take, under version control: a change that makes one longer is seen
//! when it is made. `hakmem-bench golden --renew` writes the file anew; the test below holds it.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::launch::Metric;
use crate::paths;
use crate::workloads::Workloads;
use crate::{allocators, instructions};

/// How far a figure may be from the file's. A count repeats exactly; a compiler's new version may move one.
const WITHIN: f64 = 2.0;
/// The same where two threads take turns: who waits, and how, is the system's affair. One library had 101.4 - 105.6.
const WITHIN_BETWEEN_THREADS: f64 = 6.0;

fn within(name: &str) -> f64 {
    if name.contains("another thread") {
        WITHIN_BETWEEN_THREADS
    } else {
        WITHIN
    }
}

/// The file under version control.
pub(crate) fn file() -> PathBuf {
    paths::root().join("bench/golden/instructions.txt")
}

/// Counts hakmem's instructions now, once its proof holds: those of loops of which they repeat.
pub(crate) fn count() -> Result<Vec<Metric>> {
    let mut hakmem = allocators::select(&["hakmem".into()])?;
    let ready = allocators::prepare(&hakmem.swap_remove(0))?;
    let outcome = instructions::measure(&Workloads::build()?, &ready)?;
    let proof = outcome
        .proofs
        .first()
        .context("no proof of the allocator")?;
    if let Some(reason) = ready.void(proof) {
        bail!("{reason}");
    }
    let mut metrics = outcome.metrics;
    metrics.retain(|m| instructions::repeats(&m.name));
    Ok(metrics)
}

/// The file's text for these figures.
pub(crate) fn text(metrics: &[Metric]) -> String {
    let mut text = String::from(
        "# Instructions that hakmem takes for one turn of each loop in bench/workloads/instr.c, by callgrind.\n\
         # Generated: `hakmem-bench golden --renew` writes this file; `cargo test -p hakmem-bench` holds it.\n",
    );
    for m in metrics {
        let _ = writeln!(text, "{:8.2}  {}", m.value, m.name);
    }
    text
}

/// One line for each figure that is not the file's, within [`within`].
pub(crate) fn differences(golden: &str, metrics: &[Metric]) -> Vec<String> {
    let wanted: Vec<(f64, &str)> = golden
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| {
            let (value, name) = l.trim().split_once("  ")?;
            Some((value.parse().ok()?, name))
        })
        .collect();
    let mut lines = Vec::new();
    for (value, name) in &wanted {
        match metrics.iter().find(|m| m.name == *name) {
            None => lines.push(format!("{name}: in the file, but not measured")),
            Some(m) if (m.value - value).abs() > within(name) => lines.push(format!(
                "{name}: {:.2} instructions, not {value:.2}",
                m.value
            )),
            Some(_) => {}
        }
    }
    for m in metrics {
        if !wanted.iter().any(|(_, name)| *name == m.name) {
            lines.push(format!("{}: measured, but not in the file", m.name));
        }
    }
    lines
}

/// Compares, or writes the file.
pub(crate) fn run(renew: bool) -> Result<()> {
    let metrics = count()?;
    if renew {
        fs::write(file(), text(&metrics))
            .with_context(|| format!("cannot write {}", file().display()))?;
        println!("{}", text(&metrics));
        return Ok(());
    }
    let golden =
        fs::read_to_string(file()).with_context(|| format!("cannot read {}", file().display()))?;
    let lines = differences(&golden, &metrics);
    if lines.is_empty() {
        println!("{} figures as in {}", metrics.len(), file().display());
        return Ok(());
    }
    bail!("{}", lines.join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, value: f64) -> Metric {
        Metric {
            name: name.into(),
            value,
            unit: "instructions".into(),
        }
    }

    #[test]
    fn what_is_written_is_held() {
        let golden = text(&[metric("pair 16 B", 30.0), metric("x", 7.5)]);
        assert!(differences(&golden, &[metric("pair 16 B", 31.9), metric("x", 7.5)]).is_empty());
        assert_eq!(
            differences(&golden, &[metric("pair 16 B", 32.5), metric("x", 7.5)]).len(),
            1
        );
        assert_eq!(differences(&golden, &[metric("pair 16 B", 30.0)]).len(), 1);
        let name = "freed by another thread 64 B";
        let golden_between = text(&[metric(name, 100.0)]);
        for (value, lines) in [(105.9, 0), (106.1, 1)] {
            assert_eq!(
                differences(&golden_between, &[metric(name, value)]).len(),
                lines
            );
        }
        assert_eq!(
            differences(
                &golden,
                &[
                    metric("pair 16 B", 30.0),
                    metric("x", 7.5),
                    metric("y", 1.0)
                ]
            )
            .len(),
            1
        );
    }

    /// The fast paths are as long as the file says.
    #[test]
    fn instructions_are_as_in_the_golden_file() {
        allocators::tests::build_hakmem();
        let golden = fs::read_to_string(file()).expect("bench/golden/instructions.txt");
        let metrics = count().expect("callgrind counts (it needs valgrind)");
        let lines = differences(&golden, &metrics);
        assert!(
            lines.is_empty(),
            "{}\nif this is meant, `cargo run --release -p hakmem-bench -- golden --renew` renews the file",
            lines.join("\n")
        );
    }
}
