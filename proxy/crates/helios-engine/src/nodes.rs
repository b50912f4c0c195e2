//! What is known of each node from moment to moment, and which of them answers a read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use crate::config::{Consistency, Routing};
use crate::topology::{ClusterTopology, NodeTopology};

/// A lag that is not known: too much for whoever has a limit.
const UNKNOWN: u64 = u64::MAX;

/// A position in WAL, in bytes.
pub(crate) type Lsn = u64;

/// What is known of a node from moment to moment; it outlives topologies.
#[derive(Debug)]
pub(crate) struct Standing {
    /// What it has applied, or as primary flushed.
    position: AtomicU64,
    lag_ms: AtomicU64,
    lag_bytes: AtomicU64,
    /// Transactions that it runs for clients of this process.
    running: AtomicUsize,
    /// How often it was chosen.
    chosen: AtomicU64,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing {
            position: AtomicU64::new(0),
            lag_ms: AtomicU64::new(UNKNOWN),
            lag_bytes: AtomicU64::new(UNKNOWN),
            running: AtomicUsize::new(0),
            chosen: AtomicU64::new(0),
        }
    }
}

impl Standing {
    /// Begins a transaction on it.
    pub(crate) fn begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends one.
    pub(crate) fn end(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn position(&self) -> Lsn {
        self.position.load(Ordering::Acquire)
    }

    /// Whether it may answer a read that must see everything before `floor`.
    fn fits(&self, routing: &Routing, floor: Lsn) -> bool {
        let within = |lag: &AtomicU64, limit: u64| limit == 0 || lag.load(Ordering::Relaxed) <= limit;
        match routing.consistency {
            Consistency::Strong => false,
            Consistency::Eventual => true,
            Consistency::Session | Consistency::Bounded => {
                within(&self.lag_ms, routing.max_lag_ms)
                    && within(&self.lag_bytes, routing.max_lag_bytes)
                    && self.position() >= floor
            }
        }
    }
}

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
    /// What is known of a node.
    pub(crate) fn standing(&self, cluster: &str, name: &str) -> Arc<Standing> {
        let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (cluster.to_owned(), name.to_owned());
        Arc::clone(nodes.entry(key).or_default())
    }

    /// Takes in how far nodes are.
    pub(crate) fn set_positions(&self, document: &[u8]) -> Result<(), String> {
        let positions: Positions = crate::config::read("positions", document)?;
        for node in positions.nodes {
            let standing = self.standing(&node.cluster, &node.name);
            let lag_ms = node.lag_ms.map_or(UNKNOWN, |lag| lag as u64);
            standing.lag_ms.store(lag_ms, Ordering::Relaxed);
            let lag_bytes = node.lag_bytes.unwrap_or(UNKNOWN);
            standing.lag_bytes.store(lag_bytes, Ordering::Relaxed);
            standing.position.store(node.position, Ordering::Release);
        }
        Ok(())
    }
}

/// The standby that answers a read which must see everything before `floor`, by its place among the cluster's nodes.
pub(crate) fn choose(cluster: &ClusterTopology, routing: &Routing, floor: Lsn) -> Option<usize> {
    let fits = |node: &NodeTopology| {
        node.standby && node.healthy && node.weight > 0 && node.standing.fits(routing, floor)
    };
    let able = cluster.nodes.iter().enumerate().filter(|(_, node)| fits(node));
    let (place, node) = able.min_by_key(|(_, node)| {
        let standing = &node.standing;
        (
            standing.running.load(Ordering::Relaxed),
            standing.chosen.load(Ordering::Relaxed),
        )
    })?;
    node.standing.chosen.fetch_add(1, Ordering::Relaxed);
    Some(place)
}
