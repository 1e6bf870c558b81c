//! A snapshot as the document that glibc's `malloc_info` writes, for programs that read that.
//!
//! There is one heap, the whole process. "fast" are the free blocks in magazines, "rest" all other
//! free memory that is resident, "mmap" the large blocks in use. glibc's peak values are left out:
//! they are not kept.

use core::fmt::{self, Write};

use super::report_by;
use super::snapshot::{Shapes, Snapshot};
use super::writer::Writer;

/// Passes the document to `put`, a piece at a time; nothing is locked then, so `put` may allocate. False,
/// and `put` is not called, when the system has no memory for that.
pub fn write_malloc_info_xml(put: &mut dyn FnMut(&[u8])) -> bool {
    report_by(put, render)
}

fn render(out: &mut Writer<'_>, totals: &Snapshot, classes: &Shapes) -> fmt::Result {
    out.write_str("<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n")?;
    let (mut fast, mut rest, mut smaller) = (0, 0, 0);
    for class in classes {
        if class.free_blocks != 0 {
            writeln!(
                out,
                "  <size from=\"{}\" to=\"{}\" total=\"{}\" count=\"{}\"/>",
                smaller + 1,
                class.size,
                class.free_blocks * class.size,
                class.free_blocks
            )?;
        }
        fast += class.magazine_blocks;
        rest += class.free_blocks;
        smaller = class.size;
    }
    out.write_str("</sizes>\n")?;
    let free = |out: &mut Writer<'_>| {
        let rest_bytes = totals.free_bytes - totals.magazine_bytes;
        writeln!(
            out,
            "<total type=\"fast\" count=\"{fast}\" size=\"{}\"/>\n\
             <total type=\"rest\" count=\"{rest}\" size=\"{rest_bytes}\"/>",
            totals.magazine_bytes
        )
    };
    let system = |out: &mut Writer<'_>| {
        let bytes = totals.mapped_bytes;
        writeln!(
            out,
            "<system type=\"current\" size=\"{bytes}\"/>\n\
             <aspace type=\"total\" size=\"{bytes}\"/>\n\
             <aspace type=\"mprotect\" size=\"{bytes}\"/>"
        )
    };
    free(out)?;
    system(out)?;
    out.write_str("</heap>\n")?;
    free(out)?;
    writeln!(
        out,
        "<total type=\"mmap\" count=\"{}\" size=\"{}\"/>",
        totals.large_live_blocks, totals.large_live_bytes
    )?;
    system(out)?;
    out.write_str("</malloc>\n")
}
