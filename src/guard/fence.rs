//! Blocks in a mapping of their own, with a page behind them that cannot be touched: large ones, those
//! of no bytes, and a sample of the small ones. So every access behind the end is a fault at once, and
//! so is any access at all after the free: the pages go back and their addresses stay reserved until
//! enough other blocks have been freed.
//!
//! ```text
//! | zero … | the block | fill | no access … |
//! base              up to a page's end      base + total, a multiple of 64 KiB
//! ```
//! Everything here is called with the lock of [`super`] held.

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::canary;
use super::fifo::Fifo;
use crate::base::{Misuse, PAGE, SLOT, align_up};
use crate::os;
use crate::space::{map, meta};

/// Freed mappings of which the addresses are held back, at most, and their bytes.
const HELD_MAX: usize = 4096;
/// See [`HELD_MAX`].
const HELD_BYTES: usize = 128 << 20;
/// Records of the first chunk; each chunk has twice as many as the one before it.
const FIRST_CHUNK: usize = 256;
const CHUNKS: usize = 17;

/// Live blocks, and their bytes, for reports.
pub(super) static BLOCKS: AtomicUsize = AtomicUsize::new(0);
/// See [`BLOCKS`].
pub(super) static BYTES: AtomicUsize = AtomicUsize::new(0);

/// One mapping.
///
/// # Invariants
/// The mapping is `base .. base + total`, all of it in the slab map under this record's number; its
/// first `data` bytes can be touched while `live`. The block is `block .. block + bytes`, in `data`. A
/// record that is not in use has `total` 0, and `bytes` is the number of the next such record.
#[derive(Clone, Copy)]
struct Fence {
    base: usize,
    total: usize,
    data: usize,
    block: usize,
    bytes: usize,
    live: bool,
}

/// All of them.
///
/// # Invariants
/// Records are numbered from 1; those up to `count` were used, and have memory.
pub(super) struct Fences {
    chunks: [*mut Fence; CHUNKS],
    count: usize,
    /// The first unused record, or 0.
    unused: usize,
    held: Fifo<HELD_MAX>,
    held_bytes: usize,
}

// SAFETY: the records are reached through this alone.
unsafe impl Send for Fences {}

impl Fences {
    pub(super) const fn new() -> Self {
        Self {
            chunks: [null_mut(); CHUNKS],
            count: 0,
            unused: 0,
            held: Fifo::new(),
            held_bytes: 0,
        }
    }

    /// In the child of a fork, when the lock was held: what may be half-changed is forgotten.
    pub(super) fn forget_lists(&mut self) {
        self.count += usize::from(self.count > 0);
        self.unused = 0;
        self.held = Fifo::new();
        self.held_bytes = 0;
    }

    /// The chunk of a record, and its place there.
    fn place(number: usize) -> (usize, usize) {
        let chunk = ((number - 1) / FIRST_CHUNK + 1).ilog2() as usize;
        (chunk, number - 1 - FIRST_CHUNK * ((1 << chunk) - 1))
    }

    fn record(&mut self, number: usize) -> Option<&mut Fence> {
        if number == 0 || number > self.count {
            return None;
        }
        let (chunk, at) = Self::place(number);
        // SAFETY: records up to `count` have memory (invariant), zeroed at first, which is valid.
        unsafe { self.chunks[chunk].add(at).as_mut() }
    }

    /// An unused record's number.
    fn number(&mut self) -> Option<usize> {
        if let Some(unused) = self.record(self.unused).copied() {
            return Some(core::mem::replace(&mut self.unused, unused.bytes));
        }
        let number = self.count + 1;
        let (chunk, _) = Self::place(number);
        if number >= map::Entry::OWNERS as usize || chunk >= CHUNKS {
            return None;
        }
        if self.chunks[chunk].is_null() {
            let bytes = (FIRST_CHUNK << chunk) * size_of::<Fence>();
            self.chunks[chunk] = meta::take(bytes, 64)?.as_ptr().cast();
        }
        self.count = number;
        Some(number)
    }

    fn recycle(&mut self, number: usize) {
        let next = self.unused;
        if let Some(record) = self.record(number) {
            record.total = 0;
            record.bytes = next;
            self.unused = number;
        }
    }

