//! Large blocks: everything above 32 KiB, and whatever has a larger alignment than slabs give.
//!
//! ```text
//! take/give ── front      a few blocks of this thread, by call site and size: no lock
//!                ├─ runs      up to 1 MiB: pages of SuperSlabs              (pages, bits, word)
//!                └─ direct    beyond: ranges of their own, mremap           (records, ranges)
//!                     └─ shelf     BigCache and Whale cache, sites          (store, sites)
//! policy: sizes, room to grow, keep or give back - pure functions
//! ```
//! Two locks, `runs` and `shelf`, never held together. Freed blocks that are kept count in
//! `space::warm`, except for what a call site has earned by taking them again and again; when the
//! budget is exceeded, the oldest go first.
//!
//! Callers: `heap` and the API.

mod audit;
mod bigcache;
mod bits;
mod block;
mod book;
mod direct;
mod earned;
mod front;
mod lent;
mod pages;
mod policy;
mod ranges;
mod records;
mod rooms;
mod runs;
mod shelf;
mod sites;
mod slot;
mod store;
#[cfg(test)]
mod tests;
mod whale;
mod word;

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

pub(crate) use self::front::{Front, FrontCounts};
pub(crate) use self::shelf::{ASSUME_DENSE, Lesson, each_lesson, teach};

use self::block::Block;
pub(crate) use crate::base::Misuse;
use crate::base::{Hook, PAGE, SMALL_MAX, align_up, knobs};
pub(crate) use crate::learn::site::Density;
use crate::learn::{self, monitor::LONGEST_PATIENCE_MS};
use crate::os;
use crate::space::map::Entry;
use crate::space::pool::{self, Keeper};
use crate::space::warm;
use crate::sync;

/// The clock of large blocks, in ms: coarse, and it wraps.
fn now() -> u32 {
    os::now_ms() as u32
}

/// Whether a block of the site `key` gets addresses to grow into: where they are limited, live buffers would use them up.
fn gets_room(key: u32) -> bool {
    policy::is_growing(key) && !os::limits::addresses_are_limited()
}

/// What the program wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// How many bytes.
    pub(crate) bytes: usize,
    /// A multiple of this, a power of two and at least 16.
    pub(crate) align: usize,
    /// The content must be zero.
    pub(crate) zero: bool,
    /// Who asks: a return address.
    pub(crate) site: usize,
    /// A realloc that grows: room behind the block will be welcome.
    pub(crate) growing: bool,
}

/// No request above this can be served, whatever is given back first, and sums of sizes below it do not overflow.
const BYTES_MAX: usize = 1 << 46;

impl Request {
    /// Whether it cannot be served on any system.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.bytes > BYTES_MAX || self.align > BYTES_MAX
    }
}

/// What became of a block that should be resized.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resize {
    /// It has the new size.
    InPlace,
    /// It is here now, content and all; the old pointer is dead.
    Moved(NonNull<u8>),
    /// It is as it was: take a new block, copy, give this one.
    CannotInPlace,
}

/// A block. `None`: out of memory.
#[inline]
pub(crate) fn take(front: Option<&Front>, request: Request) -> Option<NonNull<u8>> {
    if request.is_hopeless() {
        return None;
    }
    let Request {
        bytes,
        align,
        zero,
        site,
        growing,
    } = request;
    debug_assert!(align.is_power_of_two());
    let key = policy::key(if knobs::SITES.get() { site } else { 0 }, growing);
    let need = align_up(bytes.max(1), PAGE);
    if let Some(front) = front
        && front::enabled()
        && let Some(p) = front.take(need, align, key, zero)
    {
        if front.is_due() {
            look_while_served(front);
        }
        return Some(p);
    }
    take_shared(need, align, key, zero, site)
}

#[cold]
#[inline(never)]
fn take_shared(
    need: usize,
    align: usize,
    key: u32,
    zero: bool,
    site: usize,
) -> Option<NonNull<u8>> {
    book::note(key, site, need);
    pool::set_other(&KEEPER);
    let Some(window) = policy::run_fits(need, align, gets_room(key)) else {
        return direct::take(need, align, key, zero);
    };
    let pages = need / PAGE;
    let align = (align / PAGE).max(1);
    runs::take(pages, align, window, key, zero).or_else(|| {
        trim();
        runs::take(pages, align, pages, key, zero)
    })
}

