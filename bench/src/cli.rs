//! The command line.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::allocators::{self, Ready};
use crate::catalog::{self, Scale};
use crate::record::{Circumstances, Results, Writer};
use crate::schedule::{self, Plan};
use crate::workloads::Workloads;
use crate::{paths, table};

/// Measures hakmem against the best allocators there are, one process at a time, and proves for each process
/// which allocator served it.
///
/// The other allocators are fetched, built and kept in target/bench-peers the first time they are needed.
/// docs/measuring.md says what the rows mean.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Names the allocators and the measurements.
    List,
    /// Measures, prints a table and saves the results.
    Run(Run),
    /// Prints the table of saved results.
    Report {
        /// A file that `run` saved; the newest when none is named.
        file: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Run {
    /// Allocators, separated by commas; all when absent. NAME=/path/lib.so measures any other library.
    #[arg(long, value_delimiter = ',')]
    alloc: Vec<String>,
    /// Measurements, groups of them, or their names up to a dash, separated by commas; all when absent.
    #[arg(long, value_delimiter = ',')]
    bench: Vec<String>,
    /// The same as --bench, for those who know a profile by its name: larson-4t-small, json, vm.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    profile: Vec<String>,
    /// Processes for each row and allocator.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    reps: Option<u32>,
    /// Small sizes: everything within five minutes on two cores. This is what happens without --full.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// The sizes and repetitions that claims are made with.
    #[arg(long)]
    full: bool,
    /// Where the results go; target/bench-results/TIME.jsonl when absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Does what the command line says.
pub(crate) fn main() -> Result<()> {
    match Cli::parse().command {
        Command::List => {
            list();
            Ok(())
        }
        Command::Run(run) => measure(&run),
        Command::Report { file } => report(file),
    }
}

fn list() {
    println!("Allocators (--alloc):");
    for a in allocators::all() {
        println!("  {:16} {}", a.name, a.about);
    }
    println!("\nMeasurements (--bench), by group:");
    let mut group = "";
    for b in catalog::all() {
        if b.group != group {
            group = b.group;
            println!("  {group}");
        }
        println!("    {:20} {}", b.name, b.about);
    }
}

/// Allocators that are there; one line for each that is not.
fn ready(asked: &[String]) -> Result<Vec<Ready>> {
    let mut ready = Vec::new();
    for allocator in allocators::select(asked)? {
        match allocators::prepare(&allocator) {
            Ok(r) => ready.push(r),
            Err(error) => eprintln!("without {}: {error:#}", allocator.name),
        }
    }
    if ready.is_empty() {
        bail!("no allocator is left to measure");
    }
    Ok(ready)
}

fn measure(run: &Run) -> Result<()> {
    let scale = if run.full { Scale::Full } else { Scale::Quick };
    let benches = catalog::select(&[run.bench.as_slice(), run.profile.as_slice()].concat());
    if benches.is_empty() {
        bail!("no measurement is left to make");
    }
    let workloads = Workloads::build()?;
    let allocators = ready(&run.alloc)?;
    let mut circumstances = Circumstances::read(scale);
    circumstances.allocators = allocators
        .iter()
        .map(|r| (r.name().to_string(), r.version.clone()))
        .collect();
    let path = run
        .out
        .clone()
        .unwrap_or_else(|| paths::results().join(format!("{}.jsonl", circumstances.time)));
    let mut writer = Writer::create(&path, &circumstances)?;
    let plan = Plan {
        workloads: &workloads,
        benches: &benches,
        allocators: &allocators,
        scale,
        repetitions: run.reps,
    };
    let samples = schedule::run(&plan, &mut writer)?;
    let names: Vec<String> = allocators.iter().map(|r| r.name().to_string()).collect();
    print!(
        "{}",
        table::render(
            &Results {
                circumstances,
                samples
            },
            &names
        )
    );
    println!("saved in {}", path.display());
    Ok(())
}

fn report(file: Option<PathBuf>) -> Result<()> {
    let path = match file {
        Some(path) => path,
        None => newest()?,
    };
    let results = crate::record::read(&path)?;
    // In the catalogue's order, then what it does not know.
    let known = allocators::all().into_iter().map(|a| a.name);
    let mut names: Vec<String> = known
        .filter(|n| results.circumstances.allocators.contains_key(n))
        .collect();
    let others: Vec<String> = results
        .circumstances
        .allocators
        .keys()
        .filter(|n| !names.contains(n))
        .cloned()
        .collect();
    names.extend(others);
    print!("{}", table::render(&results, &names));
    Ok(())
}

fn newest() -> Result<PathBuf> {
    let directory = paths::results();
    let files = std::fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path());
    match files
        .filter(|p| p.extension().is_some_and(|e| e == "jsonl"))
        .max()
    {
        Some(path) => Ok(path),
        None => bail!("there are no results in {}", directory.display()),
    }
}
