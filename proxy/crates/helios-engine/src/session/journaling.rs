//! The journal of a session: what goes into it, in both directions. What it is for is in `replaying`.

use std::sync::Arc;

use helios_wire::backend::Status;

use super::{Session, Step};
use crate::journal::{Reason, Weight};
use crate::plans::{Plan, Verb};

impl Session {
    /// What comes next from a client at rest begins a transaction.
    #[inline]
    pub(super) fn begin_journal(&mut self) {
        if self.replaying.is_some() && self.rests() {
            self.end_trial();
            self.begin_anew();
        }
    }

    fn rests(&self) -> bool {
        self.status == Status::Idle
            && self.opening.is_none()
            && self.fifo.is_empty()
            && !self.is_unfinished()
            && !self.refusing
            && self.up.remaining == 0
            && self.down.remaining == 0
            && !self.is_rerunning()
    }

    fn begin_anew(&mut self) {
        let Some(replaying) = &mut self.replaying else {
            return;
        };
        replaying.journal.begin();
        if !Arc::ptr_eq(&replaying.bucket, &self.bucket) {
            replaying.bucket = Arc::clone(&self.bucket);
        }
        replaying.has_savepoints = false;
        replaying.used_unnamed = false;
        replaying.made_unnamed = false;
        replaying.is_obstacle_told = false;
        self.statements.mark();
    }

    /// Takes what the client has sent into the journal.
    #[inline]
    pub(super) fn record(&mut self, bytes: &[u8]) {
        if let Some(replaying) = &mut self.replaying {
            replaying.journal.sent(bytes);
        }
    }

    /// A statement is about to run, of which the plan says what it means to run it again.
    pub(super) fn weigh(&mut self, plan: Option<&Plan>) {
        if self.replaying.is_none() {
            return;
        }
        let is_holding = self.is_holding(plan);
        let Some(replaying) = &mut self.replaying else {
            return;
        };
        let Some(plan) = plan.filter(|plan| plan.may_rerun()) else {
            return replaying.journal.spoil(Reason::Statement);
        };
        let verb = plan.block().map(|block| block.verb);
        let begins = matches!(verb, Some(Verb::Begin | Verb::Start));
        let weight = match verb {
            Some(Verb::Commit) => Weight::Commits,
            Some(Verb::Begin | Verb::Start | Verb::Set | Verb::Rollback) => Weight::Reads,
            // What it changes goes with its server, whatever becomes of the transaction.
            None if is_holding && plan.weight() < Weight::Commits => Weight::Reads,
            None => plan.weight(),
        };
        replaying.journal.note(weight, begins);
        if plan.mutable {
            replaying.journal.note_mutable();
        }
    }

    /// The unnamed statement is used as it is.
    pub(super) fn note_unnamed_use(&mut self) {
        if let Some(replaying) = &mut self.replaying {
            replaying.used_unnamed |= !replaying.made_unnamed;
        }
    }

    /// There is another unnamed statement, or none.
    pub(super) fn note_unnamed_change(&mut self) {
        if let Some(replaying) = &mut self.replaying {
            replaying.made_unnamed = true;
            if replaying.used_unnamed {
                replaying.journal.spoil(Reason::UnnamedStatement);
            }
        }
    }

    /// A command was carried out.
    pub(super) fn note_control(&mut self, tag: &[u8]) {
        if let Some(replaying) = &mut self.replaying {
            if tag == b"PREPARE TRANSACTION" {
                replaying.journal.part_with_number();
            }
            replaying.has_savepoints |= tag == b"SAVEPOINT";
            if tag == b"ROLLBACK" && replaying.has_savepoints {
                replaying.journal.holdings.roll_back_part();
            }
        }
    }

    /// Has the journal know what is about to be written to the client, or compares it with what is in there.
    pub(super) fn note_told(&mut self) -> Result<(), Step> {
        let Some(replaying) = &mut self.replaying else {
            return Ok(());
        };
        if replaying.journal.is_rerunning() {
            return self.compare_answers();
        }
        self.settle_told();
        self.end_turn();
        Ok(())
    }

    /// Has the journal know of all that there is for the client, which gets nothing of what has not been compared.
    pub(super) fn settle_told(&mut self) {
        let Some(replaying) = &mut self.replaying else {
            return;
        };
        if replaying.journal.is_rerunning() {
            return self.client.wbuf.truncate(replaying.told);
        }
        let bytes = self.client.wbuf.bytes();
        replaying.journal.told(&bytes[replaying.told..]);
        replaying.told = bytes.len();
    }

    /// So much has been written.
    pub(super) fn note_written(&mut self, written: usize) {
        if let Some(replaying) = &mut self.replaying {
            replaying.told -= written.min(replaying.told);
        }
    }

    /// Nothing of what a standby was asked counts: it is asked once more.
    pub(super) fn forget_attempt(&mut self) {
        if let Some(replaying) = &mut self.replaying {
            if !replaying.journal.is_rerunning() {
                replaying.journal.begin();
            }
        }
    }
}
