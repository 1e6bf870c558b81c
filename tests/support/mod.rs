//! What the tests that run other programs share: the library, a place for files, and a way to run a
//! command that ends in every case.

#![allow(dead_code, reason = "each test uses a part of this")]

pub(crate) mod injector;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The root of the source tree.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The release build of `libhakmem.so`, up to date, or what `HAKMEM_TEST_LIBRARY` names instead:
/// another build, or another allocator to try a test on.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| match std::env::var_os("HAKMEM_TEST_LIBRARY") {
        Some(path) => fs::canonicalize(&path).expect("HAKMEM_TEST_LIBRARY names a file"),
        None => built().join("libhakmem.so"),
    })
}

/// The program of that name in `c_tests/`, compiled into `folder`.
#[track_caller]
pub(crate) fn compiled(name: &str, folder: &Path) -> PathBuf {
    let program = folder.join(name);
    let mut compiler = command("cc");
    compiler
        .args(["-std=gnu17", "-O2", "-g", "-pthread", "-o"])
        .arg(&program)
        .arg(root().join("c_tests").join(name).with_extension("c"));
    run(&mut compiler).must_succeed();
    program
}

/// The release build of `libhakmem.a`, up to date, or the one beside `HAKMEM_TEST_LIBRARY`.
pub(crate) fn static_library() -> PathBuf {
    library().with_extension("a")
}

/// Builds both and returns their folder. Cargo has given up its lock on the target directory by the
/// time it runs tests, so this neither waits for it nor builds a second time what is there.
#[track_caller]
fn built() -> &'static Path {
    static BUILT: OnceLock<Result<PathBuf, Outcome>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .expect("cargo puts tmp into the target directory");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build = run(Command::new(cargo)
            .args(["build", "--quiet", "--release", "--package", "ld_preload"])
            .arg("--target-dir")
            .arg(target)
            .current_dir(root()));
        if build.status.success() {
            Ok(target.join("release"))
        } else {
            Err(build)
        }
    });
    match built {
        Ok(folder) => folder,
        Err(build) => {
            build.must_succeed();
            unreachable!("it has failed")
        }
    }
}

/// A fresh folder below cargo's target directory.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the target directory is writable");
    folder
}

/// Whether a command of this name can be run.
pub(crate) fn has(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(command).is_file())
}

/// Makes sure that a command is there, if need be by installing its Debian package; where that is not
/// allowed, the test fails by naming it.
#[track_caller]
pub(crate) fn need(tool: &str, package: &str) {
    let there = || has(tool);
    assert!(
        there() || install(&[package], there),
        "{tool} is missing; install it: apt-get install {package}"
    );
}

/// Installs Debian packages, if this may; whether what they are needed for is `there` then.
pub(crate) fn install(packages: &[&str], there: impl Fn() -> bool) -> bool {
    static INSTALLING: Mutex<()> = Mutex::new(());
    // SAFETY: geteuid has no preconditions.
    let may_install = unsafe { libc::geteuid() } == 0 && has("apt-get") && !packages.is_empty();
    if !may_install {
        return false;
    }
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    // Another test may have done it meanwhile.
    if there() {
        return true;
    }
    let install = || {
        let mut apt = command("apt-get");
        apt.args(["install", "-y", "-q", "--no-install-recommends"])
            .args(["-o", "DPkg::Lock::Timeout=300"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut apt)
    };
    if !install().status.success() {
        // A fresh system has no package lists yet.
        run(command("apt-get").args(["update", "-q"]));
        install();
    }
    there()
}

/// The compiler for a program, told the version of its language.
#[track_caller]
pub(crate) fn compiler(source: &Path) -> Command {
    let (name, package, standard) = match source.extension().and_then(OsStr::to_str) {
        Some("cpp") => ("c++", "g++", "-std=c++17"),
        _ => ("cc", "gcc", "-std=gnu17"),
    };
    need(name, package);
    let mut compiler = command(name);
    compiler.arg(standard);
    compiler
}

/// A command without what would change an allocator's behaviour: the settings of this test run
/// itself, and those of glibc and of hakmem.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("HAKMEM_")
            || name.starts_with("MALLOC_")
            || name.starts_with("TEST_")
            || name == "LD_PRELOAD"
            || name == "GLIBC_TUNABLES"
        {
            command.env_remove(&*name);
        }
    }
    command.env("LC_ALL", "C");
    command
}

/// How a command ended and what it said.
pub(crate) struct Outcome {
    what: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    hung: Option<String>,
}

impl Outcome {
    /// Fails the test, with all there is to know, unless the command exited with 0.
    #[track_caller]
    pub(crate) fn must_succeed(&self) {
        if let Some(threads) = &self.hung {
            panic!("hangs: {}\n{}\n{threads}", self.what, self.stderr);
        }
        assert!(
            self.status.success(),
            "{}\nended with {}{}\n{}\n{}",
            self.what,
            self.status,
            match self.status.signal() {
                Some(_) if self.status.core_dumped() => " (core dumped)",
                _ => "",
            },
            shorten(&String::from_utf8_lossy(&self.stdout)),
            shorten(&self.stderr),
        );
    }

