//! The knobs: every `HAKMEM_` variable of the environment, in one table.
//!
//! The table is what is parsed, what the messages about mistakes name, what reports list as switched
//! off, and what `docs/knobs.md` is rendered from. [`super::environment`] reads the values.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::exit::{self, Wish};
use super::path::Path;
use super::{policy, profile};
use crate::base::knobs::{self, Switch};
use crate::learn::{lifecycle::Explore, monitor, strategy};
use crate::space::warm;
use crate::{guard, large};

/// Knobs that set several things at once, in the order in which they are applied; then come the others,
/// which can overrule them.
pub(super) const FIRST: [&str; 3] = ["MINIMAL", "MODE", "EVO"];

/// One variable.
pub(super) struct Knob {
    /// Its name behind `HAKMEM_`.
    pub(super) name: &'static str,
    /// What its value may be, and what that does.
    pub(super) kind: Kind,
    /// The value that changes nothing.
    pub(super) default: &'static str,
    /// What it is for.
    meaning: &'static str,
}

/// What a value may be, and what it is applied to.
pub(super) enum Kind {
    /// 1 switches the feature on, 0 off.
    Enable(&'static str, &'static Switch),
    /// 1 switches the feature off, 0 on.
    Disable(&'static str, &'static Switch),
    /// 1 switches off every feature that has a [`Kind::Disable`].
    DisableAll,
    /// 0 or 1.
    Flag(&'static AtomicBool),
    /// A number up to `most`, stored as `unit` times that; or the word, stored as the other number.
    Number {
        to: &'static AtomicUsize,
        unit: usize,
        most: usize,
        or: Option<(&'static str, usize)>,
    },
    /// One of some names: its place among them is what is applied.
    Choice(&'static [&'static str], fn(usize)),
    /// A list of reports, see [`exit`].
    Reports,
    /// A path, and who is told of it.
    Path(fn(&[u8])),
}

/// `HAKMEM_VERBOSE`.
pub(super) static VERBOSE: AtomicBool = AtomicBool::new(false);

/// All there are, in the order in which they are documented.
pub(super) static KNOBS: [Knob; 29] = [
    Knob {
        name: "TINY_USE_SUPERSLAB",
        kind: Kind::Enable("superslab", &knobs::SUPERSLABS),
        default: "1",
        meaning: "Slabs are cut from SuperSlabs of 2 MiB. With 0, each slab is mapped by itself: to \
                  measure what SuperSlabs are worth.",
    },
    Knob {
        name: "TINY_PREALLOCATE",
        kind: Kind::Enable("preallocate", &knobs::PREALLOCATE),
        default: "1",
        meaning: "The first SuperSlab is mapped when the library is loaded. With 0, at the first \
                  need.",
    },
    Knob {
        name: "MINIMAL",
        kind: Kind::DisableAll,
        default: "0",
        meaning: "1 switches off everything that has a `HAKMEM_DISABLE_` knob. Those knobs come \
                  after it: with `HAKMEM_MINIMAL=1`, `HAKMEM_DISABLE_OUTBOX=0` leaves the outbox \
                  alone on.",
    },
    Knob {
        name: "DISABLE_MAGAZINE",
        kind: Kind::Disable("magazine", &knobs::MAGAZINE),
        default: "0",
        meaning: "No more blocks of a class are kept at hand than one magazine is for.",
    },
    Knob {
        name: "DISABLE_OUTBOX",
        kind: Kind::Disable("outbox", &knobs::OUTBOX),
        default: "0",
        meaning: "Each free of another thread's block is an atomic operation of its own, instead of \
                  being gathered with its neighbours.",
    },
    Knob {
        name: "DISABLE_BIGCACHE",
        kind: Kind::Disable("bigcache", &knobs::BIGCACHE),
        default: "0",
        meaning: "Freed blocks above 32 KiB are kept neither by their thread nor by the call site that took \
                  them. Mappings of 2 MiB and more go to the Whale cache instead.",
    },
    Knob {
        name: "DISABLE_WHALE",
        kind: Kind::Disable("whale", &knobs::WHALE),
        default: "0",
        meaning: "Freed mappings above 16 MiB, and of buffers that grow, are kept by threads alone.",
    },
    Knob {
        name: "DISABLE_BATCH",
        kind: Kind::Disable("batch", &knobs::BATCH),
        default: "0",
        meaning: "SuperSlabs are mapped one at a time, instead of in batches that grow with the \
                  heap.",
    },
    Knob {
        name: "DISABLE_POPULATE",
        kind: Kind::Disable("populate", &knobs::POPULATE),
        default: "0",
        meaning: "Fresh pages become resident by a fault each, not in steps of several.",
    },
    Knob {
        name: "DISABLE_THP",
        kind: Kind::Disable("thp", &knobs::THP),
        default: "0",
        meaning: "Huge pages are never asked for, and refused where the system gives them unasked.",
    },
    Knob {
        name: "DISABLE_HOLE_PURGE",
        kind: Kind::Disable("hole_purge", &knobs::HOLE_PURGE),
        default: "0",
        meaning: "Free pages inside slabs in use are not given back.",
    },
    Knob {
        name: "DISABLE_SITES",
        kind: Kind::Disable("sites", &knobs::SITES),
        default: "0",
        meaning: "Call sites are not told apart.",
    },
    Knob {
        name: "DISABLE_CREDIT",
        kind: Kind::Disable("credit", &knobs::CREDIT),
        default: "0",
        meaning: "Call sites do not earn room for blocks that they take again soon after they went \
                  back to the system.",
    },
    Knob {
        name: "DISABLE_DENSITY",
        kind: Kind::Disable("density", &knobs::DENSITY),
        default: "0",
        meaning: "Nobody looks how much of a freed block was touched; see `HAKMEM_DENSITY`.",
    },
    Knob {
        name: "DISABLE_GROWTH",
        kind: Kind::Disable("growth", &knobs::GROWTH),
        default: "0",
        meaning: "Blocks that realloc grows get no headroom, and no place where they can grow on.",
    },
    Knob {
        name: "DISABLE_DEMAND",
        kind: Kind::Disable("demand", &knobs::DEMAND),
        default: "0",
        meaning: "Blocks for two magazines of a class are kept at hand, however its demand swings.",
    },
    Knob {
        name: "DISABLE_PACE",
        kind: Kind::Disable("pace", &knobs::PACE),
        default: "0",
        meaning: "Slabs and runs that were missed after they had been given back are given back again.",
    },
    Knob {
        name: "DISABLE_ELO",
        kind: Kind::Disable("elo", &knobs::ELO),
        default: "0",
        meaning: "No strategies are tried: the first stays in force.",
    },
    Knob {
        name: "MODE",
        kind: Kind::Choice(
            &["minimal", "fast", "balanced", "learning", "research"],
            set_mode,
        ),
        default: "balanced",
        meaning: "What matters: `minimal` is `HAKMEM_MINIMAL=1`; `fast` keeps more free memory: it begins with \
                  `keep-22456K` and 25 %, and memory has a quarter of its weight against processor time; `learning` never stops trying; `research` does that, and \
                  writes a line on stderr for each window.",
    },
    Knob {
        name: "EVO",
        kind: Kind::Choice(&["off", "frozen", "learn"], set_evo),
        default: "learn",
        meaning: "What is learned: `off` nothing (all of `HAKMEM_DISABLE_` `CREDIT`, `DENSITY`, \
                  `GROWTH`, `DEMAND`, `PACE` and `ELO`), `frozen` no strategies (`ELO`): the one that a \
                  profile names stays in force.",
    },
    Knob {
        name: "STRATEGY",
        kind: Kind::Choice(&strategy::NAMES, monitor::start_with),
        default: "keep-3391K",
        meaning: "The strategy to begin with: how much free memory may stay resident of which nothing \
                  is known yet.",
    },
    Knob {
        name: "EXPLORE",
        kind: Kind::Choice(&["epsilon", "ucb1"], set_explore),
        default: "epsilon",
        meaning: "How strategies are tried: the best one but now and then, or the one that may be \
                  the best (UCB1).",
    },
    Knob {
        name: "DENSITY",
        kind: Kind::Choice(&["learn", "dense", "sparse"], set_density),
        default: "learn",
        meaning: "Whether large blocks are populated ahead and get huge pages: as their site has been \
                  seen to touch them, always, or never.",
    },
    Knob {
        name: "PROFILE",
        kind: Kind::Path(profile::wish),
        default: "",
        meaning: "A file from which what was learned in an earlier process is loaded at the start, and to \
                  which it is saved at exit. It begins with `/` or `./`; `%b` in it is the program's build id, \
                  which keeps apart programs that start each other. A file that is damaged, or of another \
                  build, or no regular file, is one line on stderr, and not trusted.",
    },
    Knob {
        name: "WARM_MB",
        kind: Kind::Number {
            to: &strategy::USERS_FLOOR,
            unit: 1 << 20,
            most: 1 << 30,
            or: Some(("learned", strategy::LEARNED)),
        },
        default: "learned",
        meaning: "MiB of free memory that may stay resident however little is in use. It takes the place of what \
                  the strategy in force says, which does not matter then, and bounds what may be earned on top. Each \
                  thread keeps up to 128 KiB of large blocks besides.",
    },
    Knob {
        name: "WARM_PERCENT",
        kind: Kind::Number {
            to: &warm::PERCENT,
            unit: 1,
            most: 1000,
            or: None,
        },
        default: "10",
        meaning: "Per cent of the memory in use that may stay resident on top of that while it is \
                  free.",
    },
    Knob {
        name: "GUARD",
        kind: Kind::Flag(&guard::WANTED),
        default: "0",
        meaning: "1 finds mistakes with blocks, at a price: writing over a block's end or after its free, \
                  freeing twice, or with a wrong size, or what is no block, ends the process with one \
                  line ([misuse.md](misuse.md)).",
    },
    Knob {
        name: "STATS",
        kind: Kind::Reports,
        default: "0",
        meaning: "What is reported at exit, a list with commas: `1` or `table` for a table, `json` for one JSON \
                  object. It goes to stderr, or, if there is a path in the list, to that file, which is overwritten. A \
                  path begins with `/` or `./`, and `%p` in it is the process's number, which keeps apart the \
                  processes of a program that has several. A path alone gets the table.",
    },
    Knob {
        name: "VERBOSE",
        kind: Kind::Flag(&VERBOSE),
        default: "0",
        meaning: "1 prints a line at the start, on stderr: the version, and what is switched off.",
    },
];

/// A value that has been understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Value<'a> {
    /// Of all kinds but those below.
    Number(usize),
    /// Of that.
    Reports(Wish<'a>),
    /// Of [`Kind::Path`].
    Path(&'a [u8]),
}

impl Kind {
    /// Understands `text`, or not.
    pub(super) fn parse<'a>(&self, text: &'a [u8]) -> Option<Value<'a>> {
        match self {
            Self::Number { unit, most, or, .. } => match or {
                Some((word, value)) if word.as_bytes() == text => Some(*value),
                _ => number(text).filter(|n| n <= most).map(|n| n * unit),
            }
            .map(Value::Number),
            Self::Choice(names, _) => names
                .iter()
                .position(|name| name.as_bytes() == text)
                .map(Value::Number),
            Self::Reports => Wish::parse(text).map(Value::Reports),
            Self::Path(_) => Some(text)
                .filter(|text| text.is_empty() || Path::is_one(text))
                .map(Value::Path),
            _ => number(text).filter(|n| *n <= 1).map(Value::Number),
        }
    }

