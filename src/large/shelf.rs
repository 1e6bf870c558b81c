//! What mappings share, under one lock: the caches, the kept ranges, what is known of sites.
//!
//! Sections are short, and no system call happens in them except for memory of the table of
//! records. A block that leaves is taken out here and given back by the caller, without the lock.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::direct::Found;
use super::earned::{self, Bound, Sum};
use super::policy;
use super::ranges::Ranges;
use super::records::{self, By, List, Numbers, Record, State, flag};
use super::sites::{self, Sites};
use super::store::Cache;
use super::{audit, bigcache, book, now, whale};
use crate::base::{SLOT, SUPERSLAB, align_up, knobs};
use crate::learn::{
    self,
    site::{Density, Site},
};
use crate::os;
use crate::space::warm;
use crate::sync::Lock;

/// What the lock guards.
pub(super) struct Shelf {
    /// The numbers of records.
    pub(super) numbers: Numbers,
    /// Addresses without memory.
    pub(super) ranges: Ranges,
    /// Kept blocks of up to 16 MiB that do not grow.
    pub(super) big: Cache,
    /// Larger ones, and those of buffers that grow.
    pub(super) whale: Cache,
    /// Kept blocks by age: those in the warm budget, and those that sites have earned.
    pub(super) warm: List,
    /// See `warm`.
    pub(super) earned: List,
    /// What is known of sites.
    pub(super) sites: Sites,
    /// Blocks in the two caches.
    pub(super) kept: usize,
    /// What they count for.
    pub(super) kept_bytes: usize,
    /// What of it sites have earned; the rest stands in the warm budget.
    earned_sum: Sum,
    /// Bytes in huge pages whose site is not known to be dense; and whether that bet was lost.
    pub(super) unproven: usize,
    /// See `unproven`.
    pub(super) distrust: bool,
    /// The site and the size class whose block on huge pages held hardly anything but zeros, or none. They may have been
    /// written: its next fresh one, on small pages, will tell, and until then there are no bets.
    doubted: Option<(u32, usize)>,
    /// Looks at freed blocks that had been touched all over.
    dense_looks: u32,
}

static SHELF: Lock<Shelf> = Lock::new(Shelf {
    numbers: Numbers::NEW,
    ranges: Ranges::NEW,
    big: Cache::NEW,
    whale: Cache::NEW,
    warm: List::NEW,
    earned: List::NEW,
    sites: Sites::NEW,
    kept: 0,
    kept_bytes: 0,
    earned_sum: Sum::NONE,
    unproven: 0,
    distrust: false,
    doubted: None,
    dense_looks: 0,
});

/// What is assumed of blocks while nobody looks at them (`HAKMEM_DENSITY`).
pub(crate) static ASSUME_DENSE: AtomicBool = AtomicBool::new(false);

/// For how long, in ms, a block of `mapped` bytes that is free may wait, or may have been away, for keeping it to be
/// right.
fn patience(mapped: usize, huge: bool) -> u32 {
    if huge {
        learn::patience_huge_ms(policy::huge_mapped(mapped))
    } else {
        learn::patience_ms()
    }
}

/// For how long, in ms, the earned block of `record` may wait.
pub(super) fn patience_with(record: &Record) -> u32 {
    patience(record.mapped(), record.has(flag::HUGE))
}

/// Whether nobody took an earned block for so long that it has to go.
fn waited_in_vain(record: &Record, now: u32) -> bool {
    let patience = patience_with(record);
    learn::since(now, record.stamp()) > patience
}

/// Whether the free block of `record` would serve its site so well that giving it back can turn out to be wrong.
fn is_worth_keeping(site: &Site, record: &Record) -> bool {
    !policy::is_growing(record.key()) || site.fills(record.touched())
}

impl Shelf {
    pub(super) fn totals(&self) -> (usize, Sum) {
        (self.kept_bytes - self.earned_sum.all, self.earned_sum)
    }

