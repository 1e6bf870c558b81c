//! What has been learned, as JSON, as lines of the table, and as a line a window. `docs/learning.md` says what
//! the names mean; they stay.

use core::fmt::{self, Write};
use core::sync::atomic::Ordering::Relaxed;

use super::exit::say_later;
use super::writer::Writer;
use crate::learn::lifecycle::Lifecycle;
use crate::learn::{monitor, strategy};

/// Writes the policy's beginning into `buffer` as a JSON object; the length of all of it.
pub fn write_policy_json(buffer: &mut [u8]) -> usize {
    let mut out = Writer::to_slice(buffer);
    let _ = json(&mut out, &monitor::lifecycle());
    out.finish()
}

fn json(out: &mut Writer<'_>, life: &Lifecycle) -> fmt::Result {
    write!(
        out,
        "{{\"version\":\"{}\",\"state\":\"{}\",\"strategy\":\"{}\",\"warm_floor_bytes\":{},\"windows\":{},\
         \"changes\":{},\"rollbacks\":{},\"relearned\":{},\"fault_ns\":{},\"faults_timed\":{},\"price\":{},\"weight\":{},\"patience_ms\":{},\"cost\":{},\
         \"missed\":{},\"given\":{},\"rent\":{},\"kept_bytes\":{},\"strategies\":[",
        super::VERSION,
        life.phase.name(),
        strategy::NAMES[life.strategy],
        strategy::warm_floor(),
        life.windows,
        life.changes,
        life.rollbacks,
        life.relearned,
        monitor::fault_ns(),
        monitor::faults_timed(),
        monitor::price(),
        monitor::WEIGHT.load(Relaxed),
        monitor::patience_ms(),
        life.last.total(life.price),
        life.last.missed,
        life.last.given,
        life.last.rent(life.price),
        life.last.kept,
    )?;
    let mut comma = "";
    for (name, arm) in strategy::NAMES.iter().zip(&life.arms) {
        write!(
            out,
            "{comma}{{\"name\":\"{name}\",\"rating\":{},\"windows\":{},\"cost\":{},\"known\":{}}}",
            arm.points(),
            arm.windows,
            life.cost_of(arm),
            arm.known
        )?;
        comma = ",";
    }
    out.write_str("]}")
}

/// The section of the table.
pub(super) fn table(out: &mut Writer<'_>) -> fmt::Result {
    let life = monitor::lifecycle();
    writeln!(
        out,
        "\nstrategy {} ({}) after {} windows: {} changes, {} rollbacks, {} times learned again; a fault takes {} ns",
        strategy::NAMES[life.strategy],
        life.phase.name(),
        life.windows,
        life.changes,
        life.rollbacks,
        life.relearned,
        monitor::fault_ns()
    )?;
    if life.windows > 0 {
        writeln!(
            out,
            "{:>12} {:>10} {:>10} {:>10}",
            "strategy", "rating", "windows", "ns/ms"
        )?;
    }
    for (name, arm) in strategy::NAMES.iter().zip(&life.arms) {
        if arm.windows > 0 {
            writeln!(
                out,
                "{name:>12} {:>10} {:>10} {:>10}",
                arm.points(),
                arm.windows,
                life.cost_of(arm)
            )?;
        }
    }
    Ok(())
}

/// A line about the window that has ended.
pub(super) fn say_window(life: &Lifecycle) {
    say_later(format_args!(
        "hakmem: window {}: cost {} ns/ms (missed {}, given {}, rent {} for {} KiB), {} {}",
        life.windows,
        life.last.total(life.price),
        life.last.missed,
        life.last.given,
        life.last.rent(life.price),
        life.last.kept >> 10,
        life.phase.name(),
        strategy::NAMES[life.strategy]
    ));
}
