//! Real programs do the same work on plain glibc and under the preloaded library: what they put out
//! must be equal, and the stats of every process must say that hakmem served it and lost no block.
//!
//! A program that is missing is installed by apt-get where the tests may do that; where they may
//! not, a line on stderr names what was not tested. Node and Java are tested where they are.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{Outcome, Served, Stats, command, has, install, root, run, scratch};

/// One of the two runs of a program: its folder, and whether hakmem is preloaded.
struct Scene {
    folder: PathBuf,
    stats: Option<Stats>,
}

impl Scene {
    /// A command in this run's folder, on this run's allocator.
    fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command.current_dir(&self.folder).env("HOME", &self.folder);
        if let Some(stats) = &self.stats {
            stats.preload(&mut command);
        }
        command
    }

    /// Runs a command that must succeed.
    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) -> Outcome {
        let outcome = run(self.command(program).args(arguments));
        outcome.must_succeed();
        outcome
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("writable");
        fs::write(path, text).expect("the folder is writable");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// Plays a scene on glibc and then on hakmem; what it returns must be the same.
#[track_caller]
fn same_as_glibc(name: &str, served: Served, scene: impl Fn(&Scene) -> Vec<u8>) {
    let mut expected = None;
    for stats in [None, Some(Stats::new(name))] {
        // The same path both times: programs put it into what they write.
        let played = Scene {
            folder: scratch(&format!("programs/{name}")),
            stats,
        };
        let result = scene(&played);
        match (&expected, played.stats) {
            (None, _) => expected = Some(result),
            (Some(expected), Some(stats)) => {
                stats.must_be_sound(served);
                if *expected != result {
                    panic!("{}", difference(name, expected, &result));
                }
            }
            (Some(_), None) => unreachable!("glibc comes first"),
        }
    }
}

/// The first lines that differ, or the first byte.
fn difference(name: &str, expected: &[u8], result: &[u8]) -> String {
    let mut report = format!("{name}: the output differs from that on glibc");
    match (std::str::from_utf8(expected), std::str::from_utf8(result)) {
        (Ok(expected), Ok(result)) => {
            let mut others = result.lines();
            let pairs = expected.lines().map(|line| (Some(line), others.next()));
            for (line, other) in pairs.filter(|(line, other)| line != other).take(20) {
                let _ = write!(report, "\n glibc: {line:?}\nhakmem: {other:?}");
            }
        }
        _ => {
            let at = expected
                .iter()
                .zip(result)
                .position(|(one, other)| one != other);
            let _ = write!(
                report,
                " at byte {at:?} ({} and {} bytes)",
                expected.len(),
                result.len()
            );
        }
    }
    report
}

/// Whether `present` holds, if need be after installing Debian packages. Otherwise it says what
/// this run does not test, past cargo's capture of the output of tests that pass.
fn available(what: &str, packages: &[&str], present: impl Fn() -> bool) -> bool {
    if present() || install(packages, &present) {
        return true;
    }
    let hint = match packages {
        [] => String::new(),
        packages => format!(" (apt-get install {})", packages.join(" ")),
    };
    let _ = writeln!(
        std::io::stderr(),
        "NOT TESTED: {what} is not installed{hint}"
    );
    false
}

/// A command that succeeds and whose output does not matter.
fn works(program: &str, arguments: &[&str]) -> bool {
    has(program) && run(command(program).args(arguments)).status.success()
}

/// Modules and classes of CPython's own tests that take little time and much memory, or do what is
/// delicate for an allocator: fork, threads, extension modules, errors out of memory.
const PYTHON_TESTS: [&str; 39] = [
    "test_array",
    "test_ast",
    "test_buffer",
    "test_bytes",
    "test_codecs",
    "test_collections",
    "test_csv",
    "test_ctypes",
    "test_decimal",
    "test_deque",
    "test_descr",
    "test_dict",
    "test_exceptions",
    "test_fork1",
    "test_functools",
    "test_gc",
    "test_generators",
    "test_itertools",
    "test_json",
    "test_list",
    "test_long",
    "test_memoryview",
    "test_ordered_dict",
    "test_os",
    "test_pickle",
    "test_re",
    "test_set",
    "test_sort",
    "test_sqlite3",
    "test_struct",
    "test_subprocess.POSIXProcessTestCase",
    "test_thread",
    "test_threading.LockTests",
    "test_threading.ThreadJoinOnShutdown",
    "test_threading.ThreadTests",
    "test_threading_local",
    "test_unicode",
    "test_xml_etree",
    "test_zlib",
];

/// Runs tests by name and prints one line for each: no times, no addresses, in a fixed order.
const PYTHON_RUNNER: &str = r#"
import contextlib, io, sys, unittest
import test.support

test.support.verbose = False

class Record(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.lines = []

    def note(self, test, outcome):
        self.lines.append(f"{test.id()}: {outcome}")

    def addSuccess(self, test):
        self.note(test, "ok")

    def addSkip(self, test, reason):
        self.note(test, "skipped")

    def addExpectedFailure(self, test, error):
        self.note(test, "expected failure")

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.note(test, "FAILED")

    def addError(self, test, error):
        super().addError(test, error)
        self.note(test, "ERROR")

    def addSubTest(self, test, subtest, error):
        if error is not None:
            super().addSubTest(test, subtest, error)
            self.note(subtest, "FAILED")

record = Record()
names = ["test." + name for name in sys.argv[1:]]
with contextlib.redirect_stdout(io.StringIO()):
    unittest.defaultTestLoader.loadTestsFromNames(names).run(record)
print("\n".join(sorted(record.lines)))
for test, trace in record.failures + record.errors:
    print(test.id(), trace, file=sys.stderr)
"#;

#[test]
fn python_passes_its_own_tests() {
    let python = || {
        ["python3", "/usr/bin/python3"]
            .into_iter()
            .find(|python| {
                let test = command(python)
                    .args(["-c", "import test.test_dict, test.support.script_helper"])
                    .stderr(Stdio::null())
                    .status();
                test.is_ok_and(|status| status.success())
            })
            .map(|python| {
                // Not a shell script that chooses one of several, as pyenv has.
                let print = ["-c", "import sys; print(sys.executable)"];
                run(command(python).args(print)).text().trim().to_owned()
            })
    };
    let packages = ["python3", "libpython3.11-testsuite"];
    if !available("Python's own tests", &packages, || python().is_some()) {
        return;
    }
    let python = python().expect("we have just seen it");
    same_as_glibc("python", Served::Some, |scene| {
        scene.write("runner.py", PYTHON_RUNNER);
        let mut command = scene.command(&python);
        command
            .arg("runner.py")
            .args(PYTHON_TESTS)
            // Python's own allocator would ask for little but arenas of a MiB.
            .env("PYTHONMALLOC", "malloc")
            .env("PYTHONHASHSEED", "0");
        let outcome = run(&mut command);
        outcome.must_succeed();
        let passed = outcome.text().matches(": ok\n").count();
        assert!(
            passed > 2000,
            "only {passed} tests passed: {}",
            outcome.stderr
        );
        // Why a test failed, should it fail on one of the two.
        fs::write(scene.folder.with_extension("failures"), &outcome.stderr).expect("writable");
        outcome.stdout
    });
}

#[test]
fn compilers_write_identical_objects() {
    let packages = ["gcc", "g++", "binutils"];
    if !available("gcc", &packages, || has("gcc") && has("g++") && has("as")) {
        return;
    }
    same_as_glibc("compilers", Served::All, |scene| {
        let sources = root().join("c_tests");
        let include = format!("-I{}", root().join("include").display());
        let mut objects = Vec::new();
        for (compiler, level, name) in [
            ("gcc", "-O2", "stress.c"),
            ("gcc", "-O3", "realloc_contents.c"),
            ("gcc", "-Os", "fork_threads.c"),
            ("g++", "-O0", "new_delete.cpp"),
            ("g++", "-O2", "new_delete.cpp"),
            ("g++", "-O3", "thread_local_objects.cpp"),
        ] {
            let source = sources.join(name);
            let source = source.to_str().expect("the path is text");
            let common = [level, "-g", "-c", "-o", "object.o", source];
            scene.run(compiler, &[&common[..], &[&include]].concat());
            objects.append(&mut scene.read("object.o"));
        }
        // The linker, and link-time optimisation in several processes.
        let source = sources.join("handover.c");
        let source = source.to_str().expect("the path is text");
        let linked = ["-O2", "-flto", "-pthread", "-o", "program", source];
        scene.run("gcc", &linked);
        objects.append(&mut scene.read("program"));
        objects
    });
}

const SQL: &str = "
PRAGMA cache_size = 5000;
CREATE TABLE event(id INTEGER PRIMARY KEY, kind TEXT, amount REAL, body TEXT);
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 100000)
INSERT INTO event SELECT n, 'kind ' || (n * 7919 % 313), (n * 104729 % 100003) / 7.0,
    substr(hex(n * 2654435761) || hex(n), 1, 5 + n % 60) FROM number;
CREATE INDEX event_kind ON event(kind, amount);
CREATE INDEX event_body ON event(body);
SELECT kind, count(*), round(sum(amount), 3), max(length(body)) FROM event GROUP BY kind ORDER BY 1;
SELECT a.kind, count(*) FROM event a JOIN event b ON a.body = b.body AND a.id < b.id
    GROUP BY a.kind ORDER BY 2 DESC, 1 LIMIT 50;
SELECT kind, group_concat(id) FROM (SELECT * FROM event WHERE amount < 200 ORDER BY id)
    GROUP BY kind ORDER BY kind LIMIT 100;
UPDATE event SET body = body || body || kind WHERE id % 3 = 0;
DELETE FROM event WHERE id % 5 = 0;
SELECT id, amount, rank() OVER (PARTITION BY kind ORDER BY amount) FROM event
    ORDER BY amount * 17.0 - id LIMIT 500;
VACUUM;
PRAGMA integrity_check;
SELECT count(*), sum(length(body)), sum(id) FROM event;
";

#[test]
fn sqlite_computes_the_same() {
    if !available("sqlite3", &["sqlite3"], || has("sqlite3")) {
        return;
    }
    same_as_glibc("sqlite", Served::All, |scene| {
        let mut output = Vec::new();
        for database in ["file.db", ":memory:"] {
            output.append(&mut scene.run("sqlite3", &[database, SQL]).stdout);
        }
        let text = String::from_utf8_lossy(&output);
        assert_eq!(text.matches("\nok\n").count(), 2, "integrity_check: {text}");
        output.append(&mut scene.read("file.db"));
        output
    });
}

const PERL: &str = r#"
use strict; use warnings;
my (%count, %length, @lines);
my $seed = 42;
sub number { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed >> 8 }
for my $i (1 .. 60000) {
    my $line = join ' ', map { chr(97 + number() % 26) x (1 + number() % 40) } 1 .. 4;
    push @lines, $line;
    $count{$_}++ for $line =~ /(\w)\1*/g;
    $length{length $line}{$i} = [$line, scalar reverse $line];
}
my $text = join "\n", sort @lines;
$text =~ s/([aeiou]+)/<$1>/g;
printf "%d bytes, %d vowels\n", length $text, scalar(() = $text =~ /</g);
printf "%s %d\n", $_, $count{$_} for sort keys %count;
for my $length (sort { $a <=> $b } keys %length) {
    my $sum = 0;
    $sum += unpack '%32C*', $_->[1] for values %{ $length{$length} };
    print "$length ", scalar(keys %{ $length{$length} }), " $sum\n";
    delete $length{$length} if $length % 2;
}
my $string = '';
$string .= $_ % 10 for 1 .. 500000;
$string =~ tr/0-9/a-j/;
print substr($string, -40), "\n";
for my $round (1 .. 20) {
    my $pid = fork // die;
    if ($pid == 0) { my %copy = map { $_ => $count{$_} x $round } keys %count; exit(keys(%copy) == 26 ? 0 : 1) }
    waitpid $pid, 0;
    print "round $round: $?\n";
}
"#;

#[test]
fn perl_computes_the_same() {
    if !available("perl", &["perl"], || has("perl")) {
        return;
    }
    same_as_glibc("perl", Served::All, |scene| {
        scene.write("script.pl", PERL);
        scene.run("perl", &["script.pl"]).stdout
    });
}

#[test]
fn git_clones_and_packs() {
    if !available("git", &["git", "ca-certificates"], || has("git")) {
        return;
    }
    same_as_glibc("git", Served::All, |scene| {
        let git = |arguments: &[&str]| {
            let mut command = scene.command("git");
            command
                .args(arguments)
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("GIT_TERMINAL_PROMPT", "0");
            for who in ["AUTHOR", "COMMITTER"] {
                command
                    .env(format!("GIT_{who}_NAME"), "A. Tester")
                    .env(format!("GIT_{who}_EMAIL"), "tester@example.org")
                    .env(format!("GIT_{who}_DATE"), "2024-02-29T12:00:00Z");
            }
            let outcome = run(&mut command);
            outcome.must_succeed();
            outcome.text()
        };
        git(&["init", "--quiet", "--initial-branch=main", "source"]);
        let mut state = 1u32;
        for commit in 0..12 {
            for file in 0..40 {
                let mut text = String::new();
                for line in 0..200 {
                    // The same lines for most commits, so that there is something to find deltas in.
                    let generation = if line % 10 == commit % 10 { commit } else { 0 };
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let noise = if generation > 0 { state } else { 0 };
                    let _ = writeln!(text, "{file}: line {line} of {generation}, {noise:x}");
                }
                scene.write(&format!("source/part{}/{file}.txt", file % 5), &text);
            }
            git(&["-C", "source", "add", "."]);
            git(&[
                "-C",
                "source",
                "commit",
                "--quiet",
                "-m",
                &format!("commit {commit}"),
            ]);
        }
        let source = format!("file://{}/source", scene.folder.display());
        git(&["clone", "--quiet", &source, "copy"]);
        git(&["-C", "copy", "gc", "--quiet", "--aggressive", "--prune=now"]);
        git(&["-C", "copy", "fsck", "--full", "--strict"]);
        git(&["-C", "source", "repack", "-a", "-d", "--quiet"]);
        let mut output = git(&["-C", "copy", "log", "--stat", "--format=fuller %H %T"]);
        output += &git(&["-C", "copy", "rev-list", "--objects", "--all"]);
        output += &git(&["-C", "copy", "diff", "HEAD~5", "--", "part1"]);
        output += &git(&["-C", "source", "blame", "part3/3.txt"]);
        output += &git(&["-C", "copy", "status", "--porcelain"]);
        output.into_bytes()
    });
}

/// Commands with a fixed result, in every type that Redis has.
fn redis_commands() -> String {
    let mut text = String::new();
    for i in 0..40_000u32 {
        let mixed = i.wrapping_mul(2_654_435_761);
        let _ = writeln!(text, "SET key:{i} {:0width$}", i, width = i as usize % 300);
        let _ = writeln!(text, "RPUSH list:{} element:{mixed}", i % 100);
        let _ = writeln!(text, "HSET hash:{} field:{mixed} {i}", i % 200);
        let _ = writeln!(text, "ZADD set:{} {} member:{i}", i % 50, mixed % 1000);
        if i % 3 == 0 {
            let _ = writeln!(text, "DEL key:{}", i / 2);
            let _ = writeln!(text, "APPEND key:{} {mixed}", i / 4);
        }
    }
    text
}

/// A server that is killed, should the test fail before it has been shut down.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn redis_serves_and_saves() {
    // In Debian's redis-tools the server is there under another name, without a service that starts.
    const OTHER_NAME: &str = "/usr/bin/redis-check-rdb";
    let present = || {
        has("redis-cli")
            && has("redis-benchmark")
            && (has("redis-server") || Path::new(OTHER_NAME).exists())
    };
    if !available("redis", &["redis-tools"], present) {
        return;
    }
    same_as_glibc("redis", Served::All, |scene| {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("the loopback interface has a free port")
            .port()
            .to_string();
        let server = if has("redis-server") {
            PathBuf::from("redis-server")
        } else {
            let link = scene.folder.join("redis-server");
            std::os::unix::fs::symlink(OTHER_NAME, &link).expect("the folder is fresh");
            link
        };
        let log = fs::File::create(scene.folder.join("server.log")).expect("writable");
        let child = scene
            .command(server.to_str().expect("the path is text"))
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", ""])
            .args(["--enable-debug-command", "local", "--daemonize", "no"])
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a file can be shared"))
            .stdout(log)
            .spawn()
            .expect("the server can be run");
        let mut server = Server(child);
        // The clients are not what is tested, but they may as well be.
        let client = |arguments: &[&str]| {
            let mut client = scene.command("redis-cli");
            run(client.args(["-p", &port]).args(arguments))
        };
        let ask = |arguments: &[&str]| {
            let outcome = client(arguments);
            outcome.must_succeed();
            outcome.text().trim().to_owned()
        };
        let mut attempts = 0;
        while client(&["PING"]).text().trim() != "PONG" {
            let ended = server.0.try_wait().expect("the server is ours");
            attempts += 1;
            assert!(
                ended.is_none() && attempts < 600,
                "the server is not up ({ended:?}): {}",
                String::from_utf8_lossy(&scene.read("server.log"))
            );
            std::thread::sleep(Duration::from_millis(100));
        }

        scene.write("commands", &redis_commands());
        let load = format!("redis-cli -p {port} < commands | grep -c -v ERR");
        assert_ne!(scene.run("sh", &["-c", &load]).text().trim(), "0");

        // A background save forks while the benchmark changes another database.
        let mut benchmark = scene.command("redis-benchmark");
        benchmark
            .args(["-p", &port, "-q", "-n", "40000", "-c", "20", "-d", "200"])
            .args(["-r", "20000", "-P", "8", "--dbnum", "9"])
            .args(["-t", "set,get,incr,lpush,rpush,sadd,hset,spop,zadd,mset"]);
        std::thread::scope(|scope| {
            let benchmark = scope.spawn(|| run(&mut benchmark).must_succeed());
            for _ in 0..3 {
                assert_eq!(ask(&["BGSAVE"]), "Background saving started");
                while ask(&["INFO", "persistence"]).contains("rdb_bgsave_in_progress:1") {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            benchmark.join().expect("the benchmark passes");
        });
        let persistence = ask(&["INFO", "persistence"]);
        assert!(
            persistence.contains("rdb_last_bgsave_status:ok"),
            "{persistence}"
        );
        assert!(scene.folder.join("dump.rdb").exists(), "nothing was saved");

        // What the benchmark leaves behind is random; the rest is not, and survives a reload.
        ask(&["-n", "9", "FLUSHDB"]);
        let digest = ask(&["DEBUG", "DIGEST"]);
        assert_eq!(ask(&["DEBUG", "RELOAD"]), "OK");
        assert_eq!(ask(&["DEBUG", "DIGEST"]), digest, "after a reload");
        let size = ask(&["DBSIZE"]);
        let some = ask(&["MGET", "key:1", "key:77", "key:299", "key:39999"]);

        client(&["SHUTDOWN", "NOSAVE"]);
        let status = server.0.wait().expect("the server is ours");
        assert!(
            status.success(),
            "the server ended with {status}: {}",
            String::from_utf8_lossy(&scene.read("server.log"))
        );
        format!("{digest}\n{size}\n{some}\n").into_bytes()
    });
}

#[test]
fn cargo_builds_a_crate() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    same_as_glibc("cargo", Served::Some, |scene| {
        scene.write(
            "Cargo.toml",
            "[workspace]\n\
             [package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
             [profile.release]\ncodegen-units = 4\n",
        );
        let mut modules = String::new();
        for module in 0..12 {
            let _ = writeln!(modules, "mod part{module};");
            let mut text = String::from("use std::collections::BTreeMap;\n");
            for function in 0..20 {
                let _ = writeln!(
                    text,
                    "pub fn f{function}(n: u64) -> u64 {{
                         let mut map: BTreeMap<u64, Vec<String>> = BTreeMap::new();
                         for i in 0..n {{
                             map.entry(i * {} % 31).or_default().push(format!(\"{{i:x}}\"));
                         }}
                         map.values().flatten().map(|s| s.len() as u64).sum::<u64>() + {module}
                     }}",
                    function + 3
                );
            }
            scene.write(&format!("src/part{module}.rs"), &text);
        }
        let calls: Vec<_> = (0..240)
            .map(|call| format!("part{}::f{}({})", call / 20, call % 20, call * 3))
            .collect();
        let main = format!(
            "{modules}fn main() {{ println!(\"{{:?}}\", [{}]); }}\n",
            calls.join(", ")
        );
        scene.write("src/main.rs", &main);
        let mut build = scene.command(&cargo);
        build
            .args(["build", "--offline", "--release", "--target-dir", "built"])
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        // Where rustup and cargo keep what they need, although HOME is another one here.
        let home = std::env::var("HOME").unwrap_or_default();
        for (name, folder) in [("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo")] {
            let place = std::env::var(name).unwrap_or_else(|_| format!("{home}/{folder}"));
            build.env(name, place);
        }
        run(&mut build).must_succeed();
        let mut output = scene.run("built/release/small", &[]).stdout;
        output.append(&mut scene.read("built/release/small"));
        output
    });
}

const NODE: &str = r#"
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const zlib = require('zlib'), crypto = require('crypto');
function work(seed) {
  const map = new Map();
  let text = '';
  for (let i = 0; i < 30000; i++) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    map.set('key' + (seed % 5000), { i, list: [seed, String(seed)] });
    text += seed.toString(36);
  }
  const json = JSON.stringify([...map].sort());
  const packed = zlib.gzipSync(zlib.brotliCompressSync(Buffer.from(json + text),
    { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } }));
  const buffers = [];
  for (let i = 0; i < 2000; i++) buffers.push(Buffer.allocUnsafeSlow(1 + (i * 7919) % 50000).fill(i));
  const hash = crypto.createHash('sha256');
  for (const buffer of buffers) hash.update(buffer);
  return hash.update(packed).update(json).digest('hex');
}
if (isMainThread) {
  const results = [];
  let open = 4;
  for (let i = 0; i < 4; i++) {
    const worker = new Worker(__filename, { workerData: i + 1 });
    worker.on('message', (m) => { results[i] = m; });
    worker.on('error', (e) => { throw e; });
    worker.on('exit', () => { if (--open === 0) console.log(results.join('\n') + '\n' + work(99)); });
  }
} else {
  parentPort.postMessage(work(workerData));
}
"#;

