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

impl Mapping {
    fn has(&self, address: usize) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// Whether the next one begins where this one ends, and nothing else tells them apart.
    fn goes_on_in(&self, next: &Self) -> bool {
        let alike = |mapping: &Self| (mapping.usable, mapping.name, mapping.next);
        self.end == next.start && alike(self) == alike(next)
    }
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
    // Neighbours that look alike: advice to the kernel about a part of a block tears mappings apart.
    let mut joined: Option<Mapping> = None;
    find(|mapping| {
        if let Some(before) = &mut joined {
            if before.goes_on_in(&mapping) {
                before.end = mapping.end;
                return None;
            }
            if before.has(address) {
                return Some(());
            }
        }
        joined = Some(mapping);
        None
    });
    let mapping = joined?;
    if !mapping.has(address) {
        return Some("no memory is mapped there");
    }
    if !mapping.usable {
        return Some("not a block: the memory there cannot be written");
    }
    if (mapping.name, mapping.next) == (b'[', b's') {
        return Some("not a block: it is on the stack");
    }
    if mapping.name == b'/' {
        return Some("not a block: it is in a mapped file");
    }
    let why = if mapping.has(stack) {
        "not a block: it is on the stack"
    } else {
        "not a block of any allocator here"
    };
    if !address.is_multiple_of(16) || address - mapping.start < 16 {
        return Some(why);
    }
    // SAFETY: the two words in front lie in the same mapping, which is readable. Should another thread
    // unmap it, this crashes as glibc would over the same pointer.
    let words = unsafe { (address as *const [usize; 2]).sub(1).read() };
    // Also in the mapping of the stack: who runs on a stack that is a block has other blocks beside it.
    (!is_chunk(address, &mapping, words)).then_some(why)
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

    /// A part that no child of a fork is to have is a mapping of its own.
    #[test]
    fn a_block_in_several_mappings_is_one() {
        let block: Vec<u8> = Vec::with_capacity(40 << 20);
        let part = (block.as_ptr() as usize + (1 << 20)).next_multiple_of(PAGE);
        let advise = |advice| {
            // SAFETY: pages of our own, which no child needs.
            unsafe { libc::madvise(part as *mut libc::c_void, PAGE, advice) }
        };
        assert_eq!(advise(libc::MADV_DONTFORK), 0);
        assert_eq!(why_not_a_block(block.as_ptr() as usize), None);
        assert_eq!(advise(libc::MADV_DOFORK), 0);
    }

    #[test]
    fn blocks_beside_a_stack_that_is_a_block_are_blocks() {
        extern "C" fn look(block: *mut libc::c_void) -> *mut libc::c_void {
            let here = core::hint::black_box(0u8);
            let found = [
                why_not_a_block(block as usize).is_none(),
                why_not_a_block(&raw const here as usize & !15).is_some(),
            ];
            found.iter().all(|good| *good) as usize as *mut libc::c_void
        }
        // Small enough for the one arena.
        let stack: Vec<u64> = Vec::with_capacity(libc::PTHREAD_STACK_MIN / 8 + 8192);
        let block: Vec<u64> = Vec::with_capacity(100);
        let mut result = core::ptr::null_mut();
        // SAFETY: the stack outlives the thread.
        unsafe {
            let mut attributes = core::mem::zeroed();
            let mut thread = core::mem::zeroed();
            assert_eq!(libc::pthread_attr_init(&mut attributes), 0);
            let start = (stack.as_ptr() as usize).next_multiple_of(64);
            let bytes = stack.capacity() * 8 - 64;
            let set = libc::pthread_attr_setstack(&mut attributes, start as *mut _, bytes);
            assert_eq!(set, 0);
            let block = block.as_ptr().cast_mut().cast();
            assert_eq!(
                libc::pthread_create(&mut thread, &attributes, look, block),
                0
            );
            assert_eq!(libc::pthread_join(thread, &mut result), 0);
        }
        assert!(!result.is_null());
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
