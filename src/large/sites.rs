//! What is known of call sites: a table that forgets.
//!
//! Two places for each key; the one seen less recently makes room. A site that is forgotten is
//! learned again.
//!
//! What fronts have to know without the lock is beside it, as bits: false ones do little harm.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::policy;
use super::records::Record;
use super::shelf::ASSUME_DENSE;
use crate::base::knobs;
use crate::learn::site::{Density, Site};

const LEN: usize = 1024;

/// Whether the sites and size classes that fall on a bit are known to be dense, as far as one is; whoever is known not to
/// be clears it.
static DENSE: [AtomicU64; 32] = [const { AtomicU64::new(0) }; 32];

/// The word and the bit of a site and a size class.
fn bit(key: u32, bin: usize) -> (&'static AtomicU64, u64) {
    let place = mixed(key, bin) >> 21;
    (&DENSE[place as usize / 64], 1 << (place % 64))
}

/// Notes how a site touches its blocks.
pub(super) fn note_density(key: u32, bin: usize, density: Density) {
    let (word, bit) = bit(key, bin);
    match density {
        Density::Dense => word.fetch_or(bit, Relaxed),
        _ => word.fetch_and(!bit, Relaxed),
    };
}

/// Whether the site `key` is known to touch all of its blocks of `need` bytes, as far as the bits say, or nobody looks and
/// that is assumed.
pub(super) fn may_be_dense(key: u32, need: usize) -> bool {
    if !knobs::DENSITY.get() {
        return ASSUME_DENSE.load(Relaxed);
    }
    let (word, bit) = bit(key, bin(key, policy::mapped(need)));
    word.load(Relaxed) & bit != 0
}

/// Whether the kept block of `record` is for any site that touches all of its blocks of `need` bytes: it was made for as
/// many, and for one that does so, too.
pub(super) fn may_serve(record: &Record, need: usize) -> bool {
    let key = record.key();
    !policy::is_growing(key)
        && policy::is_made_for(record.mapped(), need)
        && may_be_dense(key, need)
}

/// What is known of a site is known for each doubling of its sizes; growing buffers pass through all.
pub(super) fn bin(key: u32, mapped: usize) -> usize {
    if policy::is_growing(key) {
        0
    } else {
        // As `direct` rounds it: the same bin for what was asked for and for what was mapped.
        policy::bin(policy::huge_mapped(mapped)) / 8 + 1
    }
}

fn mixed(key: u32, bin: usize) -> u32 {
    (key ^ (bin as u32).wrapping_mul(0x9e37_79b1)).wrapping_mul(0x85eb_ca6b)
}

/// The table. Zeroed, nothing is known.
pub(super) struct Sites([Site; LEN]);

impl Sites {
    /// Nothing known.
    pub(super) const NEW: Self = Self([Site::new(0, 0); LEN]);

    /// What is known of `key` with blocks in `bin`.
    pub(super) fn at(&mut self, key: u32, bin: usize) -> &mut Site {
        let first = (mixed(key, bin) >> 22) as usize & (LEN - 1);
        let (a, b) = (first, first ^ 1);
        let is = |site: &Site| site.key == key && site.bin == bin as u16;
        let i = if is(&self.0[a]) {
            a
        } else if is(&self.0[b]) {
            b
        } else {
            let (x, y) = (&self.0[a], &self.0[b]);
            let out = if x.key == 0
                || (y.key != 0 && x.age_order().wrapping_sub(y.age_order()) as i32 <= 0)
            {
                a
            } else {
                b
            };
            self.0[out] = Site::new(key, bin as u16);
            out
        };
        &mut self.0[i]
    }

    /// What is known of anybody.
    pub(super) fn all(&self) -> impl Iterator<Item = &Site> {
        self.0.iter().filter(|site| site.key != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_is_who_was_seen_to_be_last() {
        let (key, need) = (0x1234_5672, 6 << 20);
        let of = |need| bin(key, policy::mapped(need));
        for (density, dense) in [
            (Density::Unknown, false),
            (Density::Dense, true),
            (Density::Sparse, false),
        ] {
            note_density(key, of(need), density);
            assert_eq!(may_be_dense(key, need), dense);
            assert!(!may_be_dense(key, 4 * need));
        }
    }

    #[test]
    fn a_site_is_found_again_and_the_table_never_fills() {
        let mut sites = Sites::NEW;
        sites.at(10, 3).hit(6, true);
        assert_eq!(sites.at(10, 3).credit(6), 1);
        assert_eq!(sites.at(10, 4).credit(6), 0);
        for key in 1..10_000 {
            assert_eq!(sites.at(key * 4 + 2, 1).key, key * 4 + 2);
        }
    }
}
