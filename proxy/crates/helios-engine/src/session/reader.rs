//! A standby that reads for a session: the way to it, and what is seen of it meanwhile.

use std::rc::Rc;
use std::sync::Arc;

use helios_wire::error_response::ErrorFields;

use super::reading::Reach;
use super::{Homeless, Session};
use crate::nodes::{Certainty, Reason, Standing, Witness};
use crate::pool::PoolShard;

/// Errors that are the node's own trouble: no disk or memory left, a device that fails, damaged data.
const AILING: [&str; 6] = ["53100", "53200", "58000", "58030", "XX001", "XX002"];

/// A pool that the next transaction goes to.
pub(super) struct Way {
    pub(super) shard: Rc<PoolShard>,
    /// Present if it is a standby's.
    pub(super) reader: Option<Reader>,
}

/// A way, or why there is none yet.
pub(super) type Found = Result<Way, Homeless>;

impl Way {
    pub(super) fn to_primary(shard: Rc<PoolShard>) -> Way {
        Way {
            shard,
            reader: None,
        }
    }
}

/// A standby that a transaction is on, or is to be.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) standing: Arc<Standing>,
    /// It must say first that it has what the session must see.
    pub(super) certainty: Certainty,
    /// The client's request is on its way.
    pub(super) has_begun: bool,
    /// It could not do what it was asked for want of something that only it lacks.
    has_failed: bool,
}

impl Reader {
    pub(super) fn new(standing: &Arc<Standing>, certainty: Certainty) -> Reader {
        standing.begin();
        Reader {
            standing: Arc::clone(standing),
            certainty,
            has_begun: false,
            has_failed: false,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.standing.end();
    }
}

impl Session {
    /// Counts where a transaction goes and why, in a session whose reads are spread.
    pub(super) fn count_choice(&self, shard: &PoolShard, is_reader: bool) {
        if !self.is_split() {
            return;
        }
        let reason = match self.reach {
            _ if is_reader => Reason::Read,
            _ if self.attempt.is_again() => Reason::Retry,
            Reach::Standby => Reason::NoStandby,
            Reach::Primary => Reason::Write,
        };
        shard.shared.standing.count(reason);
    }

    /// A standby has answered a request in so many nanoseconds, by this moment of the process clock.
    pub(super) fn note_answer(&mut self, took: u64, now: u64) {
        let Some(reader) = self.link.as_mut().and_then(|link| link.reader.as_mut()) else {
            return;
        };
        if std::mem::take(&mut reader.has_failed) {
            return;
        }
        let shared = &self.worker.shared;
        shared.node_answered(&reader.standing, took, now);
    }

    /// A standby has answered with an error, which may say that it is not well.
    pub(super) fn note_reader_error(&mut self, fields: &ErrorFields<'_>) {
        let Some(reader) = self.link.as_mut().and_then(|link| link.reader.as_mut()) else {
            return;
        };
        let Some(state) = fields.sqlstate().filter(|state| AILING.contains(state)) else {
            return;
        };
        reader.has_failed = true;
        let shared = &self.worker.shared;
        shared.node_failed(&reader.standing, Witness::Traffic, state);
    }
}
