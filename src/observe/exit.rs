//! The report at the end of the process: what `HAKMEM_STATS` asks for, and where it goes.
//!
//! It is written by an entry of the library's `.fini_array`: after the handlers of `atexit` and the
//! destructors of C++, and without registering anything, which could allocate.
//!
//! By then many programs have closed stderr (those of GNU do, to see whether that succeeds), and
//! something else may have its number. So when a report is to go there, stderr is duplicated at the
//! start, and its identity noted: the report goes to what it was then, or nowhere. So do the lines about windows,
//! and about what cannot be written; not that with which a mistake ends the process.

use core::fmt;
use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use super::environment::say;
use super::path::{self, PATH_MAX, Path};
use super::writer::Printable;
use super::{print_stats, profile, write_json};
use crate::{guard, os, sync};

/// Duplicates are given numbers from here on, out of the program's way.
const HIGH: i32 = 100;

/// What `HAKMEM_STATS` asks for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Wish<'a> {
    table: bool,
    json: bool,
    /// Where to; empty for stderr.
    path: &'a [u8],
}

impl<'a> Wish<'a> {
    /// Understands a list of `1`, `table`, `json` and one path; `0` alone is nothing.
    pub(super) fn parse(list: &'a [u8]) -> Option<Self> {
        let mut wish = Self::default();
        if list == b"0" {
            return Some(wish);
        }
        for item in list.split(|byte| *byte == b',') {
            match item {
                b"1" | b"table" => wish.table = true,
                b"json" => wish.json = true,
                path if Path::is_one(path) && wish.path.is_empty() => wish.path = path,
                _ => return None,
            }
        }
        wish.table |= !wish.json;
        Some(wish)
    }
}

static PATH: Path = Path::new();
static TABLE: AtomicBool = AtomicBool::new(false);
static JSON: AtomicBool = AtomicBool::new(false);
/// The duplicate of stderr, or -1, and the device and file that stderr was at the start.
static DUPLICATE: AtomicI32 = AtomicI32::new(-1);
static DEVICE: AtomicU64 = AtomicU64::new(0);
static FILE: AtomicU64 = AtomicU64::new(0);

/// Notes what is to be done at the exit. Called at most once, by who reads the environment.
pub(super) fn wish(wish: Wish<'_>) {
    if !wish.table && !wish.json {
        return;
    }
    if wish.path.is_empty() {
        keep_stderr();
    } else {
        PATH.set(wish.path);
        note_stderr();
    }
    // ORDERING: Release publishes what was written above to the Acquire in `at_exit`.
    TABLE.store(wish.table, Release);
    JSON.store(wish.json, Release);
}

#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = exiting;

extern "C" fn exiting() {
    if sync::holds_any() {
        // A signal handler that interrupted the allocator has called exit: a report would wait for what this very thread
        // holds.
        return;
    }
    at_exit();
    profile::save();
    guard::at_exit();
}

/// Writes the report that `HAKMEM_STATS` asks for; nothing if it asks for none, or it has been
/// written. Runs by itself when the process exits.
pub extern "C" fn at_exit() {
    // ORDERING: Acquire pairs with the Release in `wish`; the swap lets one caller through.
    let (table, json) = (TABLE.swap(false, Acquire), JSON.swap(false, Acquire));
    if !table && !json {
        return;
    }
    let Some(fd) = destination() else { return };
    if table {
        print_stats(fd);
    }
    if json {
        write_json(fd);
    }
    if !PATH.get().is_empty() {
        os::close(fd);
    }
}

fn destination() -> Option<i32> {
    if PATH.get().is_empty() {
        return [DUPLICATE.load(Relaxed), libc::STDERR_FILENO]
            .into_iter()
            .find(|fd| was_stderr(*fd));
    }
    let mut path = [0; PATH_MAX];
    let len = path::expand(PATH.get(), b"%b", &mut path)?;
    let fd = os::create(&path[..=len]);
    if fd.is_none() {
        say_later(format_args!(
            "hakmem: HAKMEM_STATS: cannot write to {}",
            Printable(&path[..len])
        ));
    }
    fd
}

/// Notes what stderr is. To be called at the start by who may have something to say later.
pub(super) fn note_stderr() {
    if let Some((device, file)) = os::identity(libc::STDERR_FILENO) {
        DEVICE.store(device, Relaxed);
        FILE.store(file, Relaxed);
    }
}

/// Whether the descriptor is open on what stderr was at the start.
fn was_stderr(fd: i32) -> bool {
    os::identity(fd) == Some((DEVICE.load(Relaxed), FILE.load(Relaxed)))
}

/// As [`say`], if stderr is still what it was.
pub(super) fn say_later(line: fmt::Arguments<'_>) {
    if was_stderr(libc::STDERR_FILENO) {
        say(line);
    }
}

/// Duplicates stderr, and notes what it is. errno stays as it was: a first malloc may come here.
fn keep_stderr() {
    // SAFETY: this thread's errno.
    let errno = unsafe { &mut *libc::__errno_location() };
    let before = *errno;
    note_stderr();
    // SAFETY: makes a descriptor; no memory is passed. The plain system call: fcntl can be
    // interposed.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_fcntl,
            libc::STDERR_FILENO,
            libc::F_DUPFD_CLOEXEC,
            HIGH,
        )
    };
    DUPLICATE.store(i32::try_from(fd).unwrap_or(-1), Relaxed);
    *errno = before;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_understood() {
        let of = |list: &'static str| Wish::parse(list.as_bytes());
        let table = Wish {
            table: true,
            ..Wish::default()
        };
        let json = Wish {
            json: true,
            ..Wish::default()
        };
        assert_eq!(of("0"), Some(Wish::default()));
        assert_eq!(of("1"), Some(table));
        assert_eq!(of("table"), Some(table));
        assert_eq!(of("json"), Some(json));
        assert_eq!(
            of("table,json"),
            Some(Wish {
                table: true,
                ..json
            })
        );
        assert_eq!(
            of("/tmp/a"),
            Some(Wish {
                path: b"/tmp/a",
                ..table
            })
        );
        assert_eq!(
            of("json,./a"),
            Some(Wish {
                path: b"./a",
                ..json
            })
        );
        for wrong in ["", "2", "json,", "a", "/a,/b", "0,json", "JSON"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(Wish::parse(&[b'/'; PATH_MAX]), None);
    }
}
