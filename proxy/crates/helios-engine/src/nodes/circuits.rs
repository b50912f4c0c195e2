//! What is seen of nodes, taken into their circuits, and told when a circuit changes its state.

use std::sync::Arc;

use helios_wire::sqlstate;

use super::breaker::{State, Witness};
use super::{outlier, Standing};
use crate::config::CircuitBreaker;
use crate::events::Level;
use crate::pool::PoolShared;
use crate::server::auth::ConnectError;
use crate::topology::ClusterTopology;
use crate::worker::Shared;

/// Seconds over which nodes are compared.
const COMPARED_EVERY: u32 = 5;

impl Shared {
    /// A node did not do what was asked of it.
    pub(crate) fn node_failed(&self, node: &Standing, witness: Witness, cause: &str) {
        if witness == Witness::Traffic {
            node.count_failure();
        }
        let (rules, now) = (self.rules(), self.now());
        let turned = node.change(&rules, now, |circuit| {
            circuit.fail(&rules, now, witness, cause)
        });
        self.tell(node, turned);
    }

    /// A connection of a pool could not be had. What keeps one user out of the primary says nothing of the node, and a full
    /// one lives; a standby is of no use to whoever it keeps out.
    pub(crate) fn node_refused(&self, pool: &PoolShared, err: &ConnectError) {
        let is_full = err.sqlstate() == Some(sqlstate::TOO_MANY_CONNECTIONS);
        if self.is_reader(pool) || (err.may_pass() && !is_full) {
            self.node_failed(&pool.standing, Witness::Traffic, &err.to_string());
        }
    }

    /// A connection of a pool was had.
    pub(crate) fn node_connected(&self, pool: &PoolShared) {
        self.node_reached(&pool.standing, Witness::Traffic);
    }

    /// Whether only reads come to a pool, which other nodes may answer as well.
    pub(crate) fn is_reader(&self, pool: &PoolShared) -> bool {
        let key = &pool.key;
        self.topology.load().is_standby(&key.cluster, &key.node)
    }

    /// A node let somebody in.
    pub(crate) fn node_reached(&self, node: &Standing, witness: Witness) {
        let (rules, now) = (self.rules(), self.now());
        let turned = node.change(&rules, now, |circuit| circuit.succeed(&rules, now, witness));
        self.tell(node, turned);
    }

    /// A node answered a client's request in so many nanoseconds, by this moment of the process clock.
    pub(crate) fn node_answered(&self, node: &Standing, took: u64, now: u64) {
        let turned = node.answered(took, now, || self.rules());
        self.tell(node, turned);
    }

    /// Called every second, which seconds are counted by.
    pub(crate) fn tick_nodes(&self, seconds: u32) {
        let topology = self.topology.load();
        let (rules, now) = (self.rules(), self.now());
        for cluster in &topology.clusters {
            for node in &cluster.nodes {
                let standing = &node.standing;
                standing.latency().fade(now);
                let is_reached = node.healthy;
                let turned =
                    standing.change(&rules, now, |circuit| circuit.tick(&rules, now, is_reached));
                self.tell(standing, turned);
            }
            if seconds % COMPARED_EVERY == 0 {
                self.compare(cluster, &rules, now);
            }
        }
    }

    /// Opens the circuit of the standby that is far worse than the others, if there is one. One at a time, and it needs
    /// another to be compared with: reads never run out of nodes by this.
    fn compare(&self, cluster: &ClusterTopology, rules: &CircuitBreaker, now: u64) {
        let is_asked = |node: &&Arc<Standing>| node.state() == State::Closed;
        let standbys = cluster
            .nodes
            .iter()
            .filter(|node| node.standby && node.healthy);
        let standings: Vec<_> = standbys
            .map(|node| &node.standing)
            .filter(is_asked)
            .collect();
        let records: Vec<_> = standings.iter().map(|node| node.take_record()).collect();
        if !rules.enabled {
            return;
        }
        if let Some((place, cause)) = outlier::find(rules, &records) {
            let node = standings[place];
            let turned = node.change(rules, now, |circuit| circuit.eject(now, &cause));
            self.tell(node, turned);
        }
    }

    fn tell(&self, node: &Standing, turned: Option<State>) {
        let Some(state) = turned else { return };
        let (level, message) = match state {
            State::Open => (Level::Warning, "circuit opened: no reads for the node"),
            State::HalfOpen => (Level::Info, "circuit half-open: the node is tried"),
            State::Closed => (Level::Info, "circuit closed: reads for the node again"),
        };
        let mut fields = vec![
            ("cluster", node.cluster.clone()),
            ("node", node.name.clone()),
        ];
        if state == State::Open {
            fields.push(("cause", node.cause()));
        }
        self.events.log(level, message, fields);
    }

    fn rules(&self) -> CircuitBreaker {
        self.active.load().snapshot.circuit_breaker
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }
}
