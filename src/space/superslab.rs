//! The header of a SuperSlab: 2 MiB of address space, aligned to its size, cut into 32 slots.
//!
//! ```text
//! slot 0   page 0       this struct: the pool's words, a `Notice` for each slot (any thread,
//!                       atomic), a `Slab` for each slot (its owner only)
//!          page 1       bitmaps of free blocks (owner only), 8 words for each slot
//!          page 2       remote words (any thread, atomic), 8 for each slot
//!          pages 3-6    bitmaps, 64 words for each slot
//!          pages 7-10   remote words, 64 for each slot
//! slots 1-31            blocks
//! ```
//! A slab of up to 512 blocks uses the short bitmap, a cache line, and one of more the long one. A
//! page of the header is touched when it is first needed: a SuperSlab that nothing was ever freed
//! in costs one. A slab of several slots starts at a multiple of its size and uses the structures
//! of its first slot.
//!
//! A thread may be about to write the `Notice` of a slab whose last block has just been taken back by
//! its owner. So a SuperSlab is unmapped only while no delivery is under way and no notice in it is
//! pending; until then it stays mapped and costs a page.

use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicBool;

use crate::base::class::{LONG_SHIFT, SHORT_SHIFT};
use crate::base::size::SLOT_SHIFT;
use crate::base::{ClassInfo, PAGE, SLOT, SLOTS, SUPERSLAB};
use crate::sync::primitive::{AtomicPtr, AtomicU32, AtomicU64};

const SHORT_AT: usize = PAGE;
const SHORT_REMOTE_AT: usize = 2 * PAGE;
const LONG_AT: usize = 3 * PAGE;
const LONG_REMOTE_AT: usize = LONG_AT + (SLOTS << LONG_SHIFT);
const _: () = assert!(SLOTS << SHORT_SHIFT <= PAGE);
/// Where what is used of the header ends.
pub(super) const HEADER_END: usize = LONG_REMOTE_AT + (SLOTS << LONG_SHIFT);
const _: () = assert!(HEADER_END <= SLOT);
const NOTICE_AT: usize = 128;
const SLABS_AT: usize = 2048;

/// What a slot's slab is to its owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum State {
    /// The slot is free, or not the first of its slab.
    Free = 0,
    /// In its heap's list of slabs with free blocks.
    Partial = 1,
    /// In its heap's list of slabs without free blocks.
    Full = 2,
    /// Its thread is gone; in the list of orphans of its class.
    Orphan = 3,
}

/// One slab, as its owner sees it. Nobody else reads or writes it.
///
/// # Invariants
/// * The blocks numbered below `watermark` have been handed out at least once; the others never, and their bits have
///   not been touched. Nor have their pages, but for what is left of a former use.
/// * `free` is the number of bits set in the bitmap; all are of blocks below `watermark`.
/// * Bit `w` of `summary` is set exactly if word `w` is not zero.
/// * `idle`, of a slab whose blocks have a page or more, has bits of blocks that were free at the last look for idle
///   pages, and have not been handed out since; in other slabs it is 0.
/// * `resident` has a bit for each page of the slot that may be resident. Slots behind the first
///   of a slab use only this field.
#[repr(C, align(64))]
pub(crate) struct Slab {
    /// Which words of the bitmap have a bit.
    pub(crate) summary: u64,
    /// Next in the list that `state` names.
    pub(crate) next: *mut Slab,
    /// The one before it, or null.
    pub(crate) prev: *mut Slab,
    /// Bits set in the bitmap.
    pub(crate) free: u32,
    /// Blocks ever handed out.
    pub(crate) watermark: u32,
    /// Blocks that came back since the last look for holes.
    pub(crate) freed: u32,
    /// Pages of this slot that may be resident.
    pub(crate) resident: u16,
    /// Number of its class.
    pub(crate) class: u8,
    /// What it is to its owner.
    pub(crate) state: State,
    /// Pages below the watermark that have been purged, in the whole slab.
    pub(crate) holes: u32,
    /// The watermark at the last look for idle pages.
    pub(crate) seen: u16,
    /// See the invariants.
    pub(crate) idle: u64,
}

const _: () = assert!(size_of::<Slab>() == 64);

/// How a thread tells a slab's owner that remote words have bits.
///
/// # Invariants
/// `pending` is 1 from the moment that one thread has taken it on itself to tell the owner, until
/// the owner has taken the slab from its queue (or nobody needs to be told). Only who changed it
/// from 0 to 1, and after a successful push the owner of the queue, may write `next` or set it back; for an owner that has
/// vanished the child of a fork does, before anybody else may.
#[repr(C)]
pub(crate) struct Notice {
    /// See the invariants.
    pub(crate) pending: AtomicU32,
    /// While the slab is an orphan: blocks that the program still holds, or fewer; as an `i32`. Zero or
    /// less asks for a look. At other times it means nothing.
    pub(crate) orphan_live: AtomicU32,
    /// Next in the owner's queue.
    pub(crate) next: AtomicPtr<Slab>,
}

