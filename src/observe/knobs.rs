//! The knobs: every `HAKMEM_` variable of the environment, in one table.
//!
//! The table is what is parsed, what the messages about mistakes name, what reports list as switched
//! off, and what `docs/knobs.md` is rendered from. [`super::environment`] reads the values.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::exit::{self, Wish};
use crate::base::knobs::{self, Switch};
use crate::guard;
use crate::space::warm;

/// The knob that the others can overrule, so it is applied first.
pub(super) const MINIMAL: &[u8] = b"MINIMAL";

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
    /// A number up to `most`, stored as `unit` times that.
    Number {
        to: &'static AtomicUsize,
        unit: usize,
        most: usize,
    },
    /// A list of reports, see [`exit`].
    Reports,
}

/// `HAKMEM_VERBOSE`.
pub(super) static VERBOSE: AtomicBool = AtomicBool::new(false);

/// All there are, in the order in which they are documented.
pub(super) static KNOBS: [Knob; 17] = [
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
        meaning: "No full magazines are kept behind the loaded one of a class.",
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
        meaning: "Freed blocks above the sizes of slabs are not kept for the call site that freed \
                  them.",
    },
    Knob {
        name: "DISABLE_WHALE",
        kind: Kind::Disable("whale", &knobs::WHALE),
        default: "0",
        meaning: "Freed mappings of 2 MiB and more are not kept.",
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
        meaning: "Huge pages are never asked for.",
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
        name: "WARM_MB",
        kind: Kind::Number {
            to: &warm::FLOOR,
            unit: 1 << 20,
            most: 1 << 30,
        },
        default: "4",
        meaning: "MiB of free memory that may stay resident however little is in use.",
    },
    Knob {
        name: "WARM_PERCENT",
        kind: Kind::Number {
            to: &warm::PERCENT,
            unit: 1,
            most: 1000,
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
        meaning: "What is reported at exit: `1` or `table` a table, `json` one JSON object; on \
                  stderr, or in the file whose path stands in the list, too. A path begins with `/` \
                  or `./`, and `%p` in it is the process's number, which keeps apart the processes \
                  of a program that has several. A path alone gets the table.",
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
    /// Of all kinds but [`Kind::Reports`].
    Number(usize),
    /// Of that.
    Reports(Wish<'a>),
}

impl Kind {
    /// Understands `text`, or not.
    pub(super) fn parse<'a>(&self, text: &'a [u8]) -> Option<Value<'a>> {
        match self {
            Self::Number { most, .. } => number(text).filter(|n| n <= most).map(Value::Number),
            Self::Reports => Wish::parse(text).map(Value::Reports),
            _ => number(text).filter(|n| *n <= 1).map(Value::Number),
        }
    }

    /// Does what a value of this kind says.
    pub(super) fn apply(&self, value: Value<'_>) {
        match (self, value) {
            (Self::Enable(_, switch), Value::Number(n)) => switch.set(n == 1),
            (Self::Disable(_, switch), Value::Number(n)) => switch.set(n == 0),
            (Self::DisableAll, Value::Number(n)) => {
                for knob in &KNOBS {
                    if let Self::Disable(_, switch) = knob.kind {
                        switch.set(n == 0);
                    }
                }
            }
            (Self::Flag(flag), Value::Number(n)) => flag.store(n == 1, Relaxed),
            (Self::Number { to, unit, .. }, Value::Number(n)) => to.store(n * unit, Relaxed),
            (Self::Reports, Value::Reports(wish)) => exit::wish(wish),
            // `parse` of the same kind made the value.
            _ => {}
        }
    }
}

impl fmt::Display for Kind {
    /// The values that are understood.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { most, .. } => write!(f, "0 to {most}"),
            Self::Reports => f.write_str("0, or a list of: 1, table, json, a path"),
            _ => f.write_str("0 or 1"),
        }
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
                (Kind::Number { to, unit, .. }, Value::Number(n)) => {
                    assert_eq!(to.load(Relaxed), n * unit);
                }
                (_, value) => {
                    let nothing = value == Value::Number(0)
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
            Some(Value::Number(1 << 30))
        );
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
        assert!(KNOBS.iter().any(|knob| knob.name.as_bytes() == MINIMAL));
    }
}
