//! Starts one measured process through the launcher and reads what it says.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::allocators::Ready;
use crate::latency::Latencies;
use crate::workloads::Workloads;

/// What a process answered about the allocator that served it (workloads/proof.h says how it knows).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proof {
    /// The allocator's file is in /proc/self/maps.
    pub(crate) mapped: bool,
    /// The allocator's own symbol was found; `None` when it has none.
    pub(crate) symbol: Option<bool>,
    /// Bytes by which glibc's own count of memory in use grew while blocks were taken.
    pub(crate) libc_growth: i64,
    /// The process's name.
    pub(crate) process: String,
    /// The file whose `malloc` was bound.
    pub(crate) owner: String,
}

/// One result of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Metric {
    /// Its name within the workload.
    pub(crate) name: String,
    /// The figure.
    pub(crate) value: f64,
    /// What it counts; [`crate::stats::higher_is_better`] knows the direction.
    pub(crate) unit: String,
}

/// What a workload followed over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curve {
    /// Its name within the workload.
    pub(crate) name: String,
    /// What y counts.
    pub(crate) unit: String,
    /// x, which the workload defines, and y.
    pub(crate) points: Vec<(f64, f64)>,
}

/// What one run of a process used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Wall time in seconds.
    pub(crate) wall: f64,
    /// CPU time, user and system, in seconds.
    pub(crate) cpu: f64,
    /// Of it in the system.
    pub(crate) system: f64,
    /// Peak resident memory in bytes.
    pub(crate) peak: u64,
    /// Minor faults.
    pub(crate) faults: u64,
}

/// Everything that came out of a launch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) metrics: Vec<Metric>,
    pub(crate) curves: Vec<Curve>,
    /// Names of the sections that callgrind counted, in order.
    pub(crate) sections: Vec<String>,
    /// One for each repetition.
    pub(crate) usage: Vec<Usage>,
    pub(crate) proofs: Vec<Proof>,
}

/// How a process is to be run.
pub(crate) struct Job<'a> {
    pub(crate) program: &'a Path,
    pub(crate) args: &'a [String],
    /// Runs within one launcher.
    pub(crate) repeat: u32,
    /// Seconds until it is killed.
    pub(crate) limit: u32,
    /// Milliseconds between two readings of the process's resident memory, which become a curve and the metric
    /// "byte-seconds"; 0 for none.
    pub(crate) follow: u32,
    /// Where the program's standard output goes; `None` when it is read for metrics.
    pub(crate) output: Option<&'a Path>,
    /// Libraries preloaded behind the allocator.
    pub(crate) extra_preload: &'a [std::path::PathBuf],
    /// More environment.
    pub(crate) env: &'a [(String, String)],
}

impl<'a> Job<'a> {
    /// A workload of ours that prints metrics.
    pub(crate) fn workload(program: &'a Path, args: &'a [String]) -> Self {
        Self {
            program,
            args,
            repeat: 1,
            limit: 300,
            follow: 0,
            output: None,
            extra_preload: &[],
            env: &[],
        }
    }
}

/// Variables by which the environment of whoever starts the driver could change an allocator's behaviour.
const FOREIGN: &[&str] = &["LD_PRELOAD", "MALLOC_CONF", "GLIBC_TUNABLES"];
const FOREIGN_PREFIXES: &[&str] = &["MALLOC_", "MIMALLOC_", "TCMALLOC_", "RPMALLOC_"];

