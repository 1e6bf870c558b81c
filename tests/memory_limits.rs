//! How little memory a program under hakmem can live with.
//!
//! In a control group that may use little, nothing fails: the system kills. So what hakmem keeps because
//! it may be wanted again must not be what a program dies of that lives on glibc. Where no control group
//! can be made, a line on stderr says so.

mod support;

use std::ffi::{CStr, CString};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Outcome, Served, Stats, command, compiled, library, run, scratch};

/// A control group that is removed at the end of the test.
struct Group {
    folder: PathBuf,
    /// The names of its limit, of one on memory and swap together or on swap, and of its peak.
    names: [&'static str; 3],
    /// Whether the second is on the sum.
    sum: bool,
}

impl Group {
    /// Makes one, of whichever version of control groups is there.
    fn new(name: &str) -> io::Result<Self> {
        let name = format!("hakmem-{name}-{}", std::process::id());
        let first = Path::new("/sys/fs/cgroup/memory");
        let second = Path::new("/sys/fs/cgroup");
        let group = if first.join("memory.limit_in_bytes").exists() {
            Self {
                folder: first.join(name),
                names: [
                    "memory.limit_in_bytes",
                    "memory.memsw.limit_in_bytes",
                    "memory.max_usage_in_bytes",
                ],
                sum: true,
            }
        } else {
            // Fails where the controller cannot be passed on, as in most containers.
            fs::write(second.join("cgroup.subtree_control"), "+memory")?;
            Self {
                folder: second.join(name),
                names: ["memory.max", "memory.swap.max", "memory.peak"],
                sum: false,
            }
        };
        fs::create_dir(&group.folder)?;
        fs::read(group.folder.join(group.names[0]))?;
        fs::read(group.folder.join(group.names[2]))?;
        Ok(group)
    }

    /// Lets it use so much memory, and no swap.
    fn limit(&self, bytes: u64) -> io::Result<()> {
        fs::write(self.folder.join(self.names[0]), bytes.to_string())?;
        // Not there without swap.
        let swap = if self.sum { bytes } else { 0 };
        let _ = fs::write(self.folder.join(self.names[1]), swap.to_string());
        Ok(())
    }

    /// The most that it ever used.
    fn peak(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join(self.names[2])).expect("it was there");
        text.trim().parse().expect("a number")
    }

