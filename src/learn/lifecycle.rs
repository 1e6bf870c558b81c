//! From windows to the strategy in force: LEARN, CANARY, FROZEN, and back.
//!
//! * **LEARN.** Each window is played with one strategy. First the neighbour that the cost of the last
//!   window points to, as long as there is one that has not been tried; then the best by rating, or
//!   another, as [`Explore`] says. When the same one has been best for [`BEST_FOR`] windows:
//! * **CANARY.** It alone is in force, for as many windows. If they cost more than the strategy in force
//!   before, or giving memory back takes longer (the 99th percentile), by [`WORSE_PER_CENT`], that one
//!   comes back, and learning goes on.
//! * **FROZEN.** Nothing is tried any more, and windows are only watched: when requests are spread over
//!   sizes in another way, or windows cost more than they did, it is time to LEARN again.
//!
//! So it is, whatever the phase, when half of what the strategy keeps has been left alone for [`IDLE_MS`], and
//! nothing was missed: what it was good for is over, and what lower ones cost while it lasted says nothing any more.
//!
//! A budget of memory cannot be tried on one decision in twenty, as the original's canary was: what a
//! decision costs comes later, and to others. So a canary has all decisions, and few windows.
//!
//! Pure: what it decides follows from the windows that it has been shown, and from its seed.

use super::cost::Cost;
use super::elo::{self, Outcome};
use super::monitor::{LONGEST_MS, LONGEST_PATIENCE_MS};
use super::sizes::Sizes;
use super::strategy::{self, START, STRATEGIES};

/// Windows in which a strategy has to be the best before it becomes the canary; and a canary's windows.
const BEST_FOR: u32 = 3;
/// What is worse, in per cent.
const WORSE_PER_CENT: u64 = 20;
/// How far apart, in per mille, the sizes of a window are from those learned from, if they are others.
const SHIFT: u32 = 250;
/// Fewer requests do not say how they are spread over sizes.
const FEW: u64 = 1000;
/// Dearer windows in a row after which what is frozen is learned again.
const DEARER_FOR: u32 = 3;
/// Windows that cost less than this, in ns per ms, are not worth an experiment.
const NOTHING: u64 = 20;
/// Time in which what is kept was not wanted, in ms, after which it is not known any more what less would cost: longer than
/// what went back can be missed, and a window.
const IDLE_MS: u64 = 2 * LONGEST_PATIENCE_MS as u64 + LONGEST_MS;
/// Each time that was so it takes twice as long, up to so many times, as long as requests stay the same: who was wrong
/// does not go on like that.
const IDLE_MOST: u64 = 64;
/// How often something else than the best is tried, in per mille: at first, and in the end.
const EPSILON: (u32, u32) = (100, 10);

/// Downwards it goes by so many at a time: what would be missed there can only be found out.
const STEPS_DOWN: usize = 3;

/// How strategies are chosen while learning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Explore {
    /// The best, but once in a while a neighbour of it (Sutton & Barto, "Reinforcement Learning", 2.2).
    Epsilon,
    /// The highest upper bound of a confidence interval (Auer, Cesa-Bianchi & Fischer, "Finite-time
    /// Analysis of the Multiarmed Bandit Problem", 2002).
    Ucb1,
}

/// Where a lifecycle is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Strategies are tried.
    Learn,
    /// One has been chosen, and is on probation.
    Canary,
    /// One is in force.
    Frozen,
}

impl Phase {
    /// Its name in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Learn => "learn",
            Self::Canary => "canary",
            Self::Frozen => "frozen",
        }
    }
}

/// The least that was free at a time for anybody to take, and what of the floor in force that could be, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Idle {
    pub(crate) bytes: usize,
    pub(crate) of: usize,
}

impl Idle {
    /// All was wanted, or nobody knows.
    pub(crate) const NONE: Self = Self { bytes: 0, of: 0 };
}

/// What was seen while one strategy was in force.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    /// What it cost.
    pub(crate) cost: Cost,
    /// What a GiB of free memory cost.
    pub(crate) price: u64,
    /// How long it was, in ms.
    pub(crate) ms: u64,
    /// What nobody wanted.
    pub(crate) idle: Idle,
    /// The 99th percentile of the time of a call that gave memory back, in ns; 0 if not known.
    pub(crate) p99_ns: u64,
    /// What was asked for.
    pub(crate) sizes: Sizes,
}

