//! The front of one thread: a few freed blocks, found again without a lock or a system call.
//!
//! A block is found by its size, and by the call site that took it or, of mappings, that takes the like of it
//! ([`Front::find`]). A place keeps its charge in the budgets while its block is out, so taking and giving in turns
//! touches no shared word: the charge moves only when a place is given to another block.
//!
//! Only the thread that owns the heap uses its front.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::block::Block;
use super::earned::{self, Bound, Sum};
use super::policy;
use super::records::{self, Record, flag};
use super::{direct, lent, now, runs, shelf, sites};
use crate::base::{PAGE, knobs};
use crate::learn::monitor::LONGEST_PATIENCE_MS;
use crate::space::warm;
use crate::sync;

const PLACES: usize = 16;
/// A buffer that grew far this many times in a row may start with all its room the next time.
const PROVEN: u8 = 2;
/// A place that did not serve while this many takes went past the front is stale.
const STALE: u32 = 16 * TICK;
/// And one that did not while this many went past is forgotten: it need not have been earned to leave.
const FORGOTTEN: u32 = 64 * TICK;
/// Ticks are multiples of this: who serves clears what a look has noted without knowing of it.
const TICK: u32 = 4;
/// What [`Front::age`] has noted in a place's tick: that the block lay there, or that it was out.
const SEEN_IDLE: u32 = 1;
/// See [`SEEN_IDLE`].
const SEEN_OUT: u32 = 2;

/// Takes that a front serves between two looks at what is kept: where memory is short, 128 took longer than a window.
const HITS: u64 = 64;
/// Hits, misses and evictions of fronts that are gone.
static GONE: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// A place for one block.
///
/// # Invariants
/// `at` is 0 or the address of a block that the front has: a run in state Kept if `record` is 0,
/// else the block of that record, in state Front. Its `touched` bytes are at most `charge`, which
/// is counted in `warm` and [`warm::FRONTS`], or if `earned`, in what sites have earned, under the place's key.
struct Place {
    at: AtomicUsize,
    /// Bytes that the block has room for.
    room: usize,
    charge: usize,
    record: u32,
    earned: bool,
    proof: u8,
    /// The front's tick when the place last served, and what was seen of it since.
    tick: u32,
    /// When that was first seen, in ms.
    seen_ms: u32,
}

impl Place {
    /// Whether its block lies here, at a multiple of `align`.
    #[inline(always)]
    fn has_at(&self, align: usize) -> bool {
        let at = self.at.load(Relaxed);
        at != 0 && at & (align - 1) == 0
    }

    /// Bytes that its block counts for if it is lent: see `lent`.
    fn lends(&self) -> usize {
        if self.record == 0 {
            self.room
        } else {
            self.charge
        }
    }
}

