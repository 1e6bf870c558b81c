//! Pointers that the slab map does not know: might glibc's malloc have made them?
//!
//! A library with its own copy of glibc's malloc may hand us its blocks (see `api`), so such a pointer is
//! no mistake as such. But one to the stack, to a mapped file, or to no memory at all is no block of
//! anybody's, and glibc's own look at it may be a crash, or worse, none. So it is looked up in
//! /proc/self/maps, and the two words that glibc has in front of each block must make sense.

use crate::base::PAGE;
use crate::os;

/// A mapping of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mapping {
    start: usize,
    end: usize,
    /// Readable and writable.
    usable: bool,
    /// The first letter of its name: `/` of a file, `[` of what the kernel made, 0 of none.
    name: u8,
    /// The second one: `s` of a stack, `h` of the heap of brk.
    next: u8,
}

/// Reads lines of /proc/self/maps, byte by byte, as they come.
struct Parser {
    now: Mapping,
    field: u8,
    letters: u8,
}

impl Parser {
    const fn new() -> Self {
        Self {
            now: Mapping {
                start: 0,
                end: 0,
                usable: false,
                name: 0,
                next: 0,
            },
            field: 0,
            letters: 0,
        }
    }

    /// Takes one byte; a mapping at the end of a line.
    fn feed(&mut self, byte: u8) -> Option<Mapping> {
        let hex = |n: usize| n << 4 | (byte as char).to_digit(16).unwrap_or(0) as usize;
        match (self.field, byte) {
            (_, b'\n') => {
                let done = self.now;
                *self = Self::new();
                return Some(done);
            }
            (0, b'-') => self.field = 1,
            (0, _) => self.now.start = hex(self.now.start),
            (1, b' ') => self.field = 2,
            (1, _) => self.now.end = hex(self.now.end),
            // Permissions, offset, device, inode: each ends with a space.
            (2..=5, b' ') => self.field += 1,
            (2, _) => {
                self.now.usable = match self.letters {
                    0 => byte == b'r',
                    1 => self.now.usable && byte == b'w',
                    _ => self.now.usable,
                };
                self.letters += 1;
            }
            (6, b' ') => {}
            (6, _) => {
                self.now.name = byte;
                self.field = 7;
            }
            (7, _) => {
                self.now.next = byte;
                self.field = 8;
            }
            _ => {}
        }
        None
    }
}

/// Calls `f` for each mapping until it returns something; `None` also if /proc cannot be read.
fn find<T>(mut f: impl FnMut(Mapping) -> Option<T>) -> Option<T> {
    let mut parser = Parser::new();
    os::read_all(b"/proc/self/maps\0", |bytes| {
        bytes.iter().find_map(|byte| f(parser.feed(*byte)?))
    })
}

/// Why `address` cannot be a block of glibc's, if that can be seen.
pub(super) fn why_not_a_block(address: usize) -> Option<&'static str> {
    let here = core::hint::black_box(0u8);
    let stack = &raw const here as usize;
    let mut any = false;
    let found = find(|mapping| {
        any = true;
        (mapping.start <= address && address < mapping.end).then_some(mapping)
    });
    if !any {
        return None;
    }
    let Some(mapping) = found else {
        return Some("no memory is mapped there");
    };
    if !mapping.usable {
        return Some("not a block: the memory there cannot be written");
    }
    if (mapping.start..mapping.end).contains(&stack) || (mapping.name, mapping.next) == (b'[', b's')
    {
        return Some("not a block: it is on the stack");
    }
    if mapping.name == b'/' {
        return Some("not a block: it is in a mapped file");
    }
    if !address.is_multiple_of(16) || address - mapping.start < 16 {
        return Some("not a block of any allocator here");
    }
    // SAFETY: the two words in front lie in the same mapping, which is readable. Should another thread
    // unmap it, this crashes as glibc would over the same pointer.
    let words = unsafe { (address as *const [usize; 2]).sub(1).read() };
    (!is_chunk(address, &mapping, words)).then_some("not a block of any allocator here")
}

/// Whether the two words in front of a block could be glibc's: the size of the chunk before, and its
/// own with three flags, as the "internals" of its manual document them.
fn is_chunk(address: usize, mapping: &Mapping, [before, size]: [usize; 2]) -> bool {
    let chunk = address - 16;
    let bytes = size & !7;
    if size & 2 != 0 {
        // Mapped alone: whole pages from its mapping's start to the chunk's end.
        let start = chunk.wrapping_sub(before);
        start % PAGE == 0
            && start >= mapping.start
            && start <= chunk
            && before.wrapping_add(bytes) % PAGE == 0
            && bytes <= mapping.end - chunk
    } else {
        bytes >= 32 && bytes % 16 == 0 && bytes <= mapping.end - chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn parse(text: &str) -> Vec<Mapping> {
        let mut parser = Parser::new();
        text.bytes().filter_map(|byte| parser.feed(byte)).collect()
    }

    #[test]
    fn lines_of_maps_are_understood() {
        let text = "55d0-55d1 rw-p 00000000 00:00 0                          [heap]\n\
                    7f00-7f20 r--p 00001000 08:01 123                        /usr/lib/a b.so\n\
                    7ffd-7ffe rw-p 00000000 00:00 0                          [stack]\n\
                    8000-9000 ---p 00000000 00:00 0 \n\
                    9000-a000 rw-s 00000000 00:00 0 \n";
        let of = |start, end, usable, name, next| Mapping {
            start,
            end,
            usable,
            name,
            next,
        };
        assert_eq!(
            parse(text),
            [
                of(0x55d0, 0x55d1, true, b'[', b'h'),
                of(0x7f00, 0x7f20, false, b'/', b'u'),
                of(0x7ffd, 0x7ffe, true, b'[', b's'),
                of(0x8000, 0x9000, false, 0, 0),
                of(0x9000, 0xa000, true, 0, 0),
            ]
        );
    }

    #[test]
    fn strangers_are_told_from_blocks_of_glibc() {
        static CONSTANT: [u8; 64] = [1; 64];
        let local = [0u8; 64];
        // These tests run on glibc's malloc.
        for bytes in [1, 100, 5_000, 200_000, 40 << 20] {
            let block: Vec<u8> = Vec::with_capacity(bytes);
            assert_eq!(why_not_a_block(block.as_ptr() as usize), None, "{bytes}");
        }
        let block: Vec<u64> = std::vec![0; 100_000];
        for wrong in [
            16,
            &raw const CONSTANT as usize,
            &raw const local as usize,
            &raw const block[3_000] as usize,
        ] {
            assert!(why_not_a_block(wrong).is_some(), "{wrong:x}");
        }
    }
}