/// Takes a block back. `Err`, and nothing done, if there is none at `p`.
///
/// # Safety
/// `entry` is what the slab map says of `p`. If a live block starts at `p`, nobody uses it any more.
#[inline]
pub(crate) unsafe fn give(
    front: Option<&Front>,
    p: NonNull<u8>,
    entry: Entry,
) -> Result<(), Misuse> {
    // SAFETY: the caller's.
    let block = lent::returned(unsafe { Block::at(p, entry) }?);
    if let Some(front) = front
        && front::enabled()
    {
        if front.give(p, block) {
            return Ok(());
        }
        front.relent(block);
    }
    // SAFETY: the block is live, and the caller's.
    unsafe { give_shared(p, block) };
    Ok(())
}

#[cold]
#[inline(never)]
unsafe fn give_shared(p: NonNull<u8>, block: Block) {
    match block {
        // SAFETY: the caller's.
        Block::Run(cell, _) => unsafe { runs::give(p, cell) },
        Block::Mapping(n, record) => direct::give(n, record),
    }
    balance();
}

/// Gives kept memory back, oldest first, until the budget is met, and of what was earned what is too much or has waited
/// for too long.
fn balance() {
    // What leaves the fronts of threads that sleep may stay in the budget, if there is room.
    let_go(usize::MAX);
    pool::meet_budget();
}

/// What of the warm budget is kept here.
static KEEPER: Keeper = Keeper {
    oldest,
    give_oldest,
};

/// When the oldest of what is kept here was last added to, if there is any.
fn oldest() -> Option<u32> {
    match (runs::oldest(), shelf::oldest()) {
        (Some(run), Some(mapping)) if pool::is_before(mapping, run) => Some(mapping),
        (run, mapping) => run.or(mapping),
    }
}

/// Gives that back. False if there is none.
fn give_oldest() -> bool {
    let oldest = oldest();
    if oldest.is_some() && oldest == runs::oldest() {
        return runs::purge_oldest(now());
    }
    let mapping = shelf::evict_oldest();
    if let Some((n, record)) = mapping {
        direct::release(n, record);
    }
    mapping.is_some()
}

/// Gives earned memory back that is too much or has waited for too long, until that were `most` bytes or more.
fn let_go(most: usize) {
    if earned::sum() == earned::Sum::NONE {
        return;
    }
    let mut bytes = visit_fronts(now(), most);
    while bytes < most
        && let Some((n, record)) = shelf::evict_earned()
    {
        bytes += record.touched();
        direct::release(n, record);
    }
}

/// See [`set_each_front`].
// SAFETY: a type of function pointers.
static EACH_FRONT: Hook<EachFront> = unsafe { Hook::unset() };

/// Calls what it is given for the fronts of other threads than the calling one; if there are very many, for others each
/// time.
pub(crate) type EachFront = fn(&mut dyn FnMut(&Front));

/// Has `each` asked for fronts: `heap`, which layers above, knows them. It may be called by any thread.
pub(crate) fn set_each_front(each: EachFront) {
    EACH_FRONT.set(each);
}

/// If it is time: what sites have earned in threads that sleep goes to the shared stores, and from there, if nobody
/// wants it, to the system; until that were `most` bytes or more. Returns the bytes.
fn visit_fronts(now: u32, most: usize) -> usize {
    const VISIT_MS: u32 = LONGEST_PATIENCE_MS / 2;
    static VISITED: AtomicU32 = AtomicU32::new(0);
    let visited = VISITED.load(Relaxed);
    let Some(each) = EACH_FRONT.get() else {
        return 0;
    };
    if learn::since(now, visited) < VISIT_MS
        || VISITED
            .compare_exchange(visited, now, Relaxed, Relaxed)
            .is_err()
    {
        return 0;
    }
    // In the child of a fork, what vanished threads have is not visited.
    drop(sync::inside());
    let generation = earned::generation();
    let mut bytes = 0;
    each(&mut |front| {
        if bytes < most {
            bytes += front.visit(now, generation);
        }
    });
    if bytes >= most {
        // The next one goes on.
        VISITED.store(visited, Relaxed);
    }
    bytes
}

