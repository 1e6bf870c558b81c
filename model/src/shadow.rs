//! What must be true of each block, and the operations against it.
//!
//! A slot holds any number of blocks under a lock: operations on different slots never wait for each
//! other, and those on one slot hand its blocks from thread to thread.

use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::Api;
use crate::ops::{Align, IMPOSSIBLE, Op, SLOTS, Size};
use crate::pattern;

/// What was wrong. The first finding ends a run: after it nothing can be trusted.
pub(crate) type Finding = Result<(), String>;

/// errno before each call.
const ERRNO: c_int = 77;
/// Blocks in a slot, at most, and bytes of those that one operation adds.
const MANY: usize = 4096;
const MANY_BYTES: usize = 1 << 20;
/// With so many bytes live, large blocks become smaller.
const LIVE_MAX: usize = 1 << 30;
/// What a chain of reallocs ends at.
const GROW_MAX: usize = 8 << 20;
/// Forks of a case: each takes as long as many other operations.
const FORKS: usize = 2;

/// A block that is in use.
#[derive(Clone, Copy, Debug)]
struct Block {
    at: usize,
    /// What was asked for: as much survives a realloc.
    asked: usize,
    /// What is filled: that, or what may be used.
    filled: usize,
    usable: usize,
    align: usize,
    seed: u64,
}

impl Block {
    fn pointer(&self) -> *mut c_void {
        self.at as *mut c_void
    }

    /// Nothing else has written to it.
    fn verify(&self) -> Finding {
        self.verify_first(self.at, self.filled)
    }

    /// Its first `limit` bytes are as they were, and lie at `at` now.
    fn verify_first(&self, at: usize, limit: usize) -> Finding {
        // SAFETY: the block is in use, and the caller's.
        match unsafe { pattern::damage(at, self.filled, limit, self.seed) } {
            None => Ok(()),
            Some(byte) => Err(format!("byte {byte} has changed: {self:x?}")),
        }
    }
}

pub(crate) struct Shadow {
    pub(crate) api: Arc<dyn Api>,
    slots: [Mutex<Vec<Block>>; SLOTS],
    /// Where each block begins and ends, kept while operations come one at a time.
    extents: Mutex<BTreeMap<usize, usize>>,
    one_at_a_time: AtomicBool,
    live: AtomicUsize,
    seed: AtomicU64,
    forks: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn errno() -> *mut c_int {
    // SAFETY: no preconditions.
    unsafe { libc::__errno_location() }
}

/// Makes a call, and says what it did to errno.
fn call<T>(f: impl FnOnce() -> T) -> (T, c_int) {
    // SAFETY: this thread's.
    unsafe { *errno() = ERRNO };
    let result = f();
    // SAFETY: as above.
    (result, unsafe { *errno() })
}

/// A call that cannot fail leaves errno alone.
fn quiet<T>(what: &str, f: impl FnOnce() -> T) -> Result<T, String> {
    match call(f) {
        (result, ERRNO) => Ok(result),
        (_, errno) => Err(format!("{what} sets errno to {errno}")),
    }
}

/// `bytes` as a product.
fn split(bytes: usize, by: u8) -> (usize, usize) {
    if by == u8::MAX {
        return (usize::MAX / 2, 3);
    }
    let n = 1 + usize::from(by % 16);
    (n, bytes.div_ceil(n))
}

impl Shadow {
    pub(crate) fn new(api: Arc<dyn Api>) -> Self {
        Self {
            api,
            slots: [const { Mutex::new(Vec::new()) }; SLOTS],
            extents: Mutex::new(BTreeMap::new()),
            one_at_a_time: AtomicBool::new(true),
            live: AtomicUsize::new(0),
            seed: AtomicU64::new(1),
            forks: AtomicUsize::new(0),
        }
    }

    fn slot(&self, slot: u8) -> MutexGuard<'_, Vec<Block>> {
        lock(&self.slots[usize::from(slot) % SLOTS])
    }

    /// Operations come all at once from here on.
    pub(crate) fn set_free(&self) {
        self.one_at_a_time.store(false, SeqCst);
    }

