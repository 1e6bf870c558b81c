//! Renders `include/hakmem.h` from `src/c_api.rs` into `OUT_DIR`.
//!
//! The committed header is a copy of it; `tests/packaging.rs` fails when the two differ and says how
//! to renew the copy. The build itself never writes outside `OUT_DIR`.

use std::path::PathBuf;

fn main() {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let source = root.join("src/c_api.rs");
    let rules = root.join("include/cbindgen.toml");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", source.display());
    println!("cargo::rerun-if-changed={}", rules.display());

    let mut config =
        cbindgen::Config::from_file(&rules).unwrap_or_else(|e| panic!("{}: {e}", rules.display()));
    let [major, minor, patch] =
        ["MAJOR", "MINOR", "PATCH"].map(|part| variable(&format!("CARGO_PKG_VERSION_{part}")));
    let versions = format!(
        "/** The version of this header; hak_version() tells that of the library. */\n\
         #define HAKMEM_VERSION \"{major}.{minor}.{patch}\"\n\
         #define HAKMEM_VERSION_MAJOR {major}\n\
         #define HAKMEM_VERSION_MINOR {minor}\n\
         #define HAKMEM_VERSION_PATCH {patch}\n"
    );
    let after = config.after_includes.take().unwrap_or_default();
    config.after_includes = Some(format!("\n{versions}\n{after}"));

    let header = PathBuf::from(variable("OUT_DIR")).join("hakmem.h");
    let mut text = Vec::new();
    cbindgen::Builder::new()
        .with_src(&source)
        .with_config(config)
        .generate()
        .unwrap_or_else(|e| panic!("{}: {e}", source.display()))
        .write(&mut text);
    let text = String::from_utf8(text).expect("the source is UTF-8");
    std::fs::write(&header, for_c(&text)).unwrap_or_else(|e| panic!("{}: {e}", header.display()));
}

/// Leaves out what only concerns Rust: the `# Safety` section, last in each comment, which repeats in
/// Rust's terms what the text above it asks of C callers.
fn for_c(header: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut skipping = false;
    for line in header.lines() {
        match line.trim() {
            "* # Safety" => skipping = true,
            "*/" => {
                skipping = false;
                while lines.last().is_some_and(|last| last.trim() == "*") {
                    lines.pop();
                }
            }
            "" if lines.last().is_some_and(|last| last.is_empty()) => continue,
            _ => {}
        }
        if !skipping {
            lines.push(line);
        }
    }
    lines
        .join("\n")
        .replace("\nHAK_NOTHROW;", " HAK_NOTHROW;")
        .replace(")) ", "))\n")
        + "\n"
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|e| panic!("cargo sets {name}: {e}"))
}
