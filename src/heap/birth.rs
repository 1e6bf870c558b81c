//! Heaps by number, and a heap's life: a thread's first malloc takes one, the thread's end hands
//! everything in it on. Heaps are recycled; the table of them grows and never shrinks.

use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicPtr, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use super::flush::HEAPLESS;
use super::{GONE, Heap, NO_HEAP, magazine, orphans, tls};
use crate::base::{CLASSES, Class, N_CLASSES, PAGE};
use crate::slab::remote::{self, Queue};
use crate::space::{huge, map, meta, pool, warm};
use crate::sync::{self, Guard, Lock};
use crate::{large, learn, os};

const CHUNK: usize = 4096;
const CHUNKS: usize = map::Entry::OWNERS as usize / CHUNK;

type Chunk = [AtomicPtr<Heap>; CHUNK];
/// Heaps by number; number 0 is nobody's.
static TABLE: [AtomicPtr<Chunk>; CHUNKS] = [const { AtomicPtr::new(null_mut()) }; CHUNKS];

struct Registry {
    /// Heaps without a thread.
    free: *mut Heap,
    /// Heaps ever made.
    count: u32,
    /// Heaps that a thread of this process has, the shared one included.
    taken: u32,
}
// SAFETY: free heaps belong to whoever holds the lock.
unsafe impl Send for Registry {}
static REGISTRY: Lock<Registry> = Lock::new(Registry {
    free: null_mut(),
    count: 0,
    taken: 0,
});

/// The heap of threads that cannot have their own: those whose heap is gone.
struct Shared(*mut Heap);
// SAFETY: the heap belongs to whoever holds the lock.
unsafe impl Send for Shared {}
static SHARED: Lock<Shared> = Lock::new(Shared(null_mut()));

/// Blocks of more than a page start at multiples of this. A load waits for a store before it that has the same place in
/// another page (4K aliasing; Intel, "64 and IA-32 Architectures Optimization Reference Manual"), and a program writes
/// to the first word of its block before it frees one: so what free reads first, the first line of a heap, lies elsewhere.
const BLOCK_STARTS: usize = 512;
/// By so many bytes.
const BESIDE: usize = 64;

/// The key whose destructor ends a thread's heap, plus one. 0: none yet; [`NO_KEY`]: cannot be had.
static KEY: AtomicU32 = AtomicU32::new(0);
const NO_KEY: u32 = u32::MAX;

/// Counts the forks between the first process and this one, but for those after which no thread was taken to have vanished.
static PROCESS: AtomicU32 = AtomicU32::new(0);
/// [`Heap::process`] of a heap that is free, no one thread's, not named yet, or of a thread that is ending: never a stray,
/// which is what the heap of a thread that vanished is called.
const ANY_PROCESS: u32 = 0;
/// That of the shared heap, if its holder vanished.
const NO_PROCESS: u32 = u32::MAX;

/// Heaps of the parent process: of those with a number up to this, only the forking thread's is used, and those that were
/// free if it was about to take one.
static INHERITED: AtomicU32 = AtomicU32::new(0);
/// The forking thread's.
static HEIR: AtomicU32 = AtomicU32::new(0);

fn by_number(number: u32) -> Option<&'static Heap> {
    // ORDERING: Acquire pairs with the Release in `make`.
    let chunk = TABLE.get(number as usize / CHUNK)?.load(Acquire);
    if chunk.is_null() {
        return None;
    }
    // SAFETY: chunks and heaps are never unmapped. Others use only a heap's queue, and its front by `large::Front::visit`.
    unsafe { (&(*chunk))[number as usize % CHUNK].load(Acquire).as_ref() }
}

/// The queue of a heap, unless it is a stray.
fn queue_of(number: u32) -> Option<&'static Queue> {
    let heap = by_number(number)?;
    (!heap.is_stray()).then_some(&heap.queue)
}

/// Whether there may be strays: this is the child of a fork.
#[inline(always)]
pub(super) fn has_strays() -> bool {
    PROCESS.load(Relaxed) != 0
}

/// Whether the heap with a number was that of a thread which vanished in a fork.
pub(crate) fn is_stray(number: u32) -> bool {
    by_number(number).is_some_and(Heap::is_stray)
}

/// What [`Heap::process`] is of the heap of a thread of this process.
fn this_process() -> u32 {
    PROCESS.load(Relaxed) + 1
}

