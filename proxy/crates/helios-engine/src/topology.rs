//! Where the primaries are, as Python's polling last found out.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

/// Roles of all clusters at one moment.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// One entry a cluster.
    pub clusters: Vec<ClusterTopology>,
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
    /// Its servers.
    pub nodes: Vec<NodeTopology>,
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
    /// Whether the last poll reached it. Routing to standbys will ask; a primary is healthy by definition.
    #[serde(rename = "healthy")]
    pub _healthy: bool,
}

impl Topology {
    /// Reads the document.
    ///
    /// # Errors
    /// What serde says.
    pub fn parse(document: &[u8]) -> Result<Topology, String> {
        crate::config::read("topology", document)
    }

    /// The primary of a cluster, or why there is none.
    pub fn primary(&self, cluster: &str) -> Result<&NodeTopology, String> {
        let Some(found) = self.clusters.iter().find(|entry| entry.name == cluster) else {
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
