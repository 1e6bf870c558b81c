//! Programs that people run, under preload: what they are given to do, and the proof that the allocator served
//! them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::allocators::Ready;
use crate::catalog::Scale;
use crate::launch::{self, Job, Metric, Outcome};
use crate::packages;
use crate::paths;
use crate::workloads::Workloads;

/// A program and its task.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its name in the catalogue, behind "program-".
    pub(crate) name: &'static str,
    /// One line for `list`.
    pub(crate) about: &'static str,
    /// What must be on the path, and the package that has it; "" for one that is used only where it is.
    needs: &'static [(&'static str, &'static str)],
    /// The process whose proof counts; helpers such as a shell leave theirs, too.
    witness: &'static str,
    /// How much there is to do, quick and full.
    size: (u32, u32),
    env: &'static [(&'static str, &'static str)],
    /// Writes what is to be read into the directory and gives the command line.
    prepare: fn(&Path, u32) -> Result<Vec<String>>,
}

/// All of them.
pub(crate) static ALL: &[Program] = &[
    Program {
        name: "python",
        about: "python3: dictionaries, instances, JSON, with Python's own small-object pools",
        needs: &[("python3", "python3-minimal")],
        witness: "python",
        size: (20, 200),
        env: &[],
        prepare: python,
    },
    Program {
        name: "python-malloc",
        about: "the same with PYTHONMALLOC=malloc: every object is a malloc",
        needs: &[("python3", "python3-minimal")],
        witness: "python",
        size: (20, 200),
        env: &[("PYTHONMALLOC", "malloc")],
        prepare: python,
    },
    Program {
        name: "redis",
        about: "redis-server: SET of two sizes with eviction, GET, LPUSH, HSET, through a socket",
        needs: &[
            ("redis-server", "redis-server"),
            ("redis-benchmark", "redis-tools"),
            ("redis-cli", "redis-tools"),
        ],
        witness: "redis-server",
        size: (50_000, 400_000),
        env: &[],
        prepare: |dir, n| {
            script(
                dir,
                "sh",
                "redis.sh",
                include_str!("../programs/redis.sh"),
                n,
            )
        },
    },
    Program {
        name: "gcc",
        about: "gcc -O2: a file of many functions",
        needs: &[("gcc", "gcc")],
        witness: "cc1",
        size: (15, 60),
        env: &[],
        prepare: gcc,
    },
    Program {
        name: "sqlite",
        about: "sqlite3: a table in memory with two indexes",
        needs: &[("sqlite3", "sqlite3")],
        witness: "sqlite3",
        size: (20_000, 200_000),
        env: &[],
        prepare: |dir, n| {
            let file = dir.join("sqlite.sql");
            let text = include_str!("../programs/sqlite.sql").replace("@N@", &n.to_string());
            fs::write(&file, text)?;
            Ok(
                ["sqlite3", ":memory:", &format!(".read {}", file.display())]
                    .map(String::from)
                    .to_vec(),
            )
        },
    },
    Program {
        name: "git",
        about: "git: log with patches, and a pack with deltas found anew",
        needs: &[("git", "git")],
        witness: "git",
        size: (30, 150),
        env: &[],
        prepare: git,
    },
    Program {
        name: "perl",
        about: "perl: hashes, arrays, strings that grow",
        needs: &[("perl", "perl")],
        witness: "perl",
        size: (10, 200),
        env: &[],
        prepare: |dir, n| {
            script(
                dir,
                "perl",
                "perl.pl",
                include_str!("../programs/perl.pl"),
                n,
            )
        },
    },
    Program {
        name: "lua",
        about: "lua 5.4: tables, closures, strings",
        needs: &[("lua5.4", "lua5.4")],
        witness: "lua",
        size: (25, 250),
        env: &[],
        prepare: |dir, n| {
            script(
                dir,
                "lua5.4",
                "lua.lua",
                include_str!("../programs/lua.lua"),
                n,
            )
        },
    },
    Program {
        name: "z3",
        about: "z3, where it is installed: factors of products, as bit vectors",
        needs: &[("z3", "")],
        witness: "z3",
        size: (1, 8),
        env: &[],
        prepare: z3,
    },
];