    /// One at a time again. All blocks that there are now must be apart and unchanged.
    pub(crate) fn set_stepped(&self) -> Finding {
        self.one_at_a_time.store(true, SeqCst);
        lock(&self.extents).clear();
        for slot in &self.slots {
            for block in lock(slot).iter() {
                self.enter(block)?;
                block.verify()?;
            }
        }
        Ok(())
    }

    /// No other block is where this one is.
    fn enter(&self, block: &Block) -> Finding {
        if !self.one_at_a_time.load(SeqCst) {
            return Ok(());
        }
        let mut extents = lock(&self.extents);
        let end = block.at + block.usable.max(1);
        if let Some((at, other)) = extents.range(..end).next_back()
            && *other > block.at
        {
            return Err(format!("{at:x}..{other:x} is in use, too: {block:x?}"));
        }
        extents.insert(block.at, end);
        Ok(())
    }

    fn leave(&self, block: &Block) {
        self.live.fetch_sub(block.usable, Relaxed);
        // The child of a fork in a free phase finds locks as they were, so it takes none.
        if self.one_at_a_time.load(SeqCst) {
            lock(&self.extents).remove(&block.at);
        }
    }

    /// Takes note of what an allocation gave. A null pointer is right exactly if the request was
    /// `possible`, and errno then says ENOMEM, or what `why` says.
    fn admit(
        &self,
        (at, errno): (*mut c_void, c_int),
        bytes: usize,
        align: usize,
        why: Option<c_int>,
    ) -> Result<Option<Block>, String> {
        if let Some(why) = why {
            return match (at.is_null(), errno == why) {
                (true, true) => Ok(None),
                (true, false) => Err(format!("it failed with errno {errno}, not {why}")),
                (false, _) => Err(format!("{bytes} bytes at {align} cannot be had")),
            };
        }
        if at.is_null() {
            return Err(format!("no {bytes} bytes at {align}: errno {errno}"));
        }
        if errno != ERRNO && self.api.keeps_errno() {
            return Err(format!("success sets errno to {errno}"));
        }
        let at = at as usize;
        let align = align.max(16);
        if !at.is_multiple_of(align) {
            return Err(format!("{at:x} is not aligned to {align}"));
        }
        // SAFETY: a block in use.
        let usable = quiet("usable_size", || unsafe {
            self.api.usable_size(at as *mut c_void)
        })?;
        if usable < bytes {
            return Err(format!("{usable} of {bytes} bytes are usable"));
        }
        let block = Block {
            at,
            asked: bytes,
            filled: bytes,
            usable,
            align,
            seed: self.seed.fetch_add(1, Relaxed) << 32,
        };
        self.enter(&block)?;
        self.live.fetch_add(usable, Relaxed);
        Ok(Some(block))
    }

    /// Puts a new block into a slot, filled.
    fn keep(&self, slot: &mut Vec<Block>, block: Option<Block>) {
        if let Some(block) = block {
            // SAFETY: the block has as many bytes.
            unsafe { pattern::fill(block.at, block.filled, block.seed) };
            slot.push(block);
        }
    }

    /// What is asked for, with regard to what is live.
    fn bytes(&self, size: Size) -> usize {
        let bytes = size.bytes();
        let much = self.live.load(Relaxed) + bytes.min(LIVE_MAX) > LIVE_MAX;
        if much && bytes < IMPOSSIBLE {
            bytes % (1 << 20)
        } else {
            bytes
        }
    }

    /// Verifies and frees a block with `free`.
    fn free(&self, block: Block, free: impl FnOnce(*mut c_void)) -> Finding {
        block.verify()?;
        self.leave(&block);
        quiet("free", || free(block.pointer()))
    }

    fn free_plainly(&self, block: Block) -> Finding {
        // SAFETY: in use, and not used any more.
        self.free(block, |at| unsafe { self.api.free(at) })
    }

