//! What an error of the server takes back: the rest of its batch, and what we thought of its statements; and the loss of
//! the server.

use helios_wire::backend::Status;
use helios_wire::error_response::ErrorFields;
use helios_wire::sqlstate;

use super::committing::{unknown_outcome, Durability};
use super::down::Act;
use super::fifo::Expect;
use super::{Link, Session, Step};
use crate::config::PoolMode;
use crate::error::Refusal;
use crate::events::Event;
use crate::fault::Fault;
use crate::nodes::Witness;

/// Why a session loses a server that lives.
pub(super) const FENCED: &str = "its node is not the primary any more";
/// Servers in a row that may be lost before they have had anything of their client.
const MAX_SPARED: u8 = 16;

impl Session {
    /// Takes what an error says about the server's copy of our statements.
    pub(super) fn note_error(&mut self, fields: &ErrorFields<'_>) {
        self.note_reader_error(fields);
        let state = fields.sqlstate();
        if state == Some(sqlstate::READ_ONLY_SQL_TRANSACTION) {
            self.suspect_primary();
        }
        let stale_plan = state == Some(sqlstate::FEATURE_NOT_SUPPORTED)
            && fields.routine().as_deref() == Some("RevalidateCachedQuery");
        let lost_statement = state == Some(sqlstate::INVALID_SQL_STATEMENT_NAME);
        let is_expected = match self.fifo.front() {
            Some(Expect::Doomed(_)) => true,
            Some(head) => head
                .renamed()
                .is_some_and(|renamed| !renamed.is_lost(fields)),
            None => false,
        };
        if let Some(link) = self
            .link
            .as_mut()
            .filter(|_| stale_plan || (lost_statement && !is_expected))
        {
            if let Some(Expect::Bind {
                statement: Some(statement),
            }) = self.fifo.front()
            {
                // Whoever prepares the text from now on gets a plan of its own.
                self.worker.shared.interner.retire(statement);
            }
            // DEALLOCATE ALL when the transaction is over, and every statement anew.
            link.server.state.statements.clear();
            link.server.state.dirt.prepared = true;
        }
    }

    /// A primary that takes no writes may not be it any more; or the client has asked for a READ ONLY transaction.
    fn suspect_primary(&self) {
        let Some(link) = self.link.as_ref().filter(|link| link.reader.is_none()) else {
            return;
        };
        let shared = &link.shard.shared;
        if shared.is_newly_suspect(self.worker.now()) {
            self.worker.shared.events.send(Event::NodeSuspect {
                cluster: shared.key.cluster.clone(),
                node: shared.key.node.clone(),
                reason: "it takes no writes".to_owned(),
            });
        }
    }

    /// The server ends the connection, and says why. Words that are not kept are told, unless nothing is that it says.
    /// They are for nobody where the server has done all that it was asked.
    pub(super) fn on_goodbye(&mut self, fields: &ErrorFields<'_>, message: &[u8]) -> Act {
        let is_done = self.link.as_ref().is_some_and(|link| {
            let is_borrowed = link.mode != PoolMode::Session && !self.pins.any();
            is_borrowed && self.status == Status::Idle && self.is_at_rest(link)
        });
        let is_kept = is_done || self.keeps_last_words(fields, message);
        if let Some(link) = &mut self.link {
            link.fatal = true;
            link.is_told |= !is_kept && !self.attempt.is_open();
        }
        match is_kept {
            true => Act::Drop,
            false => Act::Forward,
        }
    }

    /// The server skips the rest of the batch: nothing up to its Sync will be answered, or has happened.
    pub(super) fn fail_batch(&mut self) {
        while let Some(expect) = self.fifo.front() {
            if matches!(expect, Expect::Sync) || Fault::FailedBatch.is_seeded() {
                return;
            }
            if let Some(expect) = self.fifo.pop_front() {
                self.undo(expect);
            }
        }
        self.skipping = true;
    }

