//! The files that the process has mapped to run: where, and which build they are.
//!
//! From /proc/self/maps and from the headers in memory: the dynamic linker would have to be asked under
//! its lock, which whoever loads a library holds while it allocates.

use core::ffi::CStr;

use crate::base::PAGE;
use crate::os;

/// The longest build id, in bytes.
const LONGEST: usize = 32;

/// A build id (`ld --build-id`), as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct BuildId {
    digits: [u8; 2 * LONGEST],
    len: usize,
}

impl BuildId {
    fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > LONGEST {
            return None;
        }
        let mut digits = [0; 2 * LONGEST];
        for (i, byte) in bytes.iter().enumerate() {
            for (j, digit) in [byte >> 4, byte & 15].into_iter().enumerate() {
                digits[2 * i + j] = b"0123456789abcdef"[usize::from(digit)];
            }
        }
        Some(Self {
            digits,
            len: 2 * bytes.len(),
        })
    }

    /// Its digits.
    pub(super) fn text(&self) -> &str {
        core::str::from_utf8(&self.digits[..self.len]).unwrap_or("")
    }
}

/// FNV-1a, of 64 bits: against damage, not against malice.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A part of a file that is mapped to be run.
pub(super) struct Image<'a> {
    /// The file.
    pub(super) path: &'a str,
    /// Where its first byte is.
    pub(super) base: usize,
    /// The addresses of this part.
    pub(super) code: core::ops::Range<usize>,
}

/// Calls `f` for each part of a file that can be run.
pub(super) fn each(mut f: impl FnMut(&Image<'_>)) {
    // As long as the kernel makes a path, and what stands before it.
    let mut line = [0u8; 4096 + 128];
    let mut len = 0;
    // Of the file whose lines come one after the other: where it begins, and the sum of its path.
    let mut file = (0, 0);
    os::read_all(b"/proc/self/maps\0", |mut piece| {
        while !piece.is_empty() {
            let end = piece.iter().position(|byte| *byte == b'\n');
            let part = &piece[..end.unwrap_or(piece.len())];
            let room = line.len() - len;
            let fits = part.len().min(room);
            line[len..len + fits].copy_from_slice(&part[..fits]);
            len += fits;
            if end.is_some() {
                if let Ok(text) = core::str::from_utf8(&line[..len]) {
                    see(text, &mut file, &mut f);
                }
                len = 0;
            }
            piece = &piece[end.map_or(piece.len(), |end| end + 1)..];
        }
        None::<()>
    });
}

/// Understands a line: `start-end rwxp offset device inode path`.
fn see(line: &str, file: &mut (usize, u64), f: &mut impl FnMut(&Image<'_>)) -> Option<()> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let rights = fields.next()?.as_bytes();
    let offset = usize::from_str_radix(fields.next()?, 16).ok()?;
    let path = fields.nth(2)?.trim_start();
    if !path.starts_with('/') || rights.first() != Some(&b'r') {
        return None;
    }
    let name = sum(path.as_bytes());
    if offset == 0 {
        *file = (start, name);
    }
    if rights.get(2) == Some(&b'x') && file.1 == name {
        f(&Image {
            path,
            base: file.0,
            code: start..end,
        });
    }
    Some(())
}

/// The build of the file whose first bytes are at `base`, as far as its first page tells; `None` also
/// where nothing is mapped any more.
pub(super) fn build_of(base: usize) -> Option<BuildId> {
    #[repr(align(8))]
    struct Page([u8; PAGE]);
    let mut page = Page([0; PAGE]);
    if !os::read_own(base, &mut page.0) {
        return None;
    }
    // SAFETY: the page is large and aligned enough for a header, and any bits are valid integers.
    let header = unsafe { &*(page.0.as_ptr().cast::<libc::Elf64_Ehdr>()) };
    let (offset, count) = (header.e_phoff as usize, usize::from(header.e_phnum));
    let size = size_of::<libc::Elf64_Phdr>();
    let end = offset.checked_add(count * size)?;
    if header.e_ident[..4] != *b"\x7fELF"
        || usize::from(header.e_phentsize) != size
        || !offset.is_multiple_of(8)
        || end > PAGE
    {
        return None;
    }
    // SAFETY: so many headers lie in the page, at a multiple of their alignment; any bits are valid.
    let headers = unsafe {
        core::slice::from_raw_parts(
            page.0.as_ptr().add(offset).cast::<libc::Elf64_Phdr>(),
            count,
        )
    };
    of_headers(headers, |header| {
        let start = usize::try_from(header.p_offset).ok()?;
        page.0
            .get(start..start.checked_add(header.p_filesz as usize)?)
    })
}

/// The build of the program.
pub(super) fn program() -> Option<BuildId> {
    // SAFETY: reads the auxiliary vector; the program's headers stand where it says, and are mapped as
    // long as it runs.
    unsafe {
        let start = libc::getauxval(libc::AT_PHDR) as *const libc::Elf64_Phdr;
        let count = libc::getauxval(libc::AT_PHNUM) as usize;
        if start.is_null() {
            return None;
        }
        let headers = core::slice::from_raw_parts(start, count);
        // A program that is linked statically does not name its headers; they are in its first page.
        let named = headers.iter().find(|h| h.p_type == libc::PT_PHDR);
        let first = headers
            .iter()
            .find(|h| h.p_type == libc::PT_LOAD && h.p_offset == 0);
        let at = start as usize;
        let bias = match (named, first) {
            (Some(named), _) => at.wrapping_sub(named.p_vaddr as usize),
            (None, Some(first)) => (at & !(PAGE - 1)).wrapping_sub(first.p_vaddr as usize),
            (None, None) => return None,
        };
        of_headers(headers, |h| {
            let start = bias.wrapping_add(h.p_vaddr as usize) as *const u8;
            Some(core::slice::from_raw_parts(start, h.p_filesz as usize))
        })
    }
}

/// Finds the build id in one of the notes, whose content `at` tells.
fn of_headers<'a>(
    headers: &[libc::Elf64_Phdr],
    at: impl Fn(&libc::Elf64_Phdr) -> Option<&'a [u8]>,
) -> Option<BuildId> {
    const BUILD_ID: u32 = 3;
    headers
        .iter()
        .filter(|header| header.p_type == libc::PT_NOTE)
        .find_map(|header| {
            let mut notes = at(header)?;
            let word = |bytes: &[u8], i: usize| {
                let word = bytes.get(4 * i..4 * i + 4)?;
                Some(u32::from_ne_bytes(word.try_into().ok()?))
            };
            loop {
                let (name, id) = (word(notes, 0)? as usize, word(notes, 1)? as usize);
                let kind = word(notes, 2)?;
                let rest = notes.get(12..)?;
                let behind = rest.get(name.next_multiple_of(4)..)?;
                let owner = CStr::from_bytes_until_nul(rest.get(..name)?);
                if kind == BUILD_ID && owner == Ok(c"GNU") {
                    return BuildId::new(behind.get(..id)?);
                }
                notes = behind.get(id.next_multiple_of(4)..)?;
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::String;

    #[test]
    fn this_program_is_found_where_it_is() {
        let here = this_program_is_found_where_it_is as fn() as usize;
        let mut found = None;
        each(|image| {
            if image.code.contains(&here) {
                found = Some((String::from(image.path), build_of(image.base)));
            }
        });
        let (path, build) = found.unwrap();
        assert_eq!(path, std::env::current_exe().unwrap().to_str().unwrap());
        assert!(build == program());
        assert!(build.is_none_or(|build| build.text().len() >= 16));
    }
}
