//! What an error of the server takes back: the rest of its batch, and what we thought of its statements; and the loss of
//! the server.

use helios_wire::error_response::ErrorFields;
use helios_wire::sqlstate;

use super::committing::{unknown_outcome, Durability};
use super::fifo::Expect;
use super::{Session, Step};
use crate::error::Refusal;
use crate::events::{Event, Level};
use crate::fault::Fault;
use crate::nodes::Witness;

/// Why a session loses a server that lives.
pub(super) const FENCED: &str = "its node is not the primary any more";

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
            return Step::Silent;
        };
        self.handle.set_backend(None);
        let key = &link.shard.shared.key;
        let (cluster, node) = (key.cluster.clone(), key.node.clone());
        let fields = vec![("node", node.clone()), ("error", cause.to_owned())];
        self.worker
            .shared
            .events
            .log(Level::Warning, "server connection lost", fields);
        self.worker.shared.events.send(Event::NodeSuspect {
            cluster,
            node,
            reason: cause.to_owned(),
        });
        let is_begun = link.is_tried() && self.opening.is_none();
        if link.reader.is_some() && !is_begun && self.survive() {
            return Step::Again;
        }
        if link.durability == Durability::Doubtful {
            return self.fatal(unknown_outcome());
        }
        if let Some(step) = self.outlive(&link) {
            return step;
        }
        self.trace_loss(&link.shard.shared.key);
        // A second error breaks libpq's pipeline.
        if link.fatal && !Fault::SecondError.is_seeded() {
            return Step::Silent;
        }
        self.fatal(match self.is_committing() {
            true => unknown_outcome(),
            false => Refusal::server_lost(cause),
        })
    }

    /// The end with an error; with none inside a half-sent message, which would be read as part of it.
    pub(super) fn fatal(&self, refusal: Refusal) -> Step {
        if self.down.remaining > 0 && self.down.forward {
            Step::Silent
        } else {
            Step::Fatal(refusal)
        }
    }
}
