//! The malloc family of C, POSIX and glibc, by its standard names.
//!
//! Errors and errno are those of glibc 2.36: each function documents only where callers are likely to
//! be surprised. All of them are thread-safe; a block belongs to the caller until it is freed, which
//! any thread may do.

use core::arch::naked_asm;
use core::ffi::{c_int, c_void};

use hakmem_core::{api, c_api};

/// C: `size` bytes aligned to 16; NULL and ENOMEM if there is no memory. A size of 0 gives a block.
///
/// # Safety
/// Any size is allowed.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    // SAFETY: malloc takes any size.
    unsafe { api::malloc(size) }
}

/// C: frees a block; nothing for NULL. errno is preserved.
///
/// # Safety
/// `ptr` is NULL or a live block, no longer used.
#[unsafe(no_mangle)]
unsafe extern "C" fn free(ptr: *mut c_void) {
    // SAFETY: passed on from our caller.
    unsafe { api::free(ptr) }
}

/// C: `n * size` zeroed bytes; NULL and ENOMEM if the product overflows.
///
/// # Safety
/// Any arguments are allowed.
#[unsafe(no_mangle)]
unsafe extern "C" fn calloc(n: usize, size: usize) -> *mut c_void {
    // SAFETY: calloc takes any arguments.
    unsafe { api::calloc(n, size) }
}

/// C: resizes a block. A size of 0 frees it and returns NULL, as in glibc.
///
/// # Safety
/// `ptr` is NULL or a live block.
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(ptr: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: passed on from our caller.
    unsafe { c_api::realloc(ptr, size) }
}

/// POSIX 2024: `realloc` to `n * size` bytes; NULL and ENOMEM if that overflows.
///
/// # Safety
/// `ptr` is NULL or a live block.
#[unsafe(no_mangle)]
unsafe extern "C" fn reallocarray(ptr: *mut c_void, n: usize, size: usize) -> *mut c_void {
    // SAFETY: passed on from our caller.
    unsafe { c_api::reallocarray(ptr, n, size) }
}

/// POSIX: an aligned block in `*memptr`; 0, EINVAL or ENOMEM. errno is untouched in each case.
///
/// # Safety
/// `memptr` is valid for writing a pointer.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(
    memptr: *mut *mut c_void,
    alignment: usize,
    size: usize,
) -> c_int {
    naked_asm!("mov rcx, [rsp]", "jmp {}", sym c_api::posix_memalign_at)
}

/// C11, as glibc 2.36 has it: the same as [`memalign`].
///
/// # Safety
/// Any arguments are allowed.
#[unsafe(no_mangle)]
unsafe extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: memalign takes any arguments.
    unsafe { c_api::memalign(alignment, size) }
}

/// An aligned block. An alignment that is no power of two is rounded up to one; EINVAL if it cannot.
///
/// # Safety
/// Any arguments are allowed.
#[unsafe(no_mangle)]
unsafe extern "C" fn memalign(alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: memalign takes any arguments.
    unsafe { c_api::memalign(alignment, size) }
}

/// A block aligned to a page.
///
/// # Safety
/// Any size is allowed.
#[unsafe(no_mangle)]
unsafe extern "C" fn valloc(size: usize) -> *mut c_void {
    // SAFETY: valloc takes any size.
    unsafe { c_api::valloc(size) }
}

/// Whole pages, aligned to a page.
///
/// # Safety
/// Any size is allowed.
#[unsafe(no_mangle)]
unsafe extern "C" fn pvalloc(size: usize) -> *mut c_void {
    // SAFETY: pvalloc takes any size.
    unsafe { c_api::pvalloc(size) }
}

/// How many bytes of the block may be used; 0 for NULL.
///
/// # Safety
/// `ptr` is NULL or a live block.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc_usable_size(ptr: *mut c_void) -> usize {
    // SAFETY: passed on from our caller.
    unsafe { c_api::usable_size(ptr) }
}

/// [`free`], for programs linked before glibc 2.26.
///
/// # Safety
/// As [`free`].
#[unsafe(no_mangle)]
unsafe extern "C" fn cfree(ptr: *mut c_void) {
    // SAFETY: passed on from our caller.
    unsafe { api::free(ptr) }
}

/// C23: [`free`]; the size is not needed, and only looked at with `HAKMEM_GUARD`.
///
/// # Safety
/// As [`free`]; `size` is what the block was asked for with.
#[unsafe(no_mangle)]
unsafe extern "C" fn free_sized(ptr: *mut c_void, size: usize) {
    // SAFETY: passed on from our caller.
    unsafe { api::free_sized(ptr, size) }
}

/// C23: [`free`]; neither alignment nor size is needed, and the size only looked at with `HAKMEM_GUARD`.
///
/// # Safety
/// As [`free`]; `alignment` and `size` are what the block was asked for with.
#[unsafe(no_mangle)]
unsafe extern "C" fn free_aligned_sized(ptr: *mut c_void, alignment: usize, size: usize) {
    let _ = alignment;
    // SAFETY: passed on from our caller.
    unsafe { api::free_sized(ptr, size) }
}
