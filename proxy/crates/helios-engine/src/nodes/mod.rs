//! The nodes from moment to moment, and which of them answers a read. `standing` is what is known of one, `breaker` its
//! circuit, `latency` how long it takes, `strategy` the choice, `outlier` the comparison, `circuits` what is seen of nodes
//! and told, `reason` why one was chosen.

mod breaker;
mod circuits;
mod latency;
mod outlier;
mod reason;
mod standing;
mod strategy;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::Value;

pub(crate) use breaker::Witness;
pub(crate) use reason::Reason;
pub(crate) use standing::Standing;

use crate::config::{Freshness, Routing};
use crate::topology::{ClusterTopology, NodeTopology};
use strategy::Candidate;

/// A position in WAL, in bytes.
pub(crate) type Lsn = u64;

/// The nodes of the process, by cluster and name.
#[derive(Debug, Default)]
pub(crate) struct Nodes(Mutex<HashMap<(String, String), Arc<Standing>>>);

/// Positions as Python writes them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Positions {
    nodes: Vec<Position>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    cluster: String,
    name: String,
    position: Lsn,
    lag_ms: Option<f64>,
    lag_bytes: Option<u64>,
}

impl Nodes {
    fn all(&self) -> MutexGuard<'_, HashMap<(String, String), Arc<Standing>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a node.
    pub(crate) fn standing(&self, cluster: &str, name: &str) -> Arc<Standing> {
        let mut nodes = self.all();
        let key = (cluster.to_owned(), name.to_owned());
        let new = || Arc::new(Standing::new(cluster, name));
        Arc::clone(nodes.entry(key).or_insert_with(new))
    }

    /// Takes in how far nodes are.
    pub(crate) fn set_positions(&self, document: &[u8]) -> Result<(), String> {
        let positions: Positions = crate::config::read("positions", document)?;
        for node in positions.nodes {
            self.standing(&node.cluster, &node.name).set_position(&node);
        }
        Ok(())
    }

    /// Forgets nodes that no topology and no pool has any more.
    pub(crate) fn forget_unused(&self) {
        self.all()
            .retain(|_, standing| Arc::strong_count(standing) > 1);
    }

    /// Their rows in the state document.
    pub(crate) fn rows(&self) -> Vec<Value> {
        let mut nodes: Vec<_> = self.all().values().cloned().collect();
        nodes.sort_by(|a, b| (&a.cluster, &a.name).cmp(&(&b.cluster, &b.name)));
        nodes.iter().map(|standing| standing.row()).collect()
    }
}

/// What a read must see.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Need {
    /// Everything before.
    pub(crate) floor: Lsn,
    /// How long ago that was written at least.
    pub(crate) age_us: u64,
    /// It was carried here, and nobody knows how much longer ago.
    pub(crate) is_carried: bool,
}

/// Whether a standby is known to have what a read must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certainty {
    Known,
    /// It probably has, and is asked before.
    Asked,
}

/// Which nodes may answer a read. Who is named may, also where it takes no share of the others.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Meant<'a> {
    Anyone,
    Named(&'a str),
    /// Whether it is one of these, by its place.
    Group(&'a [bool]),
}

impl Meant<'_> {
    fn has(self, place: usize, node: &NodeTopology) -> bool {
        match self {
            Meant::Anyone => node.weight > 0,
            Meant::Named(name) => name == node.name,
            Meant::Group(members) => members[place],
        }
    }
}

/// What a read asks of a standby.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) freshness: Freshness,
    pub(crate) meant: Meant<'a>,
    /// `None` while that is not known; then only `kept` may answer.
    pub(crate) need: Option<Need>,
    /// One that has everything that must be seen.
    pub(crate) kept: Option<&'a Arc<Standing>>,
}

/// The standby that answers a read, by its place among the cluster's nodes: one of the own zone if there is one, and one
/// that need not be asked before if there is one.
pub(crate) fn choose(
    cluster: &ClusterTopology,
    routing: &Routing,
    wish: Wish<'_>,
) -> Option<(usize, Certainty)> {
    if wish.need.is_none() {
        // Nobody else may.
        let kept = wish.kept?;
        let is_kept = |node: &NodeTopology| Arc::ptr_eq(&node.standing, kept);
        let place = cluster.nodes.iter().position(is_kept)?;
        return Some((place, fitness(place, &cluster.nodes[place], wish)?));
    }
    let turn = cluster.turn.fetch_add(1, Ordering::Relaxed);
    let pick = |is_local: bool, certainty: Certainty| {
        let nodes = cluster.nodes.iter().enumerate();
        let able = nodes.filter(|&(place, node)| {
            (!is_local || node.zone == routing.zone)
                && fitness(place, node, wish) == Some(certainty)
        });
        let place = strategy::pick(routing.read_strategy, turn, able.map(candidate))?;
        Some((place, certainty))
    };
    let pick =
        |is_local| pick(is_local, Certainty::Known).or_else(|| pick(is_local, Certainty::Asked));
    let local = routing.zone.as_ref().and_then(|_| pick(true));
    local.or_else(|| pick(false))
}

/// Whether any standby may answer a read.
pub(crate) fn has_fit(cluster: &ClusterTopology, wish: Wish<'_>) -> bool {
    let mut nodes = cluster.nodes.iter().enumerate();
    nodes.any(|(place, node)| fitness(place, node, wish).is_some())
}

/// Whether a node may answer, and how sure that is.
fn fitness(place: usize, node: &NodeTopology, wish: Wish<'_>) -> Option<Certainty> {
    let standing = &node.standing;
    let is_up = node.standby && node.healthy && wish.meant.has(place, node) && standing.has_room();
    let is_kept = wish.kept.is_some_and(|kept| Arc::ptr_eq(kept, standing));
    let need = if is_kept {
        Some(Need::default())
    } else {
        wish.need
    };
    standing.fits(wish.freshness, need.filter(|_| is_up)?)
}

fn candidate((place, node): (usize, &NodeTopology)) -> Candidate {
    Candidate {
        place,
        weight: node.weight,
        share: node.standing.share(),
        running: node.standing.running(),
        expected: node.standing.latency().expected(),
    }
}

#[cfg(test)]
mod tests;
