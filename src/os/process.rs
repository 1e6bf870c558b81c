//! Noticing that this process is a copy: `_Fork` and the bare system call run no handlers.
//!
//! One page is marked to be wiped in the child of a fork. A word of it says what this process has
//! done about being new; a child finds it zero. Where the kernel cannot wipe (before 4.14), a word
//! of ours serves, and the handler that `fork` runs has to say so ([`copied`]). So it does where an emulator says that it
//! will wipe the page, and does not (QEMU's for programs before 8.0): the number of the process stands beside the word.

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

/// What a copy finds.
struct Word {
    /// One of the above.
    state: AtomicU32,
    /// The number of the process that has made it [`KNOWN`].
    process: AtomicU32,
}

impl Word {
    fn make_known(&self) {
        self.process.store(super::process_id(), Relaxed);
        // ORDERING: Release pairs with the Acquire in `is_known`.
        self.state.store(KNOWN, Release);
    }
}

/// The word until there is a page, and where there is none.
static HERE: Word = Word {
    state: AtomicU32::new(UNWATCHED),
    process: AtomicU32::new(0),
};
static WORD: AtomicPtr<Word> = AtomicPtr::new((&raw const HERE).cast_mut());

#[inline(always)]
fn word() -> &'static Word {
    // ORDERING: Acquire pairs with the Release in `watch`: the page is mapped and set.
    // SAFETY: the static, or the page, which is never unmapped.
    unsafe { &*WORD.load(Acquire) }
}

/// Whether this process is watched, and has done what a copy must do.
#[inline(always)]
pub(crate) fn is_known() -> bool {
    // ORDERING: Acquire pairs with the Release in `enter`: what it repaired is repaired.
    word().state.load(Acquire) == KNOWN
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
        let state = &word().state;
        match state.compare_exchange(NEW, ENTERING, Acquire, Acquire) {
            Ok(_) => {
                repair();
                word().make_known();
                return;
            }
            Err(KNOWN) => return,
            Err(UNWATCHED) => watch(),
            // Bounded, so that nobody need wake us.
            Err(now) => super::futex_wait(state, now),
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
        let fresh: NonNull<Word> = page.cast();
        // SAFETY: a page of our own, and nobody has seen it.
        let wiped = unsafe {
            fresh.as_ref().make_known();
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
    HERE.process.store(super::process_id(), Relaxed);
    let _ = HERE
        .state
        .compare_exchange(UNWATCHED, KNOWN, Relaxed, Relaxed);
}

/// In the child of a fork that runs handlers: says so, unless a page has, or it has been seen to.
pub(crate) fn copied() {
    let word = word();
    // (The first process of a namespace may have the same number as its parent.)
    let ours = word.process.load(Relaxed) == super::process_id();
    if !ours || core::ptr::eq(word, &raw const HERE) {
        let _ = word.state.compare_exchange(KNOWN, NEW, Relaxed, Relaxed);
    }
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

    /// Where the page is not wiped although the system said so, the handler of a fork says what the page does not.
    #[test]
    fn a_copy_is_noticed_without_a_wiped_page() {
        enter(|| {});
        let parents = word().process.load(Relaxed);
        assert!(in_child(|| {
            // As the parent has it.
            word().process.store(parents, Relaxed);
            word().state.store(KNOWN, Relaxed);
            copied();
            let noticed = !is_known();
            enter(|| {});
            copied();
            noticed && is_known()
        }));
    }
}
