//! Peers built from the C and C++ sources inside their crates.io packages, as shared libraries for LD_PRELOAD.
//!
//! Cargo fetches the packages in a small project of their own, with exact versions, so that a peer changes only
//! when somebody changes it here. A library is built once for each version and kept; delete
//! target/bench-peers to build anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;

/// What is fetched: package, exact version.
const PACKAGES: &[(&str, &str)] = &[
    ("libmimalloc-sys", "0.1.49"),
    ("tikv-jemalloc-sys", "0.7.1"),
    ("snmalloc-sys", "0.7.6"),
    ("rpmalloc-sys", "0.2.3"),
];

/// A peer that is built here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Peer {
    Mimalloc3,
    Mimalloc2,
    Jemalloc,
    Snmalloc,
    Rpmalloc,
}

/// A built peer.
pub(crate) struct Built {
    pub(crate) file: PathBuf,
    pub(crate) version: String,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::Mimalloc3 => "mimalloc3",
            Self::Mimalloc2 => "mimalloc2",
            Self::Jemalloc => "jemalloc",
            Self::Snmalloc => "snmalloc",
            Self::Rpmalloc => "rpmalloc",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Mimalloc3 | Self::Mimalloc2 => "libmimalloc-sys",
            Self::Jemalloc => "tikv-jemalloc-sys",
            Self::Snmalloc => "snmalloc-sys",
            Self::Rpmalloc => "rpmalloc-sys",
        }
    }

    /// The library's file name. It has the package's version, so that another version is another library.
    fn file(self) -> String {
        let version = PACKAGES.iter().find(|p| p.0 == self.package());
        let version = version.map_or("", |p| p.1);
        format!("lib{}-{version}.so", self.name())
    }
}

/// The peer's library, built when it is not there yet.
pub(crate) fn build(peer: Peer) -> Result<Built> {
    let file = paths::peers().join(peer.file());
    let version_file = file.with_extension("version");
    if file.is_file() && version_file.is_file() {
        return Ok(Built {
            file,
            version: fs::read_to_string(version_file)?,
        });
    }
    fs::create_dir_all(paths::peers())?;
    let source = fetch()?.join(peer.package());
    eprintln!("building {} from {}", peer.file(), peer.package());
    let version = package_version(&source)?;
    // Built under another name first: an interrupted build leaves no half a library behind.
    let fresh = file.with_extension("so.new");
    let version = match peer {
        Peer::Mimalloc3 => mimalloc(&source.join("c_src/mimalloc/v3"), &fresh)?,
        Peer::Mimalloc2 => mimalloc(&source.join("c_src/mimalloc/v2"), &fresh)?,
        Peer::Jemalloc => jemalloc(&source, &version, &fresh)?,
        Peer::Snmalloc => snmalloc(&source, &version, &fresh)?,
        Peer::Rpmalloc => rpmalloc(&source, &version, &fresh)?,
    };
    fs::rename(&fresh, &file)?;
    fs::write(version_file, &version)?;
    Ok(Built { file, version })
}

/// All packages' sources; the directory that holds them.
fn fetch() -> Result<PathBuf> {
    let project = paths::peers().join("fetch");
    let vendor = project.join("vendor");
    let wanted: String = PACKAGES
        .iter()
        .map(|(name, version)| format!("{name} = \"={version}\"\n"))
        .collect();
    let manifest = format!(
        "[package]\nname = \"peers\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n\n[lib]\npath = \"lib.rs\"\n\n[dependencies]\n{wanted}"
    );
    let unchanged = fs::read_to_string(project.join("Cargo.toml")).is_ok_and(|old| old == manifest);
    if unchanged && PACKAGES.iter().all(|(name, _)| vendor.join(name).is_dir()) {
        return Ok(vendor);
    }
    eprintln!("fetching the peers' sources");
    fs::create_dir_all(&project)?;
    fs::write(project.join("lib.rs"), "")?;
    fs::write(project.join("Cargo.toml"), manifest)?;
    run(Command::new("cargo")
        .args(["vendor", "--quiet", "vendor"])
        .current_dir(&project))
    .context("cargo could not fetch the peers' sources")?;
    Ok(vendor)
}

/// The `version` of a vendored package.
fn package_version(package: &Path) -> Result<String> {
    let manifest = fs::read_to_string(package.join("Cargo.toml"))?;
    let line = manifest
        .lines()
        .find_map(|l| l.strip_prefix("version = "))
        .context("a package without a version")?;
    Ok(line.trim_matches('"').to_string())
}

/// mimalloc as its own build makes a release library: one file that includes the others.
fn mimalloc(source: &Path, out: &Path) -> Result<String> {
    run(Command::new("cc")
        .args([
            "-O3",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden",
            "-fno-builtin-malloc",
            "-ftls-model=initial-exec",
        ])
        .args([
            "-DNDEBUG",
            "-DMI_BUILD_RELEASE",
            "-DMI_DEBUG=0",
            "-DMI_MALLOC_OVERRIDE",
        ])
        .args(["-DMI_SHARED_LIB", "-DMI_SHARED_LIB_EXPORT"])
        .arg("-I")
        .arg(source.join("include"))
        .arg("-I")
        .arg(source.join("src"))
        .arg(source.join("src/static.c"))
        .arg("-o")
        .arg(out)
        .arg("-lpthread"))?;
    let header = fs::read_to_string(source.join("include/mimalloc.h"))?;
    let number = header
        .lines()
        .find_map(|l| l.strip_prefix("#define MI_MALLOC_VERSION "))
        .and_then(|l| l.split_whitespace().next()?.parse::<u32>().ok())
        .context("mimalloc.h without a version")?;
    // Five digits: major, two of minor, two of patch. Three: major, minor, patch.
    Ok(if number >= 10_000 {
        format!(
            "{}.{}.{}",
            number / 10_000,
            number / 100 % 100,
            number % 100
        )
    } else {
        format!("{}.{}.{}", number / 100, number / 10 % 10, number % 10)
    })
}

