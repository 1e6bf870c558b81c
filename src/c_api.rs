//! The C interface: `hak_*`, as `include/hakmem.h` declares it, and the rules of C behind it.
//!
//! Two layers. The plain functions at the top hold what C, POSIX and glibc 2.36 demand beyond the
//! bare allocator: which sizes and alignments are errors, what errno says, what a size of zero means.
//! `ld_preload` gives them the standard names, and the `hak_*` functions below give them ours; neither
//! adds anything. `build.rs` renders the header from this file.
//!
//! Invariants: errno changes only where a function's comment says so; nothing here takes a lock or
//! keeps state; every function that can reach a slow path ends in the call to it, so that the call
//! site seen there is our caller's (the allocator reads it off the stack).

use core::arch::naked_asm;
use core::ffi::{c_char, c_int, c_void};
use core::ptr::null_mut;

use crate::api;
use crate::large;
use crate::observe;

/// What every block is aligned to, whatever its size.
pub const MIN_ALIGN: usize = 16;

/// A page of the smallest size that Linux has on this architecture; what `valloc` aligns to.
const PAGE: usize = 4096;

/// Sets errno and returns NULL, as a failing allocation does.
#[inline]
#[cold]
pub fn fail(errno: c_int) -> *mut c_void {
    set_errno(errno);
    null_mut()
}

/// This thread's errno.
#[inline]
pub fn errno() -> c_int {
    // SAFETY: __errno_location takes no argument and cannot fail.
    let slot = unsafe { libc::__errno_location() };
    // SAFETY: the slot is this thread's own int, valid for as long as the thread lives.
    unsafe { *slot }
}

/// Replaces this thread's errno.
#[inline]
pub fn set_errno(value: c_int) {
    // SAFETY: __errno_location takes no argument and cannot fail.
    let slot = unsafe { libc::__errno_location() };
    // SAFETY: the slot is this thread's own int, valid for as long as the thread lives.
    unsafe { *slot = value }
}

/// `realloc`. A size of zero frees the block and returns NULL with errno untouched, as glibc does.
///
/// # Safety
/// `ptr` is NULL or a live block, which is no longer the caller's unless NULL is returned for want of
/// memory.
#[inline(always)]
pub unsafe fn realloc(ptr: *mut c_void, size: usize) -> *mut c_void {
    if size == 0 && !ptr.is_null() {
        // SAFETY: passed on from our caller.
        unsafe { api::free(ptr) };
        return null_mut();
    }
    // SAFETY: passed on from our caller.
    unsafe { api::realloc(ptr, size) }
}

/// `reallocarray`: `realloc` to `n * size` bytes; ENOMEM if the product overflows.
///
/// # Safety
/// As for [`realloc`].
#[inline(always)]
pub unsafe fn reallocarray(ptr: *mut c_void, n: usize, size: usize) -> *mut c_void {
    match n.checked_mul(size) {
        // SAFETY: passed on from our caller.
        Some(bytes) => unsafe { realloc(ptr, bytes) },
        None => fail(libc::ENOMEM),
    }
}

/// `memalign`, and `aligned_alloc` as glibc 2.36 has it: an alignment that is no power of two is
/// rounded up to one; EINVAL if that does not fit a word.
///
/// # Safety
/// None beyond the allocator's own: any arguments are allowed.
#[inline(always)]
pub unsafe fn memalign(alignment: usize, size: usize) -> *mut c_void {
    if alignment <= MIN_ALIGN {
        // SAFETY: malloc takes any size.
        return unsafe { api::malloc(size) };
    }
    match alignment.checked_next_power_of_two() {
        // SAFETY: the alignment is a power of two.
        Some(power) => unsafe { api::memalign(power, size) },
        None => fail(libc::EINVAL),
    }
}