/// Once in a while, for a thread that does not free large blocks: what its sites have earned and do not want any more
/// goes back, so much at a time that a small request can wait for it; and what runs have.
pub(crate) fn look_for_idle(front: &Front) {
    const AT_ONCE: usize = 16 << 20;
    let now = now();
    front.age(now);
    runs::lapse(now);
    let_go(AT_ONCE);
    // It may be less by now.
    pool::meet_budget();
}

/// A thread whose large blocks all come from its front calls nothing else here: what it has kept of a time before would
/// stay.
#[cold]
#[inline(never)]
fn look_while_served(front: &Front) {
    // The clock is coarse.
    if !front.has_aged(now()) {
        warm::look();
        look_for_idle(front);
    }
}

/// Bytes of the block at `p` that the program may use.
///
/// # Safety
/// `entry` is what the slab map says of `p`.
pub(crate) unsafe fn usable(p: NonNull<u8>, entry: Entry) -> Result<usize, Misuse> {
    // SAFETY: the caller's.
    Ok(match unsafe { Block::at(p, entry) }? {
        Block::Run(_, word) => word.bytes(),
        Block::Mapping(_, record) => record.used(),
    })
}

/// Gives the block at `p` another size, if that can be done without copying.
///
/// # Safety
/// As for [`give`]; the caller uses at most `bytes` bytes of it afterwards, where it is then.
pub(crate) unsafe fn resize(
    _front: Option<&Front>,
    p: NonNull<u8>,
    entry: Entry,
    bytes: usize,
    _site: usize,
) -> Resize {
    // SAFETY: the caller's.
    let Ok(block) = (unsafe { Block::at(p, entry) }) else {
        return Resize::CannotInPlace;
    };
    let used = match block {
        Block::Run(_, word) => word.bytes(),
        Block::Mapping(_, record) => record.used(),
    };
    if bytes > isize::MAX as usize || policy::too_small(bytes, used) {
        return Resize::CannotInPlace;
    }
    match block {
        Block::Run(cell, word) => {
            let need = align_up(bytes.max(1), PAGE) / PAGE;
            // SAFETY: the run is live, and the caller's.
            if need == word.used() || unsafe { runs::resize(p, cell, word, need) } {
                if need < word.used() {
                    pool::meet_budget();
                }
                Resize::InPlace
            } else {
                Resize::CannotInPlace
            }
        }
        Block::Mapping(n, record) => match direct::resize(n, record, bytes.max(1)) {
            direct::Resized::InPlace => Resize::InPlace,
            direct::Resized::Moved(p) => Resize::Moved(p),
            direct::Resized::No => Resize::CannotInPlace,
        },
    }
}

/// The thread ends: its blocks go to the shared stores, its counts to the sums.
pub(crate) fn retire(front: &Front) {
    front.retire();
    balance();
}

/// Gives everything that is kept back, except for what lies in fronts: the program wants it, or has no other memory. Nobody
/// learns from what is missed then.
pub(crate) fn trim() {
    runs::trim();
    while let Some((n, record)) = shelf::take_any() {
        direct::release(n, record);
    }
    direct::release_ranges(usize::MAX);
}

/// Free bytes of mappings and of runs that were earned, which do not stand in the warm budget.
pub(crate) fn earned_bytes() -> usize {
    earned::sum().all + runs::EARNED.load(Relaxed)
}

/// What is known of a call site: who it is, what it took, and what was learned of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownSite {
    /// The address behind the call, or what the caller named itself by; 0: all who are not told apart.
    pub(crate) address: usize,
    /// Blocks above 32 KiB that it took and that were not at hand in its thread.
    pub(crate) takes: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// The largest.
    pub(crate) largest: usize,
    /// They are buffers that realloc grows.
    pub(crate) growing: bool,
    /// Blocks that may stay although the warm budget is spent.
    pub(crate) credit: u8,
    /// How densely it touches them.
    pub(crate) density: Density,
}

/// Calls `f` for each site that took a large block. Returns how many there are.
pub(crate) fn each_site(mut f: impl FnMut(KnownSite)) -> usize {
    book::each(|key, address, takes, bytes, largest| {
        let (credit, density) = shelf::known(key);
        f(KnownSite {
            address,
            takes,
            bytes,
            largest,
            growing: policy::is_growing(key),
            credit,
            density,
        });
    });
    book::len()
}

