//! The allocators that the model can drive.

use core::ffi::{c_int, c_void};
use std::hint::black_box;

use hakmem::{api, c_api, observe};

/// A malloc family. The methods are those of C, with C's rules; see `include/hakmem.h`.
#[allow(clippy::missing_safety_doc, reason = "what C demands of the caller")]
#[allow(missing_docs, reason = "the names of C")]
pub trait Api: Send + Sync {
    unsafe fn malloc(&self, size: usize, site: usize) -> *mut c_void;
    unsafe fn calloc(&self, n: usize, size: usize) -> *mut c_void;
    unsafe fn realloc(&self, block: *mut c_void, size: usize, site: usize) -> *mut c_void;
    unsafe fn reallocarray(&self, block: *mut c_void, n: usize, size: usize) -> *mut c_void;
    unsafe fn memalign(&self, align: usize, size: usize) -> *mut c_void;
    unsafe fn posix_memalign(&self, to: *mut *mut c_void, align: usize, size: usize) -> c_int;
    unsafe fn valloc(&self, size: usize) -> *mut c_void;
    unsafe fn pvalloc(&self, size: usize) -> *mut c_void;
    unsafe fn free(&self, block: *mut c_void);
    unsafe fn usable_size(&self, block: *mut c_void) -> usize;

    unsafe fn malloc_at_least(&self, size: usize, actual: &mut usize) -> *mut c_void {
        // SAFETY: the caller's.
        unsafe {
            let block = self.malloc(size, 0);
            if !block.is_null() {
                *actual = self.usable_size(block);
            }
            block
        }
    }
    unsafe fn free_sized(&self, block: *mut c_void, _size: usize) {
        // SAFETY: the caller's.
        unsafe { self.free(block) }
    }
    unsafe fn free_aligned_sized(&self, block: *mut c_void, _align: usize, _size: usize) {
        // SAFETY: the caller's.
        unsafe { self.free(block) }
    }
    fn good_size(&self, size: usize) -> usize {
        size
    }
    fn trim(&self, pad: usize) -> c_int;
    fn stats(&self) {}
    /// The walk over all structures.
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
    /// Blocks and bytes that the program holds, if that can be told.
    fn live(&self) -> Option<(usize, usize)> {
        None
    }
    /// Whether errno is changed only by saying why a call failed. The standards do not demand it, and
    /// glibc does change it: where it tries one thing first and then another, and in posix_memalign.
    fn keeps_errno(&self) -> bool {
        false
    }
}

/// hakmem, by its own names.
pub struct Hakmem(());

impl Hakmem {
    /// Starts it, if its constructor has not: reads the environment, is told of forks.
    pub fn new() -> Self {
        api::init_process();
        Self(())
    }
}

impl Default for Hakmem {
    fn default() -> Self {
        Self::new()
    }
}

/// Call sites are return addresses: each `SITE` is a function of its own.
#[inline(never)]
unsafe fn malloc_at<const SITE: usize>(size: usize) -> *mut c_void {
    // SAFETY: any size.
    let block = unsafe { c_api::hak_malloc(size) };
    black_box(SITE);
    block
}

#[inline(never)]
unsafe fn realloc_at<const SITE: usize>(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller's.
    let block = unsafe { c_api::hak_realloc(block, size) };
    black_box(SITE);
    block
}

