//! The Helios data plane: thread per core, no channel, second task or lock on the path of a query.
//!
//! The life of a query: [`listener`](listener.rs) accepts and picks the least loaded worker; `session/startup.rs`
//! admits the client; `session/mod.rs` turns socket readiness into steps; `session/up.rs` scans what the client
//! sent, notes in `session/fifo.rs` what each request will be answered by, and forwards whole runs of bytes;
//! `pool/shard.rs` lends a server or queues the client; `session/down.rs` scans the replies, forwards them and gives
//! the server back when the stream is provably at rest. `server/` makes, logs in and cleans server connections.

mod active;
mod buffer;
mod catalog;
mod census;
mod class;
mod config;
mod consistency;
mod console;
mod engine;
mod error;
mod events;
mod fault;
mod halts;
mod handover;
mod heat;
mod journal;
mod listener;
mod newcomer;
mod nodes;
mod notify;
mod peers;
mod plans;
mod pool;
mod random;
mod rt;
mod seat;
mod server;
mod session;
mod settings;
mod socket_file;
mod stamps;
mod state;
mod statements;
mod stats;
mod tls;
mod token;
mod topology;
mod traffic;
mod worker;

pub use class::hints;
pub use engine::Engine;
pub use error::EngineError;
