//! Huge pages that nobody has asked for.
//!
//! Where /sys/kernel/mm/transparent_hugepage/enabled says `always` (many distributions have it so), the first touch of
//! an aligned 2 MiB makes all of it resident, and khugepaged fills in what was given back. What is worth a huge page
//! is decided in `space::huge` and `large::policy`; the rest of what we map refuses them there. (Sizes between a page
//! and 2 MiB have files of their own since kernel 6.8, which nobody reads here.)

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::{no_huge_pages, read_file};

/// What is known: one of these.
static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const COME: u8 = 1;
const DO_NOT: u8 = 2;
/// The file cannot be read: they may come, if the kernel has any.
const MAY_COME: u8 = 3;

fn known() -> u8 {
    match KNOWN.load(Relaxed) {
        UNKNOWN => look(),
        known => known,
    }
}

/// Whether the system gives them to who has not asked.
#[inline]
pub(crate) fn come() -> bool {
    known() == COME
}

/// Has fresh memory refuse huge pages, if they would come.
#[inline]
pub(super) fn refuse(start: NonNull<u8>, bytes: usize) {
    let known = known();
    if known != DO_NOT && !no_huge_pages(start, bytes) && known == MAY_COME {
        KNOWN.store(DO_NOT, Relaxed);
    }
}

#[cold]
#[inline(never)]
fn look() -> u8 {
    let mut buffer = [0; 64];
    let file = b"/sys/kernel/mm/transparent_hugepage/enabled\0";
    let known = match read_file(file, &mut buffer) {
        Some(text) if says_always(text) => COME,
        Some(_) => DO_NOT,
        None => MAY_COME,
    };
    KNOWN.store(known, Relaxed);
    known
}

/// Whether the file's text says so.
fn says_always(text: &[u8]) -> bool {
    text.windows(8).any(|word| word == b"[always]")
}

#[cfg(test)]
mod tests {
    use super::says_always;

    #[test]
    fn the_word_in_brackets_counts() {
        assert!(says_always(b"[always] madvise never\n"));
        assert!(!says_always(b"always [madvise] never\n") && !says_always(b""));
    }
}