/// `posix_memalign`: returns 0, EINVAL or ENOMEM, never touches errno, and writes `*memptr` only on
/// success.
///
/// The entries that carry the standard's name are naked, and pass the call site on.
///
/// # Safety
/// `memptr` is valid for writing a pointer.
pub unsafe extern "C" fn posix_memalign_at(
    memptr: *mut *mut c_void,
    alignment: usize,
    size: usize,
    site: usize,
) -> c_int {
    if !alignment.is_power_of_two() || alignment < size_of::<*mut c_void>() {
        return libc::EINVAL;
    }
    let before = errno();
    // SAFETY: any size, and an alignment that is a power of two.
    let block = unsafe { api::memalign_slow(alignment, size, site) };
    if block.is_null() {
        set_errno(before);
        return libc::ENOMEM;
    }
    // SAFETY: our caller vouches for memptr.
    unsafe { *memptr = block };
    0
}

/// `valloc`: a block aligned to a page.
///
/// # Safety
/// None beyond the allocator's own.
#[inline(always)]
pub unsafe fn valloc(size: usize) -> *mut c_void {
    // SAFETY: a page is a power of two.
    unsafe { api::memalign(page(), size) }
}

/// `pvalloc`: whole pages, aligned to a page; ENOMEM if rounding up overflows.
///
/// # Safety
/// None beyond the allocator's own.
#[inline(always)]
pub unsafe fn pvalloc(size: usize) -> *mut c_void {
    match size.checked_next_multiple_of(page()) {
        // SAFETY: a page is a power of two.
        Some(bytes) => unsafe { api::memalign(page(), bytes) },
        None => fail(libc::ENOMEM),
    }
}

/// `malloc_usable_size`: how many bytes of the block its owner may use; 0 for NULL.
///
/// # Safety
/// `ptr` is NULL or a live block.
#[inline(always)]
pub unsafe fn usable_size(ptr: *mut c_void) -> usize {
    if ptr.is_null() {
        return 0;
    }
    // SAFETY: a live block, says our caller.
    unsafe { api::usable_size(ptr) }
}

/// `malloc_trim`: 1 if any memory was given back. errno is untouched.
pub fn trim(pad: usize) -> c_int {
    let before = errno();
    // SAFETY: trimming takes any pad; it frees no live block.
    let trimmed = unsafe { api::trim(pad) };
    set_errno(before);
    c_int::from(trimmed)
}

/// `malloc_stats`, to any file descriptor. errno is untouched.
pub fn stats_print(fd: c_int) {
    let before = errno();
    observe::print_stats(fd);
    set_errno(before);
}

fn page() -> usize {
    if cfg!(target_arch = "x86_64") {
        return PAGE;
    }
    // SAFETY: sysconf with a valid name has no preconditions; it neither locks nor allocates for this one.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(PAGE)
}

/// Allocates `size` bytes, aligned to 16; malloc() under a name of our own.
///
/// @return a block that the caller owns until it passes it to hak_free(); never NULL for a size of 0. NULL
/// with errno = ENOMEM if there is no memory or `size` exceeds PTRDIFF_MAX. errno is untouched on success.
/// Thread-safe.
///
/// cbindgen:prefix=HAK_ATTRIBUTE((__malloc__, __alloc_size__(1), __warn_unused_result__))
///
/// # Safety
/// Any size is allowed; unsafe only because the allocator's functions all are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_malloc(size: usize) -> *mut c_void {
    // SAFETY: malloc takes any size.
    unsafe { api::malloc(size) }
}

/// Allocates `size` bytes and tells how many the caller may really use.
///
/// @param actual receives that number, at least `size`, if it is not NULL; untouched on failure.
/// @return as hak_malloc(). Thread-safe.
///
/// cbindgen:prefix=HAK_ATTRIBUTE((__malloc__, __warn_unused_result__))
///
/// # Safety
/// `actual` is NULL or valid for writing a `size_t`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_malloc_at_least(size: usize, actual: *mut usize) -> *mut c_void {
    naked_asm!("mov rdx, [rsp]", "jmp {}", sym malloc_at_least)
}