/// Runs a job under an allocator.
pub(crate) fn launch(workloads: &Workloads, ready: &Ready, job: &Job<'_>) -> Result<Outcome> {
    let mut preload: Vec<String> = ready
        .preload
        .iter()
        .map(|p| p.display().to_string())
        .collect();
    preload.extend(job.extra_preload.iter().map(|p| p.display().to_string()));
    let mut command = Command::new(workloads.path("launch"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if FOREIGN.contains(&text.as_ref()) || FOREIGN_PREFIXES.iter().any(|p| text.starts_with(p))
        {
            command.env_remove(&name);
        }
    }
    command
        .arg(job.repeat.to_string())
        .arg(job.limit.to_string())
        .arg(job.follow.to_string())
        .arg(job.output.unwrap_or(Path::new("-")))
        .arg(preload.join(":"))
        .arg(job.program)
        .args(job.args)
        .envs(ready.allocator.env.iter().copied())
        // Not HAKMEM_*: hakmem would say on stderr that it knows no such knob, and pay for it.
        .env("BENCH_LIB", ready.file_name())
        .env("BENCH_SYMBOL", ready.allocator.symbol)
        .envs(job.env.iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null());
    let output = command.output().context("cannot start the launcher")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let outcome = parse(&text)?;
    let status = text
        .lines()
        .filter_map(|l| l.strip_prefix("run "))
        .filter_map(|l| l.split(' ').next_back())
        .find(|s| *s != "0");
    let complaint = String::from_utf8_lossy(&output.stderr);
    match status {
        None if outcome.usage.is_empty() => bail!("the launcher said nothing"),
        None => match complaint.lines().find(|l| is_refused_setting(l)) {
            Some(line) => bail!("{line}"),
            None => Ok(outcome),
        },
        Some("124") => bail!("killed after {} seconds", job.limit),
        Some("126") => bail!("cannot write its output"),
        Some("127") => bail!("cannot start {}", job.program.display()),
        Some(code) => {
            let last = complaint.lines().next_back().unwrap_or("");
            match code.parse::<i32>() {
                Ok(n) if n > 128 => bail!("died of signal {} {last}", n - 128),
                _ => bail!("failed with status {code} {last}"),
            }
        }
    }
}

/// Whether hakmem says in this line that it ignores a setting of its environment: what was measured would not be what
/// was asked for.
fn is_refused_setting(line: &str) -> bool {
    line.starts_with("hakmem: HAKMEM_") && line.contains(": ignored")
}

/// Reads the lines of the launcher and the workload.
fn parse(text: &str) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut latencies = Latencies::default();
    let mut peak = None;
    for line in text.lines() {
        let Some((kind, rest)) = line.split_once(' ') else {
            continue;
        };
        match kind {
            // The name may contain spaces: it lies between the first word and the last two parts.
            "metric" => outcome
                .metrics
                .push(parse_metric(rest).with_context(|| format!("not a metric: {line}"))?),
            "point" => add_point(&mut outcome.curves, rest)
                .with_context(|| format!("not a point: {line}"))?,
            "lat" => latencies
                .add(rest)
                .with_context(|| format!("not latencies: {line}"))?,
            "section" => outcome.sections.push(rest.to_string()),
            "peak" => peak = rest.parse::<u64>().ok(),
            "proof" => outcome
                .proofs
                .push(parse_proof(rest).with_context(|| format!("not a proof: {line}"))?),
            "run" => outcome
                .usage
                .push(parse_usage(rest).with_context(|| format!("not a run: {line}"))?),
            _ => {}
        }
    }
    let (metrics, curves) = latencies.finish();
    outcome.metrics.splice(0..0, metrics);
    outcome.curves.extend(curves);
    // The workload's own reading is of its own address space alone.
    if let (Some(peak), [usage]) = (peak, outcome.usage.as_mut_slice()) {
        usage.peak = peak;
    }
    Ok(outcome)
}

/// `NAME\tVALUE\tUNIT`: names and units may contain spaces.
fn parse_metric(text: &str) -> Option<Metric> {
    let mut parts = text.split('\t');
    let (name, value, unit) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Metric {
        name: name.into(),
        value: value.parse().ok()?,
        unit: unit.into(),
    })
}

/// `CURVE\tX\tY\tUNIT`: one more point of a curve.
fn add_point(curves: &mut Vec<Curve>, text: &str) -> Option<()> {
    let mut parts = text.split('\t');
    let (name, x, y, unit) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let at = curves
        .iter()
        .position(|c| c.name == name)
        .unwrap_or_else(|| {
            curves.push(Curve {
                name: name.into(),
                unit: unit.into(),
                points: Vec::new(),
            });
            curves.len() - 1
        });
    curves[at].points.push((x.parse().ok()?, y.parse().ok()?));
    Some(())
}

/// The lines of the file that the witness library writes.
pub(crate) fn parse_proofs(text: &str) -> Vec<Proof> {
    text.lines()
        .filter_map(|l| parse_proof(l.strip_prefix("proof ")?))
        .collect()
}

