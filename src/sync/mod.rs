//! The locks. Nothing here knows about heaps.
//!
//! A [`Lock`] sleeps on a futex, so a system call may happen under it; a `ShortLock` ([`short`]) is a word of
//! spin's, for a few instructions. A thread of high priority
//! does not spin for ever on what one of low priority holds. Nobody takes one because of a fork, so a child may
//! find locks that vanished threads held: it repairs what they guard and frees them
//! ([`Lock::recover`]) before it takes its first one. Those that the forking thread itself holds, in
//! whose signal handler the fork happened, stay its own.

#[cfg(not(all(test, loom)))]
mod held;
pub(crate) mod primitive;
#[cfg(not(all(test, loom)))]
mod short;

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

#[cfg(all(test, loom))]
use primitive::held;
use primitive::{AtomicU32, futex_wait, futex_wake};

use crate::base::Hook;
use crate::os;

/// What a new process does first (see [`crate::os::process`]): set by `heap`, which layers above.
// SAFETY: a type of function pointers.
static NEW_PROCESS: Hook<fn()> = unsafe { Hook::unset() };

/// Has `repair` called in the child of a fork, before its first lock is taken: locks that vanished
/// threads held would never be free. It takes no lock itself, and may be called again before it has
/// ended. To be called before the first lock is taken.
pub(crate) fn on_new_process(repair: fn()) {
    NEW_PROCESS.set(repair);
}

/// Whether the calling thread holds a lock, or is about to take one: what it does is in a signal handler then.
pub(crate) fn holds_any() -> bool {
    !held::none()
}

/// In the child of a fork: does what a new process does first, unless the calling thread is in the
/// middle of something; then it will when it takes its next lock, or gives its last one back.
pub(crate) fn forked() {
    os::process::copied();
    if held::none() {
        check_process();
    }
}

#[inline]
fn check_process() {
    if !os::process::is_known() {
        os::process::enter(|| {
            if let Some(repair) = NEW_PROCESS.get() {
                repair();
            }
        });
    }
}

/// While this lives, the calling thread changes words that belong together, without a lock: if a
/// signal handler forks meanwhile, [`forked`] leaves it to the end of this.
pub(crate) struct Inside(());

/// See [`Inside`].
#[inline]
pub(crate) fn inside() -> Inside {
    held::add(INSIDE);
    Inside(())
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        held::remove(INSIDE);
        check_process();
    }
}

/// Stands for no lock in the list of those held.
const INSIDE: usize = 1;

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

    fn name(&self) -> usize {
        (&raw const self.state).addr()
    }

    /// Whether the calling thread holds it, or is about to.
    pub(crate) fn is_mine(&self) -> bool {
        held::has(self.name())
    }

    /// Waits until the lock is this thread's.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        check_process();
        // Before it is ours: whoever finds us without a lock may take us to be outside.
        held::add(self.name());
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
            held::remove(self.name());
            check_process();
            held::add(self.name());
            futex_wait(&self.state, WAITED_FOR);
        }
    }

    /// In the child of a fork: if a thread that does not exist here held the lock, calls `repair`
    /// with what it guards, which may be half-changed, and frees it. If the calling thread holds it,
    /// nothing is done.
    ///
    /// # Safety
    /// No other thread exists in this process, or none that has taken a lock in it. `repair` can be
    /// done again after it was done in part.
    pub(crate) unsafe fn recover(&self, repair: impl FnOnce(&mut T)) {
        // ORDERING: Relaxed: what vanished threads wrote was copied with the word.
        if self.state.load(Relaxed) != FREE && !held::has(self.name()) {
            // SAFETY: the holder does not exist, and by the caller nobody else looks at it.
            repair(unsafe { &mut *self.value.get() });
            // ORDERING: Release as in Guard::drop. Afterwards, so that a fork in between finds it
            // held, and repairs it again.
            self.state.store(FREE, Release);
        }
    }

    /// The value, without the lock.
    ///
    /// # Safety
    /// As for [`Lock::recover`], or the caller only reads words that bear a race.
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
        held::remove(self.lock.name());
        // Who was forked inside goes out as who he is.
        check_process();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    extern crate std;
    use primitive::ShortLock;
    use std::thread;

    macro_rules! holds_for {
        ($module:ident, $Lock:ident) => {
            mod $module {
                use super::*;

                #[test]
                fn the_lock_excludes() {
                    static LOCK: $Lock<(u64, u64)> = $Lock::new((0, 0));
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
                    assert!(held::none());
                }

                /// What a thread held that has vanished is repaired and freed; what this one holds is not.
                #[test]
                fn only_locks_of_others_are_recovered() {
                    static OUTER: $Lock<u32> = $Lock::new(1);
                    static INNER: $Lock<u32> = $Lock::new(2);
                    thread::spawn(|| core::mem::forget(INNER.lock()))
                        .join()
                        .unwrap();
                    let outer = OUTER.lock();
                    // SAFETY: nobody else uses these two.
                    unsafe {
                        OUTER.recover(|_| panic!("it is ours"));
                        INNER.recover(|value| *value = 3);
                        INNER.recover(|_| panic!("it is free"));
                    }
                    assert_eq!((*outer, *INNER.lock()), (1, 3));
                    drop(outer);
                    assert!(held::none());
                }
            }
        };
    }
    holds_for!(futex, Lock);
    holds_for!(short, ShortLock);
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
        primitive::model(Some(2), || (), || threads_take_it(3));
    }
}
