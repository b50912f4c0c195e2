//! Why a transaction of a session whose reads are spread went to the node that it went to.

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It only reads, and a standby may answer it.
    Read,
    /// It may do more than read, so that only the primary may run it.
    Write,
    /// It only reads, but no standby is fresh enough and well.
    NoStandby,
    /// A standby could not answer it.
    Retry,
    /// A hint in it says so.
    Hint,
    /// A routing rule says so.
    Rule,
    /// Its database is one of standbys.
    Role,
}

impl Reason {
    pub(crate) const ALL: [Reason; 7] = [
        Reason::Read,
        Reason::Write,
        Reason::NoStandby,
        Reason::Retry,
        Reason::Hint,
        Reason::Rule,
        Reason::Role,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::Read => "read",
            Reason::Write => "write",
            Reason::NoStandby => "no_standby",
            Reason::Retry => "retry",
            Reason::Hint => "hint",
            Reason::Rule => "rule",
            Reason::Role => "role",
        }
    }
}
