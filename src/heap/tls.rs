//! The one thread-local word: which heap is this thread's.
//!
//! `thread_local!` in a shared library costs a call; a symbol of our own, in the initial-exec
//! model, is two instructions. Its initial value points to a heap that is empty and full in every
//! class, so that the fast path needs no test for threads without a heap.

use core::arch::{asm, global_asm};

use super::{Heap, NO_HEAP};

global_asm!(
    ".pushsection .tdata.hakmem_heap, \"awT\", @progbits",
    ".p2align 3",
    ".hidden hakmem_heap",
    ".globl hakmem_heap",
    ".type hakmem_heap, @object",
    "hakmem_heap:",
    ".quad {no_heap}",
    ".size hakmem_heap, 8",
    ".popsection",
    no_heap = sym NO_HEAP,
);

/// This thread's heap, or [`NO_HEAP`] or [`super::GONE`], which must not be written.
#[inline(always)]
pub(crate) fn heap() -> *mut Heap {
    let offset: usize;
    let heap: *mut Heap;
    // SAFETY: the offset never changes; the word is this thread's own. `readonly` lets the compiler
    // keep the value as long as memory does not change.
    unsafe {
        asm!(
            "mov {}, qword ptr [rip + hakmem_heap@GOTTPOFF]",
            out(reg) offset,
            options(pure, nomem, nostack, preserves_flags),
        );
        asm!(
            "mov {}, qword ptr fs:[{}]",
            out(reg) heap,
            in(reg) offset,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    heap
}

/// Makes `heap` this thread's.
pub(crate) fn set_heap(heap: *const Heap) {
    // SAFETY: as above; a write that the compiler must keep in order.
    unsafe {
        asm!(
            "mov {0}, qword ptr [rip + hakmem_heap@GOTTPOFF]",
            "mov qword ptr fs:[{0}], {1}",
            out(reg) _,
            in(reg) heap,
            options(nostack, preserves_flags),
        );
    }
}
