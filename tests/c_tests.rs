//! Runs the programs in `c_tests/`: preloaded with `libhakmem.so`, linked against it, and those
//! whose property also holds there on plain glibc as a control of the program itself.
//!
//! `HAKMEM_TEST_LIBRARY=/path/to/other.so` runs them on another library.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::{Outcome, Served, Stats, command, compiler, library, root, run, scratch};

/// How a program comes to its malloc; the names are those that `c_tests/check.h` knows.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Preload,
    Linked,
    Control,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Preload => "preload",
            Mode::Linked => "linked",
            Mode::Control => "control",
        }
    }
}

/// One program of `c_tests/`.
struct Program {
    name: &'static str,
    /// The executable for all modes but `Linked`.
    plain: OnceLock<PathBuf>,
}

/// What the compiler is asked for beyond the language: programs that test must be clean.
const FLAGS: [&str; 7] = [
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Werror",
    "-pthread",
];

impl Program {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            plain: OnceLock::new(),
        }
    }

    fn source(&self) -> PathBuf {
        let c = root().join("c_tests").join(self.name).with_extension("c");
        if c.exists() {
            c
        } else {
            c.with_extension("cpp")
        }
    }

    /// Compiles it into an executable called after the program and `kind`.
    fn compile(&self, kind: &str, arguments: &[&str]) -> PathBuf {
        let source = self.source();
        let executable = executables().join(format!("{}.{kind}", self.name));
        let mut compiler = compiler(&source);
        compiler
            .args(FLAGS)
            .arg("-I")
            .arg(root().join("include"))
            .arg(&source)
            .arg("-o")
            .arg(&executable)
            .args(arguments);
        run(&mut compiler).must_succeed();
        executable
    }

    fn plain(&self) -> &Path {
        self.plain.get_or_init(|| self.compile("plain", &[]))
    }

    fn linked(&self) -> PathBuf {
        let folder = link_folder().display();
        self.compile(
            "linked",
            &[
                &format!("-L{folder}"),
                &format!("-Wl,-rpath,{folder}"),
                "-lhakmem",
            ],
        )
    }

    /// Runs it in one mode; preloaded, the walk over all structures at exit must find them sound.
    fn pass(&self, mode: Mode) {
        let executable = match mode {
            Mode::Linked => self.linked(),
            Mode::Preload | Mode::Control => self.plain().to_owned(),
        };
        let mut command = test_command(&executable, mode);
        if mode != Mode::Preload {
            return silent(&run(&mut command));
        }
        let stats = Stats::new(self.name);
        stats.preload(&mut command);
        silent(&run(&mut command));
        // What these programs run besides themselves need not allocate.
        stats.must_be_sound(Served::Some);
    }

    /// Runs it preloaded under a setting of hakmem, which must switch off just these features.
    fn pass_with(&self, (name, value): (&str, &str), switched_off: &[&str]) {
        let stats = Stats::new(&format!("{}.{name}={value}", self.name));
        let mut command = test_command(self.plain(), Mode::Preload);
        stats.preload(&mut command);
        command.env(name, value);
        silent(&run(&mut command));
        let quoted: Vec<_> = switched_off
            .iter()
            .map(|feature| format!("\"{feature}\""))
            .collect();
        let features = quoted.join(",");
        for report in stats.must_be_sound(Served::All) {
            let list = format!("\"switched_off\":[{features}]");
            assert!(report.contains(&list), "not {list}: {report}");
        }
    }
}

fn test_command(executable: &Path, mode: Mode) -> Command {
    let mut command = command(executable);
    command
        .env("TEST_MODE", mode.name())
        .env("TEST_LIBRARY", library());
    // More rounds than usual, by hand.
    if let Some(rounds) = std::env::var_os("TEST_ROUNDS") {
        command.env("TEST_ROUNDS", rounds);
    }
    command
}

/// Fails unless the program passed, and neither it nor the allocator had anything to say.
#[track_caller]
fn silent(outcome: &Outcome) {
    outcome.must_succeed();
    assert_eq!(outcome.stderr, "", "it passed, but not in silence");
}

fn executables() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| scratch("c_tests"))
}

/// A folder in which the linker and the dynamic linker both find the library: under the name that
/// `-lhakmem` stands for, and under its SONAME.
fn link_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = scratch("c_tests.lib");
        for name in ["libhakmem.so", "libhakmem.so.0"] {
            symlink(library(), folder.join(name)).expect("the folder is fresh");
        }
        folder
    })
}