impl Heap {
    fn is_stray(&self) -> bool {
        let process = self.process.load(Relaxed);
        process != ANY_PROCESS && process != this_process()
    }

    /// The calling thread has it, as its thread-local word says by now: the child of a signal handler that forks here names it,
    /// too.
    fn name_process(&self) {
        loop {
            let process = this_process();
            self.process.store(process, Relaxed);
            // Otherwise a signal handler forked in between, and this is the child.
            if process == this_process() {
                return;
            }
        }
    }
}

/// Whether no thread is between setting remote bits and the end of telling the owner.
fn nobody_delivers() -> bool {
    // ORDERING: Acquire pairs with the Release when a delivery ends.
    HEAPLESS.load(Acquire) == 0
        && (1..=count()).all(|number| {
            by_number(number).is_none_or(|heap| heap.outbox.in_flight.load(Acquire) == 0)
        })
}

/// How many heaps were ever made.
fn count() -> u32 {
    // SAFETY: a racy read of a number that only grows.
    unsafe { (&raw const (*REGISTRY.value()).count).read_volatile() }
}

fn make(registry: &mut Registry) -> Option<*mut Heap> {
    // Each time: the child of a fork may have been made in the middle of the first.
    remote::set_finder(queue_of);
    pool::set_nobody_delivers(nobody_delivers);
    learn::monitor::set_free_beside(free_beside);
    large::set_each_front(each_front);
    // Again if memory was too short the last time.
    os::process::watch();
    let number = registry.count + 1;
    let slot = TABLE.get(number as usize / CHUNK)?;
    if number >= super::NOBODY {
        return None;
    }
    if slot.load(Relaxed).is_null() {
        let chunk = meta::take(size_of::<Chunk>(), 64)?;
        // ORDERING: Release pairs with the Acquire in `by_number`.
        slot.store(chunk.as_ptr().cast(), Release);
    }
    let memory = meta::take(BESIDE + size_of::<Heap>(), BLOCK_STARTS)?;
    // SAFETY: so many bytes more were taken.
    let heap: *mut Heap = unsafe { memory.as_ptr().add(BESIDE).cast() };
    registry.count = number;
    // SAFETY: zeroed memory of our own; zero is valid for every field but those set here.
    unsafe {
        (*heap).id = number;
        (*heap).tag = (number as usize) << 8;
        (*heap).window = NO_HEAP.window;
        (*heap).tops = [magazine::dummy(); N_CLASSES];
        (&raw mut (*heap).queue).write(Queue::closed());
        // ORDERING: Release pairs with the Acquire in `by_number`.
        (&(*slot.load(Relaxed)))[number as usize % CHUNK].store(heap, Release);
    }
    Some(heap)
}

/// A heap for the calling thread. `None`: out of memory.
pub(super) fn take() -> Option<*mut Heap> {
    let mut registry = REGISTRY.lock();
    let heap = if registry.free.is_null() {
        make(&mut registry)?
    } else {
        let heap = registry.free;
        // SAFETY: free heaps are the lock holder's.
        registry.free = unsafe { (*heap).next };
        heap
    };
    registry.taken += 1;
    huge::HEAPS.store(registry.taken as usize, Relaxed);
    // SAFETY: it is this thread's now.
    unsafe {
        (*heap).process.store(ANY_PROCESS, Relaxed);
        (*heap).queue.open();
    }
    Some(heap)
}

/// The key, made at first need. The first malloc of the process comes early enough for one below 32,
/// for which setting a value allocates nothing.
fn key() -> Option<libc::pthread_key_t> {
    let key = KEY.load(Relaxed);
    if key != 0 {
        return (key != NO_KEY).then(|| key - 1);
    }
    let mut fresh: libc::pthread_key_t = 0;
    // SAFETY: the destructor is called with what `current` sets. Neither call allocates.
    let made = unsafe { libc::pthread_key_create(&mut fresh, Some(thread_ends)) } == 0;
    let value = if made { fresh + 1 } else { NO_KEY };
    match KEY.compare_exchange(0, value, Relaxed, Relaxed) {
        Ok(_) => made.then_some(fresh),
        Err(winner) => {
            if made {
                // SAFETY: ours, and no thread has set a value for it.
                unsafe { libc::pthread_key_delete(fresh) };
            }
            (winner != NO_KEY).then(|| winner - 1)
        }
    }
}

#[used]
#[unsafe(link_section = ".fini_array")]
static LEAVE: extern "C" fn() = leave;

