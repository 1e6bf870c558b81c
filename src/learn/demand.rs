//! Demand for magazines: how many more than the loaded one a class keeps the blocks of.
//!
//! A class whose blocks come and go in swings refills several magazines in a row, and then flushes as
//! many. With so many more behind the loaded one it would do neither (Bonwick & Adams, "Magazines and
//! Vmem", 2001, size magazines by contention; here there is none, and the trip to the slab is what they
//! save).

/// Swings that reach the slabs less often than this, in ms, are not worth full magazines: each saves a fraction of a
/// microsecond in a swing, and each block in it may keep a page resident for as long.
const SWING_MS: u32 = 10;

/// The limit after a swing of `refills` in a row behind `flushes` in a row, `ms` after the one before, where `most` is
/// allowed.
pub(crate) fn after_swing(limit: u16, refills: u16, flushes: u16, ms: u32, most: u16) -> u16 {
    if ms > SWING_MS {
        return limit.min((limit / 2).max(1));
    }
    limit
        .saturating_add(refills.min(flushes))
        .clamp(1, most.max(1))
}

/// Parts of a block in which [`in_use`] counts; so many times more slowly it rises.
const PARTS: usize = 256;

/// What is known of how many blocks the program has at least, now that it has `used`: falls at once and rises slowly.
/// Asked when the magazine is full, after frees, it is what stays in use however much comes and goes.
pub(crate) fn in_use(before: u32, used: usize) -> u32 {
    let now = u32::try_from(used * PARTS).unwrap_or(u32::MAX);
    now.min(before + (now.saturating_sub(before)).div_ceil(PARTS as u32))
}

/// The blocks that are always in use, by what is known of it.
pub(crate) fn always(in_use: u32) -> usize {
    in_use as usize / PARTS
}

/// Whether a class that has flushed so often in a row only shrinks: then half of the limit goes.
pub(crate) fn only_shrinks(limit: u16, flushes: u16) -> bool {
    limit > 0 && u32::from(flushes) > 4 * u32::from(limit) + 8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays swings of `amplitude` magazines, and returns the trips to slabs in the last of them.
    fn trips(amplitude: u16, most: u16) -> u16 {
        let (mut limit, mut last) = (1, 0);
        for _ in 0..20 {
            let flushes = amplitude.saturating_sub(limit);
            last = flushes;
            limit = after_swing(limit, flushes, flushes, 1, most);
        }
        last
    }

    #[test]
    fn swings_end_in_magazines_if_there_is_room_for_them() {
        for amplitude in 0..60 {
            assert_eq!(trips(amplitude, 64), 0, "{amplitude}");
        }
        assert_eq!(trips(100, 64), 36);
        assert_eq!(trips(9, 0), 8);
    }

    #[test]
    fn what_is_always_in_use_falls_at_once_and_rises_slowly() {
        let after =
            |before, all: &[usize]| all.iter().fold(before, |known, used| in_use(known, *used));
        assert_eq!(always(after(0, &[1000])), 3);
        assert_eq!(always(after(0, &[10; 4000])), 10);
        // Who frees all that was taken has nothing in use.
        let requests: std::vec::Vec<usize> = (0..20).rev().cycle().take(400).collect();
        assert_eq!(after(0, &requests), 0);
        let highest = requests.iter().scan(0, |known, used| {
            *known = in_use(*known, *used);
            Some(always(*known))
        });
        assert!(highest.max() < Some(2));
        // Who replaces some of them has the others.
        let swings: std::vec::Vec<usize> = (30..50).rev().cycle().take(20_000).collect();
        assert!((30..33).contains(&always(after(0, &swings))));
        assert_eq!(in_use(u32::MAX, usize::MAX / PARTS), u32::MAX);
    }

    #[test]
    fn a_slow_swing_keeps_ever_fewer() {
        assert_eq!(after_swing(8, 4, 9, SWING_MS, 64), 12);
        let slow = |limit| after_swing(limit, 4, 9, SWING_MS + 1, 64);
        assert_eq!([12, 6, 3, 1, 0].map(slow), [6, 3, 1, 1, 0]);
    }

    #[test]
    fn who_only_shrinks_keeps_ever_less() {
        let mut limit = 64;
        let mut flushes = 0;
        while limit > 0 && flushes < 10_000 {
            flushes += 1;
            if only_shrinks(limit, flushes) {
                limit /= 2;
            }
        }
        assert_eq!((limit, flushes), (0, 271));
        assert!(!only_shrinks(0, u16::MAX));
    }
}