    /// realloc, by `resize`, of the block on top of a slot to `bytes`.
    fn realloc(
        &self,
        slot: &mut Vec<Block>,
        bytes: Option<usize>,
        resize: impl FnOnce(*mut c_void) -> *mut c_void,
    ) -> Finding {
        let fails = bytes.is_none_or(|bytes| bytes >= IMPOSSIBLE);
        let why = fails.then_some(libc::ENOMEM);
        let bytes = bytes.unwrap_or(usize::MAX);
        let Some(old) = slot.pop() else {
            let block = self.admit(call(|| resize(null_mut())), bytes, 16, why)?;
            self.keep(slot, block);
            return Ok(());
        };
        old.verify()?;
        if fails {
            self.admit(call(|| resize(old.pointer())), bytes, 16, why)?;
            old.verify()?;
            slot.push(old);
            return Ok(());
        }
        self.leave(&old);
        if bytes == 0 {
            let result = quiet("realloc to 0", || resize(old.pointer()))?;
            return if result.is_null() {
                Ok(())
            } else {
                Err("realloc to 0 gives a block".to_owned())
            };
        }
        let block = self.admit(call(|| resize(old.pointer())), bytes, 16, None)?;
        if let Some(block) = block {
            old.verify_first(block.at, old.asked.min(bytes))?;
        }
        self.keep(slot, block);
        Ok(())
    }

    /// memalign's rules: any alignment becomes a power of two, if there is one.
    fn memalign(&self, slot: u8, align: Align, size: Size) -> Finding {
        let (align, bytes) = (align.bytes(), self.bytes(size));
        let power = align.max(16).checked_next_power_of_two();
        let why = match power {
            None => Some(libc::EINVAL),
            Some(power) => (power.max(bytes) >= IMPOSSIBLE).then_some(libc::ENOMEM),
        };
        let mut slot = self.slot(slot);
        // SAFETY: any arguments.
        let result = call(|| unsafe { self.api.memalign(align, bytes) });
        let block = self.admit(result, bytes, power.unwrap_or(16), why)?;
        self.keep(&mut slot, block);
        Ok(())
    }

    fn posix_memalign(&self, slot: u8, align: Align, size: Size) -> Finding {
        let (align, bytes) = (align.bytes(), self.bytes(size));
        let why = if !align.is_power_of_two() || align < size_of::<usize>() {
            libc::EINVAL
        } else if align.max(bytes) >= IMPOSSIBLE {
            libc::ENOMEM
        } else {
            0
        };
        let mut slot = self.slot(slot);
        const UNTOUCHED: *mut c_void = core::ptr::dangling_mut();
        let mut at = UNTOUCHED;
        // SAFETY: any arguments, and a place for the result.
        let (result, errno) = call(|| unsafe { self.api.posix_memalign(&mut at, align, bytes) });
        if result != why {
            return Err(format!(
                "posix_memalign of {bytes} at {align} says {result}"
            ));
        }
        if why == 0 {
            let block = self.admit((at, errno), bytes, align, None)?;
            self.keep(&mut slot, block);
            return Ok(());
        }
        if at != UNTOUCHED {
            return Err("posix_memalign fails and writes a pointer".to_owned());
        }
        if errno != ERRNO && self.api.keeps_errno() {
            return Err(format!("posix_memalign sets errno to {errno}"));
        }
        Ok(())
    }

    /// One of `every` blocks of a slot.
    fn free_many(&self, slot: u8, every: u8, backwards: bool) -> Finding {
        let mut slot = self.slot(slot);
        let every = 1 + usize::from(every % 4);
        if backwards {
            slot.reverse();
        }
        let mut rest = Vec::with_capacity(slot.len());
        for (i, block) in slot.drain(..).enumerate() {
            if i % every == 0 {
                self.free_plainly(block)?;
            } else {
                rest.push(block);
            }
        }
        *slot = rest;
        Ok(())
    }

    fn malloc_many(&self, slot: u8, size: Size, count: u8) -> Finding {
        let bytes = self.bytes(size) % MANY_BYTES;
        let site = usize::from(slot);
        let mut slot = self.slot(slot);
        let count = (1 + 2 * usize::from(count))
            .min(MANY_BYTES / bytes.max(1))
            .min(MANY.saturating_sub(slot.len()));
        for _ in 0..count {
            // SAFETY: any size.
            let result = call(|| unsafe { self.api.malloc(bytes, site) });
            let block = self.admit(result, bytes, 16, None)?;
            self.keep(&mut slot, block);
        }
        Ok(())
    }

