//! What threads do to each other's slabs, in every order that matters: frees against the owner's
//! drain, its end, adoption, and the unmapping of what is empty.
//!
//! The heaps, slabs and locks are those of the library; loom runs its threads one at a time, so a
//! heap is passed by hand instead of through thread-local storage. Each model ends with all heaps
//! retired and all blocks freed: then every slab must have been released, each once.

extern crate std;

use core::ptr::null_mut;
use core::sync::atomic::Ordering::Relaxed;
use loom::{cell::UnsafeCell, thread};
use std::rc::Rc;
use std::vec::Vec;

use super::{Heap, birth, flush::HEAPLESS, orphans};
use crate::base::class::SMALL_MAX;
use crate::base::{Class, knobs};
use crate::slab::{self, Misuse, Slab, remote};
use crate::space::pool;
use crate::sync::primitive::model;

/// Switches away from a thread that could go on, at most.
const PREEMPTIONS: Option<usize> = Some(2);

/// The class with the fewest blocks in a slab, and in a magazine: two.
fn class() -> Class {
    Class::of(SMALL_MAX)
}

/// A heap that one thread of the model has at a time.
#[derive(Clone, Copy)]
struct Owner(*mut Heap);
// SAFETY: the models see to it.
unsafe impl Send for Owner {}

/// A block in use. Its content is loom's: that a thread uses it after another without an order
/// between the two is seen.
#[derive(Clone)]
struct Block {
    at: usize,
    content: Rc<UnsafeCell<()>>,
}

impl Block {
    fn slab(&self) -> *mut Slab {
        Slab::around(self.at, class().info())
    }

    /// Its number in its slab.
    fn index(&self) -> usize {
        class().info().index_of(self.at - Slab::base(self.slab()))
    }

    fn word(&self) -> *const crate::sync::primitive::AtomicU64 {
        // SAFETY: the remote words of its slab.
        unsafe { Slab::remote_at(self.at, class().info()).add(self.index() / 64) }
    }

    fn bit(&self) -> u64 {
        1 << (self.index() % 64)
    }

    fn touch(&self) {
        self.content.with_mut(|_| {});
    }

    /// Whether the bitmap of its slab has it. The caller owns the slab.
    fn is_back(&self) -> bool {
        // SAFETY: the caller's.
        let word = unsafe { *Slab::words(self.slab(), class().info()).add(self.index() / 64) };
        word & self.bit() != 0
    }
}

impl Owner {
    fn take() -> Self {
        let heap = birth::take().unwrap();
        // So that loom knows the word before there are threads.
        // SAFETY: this thread's.
        unsafe { (*heap).outbox.in_flight.store(0, Relaxed) };
        Self(heap)
    }

    /// `n` blocks, as a program gets them: of one slab, as long as it lasts.
    fn blocks(self, n: usize) -> Vec<Block> {
        let blocks: Vec<_> = (0..n)
            .map(|_| {
                // SAFETY: the heap is this thread's.
                let block = unsafe { Heap::take(self.0, class()) };
                assert!(!block.is_null());
                Block {
                    at: block as usize,
                    content: Rc::new(UnsafeCell::new(())),
                }
            })
            .collect();
        // So that loom knows the words before there are threads.
        for block in &blocks {
            let notice = Slab::notice(block.slab());
            notice.pending.store(0, Relaxed);
            notice.next.store(null_mut(), Relaxed);
            notice.orphan_live.load(Relaxed);
            // SAFETY: the slab's remote words.
            unsafe { (*block.word()).load(Relaxed) };
        }
        drop(orphans::list(class()).lock());
        blocks
    }

    /// Frees another heap's block, all the way to its slab.
    fn send(self, block: &Block) {
        block.touch();
        // SAFETY: the heap is this thread's; the block is in use.
        unsafe {
            (*self.0)
                .outbox
                .add_slow(block.slab(), block.word(), block.bit());
            (*self.0).outbox.flush();
        }
    }

    /// Takes back what others freed, and uses it: of `blocks`, those that the bitmap has.
    fn drain(self, blocks: &[Block]) {
        // SAFETY: the heap is this thread's.
        unsafe { (*self.0).drain_queue() };
        for block in blocks.iter().filter(|block| block.is_back()) {
            block.touch();
        }
    }

