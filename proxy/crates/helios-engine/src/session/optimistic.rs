//! Blocks that begin on a standby although they may write. They stay there as long as they are seen to only read; then what
//! they have read is asked of the primary once more, by the journal, and they go on there if it is the same.

use std::sync::Arc;

use helios_wire::backend::Status;
use helios_wire::sqlstate;

use super::attempt::{Cause, Stage};
use super::replaying::Replaying;
use super::{Link, Session, Step};
use crate::error::Refusal;
use crate::journal::Reason;
use crate::plans::{Access, Plan, Verb};

/// Blocks at most that begin on the primary after one that could not go on there.
const MOST_SKIPPED: u32 = 1023;

/// Why a block leaves the standby that it has begun on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Departure {
    /// It asks for something that is not sure to only read.
    Write,
    /// The standby has refused what should only read.
    Refused,
    /// What the standby replays was in its way.
    Conflict,
    /// The standby is lost.
    Lost,
    /// The journal has no room for more.
    Full,
}

impl Departure {
    pub(crate) const ALL: [Departure; 5] = [
        Departure::Write,
        Departure::Refused,
        Departure::Conflict,
        Departure::Lost,
        Departure::Full,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Departure::Write => "write",
            Departure::Refused => "refused",
            Departure::Conflict => "conflict",
            Departure::Lost => "lost",
            Departure::Full => "full",
        }
    }
}

/// How far a session relies on what it reads on standbys being the same on the primary. A transaction that was refused
/// is repeated by its client, and may show what is never the same.
#[derive(Debug, Default)]
pub(super) struct Trust {
    /// Blocks to come that begin on the primary.
    skips: u32,
    /// How many there were last time.
    skipped: u32,
}

impl Trust {
    /// Whether the next block may begin on a standby.
    fn holds(&mut self) -> bool {
        let holds = self.skips == 0;
        self.skips = self.skips.saturating_sub(1);
        holds
    }

    fn lose(&mut self) {
        self.skipped = (self.skipped * 2 + 1).min(MOST_SKIPPED);
        self.skips = self.skipped;
    }

    fn gain(&mut self) {
        self.skipped = 0;
    }
}

/// What becomes of a request in a block.
pub(super) enum Vetted {
    /// It is sent.
    Goes,
    /// More of it must come first.
    Part,
    /// What was asked before it must be answered first.
    Later,
    /// It is for the primary.
    Departs(Departure),
}

impl Session {
    /// Whether a block of which this is said may begin on a standby though it may write.
    pub(super) fn may_be_tried(&self, access: Access) -> bool {
        let reads = self.reads();
        let routing = reads.and_then(|reads| reads.entry.routing.as_ref());
        let level = self.bucket.get("default_transaction_isolation");
        routing.is_some_and(|routing| routing.optimistic)
            && access == Access::Unsaid
            && level.is_none_or(|level| level.eq_ignore_ascii_case("read committed"))
            && !self.is_rerunning()
    }

    /// A block begins, of which this is said: whether it is tried on a standby. Then all that it sends is kept.
    pub(super) fn begin_trial(&mut self, access: Access) -> bool {
        if !self.may_be_tried(access) || !self.trust.holds() {
            return false;
        }
        if self.replaying.is_none() {
            let (bounds, ledger) = (self.worker.config().journal, &self.worker.shared.ledger);
            let mut replaying = Replaying::new(None, bounds, ledger, &self.bucket);
            replaying.told = self.client.wbuf.len();
            self.replaying = Some(Box::new(replaying));
            self.statements.mark();
        }
        true
    }

    /// Whether the block at hand is on a standby though it may write.
    pub(super) fn is_tried(&self) -> bool {
        self.link.as_ref().is_some_and(Link::is_tried)
    }

    /// The server at hand is about to be told that the block begins.
    pub(super) fn enter_block(&mut self) {
        let is_tried = self.attempt.is_tried;
        let reader = self.link.as_mut().and_then(|link| link.reader.as_mut());
        let Some(reader) = reader.filter(|_| is_tried) else {
            return self.end_trial();
        };
        reader.is_tried = true;
        self.worker.stats().optimistic.begun.add(1);
        self.open_attempt();
    }

    /// Nothing that the standby says goes to the client before it is known to be the answer.
    fn open_attempt(&mut self) {
        self.attempt.stage = Stage::Open;
        self.attempt.mark = self.client.wbuf.len();
    }

    /// Looks whether a block that is tried stays where it is with what begins here.
    pub(super) fn vet(&mut self, bytes: &[u8]) -> Vetted {
        if !self.is_tried() || self.opening.is_some() || self.is_unfinished() {
            return Vetted::Goes;
        }
        if !self.fifo.is_empty() {
            return Vetted::Later;
        }
        self.attempt.close();
        let Some(length) = self.survey_tried(bytes) else {
            return Vetted::Part;
        };
        let journal = self.replaying.as_ref().map(|it| &it.journal);
        match length {
            0 => Vetted::Departs(Departure::Write),
            _ if !journal.is_some_and(|journal| journal.has_room(length)) => {
                Vetted::Departs(Departure::Full)
            }
            _ => {
                self.attempt.request.clear();
                self.attempt.request.extend_from_slice(&bytes[..length]);
                self.open_attempt();
                Vetted::Goes
            }
        }
    }

