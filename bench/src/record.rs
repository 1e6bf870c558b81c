//! Results as JSON lines: first the circumstances, then one line for each process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::catalog::Scale;
use crate::launch::{Curve, Metric, Usage};
use crate::paths;

/// Under which circumstances a file's samples were taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Circumstances {
    /// Seconds since 1970.
    pub(crate) time: u64,
    /// "quick" or "full".
    pub(crate) scale: String,
    /// The workspace's commit, with a plus sign when files were changed; which build of hakmem was measured is in its
    /// version.
    pub(crate) commit: String,
    /// The processor's name.
    pub(crate) cpu: String,
    /// How many processors the process may use.
    pub(crate) cpus: usize,
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// Kernel release.
    pub(crate) kernel: String,
    /// /sys/kernel/mm/transparent_hugepage/enabled.
    pub(crate) thp: String,
    /// Load average over a minute when the run began.
    pub(crate) load: f64,
    /// Version of each allocator; of a library that has none of its own, and of hakmem's, what tells the build.
    pub(crate) allocators: BTreeMap<String, String>,
    /// HAKMEM_* variables that were set.
    pub(crate) knobs: BTreeMap<String, String>,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) bench: String,
    pub(crate) allocator: String,
    pub(crate) repetition: u32,
    pub(crate) metrics: Vec<Metric>,
    /// What was followed over time.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) curves: Vec<Curve>,
    /// Absent when the process did not run to its end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) usage: Option<Usage>,
    /// Why the sample does not count.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) void: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "lowercase")]
enum Line {
    Circumstances(Circumstances),
    Sample(Sample),
}

/// A file of results.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    pub(crate) circumstances: Circumstances,
    pub(crate) samples: Vec<Sample>,
}

impl Results {
    /// Processes that do not count, and why: each reason once.
    pub(crate) fn voids(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for s in &self.samples {
            if let Some(reason) = &s.void {
                let line = format!("{} under {}: {reason}", s.bench, s.allocator);
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
        }
        lines
    }
}

impl Circumstances {
    /// What this machine says about itself.
    pub(crate) fn read(scale: Scale) -> Self {
        let text = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let cpuinfo = text("/proc/cpuinfo");
        let cpu = cpuinfo
            .lines()
            .find(|l| l.starts_with("model name"))
            .and_then(|l| l.split(": ").nth(1));
        let meminfo = text("/proc/meminfo");
        let memory = meminfo
            .lines()
            .next()
            .and_then(|l| l.split_whitespace().nth(1))
            .and_then(|k| k.parse::<u64>().ok());
        Self {
            time: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |d| d.as_secs()),
            scale: if scale == Scale::Quick {
                "quick"
            } else {
                "full"
            }
            .into(),
            commit: commit(),
            cpu: cpu.unwrap_or(std::env::consts::ARCH).to_string(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory.unwrap_or(0) * 1024,
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            thp: text("/sys/kernel/mm/transparent_hugepage/enabled")
                .trim()
                .to_string(),
            load: text("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|l| l.parse().ok())
                .unwrap_or(0.0),
            allocators: BTreeMap::new(),
            knobs: std::env::vars()
                .filter(|(k, _)| k.starts_with("HAKMEM_"))
                .collect(),
        }
    }
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(paths::root())
            .args(args)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return String::new();
    };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
    if changed { hash + "+" } else { hash }
}

/// Appends samples to a file as they come, so that an interrupted run keeps what it has.
pub(crate) struct Writer {
    file: File,
    path: PathBuf,
}

impl Writer {
    pub(crate) fn create(path: &Path, circumstances: &Circumstances) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut this = Self {
            file,
            path: path.to_path_buf(),
        };
        this.line(&Line::Circumstances(circumstances.clone()))?;
        Ok(this)
    }

    pub(crate) fn sample(&mut self, sample: &Sample) -> Result<()> {
        self.line(&Line::Sample(sample.clone()))
    }

    fn line(&mut self, line: &Line) -> Result<()> {
        let text = serde_json::to_string(line)?;
        writeln!(self.file, "{text}")
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Reads a file of results.
pub(crate) fn read(path: &Path) -> Result<Results> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut results = Results::default();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line?;
        match serde_json::from_str(&line) {
            Ok(Line::Circumstances(c)) => results.circumstances = c,
            Ok(Line::Sample(s)) => results.samples.push(s),
            Err(error) => bail!("{} line {}: {error}", path.display(), number + 1),
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let path = std::env::temp_dir().join(format!("hakmem-bench-{}.jsonl", std::process::id()));
        let circumstances = Circumstances::read(Scale::Quick);
        let sample = Sample {
            bench: "pair".into(),
            allocator: "glibc".into(),
            repetition: 1,
            metrics: vec![Metric {
                name: "16 B".into(),
                value: 8.5,
                unit: "ns/pair".into(),
            }],
            curves: Vec::new(),
            usage: None,
            void: Some("no answer".into()),
        };
        Writer::create(&path, &circumstances)
            .and_then(|mut w| w.sample(&sample))
            .expect("a temporary file");
        let back = read(&path).expect("the file just written");
        let _ = fs::remove_file(&path);
        assert_eq!(back.circumstances, circumstances);
        assert_eq!(back.samples, [sample]);
    }
}