#[test]
fn node_computes_the_same() {
    if !available("node", &[], || works("node", &["--version"])) {
        return;
    }
    same_as_glibc("node", Served::All, |scene| {
        scene.write("script.js", NODE);
        let output = scene.run("node", &["script.js"]).stdout;
        assert_eq!(output.iter().filter(|byte| **byte == b'\n').count(), 5);
        output
    });
}

const JAVA: &str = r#"
import java.nio.ByteBuffer;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import java.util.zip.*;

public class Work {
    static String work(int seed) throws Exception {
        Random random = new Random(seed);
        Map<String, List<Integer>> map = new TreeMap<>();
        for (int i = 0; i < 50000; i++)
            map.computeIfAbsent("key" + random.nextInt(3000), k -> new ArrayList<>()).add(i);
        byte[] text = map.toString().getBytes("UTF-8");
        CRC32 crc = new CRC32();
        // Off the Java heap, and so by malloc: direct buffers and zlib's state.
        for (int i = 0; i < 300; i++) {
            ByteBuffer buffer = ByteBuffer.allocateDirect(1 + random.nextInt(200000));
            while (buffer.hasRemaining()) buffer.put((byte) (buffer.position() * seed));
            buffer.flip();
            crc.update(buffer);
        }
        Deflater deflater = new Deflater(6);
        deflater.setInput(text);
        deflater.finish();
        byte[] packed = new byte[text.length + 100];
        int length = deflater.deflate(packed);
        deflater.end();
        Inflater inflater = new Inflater();
        inflater.setInput(packed, 0, length);
        byte[] again = new byte[text.length];
        if (inflater.inflate(again) != text.length || !Arrays.equals(text, again))
            throw new IllegalStateException("inflate");
        inflater.end();
        return seed + ": " + length + " " + Long.toHexString(crc.getValue());
    }

    public static void main(String[] arguments) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(8);
        List<Future<String>> results = new ArrayList<>();
        for (int i = 1; i <= 24; i++) {
            final int seed = i;
            results.add(pool.submit(() -> work(seed)));
        }
        for (Future<String> result : results) System.out.println(result.get());
        pool.shutdown();
        System.out.println(IntStream.range(0, 2000).parallel().mapToObj(Integer::toHexString)
            .collect(Collectors.joining()).hashCode());
    }
}
"#;

#[test]
fn java_computes_the_same() {
    if !available("java", &[], || {
        works("javac", &["-version"]) && works("java", &["-version"])
    }) {
        return;
    }
    same_as_glibc("java", Served::All, |scene| {
        scene.write("Work.java", JAVA);
        scene.run("javac", &["-J-Xmx256m", "Work.java"]);
        scene
            .run("java", &["-Xmx256m", "-XX:TieredStopAtLevel=1", "Work"])
            .stdout
    });
}
