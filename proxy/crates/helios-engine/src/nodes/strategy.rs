//! Which of several nodes that may answer does. Pure: one call differs from the next by its turn, from which all order
//! and all chance is made, so that no worker waits for another and no generator is kept.

use super::breaker::FULL;
use crate::config::ReadStrategy;

/// A node that may answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// Among the cluster's nodes.
    pub(crate) place: usize,
    /// Above 0.
    pub(crate) weight: u32,
    /// Its part of what would be its share, in thousandths: less while it is eased in.
    pub(crate) share: u32,
    /// Transactions that it has.
    pub(crate) running: usize,
    /// What the next answer may take, in nanoseconds.
    pub(crate) expected: u64,
}

impl Candidate {
    fn weighed(&self) -> u64 {
        u64::from(self.weight) * u64::from(self.share)
    }

    /// What a request that it gets now costs its client, with those before it.
    fn cost(&self) -> u128 {
        let ahead = self.running as u128 + 1;
        u128::from(self.expected) * ahead * u128::from(FULL) / u128::from(self.share.max(1))
    }

    /// Whether it has less to do than the other, for its weight.
    fn is_freer(&self, other: &Candidate) -> bool {
        let load = |one: &Candidate, by: &Candidate| one.running as u128 * u128::from(by.weighed());
        load(self, other) < load(other, self)
    }
}

/// The place of the one that answers.
pub(crate) fn pick(
    strategy: ReadStrategy,
    turn: u64,
    candidates: impl Iterator<Item = Candidate> + Clone,
) -> Option<usize> {
    let chosen = match strategy {
        ReadStrategy::RoundRobin => next(turn, candidates),
        ReadStrategy::WeightedRoundRobin => spread(evenly(turn), candidates),
        ReadStrategy::LeastConnections => freest(turn, candidates),
        ReadStrategy::LatencyBased => quicker(scattered(turn), candidates),
        ReadStrategy::Random => spread(scattered(turn), candidates),
    };
    chosen.map(|candidate| candidate.place)
}

/// One after the other; one that is eased in lets some of its turns pass.
fn next(turn: u64, candidates: impl Iterator<Item = Candidate> + Clone) -> Option<Candidate> {
    let count = candidates.clone().count() as u64;
    let at = |turn: u64| candidates.clone().nth(turn.checked_rem(count)? as usize);
    let first = at(turn)?;
    if scattered(turn) % u64::from(FULL) < u64::from(first.share) {
        return Some(first);
    }
    at(turn + 1)
}

/// The one that this point of the whole falls to, each holding as much of it as it weighs.
fn spread(point: u64, candidates: impl Iterator<Item = Candidate> + Clone) -> Option<Candidate> {
    let whole: u64 = candidates.clone().map(|each| each.weighed()).sum();
    let mut left = ((u128::from(point) * u128::from(whole)) >> 64) as u64;
    let mut last = None;
    for candidate in candidates {
        if left < candidate.weighed() {
            return Some(candidate);
        }
        left -= candidate.weighed();
        last = Some(candidate);
    }
    // Weights may have changed between the two looks.
    last
}

/// The one with the least to do for its weight; among equals by weight, or an idle cluster's heaviest node had it all.
fn freest(turn: u64, candidates: impl Iterator<Item = Candidate> + Clone) -> Option<Candidate> {
    let lesser = |a: Candidate, b: Candidate| if b.is_freer(&a) { b } else { a };
    let least = candidates.clone().reduce(lesser)?;
    let equals = candidates.filter(|each| !least.is_freer(each));
    spread(evenly(turn), equals).or(Some(least))
}

/// Of two at random, the one that will answer sooner. Two, because with all of them every worker would run to the same.
fn quicker(random: u64, candidates: impl Iterator<Item = Candidate> + Clone) -> Option<Candidate> {
    let count = candidates.clone().count() as u64;
    let one = (random >> 32).checked_rem(count)?;
    let step = (random & 0xffff_ffff).checked_rem(count - 1).unwrap_or(0) + 1;
    let at = |place: u64| candidates.clone().nth((place % count) as usize);
    let (one, other) = (at(one)?, at(one + step)?);
    Some(if other.cost() < one.cost() {
        other
    } else {
        one
    })
}

