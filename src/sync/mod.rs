//! Locks. Nothing here knows about heaps.
//!
//! [`Lock`] sleeps on a futex, so a system call may happen under it. [`SpinLock`] is spin's, for
//! sections of a few instructions, and yields while it waits. Neither is held across fork by
//! anyone: a child resets them (`reset`), and what they guard must bear that.

pub(crate) mod primitive;

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{
    AtomicPtr,
    Ordering::{Acquire, Relaxed, Release},
};

pub(crate) use primitive::SpinLock;
use primitive::{AtomicU32, futex_wait, futex_wake};

use crate::os;

/// What a spinning thread does between two looks: let the holder run.
pub(crate) struct Yield;

impl spin::RelaxStrategy for Yield {
    fn relax() {
        check_process();
        os::yield_now();
    }
}

/// What a new process does first (see [`crate::os::process`]): set once, by `api`.
static NEW_PROCESS: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Has `reset` called in the child of a fork of which no handler told us, before its first lock is
/// taken: locks that vanished threads held would never be free.
pub(crate) fn on_new_process(reset: fn()) {
    NEW_PROCESS.store(reset as *mut (), Relaxed);
}

/// Before any lock: is this a new process?
#[inline]
pub(crate) fn check_process() {
    if os::process::is_new() {
        enter_new_process();
    }
}

#[cold]
fn enter_new_process() {
    os::process::is_known();
    let reset = NEW_PROCESS.load(Relaxed);
    if !reset.is_null() {
        // SAFETY: only `on_new_process` writes it.
        let reset: fn() = unsafe { core::mem::transmute(reset) };
        reset();
    }
}

/// Looks before a thread sleeps. A model needs one of a kind.
const SPINS: u32 = if cfg!(loom) { 1 } else { 64 };

const FREE: u32 = 0;
const HELD: u32 = 1;
const WAITED_FOR: u32 = 2;

/// A futex lock (Drepper, "Futexes Are Tricky", mutex 2).
///
/// # Invariants
/// `state` is `FREE`, `HELD`, or `WAITED_FOR` when a thread may sleep on it.
pub(crate) struct Lock<T> {
    state: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through the guard, by one thread at a time.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// A free lock around `value`.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            state: AtomicU32::new(FREE),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits until the lock is this thread's.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        check_process();
        // ORDERING: Acquire pairs with the Release in Guard::drop.
        if self
            .state
            .compare_exchange(FREE, HELD, Acquire, Relaxed)
            .is_err()
        {
            self.wait();
        }
        Guard { lock: self }
    }

    #[cold]
    fn wait(&self) {
        for _ in 0..SPINS {
            core::hint::spin_loop();
            // ORDERING: as in lock().
            if self.state.load(Relaxed) == FREE
                && self
                    .state
                    .compare_exchange(FREE, HELD, Acquire, Relaxed)
                    .is_ok()
            {
                return;
            }
        }
        // ORDERING: as in lock().
        while self.state.swap(WAITED_FOR, Acquire) != FREE {
            // A signal handler may have forked while we waited; then nobody else is left to wait for.
            check_process();
            futex_wait(&self.state, WAITED_FOR);
        }
    }

    /// In the child of a fork: true if a thread that no longer exists held the lock, which is free
    /// now. What it guards may be half-changed then.
    ///
    /// # Safety
    /// No other thread exists.
    pub(crate) unsafe fn reset(&self) -> bool {
        self.state.swap(FREE, Relaxed) != FREE
    }

    /// The value, without the lock.
    ///
    /// # Safety
    /// No other thread exists, or the caller only reads words that bear a race.
    pub(crate) unsafe fn value(&self) -> *mut T {
        self.value.get()
    }
}

/// The lock is held while this lives.
pub(crate) struct Guard<'a, T> {
    lock: &'a Lock<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, and is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // ORDERING: Release pairs with the Acquire in Lock::lock.
        if self.lock.state.swap(FREE, Release) == WAITED_FOR {
            futex_wake(&self.lock.state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::thread;

    #[test]
    fn the_lock_excludes() {
        static LOCK: Lock<(u64, u64)> = Lock::new((0, 0));
        thread::scope(|s| {
            for _ in 0..8 {
                s.spawn(|| {
                    for _ in 0..10_000 {
                        let mut pair = LOCK.lock();
                        assert_eq!(pair.0, pair.1);
                        pair.0 += 1;
                        pair.1 += 1;
                    }
                });
            }
        });
        assert_eq!(LOCK.lock().0, 80_000);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    extern crate std;
    use loom::{cell::UnsafeCell, thread};
    use std::sync::Arc;

    /// `threads` take the lock and let it go, the calling one among them; loom sees an access to the
    /// value that the lock does not order, and a sleeper that nobody wakes.
    fn threads_take_it(threads: usize) {
        let lock = Arc::new(Lock::new(UnsafeCell::new(0)));
        drop(lock.lock());
        let take = |lock: &Lock<UnsafeCell<usize>>| {
            // SAFETY: loom checks that nobody else does.
            lock.lock().with_mut(|value| unsafe { *value += 1 });
        };
        let others: std::vec::Vec<_> = (1..threads)
            .map(|_| {
                let lock = lock.clone();
                thread::spawn(move || take(&lock))
            })
            .collect();
        take(&lock);
        for other in others {
            other.join().unwrap();
        }
        // SAFETY: as above.
        assert_eq!(lock.lock().with(|value| unsafe { *value }), threads);
    }

    #[test]
    fn the_lock_excludes_and_wakes_two() {
        primitive::model(None, || (), || threads_take_it(2));
    }

    #[test]
    fn the_lock_excludes_and_wakes_three() {
        primitive::model(Some(3), || (), || threads_take_it(3));
    }
}
