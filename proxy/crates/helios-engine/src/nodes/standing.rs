//! What is known of one node from moment to moment. It outlives topologies; what a choice looks at are single words that
//! are read without a lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{json, Value};

use super::breaker::{Breaker, State, Witness, FULL};
use super::latency::Latency;
use super::outlier::Record;
use super::reason::Reason;
use super::{Certainty, Lsn, Need, Position};
use crate::config::{CircuitBreaker, Consistency, Freshness};

/// A lag that is not known: too much for whoever has a limit.
const UNKNOWN: u64 = u64::MAX;

/// How often a standby has what was carried here: always, and too seldom to be asked.
const FULL_LUCK: u32 = 1000;
const LEAST_LUCK: u32 = 250;

/// What is known of a node from moment to moment.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) cluster: String,
    pub(crate) name: String,
    /// What it has applied, or as primary flushed.
    position: AtomicU64,
    lag_ms: AtomicU64,
    lag_bytes: AtomicU64,
    /// How long it takes to have what the primary has, in microseconds; learnt from what it says before reads.
    delay_us: AtomicU64,
    /// How often it has what was carried here from elsewhere, in thousandths; the last times count most.
    luck: AtomicU32,
    /// Reading transactions that it has, those that wait for a connection among them.
    running: AtomicUsize,
    latency: Latency,
    /// Requests that it failed.
    failures: AtomicU64,
    /// How many of them its circuit allows.
    room: AtomicUsize,
    /// Its part of its share, in thousandths.
    share: AtomicU32,
    /// An answer would change nothing of its circuit.
    is_quiet: AtomicBool,
    breaker: Mutex<Breaker>,
    /// How its requests stood when nodes were last compared.
    compared: Mutex<Record>,
    routed: [AtomicU64; Reason::ALL.len()],
}

impl Default for Standing {
    fn default() -> Standing {
        Standing {
            cluster: String::new(),
            name: String::new(),
            position: AtomicU64::new(0),
            lag_ms: AtomicU64::new(UNKNOWN),
            lag_bytes: AtomicU64::new(UNKNOWN),
            delay_us: AtomicU64::new(0),
            luck: AtomicU32::new(FULL_LUCK),
            running: AtomicUsize::new(0),
            latency: Latency::default(),
            failures: AtomicU64::new(0),
            room: AtomicUsize::new(usize::MAX),
            share: AtomicU32::new(FULL),
            is_quiet: AtomicBool::new(true),
            breaker: Mutex::default(),
            compared: Mutex::default(),
            routed: Default::default(),
        }
    }
}

impl Standing {
    pub(super) fn new(cluster: &str, name: &str) -> Standing {
        Standing {
            cluster: cluster.to_owned(),
            name: name.to_owned(),
            ..Standing::default()
        }
    }

    /// Begins a transaction on it.
    pub(crate) fn begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends one.
    pub(crate) fn end(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    pub(crate) fn position(&self) -> Lsn {
        self.position.load(Ordering::Acquire)
    }

    pub(super) fn set_position(&self, told: &Position) {
        let lag_ms = told.lag_ms.map_or(UNKNOWN, |lag| lag as u64);
        self.lag_ms.store(lag_ms, Ordering::Relaxed);
        let lag_bytes = told.lag_bytes.unwrap_or(UNKNOWN);
        self.lag_bytes.store(lag_bytes, Ordering::Relaxed);
        self.position.store(told.position, Ordering::Release);
    }

    /// Counts that it was chosen.
    pub(crate) fn count(&self, reason: Reason) {
        self.routed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed)
    }

    pub(super) fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Whether its circuit allows one more request.
    pub(super) fn has_room(&self) -> bool {
        self.running() < self.room.load(Ordering::Relaxed)
    }

