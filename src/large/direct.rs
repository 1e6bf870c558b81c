//! Mappings: blocks that have a range of addresses of their own.
//!
//! Ranges start at a multiple of 64 KiB and are a multiple of it long, and each is mapped right
//! below the one before where that is free, so that the kernel sees one area and a million of them cost few
//! of the mappings that it allows. Only the first slot of a block stands in the slab map, so
//! making one is O(1) at any size. A block may have more address space than it uses: a buffer
//! that grows gets room, and its next steps are free.
//!
//! Callers: `front` and the entry points in `mod`. What a block costs is decided in `policy`; what
//! happens under the lock is in `shelf`.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};

use super::policy;
use super::records::{self, Record, State, flag};
use super::shelf;
use super::{Misuse, lent};
use crate::base::{PAGE, SLOT, SUPERSLAB, align_up};
use crate::learn::{self, site::Density};
use crate::os::{self, limits};
use crate::space::map::{self, Entry};
use crate::space::warm;

/// Blocks that the program or a front holds; and the bytes that they may use.
pub(super) static BLOCKS: AtomicIsize = AtomicIsize::new(0);
/// See [`BLOCKS`].
pub(super) static BYTES: AtomicIsize = AtomicIsize::new(0);
/// Where the range mapped last begins: the next one ends here if it can. A hint, and racy.
static CURSOR: AtomicUsize = AtomicUsize::new(0);

fn used(bytes: isize) {
    if bytes != 0 {
        BYTES.fetch_add(bytes, Relaxed);
        warm::used(bytes);
    }
}

/// The record of the live block that starts at `p`.
#[inline]
pub(super) fn live(p: NonNull<u8>, n: u32) -> Result<&'static Record, Misuse> {
    let record = records::get(n).ok_or(Misuse::NotABlock)?;
    match record.state() {
        _ if record.address() != p.as_ptr() as usize => Err(Misuse::NotABlock),
        State::Live => Ok(record),
        _ => Err(Misuse::DoubleFree),
    }
}

/// Makes `need` bytes of a block that is kept the program's.
#[inline]
pub(super) fn reuse(record: &Record, need: usize) {
    let before = record.used();
    if before != need {
        used(need as isize - before as isize);
        record.set_used(need);
        record.set_touched(record.touched().max(need));
    }
    record.set_state(State::Live);
}

/// Clears the first `need` bytes of a block that may have content up to `touched`.
unsafe fn clear(record: &Record, need: usize) {
    let at = record.address() as *mut u8;
    // SAFETY: the block is the caller's, and maps at least `need` bytes.
    unsafe { at.write_bytes(0, need.min(record.touched())) };
}

fn pointer(address: usize) -> Option<NonNull<u8>> {
    NonNull::new(address as *mut u8)
}

/// Maps `bytes`, just below the range mapped last if that is free; `huge`: it shall have huge pages.
fn map_range(bytes: usize, align: usize, huge: bool) -> Option<NonNull<u8>> {
    let cursor = CURSOR.load(Relaxed);
    let hint = cursor.saturating_sub(bytes) & !(align - 1);
    let p = if huge {
        os::map_aligned_raw(hint, bytes, align)
    } else {
        os::map_aligned(hint, bytes, align)
    }?;
    CURSOR.store(p.as_ptr() as usize, Relaxed);
    Some(p)
}

/// A block of `bytes` at a multiple of `align` for the site `key`. `None`: out of memory.
pub(super) fn take(bytes: usize, align: usize, key: u32, zero: bool) -> Option<NonNull<u8>> {
    let need = align_up(bytes, PAGE);
    let wish = if super::gets_room(key) {
        policy::room(need)
    } else {
        need
    };
    let mut mapped = policy::mapped(wish);
    let align = align.max(SLOT);
    let zeroed = if zero { flag::ZEROED } else { 0 };
    match shelf::take(need, mapped, align, key, zero)? {
        Found::Kept(n) => {
            let record = records::get(n)?;
            if zero {
                // SAFETY: the block has just become ours.
                unsafe { clear(record, need) };
            }
            used(need as isize - record.used() as isize);
            record.set_used(need);
            record.set_touched(record.touched().max(need));
            if policy::is_growing(key) {
                lent::mapping(record);
            }
            record.set_state(State::Live);
            BLOCKS.fetch_add(1, Relaxed);
            pointer(record.address())
        }
        Found::Range(n) => {
            let record = records::get(n)?;
            if zero {
                // SAFETY: the range has just become ours.
                unsafe { clear(record, need) };
            }
            let touched = record.touched();
            let p = publish(
                n,
                record,
                record.address(),
                record.mapped(),
                need,
                key,
                zeroed,
            );
            match p {
                Some(_) => record.set_touched(touched.max(need)),
                None => shelf::keep_range(n, record),
            }
            p
        }
        Found::Number {
            n,
            mut huge,
            asks,
            mut unproven,
            populate,
            crowded,
        } => {
            let mut at = align;
            if huge != 0 {
                mapped = policy::huge_mapped(mapped);
                at = align.max(SUPERSLAB);
            }
            if crowded && at > SLOT {
                // Gaps between ranges would keep the kernel from joining them.
                mapped = align_up(mapped, at);
            }
            let start = map_range(mapped, at, huge != 0).or_else(|| {
                // Less may do: no room to grow, and no huge pages, to whose beginning it may be too far.
                mapped = policy::mapped(need);
                huge = 0;
                map_range(mapped, align, false).or_else(|| {
                    super::trim();
                    map_range(mapped, align, false)
                })
            });
            if huge == 0 {
                shelf::is_proven(core::mem::take(&mut unproven));
            }
            let Some(start) = start else {
                shelf::forget(n, unproven);
                return None;
            };
            let record = records::get(n)?;
            if huge != 0 && asks {
                os::huge_pages(start, mapped);
                // One whose site is not known to be dense may never be touched.
                if huge & flag::UNPROVEN == 0 {
                    // SAFETY: just mapped, and nobody else knows of it.
                    unsafe { learn::monitor::time_huge_fault(start.as_ptr()) };
                }
            } else if populate {
                os::populate(start, need);
            }
            let populated = if populate { flag::POPULATED } else { 0 };
            let p = publish(
                n,
                record,
                start.as_ptr() as usize,
                mapped,
                need,
                key,
                huge | zeroed | populated,
            );
            if p.is_some() {
                record.set_charge(unproven);
            } else {
                // SAFETY: just mapped, and nobody else knows of it.
                unsafe { os::discard(start, mapped) };
                shelf::forget(n, unproven);
            }
            p
        }
    }
}

