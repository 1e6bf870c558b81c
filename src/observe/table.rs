//! A snapshot as a table to read. `docs/statistics.md` explains the lines.

use core::fmt::{self, Write};

use super::knobs::FeaturesOff;
use super::policy;
use super::snapshot::{Cache, Shapes, Snapshot};
use super::writer::Writer;
use super::{VERSION, check, process_resident_bytes, report};
use crate::{guard, os};

/// Writes the table to a descriptor. Errors in writing are ignored.
pub fn print_stats(fd: i32) {
    report(fd, render);
}

fn render(out: &mut Writer<'_>, totals: &Snapshot, classes: &Shapes) -> fmt::Result {
    writeln!(
        out,
        "hakmem {VERSION}, process {}: check {}, switched off: {}",
        os::process_id(),
        check().err().unwrap_or("ok"),
        FeaturesOff(", ", "")
    )?;
    small(out, totals, classes)?;
    large(out, totals)?;
    writeln!(
        out,
        "\n{:>12} {:>12} {:>9}",
        "system call", "made", "failed"
    )?;
    for (name, call) in totals.os_calls() {
        writeln!(out, "{name:>12} {:>12} {:>9}", call.made, call.failed)?;
    }
    writeln!(
        out,
        "purged {} bytes ({} of runs), populated {} bytes",
        totals.purged_bytes, totals.purged_run_bytes, totals.populated_bytes
    )?;
    if guard::on() {
        writeln!(
            out,
            "guarded: {} blocks of {} bytes by pages, {} freed ones of {} bytes held back",
            totals.fenced_blocks, totals.fenced_bytes, totals.held_blocks, totals.held_bytes
        )?;
    }
    policy::table(out)?;
    memory(out, totals)
}

fn small(out: &mut Writer<'_>, totals: &Snapshot, classes: &Shapes) -> fmt::Result {
    writeln!(
        out,
        "\n{:>7} {:>7} {:>7} {:>11} {:>13} {:>10} {:>9} {:>13} {:>10} {:>10}",
        "size",
        "slabs",
        "orphans",
        "live",
        "live bytes",
        "free",
        "magazines",
        "resident",
        "refills",
        "flushes"
    )?;
    for class in classes.iter().filter(|class| class.was_used()) {
        writeln!(
            out,
            "{:>7} {:>7} {:>7} {:>11} {:>13} {:>10} {:>9} {:>13} {:>10} {:>10}",
            class.size,
            class.slabs,
            class.orphans,
            class.live_blocks,
            class.live_bytes,
            class.free_blocks,
            class.magazine_blocks,
            class.resident_bytes,
            class.refills,
            class.flushes
        )?;
    }
    let refills = &totals.refills;
    writeln!(
        out,
        "heaps {}, superslabs {}, slabs {} ({} orphans; {} taken, {} given)\n\
         refills from magazines {}, from slabs {} (adopted {}, created {}), flushes {}",
        totals.heaps,
        totals.superslabs,
        totals.slabs,
        totals.orphans,
        totals.slabs_taken,
        totals.slabs_given,
        refills.stack,
        refills.slab,
        refills.adopted,
        refills.created,
        totals.flushes
    )?;
    writeln!(
        out,
        "remote frees {} by {} atomics; drained {} from {} slabs, waiting {}\n\
         holes: {} passes gave back {} bytes",
        totals.remote_frees,
        totals.remote_atomics,
        totals.drained_blocks,
        totals.drains,
        totals.waiting_blocks,
        totals.hole_passes,
        totals.hole_bytes
    )
}

fn large(out: &mut Writer<'_>, totals: &Snapshot) -> fmt::Result {
    writeln!(
        out,
        "\n{:>9} {:>10} {:>10} {:>10}",
        "cache", "hits", "misses", "evictions"
    )?;
    for (name, cache) in [
        ("front", &totals.front),
        ("bigcache", &totals.bigcache),
        ("whale", &totals.whale),
    ] {
        let Cache {
            hits,
            misses,
            evictions,
        } = cache;
        writeln!(out, "{name:>9} {hits:>10} {misses:>10} {evictions:>10}")?;
    }
    writeln!(
        out,
        "in caches {} blocks, {} bytes ({} unearned in fronts); free among runs {} bytes; earned of all that {} bytes\n\
         live runs {}, {} bytes; live mappings {}, {} bytes",
        totals.cached_blocks,
        totals.cached_bytes,
        totals.front_bytes,
        totals.warm_run_bytes,
        totals.earned_bytes,
        totals.run_live_blocks,
        totals.run_live_bytes,
        totals.large_live_blocks,
        totals.large_live_bytes
    )
}

/// The last lines, the first two of them as glibc's `malloc_stats` writes them.
fn memory(out: &mut Writer<'_>, totals: &Snapshot) -> fmt::Result {
    out.write_str("\n")?;
    for (name, bytes) in [
        ("system bytes", totals.mapped_bytes),
        ("in use bytes", totals.live_bytes),
        ("resident bytes", totals.resident_bytes),
        ("free bytes", totals.free_bytes),
        ("warm bytes", totals.warm_bytes),
        ("warm budget", totals.warm_budget_bytes),
        ("own structures", totals.meta_bytes),
        ("process resident", process_resident_bytes()),
    ] {
        writeln!(out, "{name:<16} = {bytes:>14}")?;
    }
    // In integers: formatting floating point would be a large part of the library.
    let live = totals.live_bytes.max(1) as u128;
    let per_mille = totals.resident_bytes as u128 * 1000 / live;
    writeln!(
        out,
        "resident / live  = {:>10}.{:03}",
        per_mille / 1000,
        per_mille % 1000
    )
}