    fn undo(&mut self, expect: Expect) {
        if matches!(expect, Expect::Number) {
            self.learn_number(None);
        }
        let Some(link) = &mut self.link else { return };
        let state = &mut link.server.state;
        match expect {
            Expect::Parse { statement, seq } => {
                state.statements.remove(statement.id);
                self.statements.remove_seq(seq);
            }
            Expect::HiddenParse { statement } => state.statements.remove(statement.id),
            // A later one may have been sent behind the failed batch.
            Expect::ParseUnnamed { tag, .. } => {
                if state.unnamed == tag {
                    state.unnamed = 0;
                }
                if self.unnamed.tag == tag {
                    self.unnamed.tag = 0;
                }
            }
            Expect::FakeParse { seq } => self.statements.remove_seq(seq),
            Expect::FakeClose {
                restore: Some((name, named)),
            } => self.statements.insert(&name, named),
            // The server may have kept a statement that we took for evicted.
            Expect::HiddenClose => state.dirt.prepared = true,
            _ => {}
        }
    }

    /// Whether nothing of the client has come to a server that is lost, so that another one will do.
    fn is_untouched(&self, link: &Link) -> bool {
        let is_new = !link.has_run && !link.is_told && link.mode != PoolMode::Session;
        let has_asked = self.is_unfinished() || !self.fifo.iter().all(Expect::is_ours);
        // What a statement needs before it runs may have been asked for.
        let is_kept_whole = self
            .replaying
            .as_ref()
            .is_some_and(|it| it.journal.is_unsent());
        let is_resting = self.up.remaining == 0 && (!has_asked || is_kept_whole);
        let is_outside = self.status == Status::Idle || self.opening.is_some();
        is_new && is_resting && is_outside && !self.pins.any()
    }

    /// Whether the client may have another server in the place of one that had nothing of it. Not without end: a server
    /// may let everybody in and end them at once.
    pub(super) fn may_be_spared(&mut self) -> bool {
        self.spared = self.spared.saturating_add(1);
        self.spared <= MAX_SPARED
    }

    /// Nothing is outstanding, and what was asked for the client is asked of the next server.
    fn spare(&mut self) {
        self.forget_last_words();
        self.fifo.clear();
        self.unsynced = false;
        if let Some(replaying) = &mut self.replaying {
            replaying.journal.unlearn_prepared();
        }
    }

    /// The server connection is not to be used again. Says what the client is to be told.
    pub(super) fn server_gone(&mut self, cause: &str) -> Step {
        // One that says goodbye is a connection that was ended, not a node.
        if let Some(link) = self.link.as_ref().filter(|link| !link.fatal) {
            let standing = &link.shard.shared.standing;
            let shared = &self.worker.shared;
            shared.node_failed(standing, Witness::Traffic, cause);
        }
        self.server_lost(cause)
    }

    /// As `server_gone`, of one that may be well but has confused us.
    pub(super) fn server_lost(&mut self, cause: &str) -> Step {
        let Some(link) = self.link.take() else {
            return Step::Fatal(Refusal::server_lost(cause));
        };
        self.handle.set_backend(None);
        let key = &link.shard.shared.key;
        let events = &self.worker.shared.events;
        events.server_lost(&key.cluster, &key.node, cause);
        let is_begun = link.is_tried() && self.opening.is_none();
        if link.reader.is_some() && !is_begun && self.survive() {
            return Step::Again;
        }
        if self.is_untouched(&link) && self.may_be_spared() {
            self.spare();
            return Step::Again;
        }
        if link.durability == Durability::Doubtful {
            return Step::Fatal(unknown_outcome());
        }
        if let Some(step) = self.outlive(&link) {
            return step;
        }
        self.trace_loss(&link.shard.shared.key);
        // A second error breaks libpq's pipeline.
        if link.is_told && !Fault::SecondError.is_seeded() {
            return Step::Told;
        }
        Step::Fatal(match self.is_committing() {
            true => unknown_outcome(),
            false => Refusal::server_lost(cause),
        })
    }
}
