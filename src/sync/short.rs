//! The lock of sections of a few instructions: no system call, and no other lock, is made under it.
//!
//! spin's mutex, with what a stranger's process needs around it: who waits for long sleeps for a moment,
//! because its holder may be a thread of lower priority that gets no time while others yield to each
//! other; and the child of a fork recovers it, as any [`super::Lock`].

use core::ops::{Deref, DerefMut};

use spin::mutex::{SpinMutex, SpinMutexGuard};

use super::{SPINS, check_process, held};
use crate::os;

/// See the module.
pub(crate) struct ShortLock<T>(SpinMutex<T>);

impl<T> ShortLock<T> {
    /// A free lock around `value`.
    pub(crate) const fn new(value: T) -> Self {
        Self(SpinMutex::new(value))
    }

    fn name(&self) -> usize {
        (&raw const self.0).addr()
    }

    /// Waits until the lock is this thread's.
    pub(crate) fn lock(&self) -> ShortGuard<'_, T> {
        check_process();
        loop {
            // Before it is ours, as in `Lock::lock`.
            held::add(self.name());
            for _ in 0..SPINS {
                if let Some(guard) = self.0.try_lock() {
                    return ShortGuard {
                        guard: Some(guard),
                        lock: self,
                    };
                }
                core::hint::spin_loop();
            }
            // A signal handler may have forked while we waited; then nobody else is left to wait for.
            held::remove(self.name());
            check_process();
            os::nap();
        }
    }

    /// The lock, if it is free.
    pub(crate) fn try_lock(&self) -> Option<ShortGuard<'_, T>> {
        check_process();
        held::add(self.name());
        let guard = self.0.try_lock();
        if guard.is_none() {
            held::remove(self.name());
        }
        guard.map(|guard| ShortGuard {
            guard: Some(guard),
            lock: self,
        })
    }

    /// As [`super::Lock::recover`].
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn recover(&self, repair: impl FnOnce(&mut T)) {
        if self.0.is_locked() && !held::has(self.name()) {
            // SAFETY: the holder does not exist, and by the caller nobody else looks at it.
            unsafe {
                repair(&mut *self.0.as_mut_ptr());
                // Afterwards, so that a fork in between finds it held, and repairs it again.
                self.0.force_unlock();
            }
        }
    }
}

/// The lock is held while this lives.
///
/// # Invariants
/// `guard` is there until the drop.
pub(crate) struct ShortGuard<'a, T> {
    guard: Option<SpinMutexGuard<'a, T>>,
    lock: &'a ShortLock<T>,
}

impl<T> Deref for ShortGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.lock.0.as_mut_ptr() }
    }
}

impl<T> DerefMut for ShortGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock, and is borrowed mutably.
        unsafe { &mut *self.lock.0.as_mut_ptr() }
    }
}

impl<T> Drop for ShortGuard<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        held::remove(self.lock.name());
        // Who was forked inside goes out as who he is.
        check_process();
    }
}
