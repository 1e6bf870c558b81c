//! The records of mappings: what is known of each range of addresses that large blocks have.
//!
//! A two-level table: a root in .bss, and chunks that are taken as needed and never given back. A
//! record's number, at most 24 bits, stands in the slab map, for the first slot of its range; number 0 is
//! nobody's and ends lists. Fields are atomic words, all accessed Relaxed, because whoever frees a
//! pointer, be it right or wrong, reads them; apart from that a record belongs to whom its state says.

use core::ptr;
use core::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::base::SLOT;
use crate::learn::{self, monitor::LONGEST_PATIENCE_MS};
use crate::space::map::Entry;
use crate::space::meta;

const CHUNK_SHIFT: u32 = 10;
const CHUNK: usize = 1 << CHUNK_SHIFT;
const ROOT_LEN: usize = (Entry::OWNERS >> CHUNK_SHIFT) as usize;

static ROOT: [AtomicPtr<Record>; ROOT_LEN] = [const { AtomicPtr::new(ptr::null_mut()) }; ROOT_LEN];

/// Whose a range is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(super) enum State {
    /// The record is nobody's.
    Unused = 0,
    /// The program holds the block.
    Live = 1,
    /// The block lies in the front of some thread.
    Front = 2,
    /// The block lies in a cache.
    Cached = 3,
    /// Purged addresses, kept to be used again.
    Range = 4,
    /// Some thread is making it or giving it back, or a fork lost it.
    Leaving = 5,
}

/// What was noted of a block, as bits.
pub(super) mod flag {
    /// Huge pages were asked for.
    pub(crate) const HUGE: u32 = 1;
    /// It came out of a cache: its site takes such blocks again and again.
    pub(crate) const REUSED: u32 = 2;
    /// Its warm memory is charged to what sites have earned, not to the warm budget; of a live block, it was when it was
    /// taken out of a cache.
    pub(crate) const EARNED: u32 = 4;
    /// It is in the Whale cache, not in BigCache.
    pub(crate) const WHALE: u32 = 8;
    /// Its huge pages were asked for before the site was known to be dense.
    pub(crate) const UNPROVEN: u32 = 16;
    /// When it was freed, a good part of it was used.
    pub(crate) const FILLED: u32 = 32;
    /// A growing buffer has it, with more than it has grown into: see `lent`.
    pub(crate) const LENT: u32 = 64;
    /// It was kept as earned although its site had no credit, because it had been before: none comes back with it.
    pub(crate) const CARRIED: u32 = 128;
    /// It was taken fresh, as zeros: unless its site is dense, no kept block of that would have served.
    pub(crate) const ZEROED: u32 = 256;
    /// It was made resident when it was mapped.
    pub(crate) const POPULATED: u32 = 512;
}

/// A range of addresses.
///
/// # Invariants
/// * `used <= mapped` and `touched <= mapped`; `mapped` is a multiple of 64 KiB; what lies from
///   `touched` on reads as zero.
/// * The record belongs to the program's thread while Live, to a front while Front, and to the
///   holder of the lock while Unused, Cached or Range.
#[repr(C, align(64))]
pub(super) struct Record {
    address: AtomicUsize,
    mapped: AtomicUsize,
    used: AtomicUsize,
    touched: AtomicUsize,
    state: AtomicU32,
    key: AtomicU32,
    /// Bits of [`flag`], and above them the charge in units of 64 KiB.
    flags: AtomicU32,
    stamp: AtomicU32,
    /// Next and previous in the list of a bin, and newer and older by age.
    links: [AtomicU32; 4],
}

const _: () = assert!(size_of::<Record>() == 64);

