//! Allocators with one fault each: the model must find every one of them, or it proves nothing.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{
    AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::Arc;

use hakmem_model::{Api, C, Op, Phase, run};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{cases, isolated};

/// Bytes of glibc's chunk header and more: room in front of a block that is moved up.
const MOVED: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    SameBlockTwice,
    BlockInAnother,
    Unaligned,
    AlignmentIgnored,
    TooSmall,
    CallocNotZero,
    CallocOverflows,
    ReallocLosesTheEnd,
    ReallocFailsAndFrees,
    ErrnoOfMalloc,
    ErrnoOfFree,
    ErrnoOfFailure,
    PosixMemalignWrites,
    FreeWritesElsewhere,
    TrimLosesPages,
    SizesDiffer,
    Damaged,
    DamagedInChild,
    Lost,
    DiesAtThreadsEnd,
}

struct Faulty {
    fault: Fault,
    calls: AtomicUsize,
    /// The block that malloc gave last.
    last: AtomicUsize,
    process: libc::pid_t,
}

impl Faulty {
    /// Whether to fail now: not at first, and then often.
    fn strikes(&self, fault: Fault) -> bool {
        self.fault == fault && self.calls.fetch_add(1, SeqCst) % 8 == 7
    }
}

fn set_errno(value: c_int) {
    // SAFETY: this thread's.
    unsafe { *libc::__errno_location() = value };
}

impl Api for Faulty {
    unsafe fn malloc(&self, size: usize, site: usize) -> *mut c_void {
        // SAFETY: any size; what is faulty stays within the block before it.
        unsafe {
            let last = self.last.load(Relaxed);
            if last != 0 && C.usable_size(last as *mut c_void) >= size + 32 {
                if self.strikes(Fault::SameBlockTwice) {
                    return last as *mut c_void;
                }
                if self.strikes(Fault::BlockInAnother) {
                    return (last + 16) as *mut c_void;
                }
            }
            let block = C.malloc(size.saturating_add(MOVED), site);
            if block.is_null() {
                if self.fault == Fault::ErrnoOfFailure {
                    set_errno(0);
                }
                return block;
            }
            self.last.store(block as usize, Relaxed);
            if self.strikes(Fault::ErrnoOfMalloc) {
                set_errno(0);
            }
            if self.strikes(Fault::Unaligned) {
                return block.byte_add(MOVED);
            }
            block
        }
    }
    unsafe fn calloc(&self, n: usize, size: usize) -> *mut c_void {
        // SAFETY: any arguments.
        unsafe {
            if n.checked_mul(size).is_none() && self.fault == Fault::CallocOverflows {
                return C.malloc(n.wrapping_mul(size) % 1000, 0);
            }
            let block = C.calloc(n, size);
            if !block.is_null() && n * size > 0 && self.strikes(Fault::CallocNotZero) {
                block.cast::<u8>().add(n * size - 1).write(1);
            }
            block
        }
    }
    unsafe fn realloc(&self, block: *mut c_void, size: usize, site: usize) -> *mut c_void {
        // SAFETY: the caller's.
        unsafe {
            let kept = if block.is_null() {
                0
            } else {
                C.usable_size(block).min(size)
            };
            let new = C.realloc(block, size, site);
            if new.is_null() && kept > 0 && self.fault == Fault::ReallocFailsAndFrees {
                block.cast::<u8>().write(!block.cast::<u8>().read());
            }
            if !new.is_null() && kept > 0 && self.strikes(Fault::ReallocLosesTheEnd) {
                let end = new.cast::<u8>().add(kept.min(size) - 1);
                end.write(!end.read());
            }
            new
        }
    }
    unsafe fn reallocarray(&self, block: *mut c_void, n: usize, size: usize) -> *mut c_void {
        // SAFETY: the caller's.
        unsafe { C.reallocarray(block, n, size) }
    }
    unsafe fn memalign(&self, align: usize, size: usize) -> *mut c_void {
        // SAFETY: any arguments.
        unsafe {
            if (32..1 << 20).contains(&align)
                && align.is_power_of_two()
                && size < 1 << 20
                && self.fault == Fault::AlignmentIgnored
            {
                return C.memalign(2 * align, size + align).byte_add(16);
            }
            C.memalign(align, size)
        }
    }
    unsafe fn posix_memalign(&self, to: *mut *mut c_void, align: usize, size: usize) -> c_int {
        // SAFETY: the caller's.
        unsafe {
            let error = C.posix_memalign(to, align, size);
            if error != 0 && self.fault == Fault::PosixMemalignWrites {
                to.write(core::ptr::null_mut());
            }
            error
        }
    }
    unsafe fn valloc(&self, size: usize) -> *mut c_void {
        // SAFETY: any size.
        unsafe { C.valloc(size) }
    }
    unsafe fn pvalloc(&self, size: usize) -> *mut c_void {
        // SAFETY: any size.
        unsafe { C.pvalloc(size) }
    }
    unsafe fn free(&self, block: *mut c_void) {
        // SAFETY: the caller's. Blocks are not freed while others may be written to.
        unsafe {
            if self.fault == Fault::FreeWritesElsewhere {
                let last = self.last.load(Relaxed) as *mut u8;
                if !last.is_null() && last.cast() != block {
                    last.write(!last.read());
                }
                return;
            }
            if self.last.load(Relaxed) == block as usize {
                self.last.store(0, Relaxed);
            }
            C.free(block);
        }
        if self.strikes(Fault::ErrnoOfFree) {
            set_errno(0);
        }
    }
    unsafe fn usable_size(&self, block: *mut c_void) -> usize {
        let last = self.last.load(Relaxed);
        if last != 0 && block as usize == last + 16 {
            // SAFETY: the block that this one lies in.
            return unsafe { C.usable_size(last as *mut c_void) } - 16;
        }
        // SAFETY: the caller's.
        let bytes = unsafe { C.usable_size(block) };
        if self.strikes(Fault::SizesDiffer) {
            return bytes + 1;
        }
        if bytes > 0 && self.fault == Fault::TooSmall {
            return 8;
        }
        bytes
    }
    fn trim(&self, pad: usize) -> c_int {
        let last = self.last.load(Relaxed) as *mut u8;
        if !last.is_null() && self.fault == Fault::TrimLosesPages {
            // SAFETY: the block that was allocated last and is not freed.
            unsafe { last.write_bytes(0, 1) };
        }
        C.trim(pad)
    }
    fn check(&self) -> Result<(), &'static str> {
        // SAFETY: no preconditions.
        let child = unsafe { libc::getpid() } != self.process;
        if self.strikes(Fault::Damaged) || child && self.fault == Fault::DamagedInChild {
            return Err("damaged");
        }
        Ok(())
    }
    fn keeps_errno(&self) -> bool {
        matches!(self.fault, Fault::ErrnoOfMalloc)
    }
    fn live(&self) -> Option<(usize, usize)> {
        let lost = match self.fault {
            Fault::Lost => self.calls.fetch_add(1, SeqCst),
            _ => 0,
        };
        Some((lost, 0))
    }
}

