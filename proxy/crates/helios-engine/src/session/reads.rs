//! Which nodes a session may use, and what holds for its reads.

use std::rc::Rc;
use std::sync::Arc;

use helios_wire::sqlstate;

use crate::class;
use crate::config::{Consistency, Database, Freshness, PoolMode, Role, Workload};
use crate::error::Refusal;
use crate::plans::{Aim, Route};
use crate::pool::PoolShard;
use crate::stamps::Sampler;
use crate::topology::{ClusterTopology, NodeTopology, Topology};
use crate::worker::Worker;

/// Where a session's reads may go, until configuration or topology change.
#[derive(Debug)]
pub(super) struct Reads {
    pub(super) entry: Arc<Database>,
    pub(super) cluster: Arc<ClusterTopology>,
    pub(super) sampler: Rc<Sampler>,
    /// Of the cluster's nodes, as far as they have been used.
    pub(super) shards: Vec<Option<Rc<PoolShard>>>,
    groups: Vec<Group>,
}

/// The nodes that a kind of work is for.
#[derive(Debug)]
pub(super) struct Group {
    workload: Workload,
    /// Whether it is one of them, by its place among the cluster's nodes.
    pub(super) members: Vec<bool>,
    /// The primary is one as well.
    pub(super) has_primary: bool,
}

impl Group {
    fn new(workload: Workload, globs: &[String], cluster: &ClusterTopology) -> Group {
        let is_meant = |name: &str| globs.iter().any(|glob| class::matches(glob, name));
        let nodes = cluster.nodes.iter();
        Group {
            workload,
            members: nodes.map(|node| is_meant(&node.name)).collect(),
            has_primary: cluster.primary.as_deref().is_some_and(is_meant),
        }
    }
}

impl Reads {
    /// Absent where the primary answers everything.
    pub(super) fn new(
        entry: &Arc<Database>,
        topology: &Topology,
        primary: &PoolShard,
        worker: &Worker,
    ) -> Option<Reads> {
        let is_split = entry.routing.is_some()
            && primary.with_settings(|settings| settings.mode) != PoolMode::Session;
        let is_bound = entry.role == Role::Standby;
        let cluster = topology.cluster(&entry.cluster);
        let cluster = cluster.filter(|_| is_split || is_bound)?;
        Some(Reads {
            entry: Arc::clone(entry),
            cluster: Arc::clone(cluster),
            sampler: worker.sampler(&cluster.name),
            shards: cluster.nodes.iter().map(|_| None).collect(),
            groups: entry
                .routing
                .iter()
                .flat_map(|routing| &routing.targets)
                .map(|(&workload, globs)| Group::new(workload, globs, cluster))
                .collect(),
        })
    }

    /// The nodes that a kind of work is for, if it has any of its own.
    pub(super) fn group(&self, workload: Option<Workload>) -> Option<&Group> {
        let of = |group: &&Group| Some(group.workload) == workload;
        self.groups.iter().find(of)
    }

    /// Whether standbys answer everything, so that there is nothing to choose and no primary to see the writes of.
    pub(super) fn is_bound(&self) -> bool {
        self.entry.role == Role::Standby
    }

    pub(super) fn consistency(&self) -> Consistency {
        match &self.entry.routing {
            Some(routing) if !self.is_bound() => routing.consistency,
            _ => Consistency::Strong,
        }
    }

    /// How fresh a standby must be for a read with this aim.
    pub(super) fn freshness(&self, aim: Option<&Aim>) -> Option<Freshness> {
        let mut freshness = self.entry.routing.as_ref()?.freshness();
        let Some(aim) = aim else {
            return Some(freshness);
        };
        // Who names a kind of node knows better than the configuration that nothing but the primary will do.
        if freshness.consistency == Consistency::Strong && aim.route == Route::Standby {
            freshness.consistency = Consistency::Bounded;
        }
        freshness.consistency = aim.consistency.unwrap_or(freshness.consistency);
        freshness.max_lag_ms = aim.max_lag_ms.unwrap_or(freshness.max_lag_ms);
        Some(freshness)
    }

    /// That there is no node of this name, for who named it.
    pub(super) fn unknown_node(&self, name: &str) -> Refusal {
        let known: Vec<&str> = self
            .cluster
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        let text = format!("there is no node \"{name}\"");
        Refusal::new(sqlstate::FEATURE_NOT_SUPPORTED, text).hint(format!(
            "Nodes of cluster \"{}\": {}.",
            self.cluster.name,
            known.join(", ")
        ))
    }
}

/// The node whose pool a session of this database begins with, or why there is none.
pub(super) fn home<'a>(
    entry: &Database,
    topology: &'a Topology,
) -> Result<&'a NodeTopology, String> {
    if entry.role == Role::Primary {
        let primary = topology.primary(&entry.cluster);
        return primary
            .map_err(|why| format!("cluster \"{}\" has no primary: {why}", entry.cluster));
    }
    let nodes = topology.cluster(&entry.cluster).map(|found| &found.nodes);
    let standby = nodes.into_iter().flatten().find(|node| node.standby);
    standby.ok_or_else(|| format!("cluster \"{}\" has no standby", entry.cluster))
}