/// A module with one test per mode for each program.
macro_rules! programs {
    (control: $($controlled:ident)*; hakmem: $($own:ident)*;) => {
        $(mod $controlled {
            use super::{Mode, Program};
            static PROGRAM: Program = Program::new(stringify!($controlled));

            #[test]
            fn control() {
                PROGRAM.pass(Mode::Control);
            }

            #[test]
            fn preloaded() {
                PROGRAM.pass(Mode::Preload);
            }

            #[test]
            fn linked() {
                PROGRAM.pass(Mode::Linked);
            }
        })*
        $(mod $own {
            use super::{Mode, Program};
            static PROGRAM: Program = Program::new(stringify!($own));

            #[test]
            fn preloaded() {
                PROGRAM.pass(Mode::Preload);
            }

            #[test]
            fn linked() {
                PROGRAM.pass(Mode::Linked);
            }
        })*

        const CONTROLLED: &[&str] = &[$(stringify!($controlled)),*];
        const OWN: &[&str] = &[$(stringify!($own)),*];
    };
}

programs! {
    control:
        address_space alignment calloc_zeroed clock_replaced errno_kept every_function exit_together failing_calls
        fork_first fork_threads guard_many handover keys_exhausted killed_by_abort limits locked_memory many_threads
        mapping_limit new_caught new_delete new_in_vain new_replaced new_with_header no_overlap open_library
        orphan_blocks out_of_memory
        realloc_contents remote_free small_stack soak sparse_maps start_and_exit statistics stress
        thread_churn thread_exit thread_local_objects trim_and_options turnover usable_size zero_and_null;
    hakmem:
        exit_in_handler extensions foreign_pointers fork_bare fork_inherits fork_signal fork_steps fork_visit hak_api huge_pages
        knobs large_heap
        learning many_large memory_returns others_free report_unread resident_heap;
}

/// No program is forgotten above, and each has a control exactly if it says so.
#[test]
fn every_program_is_run() {
    let mut controlled = BTreeSet::new();
    let mut own = BTreeSet::new();
    for file in fs::read_dir(root().join("c_tests")).expect("the folder is there") {
        let path = file.expect("the folder is readable").path();
        let kind = path.extension().and_then(|kind| kind.to_str());
        if !matches!(kind, Some("c" | "cpp")) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("sources are text");
        let name = path.file_stem().expect("it has a name").to_string_lossy();
        let set = if text.lines().any(|line| line == "// control: glibc") {
            &mut controlled
        } else {
            &mut own
        };
        assert!(set.insert(name.into_owned()), "two programs of one name");
    }
    let listed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(controlled, listed(CONTROLLED));
    assert_eq!(own, listed(OWN));
}

/// The stress program under each setting that takes a part of the allocator away.
mod stress_with {
    use super::Program;

    static STRESS: Program = Program::new("stress");
    static HANDOVER: Program = Program::new("handover");
    static CALLOC: Program = Program::new("calloc_zeroed");

    fn pass(setting: (&str, &str), switched_off: &[&str]) {
        for program in [&STRESS, &HANDOVER, &CALLOC] {
            program.pass_with(setting, switched_off);
        }
    }

    macro_rules! settings {
        ($($test:ident: $name:literal = $value:literal switches off [$($feature:literal)*];)*) => {
            $(#[test]
            fn $test() {
                pass(($name, $value), &[$($feature),*]);
            })*
        };
    }

