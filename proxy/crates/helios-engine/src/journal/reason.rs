//! Why transactions and sessions are lost with their server.

/// Why a transaction is lost with its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The journal is full.
    Overflow,
    /// It has run something that must not run twice, or that nothing is known of.
    Statement,
    /// It has copied.
    Copy,
    /// The unnamed statement of an earlier transaction was used and is gone.
    UnnamedStatement,
    /// The session holds something that the server had.
    Pinned,
    /// A commit was under way, of which nobody knows whether it came to be.
    Outcome,
    /// Something gave another answer.
    Answer,
    /// The next primary's sequence may give a number again that the client has seen, or something else stands against it.
    Sequence,
    /// It has left values that would be others, and that the client has not seen.
    Mutable,
    /// A lock was waited for in vain.
    Lock,
    /// The client has cancelled it.
    Cancelled,
    /// There was no server to be had.
    NoServer,
    /// Servers were lost again and again.
    Losses,
    /// The next primary lacks what the session has seen.
    History,
    /// The session had advisory locks that cannot be had again.
    Advisory,
    /// It had temporary tables that cannot be made again as they were.
    TemporaryTable,
    /// It had cursors WITH HOLD that cannot be declared again as they were.
    Cursor,
}

impl Reason {
    pub(crate) const ALL: [Reason; 17] = [
        Reason::Overflow,
        Reason::Statement,
        Reason::Copy,
        Reason::UnnamedStatement,
        Reason::Pinned,
        Reason::Outcome,
        Reason::Answer,
        Reason::Sequence,
        Reason::Mutable,
        Reason::Lock,
        Reason::Cancelled,
        Reason::NoServer,
        Reason::Losses,
        Reason::History,
        Reason::Advisory,
        Reason::TemporaryTable,
        Reason::Cursor,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::Overflow => "overflow",
            Reason::Statement => "statement",
            Reason::Copy => "copy",
            Reason::UnnamedStatement => "unnamed_statement",
            Reason::Pinned => "pinned",
            Reason::Outcome => "outcome",
            Reason::Answer => "answer",
            Reason::Sequence => "sequence",
            Reason::Mutable => "mutable",
            Reason::Lock => "lock",
            Reason::Cancelled => "cancelled",
            Reason::NoServer => "no_server",
            Reason::Losses => "losses",
            Reason::History => "history",
            Reason::Advisory => "advisory",
            Reason::TemporaryTable => "temp_table",
            Reason::Cursor => "cursor",
        }
    }
}