    fn crowded(&self) -> bool {
        self.numbers.in_use() > policy::RANGES_MAX
    }

    /// There are too many ranges for gaps between them, which huge pages need.
    fn filling(&self) -> bool {
        self.numbers.in_use() > policy::RANGES_MAX / 2
    }

    fn insert(
        &mut self,
        n: u32,
        record: &Record,
        whale: bool,
        earned: bool,
        charge: usize,
        now: u32,
    ) {
        record.set_charge(charge);
        record.put(flag::WHALE, whale);
        record.put(flag::EARNED, earned);
        record.set_stamp(now);
        let charge = record.charge();
        if whale {
            &mut self.whale.bins
        } else {
            &mut self.big.bins
        }
        .insert(n, record);
        self.kept += 1;
        self.kept_bytes += charge;
        if earned {
            self.earned.push_back(n, By::Age);
            self.earned_sum = self.earned_sum.with(charge, record.key());
            earned::add(charge, record.key());
        } else {
            self.warm.push_back(n, By::Age);
            warm::keep(charge as isize);
        }
        record.set_state(State::Cached);
    }

    fn remove(&mut self, n: u32, record: &Record) {
        let charge = record.charge();
        let bins = if record.has(flag::WHALE) {
            &mut self.whale.bins
        } else {
            &mut self.big.bins
        };
        bins.remove(n, record);
        self.kept -= 1;
        self.kept_bytes -= charge;
        if record.has(flag::EARNED) {
            self.earned.remove(n, By::Age);
            self.earned_sum = self.earned_sum.without(charge, record.key());
            earned::remove(charge, record.key());
        } else {
            self.warm.remove(n, By::Age);
            warm::keep(-(charge as isize));
        }
        record.set_state(State::Leaving);
    }

    fn take_out(&mut self, n: u32) -> Option<(u32, &'static Record)> {
        let record = records::get(n).filter(|_| n != 0)?;
        self.remove(n, record);
        if record.has(flag::WHALE) {
            self.whale.evictions += 1
        } else {
            self.big.evictions += 1
        }
        Some((n, record))
    }

    /// As [`Self::take_out`], because it is too much: its site may miss it.
    fn evict(&mut self, n: u32, now: u32) -> Option<(u32, &'static Record)> {
        let (n, record) = self.take_out(n)?;
        let site = self
            .sites
            .at(record.key(), sites::bin(record.key(), record.mapped()));
        if record.has(flag::EARNED) && waited_in_vain(record, now) {
            site.wasted();
        }
        if is_worth_keeping(site, record) {
            site.gave_back(now);
        }
        Some((n, record))
    }

    /// Notes how densely the freed block of `record` was touched; `bet`: it had huge pages although nothing was known of
    /// its site.
    fn looked(&mut self, record: &Record, bin: usize, seen: Density, bet: bool) {
        let key = record.key();
        let site = self.sites.at(key, bin);
        let sure = !record.has(flag::HUGE | flag::POPULATED);
        if seen == Density::Sparse && !sure && site.density != Density::Dense {
            if bet {
                self.doubted = Some((key, bin));
            }
            return;
        }
        if site.density == Density::Unknown && seen == Density::Dense {
            self.dense_looks = self.dense_looks.saturating_add(1);
        }
        site.looked(seen, sure);
        sites::note_density(key, bin, site.density);
        if self.doubted == Some((key, bin)) {
            self.doubted = None;
            self.distrust |= seen == Density::Sparse;
        }
    }

    /// A kept block; `dense`: the site is known to touch all of its blocks.
    fn find(&mut self, need: usize, align: usize, key: u32, dense: bool) -> Option<u32> {
        if self.kept == 0 {
            return None;
        }
        // In what BigCache has a buffer could not grow.
        if !policy::is_growing(key)
            && let Some(n) = bigcache::find(&self.big.bins, need, align, key, dense)
        {
            self.big.hits += 1;
            return Some(n);
        }
        let n = whale::find(&self.whale.bins, need, align, key, dense)?;
        self.whale.hits += 1;
        Some(n)
    }
}

