//! What there is to measure.

use anyhow::{Result, bail};

use crate::programs;

/// How much work a measurement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// All of it in minutes.
    Quick,
    /// The sizes that claims are made with.
    Full,
}

/// How a measurement is made.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// One of the workloads with its arguments, quick and full.
    Workload {
        program: &'static str,
        quick: String,
        full: String,
    },
    /// A workload whose resident memory is followed over time: its arguments, and seconds until it is killed.
    Followed {
        program: &'static str,
        args: String,
        limit: u32,
    },
    /// Instructions by callgrind of each loop in workloads/instr.c.
    Instructions,
    /// A program that people run, under preload.
    Program(&'static programs::Program),
    /// A program that does nothing, started over and over.
    Startup,
}

/// One measurement: one process, one or more rows.
#[derive(Clone, Debug)]
pub(crate) struct Bench {
    /// The name on the command line and in front of its rows.
    pub(crate) name: String,
    /// What it belongs to; `--bench` takes this name, too.
    pub(crate) group: &'static str,
    /// One line for `list`.
    pub(crate) about: String,
    pub(crate) kind: Kind,
    /// Repetitions, quick and full, when nobody asks for a number: fewer where a run is long, one where it is
    /// exact. Zero quick ones: only with --full, or when somebody names it.
    pub(crate) reps: (u32, u32),
}

impl Bench {
    /// The repetitions to make.
    pub(crate) fn repetitions(&self, scale: Scale, asked: Option<u32>) -> u32 {
        let usual = if scale == Scale::Quick {
            self.reps.0
        } else {
            self.reps.1
        };
        match asked {
            Some(n) if usual > 0 && !matches!(self.kind, Kind::Instructions) => n,
            _ => usual,
        }
    }

    /// Whether a word of `--bench` means this one: its name, its group, or a prefix of its name up to a dash.
    pub(crate) fn answers_to(&self, word: &str) -> bool {
        self.name == word
            || self.group == word
            || self
                .name
                .strip_prefix(word)
                .is_some_and(|r| r.starts_with('-'))
    }
}

fn workload(
    group: &'static str,
    name: &str,
    about: &str,
    program: &'static str,
    quick: &str,
    full: &str,
) -> Bench {
    Bench {
        name: name.into(),
        group,
        about: about.into(),
        kind: Kind::Workload {
            program,
            quick: quick.into(),
            full: full.into(),
        },
        reps: (3, 3),
    }
}

/// One with its own repetitions.
fn repeated(reps: (u32, u32), bench: Bench) -> Bench {
    Bench { reps, ..bench }
}

/// Everything, in the order of the report.
pub(crate) fn all() -> Vec<Bench> {
    let mut v = vec![Bench {
        name: "instr".into(),
        group: "instructions",
        about: "instructions by callgrind, what the same loop around two empty functions takes is taken off".into(),
        kind: Kind::Instructions,
        reps: (1, 1),
    }];
    hot(&mut v);
    live(&mut v);
    threads(&mut v);
    pages(&mut v);
    memory(&mut v);
    idle(&mut v);
    lifetimes(&mut v);
    pressure(&mut v);
    history(&mut v);
    applications(&mut v);
    for program in programs::ALL {
        v.push(Bench {
            name: format!("program-{}", program.name),
            group: "program",
            about: program.about.into(),
            kind: Kind::Program(program),
            reps: (1, 3),
        });
    }
    v.push(workload(
        "start",
        "thread",
        "a thread that takes a few blocks, started and joined",
        "thread",
        "join 2000",
        "join 10000",
    ));
    v.push(repeated(
        (1, 3),
        workload(
            "start",
            "churn",
            "10,000 (quick: 2,000) short threads that leave blocks behind",
            "thread",
            "churn 2000",
            "churn 10000",
        ),
    ));
    v.push(Bench {
        name: "true".into(),
        group: "start",
        about: "the program `true`, started and awaited".into(),
        kind: Kind::Startup,
        reps: (3, 7),
    });
    v
}

