//! The one place that maps and advises memory, waits on futexes, and reads the clock and the
//! environment. Everything is a raw system call, or the vDSO's: no function that a preload can interpose, none
//! that may allocate, and none that sets errno.
//!
//! Who calls it: `space` and `large` for memory, `sync` for futexes, `observe` for output.
//! A failed call loses nothing: the memory is as it was, the failure is counted.

mod cgroup;
mod dontneed;
mod fatal;
pub(crate) mod limits;
pub(crate) mod process;
mod refused;
mod sys;
pub(crate) mod unasked;
mod vdso;
mod write;

pub(crate) use cgroup::memory_limit;
pub(crate) use fatal::misuse;
pub(crate) use write::write_all;

use refused::REFUSED;

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The kinds of calls that are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Call {
    /// mmap.
    Map,
    /// munmap.
    Unmap,
    /// mremap.
    Remap,
    /// mprotect.
    Protect,
    /// madvise(MADV_DONTNEED).
    Purge,
    /// madvise(MADV_POPULATE_WRITE).
    Populate,
    /// madvise(MADV_HUGEPAGE or MADV_NOHUGEPAGE).
    HugePage,
    /// mincore.
    Resident,
}

/// Number of [`Call`] kinds.
pub(crate) const CALLS: usize = 8;
/// Their names in reports, in order.
pub(crate) const CALL_NAMES: [&str; CALLS] = [
    "mmap", "munmap", "mremap", "mprotect", "purge", "populate", "hugepage", "mincore",
];

/// Calls made and failed, by kind.
pub(crate) static COUNTS: [(AtomicU64, AtomicU64); CALLS] =
    [const { (AtomicU64::new(0), AtomicU64::new(0)) }; CALLS];
/// Bytes given back by munmap.
pub(crate) static UNMAPPED_BYTES: AtomicU64 = AtomicU64::new(0);
/// Bytes given back by purge, populated ahead.
pub(crate) static PURGED_BYTES: AtomicU64 = AtomicU64::new(0);
/// See [`PURGED_BYTES`].
pub(crate) static POPULATED_BYTES: AtomicU64 = AtomicU64::new(0);

fn counted(kind: Call, result: isize) -> Result<usize, i32> {
    let (made, failed) = &COUNTS[kind as usize];
    made.fetch_add(1, Relaxed);
    if (-4095..0).contains(&result) {
        failed.fetch_add(1, Relaxed);
        Err(-result as i32)
    } else {
        Ok(result as usize)
    }
}

fn mmap(hint: usize, bytes: usize, prot: i32, flags: i32) -> Option<NonNull<u8>> {
    let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: an anonymous mapping replaces nothing unless MAP_FIXED is given, and the callers
    // that give it own the range.
    let result = unsafe {
        sys::call6(
            libc::SYS_mmap,
            hint,
            bytes,
            prot as usize,
            flags as usize,
            usize::MAX,
            0,
        )
    };
    NonNull::new(counted(Call::Map, result).ok()? as *mut u8)
}

/// Maps `bytes` (a multiple of a page) of zeroed memory, near `hint` if that is free (0: anywhere).
/// Page-aligned; `None` when the system has none.
pub(crate) fn map(hint: usize, bytes: usize) -> Option<NonNull<u8>> {
    Some(small_pages(map_raw(hint, bytes)?, bytes))
}

/// As [`map`]; huge pages may come unasked.
fn map_raw(hint: usize, bytes: usize) -> Option<NonNull<u8>> {
    mmap(hint, bytes, libc::PROT_READ | libc::PROT_WRITE, 0)
}

/// The fresh memory at `start`, with small pages until [`huge_pages`] are asked for.
fn small_pages(start: NonNull<u8>, bytes: usize) -> NonNull<u8> {
    unasked::refuse(start, bytes);
    start
}

/// Reserves `bytes` of address space that cannot be touched and costs no memory; huge pages may come unasked.
fn reserve_raw(bytes: usize) -> Option<NonNull<u8>> {
    mmap(0, bytes, libc::PROT_NONE, libc::MAP_NORESERVE)
}

