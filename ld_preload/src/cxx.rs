//! operator new and operator delete of C++, in all forms.
//!
//! Four of the twenty do the work; the rest pass on to them by name, exactly as the C++ standard has
//! its default versions do: `new[]` calls `new`, a sized `delete` calls the plain one, and a `nothrow`
//! form calls the throwing one and catches. A program that replaces only some of them therefore gets
//! its own where it would under libstdc++, although our versions stand in front of that library.
//!
//! Out of memory: the new handler is called, again and again, until there is memory, no handler is
//! left (`std::bad_alloc` is thrown, or a `nothrow` form returns NULL), or the handler does not return
//! (it may throw, too). Exceptions cannot pass through Rust frames here, so the slow paths are naked
//! functions with unwind tables of their own, in [`arch`]; Rust is only called from them for what cannot
//! throw.
//!
//! No C++ library is a dependency: a C program runs without one. Its entries, and those of the unwinder,
//! are weak references, looked up by name if the library came in later by dlopen, also if it is part of
//! the library that called. If there is none, a throwing `new` without memory says so in one line and
//! aborts.

#[path = "cxx/x86_64.rs"]
mod arch;

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::{MaybeUninit, transmute};
use core::ptr::{null, null_mut};

use hakmem_core::api;
use hakmem_core::c_api::MIN_ALIGN;

use arch::{bound_address, keep_apart, own_address, weak_address, weak_versioned_address};

/// `operator new(size_t)`.
///
/// # Safety
/// Any size is allowed.
#[unsafe(export_name = "_Znwm")]
unsafe extern "C" fn new(size: usize) -> *mut c_void {
    keep_apart!("_Znwm");
    // SAFETY: any size is allowed.
    let block = unsafe { api::pop_fast(size) };
    if !block.is_null() {
        return block;
    }
    // This must stay a tail call: the naked function reads the call site off the stack, and what it
    // throws must not meet a frame of ours.
    // SAFETY: any size is allowed; MIN_ALIGN is a power of two.
    unsafe { arch::new_slow(size, MIN_ALIGN) }
}

/// `operator new(size_t, align_val_t)`.
///
/// # Safety
/// Any size is allowed; `alignment` is a power of two.
#[unsafe(export_name = "_ZnwmSt11align_val_t")]
unsafe extern "C" fn new_aligned(size: usize, alignment: usize) -> *mut c_void {
    keep_apart!("_ZnwmSt11align_val_t");
    if alignment <= MIN_ALIGN {
        // SAFETY: any size is allowed.
        let block = unsafe { api::pop_fast(size) };
        if !block.is_null() {
            return block;
        }
    }
    // SAFETY: passed on from our caller.
    unsafe { arch::new_slow(size, alignment) }
}

/// `operator delete(void*)`.
///
/// # Safety
/// `ptr` is NULL or a live block.
#[unsafe(export_name = "_ZdlPv")]
unsafe extern "C" fn delete(ptr: *mut c_void) {
    keep_apart!("_ZdlPv");
    // SAFETY: passed on from our caller.
    unsafe { api::free(ptr) }
}

/// `operator delete(void*, align_val_t)`.
///
/// # Safety
/// `ptr` is NULL or a live block.
#[unsafe(export_name = "_ZdlPvSt11align_val_t")]
unsafe extern "C" fn delete_aligned(ptr: *mut c_void, alignment: usize) {
    let _ = alignment;
    keep_apart!("_ZdlPvSt11align_val_t");
    // SAFETY: passed on from our caller.
    unsafe { api::free(ptr) }
}

