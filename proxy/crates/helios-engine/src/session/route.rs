//! Where a session's next transaction may go: the database entry that its client means, and a pool of its node.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use helios_wire::sqlstate;

use super::reads::{self, Reads};
use super::Session;
use crate::config::Database;
use crate::error::Refusal;
use crate::pool::PoolShard;
use crate::worker::Active;

/// Where a session's transactions go, until configuration or topology change.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) revision: u64,
    pub(super) entry: Arc<Database>,
    /// The primary's.
    pub(super) shard: Rc<PoolShard>,
    /// Absent where reads go there as well.
    pub(super) reads: Option<Reads>,
}

/// Why there is no pool to go to, and as of which revision of configuration and topology.
#[derive(Debug)]
pub(super) struct Homeless {
    pub(super) revision: u64,
    pub(super) reason: String,
    /// It may pass without another revision, so it is looked for that often.
    pub(super) look_again: Option<Duration>,
}

impl Session {
    /// The database entry that the client's name means now.
    pub(super) fn entry(&self, active: &Active) -> Result<Arc<Database>, Refusal> {
        active
            .snapshot
            .database_at(self.seat.role(), &self.login().database)
            .cloned()
            .ok_or_else(|| {
                let text = format!("database \"{}\" does not exist", self.login().database);
                Refusal::new(sqlstate::INVALID_CATALOG_NAME, text)
                    .hint("Add it to [[databases]], or an entry named \"*\".")
            })
    }

    /// The pool for the next transaction; an outer error ends the session, an inner one may pass.
    pub(super) fn route(&mut self) -> Result<Result<Rc<PoolShard>, Homeless>, Refusal> {
        loop {
            let revision = self.worker.shared.revision.load(Ordering::SeqCst);
            if let Some(route) = self
                .route
                .as_ref()
                .filter(|route| route.revision == revision)
            {
                return Ok(Ok(Rc::clone(&route.shard)));
            }
            let active = self.worker.shared.active.load();
            let topology = self.worker.shared.topology.load();
            let entry = self.entry(&active)?;
            let node = match reads::home(&entry, &topology) {
                Ok(node) => node,
                Err(reason) => {
                    return Ok(Err(Homeless {
                        revision,
                        reason,
                        look_again: None,
                    }))
                }
            };
            // No pool: something has changed meanwhile, so look again.
            if let Some(shard) = self.worker.pool(revision, node, &entry, self.login()) {
                let reads = Reads::new(&entry, &topology, &shard, &self.worker);
                self.route = Some(Route {
                    revision,
                    entry,
                    shard,
                    reads,
                });
                self.note_primary(&node.name);
            }
        }
    }
}
