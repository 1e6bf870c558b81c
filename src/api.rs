//! malloc and its kin as Rust functions: which tier serves a request, and what failing means.
//!
//! No standard names and no rules of C beyond errno: out of memory is NULL with errno ENOMEM, and
//! errno is untouched otherwise. Every function may be called from any thread at any time, before
//! and after the constructors and destructors of the program. Nothing here panics.
//!
//! A slow path gets the call site from the naked function that the fast path tail-calls: it reads
//! the return address where the caller left it, so a hit pays nothing for it.

use core::arch::{asm, global_asm, naked_asm};
use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::base::class::LINEAR_MAX;
use crate::base::{Class, Misuse, PAGE, SMALL_MAX, align_up, knobs};
use crate::guard;
pub use crate::guard::ON as GUARDED;
use crate::heap::{self, Heap, Look, tls};
use crate::large::{self, Request, Resize};
use crate::learn;
use crate::os;
use crate::space::map::{self, Kind};
use crate::space::{pool, warm};
use crate::sync;

/// Blocks of slabs are multiples of any alignment up to this that divides the size asked for.
const SLAB_ALIGN_MAX: usize = 16 << 10;
/// A block that realloc grows to at least this is placed where it can grow on.
const GROWING_MIN: usize = 8 << 10;
/// So is one of this size that has just been grown this many times in a row.
const CHAIN_GROWING_MIN: usize = 4 << 10;
/// See [`CHAIN_GROWING_MIN`].
const CHAIN_MIN: u8 = 4;
/// A small block that realloc grows by less than one of this many parts gets one more as headroom.
const HEADROOM: usize = 8;

/// A block of at least `size` bytes if this thread has one at hand, else NULL. Never slow.
///
/// # Safety
/// None beyond what holds for every block: the caller owns it.
#[inline(always)]
pub unsafe fn pop_fast(size: usize) -> *mut c_void {
    if size <= LINEAR_MAX {
        // SAFETY: the number is at most that of the class of LINEAR_MAX. Class 0 has no blocks.
        unsafe { Heap::pop(tls::heap(), (size + 15) >> 4).cast() }
    } else {
        null_mut()
    }
}

/// A block of at least `size` bytes, aligned to 16. NULL: out of memory, errno is ENOMEM.
///
/// # Safety
/// The caller owns the block until it is freed.
#[inline(always)]
pub unsafe fn malloc(size: usize) -> *mut c_void {
    // SAFETY: the caller's.
    unsafe {
        let block = pop_fast(size);
        if !block.is_null() {
            return block;
        }
        malloc_miss(size)
    }
}

/// Frees a block. NULL is nothing; errno is kept.
///
/// # Safety
/// `block` is NULL or in use, and not used any more. Any thread may free it.
#[inline(always)]
pub unsafe fn free(block: *mut c_void) {
    // SAFETY: the caller's.
    unsafe {
        let heap = tls::heap();
        match Heap::look(heap, block.cast()) {
            Some(look) => {
                if !Heap::push(heap, block.cast(), look) {
                    free_slow(block, look.0);
                }
            }
            None => free_rare(block),
        }
    }
}

/// [`free`] for a caller who says how many bytes the block was asked for with. While blocks are guarded,
/// that has to be so.
///
/// # Safety
/// As [`free`].
#[inline(always)]
pub unsafe fn free_sized(block: *mut c_void, size: usize) {
    // SAFETY: the caller's.
    unsafe {
        let heap = tls::heap();
        match Heap::look(heap, block.cast()) {
            Some(look) => {
                if !Heap::push(heap, block.cast(), look) {
                    free_sized_slow(block, look.0, size);
                }
            }
            None => free_sized_rare(block, size),
        }
    }
}

/// A zeroed block of at least `n * size` bytes, as [`malloc`].
///
/// # Safety
/// As [`malloc`].
#[inline(always)]
pub unsafe fn calloc(n: usize, size: usize) -> *mut c_void {
    // SAFETY: the block has at least the bytes asked for.
    unsafe {
        if let Some(bytes) = n.checked_mul(size) {
            let block = pop_fast(bytes);
            if !block.is_null() {
                block.cast::<u8>().write_bytes(0, bytes);
                return block;
            }
        }
        calloc_miss(n, size)
    }
}

