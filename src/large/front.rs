//! The front of one thread: a few freed blocks, found again without a lock or a system call.
//!
//! A block is found by its size, and by the call site that took it or, of mappings, that takes the like of it
//! ([`Front::find`]). A place keeps its charge in the budgets while its block is out, so taking and giving in turns
//! touches no shared word: the charge moves only when a place is given to another block, and where that moves in
//! ([`Front::moves_in`]), only the difference.
//!
//! Only the thread that owns the heap uses its front, but for what [`Front::visit`] takes from one that sleeps.

use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::block::Block;
use super::earned::{self, Bound, Sum};
use super::policy;
use super::records::{self, Record, flag};
use super::rooms::{PLACES, Places, Rooms, without_key};
use super::slot::{self, Slot};
use super::{direct, lent, now, runs, shelf, sites};
use crate::base::{PAGE, SLOT, align_up, knobs};
use crate::learn;
use crate::learn::monitor::LONGEST_PATIENCE_MS;
use crate::space::map::{self, Kind};
use crate::space::{huge, warm};
use crate::sync;

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
/// Hits, misses and evictions of fronts that are gone, and what was taken from threads that sleep.
static GONE: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// What is noted of the block in a slot, or of the last one that lay there.
///
/// # Invariants
/// The block is a run in state Kept if `record` is 0, else that of the record, in state Front. Its `touched` bytes are at
/// most `charge`, which is counted in `warm` and [`warm::FRONTS`], or if `earned`, in what sites have earned, under the
/// place's key, and is a multiple of 64 KiB. An earned block in its slot is an offer with that charge; when another thread
/// has taken it, the charge is its, too.
struct Place {
    /// Bytes that the block has room for.
    room: Cell<usize>,
    charge: Cell<usize>,
    record: Cell<u32>,
    earned: Cell<bool>,
    proof: Cell<u8>,
    /// The front's tick when the place last served, and what was seen of it since.
    tick: Cell<u32>,
    /// When that was first seen, in ms.
    seen_ms: Cell<u32>,
}

impl Place {
    /// Bytes that its block counts for if it is lent: see `lent`.
    fn lends(&self) -> usize {
        if self.record.get() == 0 {
            self.room.get()
        } else {
            self.charge.get()
        }
    }
}

/// The front of a thread. Zeroed, it is empty.
///
/// # Invariants
/// `keys[i]` is the key of the block that lies or last lay in `slots[i]`, of which `places[i]` tells; 0 if nobody waits
/// for one there: then the slot is empty, and nothing is charged.
/// `kept` is the sum of the charges that are not earned.
/// `rooms` has the rooms of all places that have a key; of others it tells nothing. `unearned` has those that have a key
/// and are not earned, `out` those of them whose block is out.
pub(crate) struct Front {
    rooms: Rooms,
    unearned: Cell<Places>,
    out: Cell<Places>,
    keys: [Cell<u32>; PLACES],
    slots: [Slot; PLACES],
    places: [Place; PLACES],
    kept: Cell<usize>,
    /// Counts the takes that it did not serve, in steps of [`TICK`].
    tick: Cell<u32>,
    /// When [`Front::age`] last looked, in ms.
    aged_ms: Cell<u32>,
    /// The place that served last, or that a block came back to, or moved in at.
    last: Cell<usize>,
    /// The last take for a growing buffer that the front saw: key and bytes.
    growing: Cell<(u32, usize)>,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
    /// What the last visitor found: how much the owner had done, and over it when that was new, in ms.
    visited: AtomicU64,
}

