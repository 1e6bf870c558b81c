//! What glibc added to the family: parameters, trimming and reports.
//!
//! The reports are of hakmem's own counters, in the shape that callers of glibc expect. All functions
//! are thread-safe and preserve errno.

use core::ffi::{c_int, c_void};

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

/// Writes hakmem's counters as XML to a stream. EINVAL, as the result, if `options` is not 0.
///
/// # Safety
/// `stream` is an open stream.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc_info(options: c_int, stream: *mut FILE) -> c_int {
    if options != 0 {
        return libc::EINVAL;
    }
    let before = c_api::errno();
    // SAFETY: passed on from our caller.
    let result = unsafe { copy_report(stream) };
    c_api::set_errno(before);
    result
}

/// The report takes a file descriptor, and a stream may have none (open_memstream): so it goes through
/// an anonymous file.
///
/// # Safety
/// `stream` is an open stream.
unsafe fn copy_report(stream: *mut FILE) -> c_int {
    // SAFETY: the name is a C string.
    let fd = unsafe { libc::memfd_create(c"malloc_info".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return c_api::errno();
    }
    observe::write_malloc_info_xml(fd);
    let mut chunk = [0u8; 1024];
    let mut at: libc::off_t = 0;
    let result = loop {
        // SAFETY: the chunk is valid for writing its own length.
        let got = unsafe { libc::pread(fd, chunk.as_mut_ptr().cast::<c_void>(), chunk.len(), at) };
        let Ok(got_bytes) = usize::try_from(got) else {
            break c_api::errno();
        };
        if got_bytes == 0 {
            break 0;
        }
        // SAFETY: got_bytes bytes of the chunk were just written; our caller vouches for the stream.
        let put = unsafe { libc::fwrite(chunk.as_ptr().cast(), 1, got_bytes, stream) };
        if put != got_bytes {
            // The stream's own error flag tells what happened; glibc, too, returns 0 here.
            break 0;
        }
        at += got as libc::off_t;
    };
    // SAFETY: the descriptor is ours.
    unsafe { libc::close(fd) };
    result
}
