//! What glibc added to the family: parameters, trimming and reports.
//!
//! The reports are of hakmem's own counters, in the shape that callers of glibc expect. All functions
//! are thread-safe and preserve errno.

use core::ffi::c_int;
use core::ptr::null_mut;

use hakmem_core::{c_api, observe};
use libc::FILE;

/// `M_MXFAST` of `<malloc.h>`: up to which size blocks are served fast.
const M_MXFAST: c_int = 1;
/// The greatest `M_MXFAST` that glibc accepts on a 64-bit machine.
const MAX_FAST_SIZE: c_int = 160;

/// Gives spare memory back to the operating system; 1 if there was any, 0 if not.
#[unsafe(no_mangle)]
extern "C" fn malloc_trim(pad: usize) -> c_int {
    c_api::trim(pad)
}

/// Accepts glibc's parameters: 1, as glibc says of all that it does not reject, known or not.
///
/// They tune mechanisms that hakmem does not have, so none has an effect, not even `M_PERTURB`.
#[unsafe(no_mangle)]
extern "C" fn mallopt(parameter: c_int, value: c_int) -> c_int {
    let rejected = parameter == M_MXFAST && !(0..=MAX_FAST_SIZE).contains(&value);
    c_int::from(!rejected)
}

/// Totals over all threads: blocks in slabs and runs count as the arena, large ones as mmapped.
#[unsafe(no_mangle)]
extern "C" fn mallinfo2() -> libc::mallinfo2 {
    let before = c_api::errno();
    let now = observe::snapshot();
    c_api::set_errno(before);
    let uordblks = now.live_bytes.saturating_sub(now.large_live_bytes);
    libc::mallinfo2 {
        arena: uordblks.saturating_add(now.free_bytes),
        ordblks: 0,
        smblks: 0,
        hblks: now.large_live_blocks,
        hblkhd: now.large_live_bytes,
        usmblks: 0,
        fsmblks: 0,
        uordblks,
        fordblks: now.free_bytes,
        keepcost: now.trimmable_bytes,
    }
}

/// [`mallinfo2`] in ints: what does not fit wraps, as it does in glibc.
#[unsafe(no_mangle)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "glibc wraps"
)]
extern "C" fn mallinfo() -> libc::mallinfo {
    let now = mallinfo2();
    libc::mallinfo {
        arena: now.arena as c_int,
        ordblks: now.ordblks as c_int,
        smblks: now.smblks as c_int,
        hblks: now.hblks as c_int,
        hblkhd: now.hblkhd as c_int,
        usmblks: now.usmblks as c_int,
        fsmblks: now.fsmblks as c_int,
        uordblks: now.uordblks as c_int,
        fordblks: now.fordblks as c_int,
        keepcost: now.keepcost as c_int,
    }
}

/// Writes hakmem's table of counters to stderr.
#[unsafe(no_mangle)]
extern "C" fn malloc_stats() {
    c_api::stats_print(libc::STDERR_FILENO);
}

/// Writes hakmem's counters as XML to a stream. EINVAL, as the result, if `options` is not 0, and ENOMEM
/// if there is no memory to gather them; errors in writing are the stream's. A thread that is cancelled
/// ends at its next cancellation point.
///
/// # Safety
/// `stream` is an open stream.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc_info(options: c_int, stream: *mut FILE) -> c_int {
    if options != 0 {
        return libc::EINVAL;
    }
    let before = c_api::errno();
    let mut cancelable = 0;
    // Cancellation unwinds, and Rust's frames cannot be left so.
    // SAFETY: a state that there is, and a place for the old one.
    unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &raw mut cancelable) };
    let mut well = true;
    let gathered = observe::write_malloc_info_xml(&mut |text| {
        // Behind a gap the rest would be worth nothing.
        // SAFETY: the text is valid for reading its own length; our caller vouches for the stream.
        well = well
            && unsafe { libc::fwrite(text.as_ptr().cast(), 1, text.len(), stream) } == text.len();
    });
    // SAFETY: the state that was.
    unsafe { pthread_setcancelstate(cancelable, null_mut()) };
    c_api::set_errno(before);
    if gathered { 0 } else { libc::ENOMEM }
}

// Of <pthread.h>, as the crate libc does not have them.
const PTHREAD_CANCEL_DISABLE: c_int = 1;
unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}
