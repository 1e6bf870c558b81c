//! A shadow model of the whole API, over several real threads.
//!
//! A [`Case`] is plain data: phases of operations, each with the number of the thread that makes the
//! call. [`run`] makes the calls on an allocator and holds every answer against what a malloc promises:
//! no two blocks overlap, alignments and sizes are right, contents stay, zeroed memory is zero, errno
//! is as documented, what must fail fails and changes nothing, the allocator's own walk finds its
//! structures sound, and nothing is lost at the end.
//!
//! In a *stepped* phase one thread at a time makes one call, in the order of the case: what goes
//! wrong there goes wrong again. In a *free* phase all threads run at once, and the operations of
//! each repeat; blocks are compared when they stand still again.
//!
//! - [`ops`]: the operations as data, which a property test and a fuzzer can both make up
//! - [`api`]: the allocators that the model can drive: hakmem, and the C library's as a control
//! - `pattern`: what blocks are filled with
//! - `shadow`: what must be true of each block, and the operations against it
//! - `threads`: the threads that make the calls

pub mod api;
pub mod ops;
mod pattern;
mod shadow;
mod threads;

pub use api::{Api, C, Hakmem};
pub use ops::{Align, Case, Op, Phase, Size, Step};
pub use threads::run;
