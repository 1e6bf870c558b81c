//! Slabs whose thread is gone, by class, until another heap adopts them or their last block comes
//! back. In the child of a fork those of vanished threads join them when somebody frees into them.

use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, SeqCst},
};

use super::{Heap, birth, flush::RUN_MIN, refill::report, tls};
use crate::base::{Class, N_CLASSES, PAGE, knobs};
use crate::slab::{
    self, Found, Slab, State,
    remote::{self, ORPHAN},
};
use crate::space::map::{self, Entry, Kind};
use crate::space::{
    pool,
    warm::{self, SLACK},
};
use crate::sync::primitive::{AtomicU32, AtomicU64, ShortGuard, ShortLock, fence};

/// Orphans of a class. While nobody holds the lock, the slabs in the list are those that the slab map
/// calls orphans, and those in state `Orphan`. Those that may have something to give come first.
pub(super) struct List {
    first: *mut Slab,
    last: *mut Slab,
}
// SAFETY: orphans belong to whoever holds the list's lock.
unsafe impl Send for List {}

const NEW: List = List {
    first: null_mut(),
    last: null_mut(),
};

static LISTS: [ShortLock<List>; N_CLASSES] = [const { ShortLock::new(NEW) }; N_CLASSES];
/// Lengths of the lists: so that nobody takes a lock for nothing.
static LENGTHS: [AtomicU32; N_CLASSES] = [const { AtomicU32::new(0) }; N_CLASSES];
/// Bytes of free blocks in the slabs of each list that may be resident, but for what others have freed since somebody
/// looked. Written under the list's lock.
static DIRTY: [AtomicUsize; N_CLASSES] = [const { AtomicUsize::new(0) }; N_CLASSES];
/// Orphans without anything to give that one adoption passes over, at most.
const LOOKS: usize = 8;

impl List {
    /// Adds a slab, at the end if it has nothing to give.
    unsafe fn push(&mut self, slab: *mut Slab) {
        // SAFETY: the lock is held.
        unsafe {
            (*slab).state = State::Orphan;
            count_dirty(slab, 0, slab::dirty_bytes(slab));
            let first = has_gains(slab);
            (*slab).prev = if first { null_mut() } else { self.last };
            (*slab).next = if first { self.first } else { null_mut() };
            let (prev, next) = ((*slab).prev, (*slab).next);
            self.join(prev, slab);
            self.join(slab, next);
        }
    }

    unsafe fn unlink(&mut self, slab: *mut Slab) {
        // SAFETY: the lock is held, and the slab is in the list.
        unsafe {
            (*slab).state = State::Partial;
            count_dirty(slab, slab::dirty_bytes(slab), 0);
            self.join((*slab).prev, (*slab).next);
        }
    }

    /// Takes a slab out and makes the heap numbered `owner` its owner.
    unsafe fn hand_over(&mut self, slab: *mut Slab, class: Class, owner: u32) {
        // SAFETY: the lock is held, and the slab is in the list.
        unsafe {
            self.unlink(slab);
            name(slab, class, Entry::slab(owner, class));
        }
        LENGTHS[class.number()].fetch_sub(1, Relaxed);
    }

    /// Makes `next` follow `prev`; null stands for the end of the list.
    unsafe fn join(&mut self, prev: *mut Slab, next: *mut Slab) {
        // SAFETY: the lock is held.
        unsafe {
            if prev.is_null() {
                self.first = next;
            } else {
                (*prev).next = next;
            }
            if next.is_null() {
                self.last = prev;
            } else {
                (*next).prev = prev;
            }
        }
    }
}

/// An orphan that counted for `before` bytes in [`DIRTY`] counts for `now`.
unsafe fn count_dirty(slab: *mut Slab, before: usize, now: usize) {
    // SAFETY: the list's lock is held, and the class of a slab is one.
    let sum = unsafe { &DIRTY[(*slab).class as usize] };
    sum.store(sum.load(Relaxed) + now - before, Relaxed);
}

/// Whether free memory in orphans matters, and is more than what may stay beside what is free elsewhere.
fn is_too_much() -> bool {
    let dirty: usize = DIRTY.iter().map(|sum| sum.load(Relaxed)).sum();
    dirty > SLACK && warm::counted() + dirty > warm::budget() + SLACK
}