    /// What it wrote on stdout, as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// The end of a long text: that is where programs say what went wrong.
pub(crate) fn shorten(text: &str) -> String {
    const LONG: usize = 6000;
    if text.len() <= LONG {
        return text.to_owned();
    }
    let mut start = text.len() - LONG;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    format!("[…]{}", &text[start..])
}

/// No test is decided by time: this only keeps a hang from lasting until somebody looks.
const WATCHDOG: Duration = Duration::from_secs(15 * 60);

/// Runs a command to its end. Whatever it has left behind in its process group is then killed.
pub(crate) fn run(command: &mut Command) -> Outcome {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    // Files, not pipes: they neither fill up nor wait for a grandchild to close them.
    let file = |kind: &str| {
        let name = format!("{}.{number}.{kind}", std::process::id());
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
    };
    let (stdout, stderr) = (file("stdout"), file("stderr"));
    let create = |path: &Path| File::create(path).expect("the target directory is writable");
    let what = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(create(&stdout))
        .stderr(create(&stderr))
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("{what}: {error}"));

    let started = Instant::now();
    let mut hung = None;
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            break status;
        }
        if hung.is_none() && started.elapsed() > WATCHDOG {
            hung = Some(threads_of_group(child.id()));
            kill_group(child.id());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    kill_group(child.id());
    let read = |path: &Path| {
        let bytes = fs::read(path).expect("we have just created it");
        let _ = fs::remove_file(path);
        bytes
    };
    Outcome {
        what,
        status,
        stdout: read(&stdout),
        stderr: String::from_utf8_lossy(&read(&stderr)).into_owned(),
        hung,
    }
}

fn kill_group(leader: u32) {
    let group = -i32::try_from(leader).expect("a process number is positive");
    // SAFETY: kill has no preconditions on memory; the group is that of a child that we started.
    unsafe { libc::kill(group, libc::SIGKILL) };
}

/// Where each thread of a process group waits, for the report of a hang.
fn threads_of_group(leader: u32) -> String {
    let mut report = String::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // Behind the name, which may hold anything: state, parent, group.
        let group = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(2));
        if group != Some(&leader.to_string()) {
            continue;
        }
        for thread in fs::read_dir(process.path().join("task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let read = |name: &str| {
                let text = fs::read_to_string(thread.path().join(name)).unwrap_or_default();
                text.trim().to_owned()
            };
            report += &format!(
                "{} {}: {}; system call {}\n",
                thread.path().display(),
                read("comm"),
                read("wchan"),
                read("syscall"),
            );
        }
    }
    report
}

/// Where a preloaded process and its children leave their stats: one file for each that ends in
/// the regular way.
pub(crate) struct Stats {
    folder: PathBuf,
}

impl Stats {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            folder: scratch(&format!("{name}.stats")),
        }
    }

    /// Preloads the library into a command and makes it report here.
    pub(crate) fn preload(&self, command: &mut Command) {
        let file = self.folder.join("%p.json");
        command
            .env("LD_PRELOAD", library())
            .env("HAKMEM_STATS", format!("json,{}", file.display()));
    }

    /// Fails unless at least one process reported, hakmem served those that it should have, and none
    /// lost a block. Returns the reports.
    #[track_caller]
    pub(crate) fn must_be_sound(&self, served: Served) -> Vec<String> {
        // Another allocator, there to try the tests on, reports nothing.
        if std::env::var_os("HAKMEM_TEST_LIBRARY").is_some_and(|path| !is_hakmem(&path)) {
            return Vec::new();
        }
        let mut reports = Vec::new();
        let mut idle = Vec::new();
        for file in fs::read_dir(&self.folder).expect("the folder is ours") {
            let path = file.expect("the folder is ours").path();
            let text = fs::read_to_string(&path).expect("a report is text");
            let version = string_field(&text, "version");
            assert_eq!(version, Some(env!("CARGO_PKG_VERSION")), "{path:?}: {text}");
            let check = string_field(&text, "check");
            assert_eq!(check, Some("ok"), "{path:?}: {text}");
            match number_field(&text, "allocations") {
                Some(0) => idle.push(text),
                Some(_) => reports.push(text),
                None => panic!("{path:?}: allocations are not counted: {text}"),
            }
        }
        assert!(!reports.is_empty(), "hakmem served no process");
        assert!(
            served == Served::Some || idle.is_empty(),
            "hakmem served {} processes, but not {}: {}",
            reports.len(),
            idle.len(),
            idle[0],
        );
        reports
    }
}

/// How many of the processes that left stats have to have allocated from hakmem.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Served {
    All,
    /// Among them are programs that never allocate, as true, or have an allocator of their own, as
    /// rustc.
    Some,
}

fn is_hakmem(path: &OsStr) -> bool {
    path.to_string_lossy().contains("libhakmem")
}

/// What follows `"name":` in a JSON text, wherever it first occurs.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("\"{name}\""))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

fn string_field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    Some(field(text, name)?.strip_prefix('"')?.split_once('"')?.0)
}

fn number_field(text: &str, name: &str) -> Option<u64> {
    let rest = field(text, name)?;
    let end = rest
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}