/// The code goes: with the process, or by dlclose if libhakmem.a is a part of a library that can be
/// unloaded. No thread that ends may call into it any more.
extern "C" fn leave() {
    let key = KEY.swap(NO_KEY, Relaxed);
    if key != 0 && key != NO_KEY {
        // SAFETY: the key is ours.
        unsafe { libc::pthread_key_delete(key - 1) };
    }
}

/// The calling thread's heap, taken if it has none yet. `None`: it cannot have one, because it is
/// ending or memory is short; then [`shared`] serves.
#[inline]
pub(crate) fn current() -> Option<*mut Heap> {
    let heap = tls::heap();
    if Heap::is_real(heap) {
        Some(heap)
    } else {
        first(heap)
    }
}

#[cold]
fn first(now: *mut Heap) -> Option<*mut Heap> {
    if core::ptr::eq(now, &raw const GONE) {
        return None;
    }
    if count() == 0 {
        // Before the first lock is taken, whoever takes it.
        sync::on_new_process(new_process);
    }
    let key = key()?;
    let heap = take()?;
    tls::set_heap(heap);
    // SAFETY: the heap is this thread's.
    unsafe { (*heap).name_process() };
    // SAFETY: the key is ours. For a key of 32 or more this may call calloc, which finds the heap, and sets errno if
    // memory is short: what it fails in is not what the program asked for.
    let set = unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let set = libc::pthread_setspecific(key, heap.cast()) == 0;
        *errno = before;
        set
    };
    if !set {
        // SAFETY: the heap is this thread's.
        unsafe { retire(heap) };
        return None;
    }
    Some(heap)
}

unsafe extern "C" fn thread_ends(heap: *mut libc::c_void) {
    let heap: *mut Heap = heap.cast();
    if core::ptr::eq(tls::heap(), heap) {
        // SAFETY: the calling thread's heap.
        unsafe { retire(heap) };
    }
}

/// Hands everything in the heap on: blocks to their slabs, slabs to the pool or the orphans,
/// magazines and the heap itself to other threads.
pub(super) unsafe fn retire(heap: *mut Heap) {
    // SAFETY: the heap was the calling thread's, and nothing can reach it through TLS any more, but
    // `new_process`, as long as it has anything in its front. Others may take what is offered there.
    unsafe {
        large::retire(&(*heap).large);
        tls::set_heap(&raw const GONE);
        // From here on a child does not name it anew.
        (*heap).process.store(ANY_PROCESS, Relaxed);
        empty(&mut *heap);
        let mut registry = REGISTRY.lock();
        // A child that a signal handler forked here has not counted it.
        registry.taken = registry.taken.saturating_sub(1);
        huge::HEAPS.store(registry.taken as usize, Relaxed);
        (*heap).next = registry.free;
        registry.free = heap;
    }
}

unsafe fn empty(heap: &mut Heap) {
    // SAFETY: the heap is the caller's.
    unsafe {
        heap.flush_outbox();
        heap.drain_queue();
        let mut classes = heap.used;
        while classes != 0 {
            let number = classes.trailing_zeros() as usize;
            classes &= classes - 1;
            let Some(class) = Class::from_number(number) else {
                continue;
            };
            heap.empty_all_into_slabs(class, |_, magazine| magazine::give(magazine));
            magazine::give(magazine::of(heap.tops[number]));
            heap.tops[number] = magazine::dummy();
            let state = &mut heap.classes[number];
            for mut slab in [state.partial, state.full] {
                while !slab.is_null() {
                    let next = (*slab).next;
                    orphans::abandon(slab, class);
                    slab = next;
                }
            }
            heap.slab_bytes -= state.slabs as usize * CLASSES[number].slab_bytes();
            let (refills, flushes) = (state.refills, state.flushes);
            *state = super::ClassState::new();
            state.refills = refills;
            state.flushes = flushes;
        }
        while let Some(spare) = heap.spare.pop() {
            magazine::give(spare);
        }
        heap.used = 0;
        heap.dirty = 0;
        heap.holes = 0;
        heap.freed = 0;
        // Slabs that were pushed meanwhile are orphans now, so none is `own`.
        heap.queue.close(heap.id, &heap.outbox.in_flight, |_| {});
        heap.window = NO_HEAP.window;
    }
}

