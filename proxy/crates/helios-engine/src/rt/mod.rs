//! The only module that names a runtime: sockets, timers, tasks, threads.
//!
//! A connection owns both its buffers and has two operations, `poll_fill` and `poll_flush`. On epoll they try the
//! system call at once and wait for readiness when it would block; a completion back end keeps the operation in
//! flight inside the connection and hands the buffer back when it ends. Either way a caller that stops waiting
//! loses nothing, which a `read` future could not promise (docs/adr/0011-poll-shaped-connections.md).

use std::path::{Path, PathBuf};

mod buf;
mod conn;
mod epoll;
mod evented;
mod provided;
mod socket;
mod uring;

pub(crate) use buf::{Buf, BLOCK};
pub(crate) use conn::{Conn, Moving};
pub(crate) use epoll::{
    channel, connect, connect_file, interval, offload, resolve, run_worker, sleep, spawn, timeout,
    Inbox, Listener, Lock, Permits, Sender,
};
pub(crate) use socket::{Detached, Socket};
pub(crate) use uring::probe;

/// What the connections of a worker are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Io {
    Epoll,
    Uring,
}

/// What stands for the address of a client on a Unix socket, as in PostgreSQL.
pub(crate) const LOCAL: &str = "[local]";

/// Whether a host is the folder of a Unix socket, as libpq has it.
pub(crate) fn is_folder(host: &str) -> bool {
    host.starts_with('/')
}

/// The file of a Unix socket, which clients and servers agree on by its name.
pub(crate) fn socket_path(folder: &str, port: u16) -> PathBuf {
    Path::new(folder).join(format!(".s.PGSQL.{port}"))
}
