//! How the library comes into a process: with other libraries that bring it along, before everything
//! else has started, and into a program that runs with more rights than its user.

mod support;

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{command, compiler, library, root, run, scratch, static_library};

/// Compiles `c_tests/loading/NAME`, in C if it says nothing else, into a file in `folder`.
fn compile(name: &str, folder: &Path, file: &str, arguments: &[&str]) -> PathBuf {
    let mut source = root().join("c_tests/loading").join(name);
    if source.extension().is_none() {
        source.set_extension("c");
    }
    let executable = folder.join(file);
    let mut compiler = compiler(&source);
    compiler
        .args(["-O2", "-g", "-pthread"])
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"])
        .arg(root().join("include"))
        .arg(source)
        .arg("-o")
        .arg(&executable)
        .args(arguments);
    run(&mut compiler).must_succeed();
    executable
}

/// A folder with the shared library as the linkers look for it; and what finds it there.
fn folder_with_library(name: &str) -> (PathBuf, [String; 3]) {
    let folder = scratch(name);
    for name in ["libhakmem.so", "libhakmem.so.0"] {
        symlink(library(), folder.join(name)).expect("the folder is fresh");
    }
    let here = folder.display();
    let arguments = [
        format!("-L{here}"),
        format!("-Wl,-rpath,{here}"),
        "-lhakmem".to_owned(),
    ];
    (folder, arguments)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("cargo's paths are text")
}

/// Passes in silence.
#[track_caller]
fn pass(command: &mut Command) {
    let outcome = run(command);
    outcome.must_succeed();
    assert_eq!(outcome.stderr, "", "it passed, but not in silence");
}

/// Two plugins, linked with the shared library or with the archive inside.
fn plugins(folder: &Path, hakmem: &[&str]) -> [PathBuf; 2] {
    ["one", "two"].map(|name| {
        let define = format!("-DPLUGIN={name}");
        let mut arguments = vec!["-shared", "-fPIC", define.as_str()];
        arguments.extend(hakmem);
        compile("plugin", folder, &format!("lib{name}.so"), &arguments)
    })
}

/// A program that is linked with both plugins.
fn linked_host(folder: &Path) -> PathBuf {
    let (here, rpath) = (
        format!("-L{}", folder.display()),
        format!("-Wl,-rpath,{}", folder.display()),
    );
    let arguments = ["-DLINKED", &here, &rpath, "-lone", "-ltwo"];
    compile("host", folder, "host.linked", &arguments)
}

/// Two libraries that each link the shared one have the same hakmem.
#[test]
fn two_libraries_that_link_it() {
    let (folder, hakmem) = folder_with_library("loading.two_linked");
    let [one, two] = plugins(&folder, &hakmem.each_ref().map(String::as_str));
    let host = compile("host", &folder, "host", &[]);
    let with = |host: &Path| {
        let mut command = command(host);
        command.arg(&one).arg(&two).env("TEST_CROSS", "1");
        command
    };
    pass(&mut with(&host));
    pass(with(&host).env("LD_PRELOAD", library()));
    pass(&mut with(&linked_host(&folder)));
}

/// Two libraries that each contain it. Opened one by one, each has its own, and takes it along when it
/// is closed; linked, the first one's serves both.
#[test]
fn two_libraries_that_contain_it() {
    let folder = scratch("loading.two_static");
    let archive = static_library();
    let [one, two] = plugins(&folder, &[text(&archive)]);
    let host = compile("host", &folder, "host", &[]);
    pass(command(&host).arg(&one).arg(&two));
    let linked = linked_host(&folder);
    pass(command(&linked).arg(&one).arg(&two).env("TEST_CROSS", "1"));
}

/// Constructors of libraries that are initialised before ours allocate.
#[test]
fn memory_from_before_our_constructor() {
    let (folder, hakmem) = folder_with_library("loading.early");
    compile("early", &folder, "libearly.so", &["-shared", "-fPIC"]);
    let [here, rpath, hakmem] = hakmem.each_ref().map(String::as_str);
    let plain = compile("early_user", &folder, "user", &[here, rpath, "-learly"]);
    pass(&mut command(&plain));
    pass(
        command(&plain)
            .env("LD_PRELOAD", library())
            .env("TEST_HAKMEM", "1"),
    );
    let arguments = ["-Wl,--no-as-needed", here, rpath, "-learly", hakmem];
    let linked = compile("early_user", &folder, "user.linked", &arguments);
    pass(command(&linked).env("TEST_HAKMEM", "1"));
}

