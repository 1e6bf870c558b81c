//! Words that loom sees while a [`model`] runs, and core's atomics at other times.
//!
//! loom's own types cannot stand in statics, in zeroed memory, or in a header whose layout is fixed.
//! So a word here is core's, of the same size; within a model its address stands for a word of
//! loom's, made at the first use with the value that the memory holds. The memory itself is not
//! written, so each execution of a model starts with the same values.
//!
//! loom knows no single order of sequentially consistent accesses, only of fences. What the code
//! relies on beyond release and acquire is what x86-64, the only target, gives: a sequentially
//! consistent store or read-modify-write is a full barrier. So they are fences here, too; and such a store is an exchange
//! there, so it is one here: after its own plain store loom would let a thread read an older value that another one's
//! exchange wrote. It acquires then, too, so that models do not show that an acquire is missing there.

#![expect(dead_code, reason = "each kind of word has the same operations")]

extern crate std;

use core::any::Any;
use core::cell::{Cell, RefCell};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{self, Relaxed, SeqCst};
use core::sync::atomic::{self as core_atomic};
use loom::sync::atomic as loom_atomic;
use std::collections::HashMap;
use std::rc::Rc;
use std::string::String;
use std::vec::Vec;

std::thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    /// What loom has for the words of this execution, by address.
    static WORDS: RefCell<HashMap<usize, Rc<dyn Any>>> = RefCell::new(HashMap::new());
    /// For each word, what makes all accesses to it depend on each other; see [`take_turn`].
    static TURNS: RefCell<HashMap<usize, Rc<loom::sync::Mutex<()>>>> = RefCell::new(HashMap::new());
    /// Memory that this execution has mapped for words.
    static MAPPED: RefCell<Vec<Mapped>> = const { RefCell::new(Vec::new()) };
    /// Words for it, which are zero.
    static ZEROS: RefCell<Vec<Rc<dyn Any>>> = const { RefCell::new(Vec::new()) };
    /// What the threads did in this execution.
    static TRACE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Enters an access into the trace, which is printed when a model fails.
#[track_caller]
fn note<V: core::fmt::Debug>(access: &str, address: usize, value: V) -> V {
    let at = core::panic::Location::caller();
    let thread = loom::thread::current().id();
    let line = std::format!(
        "{thread:?} {access} {address:#x}: {value:x?} ({}:{})",
        at.file(),
        at.line()
    );
    TRACE.with_borrow_mut(|trace| trace.push(line));
    value
}

/// Runs `body` in every order that matters, with at most `preemptions` switches away from a thread
/// that could go on; `None`: with any number. Before each execution `prepare` is called, outside the
/// model: what an execution finds must not depend on those before it. One model at a time: they share
/// the statics of the process.
pub(crate) fn model(
    preemptions: Option<usize>,
    prepare: impl Fn() + Send + Sync + 'static,
    body: impl Fn() + Send + Sync + 'static,
) {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.max_branches = builder.max_branches.max(10_000);
    let executions = std::sync::Arc::new(core_atomic::AtomicUsize::new(0));
    let counted = executions.clone();
    let _running = Running;
    builder.check(move || {
        RUNNING.set(false);
        prepare();
        RUNNING.set(true);
        WORDS.with_borrow_mut(HashMap::clear);
        TURNS.with_borrow_mut(HashMap::clear);
        MAPPED.with_borrow_mut(Vec::clear);
        ZEROS.with_borrow_mut(|zeros| {
            zeros.clear();
            zeros.resize_with(ZERO_WORDS, || Rc::new(loom_atomic::AtomicU32::new(0)));
        });
        TRACE.with_borrow_mut(Vec::clear);
        counted.fetch_add(1, Relaxed);
        body();
    });
    std::println!("{} executions", executions.load(Relaxed));
}

struct Running;
impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(false);
        if std::thread::panicking() {
            TRACE.with_borrow(|trace| trace.iter().for_each(|line| std::eprintln!("{line}")));
        }
        WORDS.with_borrow_mut(HashMap::clear);
    }
}

/// loom's `T` for the word at `address`, or `None` outside a model.
fn word<T: 'static>(address: usize, make: impl FnOnce() -> T) -> Option<Rc<T>> {
    if !RUNNING.get() {
        return None;
    }
    let known =
        mapped_word(address).or_else(|| WORDS.with_borrow(|words| words.get(&address).cloned()));
    let word = known.unwrap_or_else(|| {
        let made: Rc<dyn Any> = Rc::new(make());
        WORDS.with_borrow_mut(|words| words.insert(address, made.clone()));
        made
    });
    Some(word.downcast().expect("a word has one type"))
}