    fn grow(&self, slot: u8, times: u8, percent: u8) -> Finding {
        let site = usize::from(slot);
        let mut slot = self.slot(slot);
        for _ in 0..times % 32 {
            let now = slot.last().map_or(16, |block| block.asked);
            let bytes = (now + now * usize::from(percent) / 100 + 1).min(GROW_MAX);
            // SAFETY: the block is in use, or NULL.
            self.realloc(&mut slot, Some(bytes), |at| unsafe {
                self.api.realloc(at, bytes, site)
            })?;
        }
        Ok(())
    }

    /// Makes one operation. `EndThread` is its caller's.
    pub(crate) fn step(&self, op: Op) -> Finding {
        let impossible = |bytes: usize| (bytes >= IMPOSSIBLE).then_some(libc::ENOMEM);
        let api = &*self.api;
        // SAFETY: every block that is passed is in use, and its slot is locked.
        unsafe {
            match op {
                Op::Malloc { slot, size } => {
                    let bytes = self.bytes(size);
                    let site = usize::from(slot);
                    let mut slot = self.slot(slot);
                    let result = call(|| api.malloc(bytes, site));
                    let block = self.admit(result, bytes, 16, impossible(bytes))?;
                    self.keep(&mut slot, block);
                }
                Op::MallocAtLeast { slot, size } => {
                    let bytes = self.bytes(size);
                    let mut slot = self.slot(slot);
                    let mut actual = 0;
                    let result = call(|| api.malloc_at_least(bytes, &mut actual));
                    let mut block = self.admit(result, bytes, 16, impossible(bytes))?;
                    if let Some(block) = &mut block {
                        if actual != block.usable {
                            return Err(format!("not {actual} are usable: {block:x?}"));
                        }
                        block.filled = actual;
                    }
                    self.keep(&mut slot, block);
                }
                Op::MallocMany { slot, size, count } => self.malloc_many(slot, size, count)?,
                Op::Calloc { slot, size, by } => {
                    let (n, each) = split(self.bytes(size), by);
                    let bytes = n.saturating_mul(each);
                    let mut slot = self.slot(slot);
                    let result = call(|| api.calloc(n, each));
                    let block = self.admit(result, bytes, 16, impossible(bytes))?;
                    if let Some(block) = &block
                        && let Some(byte) = pattern::not_zero(block.at, bytes)
                    {
                        return Err(format!("byte {byte} of calloc's is not zero: {block:x?}"));
                    }
                    self.keep(&mut slot, block);
                }
                Op::Realloc { slot, size } => {
                    let bytes = self.bytes(size);
                    let site = usize::from(slot);
                    let mut slot = self.slot(slot);
                    self.realloc(&mut slot, Some(bytes), |at| api.realloc(at, bytes, site))?;
                }
                Op::ReallocArray { slot, size, by } => {
                    let (n, each) = split(self.bytes(size), by);
                    let mut slot = self.slot(slot);
                    self.realloc(&mut slot, n.checked_mul(each), |at| {
                        api.reallocarray(at, n, each)
                    })?;
                }
                Op::Grow {
                    slot,
                    times,
                    percent,
                } => self.grow(slot, times, percent)?,
                Op::Memalign { slot, align, size } => self.memalign(slot, align, size)?,
                Op::PosixMemalign { slot, align, size } => {
                    self.posix_memalign(slot, align, size)?
                }
                Op::Pages { slot, size, whole } => {
                    let bytes = self.bytes(size);
                    let mut slot = self.slot(slot);
                    let (result, bytes) = if whole {
                        let pages = bytes.checked_next_multiple_of(4096);
                        let result = call(|| api.pvalloc(bytes));
                        (result, pages.unwrap_or(usize::MAX))
                    } else {
                        (call(|| api.valloc(bytes)), bytes)
                    };
                    let block = self.admit(result, bytes, 4096, impossible(bytes))?;
                    self.keep(&mut slot, block);
                }
                Op::Free { slot } => match self.slot(slot).pop() {
                    Some(block) => self.free_plainly(block)?,
                    None => quiet("free of NULL", || api.free(null_mut()))?,
                },
                Op::FreeSized { slot } => {
                    if let Some(block) = self.slot(slot).pop() {
                        self.free(block, |at| api.free_sized(at, block.asked))?;
                    }
                }
                Op::FreeAlignedSized { slot } => {
                    if let Some(block) = self.slot(slot).pop() {
                        let free = |at| api.free_aligned_sized(at, block.align, block.asked);
                        self.free(block, free)?;
                    }
                }
                Op::FreeMany {
                    slot,
                    every,
                    backwards,
                } => self.free_many(slot, every, backwards)?,
                Op::UsableSize { slot } => match self.slot(slot).last_mut() {
                    None => {
                        let bytes = quiet("usable_size", || api.usable_size(null_mut()))?;
                        if bytes != 0 {
                            return Err(format!("{bytes} bytes of NULL are usable"));
                        }
                    }
                    Some(block) => {
                        block.verify()?;
                        let usable = quiet("usable_size", || api.usable_size(block.pointer()))?;
                        if usable != block.usable {
                            return Err(format!("{usable} are usable now: {block:x?}"));
                        }
                        block.filled = usable;
                        pattern::fill(block.at, usable, block.seed);
                    }
                },
                Op::GoodSize { size } => {
                    let bytes = size.bytes();
                    let good = quiet("good_size", || api.good_size(bytes))?;
                    if good < bytes || bytes < IMPOSSIBLE && good > bytes + bytes / 2 + 4096 {
                        return Err(format!("{good} is no good size for {bytes}"));
                    }
                }
                Op::Trim { pad } => _ = quiet("trim", || api.trim(pad.bytes()))?,
                Op::Stats => quiet("stats", || api.stats())?,
                Op::Check => self.check()?,
                Op::EndThread => {}
                Op::Fork => self.fork()?,
            }
        }
        Ok(())
    }