/// A heap under a lock.
pub(crate) struct SharedHeap(Guard<'static, Shared>);

impl SharedHeap {
    /// The heap, the holder's while this lives.
    pub(crate) fn heap(&self) -> *mut Heap {
        self.0.0
    }
}

/// The heap that serves threads without one. `None`: out of memory.
pub(crate) fn shared() -> Option<SharedHeap> {
    let mut shared = SHARED.lock();
    if shared.0.is_null() {
        shared.0 = take()?;
    }
    Some(SharedHeap(shared))
}

/// The same heap, if it was ever needed.
pub(crate) fn shared_if_made() -> Option<SharedHeap> {
    let shared = SHARED.lock();
    (!shared.0.is_null()).then_some(SharedHeap(shared))
}

/// A heap for guarded blocks, which no thread owns. `None`: out of memory.
pub(crate) fn guarded() -> Option<*mut Heap> {
    let heap = take()?;
    // SAFETY: the heap is the caller's.
    unsafe { (*heap).sealed = true };
    Some(heap)
}

/// Leaves the calling thread without a heap, for good. What it had stays as it is.
pub(crate) fn set_aside() {
    tls::set_heap(&raw const GONE);
}

/// The heap that an entry of the slab map names, or null.
pub(crate) fn owner(entry: map::Entry) -> *mut Heap {
    by_number(entry.owner()).map_or(null_mut(), |heap| (&raw const *heap).cast_mut())
}

/// If no other thread has a heap: what is warm must be what the pool, the large blocks, and this thread
/// keep. To be called by a thread with a heap of its own.
pub(crate) fn check_accounts() -> Result<(), &'static str> {
    let mine = tls::heap();
    // SAFETY: racy reads of words; the heap is this thread's.
    let (others, front) = unsafe {
        let taken = (&raw const (*REGISTRY.value()).taken).read_volatile();
        let shared = !(&raw const (*SHARED.value()).0).read_volatile().is_null();
        (taken != 1 + u32::from(shared), &(*mine).large)
    };
    if others || !Heap::is_real(mine) {
        return Ok(());
    }
    let kept = large::check_accounts(front)?;
    if warm::WARM.load(Relaxed) != pool::warm() + kept as isize {
        return Err("what is warm is not what is kept");
    }
    Ok(())
}

/// Bytes that are free beside the warm budget: in slabs of heaps and resident, in full magazines, and in
/// mappings that sites have earned; about, because their owners go on.
///
/// Of many heaps a few are looked at in turn, and taken for all: whoever looks has a malloc to serve.
fn free_beside() -> usize {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let free = |heap: *const Heap| {
        // SAFETY: racy reads of integers, of heaps that are never unmapped.
        unsafe {
            let dirty = (&raw const (*heap).dirty).read_volatile();
            dirty.max(0) as usize + (&raw const (*heap).stacked).read_volatile()
        }
    };
    let mut bytes = large::earned_bytes();
    // What vanished threads of the parent process hold nobody can take as it is.
    let inherited = INHERITED.load(Relaxed);
    let mine = tls::heap();
    // SAFETY: a real heap that the thread-local word names is this thread's.
    if Heap::is_real(mine) && unsafe { (*mine).id } <= inherited {
        bytes += free(mine);
    }
    let (looks, all) = some_heaps(&NEXT, 64);
    let looked = looks.len().max(1);
    let sum: usize = looks.filter_map(by_number).map(|heap| free(heap)).sum();
    bytes + sum / looked * all as usize
}

/// The numbers of at most so many of the heaps that this process made, of others each time; and how many there are.
fn some_heaps(next: &AtomicU32, most: u32) -> (impl ExactSizeIterator<Item = u32>, u32) {
    let inherited = INHERITED.load(Relaxed);
    let all = count().saturating_sub(inherited);
    let looks = all.min(most);
    let first = next.fetch_add(looks, Relaxed);
    let number = move |i: u32| inherited + 1 + first.wrapping_add(i) % all;
    ((0..looks).map(number), all)
}

/// See [`large::set_each_front`].
fn each_front(visit: &mut dyn FnMut(&large::Front)) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (looks, _) = some_heaps(&NEXT, 1000);
    let mine = tls::heap();
    looks
        .chain([HEIR.load(Relaxed)])
        .filter_map(by_number)
        .filter(|heap| !core::ptr::eq(*heap, mine))
        .for_each(|heap| visit(&heap.large));
}

