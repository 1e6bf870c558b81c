//! Slabs whose thread is gone, by class, until another heap adopts them or their last block comes
//! back.

use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicU32,
    Ordering::{Relaxed, SeqCst},
    fence,
};

use super::refill::report;
use crate::base::{Class, N_CLASSES};
use crate::slab::{self, Slab, State, remote::ORPHAN};
use crate::space::map::{self, Entry, Kind};
use crate::sync::{SpinLock, check_process};

/// A list of orphans; the slabs in it have state `Orphan` and no others have.
struct List(*mut Slab);
// SAFETY: orphans belong to whoever holds the list's lock.
unsafe impl Send for List {}

static LISTS: [SpinLock<List>; N_CLASSES] = [const { SpinLock::new(List(null_mut())) }; N_CLASSES];
/// Lengths of the lists: so that nobody takes a lock for nothing.
static LENGTHS: [AtomicU32; N_CLASSES] = [const { AtomicU32::new(0) }; N_CLASSES];

impl List {
    unsafe fn push(&mut self, slab: *mut Slab) {
        // SAFETY: the lock is held.
        unsafe {
            (*slab).state = State::Orphan;
            (*slab).prev = null_mut();
            (*slab).next = self.0;
            if !self.0.is_null() {
                (*self.0).prev = slab;
            }
            self.0 = slab;
        }
    }

    unsafe fn unlink(&mut self, slab: *mut Slab) {
        // SAFETY: the lock is held, and the slab is in the list.
        unsafe {
            (*slab).state = State::Partial;
            if (*slab).prev.is_null() {
                self.0 = (*slab).next;
            } else {
                (*(*slab).prev).next = (*slab).next;
            }
            if !(*slab).next.is_null() {
                (*(*slab).next).prev = (*slab).prev;
            }
        }
    }
}

/// Makes a slab an orphan, or gives it back if it is empty.
///
/// # Safety
/// The calling thread owns it, and it is in no list.
pub(super) unsafe fn abandon(slab: *mut Slab, class: Class) {
    // SAFETY: the caller's.
    unsafe {
        map::set(
            Slab::start(slab),
            1 << class.info().order,
            Entry::slab(ORPHAN, class),
        );
        // ORDERING: the second rule in `slab::remote`: the map says orphan before the last look.
        fence(SeqCst);
        if let Err(misuse) = slab::drain(slab) {
            report(misuse, Slab::base(slab));
        }
        if (*slab).free == (*slab).watermark {
            slab::release(slab);
            return;
        }
        (*slab)
            .orphan_live
            .store((*slab).watermark - (*slab).free, Relaxed);
        let number = class.number();
        check_process();
        LENGTHS[number].fetch_add(1, Relaxed);
        LISTS[number].lock().push(slab);
    }
}

/// Takes an orphan for the heap numbered `owner`, which must look at its remote words after this.
pub(super) fn adopt(class: Class, owner: u32) -> Option<*mut Slab> {
    let number = class.number();
    if LENGTHS[number].load(Relaxed) == 0 {
        return None;
    }
    check_process();
    let mut list = LISTS[number].lock();
    let slab = list.0;
    if slab.is_null() {
        return None;
    }
    // SAFETY: the lock is held; the map entries change under it, so that `emptied` sees them right.
    unsafe {
        list.unlink(slab);
        map::set(
            Slab::start(slab),
            1 << class.info().order,
            Entry::slab(owner, class),
        );
    }
    LENGTHS[number].fetch_sub(1, Relaxed);
    Some(slab)
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
    // SAFETY: headers stay. If the slab is an orphan, the holder of the lock owns it.
    unsafe {
        if map::lookup(Slab::base(slab)) != orphan
            || (&raw const (*slab).state).read_volatile() != State::Orphan
        {
            return;
        }
        if let Err(misuse) = slab::drain(slab) {
            report(misuse, Slab::base(slab));
        }
        if (*slab).free != (*slab).watermark {
            (*slab)
                .orphan_live
                .store((*slab).watermark - (*slab).free, Relaxed);
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
            list.lock().0 = null_mut();
            length.store(0, Relaxed);
        }
    }
}