/// Exports operators that jump to another one, through the table that the dynamic linker fills: the
/// program's own if it has replaced that one.
macro_rules! forward {
    ($($(#[$doc:meta])* $name:ident = $symbol:literal => $target:literal;)*) => {$(
        $(#[$doc])*
        #[unsafe(naked)]
        #[unsafe(export_name = $symbol)]
        unsafe extern "C" fn $name() {
            arch::jump_to!($symbol => $target)
        }
    )*};
}

forward! {
    /// `operator new[](size_t)`
    new_array = "_Znam" => "_Znwm";
    /// `operator new[](size_t, align_val_t)`
    new_array_aligned = "_ZnamSt11align_val_t" => "_ZnwmSt11align_val_t";
    /// `operator delete[](void*)`
    delete_array = "_ZdaPv" => "_ZdlPv";
    /// `operator delete(void*, nothrow_t const&)`
    delete_nothrow = "_ZdlPvRKSt9nothrow_t" => "_ZdlPv";
    /// `operator delete[](void*, nothrow_t const&)`
    delete_array_nothrow = "_ZdaPvRKSt9nothrow_t" => "_ZdaPv";
    /// `operator delete[](void*, align_val_t)`
    delete_array_aligned = "_ZdaPvSt11align_val_t" => "_ZdlPvSt11align_val_t";
    /// `operator delete(void*, align_val_t, nothrow_t const&)`
    delete_aligned_nothrow = "_ZdlPvSt11align_val_tRKSt9nothrow_t" => "_ZdlPvSt11align_val_t";
    /// `operator delete[](void*, align_val_t, nothrow_t const&)`
    delete_array_aligned_nothrow = "_ZdaPvSt11align_val_tRKSt9nothrow_t" => "_ZdaPvSt11align_val_t";
}

/// Exports operators that are told the size, and lose it on the way to the one that they jump to: an
/// alignment moves into its place. While blocks are guarded, the size has to be right.
macro_rules! forward_without_size {
    ($($(#[$doc:meta])* $name:ident = $symbol:literal => $target:literal;)*) => {$(
        $(#[$doc])*
        #[unsafe(naked)]
        #[unsafe(export_name = $symbol)]
        unsafe extern "C" fn $name() {
            arch::drop_size_and_jump_to!($target)
        }
    )*};
}

forward_without_size! {
    /// `operator delete(void*, size_t)`
    delete_sized = "_ZdlPvm" => "_ZdlPv";
    /// `operator delete[](void*, size_t)`
    delete_array_sized = "_ZdaPvm" => "_ZdaPv";
    /// `operator delete(void*, size_t, align_val_t)`
    delete_sized_aligned = "_ZdlPvmSt11align_val_t" => "_ZdlPvSt11align_val_t";
    /// `operator delete[](void*, size_t, align_val_t)`
    delete_array_sized_aligned = "_ZdaPvmSt11align_val_t" => "_ZdaPvSt11align_val_t";
}

/// Whether nobody has replaced the function that is exported so.
macro_rules! is_ours {
    ($symbol:literal) => {
        bound_address!($symbol) == own_address!($symbol)
    };
}

/// Looks at the size that a sized `delete` was given, while blocks are guarded. A program that has
/// replaced a form of `new` may hand out what is only a part of our block, so then nothing is said.
///
/// # Safety
/// `ptr` is NULL or a live block.
unsafe extern "C" fn check_size(ptr: *mut c_void, size: usize) {
    let ours = is_ours!("_Znwm")
        && is_ours!("_Znam")
        && is_ours!("_ZnwmSt11align_val_t")
        && is_ours!("_ZnamSt11align_val_t");
    if ours {
        // SAFETY: passed on from our caller.
        unsafe { api::check_size("operator delete", ptr, size) };
    }
}

/// Exports operators that call a throwing one and turn what it throws into NULL. Ours throws nothing
/// then, so that they need nobody who could, but a new handler may, and one that the program has put in
/// its place.
macro_rules! catching {
    ($($(#[$doc:meta])* $name:ident = $symbol:literal => $target:literal;)*) => {$(
        $(#[$doc])*
        #[unsafe(naked)]
        #[unsafe(export_name = $symbol)]
        unsafe extern "C" fn $name() {
            arch::call_catching!($target)
        }
    )*};
}

catching! {
    /// `operator new(size_t, nothrow_t const&)`
    new_nothrow = "_ZnwmRKSt9nothrow_t" => "_Znwm";
    /// `operator new[](size_t, nothrow_t const&)`
    new_array_nothrow = "_ZnamRKSt9nothrow_t" => "_Znam";
    /// `operator new(size_t, align_val_t, nothrow_t const&)`
    new_aligned_nothrow = "_ZnwmSt11align_val_tRKSt9nothrow_t" => "_ZnwmSt11align_val_t";
    /// `operator new[](size_t, align_val_t, nothrow_t const&)`
    new_array_aligned_nothrow = "_ZnamSt11align_val_tRKSt9nothrow_t" => "_ZnamSt11align_val_t";
}

/// One attempt of the slow path, on behalf of the caller at `site`. NULL: no memory, or an alignment
/// that is no power of two, which the standard forbids and libstdc++ answers in the same way.
///
/// # Safety
/// Any arguments are allowed.
unsafe extern "C" fn attempt(size: usize, alignment: usize, site: usize) -> *mut c_void {
    if alignment <= MIN_ALIGN {
        // SAFETY: any size is allowed.
        unsafe { api::malloc_slow(size, site) }
    } else if alignment.is_power_of_two() {
        // SAFETY: a power of two.
        unsafe { api::memalign_slow(alignment, size, site) }
    } else {
        null_mut()
    }
}

/// The new handler that is installed now in the C++ library of the caller at `site`. NULL if there is
/// none, or none is to be asked: it cannot make a power of two of an alignment that is not one.
extern "C" fn new_handler(site: usize, alignment: usize) -> *const c_void {
    if !alignment.is_power_of_two() {
        return null();
    }
    let getter = find(
        site,
        weak_address!("_ZSt15get_new_handlerv"),
        c"_ZSt15get_new_handlerv",
    );
    if getter.is_null() {
        return getter;
    }
    // SAFETY: this symbol is `std::new_handler std::get_new_handler() noexcept`.
    let getter: unsafe extern "C" fn() -> *const c_void = unsafe { transmute(getter) };
    // SAFETY: it has no preconditions.
    unsafe { getter() }
}

/// `std::__throw_bad_alloc`, for the caller at `site`. Dies if nobody in this process can throw.
extern "C" fn thrower(site: usize) -> *const c_void {
    let thrower = find(
        site,
        weak_address!("_ZSt17__throw_bad_allocv"),
        c"_ZSt17__throw_bad_allocv",
    );
    if thrower.is_null() {
        die("out of memory in operator new, and no C++ library to throw std::bad_alloc with");
    }
    thrower
}

/// Who may have what C++ programs need: libstdc++, libc++ (which has the names used here in the same
/// namespace), and the unwinder.
const RUNTIMES: [&CStr; 3] = [c"libstdc++.so.6", c"libc++.so.1", c"libgcc_s.so.1"];

/// `weak` if the dynamic linker could bind it at load. Else the symbol in the library that holds `site`, who
/// called, in one that this was linked with, or in a runtime that is in the process by now; else NULL.
fn find(site: usize, weak: *const c_void, symbol: &CStr) -> *const c_void {
    if !weak.is_null() {
        return weak;
    }
    // By version, because a static program may contain a dlopen, which can do nothing for us there,
    // and of which the linker would warn.
    let open = weak_versioned_address!("dlopen");
    let close = weak_versioned_address!("dlclose");
    let look_up = weak_versioned_address!("dlsym");
    let locate = weak_versioned_address!("dladdr");
    if open.is_null() || close.is_null() || look_up.is_null() || locate.is_null() {
        return weak;
    }
    // SAFETY: these symbols are the functions of <dlfcn.h>.
    let open: unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void =
        unsafe { transmute(open) };
    // SAFETY: as above.
    let close: unsafe extern "C" fn(*mut c_void) -> c_int = unsafe { transmute(close) };
    // SAFETY: as above.
    let look_up: unsafe extern "C" fn(*mut c_void, *const c_char) -> *const c_void =
        unsafe { transmute(look_up) };
    // SAFETY: as above.
    let locate: unsafe extern "C" fn(*const c_void, *mut libc::Dl_info) -> c_int =
        unsafe { transmute(locate) };
    let if_there = libc::RTLD_LAZY | libc::RTLD_NOLOAD;

    // All this may allocate, which is fine here: we are at the very top of an operator, hold nothing, and
    // what is missing is usually one huge block.
    let mut file = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: any address can be asked for; the result is ours to write.
    unsafe { locate(site as *const c_void, file.as_mut_ptr()) };
    // SAFETY: all zeros, which are NULLs, unless dladdr has written it.
    let file = unsafe { file.assume_init() }.dli_fname;
    if !file.is_null() {
        // SAFETY: the name is a C string.
        let caller = unsafe { open(file, if_there) };
        if !caller.is_null() {
            // SAFETY: an open handle and a C string.
            let found = unsafe { look_up(caller, symbol.as_ptr()) };
            // SAFETY: the handle is ours. What we return stays mapped without it, with all that its library
            // was linked with: that library has called us.
            unsafe { close(caller) };
            if !found.is_null() {
                return found;
            }
        }
    }
    for runtime in RUNTIMES {
        // SAFETY: the name is a C string. The handle is kept, so that what we return stays mapped.
        let handle = unsafe { open(runtime.as_ptr(), if_there) };
        if !handle.is_null() {
            // SAFETY: an open handle and a C string.
            let found = unsafe { look_up(handle, symbol.as_ptr()) };
            if !found.is_null() {
                return found;
            }
        }
    }
    null()
}

/// One line on stderr, then SIGABRT.
fn die(message: &str) -> ! {
    use core::fmt::Write;
    // Without stderr there is nobody to tell.
    let _ = writeln!(crate::Stderr, "hakmem: {message}");
    crate::abort()
}

// The unwinder's interface, from the Itanium C++ ABI.
const UA_SEARCH_PHASE: c_int = 1;
const UA_HANDLER_FRAME: c_int = 4;
const UA_FORCE_UNWIND: c_int = 8;
const URC_FATAL_PHASE2_ERROR: c_int = 2;
const URC_HANDLER_FOUND: c_int = 6;
const URC_INSTALL_CONTEXT: c_int = 7;
const URC_CONTINUE_UNWIND: c_int = 8;

/// Personality of the frame of the `nothrow` forms: catches everything, at its only call.
///
/// A forced unwind (pthread_exit or cancellation in a new handler) is no exception and goes on. There may
/// be two unwinders in a process, and the context is that of the one which calls, from `unwinder`.
///
/// # Safety
/// Called by the unwinder only.
unsafe extern "C" fn catch_all(
    _version: c_int,
    actions: c_int,
    _class: u64,
    exception: *mut c_void,
    context: *mut c_void,
    unwinder: usize,
) -> c_int {
    if actions & UA_FORCE_UNWIND != 0 {
        return URC_CONTINUE_UNWIND;
    }
    if actions & UA_SEARCH_PHASE != 0 {
        return URC_HANDLER_FOUND;
    }
    if actions & UA_HANDLER_FRAME == 0 {
        return URC_CONTINUE_UNWIND;
    }
    let set_gr = find(unwinder, weak_address!("_Unwind_SetGR"), c"_Unwind_SetGR");
    let set_ip = find(unwinder, weak_address!("_Unwind_SetIP"), c"_Unwind_SetIP");
    if set_gr.is_null() || set_ip.is_null() {
        return URC_FATAL_PHASE2_ERROR;
    }
    // SAFETY: these symbols are the functions of the unwinder's ABI.
    let set_gr: unsafe extern "C" fn(*mut c_void, c_int, usize) = unsafe { transmute(set_gr) };
    // SAFETY: as above.
    let set_ip: unsafe extern "C" fn(*mut c_void, usize) = unsafe { transmute(set_ip) };
    // SAFETY: the context is the unwinder's; register 0 is where a landing pad finds the exception.
    unsafe { set_gr(context, 0, exception as usize) };
    // SAFETY: the landing pad belongs to the frame that this is the personality of.
    unsafe { set_ip(context, arch::landing_pad()) };
    URC_INSTALL_CONTEXT
}

/// Ends the handling of a caught exception, and is what the operator returns to its caller at `site`.
///
/// # Safety
/// `exception` has just been caught by the frame that calls.
unsafe extern "C" fn swallow(exception: *mut c_void, site: usize) -> *mut c_void {
    let begin = find(
        site,
        weak_address!("__cxa_begin_catch"),
        c"__cxa_begin_catch",
    );
    let end = find(site, weak_address!("__cxa_end_catch"), c"__cxa_end_catch");
    if begin.is_null() || end.is_null() {
        die("an exception from a new handler, and no C++ library to catch it with");
    }
    // SAFETY: these symbols are the functions of the C++ ABI.
    let begin: unsafe extern "C" fn(*mut c_void) -> *mut c_void = unsafe { transmute(begin) };
    // SAFETY: as above.
    let end: unsafe extern "C" fn() = unsafe { transmute(end) };
    // SAFETY: a caught exception, not begun yet.
    unsafe { begin(exception) };
    // SAFETY: the one that was just begun.
    unsafe { end() };
    null_mut()
}
