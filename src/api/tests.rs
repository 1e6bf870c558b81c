//! What only shows through the whole allocator.

use super::*;
use crate::api;
use crate::os::process::in_child;
extern crate std;
use std::vec::Vec;

/// Pseudo-random, below `n`.
fn below(state: &mut u64, n: usize) -> usize {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    ((*state >> 33) as usize * n) >> 31
}

/// Runs `f` in a process of its own: other tests look at what the whole process takes.
fn alone(f: impl FnOnce()) {
    assert!(in_child(|| {
        // The first lock of a new process would do it, in the middle.
        crate::sync::forked();
        f();
        true
    }));
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

/// Whatever has to go out for it: a free of another thread's block is known to wait until it has gone out.
#[test]
fn what_waits_for_another_thread_is_known_to_wait() {
    alone(|| {
        let blocks = std::thread::spawn(|| {
            // SAFETY: malloc takes any size.
            let take = |i| unsafe { api::malloc(1usize << (4 + i % 8)) } as usize;
            (0..4000).map(take).collect::<Vec<_>>()
        });
        for block in blocks.join().unwrap() {
            // SAFETY: a block in use, of a thread that has ended.
            unsafe { api::free(block as *mut _) };
            api::check().unwrap();
        }
    });
}

/// Blocks of the class that holds `bytes` which neither the slabs nor the magazines of the calling thread have.
fn in_use(bytes: usize) -> usize {
    let class = Class::of(bytes);
    // SAFETY: the calling thread's.
    let heap = unsafe { &*heap::current().unwrap() };
    heap.classes[class.number()].out as usize - heap.in_magazines(class)
}

/// Whatever the magazine of what is moved from holds: every second block that goes there is moved from, and a full one
/// takes an odd number.
#[test]
fn what_realloc_moves_from_is_free_again() {
    // SAFETY: blocks in use, each of which is freed once.
    let run = || unsafe {
        let take = |i: usize| {
            let block = api::malloc(100).cast::<u8>();
            block.write_bytes(i as u8, 100);
            block
        };
        let mut blocks: Vec<*mut u8> = (0..1000).map(take).collect();
        let mut moved = Vec::new();
        while let (Some(block), i) = (blocks.pop(), blocks.len()) {
            if i % 2 == 0 {
                api::free(block.cast());
                api::free(api::malloc(250));
            } else {
                let block = api::realloc(block.cast(), 250).cast::<u8>();
                assert!((0..100).all(|at| *block.add(at) == i as u8));
                moved.push(block);
            }
            assert_eq!((in_use(100), in_use(250)), (blocks.len(), moved.len()));
        }
        api::check().unwrap();
        for block in moved {
            api::free(block.cast());
        }
    };
    alone(run);
}

/// With blocks at hand nothing else is asked: what was freed last is taken, and what is moved from can be had next.
#[test]
fn realloc_takes_and_leaves_what_is_at_hand() {
    // SAFETY: each block is in use when it is passed, and freed once.
    let run = || unsafe {
        let (small, large) = (api::malloc(100), api::malloc(1000));
        api::free(large);
        small.cast::<u8>().write_bytes(7, 100);
        let moved = api::realloc(small, 1000);
        assert_eq!(moved, large);
        assert!((0..100).all(|at| *moved.cast::<u8>().add(at) == 7));
        let more_than_half = Class::of(1000).size() / 2 + 1;
        assert_eq!(api::realloc(moved, more_than_half), moved);
        assert_eq!(api::realloc(moved, 100), small);
        assert!((0..100).all(|at| *small.cast::<u8>().add(at) == 7));
        assert_eq!(api::malloc(1000), moved);
        api::free(small);
        api::free(moved);
    };
    alone(run);
}

/// The block that `block` becomes when it grows to `bytes`, in a thread that has one for as many, and for an eighth more, at
/// hand.
unsafe fn grow_at_hand(block: *mut c_void, bytes: usize) -> *mut c_void {
    // SAFETY: the caller's; what is taken is freed.
    unsafe {
        for more in [0, bytes / HEADROOM] {
            api::free(api::malloc(bytes + more));
        }
        api::realloc(block, bytes)
    }
}

#[test]
fn what_grows_by_little_gets_headroom_and_a_chain_a_place_to_grow_on() {
    // SAFETY: each block is in use when it is passed, and freed once.
    let run = || unsafe {
        let block = grow_at_hand(api::malloc(1008), 1010);
        assert_eq!(api::usable_size(block), Class::of(1010 + 126).size());
        api::free(block);
        let mut block = api::malloc(1000);
        for bytes in [1500, 2200, 3300] {
            block = grow_at_hand(block, bytes);
            assert_eq!(
                map::lookup(block as usize).kind(),
                Kind::Slab(Class::of(bytes))
            );
        }
        let block = api::realloc(block, CHAIN_GROWING_MIN + 1);
        assert_eq!(map::lookup(block as usize).kind(), Kind::Run);
        api::free(block);
        // The first one of a chain does not.
        let block = api::realloc(api::malloc(1000), CHAIN_GROWING_MIN + 1);
        assert!(matches!(map::lookup(block as usize).kind(), Kind::Slab(_)));
        api::free(block);
    };
    alone(run);
}