macro_rules! fields {
    ($($(#[$doc:meta])* $get:ident $set:ident $type:ty;)*) => {
        impl Record {
            $(
                $(#[$doc])*
                #[inline(always)]
                pub(super) fn $get(&self) -> $type {
                    self.$get.load(Relaxed)
                }
                /// Sets it.
                #[inline(always)]
                pub(super) fn $set(&self, value: $type) {
                    self.$get.store(value, Relaxed);
                }
            )*
        }
    };
}
fields! {
    /// The first byte, a multiple of 64 KiB.
    address set_address usize;
    /// Bytes of address space.
    mapped set_mapped usize;
    /// Bytes that the program may use.
    used set_used usize;
    /// Bytes from the start that may have content.
    touched set_touched usize;
    /// The call site's key.
    key set_key u32;
    /// When it was cached, or taken out of a cache.
    stamp set_stamp u32;
}

const FLAG_BITS: u32 = 10;
const _: () = assert!(flag::POPULATED >> FLAG_BITS == 0);

impl Record {
    /// Whose it is.
    #[inline(always)]
    pub(super) fn state(&self) -> State {
        match self.state.load(Relaxed) {
            1 => State::Live,
            2 => State::Front,
            3 => State::Cached,
            4 => State::Range,
            5 => State::Leaving,
            _ => State::Unused,
        }
    }

    /// Passes it on.
    #[inline(always)]
    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u32, Relaxed);
    }

    /// Whether any of the bits of [`flag`] in `mask` is set.
    #[inline(always)]
    pub(super) fn has(&self, mask: u32) -> bool {
        self.flags.load(Relaxed) & mask != 0
    }

    /// Sets or clears bits of [`flag`].
    pub(super) fn put(&self, mask: u32, on: bool) {
        let flags = self.flags.load(Relaxed);
        self.flags
            .store(if on { flags | mask } else { flags & !mask }, Relaxed);
    }

    /// Whether the block, which is freed at `now`, was earned when it was taken out of a cache, and that was lately.
    pub(super) fn stays_earned(&self, now: u32) -> bool {
        self.has(flag::EARNED) && learn::since(now, self.stamp()) <= LONGEST_PATIENCE_MS
    }

    /// Bytes that it counts for: in the budget while cached; as unproven before that, or while it is lent.
    pub(super) fn charge(&self) -> usize {
        (self.flags.load(Relaxed) >> FLAG_BITS) as usize * SLOT
    }

    /// Sets what it counts for, rounded up to 64 KiB.
    pub(super) fn set_charge(&self, bytes: usize) {
        let units = bytes.div_ceil(SLOT).min((1 << (32 - FLAG_BITS)) - 1) as u32;
        let flags = self.flags.load(Relaxed) & ((1 << FLAG_BITS) - 1);
        self.flags.store(flags | units << FLAG_BITS, Relaxed);
    }

    /// Makes it describe a new range.
    pub(super) fn describe(
        &self,
        address: usize,
        mapped: usize,
        used: usize,
        key: u32,
        flags: u32,
    ) {
        self.set_address(address);
        self.set_mapped(mapped);
        self.set_used(used);
        self.set_touched(used);
        self.set_key(key);
        self.flags.store(flags, Relaxed);
    }
}

fn chunk(n: u32) -> Option<&'static AtomicPtr<Record>> {
    ROOT.get((n >> CHUNK_SHIFT) as usize)
}

/// The record numbered `n`, if there ever was one.
#[inline]
pub(super) fn get(n: u32) -> Option<&'static Record> {
    // ORDERING: Acquire pairs with the Release in `Numbers::take`: the chunk is mapped.
    let chunk = chunk(n)?.load(Acquire);
    if chunk.is_null() {
        return None;
    }
    // SAFETY: chunks hold CHUNK records, zeroed ones are valid, and they are never unmapped.
    Some(unsafe { &*chunk.add(n as usize & (CHUNK - 1)) })
}

/// The numbers that are nobody's.
///
/// # Invariants
/// Records from `fresh` on, and all in the list at `free`, are Unused. Zeroed, all are.
pub(super) struct Numbers {
    free: u32,
    /// The highest number ever taken; their count, as 0 is nobody's.
    fresh: u32,
    unused: u32,
}

impl Numbers {
    /// None taken yet.
    pub(super) const NEW: Self = Self {
        free: 0,
        fresh: 0,
        unused: 0,
    };

    /// A number that is nobody's; `None`: out of memory, or of 24-bit numbers.
    pub(super) fn take(&mut self) -> Option<u32> {
        if let Some(record) = get(self.free).filter(|_| self.free != 0) {
            let n = self.free;
            self.free = record.links[0].load(Relaxed);
            self.unused -= 1;
            record.set_state(State::Leaving);
            return Some(n);
        }
        let n = self.fresh + 1;
        let root = chunk(n)?;
        if root.load(Relaxed).is_null() {
            let memory = meta::take(size_of::<Record>() * CHUNK, align_of::<Record>())?;
            // ORDERING: Release publishes the chunk to `get`. The holder of the lock is alone here.
            root.store(memory.as_ptr().cast(), Release);
        }
        self.fresh = n;
        get(n)?.set_state(State::Leaving);
        Some(n)
    }

    /// Takes a number back.
    pub(super) fn give(&mut self, n: u32) {
        if let Some(record) = get(n) {
            record.set_state(State::Unused);
            record.links[0].store(self.free, Relaxed);
            self.free = n;
            self.unused += 1;
        }
    }

    /// Numbers in use.
    pub(super) fn in_use(&self) -> usize {
        (self.fresh - self.unused) as usize
    }

