//! The whole API over several threads, against the shadow model in `model/`.
//!
//! All inputs run in one process: heaps, orphans and caches carry over from one to the next, as they do
//! in a program that lives long. `docs/reliability.md` says how to run it, and what to do with a finding.

#![no_main]

use std::sync::{Arc, OnceLock};

use hakmem_model::{Api, Case, Hakmem, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|case: Case| {
    static HAKMEM: OnceLock<Arc<dyn Api>> = OnceLock::new();
    let hakmem = HAKMEM.get_or_init(|| Arc::new(Hakmem::new()));
    if let Err(what) = run(hakmem, &case) {
        panic!("{what}");
    }
});
