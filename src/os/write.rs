//! Writing to descriptors that are a stranger's: whatever becomes of the text, the program goes on.

use super::sys;

/// Writes all of `bytes` to a descriptor; gives up at the first error.
pub(crate) fn write_all(fd: i32, mut bytes: &[u8]) -> bool {
    let quiet = Quiet::begin();
    while !bytes.is_empty() {
        // SAFETY: the buffer is readable for its length.
        let n = unsafe {
            sys::call3(
                libc::SYS_write,
                fd as usize,
                bytes.as_ptr() as usize,
                bytes.len(),
            )
        };
        match n {
            n if n > 0 => bytes = &bytes[n as usize..],
            n if n == -(libc::EINTR as isize) => {}
            n => {
                quiet.take(n);
                break;
            }
        }
    }
    quiet.end();
    bytes.is_empty()
}

/// While it lasts, what a write cannot deliver is no signal: SIGPIPE (nobody reads) and SIGXFSZ (the file may not grow)
/// would end a program that has done nothing.
struct Quiet {
    /// The thread's signal mask of before, if it was changed.
    mask: Option<u64>,
    /// The signals that waited before.
    waiting: u64,
}

impl Quiet {
    const SIGNALS: [(i32, i32); 2] = [(libc::EPIPE, libc::SIGPIPE), (libc::EFBIG, libc::SIGXFSZ)];

    /// The signal set of the kernel.
    fn set(signal: i32) -> u64 {
        1 << (signal - 1)
    }

    /// The mask of before; `None` if the system refuses.
    fn change_mask(how: i32, set: u64) -> Option<u64> {
        let mut before = 0u64;
        // SAFETY: the kernel reads and writes eight bytes each.
        let result = unsafe {
            sys::call4(
                libc::SYS_rt_sigprocmask,
                how as usize,
                &raw const set as usize,
                &raw mut before as usize,
                size_of::<u64>(),
            )
        };
        (result == 0).then_some(before)
    }

    fn begin() -> Self {
        let both = Self::SIGNALS
            .iter()
            .fold(0, |set, (_, signal)| set | Self::set(*signal));
        let mask = Self::change_mask(libc::SIG_BLOCK, both);
        let mut waiting = 0u64;
        // Only what was blocked before can wait.
        if mask.is_some_and(|mask| mask & both != 0) {
            // SAFETY: the kernel writes eight bytes.
            unsafe {
                sys::call3(
                    libc::SYS_rt_sigpending,
                    &raw mut waiting as usize,
                    size_of::<u64>(),
                    0,
                )
            };
        }
        Self { mask, waiting }
    }

    /// Takes the signal that came with a write's error, if it did not wait before.
    fn take(&self, result: isize) {
        for (error, signal) in Self::SIGNALS {
            if result == -(error as isize) && self.waiting & Self::set(signal) == 0 {
                let set = Self::set(signal);
                let at_once = libc::timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                // SAFETY: the kernel reads eight bytes, and the time.
                unsafe {
                    sys::call4(
                        libc::SYS_rt_sigtimedwait,
                        &raw const set as usize,
                        0,
                        &raw const at_once as usize,
                        size_of::<u64>(),
                    )
                };
            }
        }
    }

    fn end(self) {
        if let Some(mask) = self.mask {
            Self::change_mask(libc::SIG_SETMASK, mask);
        }
    }
}