/// [`hak_malloc_at_least`] for the call site `site`.
unsafe extern "C" fn malloc_at_least(size: usize, actual: *mut usize, site: usize) -> *mut c_void {
    // SAFETY: malloc takes any size.
    let block = unsafe { api::malloc_slow(size, site) };
    if !block.is_null() && !actual.is_null() {
        // SAFETY: the block is live.
        let bytes = unsafe { api::usable_size(block) };
        // SAFETY: our caller vouches for actual.
        unsafe { *actual = bytes };
    }
    block
}

/// Allocates `n * size` zeroed bytes, aligned to 16; calloc() under a name of our own.
///
/// @return as hak_malloc(); NULL with errno = ENOMEM also if the product overflows. Thread-safe.
///
/// cbindgen:prefix=HAK_ATTRIBUTE((__malloc__, __alloc_size__(1, 2), __warn_unused_result__))
///
/// # Safety
/// Any arguments are allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_calloc(n: usize, size: usize) -> *mut c_void {
    // SAFETY: calloc takes any arguments.
    unsafe { api::calloc(n, size) }
}

/// Changes the size of a block, moving it if it must; realloc() under a name of our own.
///
/// With `ptr` NULL this is hak_malloc(). With `size` 0 and `ptr` not NULL the block is freed and NULL
/// returned, errno untouched. A block that was aligned to more than 16 need not be afterwards.
///
/// @return the block, whose first bytes are as before, up to the smaller of both sizes; `ptr` is then no
/// longer the caller's. NULL with errno = ENOMEM if there is no memory: `ptr` is then still the
/// caller's, unchanged. Thread-safe, but nobody else may use or free `ptr` meanwhile.
///
/// cbindgen:prefix=HAK_ATTRIBUTE((__alloc_size__(2), __warn_unused_result__))
///
/// # Safety
/// `ptr` is NULL or a live block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_realloc(ptr: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: passed on from our caller.
    unsafe { realloc(ptr, size) }
}

/// hak_realloc() to `n * size` bytes; NULL with errno = ENOMEM, and `ptr` untouched, if that overflows. A product of 0
/// frees `ptr`, as there. Thread-safe as hak_realloc().
///
/// cbindgen:prefix=HAK_ATTRIBUTE((__alloc_size__(2, 3), __warn_unused_result__))
///
/// # Safety
/// `ptr` is NULL or a live block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_reallocarray(ptr: *mut c_void, n: usize, size: usize) -> *mut c_void {
    // SAFETY: passed on from our caller.
    unsafe { reallocarray(ptr, n, size) }
}

/// Frees a block; free() under a name of our own. Does nothing for NULL, and leaves errno alone.
///
/// @param ptr NULL or a block that the caller owns, from any function of the malloc family, hak_* or
/// not; a block is given back once. Thread-safe: any thread may free it.
///
/// # Safety
/// `ptr` is NULL or a live block, and no longer used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_free(ptr: *mut c_void) {
    // SAFETY: passed on from our caller.
    unsafe { api::free(ptr) }
}

/// hak_free() for a caller who knows the size that the block was asked for with; free_sized() of C23. Whether it is
/// that size is checked with HAKMEM_GUARD=1 only. `ptr` may be NULL.
///
/// # Safety
/// As [`hak_free`]; `size` is what the block was asked for with.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_free_sized(ptr: *mut c_void, size: usize) {
    // SAFETY: passed on from our caller.
    unsafe { api::free_sized(ptr, size) }
}

/// hak_free() for a caller who knows the alignment and size that the block was asked for with;
/// free_aligned_sized() of C23. The size is checked with HAKMEM_GUARD=1 only, the alignment never. `ptr` may be NULL.
///
/// # Safety
/// As [`hak_free`]; `alignment` and `size` are what the block was asked for with.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_free_aligned_sized(ptr: *mut c_void, alignment: usize, size: usize) {
    let _ = alignment;
    // SAFETY: passed on from our caller.
    unsafe { api::free_sized(ptr, size) }
}

