//! The end of a session: what was asked for before is still done, and what can be said is said.

use helios_wire::error_response::Severity;

use super::{Session, Step, FAREWELL};
use crate::error::Refusal;
use crate::events::Level;
use crate::rt;

/// Why a client is disconnected without an error of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// It has been told the server's own last words.
    Told,
    /// It has been given half a message, and would read an error as the rest of it.
    Torn,
}

impl Silence {
    pub(crate) const ALL: [Silence; 2] = [Silence::Told, Silence::Torn];

    /// Its name in metrics and in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Silence::Told => "told",
            Silence::Torn => "torn",
        }
    }
}

impl Session {
    /// The server waits for more of what the client has begun.
    pub(super) fn is_unfinished(&self) -> bool {
        self.unsynced || self.skipping || self.copying_in
    }

    /// A client that said Terminate does not read any more, but what it asked for before is still done. Not so a
    /// backup, which goes to its reader or nowhere.
    pub(super) fn poll_leave(&mut self) -> Result<bool, Step> {
        self.client.wbuf.release();
        match &self.link {
            Some(link)
                if !self.is_at_rest(link) && !self.is_unfinished() && !self.is_replication() =>
            {
                Ok(false)
            }
            _ => Err(Step::Left),
        }
    }

    /// What the client is told at its end; `None` within half a message.
    pub(super) fn last_words(&mut self, refusal: Refusal) -> Option<Refusal> {
        self.settle_told();
        let is_torn = match &self.replaying {
            Some(replaying) => replaying.journal.is_torn(),
            None => self.down.remaining > 0 && self.down.forward,
        };
        if is_torn {
            self.note_silence(Silence::Torn);
            return None;
        }
        Some(refusal)
    }

    /// Counts an end of which the client is told nothing, and has it logged.
    pub(super) fn note_silence(&self, silence: Silence) {
        self.worker.stats().cut[silence as usize].add(1);
        let fields = vec![
            ("client", self.client.peer()),
            ("why", silence.name().to_owned()),
        ];
        let events = &self.worker.shared.events;
        events.log(
            Level::Warning,
            "client disconnected without an error",
            fields,
        );
    }

    /// Tells the client, lets go of the server, and ends.
    pub(super) async fn end(mut self: Box<Self>, fatal: Option<Refusal>) {
        self.let_go();
        if let Some(refusal) = fatal {
            self.client.wbuf.extend(&refusal.message(Severity::Fatal));
        }
        // A client that does not read its last words does not get them.
        let _ = rt::timeout(FAREWELL, self.client.flush()).await;
    }
}
