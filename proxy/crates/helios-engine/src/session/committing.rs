//! A COMMIT under way: nothing cancels it, and one that has not come to its standbys is not told for a success.

use helios_wire::error_response::{ErrorFields, Severity};
use helios_wire::sqlstate;

use super::fifo::Expect;
use super::Session;
use crate::error::{Doubt, Refusal};

/// Where PostgreSQL waits for synchronous standbys.
const ROUTINE: &str = "SyncRepWaitForLSN";

/// Whether synchronous standbys have what a server commits.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// As it was asked for.
    #[default]
    Whole,
    /// The server has stopped to wait for them: what it has committed may be lost with it.
    Doubtful,
    /// The client has been told so, in place of a success.
    Told,
}

impl Session {
    /// Whether the server commits, and does nothing else for the client.
    pub(super) fn is_committing(&self) -> bool {
        let runs =
            |expect: &&Expect| matches!(expect, Expect::Query { .. } | Expect::Execute { .. });
        self.commits && self.fifo.iter().filter(runs).count() == 1
    }

    /// A warning may say that a commit waits for its standbys no longer.
    pub(super) fn note_notice(&mut self, body: &[u8]) {
        if let Some(link) = &mut self.link {
            if ErrorFields::new(body).routine().as_deref() == Some(ROUTINE) {
                link.durability = Durability::Doubtful;
            }
        }
    }

    /// What the client is told in place of the success that this message says, or ahead of ReadyForQuery.
    pub(super) fn unreplicated(&mut self, tag: u8) -> Option<Vec<u8>> {
        let link = self.link.as_mut()?;
        if link.durability != Durability::Doubtful {
            return None;
        }
        link.durability = match tag {
            b'Z' => Durability::Whole,
            _ => Durability::Told,
        };
        Some(not_awaited().message(Severity::Error))
    }

    /// Behind an error nothing but ReadyForQuery comes. What the server has done nevertheless, the client would take for
    /// undone.
    pub(super) fn check_order(&mut self, tag: u8) -> Result<(), Doubt> {
        let link = self.link.as_mut();
        match link.filter(|link| link.durability == Durability::Told) {
            Some(link) if tag == b'Z' => link.durability = Durability::Whole,
            Some(_) if !matches!(tag, b'N' | b'S' | b'A') => {
                return Err(Doubt(
                    "more was run behind a commit that did not come to its standbys".to_owned(),
                ))
            }
            _ => {}
        }
        Ok(())
    }
}

fn not_awaited() -> Refusal {
    Refusal::new(
        sqlstate::TRANSACTION_RESOLUTION_UNKNOWN,
        "the server has committed without its synchronous standbys: a failover may undo it",
    )
    .hint(
        "It is done on this primary. Look whether it still is before you rely on it or repeat it.",
    )
}

pub(super) fn unknown_outcome() -> Refusal {
    Refusal::new(
        sqlstate::TRANSACTION_RESOLUTION_UNKNOWN,
        "server connection lost while something was being committed: whether it was is not known",
    )
    .hint("Reconnect, and look before you repeat it.")
}