    /// What it said of itself before a read that had to see this.
    pub(crate) fn learn(&self, position: Lsn, need: Need) {
        self.position.fetch_max(position, Ordering::AcqRel);
        let is_enough = position >= need.floor;
        if need.is_carried {
            let luck = self.luck.load(Ordering::Relaxed);
            let luck = match is_enough {
                true => luck + (FULL_LUCK - luck) / 8,
                false => luck - luck / 8,
            };
            self.luck.store(luck, Ordering::Relaxed);
        }
        let delay = self.delay_us.load(Ordering::Relaxed);
        let delay = match is_enough {
            // What may be far older says nothing of it.
            _ if need.age_us < delay => delay,
            true => delay - delay / 32,
            false => need.age_us + need.age_us / 8,
        };
        self.delay_us.store(delay, Ordering::Relaxed);
    }

    /// Whether it may answer, as far as its lag goes and what must be seen: at once, or if it says that it has that.
    pub(super) fn fits(&self, wanted: Freshness, need: Need) -> Option<Certainty> {
        let within =
            |lag: &AtomicU64, limit: u64| limit == 0 || lag.load(Ordering::Relaxed) <= limit;
        let is_in_time = || {
            within(&self.lag_ms, wanted.max_lag_ms) && within(&self.lag_bytes, wanted.max_lag_bytes)
        };
        match wanted.consistency {
            Consistency::Strong => None,
            Consistency::Eventual => Some(Certainty::Known),
            Consistency::Bounded => is_in_time().then_some(Certainty::Known),
            Consistency::Session if !is_in_time() => None,
            Consistency::Session if self.position() >= need.floor => Some(Certainty::Known),
            Consistency::Session => {
                let is_old = need.age_us >= self.delay_us.load(Ordering::Relaxed);
                let is_lucky = self.luck.load(Ordering::Relaxed) >= LEAST_LUCK;
                (is_old || (need.is_carried && is_lucky)).then_some(Certainty::Asked)
            }
        }
    }

    /// It answered a request, in so many nanoseconds; `rules` are asked for where its circuit is not closed and quiet.
    pub(crate) fn answered(
        &self,
        took: u64,
        now: u64,
        rules: impl FnOnce() -> CircuitBreaker,
    ) -> Option<State> {
        self.latency.record(took, now);
        if self.is_quiet.load(Ordering::Relaxed) {
            return None;
        }
        let rules = rules();
        self.change(&rules, now, |circuit| {
            circuit.succeed(&rules, now, Witness::Traffic)
        })
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes its circuit; the new state, if that is another.
    pub(super) fn change(
        &self,
        rules: &CircuitBreaker,
        now: u64,
        act: impl FnOnce(&mut Breaker),
    ) -> Option<State> {
        let mut breaker = lock(&self.breaker);
        let before = breaker.state();
        act(&mut breaker);
        self.room.store(breaker.room(rules), Ordering::Relaxed);
        self.share
            .store(breaker.share(rules, now), Ordering::Relaxed);
        self.is_quiet.store(breaker.is_quiet(), Ordering::Relaxed);
        let after = breaker.state();
        (after != before).then_some(after)
    }

    pub(super) fn state(&self) -> State {
        lock(&self.breaker).state()
    }

    pub(super) fn cause(&self) -> String {
        lock(&self.breaker).cause().to_owned()
    }

    /// What became of its requests since this was last asked.
    pub(super) fn take_record(&self) -> Record {
        let mut compared = lock(&self.compared);
        let whole = Record {
            answers: self.latency.answers(),
            failures: self.failures.load(Ordering::Relaxed),
        };
        whole.since(std::mem::replace(&mut *compared, whole))
    }

    /// Its row in the state document.
    pub(super) fn row(&self) -> Value {
        let breaker = lock(&self.breaker);
        let routed = Reason::ALL.map(|reason| {
            let total = self.routed[reason as usize].load(Ordering::Relaxed);
            json!({"reason": reason.name(), "total": total})
        });
        json!({
            "cluster": self.cluster,
            "name": self.name,
            "running": self.running(),
            "answers_total": self.latency.answers().count,
            "failures_total": self.failures.load(Ordering::Relaxed),
            "answer_us": self.latency.expected() / 1000,
            "routed": routed,
            "circuit": {
                "state": breaker.state().name(),
                "failures": breaker.failures(),
                "cause": (!breaker.is_quiet()).then(|| breaker.cause()),
                "opened_total": breaker.opened(),
                "share": f64::from(self.share()) / f64::from(FULL),
            },
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
