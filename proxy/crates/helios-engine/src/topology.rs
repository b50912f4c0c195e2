//! Where the primaries are, as Python's polling last found out.

use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::Arc;

use serde::Deserialize;

use crate::nodes::{Nodes, Standing};

/// Roles of all clusters at one moment.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// One entry a cluster.
    pub clusters: Vec<Arc<ClusterTopology>>,
}

/// Roles of one cluster.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterTopology {
    /// Cluster's name.
    pub name: String,
    /// Node that takes writes; absent while nobody, or more than one, proves to be it.
    pub primary: Option<String>,
    /// Why there is no primary, for the client's error.
    pub reason: Option<String>,
    /// The primary waits with an acknowledgement until a standby has what it says.
    pub synchronous: bool,
    /// Its servers.
    pub nodes: Vec<NodeTopology>,
    /// Of late, as far as they were ours.
    pub promotions: Vec<Promotion>,
    /// Counts choices among them.
    #[serde(skip)]
    pub(crate) turn: AtomicU64,
}

/// Where the history of a primary parts from its predecessor's.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    /// Of the new primary.
    pub timeline: u32,
    /// Nothing that its predecessor wrote from here on is in it.
    pub forked_at: u64,
    /// No transaction with this number or a later one came over.
    pub xid_bound: u64,
}

/// One server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeTopology {
    /// Name, unique in the cluster.
    pub name: String,
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What the host's name stands for, in the order to try them; none where that is for the system to find out.
    pub addresses: Arc<[IpAddr]>,
    /// Whether polls reach it; a primary is healthy by definition.
    pub healthy: bool,
    /// It replays what the primary writes.
    pub standby: bool,
    /// Another node is primary in its place, or is about to be: no connection to it may carry anything any more.
    pub fenced: bool,
    /// Its share of reads.
    pub weight: u32,
    /// Where it runs.
    pub zone: Option<String>,
    /// What is known of it by now.
    #[serde(skip)]
    pub(crate) standing: Arc<Standing>,
}

impl Topology {
    /// Reads the document.
    ///
    /// # Errors
    /// What serde says.
    pub(crate) fn parse(document: &[u8], nodes: &Nodes) -> Result<Topology, String> {
        let mut topology: Topology = crate::config::read("topology", document)?;
        for cluster in &mut topology.clusters {
            // Nobody else has it yet.
            if let Some(cluster) = Arc::get_mut(cluster) {
                for node in &mut cluster.nodes {
                    node.standing = nodes.standing(&cluster.name, &node.name);
                }
            }
        }
        Ok(topology)
    }

    /// A cluster, if it has been polled.
    pub(crate) fn cluster(&self, name: &str) -> Option<&Arc<ClusterTopology>> {
        self.clusters.iter().find(|entry| entry.name == name)
    }

    /// Whether a node is known to be a standby.
    pub(crate) fn is_standby(&self, cluster: &str, name: &str) -> bool {
        let nodes = self.cluster(cluster).map(|cluster| &cluster.nodes);
        let mut nodes = nodes.into_iter().flatten();
        nodes.any(|node| node.name == name && node.standby)
    }

    /// The primary of a cluster, or why there is none.
    pub fn primary(&self, cluster: &str) -> Result<&NodeTopology, String> {
        let Some(found) = self.cluster(cluster) else {
            return Err("its nodes have not been polled yet".to_owned());
        };
        let named = found
            .primary
            .as_ref()
            .and_then(|name| found.nodes.iter().find(|node| &node.name == name));
        named.ok_or_else(|| {
            found
                .reason
                .clone()
                .unwrap_or_else(|| "no node proves to be the primary".to_owned())
        })
    }
}