/// Finds something for a take of `need` bytes, in a mapping of `mapped`. `None`: out of records.
pub(super) fn take(
    need: usize,
    mapped: usize,
    align: usize,
    key: u32,
    zero: bool,
) -> Option<Found> {
    let now = now();
    warm::tick(mapped);
    let growing = policy::is_growing(key);
    // Not under the lock: what the system says is read the first time.
    let unasked = os::unasked::come();
    let bettable = !growing && !zero && need >= policy::WHALE_MIN;
    let bet_limit = match bettable {
        true => warm::of_limit(policy::BETS_MAX),
        false => 0,
    };
    let mut shelf = SHELF.lock();
    let bin = sites::bin(key, mapped);
    let site = shelf.sites.at(key, bin);
    let (density, in_doubt) = (density(site), knobs::DENSITY.get() && site.is_in_doubt());
    // Clearing a block that is used sparsely would make all of it resident.
    let dense = density == Density::Dense;
    if dense && knobs::DENSITY.get() && !sites::may_be_dense(key, need) {
        // Another site on its bit is not.
        sites::note_density(key, bin, density);
    }
    if (!zero || dense)
        && let Some(n) = shelf.find(need, align, key, dense)
        && let Some(record) = records::get(n)
    {
        shelf.remove(n, record);
        let returns = record.has(flag::EARNED) && !record.has(flag::CARRIED);
        shelf.sites.at(key, bin).hit(now, returns);
        record.put(flag::REUSED, true);
        record.put(flag::ZEROED, false);
        record.set_stamp(now);
        record.set_key(key);
        return Some(Found::Kept(n));
    }
    let big = !growing && mapped <= policy::BIG_MAX;
    if big {
        shelf.big.misses += 1
    } else {
        shelf.whale.misses += 1
    }
    let crowded = shelf.filling();
    // A buffer that has outgrown runs will fill a huge page if the others of its site do; begun with small ones, it
    // would have small ones to its end.
    let large = need >= policy::WHALE_MIN
        || growing && need > policy::RUN_MAX && shelf.sites.at(key, bin).comes_to(SUPERSLAB);
    let may_be_huge = large && knobs::THP.get() && !crowded;
    let dense_huge = may_be_huge && dense && !in_doubt;
    let resident = match (dense_huge, growing) {
        (false, _) => need,
        (true, false) => policy::huge_mapped(policy::mapped(need)),
        // There is room behind it.
        (true, true) => align_up(need, SUPERSLAB),
    };
    let patience = patience(resident, dense_huge);
    let credits = knobs::CREDIT.get();
    if shelf.sites.at(key, bin).missed(now, patience, credits) {
        if dense_huge {
            learn::missed_huge(resident);
        } else if density != Density::Sparse {
            // What is touched here and there was not resident.
            learn::missed(resident);
        }
    }
    let (mut huge, mut unproven, mut asks) = (0, 0, true);
    if dense_huge {
        huge = flag::HUGE;
    } else if density == Density::Unknown && knobs::THP.get() && !crowded {
        let bet = bettable
            && !shelf.distrust
            && shelf.doubted.is_none()
            && policy::may_bet(mapped, shelf.unproven, shelf.dense_looks, bet_limit);
        // The system would bet on every block.
        let systems = unasked && policy::is_systems(need) && shelf.doubted != Some((key, bin));
        if bet || systems {
            huge = flag::HUGE;
            asks = bet;
        }
        // One that grows is filled as it does.
        if huge != 0 && !growing {
            huge |= flag::UNPROVEN;
            unproven = mapped;
            shelf.unproven += unproven;
        }
    }
    if huge == 0 && align <= SLOT {
        let Shelf {
            ranges, numbers, ..
        } = &mut *shelf;
        if let Some(n) = ranges.take(mapped, numbers) {
            return Some(Found::Range(n));
        }
    }
    let populate =
        huge == 0 && dense && !in_doubt && need <= policy::BIG_MAX && knobs::POPULATE.get();
    let Some(n) = shelf.numbers.take() else {
        shelf.unproven -= unproven;
        return None;
    };
    Some(Found::Number {
        n,
        huge,
        asks,
        unproven,
        populate,
        crowded,
    })
}