    /// Frees a block of its own.
    fn free(self, block: &Block) {
        // SAFETY: the heap is this thread's.
        unsafe { Heap::push_slow(self.0, block.at as *mut u8, class()) };
    }

    /// Takes a slab, an orphan if there is one, and gives the block back that it took from it.
    fn refill(self) {
        // SAFETY: the heap is this thread's.
        unsafe {
            let block = Heap::refill(self.0, class());
            Heap::push_slow(self.0, block, class());
        }
    }

    /// Is what the heap of a vanished thread is in the child of a fork; its magazine is empty.
    fn vanish(self) {
        // SAFETY: nobody else has the heap yet.
        unsafe { birth::vanish(self.0) };
    }

    /// The model ends: the heap is one again that nobody ever had.
    fn come_back(self) {
        // SAFETY: nobody has the heap.
        unsafe {
            let heap = &mut *self.0;
            assert!(heap.queue.is_empty(), "a vanished thread is told");
            heap.slab_bytes = 0;
            heap.classes[class().number()] = super::ClassState::new();
        }
        birth::nobody_vanished();
        self.retire();
    }

    /// The thread ends.
    fn retire(self) {
        // SAFETY: the heap was this thread's.
        unsafe { birth::retire(self.0) };
    }
}

/// The slabs that somebody holds.
fn slabs_held() -> u64 {
    pool::SLABS_TAKEN.load(Relaxed) - pool::SLABS_GIVEN.load(Relaxed)
}

/// Heaps that a model may use.
const HEAPS: usize = 4;

/// Has heaps, magazines and a SuperSlab made, so that no execution needs to.
fn make_ahead() {
    // What was missed of that would be known in later executions.
    knobs::HOLE_PURGE.set(false);
    let heaps = [(); HEAPS].map(|()| Owner(birth::take().unwrap()));
    // All before the first one hands its magazine on.
    for heap in heaps {
        heap.refill();
    }
    for heap in heaps {
        heap.retire();
    }
    pool::unmap_empty();
}

/// Brings the free heaps into the order of their addresses.
fn sort_heaps() {
    let mut heaps = [(); HEAPS].map(|()| birth::take().unwrap());
    heaps.sort();
    for heap in heaps {
        Owner(heap).retire();
    }
}

/// Runs `body` in all orders, and looks at what is left when it has ended.
fn check(preemptions: Option<usize>, body: impl Fn() + Send + Sync + 'static) {
    make_ahead();
    model(preemptions, sort_heaps, move || {
        HEAPLESS.store(0, Relaxed);
        let before = slabs_held();
        body();
        assert_eq!(slabs_held(), before, "a slab is not released");
        assert_eq!(orphans::length(class()), 0);
        pool::check().unwrap();
    });
}

/// Starts a thread with a heap of its own, which the caller gets back when it joins.
fn start(work: impl FnOnce(Owner) + 'static) -> thread::JoinHandle<Owner> {
    let heap = Owner::take();
    thread::spawn(move || {
        work(heap);
        heap
    })
}

/// Starts a thread that frees blocks of another heap, one after the other.
fn start_frees(blocks: &[Block]) -> thread::JoinHandle<Owner> {
    let blocks = blocks.to_vec();
    start(move |heap| blocks.iter().for_each(|block| heap.send(block)))
}

fn join_and_retire<const N: usize>(threads: [thread::JoinHandle<Owner>; N]) {
    for thread in threads {
        thread.join().unwrap().retire();
    }
}

/// No bit waits in a remote word for an owner that has not been told, or was and did not look: the
/// owners have drained their queues, or the slabs are released.
fn nothing_waits(blocks: &[Block]) {
    for block in blocks {
        // SAFETY: the header is mapped.
        let word = unsafe { &*block.word() };
        assert_eq!(word.load(Relaxed), 0, "a bit is forgotten");
        let pending = Slab::notice(block.slab()).pending.load(Relaxed);
        assert_eq!(pending, 0, "a slab is in no queue that is looked at");
    }
}