/// Maps zeroed memory aligned to `align`, a power of two and at least a page, by mapping more and
/// giving the ends back. The surplus is address space that is never touched.
pub(crate) fn map_aligned(hint: usize, bytes: usize, align: usize) -> Option<NonNull<u8>> {
    Some(small_pages(map_aligned_raw(hint, bytes, align)?, bytes))
}

/// As [`map_aligned`], for what asks for huge pages next, or is replaced.
pub(crate) fn map_aligned_raw(hint: usize, bytes: usize, align: usize) -> Option<NonNull<u8>> {
    aligned(map_raw, hint, bytes, align, discard)
}

/// Reserves address space that cannot be touched and costs no memory, aligned as by [`map_aligned`].
pub(crate) fn reserve_aligned(bytes: usize, align: usize) -> Option<NonNull<u8>> {
    let reserve = |_, bytes| reserve_raw(bytes);
    let start = aligned(reserve, 0, bytes, align, discard_reserved)?;
    Some(small_pages(start, bytes))
}

fn aligned(
    map: impl Fn(usize, usize) -> Option<NonNull<u8>>,
    hint: usize,
    bytes: usize,
    align: usize,
    discard: unsafe fn(NonNull<u8>, usize),
) -> Option<NonNull<u8>> {
    let start = map(hint, bytes)?;
    if start.as_ptr() as usize & (align - 1) == 0 {
        return Some(start);
    }
    // SAFETY: just mapped, nobody else knows of it.
    unsafe { discard(start, bytes) };
    let total = bytes.checked_add(align)?;
    let start = map(0, total)?;
    // SAFETY: as above; the middle is kept.
    unsafe { Some(trim_to_aligned(start, total, bytes, align, discard)) }
}

/// Gives back what lies before and behind the first aligned `bytes` in the mapping at `start`.
///
/// # Safety
/// The mapping of `total` bytes is the caller's alone, and an aligned range fits.
unsafe fn trim_to_aligned(
    start: NonNull<u8>,
    total: usize,
    bytes: usize,
    align: usize,
    discard: unsafe fn(NonNull<u8>, usize),
) -> NonNull<u8> {
    let base = start.as_ptr() as usize;
    let aligned = (base + align - 1) & !(align - 1);
    let (head, tail) = (aligned - base, base + total - aligned - bytes);
    // SAFETY: both ranges lie in the caller's mapping, outside what is returned.
    unsafe {
        if head > 0 {
            discard(start, head);
        }
        if tail > 0 {
            discard(start.add(head + bytes), tail);
        }
        start.add(head)
    }
}

/// Returns a mapping to the system. False when the system refuses (splitting a mapping can need
/// one more than `vm.max_map_count`): then it is still mapped and still the caller's.
///
/// # Safety
/// The range is the caller's, page-aligned, and nobody uses it any more.
pub(crate) unsafe fn unmap(start: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: the caller's.
    let done = unsafe { unmap_once(start, bytes) };
    if done && !REFUSED.is_empty() {
        // Now it may take the others, too.
        retry(false);
    }
    done
}

fn retry(all: bool) {
    // SAFETY: what was refused is nobody's.
    REFUSED.retry(all, |start, bytes| unsafe { unmap_once(start, bytes) });
}

unsafe fn unmap_once(start: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: the caller's.
    let result = unsafe { sys::call3(libc::SYS_munmap, start.as_ptr() as usize, bytes, 0) };
    let done = counted(Call::Unmap, result).is_ok();
    if done {
        UNMAPPED_BYTES.fetch_add(bytes as u64, Relaxed);
    }
    done
}

/// As [`unmap`], for what the caller could not keep: if the system refuses, it is asked again later.
///
/// # Safety
/// As [`unmap`], and the range can be written.
pub(crate) unsafe fn discard(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's.
    unsafe {
        if !unmap(start, bytes) {
            REFUSED.add(start, bytes);
        }
    }
}

