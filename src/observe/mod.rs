//! What can be seen and set from outside: the environment's knobs on the way in, statistics on the
//! way out.
//!
//! - [`knobs`]: the table of `HAKMEM_` variables, from which `docs/knobs.md` is rendered
//! - [`environment`]: reads them, once
//! - [`snapshot`]: what a report knows, as plain data; [`gather`] fills it
//! - [`table`], [`json`], [`xml`]: a snapshot as text
//! - [`policy`]: what has been learned, as text
//! - [`profile`]: what was learned, saved and loaded
//! - [`path`]: paths that knobs name
//! - [`exit`]: what `HAKMEM_STATS` asks for at the end of the process
//! - [`writer`]: formatted output without allocating
//!
//! Nobody waits for this module: it reads what other threads are changing, so what it says is close
//! to, but not exactly, one moment's. It allocates nothing through malloc; a report takes a few pages
//! from the system for as long as it is being written, so that it fits on a small thread's stack.

mod environment;
mod exit;
mod gather;
mod image;
mod json;
mod knobs;
mod path;
mod policy;
mod profile;
mod site;
mod snapshot;
mod table;
mod writer;
mod xml;

pub(crate) use environment::{read_environment, say};
pub use exit::at_exit;
pub use gather::{fill, snapshot};
pub use json::{write_json, write_json_buf};
pub use knobs::write_knobs_md;
pub use policy::write_policy_json;
pub(crate) use profile::load as load_profile;
pub use site::write_site_name;
pub use snapshot::{Cache, ClassCounts, OsCall, Refills, Snapshot};
pub use table::print_stats;
pub use xml::write_malloc_info_xml;

use core::fmt;

use crate::base::{N_CLASSES, PAGE, align_up};
use crate::space::pool;
use crate::{guard, heap, large, os};
use heap::Heap;
use snapshot::Shapes;
use writer::Writer;

/// The version of the library.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a report needs room for: too much for the stack of a thread with 16 KiB.
struct Room {
    totals: Snapshot,
    classes: [ClassCounts; N_CLASSES],
    buffer: [u8; PAGE],
}

/// Calls `f` with zeroed room from the system, and gives that back. False, and `f` is not called,
/// when the system has none.
fn with_room(f: impl FnOnce(&mut Room)) -> bool {
    let bytes = align_up(size_of::<Room>(), PAGE);
    let Some(start) = os::map(0, bytes) else {
        return false;
    };
    // SAFETY: the mapping is large and aligned enough, this function's alone, and zeroed: every field
    // of a Room is an integer, or made of integers.
    f(unsafe { start.cast::<Room>().as_mut() });
    // SAFETY: the reference has ended.
    unsafe { os::discard(start, bytes) };
    true
}

/// How a snapshot becomes text.
type Render = fn(&mut Writer<'_>, &Snapshot, &Shapes) -> fmt::Result;

/// Gathers everything, and then passes it to `put`, a buffer at a time, as `render` has it: by then
/// nothing is locked. False, and `put` is not called, when the system has no memory for that.
fn report_by(put: &mut dyn FnMut(&[u8]), render: Render) -> bool {
    with_room(|room| {
        fill(&mut room.totals, &mut room.classes);
        let mut out = Writer::to_function(put, &mut room.buffer);
        let _ = render(&mut out, &room.totals, &room.classes);
        out.finish();
    })
}

/// [`report_by`], to a descriptor; errors in writing are ignored.
fn report(fd: i32, render: Render) {
    let mut put = to_descriptor(fd);
    if !report_by(&mut put, render) {
        put(b"hakmem: no memory for a report\n");
    }
}

/// Writes to a descriptor, in so far as it takes it.
fn to_descriptor(fd: i32) -> impl FnMut(&[u8]) {
    move |text| {
        os::write_all(fd, text);
    }
}

/// The walk over all invariants that the calling thread can check: its own heap's, and those under
/// a lock.
///
/// Another thread that is at work can make sound structures look wrong for a moment, but not again
/// and again; damage stays.
fn check() -> Result<(), &'static str> {
    const LOOKS: usize = 5;
    let mut result = check_once();
    for _ in 1..LOOKS {
        if result.is_ok() {
            break;
        }
        os::yield_now();
        result = check_once();
    }
    result
}

fn check_once() -> Result<(), &'static str> {
    pool::check()?;
    large::check()?;
    guard::check()?;
    let heap = heap::tls::heap();
    if Heap::is_real(heap) {
        // SAFETY: a real heap that the thread-local word names is the calling thread's.
        unsafe { (*heap).check()? };
        heap::check_accounts()?;
    }
    Ok(())
}

/// Resident bytes of the whole process, as the kernel counts them; 0 if /proc cannot be read.
fn process_resident_bytes() -> usize {
    let mut buffer = [0; 128];
    let text = os::read_file(b"/proc/self/statm\0", &mut buffer);
    let pages = text.and_then(|text| text.split(|byte| *byte == b' ').nth(1));
    let pages = pages.and_then(|pages| core::str::from_utf8(pages).ok()?.parse::<usize>().ok());
    pages.unwrap_or(0) * PAGE
}
