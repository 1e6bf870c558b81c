//! Size classes: from a number of bytes to a class, and what is fixed for each class.
//!
//! Up to 1 KiB there is a class every 16 bytes, so that the class is a shift; above, eight per
//! doubling up to [`SMALL_MAX`]. A class below 1 KiB divides any alignment that divides its size,
//! and so does one above it, because its step is a power of two: aligned requests need no padding.

use super::size::SLOT;

/// Classes that slabs serve. Class 0 stands for a request of no bytes and owns no slab: the slow
/// path turns it into class 1, so that the fast path need not ask.
pub(crate) const N_CLASSES: usize = 105;
/// The largest block that slabs serve, in bytes.
pub(crate) const SMALL_MAX: usize = 32 << 10;
/// The largest size whose class is `(n + 15) >> 4`.
pub(crate) const LINEAR_MAX: usize = 1024;
/// Pointers that a magazine has room for; one more slot holds the sentinel.
pub(crate) const MAGAZINE_MAX: usize = 63;
/// Blocks that a short bitmap, of one cache line, has room for.
const SHORT_BLOCKS: usize = 512;
/// log2 of the bytes of a short and of a long bitmap.
pub(crate) const SHORT_SHIFT: u8 = 6;
/// See [`SHORT_SHIFT`].
pub(crate) const LONG_SHIFT: u8 = 9;
/// A magazine is for about this many bytes of blocks.
const MAGAZINE_BYTES: usize = 64 << 10;

/// A size class that slabs serve.
///
/// # Invariants
/// The number is below [`N_CLASSES`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Class(u8);

/// What is fixed for a class.
#[derive(Clone, Copy)]
pub(crate) struct ClassInfo {
    /// Bytes of a block, a multiple of 16.
    pub(crate) size: u32,
    /// ceil(2^31 / (size / 16)): division by multiplication, exact for offsets below 512 KiB.
    reciprocal: u32,
    /// Blocks in a slab, at most 4,096.
    pub(crate) blocks: u16,
    /// log2 of the slots of a slab.
    pub(crate) order: u8,
    /// Pointers that a magazine of this class holds until it is widened, at most [`MAGAZINE_MAX`].
    pub(crate) magazine: u8,
    /// log2 of the bytes of a slab's bitmap.
    pub(crate) bitmap_shift: u8,
    /// Bytes of a slab, less one.
    slab_mask: u32,
}

impl ClassInfo {
    /// Bytes of a slab of this class.
    #[inline(always)]
    pub(crate) const fn slab_bytes(&self) -> usize {
        self.slab_mask as usize + 1
    }

    /// Bytes of as many blocks.
    #[inline(always)]
    pub(crate) const fn magazine_bytes(&self) -> usize {
        self.magazine as usize * self.size as usize
    }

    /// What a magazine holds more, in bytes and on average, for being widened once: that is filled and emptied in turns.
    #[inline(always)]
    pub(crate) const fn widened_bytes(&self) -> usize {
        self.magazine_bytes() / 2
    }

    /// Whether its slabs use short bitmaps.
    #[inline(always)]
    pub(crate) const fn has_short_bitmaps(&self) -> bool {
        self.bitmap_shift == SHORT_SHIFT
    }

    /// The number of the block that `offset` bytes into a slab falls into.
    #[inline(always)]
    pub(crate) const fn index_of(&self, offset: usize) -> usize {
        (((offset >> 4) as u64 * self.reciprocal as u64) >> 31) as usize
    }
}

const fn info(class: usize) -> ClassInfo {
    let size = size_of_class(class);
    let order = match size {
        0..=1024 => 0,
        1025..=2048 => 1,
        2049..=8192 => 2,
        _ => 3,
    };
    let magazine = MAGAZINE_BYTES / size;
    ClassInfo {
        size: size as u32,
        reciprocal: ((1u64 << 31).div_ceil(size as u64 / 16)) as u32,
        blocks: ((SLOT << order) / size) as u16,
        order,
        magazine: if magazine > MAGAZINE_MAX {
            MAGAZINE_MAX
        } else {
            magazine
        } as u8,
        bitmap_shift: if (SLOT << order) / size <= SHORT_BLOCKS {
            SHORT_SHIFT
        } else {
            LONG_SHIFT
        },
        slab_mask: (SLOT << order) as u32 - 1,
    }
}

const fn size_of_class(class: usize) -> usize {
    if class == 0 {
        16
    } else if class <= LINEAR_MAX / 16 {
        class * 16
    } else {
        let k = class - 65;
        (1024 << (k / 8)) + (k % 8 + 1) * (128 << (k / 8))
    }
}

/// The table of all classes.
pub(crate) static CLASSES: [ClassInfo; N_CLASSES] = {
    let mut table = [info(0); N_CLASSES];
    let mut class = 0;
    while class < N_CLASSES {
        table[class] = info(class);
        class += 1;
    }
    table
};

impl Class {
    /// The class numbered `n`, if there is one.
    #[inline(always)]
    pub(crate) const fn from_number(n: usize) -> Option<Self> {
        if n < N_CLASSES {
            Some(Self(n as u8))
        } else {
            None
        }
    }

    /// The smallest class whose blocks hold `bytes`, which is at most [`SMALL_MAX`]. Zero bytes
    /// are served as one.
    #[inline(always)]
    pub(crate) const fn of(bytes: usize) -> Self {
        debug_assert!(bytes <= SMALL_MAX);
        if bytes <= LINEAR_MAX {
            Self(if bytes == 0 {
                1
            } else {
                ((bytes + 15) >> 4) as u8
            })
        } else {
            let n = bytes - 1;
            let log = n.ilog2() as usize;
            Self((65 + (log - 10) * 8 + ((n >> (log - 3)) & 7)) as u8)
        }
    }

    /// Its number, below [`N_CLASSES`].
    #[inline(always)]
    pub(crate) const fn number(self) -> usize {
        self.0 as usize
    }

    /// What is fixed for it.
    #[inline(always)]
    pub(crate) fn info(self) -> &'static ClassInfo {
        // SAFETY: the invariant of the type.
        unsafe { CLASSES.get_unchecked(self.0 as usize) }
    }

    /// Bytes of a block.
    #[inline(always)]
    pub(crate) fn size(self) -> usize {
        self.info().size as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_gets_the_smallest_class_that_holds_it() {
        for bytes in 1..=SMALL_MAX {
            let class = Class::of(bytes);
            assert!(class.size() >= bytes, "{bytes}");
            assert!(
                size_of_class(class.number() - 1) < bytes || class.number() == 1,
                "{bytes}"
            );
        }
        assert_eq!(Class::of(SMALL_MAX).number(), N_CLASSES - 1);
        assert_eq!(Class::of(0).size(), 16);
    }

    #[test]
    fn the_reciprocal_divides_exactly() {
        for info in &CLASSES {
            for offset in (0..info.slab_bytes()).step_by(16) {
                assert_eq!(info.index_of(offset), offset / info.size as usize);
            }
        }
    }

    #[test]
    fn blocks_fit_the_bitmap_and_the_slab() {
        for info in &CLASSES {
            assert!(info.blocks <= 4096 && info.magazine >= 2);
            assert!(info.blocks as usize * info.size as usize <= info.slab_bytes());
        }
    }

    #[test]
    fn an_aligned_request_rounds_to_a_class_that_is_a_multiple_of_the_alignment() {
        for shift in 4..=14 {
            let align = 1usize << shift;
            for bytes in (align..=SMALL_MAX).step_by(align) {
                assert_eq!(Class::of(bytes).size() % align, 0, "{bytes} at {align}");
            }
        }
    }
}
