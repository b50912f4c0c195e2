//! Where a statement runs, and for how long, as the planner has decided.

use serde::Deserialize;

use crate::config::{Consistency, Workload, WriteMode};
use crate::nodes::Reason;

/// Where a statement runs, and for how long.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Aim {
    pub(crate) route: Route,
    pub(crate) origin: Origin,
    /// The node that somebody names.
    pub(crate) node: Option<String>,
    /// The kind of work that a read is, where nodes of their own may answer it.
    pub(crate) workload: Option<Workload>,
    /// Of a read; absent is as its database has it, as below.
    pub(crate) consistency: Option<Consistency>,
    pub(crate) max_lag_ms: Option<u64>,
    /// Milliseconds until it is cancelled.
    pub(crate) timeout_ms: Option<u64>,
    /// What the client is told.
    pub(crate) notices: Vec<String>,
    /// A hint says what must be seen.
    pub(crate) has_token: bool,
    /// How far writes must have come, where a hint says so.
    pub(crate) write_mode: Option<WriteMode>,
}

impl Aim {
    /// Whether both may run on the same node, for what they ask. Of kinds of work the heaviest decides.
    pub(crate) fn agrees(&self, other: &Aim) -> bool {
        let of = |aim: &Aim| (aim.route, aim.consistency, aim.max_lag_ms);
        of(self) == of(other) && self.node == other.node
    }
}

/// Which nodes may run a statement.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Route {
    #[default]
    Primary,
    Any,
    Standby,
}

/// What a route is decided by.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    #[default]
    Statement,
    Hint,
    Rule,
    Workload,
}

impl Origin {
    /// Nobody says where the statement goes.
    pub(crate) fn is_own(self) -> bool {
        matches!(self, Origin::Statement | Origin::Workload)
    }

    /// The reason to be told for a choice that has another where the statement itself decides.
    pub(crate) fn reason(self, own: Reason) -> Reason {
        match self {
            // Of its kind's own nodes the choice itself tells.
            Origin::Statement | Origin::Workload => own,
            Origin::Hint => Reason::Hint,
            Origin::Rule => Reason::Rule,
        }
    }
}

/// What a text that is transaction control does with the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Block {
    pub(crate) verb: Verb,
    pub(crate) access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verb {
    Begin,
    Start,
    Set,
    Commit,
    Rollback,
}

impl Verb {
    /// What PostgreSQL says when it has done it.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Verb::Begin => "BEGIN",
            Verb::Start => "START TRANSACTION",
            Verb::Set => "SET",
            Verb::Commit => "COMMIT",
            Verb::Rollback => "ROLLBACK",
        }
    }
}

/// What is said of a transaction.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
    /// A standby has no such transactions.
    Serializable,
    /// All of it sees one snapshot, and whether it writes is not said.
    Snapshot,
    /// The session's defaults decide.
    #[default]
    Unsaid,
}

impl Access {
    /// Whether a standby may run it, where one that says nothing is as `by_default`.
    pub(crate) fn is_for_standby(self, by_default: bool) -> bool {
        match self {
            Access::ReadOnly => true,
            Access::Unsaid | Access::Snapshot => by_default,
            Access::ReadWrite | Access::Serializable => false,
        }
    }

    /// What holds when this is said after that.
    pub(crate) fn then(self, later: Access) -> Access {
        match (self, later) {
            (Access::Serializable, _) | (_, Access::Unsaid) => self,
            (Access::ReadOnly | Access::ReadWrite, Access::Snapshot) => self,
            (_, later) => later,
        }
    }
}