/// jemalloc by its own configure. Without its C++ operators, which would only pull in libstdc++.
fn jemalloc(source: &Path, version: &str, out: &Path) -> Result<String> {
    let build = paths::peers().join("jemalloc-build");
    let _ = fs::remove_dir_all(&build);
    run(Command::new("cp")
        .arg("-r")
        .arg(source.join("jemalloc"))
        .arg(&build))?;
    fs::copy(source.join("configure/configure"), build.join("configure"))?;
    // The package's version carries jemalloc's own behind the plus sign.
    let own = version.split_once('+').map_or("5.3.0-0-g0", |(_, own)| own);
    run(Command::new("sh")
        .arg("configure")
        .args(["--disable-cxx", "--enable-doc=no", "--disable-stats"])
        .arg(format!("--with-version={own}"))
        .current_dir(&build))?;
    run(Command::new("make")
        .args(["-j2", "build_lib_shared"])
        .current_dir(&build))?;
    fs::copy(build.join("lib/libjemalloc.so.2"), out)?;
    fs::remove_dir_all(&build)?;
    Ok(own.split('-').next().unwrap_or(own).to_string())
}

/// snmalloc's shim for LD_PRELOAD with the options that its CMake file chooses for a release on Linux.
fn snmalloc(source: &Path, version: &str, out: &Path) -> Result<String> {
    let src = source.join("upstream/src");
    let mut command = Command::new("c++");
    command
        .args([
            "-std=c++20",
            "-O3",
            "-DNDEBUG",
            "-fPIC",
            "-shared",
            "-fno-rtti",
            "-fomit-frame-pointer",
        ])
        .args([
            "-ftls-model=initial-exec",
            "-fvisibility=hidden",
            "-ffunction-sections",
        ])
        .arg("-DSNMALLOC_EXPORT=__attribute__((visibility(\"default\")))")
        .args([
            "-DSNMALLOC_USE_CXX11_THREAD_ATEXIT_DIRECT",
            "-DSNMALLOC_USE_WAIT_ON_ADDRESS=1",
        ])
        .args(["-DSNMALLOC_CHECK_LOADS=false", "-DSNMALLOC_PAGEID=false"])
        .args([
            "-DSNMALLOC_NO_REALLOCARRAY",
            "-DSNMALLOC_NO_REALLOCARR",
            "-DSNMALLOC_PTHREAD_ATFORK_WORKS",
        ])
        .args([
            "-DSNMALLOC_HAS_LINUX_FUTEX_H",
            "-DSNMALLOC_HAS_LINUX_RANDOM_H",
            "-DSNMALLOC_PLATFORM_HAS_GETENTROPY",
        ]);
    if cfg!(target_arch = "x86_64") {
        command.args(["-mcx16", "-mprfchw"]);
    }
    run(command
        .arg("-I")
        .arg(&src)
        .arg(src.join("snmalloc/override/malloc.cc"))
        .arg(src.join("snmalloc/override/new.cc"))
        .args([
            "-static-libstdc++",
            "-Wl,--gc-sections",
            "-Wl,--exclude-libs,ALL",
            "-lpthread",
            "-latomic",
        ])
        .arg("-o")
        .arg(out))?;
    Ok(version.to_string())
}

/// rpmalloc with its wrappers for the standard names.
fn rpmalloc(source: &Path, version: &str, out: &Path) -> Result<String> {
    run(Command::new("cc")
        .args([
            "-O3",
            "-DNDEBUG",
            "-D_GNU_SOURCE",
            "-DENABLE_PRELOAD=1",
            "-DENABLE_OVERRIDE=1",
        ])
        .args(["-fPIC", "-shared", "-ftls-model=initial-exec", "-w"])
        .arg(source.join("rpmalloc/rpmalloc/rpmalloc.c"))
        .arg("-o")
        .arg(out)
        .args(["-lpthread", "-ldl"]))?;
    // The package's version names the commit behind the plus sign; the changelog the release before it.
    let changelog = fs::read_to_string(source.join("rpmalloc/CHANGELOG")).unwrap_or_default();
    let commit = version.split_once('+').map_or("", |(_, c)| c);
    Ok(format!(
        "{}+{commit}",
        changelog.lines().next().unwrap_or(version)
    ))
}

/// Runs a build step quietly; its last lines are the error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = text
        .lines()
        .filter(|l| l.contains("error"))
        .chain(text.lines().rev().take(2))
        .take(3)
        .collect();
    bail!(
        "{program} failed ({}): {}",
        output.status,
        lines.join(" | ")
    )
}