/// What is known of a strategy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Arm {
    /// In the units of [`elo`].
    pub(crate) rating: i32,
    /// Windows that it was in force, ever.
    pub(crate) windows: u32,
    /// What its windows cost, the last one counting for a quarter.
    pub(crate) cost: Cost,
    /// It was in force since requests last changed: `cost` can be compared.
    pub(crate) known: bool,
}

impl Arm {
    const NEW: Self = Self {
        rating: elo::START,
        windows: 0,
        cost: Cost::NOTHING,
        known: false,
    };

    /// The rating in points.
    pub(crate) fn points(&self) -> i32 {
        self.rating / elo::POINT
    }
}

/// See the module.
///
/// # Invariants
/// `strategy`, `proven` and `best` are numbers of strategies.
#[derive(Clone, Copy)]
pub(crate) struct Lifecycle {
    /// Where it is.
    pub(crate) phase: Phase,
    /// The strategy in force.
    pub(crate) strategy: usize,
    /// The one that a canary is compared with.
    proven: usize,
    proven_p99: u64,
    best: usize,
    best_for: u32,
    /// Windows of the canary, and what they cost in sum.
    tried: u32,
    tried_cost: u64,
    /// What FROZEN compares with.
    frozen_cost: u64,
    sizes: Sizes,
    dearer: u32,
    /// For how long, in ms, nothing was missed and half of what is kept was left alone; and how much of it was.
    idle_ms: u64,
    idle: usize,
    /// How long that has to be.
    idle_after: u64,
    epsilon: u32,
    explore: Explore,
    freezes: bool,
    random: u64,
    /// All strategies.
    pub(crate) arms: [Arm; STRATEGIES],
    /// Windows that it has been shown.
    pub(crate) windows: u64,
    /// How often another strategy came into force.
    pub(crate) changes: u64,
    /// Canaries that were taken back.
    pub(crate) rollbacks: u64,
    /// How often learning began again.
    pub(crate) relearned: u64,
    /// What the last window cost.
    pub(crate) last: Cost,
    /// And what a GiB was worth then.
    pub(crate) price: u64,
}

impl Lifecycle {
    /// Nothing learned.
    pub(crate) const NEW: Self = Self {
        phase: Phase::Learn,
        strategy: START,
        proven: START,
        proven_p99: 0,
        best: START,
        best_for: 0,
        tried: 0,
        tried_cost: 0,
        frozen_cost: 0,
        sizes: Sizes::NONE,
        dearer: 0,
        idle_ms: 0,
        idle: 0,
        idle_after: IDLE_MS,
        epsilon: EPSILON.0,
        explore: Explore::Epsilon,
        freezes: true,
        random: 0x9e37_79b9_7f4a_7c15,
        arms: [Arm::NEW; STRATEGIES],
        windows: 0,
        changes: 0,
        rollbacks: 0,
        relearned: 0,
        last: Cost::NOTHING,
        price: 0,
    };

    /// Nothing learned, with the same settings.
    pub(crate) fn restarted(&self) -> Self {
        let mut new = Self {
            explore: self.explore,
            freezes: self.freezes,
            ..Self::NEW
        };
        new.start_with(self.proven);
        new
    }

    /// Sets how strategies are chosen.
    pub(crate) fn set_explore(&mut self, explore: Explore) {
        self.explore = explore;
    }

    /// Sets the strategy to begin with.
    pub(crate) fn start_with(&mut self, strategy: usize) {
        self.strategy = strategy.min(STRATEGIES - 1);
        self.proven = self.strategy;
        self.best = self.strategy;
    }

    /// Has it try other strategies for ever.
    pub(crate) fn never_freeze(&mut self) {
        self.freezes = false;
    }

    /// Takes over what an earlier process thought of the strategies.
    pub(crate) fn rate(&mut self, ratings: &[i32; STRATEGIES]) {
        for (arm, rating) in self.arms.iter_mut().zip(ratings) {
            arm.rating = *rating;
        }
    }

