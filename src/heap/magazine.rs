//! Magazines (Bonwick & Adams 2001): 64 pointer-sized slots, aligned to their 512 bytes.
//!
//! The top pointer points at the slot pushed last. It is full when the slot above would start a new
//! magazine, so "full" is a test on the low bits; it is empty when the slot that the top points at
//! holds null, the sentinel. The sentinel's slot is chosen so that a class whose blocks are large
//! has room for few; it moves down, with what lies above it, where such a class needs more. One shared
//! slot at the end of a magazine of zeroes is empty and full at once, so a class that was never used
//! needs no magazine.
//!
//! In lists (full ones behind the loaded one, spares) slot 0 links to the next.

use core::ptr::null_mut;

use crate::base::ClassInfo;
use crate::base::class::MAGAZINE_MAX;
use crate::space::meta;
use crate::sync::primitive::ShortLock;

/// Bytes of a magazine.
pub(crate) const BYTES: usize = 512;
/// The top pointer: at the slot pushed last.
pub(crate) type Top = *mut *mut u8;

/// A magazine's first slot.
pub(crate) type Magazine = *mut *mut u8;

#[repr(C, align(512))]
struct Dummy([*mut u8; MAGAZINE_MAX + 1]);
// SAFETY: never written.
unsafe impl Sync for Dummy {}
static DUMMY: Dummy = Dummy([null_mut(); MAGAZINE_MAX + 1]);

/// The top of a magazine that is empty and full.
pub(crate) const fn dummy() -> Top {
    &raw const DUMMY.0[MAGAZINE_MAX] as Top
}

/// Whether there is no room above `top`.
#[inline(always)]
pub(crate) fn is_full(top: Top) -> bool {
    (top as usize + size_of::<usize>()) & (BYTES - 1) == 0
}

/// The magazine that `top` points into.
#[inline(always)]
pub(crate) fn of(top: Top) -> Magazine {
    (top as usize & !(BYTES - 1)) as Magazine
}

/// The slot of the sentinel of an empty magazine of a class, unless it was widened.
#[inline(always)]
pub(crate) fn bottom(info: &ClassInfo) -> usize {
    MAGAZINE_MAX - info.magazine as usize
}

/// Makes a magazine empty, and returns its top.
///
/// # Safety
/// The magazine is the caller's.
#[inline(always)]
pub(crate) unsafe fn clear(magazine: Magazine, info: &ClassInfo) -> Top {
    // SAFETY: the bottom is a slot.
    unsafe {
        let top = magazine.add(bottom(info));
        top.write(null_mut());
        top
    }
}

/// As [`clear`], with room for `room` blocks at most.
///
/// # Safety
/// The magazine is the caller's.
#[inline(always)]
pub(crate) unsafe fn clear_for(magazine: Magazine, info: &ClassInfo, room: usize) -> Top {
    // SAFETY: a slot at or above the bottom.
    unsafe {
        let top = magazine.add(bottom(info).max(MAGAZINE_MAX - room));
        top.write(null_mut());
        top
    }
}

/// Whether a magazine has slots for twice as many blocks as one of this class is for.
#[inline(always)]
pub(crate) fn can_widen(info: &ClassInfo) -> bool {
    2 * info.magazine as usize <= MAGAZINE_MAX
}

/// Where the sentinel of the magazine under `top` is.
///
/// # Safety
/// `top` points into the caller's magazine, and is not the [`dummy`].
pub(crate) unsafe fn sentinel(top: Top) -> Top {
    let mut at = top;
    // SAFETY: there is one at or below the top.
    unsafe {
        while !(*at).is_null() {
            at = at.sub(1);
        }
    }
    at
}

/// Slots below a slot.
pub(crate) fn below(slot: Top) -> usize {
    (slot as usize & (BYTES - 1)) / size_of::<usize>()
}

/// Moves what a full magazine holds down by `slots`, sentinel and all: there is room above it. Returns the top.
///
/// # Safety
/// The magazine is the caller's, `sentinel` is where it says, and as many slots are [`below`] it.
pub(crate) unsafe fn shift(sentinel: Top, slots: usize) -> Top {
    debug_assert!(below(sentinel) >= slots);
    let held = MAGAZINE_MAX - below(sentinel);
    // SAFETY: from the sentinel to the end, and as far below.
    unsafe {
        let end = sentinel.sub(slots);
        end.copy_from(sentinel, held + 1);
        end.add(held)
    }
}