/// The workloads whose best settings differ, for `hakmem-bench learning`: name, milliseconds, in words.
pub(crate) const LEARNING: &[(&str, u32, &str)] = &[
    (
        "periodic",
        2500,
        "24 MiB and 6 MiB from the same two places every 20 ms",
    ),
    (
        "giants",
        2560,
        "8 - 30 MiB from 32 places, each long after its last time",
    ),
    (
        "sparse",
        2500,
        "matrices of 16 - 64 MiB, 2 - 4 % of their pages used, the same each step",
    ),
    (
        "dense",
        2500,
        "images of 5 - 15 MiB that pass three stages, written whole",
    ),
    (
        "vectors",
        2500,
        "two vectors at a time grow by half, to 100 KiB - 16 MiB",
    ),
    (
        "phases",
        8000,
        "periodic, giants, trees of small blocks, periodic again",
    ),
    (
        "cache",
        2500,
        "one block of eight stays for long, the others for one request",
    ),
    (
        "bursts",
        2800,
        "small blocks of 30 - 60 MiB built and dropped twice, then a long pause",
    ),
    (
        "pool",
        2500,
        "eight workers, of which two do nine tenths of the work",
    ),
];

/// Those of [`LEARNING`] that were asked for, `length` times as long; all of them when none was.
pub(crate) fn learning(asked: &[String], length: u32) -> Result<Vec<Bench>> {
    for word in asked {
        if !LEARNING.iter().any(|w| w.0 == word) {
            let names: Vec<_> = LEARNING.iter().map(|w| w.0).collect();
            bail!(
                "no workload is called {word:?}; there are {}",
                names.join(", ")
            );
        }
    }
    let chosen = LEARNING
        .iter()
        .filter(|w| asked.is_empty() || asked.iter().any(|a| a == w.0))
        .map(|(name, milliseconds, about)| Bench {
            name: (*name).into(),
            group: "learning",
            about: (*about).into(),
            kind: Kind::Followed {
                program: "learn",
                args: format!("{name} {}", milliseconds * length),
                // A pace that cannot be kept makes a run longer.
                limit: (milliseconds * length / 1000 * 3).max(300),
            },
            reps: (3, 5),
        });
    Ok(chosen.collect())
}

/// Loops that stay in the cache.
fn hot(v: &mut Vec<Bench>) {
    let mut add = |name: &str, about: &str, quick: &str, full: &str| {
        v.push(workload("hot", name, about, "hot", quick, full));
    };
    add(
        "pair",
        "one block at a time, 16 - 1,024 B",
        "pair 1",
        "pair 10",
    );
    for size in [16, 64, 256, 1024] {
        add(
            &format!("batch-{size}"),
            &format!("100 and 1,000 blocks of {size} B, freed last first, first first, at random"),
            &format!("batch {size} 1"),
            &format!("batch {size} 5"),
        );
    }
    add(
        "tiny",
        "100 blocks of 8 - 64 B: last first, first first, at random, interleaved",
        "tiny 1",
        "tiny 10",
    );
    add(
        "calloc",
        "a zeroed block at a time, 64 B - 1 MiB, not read",
        "calloc 1",
        "calloc 20",
    );
    add(
        "aligned",
        "an aligned block at a time",
        "aligned 1",
        "aligned 50",
    );
}

