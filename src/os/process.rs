//! Noticing that this process is a copy: `_Fork` and the bare system call run no handlers.
//!
//! One page is marked to be wiped in the child of a fork. A word of it says "the process that set
//! me"; a child that finds it zero is new, and has to do what the fork handler would have done.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::Relaxed};

use super::sys;
use crate::base::PAGE;

static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(null_mut());

/// Starts to watch, if nobody does yet. Where the kernel cannot wipe (before 4.14), only handlers notice.
pub(crate) fn watch() {
    if !WORD.load(Relaxed).is_null() {
        return;
    }
    let Some(page) = super::map(0, PAGE) else {
        return;
    };
    // SAFETY: a page of our own.
    let wiped = unsafe {
        sys::call3(
            libc::SYS_madvise,
            page.as_ptr() as usize,
            PAGE,
            libc::MADV_WIPEONFORK as usize,
        )
    };
    if wiped == 0 {
        WORD.store(page.as_ptr().cast(), Relaxed);
        is_known();
    } else {
        // SAFETY: nobody has seen it.
        unsafe { super::discard(page, PAGE) };
    }
}

/// Whether this process has been copied from the one that called [`is_known`] last.
#[inline]
pub(crate) fn is_new() -> bool {
    let word = WORD.load(Relaxed);
    // SAFETY: null, or the page, which is never unmapped.
    !word.is_null() && unsafe { (*word).load(Relaxed) } == 0
}

/// Says that this process has done what a new one must do.
pub(crate) fn is_known() {
    let word = WORD.load(Relaxed);
    if !word.is_null() {
        // SAFETY: as above.
        unsafe { (*word).store(1, Relaxed) };
    }
}
