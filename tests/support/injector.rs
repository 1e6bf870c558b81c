//! Runs a program and lets some of its system calls fail, by ptrace: what `strace -e inject` does, but
//! the calls of all threads are counted together and from a given moment on. strace counts those of
//! each thread by themselves and from its start, so that it would fail the dynamic linker's own calls,
//! and never just the one call that comes Nth.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use libc::{c_int, c_long, pid_t};

/// Which calls are to fail, and how.
#[derive(Clone, Debug)]
pub(crate) struct Failures {
    /// The number of the system call.
    pub(crate) call: c_long,
    /// Which of its calls, counted from 1.
    pub(crate) which: RangeInclusive<usize>,
    /// The error that they return instead of being made.
    pub(crate) error: c_int,
}

/// How the program ended.
pub(crate) struct Injected {
    /// As `waitpid` says.
    pub(crate) status: c_int,
    /// Calls that could have failed.
    pub(crate) calls: usize,
    /// Those that did.
    pub(crate) failed: usize,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Injected {
    pub(crate) fn succeeded(&self) -> bool {
        libc::WIFEXITED(self.status) && libc::WEXITSTATUS(self.status) == 0
    }
}

/// A hang must not last until somebody looks; no test is decided by time.
const WATCHDOG: Duration = Duration::from_secs(300);

/// Runs `command` with the failures. The calls of `library` count from the start, those of anything
/// else from where the program says so: by a write of one byte to descriptor -1. One of two bytes
/// ends it all. `Err`: this process may not trace.
///
/// The program must not fork.
pub(crate) fn run(
    command: &mut Command,
    library: &Path,
    failures: &Failures,
) -> io::Result<Injected> {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let [stdout, stderr] = ["stdout", "stderr"].map(|kind| {
        let name = format!("injected.{}.{number}.{kind}", std::process::id());
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
    });
    command
        .stdin(Stdio::null())
        .stdout(File::create(&stdout)?)
        .stderr(File::create(&stderr)?);
    // SAFETY: both are plain system calls. The same addresses each time make the same calls.
    unsafe {
        command.pre_exec(|| {
            if libc::personality(libc::ADDR_NO_RANDOMIZE as _) < 0
                || libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) < 0
            {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    let child = pid_t::try_from(child.id()).expect("a process number is positive");
    let (done, watch) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if watch.recv_timeout(WATCHDOG) == Err(mpsc::RecvTimeoutError::Timeout) {
            // SAFETY: the child has not been waited for, so the number is its own.
            unsafe { libc::kill(child, libc::SIGKILL) };
        }
    });
    let mut tracer = Tracer {
        child,
        failures,
        file: fs::canonicalize(library)?.to_string_lossy().into_owned(),
        counting: false,
        over: false,
        calls: 0,
        failed: 0,
        failing: HashSet::new(),
        known: BTreeSet::from([child]),
        ours: HashMap::new(),
    };
    let status = tracer.follow();
    drop(done);
    watchdog.join().expect("it does not panic");
    let text = |path: &Path| -> io::Result<String> {
        let bytes = fs::read(path)?;
        fs::remove_file(path)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Injected {
        status: status?,
        calls: tracer.calls,
        failed: tracer.failed,
        stdout: text(&stdout)?,
        stderr: text(&stderr)?,
    })
}

struct Tracer<'a> {
    child: pid_t,
    failures: &'a Failures,
    file: String,
    /// The calls of all code count.
    counting: bool,
    /// None does any more.
    over: bool,
    calls: usize,
    failed: usize,
    /// Threads in a call that is to fail.
    failing: HashSet<pid_t>,
    /// Threads that have stopped for the first time.
    known: BTreeSet<pid_t>,
    /// Whether a call at this address is the library's.
    ours: HashMap<u64, bool>,
}

/// A ptrace request whose failure means that the thread is gone, which `waitpid` will tell.
fn ptrace(request: libc::c_uint, thread: pid_t, address: usize, data: usize) -> c_long {
    // SAFETY: requests that write are given memory of the caller's that has room for the answer.
    unsafe { libc::ptrace(request, thread, address, data) }
}

impl Tracer<'_> {
    /// Lets the program run to its end; what waitpid says of it.
    fn follow(&mut self) -> io::Result<c_int> {
        let mut status = 0;
        // SAFETY: waits for the child, which stops at its exec.
        if unsafe { libc::waitpid(self.child, &mut status, libc::__WALL) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let options =
            libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
        if ptrace(libc::PTRACE_SETOPTIONS, self.child, 0, options as usize) < 0 {
            return Err(io::Error::last_os_error());
        }
        ptrace(libc::PTRACE_SYSCALL, self.child, 0, 0);
        loop {
            // Other tests of this process wait for children of theirs.
            // SAFETY: waits for a child or tracee of this thread.
            let thread =
                unsafe { libc::waitpid(-1, &mut status, libc::__WALL | libc::__WNOTHREAD) };
            if thread < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            }
            if !libc::WIFSTOPPED(status) {
                if thread == self.child {
                    return Ok(status);
                }
                continue;
            }
            let first = self.known.insert(thread);
            let signal = match libc::WSTOPSIG(status) {
                signal if signal == libc::SIGTRAP | 0x80 => {
                    self.system_call(thread);
                    0
                }
                // An event, or the stop with which a new thread begins.
                libc::SIGTRAP if status >> 16 != 0 => 0,
                libc::SIGSTOP if first => 0,
                signal => signal as usize,
            };
            ptrace(libc::PTRACE_SYSCALL, thread, 0, signal);
        }
    }

