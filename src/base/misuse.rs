//! What is wrong with a block, or with the pointer that should be one.

/// Why a call cannot be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Misuse {
    /// The block is free already.
    DoubleFree,
    /// It is not the start of a block that was handed out.
    NotABlock,
    /// It was asked for with another size than the caller says.
    WrongSize,
    /// Something was written behind its end.
    WrittenBehind,
    /// Something was written in front of it.
    WrittenBefore,
    /// Something was written to it while it was free.
    WrittenFreed,
}

impl Misuse {
    /// What the line says with which the process ends.
    pub(crate) const fn why(self) -> &'static str {
        match self {
            Self::DoubleFree => "the block is free already",
            Self::NotABlock => "not the start of a block",
            Self::WrongSize => "the block was taken with another size",
            Self::WrittenBehind => "something was written behind the end of the block",
            Self::WrittenBefore => "something was written in front of the block",
            Self::WrittenFreed => "the block was written to after it was freed",
        }
    }
}