    settings! {
        no_superslabs: "HAKMEM_TINY_USE_SUPERSLAB" = "0" switches off ["superslab"];
        preallocation: "HAKMEM_TINY_PREALLOCATE" = "1" switches off [];
        no_preallocation: "HAKMEM_TINY_PREALLOCATE" = "0" switches off ["preallocate"];
        no_magazines: "HAKMEM_DISABLE_MAGAZINE" = "1" switches off ["magazine"];
        no_outbox: "HAKMEM_DISABLE_OUTBOX" = "1" switches off ["outbox"];
        no_bigcache: "HAKMEM_DISABLE_BIGCACHE" = "1" switches off ["bigcache"];
        no_whale_cache: "HAKMEM_DISABLE_WHALE" = "1" switches off ["whale"];
        no_batches: "HAKMEM_DISABLE_BATCH" = "1" switches off ["batch"];
        no_populating: "HAKMEM_DISABLE_POPULATE" = "1" switches off ["populate"];
        no_huge_pages: "HAKMEM_DISABLE_THP" = "1" switches off ["thp"];
        no_hole_purging: "HAKMEM_DISABLE_HOLE_PURGE" = "1" switches off ["hole_purge"];
        no_sites: "HAKMEM_DISABLE_SITES" = "1" switches off ["sites"];
        no_credit: "HAKMEM_DISABLE_CREDIT" = "1" switches off ["credit"];
        no_density: "HAKMEM_DISABLE_DENSITY" = "1" switches off ["density"];
        no_growth: "HAKMEM_DISABLE_GROWTH" = "1" switches off ["growth"];
        no_demand: "HAKMEM_DISABLE_DEMAND" = "1" switches off ["demand"];
        no_pace: "HAKMEM_DISABLE_PACE" = "1" switches off ["pace"];
        no_strategies: "HAKMEM_DISABLE_ELO" = "1" switches off ["elo"];
        nothing_learned: "HAKMEM_EVO" = "off" switches off [
            "credit" "density" "growth" "demand" "pace" "elo"
        ];
        always_learning: "HAKMEM_MODE" = "learning" switches off [];
        fast: "HAKMEM_MODE" = "fast" switches off [];
        dense: "HAKMEM_DENSITY" = "dense" switches off ["density"];
        minimal: "HAKMEM_MINIMAL" = "1" switches off [
            "magazine" "outbox" "bigcache" "whale" "batch" "populate" "thp" "hole_purge" "sites"
            "credit" "density" "growth" "demand" "pace" "elo"
        ];
        nothing_kept_warm: "HAKMEM_WARM_MB" = "0" switches off [];
    }
}

/// `libhakmem.a` in a program that is otherwise dynamic, and in one that is entirely static.
mod static_library {
    use super::{Mode, Program, run, silent, test_command};
    use crate::support::static_library;

    fn pass(name: &'static str, kind: &str, arguments: &[&str]) {
        let program = Program::new(name);
        let library = static_library();
        let library = library.to_str().expect("cargo's paths are text");
        // The archive must be searched although a program calls malloc only through its libraries.
        let all = [&["-Wl,-u,malloc,--build-id", library], arguments].concat();
        let executable = program.compile(kind, &all);
        // There is no shared library that could be asked which one serves.
        let mut command = test_command(&executable, Mode::Linked);
        command.env_remove("TEST_LIBRARY");
        // Which build it is stands elsewhere in each kind of program.
        let profile = executable.with_extension(format!("{kind}.profile"));
        let _ = std::fs::remove_file(&profile);
        command.env("HAKMEM_PROFILE", &profile);
        silent(&run(&mut command));
        let saved = std::fs::read_to_string(&profile).expect("a profile was saved");
        assert!(
            saved.starts_with("hakmem profile 1\nbuild "),
            "{name}: {saved}"
        );
        let symbols = run(crate::command("nm").arg(&executable));
        symbols.must_succeed();
        assert!(
            symbols.text().contains(" T hak_malloc"),
            "{name} does not contain hakmem"
        );
    }

    #[test]
    fn c() {
        pass("stress", "static_library", &[]);
        pass("thread_exit", "static_library", &[]);
    }

    #[test]
    fn cpp() {
        pass("new_delete", "static_library", &[]);
    }

    #[test]
    fn c_in_static_program() {
        pass("stress", "static", &["-static"]);
        pass("thread_exit", "static", &["-static"]);
        pass("fork_first", "static", &["-static"]);
        pass("fork_bare", "static", &["-static"]);
        pass("start_and_exit", "static", &["-static"]);
    }

    #[test]
    fn c_in_static_program_anywhere() {
        pass("start_and_exit", "static-pie", &["-static-pie"]);
    }

    #[test]
    fn cpp_in_static_program() {
        pass("new_delete", "static", &["-static"]);
        pass("new_in_vain", "static", &["-static"]);
        // An archive gives what somebody needs, and hakmem has to do without.
        let thrower = "-Wl,-u,_ZSt17__throw_bad_allocv";
        pass("new_caught", "static", &["-static", thrower]);
    }
}
