//! hakmem: a general-purpose memory allocator. Bitmap slabs behind thread-local magazines.
//!
//! # The life of a malloc
//! 1. `malloc(n)` turns `n` into a size class, finds this thread's heap through one thread-local
//!    word, and pops a pointer off the magazine of the class ([`api`], `heap::Heap::pop`).
//! 2. An empty magazine is refilled: from a full one behind it, or with the free bits of a slab of
//!    this heap, with what other threads have freed into its slabs, from a slab whose thread has
//!    ended, or from a fresh slab (`heap::refill`).
//! 3. A fresh slab is a few of the 32 slots of a SuperSlab, 2 MiB that the pool has mapped
//!    (`space::pool`); the slab map then says whose it is (`space::map`).
//! 4. `free(p)` asks the slab map. This thread's own block is pushed on the magazine of its class;
//!    one of another thread goes to the outbox, and with its neighbours, as bits, to the slab
//!    (`slab::remote`).
//! 5. A full magazine is widened or goes behind, or back as bits into its slabs (`heap::flush`). Empty slabs go to
//!    the pool, empty pages of slabs in use to the system.
//! 6. What is larger than 32 KiB is a run of pages, or a mapping of its own ([`large`]); freed ones
//!    are kept per call site for a while.
//!
//! # Layers
//! Each module uses only those above it in this list: `base`, `os`, `sync`, `learn`, `space`, `slab`, `large`,
//! `heap`, `guard`, `observe`, `api`, `c_api`, `rust_api`. A test reads the `use crate::` lines and fails on
//! one that runs the other way, but for `api::init_process`, which starts them all.
//!
//! The standard names (`malloc`, …) are in the package `ld_preload`; nothing here defines a symbol
//! that a program could collide with, so the tests of this crate run on the system's malloc.

#![no_std]

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("hakmem is written for Linux on x86-64");

#[cfg(test)]
extern crate std;

pub mod api;
mod base;
pub mod c_api;
mod guard;
mod heap;
mod large;
mod learn;
pub mod observe;
mod os;
mod rust_api;
mod slab;
mod space;
mod sync;

pub use rust_api::Hakmem;
