//! Noticing that this process is a copy: `_Fork` and the bare system call run no handlers.
//!
//! One page is marked to be wiped in the child of a fork. A word of it says what this process has
//! done about being new; a child finds it zero. Where the kernel cannot wipe (before 4.14), a word
//! of ours serves, and the handler that `fork` runs has to say so ([`copied`]).

use core::ptr::NonNull;
use core::sync::atomic::{
    AtomicPtr, AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use super::sys;
use crate::base::PAGE;

/// This process is a copy, and has not seen to what that means.
const NEW: u32 = 0;
/// It is not, or has.
const KNOWN: u32 = 1;
/// Some thread of it is about to.
const ENTERING: u32 = 2;
/// Nobody watches yet.
const UNWATCHED: u32 = 3;

/// The word until there is a page, and where there is none.
static HERE: AtomicU32 = AtomicU32::new(UNWATCHED);
static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new((&raw const HERE).cast_mut());

#[inline(always)]
fn word() -> &'static AtomicU32 {
    // ORDERING: Acquire pairs with the Release in `watch`: the page is mapped and set.
    // SAFETY: the static, or the page, which is never unmapped.
    unsafe { &*WORD.load(Acquire) }
}

/// Whether this process is watched, and has done what a copy must do.
#[inline(always)]
pub(crate) fn is_known() -> bool {
    // ORDERING: Acquire pairs with the Release in `enter`: what it repaired is repaired.
    word().load(Acquire) == KNOWN
}

/// Starts to watch, or calls `repair` if this process is a copy in which nobody has done so. Other
/// threads that come here meanwhile wait.
///
/// `repair` must not come here again. It may be called a second time if a signal handler interrupts
/// it to fork: then in the child of that fork, as a whole.
#[cold]
pub(crate) fn enter(repair: impl Fn()) {
    loop {
        // ORDERING: Acquire on failure as in `is_known`.
        match word().compare_exchange(NEW, ENTERING, Acquire, Acquire) {
            Ok(_) => {
                repair();
                // ORDERING: Release pairs with the Acquire in `is_known`.
                word().store(KNOWN, Release);
                return;
            }
            Err(KNOWN) => return,
            Err(UNWATCHED) => watch(),
            // Bounded, so that nobody need wake us.
            Err(now) => super::futex_wait(word(), now),
        }
    }
}

/// Starts to watch, unless that has been done: before the first lock of the process is taken, so that
/// no thread that holds one is overlooked, and later if memory was too short then.
pub(crate) fn watch() {
    if !core::ptr::eq(WORD.load(Relaxed), &raw const HERE) {
        return;
    }
    if let Some(page) = super::map(0, PAGE) {
        let fresh: NonNull<AtomicU32> = page.cast();
        // SAFETY: a page of our own, and nobody has seen it.
        let wiped = unsafe {
            fresh.as_ref().store(KNOWN, Relaxed);
            sys::call3(
                libc::SYS_madvise,
                page.as_ptr() as usize,
                PAGE,
                libc::MADV_WIPEONFORK as usize,
            )
        };
        let here = (&raw const HERE).cast_mut();
        // ORDERING: Release publishes the page to `word`.
        if wiped == 0
            && WORD
                .compare_exchange(here, fresh.as_ptr(), AcqRel, Acquire)
                .is_ok()
        {
            return;
        }
        // SAFETY: as above.
        unsafe { super::discard(page, PAGE) };
        if wiped == 0 {
            // Another thread was faster.
            return;
        }
    }
    let _ = HERE.compare_exchange(UNWATCHED, KNOWN, Relaxed, Relaxed);
}

/// In the child of a fork that runs handlers: says so, where no page does.
pub(crate) fn copied() {
    let _ = HERE.compare_exchange(KNOWN, NEW, Relaxed, Relaxed);
}

/// Runs `f` in a child process, and tells whether it said and ended well.
#[cfg(test)]
pub(crate) fn in_child(f: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child ends without returning to the test harness.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            let good = f();
            libc::_exit(if good { 7 } else { 1 });
        }
        let mut status = 0;
        libc::waitpid(pid, &mut status, 0);
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    /// In the child of a fork `enter` repairs once, and `is_known` is true then.
    #[test]
    fn a_copy_is_noticed_once() {
        enter(|| {});
        assert!(is_known());
        // SAFETY: the child does nothing that a copy of a process with threads may not do.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                let count = AtomicU32::new(0);
                let repair = || {
                    count.fetch_add(1, Relaxed);
                };
                let before = is_known();
                enter(repair);
                enter(repair);
                let good = !before && is_known() && count.load(Relaxed) == 1;
                libc::_exit(if good { 7 } else { 1 });
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert_eq!(libc::WEXITSTATUS(status), 7);
        }
        assert!(is_known());
    }
}
