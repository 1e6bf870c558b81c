//! Compiles the workloads. They are C, so that no runtime of another language allocates beside them, and they
//! travel inside this program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::{packages, paths, peers::run};

/// Every file of workloads/: (name, text).
const FILES: &[(&str, &str)] = &[
    ("app.h", include_str!("../workloads/app.h")),
    ("bench.h", include_str!("../workloads/bench.h")),
    ("learn.h", include_str!("../workloads/learn.h")),
    ("proof.h", include_str!("../workloads/proof.h")),
    ("ring.h", include_str!("../workloads/ring.h")),
    ("app_ast.c", include_str!("../workloads/app_ast.c")),
    ("app_btree.c", include_str!("../workloads/app_btree.c")),
    ("app_intern.c", include_str!("../workloads/app_intern.c")),
    ("app_json.c", include_str!("../workloads/app_json.c")),
    ("app_kv.c", include_str!("../workloads/app_kv.c")),
    ("app_log.c", include_str!("../workloads/app_log.c")),
    ("curve.c", include_str!("../workloads/curve.c")),
    ("cycle.c", include_str!("../workloads/cycle.c")),
    ("fit.c", include_str!("../workloads/fit.c")),
    ("grow.c", include_str!("../workloads/grow.c")),
    ("handoff.c", include_str!("../workloads/handoff.c")),
    ("history.c", include_str!("../workloads/history.c")),
    ("hot.c", include_str!("../workloads/hot.c")),
    ("idle.c", include_str!("../workloads/idle.c")),
    ("instr.c", include_str!("../workloads/instr.c")),
    ("larson.c", include_str!("../workloads/larson.c")),
    ("launch.c", include_str!("../workloads/launch.c")),
    ("learn.c", include_str!("../workloads/learn.c")),
    ("lifetimes.c", include_str!("../workloads/lifetimes.c")),
    ("live.c", include_str!("../workloads/live.c")),
    ("nothing.c", include_str!("../workloads/nothing.c")),
    ("pipeline.c", include_str!("../workloads/pipeline.c")),
    ("pressure.c", include_str!("../workloads/pressure.c")),
    ("private.c", include_str!("../workloads/private.c")),
    ("resident.c", include_str!("../workloads/resident.c")),
    ("sharing.c", include_str!("../workloads/sharing.c")),
    ("soak.c", include_str!("../workloads/soak.c")),
    ("thread.c", include_str!("../workloads/thread.c")),
    ("witness.c", include_str!("../workloads/witness.c")),
];

/// Where the compiled workloads are.
#[derive(Clone, Debug)]
pub(crate) struct Workloads {
    directory: PathBuf,
}

impl Workloads {
    /// Compiles what is missing or older than its text.
    pub(crate) fn build() -> Result<Self> {
        if !packages::has_program("cc") {
            packages::program("gcc", "gcc")?;
            packages::program("cc", "libc6-dev")?;
        }
        // Each state of the texts has a directory of its own: two checkouts, or an old result, never mix.
        let texts = FILES.iter().flat_map(|(name, text)| [name, text]);
        let state = fingerprint(texts.flat_map(|t| t.bytes()));
        let directory = paths::workloads().join(state);
        let this = Self { directory };
        // Tests build them from several threads of one process, which share the temporary name.
        static BUILDING: Mutex<()> = Mutex::new(());
        let _one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
        if this.directory.join("complete").is_file() {
            return Ok(this);
        }
        let temporary = paths::workloads().join(format!("new-{}", std::process::id()));
        fs::create_dir_all(&temporary)?;
        for (name, text) in FILES {
            fs::write(temporary.join(name), text)?;
        }
        // `instr` links this one, so it comes first.
        // Debuggers and callgrind_annotate look for the texts where they will be.
        let map = format!(
            "-fdebug-prefix-map={}={}",
            temporary.display(),
            this.directory.display()
        );
        shared(&temporary, &map, "nothing")?;
        for (name, _) in FILES {
            match name.strip_suffix(".c") {
                Some("nothing") | None => {}
                Some(stem @ ("fit" | "witness")) => shared(&temporary, &map, stem)?,
                Some(stem) => program(&temporary, &map, stem)?,
            }
        }
        fs::write(temporary.join("complete"), "")?;
        if !this.directory.join("complete").is_file() {
            let _ = fs::remove_dir_all(&this.directory);
        }
        if fs::rename(&temporary, &this.directory).is_err() {
            // Another run was faster with the same texts.
            fs::remove_dir_all(&temporary)?;
        }
        Ok(this)
    }

    /// A compiled workload, or a library by its file name.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// FNV-1a: enough to tell one version from the next.
pub(crate) fn fingerprint(bytes: impl Iterator<Item = u8>) -> String {
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3_u64)
    });
    format!("{hash:016x}")
}

/// The compiler must not know what malloc is, or it removes what is to be measured.
const FLAGS: &[&str] = &[
    "-O2",
    "-g",
    "-std=gnu11",
    "-Wall",
    "-Wextra",
    "-fno-builtin-malloc",
    "-fno-builtin-free",
    "-fno-builtin-calloc",
    "-fno-builtin-realloc",
    "-fno-builtin-aligned_alloc",
    "-pthread",
];

fn program(directory: &Path, map: &str, stem: &str) -> Result<()> {
    let mut command = Command::new("cc");
    command
        .args(FLAGS)
        .arg(map)
        .arg(format!("{stem}.c"))
        .args(["-o", stem])
        .current_dir(directory);
    match stem {
        // Small and static, so that its own memory does not show in the child's.
        "launch" => command.arg("-static"),
        "instr" => command.args(["-L.", "-lnothing", "-Wl,-rpath,$ORIGIN"]),
        _ => command.arg("-ldl"),
    };
    run(&mut command).with_context(|| format!("the workload {stem} does not compile"))
}

fn shared(directory: &Path, map: &str, stem: &str) -> Result<()> {
    let mut command = Command::new("cc");
    command
        .args(FLAGS)
        .arg(map)
        .args(["-fPIC", "-shared"])
        .arg(format!("{stem}.c"))
        .arg("-o")
        .arg(format!("lib{stem}.so"));
    run(command.current_dir(directory))
        .with_context(|| format!("the library {stem} does not compile"))
}
