//! The operations as data. Every value means something, so that a fuzzer wastes no input, and smaller
//! numbers mean simpler things, so that a failing case shrinks to a simple one.

use arbitrary::Arbitrary;

/// Threads of a case.
pub const THREADS: usize = 4;
/// Places that blocks lie in; any thread may use any place.
pub const SLOTS: usize = 64;
/// No allocator has so much.
pub(crate) const IMPOSSIBLE: usize = 1 << 46;

/// A number of bytes: a tier, and how far up in it.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Which kind of size.
    pub tier: u8,
    /// Which one of that kind.
    pub at: u16,
}

impl Size {
    /// Tiers that differ.
    pub const TIERS: u8 = 16;

    /// The number of bytes: 0 to 64 MiB, or more than there can be.
    pub fn bytes(self) -> usize {
        let at = usize::from(self.at);
        match self.tier % Self::TIERS {
            0..=4 => at % 1025,
            5..=7 => 1024 + at % (31 << 10),
            // At, just below and just above each border.
            8 => (16usize << (at % 20)) - 2 + at / 20 % 5,
            9 => ((at % 64) << 12) + (at / 64) % 3,
            10 | 11 => (32 << 10) + at * 16,
            12 => (512 << 10) + at * 64,
            13 => (2 << 20) + at * 128,
            14 => at << 10,
            _ => match at % 4 {
                0 => isize::MAX as usize - at,
                1 => isize::MAX as usize + at,
                2 => usize::MAX - at,
                _ => IMPOSSIBLE << (at % 17),
            },
        }
    }
}

/// An alignment, sensible or not.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Align(pub u8);

impl Align {
    /// A power of two up to 1 GiB, or a number that is none, or one that is too large.
    pub fn bytes(self) -> usize {
        match self.0 % 64 {
            n @ 0..31 => 1 << n,
            n @ 31..51 => 1 << (n - 27),
            51 => 0,
            52 => 3,
            53 => 24,
            54 => 100,
            55 => 4095,
            56 => 1 << 63,
            57 => (1 << 63) + 1,
            58 => usize::MAX,
            _ => 16,
        }
    }
}

/// One call, or a few that belong together. `slot` is reduced to one that exists.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are what the calls take")]
pub enum Op {
    /// `hak_malloc`
    Malloc { slot: u8, size: Size },
    /// `hak_malloc_at_least`, and all that it gives is used.
    MallocAtLeast { slot: u8, size: Size },
    /// Many blocks of one size.
    MallocMany { slot: u8, size: Size, count: u8 },
    /// `hak_calloc`, the product split up as `by` says.
    Calloc { slot: u8, size: Size, by: u8 },
    /// `hak_realloc` of the block on top, or of NULL where there is none.
    Realloc { slot: u8, size: Size },
    /// `hak_reallocarray`
    ReallocArray { slot: u8, size: Size, by: u8 },
    /// A chain of reallocs, each larger by `percent`.
    Grow { slot: u8, times: u8, percent: u8 },
    /// `hak_aligned_alloc`, which is memalign.
    Memalign { slot: u8, align: Align, size: Size },
    /// `hak_posix_memalign`
    PosixMemalign { slot: u8, align: Align, size: Size },
    /// `valloc`, or `pvalloc`
    Pages { slot: u8, size: Size, whole: bool },
    /// `hak_free` of the block on top, or of NULL where there is none.
    Free { slot: u8 },
    /// `hak_free_sized`
    FreeSized { slot: u8 },
    /// `hak_free_aligned_sized`
    FreeAlignedSized { slot: u8 },
    /// Frees one of `every` blocks of a slot, from the first on or from the last on.
    FreeMany {
        slot: u8,
        every: u8,
        backwards: bool,
    },
    /// `hak_usable_size`; what it says is then used.
    UsableSize { slot: u8 },
    /// `hak_good_size`
    GoodSize { size: Size },
    /// `hak_trim`
    Trim { pad: Size },
    /// `hak_stats_json`
    Stats,
    /// The allocator's walk over its structures, where nothing else goes on.
    Check,
    /// The thread ends; the next operation with its number starts a new one.
    EndThread,
    /// A child process frees everything, allocates, and exits.
    Fork,
}

/// An operation, and who makes it.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The thread, reduced to one that exists.
    pub thread: u8,
    /// What it does.
    pub op: Op,
}

/// Operations that run in one way.
#[derive(Arbitrary, Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// One at a time, in this order.
    Stepped(Vec<Step>),
    /// Each thread's own in order, all threads at once, `repeat` times and once.
    Free {
        /// See there.
        repeat: u8,
        /// See there.
        steps: Vec<Step>,
    },
}

/// What a run does.
#[derive(Arbitrary, Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// One after the other.
    pub phases: Vec<Phase>,
}