/// Heaps that outgrow the cache.
fn live(v: &mut Vec<Bench>) {
    v.push(workload(
        "live",
        "live-free",
        "a million blocks of 16 - 512 B freed in random order",
        "live",
        "free 1000000 16 512",
        "free 1000000 16 512",
    ));
    for (n, label) in [(10_000, "10k"), (100_000, "100k"), (1_000_000, "1M")] {
        v.push(workload(
            "live",
            &format!("live-replace-{label}"),
            &format!("blocks of 16 - 512 B replaced at random among {n} live ones"),
            "live",
            &format!("replace {n} 16 512 1000000"),
            &format!("replace {n} 16 512 10000000"),
        ));
    }
    for (n, label) in [
        (400, "400"),
        (4_000, "4k"),
        (40_000, "40k"),
        (1_000_000, "1M"),
    ] {
        v.push(repeated(
            (1, 3),
            workload(
                "live",
                &format!("mixed-{label}"),
                &format!("blocks of 16 - 1,024 B taken and freed at random, {n} slots"),
                "live",
                &format!("mixed {n} 16 1024 1000000"),
                &format!("mixed {n} 16 1024 15000000"),
            ),
        ));
    }
}

/// What threads cost each other.
fn threads(v: &mut Vec<Bench>) {
    for (way, about) in [("one", "one way"), ("both", "both ways")] {
        for size in [64, 1024] {
            v.push(workload(
                "handoff",
                &format!("handoff-{way}-{size}"),
                &format!("two threads hand over blocks of {size} B, {about}"),
                "handoff",
                &format!("{way} {size} 1000000"),
                &format!("{way} {size} 6000000"),
            ));
        }
    }
    for stages in [3, 6] {
        v.push(repeated(
            (1, 3),
            workload(
                "handoff",
                &format!("chain-{stages}"),
                &format!(
                    "a chain of {stages} threads; each passes on or replaces what it gets, 64 B"
                ),
                "pipeline",
                &format!("chain {stages} 64 200000"),
                &format!("chain {stages} 64 2000000"),
            ),
        ));
    }
    for producers in [2, 4] {
        v.push(repeated(
            (1, 3),
            workload(
                "handoff",
                &format!("producers-{producers}"),
                &format!("{producers} threads take blocks of 64 B, one frees them all"),
                "pipeline",
                &format!("many {producers} 64 200000"),
                &format!("many {producers} 64 10000000"),
            ),
        ));
    }

    for (size, lo, hi, blocks, text) in LARSON {
        for threads in [1, 2, 4, 16, 100] {
            // A hundred threads of the largest blocks would be 30 GiB with the usual number of blocks.
            let blocks = if *size == "large" && threads > 4 {
                blocks / threads.min(50)
            } else {
                *blocks
            };
            let quick = match (*size, threads) {
                ("small", 1 | 100) => 1,
                ("small", _) => 2,
                (_, 4) => 1,
                _ => 0,
            };
            v.push(repeated(
                (quick, 3),
                workload(
                    "larson",
                    &format!("larson-{threads}t-{size}"),
                    &format!("a server's threads, {threads} of them, blocks of {text}"),
                    "larson",
                    &format!("300 {lo} {hi} {blocks} 100 {threads}"),
                    &format!("500 {lo} {hi} {blocks} 100 {threads}"),
                ),
            ));
        }
    }
    for threads in [1, 2, 4] {
        v.push(repeated(
            (1, 3),
            workload(
                "private",
                &format!("private-mid-{threads}t"),
                &format!("{threads} threads replace blocks of 8 - 32 KiB, each its own"),
                "private",
                &format!("{threads} 8192 32768 256 500000"),
                &format!("{threads} 8192 32768 256 20000000"),
            ),
        ));
    }
    for threads in [1, 2, 4] {
        v.push(repeated(
            (1, 3),
            workload(
                "private",
                &format!("private-small-{threads}t"),
                &format!("{threads} threads replace blocks of 16 - 512 B, each its own"),
                "private",
                &format!("{threads} 16 512 4096 3000000"),
                &format!("{threads} 16 512 4096 60000000"),
            ),
        ));
    }
    for way in ["active", "passive"] {
        v.push(repeated(
            (1, 3),
            workload(
                "sharing",
                &format!("sharing-{way}"),
                &format!("do blocks of two threads share a cache line? ({way})"),
                "sharing",
                &format!("{way} 2 20000"),
                &format!("{way} 2 500000"),
            ),
        ));
    }
}

