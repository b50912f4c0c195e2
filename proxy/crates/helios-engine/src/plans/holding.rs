//! What a statement changes of the things that its session alone has.

use serde::Deserialize;

/// Names are those of relations without a schema, or with that of temporary ones: whether they are the session's own is
/// not known to the planner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "as the planner writes it")]
pub(crate) struct Holding {
    /// Temporary relations that outlive the transaction.
    pub(crate) makes: Vec<String>,
    /// Relations whose rows or definition it changes.
    pub(crate) writes: Vec<String>,
    /// Advisory locks of the session, and that it gives them back.
    pub(crate) takes_locks: bool,
    pub(crate) frees_locks: bool,
    /// It declares a cursor WITH HOLD.
    pub(crate) holds_cursor: bool,
    /// It declares, reads, moves or closes any cursor.
    pub(crate) moves_cursor: bool,
    /// What it writes is gone after it.
    pub(crate) drops: bool,
    /// It does something else as well, which must not be done twice.
    pub(crate) does_more: bool,
}
