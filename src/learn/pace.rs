//! The pace of giving back: memory that was missed soon after it had been given back may stay, as much of
//! it as was missed, until it is no longer.
//!
//! Keeping is renting: a page costs its rent for as long as it is free, and a fault if it is wanted after
//! it went back. Without knowing the future, who rents for as long as buying would have cost never pays
//! more than twice what the best in hindsight does (ski rental; Karlin et al., "Competitive Randomized
//! Algorithms for Nonuniform Problems", 1994). What is missed later than that was rightly given back.

/// The bytes that may stay after `missed` more were missed: `most` in all.
pub(crate) fn earn(earned: usize, missed: usize, most: usize) -> usize {
    earned.saturating_add(missed).min(most)
}

/// For how long, in ms, memory that was earned may stay without being wanted, or missed: until its rent is what
/// a fault costs, within reason. `patience_ms` is of [`super::cost`].
pub(crate) fn stay_ms(patience_ms: u32) -> u32 {
    patience_ms.clamp(100, 1000)
}

/// A step of reluctance, by which half as much is earned.
const STEP: u64 = 1 << 20;
/// Steps there are.
const STEPS: u64 = 6;
/// A step wears off while a program is busy for so many times what may stay idle.
const WEARS_OFF: u64 = 16;

/// How reluctant to earn, in parts of [`STEP`], after nobody called for `idle_ms`, and `before` that. Nobody is there
/// in a pause to give back what waits for longer than the `stay_ms` that it should. So who `waited` in vain earns
/// less from then on, by half for each doubling of the time, until the program has been busy for long.
pub(crate) fn reluctance(before: u64, idle_ms: u64, stay_ms: u64, waited: bool) -> u64 {
    let stay_ms = stay_ms.max(1);
    match idle_ms / stay_ms {
        0 | 1 => before.saturating_sub(idle_ms * STEP / (WEARS_OFF * stay_ms)),
        times if waited => (before + u64::from(times.ilog2()) * STEP).min(STEPS * STEP),
        _ => before,
    }
}

/// What of `most` may be earned by who is so reluctant.
pub(crate) fn reluctantly(most: usize, reluctance: u64) -> usize {
    most >> reluctance.div_ceil(STEP).min(STEPS)
}

/// What is left of what was earned when nothing was missed for `idle_ms`, and half of it lapses in
/// `half_life_ms`.
pub(crate) fn lapse(earned: usize, idle_ms: u64, half_life_ms: u64) -> usize {
    let halves = idle_ms / half_life_ms;
    if halves < usize::BITS.into() {
        earned >> halves
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_is_earned_and_lapses() {
        assert_eq!(earn(100, 50, 1000), 150);
        assert_eq!(earn(100, usize::MAX, 1000), 1000);
        assert_eq!(lapse(1000, 999, 1000), 1000);
        assert_eq!(lapse(1000, 1000, 1000), 500);
        assert_eq!(lapse(1000, 3500, 1000), 125);
        assert_eq!(lapse(1000, u64::MAX, 1), 0);
    }

    /// The reluctance after being busy for `ms`, with a call every 4.
    fn busy(mut reluctant: u64, ms: u64, stay_ms: u64) -> u64 {
        for _ in 0..ms / 4 {
            reluctant = reluctance(reluctant, 4, stay_ms, true);
        }
        reluctant
    }

    #[test]
    fn who_waits_in_vain_earns_less_until_busy_for_long() {
        for stay in [100, 1000] {
            let mut reluctant = 0;
            for beat in 1..20 {
                let less = |reluctant| reluctantly(1 << 20, reluctant) == 1 << (20 - beat.min(6));
                reluctant = reluctance(reluctant, 3 * stay - 1, stay, true);
                assert!(less(reluctant) && less(busy(reluctant, stay / 2, stay)));
            }
            // What was not there cannot have waited.
            assert_eq!(reluctance(reluctant, 99 * stay, stay, false), reluctant);
            let half = busy(reluctant, STEPS * WEARS_OFF * stay / 2, stay);
            assert!(reluctantly(1 << 20, half).abs_diff(1 << 17) <= 1 << 16);
            let none = busy(half, STEPS * WEARS_OFF * stay, stay);
            assert_eq!(reluctantly(1 << 20, none), 1 << 20);
        }
        assert_eq!(reluctance(0, u64::MAX, 0, true), STEPS * STEP);
        assert_eq!(reluctantly(64, u64::MAX), 1);
    }

    /// Blocks that come and go with a period: what is paid with the rule, over what the best in hindsight
    /// pays, a page at a time. `kept_ms` is for how long a page may be kept that was missed.
    #[test]
    fn no_period_costs_much_more_than_the_best_in_hindsight() {
        const FAULT: f64 = 1000.0;
        for period in [10, 100, 400, 900, 1100, 3000, 10_000u64] {
            let (mut paid, mut out_at, mut earned) = (0.0, None::<u64>, 0);
            for round in 0..100u64 {
                let now = round * period;
                // Taken: free until now, or faulted in.
                if earned > 0 {
                    let kept = lapse(earned, period, 1000);
                    paid += if kept > 0 {
                        period as f64
                    } else {
                        FAULT + 1000.0
                    };
                    earned = if kept > 0 { 1 } else { 0 };
                } else {
                    paid += FAULT;
                    if out_at.is_some_and(|at| now - at <= 1000) {
                        earned = earn(earned, 1, 1);
                    }
                }
                out_at = Some(now);
            }
            let best = 100.0 * FAULT.min(period as f64);
            assert!(
                paid <= 2.0 * best + 2.0 * FAULT,
                "period {period}: {paid} for {best}"
            );
        }
    }
}
