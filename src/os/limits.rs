//! Whether addresses alone cost something here: then room to grow into is not free.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::{read_file, sys};

/// What is known: one of these.
static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const FREE: u8 = 1;
const LIMITED: u8 = 2;

/// Whether this process may map only so much (`RLIMIT_AS`, `RLIMIT_DATA`), or the system counts what is mapped as if it
/// were used (`vm.overcommit_memory` 2), when it was first asked for; or it has locked pages (`mlockall`), as far as some
/// were refused when they were to be given back.
pub(crate) fn addresses_are_limited() -> bool {
    match KNOWN.load(Relaxed) {
        UNKNOWN => look(),
        known => known == LIMITED,
    }
}

#[cold]
#[inline(never)]
fn look() -> bool {
    let is_set = |resource| {
        let mut limit = libc::rlimit {
            rlim_cur: libc::RLIM_INFINITY,
            rlim_max: libc::RLIM_INFINITY,
        };
        // SAFETY: the kernel writes the limit. libc's function may be a program's own, which allocates.
        unsafe {
            sys::call4(
                libc::SYS_prlimit64,
                0,
                resource as usize,
                0,
                &raw mut limit as usize,
            )
        };
        limit.rlim_cur != libc::RLIM_INFINITY
    };
    let mut buffer = [0; 8];
    let limited = is_set(libc::RLIMIT_AS)
        || is_set(libc::RLIMIT_DATA)
        || read_file(b"/proc/sys/vm/overcommit_memory\0", &mut buffer)
            .is_some_and(|text| text.first() == Some(&b'2'));
    let known = if limited { LIMITED } else { FREE };
    match KNOWN.compare_exchange(UNKNOWN, known, Relaxed, Relaxed) {
        Ok(_) => limited,
        // Pages were refused meanwhile, or somebody else has looked.
        Err(known) => known == LIMITED,
    }
}

/// Notes that pages could not be given back: where a process locks all that it maps, addresses are memory.
pub(super) fn pages_are_locked() {
    KNOWN.store(LIMITED, Relaxed);
}

/// Forgets it, for tests that set limits.
#[cfg(test)]
pub(crate) fn forget() {
    KNOWN.store(UNKNOWN, Relaxed);
}
