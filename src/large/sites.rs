//! What is known of call sites: a table that forgets.
//!
//! Two places for each key; the one seen less recently makes room. A site that is forgotten is
//! learned again.

use crate::learn::site::Site;

const LEN: usize = 1024;

/// The table. Zeroed, nothing is known.
pub(super) struct Sites([Site; LEN]);

impl Sites {
    /// Nothing known.
    pub(super) const NEW: Self = Self([Site::new(0, 0); LEN]);

    /// What is known of `key` with blocks in `bin`.
    pub(super) fn at(&mut self, key: u32, bin: usize) -> &mut Site {
        let mixed = (key ^ (bin as u32).wrapping_mul(0x9e37_79b1)).wrapping_mul(0x85eb_ca6b);
        let first = (mixed >> 22) as usize & (LEN - 1);
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
