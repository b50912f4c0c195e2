//! Where a session's next transaction may go: the database entry that its client means, and a pool of its node.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use helios_wire::sqlstate;

use super::reads::{self, Reads};
use super::Session;
use crate::active::Active;
use crate::config::{Database, Role};
use crate::error::Refusal;
use crate::pool::PoolShard;
use crate::topology::Topology;

/// How often a session looks whether others have got back what they had.
const OTHERS_POLL: Duration = Duration::from_millis(5);

/// Where a session's transactions go, until configuration or topology change.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) revision: u64,
    pub(super) entry: Arc<Database>,
    /// The primary's; while nobody is it, one by which statements are still understood.
    pub(super) shard: Rc<PoolShard>,
    /// Why nobody is the primary.
    absence: Option<String>,
    /// Absent where reads go there as well.
    pub(super) reads: Option<Reads>,
}

impl Route {
    /// Whether standbys are all that there is.
    pub(super) fn is_without_primary(&self) -> bool {
        self.absence.is_some()
    }

    fn primary(&self) -> Result<Rc<PoolShard>, Homeless> {
        match &self.absence {
            None => Ok(Rc::clone(&self.shard)),
            Some(reason) => Err(Homeless::new(self.revision, reason.clone())),
        }
    }
}

/// Why there is no pool to go to, and as of which revision of configuration and topology.
#[derive(Debug)]
pub(super) struct Homeless {
    pub(super) revision: u64,
    pub(super) reason: String,
    /// It may pass without another revision, so it is looked for that often.
    pub(super) look_again: Option<Duration>,
}

impl Homeless {
    fn new(revision: u64, reason: String) -> Homeless {
        Homeless {
            revision,
            reason,
            look_again: None,
        }
    }
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

    /// The primary's pool for the next transaction; an outer error ends the session, an inner one may pass, and standbys
    /// may answer meanwhile.
    pub(super) fn route(&mut self) -> Result<Result<Rc<PoolShard>, Homeless>, Refusal> {
        loop {
            let revision = self.worker.shared.revision.load(Ordering::SeqCst);
            if let Some(route) = self
                .route
                .as_ref()
                .filter(|route| route.revision == revision)
            {
                return Ok(route.primary());
            }
            let active = self.worker.shared.active.load();
            let topology = self.worker.shared.topology.load();
            let entry = self.entry(&active)?;
            let (shard, absence) = match reads::home(&entry, &topology) {
                Ok(node) => {
                    let shard = self.worker.pool(revision, node, &entry, self.login());
                    (shard, None)
                }
                Err(reason) => match self.deputy(revision, &entry, &topology) {
                    Some(shard) => (shard, Some(reason)),
                    None => {
                        self.route = None;
                        return Ok(Err(Homeless::new(revision, reason)));
                    }
                },
            };
            // No pool: something has changed meanwhile, so look again.
            if let Some(shard) = shard {
                let reads = Reads::new(&entry, &topology, &shard, &self.worker);
                let primary = absence.is_none().then(|| shard.shared.key.node.clone());
                self.route = Some(Route {
                    revision,
                    entry,
                    shard,
                    absence,
                    reads,
                });
                if let Some(primary) = primary {
                    self.note_primary(&primary);
                }
            }
        }
    }

    /// Whoever begins something waits for the transactions that are run again.
    pub(super) fn after_others(
        &mut self,
        primary: Result<Rc<PoolShard>, Homeless>,
    ) -> Result<Rc<PoolShard>, Homeless> {
        let shard = primary?;
        if !self.waits_for_turn(&shard.shared.key.cluster) {
            return Ok(shard);
        }
        Err(Homeless {
            revision: self.route.as_ref().map_or(0, |route| route.revision),
            reason: "transactions are being run again that have lost their server".to_owned(),
            look_again: Some(OTHERS_POLL),
        })
    }

    /// While nobody is the primary: the pool of the last one, or of a standby. Outside: there is nothing that it would be
    /// good for. Inside: as for any pool.
    #[allow(clippy::option_option, reason = "whether, and what")]
    fn deputy(
        &self,
        revision: u64,
        entry: &Arc<Database>,
        topology: &Topology,
    ) -> Option<Option<Rc<PoolShard>>> {
        if entry.role != Role::Primary || entry.routing.is_none() {
            return None;
        }
        let is_its = |shard: &&Rc<PoolShard>| {
            shard.shared.key.entry == entry.name && !shard.shared.is_retired()
        };
        let last = self.route.as_ref().map(|route| &route.shard);
        if let Some(last) = last.filter(is_its) {
            return Some(Some(Rc::clone(last)));
        }
        let cluster = topology.cluster(&entry.cluster)?;
        let standby = cluster.nodes.iter().find(|node| node.standby)?;
        Some(self.worker.pool(revision, standby, entry, self.login()))
    }
}