/// A thread that has allocated dies of its own end.
fn die_at_the_end() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::process::abort();
        }
    }
    thread_local!(static BOMB: Bomb = const { Bomb });
    BOMB.with(|_| {});
}

struct Dying(Faulty);

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        $(unsafe fn $name(&self, $($arg: $type),*) -> $result {
            die_at_the_end();
            // SAFETY: the caller's.
            unsafe { self.0.$name($($arg),*) }
        })*
    };
}

impl Api for Dying {
    forward! {
        malloc(size: usize, site: usize) -> *mut c_void;
        calloc(n: usize, size: usize) -> *mut c_void;
        realloc(block: *mut c_void, size: usize, site: usize) -> *mut c_void;
        reallocarray(block: *mut c_void, n: usize, size: usize) -> *mut c_void;
        memalign(align: usize, size: usize) -> *mut c_void;
        posix_memalign(to: *mut *mut c_void, align: usize, size: usize) -> c_int;
        valloc(size: usize) -> *mut c_void;
        pvalloc(size: usize) -> *mut c_void;
        free(block: *mut c_void) -> ();
        usable_size(block: *mut c_void) -> usize;
    }
    fn trim(&self, pad: usize) -> c_int {
        self.0.trim(pad)
    }
}

/// What the model says of an allocator with a fault, over a few made-up cases.
fn verdict(fault: Fault) -> Result<(), String> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for _ in 0..40 {
        let mut case = cases::case().new_tree(&mut runner).unwrap().current();
        // At once, before glibc sees what is wrong with a pointer.
        for phase in &mut case.phases {
            let (Phase::Stepped(steps) | Phase::Free { steps, .. }) = phase;
            // A child that finds the fault says so, too, but this process only hears that it did.
            steps.retain(|step| step.op != Op::Fork || fault == Fault::DamagedInChild);
            *phase = Phase::Stepped(core::mem::take(steps));
        }
        isolated::run(|| {
            let faulty = Faulty {
                fault,
                calls: AtomicUsize::new(0),
                last: AtomicUsize::new(0),
                // SAFETY: no preconditions.
                process: unsafe { libc::getpid() },
            };
            let api: Arc<dyn Api> = if fault == Fault::DiesAtThreadsEnd {
                Arc::new(Dying(faulty))
            } else {
                Arc::new(faulty)
            };
            run(&api, &case)
        })?;
    }
    Ok(())
}

#[test]
fn every_fault_is_found() {
    for (fault, words) in [
        (Fault::SameBlockTwice, "is in use, too"),
        (Fault::BlockInAnother, "is in use, too"),
        (Fault::Unaligned, "is not aligned to 16"),
        (Fault::AlignmentIgnored, "is not aligned to"),
        (Fault::TooSmall, "bytes are usable"),
        (Fault::CallocNotZero, "is not zero"),
        (Fault::CallocOverflows, "cannot be had"),
        (Fault::ReallocLosesTheEnd, "has changed"),
        (Fault::ReallocFailsAndFrees, "has changed"),
        (Fault::ErrnoOfMalloc, "success sets errno"),
        (Fault::ErrnoOfFree, "sets errno to 0"),
        (Fault::ErrnoOfFailure, "failed with errno"),
        (Fault::PosixMemalignWrites, "writes a pointer"),
        (Fault::FreeWritesElsewhere, "has changed"),
        (Fault::TrimLosesPages, "has changed"),
        (Fault::SizesDiffer, "usable"),
        (Fault::Damaged, "check: damaged"),
        (
            Fault::DamagedInChild,
            "the child of a fork ended with status 100",
        ),
        (Fault::Lost, "were live before"),
        (Fault::DiesAtThreadsEnd, "the process ended with status"),
    ] {
        let found = verdict(fault).expect_err(&format!("{fault:?} goes unnoticed"));
        assert!(found.contains(words), "{fault:?}: {found}");
    }
}