/// Gives a number back whose range is not mapped (any more). `unproven` as [`take`] gave it, if the
/// block never came to be.
pub(super) fn forget(n: u32, unproven: usize) {
    let mut shelf = SHELF.lock();
    shelf.unproven = shelf.unproven.saturating_sub(unproven);
    shelf.numbers.give(n);
}

/// So many bytes are not unproven any more: they are not on huge pages.
pub(super) fn is_proven(bytes: usize) {
    if bytes > 0 {
        let mut shelf = SHELF.lock();
        shelf.unproven = shelf.unproven.saturating_sub(bytes);
    }
}

/// How a site touches its blocks; what is assumed of all of them if nobody looks.
fn density(site: &Site) -> Density {
    if knobs::DENSITY.get() {
        site.density
    } else if ASSUME_DENSE.load(Relaxed) {
        Density::Dense
    } else {
        Density::Sparse
    }
}

/// Whether the block of `record` shall have huge pages from now on, because it has grown to where the system would give them
/// unasked; see [`policy::is_systems`].
pub(super) fn comes_under_the_system(record: &Record) -> bool {
    let comes = policy::is_systems(record.used())
        && !record.has(flag::HUGE)
        && os::unasked::come()
        && knobs::THP.get();
    if comes {
        record.put(flag::HUGE, true);
    }
    comes
}

/// Whether somebody should look how densely the freed block of `record` was touched.
pub(super) fn wants_look(record: &Record) -> bool {
    let bin = sites::bin(record.key(), record.mapped());
    // In a block that was used before another site may have touched more. (Who takes only such stays unknown, and passes
    // on nothing, until it takes a fresh one.)
    record.has(flag::UNPROVEN)
        || !record.has(flag::REUSED)
            && knobs::DENSITY.get()
            && SHELF.lock().sites.at(record.key(), bin).wants_look()
}

/// The credit of a site, of all its sizes, and how densely it touches them.
pub(super) fn known(key: u32) -> (u8, Density) {
    let now = now();
    let shelf = SHELF.lock();
    let mut known = (0u8, Density::Unknown);
    for site in shelf.sites.all().filter(|site| site.key == key) {
        known.0 = known.0.saturating_add(site.credit(now));
        if known.1 != Density::Sparse && site.density != Density::Unknown {
            known.1 = site.density;
        }
    }
    known
}

/// What is known of a site and a size class, to be told to another process.
pub(crate) struct Lesson {
    /// The site.
    pub(crate) key: u32,
    /// The size class, of this version.
    pub(crate) bin: u16,
    /// Its credit.
    pub(crate) credit: u8,
    /// How densely it touches its blocks.
    pub(crate) density: Density,
}

/// Calls `f` for each site and size class of which anything was learned.
pub(crate) fn each_lesson(mut f: impl FnMut(Lesson)) {
    let now = now();
    let shelf = SHELF.lock();
    for site in shelf.sites.all() {
        let (credit, density) = (site.credit(now), site.density);
        if credit > 0 || density != Density::Unknown {
            f(Lesson {
                key: site.key,
                bin: site.bin,
                credit,
                density,
            });
        }
    }
}

