//! What only shows through the whole allocator.

use super::*;
use crate::api;
extern crate std;
use std::vec::Vec;

/// Pseudo-random, below `n`.
fn below(state: &mut u64, n: usize) -> usize {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    ((*state >> 33) as usize * n) >> 31
}

/// Takes many blocks of 224 bytes, frees seven of eight at random, and replaces what is left at
/// random `turns` times on average, one block at a time. Returns the slabs before and after.
fn shrink_and_go_on(turns: usize) -> (u32, u32) {
    const BYTES: usize = 224;
    const LEFT: usize = 5_000;
    let mut state = 1;
    let mut blocks: Vec<_> = (0..8 * LEFT)
        // SAFETY: freed below.
        .map(|_| unsafe { api::malloc(BYTES) })
        .collect();
    let slabs = || {
        let heap = heap::current().unwrap();
        // SAFETY: the calling thread's.
        unsafe { (*heap).classes[Class::of(BYTES).number()].slabs }
    };
    while blocks.len() > LEFT {
        let block = blocks.swap_remove(below(&mut state, blocks.len()));
        // SAFETY: a block in use.
        unsafe { api::free(block) };
    }
    let before = slabs();
    // Now one more is free, now one less: as in a program with many classes.
    for _ in 0..turns * LEFT {
        if blocks.is_empty()
            || blocks.len() < 2 * LEFT && below(&mut state, 2 * LEFT) >= blocks.len()
        {
            // SAFETY: as above.
            blocks.push(unsafe { api::malloc(BYTES) });
        } else {
            let block = blocks.swap_remove(below(&mut state, blocks.len()));
            // SAFETY: as above.
            unsafe { api::free(block) };
        }
    }
    let after = slabs();
    api::check().unwrap();
    for block in blocks {
        // SAFETY: as above.
        unsafe { api::free(block) };
    }
    (before, after)
}

#[test]
fn what_a_shrunk_class_goes_on_with_is_gathered_in_few_slabs() {
    let (before, after) = std::thread::spawn(|| shrink_and_go_on(100)).join().unwrap();
    // 292 blocks each: 18 would do for what is live.
    assert!(before > 120, "{before}");
    assert!(after < 50, "{before} slabs, and then {after}");
}