/// Takes the `oldest` blocks out of a full magazine, those next to its sentinel: there is room for as many. Returns the
/// top.
///
/// # Safety
/// The magazine is the caller's, `sentinel` is where it says, and it holds as many.
pub(crate) unsafe fn drop_oldest(sentinel: Top, oldest: usize) -> Top {
    // SAFETY: the last of those is a slot of the magazine, and as many lie below it.
    unsafe {
        let last = sentinel.add(oldest);
        last.write(null_mut());
        shift(last, oldest)
    }
}

/// A list of magazines, linked through their first slots.
pub(crate) struct List {
    head: Magazine,
    /// How many.
    pub(crate) len: u32,
}

// SAFETY: a list owns its magazines.
unsafe impl Send for List {}

impl List {
    /// No magazines.
    pub(crate) const fn new() -> Self {
        Self {
            head: null_mut(),
            len: 0,
        }
    }

    /// Adds one.
    ///
    /// # Safety
    /// The magazine is the caller's, and is the list's from now on.
    #[inline]
    pub(crate) unsafe fn push(&mut self, magazine: Magazine) {
        // SAFETY: slot 0 of a magazine in a list is its link.
        unsafe { magazine.write(self.head.cast()) };
        self.head = magazine;
        self.len += 1;
    }

    /// Blocks in the magazines of the list, which were full when they were added: those between the
    /// end and the sentinel, wherever that is. Racy unless the owner asks: then a number that may
    /// be off, since magazines are never unmapped.
    pub(crate) fn blocks(&self, info: &ClassInfo) -> usize {
        let (mut magazine, mut n) = (self.head, 0);
        for _ in 0..self.len {
            if magazine.is_null() {
                break;
            }
            // SAFETY: the slots of a magazine.
            unsafe {
                let mut slot = MAGAZINE_MAX;
                while slot > bottom(info) && !(*magazine.add(slot)).is_null() {
                    slot -= 1;
                    n += 1;
                }
                magazine = magazine.read().cast();
            }
        }
        n
    }

    /// Takes the one added last.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Magazine> {
        let magazine = self.head;
        if magazine.is_null() {
            return None;
        }
        // SAFETY: as in `push`.
        self.head = unsafe { magazine.read() }.cast();
        self.len -= 1;
        Some(magazine)
    }
}

/// Magazines of threads that are gone.
static SPARE: ShortLock<List> = ShortLock::new(List::new());

/// A magazine whose slots hold anything. `None`: out of memory.
pub(crate) fn take() -> Option<Magazine> {
    if let Some(magazine) = SPARE.lock().pop() {
        return Some(magazine);
    }
    meta::take(BYTES, BYTES).map(|m| m.as_ptr().cast())
}

/// Hands a magazine on to other threads.
///
/// # Safety
/// It is the caller's, and holds no block that is not elsewhere, too.
pub(crate) unsafe fn give(magazine: Magazine) {
    // SAFETY: the caller's.
    unsafe { SPARE.lock().push(magazine) };
}

/// In the child of a fork: forgets the spares if they may be half-linked.
///
/// # Safety
/// As for [`crate::sync::Lock::recover`].
pub(crate) unsafe fn after_fork() {
    // SAFETY: the caller's.
    unsafe { SPARE.recover(|spare| *spare = List::new()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn held(top: Top) -> Vec<usize> {
        // SAFETY: the top is in a magazine with a sentinel.
        unsafe {
            let n = below(top) - below(sentinel(top));
            (0..n).map(|i| *top.sub(i) as usize).collect()
        }
    }

    #[test]
    fn a_full_magazine_gets_wider_and_loses_what_is_oldest() {
        let mut slots = Dummy([null_mut(); MAGAZINE_MAX + 1]);
        let info = crate::base::Class::of(16 << 10).info();
        // SAFETY: the magazine is ours; what it holds is not looked at.
        unsafe {
            let mut top = clear(slots.0.as_mut_ptr(), info);
            let push = |top: &mut Top, from: usize| {
                for block in from.. {
                    if is_full(*top) {
                        break;
                    }
                    *top = top.add(1);
                    top.write(block as *mut u8);
                }
            };
            push(&mut top, 1);
            assert_eq!(held(top), [4, 3, 2, 1]);
            top = shift(sentinel(top), 4);
            assert_eq!(held(top), [4, 3, 2, 1]);
            push(&mut top, 5);
            assert_eq!(held(top), [8, 7, 6, 5, 4, 3, 2, 1]);
            top = drop_oldest(sentinel(top), 4);
            assert_eq!(held(top), [8, 7, 6, 5]);
            push(&mut top, 9);
            assert_eq!(held(top), [12, 11, 10, 9, 8, 7, 6, 5]);
        }
    }
}
