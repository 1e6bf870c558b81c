//! Which locks the calling thread holds.
//!
//! A signal handler may fork while its thread is inside the allocator. In the child that thread goes
//! on where it was, and gives back the locks that it holds; those of threads that do not exist in the
//! child are for the child to free. This list tells the two apart.

use core::arch::{asm, global_asm};
use core::cell::Cell;

/// Locks that a thread may hold at once: the shared heap's, that of a table, those of memory, that of
/// the learning layer.
const MAX: usize = 6;

global_asm!(
    ".pushsection .tbss.hakmem_held, \"awT\", @nobits",
    ".p2align 3",
    ".hidden hakmem_held",
    ".globl hakmem_held",
    ".type hakmem_held, @object",
    "hakmem_held:",
    ".zero {bytes}",
    ".size hakmem_held, {bytes}",
    ".popsection",
    bytes = const size_of::<[usize; MAX]>(),
);

/// The addresses of the locks, or 0; of this thread.
#[inline(always)]
fn slots<'a>() -> &'a [Cell<usize>; MAX] {
    let at: *const [Cell<usize>; MAX];
    // SAFETY: the thread pointer never changes, nor does the offset from it; the words are this
    // thread's own as long as it lives, and zero at first.
    unsafe {
        asm!(
            "mov {0}, qword ptr fs:[0]",
            "add {0}, qword ptr [rip + hakmem_held@GOTTPOFF]",
            out(reg) at,
            options(pure, nomem, nostack),
        );
        &*at
    }
}

/// Notes that this thread holds a lock, or is about to.
#[inline(never)]
pub(crate) fn add(lock: usize) {
    for slot in slots() {
        if slot.get() == 0 {
            slot.set(lock);
            return;
        }
    }
    debug_assert!(false, "too many locks at once");
}

/// Notes that it does not any more.
#[inline(never)]
pub(crate) fn remove(lock: usize) {
    for slot in slots().iter().rev() {
        if slot.get() == lock {
            slot.set(0);
            return;
        }
    }
}

/// Whether this thread holds a lock.
pub(crate) fn has(lock: usize) -> bool {
    slots().iter().any(|slot| slot.get() == lock)
}

/// Whether it holds none, and is about to take none.
pub(crate) fn none() -> bool {
    slots().iter().all(|slot| slot.get() == 0)
}