/// The size profiles of larson: name, smallest, largest, blocks a thread, in words.
const LARSON: &[(&str, usize, usize, usize, &str)] = &[
    ("tiny", 8, 64, 5000, "8 - 64 B"),
    ("small", 16, 1024, 5000, "16 - 1,024 B"),
    ("mid", 2048, 32768, 1000, "2 - 32 KiB"),
    ("large", 65536, 1_048_576, 100, "64 KiB - 1 MiB"),
];

/// Large blocks: pages touched, buffers that grow.
fn pages(v: &mut Vec<Bench>) {
    for (kib, label, origin) in [
        (64, "64k", ": the original's json"),
        (256, "256k", ": the original's mir"),
        (2048, "2m", ": the original's vm"),
        (16384, "16m", ""),
    ] {
        for turns in [100, 10_000] {
            let size = kib * 1024;
            v.push(repeated(
                (3, 3),
                workload(
                    "cycle",
                    &format!("cycle-{label}-{turns}"),
                    &format!("take, touch and give {kib} KiB, {turns} turns{origin}"),
                    "cycle",
                    &format!("one {size} {turns} 300"),
                    &format!("one {size} {turns} 2000"),
                ),
            ));
        }
    }
    for turns in [100, 10_000] {
        v.push(workload(
            "cycle",
            &format!("cycle-mix-{turns}"),
            &format!(
                "take, touch and give 4 - 512 KiB, eight live, {turns} turns: the original's mixed"
            ),
            "cycle",
            &format!("mix 4096 524288 {turns} 300"),
            &format!("mix 4096 524288 {turns} 2000"),
        ));
    }

    v.push(workload(
        "grow",
        "grow-64k",
        "a buffer grown by realloc x1.5 to 64 KiB",
        "grow",
        "65536 1000",
        "65536 10000",
    ));
    v.push(repeated(
        (2, 3),
        workload(
            "grow",
            "grow-64m",
            "a buffer grown by realloc x1.5 to 64 MiB",
            "grow",
            "67108864 1",
            "67108864 4",
        ),
    ));
    v.push(repeated(
        (2, 3),
        workload(
            "grow",
            "grow-many",
            "a thousand strings that grow in turn, 16 B at a time, to 4 KiB",
            "grow",
            "many 1000 4096",
            "many 10000 4096",
        ),
    ));
}

/// Resident memory.
fn memory(v: &mut Vec<Bench>) {
    for (n, size, name) in [
        (1_000, 16, "resident-1k"),
        (10_000, 16, "resident-10k"),
        (100_000, 16, "resident-100k"),
        (1_000_000, 16, "resident-1m"),
        (10_000_000, 16, "resident-10m"),
        (1_000_000, 8, "resident-8b"),
        (1_000_000, 32, "resident-32b"),
        (1_000_000, 48, "resident-48b"),
        (1_000_000, 100, "resident-100b"),
    ] {
        v.push(repeated(
            (1, 3),
            workload(
                "memory",
                name,
                &format!("{n} live blocks of {size} B"),
                "resident",
                &format!("blocks {n} {size}"),
                &format!("blocks {n} {size}"),
            ),
        ));
    }
    v.push(repeated(
        (1, 3),
        workload(
            "memory",
            "heap",
            "1 GiB (quick: 256 MiB) of blocks of 16 - 4,096 B; nine of ten freed, idle; all freed, idle",
            "resident",
            "heap 268435456 16 4096 300",
            "heap 1073741824 16 4096 1000",
        ),
    ));
    v.push(repeated(
        (1, 1),
        workload(
            "memory",
            "curve",
            "resident memory over phases: fill, free nine of ten, refill with larger ones, free all, idle between",
            "curve",
            "67108864 16 4096 80",
            "536870912 16 4096 1500",
        ),
    ));
    v.push(repeated(
        (1, 1),
        workload(
            "memory",
            "soak",
            "a steady program watched by the second: latencies of malloc and free, resident memory",
            "soak",
            "2 2 32",
            "30 2 64",
        ),
    ));
}

