//! What the system would not take back, until it does.
//!
//! munmap fails where it would split an area and the process has as many as `vm.max_map_count` allows.
//! Who then has a use for the range keeps it. What nobody can use is noted here: in the range itself,
//! for which one page of it becomes resident.

use core::ptr::{self, NonNull};
use core::sync::atomic::{
    AtomicPtr,
    Ordering::{Acquire, Relaxed, Release},
};

/// Stands at the start of a range that was refused.
pub(super) struct Refused {
    next: *mut Refused,
    bytes: usize,
}

/// The ranges. They are added one by one, and taken all at once, so none is looked at that is gone.
pub(super) struct List(AtomicPtr<Refused>);

/// Those of this process.
pub(super) static REFUSED: List = List(AtomicPtr::new(ptr::null_mut()));

impl List {
    /// Adds a range.
    ///
    /// # Safety
    /// It is mapped, at least a page, can be written, and is nobody's but the caller's.
    pub(super) unsafe fn add(&self, start: NonNull<u8>, bytes: usize) {
        let range: *mut Refused = start.as_ptr().cast();
        let mut next = self.0.load(Relaxed);
        loop {
            // SAFETY: the range is ours until it is in the list.
            unsafe { range.write(Refused { next, bytes }) };
            // ORDERING: Release pairs with the Acquire in `retry`: the range says what it is.
            match self.0.compare_exchange_weak(next, range, Release, Relaxed) {
                Ok(_) => return,
                Err(now) => next = now,
            }
        }
    }

    /// Whether there is none.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Relaxed).is_null()
    }

    /// Offers the ranges to `unmap` again: all, or until it refuses one. What is refused stays.
    pub(super) fn retry(&self, all: bool, unmap: impl Fn(NonNull<u8>, usize) -> bool) {
        // ORDERING: Acquire pairs with the Release in `add`.
        let mut range = self.0.swap(ptr::null_mut(), Acquire);
        let mut go_on = true;
        while let Some(start) = NonNull::new(range.cast::<u8>()) {
            // SAFETY: what was in the list is this thread's now, and nobody else's.
            unsafe {
                let Refused { next, bytes } = range.read();
                if !(go_on && unmap(start, bytes)) {
                    self.add(start, bytes);
                    go_on &= all;
                }
                range = next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::cell::RefCell;
    use std::vec;

    #[test]
    fn what_was_refused_is_offered_again_until_it_goes() {
        let list = List(AtomicPtr::new(ptr::null_mut()));
        let mut memory = [[0usize; 2]; 4];
        let ranges = memory
            .each_mut()
            .map(|range| NonNull::from(range).cast::<u8>());
        for (i, range) in ranges.iter().enumerate() {
            // SAFETY: it is ours, and large enough for a note.
            unsafe { list.add(*range, i) };
        }
        let offered = RefCell::new(vec![]);
        let offer = |all, goes: usize| {
            offered.borrow_mut().clear();
            list.retry(all, |start, bytes| {
                assert_eq!(start, ranges[bytes]);
                offered.borrow_mut().push(bytes);
                bytes == goes
            });
            offered.borrow_mut().sort_unstable();
            offered.borrow().clone()
        };
        assert_eq!(offer(true, 2), [0, 1, 2, 3]);
        assert_eq!(offer(false, 9).len(), 1);
        assert_eq!(offer(true, 0), [0, 1, 3]);
        assert_eq!(offer(true, 3), [1, 3]);
        assert!(!list.is_empty());
        assert_eq!(offer(true, 1), [1]);
        assert!(list.is_empty());
    }
}
