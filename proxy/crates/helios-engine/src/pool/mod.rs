//! Pools of server connections, one per node, database and server role. `shared` is what all workers see of one,
//! `shard` what one worker holds of it: its idle servers and its waiting clients, `budget` what pools share.

mod budget;
mod shard;
mod shared;
mod waiters;

pub(crate) use budget::Budgets;
pub(crate) use shard::{PoolShard, Ticket};
pub(crate) use shared::{Common, PoolShared, Profile, SamplerSeat, Slot};
pub(crate) use waiters::{Denial, Grant};

use helios_wire::startup::Replication;

use crate::config::{PoolMode, PoolSettings, ANY_DATABASE};

/// What two clients must have in common to be given the same server connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PoolKey {
    pub(crate) cluster: String,
    pub(crate) node: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The name of the entry in `databases`.
    pub(crate) entry: String,
    /// The database on the server.
    pub(crate) database: String,
    /// The role on the server.
    pub(crate) user: String,
    /// Of replication connections only, each of which is its client's own: nothing waits in line here, and nothing
    /// comes back.
    pub(crate) replication: Option<Replication>,
}

impl PoolKey {
    /// What the settings of its entry come to here.
    fn settings(&self, entry: &PoolSettings) -> PoolSettings {
        match self.replication {
            None => entry.clone(),
            Some(_) => PoolSettings {
                mode: PoolMode::Session,
                min_idle: 0,
                reserve_size: 0,
                ..entry.clone()
            },
        }
    }

    /// The name that an administrator knows the database by, as `Database::shown`.
    pub(crate) fn shown(&self) -> &str {
        match self.entry.as_str() {
            ANY_DATABASE => &self.database,
            name => name,
        }
    }
}