    /// Begins where an earlier process ended: with strategy `strategy`, and if it was frozen, with the
    /// sizes of its requests and what its windows cost.
    pub(crate) fn resume(
        &mut self,
        strategy: usize,
        frozen: Option<(Sizes, u64)>,
        ratings: &[i32; STRATEGIES],
    ) {
        self.rate(ratings);
        self.start_with(strategy);
        if let Some((sizes, cost)) = frozen.filter(|_| self.freezes) {
            self.phase = Phase::Frozen;
            self.sizes = sizes;
            self.frozen_cost = cost;
        }
    }

    /// The strategy to begin with the next time: not one that is only tried.
    pub(crate) fn proved(&self) -> usize {
        match self.phase {
            Phase::Learn => self.best,
            Phase::Canary => self.proven,
            Phase::Frozen => self.strategy,
        }
    }

    /// What [`resume`](Self::resume) wants to know.
    pub(crate) fn frozen(&self) -> Option<(Sizes, u64)> {
        (self.phase == Phase::Frozen).then_some((self.sizes, self.frozen_cost))
    }

    /// Shows the window that has ended. `strategy` is the one for the next.
    pub(crate) fn see(&mut self, window: &Window) {
        self.windows += 1;
        self.last = window.cost;
        self.price = window.price;
        let cost = window.cost.total(window.price);
        let (before, relearned) = (self.strategy, self.relearned);
        let idle = before > 0
            && cost >= NOTHING
            && window.cost.missed < NOTHING
            && window.idle.bytes > window.idle.of / 2;
        // A process that paused was not asked.
        let ms = window.ms.min(LONGEST_MS);
        (self.idle_ms, self.idle) = match self.idle_ms {
            _ if !idle => (0, 0),
            0 => (ms, window.idle.bytes),
            before => (before + ms, self.idle.min(window.idle.bytes)),
        };
        match self.phase {
            _ if self.is_idle() => self.let_go(window),
            Phase::Learn => self.learn(window, cost),
            Phase::Canary => self.canary(window, cost),
            Phase::Frozen => self.watch(window, cost),
        }
        self.changes += u64::from(before != self.strategy);
        if self.relearned != relearned {
            // What calls took before says nothing of what is compared from now on.
            self.proven_p99 = 0;
        }
    }

    fn learn(&mut self, window: &Window, cost: u64) {
        if self.sizes == Sizes::NONE {
            self.sizes = window.sizes;
        } else if self.sizes.differ(&window.sizes, SHIFT) {
            self.requests_changed(window.sizes);
        } else {
            self.sizes.add(&window.sizes);
        }
        self.note(&window.cost);
        let strategy = self.strategy;
        if strategy == self.proven && window.p99_ns != 0 {
            self.proven_p99 = window.p99_ns;
        }
        for other in 0..STRATEGIES {
            if other != strategy && self.arms[other].known {
                let (a, b) = (self.arms[strategy], self.arms[other]);
                let outcome = elo::outcome(self.cost_of(&a), self.cost_of(&b));
                let (a, b) = elo::play(a.rating, b.rating, outcome);
                self.arms[strategy].rating = a;
                self.arms[other].rating = b;
            }
        }
        let best = self.best_known();
        self.best_for = if best == self.best {
            self.best_for + 1
        } else {
            1
        };
        self.best = best;
        if cost < NOTHING {
            // Whatever is in force is good enough. That is worth knowing, too.
            self.strategy = best;
        } else if let Some(next) = self.untried(window) {
            self.strategy = next;
            self.best_for = 0;
            return;
        } else {
            self.strategy = self.choose();
        }
        if self.best_for >= BEST_FOR && self.freezes {
            if self.best == self.proven {
                self.freeze(self.cost_of(&self.arms[best]));
            } else {
                self.phase = Phase::Canary;
                self.strategy = best;
                self.tried = 0;
                self.tried_cost = 0;
            }
        }
    }

    /// Whether half of what is kept was left alone for so long that what is known, or not asked any more, of lower
    /// strategies is of another time.
    fn is_idle(&self) -> bool {
        let mut lower = self.arms[..self.strategy].iter();
        let known = match self.phase {
            Phase::Learn | Phase::Canary => lower.any(|arm| arm.known),
            Phase::Frozen => lower.len() != 0,
        };
        known && self.idle_ms >= self.idle_after
    }

