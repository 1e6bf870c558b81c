//! The environment's knobs and the reports that they ask for, in processes of their own: each test
//! runs this binary again with a setting, as `program` below.
//!
//! `RENEW=1 cargo test --test knobs` renews docs/knobs.md.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Present in a process that is to be [`program`].
const CHILD: &str = "KNOBS_CHILD";

#[global_allocator]
static ALLOCATOR: hakmem::Hakmem = hakmem::Hakmem;

/// What runs under a setting: a little of everything, some of it kept.
#[test]
fn program() {
    let Some(how) = std::env::var_os(CHILD) else {
        return;
    };
    let mut kept: Vec<Vec<u8>> = (0..1000).map(|_| Vec::with_capacity(1000)).collect();
    kept.extend((0..10).map(|_| Vec::with_capacity(200_000)));
    kept.extend((0..3).map(|_| vec![1; 5 << 20]));
    let mut other = std::thread::spawn(|| (0..5000).map(|i| vec![i as u8; 64]).collect::<Vec<_>>())
        .join()
        .expect("it only allocates");
    other.truncate(2000);
    if how == "learn" {
        // Sites whose blocks were looked at when they were freed.
        drop((vec![1u8; 5 << 20], vec![2u8; 9 << 20]));
    }
    if how == "policy" {
        eprint!("{}", policy());
    }
    if how == "windows" {
        go_through_windows();
    }
    if how == "close stderr" {
        // SAFETY: nobody in this process needs it any more.
        unsafe { libc::close(2) };
    }
    if let Some(path) = how.to_str().and_then(|how| how.strip_prefix("data as 2 ")) {
        // As a daemon does by and by; then it goes on for two windows.
        let path = CString::new(path).expect("no NUL");
        // SAFETY: as above; the path ends with NUL.
        let fd = unsafe {
            libc::close(2);
            libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CREAT, 0o600)
        };
        assert_eq!(fd, 2);
        go_through_windows();
    }
    std::mem::forget((kept, other));
}

fn go_through_windows() {
    let windows = || number(&json_of(&policy()), "windows");
    let enough = windows() + 2;
    while windows() < enough {
        // Slabs come and go.
        drop(
            (0..2000)
                .map(|_| Vec::with_capacity(1000))
                .collect::<Vec<Vec<u8>>>(),
        );
    }
}

fn policy() -> String {
    let mut text = vec![0; 1 << 14];
    let length = hakmem::observe::write_policy_json(&mut text);
    text.truncate(length);
    String::from_utf8(text).expect("it is text")
}

