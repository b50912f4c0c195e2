//! What must be known before a lost transaction is run again: what has become of a commit whose answer is lost with its
//! server, and whether the next primary has all that the session has seen. That one is asked, while nobody begins anything
//! there. Where the commit came to be, the client gets the rest of its answer.

use std::time::Duration;

use helios_wire::backend::{self, Status};
use helios_wire::frame::HEADER_LEN;
use helios_wire::sqlstate::TRANSACTION_RESOLUTION_UNKNOWN;

use super::committing::unknown_outcome;
use super::fifo::{Expect, Fifo};
use super::replaying::{divergence, LACKS};
use super::startup::Ended;
use super::{Link, Session, Step};
use crate::error::{Doubt, Refusal};
use crate::journal::{judge, status_of, Outcome, Place, Reason, Seen, Xact, PLACE};
use crate::nodes::Witness;
use crate::server::idle;

/// How often a server is asked that still has the transaction.
const POLL: Duration = Duration::from_millis(10);
/// Bytes of a ReadyForQuery.
const READY_LEN: usize = HEADER_LEN + 1;
/// How long it may have it: as long as its process does not notice that its client is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the next primary is to say before a lost transaction may be run again.
#[derive(Debug)]
pub(super) struct Doubtful {
    /// The commit that was under way.
    commit: Option<Xact>,
    /// What its session has seen before: its last commit, and how far it has read.
    last: Option<Xact>,
    seen: Option<Seen>,
    /// What was outstanding.
    fifo: Fifo,
    /// The transaction may have left something in its session, which is gone.
    leaves: bool,
    /// The process that had it.
    process: u32,
}

/// What a server says.
struct Answer {
    commit: Outcome,
    /// It lacks what the session has seen.
    is_other: bool,
}

const NOTHING_YET: Answer = Answer {
    commit: Outcome::UnderWay,
    is_other: false,
};

impl Session {
    /// What must be known before the transaction that this server had is run again; `None` if nothing.
    pub(super) fn doubt_loss(&mut self, link: &Link, commit: Option<Xact>) -> Option<Step> {
        let last = self.replaying.as_ref().and_then(|it| it.journal.last());
        let seen = self.seen_so_far();
        if commit.is_none() && last.is_none() && seen.is_none() {
            return None;
        }
        let fifo = std::mem::take(&mut self.fifo);
        let leaves = link.doubts.any();
        self.lay_aside();
        if let Some(replaying) = &mut self.replaying {
            replaying.doubtful = Some(Box::new(Doubtful {
                commit,
                last,
                seen,
                fifo,
                leaves,
                process: link.server.state.backend.pid,
            }));
        }
        Some(Step::NeedOutcome)
    }

    /// How far the session has read, where that is kept.
    fn seen_so_far(&self) -> Option<Seen> {
        let timeline = self.reads()?.sampler.history()?.timeline;
        let position = self.seen.floor;
        (position > 0).then_some(Seen { timeline, position })
    }

    /// Asks, and acts by what is answered.
    pub(super) async fn find_outcome(&mut self) -> Step {
        let doubtful = self.replaying.as_mut().and_then(|it| it.doubtful.take());
        let Some(mut doubtful) = doubtful else {
            return Step::Fatal(unknown_outcome());
        };
        let answer = self.ask_next(&doubtful).await;
        let fifo = std::mem::take(&mut doubtful.fifo);
        match answer {
            Err(Ended::Quietly) => Step::Left,
            Err(Ended::Refused(refusal)) if doubtful.commit.is_none() => {
                self.fifo = fifo;
                self.take_back_statements();
                self.give_up_waiting(refusal)
            }
            Ok(Answer {
                commit: Outcome::Committed,
                ..
            }) => self.acknowledge(&fifo, doubtful.leaves),
            Ok(Answer {
                commit: Outcome::Lost,
                is_other,
            }) => {
                self.fifo = fifo;
                match is_other {
                    true => self.give_up_history(),
                    false => self.begin_again(),
                }
            }
            Ok(_) | Err(_) => self.end_in_doubt(unknown_outcome()),
        }
    }

    async fn ask_next(&mut self, doubtful: &Doubtful) -> Result<Answer, Ended> {
        let since = self.worker.clock();
        let mut losses = 0;
        loop {
            match self.acquire().await {
                Ok(()) => {}
                // There is nothing to be cancelled any more.
                Err(Ended::Refused(refusal))
                    if refusal.is_cancellation() && doubtful.commit.is_some() =>
                {
                    continue
                }
                Err(ended) => return Err(ended),
            }
            let answer = match self.ask_server(doubtful).await {
                Ok(answer) => {
                    self.release();
                    answer
                }
                Err(Doubt(cause)) => {
                    losses += 1;
                    self.lose_link(&cause);
                    NOTHING_YET
                }
            };
            let waited = Duration::from_nanos(self.worker.clock().saturating_sub(since));
            if answer.commit != Outcome::UnderWay || waited > PATIENCE * (losses + 1) {
                return Ok(answer);
            }
            self.wait_a_while(POLL).await?;
        }
    }