    /// Does what a value of this kind says.
    pub(super) fn apply(&self, value: Value<'_>) {
        match (self, value) {
            (Self::Enable(_, switch), Value::Number(n)) => switch.set(n == 1),
            (Self::Disable(_, switch), Value::Number(n)) => switch.set(n == 0),
            (Self::DisableAll, Value::Number(n)) => set_all(n == 0),
            (Self::Choice(_, apply), Value::Number(n)) => apply(n),
            (Self::Flag(flag), Value::Number(n)) => flag.store(n == 1, Relaxed),
            (Self::Number { to, .. }, Value::Number(n)) => to.store(n, Relaxed),
            (Self::Reports, Value::Reports(wish)) => exit::wish(wish),
            (Self::Path(tell), Value::Path(path)) => tell(path),
            // `parse` of the same kind made the value.
            _ => {}
        }
    }
}

impl fmt::Display for Kind {
    /// The values that are understood.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { most, or, .. } => {
                write!(f, "0 to {most}")?;
                or.map_or(Ok(()), |(word, _)| write!(f, ", or {word}"))
            }
            Self::Choice(names, _) => {
                for (i, name) in names.iter().enumerate() {
                    write!(f, "{}{name}", if i == 0 { "one of " } else { ", " })?;
                }
                Ok(())
            }
            Self::Path(_) => f.write_str("a path"),
            Self::Reports => f.write_str("0, or a list of: 1, table, json, a path"),
            _ => f.write_str("0 or 1"),
        }
    }
}

