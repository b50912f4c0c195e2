//! What the clients of one database have done since the process started, by worker as in `stats`. Pools come and go
//! with configuration and primaries; this stays, so that a counter never goes back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{json, Value};

use crate::stats::Counter;

/// What one worker counts for one database. Times are in microseconds.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Counts {
    /// Servers given to clients.
    pub(crate) assignments: Counter,
    pub(crate) transactions: Counter,
    pub(crate) queries: Counter,
    /// Bytes that clients sent.
    pub(crate) received: Counter,
    /// Bytes that servers sent.
    pub(crate) sent: Counter,
    pub(crate) transaction_us: Counter,
    pub(crate) query_us: Counter,
    /// Spent waiting for a server.
    pub(crate) wait_us: Counter,
    /// Named statements prepared by clients, and on servers.
    pub(crate) client_parses: Counter,
    pub(crate) server_parses: Counter,
    pub(crate) binds: Counter,
}

/// The counts of one database.
#[derive(Debug)]
pub(crate) struct Traffic(Box<[Counts]>);

impl Traffic {
    pub(crate) fn of(&self, worker: usize) -> &Counts {
        &self.0[worker]
    }

    fn total(&self, counter: impl Fn(&Counts) -> &Counter) -> u64 {
        self.0.iter().map(|counts| counter(counts).get()).sum()
    }
}

/// The traffic of all databases, by the names they are shown under.
#[derive(Debug)]
pub(crate) struct Traffics {
    workers: usize,
    by_name: Mutex<HashMap<String, Arc<Traffic>>>,
}

impl Traffics {
    pub(crate) fn new(workers: usize) -> Traffics {
        Traffics {
            workers,
            by_name: Mutex::default(),
        }
    }

    pub(crate) fn of(&self, database: &str) -> Arc<Traffic> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(traffic) = by_name.get(database) {
            return Arc::clone(traffic);
        }
        let counts = (0..self.workers).map(|_| Counts::default());
        let traffic = Arc::new(Traffic(counts.collect()));
        by_name.insert(database.to_owned(), Arc::clone(&traffic));
        traffic
    }

    /// As the border's document has them, by name.
    pub(crate) fn rows(&self) -> Vec<Value> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = by_name.iter().collect();
        all.sort_by_key(|(name, _)| *name);
        all.into_iter().map(|(name, of)| row(name, of)).collect()
    }
}

fn row(name: &str, of: &Traffic) -> Value {
    json!({
        "database": name,
        "server_assignment_count": of.total(|counts| &counts.assignments),
        "xact_count": of.total(|counts| &counts.transactions),
        "query_count": of.total(|counts| &counts.queries),
        "received": of.total(|counts| &counts.received),
        "sent": of.total(|counts| &counts.sent),
        "xact_time": of.total(|counts| &counts.transaction_us),
        "query_time": of.total(|counts| &counts.query_us),
        "wait_time": of.total(|counts| &counts.wait_us),
        "client_parse_count": of.total(|counts| &counts.client_parses),
        "server_parse_count": of.total(|counts| &counts.server_parses),
        "bind_count": of.total(|counts| &counts.binds),
    })
}
