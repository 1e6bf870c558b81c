//! What there is to measure.

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
    /// Instructions by callgrind for each (kind, size) of workloads/instr.c.
    Instructions {
        rows: &'static [(&'static str, u32)],
    },
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
    /// Repetitions when nobody asks for a number: fewer where a run is long, one where it is exact.
    pub(crate) reps: (u32, u32),
}

impl Bench {
    /// The repetitions to make.
    pub(crate) fn repetitions(&self, scale: Scale, asked: Option<u32>) -> u32 {
        if matches!(self.kind, Kind::Instructions { .. }) {
            return 1;
        }
        asked.unwrap_or(if scale == Scale::Quick {
            self.reps.0
        } else {
            self.reps.1
        })
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
        reps: (3, 7),
    }
}

/// Everything, in the order of the report.
pub(crate) fn all() -> Vec<Bench> {
    let mut v = Vec::new();

    v.push(Bench {
        name: "instr".into(),
        group: "instructions",
        about: "instructions by callgrind, what the same loop around two empty functions takes is taken off".into(),
        kind: Kind::Instructions { rows: &[("pair", 16)] },
        reps: (1, 1),
    });

    v.push(workload(
        "hot",
        "pair",
        "one block at a time, 16 - 1,024 B",
        "hot",
        "pair 1",
        "pair 10",
    ));
    for size in [16, 64, 256, 1024] {
        v.push(workload(
            "hot",
            &format!("batch-{size}"),
            &format!("100 and 1,000 blocks of {size} B, freed last first, first first, at random"),
            "hot",
            &format!("batch {size} 1"),
            &format!("batch {size} 10"),
        ));
    }

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

    for threads in [2, 4, 16, 100] {
        v.push(workload(
            "larson",
            &format!("larson-{threads}t"),
            &format!("a server's threads, {threads} of them, blocks of 16 - 1,024 B"),
            "larson",
            &format!("300 16 1024 5000 100 {threads}"),
            &format!("2000 16 1024 5000 100 {threads}"),
        ));
    }

    for (kib, label) in [(64, "64k"), (256, "256k"), (2048, "2m"), (16384, "16m")] {
        for turns in [100, 10_000] {
            let size = kib * 1024;
            v.push(workload(
                "cycle",
                &format!("cycle-{label}-{turns}"),
                &format!("take, touch and give {kib} KiB, {turns} turns"),
                "cycle",
                &format!("one {size} {turns} 300"),
                &format!("one {size} {turns} 4000"),
            ));
        }
    }
    for turns in [100, 10_000] {
        v.push(workload(
            "cycle",
            &format!("cycle-mix-{turns}"),
            &format!("take, touch and give 4 - 512 KiB, eight live, {turns} turns"),
            "cycle",
            &format!("mix 4096 524288 {turns} 300"),
            &format!("mix 4096 524288 {turns} 4000"),
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
    v.push(workload(
        "grow",
        "grow-64m",
        "a buffer grown by realloc x1.5 to 64 MiB",
        "grow",
        "67108864 1",
        "67108864 10",
    ));

    v.push(workload(
        "memory",
        "resident-1m",
        "a million live blocks of 16 B",
        "resident",
        "blocks 1000000 16",
        "blocks 1000000 16",
    ));
    v.push(workload(
        "memory",
        "resident-10m",
        "ten million live blocks of 16 B",
        "resident",
        "blocks 10000000 16",
        "blocks 10000000 16",
    ));
    v.push(workload(
        "memory",
        "heap",
        "1 GiB (quick: 256 MiB) of blocks of 16 - 4,096 B; nine of ten freed, a second; all freed, a second",
        "resident",
        "heap 268435456 16 4096",
        "heap 1073741824 16 4096",
    ));
    for b in v.iter_mut().filter(|b| b.group == "memory") {
        b.reps = (1, 3);
    }

    v.push(workload(
        "start",
        "thread",
        "a thread that takes a few blocks, started and joined",
        "thread",
        "2000",
        "10000",
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

/// The measurements that were asked for; a word that means nothing gets a line.
pub(crate) fn select(asked: &[String]) -> Vec<Bench> {
    let all = all();
    if asked.is_empty() {
        return all;
    }
    for word in asked {
        if !all.iter().any(|b| b.answers_to(word)) {
            eprintln!("no measurement is called {word:?}; `hakmem-bench list` names them");
        }
    }
    all.into_iter()
        .filter(|b| asked.iter().any(|w| b.answers_to(w)))
        .collect()
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
    fn a_word_means_a_name_a_group_or_a_prefix() {
        let names = |word: &str| {
            select(&[word.into()])
                .into_iter()
                .map(|b| b.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names("pair"), ["pair"]);
        assert_eq!(names("batch").len(), 4);
        assert_eq!(names("cycle-64k").len(), 2);
        assert!(names("batc").is_empty());
    }
}