/// What threads keep that have nothing to do.
fn idle(v: &mut Vec<Bench>) {
    for (name, about, blocks) in [
        ("small", "2,000 blocks of 16 - 1,024 B", "16 1024 2000"),
        ("mid", "32 blocks of 2 - 32 KiB", "2048 32768 32"),
        ("large", "2 blocks of 1 - 4 MiB", "1048576 4194304 2"),
    ] {
        let args = format!("{blocks} 32 4000");
        v.push(repeated(
            (0, 3),
            workload(
                "memory",
                &format!("idle-{name}"),
                &format!("32 threads with requests of {about}; then all but one sleep"),
                "idle",
                &args,
                &args,
            ),
        ));
    }
}

/// What it would be worth to keep blocks apart that live for long.
fn lifetimes(v: &mut Vec<Bench>) {
    for (shape, sizes, args) in [
        ("steady", "64 B - 16 KiB", "4096 64 16384 1"),
        ("steady-many", "64 B - 4 KiB", "32768 64 4096 1"),
        (
            "peaks",
            "64 B - 16 KiB, now and then 20 times as many",
            "4096 64 16384 20",
        ),
        (
            "peaks-many",
            "64 B - 4 KiB, now and then 40 times as many",
            "32768 64 4096 40",
        ),
        (
            "peaks-small",
            "16 - 512 B, now and then 80 times as many",
            "65536 16 512 80",
        ),
    ] {
        for (way, about) in [
            ("mixed", "from one heap"),
            ("apart", "those from a heap of their own"),
            ("random", "one in eight from another heap, whichever"),
        ] {
            let args = format!("{way} {args}");
            v.push(repeated(
                (0, 3),
                workload(
                    "lifetimes",
                    &format!("lifetimes-{shape}-{way}"),
                    &format!("blocks of {sizes}, one in eight stays for long: {about}"),
                    "lifetimes",
                    &args,
                    &args,
                ),
            ));
        }
    }
}

/// What free memory costs where memory is short.
fn pressure(v: &mut Vec<Bench>) {
    for (name, block, about) in [
        ("1k", 1024, "1 KiB"),
        ("256k", 262_144, "256 KiB"),
        ("4m", 4_194_304, "4 MiB"),
    ] {
        // What bursts made worth keeping takes some seconds to be worth it no more.
        for (which, bursts, before, ms) in
            [("", 1, "a burst", 3000), ("-again", 60, "60 bursts", 6000)]
        {
            v.push(repeated(
                (0, 3),
                workload(
                    "pressure",
                    &format!("pressure-{name}{which}"),
                    &format!(
                        "{before} of {about} blocks, freed where memory is short: what of a file is read again?"
                    ),
                    "pressure",
                    &format!("{block} {bursts} 1000"),
                    &format!("{block} {bursts} {ms}"),
                ),
            ));
        }
    }
}

/// Whether what a program did before makes slow what it does now.
fn history(v: &mut Vec<Bench>) {
    for (order, about) in [
        ("fifo", "first first"),
        ("lifo", "last first"),
        ("random", "in random order"),
        ("half", "every other one"),
    ] {
        v.push(repeated(
            (0, 3),
            workload(
                "history",
                &format!("history-{order}"),
                &format!(
                    "40 MiB of blocks of one size are freed {about}, then others are used: slower than in a new process?"
                ),
                "history",
                order,
                order,
            ),
        ));
    }
}