/// Switches every feature that has a [`Kind::Disable`] on or off.
fn set_all(on: bool) {
    for knob in &KNOBS {
        if let Kind::Disable(_, switch) = knob.kind {
            switch.set(on);
        }
    }
}

/// `HAKMEM_MODE`.
fn set_mode(mode: usize) {
    match mode {
        0 => set_all(false),
        1 => {
            monitor::WEIGHT.store(monitor::WEIGHT.load(Relaxed) / 4, Relaxed);
            monitor::start_with(strategy::STRATEGIES - 2);
            warm::PERCENT.store(25, Relaxed);
        }
        3 => monitor::never_freeze(),
        4 => {
            monitor::never_freeze();
            exit::note_stderr();
            monitor::on_window(policy::say_window);
        }
        _ => {}
    }
}

/// `HAKMEM_EVO`.
fn set_evo(evo: usize) {
    if evo < 2 {
        knobs::ELO.set(false);
    }
    if evo == 1 {
        monitor::fix();
    }
    if evo == 0 {
        for learner in [
            &knobs::CREDIT,
            &knobs::DENSITY,
            &knobs::GROWTH,
            &knobs::DEMAND,
            &knobs::PACE,
        ] {
            learner.set(false);
        }
    }
}

/// `HAKMEM_EXPLORE`.
fn set_explore(explore: usize) {
    monitor::set_explore(match explore {
        0 => Explore::Epsilon,
        _ => Explore::Ucb1,
    });
}

