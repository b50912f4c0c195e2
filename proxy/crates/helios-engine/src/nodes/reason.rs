//! Why a transaction of a session whose reads are spread went to the node that it went to.

use crate::config::Workload;

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It only reads, and a standby may answer it.
    Read,
    /// It may do more than read, so that only the primary may run it.
    Write,
    /// It only reads, but no standby is fresh enough and well.
    NoStandby,
    /// It only reads, and Redis could not tell what its consistency key must see.
    Key,
    /// A standby could not answer it.
    Retry,
    /// A hint in it says so.
    Hint,
    /// A routing rule says so.
    Rule,
    /// Its database is one of standbys.
    Role,
    /// It only reads, and is of a kind of work that the node is meant for; also below.
    Oltp,
    Olap,
    Vector,
    Cold,
    /// It only reads, and no node that is meant for its kind of work is fresh enough and well.
    Fallback,
    /// It has only read so far, in a block that may write.
    Optimistic,
    /// The block was on a standby before.
    Moved,
}

impl Reason {
    pub(crate) const ALL: [Reason; 15] = [
        Reason::Read,
        Reason::Write,
        Reason::NoStandby,
        Reason::Key,
        Reason::Retry,
        Reason::Hint,
        Reason::Rule,
        Reason::Role,
        Reason::Oltp,
        Reason::Olap,
        Reason::Vector,
        Reason::Cold,
        Reason::Fallback,
        Reason::Optimistic,
        Reason::Moved,
    ];

    /// For a node that is meant for this kind of work.
    pub(crate) fn of(workload: Workload) -> Reason {
        match workload {
            Workload::Cold => Reason::Cold,
            Workload::Oltp => Reason::Oltp,
            Workload::Vector => Reason::Vector,
            Workload::Olap => Reason::Olap,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::Read => "read",
            Reason::Write => "write",
            Reason::NoStandby => "no_standby",
            Reason::Key => "key",
            Reason::Retry => "retry",
            Reason::Hint => "hint",
            Reason::Rule => "rule",
            Reason::Role => "role",
            Reason::Oltp => "oltp",
            Reason::Olap => "olap",
            Reason::Vector => "vector",
            Reason::Cold => "cold",
            Reason::Fallback => "fallback",
            Reason::Optimistic => "optimistic",
            Reason::Moved => "moved",
        }
    }
}