/// What programs do, written as programs are.
fn applications(v: &mut Vec<Bench>) {
    for (name, about, quick, full) in [
        (
            "kv",
            "a cache with eviction, as Redis or memcached",
            "300000 48",
            "4000000 256",
        ),
        (
            "json",
            "documents parsed into trees, changed, written out",
            "500",
            "8000",
        ),
        (
            "ast",
            "a compiler's trees, scopes, instructions and lists of uses",
            "200",
            "2500",
        ),
        (
            "intern",
            "a string interner with modules that come and go",
            "500000",
            "5000000",
        ),
        (
            "btree",
            "an ordered store: a B+ tree with records of 16 - 512 B",
            "400000 200000",
            "4000000 1000000",
        ),
        (
            "log",
            "a log pipeline: reader, parsers, writer, each a thread",
            "100000 2",
            "2500000 2",
        ),
    ] {
        let program = match name {
            "kv" => "app_kv",
            "json" => "app_json",
            "ast" => "app_ast",
            "intern" => "app_intern",
            "btree" => "app_btree",
            _ => "app_log",
        };
        v.push(repeated(
            (1, 3),
            workload("app", &format!("app-{name}"), about, program, quick, full),
        ));
    }
}

/// Names by which the original project knew some of the measurements.
const ALIASES: &[(&str, &str)] = &[
    ("json", "cycle-64k"),
    ("mir", "cycle-256k"),
    ("vm", "cycle-2m"),
    ("mixed-sizes", "cycle-mix"),
    ("random-mixed", "mixed"),
];

/// The measurements that were asked for.
pub(crate) fn select(asked: &[String]) -> Result<Vec<Bench>> {
    let all = all();
    if asked.is_empty() {
        return Ok(all);
    }
    let asked: Vec<&str> = asked
        .iter()
        .map(|w| {
            ALIASES
                .iter()
                .find(|(alias, _)| alias == w)
                .map_or(w.as_str(), |(_, name)| name)
        })
        .collect();
    for word in &asked {
        if !all.iter().any(|b| b.answers_to(word)) {
            bail!("no measurement is called {word:?}; `hakmem-bench list` names them");
        }
    }
    let mut chosen: Vec<Bench> = all
        .into_iter()
        .filter(|b| asked.iter().any(|w| b.answers_to(w)))
        .collect();
    for bench in &mut chosen {
        bench.reps.0 = bench.reps.0.max(1);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_are_no_groups() {
        let all = all();
        for (i, b) in all.iter().enumerate() {
            assert!(
                all[..i].iter().all(|o| o.name != b.name),
                "{} is there twice",
                b.name
            );
            assert!(
                all.iter().all(|o| o.group != b.name || o.group == b.group),
                "{} is a group, too",
                b.name
            );
        }
    }

    #[test]
    fn a_long_workload_has_time_to_end() {
        for length in [1, 100] {
            let benches = learning(&[], length).expect("all of them");
            for (bench, (_, milliseconds, _)) in benches.iter().zip(LEARNING) {
                let Kind::Followed { args, limit, .. } = &bench.kind else {
                    panic!("{} is not followed", bench.name);
                };
                assert!(args.ends_with(&format!(" {}", milliseconds * length)));
                assert!(*limit >= 300 && limit * 1000 >= 2 * milliseconds * length);
            }
        }
    }

    #[test]
    fn a_word_means_a_name_a_group_or_a_prefix() {
        let names = |word: &str| {
            select(&[word.into()])
                .expect("a known word")
                .into_iter()
                .map(|b| b.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names("pair"), ["pair"]);
        assert_eq!(names("batch").len(), 4);
        assert_eq!(names("cycle-64k").len(), 2);
        assert_eq!(names("json"), names("cycle-64k"));
        assert_eq!(names("larson-4t-small").len(), 1);
    }

    #[test]
    fn a_word_that_means_nothing_is_an_error_beside_others_that_do() {
        let words = ["pair", "batc"].map(String::from);
        let error = select(&words).expect_err("no such measurement");
        assert!(error.to_string().contains("batc"), "{error}");
        let words = ["cache", "cahce"].map(String::from);
        let error = learning(&words, 1).expect_err("no such workload");
        assert!(error.to_string().contains("cahce"), "{error}");
    }
}
