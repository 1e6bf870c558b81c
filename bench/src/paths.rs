//! Where things lie: the workspace, cargo's target directory, and the caches in it.

use std::path::{Path, PathBuf};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().unwrap_or(member).to_path_buf()
}

/// The library under test, where cargo's target directory is.
pub(crate) fn library() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("release/libhakmem.so")
}

/// Built peers. They stay in the workspace's own target directory, whatever CARGO_TARGET_DIR says: they take
/// minutes to build and do not depend on this program.
pub(crate) fn peers() -> PathBuf {
    root().join("target/bench-peers")
}

/// Compiled workloads.
pub(crate) fn workloads() -> PathBuf {
    root().join("target/bench-workloads")
}

/// Saved results.
pub(crate) fn results() -> PathBuf {
    root().join("target/bench-results")
}

/// What real programs are given to read.
pub(crate) fn inputs() -> PathBuf {
    root().join("target/bench-inputs")
}