/// Takes over what another process has learned of the site at `address`.
pub(crate) fn teach(lesson: &Lesson, address: usize) {
    let now = now();
    book::enter(lesson.key, address);
    let mut shelf = SHELF.lock();
    let site = shelf.sites.at(lesson.key, lesson.bin.into());
    site.teach(lesson.density);
    site.grant(now, lesson.credit);
    sites::note_density(lesson.key, lesson.bin.into(), lesson.density);
}

/// Keeps a freed block of which `used` bytes were in use, or not: then the caller gives it back.
pub(super) fn give(n: u32, record: &Record, looked: Option<Density>, used: usize) -> bool {
    let now = now();
    let mapped = record.mapped();
    warm::tick(mapped);
    let earned_block = warm::of_limit(policy::EARNED_BLOCK);
    let mut shelf = SHELF.lock();
    let key = record.key();
    let bin = sites::bin(key, mapped);
    let bet = record.has(flag::UNPROVEN);
    if bet {
        record.put(flag::UNPROVEN, false);
        shelf.unproven = shelf.unproven.saturating_sub(record.charge());
    }
    if let Some(seen) = looked {
        shelf.looked(record, bin, seen, bet);
    }
    let growing = policy::is_growing(key);
    let site = shelf.sites.at(key, bin);
    if growing {
        site.grew_to(used);
    }
    let worth_keeping = is_worth_keeping(site, record);
    let credit = if worth_keeping { site.credit(now) } else { 0 };
    let whale = growing && mapped >= policy::WHALE_MIN
        || mapped > policy::BIG_MAX
        || !knobs::BIGCACHE.get();
    let enabled = if whale {
        knobs::WHALE.get() && mapped >= policy::WHALE_MIN
    } else {
        true
    };
    let charge = record.touched();
    let budget = warm::budget();
    let room = warm::counted() + charge <= budget;
    // It has been earned before, perhaps by another site, which passes blocks on to this one.
    let carried = credit == 0 && !growing && record.stays_earned(now);
    // Older memory makes room, if need be.
    let earned = !room && (credit > 0 || carried) && charge <= earned_block;
    // The next one of a site that has just proved to be dense shall have huge pages, and of one whose buffers grow so
    // far.
    let next_is_huge = if growing {
        shelf.sites.at(key, bin).comes_to(SUPERSLAB) && !shelf.filling()
    } else {
        looked == Some(Density::Dense)
    };
    let grows_up = next_is_huge
        && density(shelf.sites.at(key, bin)) == Density::Dense
        && !record.has(flag::HUGE)
        && mapped >= policy::WHALE_MIN
        && knobs::THP.get();
    // The next one of its site would not be served either.
    let useless = record.has(flag::ZEROED)
        && knobs::SITES.get()
        && density(shelf.sites.at(key, bin)) != Density::Dense;
    // Its next block shall show how it is touched.
    let in_doubt =
        record.has(flag::HUGE | flag::POPULATED) && shelf.sites.at(key, bin).is_in_doubt();
    let kept = enabled
        && !grows_up
        && !useless
        && !in_doubt
        && (earned
            || if room {
                charge <= budget
            } else {
                charge <= budget / 2
            });
    if kept {
        if earned {
            shelf.sites.at(key, bin).spend(now);
        }
        record.put(flag::CARRIED, carried);
        shelf.insert(n, record, whale, earned, charge, now);
    } else if worth_keeping && !useless {
        shelf.sites.at(key, bin).gave_back(now);
    }
    kept
}

/// When the oldest block in the warm budget was kept, if there is one.
pub(super) fn oldest() -> Option<u32> {
    let shelf = SHELF.lock();
    let n = shelf.warm.head();
    records::get(n).filter(|_| n != 0).map(Record::stamp)
}

/// Takes the oldest block in the warm budget out, for the caller to give back.
pub(super) fn evict_oldest() -> Option<(u32, &'static Record)> {
    let mut shelf = SHELF.lock();
    let n = shelf.warm.head();
    shelf.evict(n, now())
}

