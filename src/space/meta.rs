//! Memory for the allocator's own structures: heaps, magazines, tables, records.
//!
//! A bump pointer over chunks that are mapped as needed and never unmapped. Who takes something
//! from here keeps it for the life of the process and recycles it in a list of its own, so the
//! total is bounded by the peak of what was in use at once.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::base::{PAGE, align_up};
use crate::os;
use crate::sync::Lock;

/// Address space of a chunk; only what is used of it is touched.
const CHUNK: usize = 256 << 10;

struct Bump {
    at: usize,
    end: usize,
}

static BUMP: Lock<Bump> = Lock::new(Bump { at: 0, end: 0 });
/// Bytes handed out, for reports.
pub(crate) static BYTES: AtomicUsize = AtomicUsize::new(0);

/// Zeroed memory for good; `None` when the system has none. `align` is a power of two, at most a
/// page.
pub(crate) fn take(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    debug_assert!(align.is_power_of_two() && align <= PAGE);
    let memory = if bytes > CHUNK / 4 {
        os::map(0, align_up(bytes, PAGE))
    } else {
        bump(bytes, align)
    }?;
    BYTES.fetch_add(bytes, Relaxed);
    Some(memory)
}

fn bump(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    let mut bump = BUMP.lock();
    let mut start = align_up(bump.at, align);
    if start + bytes > bump.end {
        let chunk = os::map(0, CHUNK)?.as_ptr() as usize;
        start = chunk;
        bump.end = chunk + CHUNK;
    }
    bump.at = start + bytes;
    NonNull::new(start as *mut u8)
}

/// In the child of a fork: forgets the chunk in use if a thread that is gone was taking from it.
///
/// # Safety
/// No other thread exists.
pub(crate) unsafe fn after_fork() {
    // SAFETY: the caller's.
    unsafe { BUMP.recover(|bump| *bump = Bump { at: 0, end: 0 }) };
}