/// Allocates `size` bytes at a multiple of `alignment`; aligned_alloc() under a name of our own.
///
/// An alignment that is no power of two is rounded up to one; `size` need not be a multiple of it.
///
/// @return as hak_malloc(); NULL with errno = EINVAL if the alignment exceeds the greatest power of two
/// in a size_t. Thread-safe.
///
/// cbindgen:prefix=HAK_ATTRIBUTE((__malloc__, __alloc_size__(2), __warn_unused_result__))
///
/// # Safety
/// Any arguments are allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: memalign takes any arguments.
    unsafe { memalign(alignment, size) }
}

/// Allocates `size` bytes at a multiple of `alignment` into `*memptr`; posix_memalign() under a name of
/// our own.
///
/// @return 0; EINVAL if `alignment` is not a power of two or is less than sizeof(void *); ENOMEM. On
/// failure `*memptr` is untouched; errno always is. The caller owns the block. Thread-safe.
///
/// cbindgen:prefix=HAK_ATTRIBUTE((__nonnull__(1), __warn_unused_result__))
///
/// # Safety
/// `memptr` is valid for writing a pointer.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_posix_memalign(
    memptr: *mut *mut c_void,
    alignment: usize,
    size: usize,
) -> c_int {
    naked_asm!("mov rcx, [rsp]", "jmp {}", sym posix_memalign_at)
}

/// How many bytes a block has: at least what was asked for; 0 for NULL.
///
/// What is beyond may be used in a block of hak_malloc_at_least() only. Of others the compiler knows what was
/// asked for, and with _FORTIFY_SOURCE ends a program that goes beyond: ask for hak_good_size() bytes.
/// errno is untouched. Thread-safe, but nobody may free or resize the block meanwhile.
///
/// # Safety
/// `ptr` is NULL or a live block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_usable_size(ptr: *mut c_void) -> usize {
    // SAFETY: passed on from our caller.
    unsafe { usable_size(ptr) }
}

/// The number of bytes that a request for `size` bytes really gets: ask for that many and none is
/// wasted. Above PTRDIFF_MAX, where every request fails, that is `size`. Allocates nothing; errno is untouched.
/// Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn hak_good_size(size: usize) -> usize {
    api::good_size(size)
}

/// Gives the operating system all memory that can be spared, except about `pad` bytes; malloc_trim()
/// under a name of our own.
///
/// What other threads keep in their magazines, and of large blocks, is theirs, and stays.
///
/// @return 1 if any memory was given back, 0 otherwise. errno is untouched. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn hak_trim(pad: usize) -> c_int {
    trim(pad)
}

/// The library's version, as in "0.1.0": a string that lives as long as the process. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn hak_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Writes a table of the allocator's counters to a file descriptor, allocating nothing.
///
/// Counters are read while other threads go on, so they are close to, but not exactly, one moment's.
/// errno is untouched, and errors in writing are ignored; no SIGPIPE is sent. Where the system has no memory to gather
/// the counters in, one line says so. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn hak_stats_print(fd: c_int) {
    stats_print(fd);
}

/// Writes the same counters as one JSON object and a terminating NUL, as snprintf() would.
///
/// @param buffer where to; at most `size` bytes are written. May be NULL if `size` is 0.
/// @return the length of the whole object, without the NUL: if it is not less than `size`, the buffer
/// holds only its beginning. 0, and an empty text, if the system has no memory to gather the counters in.
/// errno is untouched; nothing is allocated by malloc. Thread-safe; a counter may gain a digit between two
/// calls.
///
/// # Safety
/// `buffer` is valid for writing `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_stats_json(buffer: *mut c_char, size: usize) -> usize {
    // SAFETY: the caller's.
    unsafe { text_into(buffer, size, observe::write_json_buf) }
}

