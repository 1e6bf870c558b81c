//! What learning is compared with: hakmem under each fixed setting, with each learner switched off alone, and the
//! peers. A setting is a variant of hakmem with a few variables in its environment, so that all settings are measured
//! as allocators are: in turns, each process proven.

use anyhow::{Result, bail};

use crate::allocators::{Allocator, Ready};
use crate::launch::Curve;

/// hakmem as it is, whose figures all others are compared with.
pub(crate) const SUBJECT: &str = "learning";

type Setting = (&'static str, &'static [(&'static str, &'static str)]);

macro_rules! fixed {
    ($density:literal, $suffix:literal, [$($kib:literal)*]) => {
        &[$((
            concat!("keep-", $kib, "K", $suffix),
            &[
                ("HAKMEM_EVO", "off"),
                ("HAKMEM_STRATEGY", concat!("keep-", $kib, "K")),
                ("HAKMEM_DENSITY", $density),
            ],
        )),*]
    };
}

/// How much free memory stays resident, whatever the program does.
const SPARSE: &[Setting] =
    fixed!("sparse", "", [512 747 1091 1592 2323 3391 4949 7223 10542 15386 22456 32768]);
/// The same with large blocks populated ahead and on huge pages.
const DENSE: &[Setting] = fixed!("dense", "+dense", [4949 32768]);
/// Learning with one learner off.
const ALONE: &[Setting] = &[
    ("without-ELO", &[("HAKMEM_DISABLE_ELO", "1")]),
    ("without-CREDIT", &[("HAKMEM_DISABLE_CREDIT", "1")]),
    ("without-DENSITY", &[("HAKMEM_DISABLE_DENSITY", "1")]),
    ("without-GROWTH", &[("HAKMEM_DISABLE_GROWTH", "1")]),
    ("without-DEMAND", &[("HAKMEM_DISABLE_DEMAND", "1")]),
    ("without-PACE", &[("HAKMEM_DISABLE_PACE", "1")]),
];

/// What `--quick` runs: both ends of what may be kept and the middle.
pub(crate) const QUICK: &[&str] = &[
    SUBJECT,
    "keep-512K",
    "keep-4949K",
    "keep-32768K",
    "keep-32768K+dense",
];
/// What `--peers` brings: for information, not in the verdict.
pub(crate) const PEERS: &[&str] = &[
    "mimalloc3",
    "jemalloc",
    "tcmalloc",
    "snmalloc",
    "rpmalloc",
    "glibc",
];

fn all() -> impl Iterator<Item = Setting> {
    let subject: Setting = (SUBJECT, &[]);
    std::iter::once(subject)
        .chain(SPARSE.iter().copied())
        .chain(DENSE.iter().copied())
        .chain(ALONE.iter().copied())
}

/// Whether a name is that of a fixed setting: those are what learning has to be better than.
pub(crate) fn is_fixed(name: &str) -> bool {
    SPARSE.iter().chain(DENSE).any(|s| s.0 == name)
}

/// KiB that a fixed setting keeps.
pub(crate) fn kept(name: &str) -> Option<f64> {
    let number = name.strip_prefix("keep-")?.split('K').next()?;
    number.parse().ok().filter(|_| is_fixed(name))
}

/// Why a process with these curves was not one under the fixed setting of this name: its figures would be another
/// one's. `None` when it was, or when the library does not tell.
pub(crate) fn not_in_force(name: &str, curves: &[Curve]) -> Option<String> {
    let kept = kept(name)?;
    let decision = curves.iter().find(|c| c.name == "decision")?;
    let (_, other) = decision.points.iter().find(|p| p.1 != kept)?;
    Some(format!("the library kept {other} KiB"))
}

/// The place of a setting or peer in every table.
pub(crate) fn place(name: &str) -> usize {
    all()
        .map(|s| s.0)
        .chain(PEERS.iter().copied())
        .position(|n| n == name)
        .unwrap_or(usize::MAX)
}

/// The settings that were asked for, learning first: single names, `fixed` for all of those, `disable` for each
/// learner off alone. Without a word learning and all fixed ones.
fn select(asked: &[String]) -> Result<Vec<Setting>> {
    for word in asked {
        if !matches!(word.as_str(), "fixed" | "disable") && !all().any(|s| s.0 == word) {
            let names: Vec<_> = all().map(|s| s.0).collect();
            bail!(
                "no setting is called {word:?}; there are fixed, disable, {}",
                names.join(", ")
            );
        }
    }
    let wanted = |name: &str| {
        asked.iter().any(|word| match word.as_str() {
            "fixed" => is_fixed(name),
            "disable" => name.starts_with("without-"),
            word => word == name,
        })
    };
    Ok(all()
        .filter(|(name, _)| *name == SUBJECT || wanted(name) || asked.is_empty() && is_fixed(name))
        .collect())
}

/// hakmem under each setting that was asked for.
pub(crate) fn variants(hakmem: &Ready, asked: &[String]) -> Result<Vec<Ready>> {
    let variant = |(name, env): Setting| Ready {
        allocator: Allocator {
            name: name.into(),
            env,
            ..hakmem.allocator.clone()
        },
        ..hakmem.clone()
    };
    Ok(select(asked)?.into_iter().map(variant).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<&'static str> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_string()).collect();
        select(&words)
            .expect("known words")
            .into_iter()
            .map(|s| s.0)
            .collect()
    }

    #[test]
    fn learning_is_always_there_and_first() {
        assert_eq!(names(&["keep-512K"]), [SUBJECT, "keep-512K"]);
        assert_eq!(names(&[]).len(), 1 + 12 + 2);
        assert_eq!(names(&[]), names(&["fixed"]));
        assert_eq!(names(&["disable", "learning"]).len(), 1 + ALONE.len());
        assert_eq!(names(QUICK), QUICK);
        assert!(select(&["keep-513K".into()]).is_err());
    }

    #[test]
    fn a_fixed_setting_says_what_it_keeps() {
        let (_, env) = all()
            .find(|s| s.0 == "keep-4949K+dense")
            .expect("it is there");
        assert!(env.contains(&("HAKMEM_EVO", "off")));
        assert!(env.contains(&("HAKMEM_STRATEGY", "keep-4949K")));
        assert!(env.contains(&("HAKMEM_DENSITY", "dense")));
        assert_eq!(kept("keep-4949K+dense"), Some(4949.0));
        assert_eq!(kept(SUBJECT), None);
        assert!(!is_fixed("without-ELO") && !is_fixed("glibc"));
    }

    #[test]
    fn the_peers_are_allocators() {
        let known = crate::allocators::all();
        for peer in PEERS {
            assert!(known.iter().any(|a| a.name == *peer), "{peer}");
        }
    }
}
