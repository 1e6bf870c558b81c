//! `libhakmem.so` and `libhakmem.a`: hakmem under the standard names.
//!
//! The only place in the project where symbols named `malloc` and the like exist. Nothing is decided
//! here: each name forwards to [`hakmem_core`], mostly in tail position, because the allocator's slow
//! paths read the call site off the stack.
//!
//! - [`names`]: malloc, free and the rest of the C family
//! - [`tuning`]: mallopt, mallinfo, malloc_info and other names that glibc added
//! - [`cxx`]: operator new and delete
//!
//! What is exported from the shared library is in `exports.golden`; `tests/packaging.rs` compares.

#![no_std]

mod cxx;
mod names;
mod tuning;

use core::fmt::{self, Write};
use core::panic::PanicInfo;

// The precompiled `core` refers to the personality of Rust frames, though with panic=abort none is
// ever unwound. Weak, so that a Rust program that links libhakmem.a keeps its own.
core::arch::global_asm!(
    ".weak rust_eh_personality",
    ".hidden rust_eh_personality",
    ".type rust_eh_personality, @function",
    "rust_eh_personality:",
    "ud2",
    ".size rust_eh_personality, . - rust_eh_personality",
);

/// Says where, and dies. Reached only through a bug in hakmem: nothing that a program does is one.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // A failure to write the message leaves nothing better to do than to die without it.
    let _ = writeln!(Stderr, "hakmem: {info}");
    abort()
}

/// Ends the process by SIGABRT.
fn abort() -> ! {
    // SAFETY: abort has no preconditions. It flushes no stdio and allocates nothing.
    unsafe { libc::abort() }
}

/// File descriptor 2, unbuffered.
struct Stderr;

impl Write for Stderr {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            // SAFETY: the buffer is valid for reading its own length.
            let written = unsafe { libc::write(2, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written).map(|n| rest.get(n..)) {
                Ok(Some(after)) if written > 0 => rest = after,
                _ => return Err(fmt::Error),
            }
        }
        Ok(())
    }
}
