//! Limits of time. The worker's tick says which sessions have stood still for too long (`handle`); here a session
//! looks whether that is so and what becomes of it, and when one that is to end rests.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use helios_wire::backend::Status;
use helios_wire::sqlstate;

use super::fifo::Expect;
use super::handle::{Activity, Signal, TICK_MS};
use super::{Session, Step};
use crate::error::Refusal;
use crate::plans::Plan;
use crate::rt;

/// Ticks after which a server that has not stopped when told to is given up.
const STOP_PATIENCE: u32 = 3;

impl Session {
    /// What the session does, for the tick.
    pub(super) fn activity(&self) -> Activity {
        if self.is_committing() {
            Activity::Committing
        } else if self.started.is_some() && !self.fifo.is_empty() {
            Activity::Busy
        } else if self.status != Status::Idle || (self.link.is_some() && self.is_unfinished()) {
            Activity::InTransaction
        } else if self.link.is_some() && self.fifo.iter().any(Expect::is_ours) {
            Activity::Asked
        } else {
            Activity::Resting
        }
    }

    /// Acts on what the tick has found. Called when nothing moves any more, so that what has come in time counts.
    pub(super) fn poll_overdue(&mut self) -> Poll<Step> {
        if self.handle.has_stalled(self.worker.ticks()) && !self.is_replication() {
            return Poll::Ready(Step::Fatal(self.stalled()));
        }
        let refusal = match self.handle.take_overdue() {
            None => return Poll::Pending,
            // Its commands go on for as long as both ends live, and are no queries.
            Some(_) if self.is_replication() => return Poll::Pending,
            Some(Activity::Committing) => return Poll::Pending,
            Some(Activity::Busy) => match self.time_out_query() {
                None => return Poll::Pending,
                Some(refusal) => refusal,
            },
            Some(Activity::InTransaction) => Refusal::new(
                sqlstate::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                "terminating connection due to idle-in-transaction timeout",
            )
            .hint(limit(
                "idle_transaction_timeout_seconds",
                self.handle.limits().idle_transaction_timeout_ms,
            )),
            Some(Activity::Resting | Activity::Asked) if self.may_end() => Refusal::new(
                sqlstate::IDLE_SESSION_TIMEOUT,
                "terminating connection due to idle-session timeout",
            )
            .hint(limit(
                "client_idle_timeout_seconds",
                self.handle.limits().client_idle_timeout_ms,
            )),
            Some(Activity::Resting | Activity::Asked) => return Poll::Pending,
        };
        Poll::Ready(Step::Fatal(refusal))
    }

    /// A server that a client holds and does not read from is one less for all others.
    fn stalled(&self) -> Refusal {
        let text = "terminating connection because the client does not take its answer";
        Refusal::new(sqlstate::CONNECTION_FAILURE, text).hint(limit(
            "client_write_timeout_seconds",
            self.handle.limits().client_write_timeout_ms,
        ))
    }

    /// Has the server stop the statement. Ends the session when that has been asked and nothing came of it.
    fn time_out_query(&mut self) -> Option<Refusal> {
        if self.fifo.iter().all(Expect::is_ours) {
            return None;
        }
        let now = self.worker.ticks();
        let since = *self.time_out.get_or_insert(now);
        if now.wrapping_sub(since) >= STOP_PATIENCE {
            let text = "terminating connection due to query timeout: the server does not stop";
            return Some(Refusal::new(sqlstate::QUERY_CANCELED, text).hint(self.query_limit()));
        }
        let (done, _) = rt::channel();
        if since == now && self.handle.request_cancel(done) {
            let handle = std::rc::Rc::clone(&self.handle);
            let shared = std::sync::Arc::clone(&self.worker.shared);
            rt::spawn(async move { handle.run_cancels(&shared.cancels).await });
        }
        None
    }

    /// A statement is sent that may say how long it runs.
    pub(super) fn limit_time(&mut self, plan: Option<&Plan>) {
        let limit = plan.and_then(|plan| plan.aim.timeout_ms);
        self.handle.set_time_limit(limit);
        // The tick is as exact as longer ones are.
        let Some(limit) = limit.filter(|limit| *limit < TICK_MS) else {
            return;
        };
        let (handle, worker) = (Rc::clone(&self.handle), Rc::clone(&self.worker));
        // The request counts as one from its first message on, which may be this one.
        let turns = handle
            .turns()
            .wrapping_add(u32::from(self.fifo.iter().all(Expect::is_ours)));
        rt::spawn(async move {
            rt::sleep(Duration::from_millis(limit)).await;
            handle.expire(turns, worker.ticks());
        });
    }

