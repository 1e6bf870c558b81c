//! The command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::allocators::{self, Ready, Source};
use crate::catalog::{self, Bench, Kind, Scale};
use crate::record::{Circumstances, Results, Writer};
use crate::schedule::{self, Plan};
use crate::workloads::Workloads;
use crate::{
    compare, convergence, golden, isolate, learning, paths, programs, report, table, verdict,
};

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
        /// Writes a page with charts that needs nothing but itself.
        #[arg(long, value_name = "PAGE")]
        html: Option<PathBuf>,
        /// Writes a summary in Markdown.
        #[arg(long, value_name = "TEXT")]
        markdown: Option<PathBuf>,
        /// Prints wall and CPU time, peak resident memory and minor faults of the processes instead.
        #[arg(long)]
        usage: bool,
    },
    /// Shows what got better or worse from one file of results to another, beyond the spread of both.
    Compare {
        /// The results before.
        old: PathBuf,
        /// The results after.
        new: PathBuf,
        /// Whose rows are compared.
        #[arg(long, default_value = "hakmem", value_name = "ALLOCATOR")]
        alloc: String,
    },
    /// Compares the instructions of hakmem's paths with the golden file.
    Golden {
        /// Writes the file instead.
        #[arg(long)]
        renew: bool,
    },
    /// Runs hakmem with one feature switched off at a time, and prints what each feature is worth.
    Isolate(Isolate),
    /// Runs hakmem as it learns and under each fixed setting, over programs that want different ones, and says how
    /// far learning is from the best setting of each and how much better than any one setting over all.
    ///
    /// Counted are CPU time and resident byte-seconds. About 35 minutes, with --quick seven; the table goes to the
    /// terminal, the samples and a page with the decisions over time to target/bench-results.
    Learning(Learning),
}

