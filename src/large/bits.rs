//! 512 bits, one for each page of a SuperSlab: values only.

/// Bits there are.
pub(super) const LEN: usize = 512;

/// A set of pages of a SuperSlab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(super) struct Bits([u64; LEN / 64]);

impl Bits {
    /// The set of none.
    pub(super) const NONE: Self = Self([0; LEN / 64]);

    /// The set of the pages from `start` up to `end`.
    pub(super) fn range(start: usize, end: usize) -> Self {
        let mut bits = Self::NONE;
        bits.insert(start, end);
        bits
    }

    /// Calls `f` for each word that has a bit from `start` up to `end`, and with these bits.
    #[inline(always)]
    fn each_word(start: usize, end: usize, mut f: impl FnMut(usize, u64)) {
        debug_assert!(start <= end && end <= LEN);
        if start >= end {
            return;
        }
        let (first, last) = (start / 64, (end - 1) / 64);
        let mut bits = !0 << (start % 64);
        for word in first..last {
            f(word, bits);
            bits = !0;
        }
        f(last, bits & !0 >> (63 - (end - 1) % 64));
    }

    /// Whether it is the set of none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().fold(0, |any, word| any | word) == 0
    }

    /// Adds the pages from `start` up to `end`.
    pub(super) fn insert(&mut self, start: usize, end: usize) {
        Self::each_word(start, end, |word, mask| self.0[word] |= mask);
    }

    /// Takes the pages from `start` up to `end` out.
    pub(super) fn remove(&mut self, start: usize, end: usize) {
        Self::each_word(start, end, |word, mask| self.0[word] &= !mask);
    }

    /// The same. Returns how many of them were in the set.
    pub(super) fn take_out(&mut self, start: usize, end: usize) -> usize {
        let mut n = 0;
        Self::each_word(start, end, |word, mask| {
            let there = self.0[word] & mask;
            // Without an instruction for it, counting is what takes time.
            if there != 0 {
                n += there.count_ones();
                self.0[word] ^= there;
            }
        });
        n as usize
    }

    /// How many of the pages from `start` up to `end` are in the set.
    pub(super) fn count(&self, start: usize, end: usize) -> usize {
        let mut n = 0;
        Self::each_word(start, end, |word, mask| {
            n += (self.0[word] & mask).count_ones()
        });
        n as usize
    }

    /// Sets 16 bits, those of one slot.
    pub(super) fn set_slot(&mut self, slot: usize, bits: u16) {
        let shift = slot % 4 * 16;
        self.0[slot / 4] = self.0[slot / 4] & !(0xffff << shift) | (bits as u64) << shift;
    }

    /// The pages of `self` that are in `other`, too.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut bits = *self;
        for (word, with) in bits.0.iter_mut().zip(&other.0) {
            *word &= with;
        }
        bits
    }

    fn next(&self, from: usize, flip: u64) -> usize {
        if from >= LEN {
            return LEN;
        }
        let mut word = from / 64;
        let mut bits = (self.0[word] ^ flip) & (!0 << (from % 64));
        while bits == 0 {
            word += 1;
            if word == LEN / 64 {
                return LEN;
            }
            bits = self.0[word] ^ flip;
        }
        word * 64 + bits.trailing_zeros() as usize
    }

    /// The first page from `from` on that is in the set, or 512.
    pub(super) fn next_in(&self, from: usize) -> usize {
        self.next(from, 0)
    }

    /// The first page from `from` on that is not in the set, or 512.
    pub(super) fn next_out(&self, from: usize) -> usize {
        self.next(from, !0)
    }

    /// The page behind the last one below `to` that is not in the set: where the run that ends at
    /// `to` begins.
    pub(super) fn start_of_run_to(&self, to: usize) -> usize {
        let mut at = to;
        while at > 0 {
            let low = (at - 1) % 64;
            let ones = (self.0[(at - 1) / 64] << (63 - low)).leading_ones() as usize;
            at -= ones.min(low + 1);
            if ones < low + 1 {
                break;
            }
        }
        at
    }

    /// The first and the end of each run, in order.
    pub(super) fn runs(&self) -> Runs<'_> {
        Runs { bits: self, at: 0 }
    }

    /// The length of the longest run.
    pub(super) fn longest(&self) -> usize {
        self.runs()
            .map(|(start, end)| end - start)
            .max()
            .unwrap_or(0)
    }

    /// Where the first `count` pages in a row begin that start at a multiple of `align`.
    pub(super) fn find(&self, count: usize, align: usize) -> Option<usize> {
        self.runs()
            .map(|(start, end)| ((start + align - 1) & !(align - 1), end))
            .find(|(start, end)| start + count <= *end)
            .map(|(start, _)| start)
    }
}

/// See [`Bits::runs`].
pub(super) struct Runs<'a> {
    bits: &'a Bits,
    at: usize,
}

impl Iterator for Runs<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let start = self.bits.next_in(self.at);
        (start < LEN).then(|| {
            self.at = self.bits.next_out(start);
            (start, self.at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    #[test]
    fn it_agrees_with_a_vector_of_bools() {
        let mut bits = Bits::NONE;
        let mut model = [false; LEN];
        let mut seed = 1u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        for _ in 0..4000 {
            let start = random(LEN);
            let most = if random(3) == 0 {
                LEN - start
            } else {
                9.min(LEN - start)
            };
            let end = start + random(most + 1);
            let on = random(2) == 0;
            match (on, random(2)) {
                (true, _) => bits.insert(start, end),
                (false, 0) => bits.remove(start, end),
                (false, _) => {
                    let there = model[start..end].iter().filter(|b| **b).count();
                    assert_eq!(bits.take_out(start, end), there);
                }
            }
            model[start..end].fill(on);
            let mut runs = Vec::new();
            let mut at = 0;
            while at < LEN {
                if model[at] {
                    let end = (at..LEN).find(|i| !model[*i]).unwrap_or(LEN);
                    runs.push((at, end));
                    at = end;
                } else {
                    at += 1;
                }
            }
            assert_eq!(bits.runs().collect::<Vec<_>>(), runs);
            assert_eq!(bits.is_empty(), runs.is_empty());
            assert_eq!(
                bits.longest(),
                runs.iter().map(|r| r.1 - r.0).max().unwrap_or(0)
            );
            assert_eq!(bits.count(start, end), (end - start) * on as usize);
            let to = random(LEN + 1);
            let begin = (0..to).rev().find(|i| !model[*i]).map_or(0, |i| i + 1);
            assert_eq!(bits.start_of_run_to(to), begin);
            let (count, align) = (random(40) + 1, 1 << random(6));
            let found = (0..LEN)
                .step_by(align)
                .find(|s| s + count <= LEN && model[*s..s + count].iter().all(|b| *b));
            assert_eq!(bits.find(count, align), found);
        }
        let mut slot = Bits::NONE;
        slot.set_slot(3, 0x8001);
        assert_eq!(slot.runs().collect::<Vec<_>>(), [(48, 49), (63, 64)]);
        assert_eq!(slot.and(&Bits::range(0, 60)).count(0, LEN), 1);
    }
}
