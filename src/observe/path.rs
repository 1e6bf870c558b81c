//! A path that the environment names, kept until it is needed.

use core::cell::UnsafeCell;
use core::fmt::Write as _;
use core::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use super::writer::Writer;
use crate::os;

/// The longest path, with its NUL, before and after what is replaced in it.
pub(super) const PATH_MAX: usize = 1024;

/// A copy of a path: the program may overwrite its environment.
///
/// # Invariants
/// Written at most once, before `len` is not 0; read after that was seen.
pub(super) struct Path {
    bytes: UnsafeCell<[u8; PATH_MAX]>,
    len: AtomicUsize,
}
// SAFETY: by the invariant, no two threads use it at once but to read.
unsafe impl Sync for Path {}

impl Path {
    /// None.
    pub(super) const fn new() -> Self {
        Self {
            bytes: UnsafeCell::new([0; PATH_MAX]),
            len: AtomicUsize::new(0),
        }
    }

    /// Whether `path` is one, and not too long: it begins with `/` or `./`.
    pub(super) fn is_one(path: &[u8]) -> bool {
        (path.starts_with(b"/") || path.starts_with(b"./")) && path.len() < PATH_MAX
    }

    /// Keeps a path that [`is_one`](Self::is_one). Called at most once, by who reads the environment.
    pub(super) fn set(&self, path: &[u8]) {
        // SAFETY: nobody reads it yet (invariant), and the caller has seen that it fits.
        let bytes = unsafe { &mut *self.bytes.get() };
        bytes[..path.len()].copy_from_slice(path);
        // ORDERING: Release publishes the bytes to the Acquire in `get`.
        self.len.store(path.len(), Release);
    }

    /// Forgets it: from now on there is none.
    pub(super) fn forget(&self) {
        // ORDERING: Relaxed: nothing is published.
        self.len.store(0, Relaxed);
    }

    /// The path, or nothing.
    pub(super) fn get(&self) -> &[u8] {
        // ORDERING: Acquire pairs with the Release in `set`.
        let len = self.len.load(Acquire);
        // SAFETY: it was written before its length was (invariant).
        unsafe { &(&*self.bytes.get())[..len] }
    }
}

/// Writes `pattern`, with `%p` replaced by the process's number and `%b` by `build`, and a NUL. The
/// length without it; `None` if it does not fit.
pub(super) fn expand(pattern: &[u8], build: &[u8], into: &mut [u8; PATH_MAX]) -> Option<usize> {
    let mut out = Writer::to_slice(&mut into[..PATH_MAX - 1]);
    let pid = os::process_id();
    let mut rest = pattern;
    while let Some((&first, behind)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(b"%p") {
            write!(out, "{pid}").ok()?;
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix(b"%b") {
            build.iter().for_each(|byte| out.write_byte(*byte));
            rest = behind;
        } else {
            out.write_byte(first);
            rest = behind;
        }
    }
    let len = out.finish();
    *into.get_mut(len)? = 0;
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn the_process_and_the_build_stand_in_the_path() {
        let mut path = [0xff; PATH_MAX];
        let pid = os::process_id();
        let len = expand(b"/a%p.%p%q%b%", b"0f", &mut path).unwrap();
        assert_eq!(&path[..=len], format!("/a{pid}.{pid}%q0f%\0").as_bytes());
        let long = [b'/'; PATH_MAX - 1];
        assert_eq!(expand(&long, b"", &mut path), Some(PATH_MAX - 1));
        assert_eq!(path[PATH_MAX - 1], 0);
        let mut grows = long;
        grows[..2].copy_from_slice(b"%p");
        let too_long = pid > 99;
        assert_eq!(expand(&grows, b"", &mut path).is_none(), too_long);
    }

    #[test]
    fn a_path_is_kept() {
        static PATH: Path = Path::new();
        assert_eq!(PATH.get(), b"");
        PATH.set(b"./x");
        assert_eq!(PATH.get(), b"./x");
        assert!(Path::is_one(b"/x") && !Path::is_one(b"x") && !Path::is_one(&[b'/'; PATH_MAX]));
    }
}
