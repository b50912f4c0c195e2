//! A standby that reads for a session: the way to it, and what is seen of it meanwhile.

use std::rc::Rc;
use std::sync::Arc;

use helios_wire::error_response::ErrorFields;

use super::handle::Handle;
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
    /// Absent where there was nothing to choose.
    reason: Option<Reason>,
}

/// A way, or why there is none yet.
pub(super) type Found = Result<Way, Homeless>;

impl Way {
    /// There is nothing to choose.
    pub(super) fn pooled(shard: Rc<PoolShard>) -> Way {
        Way {
            shard,
            reader: None,
            reason: None,
        }
    }

    pub(super) fn to_primary(shard: Rc<PoolShard>, reason: Reason) -> Way {
        Way {
            shard,
            reader: None,
            reason: Some(reason),
        }
    }

    pub(super) fn to_standby(shard: Rc<PoolShard>, reader: Reader, reason: Reason) -> Way {
        Way {
            shard,
            reader: Some(reader),
            reason: Some(reason),
        }
    }

    /// It is gone. Counts where a transaction goes and why, for whoever looks at the session.
    pub(super) fn take(self, handle: &Handle) -> (Rc<PoolShard>, Option<Reader>) {
        if let Some(reason) = self.reason {
            self.shard.shared.standing.count(reason);
        }
        handle.set_reason(self.reason, self.reader.is_some());
        (self.shard, self.reader)
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
    /// No other node may be asked.
    pub(super) is_bound: bool,
    /// Its block may write, and leaves it then.
    pub(super) is_tried: bool,
    /// It could not do what it was asked for want of something that only it lacks.
    has_failed: bool,
}

impl Reader {
    pub(super) fn new(standing: &Arc<Standing>, certainty: Certainty, is_bound: bool) -> Reader {
        standing.begin();
        Reader {
            standing: Arc::clone(standing),
            certainty,
            has_begun: false,
            is_bound,
            is_tried: false,
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