fn run(how: &str, settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("it is running"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HAKMEM_") {
            command.env_remove(name);
        }
    }
    let output = command
        .args(["program", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, how)
        .envs(settings.iter().copied())
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{settings:?}: {}", stderr(&output));
    output
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The line that starts a report ends what may stand before it.
fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn number(json: &Value, name: &str) -> u64 {
    json[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name}: {json:#}"))
}

#[test]
fn the_document_is_the_table_in_the_code() {
    let mut rendered = String::new();
    hakmem::observe::write_knobs_md(&mut rendered).expect("a String takes everything");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/knobs.md");
    if std::env::var_os("RENEW").is_some() {
        fs::write(&path, rendered).expect("docs/ is writable");
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == rendered,
        "docs/knobs.md is not current: RENEW=1 cargo test --test knobs"
    );
}

#[test]
fn no_setting_says_nothing_and_each_mistake_is_one_line() {
    assert_eq!(stderr(&run("", &[])), "");
    assert_eq!(
        stderr(&run("", &[("HAKMEM_WARM_MB", ""), ("HAKMEMX", "1")])),
        ""
    );
    for (name, value) in [
        ("HAKMEM_BOGUS", "1"),
        ("HAKMEM_", ""),
        ("HAKMEM_WARM_MB", "banana"),
        ("HAKMEM_WARM_PERCENT", "-1"),
        ("HAKMEM_MINIMAL", "perhaps"),
        ("HAKMEM_STATS", "everything\n"),
        ("HAKMEM_STATS", "json,"),
        ("HAKMEM_MODE", "turbo"),
        ("HAKMEM_STRATEGY", "keep"),
        ("HAKMEM_PROFILE", "here"),
    ] {
        let text = stderr(&run("", &[(name, value)]));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.starts_with("hakmem: ") && text.contains(name),
            "{text}"
        );
    }
}

#[test]
fn what_is_switched_off_is_said() {
    let off = |settings: &[(&str, &str)]| {
        let text = stderr(&run("", &[settings, &[("HAKMEM_VERBOSE", "1")]].concat()));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.starts_with(concat!("hakmem ", env!("CARGO_PKG_VERSION"), ": ")),
            "{text}"
        );
        let (_, list) = text
            .trim_end()
            .rsplit_once("switched off: ")
            .expect("a list");
        list.split(", ").map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let set = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(off(&[]), set(&["none"]));
    assert_eq!(
        off(&[("HAKMEM_TINY_USE_SUPERSLAB", "0")]),
        set(&["superslab"])
    );
    assert_eq!(
        off(&[("HAKMEM_DISABLE_THP", "1"), ("HAKMEM_DISABLE_OUTBOX", "1")]),
        set(&["thp", "outbox"])
    );
    let minimal = off(&[("HAKMEM_MINIMAL", "1")]);
    assert_eq!(minimal.len(), 15);
    let all_but_one = off(&[("HAKMEM_DISABLE_WHALE", "0"), ("HAKMEM_MINIMAL", "1")]);
    assert_eq!(
        minimal.difference(&all_but_one).collect::<Vec<_>>(),
        ["whale"]
    );
}

#[test]
fn modes_and_strategies_are_what_is_asked_for() {
    let strategy = |settings: &[(&str, &str)]| {
        let json = json_of(&stderr(&run("policy", settings)));
        let name = json["strategy"].as_str().expect("a name").to_owned();
        (
            name,
            number(&json, "warm_floor_bytes") >> 10,
            number(&json, "weight"),
        )
    };
    let (name, kept, weight) = strategy(&[]);
    assert_eq!((name.as_str(), kept), ("keep-3391K", 3391));
    assert_eq!(
        strategy(&[("HAKMEM_MODE", "fast")]),
        ("keep-22456K".to_owned(), 22_456, weight / 4)
    );
    // One knob overrules the mode, wherever it stands.
    let fixed = [
        ("HAKMEM_STRATEGY", "keep-512K"),
        ("HAKMEM_MODE", "fast"),
        ("HAKMEM_EVO", "off"),
    ];
    assert_eq!(strategy(&fixed), ("keep-512K".to_owned(), 512, weight / 4));
    assert_eq!(strategy(&[("HAKMEM_WARM_MB", "7")]).1, 7 << 10);
}

#[test]
fn research_says_what_each_window_cost() {
    let said = stderr(&run("windows", &[("HAKMEM_MODE", "research")]));
    assert!(said.lines().count() >= 2, "{said}");
    for (line, n) in said.lines().zip(1..) {
        assert!(
            line.starts_with(&format!("hakmem: window {n}: cost ")),
            "{said}"
        );
        assert!(line.contains(" learn keep-"), "{said}");
    }
    assert_eq!(stderr(&run("windows", &[])), "");
}

/// The lines of a profile that are about sites, as far as they do not change with time.
fn sites(profile: &str) -> BTreeSet<String> {
    let lines = profile.lines().filter(|line| line.starts_with("site "));
    // site BUILD OFFSET GROWS BIN CREDIT DENSITY PATH
    lines
        .map(|line| {
            let fields: Vec<_> = line.splitn(8, ' ').collect();
            format!("{} {} {} {}", fields[2], fields[4], fields[6], fields[7])
        })
        .collect()
}

#[test]
fn a_profile_is_loaded_by_the_next_process_or_refused_as_a_whole() {
    let folder = std::env::temp_dir().join(format!("hakmem-profile-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for profiles");
    let path = folder.join("profile");
    let setting = path.to_str().expect("it is text").to_owned();
    let run = |how: &str| stderr(&run(how, &[("HAKMEM_PROFILE", &setting)]));
    let read = || fs::read_to_string(&path).expect("it was written");

    assert_eq!(run("learn"), "");
    let learned = read();
    assert!(sites(&learned).len() >= 2, "{learned}");
    assert!(learned.contains(" 2 /"), "no dense site in {learned}");
    // What the second process does not do, it still knows, at other addresses.
    assert_eq!(run(""), "");
    assert!(
        sites(&read()).is_superset(&sites(&learned)),
        "{} {learned}",
        read()
    );

    let refused = |text: &str, why: &str| {
        fs::write(&path, text).expect("it can be written");
        let said = run("");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(why) && said.contains(&setting), "{said}");
        assert!(
            !sites(&read()).is_superset(&sites(&learned)),
            "it was trusted"
        );
    };
    refused(&learned.replacen(" 2 /", " 1 /", 1), "is damaged");
    refused(&learned[..learned.len() / 2], "is damaged");
    refused("", "is damaged");
    let with_sum = |text: &str| {
        let body = &text[..text.rfind("sum ").expect("a sum")];
        let sum = body.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{body}sum {sum:x}\n")
    };
    assert_eq!(with_sum(&learned), learned);
    refused(
        &with_sum(&learned.replacen("profile 1", "profile 2", 1)),
        "another version",
    );
    refused(
        &with_sum(&learned.replacen("build ", "build 0", 1)),
        "another program",
    );
    refused(
        &with_sum(&learned.replacen("strategy ", "strategy 9", 1)),
        "is damaged",
    );

    // Who does not learn all of it uses what he may, and leaves it as it is.
    let fixed = with_sum(
        &learned.replacen(
            learned
                .lines()
                .find(|line| line.starts_with("strategy "))
                .expect("a line of it"),
            "strategy 2 frozen 5",
            1,
        ),
    );
    fs::write(&path, &fixed).expect("it can be written");
    let policy = |settings: &[(&str, &str)]| {
        let settings = [settings, &[("HAKMEM_PROFILE", &*setting)]].concat();
        let json = json_of(&stderr(&self::run("policy", &settings)));
        (json["strategy"].to_string(), json["state"].to_string())
    };
    let is = |strategy: &str, state: &str| (format!("\"{strategy}\""), format!("\"{state}\""));
    for (name, value, strategy, state) in [
        ("HAKMEM_EVO", "frozen", "keep-1091K", "frozen"),
        ("HAKMEM_EVO", "off", "keep-3391K", "learn"),
        ("HAKMEM_DISABLE_CREDIT", "1", "keep-1091K", "frozen"),
        ("HAKMEM_DISABLE_SITES", "1", "keep-1091K", "frozen"),
        ("HAKMEM_GUARD", "1", "keep-1091K", "frozen"),
        ("HAKMEM_WARM_MB", "7", "keep-1091K", "frozen"),
    ] {
        assert_eq!(
            policy(&[(name, value)]),
            is(strategy, state),
            "{name}={value}"
        );
        assert!(read() == fixed, "{name}={value}: {}", read());
    }
    // Who is told where to begin knows the rest.
    let ratings = |text: &str| {
        text.lines()
            .find(|line| line.starts_with("ratings "))
            .map(str::to_owned)
    };
    let rated = with_sum(&fixed.replace(
        &ratings(&fixed).expect("a line of it"),
        "ratings 1 2 3 4 5 6 7 8 9 10 11 12",
    ));
    fs::write(&path, &rated).expect("it can be written");
    assert_eq!(
        policy(&[("HAKMEM_STRATEGY", "keep-512K")]),
        is("keep-512K", "learn")
    );
    assert_eq!(ratings(&read()), ratings(&rated));
    fs::write(&path, &fixed).expect("it can be written");
    // Who never stops trying does not for a profile.
    assert_eq!(
        policy(&[("HAKMEM_MODE", "learning")]),
        is("keep-1091K", "learn")
    );

    // What is no file is not replaced by one.
    let link = folder.join("link");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    let named = link.to_str().expect("it is text");
    let said = stderr(&self::run("", &[("HAKMEM_PROFILE", named)]));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("is no regular file") && said.contains(named),
        "{said}"
    );
    assert!(
        fs::symlink_metadata(&link)
            .expect("it is there")
            .is_symlink()
    );

    // Where it cannot be written, that is said, and nothing else happens.
    let said = stderr(&self::run("", &[("HAKMEM_PROFILE", "/nowhere/profile")]));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("cannot write /nowhere/profile"), "{said}");
    fs::remove_dir_all(&folder).expect("it was ours");
}