/// As [`discard`], for what [`reserve_aligned`] gave.
///
/// # Safety
/// As [`unmap`].
pub(crate) unsafe fn discard_reserved(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's. If the page cannot be used, the addresses are lost, and no memory.
    unsafe {
        if !unmap(start, bytes) && commit(start, crate::base::PAGE) {
            REFUSED.add(start, bytes);
        }
    }
}

/// Offers what was refused to the system again.
pub(crate) fn unmap_refused() {
    if !REFUSED.is_empty() {
        retry(true);
    }
}

/// Makes reserved memory usable.
///
/// # Safety
/// The range was reserved by the caller.
pub(crate) unsafe fn commit(start: NonNull<u8>, bytes: usize) -> bool {
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    // SAFETY: see above.
    let result = unsafe { sys::call3(libc::SYS_mprotect, start.as_ptr() as usize, bytes, prot) };
    counted(Call::Protect, result).is_ok()
}

/// Turns memory back into a reservation and gives its pages back.
///
/// # Safety
/// The range is the caller's and nobody uses it any more.
pub(crate) unsafe fn decommit(start: NonNull<u8>, bytes: usize) -> bool {
    mmap(
        start.as_ptr() as usize,
        bytes,
        libc::PROT_NONE,
        libc::MAP_FIXED | libc::MAP_NORESERVE,
    )
    .map(|start| small_pages(start, bytes))
    .is_some()
}

/// Grows or shrinks a mapping in place. False, and nothing changed, when it cannot be.
///
/// # Safety
/// The mapping is the caller's; what is cut off is unused.
pub(crate) unsafe fn resize_in_place(start: NonNull<u8>, old: usize, new: usize) -> bool {
    // SAFETY: without MREMAP_MAYMOVE the mapping keeps its place.
    let result = unsafe { sys::call4(libc::SYS_mremap, start.as_ptr() as usize, old, new, 0) };
    counted(Call::Remap, result).is_ok()
}

/// Moves the pages of a mapping onto `to`, a range of `new` bytes that the caller has mapped. False
/// when the system refuses: then the block is as it was, and `to` is not the caller's any more.
///
/// # Safety
/// Both ranges are the caller's; nobody uses the old addresses afterwards.
pub(crate) unsafe fn move_to(start: NonNull<u8>, old: usize, to: NonNull<u8>, new: usize) -> bool {
    let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as usize;
    // SAFETY: see above; MREMAP_FIXED replaces only the caller's reservation. The seal is on its last
    // page, where no huge page fits.
    unsafe {
        let seal = Seal::put(to.add(new - crate::base::PAGE));
        let result = sys::call6(
            libc::SYS_mremap,
            start.as_ptr() as usize,
            old,
            new,
            flags,
            to.as_ptr() as usize,
            0,
        );
        let done = counted(Call::Remap, result).is_ok();
        if !done && seal.holds() {
            discard(to, new);
        }
        done
    }
}

/// A mark on memory by which it is known again.
///
/// mremap refuses before it has unmapped the target, or, which is rarer, afterwards. In the second case
/// another thread may have mapped the addresses by now, so they may be unmapped only if they are known
/// to be what they were; and in the first, which is where there are too many mappings, they must be.
struct Seal {
    at: NonNull<[AtomicU32; 2]>,
    value: u64,
}

