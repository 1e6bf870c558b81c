//! A live block, found: a page run or a mapping.

use core::ptr::NonNull;

use super::records::{Record, State};
use super::word::{self, Word, WordCell};
use super::{Misuse, direct, runs};
use crate::base::PAGE;
use crate::space::map::{Entry, Kind};

/// A block that is being given: what `give` needs to know of it.
#[derive(Clone, Copy)]
pub(super) enum Block {
    /// A live run.
    Run(&'static WordCell, Word),
    /// A live mapping.
    Mapping(u32, &'static Record),
}

impl Block {
    /// The site that took it.
    #[inline(always)]
    pub(super) fn key(&self) -> u32 {
        match self {
            Self::Run(_, word) => word.key(),
            Self::Mapping(_, record) => record.key(),
        }
    }

    /// Bytes that it has room for.
    #[inline(always)]
    pub(super) fn room(&self) -> usize {
        match self {
            Self::Run(_, word) => word.len() * PAGE,
            Self::Mapping(_, record) => record.mapped(),
        }
    }

    /// Bytes that may have content.
    #[inline(always)]
    pub(super) fn touched(&self) -> usize {
        match self {
            Self::Run(_, word) => word.touched() * PAGE,
            Self::Mapping(_, record) => record.touched(),
        }
    }

    /// Bytes that the program may use.
    pub(super) fn used(&self) -> usize {
        match self {
            Self::Run(_, word) => word.bytes(),
            Self::Mapping(_, record) => record.used(),
        }
    }

    /// The number of its record, or 0.
    #[inline(always)]
    pub(super) fn record(&self) -> u32 {
        match self {
            Self::Run(..) => 0,
            Self::Mapping(n, _) => *n,
        }
    }

    /// It goes into a front.
    #[inline(always)]
    pub(super) fn keep(&self) {
        match self {
            Self::Run(cell, word) => cell.set(word.with_state(word::State::Kept)),
            Self::Mapping(_, record) => record.set_state(State::Front),
        }
    }
}

impl Block {
    /// Finds the live block at `p`.
    ///
    /// # Safety
    /// `entry` is what the slab map says of `p`.
    #[inline]
    pub(super) unsafe fn at(p: NonNull<u8>, entry: Entry) -> Result<Self, Misuse> {
        match entry.kind() {
            Kind::Run => {
                // SAFETY: the caller's.
                let (cell, word) = unsafe { runs::live(p) }?;
                Ok(Block::Run(cell, word))
            }
            Kind::Large(n) => Ok(Block::Mapping(n, direct::live(p, n)?)),
            _ => Err(Misuse::NotABlock),
        }
    }
}
