//! Slabs whose thread is gone, by class, until another heap adopts them or their last block comes
//! back.

use core::ptr::null_mut;
use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use super::refill::report;
use crate::base::{Class, N_CLASSES};
use crate::slab::{self, Slab, State, remote::ORPHAN};
use crate::space::map::{self, Entry, Kind};
use crate::sync::primitive::{AtomicU32, fence};
use crate::sync::{SpinLock, check_process};

/// Orphans of a class; the slabs in the list have state `Orphan` and no others have. Those that may
/// have something to give come first.
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

static LISTS: [SpinLock<List>; N_CLASSES] = [const { SpinLock::new(NEW) }; N_CLASSES];
/// Lengths of the lists: so that nobody takes a lock for nothing.
static LENGTHS: [AtomicU32; N_CLASSES] = [const { AtomicU32::new(0) }; N_CLASSES];
/// Orphans without anything to give that one adoption passes over, at most.
const LOOKS: usize = 8;

impl List {
    /// Adds a slab, at the end if it has nothing to give.
    unsafe fn push(&mut self, slab: *mut Slab) {
        // SAFETY: the lock is held.
        unsafe {
            (*slab).state = State::Orphan;
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
            self.join((*slab).prev, (*slab).next);
        }
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
unsafe fn is_empty(slab: *mut Slab) -> bool {
    let live = &Slab::notice(slab).orphan_live;
    loop {
        // ORDERING: Acquire pairs with the Release in `remote::deliver`.
        let known = live.load(Acquire);
        // SAFETY: the list's lock is held, and the map says that the slab is an orphan.
        let used = unsafe {
            if let Err(found) = slab::drain(slab) {
                report(found);
            }
            (*slab).watermark - (*slab).free
        };
        if used == 0 {
            return true;
        }
        let more = used.wrapping_sub(known);
        if live.fetch_add(more, Relaxed).wrapping_add(more) as i32 > 0 {
            return false;
        }
    }
}

/// Makes a slab an orphan, or gives it back if it is empty.
///
/// # Safety
/// The calling thread owns it, and it is in no list.
pub(super) unsafe fn abandon(slab: *mut Slab, class: Class) {
    let number = class.number();
    check_process();
    let mut list = LISTS[number].lock();
    // SAFETY: the caller's. Under the lock, so that `emptied` finds it in the list or not an orphan.
    unsafe {
        let orphan = Entry::slab(ORPHAN, class);
        map::set(Slab::start(slab), 1 << class.info().order, orphan);
        // ORDERING: the second rule in `slab::remote`: the map says orphan before the last look.
        fence(SeqCst);
        if is_empty(slab) {
            drop(list);
            slab::release(slab);
            return;
        }
        LENGTHS[number].fetch_add(1, Relaxed);
        list.push(slab);
    }
}

/// Takes an orphan that has something to give for the heap numbered `owner`, which must look at its
/// remote words after this.
pub(super) fn adopt(class: Class, owner: u32) -> Option<*mut Slab> {
    let number = class.number();
    if LENGTHS[number].load(Relaxed) == 0 {
        return None;
    }
    check_process();
    let mut list = LISTS[number].lock();
    for _ in 0..LOOKS {
        let slab = list.first;
        if slab.is_null() {
            break;
        }
        // SAFETY: the lock is held; the map entries change under it, so that `emptied` sees them
        // right.
        unsafe {
            list.unlink(slab);
            if has_gains(slab) {
                let mine = Entry::slab(owner, class);
                map::set(Slab::start(slab), 1 << class.info().order, mine);
                LENGTHS[number].fetch_sub(1, Relaxed);
                return Some(slab);
            }
            list.push(slab);
        }
    }
    None
}

/// Looks whether an orphan is empty, and gives it back then. Any thread may call this with any slab
/// that it has just freed into.
pub(super) fn emptied(slab: *mut Slab) {
    let orphan = map::lookup(Slab::base(slab));
    let Kind::Slab(class) = orphan.kind() else {
        return;
    };
    if orphan.owner() != ORPHAN {
        return;
    }
    check_process();
    let mut list = LISTS[class.number()].lock();
    // SAFETY: the caller's delivery is still counted, so the header stays. If the slab is an orphan, the holder of the lock owns it.
    unsafe {
        if map::lookup(Slab::base(slab)) != orphan
            || (&raw const (*slab).state).read_volatile() != State::Orphan
        {
            return;
        }
        if !is_empty(slab) {
            return;
        }
        list.unlink(slab);
        drop(list);
        LENGTHS[class.number()].fetch_sub(1, Relaxed);
        slab::release(slab);
    }
}

/// In the child of a fork: forgets lists that may be half-linked.
///
/// # Safety
/// No other thread exists.
pub(super) unsafe fn after_fork() {
    for (list, length) in LISTS.iter().zip(&LENGTHS) {
        if list.is_locked() {
            // SAFETY: the holder does not exist any more.
            unsafe { list.force_unlock() };
            *list.lock() = NEW;
            length.store(0, Relaxed);
        }
    }
}

/// The list of a class, for models.
#[cfg(all(test, loom))]
pub(super) fn list(class: Class) -> &'static SpinLock<List> {
    &LISTS[class.number()]
}

/// How many orphans of a class there are, for models.
#[cfg(all(test, loom))]
pub(super) fn length(class: Class) -> u32 {
    LENGTHS[class.number()].load(Relaxed)
}