#[test]
fn frees_into_one_word_meet_the_owners_drains() {
    check(PREEMPTIONS, || {
        let owner = Owner::take();
        let blocks = owner.blocks(3);
        let frees = [start_frees(&blocks[..1]), start_frees(&blocks[1..])];
        owner.drain(&blocks);
        owner.drain(&blocks);
        join_and_retire(frees);
        owner.drain(&blocks);
        nothing_waits(&blocks);
        assert!(blocks.iter().all(Block::is_back));
        owner.retire();
    });
}

/// The slab that is pushed last leads to the other, and is pushed again.
#[test]
fn frees_into_two_slabs_meet_the_owners_drain() {
    check(PREEMPTIONS, || {
        let owner = Owner::take();
        let mut own = owner.blocks(class().info().blocks as usize + 2);
        let others = [own.remove(0), own.pop().unwrap(), own.pop().unwrap()];
        assert_ne!(others[0].slab(), others[1].slab());
        assert_eq!(others[1].slab(), others[2].slab());
        let frees = [start_frees(&others[..1]), start_frees(&others[1..])];
        owner.drain(&others);
        join_and_retire(frees);
        owner.drain(&others);
        nothing_waits(&others);
        for block in &own {
            owner.free(block);
        }
        owner.retire();
    });
}

#[test]
fn a_double_free_is_seen_once() {
    check(PREEMPTIONS, || {
        let owner = Owner::take();
        let block = &owner.blocks(1)[0];
        let at = block.at;
        let seen = Rc::new(core::cell::Cell::new(0));
        let frees: Vec<_> = (0..2)
            .map(|_| {
                let (block, seen) = (block.clone(), seen.clone());
                thread::spawn(move || {
                    let _flight = remote::Flight::start(&HEAPLESS);
                    // SAFETY: of the two, one is wrong to say that the block is in use.
                    let result =
                        unsafe { remote::deliver(block.slab(), block.word(), block.bit()) };
                    seen.set(seen.get() + usize::from(result == Err((Misuse::DoubleFree, at))));
                })
            })
            .collect();
        let drain = || {
            // SAFETY: the heap is this thread's.
            let heap = unsafe { &*owner.0 };
            heap.queue.drain(heap.id, &heap.outbox.in_flight, |slab| {
                // SAFETY: the map says that it is this heap's.
                let result = unsafe { slab::drain(slab) };
                seen.set(seen.get() + usize::from(result == Err((Misuse::DoubleFree, at))));
            });
        };
        drain();
        for free in frees {
            free.join().unwrap();
        }
        drain();
        assert_eq!(seen.get(), 1);
        assert!(block.is_back());
        owner.retire();
    });
}

#[test]
fn the_last_frees_meet_the_owners_end() {
    // With two it takes longer than all others together.
    check(Some(1), || {
        let owner = Owner::take();
        let blocks = owner.blocks(2);
        let frees = [start_frees(&blocks[..1]), start_frees(&blocks[1..])];
        owner.retire();
        join_and_retire(frees);
    });
}

#[test]
fn a_free_meets_the_owners_end_and_an_adoption() {
    check(PREEMPTIONS, || {
        let owner = Owner::take();
        let blocks = owner.blocks(1);
        let free = start_frees(&blocks);
        let heir = start(Owner::refill);
        owner.retire();
        join_and_retire([free]);
        let heir = heir.join().unwrap();
        heir.drain(&blocks);
        nothing_waits(&blocks);
        heir.retire();
    });
}

/// The number of the heap that ended is another thread's by now, and so is its queue.
#[test]
fn a_free_meets_a_heap_that_is_taken_again() {
    check(PREEMPTIONS, || {
        let owner = Owner::take();
        let blocks = owner.blocks(1);
        let free = start_frees(&blocks);
        owner.retire();
        let next = Owner::take();
        assert_eq!(next.0, owner.0);
        next.refill();
        next.drain(&[]);
        join_and_retire([free]);
        next.drain(&blocks);
        nothing_waits(&blocks);
        next.retire();
    });
}