    /// A zeroed block. `None`: out of memory, or of mappings.
    pub(super) fn take(&mut self, bytes: usize, align: usize) -> Option<NonNull<u8>> {
        if bytes > isize::MAX as usize - (1 << 30) {
            return None;
        }
        let data = align_up(bytes, PAGE);
        let total = align_up(data + PAGE, SLOT);
        // Mapped, not reserved, so that the system says no where it would to an ordinary block.
        let base = if data == 0 {
            os::reserve_aligned(total, align.max(SLOT))?
        } else {
            os::map_aligned(0, total, align.max(SLOT))?
        };
        // As far back as the alignment lets it: the next page is out of bounds.
        let ahead = (data - bytes) & !(align.max(16) - 1);
        // SAFETY: just reserved, by us, and `ahead` is within it.
        let block = unsafe {
            let ready = data == 0 || os::decommit(base.add(data), total - data);
            let number = if ready { self.number() } else { None };
            let Some(number) = number else {
                os::discard_reserved(base, total);
                return None;
            };
            if !map::set(base, total / SLOT, map::Entry::fenced(number as u32)) {
                self.recycle(number);
                os::discard_reserved(base, total);
                return None;
            }
            let block = base.add(ahead);
            if let Some(record) = self.record(number) {
                *record = Fence {
                    base: base.as_ptr() as usize,
                    total,
                    data,
                    block: block.as_ptr() as usize,
                    bytes,
                    live: true,
                };
            }
            let fill = canary::fill(block.as_ptr() as usize);
            block
                .add(bytes)
                .as_ptr()
                .write_bytes(fill, data - ahead - bytes);
            block
        };
        BLOCKS.fetch_add(1, Relaxed);
        BYTES.fetch_add(bytes, Relaxed);
        Some(block)
    }

    /// The bytes of the live block at `address`, and that nothing was written around it.
    pub(super) fn usable(&mut self, number: u32, address: usize) -> Result<usize, Misuse> {
        let fence = *self.record(number as usize).ok_or(Misuse::NotABlock)?;
        if fence.total == 0 || address != fence.block {
            return Err(Misuse::NotABlock);
        }
        if !fence.live {
            return Err(Misuse::DoubleFree);
        }
        let end = fence.block + fence.bytes;
        // SAFETY: a live fence's data can be read.
        unsafe {
            let behind = fence.base + fence.data - end;
            if !canary::all(end as *const u8, behind, canary::fill(fence.block)) {
                return Err(Misuse::WrittenBehind);
            }
            if !canary::all(fence.base as *const u8, fence.block - fence.base, 0) {
                return Err(Misuse::WrittenBefore);
            }
        }
        Ok(fence.bytes)
    }

    /// Frees the block that [`Fences::usable`] has found sound.
    pub(super) fn give(&mut self, number: u32) {
        let Some(record) = self.record(number as usize) else {
            return;
        };
        record.live = false;
        let Fence {
            base,
            total,
            data,
            bytes,
            ..
        } = *record;
        BLOCKS.fetch_sub(1, Relaxed);
        BYTES.fetch_sub(bytes, Relaxed);
        if let Some(start) = NonNull::new(base as *mut u8)
            && data != 0
        {
            // SAFETY: the mapping is ours, and the block free. If the system refuses to take the access
            // away, it may still take the pages.
            unsafe {
                if !os::decommit(start, data) {
                    os::purge(start, data);
                }
            }
        }
        self.held_bytes += total;
        while self.held.len() == HELD_MAX || self.held_bytes > HELD_BYTES && self.held.len() > 0 {
            self.release_oldest();
        }
        if total > HELD_BYTES || !self.held.push(number as usize) {
            self.release(number as usize);
        }
    }

    /// Gives all addresses back that are held.
    pub(super) fn release_all(&mut self) {
        while self.held.len() > 0 {
            self.release_oldest();
        }
    }

    fn release_oldest(&mut self) {
        if let Some(number) = self.held.pop() {
            self.release(number);
        }
    }

    fn release(&mut self, number: usize) {
        let Some(Fence { base, total, .. }) = self.record(number).copied() else {
            return;
        };
        let Some(base) = NonNull::new(base as *mut u8) else {
            return;
        };
        self.held_bytes -= total;
        map::set(base, total / SLOT, map::Entry::FOREIGN);
        self.recycle(number);
        // SAFETY: the mapping is ours, and no block is in it.
        unsafe { os::discard_reserved(base, total) };
    }
}