/// Makes a block at least `size` bytes large, moving it if need be, and keeping its content up to
/// the smaller size. NULL for `block` asks for a new one. NULL: out of memory, errno is ENOMEM, and
/// the block is as it was; a smaller size never fails.
///
/// # Safety
/// As [`free`], unless NULL is returned.
#[inline(always)]
pub unsafe fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the caller's.
    unsafe {
        if block.is_null() {
            let block = pop_fast(size);
            if !block.is_null() {
                return block;
            }
        }
        realloc_entry(block, size)
    }
}

/// A block of at least `size` bytes, aligned to `align`, a power of two. As [`malloc`] otherwise.
///
/// # Safety
/// As [`malloc`].
#[inline(always)]
pub unsafe fn memalign(align: usize, size: usize) -> *mut c_void {
    // SAFETY: the caller's.
    unsafe { memalign_entry(align, size) }
}

/// Jumps to `$slow` with the return address as one more argument, in `$register`.
macro_rules! with_site {
    ($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $slow:path, $register:literal) => {
        $(#[$doc])*
        #[unsafe(naked)]
        unsafe extern "C" fn $name($($arg: $type),*) -> *mut c_void {
            naked_asm!(concat!("mov ", $register, ", [rsp]"), "jmp {}", sym $slow)
        }
    };
}

with_site!(malloc_miss(_size: usize) -> malloc_slow, "rsi");
with_site!(calloc_miss(_n: usize, _size: usize) -> calloc_slow, "rdx");
with_site!(realloc_entry(_block: *mut c_void, _size: usize) -> realloc_slow, "rdx");
with_site!(memalign_entry(_align: usize, _size: usize) -> memalign_slow, "rdx");

/// [`malloc`] for a caller that knows its call site: a return address, or any other number that
/// tells sites apart.
///
/// # Safety
/// As [`malloc`].
pub unsafe extern "C" fn malloc_slow(size: usize, site: usize) -> *mut c_void {
    // SAFETY: the caller's.
    unsafe {
        if size <= SMALL_MAX {
            small(Class::of(size), size)
        } else {
            big(size, 16, false, site, false)
        }
    }
}

/// [`calloc`] for a caller that knows its call site.
///
/// # Safety
/// As [`calloc`].
pub unsafe extern "C" fn calloc_slow(n: usize, size: usize, site: usize) -> *mut c_void {
    let Some(bytes) = n.checked_mul(size) else {
        return out_of_memory();
    };
    // SAFETY: the caller's; the block has at least `bytes` bytes.
    unsafe {
        if bytes > SMALL_MAX {
            return big(bytes, 16, true, site, false);
        }
        let block = small(Class::of(bytes), bytes);
        if !block.is_null() {
            block.cast::<u8>().write_bytes(0, bytes);
        }
        block
    }
}

/// [`memalign`] for a caller that knows its call site.
///
/// # Safety
/// As [`memalign`].
pub unsafe extern "C" fn memalign_slow(align: usize, size: usize, site: usize) -> *mut c_void {
    // SAFETY: the caller's.
    unsafe {
        if align <= 16 {
            return malloc_slow(size, site);
        }
        if align <= SLAB_ALIGN_MAX && size <= SMALL_MAX - align {
            // A class that holds a multiple of the alignment is one (see `base::class`), and slabs
            // start at multiples of 64 KiB.
            if guard::on() {
                return guarded(size, align);
            }
            return small(Class::of(align_up(size.max(1), align)), size);
        }
        big(size, align, false, site, false)
    }
}

/// A block of `class` from this thread's heap, or from the shared one if it cannot have any, for a caller
/// who wants `bytes` bytes.
#[inline(always)]
unsafe fn small(class: Class, bytes: usize) -> *mut c_void {
    // SAFETY: the heap is this thread's, or none, which has no blocks.
    unsafe {
        let block = Heap::pop(tls::heap(), class.number());
        if !block.is_null() {
            return block.cast();
        }
        small_slow(class, bytes)
    }
}

#[inline(never)]
unsafe fn small_slow(class: Class, bytes: usize) -> *mut c_void {
    if guard::on() {
        return guarded(bytes, 16);
    }
    // SAFETY: the caller's.
    unsafe {
        let block = refill(class);
        if !block.is_null() {
            block.cast()
        } else {
            small_again(class)
        }
    }
}

#[inline]
unsafe fn refill(class: Class) -> *mut u8 {
    // SAFETY: the heap is this thread's, or locked.
    unsafe {
        match heap::current() {
            Some(heap) => Heap::take(heap, class),
            None => heap::shared().map_or(null_mut(), |shared| Heap::take(shared.heap(), class)),
        }
    }
}

#[cold]
#[inline(never)]
unsafe fn small_again(class: Class) -> *mut c_void {
    give_everything_back();
    // SAFETY: the caller's.
    let block = unsafe { refill(class) };
    if !block.is_null() {
        return block.cast();
    }
    out_of_memory()
}

/// A guarded block that is not large.
#[cold]
#[inline(never)]
fn guarded(bytes: usize, align: usize) -> *mut c_void {
    if !guard::can_seal(bytes, align) {
        return big_guarded(Request {
            bytes,
            align,
            zero: false,
            site: 0,
            growing: false,
        });
    }
    if let Some(block) = guard::take(bytes, align) {
        return block.as_ptr().cast();
    }
    give_everything_back();
    guard::take(bytes, align).map_or_else(out_of_memory, |block| block.as_ptr().cast())
}

/// A block that slabs do not serve.
unsafe fn big(bytes: usize, align: usize, zero: bool, site: usize, growing: bool) -> *mut c_void {
    if bytes > isize::MAX as usize || align > isize::MAX as usize {
        return out_of_memory();
    }
    let request = Request {
        bytes,
        align,
        zero,
        site: if knobs::SITES.get() { site } else { 0 },
        growing,
    };
    if guard::on() {
        return big_guarded(request);
    }
    match take_large(request) {
        Some(block) => block.as_ptr().cast(),
        None => big_again(request),
    }
}

/// A guarded block, or an ordinary one if there are no fences left or the system has no mappings for that.
#[cold]
#[inline(never)]
fn big_guarded(request: Request) -> *mut c_void {
    guard::take(request.bytes, request.align)
        .or_else(|| take_large(request))
        .map_or_else(|| big_again(request), |block| block.as_ptr().cast())
}

#[inline]
fn take_large(request: Request) -> Option<NonNull<u8>> {
    // SAFETY: the heap is this thread's.
    let front = heap::current().map(|heap| unsafe { &(*heap).large });
    large::take(front, request)
}

#[cold]
#[inline(never)]
fn big_again(request: Request) -> *mut c_void {
    if request.is_hopeless() {
        // Nothing that is kept is given back in vain: such sizes come out of damaged files.
        return out_of_memory();
    }
    give_everything_back();
    take_large(request).map_or_else(out_of_memory, |block| block.as_ptr().cast())
}

#[cold]
fn out_of_memory() -> *mut c_void {
    // SAFETY: the location is this thread's.
    unsafe { *libc::__errno_location() = libc::ENOMEM };
    null_mut()
}

/// Before a request is tried again, and fails: frees the blocks, addresses and memory that are only kept.
#[cold]
fn give_everything_back() {
    if guard::on() {
        guard::release_held();
    }
    trim_to(0);
}

/// What the fast path of free did not take; `look` is what a [`Look`] holds.
#[inline(never)]
unsafe extern "C" fn free_slow(block: *mut c_void, look: usize) {
    // SAFETY: the caller's; an entry in the slab map says in which slab the block is.
    unsafe {
        match Look(look).others_class() {
            Some(class) => heap::free_remote(block.cast(), class),
            None => free_rare(block),
        }
    }
}

/// [`free_slow`], [`free_rare`] of a block whose size the caller knows.
#[inline(never)]
unsafe extern "C" fn free_sized_slow(block: *mut c_void, look: usize, size: usize) {
    // SAFETY: as `free_slow`.
    unsafe {
        match Look(look).others_class() {
            Some(class) => heap::free_remote(block.cast(), class),
            None => free_sized_rare(block, size),
        }
    }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn free_sized_rare(block: *mut c_void, size: usize) {
    // SAFETY: the caller's.
    unsafe {
        check_size("free_sized", block, size);
        free_rare(block);
    }
}

/// While blocks are guarded, ends the process if `block` is one that was asked for with another size.
///
/// # Safety
/// As [`free`].
#[cold]
pub unsafe fn check_size(call: &str, block: *mut c_void, size: usize) {
    let entry = map::lookup(block as usize);
    if let (Some(start), Kind::Sealed(_) | Kind::Fenced(_)) =
        (NonNull::new(block.cast::<u8>()), entry.kind())
    {
        // SAFETY: the caller's.
        unsafe { guard::check_size(call, start, entry, size) };
    }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn free_rare(block: *mut c_void) {
    let Some(start) = NonNull::new(block.cast::<u8>()) else {
        return;
    };
    let address = block as usize;
    let entry = map::lookup(address);
    if let Kind::Sealed(_) | Kind::Fenced(_) = entry.kind() {
        // SAFETY: the caller's, and the entry says so.
        return unsafe { guard::give("free", start, entry) };
    }
    // A thread that only frees gets a heap, too: for its outbox and its large blocks.
    let heap = heap::current();
    // SAFETY: the caller's; what the slab map says of the block decides who takes it.
    unsafe {
        match entry.kind() {
            Kind::Sealed(_) | Kind::Fenced(_) => {}
            Kind::Slab(class) => {
                if let Some(heap) = heap {
                    Heap::look_at(heap, address);
                }
                let heap = tls::heap();
                if !heap::is_mine(entry) {
                    heap::free_remote(start.as_ptr(), class);
                } else if !Heap::look(heap, start.as_ptr())
                    .is_some_and(|look| Heap::push(heap, start.as_ptr(), look))
                {
                    Heap::push_slow(heap, start.as_ptr(), class);
                }
            }
            Kind::Run | Kind::Large(_) => {
                let front = heap.map(|heap| &(*heap).large);
                if let Err(misuse) = large::give(front, start, entry) {
                    bad_pointer("free", misuse, address);
                }
            }
            Kind::Foreign => foreign::free(block),
        }
    }
}

#[cold]
fn bad_pointer(call: &str, misuse: Misuse, address: usize) -> ! {
    os::misuse(call, misuse.why(), address)
}

unsafe extern "C" fn realloc_slow(block: *mut c_void, size: usize, site: usize) -> *mut c_void {
    // SAFETY: the caller's; what returns NULL has done nothing.
    unsafe {
        let moved = realloc_at_hand(block, size);
        if !moved.is_null() {
            return moved;
        }
        realloc_any(block, size, site)
    }
}

/// [`realloc`] of a small block of this thread's, if it may stay where it is, or one for `size` bytes is at hand and the
/// block does not grow so far that it may get a place where it can grow on. NULL, and nothing is done, otherwise.
///
/// # Safety
/// As [`realloc`].
#[inline(always)]
unsafe fn realloc_at_hand(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the heap is this thread's, or none: that has no blocks, neither this one nor others. The old block has
    // `old` bytes, the new one at least `size`, and they are two: both are in use. Nothing in between changes what the
    // look has seen.
    unsafe {
        let heap = tls::heap();
        let Some(look) = Heap::look(heap, block.cast()) else {
            return null_mut();
        };
        let Some(class) = look.own_class() else {
            return null_mut();
        };
        let old = class.size();
        if stays(size, old) {
            return block;
        }
        if size > old && size >= CHAIN_GROWING_MIN {
            return null_mut();
        }
        let new = Heap::pop(heap, Class::of(with_headroom(size, old)).number());
        if new.is_null() {
            return null_mut();
        }
        new.copy_from_nonoverlapping(block.cast(), old.min(size));
        let chain = chain_after(heap, block, size > old);
        if !Heap::push(heap, block.cast(), look) {
            free_slow(block, look.0);
        }
        Heap::set_chain(heap, new, chain);
        new.cast()
    }
}

/// Whether a small block of `old` bytes is not too large for `size`, nor too small.
#[inline(always)]
fn stays(size: usize, old: usize) -> bool {
    size <= old && (size > old / 2 || old <= 64)
}

/// Bytes to ask for where a block of `old` bytes is to have `size`, at most [`SMALL_MAX`]: what grows by little is likely to
/// grow again.
#[inline(always)]
fn with_headroom(size: usize, old: usize) -> usize {
    debug_assert!(size <= SMALL_MAX);
    let more = if size > old && size - old <= old / HEADROOM && knobs::GROWTH.get() {
        size / HEADROOM
    } else {
        0
    };
    (size + more).min(SMALL_MAX)
}

/// How many times in a row `block` was grown when it `grows` now.
///
/// # Safety
/// `heap` is [`tls::heap`]'s.
#[inline(always)]
unsafe fn chain_after(heap: *const Heap, block: *mut c_void, grows: bool) -> u8 {
    if grows {
        // SAFETY: the caller's.
        unsafe { Heap::chain(heap, block.cast()) }
    } else {
        0
    }
}

/// [`realloc`] of any block, for the call site `site`.
///
/// # Safety
/// As [`realloc`].
#[inline(never)]
unsafe fn realloc_any(block: *mut c_void, size: usize, site: usize) -> *mut c_void {
    let Some(start) = NonNull::new(block.cast::<u8>()) else {
        // SAFETY: the caller's.
        return unsafe { malloc_slow(size, site) };
    };
    if size > isize::MAX as usize {
        return out_of_memory();
    }
    let entry = map::lookup(block as usize);
    // SAFETY: the caller's. The old block has `old` bytes, the new one at least `size`.
    unsafe {
        let old = match entry.kind() {
            Kind::Foreign => return foreign::realloc(block, size),
            Kind::Sealed(_) | Kind::Fenced(_) => return realloc_guarded(start, entry, size, site),
            Kind::Slab(class) => {
                let old = class.size();
                if stays(size, old) {
                    return block;
                }
                old
            }
            Kind::Run | Kind::Large(_) => {
                let old = match large::usable(start, entry) {
                    Ok(old) => old,
                    Err(misuse) => bad_pointer("realloc", misuse, block as usize),
                };
                if size > SMALL_MAX || size > old / 2 {
                    let front = heap::current().map(|heap| &(*heap).large);
                    match large::resize(front, start, entry, size, site) {
                        Resize::InPlace => return block,
                        Resize::Moved(moved) => return moved.as_ptr().cast(),
                        Resize::CannotInPlace => {}
                    }
                }
                old
            }
        };
        let chain = chain_after(tls::heap(), block, size > old);
        let errno = if size <= old {
            *libc::__errno_location()
        } else {
            0
        };
        let growing = size > old
            && (size >= GROWING_MIN || size >= CHAIN_GROWING_MIN && chain >= CHAIN_MIN)
            && knobs::GROWTH.get();
        let new = if growing {
            growing_buffer(size, site)
        } else if size <= SMALL_MAX {
            let bytes = with_headroom(size, old);
            small(Class::of(bytes), bytes)
        } else {
            malloc_slow(size, site)
        };
        if !new.is_null() {
            new.cast::<u8>()
                .copy_from_nonoverlapping(start.as_ptr(), old.min(size));
            free(block);
            Heap::set_chain(tls::heap(), new.cast(), chain);
            new
        } else if size <= old {
            // Too large, but there is none that fits: programs do not expect shrinking to fail.
            *libc::__errno_location() = errno;
            block
        } else {
            new
        }
    }
}

/// A block of `size` bytes that can grow where it is; where there are no pages for that, one that slabs serve.
#[inline(never)]
unsafe fn growing_buffer(size: usize, site: usize) -> *mut c_void {
    // SAFETY: errno is this thread's.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: any size.
    let buffer = unsafe { big(size, 16, false, site, true) };
    if !buffer.is_null() || size > SMALL_MAX {
        return buffer;
    }
    // SAFETY: a class that holds as many bytes.
    let block = unsafe { small(Class::of(size), size) };
    if !block.is_null() {
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = errno };
    }
    block
}

/// Moves a guarded block, always, so that whoever keeps the old address is found out.
#[cold]
#[inline(never)]
unsafe fn realloc_guarded(
    block: NonNull<u8>,
    entry: map::Entry,
    size: usize,
    site: usize,
) -> *mut c_void {
    // SAFETY: the caller's. The old block has `old` bytes, the new one at least `size`.
    unsafe {
        let old = guard::usable("realloc", block, entry);
        let new = malloc_slow(size, site);
        if !new.is_null() {
            new.cast::<u8>()
                .copy_from_nonoverlapping(block.as_ptr(), old.min(size));
            guard::give("realloc", block, entry);
        }
        new
    }
}

/// Bytes that the block's owner may use, at least what was asked for. 0 for NULL.
///
/// # Safety
/// `block` is NULL or in use.
pub unsafe fn usable_size(block: *mut c_void) -> usize {
    let Some(start) = NonNull::new(block.cast::<u8>()) else {
        return 0;
    };
    let entry = map::lookup(block as usize);
    // SAFETY: the caller's.
    unsafe {
        match entry.kind() {
            Kind::Slab(class) => class.size(),
            Kind::Run | Kind::Large(_) => match large::usable(start, entry) {
                Ok(bytes) => bytes,
                Err(misuse) => bad_pointer("malloc_usable_size", misuse, block as usize),
            },
            Kind::Foreign => foreign::usable_size(block),
            Kind::Sealed(_) | Kind::Fenced(_) => guard::usable("malloc_usable_size", start, entry),
        }
    }
}

/// The usable size of a block that [`malloc`] would return for `size`, at least.
pub fn good_size(size: usize) -> usize {
    if guard::on() {
        size
    } else if size <= SMALL_MAX {
        Class::of(size).size()
    } else if size > isize::MAX as usize {
        size
    } else {
        align_up(size, PAGE)
    }
}

/// Gives free memory back to the system: what this thread keeps, what is kept for threads without a
/// heap, and everything that is warm. `pad` bytes may stay. True if anything was given back.
///
/// # Safety
/// None; it is an operation on the whole process.
pub unsafe fn trim(pad: usize) -> bool {
    let given = || os::PURGED_BYTES.load(Relaxed) + os::UNMAPPED_BYTES.load(Relaxed);
    let before = given();
    trim_to(pad);
    given() > before
}

/// See [`trim`].
fn trim_to(pad: usize) {
    learn::trim(|| trim_all_to(pad));
    // Nor is anything learned from what is missed then.
    warm::forget_given();
}

fn trim_all_to(pad: usize) {
    let pad = pad.min(isize::MAX as usize);
    let heap = tls::heap();
    if Heap::is_real(heap) {
        // SAFETY: the calling thread's, and nothing of it is borrowed where memory is asked for or trimmed.
        unsafe { Heap::trim(heap) };
    }
    if let Some(shared) = heap::shared_if_made() {
        // SAFETY: the heap is ours while it is locked.
        unsafe { Heap::trim(shared.heap()) };
    }
    let kept = warm::WARM.load(Relaxed).max(0) as usize + large::earned_bytes();
    if pad == 0 || kept > pad {
        large::trim();
    }
    while warm::WARM.load(Relaxed) > pad as isize && pool::purge_to(pad) {}
    if pad == 0 {
        pool::unmap_empty();
    }
    os::unmap_refused();
}

// The first malloc may well come earlier, and needs none of this: what happens here is what the environment and the
// handlers at fork and exit are for. (Unit tests say themselves what is switched on.)
#[cfg(not(any(test, loom)))]
ctor::declarative::ctor! {
    #[ctor(unsafe)]
    fn init() {
        init_process();
    }
}

/// What is done once for the process: read the environment, be told of forks. Called by a constructor, in a Rust
/// program as in the library; allocating earlier is fine.
pub fn init_process() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Relaxed) {
        return;
    }
    sync::on_new_process(heap::new_process);
    crate::observe::read_environment();
    crate::observe::load_profile();
    // SAFETY: the handler is async-signal-safe enough for a child: it only resets words. The call
    // may allocate, which is fine by now.
    unsafe { libc::pthread_atfork(None, None, Some(after_fork)) };
    if guard::WANTED.load(Relaxed) && !guard::start() {
        crate::observe::say(format_args!(
            "hakmem: no memory for HAKMEM_GUARD: blocks are not guarded"
        ));
    }
    if knobs::PREALLOCATE.get() && knobs::SUPERSLABS.get() {
        pool::preallocate();
    }
}