    /// The allocator's own walk, where nothing else goes on.
    pub(crate) fn check(&self) -> Finding {
        if self.one_at_a_time.load(SeqCst) {
            self.api.check().map_err(|what| format!("check: {what}"))?;
        }
        Ok(())
    }

    fn fork(&self) -> Finding {
        if self.forks.fetch_add(1, Relaxed) >= FORKS {
            return Ok(());
        }
        // SAFETY: what the child does is allowed between fork and exec: of other threads' locks it
        // takes only those of slots, while nobody else holds one. It ends by _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: a child that hangs is to end, however its parent handles the signal.
            unsafe {
                libc::signal(libc::SIGALRM, libc::SIG_DFL);
                libc::alarm(60);
            }
            let result = self.in_child();
            if let Err(what) = &result {
                let text = format!("in the child of a fork: {what}\n");
                // SAFETY: the text's bytes.
                unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
            }
            // SAFETY: no preconditions.
            unsafe { libc::_exit(i32::from(result.is_err())) };
        }
        if child < 0 {
            // The system has no process for us: that says nothing about the allocator.
            return Ok(());
        }
        let mut status = 0;
        // SAFETY: a place for the status.
        while unsafe { libc::waitpid(child, &mut status, 0) } != child {}
        if status == 0 {
            Ok(())
        } else {
            Err(format!("the child of a fork ended with status {status:x}"))
        }
    }

    /// The child has one thread, and blocks of threads that are not there any more.
    fn in_child(&self) -> Finding {
        let mut own = Vec::new();
        for i in 0..300 {
            let bytes = if i % 50 == 0 { i << 12 } else { i * 7 };
            // SAFETY: any size.
            let result = call(|| unsafe { self.api.malloc(bytes, i) });
            let block = self.admit(result, bytes, 16, None)?;
            self.keep(&mut own, block);
        }
        if self.one_at_a_time.load(SeqCst) {
            self.free_all()?;
        }
        for block in own {
            self.free_plainly(block)?;
        }
        self.check()
    }

    /// Frees all blocks, each verified.
    pub(crate) fn free_all(&self) -> Finding {
        for slot in &self.slots {
            while let Some(block) = lock(slot).pop() {
                self.free_plainly(block)?;
            }
        }
        Ok(())
    }
}