    /// Has the command run in it from its first instruction on.
    fn contain(&self, command: &mut Command) {
        let path = self.folder.join("cgroup.procs");
        let path = CString::new(path.as_os_str().as_bytes()).expect("no NUL in a path");
        // SAFETY: system calls on memory that was allocated before the fork.
        unsafe {
            command.pre_exec(move || {
                let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                if file < 0 || libc::write(file, c"0".as_ptr().cast(), 1) != 1 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel may take a moment to see that it is empty.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() || !self.folder.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// Runs the program in a group of its own that may use `limit` bytes; how it ended, and its peak.
fn turnover(
    program: &Path,
    name: &str,
    limit: u64,
    stats: Option<&Stats>,
) -> io::Result<(Outcome, u64)> {
    let group = Group::new(name)?;
    group.limit(limit)?;
    let mut command = command(program);
    if let Some(stats) = stats {
        stats.preload(&mut command);
    }
    group.contain(&mut command);
    let outcome = run(&mut command);
    Ok((outcome, group.peak()))
}

#[test]
fn what_lives_on_glibc_lives_on_hakmem() {
    const MIB: u64 = 1 << 20;
    let program = compiled("turnover", &scratch("memory_cgroup"));

    let peak = match turnover(&program, "unlimited", 4096 * MIB, None) {
        Ok((outcome, peak)) => {
            outcome.must_succeed();
            peak
        }
        Err(error) => {
            let _ = writeln!(
                io::stderr(),
                "NOT TESTED: memory control groups: none can be made here: {error}"
            );
            return;
        }
    };
    // glibc needs 100 MiB for the 32 MiB that are live, because it keeps an arena for threads.
    let of_glibc = peak + 4 * MIB;
    let in_group = |name: &str, limit: u64, stats: Option<&Stats>| {
        turnover(&program, name, limit, stats).expect("a group could be made before")
    };
    in_group("glibc", of_glibc, None).0.must_succeed();
    let mut peaks = Vec::new();
    for limit in [of_glibc, 80 * MIB] {
        let stats = Stats::new(&format!("memory_cgroup.{limit}"));
        let (outcome, peak) = in_group("hakmem", limit, Some(&stats));
        outcome.must_succeed();
        stats.must_be_sound(Served::All);
        peaks.push(peak / MIB);
    }
    println!("glibc: {} MiB; hakmem: {peaks:?} MiB", peak / MIB);
}

/// `always` is what many distributions have. Here the file says so, and `c_tests/huge_pages.c` looks at what is refused;
/// where nobody may bind another file over it, a line on stderr says so.
#[test]
fn huge_pages_that_come_unasked_are_refused() {
    const ENABLED: &CStr = c"/sys/kernel/mm/transparent_hugepage/enabled";
    let folder = scratch("memory_unasked");
    let (program, always) = (compiled("huge_pages", &folder), folder.join("always"));
    fs::write(&always, "[always] madvise never\n").expect("the folder is ours");
    let always = CString::new(always.as_os_str().as_bytes()).expect("no NUL in a path");
    let seen_as_always = |command: &mut Command| {
        let always = always.clone();
        // SAFETY: system calls on memory that was allocated before the fork.
        unsafe {
            command.pre_exec(move || {
                let (no, none) = (std::ptr::null(), c"none".as_ptr());
                let private = libc::MS_REC | libc::MS_PRIVATE;
                // Who is not root may in a namespace of users of its own.
                let alone = libc::unshare(libc::CLONE_NEWNS) == 0
                    || libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) == 0;
                let done = alone
                    && libc::mount(none, c"/".as_ptr(), no, private, no.cast()) == 0
                    && libc::mount(
                        always.as_ptr(),
                        ENABLED.as_ptr(),
                        no,
                        libc::MS_BIND,
                        no.cast(),
                    ) == 0;
                if done {
                    Ok(())
                } else {
                    Err(io::Error::last_os_error())
                }
            });
        }
    };
    let mut trial = command("true");
    seen_as_always(&mut trial);
    if let Err(error) = trial.status() {
        let _ = writeln!(
            io::stderr(),
            "NOT TESTED: huge pages that come unasked: nothing can be bound over a file here: {error}"
        );
        return;
    }
    let stats = Stats::new("memory_unasked");
    let mut child = command(&program);
    stats.preload(&mut child);
    child
        .env("TEST_LIBRARY", library())
        .env("TEST_MODE", "preload");
    seen_as_always(&mut child);
    run(&mut child).must_succeed();
    stats.must_be_sound(Served::All);
}

#[test]
fn echo_starts_and_is_served_in_16000_kib_of_addresses() {
    const LIMIT: libc::rlim_t = 16_000 << 10;
    let stats = Stats::new("memory_limits.echo");
    let mut echo = command("/bin/echo");
    echo.arg("served");
    stats.preload(&mut echo);
    // SAFETY: a system call on memory of its own.
    unsafe {
        echo.pre_exec(|| {
            let limit = libc::rlimit {
                rlim_cur: LIMIT,
                rlim_max: LIMIT,
            };
            if libc::setrlimit(libc::RLIMIT_AS, &limit) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let outcome = run(&mut echo);
    outcome.must_succeed();
    assert_eq!(
        (outcome.text().as_str(), outcome.stderr.as_str()),
        ("served\n", "")
    );
    // Without memory it would start as well, because it bears NULL.
    for report in stats.must_be_sound(Served::All) {
        assert!(
            report.contains("\"superslabs\":1,") && !report.contains("\"small_live_blocks\":0,"),
            "no block was served: {report}"
        );
    }
}
