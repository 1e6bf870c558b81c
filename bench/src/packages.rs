//! Debian packages that a measurement needs: installed when that is possible, named in one line when not.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Whether a program is on the path.
pub(crate) fn has_program(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()))
}

/// Makes sure that a program is there, from the package that has it.
pub(crate) fn program(name: &str, package: &str) -> Result<()> {
    if has_program(name) {
        return Ok(());
    }
    install(package)?;
    if !has_program(name) {
        bail!("{package} was installed, but there is no {name}");
    }
    Ok(())
}

/// Makes sure that a shared library is there, from the package that has it.
pub(crate) fn library(package: &str, file: &str) -> Result<PathBuf> {
    if let Some(found) = find_library(file) {
        return Ok(found);
    }
    install(package)?;
    match find_library(file) {
        Some(found) => Ok(found),
        None => bail!("{package} was installed, but there is no {file}"),
    }
}

/// A shared library that is installed.
pub(crate) fn find_library(file: &str) -> Option<PathBuf> {
    let arch = std::env::consts::ARCH;
    [
        format!("/usr/lib/{arch}-linux-gnu"),
        "/usr/lib64".into(),
        "/usr/lib".into(),
        "/usr/local/lib".into(),
    ]
    .iter()
    .map(|dir| PathBuf::from(dir).join(file))
    .find(|path| path.exists())
}

/// The installed version of a package, "" when dpkg does not know.
pub(crate) fn version(package: &str) -> String {
    Command::new("dpkg-query")
        .args(["-W", "-f", "${Version}", package])
        .stderr(Stdio::null())
        .output()
        .map_or_else(
            |_| String::new(),
            |o| String::from_utf8_lossy(&o.stdout).into_owned(),
        )
}

fn install(package: &str) -> Result<()> {
    if !has_program("apt-get") || !rustix::process::geteuid().is_root() {
        bail!("needs the package {package}: as root, apt-get install {package}");
    }
    eprintln!("installing {package}");
    let install = || {
        Command::new("apt-get")
            .args(["install", "-y", "-q", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    if install() {
        return Ok(());
    }
    // A fresh machine has no package lists.
    let _ = Command::new("apt-get")
        .args(["update", "-q"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if install() {
        return Ok(());
    }
    bail!("apt-get could not install {package}")
}
