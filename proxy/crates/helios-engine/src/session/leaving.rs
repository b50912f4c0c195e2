//! The end of a session: what was asked for before is still done, and what can be said is said.

use helios_wire::error_response::Severity;

use super::{Session, Step, FAREWELL};
use crate::error::Refusal;
use crate::rt;

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