/// The address of the site `key`, if it is written down.
pub(crate) fn site_address(key: u32) -> Option<usize> {
    book::address(key)
}

/// The key of the site at `address`, of its blocks that grow or of the others.
pub(crate) fn site_key(address: usize, growing: bool) -> u32 {
    policy::key(address, growing)
}

/// Whether the blocks of the site `key` grow.
pub(crate) fn site_grows(key: u32) -> bool {
    policy::is_growing(key)
}

/// Sums for reports. What lies in the fronts of live threads counts as live here; their own
/// [`Front::counts`] say how much that is.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    /// Page runs that are out.
    pub(crate) run_blocks: usize,
    /// Their bytes.
    pub(crate) run_bytes: usize,
    /// Mappings that are out.
    pub(crate) large_blocks: usize,
    /// Their bytes.
    pub(crate) large_bytes: usize,
    /// Hits, misses and evictions of the fronts of threads that have ended.
    pub(crate) front: [u64; 3],
    /// Hits, misses and evictions of BigCache.
    pub(crate) big: [u64; 3],
    /// Hits, misses and evictions of the Whale cache.
    pub(crate) whale: [u64; 3],
    /// Blocks that the caches keep.
    pub(crate) kept_blocks: usize,
    /// Bytes that they keep resident.
    pub(crate) kept_bytes: usize,
    /// Bytes of free pages in SuperSlabs of runs that are resident.
    pub(crate) warm_run_bytes: usize,
    /// Bytes that sites have earned beyond the warm budget, of all of these.
    pub(crate) earned_bytes: usize,
    /// Bytes that all fronts keep without having earned them.
    pub(crate) front_bytes: usize,
    /// Bytes of runs that went back to the system.
    pub(crate) purged_run_bytes: u64,
}

/// See [`Counts`].
pub(crate) fn counts() -> Counts {
    let count = |n: isize| n.max(0) as usize;
    let (big, whale, kept_blocks, kept_bytes) = shelf::counts();
    Counts {
        run_blocks: count(runs::BLOCKS.load(Relaxed)),
        run_bytes: count(runs::BYTES.load(Relaxed)),
        large_blocks: count(direct::BLOCKS.load(Relaxed)),
        large_bytes: count(direct::BYTES.load(Relaxed)),
        front: front::gone(),
        big,
        whale,
        kept_blocks,
        kept_bytes,
        warm_run_bytes: runs::warm_bytes(),
        earned_bytes: earned_bytes(),
        front_bytes: warm::FRONTS.load(Relaxed),
        purged_run_bytes: runs::PURGED.load(Relaxed),
    }
}

/// In the child of a fork: frees the locks of vanished threads, and abandons what they were changing.
/// Blocks stay valid. `front` is the calling thread's, if it has one: what the others keep is not
/// reached any more and does not count. Returns the bytes that are kept in the warm budget.
///
/// # Safety
/// As for [`crate::sync::Lock::recover`].
pub(crate) unsafe fn after_fork(front: Option<&Front>) -> usize {
    book::after_fork();
    lent::after_fork();
    let (kept, earned) = front.map_or((0, earned::Sum::NONE), Front::totals);
    // SAFETY: the caller's.
    let (runs, (mappings, earned_mappings)) = unsafe { (runs::after_fork(), shelf::after_fork()) };
    warm::FRONTS.store(kept, Relaxed);
    earned::after_fork(earned.and(earned_mappings));
    runs + mappings + kept
}

/// Checks the sums if `front` is the only one there is; returns the bytes in the warm budget.
pub(crate) fn check_accounts(front: &Front) -> Result<usize, &'static str> {
    let (kept, earned) = front.totals();
    let (mappings, earned_mappings) = shelf::totals();
    if warm::FRONTS.load(Relaxed) != kept {
        return Err("what fronts keep is not what this one keeps");
    }
    if earned::sum() != earned.and(earned_mappings) {
        return Err("what is earned is not what is kept for it");
    }
    Ok(runs::charged() + mappings + kept)
}

/// Walks all structures. No other thread may use large blocks meanwhile.
pub(crate) fn check() -> Result<(), &'static str> {
    runs::check()?;
    shelf::check()
}

const _: () = assert!(SMALL_MAX < policy::RUN_MAX);
