//! What workers are told.

use std::sync::{mpsc, Arc};

use serde_json::Value;

use crate::config::Role;
use crate::notify::{Address, Mail};
use crate::pool::PoolShared;
use crate::rt::{Detached, Sender};
use crate::server::Parcel;
use crate::session::cancel::Claim;

/// What comes to a worker from elsewhere.
#[derive(Debug)]
pub(crate) enum Message {
    /// A client that another worker accepted, and the role of the entrance.
    Client(Detached, Role),
    /// Send an idle server of this pool to worker `to`.
    Steal { pool: Arc<PoolShared>, to: usize },
    /// Close an idle server of this pool, for a client of another one.
    Evict(Arc<PoolShared>),
    /// A server for this worker's clients.
    Deliver(Box<Parcel>),
    /// There is room in this pool again.
    Kick(Arc<PoolShared>),
    /// A CancelRequest. If its session is here that is told by `done`, which is dropped once it is dealt with.
    Cancel {
        pid: u32,
        claim: Claim,
        done: Sender<()>,
    },
    /// Say which clients there are.
    Report(mpsc::Sender<Vec<Value>>),
    /// End these clients at once.
    End(Whom),
    /// From a shared link to a session of this worker.
    Mail { to: Address, mail: Mail },
    /// Say how many clients of this cluster have a transaction under way, and by that, that what came before is done.
    Settle {
        cluster: String,
        done: mpsc::Sender<usize>,
    },
    /// Configuration or topology changed.
    Changed,
    /// Answer a process that takes over, at this socket.
    Answer(socket2::Socket),
    /// End sessions between transactions for as long as that is ordered.
    Empty,
    /// Stop accepting.
    Withdraw,
    /// The same, and end sessions between transactions.
    Drain,
    /// End everything.
    Stop,
}

/// Clients that are to end.
#[derive(Debug, Clone)]
pub(crate) enum Whom {
    /// The one with this number.
    Client(u64),
    /// Those of this database, by the name it is shown under, or of every one.
    Database(Option<String>),
}
