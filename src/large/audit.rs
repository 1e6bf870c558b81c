//! Walks all structures and says what is wrong with them: for tests.

use super::bits::Bits;
use super::earned::Sum;
use super::pages::{FIRST, Header, PAGES, Runs};
use super::policy::RUN_PAGES;
use super::records::{self, By, List, Record, State as Owner, flag};
use super::shelf::Shelf;
use super::word::State;
use crate::base::{PAGE, SLOT, SLOTS};
use crate::space::map::{self, Entry};

/// Walks every SuperSlab. Other threads must not resize meanwhile.
pub(super) fn runs(runs: &Runs) -> Result<(), &'static str> {
    let (mut superslabs, mut empty, mut warm_pages, mut queued) = (0, 0, 0, 0);
    for bin in 0..=RUN_PAGES {
        let mut h = runs.bins[bin];
        if h.is_null() == (runs.filled.next_in(bin) == bin) {
            return Err("a bin and its bit disagree");
        }
        while !h.is_null() {
            // SAFETY: the lock is held; the bins hold headers.
            unsafe {
                superslabs += 1;
                empty += ((*h).runs == 0) as usize;
                queued += (*h).queued as usize;
                warm_pages += (*h).warm.count(0, PAGES);
                check_one(h, bin)?;
                h = (*h).next;
            }
        }
    }
    let mut h = runs.oldest;
    while !h.is_null() {
        queued = queued
            .checked_sub(1)
            .ok_or("the queue by age is too long")?;
        // SAFETY: as above.
        h = unsafe { (*h).newer };
    }
    if (superslabs, empty, warm_pages, queued) != (runs.superslabs, runs.empty, runs.warm_pages, 0)
    {
        return Err("sums over the SuperSlabs of runs are wrong");
    }
    if runs.charged != (warm_pages * PAGE).saturating_sub(runs.earned) {
        return Err("warm runs and the budget disagree");
    }
    Ok(())
}

unsafe fn check_one(h: *const Header, bin: usize) -> Result<(), &'static str> {
    // SAFETY: the lock is held by the caller.
    let h = unsafe { &*h };
    let mut covered = Bits::range(0, FIRST);
    let mut runs = 0;
    for page in FIRST..PAGES {
        let word = h.words[page].get();
        if word.state() == State::None {
            continue;
        }
        runs += 1;
        let end = page + word.len();
        if end > PAGES || word.len() == 0 || covered.count(page, end) != 0 {
            return Err("runs overlap");
        }
        if word.used() > word.touched() || word.touched() > word.len() {
            return Err("a run uses more than it has");
        }
        covered.insert(page, end);
    }
    let mut free = Bits::range(0, PAGES);
    for (start, end) in covered.runs() {
        free.remove(start, end);
    }
    if free != h.free || runs != h.runs {
        return Err("free pages and runs disagree");
    }
    if h.free.longest() != bin || h.longest as usize != bin {
        return Err("a SuperSlab stands in the wrong bin");
    }
    if h.warm.and(&h.free) != h.warm || !h.warm.and(&h.zero).is_empty() {
        return Err("a warm page is in use or zero");
    }
    if h.queued == h.warm.is_empty() {
        return Err("warm pages and the queue by age disagree");
    }
    for slot in 0..SLOTS {
        if map::lookup(h as *const Header as usize + slot * SLOT) != map::Entry::RUN {
            return Err("a SuperSlab of runs is not in the slab map");
        }
    }
    Ok(())
}

/// Walks a list of kept blocks by age, which are so many.
fn by_age(list: &List, earned: bool, count: usize) -> Result<(), &'static str> {
    let mut n = list.head();
    for _ in 0..count {
        let kept = |record: &&Record| {
            record.state() == Owner::Cached && record.has(flag::EARNED) == earned
        };
        if records::get(n).filter(kept).is_none() {
            return Err("a kept block is not in its list by age");
        }
        n = List::next(n, By::Age);
    }
    match n {
        0 => Ok(()),
        _ => Err("a list of kept blocks by age is too long"),
    }
}

/// Walks every record. Other threads must not use blocks meanwhile.
pub(super) fn shelf(shelf: &Shelf) -> Result<(), &'static str> {
    let (mut ranges, mut cached, mut bytes, mut in_use, mut bets) = (0, 0, 0, 0, 0);
    let (mut earned, mut earned_sum) = (0, Sum::NONE);
    for (n, record) in shelf.numbers.each() {
        let state = record.state();
        in_use += (state != Owner::Unused) as usize;
        match state {
            Owner::Unused | Owner::Leaving => continue,
            Owner::Range => ranges += 1,
            Owner::Cached => {
                cached += 1;
                bytes += record.charge();
                if record.has(flag::EARNED) {
                    earned += 1;
                    earned_sum = earned_sum.with(record.charge(), record.key());
                }
            }
            Owner::Live | Owner::Front if record.has(flag::UNPROVEN) => bets += record.charge(),
            Owner::Live | Owner::Front => {}
        }
        if map::lookup(record.address()) != Entry::large(n) {
            return Err("a record is not in the slab map");
        }
        if !record.address().is_multiple_of(SLOT)
            || !record.mapped().is_multiple_of(SLOT)
            || record.used() > record.mapped()
            || record.touched() > record.mapped()
            || (state != Owner::Range && record.used() > record.touched())
        {
            return Err("a record is not as it should be");
        }
    }
    if (ranges, cached, bytes) != (shelf.ranges.count, shelf.kept, shelf.kept_bytes) {
        return Err("sums over the records are wrong");
    }
    if earned_sum != shelf.totals().1 {
        return Err("what kept blocks have earned is not their sum");
    }
    by_age(&shelf.warm, false, cached - earned)?;
    by_age(&shelf.earned, true, earned)?;
    // A block whose record is not complete counts already.
    if bets > shelf.unproven {
        return Err("a bet on huge pages is not counted");
    }
    if in_use != shelf.numbers.in_use() {
        return Err("numbers were lost");
    }
    let mut seen = 0;
    for (bins, whale) in [(&shelf.big.bins, false), (&shelf.whale.bins, true)] {
        let sound = bins.each(|_, record| {
            seen += 1;
            record.state() == Owner::Cached && record.has(flag::WHALE) == whale
        });
        if !sound {
            return Err("a cache is not as it should be");
        }
    }
    if seen != cached {
        return Err("a kept block is in no cache");
    }
    shelf.ranges.check()
}
