//! Every call for memory fails: each one alone, and all from each one on. The program that lives through
//! it, `c_tests/failing_calls.c`, checks that NULL and ENOMEM are the only consequences, that nothing is
//! lost, and that it can go on in full afterwards.
//!
//! Of a kind of call that is made very often, a part is tried, at a fixed distance from each other; with
//! `TEST_EVERY_CALL=1`, all are.

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::injector::{self, Failures, Injected};
use support::{Served, Stats, command, compiled, library, scratch};

fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| compiled("failing_calls", &scratch("failing_calls")))
}

/// One run of the program under hakmem, with `settings` in its environment.
fn life(
    stats: &Stats,
    settings: &[(&str, &str)],
    failures: &Failures,
) -> std::io::Result<Injected> {
    let mut command: Command = command(program());
    stats.preload(&mut command);
    command
        .env("TEST_FAILING", "1")
        .envs(settings.iter().copied());
    injector::run(&mut command, library(), failures)
}

/// What hakmem says where there is no memory for guards: blocks themselves matter more.
const UNGUARDED: &str = "hakmem: no memory for HAKMEM_GUARD: blocks are not guarded\n";

#[track_caller]
fn every(
    name: &str,
    call: libc::c_long,
    error: i32,
    (at_least, tried): (usize, usize),
    settings: &[(&str, &str)],
) {
    let stats = Stats::new(&format!("failing_calls.{name}"));
    let none = Failures {
        call,
        which: 0..=0,
        error,
    };
    let undisturbed = match life(&stats, settings, &none) {
        Ok(life) => life,
        Err(error) => {
            // Past cargo's capture of the output of tests that pass.
            let _ = writeln!(
                std::io::stderr(),
                "NOT TESTED: {name} failing: no program can be traced here: {error}"
            );
            return;
        }
    };
    assert!(undisturbed.succeeded(), "{}", undisturbed.stderr);
    let calls = undisturbed.calls;
    assert!(
        calls >= at_least,
        "{calls} calls of {name}: this does not test much"
    );
    let left = undisturbed.stdout.rsplit_once(' ').expect("numbers").0;
    let all = std::env::var_os("TEST_EVERY_CALL").is_some_and(|value| value == "1");
    let step = if all { 1 } else { calls.div_ceil(tried) };
    let (mut refused, mut wrong) = (0, Vec::new());
    for first in (1..=calls).step_by(step) {
        for last in [first, usize::MAX] {
            let failures = Failures {
                which: first..=last,
                ..none.clone()
            };
            let settings = [settings, &[("TEST_LEFT", left)]].concat();
            let life = life(&stats, &settings, &failures).expect("it could be traced before");
            let what = match last {
                usize::MAX => format!("{name} from call {first} on"),
                _ => format!("{name} number {first}"),
            };
            // How many there are depends a little on time: a run may have fewer.
            if life.failed == 0 && life.calls >= first {
                wrong.push(format!("{what}: nothing failed"));
            } else if !life.succeeded() || !["", UNGUARDED].contains(&life.stderr.as_str()) {
                wrong.push(format!(
                    "{what}: status {:#x}: {}",
                    life.status, life.stderr
                ));
            }
            let last = life.stdout.split_whitespace().last();
            refused += last.map_or(0, |n| n.parse::<usize>().expect("a number"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} lives, of which the first:\n{}",
        wrong.len(),
        calls.div_ceil(step) * 2,
        wrong[..wrong.len().min(8)].join("\n")
    );
    if call == libc::SYS_mmap {
        assert!(refused > 0, "the program never saw NULL");
    }
    stats.must_be_sound(Served::All);
}

#[test]
fn mmap() {
    every("mmap", libc::SYS_mmap, libc::ENOMEM, (40, 80), &[]);
}

#[test]
fn munmap() {
    every("munmap", libc::SYS_munmap, libc::ENOMEM, (20, 80), &[]);
}

#[test]
fn mremap() {
    every("mremap", libc::SYS_mremap, libc::ENOMEM, (10, 80), &[]);
}

#[test]
fn madvise() {
    every("madvise", libc::SYS_madvise, libc::ENOMEM, (40, 40), &[]);
}

/// As emulators do: what is said to be dropped is there, and calloc must know.
#[test]
fn madvise_that_succeeds_and_does_nothing() {
    let stats = Stats::new("failing_calls.emulated");
    let failures = Failures {
        call: libc::SYS_madvise,
        which: 1..=usize::MAX,
        error: 0,
    };
    match life(&stats, &[], &failures) {
        Ok(life) => {
            assert!(
                life.succeeded() && life.stderr.is_empty(),
                "{}",
                life.stderr
            );
            assert!(life.failed > 0, "no call was left out");
            stats.must_be_sound(Served::All);
        }
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "NOT TESTED: madvise that does nothing: no program can be traced here: {error}"
            );
        }
    }
}

#[test]
fn mincore() {
    every("mincore", libc::SYS_mincore, libc::EAGAIN, (16, 8), &[]);
}

/// Slabs are mapped one by one here: that is where memory is protected and made usable again.
const ONE_BY_ONE: [(&str, &str); 1] = [("HAKMEM_TINY_USE_SUPERSLAB", "0")];

#[test]
fn mprotect_of_slabs() {
    every(
        "mprotect",
        libc::SYS_mprotect,
        libc::ENOMEM,
        (40, 30),
        &ONE_BY_ONE,
    );
}

#[test]
fn mmap_of_slabs() {
    every(
        "mmap of slabs",
        libc::SYS_mmap,
        libc::ENOMEM,
        (40, 30),
        &ONE_BY_ONE,
    );
}

/// Blocks are guarded: pages behind them, and a delay before they are used again.
const GUARDED: [(&str, &str); 1] = [("HAKMEM_GUARD", "1")];

#[test]
fn mmap_guarded() {
    every(
        "mmap guarded",
        libc::SYS_mmap,
        libc::ENOMEM,
        (40, 10),
        &GUARDED,
    );
}

#[test]
fn munmap_guarded() {
    every(
        "munmap guarded",
        libc::SYS_munmap,
        libc::ENOMEM,
        (20, 10),
        &GUARDED,
    );
}

/// What was learned is loaded from the life before, and saved for the next.
#[test]
fn mmap_with_a_profile() {
    let profile = scratch("failing_calls.profile").join("profile");
    let profile = profile.to_str().expect("a path of ours");
    every(
        "mmap with a profile",
        libc::SYS_mmap,
        libc::ENOMEM,
        (40, 30),
        &[("HAKMEM_PROFILE", profile)],
    );
    let saved = std::fs::read_to_string(profile).expect("lives that end well save what they know");
    assert!(saved.starts_with("hakmem"), "{saved}");
}