#[test]
fn frees_meet_a_trim_of_their_orphan() {
    check(PREEMPTIONS, || {
        let owner = Owner::take();
        let blocks = owner.blocks(2);
        let other = Owner::take();
        owner.retire();
        let free = start_frees(&blocks);
        // SAFETY: the heap is this thread's.
        orphans::trim(unsafe { &*other.0 });
        join_and_retire([free]);
        other.retire();
    });
}

/// Two threads free the last blocks of a slab that nobody owns.
fn last_frees(blocks: &[Block]) -> [thread::JoinHandle<Owner>; 2] {
    [start_frees(&blocks[..1]), start_frees(&blocks[1..])]
}

/// Meanwhile another one adopts it.
fn last_frees_and_adoption(blocks: &[Block]) {
    let frees = last_frees(blocks);
    let heir = Owner::take();
    heir.refill();
    join_and_retire(frees);
    heir.drain(blocks);
    nothing_waits(blocks);
    heir.retire();
}

#[test]
fn the_last_frees_of_an_orphan_meet() {
    check(PREEMPTIONS, || {
        let owner = Owner::take();
        let blocks = owner.blocks(2);
        owner.retire();
        join_and_retire(last_frees(&blocks));
    });
}

#[test]
fn the_last_frees_of_an_orphan_meet_its_adoption() {
    check(PREEMPTIONS, || {
        let owner = Owner::take();
        let blocks = owner.blocks(2);
        owner.retire();
        last_frees_and_adoption(&blocks);
    });
}

/// What is left of the first time that a slab was an orphan must not make the second one wrong.
#[test]
fn frees_meet_the_second_owners_end() {
    check(PREEMPTIONS, || {
        let owner = Owner::take();
        let blocks = owner.blocks(2);
        owner.retire();
        let heir = Owner::take();
        heir.refill();
        let free = start_frees(&blocks[..1]);
        heir.retire();
        join_and_retire([free]);
        let last = Owner::take();
        last.send(&blocks[1]);
        last.retire();
    });
}

/// The SuperSlab goes as soon as its last slab is released, unless a delivery is under way or
/// somebody is still to be told; then the header stays mapped for them.
#[test]
fn the_last_free_meets_the_unmapping() {
    check(PREEMPTIONS, || {
        let owner = Owner::take();
        let free = start_frees(&owner.blocks(1));
        owner.retire();
        pool::unmap_empty();
        join_and_retire([free]);
    });
}

/// As above, when the slab is in the queue of a heap that ends, and has been released meanwhile.
#[test]
fn the_walk_of_a_queue_meets_the_unmapping() {
    check(PREEMPTIONS, || {
        let owner = Owner::take();
        let blocks = owner.blocks(1);
        let other = Owner::take();
        let end = thread::spawn(move || owner.retire());
        other.send(&blocks[0]);
        pool::unmap_empty();
        end.join().unwrap();
        other.retire();
    });
}

/// A slab in the queue of a heap that ends has an heir by the time when the queue is closed.
#[test]
fn what_waits_for_a_heap_that_ends_is_sent_on() {
    check(PREEMPTIONS, || {
        let owner = Owner::take();
        let blocks = owner.blocks(2);
        let (other, heir) = (Owner::take(), Owner::take());
        let end = thread::spawn(move || owner.retire());
        other.send(&blocks[0]);
        heir.refill();
        other.send(&blocks[1]);
        end.join().unwrap();
        heir.drain(&blocks);
        nothing_waits(&blocks);
        heir.retire();
        other.retire();
    });
}

#[test]
fn the_last_frees_into_a_vanished_threads_slab_meet() {
    check(PREEMPTIONS, || {
        let owner = Owner::take();
        let blocks = owner.blocks(2);
        owner.vanish();
        join_and_retire(last_frees(&blocks));
        owner.come_back();
    });
}

#[test]
fn frees_into_a_vanished_threads_slab_meet_its_adoption() {
    check(PREEMPTIONS, || {
        let owner = Owner::take();
        let blocks = owner.blocks(2);
        owner.vanish();
        last_frees_and_adoption(&blocks);
        owner.come_back();
    });
}
