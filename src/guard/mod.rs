//! `HAKMEM_GUARD`: every mistake with a block ends the process with one line, close to where it is made.
//!
//! While this is on, no thread has a heap of its own: fast paths never hit, slow ones come here. So it
//! costs nothing while it is off. A small block comes from one heap under a lock, carries a seal behind
//! what was asked for ([`canary`]), and is held back for long after it was freed ([`fifo`]), all zero, to
//! see whether anybody writes to it. Large blocks, those of no bytes, and one small one in
//! [`SAMPLE`] lie in front of a page that cannot be touched ([`fence`]). Content is zero when a block is
//! taken and gone when it is freed. Pointers that are not ours must look like glibc's ([`stranger`]).
//!
//! Blocks that the process took before the environment could be read are ordinary ones: the slab map
//! tells one from the other, so all are freed as what they are.
//!
//! The ideas are those of Electric Fence, of the quarantine of AddressSanitizer (Serebryany et al.,
//! 2012), and of hardened_malloc. Callers: `observe` and the API.

mod canary;
mod fence;
mod fifo;
mod stranger;

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use crate::base::{Class, Misuse, SMALL_MAX, align_up};
use crate::heap::{self, Heap, Look};
use crate::os;
use crate::slab::{Found, Slab};
use crate::space::map::{self, Entry, Kind};
use crate::sync::{self, Lock};
use canary::{SEAL, Seal};
use fence::Fences;
use fifo::Fifo;

/// One small block in so many gets a fence.
const SAMPLE: usize = 64;
/// While so many have one, no small one gets any: each takes two mappings of the 65,530 that Linux
/// grants a process.
const SAMPLED_MAX: usize = 8192;
/// While so many have one, no other block does: the program and what else we map need mappings, too.
const FENCES_MAX: usize = 2 * SAMPLED_MAX;
/// Freed small blocks that are held back, at most, and their bytes.
const HELD_MAX: usize = 1 << 16;
/// See [`HELD_MAX`].
const HELD_BYTES: usize = 16 << 20;
/// Larger alignments are for mappings.
const ALIGN_MAX: usize = 16 << 10;

/// Whether `HAKMEM_GUARD` asks for it.
pub(crate) static WANTED: AtomicBool = AtomicBool::new(false);
/// See [`on`]; for assembly.
pub static ON: AtomicBool = AtomicBool::new(false);
/// Small blocks taken.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

struct State {
    /// Serves all small blocks; nobody's but the lock holder's.
    heap: *mut Heap,
    /// Addresses of freed small blocks.
    held: Fifo<HELD_MAX>,
    held_bytes: usize,
    fences: Fences,
}

// SAFETY: everything in it belongs to whoever holds the lock.
unsafe impl Send for State {}

static STATE: Lock<State> = Lock::new(State {
    heap: null_mut(),
    held: Fifo::new(),
    held_bytes: 0,
    fences: Fences::new(),
});

/// Whether blocks are guarded.
#[inline(always)]
pub(crate) fn on() -> bool {
    ON.load(Relaxed)
}

/// Guards every block from now on. False, and none is, when there is no memory.
pub(crate) fn start() -> bool {
    canary::draw_secret();
    let mut state = STATE.lock();
    if state.heap.is_null() {
        let Some(heap) = heap::guarded() else {
            return false;
        };
        state.heap = heap;
    }
    drop(state);
    sync::on_new_process(new_process);
    heap::set_aside();
    ON.store(true, Relaxed);
    true
}

/// What the child of a fork does first, while blocks are guarded.
pub(crate) fn new_process() {
    // SAFETY: no other thread of the child has taken a lock.
    unsafe {
        STATE.recover(|state| {
            // Blocks of the old heap stay what they are: the slab map says so.
            state.heap = null_mut();
            state.held = Fifo::new();
            state.held_bytes = 0;
            state.fences.forget_lists();
        });
    }
    heap::new_process();
}

/// The class whose blocks have room for `bytes` and a seal; `None` for what gets a mapping.
fn class_for(bytes: usize, align: usize) -> Option<Class> {
    if align > ALIGN_MAX || bytes > SMALL_MAX {
        return None;
    }
    let room = align_up(bytes + SEAL, align);
    (room <= SMALL_MAX).then(|| Class::of(room))
}

/// Whether a block can have a seal if it gets no fence. Where it cannot, an ordinary block will do.
pub(crate) fn can_seal(bytes: usize, align: usize) -> bool {
    class_for(bytes, align).is_some()
}