/// Whether an orphan has a free block, or will have when what others freed is taken back.
unsafe fn has_gains(slab: *mut Slab) -> bool {
    // SAFETY: the list's lock is held.
    unsafe {
        slab::has_free(slab)
            || (Slab::notice(slab).orphan_live.load(Relaxed) as i32)
                < ((*slab).watermark - (*slab).free) as i32
    }
}

/// Takes back what others have freed into an orphan. True if nothing is in use any more; otherwise
/// `orphan_live` says how much is, or less.
///
/// It must not be too high, or the last free would not look. Whoever frees sets the bit first and then
/// takes one off: so what is off before the look is found by it, and what comes off after it, found or
/// not, comes off what is added here. But who took one off in between has seen a number that meant
/// nothing yet; if that was the last one, it is looked for here.
///
/// A misuse that it finds is to be reported when the lock is given back: the program's handler may allocate.
unsafe fn is_empty(slab: *mut Slab) -> Result<bool, Found> {
    let live = &Slab::notice(slab).orphan_live;
    loop {
        // ORDERING: Acquire pairs with the Release in `remote::deliver`.
        let known = live.load(Acquire);
        // SAFETY: the list's lock is held, and the map says that the slab is an orphan.
        let used = unsafe {
            slab::drain(slab)?;
            (*slab).watermark - (*slab).free
        };
        if used == 0 {
            return Ok(true);
        }
        let more = used.wrapping_sub(known);
        if live.fetch_add(more, Relaxed).wrapping_add(more) as i32 > 0 {
            return Ok(false);
        }
    }
}

/// Makes a slab an orphan, or gives it back if it is empty.
///
/// # Safety
/// The calling thread owns it, and it is in no list.
pub(super) unsafe fn abandon(slab: *mut Slab, class: Class) {
    // SAFETY: the caller's.
    unsafe { add(LISTS[class.number()].lock(), slab, class) };
}

/// Makes a slab an orphan, or gives it back if it is empty.
///
/// # Safety
/// Nobody else uses it without the lock of its class's list, which is `list`, and it is in no list that anybody looks at.
unsafe fn add(mut list: ShortGuard<'_, List>, slab: *mut Slab, class: Class) {
    // SAFETY: the caller's. Under the lock, so that `look_at` finds it in the list or not an orphan.
    unsafe {
        name(slab, class, Entry::slab(ORPHAN, class));
        // ORDERING: the second rule in `slab::remote`: the map says orphan before the last look.
        fence(SeqCst);
        match is_empty(slab) {
            Ok(false) => {
                LENGTHS[class.number()].fetch_add(1, Relaxed);
                list.push(slab);
            }
            Ok(true) => {
                name(slab, class, Entry::FOREIGN);
                drop(list);
                slab::release(slab);
            }
            Err(found) => {
                drop(list);
                report(found);
            }
        }
    }
}

/// Sends the blocks of `mask` in `word`, a remote word of another heap's slab, on their way, and sees to the slab if that has
/// no thread.
///
/// # Safety
/// As for [`remote::deliver`]; the delivery is counted.
pub(super) unsafe fn deliver(slab: *mut Slab, word: *const AtomicU64, mask: u64) {
    let of_stray = || birth::has_strays() && birth::is_stray(map::lookup(Slab::base(slab)).owner());
    let was_of_stray = of_stray();
    // SAFETY: the caller's.
    match unsafe { remote::deliver(slab, word, mask) } {
        // By now it may be anybody's, or a signal handler may have forked.
        Ok(_) if was_of_stray || of_stray() => orphan(slab),
        Ok(true) => look_at(slab),
        Ok(false) => {}
        Err(found) => report(found),
    }
}

/// In the child of a fork: makes the slab, into which the calling thread has just freed, an orphan if it is a vanished
/// thread's. That one may have been doing anything with it: a block that it was taking or taking back may be in use for
/// ever, and the counts may be wrong. A block in use has no bit in its bitmaps.
fn orphan(slab: *mut Slab) {
    let entry = map::lookup(Slab::base(slab));
    if let Kind::Slab(class) = entry.kind()
        && birth::is_stray(entry.owner())
        && Slab::around(Slab::base(slab), class.info()) == slab
    {
        let list = LISTS[class.number()].lock();
        // No slab is named by a vanished heap that was not before: so this is the slab that it was. Again, for this may have
        // waited for the thread that forked to say which heap is its own.
        if map::lookup(Slab::base(slab)) == entry && birth::is_stray(entry.owner()) {
            // SAFETY: the caller's delivery is still counted, so the header stays. Its owner is gone, and who else inherits
            // it does so under the lock.
            unsafe {
                slab::recount(slab);
                add(list, slab, class);
            }
            return;
        }
    }
    // Another thread did that, and may not have seen what this one freed.
    look_at(slab);
}

