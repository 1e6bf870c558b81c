//! Magazines (Bonwick & Adams 2001): 64 pointer-sized slots, aligned to their 512 bytes.
//!
//! The top pointer points at the slot pushed last. It is full when the slot above would start a new
//! magazine, so "full" is a test on the low bits; it is empty when the slot that the top points at
//! holds null, the sentinel. The sentinel's slot is chosen so that a class whose blocks are large
//! has room for few. One shared slot at the end of a magazine of zeroes is empty and full at once,
//! so a class that was never used needs no magazine.
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

/// The slot of the sentinel of an empty magazine of a class.
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
