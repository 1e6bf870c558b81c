//! What stands in a SuperSlab's header for the first page of a run: one word.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::base::PAGE;

/// Whose a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum State {
    /// No run begins at this page.
    None = 0,
    /// The program holds it.
    Live = 1,
    /// It lies in the front of some thread.
    Kept = 2,
}

/// A run: its pages, and who has it.
///
/// # Invariants
/// `used() <= touched() <= len()`, all below 512. Pages from `touched()` on have not been written
/// since the run was made. Only who has the run changes its word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u64);

const FIELD: u64 = 0x1ff;
/// See [`Word::is_lent`].
const LENT: u64 = 1 << 9;

impl Word {
    /// A live run of `len` pages, of which the program may use `used`.
    pub(super) fn new(len: usize, used: usize, touched: usize, key: u32) -> Self {
        debug_assert!(used <= touched && touched <= len && len < 512);
        Self(
            len as u64
                | (used as u64) << 10
                | (touched as u64) << 20
                | (State::Live as u64) << 30
                | (key as u64) << 32,
        )
    }

    /// Pages set aside.
    #[inline(always)]
    pub(super) fn len(self) -> usize {
        (self.0 & FIELD) as usize
    }

    /// Pages that the program may use.
    #[inline(always)]
    pub(super) fn used(self) -> usize {
        (self.0 >> 10 & FIELD) as usize
    }

    /// Pages that may have content.
    #[inline(always)]
    pub(super) fn touched(self) -> usize {
        (self.0 >> 20 & FIELD) as usize
    }

    /// Who has it.
    #[inline(always)]
    pub(super) fn state(self) -> State {
        match self.0 >> 30 & 3 {
            1 => State::Live,
            2 => State::Kept,
            _ => State::None,
        }
    }

    /// The call site that took it.
    #[inline(always)]
    pub(super) fn key(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether a growing buffer has it, with more than it has grown into: see `lent`.
    #[inline(always)]
    pub(super) fn is_lent(self) -> bool {
        self.0 & LENT != 0
    }

    /// The same run, lent or not.
    pub(super) fn with_lent(self, lent: bool) -> Self {
        Self(if lent { self.0 | LENT } else { self.0 & !LENT })
    }

    /// The same run in another state.
    #[inline(always)]
    pub(super) fn with_state(self, state: State) -> Self {
        Self(self.0 & !(3 << 30) | (state as u64) << 30)
    }

    /// The same run with `used` pages in use, which are then touched.
    #[inline(always)]
    pub(super) fn with_used(self, used: usize) -> Self {
        debug_assert!(used <= self.len());
        let touched = self.touched().max(used);
        Self(self.0 & !(FIELD << 10 | FIELD << 20) | (used as u64) << 10 | (touched as u64) << 20)
    }

    /// Bytes that the program may use.
    #[inline(always)]
    pub(super) fn bytes(self) -> usize {
        self.used() * PAGE
    }
}

/// Where a [`Word`] is kept. The word is read by whoever frees a pointer, be it right or wrong, so
/// it is atomic; all accesses are Relaxed: a block's word was written before the block was handed
/// out, and the program orders its own use of the block.
#[repr(transparent)]
pub(super) struct WordCell(AtomicU64);

impl WordCell {
    /// What it says.
    #[inline(always)]
    pub(super) fn get(&self) -> Word {
        Word(self.0.load(Relaxed))
    }

    /// Says something else.
    #[inline(always)]
    pub(super) fn set(&self, word: Word) {
        self.0.store(word.0, Relaxed);
    }

    /// No run begins here.
    pub(super) fn clear(&self) {
        self.0.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_mix() {
        let word = Word::new(496, 3, 17, 0xdead_beef);
        assert_eq!((word.len(), word.used(), word.touched()), (496, 3, 17));
        assert_eq!((word.state(), word.key()), (State::Live, 0xdead_beef));
        let word = word.with_used(400).with_state(State::Kept);
        assert_eq!((word.len(), word.used(), word.touched()), (496, 400, 400));
        let word = word.with_used(5);
        assert_eq!((word.len(), word.used(), word.touched()), (496, 5, 400));
        assert_eq!((word.state(), word.key()), (State::Kept, 0xdead_beef));
        let lent = word.with_lent(true);
        assert!(lent.is_lent() && !word.is_lent() && lent.with_lent(false) == word);
        assert_eq!((lent.len(), lent.used(), lent.touched()), (496, 5, 400));
        assert!(lent.with_used(6).with_state(State::Live).is_lent());
    }
}