impl Seal {
    /// Marks a page.
    ///
    /// # Safety
    /// It is the caller's, and can be written.
    unsafe fn put(page: NonNull<u8>) -> Self {
        let at = page.cast();
        let value = (now_ns() ^ page.as_ptr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        // SAFETY: the caller's.
        unsafe { at.cast::<u64>().write(value) };
        Self { at, value }
    }

    /// Whether the mark is there. The kernel looks: the page may be gone.
    fn holds(&self) -> bool {
        let words = self.at.as_ptr().cast::<AtomicU32>();
        (0..2).all(|i| futex_holds(words.wrapping_add(i), (self.value >> (32 * i)) as u32))
    }
}

fn advise(kind: Call, start: NonNull<u8>, bytes: usize, advice: i32) -> bool {
    // SAFETY: the callers own the range, and say what each advice does to its content.
    let result = unsafe {
        sys::call3(
            libc::SYS_madvise,
            start.as_ptr() as usize,
            bytes,
            advice as usize,
        )
    };
    counted(kind, result).is_ok()
}

/// Gives the pages back and keeps the addresses: they read as zero afterwards. False when the
/// system refuses (locked memory): then the content is as before.
///
/// # Safety
/// The range is the caller's, page-aligned, and its content is not needed.
pub(crate) unsafe fn purge(start: NonNull<u8>, bytes: usize) -> bool {
    let done = dontneed::works() && advise(Call::Purge, start, bytes, libc::MADV_DONTNEED);
    if done {
        PURGED_BYTES.fetch_add(bytes as u64, Relaxed);
    } else {
        limits::pages_are_locked();
    }
    done
}

/// Makes the pages resident with one call instead of a fault each. False on kernels before 5.14,
/// or when memory is short: then they fault in as they are touched.
pub(crate) fn populate(start: NonNull<u8>, bytes: usize) -> bool {
    let done = advise(Call::Populate, start, bytes, libc::MADV_POPULATE_WRITE);
    if done {
        POPULATED_BYTES.fetch_add(bytes as u64, Relaxed);
    }
    done
}

/// Asks for huge pages where they fit; without, memory of [`map`] and the like has small ones.
pub(crate) fn huge_pages(start: NonNull<u8>, bytes: usize) -> bool {
    advise(Call::HugePage, start, bytes, libc::MADV_HUGEPAGE)
}

/// Takes that back, so that nobody joins pages again of which some were given back.
pub(crate) fn no_huge_pages(start: NonNull<u8>, bytes: usize) -> bool {
    advise(Call::HugePage, start, bytes, libc::MADV_NOHUGEPAGE)
}

/// Writes one byte a page into `out`: the low bit says whether the page is resident.
pub(crate) fn resident(start: NonNull<u8>, out: &mut [u8]) -> bool {
    // SAFETY: the kernel writes `out.len()` bytes for as many pages.
    let result = unsafe {
        sys::call3(
            libc::SYS_mincore,
            start.as_ptr() as usize,
            out.len() * crate::base::PAGE,
            out.as_mut_ptr() as usize,
        )
    };
    counted(Call::Resident, result).is_ok()
}

/// Sleeps while `*word == expected`, a tenth of a second at most; may wake for no reason. The bound
/// is for the child of a fork in a signal handler that interrupted the wait: the kernel would take
/// up an unbounded wait again there, where nobody is left to end it.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32) {
    let op = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    let limit = libc::timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    // SAFETY: the word and the timeout outlive the call.
    unsafe {
        sys::call4(
            libc::SYS_futex,
            word.as_ptr() as usize,
            op,
            expected as usize,
            &raw const limit as usize,
        )
    };
}

/// Whether `*word` is `expected`; false also where nothing is mapped.
fn futex_holds(word: *const AtomicU32, expected: u32) -> bool {
    let op = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    let no_time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel bears any address; the timeout outlives the call.
    let result = unsafe {
        sys::call4(
            libc::SYS_futex,
            word as usize,
            op,
            expected as usize,
            &raw const no_time as usize,
        )
    };
    // Any other error says that the word is not there, or is another.
    result == -(libc::ETIMEDOUT as isize)
}

/// Wakes one thread that waits on `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    let op = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the kernel only uses the address as a key.
    unsafe { sys::call4(libc::SYS_futex, word.as_ptr() as usize, op, 1, 0) };
}

/// Sleeps for a moment, so that threads of any priority run.
#[cfg_attr(
    all(test, loom),
    expect(dead_code, reason = "loom's locks wait by themselves")
)]
pub(crate) fn nap() {
    let moment = libc::timespec {
        tv_sec: 0,
        tv_nsec: 50_000,
    };
    // SAFETY: the kernel reads the time.
    unsafe { sys::call3(libc::SYS_nanosleep, &raw const moment as usize, 0, 0) };
}

