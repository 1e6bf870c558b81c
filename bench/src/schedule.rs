//! Runs what was chosen: one process at a time, the allocators taking turns, each round beginning with another.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::allocators::Ready;
use crate::catalog::{Bench, Kind, Scale};
use crate::instructions;
use crate::launch::{self, Job, Metric, Outcome, Usage};
use crate::learning;
use crate::programs;
use crate::record::{Sample, Writer};
use crate::stats;
use crate::syscalls;
use crate::workloads::Workloads;

/// What a run needs.
pub(crate) struct Plan<'a> {
    pub(crate) workloads: &'a Workloads,
    pub(crate) benches: &'a [Bench],
    pub(crate) allocators: &'a [Ready],
    pub(crate) scale: Scale,
    pub(crate) repetitions: Option<u32>,
    /// Whether to count system calls, too, in a run of its own for each row and allocator.
    pub(crate) syscalls: bool,
}

/// Runs the plan; every sample goes to the writer as soon as it is there.
pub(crate) fn run(plan: &Plan<'_>, writer: &mut Writer) -> Result<Vec<Sample>> {
    let mut turns = Vec::new();
    let rounds = plan
        .benches
        .iter()
        .map(|b| b.repetitions(plan.scale, plan.repetitions))
        .max()
        .unwrap_or(0);
    for round in 0..rounds {
        for (b, bench) in plan.benches.iter().enumerate() {
            if round < bench.repetitions(plan.scale, plan.repetitions) {
                let order = order(plan.allocators.len(), b + round as usize);
                turns.extend(order.map(|i| (round, bench, &plan.allocators[i])));
            }
        }
    }
    let bar = ProgressBar::new(turns.len() as u64);
    bar.set_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed_precise} (left {eta}) {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.enable_steady_tick(Duration::from_secs(1));
    let mut samples: Vec<Sample> = Vec::with_capacity(turns.len());
    for (round, bench, ready) in turns {
        bar.set_message(format!("{} {}", bench.name, ready.name()));
        let sample = one(plan, bench, ready, round);
        // The first complaint about a pair says it all.
        let known = |s: &Sample| {
            s.bench == sample.bench && s.allocator == sample.allocator && s.void.is_some()
        };
        if let Some(reason) = sample.void.as_ref().filter(|_| !samples.iter().any(known)) {
            bar.suspend(|| eprintln!("void: {} under {}: {reason}", bench.name, ready.name()));
        }
        writer.sample(&sample)?;
        samples.push(sample);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(samples)
}

/// In which order `n` allocators run in a round: a row of a square that is balanced for what the one before leaves behind
/// (Williams, "Experimental designs balanced for the estimation of residual effects of treatments", 1949). Nobody always
/// runs first, or always after the same neighbour, as would be if the rounds only began with another one each.
fn order(n: usize, round: usize) -> impl Iterator<Item = usize> {
    let zigzag = move |i: usize| {
        if i.is_multiple_of(2) {
            n - i / 2
        } else {
            i.div_ceil(2)
        }
    };
    (0..n).map(move |i| (zigzag(i) + round) % n)
}

/// One process; whatever goes wrong becomes a void sample.
fn one(plan: &Plan<'_>, bench: &Bench, ready: &Ready, round: u32) -> Sample {
    let mut sample = Sample {
        bench: bench.name.clone(),
        allocator: ready.name().to_string(),
        repetition: round,
        metrics: Vec::new(),
        curves: Vec::new(),
        usage: None,
        void: None,
    };
    match measure(plan, bench, ready).and_then(|outcome| proven(ready, outcome)) {
        Ok(outcome) => {
            sample.usage = outcome.usage.last().copied();
            sample.metrics = outcome.metrics;
            sample.curves = outcome.curves;
            // Dense curves of every process would be most of the file, and one of each kind is drawn.
            if round > 0 && matches!(bench.kind, Kind::Followed { .. }) {
                sample.curves.clear();
            }
            if plan.syscalls && round == 0 {
                match count_calls(plan, bench, ready) {
                    Ok(metrics) => sample.metrics.extend(metrics),
                    Err(error) => eprintln!(
                        "no system calls of {} under {}: {error:#}",
                        bench.name,
                        ready.name()
                    ),
                }
            }
        }
        Err(error) => sample.void = Some(format!("{error:#}")),
    }
    sample
}

/// The outcome, if the allocator proved that it was at work, and a fixed setting that it was in force.
fn proven(ready: &Ready, outcome: Outcome) -> Result<Outcome> {
    if outcome.proofs.is_empty() {
        bail!("the process left no proof of its allocator");
    }
    for proof in &outcome.proofs {
        if let Some(reason) = ready.void(proof) {
            bail!("{reason}");
        }
    }
    if let Some(reason) = learning::not_in_force(ready.name(), &outcome.curves) {
        bail!("{reason}");
    }
    Ok(outcome)
}

fn measure(plan: &Plan<'_>, bench: &Bench, ready: &Ready) -> Result<Outcome> {
    let workloads = plan.workloads;
    match &bench.kind {
        Kind::Workload {
            program,
            quick,
            full,
        } => launch::launch(
            workloads,
            ready,
            &Job::workload(&workloads.path(program), &arguments(plan, quick, full)),
        ),
        Kind::Followed {
            program,
            args,
            limit,
        } => {
            let (path, args) = (workloads.path(program), words(args));
            let mut job = Job::workload(&path, &args);
            job.follow = 2;
            job.limit = *limit;
            launch::launch(workloads, ready, &job)
        }
        Kind::Program(program) => programs::measure(workloads, ready, program, plan.scale),
        Kind::Instructions => instructions::measure(workloads, ready),
        Kind::Startup => startup(plan, ready),
    }
}

fn arguments(plan: &Plan<'_>, quick: &str, full: &str) -> Vec<String> {
    let line = if plan.scale == Scale::Quick {
        quick
    } else {
        full
    };
    words(line)
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(String::from).collect()
}

fn count_calls(plan: &Plan<'_>, bench: &Bench, ready: &Ready) -> Result<Vec<Metric>> {
    let (program, args) = match &bench.kind {
        Kind::Workload {
            program,
            quick,
            full,
        } => (plan.workloads.path(program), arguments(plan, quick, full)),
        Kind::Followed { program, args, .. } => (plan.workloads.path(program), words(args)),
        Kind::Program(program) => programs::command(program, plan.scale)?,
        Kind::Startup => (Path::new("true").to_path_buf(), Vec::new()),
        Kind::Instructions => return Ok(Vec::new()),
    };
    syscalls::measure(plan.workloads, ready, &program, &args)
}

/// `true` many times. The witness runs once beside it: in the timed runs it would cost more than what is timed.
fn startup(plan: &Plan<'_>, ready: &Ready) -> Result<Outcome> {
    let program = Path::new("true");
    let witness = [plan.workloads.path("libwitness.so")];
    let proof_file =
        std::env::temp_dir().join(format!("hakmem-bench-proof-{}", std::process::id()));
    let env = [("BENCH_PROOF".to_string(), proof_file.display().to_string())];
    let mut job = Job::workload(program, &[]);
    job.extra_preload = &witness;
    job.env = &env;
    launch::launch(plan.workloads, ready, &job)?;
    let text = std::fs::read_to_string(&proof_file).unwrap_or_default();
    let _ = std::fs::remove_file(&proof_file);

    let mut job = Job::workload(program, &[]);
    job.repeat = if plan.scale == Scale::Quick { 100 } else { 500 };
    let mut outcome = launch::launch(plan.workloads, ready, &job)?;
    outcome.proofs = launch::parse_proofs(&text);
    let of = |value: fn(&Usage) -> f64| {
        let values: Vec<f64> = outcome.usage.iter().map(value).collect();
        stats::summarise(&values).map_or(0.0, |s| s.median)
    };
    let metric = |name: &str, value: f64, unit: &str| Metric {
        name: name.into(),
        value,
        unit: unit.into(),
    };
    outcome.metrics = vec![
        metric("start and end", of(|u| u.wall * 1e6), "us"),
        metric("peak", of(|u| u.peak as f64 / 1024.0), "KiB"),
        metric("faults", of(|u| u.faults as f64), "faults"),
    ];
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocators::Allocator;
    use crate::allocators::tests::{build_hakmem, ready};
    use crate::catalog;
    use crate::launch::{Curve, Proof};
    use crate::paths;
    use std::collections::HashMap;

    #[test]
    fn everybody_runs_once_a_round_and_after_everybody() {
        for n in 1..30 {
            let mut after: HashMap<(usize, usize), u32> = HashMap::new();
            let mut first = vec![0; n];
            for round in 0..n {
                let order: Vec<usize> = order(n, round).collect();
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..n));
                first[order[0]] += 1;
                for pair in order.windows(2) {
                    *after.entry((pair[0], pair[1])).or_default() += 1;
                }
            }
            assert_eq!(first, vec![1; n]);
            // Each pair once; where that cannot be, because they are odd, twice at most.
            let once = after.len() == n * (n - 1) && after.values().all(|times| *times == 1);
            assert!(once || !n.is_multiple_of(2) && after.values().all(|times| *times <= 2));
        }
    }

    fn sample(ready: &Ready, workloads: &Workloads) -> Sample {
        let benches = catalog::select(&["pair".into()]).expect("a known name");
        let plan = Plan {
            workloads,
            benches: &benches,
            allocators: std::slice::from_ref(ready),
            scale: Scale::Quick,
            repetitions: Some(1),
            syscalls: false,
        };
        one(&plan, &benches[0], ready, 0)
    }

    /// The benchmarks that this tool replaces measured glibc for weeks without noticing.
    #[test]
    fn a_run_that_another_allocator_served_is_void() {
        let workloads = Workloads::build().expect("a C compiler");
        let glibc = ready("glibc");
        let served = sample(&glibc, &workloads);
        assert_eq!(served.void, None);
        assert_eq!(served.metrics.len(), 4);

        // Preloaded and mapped, but without a malloc.
        let impostor = Ready {
            allocator: Allocator {
                name: "impostor".into(),
                ..glibc.allocator.clone()
            },
            preload: Some(workloads.path("libwitness.so")),
            version: String::new(),
        };
        let void = sample(&impostor, &workloads);
        assert!(void.metrics.is_empty(), "a void sample has no figure");
        assert!(void.void.is_some_and(|r| r.contains("malloc belongs to")));

        let missing = Ready {
            preload: Some(paths::root().join("no/such/library.so")),
            ..impostor
        };
        assert!(sample(&missing, &workloads).void.is_some());
    }

    /// A knob that hakmem does not know, or a value that it refuses, would have the default measured.
    #[test]
    fn a_run_without_the_settings_that_it_was_given_is_void() {
        build_hakmem();
        let workloads = Workloads::build().expect("a C compiler");
        let hakmem = ready("hakmem");
        let under = |env| {
            let mut hakmem = hakmem.clone();
            hakmem.allocator.env = env;
            sample(&hakmem, &workloads).void
        };
        assert_eq!(under(&[("HAKMEM_EVO", "off")]), None);
        let unknown = under(&[("HAKMEM_EVVO", "off")]).expect("no such knob");
        assert!(unknown.contains("HAKMEM_EVVO"), "{unknown}");
        let refused = under(&[("HAKMEM_EVO", "offf")]).expect("no such value");
        assert!(refused.contains("HAKMEM_EVO=offf"), "{refused}");
    }

    /// Theirs are the figures, not those of the process that starts them.
    #[test]
    fn a_process_that_history_times_proves_its_allocator() {
        let workloads = Workloads::build().expect("a C compiler");
        let (program, ready) = (workloads.path("history"), ready("glibc"));
        let timed = words("now new 1 32 1");
        let outcome = launch::launch(&workloads, &ready, &Job::workload(&program, &timed));
        let outcome = outcome.and_then(|outcome| proven(&ready, outcome));
        assert_eq!(outcome.expect("a proof").proofs.len(), 1);
    }

    /// Of most processes the curves are dropped: what they say is looked at before.
    #[test]
    fn a_process_under_another_setting_than_its_own_is_void() {
        let mut ready = ready("glibc");
        let outcome = |kept: f64| Outcome {
            curves: vec![Curve {
                name: "decision".into(),
                unit: "KiB kept".into(),
                points: vec![(0.0, 512.0), (0.1, kept)],
            }],
            proofs: vec![Proof {
                mapped: false,
                symbol: None,
                libc_growth: 4096,
                process: "learn".into(),
                owner: "/lib/libc.so.6".into(),
            }],
            ..Outcome::default()
        };
        assert!(
            proven(&ready, outcome(747.0)).is_ok(),
            "glibc keeps what it likes"
        );
        ready.allocator.name = "keep-512K".into();
        assert!(proven(&ready, outcome(512.0)).is_ok());
        let error = proven(&ready, outcome(747.0)).expect_err("another setting");
        assert!(error.to_string().contains("kept 747 KiB"), "{error}");
    }

    /// Settings are compared by what each needed for the same work.
    #[test]
    fn the_workloads_of_learning_do_the_same_each_time_and_are_followed() {
        let workloads = Workloads::build().expect("a C compiler");
        let ready = [ready("glibc")];
        for mut bench in catalog::learning(&[], 1).expect("all of them") {
            // Once around in each of them.
            bench.kind = Kind::Followed {
                program: "learn",
                args: format!("{} 420", bench.name),
                limit: 60,
            };
            let plan = Plan {
                workloads: &workloads,
                benches: std::slice::from_ref(&bench),
                allocators: &ready,
                scale: Scale::Quick,
                repetitions: Some(1),
                syscalls: false,
            };
            let twice = [0, 1].map(|round| one(&plan, &bench, &ready[0], round));
            let metric = |sample: &Sample, name: &str| {
                let found = sample.metrics.iter().find(|m| m.name == name);
                found.map_or_else(|| panic!("{sample:?} has no {name}"), |m| m.value)
            };
            let [first, second] = &twice;
            assert_eq!(metric(first, "checksum"), metric(second, "checksum"));
            assert_ne!(metric(first, "checksum"), 0.0, "{}", bench.name);
            // Between a megabyte and a gigabyte for about half a second.
            let memory = metric(first, "byte-seconds");
            assert!((0.4..500.0).contains(&memory), "{}: {memory}", bench.name);
            assert!(first.curves.iter().any(|c| c.name == "resident"));
            assert!(second.curves.is_empty(), "those of one process are kept");
        }
    }
}
