//! The units that memory is cut into.

/// A page of the hardware, in bytes. x86-64 Linux has one answer.
pub(crate) const PAGE: usize = 4096;
/// The unit of the slab map and of slabs: 64 KiB.
pub(crate) const SLOT: usize = 1 << SLOT_SHIFT;
/// log2 of [`SLOT`].
pub(crate) const SLOT_SHIFT: u32 = 16;
/// A SuperSlab: 2 MiB, the size of a huge page, and aligned to it.
pub(crate) const SUPERSLAB: usize = 2 << 20;
/// Slots in a SuperSlab; the first holds its header.
pub(crate) const SLOTS: usize = SUPERSLAB / SLOT;
/// Pages in a slot.
pub(crate) const SLOT_PAGES: usize = SLOT / PAGE;
/// Everything that user space can map lies below this address (without LA57 hints).
pub(crate) const ADDRESS_BITS: u32 = 47;

/// `n` rounded up to a multiple of `to`, a power of two. Overflow is the caller's to exclude.
#[inline(always)]
pub(crate) const fn align_up(n: usize, to: usize) -> usize {
    (n + to - 1) & !(to - 1)
}
