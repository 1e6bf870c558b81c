//! What blocks are filled with: bytes that follow from a seed and the place in the block, so that any
//! part can be verified alone. Small blocks are filled entirely; of large ones the head, the tail and
//! a few places between, so that most of their pages are never touched.

use core::ops::Range;

/// Blocks up to this are filled entirely.
const WHOLE: usize = 8 << 10;
/// Bytes at both ends of larger ones.
const ENDS: usize = 256;
/// Places between the ends.
const PLACES: usize = 24;

/// The parts of a block of `bytes` that are filled.
fn parts(bytes: usize) -> impl Iterator<Item = Range<usize>> {
    let whole = bytes <= WHOLE;
    let head = if whole { 0..bytes } else { 0..ENDS };
    // Multiples of pages, where something new begins.
    let step = (bytes / PLACES).next_multiple_of(4096);
    let between = (1..=PLACES)
        .map(move |i| i * step..i * step + 16)
        .filter(move |part| !whole && part.end <= bytes - ENDS);
    let tail = (!whole).then(|| bytes - ENDS..bytes);
    core::iter::once(head).chain(between).chain(tail)
}

/// Eight bytes at a multiple of eight.
fn word(seed: u64, at: usize) -> [u8; 8] {
    let mixed = (seed ^ at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ mixed >> 29).to_le_bytes()
}

/// Fills the first `bytes` bytes of a block.
///
/// # Safety
/// They are the caller's to write.
pub(crate) unsafe fn fill(block: usize, bytes: usize, seed: u64) {
    for part in parts(bytes) {
        let mut at = part.start;
        while at < part.end {
            let n = (8 - at % 8).min(part.end - at);
            let word = word(seed, at & !7);
            // SAFETY: the caller's; the part lies in the block.
            unsafe {
                core::ptr::copy_nonoverlapping(&raw const word[at % 8], (block + at) as *mut u8, n)
            };
            at += n;
        }
    }
}

/// The first place below `limit` in a block, filled as one of `bytes` bytes, that does not hold what
/// it was filled with.
///
/// # Safety
/// The bytes up to both are the caller's to read.
pub(crate) unsafe fn damage(block: usize, bytes: usize, limit: usize, seed: u64) -> Option<usize> {
    for part in parts(bytes) {
        let mut at = part.start;
        let end = part.end.min(limit);
        while at < end {
            let n = (8 - at % 8).min(end - at);
            let wanted = word(seed, at & !7);
            // SAFETY: the caller's.
            let found = unsafe { core::slice::from_raw_parts((block + at) as *const u8, n) };
            if let Some(i) = (0..n).find(|i| found[*i] != wanted[at % 8 + i]) {
                return Some(at + i);
            }
            at += n;
        }
    }
    None
}

/// The first byte of a block of `bytes` bytes that is not zero. Of very large ones only every 16th page
/// behind the first 2 MiB is looked at.
///
/// # Safety
/// They are the caller's to read.
pub(crate) unsafe fn not_zero(block: usize, bytes: usize) -> Option<usize> {
    const ALL: usize = 2 << 20;
    const PAGE: usize = 4096;
    let rest = (ALL..bytes)
        .step_by(16 * PAGE)
        .map(|at| at..(at + PAGE).min(bytes));
    let tail = bytes.saturating_sub(PAGE).max(ALL.min(bytes))..bytes;
    for part in core::iter::once(0..bytes.min(ALL))
        .chain(rest)
        .chain([tail])
    {
        // SAFETY: the caller's.
        let found =
            unsafe { core::slice::from_raw_parts((block + part.start) as *const u8, part.len()) };
        // SAFETY: all bytes are initialised, and any eight of them are a word.
        let (before, words, after) = unsafe { found.align_to::<u64>() };
        let zero = before.iter().chain(after).all(|byte| *byte == 0)
            && words.iter().all(|word| *word == 0);
        if !zero {
            return found
                .iter()
                .position(|byte| *byte != 0)
                .map(|i| part.start + i);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_found_at_both_ends_and_between() {
        for bytes in [1, 7, 8, 100, WHOLE, WHOLE + 1, 100_000, 1 << 20] {
            let mut block = vec![0u8; bytes];
            let at = block.as_mut_ptr() as usize;
            // SAFETY: the vector's bytes.
            unsafe {
                fill(at, bytes, 7);
                assert_eq!(damage(at, bytes, bytes, 7), None);
                assert!(damage(at, bytes, bytes, 8).is_some());
                let mut places = vec![0, bytes / 2 * usize::from(bytes <= WHOLE), bytes - 1];
                places.extend(parts(bytes).map(|part| part.start));
                for place in places {
                    block[place] ^= 1;
                    assert_eq!(damage(at, bytes, bytes, 7), Some(place), "{bytes}");
                    assert_eq!(damage(at, bytes, place, 7), None);
                    block[place] ^= 1;
                }
            }
        }
    }

    #[test]
    fn a_byte_that_is_not_zero_is_found() {
        for bytes in [1, 9, 5000, 2 << 20, (2 << 20) + 1, (5 << 20) + 77] {
            let mut block = vec![0u8; bytes];
            for place in [0, bytes / 3 % (2 << 20), bytes - 1] {
                block[place] = 1;
                // SAFETY: the vector's bytes.
                unsafe { assert_eq!(not_zero(block.as_ptr() as usize, bytes), Some(place)) };
                block[place] = 0;
            }
        }
    }
}
