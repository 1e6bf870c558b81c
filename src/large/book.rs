//! The book of call sites: who takes large blocks, for whoever asks.
//!
//! A hash table that grows and is never locked: when one is full, another of twice the size is put
//! beside it, and what is known stays where it is. Only takes that no front served are written down,
//! so the book costs nothing where blocks are found again at once.

use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::space::meta;

/// log2 of the entries of the first table.
const FIRST_SHIFT: u32 = 8;
/// Tables, at most: of half a billion sites in all.
const TABLES: usize = 21;
/// Places that a key may have in a table.
const PROBES: usize = 8;

/// A call site. Zeroed, nobody's.
///
/// # Invariants
/// `key` is 0 until the entry is taken, and never changes afterwards.
pub(super) struct Entry {
    key: AtomicU32,
    address: AtomicUsize,
    takes: AtomicU64,
    bytes: AtomicU64,
    largest: AtomicUsize,
}

static BOOK: [AtomicPtr<Entry>; TABLES] = [const { AtomicPtr::new(core::ptr::null_mut()) }; TABLES];
/// Tables in use.
static IN_USE: AtomicUsize = AtomicUsize::new(0);
/// A thread is adding one.
static GROWING: AtomicBool = AtomicBool::new(false);
/// Sites that are written down.
static SITES: AtomicUsize = AtomicUsize::new(0);

fn table(i: usize) -> &'static [Entry] {
    // ORDERING: Acquire pairs with the Release in `grow`: the table is zeroed.
    let start = BOOK[i].load(Acquire);
    if start.is_null() {
        return &[];
    }
    // SAFETY: a table of that length, which is never unmapped; zeroed memory is valid entries.
    unsafe { core::slice::from_raw_parts(start, 1 << (FIRST_SHIFT + i as u32)) }
}

/// The entries in which `key` may stand.
fn places(table: &'static [Entry], key: u32) -> impl Iterator<Item = &'static Entry> {
    let first = (key.wrapping_mul(0x9e37_79b1) >> 3) as usize;
    let mask = table.len().wrapping_sub(1);
    (0..PROBES.min(table.len())).map(move |i| &table[(first + i) & mask])
}

/// The entry of `key`, made if there is none: in the first place that is free. Places fill and never
/// become free, so a key stands before the first free one, or nowhere. `None`: all are taken.
fn find(key: u32) -> Option<&'static Entry> {
    for i in 0..IN_USE.load(Acquire) {
        for entry in places(table(i), key) {
            let mut holder = entry.key.load(Relaxed);
            if holder == 0 {
                match entry.key.compare_exchange(0, key, Relaxed, Relaxed) {
                    Ok(_) => {
                        SITES.fetch_add(1, Relaxed);
                        holder = key;
                    }
                    Err(other) => holder = other,
                }
            }
            if holder == key {
                return Some(entry);
            }
        }
    }
    None
}

/// Adds a table if there are no more than `tables`, unless another thread is doing it.
#[cold]
fn grow(tables: usize) {
    if tables == TABLES || GROWING.swap(true, Acquire) {
        return;
    }
    if IN_USE.load(Relaxed) == tables
        && let Some(start) = meta::take(size_of::<Entry>() << (FIRST_SHIFT + tables as u32), 64)
    {
        // ORDERING: Release pairs with the Acquire in `table`.
        BOOK[tables].store(start.as_ptr().cast(), Release);
        IN_USE.store(tables + 1, Release);
    }
    // ORDERING: Release pairs with the Acquire of the next to grow.
    GROWING.store(false, Release);
}

/// The entry of the site at `address`. `None`: memory is short, or another thread is making room; then
/// something is not written down.
pub(super) fn enter(key: u32, address: usize) -> Option<&'static Entry> {
    let tables = IN_USE.load(Relaxed);
    let found = find(key).or_else(|| {
        grow(tables);
        find(key)
    });
    found.inspect(|entry| entry.address.store(address, Relaxed))
}

/// Writes down that the site at `address` took `bytes`.
pub(super) fn note(key: u32, address: usize, bytes: usize) {
    let Some(entry) = enter(key, address) else {
        return;
    };
    entry.takes.fetch_add(1, Relaxed);
    entry.bytes.fetch_add(bytes as u64, Relaxed);
    entry.largest.fetch_max(bytes, Relaxed);
}

/// Sites that are written down.
pub(super) fn len() -> usize {
    SITES.load(Relaxed)
}

/// Calls `f` with the key, the address, the takes, their bytes and the largest of each site.
pub(super) fn each(mut f: impl FnMut(u32, usize, u64, u64, usize)) {
    for i in 0..IN_USE.load(Acquire) {
        for entry in table(i) {
            let key = entry.key.load(Relaxed);
            if key != 0 {
                f(
                    key,
                    entry.address.load(Relaxed),
                    entry.takes.load(Relaxed),
                    entry.bytes.load(Relaxed),
                    entry.largest.load(Relaxed),
                );
            }
        }
    }
}

/// Where the site `key` is.
pub(super) fn address(key: u32) -> Option<usize> {
    for i in 0..IN_USE.load(Acquire) {
        let mut places = places(table(i), key);
        if let Some(entry) = places.find(|entry| entry.key.load(Relaxed) == key) {
            return Some(entry.address.load(Relaxed));
        }
    }
    None
}

/// In the child of a fork: the thread that was making room may be gone.
pub(super) fn after_fork() {
    GROWING.store(false, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::collections::HashMap;
    use std::thread;

    #[test]
    fn sites_are_found_again_while_the_book_grows() {
        const SITES: u32 = 5000;
        let key = |n: u32| (n + 1).wrapping_mul(0x0100_0193) & !3 | 2;
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in (0..SITES).chain(0..SITES) {
                        note(key(n), n as usize, 10);
                    }
                });
            }
        });
        for n in 0..SITES {
            note(key(n), n as usize, 10);
        }
        let mut seen = HashMap::new();
        each(|key, address, takes, bytes, largest| {
            assert_eq!((bytes, largest), (takes * 10, 10));
            assert!(
                seen.insert(key, (address, takes)).is_none(),
                "{key} stands twice"
            );
        });
        // Few takes are lost while somebody makes room, and no site is.
        assert_eq!(seen.len(), len());
        for n in 0..SITES {
            let (address, takes) = seen[&key(n)];
            assert!(address == n as usize && takes <= 9, "{n}: {takes}");
        }
    }
}