/// A program ready to be started, again and again.
pub(crate) struct Prepared {
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

/// Makes sure that the program and its input are there.
pub(crate) fn prepare(program: &Program, scale: Scale) -> Result<Prepared> {
    for (executable, package) in program.needs {
        if package.is_empty() && !packages::has_program(executable) {
            bail!("{executable} is not installed");
        }
        packages::program(executable, package)?;
    }
    let size = if scale == Scale::Quick {
        program.size.0
    } else {
        program.size.1
    };
    let directory = paths::inputs().join(format!("{}-{size}", program.name));
    fs::create_dir_all(&directory)?;
    Ok(Prepared {
        command: (program.prepare)(&directory, size)?,
        env: program
            .env
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect(),
    })
}

/// Runs the program once.
pub(crate) fn measure(
    workloads: &Workloads,
    ready: &Ready,
    program: &Program,
    scale: Scale,
) -> Result<Outcome> {
    let prepared = prepare(program, scale)?;
    let mut extra = Vec::new();
    // A program may be linked against an allocator, as Redis is: the C library has to come before that one.
    if ready.preload.is_none() {
        extra.push(packages::find_library("libc.so.6").context("where is libc.so.6?")?);
    }
    extra.push(workloads.path("libwitness.so"));
    let proof_file =
        std::env::temp_dir().join(format!("hakmem-bench-proof-{}", std::process::id()));
    let _ = fs::remove_file(&proof_file);
    let mut env = prepared.env;
    env.push(("BENCH_PROOF".into(), proof_file.display().to_string()));
    let mut job = Job::workload(Path::new(&prepared.command[0]), &prepared.command[1..]);
    job.output = Some(Path::new("/dev/null"));
    job.extra_preload = &extra;
    job.env = &env;
    let outcome = launch::launch(workloads, ready, &job);
    let text = fs::read_to_string(&proof_file).unwrap_or_default();
    let _ = fs::remove_file(&proof_file);
    let mut outcome = outcome?;
    outcome.proofs = launch::parse_proofs(&text);
    if !outcome
        .proofs
        .iter()
        .any(|p| p.process.starts_with(program.witness))
    {
        bail!("{} left no proof of its allocator", program.witness);
    }
    let usage = outcome.usage.first().copied().unwrap_or_default();
    let metric = |name: &str, value: f64, unit: &str| Metric {
        name: name.into(),
        value,
        unit: unit.into(),
    };
    outcome.metrics = vec![
        metric("wall", usage.wall, "s"),
        metric("cpu", usage.cpu, "s"),
        metric("peak", usage.peak as f64 / f64::from(1 << 20), "MiB"),
    ];
    Ok(outcome)
}

fn script(dir: &Path, interpreter: &str, name: &str, text: &str, n: u32) -> Result<Vec<String>> {
    let file = dir.join(name);
    fs::write(&file, text)?;
    Ok(vec![
        interpreter.into(),
        file.display().to_string(),
        n.to_string(),
    ])
}

/// The interpreter itself: what is on the path may be a shell script that looks for it.
fn python(dir: &Path, n: u32) -> Result<Vec<String>> {
    let output = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()?;
    let executable = String::from_utf8_lossy(&output.stdout).trim().to_string();
    if executable.is_empty() {
        bail!("python3 does not say where it is");
    }
    script(
        dir,
        &executable,
        "python.py",
        include_str!("../programs/python.py"),
        n,
    )
}

/// A C file with loops, calls, structures and switches.
fn gcc(dir: &Path, n: u32) -> Result<Vec<String>> {
    let mut text =
        String::from("struct s { int a, b; struct s *next; double d[4]; };\nint last(int);\n");
    for i in 0..n {
        let cases: String = (0..12)
            .map(|c| format!("\t\tcase {c}: x += f{i}_{}(p, x + {c}); break;\n", c % 3))
            .collect();
        for k in 0..3 {
            writeln!(
                text,
                "static int f{i}_{k}(struct s *p, int x)\n{{\n\tint sum = {k};\n\tfor (; p; p = p->next)\n\t\tfor (int i = 0; i < 4; i++)\n\t\t\tsum += p->d[i] > x ? p->a * {i} : p->b ^ (x << {k});\n\treturn sum;\n}}"
            )?;
        }
        writeln!(
            text,
            "int g{i}(struct s *p, int n)\n{{\n\tint x = 0;\n\tfor (int i = 0; i < n; i++)\n\t\tswitch ((i * {}) % 12) {{\n{cases}\t\t}}\n\treturn last(x);\n}}",
            i + 3
        )?;
    }
    let file = dir.join("many.c");
    fs::write(&file, text)?;
    Ok([
        "gcc",
        "-O2",
        "-S",
        "-o",
        "/dev/null",
        &file.display().to_string(),
    ]
    .map(String::from)
    .to_vec())
}

/// A history that changes some of forty files in each commit. Made once, by git as it is.
fn git(dir: &Path, n: u32) -> Result<Vec<String>> {
    let repository = dir.join("repository");
    let complete = dir.join("complete");
    if !complete.is_file() {
        let _ = fs::remove_dir_all(&repository);
        let run = |args: &[&str]| -> Result<()> {
            let mut command = Command::new("git");
            crate::peers::run(command.args(args).env("GIT_CONFIG_GLOBAL", "/dev/null"))
        };
        let path = repository.display().to_string();
        run(&["init", "-q", "--bare", &path])?;
        let stream = dir.join("stream");
        fs::write(&stream, history(n)?)?;
        let status = Command::new("git")
            .args(["-C", &path, "fast-import", "--quiet"])
            .stdin(fs::File::open(&stream)?)
            .stdout(Stdio::null())
            .status()?;
        if !status.success() {
            bail!("git fast-import failed");
        }
        run(&["-C", &path, "symbolic-ref", "HEAD", "refs/heads/main"])?;
        fs::remove_file(stream)?;
        fs::write(complete, "")?;
    }
    let file = dir.join("git.sh");
    fs::write(&file, include_str!("../programs/git.sh"))?;
    Ok(vec![
        "sh".into(),
        file.display().to_string(),
        repository.display().to_string(),
    ])
}

fn history(n: u32) -> Result<String> {
    let mut text = String::new();
    for commit in 0..n {
        let message = format!("Change {commit}\n");
        write!(
            text,
            "commit refs/heads/main\ncommitter A <a@example.com> {} +0000\ndata {}\n{message}",
            1_700_000_000 + commit * 3600,
            message.len()
        )?;
        for file in 0..40 {
            if commit > 0 && (commit * 7 + file) % 11 > 2 {
                continue;
            }
            let lines: String = (0..300)
                .map(|l| {
                    let version = (commit + l * 13 + file) / 17;
                    format!(
                        "line {l} of file {file}, written in version {version} of it, {:x}\n",
                        version * 2_654_435 + l
                    )
                })
                .collect();
            write!(
                text,
                "M 644 inline src/{}/file{file}.txt\ndata {}\n{lines}\n",
                file % 5,
                lines.len()
            )?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// Products of two primes of 16 bits, whose factors are looked for.
fn z3(dir: &Path, products: u32) -> Result<Vec<String>> {
    let prime_below = |n: u64| {
        (2..n)
            .rev()
            .find(|n| (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0))
            .unwrap_or(2)
    };
    let mut text =
        String::from("(declare-const a (_ BitVec 32))\n(declare-const b (_ BitVec 32))\n");
    for k in 0..u64::from(products) {
        let product = prime_below(54_394 + 800 * k) * prime_below(39_977 - 900 * k);
        writeln!(
            text,
            "(push)\n(assert (= (bvmul a b) (_ bv{product} 32)))\n\
             (assert (bvult a (_ bv65536 32)))\n(assert (bvult b (_ bv65536 32)))\n\
             (assert (bvugt a (_ bv1 32)))\n(assert (bvule a b))\n(check-sat)\n(get-model)\n(pop)"
        )?;
    }
    let file = dir.join("factor.smt2");
    fs::write(&file, text)?;
    Ok(vec!["z3".into(), file.display().to_string()])
}

/// The command line as `strace` gets it.
pub(crate) fn command(program: &Program, scale: Scale) -> Result<(PathBuf, Vec<String>)> {
    let mut command = prepare(program, scale)?.command;
    let executable = command.remove(0);
    Ok((executable.into(), command))
}
