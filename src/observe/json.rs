//! A snapshot as one JSON object. `docs/statistics.md` says what the names mean; they stay.

use core::fmt::{self, Write};

use super::knobs::FeaturesOff;
use super::snapshot::{Cache, ClassCounts, Shapes, Snapshot};
use super::writer::Writer;
use super::{VERSION, check, fill, process_resident_bytes, report, with_room};
use crate::{guard, os};

/// Writes the object, and a line feed, to a descriptor. Errors in writing are ignored.
pub fn write_json(fd: i32) {
    report(fd, |out, totals, classes| {
        render(out, totals, classes)?;
        out.write_str("\n")
    });
}

/// Writes the object's beginning into `buffer`; the length of all of it. 0 when the system has no
/// memory for that.
pub fn write_json_buf(buffer: &mut [u8]) -> usize {
    let mut needed = 0;
    with_room(|room| {
        fill(&mut room.totals, &mut room.classes);
        let mut out = Writer::to_slice(buffer);
        let _ = render(&mut out, &room.totals, &room.classes);
        needed = out.finish();
    });
    needed
}

/// Writes `"name":value` for fields of one struct, separated by commas.
macro_rules! fields {
    ($out:expr, $of:expr, $first:ident $(, $rest:ident)*) => {
        write!($out, concat!("\"", stringify!($first), "\":{}"), $of.$first)
            $(.and_then(|()| write!($out, concat!(",\"", stringify!($rest), "\":{}"), $of.$rest)))*
    };
}

fn render(out: &mut Writer<'_>, totals: &Snapshot, classes: &Shapes) -> fmt::Result {
    write!(
        out,
        "{{\"version\":\"{VERSION}\",\"pid\":{},",
        os::process_id()
    )?;
    write!(out, "\"check\":\"{}\",", check().err().unwrap_or("ok"))?;
    write!(
        out,
        "\"process_resident_bytes\":{},",
        process_resident_bytes()
    )?;
    write!(out, "\"switched_off\":[{}],", FeaturesOff(",", "\""))?;
    write!(out, "\"guard\":{},", guard::on())?;
    fields!(
        out,
        totals,
        allocations,
        live_bytes,
        free_bytes,
        mapped_bytes,
        resident_bytes,
        trimmable_bytes,
        warm_bytes,
        earned_bytes,
        warm_budget_bytes,
        magazine_bytes,
        meta_bytes,
        small_live_blocks,
        run_live_blocks,
        run_live_bytes,
        large_live_blocks,
        large_live_bytes,
        cached_blocks,
        cached_bytes,
        front_bytes,
        fenced_blocks,
        fenced_bytes,
        held_blocks,
        held_bytes,
        warm_run_bytes,
        purged_run_bytes,
        heaps,
        superslabs,
        slabs,
        orphans,
        slabs_taken,
        slabs_given,
        flushes,
        remote_frees,
        remote_atomics,
        drains,
        drained_blocks,
        waiting_blocks,
        hole_passes,
        hole_bytes,
        purged_bytes,
        populated_bytes
    )?;
    out.write_str(",\"refills\":{")?;
    fields!(out, totals.refills, stack, slab, adopted, created)?;
    out.write_str("},")?;
    cache(out, "front", &totals.front)?;
    cache(out, "bigcache", &totals.bigcache)?;
    cache(out, "whale", &totals.whale)?;
    out.write_str("\"os_calls\":{")?;
    let mut comma = "";
    for (name, call) in totals.os_calls() {
        write!(out, "{comma}\"{name}\":{{")?;
        fields!(out, call, made, failed)?;
        out.write_str("}")?;
        comma = ",";
    }
    out.write_str("},\"classes\":[")?;
    let mut comma = "";
    for class in classes.iter().filter(|class| class.was_used()) {
        write!(out, "{comma}{{")?;
        fields!(
            out,
            class,
            size,
            slabs,
            orphans,
            live_blocks,
            live_bytes,
            free_blocks,
            free_bytes,
            magazine_blocks,
            resident_bytes,
            refills,
            flushes
        )?;
        out.write_str("}")?;
        comma = ",";
    }
    out.write_str("]}")
}

fn cache(out: &mut Writer<'_>, name: &str, cache: &Cache) -> fmt::Result {
    write!(out, "\"{name}\":{{")?;
    fields!(out, cache, hits, misses, evictions)?;
    out.write_str("},")
}

impl ClassCounts {
    /// Whether there is anything to say about it.
    pub(super) fn was_used(&self) -> bool {
        self.slabs != 0 || self.refills != 0
    }
}