/// What [`shelf::take`] found.
pub(super) enum Found {
    /// A kept block; its content is of before.
    Kept(u32),
    /// Kept addresses, of the mapped size asked for.
    Range(u32),
    /// Only a number: the caller has to map.
    Number {
        /// The number of the record.
        n: u32,
        /// Bits of [`flag`] if it shall have huge pages, or 0.
        huge: u32,
        /// Whether they have to be asked for.
        asks: bool,
        /// Bytes that count as unproven for it.
        unproven: usize,
        /// Make it resident at once.
        populate: bool,
        /// There are very many ranges.
        crowded: bool,
    },
}

/// Makes a range a live block.
fn publish(
    n: u32,
    record: &Record,
    address: usize,
    mapped: usize,
    need: usize,
    key: u32,
    flags: u32,
) -> Option<NonNull<u8>> {
    let p = pointer(address)?;
    if !map::set(p, 1, Entry::large(n)) {
        return None;
    }
    record.describe(address, mapped, need, key, flags);
    record.set_state(State::Live);
    BLOCKS.fetch_add(1, Relaxed);
    used(need as isize);
    Some(p)
}

/// Takes a block back, into a cache or for the system. The caller sees to the warm budget.
pub(super) fn give(n: u32, record: &Record) {
    BLOCKS.fetch_sub(1, Relaxed);
    used(-(record.used() as isize));
    record.set_state(State::Leaving);
    let looked = shelf::wants_look(record).then(|| look(record));
    record.put(flag::FILLED, policy::filled(record.mapped(), record.used()));
    let used = record.used();
    record.set_used(0);
    if !shelf::give(n, record, looked, used) {
        release(n, record);
    }
}

/// Looks at some pages of a freed block: whether the program touched all of it.
fn look(record: &Record) -> Density {
    const LOOKS: usize = 16;
    let pages = record.used() / PAGE;
    let mut touched = 0;
    for i in 0..LOOKS {
        let at = record.address() + (i * 2 + 1) * pages / (LOOKS * 2) * PAGE;
        if record.has(flag::HUGE | flag::POPULATED) {
            // It is resident as a whole; what was never written is zero. (So is that to which zeros were written:
            // `Shelf::looked` doubts it.)
            // SAFETY: the page is in the block, which is nobody's but ours now.
            let words = unsafe { &*(at as *const [u64; PAGE / 8]) };
            touched += words.iter().any(|word| *word != 0) as usize;
        } else {
            let mut out = [0u8; 1];
            let resident = pointer(at).is_some_and(|p| os::resident(p, &mut out));
            touched += (resident && out[0] & 1 != 0) as usize;
        }
    }
    if touched >= LOOKS - LOOKS / 4 {
        Density::Dense
    } else {
        Density::Sparse
    }
}

/// Gives a range that is ours alone back to the system, or purges and keeps it.
pub(super) fn release(n: u32, record: &Record) {
    let (address, mapped) = (record.address(), record.mapped());
    let Some(start) = pointer(address) else {
        return;
    };
    // The entry goes first: as soon as the range is unmapped, another thread may map it anew.
    map::set(start, 1, Entry::FOREIGN);
    let huge = record.has(flag::HUGE);
    // SAFETY: nobody uses the block any more.
    if (huge || !shelf::crowded()) && learn::give_back(|| unsafe { os::unmap(start, mapped) }) {
        CURSOR.store(address + mapped, Relaxed);
        shelf::forget(n, 0);
    } else {
        if huge {
            // It may serve a site that is not dense.
            os::no_huge_pages(start, mapped);
        }
        // SAFETY: as above.
        let clean = learn::give_back(|| unsafe { os::purge(start, mapped) });
        record.set_touched(if clean { 0 } else { mapped });
        shelf::keep_range(n, record);
    }
    // Ranges kept while there were very many go as soon as there are not.
    release_ranges(4);
}