/// Earned blocks that one look takes, from the oldest on.
const EARNED_LOOKS: usize = 16;

/// Takes any block out, for the caller to give back because the program wants that: what it takes again soon was not
/// given back too early.
pub(super) fn take_any() -> Option<(u32, &'static Record)> {
    let mut shelf = SHELF.lock();
    let n = match shelf.warm.head() {
        0 => shelf.earned.head(),
        n => n,
    };
    shelf.take_out(n)
}

/// Takes an earned block out that has waited too long, or is too much, for the caller to give back.
pub(super) fn evict_earned() -> Option<(u32, &'static Record)> {
    if earned::sum() == Sum::NONE {
        return None;
    }
    let now = now();
    let mut shelf = SHELF.lock();
    let oldest = shelf.earned.head();
    // One may be more, unless the user has said how much.
    let alone = List::next(oldest, By::Age) == 0 && learn::users_floor().is_none();
    if !alone && !Bound::All.fits(0) {
        return shelf.evict(oldest, now);
    }
    let grown = !Bound::Growing.fits(0);
    // Who may not wait for long, because he comes back at little, may be behind an older one who may.
    let mut n = oldest;
    for _ in 0..EARNED_LOOKS {
        let record = records::get(n).filter(|_| n != 0)?;
        let too_much =
            grown && policy::is_growing(record.key()) && shelf.earned_sum.growing > record.charge();
        if too_much || waited_in_vain(record, now) {
            return shelf.evict(n, now);
        }
        n = List::next(n, By::Age);
    }
    None
}

/// Whether there are so many ranges that no more should be unmapped.
pub(super) fn crowded() -> bool {
    SHELF.lock().crowded()
}

/// Keeps the purged addresses of `n`.
pub(super) fn keep_range(n: u32, record: &Record) {
    let mut shelf = SHELF.lock();
    let Shelf {
        ranges, numbers, ..
    } = &mut *shelf;
    ranges.insert(n, record, numbers);
}

/// Takes a kept range out for the caller to unmap, if there are few enough by now.
pub(super) fn range_to_unmap() -> Option<u32> {
    let mut shelf = SHELF.lock();
    if shelf.crowded() {
        return None;
    }
    let n = shelf.ranges.any()?;
    let record = records::get(n)?;
    shelf.ranges.remove(n, record);
    record.set_state(State::Leaving);
    Some(n)
}

/// Hits, misses and evictions of BigCache and of the Whale cache; blocks kept and their bytes.
pub(super) fn counts() -> ([u64; 3], [u64; 3], usize, usize) {
    let s = SHELF.lock();
    (
        [s.big.hits, s.big.misses, s.big.evictions],
        [s.whale.hits, s.whale.misses, s.whale.evictions],
        s.kept,
        s.kept_bytes,
    )
}

/// In the child of a fork: if a thread that is gone held the lock, abandons what was kept. Returns
/// [`totals`].
///
/// # Safety
/// As for [`Lock::recover`].
pub(super) unsafe fn after_fork() -> (usize, Sum) {
    // SAFETY: the caller's.
    unsafe {
        SHELF.recover(|shelf| {
            for (_, record) in shelf.numbers.each() {
                if !matches!(record.state(), State::Live | State::Front | State::Unused) {
                    record.set_state(State::Leaving);
                }
            }
            shelf.numbers.collect();
            shelf.ranges = Ranges::NEW;
            shelf.big = Cache::NEW;
            shelf.whale = Cache::NEW;
            shelf.warm = List::NEW;
            shelf.earned = List::NEW;
            shelf.kept = 0;
            shelf.kept_bytes = 0;
            shelf.earned_sum = Sum::NONE;
        });
        (*SHELF.value()).totals()
    }
}

/// The bytes kept in the warm budget, and those that sites have earned.
pub(super) fn totals() -> (usize, Sum) {
    SHELF.lock().totals()
}