/// A zeroed block whose usable size is `bytes`. `None`: out of memory, or, for what cannot have a seal, of fences.
pub(crate) fn take(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    let class = class_for(bytes, align);
    let fences = fence::BLOCKS.load(Relaxed);
    let fenced = match class {
        Some(_) if bytes > 0 => {
            TAKEN.fetch_add(1, Relaxed).is_multiple_of(SAMPLE) && fences < SAMPLED_MAX
        }
        _ => fences < FENCES_MAX,
    };
    if fenced {
        let block = STATE.lock().fences.take(bytes, align);
        if block.is_some() {
            return block;
        }
    }
    take_sealed(class?, bytes)
}

fn take_sealed(class: Class, bytes: usize) -> Option<NonNull<u8>> {
    let mut state = STATE.lock();
    if state.heap.is_null() {
        state.heap = heap::guarded()?;
    }
    // SAFETY: the heap is the lock holder's; the block is nobody's until this returns it.
    unsafe {
        let block = Heap::take(state.heap, class);
        drop(state);
        let block = NonNull::new(block)?;
        if !canary::all(block.as_ptr(), class.size(), 0) {
            report("malloc", (Misuse::WrittenFreed, block.as_ptr() as usize));
        }
        canary::seal(block.as_ptr(), class.size(), bytes);
        Some(block)
    }
}

/// Bytes of the block that its owner may use: exactly what was asked for. Ends the process if there is
/// no such block, or something was written around it.
///
/// # Safety
/// `entry` is what the slab map says of `block`, and that it is guarded.
pub(crate) unsafe fn usable(call: &str, block: NonNull<u8>, entry: Entry) -> usize {
    let address = block.as_ptr() as usize;
    let found = match entry.kind() {
        // SAFETY: the caller's.
        Kind::Sealed(class) => unsafe { sealed_bytes(block, class) },
        Kind::Fenced(number) => STATE.lock().fences.usable(number, address),
        _ => Err(Misuse::NotABlock),
    };
    found.unwrap_or_else(|misuse| report(call, (misuse, address)))
}

/// # Safety
/// The slab map says that `block` is in a slab of guarded blocks of `class`.
unsafe fn sealed_bytes(block: NonNull<u8>, class: Class) -> Result<usize, Misuse> {
    let info = class.info();
    let offset = block.as_ptr() as usize - Slab::base(Slab::around(block.as_ptr() as usize, info));
    let index = info.index_of(offset);
    if index * class.size() != offset || index >= usize::from(info.blocks) {
        return Err(Misuse::NotABlock);
    }
    // SAFETY: a slab's memory is readable.
    unsafe {
        match canary::read(block.as_ptr(), class.size()) {
            Seal::InUse(bytes) => Ok(bytes),
            Seal::Held => Err(Misuse::DoubleFree),
            Seal::None if canary::all(block.as_ptr(), class.size(), 0) => Err(Misuse::DoubleFree),
            Seal::None | Seal::Broken => Err(Misuse::WrittenBehind),
        }
    }
}

/// Ends the process if the block was asked for with another size than `size`, or as [`usable`].
///
/// # Safety
/// As [`usable`].
pub(crate) unsafe fn check_size(call: &str, block: NonNull<u8>, entry: Entry, size: usize) {
    // SAFETY: the caller's.
    if unsafe { usable(call, block, entry) } != size {
        report(call, (Misuse::WrongSize, block.as_ptr() as usize));
    }
}

/// Frees a guarded block. Ends the process if there is no such block, or something was written around it.
///
/// # Safety
/// `entry` is what the slab map says of `block`, and that it is guarded. The block is not used any more.
pub(crate) unsafe fn give(call: &str, block: NonNull<u8>, entry: Entry) {
    // SAFETY: the caller's. Under the lock, so that of two frees at once one comes second.
    let given = unsafe { STATE.lock().give(block, entry) };
    // Not under the lock: the program's handler of SIGABRT may allocate.
    if let Err(found) = given {
        report(call, found);
    }
}

