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
    // Of the file whose lines come one after the other.
    let mut base = 0;
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
                    see(text, &mut base, &mut f);
                }
                len = 0;
            }
            piece = &piece[end.map_or(piece.len(), |end| end + 1)..];
        }
        None::<()>
    });
}

/// Understands a line: `start-end rwxp offset device inode path`.
fn see(line: &str, base: &mut usize, f: &mut impl FnMut(&Image<'_>)) -> Option<()> {
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
    if offset == 0 {
        *base = start;
    }
    if rights.get(2) == Some(&b'x') {
        f(&Image {
            path,
            base: *base,
            code: start..end,
        });
    }
    Some(())
}

/// The build of the file whose first bytes are at `base`.
///
/// # Safety
/// `base` is what [`each`] said of a file that is still mapped.
pub(super) unsafe fn build_of(base: usize) -> Option<BuildId> {
    // SAFETY: the first page of the mapping can be read, and any bits are valid integers.
    unsafe {
        let header = &*(base as *const libc::Elf64_Ehdr);
        let (offset, count) = (header.e_phoff as usize, usize::from(header.e_phnum));
        let size = size_of::<libc::Elf64_Phdr>();
        if header.e_ident[..4] != *b"\x7fELF"
            || usize::from(header.e_phentsize) != size
            || offset % 8 != 0
            || offset + count * size > PAGE
        {
            return None;
        }
        let first = (base + offset) as *const libc::Elf64_Phdr;
        of_headers(core::slice::from_raw_parts(first, count), |header| {
            // Only what lies in the part that is known to be mapped here.
            let end = header.p_offset.checked_add(header.p_filesz)?;
            (end <= PAGE as u64).then_some(base + header.p_offset as usize)
        })
    }
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
        let own = headers.iter().find(|h| h.p_type == libc::PT_PHDR);
        let bias = own.map_or(0, |h| (start as usize).wrapping_sub(h.p_vaddr as usize));
        of_headers(headers, |h| Some(bias.wrapping_add(h.p_vaddr as usize)))
    }
}

/// Finds the build id in one of the notes, whose address `at` tells.
///
/// # Safety
/// Where `at` says so, as many bytes as the header's `p_filesz` can be read.
unsafe fn of_headers(
    headers: &[libc::Elf64_Phdr],
    at: impl Fn(&libc::Elf64_Phdr) -> Option<usize>,
) -> Option<BuildId> {
    const BUILD_ID: u32 = 3;
    headers
        .iter()
        .filter(|header| header.p_type == libc::PT_NOTE)
        .find_map(|header| {
            let start = at(header)? as *const u8;
            // SAFETY: the caller's.
            let mut notes = unsafe { core::slice::from_raw_parts(start, header.p_filesz as usize) };
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
                // SAFETY: as `each` says; nothing is unmapped meanwhile.
                found = Some((String::from(image.path), unsafe { build_of(image.base) }));
            }
        });
        let (path, build) = found.unwrap();
        assert_eq!(path, std::env::current_exe().unwrap().to_str().unwrap());
        assert!(build == program());
        assert!(build.is_none_or(|build| build.text().len() >= 16));
    }
}