    /// Whether a statement leaves a block that is tried where it is; remembered for what the standby will say.
    pub(super) fn stays(&mut self, plan: &Arc<Plan>) -> bool {
        let verb = plan.block().map(|block| block.verb);
        if matches!(verb, Some(Verb::Commit | Verb::Rollback)) {
            return true;
        }
        let stays = plan.is_read() && plan.may_rerun();
        if stays {
            self.attempt.plans.push(Arc::clone(plan));
        }
        stays
    }

    /// A standby has answered, perhaps that it cannot: then its block leaves it.
    pub(super) fn depart_if_due(&mut self) -> Option<Step> {
        if !self.attempt.is_withdrawn() || self.status == Status::Idle || !self.is_tried() {
            return None;
        }
        if !self.link.as_ref().is_some_and(|link| self.is_at_rest(link)) {
            return None;
        }
        Some(self.depart(match self.attempt.cause {
            Some(Cause::Conflict) => Departure::Conflict,
            _ => Departure::Refused,
        }))
    }

    /// The block leaves its standby, which is at rest.
    pub(super) fn depart(&mut self, why: Departure) -> Step {
        self.take_back_attempt();
        let unanswered = match self.attempt.is_withdrawn() {
            true => std::mem::take(&mut self.attempt.request),
            false => Vec::new(),
        };
        self.note_departure(why);
        let obstacle = match &self.replaying {
            Some(replaying) => replaying.journal.obstacle(),
            None => return Step::Fatal(unmoved(Reason::Statement)),
        };
        if let Some(reason) = obstacle {
            let step = self.give_up(reason, unmoved(reason));
            self.put_before(&unanswered);
            return step;
        }
        self.leave_block();
        self.replay()
    }

    /// What the standby has said of a request that it could not answer is not told.
    pub(super) fn take_back_attempt(&mut self) {
        if self.attempt.is_withdrawn() {
            self.client.wbuf.truncate(self.attempt.mark);
        }
        if let Some(replaying) = self
            .replaying
            .as_mut()
            .filter(|it| !it.journal.is_rerunning())
        {
            let bytes = self.client.wbuf.bytes();
            replaying.journal.told(&bytes[replaying.told..]);
            replaying.told = bytes.len();
        }
    }

    pub(super) fn note_departure(&mut self, why: Departure) {
        self.worker.stats().optimistic.departed[why as usize].add(1);
        if let Some(replaying) = &mut self.replaying {
            replaying.is_moving = true;
        }
    }

    /// Whether its block is on its way from a standby to the primary.
    pub(super) fn is_moving(&self) -> bool {
        self.replaying.as_ref().is_some_and(|it| it.is_moving)
    }

    /// All that the block has read is the same on the primary, where it goes on.
    pub(super) fn arrive(&mut self) {
        self.trust.gain();
        self.worker.stats().optimistic.moved.add(1);
        if let Some(replaying) = &mut self.replaying {
            replaying.is_moving = false;
            replaying.journal.forgive_loss();
        }
        self.end_trial();
    }

    /// A transaction cannot go on: counted for what it was.
    pub(super) fn count_failure(&mut self, reason: Reason) {
        let stats = self.worker.stats();
        match &mut self.replaying {
            Some(replaying) if replaying.is_moving => {
                replaying.is_moving = false;
                stats.optimistic.failed[reason as usize].add(1);
                self.trust.lose();
            }
            _ => stats.replays.fail(reason),
        }
    }

    /// Nothing of the block must be kept any more, unless transactions outlive their servers.
    pub(super) fn end_trial(&mut self) {
        let is_over = |it: &Replaying| !it.is_lasting && !it.is_moving && !it.owes_error();
        if self.replaying.as_deref().is_some_and(is_over) {
            self.replaying = None;
            self.statements.forget_mark();
        }
    }
}

impl Link {
    /// Whether it is a standby's, of a block that may write.
    pub(super) fn is_tried(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.is_tried)
    }
}

/// What the client is told whose block could not go on on the primary.
pub(super) fn unmoved(reason: Reason) -> Refusal {
    let why = match reason {
        Reason::Answer => "the primary does not give the answers that a standby gave",
        Reason::Losses => "one primary after the other was lost",
        Reason::Lock => "others hold its locks",
        Reason::Cancelled => {
            return Refusal::new(
                sqlstate::QUERY_CANCELED,
                "canceling statement due to user request",
            )
        }
        Reason::Overflow => "it is longer than the journal of a transaction may be",
        _ => "what it has done on a standby cannot be repeated",
    };
    let text = format!("the transaction could not go on on the primary: {why}");
    Refusal::new(sqlstate::SERIALIZATION_FAILURE, text)
        .hint("Nothing of it has been done; repeat the transaction.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_in_a_row_keeps_more_blocks_from_standbys() {
        let mut trust = Trust::default();
        let blocks_until_the_next = |trust: &mut Trust| {
            let skipped = (0..).take_while(|_| !trust.holds()).count();
            trust.lose();
            skipped
        };
        let skipped: Vec<usize> = (0..4).map(|_| blocks_until_the_next(&mut trust)).collect();
        assert_eq!(skipped, [0, 1, 3, 7]);
        assert_eq!(blocks_until_the_next(&mut trust), 15);
        assert!((0..31).all(|_| !trust.holds()));
        trust.gain();
        trust.lose();
        assert_eq!(blocks_until_the_next(&mut trust), 1);
    }
}
