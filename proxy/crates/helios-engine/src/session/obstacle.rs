//! A client that wants to know is told once when its open transaction will be lost with its server, and why.

use helios_wire::backend::Status;
use helios_wire::error_response::{self, Severity};
use helios_wire::sqlstate;

use super::fifo::Expect;
use super::Session;
use crate::journal::Reason;

impl Session {
    /// In front of whatever is answered next: between two messages, where a notice may come at any time.
    pub(super) fn tell_obstacle(&mut self) {
        let is_open = self.status == Status::Transaction && self.down.remaining == 0;
        if !is_open || !self.replaying.as_ref().is_some_and(|it| it.wants_notice()) {
            return;
        }
        let unkept = self.unkept();
        let mutable = self.has_mutables().then_some(Reason::Mutable);
        let Some(replaying) = &mut self.replaying else {
            return;
        };
        let Some(reason) = replaying.journal.obstacle().or(unkept).or(mutable) else {
            return;
        };
        replaying.is_obstacle_told = true;
        if !self.wants_notices() {
            return;
        }
        let text = format!("transaction is lost with its server: {}", reason.name());
        let code = sqlstate::SUCCESSFUL_COMPLETION;
        let detail = Some(sentence(reason));
        let notice = error_response::notice(Severity::Notice, code, &text, None, detail);
        self.fifo.push_front(Expect::FakeNotice(notice.into()));
    }
}

/// Why a transaction cannot be run again, for people.
fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::Overflow => "It is longer than the journal of a transaction may be.",
        Reason::Copy => "It has copied, and the data is not kept.",
        Reason::UnnamedStatement => {
            "It uses the unnamed statement of an earlier transaction, which is gone."
        }
        Reason::Mutable => {
            "It has left values that are others each time, and transaction_replay.mutables is \"error\"."
        }
        Reason::Pinned => "The session holds something that only its server has.",
        Reason::Advisory => "The session holds advisory locks in a way that cannot be repeated.",
        Reason::TemporaryTable => {
            "The session has temporary objects that cannot be made again, or too much in them."
        }
        Reason::Cursor => {
            "The session has cursors WITH HOLD that cannot be declared again, or too many."
        }
        _ => "It has run something that must not run twice, or that nothing is known of.",
    }
}