/// See [`audit::shelf`].
pub(super) fn check() -> Result<(), &'static str> {
    audit::shelf(&SHELF.lock())
}

/// Forgets what was learned, so that a test does not depend on others.
#[cfg(test)]
pub(super) fn forget_sites() {
    let mut shelf = SHELF.lock();
    shelf.sites = Sites::NEW;
    shelf.distrust = false;
    shelf.doubted = None;
    shelf.unproven = 0;
    shelf.dense_looks = 0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::large::direct;
    use crate::os::process::in_child;
    use crate::space::map::{self, Kind};
    extern crate std;
    use std::thread::sleep;
    use std::time::Duration;

    /// A mapping of 4 MiB that nobody has yet.
    fn mapping() -> Option<u32> {
        let p = direct::take(4 << 20, SLOT, 2, false)?;
        match map::lookup(p.as_ptr() as usize).kind() {
            Kind::Large(n) => Some(n),
            _ => None,
        }
    }

    /// Its site, of this key, has earned it.
    fn earned(n: u32, key: u32, charge: usize) {
        if let Some(record) = records::get(n) {
            record.set_key(key);
            record.set_state(State::Leaving);
            SHELF.lock().insert(n, record, true, true, charge, now());
        }
    }

    #[test]
    fn the_walk_sees_what_is_not_counted() {
        assert!(in_child(|| {
            crate::sync::forked();
            let (Some(kept), Some(live)) = (mapping(), mapping()) else {
                return false;
            };
            earned(kept, 2, 8 << 20);
            if let Some(record) = records::get(live) {
                record.put(flag::UNPROVEN, true);
                record.set_charge(4 << 20);
            }
            SHELF.lock().unproven += 4 << 20;
            let sound = check().is_ok();
            let seen = |change: fn(&mut Shelf)| {
                let before = {
                    let mut shelf = SHELF.lock();
                    let before = (shelf.earned_sum, shelf.earned, shelf.warm, shelf.unproven);
                    change(&mut shelf);
                    before
                };
                let seen = check().is_err();
                let mut shelf = SHELF.lock();
                (shelf.earned_sum, shelf.earned, shelf.warm, shelf.unproven) = before;
                seen
            };
            sound
                && seen(|shelf| shelf.earned_sum = Sum::NONE)
                && seen(|shelf| shelf.earned = List::NEW)
                && seen(|shelf| shelf.warm = shelf.earned)
                && seen(|shelf| shelf.unproven = 0)
                && check().is_ok()
        }));
    }

    #[test]
    fn one_growing_block_may_be_larger_than_what_all_may_have() {
        let once = || {
            crate::sync::forked();
            knobs::ELO.set(false);
            learn::strategy::set(0);
            let (Some(plain), Some(first), Some(second)) = (mapping(), mapping(), mapping()) else {
                return false;
            };
            let gone = || evict_earned().map(|(n, _)| n);
            earned(plain, 2, 8 << 20);
            earned(first, 3, 8 << 20);
            let alone = gone().is_none();
            earned(second, 3, 8 << 20);
            alone && gone() == Some(first) && gone().is_none()
        };
        // A child that is kept from running for long finds that they have waited.
        assert!((0..9).any(|_| in_child(once)));
    }

    #[test]
    fn a_huge_block_that_has_waited_leaves_from_behind_an_older_one() {
        assert!(in_child(|| {
            let (Some(small), Some(huge)) = (mapping(), mapping()) else {
                return false;
            };
            for n in [small, huge] {
                if let Some(record) = records::get(n) {
                    record.put(flag::HUGE, n == huge);
                }
                earned(n, 2, 4 << 20);
            }
            sleep(Duration::from_millis(
                u64::from(learn::patience_huge_ms(4 << 20)) + 20,
            ));
            let mut gone = core::iter::from_fn(evict_earned).map(|(n, _)| n);
            gone.any(|n| n == huge)
        }));
    }
}
