//! The allocators that can be measured, and how each proves that it served a process.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::workloads::fingerprint;
use crate::{packages, paths, peers};

/// Where an allocator's library comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    /// The C library's own: nothing is preloaded.
    Libc,
    /// Built in this workspace.
    Workspace,
    /// Built from the sources in a crates.io package.
    Built(peers::Peer),
    /// Installed from a Debian package: its name, the library's file name.
    Debian(&'static str, &'static str),
    /// A library somebody named on the command line.
    File(PathBuf),
}

/// An allocator as it is named in results.
#[derive(Clone, Debug)]
pub(crate) struct Allocator {
    /// The name on the command line and in every table.
    pub(crate) name: String,
    /// One line for `list`.
    pub(crate) about: String,
    pub(crate) source: Source,
    /// A symbol that no other allocator exports; empty when there is none.
    pub(crate) symbol: &'static str,
    /// Environment for the measured process.
    pub(crate) env: &'static [(&'static str, &'static str)],
}

/// An allocator whose library is there, ready to be measured.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) allocator: Allocator,
    /// What LD_PRELOAD gets; `None` for the C library's own.
    pub(crate) preload: Option<PathBuf>,
    /// The version, as far as it is known.
    pub(crate) version: String,
}

impl Ready {
    pub(crate) fn name(&self) -> &str {
        &self.allocator.name
    }

    /// The file name that /proc/self/maps must show; empty for the C library's own.
    pub(crate) fn file_name(&self) -> String {
        self.preload
            .as_deref()
            // The map shows the file that a link leads to.
            .and_then(|p| p.canonicalize().ok())
            .and_then(|p| p.file_name().map(|n| n.to_string_lossy().into_owned()))
            .unwrap_or_default()
    }

    /// Why a process with this proof was not served by this allocator, or `None` when it was.
    pub(crate) fn void(&self, proof: &crate::launch::Proof) -> Option<String> {
        let name = self.name();
        if self.preload.is_none() {
            if !proof.owner.contains("libc.so") {
                return Some(format!(
                    "malloc belongs to {}, not to the C library",
                    proof.owner
                ));
            }
            if proof.libc_growth <= 0 {
                return Some("glibc's own count of memory in use did not move".into());
            }
            return None;
        }
        if !proof.mapped {
            return Some(format!(
                "/proc/self/maps does not show {}",
                self.file_name()
            ));
        }
        let wanted = self.file_name();
        let owner = Path::new(&proof.owner).canonicalize().unwrap_or_default();
        if owner
            .file_name()
            .is_none_or(|n| n.to_string_lossy() != wanted)
        {
            return Some(format!(
                "malloc belongs to {}, not to {wanted}",
                proof.owner
            ));
        }
        if proof.symbol == Some(false) {
            return Some(format!(
                "{name} did not answer: no symbol {}",
                self.allocator.symbol
            ));
        }
        if proof.libc_growth > 0 {
            return Some(format!(
                "glibc's heap grew by {} bytes: it served the blocks",
                proof.libc_growth
            ));
        }
        None
    }
}

fn known(name: &str, about: &str, source: Source, symbol: &'static str) -> Allocator {
    Allocator {
        name: name.into(),
        about: about.into(),
        source,
        symbol,
        env: &[],
    }
}

/// The library under test comes first, the C library last.
pub(crate) fn all() -> Vec<Allocator> {
    use peers::Peer;
    vec![
        known(
            "hakmem",
            "this workspace's target/release/libhakmem.so",
            Source::Workspace,
            "hak_version",
        ),
        known(
            "mimalloc3",
            "mimalloc 3, its huge pages as it likes them",
            Source::Built(Peer::Mimalloc3),
            "mi_version",
        ),
        Allocator {
            env: &[("MIMALLOC_ALLOW_THP", "0")],
            ..known(
                "mimalloc3-nothp",
                "mimalloc 3 without huge pages",
                Source::Built(Peer::Mimalloc3),
                "mi_version",
            )
        },
        known(
            "mimalloc2",
            "mimalloc 2",
            Source::Built(Peer::Mimalloc2),
            "mi_version",
        ),
        known(
            "jemalloc",
            "jemalloc 5.3",
            Source::Built(Peer::Jemalloc),
            "mallctl",
        ),
        known("snmalloc", "snmalloc", Source::Built(Peer::Snmalloc), ""),
        known(
            "rpmalloc",
            "rpmalloc",
            Source::Built(Peer::Rpmalloc),
            "rpmalloc",
        ),
        known(
            "tcmalloc",
            "gperftools' tcmalloc_minimal from Debian",
            Source::Debian("libtcmalloc-minimal4", "libtcmalloc_minimal.so.4"),
            "tc_version",
        ),
        known(
            "jemalloc-deb",
            "jemalloc from Debian",
            Source::Debian("libjemalloc2", "libjemalloc.so.2"),
            "mallctl",
        ),
        known(
            "mimalloc-deb",
            "mimalloc from Debian",
            Source::Debian("libmimalloc2.0", "libmimalloc.so.2"),
            "mi_version",
        ),
        known("glibc", "the C library's own malloc", Source::Libc, ""),
    ]
}