/// The fields of a proof line.
fn parse_proof(text: &str) -> Option<Proof> {
    let (fields, owner) = text.split_once(" owner=")?;
    let field = |name: &str| fields.split(' ').find_map(|f| f.strip_prefix(name));
    Some(Proof {
        mapped: field("mapped=")? == "1",
        symbol: match field("symbol=")? {
            "-" => None,
            answer => Some(answer == "1"),
        },
        libc_growth: field("libc=")?.parse().ok()?,
        process: field("name=").unwrap_or_default().to_string(),
        owner: owner.to_string(),
    })
}

fn parse_usage(text: &str) -> Option<Usage> {
    let n: Vec<u64> = text.split(' ').map_while(|w| w.parse().ok()).collect();
    let &[wall, user, system, peak, minor, _major, _status] = n.as_slice() else {
        return None;
    };
    Some(Usage {
        wall: wall as f64 / 1e9,
        cpu: (user + system) as f64 / 1e6,
        system: system as f64 / 1e6,
        peak: peak * 1024,
        faults: minor,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocators::tests::ready;
    use rustix::process::{Pid, Signal, kill_process};
    use std::io::Read;
    use std::time::{Duration, Instant};

    /// `sleep 60` holds the pipes that it was born with: who reads them to the end waits for it.
    const SOON: Duration = Duration::from_secs(30);

    #[test]
    fn what_a_program_leaves_behind_ends_with_it() {
        let workloads = Workloads::build().expect("a C compiler");
        let script = ["-c", "sleep 60 & exit 3"].map(String::from);
        let job = Job::workload(Path::new("sh"), &script);
        let start = Instant::now();
        let error = launch(&workloads, &ready("glibc"), &job).expect_err("it failed");
        assert!(error.to_string().contains("status 3"), "{error}");
        assert!(start.elapsed() < SOON);
    }

    #[test]
    fn a_launcher_that_is_told_to_end_ends_the_program_and_its_children() {
        let workloads = Workloads::build().expect("a C compiler");
        let start = Instant::now();
        let mut launcher = Command::new(workloads.path("launch"))
            .args(["1", "300", "0", "-", "", "sh", "-c"])
            .arg("sleep 60 & echo begun; wait")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the launcher starts");
        let mut pipe = launcher.stdout.take().expect("it is piped");
        let mut begun = [0; 6];
        pipe.read_exact(&mut begun).expect("the shell's word");
        kill_process(Pid::from_child(&launcher), Signal::TERM).expect("it lives");
        pipe.read_to_end(&mut Vec::new()).expect("the pipe's end");
        assert!(start.elapsed() < SOON);
        let status = launcher.wait().expect("it has ended");
        assert_eq!(status.code(), Some(128 + Signal::TERM.as_raw()));
    }

    #[test]
    fn a_workloads_lines_are_read() {
        let text = "metric 100 x 16 B LIFO\t6.5\tns/pair\npeak 4096\nproof mapped=1 symbol=- libc=0 brk=0 name=hot owner=/x/liba.so\nrun 1000000000 10 20 7 3 0 0\n";
        let outcome = parse(text).expect("lines as the workloads write them");
        assert_eq!(outcome.metrics[0].name, "100 x 16 B LIFO");
        assert_eq!(outcome.metrics[0].unit, "ns/pair");
        assert_eq!(
            outcome.usage[0].peak, 4096,
            "the workload's own reading counts"
        );
        assert_eq!(outcome.usage[0].faults, 3);
        assert_eq!(outcome.proofs[0].owner, "/x/liba.so");
        assert_eq!(outcome.proofs[0].process, "hot");
        assert_eq!(outcome.proofs[0].symbol, None);
    }

    #[test]
    fn points_of_one_name_are_one_curve() {
        let outcome =
            parse("point a\t0\t1\tMiB\npoint b\t0\t9\tMiB\npoint a\t1\t2\tMiB\n").expect("points");
        assert_eq!(outcome.curves.len(), 2);
        assert_eq!(outcome.curves[0].points, [(0.0, 1.0), (1.0, 2.0)]);
    }

    #[test]
    fn a_broken_line_is_an_error() {
        assert!(parse("metric nonsense\n").is_err());
        assert!(parse("run 1 2 3\n").is_err());
    }
}
