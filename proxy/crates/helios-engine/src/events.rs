//! What the engine tells Python: log records and in-band evidence about nodes. Bounded; what does not fit is
//! counted and dropped, because telling must never slow a query.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError, SyncSender};
use std::sync::Mutex;
use std::time::Duration;

use serde::Serialize;

/// Events that may wait for Python.
const CAPACITY: usize = 4096;

/// One thing to tell.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A log record.
    Log {
        /// Severity.
        level: Level,
        /// What happened, constant text.
        message: &'static str,
        /// To whom and why.
        fields: Vec<(&'static str, String)>,
    },
    /// A server connection said something that the next poll of its node should look at.
    NodeSuspect {
        /// Cluster's name.
        cluster: String,
        /// Node's name.
        node: String,
        /// What was seen.
        reason: String,
    },
    /// A client of the console wants something.
    Command {
        /// What the answer is given under.
        id: u64,
        /// Number of the client.
        client: u64,
        /// Who it is.
        user: String,
        /// What it said.
        text: String,
        /// Only the columns of the result are wanted.
        describe: bool,
    },
    /// A statement that is traced has ended.
    Span(serde_json::Value),
    /// Nobody waits for the answer to a command any more.
    Withdrawn {
        /// The command's number.
        id: u64,
        /// The client asked for that; else it has gone.
        cancelled: bool,
    },
}

/// Severity of a log record.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Ordinary operation.
    Info,
    /// Somebody should look.
    Warning,
    /// Something failed.
    Error,
}

/// The sending end, shared by all workers, and the receiving one.
#[derive(Debug)]
pub struct Events {
    sender: SyncSender<Event>,
    receiver: Mutex<Receiver<Event>>,
    dropped: AtomicU64,
}

impl Events {
    pub(crate) fn new() -> Events {
        let (sender, receiver) = sync_channel(CAPACITY);
        Events {
            sender,
            receiver: Mutex::new(receiver),
            dropped: AtomicU64::new(0),
        }
    }

    /// Whether there was room for it.
    pub(crate) fn send(&self, event: Event) -> bool {
        let is_sent = self.sender.try_send(event).is_ok();
        if !is_sent {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        is_sent
    }

    pub(crate) fn log(
        &self,
        level: Level,
        message: &'static str,
        fields: Vec<(&'static str, String)>,
    ) {
        self.send(Event::Log {
            level,
            message,
            fields,
        });
    }

    /// A server connection is lost, and with it perhaps its node.
    pub(crate) fn server_lost(&self, cluster: &str, node: &str, cause: &str) {
        let fields = vec![("node", node.to_owned()), ("error", cause.to_owned())];
        self.log(Level::Warning, "server connection lost", fields);
        self.send(Event::NodeSuspect {
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            reason: cause.to_owned(),
        });
    }

    /// The next event as JSON, or `None` when `limit` passes first.
    pub fn next(&self, limit: Duration) -> Option<Vec<u8>> {
        let receiver = self
            .receiver
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match receiver.recv_timeout(limit) {
            Ok(event) => Some(serialize(&event)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }
}

fn serialize(event: &Event) -> Vec<u8> {
    let document = match event {
        Event::Log {
            level,
            message,
            fields,
        } => {
            let fields: serde_json::Map<_, _> = fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone().into()))
                .collect();
            serde_json::json!({"kind": "log", "level": level, "message": message, "fields": fields})
        }
        Event::NodeSuspect {
            cluster,
            node,
            reason,
        } => {
            serde_json::json!({"kind": "node_suspect", "cluster": cluster, "node": node, "reason": reason})
        }
        Event::Command {
            id,
            client,
            user,
            text,
            describe,
        } => {
            serde_json::json!({
                "kind": "command", "id": id, "client": client, "user": user, "text": text, "describe": describe,
            })
        }
        Event::Span(document) => document.clone(),
        Event::Withdrawn { id, cancelled } => {
            serde_json::json!({"kind": "withdrawn", "id": id, "cancelled": cancelled})
        }
    };
    document.to_string().into_bytes()
}