    /// Goes on with the strategy that keeps less by what was left alone.
    fn let_go(&mut self, window: &Window) {
        let wanted = strategy::floor_of(self.strategy).saturating_sub(self.idle);
        let mut lower = 0..self.strategy;
        self.idle_after = (2 * self.idle_after).min(IDLE_MOST * IDLE_MS);
        self.begin_again(window.sizes);
        self.note(&window.cost);
        if let Some(next) = lower.find(|i| strategy::floor_of(*i) >= wanted) {
            self.strategy = next;
        }
    }

    /// What a strategy's windows would cost at the price of today.
    pub(crate) fn cost_of(&self, arm: &Arm) -> u64 {
        arm.cost.total(self.price)
    }

    fn note(&mut self, cost: &Cost) {
        let arm = &mut self.arms[self.strategy];
        arm.cost = if arm.known {
            arm.cost.mixed_with(cost)
        } else {
            *cost
        };
        arm.known = true;
        arm.windows = arm.windows.saturating_add(1);
    }

    /// The best of those that can be compared; among equals the one that keeps least.
    fn best_known(&self) -> usize {
        let known = (0..STRATEGIES).rev().filter(|i| self.arms[*i].known);
        known
            .max_by_key(|i| self.arms[*i].rating)
            .unwrap_or(self.strategy)
    }

    /// A strategy that the window's cost points to and that has not been tried, if the one in force is the
    /// cheapest so far: what is behind one that was dearer is not looked for. It is the one with which rent would
    /// be what is paid for faults, if that stayed as it is: so a change is followed at once, and at no more than twice
    /// the cost; but no further than half the way to one that has been tried, and few steps
    /// downwards where nothing was missed, which says nothing of what would be.
    fn untried(&self, window: &Window) -> Option<usize> {
        let now = &self.arms[self.strategy];
        let known = |i: &usize| self.arms[*i].known;
        let cheaper =
            |i: usize| elo::outcome(self.cost_of(&self.arms[i]), self.cost_of(now)) == Outcome::Won;
        if (0..STRATEGIES).filter(known).any(cheaper) {
            return None;
        }
        let floor = strategy::floor_of(self.strategy);
        if !window.cost.wants_more(window.price)? {
            let lowest = self.strategy.saturating_sub(STEPS_DOWN);
            let target = window.cost.share_worth(floor, window.price);
            let mut below = (lowest..self.strategy).rev();
            let far = below
                .clone()
                .find(|i| target == 0 || strategy::floor_of(*i) <= target)
                .unwrap_or(lowest);
            let far = match below.find(known) {
                Some(tried) => far.max((self.strategy + tried).div_ceil(2)),
                None => far,
            };
            return (far < self.strategy).then_some(far);
        }
        let above = self.strategy + 1..STRATEGIES;
        let target = floor + window.cost.affords(window.price);
        let far = above
            .clone()
            .find(|i| strategy::floor_of(*i) >= target)
            .unwrap_or(STRATEGIES - 1);
        let far = match above.clone().find(known) {
            Some(tried) => far.min((self.strategy + tried) / 2),
            None => far,
        };
        above.contains(&far).then_some(far)
    }

    fn choose(&mut self) -> usize {
        match self.explore {
            Explore::Epsilon => {
                let now = self.epsilon;
                self.epsilon = (now * 9 / 10).max(EPSILON.1);
                let random = self.random();
                if random % 1000 >= u64::from(now) {
                    return self.best;
                }
                let up = random >> 32 & 1 == 1;
                match (up, self.best) {
                    (true, best) if best + 1 < STRATEGIES => best + 1,
                    (false, best) if best > 0 => best - 1,
                    (_, best) => best,
                }
            }
            Explore::Ucb1 => {
                let known = |i: &usize| self.arms[*i].known;
                let played: u64 = self
                    .arms
                    .iter()
                    .filter(|arm| arm.known)
                    .map(|arm| u64::from(arm.windows))
                    .sum();
                (0..STRATEGIES)
                    .rev()
                    .filter(known)
                    .max_by_key(|i| self.upper_bound(&self.arms[*i], played))
                    .unwrap_or(self.best)
            }
        }
    }

    /// A rating as a mean of rewards in per mille, 1500 points being 500, and what it may be in truth:
    /// sqrt(2 ln(played) / windows) more.
    fn upper_bound(&self, arm: &Arm, played: u64) -> i64 {
        let mean = i64::from(arm.rating / elo::POINT) - 1000;
        // ln(n) in per mille; log2(n) is exact to a tenth, which a bound of this kind does not notice.
        let ln = u64::from(played.max(1).ilog2()) * 693;
        let doubt = (2000 * ln / u64::from(arm.windows.max(1))).isqrt();
        mean + doubt as i64
    }