/// Takes an orphan that has something to give for the heap numbered `owner`, which must look at its
/// remote words after this.
pub(super) fn adopt(class: Class, owner: u32) -> Option<*mut Slab> {
    let number = class.number();
    if LENGTHS[number].load(Relaxed) == 0 {
        return None;
    }
    let mut list = LISTS[number].lock();
    for _ in 0..LOOKS {
        let slab = list.first;
        if slab.is_null() {
            break;
        }
        // SAFETY: the lock is held; the map entries change under it, so that `look_at` sees them
        // right.
        unsafe {
            if has_gains(slab) {
                list.hand_over(slab, class, owner);
                return Some(slab);
            }
            list.unlink(slab);
            list.push(slab);
        }
    }
    None
}

/// Looks whether an orphan is empty, and gives it back then; otherwise the pages of which every block is free, if more is
/// free than may stay and the calling thread has a heap. Any thread may call this with any slab that it has just freed into.
pub(super) fn look_at(slab: *mut Slab) {
    let orphan = map::lookup(Slab::base(slab));
    let Kind::Slab(class) = orphan.kind() else {
        return;
    };
    // It may have gone back since, and its slot may be the second or a later one of a longer slab: then the entry
    // is that slab's, and this header nobody's.
    if orphan.owner() != ORPHAN || Slab::around(Slab::base(slab), class.info()) != slab {
        return;
    }
    let heap = tls::heap();
    let mut list = LISTS[class.number()].lock();
    // SAFETY: the caller's delivery is still counted, so the header stays. If the slab is an orphan, the holder of the lock owns it.
    unsafe {
        if map::lookup(Slab::base(slab)) != orphan {
            return;
        }
        let before = slab::dirty_bytes(slab);
        let empty = is_empty(slab);
        count_dirty(slab, before, slab::dirty_bytes(slab));
        match empty {
            Ok(true) => {}
            Ok(false) => {
                let fresh = (*slab).freed as usize * class.size() >= PAGE;
                if fresh && knobs::HOLE_PURGE.get() && Heap::is_real(heap) && is_too_much() {
                    list.hand_over(slab, class, (*heap).id);
                    drop(list);
                    (*heap).had_orphan = true;
                    purge(slab, class, false);
                }
                return;
            }
            Err(found) => {
                drop(list);
                report(found);
            }
        }
        list.unlink(slab);
        LENGTHS[class.number()].fetch_sub(1, Relaxed);
        // Before the lock is given back: what the map calls an orphan, a child of a fork would list.
        name(slab, class, Entry::FOREIGN);
        drop(list);
        slab::release(slab);
    }
}

/// Gives back the pages of all orphans of which every block is free. Meanwhile they are `heap`'s.
pub(super) fn trim(heap: &Heap) {
    /// Orphans that are taken out of their list under its lock, at most.
    const AT_ONCE: usize = 64;
    for class in (1..N_CLASSES).filter_map(Class::from_number) {
        let number = class.number();
        let mut taken: *mut Slab = null_mut();
        while LENGTHS[number].load(Relaxed) != 0 {
            let mut list = LISTS[number].lock();
            for _ in 0..AT_ONCE {
                let slab = list.first;
                if slab.is_null() {
                    break;
                }
                // SAFETY: the lock is held. From here on the slab is ours, and in no list.
                unsafe {
                    list.hand_over(slab, class, heap.id);
                    (*slab).next = taken;
                }
                taken = slab;
            }
        }
        while !taken.is_null() {
            let slab = taken;
            // SAFETY: ours, and handed over.
            unsafe {
                taken = (*slab).next;
                purge(slab, class, true);
            }
        }
    }
}

