//! The strategies there are, and the one in force: an immutable [`Policy`] behind one pointer.

use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

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
static CURRENT: AtomicPtr<Policy> = AtomicPtr::new((&raw const POLICIES[START]).cast_mut());

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
        CURRENT.store((&raw const *policy).cast_mut(), Relaxed);
    }
}

/// Bytes of free memory that may stay resident, however little is in use.
#[inline]
pub(crate) fn warm_floor() -> usize {
    match USERS_FLOOR.load(Relaxed) {
        LEARNED => {
            // SAFETY: the pointer is always to a static; policies are constants, so there is nothing
            // that the pointer would have to publish.
            unsafe { (*CURRENT.load(Relaxed)).warm_floor }
        }
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