/// Gives kept ranges back, at most so many, unless there are very many. What the system refuses is kept.
pub(super) fn release_ranges(most: usize) {
    for _ in 0..most {
        let Some(n) = shelf::range_to_unmap() else {
            break;
        };
        let Some(record) = records::get(n) else { break };
        let Some(start) = pointer(record.address()) else {
            break;
        };
        // SAFETY: the range has been taken out of the list.
        if unsafe { os::unmap(start, record.mapped()) } {
            shelf::forget(n, 0);
        } else {
            shelf::keep_range(n, record);
            break;
        }
    }
}

/// What became of a request to resize.
pub(super) enum Resized {
    /// It has the new size where it is.
    InPlace,
    /// It is elsewhere, content and all.
    Moved(NonNull<u8>),
    /// It is as it was.
    No,
}

/// Resizes the live block of `record`, which the caller has.
pub(super) fn resize(n: u32, record: &Record, bytes: usize) -> Resized {
    if bytes > super::BYTES_MAX {
        return Resized::No;
    }
    let need = align_up(bytes, PAGE);
    let (address, mapped, before) = (record.address(), record.mapped(), record.used());
    let Some(start) = pointer(address) else {
        return Resized::No;
    };
    if need <= mapped {
        if need < before && record.touched() - need >= RELEASE_MIN {
            cut(record, start, need);
        }
        record.set_used(need);
        record.set_touched(record.touched().max(need));
        lent::resized_mapping(record);
        used(need as isize - before as isize);
        no_more_small_pages(record);
        return Resized::InPlace;
    }
    let grown = |to: usize| {
        record.set_mapped(to);
        record.set_used(need);
        record.set_touched(record.touched().max(need));
        lent::resized_mapping(record);
        used(need as isize - before as isize);
        no_more_small_pages(record);
    };
    let exact = policy::mapped(need);
    let wish = if limits::addresses_are_limited() {
        exact
    } else {
        policy::mapped(policy::room(need))
    };
    // SAFETY: the block is the caller's.
    if unsafe { os::resize_in_place(start, mapped, exact) } {
        grown(exact);
        return Resized::InPlace;
    }
    if shelf::crowded() {
        // Moving would leave a hole.
        return Resized::No;
    }
    let align = if need >= SUPERSLAB { SUPERSLAB } else { SLOT };
    for (to, align) in [(wish, align), (exact, align), (exact, SLOT)] {
        // Usable memory, not a reservation: a system that counts promises refuses here, where
        // nothing has happened yet.
        let Some(target) = os::map_aligned_raw(0, to, align) else {
            continue;
        };
        // With an entry of any kind the map has room for one: the one below cannot fail.
        if !map::set(target, 1, Entry::FOREIGN) {
            // SAFETY: the mapping is ours, and unused.
            unsafe { os::discard(target, to) };
            continue;
        }
        // A child that is forked meanwhile by another thread finds the block nowhere.
        record.set_state(State::Leaving);
        // The old entry goes first: as soon as the range is empty, another thread may map it anew.
        map::set(start, 1, Entry::FOREIGN);
        // SAFETY: the block is the caller's, who is told where it went; the target is ours.
        if unsafe { os::move_to(start, mapped, target, to) } {
            record.set_address(target.as_ptr() as usize);
            map::set(target, 1, Entry::large(n));
            CURSOR.store(address + mapped, Relaxed);
            grown(to);
            record.set_state(State::Live);
            return Resized::Moved(target);
        }
        map::set(start, 1, Entry::large(n));
        record.set_state(State::Live);
        break;
    }
    Resized::No
}

/// Has a block that has grown far take huge pages from now on, where the system would have given them to it from its
/// beginning.
fn no_more_small_pages(record: &Record) {
    if let Some(start) = pointer(record.address())
        && shelf::comes_under_the_system(record)
    {
        os::huge_pages(start, record.mapped());
    }
}

/// Less than this at the end of a block that shrinks is not worth a system call.
const RELEASE_MIN: usize = 256 << 10;

/// Gives the pages behind the first `need` bytes back, and the addresses if they can be.
fn cut(record: &Record, start: NonNull<u8>, need: usize) {
    let mapped = record.mapped();
    let keep = policy::mapped(need);
    let growing = policy::is_growing(record.key());
    // SAFETY: both ranges are in the block, behind what the program still uses.
    unsafe {
        if (!growing || limits::addresses_are_limited())
            && keep < mapped
            && !shelf::crowded()
            && os::unmap(start.add(keep), mapped - keep)
        {
            record.set_mapped(keep);
            record.set_touched(record.touched().min(keep));
        } else if os::purge(start.add(need), align_up(record.touched(), PAGE) - need) {
            record.set_touched(need);
        }
    }
}
