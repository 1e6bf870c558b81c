//! Fills a [`Snapshot`] from the counters and structures of the whole process.
//!
//! As much as possible is derived by walking the structures: what a slab has handed out less what is
//! free in it and in magazines is live. Other threads go on meanwhile, so each number is right within
//! what they do during the walk; none is ever negative. A block that waits in another thread's outbox
//! counts as live until it is sent: at most a few hundred a thread.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::snapshot::{Cache, ClassCounts, OsCall, Snapshot};
use crate::base::{Class, N_CLASSES, PAGE, SUPERSLAB};
use crate::guard;
use crate::heap::{self, Heap};
use crate::large::{self, FrontCounts};
use crate::os;
use crate::slab::{self, Slab, State};
use crate::space::{map, meta, pool, warm};

/// The process as it is now.
#[must_use]
pub fn snapshot() -> Snapshot {
    let mut totals = Snapshot::default();
    gather(&mut totals, &mut Sink(None));
    totals
}

/// As [`snapshot`], into memory of the caller's, with the counts of as many classes as `classes` has
/// room for, by number. The first class is that of no bytes and stays empty. All there are is a few
/// kilobytes: too much for a small stack.
pub fn fill(totals: &mut Snapshot, classes: &mut [ClassCounts]) {
    *totals = Snapshot::default();
    for (number, counts) in classes.iter_mut().enumerate() {
        let size = Class::from_number(number)
            .filter(|_| number > 0)
            .map_or(0, Class::size);
        *counts = ClassCounts {
            size,
            ..ClassCounts::default()
        };
    }
    gather(totals, &mut Sink(Some(classes)));
}

/// Where the counts of classes go, if they are wanted.
struct Sink<'a>(Option<&'a mut [ClassCounts]>);

impl Sink<'_> {
    fn add(&mut self, class: Class, f: impl FnOnce(&mut ClassCounts)) {
        if let Some(counts) = self.0.as_mut().and_then(|all| all.get_mut(class.number())) {
            f(counts);
        }
    }
}

