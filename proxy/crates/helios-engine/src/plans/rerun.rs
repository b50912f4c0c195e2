//! What becomes of a statement in a transaction that is run again, as its plan says.

use serde::Deserialize;

use super::Plan;
use crate::journal::Weight;

/// What becomes of a statement in a transaction that is run again on another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rerun {
    /// It is run again, and only reads by its form.
    Looks,
    /// It is run again, and is one statement that changes or locks rows.
    Rows,
    /// It is run again.
    Repeats,
    /// It may have ended the transaction by a commit.
    Commits,
    /// It ends a prepared transaction, and does nothing else.
    Ends,
    /// It must not run twice, or nobody knows what it does.
    Never,
}

impl Plan {
    /// Whether it may be run again in a transaction that is begun anew.
    pub(crate) fn may_rerun(&self) -> bool {
        self.rerun != Rerun::Never
    }

    /// What it means for its transaction's being run again, if it is no plain transaction control.
    pub(crate) fn weight(&self) -> Weight {
        match self.rerun {
            Rerun::Commits | Rerun::Never => Weight::Mixes,
            Rerun::Ends => Weight::Ends,
            _ if self.is_read() => Weight::Reads,
            Rerun::Looks => Weight::Looks,
            Rerun::Rows => Weight::Rows,
            Rerun::Repeats => Weight::Writes,
        }
    }

    /// Whether it ends a prepared transaction, and does nothing else.
    pub(crate) fn ends_prepared(&self) -> bool {
        self.rerun == Rerun::Ends
    }

    /// Whether it may commit the transaction that it is in.
    pub(crate) fn may_commit(&self) -> bool {
        self.rerun == Rerun::Commits
    }
}