#[test]
fn the_json_at_exit_tells_the_truth() {
    for settings in [
        &[][..],
        &[("HAKMEM_MINIMAL", "1")],
        &[("HAKMEM_TINY_USE_SUPERSLAB", "0")],
    ] {
        let output = run("", &[settings, &[("HAKMEM_STATS", "json")]].concat());
        let json = json_of(&stderr(&output));
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(json["check"], "ok");
        assert!(number(&json, "allocations") > 0);
        let classes = json["classes"].as_array().expect("a list");
        let class = |size| {
            classes
                .iter()
                .find(|class| class["size"] == size)
                .expect("it was used")
        };
        assert!(
            (1000..1100).contains(&number(class(1008), "live_blocks")),
            "{json:#}"
        );
        // What the thread that has ended allocated, and this one freed some of.
        assert!(
            (2000..2200).contains(&number(class(64), "live_blocks")),
            "{json:#}"
        );
        assert!(
            (10..13).contains(&number(&json, "run_live_blocks")),
            "{json:#}"
        );
        assert_eq!(number(&json, "large_live_blocks"), 3);
        assert!(number(&json, "large_live_bytes") >= 15 << 20);
        let small: u64 = classes
            .iter()
            .map(|class| number(class, "live_bytes"))
            .sum();
        assert_eq!(
            number(&json, "live_bytes"),
            small + number(&json, "run_live_bytes") + number(&json, "large_live_bytes")
        );
        assert!(number(&json, "mapped_bytes") >= number(&json, "live_bytes"));
        // What was written is resident; what was only allocated may be.
        assert!(number(&json, "process_resident_bytes") > 15 << 20);
        assert!(json["os_calls"]["mmap"]["made"].as_u64() > Some(0));
    }
}

