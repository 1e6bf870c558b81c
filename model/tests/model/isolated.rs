//! A run in a process of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;

/// What hangs longer than this many seconds is taken to hang for ever.
const HANG: u32 = 180;

/// Calls `f` in a child process. An error is what it returned, or how the child ended.
pub(crate) fn run(f: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: just opened, and nobody else's.
    let (mut from, mut to) = unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) };
    // SAFETY: the child uses the C library's malloc, whose locks survive a fork, threads of its own,
    // and none of this process's locks. It ends by _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "the system has no process for us");
    if child == 0 {
        // SAFETY: no preconditions.
        unsafe { libc::alarm(HANG) };
        let status = match f() {
            Ok(()) => 0,
            Err(what) => {
                let _ = to.write_all(what.as_bytes());
                1
            }
        };
        // SAFETY: no preconditions.
        unsafe { libc::_exit(status) };
    }
    drop(to);
    let mut what = String::new();
    let read = from.read_to_string(&mut what);
    let mut status = 0;
    // SAFETY: a place for the status.
    while unsafe { libc::waitpid(child, &mut status, 0) } != child {}
    match status {
        0 => Ok(()),
        _ if !what.is_empty() => Err(what),
        _ => Err(format!(
            "the process ended with status {status:x} ({read:?})"
        )),
    }
}