unsafe extern "C" fn after_fork() {
    sync::forked();
}

/// The walk over all invariants that the calling thread can check: for tests and reports.
pub fn check() -> Result<(), &'static str> {
    pool::check()?;
    large::check()?;
    guard::check()?;
    let heap = tls::heap();
    if Heap::is_real(heap) {
        // SAFETY: the calling thread's.
        unsafe { (*heap).check()? };
    }
    Ok(())
}

/// Blocks that are not ours: a library opened with `RTLD_DEEPBIND` or in a namespace of its own
/// allocates with glibc's malloc and may hand its blocks to us. glibc's own entries take them.
mod foreign {
    use super::{asm, c_void, global_asm, guard, os};
    use crate::base::size::ADDRESS_BITS;

    global_asm!(".weak __libc_free", ".weak __libc_realloc");

    macro_rules! weak {
        ($name:literal) => {{
            let address: usize;
            // SAFETY: reads the address that the dynamic linker has resolved, 0 if there is none.
            unsafe {
                asm!(
                    concat!("mov {}, qword ptr [rip + ", $name, "@GOTPCREL]"),
                    out(reg) address,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            address
        }};
    }

    #[cold]
    fn nobodys(call: &str, block: *mut c_void) -> ! {
        os::misuse(call, "not a block of any allocator here", block as usize)
    }

    /// The lowest address that Linux lets programs map by default.
    const LOWEST: usize = 1 << 16;

    /// Ends the process for what cannot be a block of glibc's either.
    fn look_at(call: &str, block: *mut c_void) {
        let address = block as usize;
        if !address.is_multiple_of(16) || address < LOWEST || address >> ADDRESS_BITS != 0 {
            nobodys(call, block);
        }
        if guard::on() {
            guard::look_at_stranger(call, address);
        }
    }

    pub(super) unsafe fn free(block: *mut c_void) {
        look_at("free", block);
        match weak!("__libc_free") {
            0 => nobodys("free", block),
            // SAFETY: glibc's free, with errno as it was: glibc 2.33 and later keep it.
            address => unsafe {
                core::mem::transmute::<usize, unsafe extern "C" fn(*mut c_void)>(address)(block);
            },
        }
    }

    pub(super) unsafe fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
        look_at("realloc", block);
        match weak!("__libc_realloc") {
            0 => nobodys("realloc", block),
            // SAFETY: glibc's realloc, which sets errno itself.
            address => unsafe {
                core::mem::transmute::<usize, unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void>(
                    address,
                )(block, size)
            },
        }
    }

    /// glibc has no second name for malloc_usable_size, so this reads what its manual's "internals"
    /// document: the word before a block is the chunk's size with three flags; a chunk that was
    /// mapped alone (flag 2) has two words of overhead, others share one with their neighbour.
    pub(super) unsafe fn usable_size(block: *mut c_void) -> usize {
        look_at("malloc_usable_size", block);
        if weak!("__libc_free") == 0 {
            nobodys("malloc_usable_size", block);
        }
        // SAFETY: the caller's: a block of glibc's malloc.
        let word = unsafe { block.cast::<usize>().sub(1).read() };
        (word & !7).saturating_sub(if word & 2 != 0 { 16 } else { 8 })
    }
}

#[cfg(test)]
mod tests;
