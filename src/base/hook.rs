//! How a lower layer asks a higher one, which it must not name.

use core::marker::PhantomData;
use core::mem::transmute_copy;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// A function that a higher layer sets, in a static of the lower one that calls it.
///
/// Any thread may ask at any time, also in a signal handler. Nothing but the function travels with it, so there is
/// nothing to order; a static, because there is nobody who could hand it down through `malloc`.
///
/// # Invariants
/// `function` is NULL or the bits of an `F`.
pub(crate) struct Hook<F> {
    function: AtomicPtr<()>,
    of: PhantomData<F>,
}

impl<F: Copy> Hook<F> {
    /// One that nobody has set.
    ///
    /// # Safety
    /// `F` is a type of function pointers.
    pub(crate) const unsafe fn unset() -> Self {
        const { assert!(size_of::<F>() == size_of::<*mut ()>()) };
        Self {
            function: AtomicPtr::new(core::ptr::null_mut()),
            of: PhantomData,
        }
    }

    /// Has `function` called from now on.
    pub(crate) fn set(&self, function: F) {
        // SAFETY: a function pointer, as who made this promised, and as large as any other pointer.
        let bits = unsafe { transmute_copy::<F, *mut ()>(&function) };
        self.function.store(bits, Relaxed);
    }

    /// What was set.
    #[inline]
    pub(crate) fn get(&self) -> Option<F> {
        let bits = self.function.load(Relaxed);
        if bits.is_null() {
            return None;
        }
        // SAFETY: `set` has stored an `F`.
        Some(unsafe { transmute_copy::<*mut (), F>(&bits) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_last_is_called() {
        // SAFETY: a type of function pointers.
        static HOOK: Hook<fn(&u32) -> u32> = unsafe { Hook::unset() };
        assert!(HOOK.get().is_none());
        HOOK.set(|n| n + 1);
        assert_eq!(HOOK.get().map(|f| f(&1)), Some(2));
        HOOK.set(|n| n * 10);
        assert_eq!(HOOK.get().map(|f| f(&1)), Some(10));
    }
}
