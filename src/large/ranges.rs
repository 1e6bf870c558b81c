//! Addresses that are kept although nobody uses them: purged, mapped, ready to be handed out again.
//!
//! With very many mappings, unmapping one in the middle of others would split what the kernel holds
//! as one area, and there may be only 65,530 of these. Neighbouring ranges are joined: the slab map
//! names a range in the entries of its first and its last slot (boundary tags, Knuth 2.5 C).

use core::ptr::NonNull;

use super::records::{self, Numbers, Record, State};
use super::store::Bins;
use crate::base::SLOT;
use crate::space::map::{self, Entry, Kind};

/// The ranges.
///
/// # Invariants
/// Each record is in state Range, and the slab map has its number for its first slot, and, unless
/// no memory for the map was left, for its last. No other record's range overlaps it.
pub(super) struct Ranges {
    bins: Bins,
    /// Ranges there are.
    pub(super) count: usize,
}

fn tag(address: usize, entry: Entry) -> bool {
    NonNull::new(address as *mut u8).is_some_and(|p| map::set(p, 1, entry))
}

fn range_at(address: usize) -> Option<(u32, &'static Record)> {
    match map::lookup(address).kind() {
        Kind::Large(n) => records::get(n)
            .filter(|record| record.state() == State::Range)
            .map(|record| (n, record)),
        _ => None,
    }
}

impl Ranges {
    /// None.
    pub(super) const NEW: Self = Self {
        bins: Bins::NEW,
        count: 0,
    };

    fn put(&mut self, n: u32, record: &Record) {
        let end = record.address() + record.mapped();
        tag(record.address(), Entry::large(n));
        tag(end - SLOT, Entry::large(n));
        record.set_state(State::Range);
        self.bins.insert(n, record);
        self.count += 1;
    }

    fn pull(&mut self, n: u32, record: &Record) {
        self.bins.remove(n, record);
        self.count -= 1;
        // First: its next owner tags it before it is live, and who looks for neighbours must not find a range then.
        record.set_state(State::Leaving);
        tag(record.address(), Entry::FOREIGN);
        tag(record.address() + record.mapped() - SLOT, Entry::FOREIGN);
    }

    /// Adds the range of `n`, joined with its neighbours; their records become unused. `touched` of
    /// a record that is not 0 says that the range is not zero.
    pub(super) fn insert(&mut self, n: u32, record: &Record, numbers: &mut Numbers) {
        let (mut start, mut bytes) = (record.address(), record.mapped());
        let mut dirty = record.touched() > 0;
        if let Some((m, before)) = range_at(start - 1)
            && before.address() + before.mapped() == start
        {
            self.pull(m, before);
            start = before.address();
            bytes += before.mapped();
            dirty |= before.touched() > 0;
            numbers.give(m);
        }
        if let Some((m, behind)) = range_at(start + bytes)
            && behind.address() == start + bytes
        {
            self.pull(m, behind);
            bytes += behind.mapped();
            dirty |= behind.touched() > 0;
            numbers.give(m);
        }
        record.describe(start, bytes, 0, 0, 0);
        record.set_touched(if dirty { bytes } else { 0 });
        self.put(n, record);
    }

    /// Takes exactly `bytes` of addresses, if there are as many in a row. The record's `touched` is
    /// 0 if they read as zero.
    pub(super) fn take(&mut self, bytes: usize, numbers: &mut Numbers) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let exact = |record: &Record| Some((record.mapped() == bytes) as u32);
        let n = self.bins.find(bytes, usize::MAX, 1, exact)?;
        let record = records::get(n)?;
        if record.mapped() == bytes {
            self.pull(n, record);
            return Some(n);
        }
        let m = numbers.take()?;
        let taken = records::get(m)?;
        self.pull(n, record);
        let dirty = record.touched() > 0;
        taken.describe(record.address(), bytes, 0, 0, 0);
        taken.set_touched(if dirty { bytes } else { 0 });
        record.set_address(record.address() + bytes);
        record.set_mapped(record.mapped() - bytes);
        record.set_touched(if dirty { record.mapped() } else { 0 });
        self.put(n, record);
        Some(m)
    }

    /// Takes the range of `n` out.
    pub(super) fn remove(&mut self, n: u32, record: &Record) {
        self.pull(n, record);
    }

    /// Some range, a large one.
    pub(super) fn any(&self) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        self.bins.find(0, usize::MAX, 1, |_| Some(1))
    }

    /// Whether bins, states, and the slab map agree.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let mut count = 0;
        let sound = self.bins.each(|n, record| {
            count += 1;
            record.state() == State::Range
                && map::lookup(record.address()) == Entry::large(n)
                && map::lookup(record.address() + record.mapped() - 1) == Entry::large(n)
        });
        if sound && count == self.count {
            Ok(())
        } else {
            Err("kept ranges are not as they should be")
        }
    }
}
