//! Runs the programs in `c_tests/misuse/`, each of which makes one mistake with the heap, and compares what
//! comes of it with what the lines at their heads promise; `c_tests/misuse/misuse.h` explains them. And:
//! programs without mistakes run under `HAKMEM_GUARD` as they do without.

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use support::{Outcome, command, compiler, library, root, run, scratch};

/// What a program must come to.
#[derive(Clone, PartialEq, Debug)]
enum Ending {
    /// SIGABRT, after one line about this call, for this reason.
    Abort { call: String, why: String },
    /// SIGSEGV.
    Fault,
    /// Status 0.
    Success,
}

impl Ending {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "SIGSEGV" => Some(Self::Fault),
            "exit 0" => Some(Self::Success),
            _ => {
                let (call, why) = text.strip_prefix("abort ")?.split_once(": ")?;
                Some(Self::Abort {
                    call: call.into(),
                    why: why.into(),
                })
            }
        }
    }

    /// Says what is not as it should be.
    fn differs(&self, outcome: &Outcome) -> Option<String> {
        let said = &outcome.stderr;
        let (signal, line) = match self {
            Self::Success => (None, String::new()),
            Self::Fault => (Some(libc::SIGSEGV), String::new()),
            Self::Abort { call, why } => {
                let text = outcome.text();
                let block = text.lines().last().unwrap_or("none announced");
                (
                    Some(libc::SIGABRT),
                    format!("hakmem: {call}({block}): {why}\n"),
                )
            }
        };
        let ended =
            outcome.status.signal() == signal && (signal.is_some() || outcome.status.success());
        (!ended || *said != line)
            .then(|| format!("{}, and said {said:?} instead of {line:?}", outcome.status))
    }
}

/// The modes, by their names in the programs, and the value of `HAKMEM_GUARD`.
const MODES: [(&str, &str); 2] = [("guard", "1"), ("default", "")];

struct Case {
    name: String,
    source: PathBuf,
    endings: Vec<(&'static str, &'static str, Ending)>,
}

fn cases() -> Vec<Case> {
    let folder = root().join("c_tests/misuse");
    let mut sources: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|kind| kind != "h"))
        .collect();
    sources.sort();
    sources
        .into_iter()
        .map(|source| {
            let text = fs::read_to_string(&source).expect("it can be read");
            let name = source.file_stem().expect("it has a name").to_string_lossy();
            let endings = text
                .lines()
                .map_while(|line| line.strip_prefix("// "))
                .map(|line| {
                    let (mode, ending) = line.split_once(": ").expect("MODE: ENDING");
                    let (mode, value) = MODES
                        .into_iter()
                        .find(|(name, _)| *name == mode)
                        .unwrap_or_else(|| panic!("{name}: there is no mode {mode}"));
                    let ending = Ending::parse(ending)
                        .unwrap_or_else(|| panic!("{name}: {ending} is no ending"));
                    (mode, value, ending)
                })
                .collect();
            Case {
                name: name.into_owned(),
                source,
                endings,
            }
        })
        .collect()
}

fn compile(source: &Path, executable: &Path) {
    let mut compiler = compiler(source);
    compiler
        // The mistakes are to reach the machine as they are written, and unremarked.
        .args(["-O0", "-g", "-w", "-pthread", "-fno-builtin"])
        .arg(source)
        .arg("-o")
        .arg(executable);
    run(&mut compiler).must_succeed();
}

#[test]
fn each_mistake_comes_to_what_is_promised() {
    let folder = scratch("misuse");
    let cases = cases();
    assert!(cases.len() >= 50, "only {} programs", cases.len());
    library();
    let next = Mutex::new(cases.iter());
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(case) = next.lock().expect("nobody panics with it").next() else {
                        break;
                    };
                    let executable = folder.join(&case.name);
                    compile(&case.source, &executable);
                    for (mode, value, ending) in &case.endings {
                        let mut command = command(&executable);
                        command
                            .env("LD_PRELOAD", library())
                            .env("HAKMEM_GUARD", value)
                            .env("TEST_MODE", "preload")
                            .env("TEST_LIBRARY", library());
                        if let Some(how) = ending.differs(&run(&mut command)) {
                            wrong
                                .lock()
                                .expect("nobody panics with it")
                                .push(format!("{} ({mode}): {how}", case.name));
                        }
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("nobody panics with it");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_program_promises_something_of_the_guard() {
    for case in cases() {
        let guarded = case.endings.iter().filter(|(mode, ..)| *mode == "guard");
        assert_eq!(guarded.count(), 1, "{}", case.name);
    }
}

/// Programs without mistakes, each for a part of the API or of a process's life.
const SOUND: [&str; 11] = [
    "alignment.c",
    "foreign_pointers.c",
    "fork_first.c",
    "fork_signal.c",
    "hak_api.c",
    "handover.c",
    "new_with_header.cpp",
    "no_overlap.c",
    "start_and_exit.c",
    "thread_exit.c",
    "zero_and_null.c",
];

#[test]
fn sound_programs_run_guarded() {
    let folder = scratch("guarded");
    for name in SOUND {
        let source = root().join("c_tests").join(name);
        let executable = folder.join(name).with_extension("");
        let mut compiler = compiler(&source);
        compiler
            .args(["-O2", "-g", "-pthread", "-I"])
            .arg(root().join("include"))
            .arg(&source)
            .arg("-o")
            .arg(&executable)
            .arg(library());
        run(&mut compiler).must_succeed();
        let report = folder.join(format!("{name}.json"));
        let mut command = command(&executable);
        command
            .env("LD_PRELOAD", library())
            .env("HAKMEM_GUARD", "1")
            .env("HAKMEM_STATS", format!("json,{}", report.display()))
            .env("TEST_MODE", "preload")
            .env("TEST_LIBRARY", library());
        let outcome = run(&mut command);
        outcome.must_succeed();
        assert_eq!(outcome.stderr, "", "{name}");
        let text = fs::read_to_string(&report).expect("the report was written");
        assert!(
            text.contains("\"check\":\"ok\"") && text.contains("\"guard\":true"),
            "{name}: {text}"
        );
    }
}
