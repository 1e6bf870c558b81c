//! What is delivered, seen from outside: the header, the symbols and properties of `libhakmem.so`, the
//! launcher, and the layers of the source tree.
//!
//! Goldens are renewed by `RENEW=1 cargo test --test packaging`; the difference is then in git's hands.

mod support;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use support::{need, root, scratch};

/// The release build of `libhakmem.so`, up to date.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .expect("tmp is in the target directory");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        run(Command::new(cargo)
            .args([
                "build",
                "--quiet",
                "--release",
                "--package",
                "ld_preload",
                "--target-dir",
            ])
            .arg(target)
            .current_dir(root()));
        target.join("release/libhakmem.so")
    })
}

/// Runs a command that must succeed; its stdout.
fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

fn output(command: &mut Command) -> Output {
    command
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// Runs a tool of binutils on the library.
fn inspect(tool: &str, arguments: &[&str]) -> String {
    run(Command::new(tool).args(arguments).arg(library()))
}

/// Compares what is with the committed golden, or renews that.
fn assert_golden(golden: &str, actual: &str) {
    let path = root().join(golden);
    if std::env::var_os("RENEW").is_some() {
        fs::write(&path, actual).expect("the golden is writable");
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if committed == actual {
        return;
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (old, new) = (lines(&committed), lines(actual));
    let mut difference = String::new();
    for line in old.difference(&new) {
        let _ = writeln!(difference, "- {line}");
    }
    for line in new.difference(&old) {
        let _ = writeln!(difference, "+ {line}");
    }
    panic!(
        "{golden} is out of date; if that is right: RENEW=1 cargo test --test packaging\n{difference}"
    );
}

#[test]
fn header_is_current() {
    let rendered =
        fs::read_to_string(concat!(env!("OUT_DIR"), "/hakmem.h")).expect("build.rs wrote it");
    assert_golden("include/hakmem.h", &rendered);
}

#[test]
fn header_serves_c_and_cpp() {
    need("g++", "g++");
    let folder = scratch("header");
    // A program may have a macro of that name when it comes to the header.
    let use_it = "#include <stdlib.h>\n#include <malloc.h>\n#define malloc another\n\
                  #include <hakmem.h>\n#include <hakmem.h>\n\
                  int main(void) { void *p = hak_malloc(1); cfree(p); free_sized(0, 1); return HAKMEM_VERSION_MAJOR; }\n";
    for (compiler, name, standards) in [
        ("gcc", "use.c", &["c89", "c99", "c11", "gnu17", "gnu2x"][..]),
        ("g++", "use.cpp", &["c++98", "c++11", "c++17", "gnu++20"]),
    ] {
        let source = folder.join(name);
        fs::write(&source, use_it).expect("scratch is writable");
        for standard in standards {
            run(Command::new(compiler)
                .arg(format!("-std={standard}"))
                .args([
                    "-Wall",
                    "-Wextra",
                    "-Wpedantic",
                    "-Wredundant-decls",
                    "-Werror",
                    "-fsyntax-only",
                    "-I",
                ])
                .arg(root().join("include"))
                .arg(&source));
        }
    }
}

#[test]
fn exports_are_the_intended_names() {
    let mut names: Vec<_> = inspect("nm", &["--dynamic", "--defined-only", "--format=posix"])
        .lines()
        .map(|line| line.split(' ').next().expect("a name").to_owned())
        .collect();
    names.sort_unstable();
    assert_golden("ld_preload/exports.golden", &(names.join("\n") + "\n"));
}

/// What the library takes from others: versioned symbols of libc, or weak ones that it lives without.
#[test]
fn nothing_is_unresolved() {
    for line in inspect("nm", &["--dynamic", "--undefined-only", "--format=posix"]).lines() {
        let (name, kind) = line.split_once(' ').expect("name and kind");
        assert!(
            kind.starts_with('w') || name.contains("@GLIBC_"),
            "{line}: from where?"
        );
    }
    let needed: Vec<_> = dynamic_section()
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .map(str::to_owned)
        .collect();
    assert!(
        needed
            .iter()
            .all(|line| line.contains("[libc.so.6]") || line.contains("[ld-linux")),
        "{needed:?}"
    );
    let report = output(Command::new("ldd").arg("-r").arg(library()));
    let text = String::from_utf8_lossy(&report.stdout) + String::from_utf8_lossy(&report.stderr);
    assert!(
        report.status.success() && !text.contains("undefined symbol"),
        "{text}"
    );
}

/// The library must not reach malloc by name: another library's could answer. Nor what others define and allocate in.
#[test]
fn does_not_call_malloc_by_name() {
    let relocations = inspect("readelf", &["--relocs", "--wide"]);
    for line in relocations.lines() {
        let name = line.split_whitespace().nth(4).unwrap_or_default();
        let name = name.split('@').next().expect("the part before the version");
        let family = [
            "malloc",
            "calloc",
            "realloc",
            "free",
            "posix_memalign",
            "aligned_alloc",
            "memalign",
            // libfaketime defines it, and allocates in it.
            "clock_gettime",
            "getrlimit",
        ];
        assert!(
            !family.contains(&name) && !name.starts_with("hak_"),
            "{line}"
        );
    }
}

fn dynamic_section() -> String {
    inspect("readelf", &["--dynamic", "--wide"])
}

#[test]
fn soname_and_flags() {
    let dynamic = dynamic_section();
    let cmake = fs::read_to_string(root().join("CMakeLists.txt")).expect("it is there");
    let soversion = cmake
        .lines()
        .find_map(|line| {
            line.strip_prefix("set(HAKMEM_SOVERSION ")?
                .strip_suffix(')')
        })
        .expect("CMakeLists.txt sets it");
    assert!(
        dynamic.contains(&format!("soname: [libhakmem.so.{soversion}]")),
        "{dynamic}"
    );
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
    assert!(dynamic.contains("BIND_NOW"), "{dynamic}");
    assert!(!dynamic.contains("TEXTREL"), "{dynamic}");
}

/// glibc keeps about 1.6 KiB of static TLS for libraries that come by dlopen, all of them together.
#[test]
fn tls_is_small() {
    for line in inspect("readelf", &["--segments", "--wide"]).lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        if fields.first() == Some(&"TLS") {
            let size = fields[5].trim_start_matches("0x");
            let size = u64::from_str_radix(size, 16).expect("MemSiz is hexadecimal");
            assert!(size <= 64, "{size} bytes of TLS");
        }
    }
}

/// A running program opens the library, uses it, closes it, and can go on using what it got.
#[test]
fn works_by_dlopen() {
    const PROGRAM: &str = r#"
        #include <dlfcn.h>
        #include <stdio.h>
        #include <string.h>
        int main(int argc, char **argv) {
            void *library = dlopen(argv[argc - 1], RTLD_NOW | RTLD_LOCAL);
            if (library == NULL) { fprintf(stderr, "%s\n", dlerror()); return 1; }
            void *(*hak_malloc)(size_t) = (void *(*)(size_t))dlsym(library, "hak_malloc");
            void (*hak_free)(void *) = (void (*)(void *))dlsym(library, "hak_free");
            char *block = hak_malloc(100);
            char *large = hak_malloc(10000000);
            if (block == NULL || large == NULL) return 2;
            memset(block, 1, 100);
            memset(large, 1, 10000000);
            dlclose(library);
            hak_free(block);
            hak_free(large);
            return 0;
        }"#;
    let folder = scratch("dlopen");
    let (source, program) = (folder.join("main.c"), folder.join("main"));
    fs::write(&source, PROGRAM).expect("scratch is writable");
    run(Command::new("gcc")
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .arg("-ldl"));
    run(Command::new(&program).arg(library()));
}

/// `new` and `malloc` at one address would look like mismatched pairs to tools that check for those.
#[test]
fn operators_have_addresses_of_their_own() {
    let symbols = inspect("nm", &["--dynamic", "--defined-only", "--format=posix"]);
    let address = |wanted: &str| {
        let mut lines = symbols
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let fields = lines.find(|fields| fields[0] == wanted);
        fields.unwrap_or_else(|| panic!("{wanted} is exported"))[2].to_owned()
    };
    for (c, cpp) in [
        ("malloc", "_Znwm"),
        ("free", "_ZdlPv"),
        ("free", "_ZdlPvm"),
        ("memalign", "_ZnwmSt11align_val_t"),
    ] {
        assert_ne!(address(c), address(cpp), "{c} and {cpp}");
    }
    assert_ne!(address("_Znwm"), address("_Znam"));
    assert_ne!(address("_ZdlPv"), address("_ZdaPv"));
}

/// The compiler's shim in front of a Rust program's allocator is seen through.
#[test]
fn functions_of_a_rust_program_are_call_sites() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let sites = run(Command::new(cargo)
        .args(["run", "--release", "--quiet", "--example", "sites"])
        .current_dir(root()));
    // Not one site, or two: a shim each for blocks that are zeroed and that are not.
    assert_eq!(sites.lines().count(), 3, "{sites}");
}

fn launcher() -> Command {
    let target = library()
        .parent()
        .and_then(Path::parent)
        .expect("the target directory");
    let mut command = Command::new(root().join("ld_preload/hakmem-run"));
    command.env("CARGO_TARGET_DIR", target);
    command
}

#[test]
fn launcher_passes_on_status_and_preload() {
    let status = output(launcher().args(["sh", "-c", "exit 42"])).status;
    assert_eq!(status.code(), Some(42));

    let print = ["sh", "-c", "printf %s \"$LD_PRELOAD\""];
    let alone = run(launcher().env_remove("LD_PRELOAD").args(print));
    assert_eq!(OsStr::new(&alone), library());

    // The launcher itself runs under what was there before, so it has to be a real library.
    let before = "libc.so.6";
    let both = run(launcher().env("LD_PRELOAD", before).args(print));
    assert_eq!(both, format!("{}:{before}", library().display()));
}

#[test]
fn launcher_runs_commands_under_hakmem() {
    let maps = run(launcher().args(["cat", "/proc/self/maps"]));
    assert!(maps.contains("/libhakmem.so"), "{maps}");
}

#[test]
fn launcher_explains_itself_and_its_errors() {
    let help = run(launcher().arg("--help"));
    assert!(help.starts_with("usage: hakmem-run COMMAND"), "{help}");
    for (arguments, status, message) in [
        (&[][..], 2, "usage:"),
        (&["--frobnicate"], 2, "unknown option --frobnicate"),
        (
            &["no-such-command"],
            127,
            "hakmem-run: no-such-command: command not found",
        ),
    ] {
        let output = output(launcher().args(arguments));
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

/// The layers of `src/`, lowest first, as the head of `src/lib.rs` states them.
fn layers() -> Vec<String> {
    let head = fs::read_to_string(root().join("src/lib.rs")).expect("readable");
    let (_, list) = head
        .split_once("in this list:")
        .expect("lib.rs lists the layers");
    let (list, _) = list.split_once('.').expect("the list ends with a period");
    list.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// A part uses those before it in the list, never those after it.
#[test]
fn layers_only_look_down() {
    let source = root().join("src");
    let layers = layers();
    let rank = |name: &str| layers.iter().position(|layer| layer == name);
    let mut upward = String::new();
    for file in rust_files(&source) {
        let path = file.strip_prefix(&source).expect("found below it");
        let part = path
            .components()
            .next()
            .expect("a name")
            .as_os_str()
            .to_string_lossy();
        let part = part.trim_end_matches(".rs");
        if part == "lib" {
            continue;
        }
        let Some(own) = rank(part) else {
            panic!("src/{part} has no place among the layers in src/lib.rs");
        };
        let text = fs::read_to_string(&file).expect("readable");
        for used in crate_paths(&text) {
            if rank(&used).is_some_and(|other| other > own) {
                let _ = writeln!(upward, "src/{}: {part} uses {used}", path.display());
            }
        }
    }
    assert!(upward.is_empty(), "upward edges:\n{upward}");
}

/// The names right after each `crate::` in a source text, those of a brace list included; comments do
/// not count.
fn crate_paths(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().trim())
        .collect::<Vec<_>>()
        .join(" ");
    let name = |path: &str| {
        let end = path.find(|c: char| !c.is_alphanumeric() && c != '_');
        path[..end.unwrap_or(path.len())].to_owned()
    };
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => drop(names.insert(name(rest))),
            Some(list) => {
                // Only the items of the outermost list name parts of the crate.
                let mut depth = 1;
                let mut item = String::new();
                for c in list.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 || (depth == 1 && c == ',') {
                        // Empty behind a last comma.
                        names.extend(Some(name(item.trim())).filter(|name| !name.is_empty()));
                        item.clear();
                    } else {
                        item.push(c);
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
        }
    }
    names
}

#[test]
fn crate_paths_are_found() {
    let text = "use crate::os;\n// use crate::no;\nuse crate::{\n    a::{b, c},\n    d,\n};\nlet x = crate::e::f();";
    let expected = ["a", "d", "e", "os"].map(str::to_owned);
    assert_eq!(crate_paths(text), BTreeSet::from(expected));
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)
        .expect("readable")
        .map(|entry| entry.expect("readable").path())
    {
        if entry.is_dir() {
            files.extend(rust_files(&entry));
        } else if entry.extension() == Some(OsStr::new("rs")) {
            files.push(entry);
        }
    }
    files
}