    /// What the client is told in place of the server's words, which blame a request of the user.
    pub(super) fn query_timed_out(&self) -> Refusal {
        let text = "canceling statement due to query timeout";
        Refusal::new(sqlstate::QUERY_CANCELED, text).hint(self.query_limit())
    }

    fn query_limit(&self) -> String {
        if let Some(hinted) = self.handle.time_limit() {
            return format!("The statement's hint is timeout={hinted}.");
        }
        limit(
            "query_timeout_seconds",
            self.handle.limits().query_timeout_ms,
        )
    }

    /// Whether the next request must wait, since the cancel of the last one might still hit it.
    pub(super) fn is_timing_out(&mut self) -> bool {
        if self.time_out.is_none() || !self.fifo.is_empty() {
            return false;
        }
        let is_timing_out = self.handle.is_cancelling();
        if !is_timing_out {
            self.time_out = None;
        }
        is_timing_out
    }

    /// Between two transactions, with nothing under way in either direction; or between two messages of a stream.
    fn may_end(&self) -> bool {
        if self.streaming {
            return self.down.remaining == 0;
        }
        let quiet = self.fifo.is_empty()
            && self.held.is_empty()
            && !self.unsynced
            && self.up.remaining == 0
            && self.client.rbuf.is_empty()
            && !self.client.is_readable();
        quiet && self.status == Status::Idle
    }

    /// What a session is told that is to end: at once, or when it rests in a drain or for its age. One that keeps its server would
    /// lose what it has there, and is not ended for its age.
    pub(super) fn farewell(&mut self) -> Option<Refusal> {
        if self.handle.pending() == Signal::End {
            return Some(Refusal::terminated());
        }
        let in_drain = self.handle.pending() == Signal::Drain;
        let keeps_server = self.pins.any() || self.is_replication();
        if !in_drain && (!self.handle.is_aged() || keeps_server) {
            return None;
        }
        let (round, turns) = (self.handle.rounds(), self.handle.turns());
        if !self.may_end() || !(self.streaming || self.pause.is_long(round, turns)) {
            return None;
        }
        if in_drain {
            return Some(Refusal::shutdown());
        }
        let text = "terminating connection because of its age";
        let age = self.handle.limits().client_max_age_ms;
        Some(
            Refusal::new(sqlstate::ADMIN_SHUTDOWN, text).hint(limit("client_max_age_seconds", age)),
        )
    }
}

/// What tells a client that rests from one that goes on at once. A pool asks a connection whether it lives and then
/// begins a transaction on it: ended in between, the transaction would fail.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// The last request ended a transaction block, after which a pool takes the connection back.
    after_block: bool,
    /// Round of asking for its end, and the session's turns, when it was first seen resting.
    since: Option<(u32, u32)>,
}

impl Pause {
    /// A request was answered; `was` and `is` are the transaction's status before and after it.
    pub(super) fn answered(&mut self, was: Status, is: Status) {
        self.after_block = was != Status::Idle && is == Status::Idle;
    }

    /// Whether a session between transactions may be ended in this round.
    fn is_long(&mut self, round: u32, turns: u32) -> bool {
        match self.since {
            // Between two rounds lies all of the time that there is between them, which is not so of its first one.
            Some((first, seen)) if seen == turns => self.after_block || first + 1 < round,
            _ => {
                self.since = Some((round, turns));
                self.after_block
            }
        }
    }
}

fn limit(name: &str, ms: u64) -> String {
    format!("{name} is {} for this user.", ms / TICK_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_asked_for_something_rests_for_a_whole_round_before_it_is_ended() {
        let mut pause = Pause::default();
        pause.answered(Status::Idle, Status::Idle);
        let ends: Vec<bool> = (1..=4).map(|round| pause.is_long(round, 7)).collect();
        assert_eq!(ends, [false, false, true, true]);
        assert!(!pause.is_long(5, 8), "it has gone on");
    }

    #[test]
    fn who_has_ended_a_block_is_ended_at_once() {
        let mut pause = Pause::default();
        pause.answered(Status::Transaction, Status::Idle);
        assert!(pause.is_long(1, 7));
    }
}