    /// `thread` has stopped on its way into the kernel, or out of it.
    fn system_call(&mut self, thread: pid_t) {
        let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
        let size = size_of_val(&info);
        if ptrace(
            libc::PTRACE_GET_SYSCALL_INFO,
            thread,
            size,
            info.as_mut_ptr() as usize,
        ) < 0
        {
            return;
        }
        // SAFETY: zeroed, and written by the kernel as far as it goes.
        let info = unsafe { info.assume_init() };
        if info.op == libc::PTRACE_SYSCALL_INFO_EXIT {
            if self.failing.remove(&thread) {
                let error = self.failures.error;
                self.change(thread, |regs| regs.rax = -i64::from(error) as u64);
            }
            return;
        }
        // SAFETY: by its `op` it is that of an entry.
        let entry = unsafe { info.u.entry };
        if entry.nr == libc::SYS_write as u64 && entry.args[0] as i32 == -1 {
            self.counting = entry.args[2] == 1;
            self.over |= !self.counting;
        }
        if entry.nr != self.failures.call as u64
            || self.over
            || !(self.counting || self.is_ours(thread, info.instruction_pointer))
        {
            return;
        }
        self.calls += 1;
        if self.failures.which.contains(&self.calls) {
            self.failed += 1;
            self.failing.insert(thread);
            // The kernel knows no such call, and does nothing.
            self.change(thread, |regs| regs.orig_rax = u64::MAX);
        }
    }

    fn change(&self, thread: pid_t, change: impl FnOnce(&mut libc::user_regs_struct)) {
        let mut regs = MaybeUninit::<libc::user_regs_struct>::zeroed();
        if ptrace(libc::PTRACE_GETREGS, thread, 0, regs.as_mut_ptr() as usize) == 0 {
            // SAFETY: the kernel has written it.
            let mut regs = unsafe { regs.assume_init() };
            change(&mut regs);
            ptrace(libc::PTRACE_SETREGS, thread, 0, &raw const regs as usize);
        }
    }

    /// Whether `address` is in the code of the library.
    fn is_ours(&mut self, thread: pid_t, address: u64) -> bool {
        let file = &self.file;
        *self.ours.entry(address).or_insert_with(|| {
            let maps = fs::read_to_string(format!("/proc/{thread}/maps")).unwrap_or_default();
            maps.lines()
                .filter(|line| line.ends_with(file))
                .any(|line| {
                    let range = line.split(' ').next().unwrap_or_default();
                    let ends = range.split_once('-').map(|(start, end)| {
                        [start, end].map(|end| u64::from_str_radix(end, 16).unwrap_or(0))
                    });
                    ends.is_some_and(|[start, end]| (start..end).contains(&address))
                })
        })
    }
}