/// Reads a word that another thread may be changing.
///
/// # Safety
/// `at` is in a structure that stays mapped meanwhile, and any value that another thread may be writing
/// is valid.
unsafe fn racy<T: Copy>(at: *const T) -> T {
    // SAFETY: the caller's. Volatile: read once, whatever is done with the value.
    unsafe { at.read_volatile() }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

fn cache([hits, misses, evictions]: [u64; 3]) -> Cache {
    Cache {
        hits,
        misses,
        evictions,
    }
}

fn gather(totals: &mut Snapshot, sink: &mut Sink<'_>) {
    let mut small = Small::new();
    pool::each_slab(|slab| small.add_slab(slab, totals, sink));
    heap::each_heap(|heap| small.add_heap(heap, totals, sink));
    let mut live = 0;
    for number in 1..N_CLASSES {
        let Some(class) = Class::from_number(number) else {
            continue;
        };
        // What is in magazines has been handed out by its slab, and is free all the same.
        let taken = small.taken[number];
        let magazines = small.magazines[number].min(taken);
        totals.small_live_blocks += taken - magazines;
        totals.magazine_bytes += magazines * class.size();
        live += (taken - magazines) * class.size();
        sink.add(class, |counts| {
            counts.live_blocks = taken - magazines;
            counts.live_bytes = (taken - magazines) * class.size();
            counts.magazine_blocks = magazines;
        });
    }

    // What lies in the fronts of threads has not been taken out of the sums over large blocks.
    let large = large::counts();
    totals.run_live_blocks = large.run_blocks.saturating_sub(small.front.run_blocks);
    totals.run_live_bytes = large.run_bytes.saturating_sub(small.front.run_bytes);
    totals.large_live_blocks = large.large_blocks.saturating_sub(small.front.large_blocks);
    totals.large_live_bytes = large.large_bytes.saturating_sub(small.front.large_bytes);
    let guard = guard::counts();
    totals.fenced_blocks = guard.fenced_blocks;
    totals.fenced_bytes = guard.fenced_bytes;
    totals.held_blocks = guard.held_blocks;
    totals.held_bytes = guard.held_bytes;
    // To its slab, a block that is held back is not free.
    totals.small_live_blocks = totals.small_live_blocks.saturating_sub(guard.held_blocks);
    totals.live_bytes = live.saturating_sub(guard.held_bytes)
        + guard.fenced_bytes
        + totals.run_live_bytes
        + totals.large_live_bytes;
    totals.front = cache(large.front);
    totals.front.hits += small.front.hits;
    totals.front.misses += small.front.misses;
    totals.front.evictions += small.front.evictions;
    totals.bigcache = cache(large.big);
    totals.whale = cache(large.whale);
    totals.cached_blocks = large.kept_blocks + small.front.run_blocks + small.front.large_blocks;
    totals.cached_bytes = large.kept_bytes + small.front.run_bytes + small.front.large_bytes;
    totals.front_bytes = large.front_bytes;
    totals.warm_run_bytes = large.warm_run_bytes;
    totals.purged_run_bytes = large.purged_run_bytes;
    totals.earned_bytes = large.earned_bytes;
    totals.allocations =
        totals.refills.stack + totals.refills.slab + totals.front.hits + totals.front.misses;

    totals.superslabs = read(&pool::SUPERSLABS) as usize;
    totals.slabs_taken = read(&pool::SLABS_TAKEN);
    totals.slabs_given = read(&pool::SLABS_GIVEN);
    totals.meta_bytes = meta::BYTES.load(Relaxed) + totals.superslabs * PAGE;
    totals.warm_bytes = warm::WARM.load(Relaxed).max(0) as usize + large.earned_bytes;
    totals.warm_budget_bytes = warm::budget();
    totals.free_bytes = small.free_bytes + totals.magazine_bytes + totals.warm_bytes;
    totals.trimmable_bytes = totals.warm_bytes;
    totals.resident_bytes = small.resident_bytes
        + totals.run_live_bytes
        + totals.large_live_bytes
        + totals.warm_bytes
        + totals.meta_bytes;
    totals.mapped_bytes = totals.superslabs * SUPERSLAB
        + large.large_bytes
        + large.kept_bytes
        + meta::BYTES.load(Relaxed);

    totals.purged_bytes = read(&os::PURGED_BYTES);
    totals.populated_bytes = read(&os::POPULATED_BYTES);
    for (call, (made, failed)) in totals.calls.iter_mut().zip(&os::COUNTS) {
        *call = OsCall {
            made: read(made),
            failed: read(failed),
        };
    }
}

/// Sums over slabs and heaps that do not stand in a snapshot as they are.
struct Small {
    /// By class: blocks that slabs have handed out, and those of them that lie in magazines.
    taken: [usize; N_CLASSES],
    magazines: [usize; N_CLASSES],
    free_bytes: usize,
    resident_bytes: usize,
    front: FrontCounts,
}

impl Small {
    fn new() -> Self {
        Self {
            taken: [0; N_CLASSES],
            magazines: [0; N_CLASSES],
            free_bytes: 0,
            resident_bytes: 0,
            front: FrontCounts::default(),
        }
    }

    fn add_slab(&mut self, slab: *mut Slab, totals: &mut Snapshot, sink: &mut Sink<'_>) {
        // SAFETY: `each_slab` holds the pool's lock, so headers stay; any bits are a valid integer.
        let (number, watermark, free, holes) = unsafe {
            (
                racy(&raw const (*slab).class),
                racy(&raw const (*slab).watermark) as usize,
                racy(&raw const (*slab).free) as usize,
                racy(&raw const (*slab).holes) as usize,
            )
        };
        let Some(class) = Class::from_number(usize::from(number)) else {
            return;
        };
        // SAFETY: as above; only values of the enum are ever written.
        let orphan = unsafe { racy(&raw const (*slab).state) } == State::Orphan;
        let waiting = waiting_blocks(slab, class, orphan);
        let size = class.size();
        let watermark = watermark.min(usize::from(class.info().blocks));
        let free = (free + waiting).min(watermark);
        let free_bytes = (free * size).saturating_sub(holes * PAGE);
        // SAFETY: the class is one, and a slab's descriptors lie in a header.
        let resident = unsafe { slab::resident_bytes(slab) };

        self.taken[class.number()] += watermark - free;
        self.free_bytes += free_bytes;
        self.resident_bytes += resident;
        totals.slabs += 1;
        totals.orphans += usize::from(orphan);
        totals.waiting_blocks += waiting;
        sink.add(class, |counts| {
            counts.slabs += 1;
            counts.orphans += usize::from(orphan);
            counts.free_blocks += free;
            counts.free_bytes += free_bytes;
            counts.resident_bytes += resident;
        });
    }

    fn add_heap(&mut self, heap: &'static Heap, totals: &mut Snapshot, sink: &mut Sink<'_>) {
        totals.heaps += 1;
        // SAFETY: heaps are never unmapped, and a count is a few integers.
        let counts = unsafe { racy(&raw const heap.counts) };
        totals.refills.stack += counts.from_stack;
        totals.refills.adopted += counts.adopted;
        totals.refills.created += counts.created;
        totals.drains += counts.drains;
        totals.drained_blocks += counts.drained;
        totals.hole_passes += counts.hole_passes;
        totals.hole_bytes += counts.hole_bytes;
        let front = heap.large.counts();
        self.front.run_blocks += front.run_blocks;
        self.front.run_bytes += front.run_bytes;
        self.front.large_blocks += front.large_blocks;
        self.front.large_bytes += front.large_bytes;
        self.front.hits += front.hits;
        self.front.misses += front.misses;
        self.front.evictions += front.evictions;
        let (frees, atomics) = heap.sent();
        totals.remote_frees += frees;
        totals.remote_atomics += atomics;
        for number in 1..N_CLASSES {
            let Some(class) = Class::from_number(number) else {
                continue;
            };
            let state = &raw const heap.classes[number];
            // SAFETY: as above.
            let (refills, flushes) = unsafe {
                (
                    racy(&raw const (*state).refills),
                    racy(&raw const (*state).flushes),
                )
            };
            totals.refills.slab += refills;
            totals.flushes += flushes;
            self.magazines[number] += heap.in_magazines(class);
            sink.add(class, |counts| {
                counts.refills += refills;
                counts.flushes += flushes;
            });
        }
    }
}

/// Blocks that other threads have freed into the slab and nobody has taken yet. While the owner is
/// not told of any there are none; the owner of an orphan is nobody, and that of a slab may have vanished in a fork, so there
/// may be.
fn waiting_blocks(slab: *mut Slab, class: Class, orphan: bool) -> usize {
    let is_pending = || Slab::notice(slab).pending.load(Relaxed) != 0;
    if !orphan && !is_pending() && !heap::is_stray(map::lookup(Slab::base(slab)).owner()) {
        return 0;
    }
    let words = Slab::remote(slab, class.info());
    (0..usize::from(class.info().blocks).div_ceil(64))
        // SAFETY: a slab of the class has that many remote words, in a header, which stays mapped.
        .map(|w| unsafe { (*words.add(w)).load(Relaxed) }.count_ones() as usize)
        .sum()
}