/// Turns as points that fill a whole as evenly as can be, wherever one begins: multiples of the golden ratio.
fn evenly(turn: u64) -> u64 {
    turn.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Turns as points without order (SplitMix64).
fn scattered(turn: u64) -> u64 {
    let mut bits = evenly(turn.wrapping_add(1));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNS: u64 = 12_000;

    fn node(place: usize, weight: u32) -> Candidate {
        Candidate {
            place,
            weight,
            share: FULL,
            running: 0,
            expected: 1_000_000,
        }
    }

    /// How often each of them is taken, in percent.
    fn shares(strategy: ReadStrategy, nodes: &[Candidate]) -> Vec<u64> {
        let mut taken = vec![0; nodes.len()];
        for turn in 0..TURNS {
            taken[pick(strategy, turn, nodes.iter().copied()).unwrap()] += 1;
        }
        taken.iter().map(|count| count * 100 / TURNS).collect()
    }

    fn is_near(shares: &[u64], wanted: &[u64]) -> bool {
        shares.iter().zip(wanted).all(|(a, b)| a.abs_diff(*b) <= 2)
    }

    #[test]
    fn round_robin_takes_one_after_the_other() {
        let nodes = [node(0, 1), node(1, 900), node(2, 5)];

        let taken: Vec<_> = (7..13)
            .map(|turn| pick(ReadStrategy::RoundRobin, turn, nodes.iter().copied()).unwrap())
            .collect();

        assert_eq!(taken, [1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn weights_are_kept_also_over_a_few_turns() {
        let nodes = [node(0, 100), node(1, 200), node(2, 100)];
        for strategy in [
            ReadStrategy::WeightedRoundRobin,
            ReadStrategy::Random,
            ReadStrategy::LeastConnections,
        ] {
            let shares = shares(strategy, &nodes);
            assert!(is_near(&shares, &[25, 50, 25]), "{strategy:?} {shares:?}");
        }
        for start in 0..50 {
            let turns = start..start + 40;
            let strategy = ReadStrategy::WeightedRoundRobin;
            let heavy =
                turns.filter(|turn| pick(strategy, *turn, nodes.iter().copied()) == Some(1));
            assert!((18..=22).contains(&heavy.count()));
        }
    }

    #[test]
    fn least_connections_counts_by_weight() {
        let at = |running, weight| Candidate {
            running,
            ..node(usize::from(weight > 100), weight)
        };
        let chosen = |light, heavy| {
            let nodes = [at(light, 100), at(heavy, 300)];
            pick(ReadStrategy::LeastConnections, 0, nodes.into_iter())
        };

        assert_eq!(chosen(0, 1), Some(0));
        assert_eq!(chosen(1, 1), Some(1));
        assert_eq!(chosen(1, 2), Some(1));
        assert_eq!(chosen(1, 4), Some(0));
    }

    #[test]
    fn latency_based_prefers_what_answers_sooner_and_leaves_none_out_for_ever() {
        let slow = Candidate {
            expected: 5_000_000,
            ..node(0, 100)
        };
        let busy = Candidate {
            running: 20,
            ..node(1, 100)
        };

        let taken = shares(ReadStrategy::LatencyBased, &[slow, busy, node(2, 100)]);

        // The worst is taken only when it meets itself, which it never does.
        assert!(taken[2] > 60 && taken[1] == 0 && taken[0] > 25, "{taken:?}");
        assert_eq!(shares(ReadStrategy::LatencyBased, &[slow]), [100]);
        let alike = shares(
            ReadStrategy::LatencyBased,
            &[node(0, 1), node(1, 1), node(2, 1)],
        );
        assert!(is_near(&alike, &[33, 33, 33]), "{alike:?}");
    }

    #[test]
    fn one_that_is_eased_in_gets_less_by_every_strategy() {
        let eased = Candidate {
            share: FULL / 10,
            ..node(1, 100)
        };
        for strategy in [
            ReadStrategy::RoundRobin,
            ReadStrategy::WeightedRoundRobin,
            ReadStrategy::LeastConnections,
            ReadStrategy::LatencyBased,
            ReadStrategy::Random,
        ] {
            let shares = shares(strategy, &[node(0, 100), eased]);
            assert!(shares[1] <= 12, "{strategy:?} {shares:?}");
        }
    }

    #[test]
    fn nobody_is_chosen_of_nobody() {
        for strategy in [
            ReadStrategy::RoundRobin,
            ReadStrategy::WeightedRoundRobin,
            ReadStrategy::LeastConnections,
            ReadStrategy::LatencyBased,
            ReadStrategy::Random,
        ] {
            assert_eq!(pick(strategy, 5, std::iter::empty()), None);
        }
    }
}
