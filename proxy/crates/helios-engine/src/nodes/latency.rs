//! How long a node takes to answer. The peak EWMA follows a worse answer at once and a better one slowly, so that a node
//! that begins to hang loses its reads with the first slow answer. The sum of logarithms is for comparing nodes over a
//! while: one report of a minute among hundreds of quick queries hardly moves it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Time constant of the average.
const TAU: u64 = 10_000_000_000;

/// What a node is taken to need at least, so that one that has not answered yet is not given everything at once.
const FLOOR: u64 = 50_000;

/// Steps of a logarithm between two powers of two.
const LOG_STEP: u32 = 8;

/// Answer times of one node, in nanoseconds. Two workers may overwrite each other's: it is an estimate.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    average: AtomicU64,
    /// When it was last brought up to date, on the process clock.
    at: AtomicU64,
    answers: AtomicU64,
    /// Sum over the answers' logarithms to the base of 2, in steps.
    logarithms: AtomicU64,
}

/// Answers of a node since some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) count: u64,
    logarithms: u64,
}

impl Answers {
    pub(crate) fn since(self, before: Answers) -> Answers {
        Answers {
            count: self.count - before.count,
            logarithms: self.logarithms - before.logarithms,
        }
    }

    pub(crate) fn plus(self, other: Answers) -> Answers {
        Answers {
            count: self.count + other.count,
            logarithms: self.logarithms + other.logarithms,
        }
    }

    /// Geometric mean of their times, in nanoseconds.
    pub(crate) fn mean(self) -> f64 {
        let steps = self.logarithms as f64 / (self.count.max(1) as f64);
        // The inverse of `logarithm`.
        let power = steps / f64::from(1 << LOG_STEP);
        power.floor().exp2() * (1.0 + power.fract())
    }
}

impl Latency {
    /// Takes in an answer that took so long, at this moment of the process clock.
    pub(crate) fn record(&self, took: u64, now: u64) {
        let before = self.average.load(Ordering::Relaxed);
        let after = if took >= before {
            took
        } else {
            decayed(before, took, self.idle(now))
        };
        self.average.store(after, Ordering::Relaxed);
        self.at.store(now, Ordering::Relaxed);
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.logarithms
            .fetch_add(logarithm(took), Ordering::Relaxed);
    }

    /// Lets an old average fade, so that a node which is avoided for it gets another chance.
    pub(crate) fn fade(&self, now: u64) {
        let idle = self.idle(now);
        if idle >= TAU / 10 {
            let faded = decayed(self.average.load(Ordering::Relaxed), 0, idle);
            self.average.store(faded, Ordering::Relaxed);
            self.at.store(now, Ordering::Relaxed);
        }
    }

    /// What the next answer may take.
    pub(crate) fn expected(&self) -> u64 {
        self.average.load(Ordering::Relaxed).max(FLOOR)
    }

    pub(crate) fn answers(&self) -> Answers {
        Answers {
            count: self.answers.load(Ordering::Relaxed),
            logarithms: self.logarithms.load(Ordering::Relaxed),
        }
    }

    fn idle(&self, now: u64) -> u64 {
        now.saturating_sub(self.at.load(Ordering::Relaxed))
    }
}

/// `old` on its way to `new` after `idle`; by a fraction instead of an exponential, which nobody could tell apart here.
fn decayed(old: u64, new: u64, idle: u64) -> u64 {
    let weight = u128::from(TAU);
    let sum = u128::from(old) * weight + u128::from(new) * u128::from(idle);
    (sum / (weight + u128::from(idle))) as u64
}

/// To the base of 2, in steps, linear between two powers.
fn logarithm(nanos: u64) -> u64 {
    let nanos = nanos.max(1);
    let whole = nanos.ilog2();
    let mantissa = (u128::from(nanos) << LOG_STEP >> whole) as u64 - (1 << LOG_STEP);
    (u64::from(whole) << LOG_STEP) + mantissa
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn follows_a_slow_answer_at_once_and_quick_ones_slowly() {
        let latency = Latency::default();
        latency.record(MS, 0);

        latency.record(500 * MS, MS);
        assert_eq!(latency.expected(), 500 * MS);
        latency.record(MS, 2 * MS);
        assert!(latency.expected() > 490 * MS);
        for second in 1..100 {
            latency.record(MS, second * 1000 * MS);
        }

        assert!(latency.expected() < 10 * MS, "{}", latency.expected());
    }

    #[test]
    fn an_average_fades_while_nothing_is_asked() {
        let latency = Latency::default();
        latency.record(10_000 * MS, 0);

        for second in 1..120 {
            latency.fade(second * 1000 * MS);
        }

        assert!(latency.expected() < 10 * MS, "{}", latency.expected());
    }

    #[test]
    fn one_long_answer_hardly_moves_the_mean_of_many() {
        let latency = Latency::default();
        let before = latency.answers();
        for _ in 0..99 {
            latency.record(MS, 0);
        }
        latency.record(60_000 * MS, 0);

        let answers = latency.answers().since(before);

        assert_eq!(answers.count, 100);
        let mean = answers.mean() / MS as f64;
        assert!((0.9..1.3).contains(&mean), "{mean}");
    }
}
