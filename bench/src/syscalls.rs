//! System calls of the memory kind, counted by strace in a run of its own: it slows down what it watches, so
//! nothing else of that run counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::allocators::Ready;
use crate::launch::{self, Job, Metric};
use crate::packages;
use crate::workloads::Workloads;

/// What is counted.
const CALLS: [&str; 8] = [
    "mmap",
    "munmap",
    "mremap",
    "madvise",
    "mprotect",
    "brk",
    "mincore",
    "process_madvise",
];

/// Rows for one command.
pub(crate) fn measure(
    workloads: &Workloads,
    ready: &Ready,
    program: &Path,
    args: &[String],
) -> Result<Vec<Metric>> {
    packages::program("strace", "strace")?;
    let file = std::env::temp_dir().join(format!("hakmem-bench-strace-{}", std::process::id()));
    let mut line: Vec<String> = ["-c", "-f", "-q", "--seccomp-bpf", "-e"]
        .map(String::from)
        .to_vec();
    line.push(format!("trace={}", CALLS.join(",")));
    line.push("-o".into());
    line.push(file.display().to_string());
    line.push(program.display().to_string());
    line.extend_from_slice(args);
    let null = Path::new("/dev/null");
    let mut job = Job::workload(Path::new("strace"), &line);
    job.output = Some(null);
    let outcome = launch::launch(workloads, ready, &job);
    let text = fs::read_to_string(&file).unwrap_or_default();
    let _ = fs::remove_file(&file);
    outcome?;
    let counts = parse(&text);
    if counts.is_empty() {
        bail!("strace counted nothing");
    }
    let metric = |name: &str, value: u64| Metric {
        name: format!("system calls: {name}"),
        value: value as f64,
        unit: "calls".into(),
    };
    let of = |name: &str| counts.get(name).copied().unwrap_or(0);
    let named = ["mmap", "munmap", "madvise", "mremap"];
    let all: u64 = counts.values().sum();
    let others = all - named.iter().map(|n| of(n)).sum::<u64>();
    let mut metrics = vec![metric("all of memory", all)];
    metrics.extend(named.iter().map(|n| metric(n, of(n))));
    metrics.push(metric("mprotect, brk and others", others));
    Ok(metrics)
}

/// The table that `strace -c` writes: calls in the fourth column, the name in the last.
fn parse(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let name = words.last().filter(|n| CALLS.contains(n))?;
            Some((name.to_string(), words.get(3)?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n \
                    99.54    0.001750           4       421           munmap\n  \
                    0.46    0.000008           8         1         1 madvise\n\
                    100.00    0.001758           4       422         1 total\n";
        let counts = parse(text);
        assert_eq!(counts.get("munmap"), Some(&421));
        assert_eq!(counts.get("madvise"), Some(&1));
        assert_eq!(counts.len(), 2);
    }
}
