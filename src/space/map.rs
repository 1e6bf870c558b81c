//! The slab map: address → owner and class, one 32-bit entry for each 64 KiB of address space.
//!
//! Two levels: a root of 8,192 pointers in .bss, and leaves of 1 MiB, each for a window of 16 GiB,
//! mapped when the first slot in their window is taken and never unmapped. Entries are single
//! words: a reader sees the old or the new one.
//!
//! An entry is `owner << 8 | kind`. A kind below [`N_CLASSES`] is a slab of that class; then the
//! owner is a heap's number. With [`SEALED`] added, it is a slab of guarded blocks. Memory that is not
//! ours has entry 0.

use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::base::size::{ADDRESS_BITS, SLOT_SHIFT};
use crate::base::{Class, N_CLASSES};
use crate::os;
use crate::sync::primitive::{self, AtomicPtr, AtomicU32};

/// log2 of the slots that a leaf describes.
const LEAF_SHIFT: u32 = 18;
/// Slots that a leaf describes.
pub(crate) const LEAF_SLOTS: usize = 1 << LEAF_SHIFT;
const ROOT_LEN: usize = 1 << (ADDRESS_BITS - SLOT_SHIFT - LEAF_SHIFT);

type Leaf = [AtomicU32; LEAF_SLOTS];

static ROOT: [AtomicPtr<Leaf>; ROOT_LEN] = [const { AtomicPtr::new(ptr::null_mut()) }; ROOT_LEN];

/// Who a slot belongs to, and what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry(u32);

/// The kind of a slot in a SuperSlab of page runs.
const RUN: u32 = 0xfe;
/// The kind of the first slot of a mapping of its own; the owner is the number of its record.
const LARGE: u32 = 0xfd;
/// The kind of all slots of a mapping with a guarded block; the owner is the number of its record.
const FENCED: u32 = 0xfc;
/// Added to a class's number: a slab of guarded blocks. No fast path takes that for a class.
const SEALED: u32 = 0x80;

/// A decoded entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Memory that is not ours.
    Foreign,
    /// A slab of this class.
    Slab(Class),
    /// A slot in a SuperSlab of page runs.
    Run,
    /// A mapping of its own, with the number of its record.
    Large(u32),
    /// A slab of guarded blocks of this class.
    Sealed(Class),
    /// A mapping with a guarded block, with the number of its record.
    Fenced(u32),
}

impl Entry {
    /// Not ours.
    pub(crate) const FOREIGN: Self = Self(0);
    /// A slot in a SuperSlab of page runs.
    pub(crate) const RUN: Self = Self(RUN);
    /// Owners are below this: 24 bits.
    pub(crate) const OWNERS: u32 = 1 << 24;

    /// A slab of `class` that the heap numbered `owner` holds.
    #[inline(always)]
    pub(crate) const fn slab(owner: u32, class: Class) -> Self {
        Self(owner << 8 | class.number() as u32)
    }

    /// The first slot of a mapping of its own.
    pub(crate) const fn large(record: u32) -> Self {
        Self(record << 8 | LARGE)
    }

    /// A slab of guarded blocks of `class` that the heap numbered `owner` holds.
    pub(crate) const fn sealed(owner: u32, class: Class) -> Self {
        Self(owner << 8 | SEALED | class.number() as u32)
    }

    /// A slot of a mapping with a guarded block.
    pub(crate) const fn fenced(record: u32) -> Self {
        Self(record << 8 | FENCED)
    }

    /// The owner's, or the record's, number.
    #[inline(always)]
    pub(crate) const fn owner(self) -> u32 {
        self.0 >> 8
    }

    /// What it says.
    #[inline]
    pub(crate) const fn kind(self) -> Kind {
        match self.0 & 0xff {
            RUN => Kind::Run,
            LARGE => Kind::Large(self.0 >> 8),
            FENCED => Kind::Fenced(self.0 >> 8),
            n if n & SEALED != 0 => match Class::from_number((n & !SEALED) as usize) {
                Some(class) => Kind::Sealed(class),
                None => Kind::Foreign,
            },
            n if self.0 != 0 && (n as usize) < N_CLASSES => match Class::from_number(n as usize) {
                Some(class) => Kind::Slab(class),
                None => Kind::Foreign,
            },
            _ => Kind::Foreign,
        }
    }
}

/// A leaf with the number of its first slot: what a heap keeps at hand for its frees.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    /// Number (address >> 16) of the first slot.
    pub(crate) first: usize,
    /// The entries of the window.
    pub(crate) leaf: *const AtomicU32,
}

/// The window that `address` lies in, if anything in it was ever ours.
pub(crate) fn window_of(address: usize) -> Option<Window> {
    let slot = address >> SLOT_SHIFT;
    let root = ROOT.get(slot >> LEAF_SHIFT)?;
    // ORDERING: Acquire pairs with the Release in `leaf_for`: the leaf is mapped.
    let leaf = root.load(Acquire);
    (!leaf.is_null()).then(|| Window {
        first: slot & !(LEAF_SLOTS - 1),
        leaf: leaf.cast_const().cast(),
    })
}