#[test]
fn the_table_survives_a_program_that_closes_stderr() {
    let text = stderr(&run("close stderr", &[("HAKMEM_STATS", "1")]));
    assert!(
        text.starts_with(concat!("hakmem ", env!("CARGO_PKG_VERSION"), ", process ")),
        "{text}"
    );
    assert!(text.contains("in use bytes     = "), "{text}");
}

#[test]
fn what_has_the_number_of_stderr_later_is_not_written_to() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("data");
    let _ = fs::remove_file(&path);
    let settings = [
        ("HAKMEM_MODE", "research"),
        ("HAKMEM_STATS", "/nowhere/at/all"),
        ("HAKMEM_PROFILE", "/nowhere/profile"),
    ];
    run(&format!("data as 2 {}", path.display()), &settings);
    assert_eq!(fs::read_to_string(&path).expect("it was made"), "");
}

#[test]
fn reports_go_to_files() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("knobs");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the target directory is writable");
    let list = format!("json,{}/%p.json", folder.display());
    for _ in 0..2 {
        assert_eq!(stderr(&run("", &[("HAKMEM_STATS", &list)])), "");
    }
    let files: Vec<_> = fs::read_dir(&folder).expect("ours").flatten().collect();
    assert_eq!(files.len(), 2);
    for file in files {
        let json = json_of(&fs::read_to_string(file.path()).expect("a report is text"));
        assert_eq!(
            file.file_name().to_string_lossy(),
            format!("{}.json", json["pid"])
        );
    }
    let text = stderr(&run("", &[("HAKMEM_STATS", "/nowhere/at/all")]));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.starts_with("hakmem: ") && text.contains("/nowhere/at/all"),
        "{text}"
    );
}

#[test]
fn a_buffer_that_is_too_short_gets_the_beginning() {
    let mut whole = vec![0; 1 << 20];
    let needed = hakmem::observe::write_json_buf(&mut whole);
    assert!(needed > 1000 && needed < whole.len());
    json_of(std::str::from_utf8(&whole[..needed]).expect("it is text"));
    let mut short = [b'!'; 20];
    assert!(hakmem::observe::write_json_buf(&mut short[..10]) > 1000);
    assert_eq!(
        (&short[..10], &short[10..]),
        (&whole[..10], &[b'!'; 10][..])
    );
    assert!(hakmem::observe::write_json_buf(&mut []) > 1000);
}
