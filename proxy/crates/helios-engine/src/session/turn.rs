//! When a transaction that is run again goes on: together with the others of its cluster, as they had their locks
//! together. One whose commit had been asked for may have let go of its locks before the server was lost, so that another
//! one had them: once that is met, those commits go first, and the others begin once more behind them.

use std::sync::Arc;
use std::task::Context;

use super::{Link, Session, Step};
use crate::journal::{Ledger, Part, Reason, Ticket};

/// How often a transaction begins once more because of others.
const MAX_STARTS: u8 = 3;

/// Where a transaction that is run again stands among others.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// Keeps others from the locks that the transaction had.
    rerun: Option<Ticket>,
    /// Its commit had been asked for.
    commit: Option<Ticket>,
    /// What the client asks for now waits for others that still get their locks back.
    stands_back: bool,
    /// It is not begun before the commits of others have come to be.
    is_behind: bool,
    /// They had not when it was begun.
    is_early: bool,
    /// Calls that it has heard.
    calls: u64,
    starts: u8,
}

impl Turn {
    fn take(&mut self, ledger: &Arc<Ledger>, cluster: &str, commits: bool) {
        if !self.is_taken() {
            self.end();
        }
        let enter = |part| ledger.enter(cluster, part);
        self.rerun.get_or_insert_with(|| enter(Part::Rerun));
        if commits {
            self.commit.get_or_insert_with(|| enter(Part::Commit));
        }
    }

    fn ticket(&self) -> Option<&Ticket> {
        self.rerun.as_ref().or(self.commit.as_ref())
    }

    /// Everything is about to be sent once more; `is_alone`: it had no locks that it must have before others take them.
    pub(super) fn begin(&mut self, is_alone: bool) {
        self.stands_back = false;
        self.rerun.take_if(|_| is_alone);
    }

    /// It has its locks again.
    pub(super) fn stand_back(&mut self) {
        self.rerun = None;
        self.stands_back = true;
    }

    pub(super) fn stands_back(&self) -> bool {
        self.stands_back
    }

    /// Whether others wait for what it does next.
    pub(super) fn is_taken(&self) -> bool {
        self.ticket().is_some()
    }

    /// It goes on where its client is.
    pub(super) fn go_on(&mut self) {
        self.rerun = None;
    }

    /// Whether it may have a server although transactions are being run again.
    fn may_begin(&mut self) -> bool {
        let Some(order) = self.ticket().map(Ticket::order) else {
            return false;
        };
        self.calls = order.calls;
        self.is_early = order.commits > usize::from(self.commit.is_some());
        self.is_behind &= order.commits > 0;
        match self.rerun {
            Some(_) => !self.is_behind,
            None => order.calls > 0,
        }
    }

    /// It does not give the same answers. Whether it begins once more, since that may be due to what others had done.
    fn give_way(&mut self, reason: Reason) -> bool {
        let has_met_locks = reason == Reason::Lock && self.commit.is_some();
        let may_start = self.starts < MAX_STARTS && reason != Reason::Cancelled;
        if !may_start || !(has_met_locks || self.is_early) {
            return false;
        }
        let Some(rerun) = self.ticket().map(|ticket| ticket.beside(Part::Rerun)) else {
            return false;
        };
        rerun.put_commits_first();
        self.starts += 1;
        if !has_met_locks {
            self.go_behind(rerun);
        }
        true
    }

    fn go_behind(&mut self, rerun: Ticket) {
        self.rerun = Some(rerun);
        self.commit = None;
        self.is_behind = true;
    }

    /// Nobody waits for this transaction any more.
    pub(super) fn end(&mut self) {
        *self = Turn::default();
    }
}

impl Session {
    /// Has others wait for what becomes of the transaction that this server had, and of its commit if that had been asked
    /// for.
    pub(super) fn take_turn(&mut self, link: &Link, commits: bool) {
        let cluster = &link.shard.shared.key.cluster;
        let ledger = &self.worker.shared.ledger;
        if let Some(replaying) = &mut self.replaying {
            replaying.turn.take(ledger, cluster, commits);
        }
    }

    /// Whether the next transaction waits for those of this cluster that are run again.
    pub(super) fn waits_for_turn(&mut self, cluster: &str) -> bool {
        let ledger = &self.worker.shared.ledger;
        if ledger.reruns() == 0 || !ledger.is_busy(cluster) {
            return false;
        }
        let replaying = self.replaying.as_deref_mut();
        !replaying.is_some_and(|replaying| replaying.turn.may_begin())
    }

