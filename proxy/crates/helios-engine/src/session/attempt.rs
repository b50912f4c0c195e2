//! A read that a standby has been asked, and whether its answer counts.

use std::sync::Arc;

use helios_wire::error_response::ErrorFields;
use helios_wire::frame::HEADER_LEN;
use helios_wire::sqlstate;

use crate::config::{Workload, WriteMode};
use crate::plans::{Aim, Origin, Plan};

/// How a read that a standby was asked stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none, or its answer is on its way to the client.
    #[default]
    None,
    /// Nothing of its answer has gone to the client, or will before more is known.
    Open,
    /// The answer is of no use: it is dropped to its end.
    Withdrawn,
    /// It is the primary's turn.
    Again,
}

/// A read that a standby was asked, for as long as another node may be asked instead.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    pub(super) stage: Stage,
    /// The whole request.
    pub(super) request: Vec<u8>,
    /// Bytes for the client from before.
    pub(super) mark: usize,
    pub(super) plans: Vec<Arc<Plan>>,
    /// It is in a block that may write.
    pub(super) is_tried: bool,
    /// Why its answer is of no use.
    pub(super) cause: Option<Cause>,
    /// No standby is to be asked another time.
    pub(super) is_for_primary: bool,
    /// What decides where it goes.
    pub(super) origin: Origin,
    /// A hint names this node, which there is not.
    pub(super) stranger: Option<String>,
    /// A hint says what must be seen.
    pub(super) has_token: bool,
    /// How far what it writes must have come, where a hint says so.
    pub(super) write_mode: Option<WriteMode>,
}

/// Whether a message of a server counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Stands,
    Withdrawn,
}

impl Attempt {
    /// What its statements ask for, which is alike for all of them.
    pub(super) fn aim(&self) -> Option<&Aim> {
        self.plans.first().map(|plan| &plan.aim)
    }

    pub(super) fn named(&self) -> Option<&str> {
        self.aim()?.node.as_deref()
    }

    /// The kind of work that it is.
    pub(super) fn workload(&self) -> Option<Workload> {
        let kinds = self.plans.iter().filter_map(|plan| plan.aim.workload);
        let kind = kinds.max();
        let is_light = kind.is_none_or(|kind| kind == Workload::Oltp);
        let is_cold = is_light && !self.plans.is_empty() && self.origin.is_own();
        match is_cold && self.plans.iter().all(|plan| plan.is_cold()) {
            true => Some(Workload::Cold),
            false => kind,
        }
    }

    /// Its answer has been dropped.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.stage == Stage::Withdrawn
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Withdrawn)
    }

    /// Looks at a message of the standby before it is passed on.
    pub(super) fn judge(&mut self, tag: u8, message: &[u8], is_ours: bool) -> Verdict {
        match (self.stage, tag) {
            (Stage::None | Stage::Again, _) => return Verdict::Stands,
            // What is asked ahead of it has its own judge.
            _ if is_ours => return Verdict::Stands,
            (Stage::Withdrawn, _) => return Verdict::Withdrawn,
            // Ahead of the answer.
            (Stage::Open, b'1' | b'2' | b'3' | b't' | b'T' | b'n' | b'N' | b'S' | b'A') => {
                return Verdict::Stands
            }
            (Stage::Open, b'E') => {
                let fields = ErrorFields::new(message.get(HEADER_LEN..).unwrap_or_default());
                if fields.is_fatal() {
                    // The end of the stream decides.
                    return Verdict::Withdrawn;
                }
                if let Some(cause) = Cause::of(&fields) {
                    self.withdraw(cause);
                    return Verdict::Withdrawn;
                }
            }
            _ => {}
        }
        self.close();
        Verdict::Stands
    }

    pub(super) fn withdraw(&mut self, cause: Cause) {
        self.stage = Stage::Withdrawn;
        self.cause = Some(cause);
        self.is_for_primary = cause != Cause::Behind;
        if cause == Cause::Impossible {
            // Its claim to read was wrong, or something that it reads is not there.
            for plan in &self.plans {
                plan.learn_write();
            }
        }
    }

    pub(super) fn close(&mut self) {
        self.stage = Stage::None;
        self.plans.clear();
        self.is_tried = false;
        self.cause = None;
        self.is_for_primary = false;
        self.origin = Origin::default();
        self.stranger = None;
        self.has_token = false;
        self.write_mode = None;
    }
}

/// Why a standby could not answer a read that the primary can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It is no statement for a standby.
    Impossible,
    /// Replaying what the primary has done came first.
    Conflict,
    /// It has not replayed what the session must see.
    Behind,
}

impl Cause {
    fn of(error: &ErrorFields<'_>) -> Option<Cause> {
        match error.sqlstate()? {
            // "Cached plan must not change result type" says nothing of the statement.
            sqlstate::FEATURE_NOT_SUPPORTED
                if error.routine().as_deref() == Some("RevalidateCachedQuery") =>
            {
                None
            }
            sqlstate::READ_ONLY_SQL_TRANSACTION
            | sqlstate::FEATURE_NOT_SUPPORTED
            | sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE => Some(Cause::Impossible),
            sqlstate::SERIALIZATION_FAILURE => Some(Cause::Conflict),
            _ => None,
        }
    }
}