/// Lets another thread run.
pub(crate) fn yield_now() {
    // SAFETY: no arguments.
    unsafe { sys::call3(libc::SYS_sched_yield, 0, 0, 0) };
}

/// Milliseconds of a clock that never goes back. About 4 ms coarse: a policy's clock, not a measuring one.
pub(crate) fn now_ms() -> u64 {
    let t = vdso::clock(libc::CLOCK_MONOTONIC_COARSE);
    t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000
}

/// Nanoseconds of a clock that never goes back: for measuring.
pub(crate) fn now_ns() -> u64 {
    let t = vdso::clock(libc::CLOCK_MONOTONIC);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Nanoseconds of processor time that the process has used.
pub(crate) fn process_ns() -> u64 {
    let t = vdso::by_system_call(libc::CLOCK_PROCESS_CPUTIME_ID);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Creates or truncates a file for writing; `path` ends with NUL.
pub(crate) fn create(path: &[u8]) -> Option<i32> {
    debug_assert_eq!(path.last(), Some(&0));
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
    open(path, flags)
}

/// The device and file behind a descriptor, if it is open.
pub(crate) fn identity(fd: i32) -> Option<(u64, u64)> {
    let mut stat = core::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel writes a stat, whose layout is libc's on this architecture.
    let result = unsafe { sys::call3(libc::SYS_fstat, fd as usize, stat.as_mut_ptr() as usize, 0) };
    // SAFETY: it was written if the call succeeded.
    (result == 0).then(|| unsafe { (stat.assume_init_ref().st_dev, stat.assume_init_ref().st_ino) })
}

/// Whether what has that name is a regular file, which another one may replace, or cannot be seen; `path` ends with NUL.
pub(crate) fn is_file_or_nothing(path: &[u8]) -> bool {
    debug_assert_eq!(path.last(), Some(&0));
    let mut stat = core::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the path is NUL-terminated, and the kernel writes a stat, whose layout is libc's on this architecture.
    let result = unsafe {
        sys::call4(
            libc::SYS_newfstatat,
            libc::AT_FDCWD as usize,
            path.as_ptr() as usize,
            stat.as_mut_ptr() as usize,
            libc::AT_SYMLINK_NOFOLLOW as usize,
        )
    };
    match result {
        // SAFETY: it was written.
        0 => unsafe { stat.assume_init_ref() }.st_mode & libc::S_IFMT == libc::S_IFREG,
        // Nor will it be read or replaced then, if it is there.
        _ => true,
    }
}

/// Creates a file for writing in place of what has that name, which is not written to if it is a link; `path` ends with
/// NUL.
pub(crate) fn create_anew(path: &[u8]) -> Option<i32> {
    debug_assert_eq!(path.last(), Some(&0));
    unlink(path);
    open(
        path,
        libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC,
    )
}

fn open(path: &[u8], flags: i32) -> Option<i32> {
    // SAFETY: the path is NUL-terminated.
    let fd = unsafe {
        sys::call4(
            libc::SYS_openat,
            libc::AT_FDCWD as usize,
            path.as_ptr() as usize,
            flags as usize,
            0o644,
        )
    };
    (fd >= 0).then_some(fd as i32)
}

fn read(fd: i32, buffer: &mut [u8]) -> isize {
    // SAFETY: the buffer is writable for its length.
    unsafe {
        sys::call3(
            libc::SYS_read,
            fd as usize,
            buffer.as_mut_ptr() as usize,
            buffer.len(),
        )
    }
}

/// Reads the start of a file into `buffer`; `path` ends with NUL. For /proc, and for files that are no pipes: nobody is
/// waited for.
pub(crate) fn read_file<'a>(path: &[u8], buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    debug_assert_eq!(path.last(), Some(&0));
    let fd = open(path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_CLOEXEC)?;
    let n = read(fd, buffer);
    close(fd);
    (n >= 0).then(|| &buffer[..n as usize])
}

/// Reads a whole file, piece by piece, until `f` returns something; `path` ends with NUL. For /proc.
pub(crate) fn read_all<T>(path: &[u8], mut f: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
    debug_assert_eq!(path.last(), Some(&0));
    let fd = open(path, libc::O_RDONLY | libc::O_CLOEXEC)?;
    let mut buffer = [0u8; 1024];
    let mut found = None;
    while found.is_none() {
        match read(fd, &mut buffer) {
            n if n > 0 => found = f(&buffer[..n as usize]),
            n if n == -(libc::EINTR as isize) => {}
            _ => break,
        }
    }
    close(fd);
    found
}

/// Gives the file `from` the name `to`, in place of what has it; both end with NUL.
pub(crate) fn rename(from: &[u8], to: &[u8]) -> bool {
    debug_assert!(from.last() == Some(&0) && to.last() == Some(&0));
    // SAFETY: both paths are NUL-terminated.
    let result = unsafe {
        sys::call3(
            libc::SYS_rename,
            from.as_ptr() as usize,
            to.as_ptr() as usize,
            0,
        )
    };
    result == 0
}

/// Removes a file; `path` ends with NUL.
pub(crate) fn unlink(path: &[u8]) {
    debug_assert_eq!(path.last(), Some(&0));
    // SAFETY: the path is NUL-terminated.
    unsafe { sys::call3(libc::SYS_unlink, path.as_ptr() as usize, 0, 0) };
}

/// Copies memory of this process from `start` on that may not be there. False if it is not, or if the
/// system does not copy.
pub(crate) fn read_own(start: usize, into: &mut [u8]) -> bool {
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let remote = libc::iovec {
        iov_base: start as *mut libc::c_void,
        iov_len: into.len(),
    };
    // SAFETY: the kernel writes to the buffer alone, and reads what can be read.
    let copied = unsafe {
        sys::call6(
            libc::SYS_process_vm_readv,
            process_id() as usize,
            &raw const local as usize,
            1,
            &raw const remote as usize,
            1,
            0,
        )
    };
    copied == into.len() as isize
}

/// Closes a descriptor of [`create`].
pub(crate) fn close(fd: i32) {
    // SAFETY: the descriptor is the caller's.
    unsafe { sys::call3(libc::SYS_close, fd as usize, 0, 0) };
}

/// The number of this process.
pub(crate) fn process_id() -> u32 {
    // SAFETY: no arguments.
    unsafe { sys::call3(libc::SYS_getpid, 0, 0, 0) as u32 }
}

/// Whether the calling thread is the process's first: in the child of a fork, the one that forked.
pub(crate) fn is_first_thread() -> bool {
    // SAFETY: no arguments.
    unsafe { sys::call3(libc::SYS_gettid, 0, 0, 0) as u32 == process_id() }
}

/// Ends the process as abort() does, without libc's locks: by SIGABRT, which the program may handle, but not survive.
pub(crate) fn abort() -> ! {
    /// As the kernel has it: handler, flags, restorer, mask. All zero is the default action.
    static DEFAULT: [u64; 4] = [0; 4];
    /// One word, a bit for each signal from 1 on.
    static SIGABRT: u64 = 1 << (libc::SIGABRT - 1);
    const WORD: usize = size_of::<u64>();
    let number = libc::SIGABRT as usize;
    let unblock = libc::SIG_UNBLOCK as usize;
    // SAFETY: a signal to ourselves; the kernel reads the words.
    unsafe {
        let pid = sys::call3(libc::SYS_getpid, 0, 0, 0) as usize;
        let tid = sys::call3(libc::SYS_gettid, 0, 0, 0) as usize;
        let mask = &raw const SIGABRT as usize;
        let send = || {
            sys::call4(libc::SYS_rt_sigprocmask, unblock, mask, 0, WORD);
            sys::call3(libc::SYS_tgkill, pid, tid, number);
        };
        send();
        // It is ignored, or its handler has returned.
        let action = &raw const DEFAULT as usize;
        sys::call4(libc::SYS_rt_sigaction, number, action, 0, WORD);
        send();
        core::arch::asm!("ud2", options(noreturn));
    }
}