/// A library in C++ whose exceptions are its own, in a program that has none.
#[test]
fn a_library_that_contains_its_cpp_library_catches_bad_alloc() {
    let (folder, _) = folder_with_library("loading.new_plugin");
    let host = compile("new_host", &folder, "host", &[]);
    // An unwinder that is part of the library shows nobody how to catch what a handler throws.
    let kinds: [(&str, &[&str], &[&str]); 3] = [
        ("linked", &[], &["throwing"]),
        ("contains", &["-static-libstdc++"], &["throwing"]),
        (
            "contains_all",
            &["-static-libstdc++", "-static-libgcc"],
            &[],
        ),
    ];
    for (kind, linking, arguments) in kinds {
        let linking = [&["-shared", "-fPIC"], linking].concat();
        let plugin = compile("new_plugin.cpp", &folder, &format!("{kind}.so"), &linking);
        pass(
            command(&host)
                .arg(&plugin)
                .args(arguments)
                .env("LD_PRELOAD", library())
                .env("TEST_LIBRARY", library())
                .env("TEST_MODE", "preload"),
        );
    }
}

/// Nobody waits before a fork, and nothing has to be undone in the parent.
#[test]
fn no_handler_runs_before_a_fork() {
    let (folder, _) = folder_with_library("loading.atfork");
    let program = compile("atfork", &folder, "atfork", &["-rdynamic"]);
    pass(command(&program).env("LD_PRELOAD", library()));
}

/// A program that runs with the rights of another user ignores what this one put into the
/// environment: it names files, and switches things off.
#[test]
fn a_privileged_program_ignores_the_environment() {
    const OWNER: u32 = 1;
    const USER: u32 = 65534;
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return not_tested("only root can make a program that runs as another user");
    }
    // Where that other user may go, unlike perhaps the target directory.
    let folder = std::env::temp_dir().join(format!("hakmem-privileged.{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).expect("a folder for temporary files is writable");
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).expect("it is ours");
    fs::copy(library(), folder.join("libhakmem.so")).expect("the folder is fresh");
    symlink("libhakmem.so", folder.join("libhakmem.so.0")).expect("the folder is fresh");
    let here = format!("-L{}", folder.display());
    let rpath = format!("-Wl,-rpath,{}", folder.display());
    let archive = static_library();
    let kinds: [(&str, &[&str]); 3] = [
        ("linked", &[&here, &rpath, "-lhakmem"]),
        ("contains", &[text(&archive)]),
        ("static", &["-static", text(&archive)]),
    ];
    for (kind, arguments) in kinds {
        let program = compile("privileged", &folder, kind, arguments);
        let report = folder.join(format!("{kind}.report"));
        let play = || {
            let mut command = command(&program);
            command
                .env("HAKMEM_STATS", &report)
                .env("HAKMEM_VERBOSE", "1")
                .env("HAKMEM_NO_SUCH_KNOB", "1")
                .current_dir("/")
                .uid(USER)
                .gid(USER);
            let outcome = run(&mut command);
            outcome.must_succeed();
            (outcome.text(), outcome.stderr)
        };
        // As an ordinary program it does as it is told, or what follows would show nothing.
        let (said, noise) = play();
        assert_eq!(said, "AT_SECURE=0\n", "{kind}");
        assert!(
            noise.contains("hakmem") && report.exists(),
            "{kind}: {noise}"
        );
        fs::remove_file(&report).expect("the folder is ours");

        chown(&program, Some(OWNER), Some(OWNER)).expect("root may");
        fs::set_permissions(&program, Permissions::from_mode(0o4755)).expect("root may");
        let (said, noise) = play();
        if said == "AT_SECURE=0\n" {
            let _ = fs::remove_dir_all(&folder);
            return not_tested("the place for temporary files does not allow setuid programs");
        }
        assert_eq!(said, "AT_SECURE=1\n", "{kind}");
        assert_eq!(noise, "", "{kind}");
        assert!(!report.exists(), "{kind}: {}", report.display());
    }
    fs::remove_dir_all(&folder).expect("the folder is ours");
}

fn not_tested(why: &str) {
    let _ = writeln!(std::io::stderr(), "NOT TESTED: setuid: {why}");
}
