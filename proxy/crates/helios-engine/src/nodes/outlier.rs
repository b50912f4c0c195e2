//! Which node answers far worse than the others do: more of its requests fail, or it takes many times as long. Pure.

use super::latency::Answers;
use crate::config::CircuitBreaker;

/// Requests of a node, and of the others together, below which nothing is concluded.
const MIN_REQUESTS: u64 = 20;

/// Differences of less, in nanoseconds, are of no concern, however many times the others' time they are.
const MIN_DIFFERENCE: f64 = 5_000_000.0;

/// What became of a node's requests over a while.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Record {
    pub(crate) answers: Answers,
    pub(crate) failures: u64,
}

impl Record {
    pub(crate) fn since(self, before: Record) -> Record {
        Record {
            answers: self.answers.since(before.answers),
            failures: self.failures - before.failures,
        }
    }

    fn plus(self, other: Record) -> Record {
        Record {
            answers: self.answers.plus(other.answers),
            failures: self.failures + other.failures,
        }
    }

    fn requests(&self) -> u64 {
        self.answers.count + self.failures
    }

    fn error_percent(&self) -> u64 {
        (self.failures * 100)
            .checked_div(self.requests())
            .unwrap_or(0)
    }
}

/// The worst of them, by its place, with what is wrong with it; it is compared with the rest, so there must be one.
pub(crate) fn find(rules: &CircuitBreaker, records: &[Record]) -> Option<(usize, String)> {
    let suspects = records.iter().enumerate().filter_map(|(place, record)| {
        let others = records
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != place);
        let others = others.map(|(_, other)| *other).reduce(Record::plus)?;
        let (badness, cause) = compare(rules, record, &others)?;
        Some((badness, place, cause))
    });
    let worst = suspects.max_by(|(a, ..), (b, ..)| a.total_cmp(b))?;
    Some((worst.1, worst.2))
}

fn compare(rules: &CircuitBreaker, own: &Record, others: &Record) -> Option<(f64, String)> {
    if own.requests() < MIN_REQUESTS || others.requests() < MIN_REQUESTS {
        return None;
    }
    let (errors, usual) = (own.error_percent(), others.error_percent());
    let limit = rules.outlier_error_percent;
    if limit > 0 && errors >= usual + limit {
        let cause = format!("{errors} % of its requests failed, {usual} % of the other nodes'");
        return Some((f64::INFINITY, cause));
    }
    if own.answers.count == 0 || others.answers.count == 0 {
        return None;
    }
    let (mean, usual) = (own.answers.mean(), others.answers.mean());
    let factor = f64::from(rules.outlier_latency_factor);
    let is_far = factor > 0.0 && mean >= usual * factor && mean - usual >= MIN_DIFFERENCE;
    is_far.then(|| {
        let ms = |nanos: f64| nanos / 1e6;
        let cause = format!(
            "it takes {:.1} ms to answer, the other nodes {:.1} ms",
            ms(mean),
            ms(usual)
        );
        (mean / usual, cause)
    })
}

#[cfg(test)]
mod tests {
    use super::super::latency::Latency;
    use super::*;

    fn rules(factor: u32, percent: u64) -> CircuitBreaker {
        CircuitBreaker {
            enabled: true,
            failure_threshold: 5,
            reset_timeout_ms: 1,
            success_threshold: 1,
            half_open_requests: 1,
            slow_start_ms: 0,
            outlier_latency_factor: factor,
            outlier_error_percent: percent,
        }
    }

    fn record(answers: u64, ms: u64, failures: u64) -> Record {
        let latency = Latency::default();
        for _ in 0..answers {
            latency.record(ms * 1_000_000, 0);
        }
        Record {
            answers: latency.answers(),
            failures,
        }
    }

    #[test]
    fn finds_the_slow_one_and_the_failing_one() {
        let slow = [record(100, 2, 0), record(100, 50, 0), record(100, 3, 0)];
        let (place, cause) = find(&rules(5, 30), &slow).unwrap();
        assert_eq!(place, 1);
        assert_eq!(cause, "it takes 49.9 ms to answer, the other nodes 2.4 ms");

        let failing = [record(100, 2, 1), record(100, 50, 0), record(50, 2, 50)];
        let (place, cause) = find(&rules(5, 30), &failing).unwrap();
        assert_eq!(
            (place, cause.as_str()),
            (2, "50 % of its requests failed, 0 % of the other nodes'")
        );
    }

    #[test]
    fn finds_nobody_where_all_are_alike_few_are_asked_or_there_is_no_other() {
        let alike = [record(100, 2, 0), record(100, 4, 0)];
        let few = [record(100, 2, 0), record(10, 500, 9)];
        let alone = [record(100, 500, 100)];
        let slow = [record(100, 2, 0), record(100, 500, 0)];

        for records in [&alike[..], &few, &alone] {
            assert!(find(&rules(5, 30), records).is_none());
        }
        assert!(find(&rules(0, 0), &slow).is_none());
    }
}