    /// Makes the list of numbers that are nobody's anew: a fork may have caught it half-way.
    pub(super) fn collect(&mut self) {
        self.free = 0;
        self.unused = 0;
        for n in 1..=self.fresh {
            if get(n).is_some_and(|record| record.state() == State::Unused) {
                self.give(n);
            }
        }
    }

    /// Every record ever used.
    pub(super) fn each(&self) -> impl Iterator<Item = (u32, &'static Record)> {
        (1..=self.fresh).filter_map(|n| get(n).map(|record| (n, record)))
    }
}

/// Which links of a record a list uses.
#[derive(Clone, Copy)]
pub(super) enum By {
    /// Records of like size.
    Bin = 0,
    /// The order of caching.
    Age = 2,
}

/// A list of records, linked by their numbers. Zeroed, it is empty.
#[derive(Clone, Copy)]
pub(super) struct List {
    head: u32,
    tail: u32,
}

impl List {
    /// The empty list.
    pub(super) const NEW: Self = Self { head: 0, tail: 0 };

    /// The number in front, or 0.
    pub(super) fn head(&self) -> u32 {
        self.head
    }

    /// The number behind `n`, or 0.
    pub(super) fn next(n: u32, by: By) -> u32 {
        get(n).map_or(0, |record| record.links[by as usize].load(Relaxed))
    }

    fn set(n: u32, link: usize, to: u32) -> bool {
        let record = get(n).filter(|_| n != 0);
        if let Some(record) = record {
            record.links[link].store(to, Relaxed);
        }
        record.is_some()
    }

    /// Puts `n` in front.
    pub(super) fn push_front(&mut self, n: u32, by: By) {
        Self::set(n, by as usize, self.head);
        Self::set(n, by as usize + 1, 0);
        if !Self::set(self.head, by as usize + 1, n) {
            self.tail = n;
        }
        self.head = n;
    }

    /// Puts `n` at the end.
    pub(super) fn push_back(&mut self, n: u32, by: By) {
        Self::set(n, by as usize, 0);
        Self::set(n, by as usize + 1, self.tail);
        if !Self::set(self.tail, by as usize, n) {
            self.head = n;
        }
        self.tail = n;
    }

    /// Takes `n`, which is in this list, out of it.
    pub(super) fn remove(&mut self, n: u32, by: By) {
        let Some(record) = get(n) else { return };
        let next = record.links[by as usize].load(Relaxed);
        let prev = record.links[by as usize + 1].load(Relaxed);
        if !Self::set(prev, by as usize, next) {
            self.head = next;
        }
        if !Self::set(next, by as usize + 1, prev) {
            self.tail = prev;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    #[test]
    fn numbers_come_back_and_lists_keep_their_order() {
        // Numbers far from those that other tests use: the table is one for the process.
        let mut numbers = Numbers {
            free: 0,
            fresh: 16_000_000,
            unused: 0,
        };
        let taken: Vec<u32> = (0..2000).map(|_| numbers.take().unwrap()).collect();
        assert_eq!(taken[1999], 16_002_000);
        let mut list = List::NEW;
        for n in &taken[..5] {
            list.push_back(*n, By::Age);
        }
        list.push_front(taken[7], By::Age);
        list.remove(taken[2], By::Age);
        list.remove(taken[4], By::Age);
        list.remove(taken[7], By::Age);
        let mut seen = Vec::new();
        let mut n = list.head();
        while n != 0 {
            seen.push(n);
            n = List::next(n, By::Age);
        }
        assert_eq!(seen, [taken[0], taken[1], taken[3]]);
        assert_eq!(list.tail, taken[3]);
        numbers.give(taken[3]);
        assert_eq!(numbers.take(), Some(taken[3]));
        let mut full = Numbers {
            free: 0,
            fresh: Entry::OWNERS - 1,
            unused: 0,
        };
        assert_eq!(full.take(), None);
    }

    #[test]
    fn charges_and_flags_share_a_word() {
        let mut numbers = Numbers {
            free: 0,
            fresh: 16_500_000,
            unused: 0,
        };
        let record = get(numbers.take().unwrap()).unwrap();
        record.describe(SLOT, SLOT, 5, 7, flag::HUGE);
        record.set_charge(3 * SLOT + 1);
        record.put(flag::EARNED, true);
        record.put(flag::HUGE, false);
        assert_eq!(record.charge(), 4 * SLOT);
        assert!(record.has(flag::EARNED) && !record.has(flag::HUGE));
        record.set_charge(usize::MAX);
        assert!(record.charge() >= (1 << 38) - SLOT && record.has(flag::EARNED));
    }
}
