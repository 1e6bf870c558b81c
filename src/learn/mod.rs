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

pub(crate) use monitor::{give_back, missed, missed_huge, patience_huge_ms, patience_ms, tick};
pub(crate) use strategy::{users_floor, warm_floor};
