//! The learning layer: what is decided by what was seen, and the one policy that comes of it.
//!
//! ```text
//!   the program's calls ──► samples ──► learners, pure functions ──► decisions where they are needed
//!                              │          site: what a call site's blocks are worth, how they are touched
//!                              │          pace: what was missed after it was given back may stay
//!                              │          demand: how many magazines a class keeps
//!                              ▼
//!                           windows ──► lifecycle: LEARN, CANARY, FROZEN ──► Policy, through one pointer
//!                          (monitor)    strategies rated by what they cost (cost, elo, p2, sizes)
//! ```
//! Learners know sites, strategies know the process: a strategy says how much free memory may stay of
//! which nothing is known yet, and learners add what has proved to be wanted again.
//!
//! Learning happens on slow paths, a bounded step at a time, and no thread is started for it. It reads
//! no memory that the allocator manages.
//!
//! Callers: `space`, `large`, `heap`; reports read it.

mod cost;
pub(crate) mod demand;
pub(crate) mod elo;
pub(crate) mod lifecycle;
pub(crate) mod monitor;
mod p2;
pub(crate) mod pace;
pub(crate) mod site;
pub(crate) mod sizes;
pub(crate) mod strategy;

pub(crate) use monitor::{
    Holds, give_back, look_anyway, missed, missed_huge, patience_huge_ms, patience_ms, tick, trim,
};
pub(crate) use strategy::{users_floor, warm_floor};

/// Milliseconds from `then` to `now` of a clock that wraps. None if `then` is up to a minute later: who waits for a lock
/// comes with a time that is past, and another thread may have noted a newer one meanwhile.
pub(crate) fn since(now: u32, then: u32) -> u32 {
    const LEAD_MS: u32 = 60_000;
    let ms = now.wrapping_sub(then);
    if ms > u32::MAX - LEAD_MS { 0 } else { ms }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_time_that_is_just_past_is_now() {
        use super::since;
        assert_eq!((since(7, 5), since(5, 5), since(5, 7)), (2, 0, 0));
        assert_eq!((since(3, u32::MAX), since(u32::MAX, 3)), (4, 0));
        // A month is long.
        assert_eq!(since(2_600_000_000, 0), 2_600_000_000);
    }
}
