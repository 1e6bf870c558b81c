//! What buffers that grow hold of what larger ones left. A site's next buffer may have the block of one that grew far
//! from its beginning, so that it finds its pages when it comes so far. If it does not, they stay resident for as long
//! as it lives, used by nobody, and no budget knows of them: so there is a bound for all together.
//!
//! A block is *lent* when it is served with more resident bytes than any buffer of that size has room for; it is no
//! longer when it has grown into them, or is freed. Only who has the block changes that.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::block::Block;
use super::earned::lower;
use super::policy;
use super::records::{Record, flag};
use super::word::{Word, WordCell};
use crate::base::PAGE;
use crate::learn;
use crate::space::warm;

/// Bytes of the blocks that are lent.
static LENT: AtomicUsize = AtomicUsize::new(0);

/// Whether a block that counts for `bytes` may be served for the first `need` of a growing buffer: there is room for it
/// in the bound, or it is alone.
pub(super) fn may_be(bytes: usize, need: usize) -> bool {
    let lent = LENT.load(Relaxed);
    let live = warm::LIVE.load(Relaxed).max(0) as usize;
    !is_more(bytes, need)
        || lent == 0
        || lent + bytes <= policy::growing_max(live, learn::warm_floor())
}

fn is_more(touched: usize, need: usize) -> bool {
    touched > policy::growth_limit(need)
}

/// Notes that a run was served for a growing buffer.
pub(super) fn run(cell: &WordCell) {
    let word = cell.get();
    if is_more(word.touched() * PAGE, word.bytes()) {
        cell.set(word.with_lent(true));
        LENT.fetch_add(word.len() * PAGE, Relaxed);
    }
}

/// The same of a mapping.
pub(super) fn mapping(record: &Record) {
    if is_more(record.touched(), record.used()) {
        record.put(flag::LENT, true);
        record.set_charge(record.touched());
        LENT.fetch_add(record.charge(), Relaxed);
    }
}

/// The word for a run that had the word `before` and has another size now: the pages of a lent one stay the same.
pub(super) fn resized_run(before: Word, word: Word) -> Word {
    if !before.is_lent() {
        return word;
    }
    if is_more(word.touched() * PAGE, word.bytes()) {
        debug_assert_eq!(before.len(), word.len());
        return word.with_lent(true);
    }
    lower(&LENT, before.len() * PAGE);
    word.with_lent(false)
}

/// Notes that a live mapping has another size now.
pub(super) fn resized_mapping(record: &Record) {
    if record.has(flag::LENT) && !is_more(record.touched(), record.used()) {
        returned_mapping(record);
    }
}

#[cold]
fn returned_mapping(record: &Record) {
    lower(&LENT, record.charge());
    record.set_charge(0);
    record.put(flag::LENT, false);
}

/// The block, which is freed.
#[inline(always)]
pub(super) fn returned(block: Block) -> Block {
    match block {
        Block::Run(cell, word) if word.is_lent() => Block::Run(cell, returned_run(cell, word)),
        Block::Mapping(_, record) if record.has(flag::LENT) => {
            returned_mapping(record);
            block
        }
        _ => block,
    }
}

#[cold]
fn returned_run(cell: &WordCell, word: Word) -> Word {
    lower(&LENT, word.len() * PAGE);
    let word = word.with_lent(false);
    cell.set(word);
    word
}

/// In the child of a fork: what vanished threads have been lent never comes back, and does not count.
pub(super) fn after_fork() {
    LENT.store(0, Relaxed);
}

/// All of them, for tests.
#[cfg(test)]
pub(super) fn sum() -> usize {
    LENT.load(Relaxed)
}
