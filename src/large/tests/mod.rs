//! Tests of the large blocks as a whole. Each runs in a child process of its own.

extern crate std;

mod figures;
mod limits;
mod model;

use core::ptr::NonNull;
use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::String;

use super::*;
use crate::os::process::in_child;
use crate::space::map::{self, Kind};
use crate::space::warm;

/// Runs a test in a child process, where nobody else uses large blocks, counts system calls, or
/// changes what is known of sites.
fn alone(f: impl FnOnce()) {
    let good = in_child(|| {
        // SAFETY: no other thread exists here; the alarm ends a child that hangs.
        unsafe {
            libc::alarm(200);
            crate::space::meta::after_fork();
            let kept = crate::space::pool::after_fork() + after_fork(None) as isize;
            // What the tests of the parent were doing is not there.
            warm::WARM.store(kept, Relaxed);
            warm::LIVE.store(0, Relaxed);
        }
        trim();
        shelf::forget_sites();
        crate::os::limits::forget();
        let result = catch_unwind(AssertUnwindSafe(f));
        if let Err(e) = &result {
            let text = e.downcast_ref::<String>().map(String::as_str);
            let text = text.or(e.downcast_ref::<&str>().copied()).unwrap_or("?");
            crate::os::write_all(2, text.as_bytes());
            crate::os::write_all(2, b"\n");
        }
        result.is_ok()
    });
    assert!(good, "see what the child wrote");
}

fn new_front() -> Box<Front> {
    // SAFETY: a zeroed Front is an empty one.
    unsafe { Box::new(core::mem::zeroed()) }
}

fn plain(bytes: usize, site: usize) -> Request {
    Request {
        bytes,
        align: 16,
        zero: false,
        site,
        growing: false,
    }
}

fn entry(p: NonNull<u8>) -> Entry {
    map::lookup(p.as_ptr() as usize)
}

fn free(front: &Front, p: NonNull<u8>) {
    // SAFETY: the tests give blocks that they hold.
    unsafe { give(Some(front), p, entry(p)) }.unwrap();
}

/// As [`free`], to where all threads keep.
fn free_shared(p: NonNull<u8>) {
    // SAFETY: the tests give blocks that they hold.
    unsafe { give(None, p, entry(p)) }.unwrap();
}

fn block_at(p: NonNull<u8>) -> Block {
    // SAFETY: the slab map says what it is.
    unsafe { Block::at(p, entry(p)) }.unwrap()
}

fn touch(p: NonNull<u8>, bytes: usize) {
    for at in (0..bytes).step_by(PAGE) {
        // SAFETY: the block has as many bytes.
        unsafe { p.add(at).write_volatile(1) };
    }
}

fn usage() -> libc::rusage {
    // SAFETY: plain data, filled in by the call.
    unsafe {
        let mut usage = core::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &mut usage);
        usage
    }
}

fn faults() -> i64 {
    usage().ru_minflt
}

fn os_calls() -> u64 {
    crate::os::COUNTS.iter().map(|c| c.0.load(Relaxed)).sum()
}