#[derive(Args)]
struct Isolate {
    /// Measurements, as for `run`; without any a choice that shows each feature.
    #[arg(long, value_delimiter = ',', default_value = ISOLATED, value_name = "NAME")]
    bench: Vec<String>,
    /// Features, separated by commas; all when absent.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    feature: Vec<String>,
    /// Another library than target/release/libhakmem.so.
    #[arg(long = "library", value_name = "FILE")]
    instead: Option<PathBuf>,
    /// Processes for each row and feature.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    reps: u32,
    /// The sizes that claims are made with.
    #[arg(long)]
    full: bool,
    /// Counts system calls of the memory kind, too.
    #[arg(long)]
    syscalls: bool,
    /// Where the results go; target/bench-results/isolate-TIME.jsonl when absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct Learning {
    /// Workloads, separated by commas; all when absent: periodic, giants, sparse, dense, vectors, phases, cache,
    /// bursts, pool.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    workload: Vec<String>,
    /// Settings beside learning, separated by commas: `fixed` for all that keep a fixed amount of free memory, single
    /// ones such as keep-512K or keep-4949K+dense, `disable` for learning with each learner off alone. `fixed` when
    /// absent.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    setting: Vec<String>,
    /// Processes for each workload and setting; 5, with --quick 3, when absent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    reps: Option<u32>,
    /// Four fixed settings and three repetitions.
    #[arg(long)]
    quick: bool,
    /// The other allocators beside, for information.
    #[arg(long)]
    peers: bool,
    /// Lets each workload run so many times as long: the beginning, when nothing is learned yet, weighs less.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    length: u32,
    /// Another library than target/release/libhakmem.so.
    #[arg(long = "library", value_name = "FILE")]
    instead: Option<PathBuf>,
    /// Ends with status 1 and a list when something that is claimed of learning does not come out.
    #[arg(long)]
    check: bool,
    /// Measures nothing, but prints the table and writes the page of saved results.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workload", "setting", "reps", "quick", "peers", "length", "instead", "out"])]
    saved: Option<PathBuf>,
    /// Where the results go; target/bench-results/learning-TIME.jsonl when absent. The page is beside it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Small, large, handed over, given back: at least one row where each feature has something to do.
const ISOLATED: &str =
    "batch-64,live-replace-1M,handoff-one-64,cycle-2m-10000,cycle-mix-10000,curve,app-json,true";

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
    /// Counts system calls of the memory kind, too: one more run for each row and allocator, under strace.
    #[arg(long)]
    syscalls: bool,
    /// Where the results go; target/bench-results/TIME.jsonl when absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Does what the command line says.
pub(crate) fn main() -> Result<()> {
    let command = Cli::parse().command;
    if matches!(
        command,
        Command::List | Command::Report { .. } | Command::Compare { .. }
    ) {
        // `| head` is not a panic. Those who measure write to programs that may end first, and say so.
        sigpipe::reset();
    }
    match command {
        Command::List => {
            list();
            Ok(())
        }
        Command::Run(run) => measure(&run),
        Command::Report {
            file,
            html,
            markdown,
            usage,
        } => report(file, html, markdown, usage),
        Command::Compare { old, new, alloc } => {
            let (old, new) = (crate::record::read(&old)?, crate::record::read(&new)?);
            print!("{}", compare::render(&old, &new, &alloc));
            Ok(())
        }
        Command::Golden { renew } => golden::run(renew),
        Command::Isolate(isolate) => isolated(&isolate),
        Command::Learning(learning) => learned(&learning),
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
    println!("\nWorkloads of `learning` (--workload):");
    for (name, _, about) in catalog::LEARNING {
        println!("    {name:20} {about}");
    }
}

/// Allocators that are there; one line for each that is not. Without the library under test there is nothing to do.
fn ready(asked: &[String]) -> Result<Vec<Ready>> {
    let mut ready = Vec::new();
    for allocator in allocators::select(asked)? {
        match allocators::prepare(&allocator) {
            Ok(r) => ready.push(r),
            Err(error) if allocator.source == Source::Workspace => return Err(error),
            Err(error) => eprintln!("without {}: {error:#}", allocator.name),
        }
    }
    if ready.is_empty() {
        bail!("no allocator is left to measure");
    }
    Ok(ready)
}

/// Measurements that can be made; one line for each program that is missing.
fn benches(asked: &[String], scale: Scale) -> Result<Vec<Bench>> {
    let mut benches = catalog::select(asked)?;
    benches.retain(|b| match &b.kind {
        Kind::Program(program) => match programs::prepare(program, scale) {
            Ok(_) => true,
            Err(error) => {
                eprintln!("without {}: {error:#}", b.name);
                false
            }
        },
        _ => true,
    });
    if benches.is_empty() {
        bail!("no measurement is left to make");
    }
    Ok(benches)
}

fn measure(run: &Run) -> Result<()> {
    let scale = if run.full { Scale::Full } else { Scale::Quick };
    let asked = [run.bench.as_slice(), run.profile.as_slice()].concat();
    let benches = benches(&asked, scale)?;
    let workloads = Workloads::build()?;
    let allocators = ready(&run.alloc)?;
    let (circumstances, path, mut writer) = open_results(scale, &allocators, run.out.as_ref(), "")?;
    let plan = Plan {
        workloads: &workloads,
        benches: &benches,
        allocators: &allocators,
        scale,
        repetitions: run.reps,
        syscalls: run.syscalls,
    };
    let samples = schedule::run(&plan, &mut writer)?;
    let names: Vec<String> = allocators.iter().map(|r| r.name().to_string()).collect();
    let results = Results {
        circumstances,
        samples,
    };
    print!("{}", table::render(&table::rows(&results), &names));
    conclude(&results, &path)
}

/// Last words about what was measured, shown and saved: processes that do not count are named, and are an error.
fn conclude(results: &Results, path: &Path) -> Result<()> {
    print_voids(results);
    println!("saved in {}", path.display());
    let voids = results.samples.iter().filter(|s| s.void.is_some()).count();
    if voids > 0 {
        bail!("{voids} of {} processes are void", results.samples.len());
    }
    Ok(())
}

fn print_voids(results: &Results) {
    for line in results.voids() {
        println!("void: {line}");
    }
}

/// Starts a file of results: `out`, or one called after the time with `prefix` before it.
fn open_results(
    scale: Scale,
    allocators: &[Ready],
    out: Option<&PathBuf>,
    prefix: &str,
) -> Result<(Circumstances, PathBuf, Writer)> {
    let mut circumstances = Circumstances::read(scale);
    circumstances.allocators = allocators
        .iter()
        .map(|r| (r.name().to_string(), r.version.clone()))
        .collect();
    let name = format!("{prefix}{}.jsonl", circumstances.time);
    let path = out.cloned().unwrap_or_else(|| paths::results().join(name));
    let writer = Writer::create(&path, &circumstances)?;
    Ok((circumstances, path, writer))
}

/// The library under test, or another in its place.
fn hakmem(instead: Option<&Path>) -> Result<Ready> {
    let asked = match instead {
        Some(file) => format!("hakmem={}", file.display()),
        None => "hakmem".into(),
    };
    Ok(ready(&[asked])?.swap_remove(0))
}

fn isolated(run: &Isolate) -> Result<()> {
    let hakmem = hakmem(run.instead.as_deref())?;
    let variants = isolate::variants(&hakmem, &run.feature)?;
    let scale = if run.full { Scale::Full } else { Scale::Quick };
    let benches = benches(&run.bench, scale)?;
    let workloads = Workloads::build()?;
    let (circumstances, path, mut writer) =
        open_results(scale, &variants, run.out.as_ref(), "isolate-")?;
    let plan = Plan {
        workloads: &workloads,
        benches: &benches,
        allocators: &variants,
        scale,
        repetitions: Some(run.reps),
        syscalls: run.syscalls,
    };
    let samples = schedule::run(&plan, &mut writer)?;
    let results = Results {
        circumstances,
        samples,
    };
    print!("{}", isolate::render(&results, &variants));
    conclude(&results, &path)
}

fn learned(run: &Learning) -> Result<()> {
    let (results, path) = match &run.saved {
        Some(path) => (crate::record::read(path)?, path.clone()),
        None => learn(run)?,
    };
    let figures = verdict::Figures::of(&results);
    let settled = verdict::settled(&results);
    print!("{}", verdict::render(&figures, &settled));
    let page = path.with_extension("html");
    std::fs::write(&page, convergence::html(&results, &figures, &settled)?)
        .with_context(|| format!("cannot write {}", page.display()))?;
    println!("saved in {}, drawn in {}", path.display(), page.display());
    let failures = verdict::failures(&figures, &settled);
    if run.check && !failures.is_empty() {
        bail!("not as claimed:\n  {}", failures.join("\n  "));
    }
    if run.saved.is_none() && !figures.voids.is_empty() {
        bail!("not all processes count: see the lines that begin with void");
    }
    Ok(())
}

/// Measures what `learning` was asked for.
fn learn(run: &Learning) -> Result<(Results, PathBuf)> {
    let benches = catalog::learning(&run.workload, run.length)?;
    let mut settings = run.setting.clone();
    if run.quick && settings.is_empty() {
        settings = learning::QUICK.iter().map(|s| (*s).into()).collect();
    }
    let mut variants = learning::variants(&hakmem(run.instead.as_deref())?, &settings)?;
    if run.peers {
        let peers: Vec<String> = learning::PEERS.iter().map(|p| (*p).into()).collect();
        variants.extend(ready(&peers)?);
    }
    let scale = if run.quick { Scale::Quick } else { Scale::Full };
    let workloads = Workloads::build()?;
    let (circumstances, path, mut writer) =
        open_results(scale, &variants, run.out.as_ref(), "learning-")?;
    let plan = Plan {
        workloads: &workloads,
        benches: &benches,
        allocators: &variants,
        scale,
        repetitions: run.reps,
        syscalls: false,
    };
    let samples = schedule::run(&plan, &mut writer)?;
    let results = Results {
        circumstances,
        samples,
    };
    Ok((results, path))
}

fn report(
    file: Option<PathBuf>,
    html: Option<PathBuf>,
    markdown: Option<PathBuf>,
    usage: bool,
) -> Result<()> {
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
    let write = |file: &PathBuf, text: String| {
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    };
    if let Some(file) = &html {
        write(file, report::html(&results, &names)?)?;
    }
    if let Some(file) = &markdown {
        write(file, report::markdown(&results, &names))?;
    }
    if html.is_none() && markdown.is_none() || usage {
        let rows = if usage {
            table::usage_rows(&results)
        } else {
            table::rows(&results)
        };
        print!("{}", table::render(&rows, &names));
        print_voids(&results);
    }
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
        .filter(|p| {
            // Those of `isolate` and `learning` have no allocators to report on.
            let others = p.file_name().is_some_and(|n| {
                let name = n.to_string_lossy();
                name.starts_with("isolate-") || name.starts_with("learning-")
            });
            p.extension().is_some_and(|e| e == "jsonl") && !others
        })
        .max()
    {
        Some(path) => Ok(path),
        None => bail!("there are no results in {}", directory.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::tests::{results, sample};

    #[test]
    fn a_void_process_is_an_error_in_the_end() {
        let mut results = results(vec![sample("pair", "x", 1.0, 1.0); 2]);
        let path = Path::new("results.jsonl");
        assert!(conclude(&results, path).is_ok());
        results.samples[1].void = Some("no answer".into());
        let error = conclude(&results, path).expect_err("one is void");
        assert_eq!(error.to_string(), "1 of 2 processes are void");
        assert_eq!(results.voids(), ["pair under x: no answer"]);
    }
}
