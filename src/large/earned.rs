//! The sum of what call sites have earned: free bytes that stay beyond the warm budget because the like of them was
//! wanted again, in fronts and in the shelf.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use super::policy;
use crate::learn;
use crate::space::warm;

/// Earned bytes, and what of them is of buffers that grow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) all: usize,
    pub(super) growing: usize,
}

impl Sum {
    pub(super) const NONE: Self = Self { all: 0, growing: 0 };

    /// With `charge` bytes more of the site `key`.
    pub(super) fn with(self, charge: usize, key: u32) -> Self {
        self.and(Self::of(charge, key))
    }

    /// Both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            all: self.all + other.all,
            growing: self.growing + other.growing,
        }
    }

    /// Without `charge` bytes of the site `key`, which are in it.
    pub(super) fn without(self, charge: usize, key: u32) -> Self {
        let less = Self::of(charge, key);
        Self {
            all: self.all - less.all,
            growing: self.growing - less.growing,
        }
    }

    fn of(charge: usize, key: u32) -> Self {
        let growing = if policy::is_growing(key) { charge } else { 0 };
        Self {
            all: charge,
            growing,
        }
    }
}

/// Of all fronts and the shelf. The two are read apart: they bound, and nothing is lost if they are of different times.
static ALL: AtomicUsize = AtomicUsize::new(0);
static GROWING: AtomicUsize = AtomicUsize::new(0);
/// See [`generation`].
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Notes that `charge` bytes of the site `key` stay.
pub(super) fn add(charge: usize, key: u32) {
    let more = Sum::of(charge, key);
    ALL.fetch_add(more.all, Relaxed);
    GROWING.fetch_add(more.growing, Relaxed);
}

/// Notes that they are gone, or wanted.
pub(super) fn remove(charge: usize, key: u32) {
    let less = Sum::of(charge, key);
    lower(&ALL, less.all);
    lower(&GROWING, less.growing);
}

/// All there is.
pub(super) fn sum() -> Sum {
    Sum {
        all: ALL.load(Relaxed),
        growing: GROWING.load(Relaxed),
    }
}

/// Changes when the sum is made anew, without what vanished threads had: who takes that from their fronts must not take
/// it off.
pub(super) fn generation() -> u32 {
    GENERATION.load(Relaxed)
}

/// In the child of a fork: `sum` is what can still be reached.
pub(super) fn after_fork(sum: Sum) {
    GENERATION.fetch_add(1, Relaxed);
    ALL.store(sum.all, Relaxed);
    GROWING.store(sum.growing, Relaxed);
}

/// What bounds a sum: of one block, more than of several.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// All that is earned.
    All,
    /// What of that is of buffers that grow.
    Growing,
}

impl Bound {
    /// The first one that `bytes` more of the site `key` would exceed.
    pub(super) fn exceeded(bytes: usize, key: u32) -> Option<Self> {
        [Self::All, Self::Growing]
            .into_iter()
            .find(|bound| bound.counts(key) && !bound.fits(bytes))
    }

    /// Whether blocks of the site `key` count for it.
    pub(super) fn counts(self, key: u32) -> bool {
        self == Self::All || policy::is_growing(key)
    }

    /// Whether `bytes` more would fit.
    pub(super) fn fits(self, bytes: usize) -> bool {
        let live = warm::LIVE.load(Relaxed).max(0) as usize;
        let (sum, most) = match self {
            Self::All => (&ALL, policy::earned_max(live, learn::users_floor())),
            Self::Growing => (&GROWING, policy::growing_max(live, learn::warm_floor())),
        };
        match sum.load(Relaxed) {
            // One block may be more, unless the user has said how much.
            0 if learn::users_floor().is_none() => bytes <= warm::of_limit(policy::EARNED_BLOCK),
            sum => sum + bytes <= warm::of_limit(most),
        }
    }
}

/// Takes `bytes` off a sum. They may be off already in the child of a bare fork in which another thread
/// was the first to take a lock.
pub(super) fn lower(sum: &AtomicUsize, bytes: usize) {
    let less = |sum: usize| Some(sum.saturating_sub(bytes));
    // Never fails: the closure always has an answer.
    let _ = sum.fetch_update(Relaxed, Relaxed, less);
}
