//! The strategies there are, and the one in force: an immutable [`Policy`] behind one pointer.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::os;
use crate::sync::primitive::AtomicPtr;

/// Strategies there are.
pub(crate) const STRATEGIES: usize = 12;
/// The one that holds until something is learned, and where nothing may be.
pub(crate) const START: usize = 5;

/// 512 KiB to 32 MiB, each about 1.46 times the one before: the number and the range of the original's
/// thresholds. A strategy says how much free memory is kept before anything is known of it; what is
/// missed after it was given back earns its room beyond that.
pub(crate) const NAMES: [&str; STRATEGIES] = [
    "keep-512K",
    "keep-747K",
    "keep-1091K",
    "keep-1592K",
    "keep-2323K",
    "keep-3391K",
    "keep-4949K",
    "keep-7223K",
    "keep-10542K",
    "keep-15386K",
    "keep-22456K",
    "keep-32768K",
];

/// What the rest of the allocator reads.
///
/// # Invariants
/// Never changes: another policy is another pointer.
pub(crate) struct Policy {
    /// Bytes of free memory that may stay resident, however little is in use.
    pub(crate) warm_floor: usize,
}

static POLICIES: [Policy; STRATEGIES] = {
    const KIB: [usize; STRATEGIES] = [
        512, 747, 1091, 1592, 2323, 3391, 4949, 7223, 10_542, 15_386, 22_456, 32_768,
    ];
    let mut policies = [const { Policy { warm_floor: 0 } }; STRATEGIES];
    let mut i = 0;
    while i < STRATEGIES {
        policies[i].warm_floor = KIB[i] << 10;
        i += 1;
    }
    policies
};

/// The policy in force. Readers never wait, and what they have read stays as it is.
///
/// # Invariants
/// The pointer is to a constant that was there before any thread that reads it: nobody writes what it
/// points to, so there is nothing that the pointer would have to publish, and its order does not matter.
struct InForce<P: Sync + 'static>(AtomicPtr<P>);

impl<P: Sync> InForce<P> {
    const fn new(policy: &'static P) -> Self {
        Self(AtomicPtr::new((&raw const *policy).cast_mut()))
    }

    fn set(&self, policy: &'static P) {
        self.0.store((&raw const *policy).cast_mut(), Relaxed);
    }

    #[inline]
    fn get(&self) -> &'static P {
        // SAFETY: always one of those that `new` and `set` were given.
        unsafe { &*self.0.load(Relaxed) }
    }
}

static CURRENT: InForce<Policy> = InForce::new(&POLICIES[START]);

/// Not a floor of the user's.
pub(crate) const LEARNED: usize = usize::MAX;
/// The floor that the user has set (`HAKMEM_WARM_MB`) in bytes, or [`LEARNED`].
pub(crate) static USERS_FLOOR: AtomicUsize = AtomicUsize::new(LEARNED);

/// What strategy `number` keeps, in bytes.
pub(super) fn floor_of(number: usize) -> usize {
    POLICIES[number].warm_floor
}

/// Puts strategy `number` in force.
pub(crate) fn set(number: usize) {
    if let Some(policy) = POLICIES.get(number) {
        CURRENT.set(policy);
    }
}

/// `most`, or less where the process is in a control group that allows it little memory.
pub(crate) fn of_limit(most: usize) -> usize {
    most.min(os::memory_limit() / PART_OF_LIMIT)
}

/// See [`of_limit`].
const PART_OF_LIMIT: usize = 16;
/// A floor that needs no look at the limit: the one that a process begins with.
const LEAST_BOUND: usize = POLICIES[START].warm_floor;

/// That floor, if there is one.
pub(crate) fn users_floor() -> Option<usize> {
    Some(USERS_FLOOR.load(Relaxed)).filter(|bytes| *bytes != LEARNED)
}

/// Bytes of free memory that may stay resident, however little is in use.
#[inline]
pub(crate) fn warm_floor() -> usize {
    match USERS_FLOOR.load(Relaxed) {
        LEARNED => match CURRENT.get().warm_floor {
            // In a control group the system kills where it cannot give.
            floor if floor > LEAST_BOUND => of_limit(floor).max(LEAST_BOUND),
            floor => floor,
        },
        bytes => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::format;

    #[test]
    fn names_say_what_strategies_keep() {
        for (policy, name) in POLICIES.iter().zip(NAMES) {
            assert_eq!(name, format!("keep-{}K", policy.warm_floor >> 10));
        }
        let ratio = |i: usize| POLICIES[i + 1].warm_floor as f64 / POLICIES[i].warm_floor as f64;
        assert!((0..STRATEGIES - 1).all(|i| (1.45..1.47).contains(&ratio(i))));
        assert_eq!(POLICIES[STRATEGIES - 1].warm_floor, 32 << 20);
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::sync::primitive;
    use loom::{cell::UnsafeCell, thread};
    use std::boxed::Box;
    extern crate std;

    /// Two words that belong together; loom sees a read that nothing orders behind the write.
    struct Pair(UnsafeCell<(usize, usize)>);
    // SAFETY: loom checks it.
    unsafe impl Sync for Pair {}

    fn pair(value: usize) -> &'static Pair {
        Box::leak(Box::new(Pair(UnsafeCell::new((value, value)))))
    }

    fn read(in_force: &InForce<Pair>) -> usize {
        let policy = in_force.get();
        // SAFETY: loom checks that nobody writes.
        let (a, b) = policy.0.with(|pair| unsafe { *pair });
        assert_eq!(a, b, "half of one policy and half of another");
        // What has been read stays, whatever is in force by now.
        // SAFETY: as above.
        assert_eq!(policy.0.with(|pair| unsafe { *pair }), (a, b));
        a
    }

    fn in_force(policy: &'static Pair) -> &'static InForce<Pair> {
        let in_force: &'static _ = Box::leak(Box::new(InForce::new(policy)));
        // So that loom knows the word before there are threads.
        in_force.get();
        in_force
    }

    /// Two threads put constants in force, and two read.
    #[test]
    fn readers_see_whole_policies() {
        primitive::model(
            Some(3),
            || (),
            || {
                let policies = [pair(0), pair(1), pair(2)];
                let in_force = in_force(policies[0]);
                let setters = [1, 2].map(|i| {
                    let policy = policies[i];
                    thread::spawn(move || in_force.set(policy))
                });
                let reader = thread::spawn(move || read(in_force));
                assert!(read(in_force) <= 2 && reader.join().unwrap() <= 2);
                for setter in setters {
                    setter.join().unwrap();
                }
                assert_ne!(read(in_force), 0, "the last one set is in force");
            },
        );
    }

    /// The invariant is needed: what is written after its readers began is not theirs to see.
    #[test]
    #[should_panic(expected = "Causality violation")]
    fn a_policy_that_is_written_late_is_caught() {
        primitive::model(
            Some(3),
            || (),
            || {
                let late = pair(1);
                let in_force = in_force(pair(0));
                let setter = thread::spawn(move || {
                    // SAFETY: it is not: that is what loom is to find.
                    late.0.with_mut(|pair| unsafe { *pair = (2, 2) });
                    in_force.set(late);
                });
                read(in_force);
                setter.join().unwrap();
            },
        );
    }
}
