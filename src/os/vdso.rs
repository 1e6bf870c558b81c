//! Clocks, read by the kernel's code that every process has mapped (vDSO), without a system call.
//!
//! Not by libc's `clock_gettime`: that is a name which another library may define (libfaketime does), and who does
//! so may allocate in it, while a lock of ours is held. How the vDSO is found is in the kernel's
//! Documentation/ABI/stable/vdso: it is a shared library in memory.

use core::ffi::{CStr, c_int};
use core::mem::size_of;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use libc::{Elf64_Ehdr, Elf64_Phdr, Elf64_Sym, clockid_t, timespec};

use super::sys;

type Clock = unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int;

const NAME: &CStr = c"__vdso_clock_gettime";
/// Of a dynamic section.
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
/// More symbols than any has.
const SYMBOLS: usize = 1024;
/// Nobody has looked, or there is none.
const UNKNOWN: usize = 0;
const NONE: usize = 1;

/// Where the function is. Threads that look at the same time find the same.
static FOUND: AtomicUsize = AtomicUsize::new(UNKNOWN);

/// The time of a clock that the vDSO serves. errno stays as it is.
pub(super) fn clock(id: clockid_t) -> timespec {
    let found = match FOUND.load(Relaxed) {
        UNKNOWN => look(),
        found => found,
    };
    if found != NONE {
        let mut time = ZERO;
        // SAFETY: `look` found a function of this type at that address, which is mapped as long as the process lives.
        let failed = unsafe {
            let clock = core::mem::transmute::<usize, Clock>(found);
            clock(id, &raw mut time)
        };
        if failed == 0 {
            return time;
        }
    }
    by_system_call(id)
}

const ZERO: timespec = timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// The time of any clock; 0 where that is forbidden.
pub(super) fn by_system_call(id: clockid_t) -> timespec {
    let mut time = ZERO;
    // SAFETY: the kernel writes the time.
    unsafe {
        sys::call3(
            libc::SYS_clock_gettime,
            id as usize,
            &raw mut time as usize,
            0,
        )
    };
    time
}

#[cold]
fn look() -> usize {
    // SAFETY: reads the auxiliary vector, which the kernel has made, as it has the vDSO.
    let found = unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let start = libc::getauxval(libc::AT_SYSINFO_EHDR) as usize;
        // It is set if there is none: valgrind hides it.
        *errno = before;
        (start != 0).then(|| function(start)).flatten()
    };
    let found = found.unwrap_or(NONE);
    FOUND.store(found, Relaxed);
    found
}

/// The address of the function in the library at `start`.
///
/// # Safety
/// A shared library as the kernel makes it is mapped there as a whole, its symbols in front of their names.
unsafe fn function(start: usize) -> Option<usize> {
    // SAFETY: the caller's: each table is where the one before it says.
    unsafe {
        let header = &*(start as *const Elf64_Ehdr);
        let segments = core::slice::from_raw_parts(
            (start + header.e_phoff as usize) as *const Elf64_Phdr,
            header.e_phnum.into(),
        );
        let segment = |kind| segments.iter().find(|segment| segment.p_type == kind);
        // What is added to the addresses that it was linked for.
        let moved = start.wrapping_sub(segment(libc::PT_LOAD)?.p_vaddr as usize);
        let place = segment(libc::PT_DYNAMIC)?;
        let entries = core::slice::from_raw_parts(
            moved.wrapping_add(place.p_vaddr as usize) as *const [u64; 2],
            place.p_memsz as usize / size_of::<[u64; 2]>(),
        );
        let value = |tag| {
            let entry = entries.iter().find(|entry| entry[0] == tag)?;
            Some(entry[1] as usize)
        };
        let table = |tag| Some(moved.wrapping_add(value(tag)?));
        let (symbols, names) = (table(DT_SYMTAB)?, table(DT_STRTAB)?);
        let named = value(DT_STRSZ)?;
        let count = names.checked_sub(symbols)? / size_of::<Elf64_Sym>();
        let symbols = core::slice::from_raw_parts(symbols as *const Elf64_Sym, count.min(SYMBOLS));
        // Something else may lie between the two.
        let is_it = |symbol: &&Elf64_Sym| {
            let name = symbol.st_name as usize;
            symbol.st_shndx != 0
                && name < named
                && CStr::from_ptr((names + name) as *const _) == NAME
        };
        let symbol = symbols.iter().find(is_it)?;
        Some(moved.wrapping_add(symbol.st_value as usize))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_found_and_is_the_systems() {
        // SAFETY: as in `look`.
        if unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } != 0 {
            assert_ne!(look(), NONE);
        }
        let ns = |t: timespec| t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64;
        for id in [libc::CLOCK_MONOTONIC, libc::CLOCK_MONOTONIC_COARSE] {
            for _ in 0..100 {
                let (before, now) = (by_system_call(id), clock(id));
                let after = by_system_call(id);
                assert!(ns(before) > 0 && ns(before) <= ns(now) && ns(now) <= ns(after));
            }
        }
    }
}
