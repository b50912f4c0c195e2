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
    /// How long it takes to have what the primary has, in microseconds; learnt from what it says before reads.
    delay_us: AtomicU64,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing {
            position: AtomicU64::new(0),
            lag_ms: AtomicU64::new(UNKNOWN),
            lag_bytes: AtomicU64::new(UNKNOWN),
            running: AtomicUsize::new(0),
            chosen: AtomicU64::new(0),
            delay_us: AtomicU64::new(0),
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

    /// What it said of itself before a read that had to see what was written `age_us` ago.
    pub(crate) fn learn(&self, position: Lsn, is_enough: bool, age_us: u64) {
        self.position.fetch_max(position, Ordering::AcqRel);
        let delay = self.delay_us.load(Ordering::Relaxed);
        let delay = match is_enough {
            true => delay - delay / 32,
            false => delay.max(age_us) + delay.max(age_us) / 8,
        };
        self.delay_us.store(delay, Ordering::Relaxed);
    }

    /// Whether it may answer, as far as its lag goes and what must be seen: at once, or if it says that it has that.
    fn fits(&self, routing: &Routing, need: Need) -> Option<Certainty> {
        let within =
            |lag: &AtomicU64, limit: u64| limit == 0 || lag.load(Ordering::Relaxed) <= limit;
        let is_in_time = || {
            within(&self.lag_ms, routing.max_lag_ms)
                && within(&self.lag_bytes, routing.max_lag_bytes)
        };
        match routing.consistency {
            Consistency::Strong => None,
            Consistency::Eventual => Some(Certainty::Known),
            Consistency::Bounded => is_in_time().then_some(Certainty::Known),
            Consistency::Session if !is_in_time() => None,
            Consistency::Session if self.position() >= need.floor => Some(Certainty::Known),
            Consistency::Session => {
                (need.age_us >= self.delay_us.load(Ordering::Relaxed)).then_some(Certainty::Asked)
            }
        }
    }
}

/// What a read must see.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Need {
    /// Everything before.
    pub(crate) floor: Lsn,
    /// How long ago that was written at least.
    pub(crate) age_us: u64,
}

/// Whether a standby is known to have what a read must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certainty {
    Known,
    /// It probably has, and is asked before.
    Asked,
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

/// The standby that answers a read, by its place among the cluster's nodes. `kept` is one that is preferred as long as it
/// is of use, since it has everything that must be seen.
pub(crate) fn choose(
    cluster: &ClusterTopology,
    routing: &Routing,
    need: Option<Need>,
    kept: Option<&Arc<Standing>>,
) -> Option<(usize, Certainty)> {
    let fits = |node: &NodeTopology| {
        let is_kept = kept.is_some_and(|kept| Arc::ptr_eq(kept, &node.standing));
        let need = if is_kept { Some(Need::default()) } else { need };
        let is_up = node.standby && node.healthy && node.weight > 0;
        let certainty = node.standing.fits(routing, need.filter(|_| is_up)?)?;
        Some((!is_kept, certainty))
    };
    let able = cluster.nodes.iter().enumerate();
    let able = able.filter_map(|(place, node)| Some((place, node, fits(node)?)));
    let (place, node, (_, certainty)) = able.min_by_key(|(_, node, (is_other, certainty))| {
        let standing = &node.standing;
        (
            *is_other,
            *certainty == Certainty::Asked,
            standing.running.load(Ordering::Relaxed),
            standing.chosen.load(Ordering::Relaxed),
        )
    })?;
    node.standing.chosen.fetch_add(1, Ordering::Relaxed);
    Some((place, certainty))
}
