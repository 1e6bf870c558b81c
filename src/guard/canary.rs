//! What a guarded block carries behind the bytes that were asked for, and what tells its states apart.
//!
//! ```text
//! in use    | the caller's `bytes` | fill … | seal (16 bytes) |
//! held      | zero …                        | seal (16 bytes) |   freed, waiting in the quarantine
//! free      | zero …                                          |
//! ```
//! The seal holds the size that was asked for, and a check of it; both depend on the block's address
//! and on a number that is the process's secret, so a seal that was copied, or made up, is not one.
//!
//! Pure functions over memory that the caller holds: no state but the secret.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of a seal.
pub(super) const SEAL: usize = 16;

/// What a block's seal says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seal {
    /// In use, this many bytes were asked for.
    InUse(usize),
    /// Freed, and held back.
    Held,
    /// None at all, only zeros.
    None,
    /// Something has been written over it.
    Broken,
}

/// The state that a seal carries instead of a size: no block has so many bytes.
const HELD: u64 = u64::MAX;

static SECRET: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);

/// Draws the secret from the random bytes that the kernel gave the process.
pub(super) fn draw_secret() {
    // SAFETY: reads the auxiliary vector, which the kernel has made.
    let random = unsafe { libc::getauxval(libc::AT_RANDOM) } as *const [u64; 2];
    if !random.is_null() {
        // SAFETY: AT_RANDOM is the address of 16 bytes. The first word is libc's stack protector.
        let words = unsafe { random.read_unaligned() };
        SECRET.store(words[1] | 1, Relaxed);
    }
}

/// splitmix64's finisher: each bit of the result depends on each of the argument.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn words(block: usize, state: u64) -> [u64; 2] {
    let key = mix(block as u64 ^ SECRET.load(Relaxed));
    [state ^ key, mix(state ^ key.rotate_left(32))]
}

/// The byte that fills the room behind a block: never zero, so that a string's end written there shows.
pub(super) fn fill(block: usize) -> u8 {
    mix(block as u64 ^ SECRET.load(Relaxed)) as u8 | 1
}

unsafe fn write_seal(block: *mut u8, room: usize, state: u64) {
    // SAFETY: the caller's: the block has `room` bytes, a multiple of 16 like its address.
    unsafe {
        block
            .add(room - SEAL)
            .cast::<[u64; 2]>()
            .write(words(block as usize, state));
    }
}

/// Seals a block of `room` bytes of which the caller may use the first `bytes`.
///
/// # Safety
/// The block is the caller's; `bytes + SEAL <= room`.
pub(super) unsafe fn seal(block: *mut u8, room: usize, bytes: usize) {
    // SAFETY: the caller's.
    unsafe {
        block
            .add(bytes)
            .write_bytes(fill(block as usize), room - SEAL - bytes);
        write_seal(block, room, bytes as u64);
    }
}

/// Reads a block's seal, and looks at the fill in front of it.
///
/// # Safety
/// The block of `room` bytes is readable.
pub(super) unsafe fn read(block: *const u8, room: usize) -> Seal {
    // SAFETY: the caller's.
    unsafe {
        let found = block.add(room - SEAL).cast::<[u64; 2]>().read();
        if found == [0, 0] {
            return Seal::None;
        }
        let address = block as usize;
        let state = found[0] ^ words(address, 0)[0];
        if found != words(address, state) {
            return Seal::Broken;
        }
        let bytes = state as usize;
        if state == HELD {
            Seal::Held
        } else if bytes <= room - SEAL && all(block.add(bytes), room - SEAL - bytes, fill(address))
        {
            Seal::InUse(bytes)
        } else {
            Seal::Broken
        }
    }
}

/// Marks a block as freed and held back: its content is gone.
///
/// # Safety
/// The block of `room` bytes is the caller's.
pub(super) unsafe fn hold(block: *mut u8, room: usize) {
    // SAFETY: the caller's.
    unsafe {
        block.write_bytes(0, room - SEAL);
        write_seal(block, room, HELD);
    }
}

/// Whether a held block is as [`hold`] left it.
///
/// # Safety
/// The block of `room` bytes is readable.
pub(super) unsafe fn is_held_intact(block: *const u8, room: usize) -> bool {
    // SAFETY: the caller's.
    unsafe { read(block, room) == Seal::Held && all(block, room - SEAL, 0) }
}

/// Takes the mark of [`hold`] off: the block is all zero then.
///
/// # Safety
/// The block of `room` bytes is the caller's.
pub(super) unsafe fn unseal(block: *mut u8, room: usize) {
    // SAFETY: the caller's.
    unsafe { block.add(room - SEAL).write_bytes(0, SEAL) };
}

/// Whether `bytes` bytes from `start` on all are `byte`.
///
/// # Safety
/// They are readable.
pub(super) unsafe fn all(start: *const u8, bytes: usize, byte: u8) -> bool {
    // SAFETY: the caller's.
    let bytes = unsafe { core::slice::from_raw_parts(start, bytes) };
    // SAFETY: any bits are a valid u64.
    let (head, words, tail) = unsafe { bytes.align_to::<u64>() };
    let word = u64::from_ne_bytes([byte; 8]);
    words.iter().all(|w| *w == word) && head.iter().chain(tail).all(|b| *b == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(16))]
    struct Block([u8; 96]);

    #[test]
    fn a_seal_tells_what_was_done_to_the_block() {
        let mut memory = Block([0; 96]);
        let block = memory.0.as_mut_ptr();
        // SAFETY: the block is ours, 96 bytes long.
        unsafe {
            assert_eq!(read(block, 96), Seal::None);
            for bytes in 0..=80 {
                seal(block, 96, bytes);
                assert_eq!(read(block, 96), Seal::InUse(bytes));
                block.write_bytes(7, bytes);
                assert_eq!(read(block, 96), Seal::InUse(bytes));
                for at in bytes..96 {
                    let was = block.add(at).read();
                    block.add(at).write(was.wrapping_add(1));
                    assert_eq!(read(block, 96), Seal::Broken, "{bytes} {at}");
                    block.add(at).write(was);
                }
                assert_ne!(fill(block as usize), 0);
            }
            hold(block, 96);
            assert_eq!(read(block, 96), Seal::Held);
            assert!(is_held_intact(block, 96));
            block.add(3).write(1);
            assert!(!is_held_intact(block, 96));
            block.add(3).write(0);
            unseal(block, 96);
            assert!(all(block, 96, 0));
        }
    }

    #[test]
    fn a_seal_is_good_at_its_own_address_only() {
        let mut two = [Block([0; 96]), Block([0; 96])];
        // SAFETY: both blocks are ours.
        unsafe {
            seal(two[0].0.as_mut_ptr(), 96, 40);
            two[1].0 = two[0].0;
            assert_eq!(read(two[1].0.as_ptr(), 96), Seal::Broken);
        }
    }
}
