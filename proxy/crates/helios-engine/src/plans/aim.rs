//! Where a statement runs, and for how long, as the planner has decided.

use serde::Deserialize;

use crate::config::Consistency;
use crate::nodes::Reason;

/// Where a statement runs, and for how long.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Aim {
    pub(crate) route: Route,
    pub(crate) origin: Origin,
    /// The node that somebody names.
    pub(crate) node: Option<String>,
    /// Of a read; absent is as its database has it, as below.
    pub(crate) consistency: Option<Consistency>,
    pub(crate) max_lag_ms: Option<u64>,
    /// Milliseconds until it is cancelled.
    pub(crate) timeout_ms: Option<u64>,
    /// What the client is told.
    pub(crate) notices: Vec<String>,
}

impl Aim {
    /// Whether both may run on the same node, for what they ask.
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
}

impl Origin {
    /// The reason to be told for a choice that has another where the statement itself decides.
    pub(crate) fn reason(self, own: Reason) -> Reason {
        match self {
            Origin::Statement => own,
            Origin::Hint => Reason::Hint,
            Origin::Rule => Reason::Rule,
        }
    }
}

/// What a BEGIN says of its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Opening {
    ReadOnly,
    ReadWrite,
    Unsaid,
}

impl Opening {
    /// Whether it only reads, where one that says nothing is as `by_default`.
    pub(super) fn is_read_only(self, by_default: bool) -> bool {
        match self {
            Opening::ReadOnly => true,
            Opening::Unsaid => by_default,
            Opening::ReadWrite => false,
        }
    }
}
