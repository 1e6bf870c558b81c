//! Reads the environment, once, and says what is wrong with it.
//!
//! It is read from libc's `environ`: `getenv` can be interposed. A privileged process (AT_SECURE)
//! ignores it. This may run inside the process's first malloc, so nothing here allocates, and errno
//! stays as it was.

use core::ffi::{CStr, c_char};
use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::knobs::{FIRST, FeaturesOff, KNOBS, VERBOSE};
use super::to_descriptor;
use super::writer::{Quoted, Writer};
use crate::os;

/// What the names of all knobs begin with.
const PREFIX: &[u8] = b"HAKMEM_";

/// Reads the environment and applies it. Only the first call that finds one does anything: before
/// libc has started there is none.
pub(crate) fn read_environment() {
    unsafe extern "C" {
        /// libc's, NULL until it has started.
        static environ: *const *const c_char;
    }
    static DONE: AtomicBool = AtomicBool::new(false);
    // SAFETY: libc's variable. Only programs change it, and none is running while it is first read.
    let first = unsafe { environ };
    if first.is_null() || DONE.swap(true, Relaxed) {
        return;
    }
    // SAFETY: reads the auxiliary vector, which the kernel has made.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return;
    }
    for round in 0..=FIRST.len() {
        let mut at = first;
        // SAFETY: environ ends with NULL.
        while let Some(entry) = unsafe { at.read().as_ref() } {
            // SAFETY: its entries are strings.
            let entry = unsafe { CStr::from_ptr(entry) }.to_bytes();
            if let Some(setting) = entry.strip_prefix(PREFIX)
                && let Some(equals) = setting.iter().position(|byte| *byte == b'=')
                && round_of(&setting[..equals]) == round
            {
                set(&setting[..equals], &setting[equals + 1..]);
            }
            // SAFETY: the entry was not the last.
            at = unsafe { at.add(1) };
        }
    }
    if VERBOSE.load(Relaxed) {
        say(format_args!(
            "hakmem {}: process {}, switched off: {}",
            super::VERSION,
            os::process_id(),
            FeaturesOff(", ", "")
        ));
    }
}

/// In which round a setting is applied: see [`FIRST`].
fn round_of(name: &[u8]) -> usize {
    let first = FIRST.iter().position(|first| first.as_bytes() == name);
    first.unwrap_or(FIRST.len())
}

/// Applies a setting, or says why not. An empty value is the default.
fn set(name: &[u8], value: &[u8]) {
    let Some(knob) = KNOBS.iter().find(|knob| knob.name.as_bytes() == name) else {
        return say(format_args!(
            "hakmem: HAKMEM_{} is not a knob of hakmem {}: ignored",
            Quoted(name),
            super::VERSION
        ));
    };
    if value.is_empty() {
        return;
    }
    match knob.kind.parse(value) {
        Some(value) => knob.kind.apply(value),
        None => say(format_args!(
            "hakmem: HAKMEM_{}={}: the value has to be {}: ignored, the default is {}",
            knob.name,
            Quoted(value),
            knob.kind,
            knob.default
        )),
    }
}

/// One line on stderr, in one piece.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let mut buffer = [0; 512];
    let mut put = to_descriptor(libc::STDERR_FILENO);
    let mut out = Writer::to_function(&mut put, &mut buffer);
    let _ = out.write_fmt(line);
    let _ = out.write_str("\n");
    out.finish();
}