/// The front of a thread. Zeroed, it is empty.
///
/// # Invariants
/// `keys[i]` is the key of the block that `places[i]` holds or last held; 0 if it never held one.
/// `kept` is the sum of the charges that are not earned.
pub(crate) struct Front {
    keys: [u32; PLACES],
    places: [Place; PLACES],
    kept: usize,
    /// Counts the takes that it did not serve, in steps of [`TICK`].
    tick: u32,
    /// When [`Front::age`] last looked, in ms.
    aged_ms: u32,
    /// The place that served last.
    last: usize,
    /// The last take for a growing buffer that the front saw: key and bytes.
    growing: (u32, usize),
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

fn bump(counter: &AtomicU64) {
    // The owner alone writes; others may read.
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

impl Front {
    /// A kept block for `need` bytes (a multiple of a page) of the site `key`.
    #[inline]
    pub(super) fn take(
        &mut self,
        need: usize,
        align: usize,
        key: u32,
        zero: bool,
    ) -> Option<NonNull<u8>> {
        let found = if policy::is_growing(key) {
            self.growing = (key, need);
            self.find_to_grow(need, align, key)
        } else if self.serves(self.last, need, align, key) {
            Some(self.last)
        } else {
            self.find(need, align, key, zero)
        };
        let Some(found) = found else {
            bump(&self.misses);
            self.tick = self.tick.wrapping_add(TICK);
            return None;
        };
        bump(&self.hits);
        self.last = found;
        let place = &mut self.places[found];
        place.tick = self.tick;
        let p = NonNull::new(place.at.load(Relaxed) as *mut u8)?;
        place.at.store(0, Relaxed);
        let touched;
        if place.record == 0 {
            // SAFETY: the place holds the start of a run.
            let cell = unsafe { runs::cell(p) }.ok()?;
            let word = cell.get();
            touched = word.touched() * PAGE;
            runs::reuse(cell, word, need / PAGE);
            if policy::is_growing(key) {
                lent::run(cell);
            }
        } else {
            let record = records::get(place.record)?;
            touched = record.touched();
            direct::reuse(record, need);
            if policy::is_growing(key) {
                lent::mapping(record);
            }
        }
        if zero {
            // SAFETY: the block has just become ours, and has room for `need` bytes.
            unsafe { p.write_bytes(0, need.min(touched)) };
        }
        Some(p)
    }

    /// Whether it has served so often that somebody should look what is kept meanwhile: once in a while.
    #[inline(always)]
    pub(super) fn is_due(&self) -> bool {
        self.hits.load(Relaxed).is_multiple_of(HITS)
    }

    #[inline(always)]
    fn serves(&self, i: usize, need: usize, align: usize, key: u32) -> bool {
        let place = &self.places[i];
        self.keys[i] == key && place.has_at(align) && policy::fits(place.room, need)
    }

    /// A place with a block that may serve: that of a mapping of just this size which lay down or served last, the site's
    /// own, or a mapping of another site, which is its own from now on. Sites that pass blocks on need one more between
    /// them then, and not one each: what nobody takes any more leaves in time. Only if it is known that both sites touch
    /// all of their blocks: for who does not, or wants zeros, a block that is resident as a whole is not the same, nor is
    /// for who does a block that is not.
    fn find(&mut self, need: usize, align: usize, key: u32, zero: bool) -> Option<usize> {
        let own = |this: &Self| (0..PLACES).find(|i| this.serves(*i, need, align, key));
        if zero || !sites::may_be_dense(key, need) {
            return own(self);
        }
        let found = if self.suits(self.last, need, align) {
            self.last
        } else if let Some(own) = own(self) {
            return Some(own);
        } else {
            (0..PLACES).find(|i| self.suits(*i, need, align))?
        };
        records::get(self.places[found].record)?.set_key(key);
        self.keys[found] = key;
        Some(found)
    }

    /// Whether the place has a mapping, of whatever site, that was made for a request like this.
    fn suits(&self, i: usize, need: usize, align: usize) -> bool {
        let place = &self.places[i];
        place.record != 0
            && place.has_at(align)
            && !policy::is_growing(self.keys[i])
            && policy::is_made_for(place.room, need)
            && sites::may_be_dense(self.keys[i], need)
    }

    /// The place with the most room that a growing buffer may have.
    fn find_to_grow(&self, need: usize, align: usize, key: u32) -> Option<usize> {
        let limit = policy::growth_limit(need);
        (0..PLACES)
            .filter(|i| {
                let place = &self.places[*i];
                self.keys[*i] == key
                    && place.has_at(align)
                    && place.room >= need
                    && (place.room <= limit
                        || place.proof >= PROVEN && lent::may_be(place.lends(), need))
            })
            .max_by_key(|i| self.places[*i].room)
    }

    /// Whether the place is waiting for a block such as this.
    #[inline(always)]
    fn awaits(&self, i: usize, block: &Block) -> bool {
        let place = &self.places[i];
        self.keys[i] == block.key()
            && place.room == block.room()
            && place.charge >= block.touched()
            && place.at.load(Relaxed) == 0
    }

    /// Keeps a freed block. False if it should go to the shared stores.
    #[inline]
    pub(super) fn give(&mut self, p: NonNull<u8>, block: Block) -> bool {
        let key = block.key();
        if policy::is_growing(key) {
            self.learn_growth(key, block.room(), block.used());
        }
        let awaiting = if self.awaits(self.last, &block) {
            Some(self.last)
        } else {
            (0..PLACES).find(|i| self.awaits(*i, &block))
        };
        let Some(i) = awaiting else {
            return self.admit(p, block);
        };
        block.keep();
        self.last = i;
        let place = &mut self.places[i];
        place.record = block.record();
        place.at.store(p.as_ptr() as usize, Relaxed);
        true
    }

    /// A growing buffer of `room` was freed with `used` bytes: did its site's buffers grow far?
    fn learn_growth(&mut self, key: u32, room: usize, used: usize) {
        let (last, bytes) = self.growing;
        self.growing = (0, 0);
        if last == key && bytes > used {
            // It has just been copied into a larger one: this is not the size that it came to.
            return;
        }
        for (place, _) in self
            .places
            .iter_mut()
            .zip(&self.keys)
            .filter(|(_, k)| **k == key)
        {
            if place.room == room && policy::filled(room, used) {
                place.proof = (place.proof + 1).min(PROVEN);
            } else if !policy::filled(place.room, used) {
                place.proof = 0;
            }
        }
    }

    /// What is kept because its sites have earned it.
    fn earned(&self) -> Sum {
        let places = self.places.iter().zip(&self.keys);
        places
            .filter(|(place, _)| place.earned)
            .fold(Sum::NONE, |sum, (place, key)| sum.with(place.charge, *key))
    }

    #[cold]
    fn admit(&mut self, p: NonNull<u8>, block: Block) -> bool {
        let charge = block.touched();
        if block.record() != 0 && self.age(now()) {
            // Blocks that come and go between fronts and the shelf are all found: nobody else would look what is not.
            super::balance();
        }
        let earned = match block {
            Block::Run(..) => false,
            // The shelf knows what its site's buffers come to.
            Block::Mapping(_, record)
                if policy::is_growing(block.key()) && record.used() < charge / 2 =>
            {
                return false;
            }
            // What its site takes for the first time is looked at before it is kept.
            Block::Mapping(_, record) if record.has(flag::REUSED) => record.has(flag::EARNED),
            Block::Mapping(..) => return false,
        };
        if earned {
            // Only this thread's large calls can take it out again, and the thread may sleep.
            // So a few, or one.
            while let Some(i) = self.oldest_earned(Bound::All)
                && self.earned().all + charge > policy::FRONT_EARNED
            {
                self.evict(i);
            }
            while let Some(bound) = Bound::exceeded(charge, block.key()) {
                let Some(i) = self.oldest_earned(bound) else {
                    return false;
                };
                self.dismiss(i);
            }
        } else if charge > policy::FRONT_BYTES {
            return false;
        }
        let vacant = |this: &Self, i: usize| this.places[i].at.load(Relaxed) == 0;
        let place = (0..PLACES)
            .find(|i| self.keys[*i] == 0)
            .or_else(|| (0..PLACES).find(|i| vacant(self, *i)))
            .or_else(|| self.oldest(|_, _| true))
            .unwrap_or(0);
        self.evict(place);
        while !earned && self.kept + charge > policy::FRONT_BYTES {
            let Some(i) = self.oldest_unearned() else {
                break;
            };
            self.evict(i);
        }
        if !earned {
            // What may be kept becomes less when the program frees: what is forgotten would stay for ever, and nothing
            // else come in. (Buffers that grow leave a block behind at each step, and nobody is likely to want that.)
            while self.kept + charge > policy::FRONT_LEAST
                && warm::FRONTS.load(Relaxed) + charge > warm::fronts_max()
            {
                match self.oldest_unearned() {
                    Some(i)
                        if self.ticks_since(i) >= FORGOTTEN && !policy::is_growing(block.key()) =>
                    {
                        self.evict(i);
                    }
                    _ => return false,
                }
            }
            // Elsewhere it would count for about as much.
            if warm::counted() + charge > warm::budget() + warm::SLACK {
                return false;
            }
        }
        self.keys[place] = block.key();
        let _inside = sync::inside();
        self.places[place] = Place {
            at: AtomicUsize::new(p.as_ptr() as usize),
            room: block.room(),
            charge,
            record: block.record(),
            earned,
            proof: match block {
                // It has proved itself by what brought it here: it came out of a cache.
                Block::Mapping(..) if policy::filled(block.room(), block.used()) => PROVEN,
                _ => 0,
            },
            tick: self.tick,
            seen_ms: 0,
        };
        block.keep();
        if earned {
            earned::add(charge, block.key());
        } else {
            self.kept += charge;
            warm::FRONTS.fetch_add(charge, Relaxed);
            warm::keep(charge as isize);
        }
        true
    }

    /// Of the places that are `such`, the one that served least recently.
    fn oldest(&self, such: impl Fn(usize, &Place) -> bool) -> Option<usize> {
        (0..PLACES)
            .filter(|i| such(*i, &self.places[*i]))
            .max_by_key(|i| self.ticks_since(*i))
    }

    /// The same of those that are charged and not earned.
    fn oldest_unearned(&self) -> Option<usize> {
        self.oldest(|_, place| place.charge > 0 && !place.earned)
    }

    /// The same of those that are earned and count for `bound`.
    fn oldest_earned(&self, bound: Bound) -> Option<usize> {
        self.oldest(|i, place| place.earned && bound.counts(self.keys[i]))
    }

    fn ticks_since(&self, i: usize) -> u32 {
        self.tick.wrapping_sub(self.places[i].tick & !(TICK - 1))
    }

    /// What was earned and has not been wanted lately leaves, for the room of `block`, which was freed: if that is a
    /// mapping for which there is none.
    pub(super) fn relent(&mut self, block: Block) {
        if block.record() == 0 {
            return;
        }
        let full = Bound::exceeded(block.touched(), block.key());
        if let Some(i) = full.and_then(|bound| self.oldest_earned(bound))
            && self.ticks_since(i) >= STALE
        {
            self.dismiss(i);
        }
    }

    /// What lies here beyond what all fronts may keep leaves, for the program has freed much since it came. Earned blocks
    /// that lay here when somebody looked, and that nobody took since, leave when that was longer ago than they may wait:
    /// serving does not look at the clock. A place whose block is out for long is given up, too: it has one again when
    /// the block is freed here, and perhaps another thread has done that. False if it had looked at `now` before.
    pub(super) fn age(&mut self, now: u32) -> bool {
        if self.has_aged(now) {
            return false;
        }
        self.aged_ms = now;
        for i in 0..PLACES {
            let place = &mut self.places[i];
            if !place.earned && (place.charge == 0 || place.at.load(Relaxed) != 0) {
                continue;
            }
            let (seen, most) = if place.at.load(Relaxed) == 0 {
                (SEEN_OUT, LONGEST_PATIENCE_MS)
            } else {
                let record = records::get(place.record);
                (SEEN_IDLE, record.map_or(0, shelf::patience_with))
            };
            if place.tick & seen == 0 {
                place.tick |= seen;
                place.seen_ms = now;
            } else if now.wrapping_sub(place.seen_ms) > most {
                self.dismiss(i);
            }
        }
        while self.kept > policy::FRONT_LEAST
            && warm::FRONTS.load(Relaxed) > warm::fronts_max()
            && let Some(i) = self.oldest_unearned()
        {
            self.evict(i);
        }
        true
    }

    /// Whether [`Front::age`] has looked at `now`.
    pub(super) fn has_aged(&self, now: u32) -> bool {
        now == self.aged_ms
    }

    /// As [`Self::evict`], of a block that has to be earned again to be kept as earned.
    fn dismiss(&mut self, i: usize) {
        let place = &self.places[i];
        if place.earned
            && place.at.load(Relaxed) != 0
            && let Some(record) = records::get(place.record)
        {
            record.put(flag::EARNED, false);
        }
        self.evict(i);
    }

    /// Hands the block at a place to the shared stores, and takes the charge back.
    fn evict(&mut self, i: usize) {
        let inside = sync::inside();
        let place = &mut self.places[i];
        let charge = core::mem::take(&mut place.charge);
        if place.earned {
            earned::remove(charge, self.keys[i]);
        } else if charge > 0 {
            self.kept -= charge;
            earned::lower(&warm::FRONTS, charge);
            warm::keep(-(charge as isize));
        }
        place.earned = false;
        drop(inside);
        self.keys[i] = 0;
        let Some(p) = NonNull::new(place.at.load(Relaxed) as *mut u8) else {
            return;
        };
        place.at.store(0, Relaxed);
        bump(&self.evictions);
        if place.record == 0 {
            // SAFETY: the place held the start of a run, which is ours.
            unsafe {
                if let Ok(cell) = runs::cell(p) {
                    runs::give(p, cell);
                }
            }
        } else if let Some(record) = records::get(place.record) {
            direct::give(place.record, record);
        }
    }

    /// Hands every block to the shared stores.
    pub(super) fn clear(&mut self) {
        for i in 0..PLACES {
            self.evict(i);
        }
    }

    /// Hands everything over, and adds what was counted to [`gone`].
    pub(super) fn retire(&mut self) {
        self.clear();
        for (sum, counter) in GONE.iter().zip([&self.hits, &self.misses, &self.evictions]) {
            sum.fetch_add(counter.load(Relaxed), Relaxed);
            counter.store(0, Relaxed);
        }
    }

    /// The bytes that it keeps without having earned it, and those that it has earned.
    pub(super) fn totals(&self) -> (usize, Sum) {
        (self.kept, self.earned())
    }

    /// What lies in it now, and its hits, misses and evictions. Racy if another thread owns it.
    pub(crate) fn counts(&self) -> FrontCounts {
        let mut counts = FrontCounts {
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            evictions: self.evictions.load(Relaxed),
            ..FrontCounts::default()
        };
        for place in &self.places {
            if place.at.load(Relaxed) == 0 {
                continue;
            }
            if place.record != 0 {
                counts.large_blocks += 1;
                counts.large_bytes += records::get(place.record).map_or(0, Record::used);
            // Its word may be gone with its SuperSlab by now; the room is as good an answer.
            } else {
                counts.run_blocks += 1;
                counts.run_bytes += place.room;
            }
        }
        counts
    }
}

/// Hits, misses and evictions of the fronts of threads that have ended.
pub(super) fn gone() -> [u64; 3] {
    [0, 1, 2].map(|i| GONE[i].load(Relaxed))
}

/// What a front holds, and how often it served.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct FrontCounts {
    /// Runs that lie in it, which [`super::Counts`] takes for live.
    pub(crate) run_blocks: usize,
    /// Their bytes.
    pub(crate) run_bytes: usize,
    /// Mappings that lie in it, which [`super::Counts`] takes for live.
    pub(crate) large_blocks: usize,
    /// Their bytes.
    pub(crate) large_bytes: usize,
    /// Takes that it served.
    pub(crate) hits: u64,
    /// Takes that it did not serve.
    pub(crate) misses: u64,
    /// Blocks that made room for others, or waited for too long.
    pub(crate) evictions: u64,
}

/// Whether fronts are in use.
#[inline(always)]
pub(super) fn enabled() -> bool {
    knobs::BIGCACHE.get()
}
