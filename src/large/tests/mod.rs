//! Tests of the large blocks as a whole. They share the process's structures, so they take turns.

extern crate std;

mod figures;
mod limits;
mod model;

use core::ptr::NonNull;
use std::boxed::Box;
use std::sync::{Mutex, MutexGuard};

use super::*;
use crate::space::map;

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    let guard = TURN.lock().unwrap_or_else(|e| e.into_inner());
    trim();
    guard
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

fn free(front: &mut Front, p: NonNull<u8>) {
    // SAFETY: the tests give blocks that they hold.
    unsafe { give(Some(front), p, entry(p)) }.unwrap();
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
