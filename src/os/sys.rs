//! Raw system calls of x86-64 Linux. The result is as the kernel gives it: -errno on failure.

use core::arch::asm;

/// A call with up to six arguments.
///
/// # Safety
/// The arguments are what the call numbered `number` expects.
#[inline(always)]
pub(super) unsafe fn call6(
    number: i64,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> isize {
    let result: isize;
    // SAFETY: the kernel clobbers rcx and r11 and nothing else of ours.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// A call with up to four arguments.
///
/// # Safety
/// As [`call6`].
#[inline(always)]
pub(super) unsafe fn call4(number: i64, a: usize, b: usize, c: usize, d: usize) -> isize {
    // SAFETY: the caller's.
    unsafe { call6(number, a, b, c, d, 0, 0) }
}

/// A call with up to three arguments.
///
/// # Safety
/// As [`call6`].
#[inline(always)]
pub(super) unsafe fn call3(number: i64, a: usize, b: usize, c: usize) -> isize {
    // SAFETY: the caller's.
    unsafe { call6(number, a, b, c, 0, 0, 0) }
}