/// The first page of a SuperSlab. The fields before `slabs` are the pool's, under its lock.
#[repr(C, align(4096))]
pub(crate) struct SuperSlab {
    /// Next in the pool's list for `list`.
    pub(crate) next: *mut SuperSlab,
    /// The one before it.
    pub(crate) prev: *mut SuperSlab,
    /// Next in the queue of those with free resident slots, towards the newest.
    pub(crate) newer: *mut SuperSlab,
    /// The one before it in that queue.
    pub(crate) older: *mut SuperSlab,
    /// The SuperSlab mapped before this one.
    pub(crate) earlier: *mut SuperSlab,
    /// The one mapped after it.
    pub(crate) later: *mut SuperSlab,
    /// Slots that are free, a bit each; never slot 0.
    pub(crate) free: u32,
    /// Free slots with resident pages.
    pub(crate) dirty: u32,
    /// The pool's list that it is in.
    pub(crate) list: u8,
    /// It is in the queue of those with free resident slots.
    pub(crate) queued: bool,
    /// Its slots are mapped one by one (`HAKMEM_TINY_USE_SUPERSLAB=0`).
    pub(crate) piecewise: bool,
    /// It is lent as a whole, for page runs.
    pub(crate) lent: bool,
    /// Huge pages are asked for: a page that was never touched may be resident.
    pub(crate) huge: AtomicBool,
    /// When a slot with resident pages last became free, in ms.
    pub(crate) stamp: u32,
    _reserved: [u8; NOTICE_AT - 68],
    _notices: [Notice; SLOTS],
    _lent: [u8; SLABS_AT - LENT_FROM],
    /// A slab for each slot; the first is unused.
    pub(crate) slabs: [Slab; SLOTS],
}

const _: () = assert!(size_of::<SuperSlab>() == PAGE);

impl SuperSlab {
    /// The SuperSlab that `address` lies in, if it lies in one.
    #[inline(always)]
    pub(crate) fn around(address: usize) -> *mut SuperSlab {
        ptr::with_exposed_provenance_mut(address & !(SUPERSLAB - 1))
    }
}

impl Slab {
    /// The slab of the class described by `info` that `address` lies in.
    #[inline(always)]
    pub(crate) fn around(address: usize, info: &ClassInfo) -> *mut Slab {
        let slot = (address & (SUPERSLAB - 1)) >> SLOT_SHIFT;
        let first = slot & !((1 << info.order) - 1);
        ((address & !(SUPERSLAB - 1)) + SLABS_AT + first * size_of::<Slab>()) as *mut Slab
    }

    #[inline(always)]
    fn slot(this: *const Slab) -> usize {
        ((this as usize & (SUPERSLAB - 1)) - SLABS_AT) / size_of::<Slab>()
    }

    #[inline(always)]
    fn header(this: *const Slab) -> usize {
        this as usize & !(SUPERSLAB - 1)
    }

    /// Its first byte.
    #[inline(always)]
    pub(crate) fn base(this: *const Slab) -> usize {
        Self::header(this) + Self::slot(this) * SLOT
    }

    /// Its first byte, as the pool and the slab map want it.
    #[inline(always)]
    pub(crate) fn start(this: *const Slab) -> NonNull<u8> {
        // SAFETY: a slab is never in slot 0 of the first page of the address space.
        unsafe { NonNull::new_unchecked(Self::base(this) as *mut u8) }
    }

    /// Its bitmap, as long as its class, described by `info`, needs.
    #[inline(always)]
    pub(crate) fn words(this: *const Slab, info: &ClassInfo) -> *mut u64 {
        let at = if info.has_short_bitmaps() {
            SHORT_AT
        } else {
            LONG_AT
        };
        (Self::header(this) + at + (Self::slot(this) << info.bitmap_shift)) as *mut u64
    }

    /// Its remote words, as many.
    #[inline(always)]
    pub(crate) fn remote(this: *const Slab, info: &ClassInfo) -> *const AtomicU64 {
        Self::remote_at(Self::base(this), info)
    }

    /// The remote words of the slab, of the class described by `info`, that `address` lies in.
    #[inline(always)]
    pub(crate) fn remote_at(address: usize, info: &ClassInfo) -> *const AtomicU64 {
        let slot = (address & (SUPERSLAB - 1) & !(info.slab_bytes() - 1)) >> SLOT_SHIFT;
        let at = if info.has_short_bitmaps() {
            SHORT_REMOTE_AT
        } else {
            LONG_REMOTE_AT
        };
        ((address & !(SUPERSLAB - 1)) + at + (slot << info.bitmap_shift)) as *const AtomicU64
    }

    /// Its notice. Any thread that holds a block of the slab may use it, and it outlives the slab.
    #[inline(always)]
    pub(crate) fn notice<'a>(this: *const Slab) -> &'a Notice {
        let at = Self::header(this) + NOTICE_AT + Self::slot(this) * size_of::<Notice>();
        // SAFETY: a block in use, `pending`, or a flight keeps the header mapped, and zeroed memory
        // is a valid Notice.
        unsafe { &*(at as *const Notice) }
    }
}

/// Where the part of a header that a borrower of a whole SuperSlab may use begins. It ends with the
/// first slot.
pub(crate) const LENT_FROM: usize = NOTICE_AT + SLOTS * size_of::<Notice>();
