//! Huge pages that nobody has asked for.
//!
//! Where /sys/kernel/mm/transparent_hugepage/enabled says `always` (many distributions have it so), the first touch of
//! an aligned 2 MiB makes all of it resident, and khugepaged fills in what was given back. What is worth a huge page
//! is decided in `space::huge` and `large::policy`; the rest of what we map refuses them there.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::{no_huge_pages, read_file};

/// What is known: one of these.
static KNOWN: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const COME: u8 = 1;
const DO_NOT: u8 = 2;

/// Has fresh memory refuse huge pages, if they would come.
#[inline]
pub(super) fn refuse(start: NonNull<u8>, bytes: usize) {
    let come = match KNOWN.load(Relaxed) {
        UNKNOWN => look(),
        known => known == COME,
    };
    if come {
        no_huge_pages(start, bytes);
    }
}

#[cold]
#[inline(never)]
fn look() -> bool {
    let mut buffer = [0; 64];
    let file = b"/sys/kernel/mm/transparent_hugepage/enabled\0";
    let come = read_file(file, &mut buffer).is_none_or(says_always);
    KNOWN.store(if come { COME } else { DO_NOT }, Relaxed);
    come
}

/// Whether the file's text says so. Where there is no file nobody knows, and a call too many does no harm.
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
