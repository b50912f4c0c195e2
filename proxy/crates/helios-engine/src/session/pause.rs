//! How a session rests between transactions, for a drain.

use helios_wire::backend::Status;

/// What tells a client that rests from one that goes on at once. A pool asks a connection whether it lives and then
/// begins a transaction on it: ended in between, the transaction would fail.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// Requests answered so far, wrapping.
    answers: u32,
    /// The last of them ended a transaction block, after which a pool takes the connection back.
    after_block: bool,
    /// Round of the drain and answers when the session was first seen resting.
    since: Option<(u32, u32)>,
}

impl Pause {
    /// A request was answered; `was` and `is` are the transaction's status before and after it.
    pub(super) fn answered(&mut self, was: Status, is: Status) {
        self.answers = self.answers.wrapping_add(1);
        self.after_block = was != Status::Idle && is == Status::Idle;
    }

    /// Whether a session between transactions may be ended in this round of the drain.
    pub(super) fn is_long(&mut self, round: u32) -> bool {
        match self.since {
            Some((first, answers)) if answers == self.answers => self.after_block || first < round,
            _ => {
                self.since = Some((round, self.answers));
                self.after_block
            }
        }
    }
}
