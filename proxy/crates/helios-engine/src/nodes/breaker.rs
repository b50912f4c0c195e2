//! Whether a node is asked for reads: its circuit is closed, open after too much has failed, or half-open while a few
//! requests try it. Pure: the time comes with each call. After it has closed, the node's share grows step by step.

use crate::config::CircuitBreaker;

/// The share of a node that is not being eased in, in thousandths.
pub(crate) const FULL: u32 = 1000;

/// The share that a node begins with after its circuit has closed: something, so that it warms up.
const FIRST_SHARE: u32 = FULL / 10;

/// Who has seen whether a node answers. One of them may get through where the other does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Witness {
    /// Clients' requests and what is opened for them.
    Traffic,
    /// The control plane's polls.
    Poll,
}

/// State of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum State {
    #[default]
    Closed,
    Open,
    HalfOpen,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half_open",
        }
    }
}

/// The circuit of one node.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: State,
    /// Failures in a row, as traffic and as polls have seen them.
    failures: [u32; 2],
    /// Answers since it is half-open.
    successes: u32,
    /// When it came into its state, in nanoseconds of the process clock.
    since: u64,
    /// It has been open, so that `since` is when it was found well again.
    has_been_open: bool,
    opened: u64,
    /// What failed last.
    cause: String,
}

impl Breaker {
    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn cause(&self) -> &str {
        &self.cause
    }

    /// How often it has opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures[0].max(self.failures[1])
    }

    /// Nothing is left to be forgiven by an answer.
    pub(crate) fn is_quiet(&self) -> bool {
        self.state == State::Closed && self.failures == [0, 0]
    }

    /// Something failed.
    pub(crate) fn fail(&mut self, rules: &CircuitBreaker, now: u64, witness: Witness, cause: &str) {
        if !rules.enabled {
            return;
        }
        cause.clone_into(&mut self.cause);
        let failures = &mut self.failures[witness as usize];
        *failures = failures.saturating_add(1);
        let is_over = self.state == State::HalfOpen || *failures >= rules.failure_threshold;
        if self.state != State::Open && is_over {
            self.open(now);
        }
    }

    /// It answered.
    pub(crate) fn succeed(&mut self, rules: &CircuitBreaker, now: u64, witness: Witness) {
        self.failures[witness as usize] = 0;
        if self.state != State::HalfOpen {
            return;
        }
        self.successes += 1;
        if self.successes >= rules.success_threshold {
            self.close(now);
        }
    }

    /// It answers, but far worse than the others.
    pub(crate) fn eject(&mut self, now: u64, cause: &str) {
        cause.clone_into(&mut self.cause);
        self.open(now);
    }

    /// Time has passed. An open circuit waits until polls reach the node, so that no client tries what is known to be dead.
    pub(crate) fn tick(&mut self, rules: &CircuitBreaker, now: u64, is_reached: bool) {
        if !rules.enabled {
            *self = Breaker {
                opened: self.opened,
                ..Breaker::default()
            };
            return;
        }
        let has_rested = now.saturating_sub(self.since) >= nanos(rules.reset_timeout_ms);
        if self.state == State::Open && has_rested && is_reached {
            self.successes = 0;
            self.enter(State::HalfOpen, now);
        }
    }

    /// Requests that it may have at a time.
    pub(crate) fn room(&self, rules: &CircuitBreaker) -> usize {
        match self.state {
            State::Closed => usize::MAX,
            State::Open => 0,
            State::HalfOpen => rules.half_open_requests,
        }
    }

    /// Its part of what would be its share of reads, in thousandths.
    pub(crate) fn share(&self, rules: &CircuitBreaker, now: u64) -> u32 {
        let ramp = nanos(rules.slow_start_ms);
        let age = now.saturating_sub(self.since);
        if self.state != State::Closed || !self.has_been_open || age >= ramp {
            return FULL;
        }
        let grown = u128::from(age) * u128::from(FULL) / u128::from(ramp);
        (grown as u32).max(FIRST_SHARE)
    }

    fn open(&mut self, now: u64) {
        self.opened += 1;
        self.has_been_open = true;
        self.enter(State::Open, now);
    }

    fn close(&mut self, now: u64) {
        self.failures = [0, 0];
        self.enter(State::Closed, now);
    }

    fn enter(&mut self, state: State, now: u64) {
        self.state = state;
        self.since = now;
    }
}

