//! The places of a front as sets, and what is noted of each side by side: a few instructions say which of them are worth a
//! look.

use core::arch::x86_64::{
    __m128i, _mm_cmpeq_epi16, _mm_cmpeq_epi32, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32,
    _mm_set1_epi16, _mm_setzero_si128, _mm_sub_epi16, _mm_subs_epu16,
};
use core::cell::Cell;

use crate::base::PAGE;

/// Places of a front.
pub(super) const PLACES: usize = 16;

/// A set of places, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Places(u16);

const _: () = assert!(PLACES == u16::BITS as usize);

impl Places {
    /// The set with `i`, too.
    #[inline(always)]
    pub(super) fn with(self, i: usize) -> Self {
        Self(self.0 | 1 << i)
    }

    /// The set without `i`.
    #[inline(always)]
    pub(super) fn without(self, i: usize) -> Self {
        Self(self.0 & !(1 << i))
    }

    /// Whether `i` is in it.
    #[cfg(test)]
    pub(super) fn has(self, i: usize) -> bool {
        self.0 & 1 << i != 0
    }

    /// Whether it is the set of none.
    #[inline(always)]
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Iterator for Places {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let first = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (first < PLACES).then_some(first)
    }
}

/// The places whose key is 0.
#[inline(always)]
pub(super) fn without_key(keys: &[Cell<u32>; PLACES]) -> Places {
    // SAFETY: each x86-64 processor has SSE2; four keys are 128 bits, of which all are valid as either.
    unsafe {
        let four = |at: usize| {
            let keys: [u32; 4] = core::array::from_fn(|i| keys[at + i].get());
            let keys = core::mem::transmute::<[u32; 4], __m128i>(keys);
            _mm_cmpeq_epi32(keys, _mm_setzero_si128())
        };
        let eight = |at: usize| _mm_packs_epi32(four(at), four(at + 4));
        Places(_mm_movemask_epi8(_mm_packs_epi16(eight(0), eight(8))) as u16)
    }
}

/// The rooms of the blocks of all places, in pages, or [`u16::MAX`] for more.
pub(super) struct Rooms([Cell<u16>; PLACES]);

fn pages(bytes: usize) -> u16 {
    (bytes / PAGE).min(u16::MAX.into()) as u16
}

impl Rooms {
    /// The block of place `i` has `bytes`, a multiple of a page.
    #[inline]
    pub(super) fn set(&self, i: usize, bytes: usize) {
        self.0[i].set(pages(bytes));
    }

    /// Whether that is what the block of place `i` has.
    #[cfg(test)]
    pub(super) fn is(&self, i: usize, bytes: usize) -> bool {
        self.0[i].get() == pages(bytes)
    }

    /// The places with `least` bytes or more, but no more than `most`, which is not less. From 65,535 pages on all are alike.
    #[inline(always)]
    pub(super) fn between(&self, least: usize, most: usize) -> Places {
        debug_assert!(least <= most);
        let least = pages(least);
        let span = pages(most) - least;
        // SAFETY: each x86-64 processor has SSE2; eight rooms are 128 bits, of which all are valid as either.
        unsafe {
            let (least, span) = (_mm_set1_epi16(least as i16), _mm_set1_epi16(span as i16));
            let eight = |at: usize| {
                let rooms: [u16; 8] = core::array::from_fn(|i| self.0[at + i].get());
                let rooms = core::mem::transmute::<[u16; 8], __m128i>(rooms);
                // A room below `least` wraps to more than any span. Of one that fits nothing is left above it.
                let above = _mm_subs_epu16(_mm_sub_epi16(rooms, least), span);
                _mm_cmpeq_epi16(above, _mm_setzero_si128())
            };
            Places(_mm_movemask_epi8(_mm_packs_epi16(eight(0), eight(8))) as u16)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    #[test]
    fn rooms_are_found_by_their_size() {
        let of = [
            16,
            17,
            18,
            24,
            256,
            257,
            1,
            0,
            65_534,
            65_535,
            65_536,
            1 << 30,
            17,
            496,
            32_767,
            32_768,
        ];
        let rooms = Rooms([const { Cell::new(0) }; PLACES]);
        for (i, pages) in of.iter().enumerate() {
            rooms.set(i, pages * PAGE);
        }
        let limits = of.iter().flat_map(|n| [n.saturating_sub(1), *n, n + 1]);
        for (least, most) in limits
            .clone()
            .flat_map(|a| limits.clone().map(move |b| (a, b)))
        {
            if most < least {
                continue;
            }
            let all = usize::from(u16::MAX);
            let fits = |pages: usize| (least.min(all)..=most.min(all)).contains(&pages.min(all));
            let expected: Vec<_> = (0..PLACES).filter(|i| fits(of[*i])).collect();
            let found: Vec<_> = rooms.between(least * PAGE, most * PAGE).collect();
            assert_eq!(found, expected, "{least} - {most}");
        }
    }

    #[test]
    fn a_set_has_what_was_put_into_it() {
        let mut set = Places(0);
        assert!(set.is_empty() && set.next().is_none());
        for i in (0..PLACES).rev() {
            set = set.with(i);
            assert!(set.has(i) && !set.without(i).has(i));
        }
        assert!(set.eq(0..PLACES));
        assert_eq!(
            set.without(0).without(2).take(2).collect::<Vec<_>>(),
            [1, 3]
        );
    }

    #[test]
    fn places_without_a_key_are_found() {
        let keys = [const { Cell::new(0) }; PLACES];
        assert!(without_key(&keys).eq(0..PLACES));
        for i in 0..PLACES {
            keys[i].set([1, 1 << 16, u32::MAX, 1 << 31][i % 4]);
            assert!(without_key(&keys).eq(i + 1..PLACES));
        }
        keys[5].set(0);
        assert!(without_key(&keys).eq([5]));
    }
}