    fn random(&mut self) -> u64 {
        // Marsaglia, "Xorshift RNGs" (2003).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn canary(&mut self, window: &Window, cost: u64) {
        self.note(&window.cost);
        self.tried += 1;
        self.tried_cost += cost;
        let before = self.cost_of(&self.arms[self.proven]);
        let dearer = worse(self.tried_cost / u64::from(self.tried), before.max(NOTHING));
        let slower = self.proven_p99 != 0 && worse(window.p99_ns, self.proven_p99);
        if self.sizes.differ(&window.sizes, SHIFT) {
            return self.requests_changed(window.sizes);
        }
        if self.tried < BEST_FOR {
            return;
        }
        if dearer || slower {
            self.rollbacks += 1;
            // As if it had lost a game against an equal: it has to prove itself again.
            let arm = &mut self.arms[self.strategy];
            arm.rating = elo::play(arm.rating, arm.rating, Outcome::Lost).0;
            self.strategy = self.proven;
            self.phase = Phase::Learn;
            self.best_for = 0;
        } else {
            self.freeze(self.tried_cost / u64::from(self.tried));
        }
    }

    fn freeze(&mut self, cost: u64) {
        self.phase = Phase::Frozen;
        self.strategy = self.best;
        self.proven = self.best;
        self.proven_p99 = 0;
        self.frozen_cost = cost;
        self.dearer = 0;
    }

    fn watch(&mut self, window: &Window, cost: u64) {
        let dearer = worse(cost, self.frozen_cost.max(NOTHING));
        self.dearer = if dearer { self.dearer + 1 } else { 0 };
        if self.sizes.differ(&window.sizes, SHIFT) {
            self.requests_changed(window.sizes);
            self.learn(window, cost);
        } else if self.dearer >= DEARER_FOR {
            self.begin_again(window.sizes);
            self.learn(window, cost);
        } else if self.sizes.total() < FEW {
            // It froze while hardly anybody asked for anything.
            self.sizes.add(&window.sizes);
        }
    }

    /// Requests are spread over sizes in another way.
    fn requests_changed(&mut self, sizes: Sizes) {
        self.idle_after = IDLE_MS;
        self.begin_again(sizes);
    }

    /// What strategies cost before cannot be compared any more. Ratings keep half of what they were worth.
    fn begin_again(&mut self, sizes: Sizes) {
        self.phase = Phase::Learn;
        self.relearned += 1;
        self.best_for = 0;
        self.best = self.strategy;
        self.proven = self.strategy;
        self.dearer = 0;
        self.idle_ms = 0;
        self.epsilon = EPSILON.0;
        self.sizes = sizes;
        for arm in &mut self.arms {
            arm.known = false;
            arm.rating = elo::START + (arm.rating - elo::START) / 2;
        }
    }
}