    /// Whether what the client asks for now waits for other sessions, which still get their locks back.
    pub(super) fn stands_back(&mut self, cx: &Context<'_>) -> Result<bool, Step> {
        let waiting = self.replaying.as_deref_mut();
        let Some(replaying) = waiting.filter(|it| it.turn.stands_back) else {
            return Ok(false);
        };
        let may_start = replaying.journal.obstacle().is_none();
        let turn = &mut replaying.turn;
        let Some(link) = &self.link else {
            turn.stands_back = false;
            return Ok(false);
        };
        let ledger = &self.worker.shared.ledger;
        let cluster = &link.shard.shared.key.cluster;
        let order = ledger.poll_order(cluster, cx);
        let is_called = order.calls > turn.calls && order.commits > 0;
        if is_called && may_start && turn.commit.is_none() {
            turn.go_behind(ledger.enter(cluster, Part::Rerun));
            return Err(self.start_over());
        }
        let goes_first = turn.commit.is_some() && order.calls > 0;
        turn.stands_back = order.is_busy() && !goes_first;
        if turn.stands_back {
            return Ok(true);
        }
        self.count_rerun();
        Ok(false)
    }

    /// What is run again does not give the same answers; what to do if that may be due to others.
    pub(super) fn give_way(&mut self, reason: Reason) -> Option<Step> {
        let replaying = self.replaying.as_mut()?;
        let gives_way = replaying.turn.give_way(reason);
        gives_way.then(|| self.start_over())
    }

    /// Runs the transaction again from its beginning, which has not lost its server.
    fn start_over(&mut self) -> Step {
        self.leave_rerun();
        if let Some(replaying) = &mut self.replaying {
            replaying.journal.forgive_loss();
        }
        self.begin_again()
    }

    /// The transaction of a commit that others wait for is over.
    pub(super) fn end_turn(&mut self) {
        let Some(replaying) = &mut self.replaying else {
            return;
        };
        if replaying.turn.is_taken() && replaying.journal.is_over() {
            replaying.turn.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Turn, MAX_STARTS};
    use crate::journal::{Ledger, Reason};

    fn taken(ledger: &Arc<Ledger>, commits: bool) -> Turn {
        let mut turn = Turn::default();
        turn.take(ledger, "main", commits);
        turn
    }

    #[test]
    fn whoever_meets_a_commit_begins_behind_it() {
        let ledger = Arc::default();
        let (mut first, mut second) = (taken(&ledger, true), taken(&ledger, false));
        assert!(first.may_begin() && second.may_begin());

        assert!(second.give_way(Reason::Answer));

        assert!(first.may_begin() && !second.may_begin());
        first.stand_back();
        assert!(!second.may_begin());
        first.end();
        assert!(second.may_begin());
        // What it meets now was not there before.
        assert!(!second.give_way(Reason::Answer));
    }

    #[test]
    fn a_commit_that_meets_locks_stays_in_front_for_a_while() {
        let ledger = Arc::default();
        let (mut first, _second) = (taken(&ledger, true), taken(&ledger, false));
        assert!(first.may_begin());

        let ways: Vec<_> = (0..=MAX_STARTS)
            .map(|_| first.give_way(Reason::Lock) && first.may_begin())
            .collect();

        assert_eq!(ways, [true, true, true, false]);
        assert!(first.commit.is_some());
    }

    #[test]
    fn of_two_commits_the_one_that_gives_other_answers_goes_behind() {
        let ledger = Arc::default();
        let (mut first, mut second) = (taken(&ledger, true), taken(&ledger, true));
        assert!(first.may_begin() && second.may_begin());

        assert!(second.give_way(Reason::Answer));

        assert!(first.may_begin() && !second.may_begin());
        drop(first);
        assert!(second.may_begin());
    }

    #[test]
    fn nobody_begins_once_more_for_nothing() {
        let ledger = Arc::default();
        let mut alone = taken(&ledger, false);
        assert!(alone.may_begin());
        assert!(!alone.give_way(Reason::Lock));
        let mut turn = taken(&ledger, true);
        assert!(turn.may_begin());
        assert!(!turn.give_way(Reason::Answer));
        assert!(!turn.give_way(Reason::Cancelled));
        assert!(!Turn::default().give_way(Reason::Lock));
    }

    #[test]
    fn a_statement_without_locks_waits_unless_commits_go_first() {
        let ledger = Arc::default();
        let (mut alone, mut other) = (taken(&ledger, true), taken(&ledger, false));
        alone.begin(true);
        assert!(!alone.may_begin() && other.may_begin());

        assert!(other.give_way(Reason::Answer));

        assert!(alone.may_begin() && !other.may_begin());
        drop((alone, other));
        assert_eq!(ledger.reruns(), 0);
        assert!(!ledger.is_busy("main"));
    }
}