/// The entry for `address`, which may be anything.
#[inline]
pub(crate) fn lookup(address: usize) -> Entry {
    match window_of(address) {
        None => Entry::FOREIGN,
        // SAFETY: the leaf has LEAF_SLOTS entries and is never unmapped.
        Some(window) => unsafe {
            let word = &*window.leaf.add((address >> SLOT_SHIFT) - window.first);
            // ORDERING: Relaxed. Whoever holds a block got it from its owner after the entry
            // was written, by a path of its own that orders the two.
            Entry(word.load(Relaxed))
        },
    }
}

fn leaf_for(slot: usize) -> Option<&'static Leaf> {
    let root = ROOT.get(slot >> LEAF_SHIFT)?;
    // ORDERING: Acquire pairs with the Release below.
    let mut leaf = root.load(Acquire);
    if leaf.is_null() {
        let bytes = size_of::<Leaf>();
        let fresh = primitive::map(0, bytes)?;
        // ORDERING: Release publishes the mapping; Acquire on failure pairs with the winner's.
        match root.compare_exchange(ptr::null_mut(), fresh.as_ptr().cast(), Release, Acquire) {
            Ok(_) => leaf = fresh.as_ptr().cast(),
            Err(winner) => {
                // SAFETY: nobody has seen our mapping.
                unsafe { os::discard(fresh, bytes) };
                leaf = winner;
            }
        }
    }
    // SAFETY: leaves are never unmapped, and zeroed memory is a valid leaf.
    Some(unsafe { &*leaf })
}

/// Writes `entry` for `slots` slots from `start` on. False when a leaf cannot be mapped; then
/// nothing has been written. Slots of which some entry was written before never fail.
///
/// The slots are the caller's: nobody else writes their entries.
pub(crate) fn set(start: NonNull<u8>, slots: usize, entry: Entry) -> bool {
    let first = start.as_ptr() as usize >> SLOT_SHIFT;
    let end = first + slots;
    let mut window = first & !(LEAF_SLOTS - 1);
    while window < end {
        if leaf_for(window).is_none() {
            return false;
        }
        window += LEAF_SLOTS;
    }
    for slot in first..end {
        if let Some(leaf) = leaf_for(slot) {
            // ORDERING: Relaxed; see `lookup`.
            leaf[slot & (LEAF_SLOTS - 1)].store(entry.0, Relaxed);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_say_what_was_put_in() {
        let class = Class::of(100);
        assert_eq!(Entry::slab(77, class).kind(), Kind::Slab(class));
        assert_eq!(Entry::slab(77, class).owner(), 77);
        assert_eq!(Entry::large(123_456).kind(), Kind::Large(123_456));
        assert_eq!(Entry::RUN.kind(), Kind::Run);
        assert_eq!(Entry::fenced(123_456).kind(), Kind::Fenced(123_456));
        for number in 1..N_CLASSES {
            let class = Class::from_number(number).unwrap();
            assert_eq!(Entry::sealed(77, class).kind(), Kind::Sealed(class));
            assert_eq!(Entry::sealed(77, class).owner(), 77);
        }
        assert_eq!(Entry::FOREIGN.kind(), Kind::Foreign);
    }

    #[test]
    fn any_address_can_be_looked_up() {
        for address in [0, 1, 1 << 16, (1 << 47) - 1, 1 << 47, 1 << 63, usize::MAX] {
            assert_eq!(lookup(address), Entry::FOREIGN);
        }
        let memory = os::map_aligned(0, 1 << 20, 1 << 16).unwrap();
        assert!(set(memory, 3, Entry::large(9)));
        let at = memory.as_ptr() as usize;
        assert_eq!(lookup(at + (2 << 16) + 5).kind(), Kind::Large(9));
        assert_eq!(lookup(at + (3 << 16)), Entry::FOREIGN);
        assert!(set(memory, 3, Entry::FOREIGN));
        assert_eq!(lookup(at), Entry::FOREIGN);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::base::SLOT;
    use loom::thread;

    /// Two threads enter their slots in a window that has no leaf yet, and one looks.
    #[test]
    fn a_leaf_is_published_once() {
        let base = 0x1234_0000_0000;
        let write = move |slot: usize| {
            let start = NonNull::new((base + slot * SLOT) as *mut u8).unwrap();
            let entry = Entry::large(slot as u32 + 1);
            assert!(set(start, 1, entry));
            assert_eq!(lookup(start.as_ptr() as usize), entry);
        };
        let body = move || {
            assert_eq!(lookup(base), Entry::FOREIGN);
            let threads = [0, 1].map(|slot| thread::spawn(move || write(slot)));
            let seen = lookup(base);
            assert!(seen == Entry::FOREIGN || seen == Entry::large(1));
            for thread in threads {
                thread.join().unwrap();
            }
            for slot in 0..2 {
                let seen = lookup(base + slot * SLOT);
                assert_eq!(seen, Entry::large(slot as u32 + 1));
            }
            let leaf = window_of(base).unwrap().leaf.cast_mut().cast();
            // SAFETY: the next execution has a leaf of its own.
            unsafe { os::unmap(NonNull::new(leaf).unwrap(), size_of::<Leaf>()) };
        };
        primitive::model(Some(3), || (), body);
    }
}