/// Lets loom run another thread before an access to a word, whatever the two do there. Of the accesses
/// to a word, loom itself compares a store with the last one only: one thread's load would hide
/// another's before it, and their other order would not be tried. A mutex that is never free orders
/// nothing, but each attempt to take it is compared with the one before.
fn take_turn(address: usize) {
    let known = TURNS.with_borrow(|turns| turns.get(&address).cloned());
    let turn = known.unwrap_or_else(|| {
        let fresh = Rc::new(loom::sync::Mutex::new(()));
        core::mem::forget(fresh.lock());
        TURNS.with_borrow_mut(|turns| turns.insert(address, fresh.clone()));
        fresh
    });
    assert!(turn.try_lock().is_err());
}

/// Words of [`MAPPED`] memory that a model uses, at most.
const ZERO_WORDS: usize = 4;

/// Memory that is zero for whoever came by its address in an order that loom sees.
struct Mapped {
    range: core::ops::Range<usize>,
    written: Rc<loom::cell::UnsafeCell<()>>,
}

/// As [`crate::os::map`], for words.
pub(crate) fn map(hint: usize, bytes: usize) -> Option<NonNull<u8>> {
    let start = crate::os::map(hint, bytes)?;
    if RUNNING.get() {
        let at = start.as_ptr() as usize;
        let written = Rc::new(loom::cell::UnsafeCell::new(()));
        written.with_mut(|_| {});
        MAPPED.with_borrow_mut(|mapped| {
            mapped.push(Mapped {
                range: at..at + bytes,
                written,
            });
        });
    }
    Some(start)
}

/// A word for `address` if it lies in memory that this execution has mapped.
fn mapped_word(address: usize) -> Option<Rc<dyn Any>> {
    let written = MAPPED.with_borrow(|mapped| {
        let it = mapped.iter().find(|it| it.range.contains(&address));
        it.map(|it| it.written.clone())
    })?;
    written.with(|_| {});
    let known = WORDS.with_borrow(|words| words.get(&address).cloned());
    known.or_else(|| {
        let zero = ZEROS.with_borrow_mut(Vec::pop);
        let zero = zero.expect("ZERO_WORDS is too small");
        WORDS.with_borrow_mut(|words| words.insert(address, zero.clone()));
        Some(zero)
    })
}

/// As x86-64 has it; see the module.
pub(crate) fn fence(order: Ordering) {
    if RUNNING.get() {
        loom_atomic::fence(order);
    } else {
        core_atomic::fence(order);
    }
}

fn barrier(order: Ordering) {
    if order == SeqCst {
        loom_atomic::fence(SeqCst);
    }
}

fn barriers<T>(order: Ordering, access: impl FnOnce() -> T) -> T {
    barrier(order);
    let result = access();
    barrier(order);
    result
}

/// Lets another thread run.
pub(crate) fn yield_now() {
    if RUNNING.get() {
        loom::thread::yield_now();
    } else {
        crate::os::yield_now();
    }
}

macro_rules! atomic {
    ($name:ident($($t:ident)?), $value:ty, $core:ty, $loom:ty, $to:expr, $from:expr) => {
        /// See the module.
        #[repr(transparent)]
        pub(crate) struct $name$(<$t>)?($core);

        impl$(<$t>)? $name$(<$t>)? {
            pub(crate) const fn new(value: $value) -> Self {
                Self(<$core>::new(value))
            }

            fn at(&self) -> usize {
                self.0.as_ptr() as usize
            }

            fn word(&self) -> Option<Rc<$loom>> {
                // Even where loom knows the word, so that an access to memory that is unmapped is
                // seen. SAFETY: a valid word.
                let now = unsafe { self.0.as_ptr().read_volatile() };
                let word = word(self.at(), || <$loom>::new($to(now)))?;
                take_turn(self.at());
                Some(word)
            }

            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $value {
                match self.word() {
                    Some(word) => note("load", self.at(), $from(word.load(order))),
                    None => self.0.load(order),
                }
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                match self.word() {
                    Some(word) if order == SeqCst => {
                        let before: $value = barriers(order, || $from(word.swap($to(value), order)));
                        note("store", self.at(), (value, before));
                    }
                    Some(word) => {
                        note("store", self.at(), value);
                        word.store($to(value), order);
                    }
                    None => self.0.store(value, order),
                }
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                match self.word() {
                    Some(word) => { note("swap", self.at(), (value, barriers(order, || $from(word.swap($to(value), order))))).1}
                    None => self.0.swap(value, order),
                }
            }

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                order: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                match self.word() {
                    Some(word) => {
                        let result = barriers(order, || {
                            word.compare_exchange($to(old), $to(new), order, failure)
                                .map($from)
                                .map_err($from)
                        });
                        note("compare_exchange", self.at(), (new, result)).1
                    }
                    None => self.0.compare_exchange(old, new, order, failure),
                }
            }

            #[track_caller]
            pub(crate) fn compare_exchange_weak(
                &self,
                old: $value,
                new: $value,
                order: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(old, new, order, failure)
            }
        }
    };
}

