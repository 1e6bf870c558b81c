//! First in, first out, in memory of its own: what the quarantine holds.

use core::ptr::{NonNull, null_mut};

use crate::base::{PAGE, align_up};
use crate::os;

/// A queue of up to `N` numbers; `N` is a power of two.
///
/// # Invariants
/// `len <= N`; the numbers stand at `first`, `first + 1`, … modulo `N`; `ring` is null, and the queue
/// empty, until the first one comes.
pub(super) struct Fifo<const N: usize> {
    ring: *mut usize,
    first: usize,
    len: usize,
}

// SAFETY: the ring is the queue's alone.
unsafe impl<const N: usize> Send for Fifo<N> {}

impl<const N: usize> Fifo<N> {
    pub(super) const fn new() -> Self {
        assert!(N.is_power_of_two());
        Self {
            ring: null_mut(),
            first: 0,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends a number. False when the queue is full, or has no memory.
    pub(super) fn push(&mut self, number: usize) -> bool {
        if self.ring.is_null() {
            let bytes = align_up(N * size_of::<usize>(), PAGE);
            self.ring = os::map(0, bytes).map_or(null_mut(), |ring| ring.as_ptr().cast());
        }
        let Some(ring) = NonNull::new(self.ring) else {
            return false;
        };
        if self.len == N {
            return false;
        }
        // SAFETY: the index is below N, which the ring has room for.
        unsafe { ring.add((self.first + self.len) % N).write(number) };
        self.len += 1;
        true
    }

    /// Takes the oldest number.
    pub(super) fn pop(&mut self) -> Option<usize> {
        let number = self.iter().next()?;
        self.first = (self.first + 1) % N;
        self.len -= 1;
        Some(number)
    }

    /// All numbers, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        // SAFETY: the queue is not empty, so there is a ring, and the index is below N.
        (0..self.len).map(|i| unsafe { self.ring.add((self.first + i) % N).read() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_first_goes_first() {
        let mut fifo = Fifo::<8>::new();
        assert_eq!(fifo.pop(), None);
        for round in 0..5 {
            for n in 0..8 {
                assert!(fifo.push(round * 8 + n));
            }
            assert!(!fifo.push(0));
            assert!(fifo.iter().eq(round * 8..round * 8 + 8));
            for n in 0..5 {
                assert_eq!(fifo.pop(), Some(round * 8 + n));
            }
            assert_eq!(fifo.len(), 3);
            while fifo.pop().is_some() {}
        }
    }
}
