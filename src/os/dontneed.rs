//! Whether MADV_DONTNEED does what it says.
//!
//! QEMU's emulator of programs answered every madvise with success and did nothing before its version 7.1. Memory that was
//! given back would still hold what it held, and calloc would hand that out as zeroed. So the first purge of a process
//! tries it on a page of its own.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::{Call, advise, discard, map};
use crate::base::PAGE;

/// 0: not known; 1: yes; 2: no.
static KNOWN: AtomicU8 = AtomicU8::new(0);

/// Whether pages that the system says it has dropped are zero.
pub(super) fn works() -> bool {
    match KNOWN.load(Relaxed) {
        0 => match try_to_drop() {
            Some(drops) => {
                KNOWN.store(if drops { 1 } else { 2 }, Relaxed);
                drops
            }
            None => true,
        },
        known => known == 1,
    }
}

/// Whether a page is zero after it was dropped; `None` where that cannot be tried, or is refused.
#[cold]
fn try_to_drop() -> Option<bool> {
    let page = map(0, PAGE)?;
    let word: NonNull<AtomicU8> = page.cast();
    // SAFETY: the page is ours alone.
    let word = unsafe { word.as_ref() };
    word.store(1, Relaxed);
    let done = advise(Call::Purge, page, PAGE, libc::MADV_DONTNEED);
    let zero = word.load(Relaxed) == 0;
    // SAFETY: as above.
    unsafe { discard(page, PAGE) };
    done.then_some(zero)
}