macro_rules! arithmetic {
    ($name:ident, $value:ty: $($change:ident)*) => {
        impl $name {
            $(#[track_caller]
            pub(crate) fn $change(&self, value: $value, order: Ordering) -> $value {
                match self.word() {
                    Some(word) => {
                        let old = barriers(order, || word.$change(value, order));
                        note(stringify!($change), self.at(), (value, old)).1
                    }
                    None => self.0.$change(value, order),
                }
            })*
        }
    };
}

fn same<T>(value: T) -> T {
    value
}

atomic!(
    AtomicU32(),
    u32,
    core_atomic::AtomicU32,
    loom_atomic::AtomicU32,
    same,
    same
);
atomic!(
    AtomicU64(),
    u64,
    core_atomic::AtomicU64,
    loom_atomic::AtomicU64,
    same,
    same
);
atomic!(
    AtomicPtr(T),
    *mut T,
    core_atomic::AtomicPtr<T>,
    loom_atomic::AtomicUsize,
    |p: *mut T| p.expose_provenance(),
    core::ptr::with_exposed_provenance_mut
);
arithmetic!(AtomicU32, u32: fetch_add fetch_sub fetch_or);
arithmetic!(AtomicU64, u64: fetch_add fetch_sub fetch_or);

/// What loom has for threads that sleep on a word. The address is made different from the word's.
type Sleepers = (loom::sync::Mutex<()>, loom::sync::Condvar);
fn sleepers(word: &AtomicU32) -> Option<Rc<Sleepers>> {
    self::word(word.at() + 1, || {
        (loom::sync::Mutex::new(()), loom::sync::Condvar::new())
    })
}

/// Sleeps while `word` has the value `expected`, until it is woken: without a limit of time, so that
/// loom sees who is never woken.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32) {
    let Some(sleepers) = sleepers(word) else {
        return crate::os::futex_wait(&word.0, expected);
    };
    let awake = sleepers.0.lock().expect("no panic under it");
    if word.load(Relaxed) == expected {
        drop(sleepers.1.wait(awake));
    }
}

/// Wakes one thread that sleeps on `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    let Some(sleepers) = sleepers(word) else {
        return crate::os::futex_wake(&word.0);
    };
    let awake = sleepers.0.lock();
    sleepers.1.notify_one();
    drop(awake);
}

/// In a model, loom's mutex around std's, which is then always free.
pub(crate) struct ShortLock<T>(std::sync::Mutex<T>);

/// The lock is held while this lives.
pub(crate) struct ShortGuard<'a, T> {
    // In the order in which they are dropped.
    value: std::sync::MutexGuard<'a, T>,
    _held: Option<loom::sync::MutexGuard<'static, ()>>,
    _mutex: Option<Rc<loom::sync::Mutex<()>>>,
}

impl<T> ShortLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> ShortGuard<'_, T> {
        let mutex = word(&raw const *self as usize, || loom::sync::Mutex::new(()));
        let held = mutex.as_ref().map(|mutex| {
            // SAFETY: the guard is dropped before the mutex.
            let mutex: &'static loom::sync::Mutex<()> = unsafe { &*Rc::as_ptr(mutex) };
            mutex.lock().expect("no panic under it")
        });
        ShortGuard {
            value: self.0.lock().expect("no panic under it"),
            _held: held,
            _mutex: mutex,
        }
    }

    /// Never: models learn nothing.
    pub(crate) fn try_lock(&self) -> Option<ShortGuard<'_, T>> {
        None
    }

    /// Models have no forks.
    ///
    /// # Safety
    /// None.
    pub(crate) unsafe fn recover(&self, _repair: impl FnOnce(&mut T)) {}
}

impl<T> Deref for ShortGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for ShortGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// Nobody forks in a model.
pub(crate) mod held {
    /// As the real one.
    pub(crate) fn add(_lock: usize) {}
    /// As the real one.
    pub(crate) fn remove(_lock: usize) {}
    /// As the real one.
    pub(crate) fn has(_lock: usize) -> bool {
        false
    }
    /// As the real one.
    pub(crate) fn none() -> bool {
        true
    }
}