    async fn ask_server(&mut self, doubtful: &Doubtful) -> Result<Answer, Doubt> {
        let topology = self.worker.shared.topology.load();
        let (Some(link), Some(replaying)) = (&mut self.link, &self.replaying) else {
            return Ok(NOTHING_YET);
        };
        link.has_run = true;
        let place = idle::value(&mut link.server, PLACE).await?;
        let place = place.as_deref().and_then(Place::read);
        let key = &link.shard.shared.key;
        let is_same = replaying.home == key.node;
        let promotions = topology.cluster(&key.cluster);
        let promotions = promotions.map_or(&[][..], |cluster| &cluster.promotions);
        let mut outcomes = [Outcome::Lost, Outcome::Committed];
        for (outcome, xact) in outcomes.iter_mut().zip([doubtful.commit, doubtful.last]) {
            let Some(xact) = xact else { continue };
            let Some(place) = place else {
                *outcome = Outcome::Unknown;
                continue;
            };
            let sql = status_of(xact, is_same.then_some(doubtful.process));
            let status = idle::value(&mut link.server, &sql).await?;
            *outcome = judge(xact, place, is_same, promotions, status.as_deref());
        }
        let [commit, last] = outcomes;
        let lacks = |seen| place.is_some_and(|place| place.lacks(seen, promotions));
        Ok(Answer {
            commit,
            is_other: last == Outcome::Lost || doubtful.seen.is_some_and(lacks),
        })
    }

    /// It is committed: the client gets the rest of its answer.
    fn acknowledge(&mut self, fifo: &Fifo, leaves: bool) -> Step {
        let may_hold = self.may_hold();
        let Some(replaying) = &mut self.replaying else {
            return Step::Fatal(committed());
        };
        if !may_hold {
            replaying.turn.end();
        }
        let journal = &mut replaying.journal;
        let leaves = leaves || journal.holdings.is_open();
        let rest = journal
            .acknowledgement()
            .or_else(|| match journal.is_rerunning() {
                true => None,
                // The number came behind everything but the end.
                false => rest_of(fifo),
            });
        let Some(rest) = rest.filter(|_| !leaves) else {
            return self.end_in_doubt(committed());
        };
        self.worker.stats().replays.acknowledged.add(1);
        self.client.wbuf.extend(&rest);
        self.note_end(self.client.wbuf.len().saturating_sub(READY_LEN));
        self.pause.answered(Status::Transaction, Status::Idle);
        self.started = None;
        self.transaction = None;
        self.handle.set_activity(self.activity());
        match may_hold {
            true => Step::NeedRebuild { replays: false },
            false => Step::Again,
        }
    }

    /// What the transaction was begun on is not there any more.
    fn give_up_history(&mut self) -> Step {
        let is_in_block = self
            .replaying
            .as_ref()
            .is_some_and(|it| it.journal.is_in_block());
        if is_in_block {
            self.take_back_statements();
            return self.give_up(Reason::History, divergence(Reason::History));
        }
        self.worker.stats().replays.fail(Reason::History);
        Step::Fatal(Refusal::server_lost(LACKS))
    }

    fn end_in_doubt(&mut self, refusal: Refusal) -> Step {
        self.worker.stats().replays.fail(Reason::Outcome);
        Step::Fatal(refusal)
    }

    pub(super) fn lose_link(&mut self, cause: &str) {
        let Some(link) = self.link.take() else { return };
        self.handle.set_backend(None);
        let standing = &link.shard.shared.standing;
        let shared = &self.worker.shared;
        shared.node_failed(standing, Witness::Traffic, cause);
    }
}

/// What is missing of an answer whose statements were all answered; `None` if they were not.
fn rest_of(fifo: &Fifo) -> Option<Vec<u8>> {
    let mut rest = Vec::new();
    for expect in fifo {
        match expect {
            Expect::Query {
                probed: Some(probed),
                ..
            } if probed.is_asking() => rest.extend_from_slice(probed.held()),
            Expect::Number | Expect::Sync => {}
            _ => return None,
        }
    }
    backend::ready_for_query(&mut rest, Status::Idle);
    Some(rest)
}

fn committed() -> Refusal {
    let text = "the transaction was committed, but the server connection was lost with the rest of what it gave";
    Refusal::new(TRANSACTION_RESOLUTION_UNKNOWN, text).hint("Reconnect, and do not repeat it.")
}
