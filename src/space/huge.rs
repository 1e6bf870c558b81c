//! Huge pages for SuperSlabs: only where they win on this machine, and only in heaps of which 2 MiB
//! is a small share.
//!
//! What fresh memory costs differs by an order of magnitude between machines: a huge page saves 511
//! faults, but on a virtual machine its first touch may have the host find 2 MiB. So the steps in
//! which slabs are populated are timed, and the first SuperSlab that could have a huge page is
//! populated and timed, too; the cheaper kind per byte is used from then on.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::base::{PAGE, SUPERSLAB, knobs};
use crate::learn;
use crate::os;

/// SuperSlabs that a process has before the next get huge pages: 2 GiB. With them, replacing blocks
/// at random among a million took 32 ns instead of 45, and a heap of 1 GiB 4 % more memory: the
/// unused parts of headers and slabs are resident, too. Small heaps are to be small.
const COUNT_MIN: usize = 1024;
/// And that it has for each thread's heap: 128 MiB. A heap has slabs of its own for each class, of which
/// the last is only begun. With a hundred threads of 20 MiB each, huge pages took 1.5 GiB instead of 1.1,
/// and while they were being cleared those threads made an eighth of the operations.
const COUNT_PER_HEAP: usize = 64;
/// Heaps there are.
pub(crate) static HEAPS: AtomicUsize = AtomicUsize::new(0);
/// Small pages that must have been timed before a huge one is tried.
const SAMPLE: u64 = 256;

const UNKNOWN: u8 = 0;
const PAYS: u8 = 1;
const DOES_NOT: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
static SMALL_NS: AtomicU64 = AtomicU64::new(0);
static SMALL_PAGES: AtomicU64 = AtomicU64::new(0);

/// Makes `bytes` of small pages resident, and notes what they cost as long as that is not known.
///
/// # Safety
/// They are the caller's, none is resident, and nothing is in them.
pub(crate) unsafe fn populate(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's.
    unsafe { learn::monitor::time_fault(start.as_ptr()) };
    if STATE.load(Relaxed) != UNKNOWN || SMALL_PAGES.load(Relaxed) >= SAMPLE {
        os::populate(start, bytes);
        return;
    }
    let before = os::now_ns();
    if os::populate(start, bytes) {
        SMALL_NS.fetch_add(os::now_ns() - before, Relaxed);
        SMALL_PAGES.fetch_add((bytes / PAGE) as u64, Relaxed);
    }
}

/// Asks for huge pages for the fresh SuperSlabs of `bytes` at `start`, when a process has `count`
/// others, if that pays. True if they are asked for.
pub(super) fn advise(start: NonNull<u8>, bytes: usize, count: usize) -> bool {
    let least = COUNT_MIN.max(COUNT_PER_HEAP * HEAPS.load(Relaxed));
    if count < least || !knobs::THP.get() {
        return false;
    }
    match STATE.load(Relaxed) {
        PAYS => os::huge_pages(start, bytes),
        UNKNOWN if SMALL_PAGES.load(Relaxed) >= SAMPLE => {
            trial(start) && os::huge_pages(start, bytes)
        }
        _ => false,
    }
}

/// Whether a huge page costs less than half of what as many small ones cost: else it is none, or
/// does not pay for the memory that lies idle in it.
fn trial(start: NonNull<u8>) -> bool {
    let before = os::now_ns();
    let made = os::huge_pages(start, SUPERSLAB) && os::populate(start, SUPERSLAB);
    let cost = os::now_ns() - before;
    let small = SMALL_NS.load(Relaxed) / SMALL_PAGES.load(Relaxed).max(1);
    let pays = made && cost * 2 < small * (SUPERSLAB / PAGE) as u64;
    STATE.store(if pays { PAYS } else { DOES_NOT }, Relaxed);
    if !pays {
        os::no_huge_pages(start, SUPERSLAB);
    }
    pays
}
