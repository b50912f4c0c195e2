//! The configuration in force, with what is derived from it once. Made by the engine, read by every worker.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Snapshot;
use crate::error::EngineError;
use crate::session::auth::Users;
use crate::tls::{Acceptor, Connector};

/// A snapshot with what is derived from it once.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) snapshot: Snapshot,
    pub(crate) users: Users,
    /// How clients are encrypted; absent is not at all.
    pub(crate) acceptor: Option<Acceptor>,
    /// By cluster, how its servers are; absent is not at all.
    pub(crate) connectors: HashMap<String, Arc<Connector>>,
    /// How Redis is; absent is not at all.
    pub(crate) key_connector: Option<Connector>,
}

impl Active {
    /// What a snapshot amounts to; `before` is what was in force so far.
    ///
    /// # Errors
    /// The field that cannot be used, in one sentence.
    pub(crate) fn new(document: &[u8], before: Option<&Active>) -> Result<Active, EngineError> {
        let snapshot = Snapshot::parse(document).map_err(EngineError::Snapshot)?;
        let known = before.map(|active| &active.users);
        let users = Users::new(&snapshot, known).map_err(EngineError::Snapshot)?;
        let acceptor = snapshot
            .tls
            .as_ref()
            .map(Acceptor::new)
            .transpose()
            .map_err(EngineError::Snapshot)?;
        let mut connectors = HashMap::new();
        for cluster in &snapshot.clusters {
            let made =
                Connector::new(&cluster.name, &cluster.tls).map_err(EngineError::Snapshot)?;
            connectors.extend(made.map(|connector| (cluster.name.clone(), Arc::new(connector))));
        }
        let keys = snapshot.consistency_keys.as_ref();
        let authorities = keys.and_then(|keys| keys.ca.as_deref());
        let key_connector = authorities
            .map(|pem| Connector::verifying("routing.consistency_keys.ca_file", pem))
            .transpose()
            .map_err(EngineError::Snapshot)?;
        Ok(Active {
            snapshot,
            users,
            acceptor,
            connectors,
            key_connector,
        })
    }
}
