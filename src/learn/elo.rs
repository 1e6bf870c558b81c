//! Ratings of strategies: Elo, "The Rating of Chessplayers, Past and Present" (1978).
//!
//! Two strategies "play" when one was in force in a window and the last cost of the other is known:
//! the cheaper one wins. Costs differ from window to window for reasons that have nothing to do with
//! the strategy; a rating is what remains of many such games.

/// A point, in the units of ratings.
pub(crate) const POINT: i32 = 16;
/// Where all begin.
pub(crate) const START: i32 = 1500 * POINT;
/// What one game can change, at most.
const K: i32 = 32 * POINT;

/// How a game ended for the first player, in per mille of a win.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It was cheaper.
    Won = 1000,
    /// No difference that counts.
    Drawn = 500,
    /// It was dearer.
    Lost = 0,
}

/// Costs closer than this, in per cent, are a draw.
const DRAW_PER_CENT: u64 = 3;

/// How the game of two costs ends for the first.
pub(crate) fn outcome(cost: u64, other: u64) -> Outcome {
    let apart = u128::from(cost.abs_diff(other)) * 100;
    let close = apart <= u128::from(cost.max(other)) * u128::from(DRAW_PER_CENT);
    if close {
        Outcome::Drawn
    } else if cost < other {
        Outcome::Won
    } else {
        Outcome::Lost
    }
}

/// The expected score in per mille of the stronger of two whose ratings differ by a multiple of 50
/// points: 1000 / (1 + 10^(-d / 400)).
const EXPECTED: [i32; 17] = [
    500, 571, 640, 703, 760, 808, 849, 882, 909, 930, 947, 960, 969, 977, 983, 987, 990,
];
const STEP: i32 = 50 * POINT;

/// The expected score of one who is `difference` above the other, in per mille.
fn expected(difference: i32) -> i32 {
    let most = STEP * (EXPECTED.len() as i32 - 1);
    let above = difference.abs().min(most);
    let (step, rest) = ((above / STEP) as usize, above % STEP);
    let low = EXPECTED[step];
    let high = EXPECTED[(step + 1).min(EXPECTED.len() - 1)];
    let stronger = low + (high - low) * rest / STEP;
    if difference >= 0 {
        stronger
    } else {
        1000 - stronger
    }
}

/// The ratings of two after a game. Their sum stays.
pub(crate) fn play(first: i32, second: i32, outcome: Outcome) -> (i32, i32) {
    // Who is so far ahead that the table ends wins nothing more: who plays for ever would leave the others for ever.
    let most = STEP * (EXPECTED.len() as i32 - 1);
    let (ahead, behind) = (first - second >= most, second - first >= most);
    if matches!(
        (ahead, behind, outcome),
        (true, _, Outcome::Won) | (_, true, Outcome::Lost)
    ) {
        return (first, second);
    }
    let change = K * (outcome as i32 - expected(first - second)) / 1000;
    (first + change, second - change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratings_stay_where_they_can_be_made_up_for() {
        let (mut first, mut second) = (START, START);
        for _ in 0..100_000 {
            (first, second) = play(first, second, Outcome::Won);
            (second, first) = play(second, first, Outcome::Lost);
        }
        assert!((800..=850).contains(&((first - second) / POINT)));
        for _ in 0..200 {
            (first, second) = play(first, second, Outcome::Lost);
        }
        assert!(first < second);
    }

    #[test]
    fn the_table_is_the_formula() {
        extern crate std;
        for difference in (-900..=900).step_by(7) {
            let exact =
                1000.0 / (1.0 + 10f64.powf(-f64::from(difference.clamp(-800, 800)) / 400.0));
            let ours = expected(difference * POINT);
            assert!(
                (f64::from(ours) - exact).abs() < 4.0,
                "{difference}: {ours} {exact}"
            );
        }
    }

    #[test]
    fn who_wins_more_than_expected_rises() {
        let (a, b) = play(START, START, Outcome::Won);
        assert_eq!((a - START, b - START), (16 * POINT, -16 * POINT));
        let (a, b) = play(a, b, Outcome::Drawn);
        assert!(a < START + 16 * POINT && a + b == 2 * START);
        let (mut a, mut b) = (START, START);
        for _ in 0..1000 {
            (a, b) = play(a, b, Outcome::Won);
        }
        assert!(a - b > 600 * POINT && a - b < 2000 * POINT);
    }

    #[test]
    fn costs_that_are_close_are_a_draw() {
        assert_eq!(outcome(100, 103), Outcome::Drawn);
        assert_eq!(outcome(100, 104), Outcome::Won);
        assert_eq!(outcome(104, 100), Outcome::Lost);
        assert_eq!(outcome(0, 0), Outcome::Drawn);
        assert_eq!(outcome(u64::MAX, 1), Outcome::Lost);
    }
}