impl Api for Hakmem {
    unsafe fn malloc(&self, size: usize, site: usize) -> *mut c_void {
        // SAFETY: any size.
        unsafe {
            match site % 4 {
                0 => malloc_at::<0>(size),
                1 => malloc_at::<1>(size),
                2 => malloc_at::<2>(size),
                _ => malloc_at::<3>(size),
            }
        }
    }
    unsafe fn calloc(&self, n: usize, size: usize) -> *mut c_void {
        // SAFETY: any arguments.
        unsafe { c_api::hak_calloc(n, size) }
    }
    unsafe fn realloc(&self, block: *mut c_void, size: usize, site: usize) -> *mut c_void {
        // SAFETY: the caller's.
        unsafe {
            match site % 3 {
                0 => realloc_at::<0>(block, size),
                1 => realloc_at::<1>(block, size),
                _ => realloc_at::<2>(block, size),
            }
        }
    }
    unsafe fn reallocarray(&self, block: *mut c_void, n: usize, size: usize) -> *mut c_void {
        // SAFETY: the caller's.
        unsafe { c_api::hak_reallocarray(block, n, size) }
    }
    unsafe fn memalign(&self, align: usize, size: usize) -> *mut c_void {
        // SAFETY: any arguments.
        unsafe { c_api::hak_aligned_alloc(align, size) }
    }
    unsafe fn posix_memalign(&self, to: *mut *mut c_void, align: usize, size: usize) -> c_int {
        // SAFETY: the caller's.
        unsafe { c_api::hak_posix_memalign(to, align, size) }
    }
    unsafe fn valloc(&self, size: usize) -> *mut c_void {
        // SAFETY: any size.
        unsafe { c_api::valloc(size) }
    }
    unsafe fn pvalloc(&self, size: usize) -> *mut c_void {
        // SAFETY: any size.
        unsafe { c_api::pvalloc(size) }
    }
    unsafe fn free(&self, block: *mut c_void) {
        // SAFETY: the caller's.
        unsafe { c_api::hak_free(block) }
    }
    unsafe fn usable_size(&self, block: *mut c_void) -> usize {
        // SAFETY: the caller's.
        unsafe { c_api::hak_usable_size(block) }
    }
    unsafe fn malloc_at_least(&self, size: usize, actual: &mut usize) -> *mut c_void {
        // SAFETY: the caller's.
        unsafe { c_api::hak_malloc_at_least(size, actual) }
    }
    unsafe fn free_sized(&self, block: *mut c_void, size: usize) {
        // SAFETY: the caller's.
        unsafe { c_api::hak_free_sized(block, size) }
    }
    unsafe fn free_aligned_sized(&self, block: *mut c_void, align: usize, size: usize) {
        // SAFETY: the caller's.
        unsafe { c_api::hak_free_aligned_sized(block, align, size) }
    }
    fn good_size(&self, size: usize) -> usize {
        c_api::hak_good_size(size)
    }
    fn trim(&self, pad: usize) -> c_int {
        c_api::hak_trim(pad)
    }
    fn stats(&self) {
        let mut text = [0; 512];
        // SAFETY: the buffer is as long as is said.
        unsafe { c_api::hak_stats_json(text.as_mut_ptr(), text.len()) };
    }
    fn check(&self) -> Result<(), &'static str> {
        api::check()
    }
    fn live(&self) -> Option<(usize, usize)> {
        let now = observe::snapshot();
        let blocks = now.small_live_blocks + now.run_live_blocks + now.large_live_blocks;
        Some((blocks, now.live_bytes))
    }
    fn keeps_errno(&self) -> bool {
        true
    }
}

/// The C library's malloc: what the model demands is what programs get there.
pub struct C;

unsafe extern "C" {
    fn reallocarray(block: *mut c_void, n: usize, size: usize) -> *mut c_void;
    fn valloc(size: usize) -> *mut c_void;
    fn pvalloc(size: usize) -> *mut c_void;
}

impl Api for C {
    unsafe fn malloc(&self, size: usize, _site: usize) -> *mut c_void {
        // SAFETY: any size.
        unsafe { libc::malloc(size) }
    }
    unsafe fn calloc(&self, n: usize, size: usize) -> *mut c_void {
        // SAFETY: any arguments.
        unsafe { libc::calloc(n, size) }
    }
    unsafe fn realloc(&self, block: *mut c_void, size: usize, _site: usize) -> *mut c_void {
        // SAFETY: the caller's.
        unsafe { libc::realloc(block, size) }
    }
    unsafe fn reallocarray(&self, block: *mut c_void, n: usize, size: usize) -> *mut c_void {
        // SAFETY: the caller's.
        unsafe { reallocarray(block, n, size) }
    }
    unsafe fn memalign(&self, align: usize, size: usize) -> *mut c_void {
        // SAFETY: any arguments.
        unsafe { libc::memalign(align, size) }
    }
    unsafe fn posix_memalign(&self, to: *mut *mut c_void, align: usize, size: usize) -> c_int {
        // SAFETY: the caller's.
        unsafe { libc::posix_memalign(to, align, size) }
    }
    unsafe fn valloc(&self, size: usize) -> *mut c_void {
        // SAFETY: any size.
        unsafe { valloc(size) }
    }
    unsafe fn pvalloc(&self, size: usize) -> *mut c_void {
        // SAFETY: any size.
        unsafe { pvalloc(size) }
    }
    unsafe fn free(&self, block: *mut c_void) {
        // SAFETY: the caller's.
        unsafe { libc::free(block) }
    }
    unsafe fn usable_size(&self, block: *mut c_void) -> usize {
        // SAFETY: the caller's.
        unsafe { libc::malloc_usable_size(block) }
    }
    fn trim(&self, pad: usize) -> c_int {
        // SAFETY: no preconditions.
        unsafe { libc::malloc_trim(pad) }
    }
}