/// Gives back the pages of an orphan of which every block is free, with `all` also single ones of many and those that no
/// block was taken from, and makes it an orphan again.
///
/// # Safety
/// It was handed over to a heap of the calling thread's, and is in no list.
unsafe fn purge(slab: *mut Slab, class: Class, all: bool) {
    // ORDERING: the second rule in `slab::remote`: the map names us before we look.
    fence(SeqCst);
    // SAFETY: the caller's.
    unsafe {
        if let Err(found) = slab::drain(slab) {
            report(found);
        }
        if knobs::HOLE_PURGE.get() {
            // Where most is free, what is left is in single pages.
            let mostly_free = (*slab).free > (*slab).watermark / 4 * 3;
            let least = if all || mostly_free { 1 } else { RUN_MIN };
            warm::used(-(slab::purge_orphan(slab, least) as isize));
            if all {
                slab::purge_beyond(slab);
            }
        }
        abandon(slab, class);
    }
}

/// Writes a slab's entry in the slab map, which has room for it.
unsafe fn name(slab: *mut Slab, class: Class, entry: Entry) {
    map::set(Slab::start(slab), 1 << class.info().order, entry);
}

/// In the child of a fork: links lists anew that a vanished thread was changing. Orphans keep links
/// into such a list, so it cannot just be forgotten.
///
/// # Safety
/// As for [`crate::sync::Lock::recover`].
pub(super) unsafe fn after_fork() {
    for number in 1..N_CLASSES {
        let Some(class) = Class::from_number(number) else {
            continue;
        };
        let relink = |list: &mut List| {
            *list = NEW;
            LENGTHS[number].store(0, Relaxed);
            DIRTY[number].store(0, Relaxed);
            // SAFETY: the caller's; the slabs that the map calls orphans are the list's.
            unsafe {
                pool::each_slab_alone(|slab| {
                    if map::lookup(Slab::base(slab)) == Entry::slab(ORPHAN, class)
                        && Slab::around(Slab::base(slab), class.info()) == slab
                    {
                        slab::recount(slab);
                        name(slab, class, Entry::slab(ORPHAN, class));
                        Slab::notice(slab).orphan_live.store(0, Relaxed);
                        LENGTHS[number].fetch_add(1, Relaxed);
                        list.push(slab);
                    }
                });
            }
        };
        // SAFETY: the caller's.
        unsafe { LISTS[number].recover(relink) };
    }
}

/// The list of a class, for models.
#[cfg(all(test, loom))]
pub(super) fn list(class: Class) -> &'static ShortLock<List> {
    &LISTS[class.number()]
}

/// How many orphans of a class there are, for models.
#[cfg(all(test, loom))]
pub(super) fn length(class: Class) -> u32 {
    LENGTHS[class.number()].load(Relaxed)
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;

    use super::*;
    use crate::heap::{current, free_remote};
    use crate::os::process::in_child;

    /// Whose delivery was the last one may come late: then it looks at what the slot is by now.
    #[test]
    fn a_slot_in_the_middle_of_an_orphan_is_none() {
        assert!(in_child(|| {
            let class = Class::of(20_000);
            // SAFETY: nobody else uses the thread's heap.
            let take =
                || unsafe { Heap::take(current().expect("a heap"), Class::of(20_000)) } as usize;
            let block = std::thread::spawn(take).join().unwrap();
            let slab = Slab::around(block, class.info());
            let is_orphan = |slab| map::lookup(Slab::base(slab)) == Entry::slab(ORPHAN, class);
            let all_are = || {
                // SAFETY: they lie in one SuperSlab's header.
                let slots = (0..1 << class.info().order).map(|slot| unsafe { slab.add(slot) });
                slots.filter(|slot| is_orphan(*slot)).count() == 1 << class.info().order
            };
            let mut good = all_are() && LENGTHS[class.number()].load(Relaxed) == 1;
            for slot in 1..1 << class.info().order {
                // SAFETY: as above.
                look_at(unsafe { slab.add(slot) });
                good &= all_are() && LENGTHS[class.number()].load(Relaxed) == 1;
            }
            // SAFETY: the block is ours, and of no heap.
            unsafe { free_remote(block as *mut u8, class) };
            good && !is_orphan(slab) && LENGTHS[class.number()].load(Relaxed) == 0
        }));
    }
}