/// `HAKMEM_DENSITY`.
fn set_density(density: usize) {
    if density > 0 {
        knobs::DENSITY.set(false);
        large::ASSUME_DENSE.store(density == 1, Relaxed);
    }
}

fn number(text: &[u8]) -> Option<usize> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0usize, |n, digit| {
        let digit = digit.is_ascii_digit().then(|| usize::from(digit - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// The features that are switched off, separated by the first string, each within the second one;
/// "none" if that is empty and there are none.
pub(super) struct FeaturesOff(pub(super) &'static str, pub(super) &'static str);

impl fmt::Display for FeaturesOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(separator, quote) = self;
        let mut any = false;
        for knob in &KNOBS {
            if let Kind::Enable(feature, switch) | Kind::Disable(feature, switch) = knob.kind
                && !switch.get()
            {
                let before = if any { separator } else { "" };
                write!(f, "{before}{quote}{feature}{quote}")?;
                any = true;
            }
        }
        f.write_str(if any || !quote.is_empty() { "" } else { "none" })
    }
}

/// Renders `docs/knobs.md`.
///
/// # Errors
/// Those of `out`.
pub fn write_knobs_md(out: &mut dyn fmt::Write) -> fmt::Result {
    out.write_str(
        "# Knobs\n\n\
         <!-- Generated from the table in src/observe/knobs.rs. To renew it: \
         RENEW=1 cargo test --test knobs -->\n\n\
         Variables of the environment, read once when the library starts. hakmem needs none of them: \
         they serve to find\n\
         out which part of it is worth what, or to blame, and to tell it how much free memory it may \
         keep. A name that\n\
         begins with `HAKMEM_` and is not here, or a value that is not understood, is one line on \
         stderr, and the\n\
         default holds. An empty value is the default, too. Programs that run with raised privileges \
         ignore them all.\n\n\
         | variable | values | default | meaning |\n\
         |---|---|---|---|\n",
    )?;
    for Knob {
        name,
        kind,
        default,
        meaning,
    } in &KNOBS
    {
        writeln!(out, "| `HAKMEM_{name}` | {kind} | {default} | {meaning} |")?;
    }
    out.write_str(
        "\nWhat the reports of `HAKMEM_STATS` say is in [statistics.md](statistics.md).\n",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::String;

    #[test]
    fn the_defaults_are_what_holds_without_an_environment() {
        for knob in &KNOBS {
            let value = knob.kind.parse(knob.default.as_bytes()).unwrap();
            match (&knob.kind, value) {
                (Kind::Enable(_, switch), Value::Number(n)) => assert_eq!(switch.get(), n == 1),
                (Kind::Disable(_, switch), Value::Number(n)) => assert_eq!(switch.get(), n == 0),
                (Kind::Number { to, .. }, Value::Number(n)) => assert_eq!(to.load(Relaxed), n),
                // What a default does is nothing: see the test of the knobs in a process.
                (Kind::Choice(..), Value::Number(_)) => {}
                (_, value) => {
                    let nothing = value == Value::Number(0)
                        || value == Value::Path(b"")
                        || value == Value::Reports(Wish::parse(b"0").unwrap());
                    assert!(nothing, "{}: {value:?}", knob.name);
                }
            }
        }
        assert_eq!(format!("{}", FeaturesOff(", ", "")), "none");
        assert_eq!(format!("{}", FeaturesOff(", ", "\"")), "");
    }

    #[test]
    fn values_are_understood_or_refused() {
        let kind = |name: &str| &KNOBS.iter().find(|knob| knob.name == name).unwrap().kind;
        for wrong in ["2", "-1", "yes", "01x", " 1", "99999999999999999999999"] {
            assert_eq!(kind("DISABLE_THP").parse(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(
            kind("WARM_MB").parse(b"1073741824"),
            Some(Value::Number(1 << 50))
        );
        assert_eq!(
            kind("WARM_MB").parse(b"learned"),
            Some(Value::Number(strategy::LEARNED))
        );
        assert_eq!(kind("WARM_PERCENT").parse(b"learned"), None);
        assert_eq!(kind("EVO").parse(b"frozen"), Some(Value::Number(1)));
        assert_eq!(kind("EVO").parse(b"froze"), None);
        assert_eq!(kind("WARM_MB").parse(b"1073741825"), None);
        assert_eq!(
            kind("WARM_PERCENT").parse(b"1000"),
            Some(Value::Number(1000))
        );
        assert_eq!(kind("STATS").parse(b"everything"), None);
    }

    #[test]
    fn names_are_unique_and_fit_the_prefix() {
        let mut text = String::new();
        write_knobs_md(&mut text).unwrap();
        for knob in &KNOBS {
            assert_eq!(
                text.matches(&format!("| `HAKMEM_{}` |", knob.name)).count(),
                1
            );
        }
        assert!(
            FIRST
                .iter()
                .all(|first| KNOBS.iter().any(|knob| knob.name == *first))
        );
    }
}