fn worse(cost: u64, than: u64) -> bool {
    cost.saturating_mul(100) > than.saturating_mul(100 + WORSE_PER_CENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    /// A program that uses half a processor and 128 MiB, at half weight, at some scale.
    const PRICE: u64 = 150_000;

    /// A program to which keeping `need` MiB is worth it: with less it faults, with more it pays rent.
    fn cost_of(strategy: usize, need_kib: u64) -> Cost {
        let kept = (512.0 * 64f64.powf(strategy as f64 / 11.0)) as u64;
        let short = need_kib.saturating_sub(kept);
        Cost {
            missed: short,
            given: short / 2,
            kept: kept.min(need_kib) << 10,
        }
    }

    fn window(cost: Cost, bin: usize) -> Window {
        let mut sizes = Sizes::NONE;
        sizes.0[bin] = 1000;
        Window {
            cost,
            price: PRICE,
            ms: 500,
            idle: Idle::NONE,
            p99_ns: 0,
            sizes,
        }
    }

    fn run(life: &mut Lifecycle, windows: usize, need_kib: u64, bin: usize) -> u64 {
        let mut sum = 0;
        for _ in 0..windows {
            let cost = cost_of(life.strategy, need_kib);
            sum += cost.total(PRICE);
            life.see(&window(cost, bin));
        }
        sum
    }

    fn best(need_kib: u64) -> usize {
        let total = |i: &usize| cost_of(*i, need_kib).total(PRICE);
        (0..STRATEGIES).min_by_key(total).unwrap()
    }

    #[test]
    fn it_finds_the_cheapest_strategy_and_freezes() {
        for explore in [Explore::Epsilon, Explore::Ucb1] {
            for need in [100, 600, 2000, 3391, 9000, 20_000, 40_000] {
                let mut life = Lifecycle::NEW;
                life.set_explore(explore);
                run(&mut life, 40, need, 10);
                let (found, cheapest) = (cost_of(life.strategy, need), cost_of(best(need), need));
                assert_eq!(life.phase, Phase::Frozen, "{explore:?}, {need} KiB");
                assert!(
                    found.total(PRICE) <= cheapest.total(PRICE) * 103 / 100 + NOTHING,
                    "{explore:?}, {need} KiB: {} for {}",
                    found.total(PRICE),
                    cheapest.total(PRICE)
                );
            }
        }
    }

    #[test]
    fn a_change_of_sizes_or_of_cost_is_learned_again() {
        let mut life = Lifecycle::NEW;
        run(&mut life, 40, 600, 10);
        assert_eq!((life.phase, life.relearned), (Phase::Frozen, 0));
        let small = life.strategy;
        // The same requests, but now much is missed.
        run(&mut life, DEARER_FOR as usize, 20_000, 10);
        assert_eq!((life.phase, life.relearned), (Phase::Learn, 1));
        run(&mut life, 40, 20_000, 10);
        assert!(life.phase == Phase::Frozen && life.strategy > small + 5);
        // Other requests.
        run(&mut life, 1, 20_000, 20);
        assert_eq!((life.phase, life.relearned), (Phase::Learn, 2));
    }

    #[test]
    fn what_calls_took_before_requests_changed_is_not_compared_with() {
        let mut life = Lifecycle::NEW;
        let slow = |life: &Lifecycle, bin| Window {
            p99_ns: 5_000_000,
            ..window(cost_of(life.strategy, 3391), bin)
        };
        life.see(&slow(&life.clone(), 10));
        assert_eq!((life.relearned, life.proven_p99), (0, 5_000_000));
        life.see(&slow(&life.clone(), 20));
        assert_eq!((life.relearned, life.proven_p99), (1, 0));
    }

    #[test]
    fn what_is_only_tried_is_not_what_has_proved() {
        let mut life = Lifecycle::NEW;
        let mut tries = 0;
        for _ in 0..40 {
            run(&mut life, 1, 20_000, 10);
            match life.phase {
                Phase::Learn if life.strategy != life.best => {
                    tries += 1;
                    assert_eq!(life.proved(), life.best);
                }
                Phase::Learn | Phase::Frozen => assert_eq!(life.proved(), life.strategy),
                Phase::Canary => {
                    tries += 1;
                    assert_eq!(life.proved(), START);
                }
            }
        }
        assert!(tries > 1 && life.phase == Phase::Frozen);
    }

    /// A window of `ms` in which nothing was missed, of what `life` keeps `left` per mille was left alone.
    fn quiet(life: &Lifecycle, ms: u64, left: usize) -> Window {
        let kept = strategy::floor_of(life.strategy);
        let cost = Cost {
            kept: kept as u64,
            ..Cost::default()
        };
        Window {
            ms,
            idle: Idle {
                bytes: kept / 1000 * left,
                of: kept,
            },
            ..window(cost, 10)
        }
    }

    #[test]
    fn what_is_not_wanted_any_more_is_not_kept_for_what_it_was_good_for() {
        for ms in [50u64, 500] {
            let mut life = Lifecycle::NEW;
            run(&mut life, 40, 20_000, 10);
            let large = life.strategy;
            assert!(life.phase == Phase::Frozen && large > START);
            for _ in 0..IDLE_MS / ms - 1 {
                life.see(&quiet(&life.clone(), ms, 900));
            }
            assert_eq!((life.strategy, life.relearned), (large, 0));
            life.see(&quiet(&life.clone(), ms, 900));
            assert!(life.strategy <= START, "{}", life.strategy);
            for _ in 0..2 * BEST_FOR {
                life.see(&quiet(&life.clone(), ms, 900));
            }
            assert_eq!((life.strategy, life.relearned), (0, 1));
            // As good as new.
            run(&mut life, 40, 20_000, 10);
            assert_eq!((life.phase, life.strategy), (Phase::Frozen, large));
        }
        // A pause is no window in which nobody wanted it.
        let mut life = Lifecycle::NEW;
        run(&mut life, 40, 20_000, 10);
        let large = life.strategy;
        life.see(&quiet(&life.clone(), 60_000, 900));
        assert_eq!((life.strategy, life.relearned), (large, 0));
        // It is wanted once in a while: before it is too late, and half of it.
        let mut life = Lifecycle::NEW;
        run(&mut life, 40, 20_000, 10);
        let large = life.strategy;
        for turn in 0..100 {
            let left = if turn % 5 == 4 { 400 } else { 900 };
            life.see(&quiet(&life.clone(), 500, left));
        }
        assert_eq!((life.strategy, life.relearned), (large, 0));
    }

    #[test]
    fn who_lets_go_in_vain_does_so_less_and_less() {
        let mut life = Lifecycle::NEW;
        run(&mut life, 40, 20_000, 10);
        let large = life.strategy;
        let mut waited = Vec::new();
        for _ in 0..4 {
            let mut windows = 0;
            while life.strategy == large {
                life.see(&quiet(&life.clone(), 500, 900));
                windows += 1;
            }
            waited.push(windows);
            run(&mut life, 40, 20_000, 10);
            assert_eq!((life.phase, life.strategy), (Phase::Frozen, large));
        }
        let least = IDLE_MS / 500;
        assert_eq!(waited, [1, 2, 4, 8].map(|times| times * least));
        // Other requests are another matter.
        run(&mut life, 40, 20_000, 20);
        assert_eq!((life.strategy, life.idle_after), (large, IDLE_MS));
    }

    #[test]
    fn what_froze_while_nobody_asked_for_anything_follows_a_change_of_sizes() {
        let mut life = Lifecycle::NEW;
        for _ in 0..20 {
            life.see(&Window {
                sizes: Sizes::NONE,
                ..window(Cost::default(), 0)
            });
        }
        assert_eq!(life.phase, Phase::Frozen);
        for n in [3, 1000] {
            let mut sizes = Sizes::NONE;
            sizes.0[10] = n;
            life.see(&Window {
                sizes,
                ..window(Cost::default(), 0)
            });
        }
        assert_eq!(life.phase, Phase::Frozen);
        run(&mut life, 1, 600, 20);
        assert_eq!((life.phase, life.relearned), (Phase::Learn, 1));
    }

    #[test]
    fn who_learns_forgets_what_less_cost_when_it_is_not_wanted_any_more() {
        let mut life = Lifecycle::NEW;
        life.never_freeze();
        run(&mut life, 40, 20_000, 10);
        assert_eq!(life.phase, Phase::Learn);
        for _ in 0..20 {
            life.see(&quiet(&life.clone(), 500, 900));
        }
        // But for experiments, which go on.
        assert!(life.strategy <= 1, "{}", life.strategy);
    }

    #[test]
    fn what_costs_nothing_is_left_alone() {
        let mut life = Lifecycle::NEW;
        for _ in 0..20 {
            life.see(&window(Cost::default(), 3));
        }
        assert_eq!(
            (life.phase, life.strategy, life.changes),
            (Phase::Frozen, START, 0)
        );
    }

    #[test]
    fn a_canary_that_sings_worse_is_taken_back() {
        let mut life = Lifecycle::NEW;
        while life.phase != Phase::Canary {
            run(&mut life, 1, 9000, 10);
        }
        let (canary, proven) = (life.strategy, life.proven);
        let rating = life.arms[canary].rating;
        for _ in 0..BEST_FOR {
            let cost = Cost {
                missed: 100_000,
                ..Cost::default()
            };
            life.see(&window(cost, 10));
        }
        assert_eq!(
            (life.phase, life.strategy, life.rollbacks),
            (Phase::Learn, proven, 1)
        );
        assert!(life.arms[canary].rating < rating);
        // Slower, though not dearer.
        let mut life = Lifecycle::NEW;
        while life.phase != Phase::Canary {
            let mut w = window(cost_of(life.strategy, 9000), 10);
            w.p99_ns = 1000;
            life.see(&w);
        }
        for _ in 0..BEST_FOR {
            let mut w = window(cost_of(life.strategy, 9000), 10);
            w.p99_ns = 1300;
            life.see(&w);
        }
        assert_eq!((life.phase, life.rollbacks), (Phase::Learn, 1));
    }

    #[test]
    fn learning_costs_little_more_than_knowing() {
        // Over a thousand windows, of which the need changes ten times.
        let mut life = Lifecycle::NEW;
        let (mut learned, mut fixed) = (0, [0u64; STRATEGIES]);
        for phase in 0..10 {
            let (need, bin) = if phase % 2 == 0 {
                (600, 8)
            } else {
                (24_000, 22)
            };
            learned += run(&mut life, 100, need, bin);
            for (strategy, sum) in fixed.iter_mut().enumerate() {
                *sum += 100 * cost_of(strategy, need).total(PRICE);
            }
        }
        let best = *fixed.iter().min().unwrap();
        assert!(learned < best * 115 / 100, "{learned} for {best}");
    }

    #[test]
    fn it_resumes_where_it_was_frozen() {
        let mut first = Lifecycle::NEW;
        run(&mut first, 60, 20_000, 12);
        let mut second = Lifecycle::NEW;
        second.resume(
            first.strategy,
            first.frozen(),
            &first.arms.map(|arm| arm.rating),
        );
        run(&mut second, 20, 20_000, 12);
        assert_eq!(
            (second.phase, second.strategy),
            (Phase::Frozen, first.strategy)
        );
        assert_eq!((second.changes, second.relearned), (0, 0));
        // Nor does it stay for ever because it was loaded.
        for _ in 0..IDLE_MS / 500 {
            second.see(&quiet(&second.clone(), 500, 900));
        }
        assert_eq!(second.relearned, 1);
        assert!(second.strategy < first.strategy, "{}", second.strategy);
    }

    /// What one program's windows cost, by strategy, and what a GiB cost in them: the traces say how they were
    /// recorded.
    fn recorded(text: &str) -> ([Vec<Cost>; STRATEGIES], u64) {
        let windows: Vec<[u64; 6]> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let mut numbers = line.split(' ').map(|n| n.parse().unwrap());
                core::array::from_fn(|_| numbers.next().unwrap())
            })
            .collect();
        let sum = |column: usize| windows.iter().map(|w| w[column]).sum::<u64>();
        let price = (sum(4) << 20) / sum(5);
        let traces = core::array::from_fn(|i| {
            let floor = strategy::floor_of(i) as u64;
            let distance = |w: &&[u64; 6]| (w[0] << 20).abs_diff(floor);
            let nearest = windows.iter().min_by_key(distance).unwrap()[0];
            let its = windows.iter().filter(|w| w[0] == nearest);
            its.map(|&[_, _, missed, given, _, kib]| Cost {
                missed,
                given,
                kept: kib << 10,
            })
            .collect()
        });
        (traces, price)
    }

    /// Windows of a real program differ from one to the next as much as strategies do.
    #[test]
    fn recorded_programs_cost_little_more_than_with_their_best_strategy() {
        for (name, text) in [
            ("bursts", include_str!("traces/bursts.txt")),
            ("vectors", include_str!("traces/vectors.txt")),
        ] {
            let (traces, price) = recorded(text);
            let mean = |trace: &Vec<Cost>| {
                trace.iter().map(|cost| cost.total(price)).sum::<u64>() / trace.len() as u64
            };
            let best = traces.iter().map(mean).min().unwrap();
            for (explore, per_cent) in [(Explore::Epsilon, 110), (Explore::Ucb1, 120)] {
                let mut life = Lifecycle::NEW;
                life.set_explore(explore);
                let (mut sum, n) = (0, 200);
                for k in 0..n {
                    let trace = &traces[life.strategy];
                    let cost = trace[k % trace.len()];
                    sum += cost.total(price);
                    life.see(&Window {
                        price,
                        ..window(cost, 10)
                    });
                }
                let learned = sum / n as u64;
                assert!(
                    learned * 100 <= best * per_cent,
                    "{name}, {explore:?}: {learned} for {best}"
                );
            }
        }
    }
}