/// Writes what has been learned so far as one JSON object and a terminating NUL, as snprintf() would: the
/// strategy in force, what the last window cost, and the rating of each strategy.
///
/// @param buffer where to; at most `size` bytes are written. May be NULL if `size` is 0.
/// @return the length of the whole object, without the NUL, as hak_stats_json(). errno is untouched;
/// nothing is allocated. Thread-safe.
///
/// # Safety
/// `buffer` is valid for writing `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_policy_json(buffer: *mut c_char, size: usize) -> usize {
    // SAFETY: the caller's.
    unsafe { text_into(buffer, size, observe::write_policy_json) }
}

/// A call site that takes blocks of more than 32 KiB (buffers that realloc grows: of 4 or 8 KiB), and what has been
/// learned of it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct hak_site {
    /// The return address of its calls; NULL for all sites together where they are not told apart.
    pub address: *const c_void,
    /// How many such blocks it took that were not at hand in its thread.
    pub takes: u64,
    /// Bytes of these blocks, in sum.
    pub bytes: u64,
    /// Bytes of the largest of them.
    pub largest: usize,
    /// How many of its freed blocks may stay resident beyond the warm budget, because it took as many
    /// again soon after they had been given back.
    pub credit: u32,
    /// 0: not known; 1: some block was mostly untouched; 2: all that were looked at were touched all over,
    /// so that they are populated ahead.
    pub density: u32,
    /// 1 if they are buffers that grow by realloc, else 0.
    pub growing: u32,
}

/// Writes what is known of up to `count` call sites to `sites`, in no order.
///
/// @param sites room for `count` of them; may be NULL if `count` is 0.
/// @return how many sites there are, which may be more than `count`. errno is untouched; nothing is
/// allocated. Thread-safe; another call may find more.
///
/// # Safety
/// `sites` is valid for writing `count` sites.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_site_list(sites: *mut hak_site, count: usize) -> usize {
    let mut n = 0;
    large::each_site(|site| {
        if n < count {
            // SAFETY: the caller vouches for `count` sites.
            unsafe {
                sites.add(n).write(hak_site {
                    address: site.address as *const c_void,
                    takes: site.takes,
                    bytes: site.bytes,
                    largest: site.largest,
                    credit: site.credit.into(),
                    density: site.density as u32,
                    growing: site.growing.into(),
                });
            }
        }
        n += 1;
    });
    n
}

/// Names a call site as "file+0xoffset", and " (function+0xoffset)" behind it where the dynamic linker
/// knows the function: as snprintf() would. An address in no file that is loaded is named by its number.
///
/// @param address of a hak_site.
/// @param buffer where to; at most `size` bytes are written. May be NULL if `size` is 0.
/// @return the length of the name, without the NUL. errno is untouched. Thread-safe; not to be called
/// while a library is being loaded by the calling thread.
///
/// # Safety
/// `buffer` is valid for writing `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hak_site_name(
    address: *const c_void,
    buffer: *mut c_char,
    size: usize,
) -> usize {
    // SAFETY: the caller's.
    unsafe {
        text_into(buffer, size, |text| {
            observe::write_site_name(address as usize, text)
        })
    }
}

/// Has `write` write into `size` bytes at `buffer`, and a NUL behind it; the length of all of it.
///
/// # Safety
/// `buffer` is NULL, or valid for writing `size` bytes.
unsafe fn text_into(buffer: *mut c_char, size: usize, write: impl Fn(&mut [u8]) -> usize) -> usize {
    let before = errno();
    let bytes: &mut [u8] = if buffer.is_null() {
        &mut []
    } else {
        // SAFETY: our caller vouches for size bytes; no other reference to them exists during the call.
        unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), size) }
    };
    let needed = match bytes.split_last_mut() {
        None => write(&mut []),
        Some((last, text)) => {
            let needed = write(text);
            *text.get_mut(needed).unwrap_or(last) = 0;
            needed
        }
    };
    set_errno(before);
    needed
}