/// The allocators that were asked for: known names, or NAME=LIBRARY for any other library.
pub(crate) fn select(asked: &[String]) -> Result<Vec<Allocator>> {
    let all = all();
    if asked.is_empty() {
        return Ok(all);
    }
    let mut chosen: Vec<Allocator> = Vec::new();
    for word in asked {
        if let Some((name, file)) = word.split_once('=') {
            let file = PathBuf::from(file);
            if !file.is_file() {
                bail!("{}: no such library", file.display());
            }
            let file = file.canonicalize()?;
            let like = all.iter().find(|a| a.name == name);
            chosen.push(Allocator {
                name: name.into(),
                about: file.display().to_string(),
                source: Source::File(file),
                symbol: like.map_or("", |a| a.symbol),
                env: &[],
            });
        } else if let Some(a) = all.iter().find(|a| &a.name == word) {
            chosen.push(a.clone());
        } else {
            let names: Vec<_> = all.iter().map(|a| a.name.as_str()).collect();
            bail!(
                "no allocator is called {word:?}; there are {}",
                names.join(", ")
            );
        }
    }
    Ok(chosen)
}

/// Builds or installs what an allocator needs.
pub(crate) fn prepare(allocator: &Allocator) -> Result<Ready> {
    let (preload, version) = match &allocator.source {
        Source::Libc => (None, libc_version()),
        Source::Workspace => {
            let library = paths::library();
            if !library.is_file() {
                bail!(
                    "{} is not there: cargo build --release -p ld_preload builds it",
                    library.display()
                );
            }
            if let Some(source) = changed_source(&library) {
                bail!(
                    "{} is older than {}: cargo build --release -p ld_preload builds it anew, and \
                     hakmem=FILE measures a library as it is",
                    library.display(),
                    source.display()
                );
            }
            let version = format!("{} {}", env!("CARGO_PKG_VERSION"), build(&library)?);
            (Some(library), version)
        }
        Source::Built(peer) => {
            let built = peers::build(*peer)?;
            (Some(built.file), built.version)
        }
        Source::Debian(package, file) => {
            let library = packages::library(package, file)?;
            (Some(library), packages::version(package))
        }
        Source::File(file) => (Some(file.clone()), build(file)?),
    };
    Ok(Ready {
        allocator: allocator.clone(),
        preload,
        version,
    })
}

/// Which build a library is: the commit says only what the sources are.
fn build(library: &Path) -> Result<String> {
    let bytes = fs::read(library)?;
    Ok(format!("build {}", fingerprint(bytes.into_iter())))
}

/// A file that the library was made of and that is younger or gone. Cargo's list of them is beside the library.
fn changed_source(library: &Path) -> Option<PathBuf> {
    let modified = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let built = modified(library)?;
    let list = fs::read_to_string(library.with_extension("d")).ok()?;
    // `LIBRARY: FILE FILE …`; a space within a name is behind a backslash.
    let list = list.replace("\\ ", "\0");
    let names = list.split_whitespace().filter(|w| !w.ends_with(':'));
    let mut sources = names.map(|w| PathBuf::from(w.replace('\0', " ")));
    sources.find(|source| modified(source).is_none_or(|at| at > built))
}

fn libc_version() -> String {
    let output = std::process::Command::new("getconf")
        .arg("GNU_LIBC_VERSION")
        .output();
    output.map_or_else(
        |_| String::new(),
        |o| {
            String::from_utf8_lossy(&o.stdout)
                .trim()
                .replace("glibc ", "")
        },
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::process::Command;
    use std::sync::Once;
    use std::time::{Duration, SystemTime};

    /// Builds hakmem's library: an old one would pass for the new sources.
    pub(crate) fn build_hakmem() {
        static BUILT: Once = Once::new();
        BUILT.call_once(|| {
            let output = Command::new(env!("CARGO"))
                .args(["build", "--release", "-q", "-p", "ld_preload"])
                .current_dir(paths::root())
                .output()
                .expect("cargo starts");
            assert!(
                output.status.success(),
                "ld_preload does not build:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        });
    }

    /// An allocator that needs no building, or is built.
    pub(crate) fn ready(name: &str) -> Ready {
        let mut chosen = select(&[name.into()]).expect("a known name");
        prepare(&chosen.swap_remove(0)).expect("its library is there")
    }

    #[test]
    fn a_word_that_means_nothing_is_an_error_beside_others_that_do() {
        assert_eq!(select(&["glibc".into()]).expect("it is known").len(), 1);
        let error = select(&["glibc".into(), "glibbc".into()]).expect_err("no such allocator");
        assert!(error.to_string().contains("glibbc"), "{error}");
    }

    #[test]
    fn a_library_that_is_older_than_its_sources_is_not_that_of_the_sources() {
        let directory = std::env::temp_dir().join(format!("hakmem-bench {}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        let (library, source) = (directory.join("libx.so"), directory.join("lib.rs"));
        fs::write(&source, "one").expect("a source");
        fs::write(&library, "from one").expect("a library");
        let escaped = |p: &Path| p.display().to_string().replace(' ', "\\ ");
        let list = format!("{}: {}\n", escaped(&library), escaped(&source));
        fs::write(directory.join("libx.d"), list).expect("a list");
        assert_eq!(changed_source(&library), None);

        let first = build(&library).expect("it can be read");
        fs::write(&library, "from two").expect("a library");
        assert_ne!(build(&library).expect("it can be read"), first);

        let later = SystemTime::now() + Duration::from_secs(60);
        let file = fs::File::options().append(true).open(&source);
        let touched = file.and_then(|f| f.set_modified(later));
        touched.expect("a younger source");
        assert_eq!(changed_source(&library).as_ref(), Some(&source));
        fs::remove_file(&source).expect("it is there");
        assert_eq!(changed_source(&library), Some(source));
        fs::remove_dir_all(directory).expect("it is there");
    }
}