fn bump(counter: &AtomicU64) {
    // The owner alone writes; others may read.
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

impl Front {
    /// A kept block for `need` bytes (a multiple of a page) of the site `key`.
    #[inline]
    pub(super) fn take(
        &self,
        need: usize,
        align: usize,
        key: u32,
        zero: bool,
    ) -> Option<NonNull<u8>> {
        let found = if policy::is_growing(key) {
            self.growing.set((key, need));
            self.find_to_grow(need, align, key)
        } else if self.serves(self.last.get(), need, align, key) {
            Some(self.last.get())
        } else {
            self.find(need, align, key, zero)
        };
        let claimed = found.and_then(|i| Some((i, self.slots[i].claim()?)));
        let Some((found, p)) = claimed else {
            bump(&self.misses);
            self.tick.set(self.tick.get().wrapping_add(TICK));
            return None;
        };
        bump(&self.hits);
        self.last.set(found);
        let place = &self.places[found];
        place.tick.set(self.tick.get());
        if !place.earned.get() {
            self.out.set(self.out.get().with(found));
        }
        let touched;
        if place.record.get() == 0 {
            // SAFETY: the place held the start of a run, which is ours.
            let cell = unsafe { runs::cell(p) }.ok()?;
            let word = cell.get();
            touched = word.touched() * PAGE;
            runs::reuse(cell, word, need / PAGE);
            if policy::is_growing(key) {
                lent::run(cell);
            }
        } else {
            let record = records::get(place.record.get())?;
            touched = record.touched();
            if self.keys[found].get() != key {
                record.set_key(key);
                record.put(flag::ZEROED, false);
                self.keys[found].set(key);
            }
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

    /// Whether a block lies at a multiple of `align` in the slot.
    #[inline(always)]
    fn has_at(&self, i: usize, align: usize) -> bool {
        let at = self.slots[i].at();
        at != 0 && at & (align - 1) == 0
    }

    /// Lays the block at `at` into the empty slot, as the place says.
    #[inline(always)]
    fn lay(&self, i: usize, at: NonNull<u8>) {
        let (place, at) = (&self.places[i], at.as_ptr() as usize);
        self.out.set(self.out.get().without(i));
        if place.earned.get() {
            self.slots[i].offer(at, place.charge.get());
        } else {
            self.slots[i].lay(at);
        }
    }

    #[inline(always)]
    fn serves(&self, i: usize, need: usize, align: usize, key: u32) -> bool {
        self.keys[i].get() == key
            && self.has_at(i, align)
            && policy::fits(self.places[i].room.get(), need)
    }

    /// A place with a block that may serve: that of a mapping of just this size which lay down or served last, the site's
    /// own, or a mapping of another site, which is its own from now on. Sites that pass blocks on need one more between
    /// them then, and not one each: what nobody takes any more leaves in time. Only if it is known that both sites touch
    /// all of their blocks: for who does not, or wants zeros, a block that is resident as a whole is not the same, nor is
    /// for who does a block that is not.
    fn find(&self, need: usize, align: usize, key: u32, zero: bool) -> Option<usize> {
        let own = || {
            let mut fit = self.rooms.between(need, policy::fits_up_to(need));
            fit.find(|i| self.serves(*i, need, align, key))
        };
        let mapped = policy::mapped(need);
        let mut made = self.rooms.between(mapped, policy::huge_mapped(mapped));
        if zero || made.is_empty() || !sites::may_be_dense(key, need) {
            return own();
        }
        if self.suits(self.last.get(), need, align) {
            return Some(self.last.get());
        }
        own().or_else(|| made.find(|i| self.suits(*i, need, align)))
    }

    /// Whether the place has a mapping, of whatever site, that was made for a request like this.
    fn suits(&self, i: usize, need: usize, align: usize) -> bool {
        let place = &self.places[i];
        let key = self.keys[i].get();
        place.record.get() != 0
            && self.has_at(i, align)
            && !policy::is_growing(key)
            && policy::is_made_for(place.room.get(), need)
            && sites::may_be_dense(key, need)
    }

    /// The place with the most room that a growing buffer may have.
    fn find_to_grow(&self, need: usize, align: usize, key: u32) -> Option<usize> {
        let limit = policy::growth_limit(need);
        (0..PLACES)
            .filter(|i| {
                let (place, room) = (&self.places[*i], self.places[*i].room.get());
                self.keys[*i].get() == key
                    && self.has_at(*i, align)
                    && room >= need
                    && (room <= limit
                        || place.proof.get() >= PROVEN && lent::may_be(place.lends(), need))
            })
            .max_by_key(|i| self.places[*i].room.get())
    }

    /// Whether the place is waiting for a block such as this. (The longest run has the room of a mapping, and is not earned.)
    #[inline(always)]
    fn awaits(&self, i: usize, block: &Block) -> bool {
        let place = &self.places[i];
        self.keys[i].get() == block.key()
            && place.room.get() == block.room()
            && place.charge.get() >= block.touched()
            && (block.record() != 0 || !place.earned.get())
            && self.slots[i].is_out()
    }

    /// Keeps a freed block. False if it should go to the shared stores.
    #[inline]
    pub(super) fn give(&self, p: NonNull<u8>, block: Block) -> bool {
        let key = block.key();
        if policy::is_growing(key) {
            self.learn_growth(key, block.room(), block.used());
        }
        let last = self.last.get();
        let awaiting = if self.awaits(last, &block) {
            Some(last)
        } else {
            let mut same = self.rooms.between(block.room(), block.room());
            same.find(|i| self.awaits(*i, &block))
        };
        let Some(i) = awaiting else {
            return self.moves_in(p, block) || self.admit(p, block);
        };
        block.keep();
        self.last.set(i);
        self.places[i].record.set(block.record());
        self.lay(i, p);
        true
    }

    /// A growing buffer of `room` was freed with `used` bytes: did its site's buffers grow far?
    fn learn_growth(&self, key: u32, room: usize, used: usize) {
        let (last, bytes) = self.growing.replace((0, 0));
        if last == key && bytes > used {
            // It has just been copied into a larger one: this is not the size that it came to.
            return;
        }
        for (place, _) in self
            .places
            .iter()
            .zip(&self.keys)
            .filter(|(_, k)| k.get() == key)
        {
            if place.room.get() == room && policy::filled(room, used) {
                place.proof.set((place.proof.get() + 1).min(PROVEN));
            } else if !policy::filled(place.room.get(), used) {
                place.proof.set(0);
            }
        }
    }

    /// What is kept because its sites have earned it.
    fn earned(&self) -> Sum {
        self.note_taken();
        let places = self.places.iter().zip(&self.keys);
        places
            .filter(|(place, _)| place.earned.get())
            .fold(Sum::NONE, |sum, (place, key)| {
                sum.with(place.charge.get(), key.get())
            })
    }

    /// Forgets what other threads have taken, with its charge. (In the child of a fork perhaps once more, in the middle.)
    fn note_taken(&self) {
        for i in 0..PLACES {
            if self.slots[i].was_taken() {
                self.places[i].charge.set(0);
                self.places[i].earned.set(false);
                self.keys[i].set(0);
                self.slots[i].reset();
            }
        }
    }

    /// Keeps a freed run at a place whose block is out, if each place has a key: nobody waits for that block there any more,
    /// and its charge is the run's, but for the difference. So where sizes vary, little moves but that. The budget is only
    /// asked for what is more. False if it cannot be done.
    fn moves_in(&self, p: NonNull<u8>, block: Block) -> bool {
        if block.record() != 0 || !without_key(&self.keys).is_empty() {
            return false;
        }
        let Some(i) = self.out.get().next() else {
            return false;
        };
        let (place, charge) = (&self.places[i], block.touched());
        debug_assert!(self.slots[i].is_out() && !place.earned.get());
        let before = place.charge.get();
        let more = charge.saturating_sub(before);
        if !self.may_keep(more) || more != 0 && !warm::has_room(more) {
            return false;
        }
        if charge != before {
            let _inside = sync::inside();
            place.charge.set(charge);
            self.kept.set(self.kept.get() - before + charge);
            if more != 0 {
                warm::FRONTS.fetch_add(more, Relaxed);
            } else {
                earned::lower(&warm::FRONTS, before - charge);
            }
            warm::keep(charge as isize - before as isize);
        }
        self.note(i, &block, charge, false);
        block.keep();
        self.last.set(i);
        self.lay(i, p);
        true
    }

    /// Writes down at place `i` all there is to know of a block that comes to lie there, and is charged so.
    fn note(&self, i: usize, block: &Block, charge: usize, earned: bool) {
        self.keys[i].set(block.key());
        self.rooms.set(i, block.room());
        let Place {
            room,
            charge: charged,
            record,
            earned: is_earned,
            proof,
            tick,
            seen_ms,
        } = &self.places[i];
        room.set(block.room());
        charged.set(charge);
        record.set(block.record());
        is_earned.set(earned);
        proof.set(match block {
            // It has proved itself by what brought it here: it came out of a cache.
            Block::Mapping(..) if policy::filled(block.room(), block.used()) => PROVEN,
            _ => 0,
        });
        tick.set(self.tick.get());
        seen_ms.set(0);
    }

    /// Whether this front, and all of them, may keep `more` bytes without having earned them.
    fn may_keep(&self, more: usize) -> bool {
        self.kept.get() + more <= policy::FRONT_LEAST
            || self.kept.get() + more <= policy::FRONT_BYTES
                && warm::FRONTS.load(Relaxed) + more <= warm::fronts_max()
    }

    #[cold]
    fn admit(&self, p: NonNull<u8>, block: Block) -> bool {
        if block.record() != 0 && self.age(now()) {
            // Blocks that come and go between fronts and the shelf are all found: nobody else would look what is not.
            super::balance();
        }
        let earned = match block {
            Block::Run(..) => false,
            // The shelf knows what its site's buffers come to.
            Block::Mapping(_, record)
                if policy::is_growing(block.key()) && record.used() < block.touched() / 2 =>
            {
                return false;
            }
            // What its site takes for the first time is looked at before it is kept.
            Block::Mapping(_, record) if record.has(flag::REUSED) => record.has(flag::EARNED),
            Block::Mapping(..) => return false,
        };
        let charge = if earned {
            align_up(block.touched(), SLOT)
        } else {
            block.touched()
        };
        if earned {
            if charge > slot::CHARGE_MAX {
                return false;
            }
            // Others have it only if this thread does nothing at all, and it may sleep.
            let heaps = huge::HEAPS.load(Relaxed);
            if heaps > 1 && charge > policy::front_earned(heaps) {
                return false;
            }
            self.leave_room(charge, heaps);
            while let Some(bound) = Bound::exceeded(charge, block.key()) {
                let Some(i) = self.oldest_earned(bound) else {
                    return false;
                };
                self.dismiss(i);
            }
        } else if charge > policy::FRONT_BYTES {
            return false;
        }
        let place = without_key(&self.keys)
            .next()
            .or_else(|| (0..PLACES).find(|i| self.slots[*i].at() == 0))
            .or_else(|| self.oldest(0..PLACES))
            .unwrap_or(0);
        self.evict(place);
        if !earned && !self.makes_room(charge, policy::is_growing(block.key())) {
            return false;
        }
        let _inside = sync::inside();
        self.note(place, &block, charge, earned);
        // Before anybody can take it, who takes it off.
        if earned {
            earned::add(charge, block.key());
        } else {
            self.unearned.set(self.unearned.get().with(place));
            self.kept.set(self.kept.get() + charge);
            warm::FRONTS.fetch_add(charge, Relaxed);
            warm::keep(charge as isize);
        }
        block.keep();
        self.lay(place, p);
        true
    }

    /// Whether `charge` bytes more may be kept without having been earned, of a buffer that is `growing` or not. Others leave
    /// for them if need be, and if they may.
    fn makes_room(&self, charge: usize, growing: bool) -> bool {
        while self.kept.get() + charge > policy::FRONT_BYTES {
            let Some(i) = self.oldest_unearned() else {
                break;
            };
            self.evict(i);
        }
        // What may be kept becomes less when the program frees: what is forgotten would stay for ever, and nothing
        // else come in. (Buffers that grow leave a block behind at each step, and nobody is likely to want that.)
        while !self.may_keep(charge) {
            let forgotten = |i: &usize| self.ticks_since(*i) >= FORGOTTEN && !growing;
            let Some(i) = self.oldest_unearned().filter(forgotten) else {
                return false;
            };
            self.evict(i);
        }
        // Elsewhere it would count for about as much.
        warm::has_room(charge)
    }

    /// Of `places`, the one that served least recently.
    fn oldest(&self, places: impl Iterator<Item = usize>) -> Option<usize> {
        places.max_by_key(|i| self.ticks_since(*i))
    }

    /// The same of those that are not earned.
    fn oldest_unearned(&self) -> Option<usize> {
        self.oldest(self.unearned.get())
    }

    /// The same of those that are earned and count for `bound`.
    fn oldest_earned(&self, bound: Bound) -> Option<usize> {
        let counts = |i: &usize| self.places[*i].earned.get() && bound.counts(self.keys[*i].get());
        self.oldest((0..PLACES).filter(counts))
    }

    fn ticks_since(&self, i: usize) -> u32 {
        let served = self.places[i].tick.get() & !(TICK - 1);
        self.tick.get().wrapping_sub(served)
    }

    /// What was earned and has not been wanted lately leaves, for the room of `block`, which was freed: if that is a
    /// mapping for which there is none.
    pub(super) fn relent(&self, block: Block) {
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

    /// What lies here beyond what all fronts may keep, or of what was earned beyond its share, leaves: the program has
    /// freed much since it came, or has more threads. Earned blocks that lay here when somebody looked, and that nobody
    /// took since, leave when that was longer ago than they may wait: serving does not look at the clock. A place whose
    /// block is out for long is given up, too: it has one again when the block is freed here, and perhaps another thread
    /// has done that. False if it had looked at `now` before.
    pub(super) fn age(&self, now: u32) -> bool {
        if self.has_aged(now) {
            return false;
        }
        self.aged_ms.set(now);
        for i in (0..PLACES).filter(|i| self.keys[*i].get() != 0) {
            let (place, is_out) = (&self.places[i], self.slots[i].at() == 0);
            if !place.earned.get() && (place.charge.get() == 0 || !is_out) {
                continue;
            }
            let (seen, most) = if is_out {
                (SEEN_OUT, LONGEST_PATIENCE_MS)
            } else {
                let record = records::get(place.record.get());
                (SEEN_IDLE, record.map_or(0, shelf::patience_with))
            };
            let tick = place.tick.get();
            if tick & seen == 0 {
                place.tick.set(tick | seen);
                place.seen_ms.set(now);
            } else if now.wrapping_sub(place.seen_ms.get()) > most {
                self.dismiss(i);
            }
        }
        // There may be more heaps than when it came.
        let heaps = huge::HEAPS.load(Relaxed);
        if heaps > 1 && self.places.iter().any(|place| place.earned.get()) {
            self.leave_room(0, heaps);
        }
        while self.kept.get() > policy::FRONT_LEAST
            && warm::FRONTS.load(Relaxed) > warm::fronts_max()
            && let Some(i) = self.oldest_unearned()
        {
            self.evict(i);
        }
        true
    }

    /// What was earned leaves until `charge` bytes more are what the front of one of `heaps` may keep, if all of it has to.
    fn leave_room(&self, charge: usize, heaps: usize) {
        while self.earned().all + charge > policy::front_earned(heaps)
            && let Some(i) = self.oldest_earned(Bound::All)
        {
            self.evict(i);
        }
    }

    /// Whether [`Front::age`] has looked at `now`.
    pub(super) fn has_aged(&self, now: u32) -> bool {
        now == self.aged_ms.get()
    }

    /// As [`Self::evict`], of a block that has to be earned again to be kept as earned.
    fn dismiss(&self, i: usize) {
        self.leave(i, false);
    }

    /// Hands the block at a place to the shared stores, and takes the charge back.
    fn evict(&self, i: usize) {
        self.leave(i, true);
    }

    fn leave(&self, i: usize, stays_earned: bool) {
        if self.keys[i].get() == 0 {
            return;
        }
        let place = &self.places[i];
        // First the block: who takes it takes the charge.
        let inside = sync::inside();
        let p = self.slots[i].claim();
        self.unearned.set(self.unearned.get().without(i));
        self.out.set(self.out.get().without(i));
        let is_taken = self.slots[i].was_taken();
        let charge = place.charge.replace(0);
        let earned = place.earned.replace(false);
        let key = self.keys[i].replace(0);
        if is_taken {
            self.slots[i].reset();
            return;
        }
        if earned {
            earned::remove(charge, key);
        } else if charge > 0 {
            self.kept.set(self.kept.get() - charge);
            earned::lower(&warm::FRONTS, charge);
            warm::keep(-(charge as isize));
        }
        drop(inside);
        let Some(p) = p else {
            return;
        };
        bump(&self.evictions);
        if place.record.get() == 0 {
            // SAFETY: the place held the start of a run, which is ours.
            unsafe {
                if let Ok(cell) = runs::cell(p) {
                    runs::give(p, cell);
                }
            }
        } else if let Some(record) = records::get(place.record.get()) {
            if earned && !stays_earned {
                record.put(flag::EARNED, false);
            }
            direct::give(place.record.get(), record);
        }
    }

    /// Called by any thread but the owner, once in a while, at `now`: if the owner did nothing since a visit longer ago than
    /// any block may wait, it sleeps, and what its sites have earned goes to the shared stores. Returns the bytes.
    /// `generation` is that of the sum when the owner was known to be a thread of this process.
    pub(super) fn visit(&self, now: u32, generation: u32) -> usize {
        let offered = self.slots.iter().filter(|slot| slot.is_offered()).count();
        if offered == 0 {
            return 0;
        }
        let counters = [&self.hits, &self.misses, &self.evictions];
        let did: u64 = counters.iter().map(|n| n.load(Relaxed)).sum();
        // What is given back counts, too, and a take more than that.
        let did = 2 * did + offered as u64;
        let visited = self.visited.load(Relaxed);
        if visited as u32 != did as u32 || visited == 0 {
            let new = u64::from(now) << 32 | u64::from(did as u32);
            self.visited.store(new, Relaxed);
            return 0;
        }
        if learn::since(now, (visited >> 32) as u32) <= LONGEST_PATIENCE_MS {
            return 0;
        }
        let slots = self.slots.iter();
        slots.map(|slot| take_from(slot, generation)).sum()
    }

    /// Hands every block to the shared stores, and adds what was counted to [`gone`].
    pub(super) fn retire(&self) {
        for i in 0..PLACES {
            self.evict(i);
        }
        for (sum, counter) in GONE.iter().zip([&self.hits, &self.misses, &self.evictions]) {
            sum.fetch_add(counter.load(Relaxed), Relaxed);
            counter.store(0, Relaxed);
        }
        // Who has the front next is another one.
        self.visited.store(0, Relaxed);
    }

    /// Checks what is noted of the places more than once. The thread is not in the middle of a call.
    #[cfg(test)]
    pub(super) fn check(&self) -> Result<(), &'static str> {
        self.note_taken();
        let mut kept = 0;
        for (i, place) in self.places.iter().enumerate() {
            let waits = self.keys[i].get() != 0;
            let unearned = waits && !place.earned.get();
            if unearned {
                kept += place.charge.get();
            }
            if self.unearned.get().has(i) != unearned
                || self.out.get().has(i) != (unearned && self.slots[i].at() == 0)
            {
                return Err("a front's sets of places are not what the places say");
            }
            if waits && !self.rooms.is(i, place.room.get()) {
                return Err("a front's rooms are not those of its places");
            }
        }
        if kept != self.kept.get() {
            return Err("what a front keeps is not what its places keep");
        }
        Ok(())
    }

    /// The bytes that it keeps without having earned it, and those that it has earned.
    pub(super) fn totals(&self) -> (usize, Sum) {
        (self.kept.get(), self.earned())
    }

    /// What lies in it now, and its hits, misses and evictions. Racy if another thread owns it.
    pub(crate) fn counts(&self) -> FrontCounts {
        let mut counts = FrontCounts {
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            evictions: self.evictions.load(Relaxed),
            ..FrontCounts::default()
        };
        for (place, slot) in self.places.iter().zip(&self.slots) {
            if slot.at() == 0 {
                continue;
            }
            let record = place.record.get();
            if record != 0 {
                counts.large_blocks += 1;
                counts.large_bytes += records::get(record).map_or(0, Record::used);
            // Its word may be gone with its SuperSlab by now; the room is as good an answer.
            } else {
                counts.run_blocks += 1;
                counts.run_bytes += place.room.get();
            }
        }
        counts
    }
}

/// Takes what is offered in another thread's slot to the shared stores; it has to be earned again to be kept as earned.
/// Returns the bytes. See [`Front::visit`] for `generation`.
fn take_from(slot: &Slot, generation: u32) -> usize {
    let inside = sync::inside();
    // A signal handler may have forked since; a child that does not know that it is one learns of it after this.
    if earned::generation() != generation {
        return 0;
    }
    let Some((at, charge)) = slot.take() else {
        return 0;
    };
    // It is a mapping, and nobody else's.
    let Kind::Large(number) = map::lookup(at).kind() else {
        return 0;
    };
    let Some(record) = records::get(number) else {
        return 0;
    };
    earned::remove(charge, record.key());
    drop(inside);
    record.put(flag::EARNED, false);
    direct::give(number, record);
    GONE[2].fetch_add(1, Relaxed);
    charge
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
    /// Blocks that made room for others, waited for too long, or were taken from a thread that sleeps.
    pub(crate) evictions: u64,
}

/// Whether fronts are in use.
#[inline(always)]
pub(super) fn enabled() -> bool {
    knobs::BIGCACHE.get()
}
