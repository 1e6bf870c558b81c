//! What is wrong with a pointer that should be freed.

/// Why a pointer cannot be freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Misuse {
    /// The block is free already.
    DoubleFree,
    /// It is not the start of a block that was handed out.
    NotABlock,
}