/// Calls `f` for each heap ever made. Its owner may be running: for reports.
pub(crate) fn each_heap(mut f: impl FnMut(&'static Heap)) {
    for number in 1..=count() {
        if let Some(heap) = by_number(number) {
            f(heap);
        }
    }
}

/// What the child of a fork does before it takes its first lock, by the thread that forked: locks that
/// vanished threads held are free again, and what they guarded is made whole, or forgotten where it may
/// be half-changed. The heaps of vanished threads stay as they were: what they hold is not reused. Blocks in their slabs
/// can be freed, and then the slab is an orphan. The calling thread may be inside the allocator, interrupted by the
/// signal handler that forked, but not between two words that belong together, except under a lock.
pub(crate) fn new_process() {
    // Another thread, which the child made before it took a lock, does not know what the one that forked has.
    let knows = os::is_first_thread();
    if knows {
        // SAFETY: a real heap that the thread-local word names is this thread's.
        if let Some(mine) = unsafe { tls::heap().as_ref() }.filter(|heap| Heap::is_real(*heap)) {
            mine.process.store(ANY_PROCESS, Relaxed);
        }
        PROCESS.fetch_add(1, Relaxed);
    }
    // A handler that interrupted this and forked may have taken one in its child, which this is now.
    let mine = tls::heap();
    // SAFETY: the child of a fork has one thread, or others that wait for this to end; no lock is
    // taken here. The heap is this thread's.
    unsafe {
        let front = Heap::is_real(mine).then(|| &(*mine).large);
        if knows && front.is_some() {
            (*mine).name_process();
        }
        meta::after_fork();
        REGISTRY.recover(|registry| {
            // The list may be half-linked. Numbers are given under the lock before they are used.
            registry.free = null_mut();
            registry.count += 1;
        });
        SHARED.recover(|shared| {
            if let Some(heap) = shared.0.as_ref() {
                heap.process.store(NO_PROCESS, Relaxed);
            }
            shared.0 = null_mut();
        });
        // Those that were free are not taken again, for who looks at all heaps looks at those with higher numbers.
        if !REGISTRY.is_mine() {
            (*REGISTRY.value()).free = null_mut();
        }
        let heir = if front.is_some() { (*mine).id } else { 0 };
        HEIR.store(heir, Relaxed);
        let shared = !(*SHARED.value()).0.is_null();
        let taken = u32::from(front.is_some()) + u32::from(shared);
        (*REGISTRY.value()).taken = taken;
        huge::HEAPS.store(taken as usize, Relaxed);
        INHERITED.store((*REGISTRY.value()).count, Relaxed);
        magazine::after_fork();
        learn::monitor::after_fork();
        // What all keep, from the sums of each: vanished threads may have been between the two.
        let warm = pool::after_fork() + large::after_fork(front) as isize;
        warm::after_fork(warm);
        // By the pool's list of SuperSlabs, so after it.
        orphans::after_fork();
    }
    // Deliveries of vanished threads are not under way any more. Few are written to: what is only
    // read is still shared with the parent.
    HEAPLESS.store(0, Relaxed);
    each_heap(|heap| {
        let flight = &heap.outbox.in_flight;
        if !core::ptr::eq(heap, mine) && flight.load(Relaxed) != 0 {
            flight.store(0, Relaxed);
        }
        if heap.is_stray() {
            heap.queue.forsake(heap.id, flight);
        }
    });
}

const _: () = assert!(size_of::<Heap>() <= 4 * PAGE);
const _: () = {
    let mut class = 0;
    while class < N_CLASSES {
        let size = CLASSES[class].size as usize;
        assert!(size <= PAGE || size.is_multiple_of(BLOCK_STARTS));
        class += 1;
    }
};

/// Makes the heap what that of a vanished thread is in the child of a fork, for models.
///
/// # Safety
/// It is a heap.
#[cfg(all(test, loom))]
pub(super) unsafe fn vanish(heap: *mut Heap) {
    // SAFETY: the caller's.
    unsafe { (*heap).process.store(this_process(), Relaxed) };
    PROCESS.fetch_add(1, Relaxed);
}

/// This is no child of a fork, for models.
#[cfg(all(test, loom))]
pub(super) fn nobody_vanished() {
    PROCESS.store(0, Relaxed);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn no_large_block_starts_where_a_heap_does() {
        let heap = current().map_or(0, |heap| heap as usize);
        assert!(heap != 0 && !heap.is_multiple_of(BLOCK_STARTS));
    }
}
