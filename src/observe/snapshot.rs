//! What a report knows: plain data. [`super::gather`] fills it, and `docs/statistics.md` explains it.

use crate::base::N_CLASSES;
use crate::os;

/// One size class of the small blocks.
#[derive(Clone, Copy, Default, Debug)]
pub struct ClassCounts {
    /// Bytes of a block.
    pub size: usize,
    /// Slabs in use, orphans included.
    pub slabs: usize,
    /// Those whose thread has ended.
    pub orphans: usize,
    /// Blocks that the program holds.
    pub live_blocks: usize,
    /// Their bytes.
    pub live_bytes: usize,
    /// Blocks that came back and are free in their slabs.
    pub free_blocks: usize,
    /// Bytes of these on pages that have not been given back.
    pub free_bytes: usize,
    /// Free blocks in magazines.
    pub magazine_blocks: usize,
    /// Bytes of the slabs that may be resident.
    pub resident_bytes: usize,
    /// Refills from slabs, ever.
    pub refills: u64,
    /// Flushes to slabs, ever.
    pub flushes: u64,
}

/// The counts of each class, by its number.
pub(super) type Shapes = [ClassCounts; N_CLASSES];

/// Where refills found blocks, ever.
#[derive(Clone, Copy, Default, Debug)]
pub struct Refills {
    /// Full magazines behind the loaded one.
    pub stack: u64,
    /// Slabs: of the heap itself, adopted, or created.
    pub slab: u64,
    /// Slabs adopted from threads that had ended, to refill from.
    pub adopted: u64,
    /// Slabs created to refill from.
    pub created: u64,
}

/// One cache of freed large blocks.
#[derive(Clone, Copy, Default, Debug)]
pub struct Cache {
    /// Requests that it served, ever.
    pub hits: u64,
    /// Requests that it could have served and did not, ever.
    pub misses: u64,
    /// Blocks that it gave up unused, ever.
    pub evictions: u64,
}

/// Calls of one kind to the operating system.
#[derive(Clone, Copy, Default, Debug)]
pub struct OsCall {
    /// Made, ever.
    pub made: u64,
    /// Failed, of these.
    pub failed: u64,
}

/// The process as a whole, at about one moment.
#[derive(Clone, Copy, Default, Debug)]
pub struct Snapshot {
    /// Bytes of the blocks that the program holds, of any size.
    pub live_bytes: usize,
    /// How many blocks of slabs these are.
    pub small_live_blocks: usize,
    /// How many are page runs.
    pub run_live_blocks: usize,
    /// Bytes of these.
    pub run_live_bytes: usize,
    /// How many are mappings of their own.
    pub large_live_blocks: usize,
    /// Bytes of these.
    pub large_live_bytes: usize,
    /// How many are guarded by a page that cannot be touched (`HAKMEM_GUARD`).
    pub fenced_blocks: usize,
    /// Bytes of these.
    pub fenced_bytes: usize,
    /// Freed blocks that the guard holds back.
    pub held_blocks: usize,
    /// Bytes of these.
    pub held_bytes: usize,
    /// Resident bytes that no block holds: free in slabs, in magazines, or warm.
    pub free_bytes: usize,
    /// Of these, bytes in magazines.
    pub magazine_bytes: usize,
    /// Memory taken from the system, without address space that is only set aside.
    pub mapped_bytes: usize,
    /// Bytes of it that may be resident.
    pub resident_bytes: usize,
    /// Free bytes that a trim gives back to the system.
    pub trimmable_bytes: usize,
    /// Free memory that is kept resident as a whole: empty slabs, free runs, cached blocks.
    pub warm_bytes: usize,
    /// Of these, what call sites and runs have earned beyond the budget: the like of it was wanted again.
    pub earned_bytes: usize,
    /// How much may be warm: what needs not be earned, and what slabs have earned.
    pub warm_budget_bytes: usize,
    /// The allocator's own structures.
    pub meta_bytes: usize,

    /// Requests that a magazine did not serve at once, ever: nothing counts those that it did.
    pub allocations: u64,
    /// Heaps made: the most threads that ever had one at once.
    pub heaps: usize,
    /// SuperSlabs mapped.
    pub superslabs: usize,
    /// Slabs in use.
    pub slabs: usize,
    /// Those whose thread has ended.
    pub orphans: usize,
    /// Slabs taken from the pool, ever.
    pub slabs_taken: u64,
    /// Slabs given back to it, ever.
    pub slabs_given: u64,

    /// Where refills found blocks.
    pub refills: Refills,
    /// Times that a full magazine got room by giving blocks to slabs, ever.
    pub flushes: u64,
    /// Blocks of other threads freed, ever, but for those not sent yet.
    pub remote_frees: u64,
    /// Atomic operations that carried them.
    pub remote_atomics: u64,
    /// Slabs from which the owner took such blocks, ever.
    pub drains: u64,
    /// Blocks that were in these.
    pub drained_blocks: u64,
    /// Blocks sent that no owner has taken yet.
    pub waiting_blocks: usize,
    /// Looks for free pages inside slabs in use, ever.
    pub hole_passes: u64,
    /// Bytes that they gave back.
    pub hole_bytes: u64,

    /// What threads keep at hand of freed runs and mappings.
    pub front: Cache,
    /// Freed mappings up to 16 MiB that any thread may take, by call site.
    pub bigcache: Cache,
    /// Other freed mappings of 2 MiB and more.
    pub whale: Cache,
    /// Blocks in these three.
    pub cached_blocks: usize,
    /// Their bytes.
    pub cached_bytes: usize,
    /// Bytes that threads keep at hand without having earned them.
    pub front_bytes: usize,
    /// Resident bytes of free pages among runs.
    pub warm_run_bytes: usize,
    /// Bytes of free runs given back to the system, ever.
    pub purged_run_bytes: u64,
    /// Bytes given back to the system with their addresses kept, ever.
    pub purged_bytes: u64,
    /// Bytes made resident ahead of use, ever.
    pub populated_bytes: u64,
    /// Calls to the system, by the kinds that [`Snapshot::os_calls`] names.
    pub(super) calls: [OsCall; os::CALLS],
}

impl Snapshot {
    /// The calls to the operating system, by kind.
    pub fn os_calls(&self) -> impl Iterator<Item = (&'static str, OsCall)> {
        os::CALL_NAMES.into_iter().zip(self.calls)
    }
}
