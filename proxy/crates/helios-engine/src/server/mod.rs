//! One server connection and what we know of its state. `connect` makes it, `auth` logs it in, `idle` looks after
//! it while nobody uses it.

pub(crate) mod auth;
mod backends;
pub(crate) mod connect;
pub(crate) mod evidence;
pub(crate) mod idle;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub(crate) use backends::{Backends, Holder};

use crate::config::Tcp;
use crate::pool::{Profile, Slot};
use crate::rt::{Conn, Moving};
use crate::settings::Bucket;
use crate::statements::ServerStatements;
use crate::tls::Connector;

/// One server connection as others see it: what a CancelRequest to it needs, and what it does now.
#[derive(Debug)]
pub(crate) struct Backend {
    /// Unique in the process, among clients too.
    pub(crate) id: u64,
    /// Its pool's when it was opened.
    pub(crate) era: u64,
    /// Its address, and ours.
    pub(crate) ends: Option<(SocketAddr, SocketAddr)>,
    /// How it is encrypted, for people to read.
    pub(crate) encryption: String,
    pub(crate) since: SystemTime,
    usage: Usage,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tcp: Tcp,
    pub(crate) pid: u32,
    pub(crate) key: Vec<u8>,
    /// How it was encrypted, and so must be a CancelRequest.
    pub(crate) tls: Option<Arc<Connector>>,
    /// Which client it works for.
    pub(crate) holder: Holder,
}

/// What a server connection does; its worker writes, others look.
#[derive(Debug, Default)]
struct Usage {
    /// The client that has it; 0 is nobody.
    client: AtomicU64,
    /// It is made fit for the next client.
    is_cleaned: AtomicBool,
    /// On the process clock, when it last came back to its pool.
    returned: AtomicU64,
    prepared: AtomicUsize,
}

impl Backend {
    /// Which of the host's addresses it is; none on a Unix socket.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.ends.map(|(server, _)| server.ip())
    }

    /// Notes which client has it; 0 is nobody.
    pub(crate) fn lend(&self, client: u64) {
        self.usage.client.store(client, Ordering::Relaxed);
    }

    pub(crate) fn client(&self) -> u64 {
        self.usage.client.load(Ordering::Relaxed)
    }

    pub(crate) fn set_cleaned(&self, is_cleaned: bool) {
        self.usage.is_cleaned.store(is_cleaned, Ordering::Relaxed);
    }

    pub(crate) fn is_cleaned(&self) -> bool {
        self.usage.is_cleaned.load(Ordering::Relaxed)
    }

    /// Notes when it came back, on the process clock.
    pub(crate) fn set_returned(&self, at: u64) {
        self.usage.returned.store(at, Ordering::Relaxed);
    }

    pub(crate) fn returned(&self) -> u64 {
        self.usage.returned.load(Ordering::Relaxed)
    }

    /// Notes how many statements are prepared on it.
    pub(crate) fn set_prepared(&self, prepared: usize) {
        self.usage.prepared.store(prepared, Ordering::Relaxed);
    }

    pub(crate) fn prepared(&self) -> usize {
        self.usage.prepared.load(Ordering::Relaxed)
    }
}

/// What a client may have left in the server's session since it was last known.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Doubts {
    /// Other settings than those of its bucket.
    pub(crate) settings: bool,
    /// Temporary objects, cursors, listens, statements of SQL's PREPARE, advisory locks.
    pub(crate) holds: bool,
    /// It may have begun to listen; one of the holds.
    pub(crate) listens: bool,
    /// What no catalog shows, such as a setting of an extension.
    pub(crate) unseen: bool,
    /// A library, which nothing unloads.
    pub(crate) library: bool,
}

impl Doubts {
    pub(crate) const NONE: Doubts = Doubts {
        settings: false,
        holds: false,
        listens: false,
        unseen: false,
        library: false,
    };

    pub(crate) const SETTINGS: Doubts = Doubts {
        settings: true,
        ..Doubts::NONE
    };
    pub(crate) const HOLDS: Doubts = Doubts {
        holds: true,
        ..Doubts::NONE
    };
    pub(crate) const LISTENS: Doubts = Doubts {
        listens: true,
        ..Doubts::HOLDS
    };
    pub(crate) const LIBRARY: Doubts = Doubts {
        library: true,
        ..Doubts::NONE
    };
    /// Code of others has run, which may have done what no catalog shows.
    pub(crate) const ANYTHING: Doubts = Doubts {
        settings: true,
        holds: true,
        listens: true,
        unseen: true,
        library: false,
    };

    /// All that the server can be asked about.
    pub(crate) const CATALOGUED: Doubts = Doubts {
        settings: true,
        holds: true,
        ..Doubts::NONE
    };

    pub(crate) fn any(self) -> bool {
        self != Doubts::NONE
    }

    pub(crate) fn add(&mut self, other: Doubts) {
        self.settings |= other.settings;
        self.holds |= other.holds;
        self.listens |= other.listens;
        self.unseen |= other.unseen;
        self.library |= other.library;
    }
}

/// What must be undone before another client gets the server.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dirt {
    /// Settings, cursors, listens, temporary tables… may be left.
    pub(crate) state: bool,
    /// SQL-level PREPARE was used.
    pub(crate) prepared: bool,
}

impl Dirt {
    pub(crate) const ALL: Dirt = Dirt {
        state: true,
        prepared: true,
    };

    pub(crate) fn any(self) -> bool {
        self.state || self.prepared
    }
}

/// A logged-in server connection.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) conn: Conn,
    pub(crate) state: ServerState,
}

/// All of a server connection but its socket, so that it can change threads.
#[derive(Debug)]
pub(crate) struct ServerState {
    pub(crate) backend: Arc<Backend>,
    /// Reported parameters as they are now.
    pub(crate) parameters: BTreeMap<String, String>,
    /// Settings applied beyond those of its login.
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) statements: ServerStatements,
    /// Whose unnamed statement it has; 0 is nobody's.
    pub(crate) unnamed: u64,
    pub(crate) dirt: Dirt,
    pub(crate) idle_since: Instant,
    /// When it is to be replaced.
    pub(crate) expires: Option<Instant>,
    /// Its place among the pool's connections.
    pub(crate) slot: Slot,
}

/// A server on its way to another worker.
#[derive(Debug)]
pub(crate) struct Parcel {
    moving: Moving,
    state: ServerState,
}

impl Server {
    /// Detaches the socket from this worker.
    pub(crate) fn pack(self) -> Option<Parcel> {
        let Server { conn, state } = self;
        conn.detach().ok().map(|moving| Parcel { moving, state })
    }

    /// What it reports now.
    pub(crate) fn profile(&self) -> Profile {
        let parameters = self.state.parameters.iter();
        parameters
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Notes a ParameterStatus.
    pub(crate) fn set_parameter(&mut self, name: &str, value: &str) {
        match self.state.parameters.get_mut(name) {
            Some(old) => value.clone_into(old),
            None => drop(
                self.state
                    .parameters
                    .insert(name.to_owned(), value.to_owned()),
            ),
        }
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.state.expires.is_some_and(|expires| expires <= now)
    }

    pub(crate) fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.state.idle_since)
    }
}

impl Parcel {
    /// Attaches the socket to this worker.
    pub(crate) fn unpack(self) -> Option<Box<Server>> {
        let conn = Conn::attach(self.moving).ok()?;
        Some(Box::new(Server {
            conn,
            state: self.state,
        }))
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.state.slot
    }
}