fn nanos(ms: u64) -> u64 {
    ms.saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rules() -> CircuitBreaker {
        CircuitBreaker {
            enabled: true,
            failure_threshold: 3,
            reset_timeout_ms: 10_000,
            success_threshold: 2,
            half_open_requests: 1,
            slow_start_ms: 10_000,
            outlier_latency_factor: 0,
            outlier_error_percent: 0,
        }
    }

    fn fail(breaker: &mut Breaker, times: usize) {
        for _ in 0..times {
            breaker.fail(&rules(), 0, Witness::Traffic, "connection refused");
        }
    }

    #[test]
    fn opens_when_failures_follow_each_other_and_not_when_answers_are_between() {
        let mut breaker = Breaker::default();

        for _ in 0..10 {
            fail(&mut breaker, 2);
            breaker.succeed(&rules(), 0, Witness::Traffic);
        }

        assert_eq!(breaker.state(), State::Closed);
        fail(&mut breaker, 3);
        assert_eq!(breaker.state(), State::Open);
        assert_eq!((breaker.room(&rules()), breaker.opened()), (0, 1));
        assert_eq!(breaker.cause(), "connection refused");
    }

    #[test]
    fn a_poll_that_gets_through_does_not_excuse_requests_that_do_not() {
        let mut breaker = Breaker::default();

        for _ in 0..3 {
            fail(&mut breaker, 1);
            breaker.succeed(&rules(), 0, Witness::Poll);
        }

        assert_eq!(breaker.state(), State::Open);
    }

    #[test]
    fn is_tried_after_its_rest_once_polls_reach_it_and_eased_in_after_answers() {
        let mut breaker = Breaker::default();
        fail(&mut breaker, 3);

        breaker.tick(&rules(), 9 * SECOND, true);
        assert_eq!(breaker.state(), State::Open);
        breaker.tick(&rules(), 11 * SECOND, false);
        assert_eq!(breaker.state(), State::Open);
        breaker.tick(&rules(), 12 * SECOND, true);
        assert_eq!(
            (breaker.state(), breaker.room(&rules())),
            (State::HalfOpen, 1)
        );
        breaker.succeed(&rules(), 12 * SECOND, Witness::Traffic);
        assert_eq!(breaker.state(), State::HalfOpen);
        breaker.succeed(&rules(), 12 * SECOND, Witness::Poll);

        assert_eq!(
            (breaker.state(), breaker.room(&rules())),
            (State::Closed, usize::MAX)
        );
        assert!(breaker.is_quiet());
        let share = |seconds: u64| breaker.share(&rules(), (12 + seconds) * SECOND);
        assert_eq!([share(0), share(5), share(10)], [100, 500, FULL]);
    }

    #[test]
    fn one_failure_ends_a_trial() {
        let mut breaker = Breaker::default();
        fail(&mut breaker, 3);
        breaker.tick(&rules(), 11 * SECOND, true);
        breaker.succeed(&rules(), 11 * SECOND, Witness::Traffic);

        breaker.fail(&rules(), 11 * SECOND, Witness::Traffic, "reset");

        assert_eq!((breaker.state(), breaker.opened()), (State::Open, 2));
        breaker.tick(&rules(), 12 * SECOND, true);
        assert_eq!(breaker.state(), State::Open);
    }

    #[test]
    fn switched_off_it_is_closed_whatever_happens() {
        let off = CircuitBreaker {
            enabled: false,
            ..rules()
        };
        let mut breaker = Breaker::default();
        fail(&mut breaker, 3);

        breaker.tick(&off, SECOND, true);
        breaker.fail(&off, SECOND, Witness::Traffic, "refused");

        assert_eq!(breaker.state(), State::Closed);
        assert_eq!(
            (breaker.room(&off), breaker.share(&off, SECOND)),
            (usize::MAX, FULL)
        );
    }
}
