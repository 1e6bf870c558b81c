//! What BigCache and the Whale cache are made of: freed mappings, in bins by size.
//!
//! The records link themselves; nothing here allocates, and nothing makes a system call. The
//! holder of the lock in `direct` uses it.

use super::policy::{self, BINS};
use super::records::{self, By, List, Record};

/// Records in bins by the bytes that they map, and which bins have any.
///
/// # Invariants
/// Bit `b` of `filled` is set exactly if bin `b` is not empty; a record stands in the bin of its size.
pub(super) struct Bins {
    bins: [List; BINS],
    filled: [u64; BINS / 64],
}

impl Bins {
    /// All empty; zeroed memory is the same.
    pub(super) const NEW: Self = Self {
        bins: [List::NEW; BINS],
        filled: [0; BINS / 64],
    };

    /// Adds a record.
    pub(super) fn insert(&mut self, n: u32, record: &Record) {
        let bin = policy::bin(record.mapped());
        self.bins[bin].push_front(n, By::Bin);
        self.filled[bin / 64] |= 1 << (bin % 64);
    }

    /// Takes a record out.
    pub(super) fn remove(&mut self, n: u32, record: &Record) {
        let bin = policy::bin(record.mapped());
        self.bins[bin].remove(n, By::Bin);
        if self.bins[bin].head() == 0 {
            self.filled[bin / 64] &= !(1 << (bin % 64));
        }
    }

    /// The first bin from `from` on that has a record.
    fn filled_from(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = *self.filled.get(word)? & (!0 << (from % 64));
        while bits == 0 {
            word += 1;
            bits = *self.filled.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    /// The best of the first few records that map `need` bytes or more and at most `limit`:
    /// `rank` says how good one is (higher is better, `None` is not at all), and `good` is good
    /// enough to stop. A bounded number of records is looked at.
    pub(super) fn find(
        &self,
        need: usize,
        limit: usize,
        good: u32,
        rank: impl Fn(&Record) -> Option<u32>,
    ) -> Option<u32> {
        let mut best: Option<(u32, u32)> = None;
        let mut looks = 24;
        let mut from = policy::bin(need);
        while let Some(bin) = self.filled_from(from) {
            let mut n = self.bins[bin].head();
            let mut here = 8;
            while n != 0 && here > 0 && looks > 0 {
                let record = records::get(n)?;
                if record.mapped() > limit && bin > policy::bin(limit) {
                    return best.map(|b| b.1);
                }
                if record.mapped() >= need
                    && record.mapped() <= limit
                    && let Some(rank) = rank(record)
                    && best.is_none_or(|b| rank > b.0)
                {
                    best = Some((rank, n));
                    if rank >= good {
                        return Some(n);
                    }
                }
                n = List::next(n, By::Bin);
                here -= 1;
                looks -= 1;
            }
            if looks == 0 {
                break;
            }
            from = bin + 1;
        }
        best.map(|b| b.1)
    }

    /// Calls `f` for each record, for checks.
    pub(super) fn each(&self, mut f: impl FnMut(u32, &Record) -> bool) -> bool {
        for (bin, list) in self.bins.iter().enumerate() {
            if (list.head() == 0) == (self.filled[bin / 64] & 1 << (bin % 64) != 0) {
                return false;
            }
            let mut n = list.head();
            while n != 0 {
                match records::get(n) {
                    Some(record) if policy::bin(record.mapped()) == bin && f(n, record) => {}
                    _ => return false,
                }
                n = List::next(n, By::Bin);
            }
        }
        true
    }
}

/// Freed mappings that are kept, and how often one was wanted.
pub(super) struct Cache {
    /// The mappings.
    pub(super) bins: Bins,
    /// Takes that found one, and that did not.
    pub(super) hits: u64,
    /// See `hits`.
    pub(super) misses: u64,
    /// Mappings that went back to the system.
    pub(super) evictions: u64,
}

impl Cache {
    /// Empty.
    pub(super) const NEW: Self = Self {
        bins: Bins::NEW,
        hits: 0,
        misses: 0,
        evictions: 0,
    };
}
