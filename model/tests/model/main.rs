//! Property tests of the whole API: made-up cases against the shadow model.
//!
//! ```sh
//! PROPTEST_CASES=20000 cargo test --release -p hakmem-model     # for longer
//! HAKMEM_DISABLE_MAGAZINE=1 cargo test -p hakmem-model          # under a setting
//! ```
//! Each case of hakmem's runs in a process of its own, which has never allocated before: what fails
//! fails again, and one that kills the process or hangs shrinks as well as one that only finds
//! something. A failure is written to `regressions.txt`, which is under version control and is tried
//! first in each run. When it is mended, the shrunk case goes into `regressions.rs` in words: the
//! seeds in that file mean other cases as soon as `cases.rs` changes, and are then taken out.

mod cases;
mod faulty;
mod isolated;
mod regressions;

use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use hakmem_model::{Api, C, Case, Hakmem, run};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};

/// How long a failing case is made smaller.
const SHRINK_MS: u32 = 60_000;

/// Runs made-up cases until one fails: as many as PROPTEST_CASES says, or `cases`.
fn property(
    cases: u32,
    file: Option<&'static str>,
    strategy: impl Strategy<Value = Case>,
    test: fn(Case) -> Result<(), String>,
) {
    let wanted = std::env::var("PROPTEST_CASES").ok();
    let mut runner = TestRunner::new(Config {
        cases: wanted.and_then(|n| n.parse().ok()).unwrap_or(cases),
        failure_persistence: file.map(|file| Box::new(FileFailurePersistence::Direct(file)) as _),
        max_shrink_iters: u32::MAX,
        max_shrink_time: SHRINK_MS,
        ..Config::default()
    });
    let result = runner.run(&strategy, |case| {
        test(case).map_err(proptest::test_runner::TestCaseError::fail)
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

#[test]
fn hakmem_does_what_the_model_says() {
    property(100, Some("regressions.txt"), cases::case(), |case| {
        isolated::run(|| run(&(Arc::new(Hakmem::new()) as Arc<dyn Api>), &case))
    });
}

/// What the fuzz target does with its inputs.
#[test]
fn bytes_become_cases() {
    let bytes = vec(any::<u8>(), 0..3000);
    let cases = bytes.prop_map(|bytes| {
        let mut bytes = Unstructured::new(&bytes);
        Case::arbitrary(&mut bytes).expect("bytes that are missing are zero")
    });
    property(20, None, cases, |case| {
        isolated::run(|| run(&(Arc::new(Hakmem::new()) as Arc<dyn Api>), &case))
    });
}

#[test]
fn the_model_demands_nothing_that_the_c_library_does_not_do() {
    property(20, None, cases::case(), |case| {
        isolated::run(|| run(&(Arc::new(C) as Arc<dyn Api>), &case))
    });
}