impl State {
    /// Takes a block back, if it is sound.
    ///
    /// # Safety
    /// As for [`give`].
    unsafe fn give(&mut self, block: NonNull<u8>, entry: Entry) -> Result<(), Found> {
        let address = block.as_ptr() as usize;
        // SAFETY: the caller's.
        unsafe {
            let found = match entry.kind() {
                Kind::Sealed(class) => sealed_bytes(block, class),
                Kind::Fenced(number) => self.fences.usable(number, address),
                _ => Err(Misuse::NotABlock),
            };
            found.map_err(|misuse| (misuse, address))?;
            match entry.kind() {
                Kind::Sealed(class) => self.hold(block.as_ptr(), class)?,
                Kind::Fenced(number) => self.fences.give(number),
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts a sound block into the quarantine, and the oldest back into their slabs.
    unsafe fn hold(&mut self, block: *mut u8, class: Class) -> Result<(), Found> {
        // SAFETY: the caller's: the block is free.
        unsafe { canary::hold(block, class.size()) };
        self.held_bytes += class.size();
        while self.held.len() == HELD_MAX || self.held_bytes > HELD_BYTES && self.held.len() > 0 {
            self.release_oldest()?;
        }
        if !self.held.push(block as usize) {
            // There is no memory for the queue: the block is free at once.
            self.release(block, class)?;
        }
        Ok(())
    }

    fn release_oldest(&mut self) -> Result<(), Found> {
        if let Some(address) = self.held.pop()
            && let Kind::Sealed(class) = map::lookup(address).kind()
        {
            self.release(address as *mut u8, class)?;
        }
        Ok(())
    }

    /// Makes a block that was held free for use.
    fn release(&mut self, block: *mut u8, class: Class) -> Result<(), Found> {
        self.held_bytes -= class.size();
        // SAFETY: the block is held, so it is the lock holder's, and this heap's if there is one: a new
        // heap starts with an empty queue.
        unsafe {
            if !canary::is_held_intact(block, class.size()) {
                return Err((Misuse::WrittenFreed, block as usize));
            }
            canary::unseal(block, class.size());
            if heap::owner(map::lookup(block as usize)) == self.heap
                && !Heap::push(self.heap, block, Look(class.number()))
            {
                Heap::push_slow(self.heap, block, class);
            }
        }
        Ok(())
    }

    /// Gives up what is held back.
    fn release_all(&mut self) -> Result<(), Found> {
        while self.held.len() > 0 {
            self.release_oldest()?;
        }
        self.fences.release_all();
        Ok(())
    }
}

/// Ends the process if `address`, which the slab map does not know, cannot be a block of glibc's.
pub(crate) fn look_at_stranger(call: &str, address: usize) {
    if let Some(why) = stranger::why_not_a_block(address) {
        os::misuse(call, why, address);
    }
}

/// Gives up what is held back, so that memory and addresses can serve again.
pub(crate) fn release_held() {
    let released = STATE.lock().release_all();
    if let Err(found) = released {
        report("free", found);
    }
}

/// At the end of the process: has anybody written to a block that is held back?
pub(crate) fn at_exit() {
    if !on() {
        return;
    }
    let damaged = STATE.lock().find_damage();
    if let Some(address) = damaged {
        report("free", (Misuse::WrittenFreed, address));
    }
}

impl State {
    /// A held block that was written to.
    fn find_damage(&self) -> Option<usize> {
        self.held
            .iter()
            .find(|address| match map::lookup(*address).kind() {
                // SAFETY: held blocks are readable.
                Kind::Sealed(class) => unsafe {
                    !canary::is_held_intact(*address as *const u8, class.size())
                },
                _ => true,
            })
    }
}

/// Checks what the guard owns.
pub(crate) fn check() -> Result<(), &'static str> {
    let state = STATE.lock();
    if !state.heap.is_null() {
        // SAFETY: the heap is the lock holder's.
        unsafe { (*state.heap).check()? };
    }
    if state.find_damage().is_some() {
        return Err("a freed block was written to");
    }
    Ok(())
}

/// Sums for reports.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    /// Blocks in front of a page that cannot be touched.
    pub(crate) fenced_blocks: usize,
    /// Their bytes.
    pub(crate) fenced_bytes: usize,
    /// Freed small blocks that are held back.
    pub(crate) held_blocks: usize,
    /// Their bytes.
    pub(crate) held_bytes: usize,
}

/// See [`Counts`].
pub(crate) fn counts() -> Counts {
    if !on() {
        return Counts::default();
    }
    let state = STATE.lock();
    Counts {
        fenced_blocks: fence::BLOCKS.load(Relaxed),
        fenced_bytes: fence::BYTES.load(Relaxed),
        held_blocks: state.held.len(),
        held_bytes: state.held_bytes,
    }
}

/// Ends the process. Nobody who calls this holds the lock.
#[cold]
fn report(call: &str, (misuse, address): Found) -> ! {
    os::misuse(call, misuse.why(), address)
}
