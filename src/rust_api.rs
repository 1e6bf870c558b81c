//! hakmem as the allocator of a Rust program.
//!
//! Holds no state: everything is in the allocator behind [`crate::api`], which is the process's one.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::c_void;

use crate::api;
use crate::c_api::MIN_ALIGN;
use crate::guard;

/// The allocator as a type, for `#[global_allocator]`.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: hakmem::Hakmem = hakmem::Hakmem;
///
/// let squares: Vec<u64> = (0..1000).map(|n| n * n).collect();
/// assert_eq!(squares[999], 998_001);
/// ```
///
/// The C library of the same program keeps its own malloc; preload or link `libhakmem.so` to replace
/// that, too. Out of memory is a null pointer, as [`GlobalAlloc`] wants it, and sets errno to ENOMEM,
/// which Rust code does not look at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hakmem;

// SAFETY: api's functions hand out blocks of at least the asked-for size and alignment that no one else
// holds, valid until freed, from any thread; they never panic and never unwind. realloc keeps the
// contents up to the smaller size and leaves the block alone when it returns NULL.
unsafe impl GlobalAlloc for Hakmem {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MIN_ALIGN {
            // SAFETY: malloc takes any size.
            unsafe { api::malloc(layout.size()) }.cast()
        } else {
            // SAFETY: a Layout's alignment is a power of two.
            unsafe { api::memalign(layout.align(), layout.size()) }.cast()
        }
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller owns ptr, which came from this allocator.
        unsafe { api::free_sized(ptr.cast::<c_void>(), layout.size()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MIN_ALIGN {
            // SAFETY: calloc takes any size.
            return unsafe { api::calloc(1, layout.size()) }.cast();
        }
        // SAFETY: a Layout's alignment is a power of two.
        let block: *mut u8 = unsafe { api::memalign(layout.align(), layout.size()) }.cast();
        if !block.is_null() {
            // SAFETY: the block is ours and holds at least layout.size() bytes.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if layout.align() <= MIN_ALIGN {
            // SAFETY: the caller owns ptr, and new_size is not 0.
            return unsafe { api::realloc(ptr.cast(), new_size) }.cast();
        }
        // A move by api::realloc would lose the alignment. Staying is right where the block has room,
        // unless more than half of it would lie idle.
        // SAFETY: the caller owns ptr, a live block.
        let room = unsafe { api::usable_size(ptr.cast()) };
        // A guarded block knows the size that it was taken with.
        if new_size <= room && new_size >= room / 2 && !guard::on() {
            return ptr;
        }
        // SAFETY: a Layout's alignment is a power of two.
        let moved: *mut u8 = unsafe { api::memalign(layout.align(), new_size) }.cast();
        if !moved.is_null() {
            let kept = layout.size().min(new_size);
            // SAFETY: both blocks hold at least `kept` bytes and are different blocks.
            unsafe { moved.copy_from_nonoverlapping(ptr, kept) };
            // SAFETY: the caller owns ptr, and gives it up now that we return another block.
            unsafe { api::free(ptr.cast()) };
        }
        moved
    }
}
