//! What all journals share: how many bytes they hold together, and which transactions are being run again. While any of
//! a cluster is, new statements wait: they might take the locks that it had.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// Of one cluster.
#[derive(Debug, Default)]
struct Room {
    reruns: usize,
    waiting: Vec<Waker>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    bytes: AtomicUsize,
    /// Of all clusters, so that a statement that nobody stands in the way of takes no lock.
    reruns: AtomicUsize,
    rooms: Mutex<HashMap<String, Room>>,
}

/// One transaction that is being run again; given up when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    ledger: Arc<Ledger>,
    cluster: String,
}

impl Ledger {
    pub(super) fn charge(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn discharge(&self, bytes: usize) {
        if bytes > 0 {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Held by journals that are larger than what each may keep.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Transactions that are being run again now.
    pub(crate) fn reruns(&self) -> usize {
        self.reruns.load(Ordering::Relaxed)
    }

    pub(crate) fn enter(self: &Arc<Self>, cluster: &str) -> Ticket {
        self.rooms().entry(cluster.to_owned()).or_default().reruns += 1;
        self.reruns.fetch_add(1, Ordering::SeqCst);
        Ticket {
            ledger: Arc::clone(self),
            cluster: cluster.to_owned(),
        }
    }

    /// Whether a transaction of this cluster is being run again.
    pub(crate) fn is_busy(&self, cluster: &str) -> bool {
        if self.reruns.load(Ordering::SeqCst) == 0 {
            return false;
        }
        self.rooms()
            .get(cluster)
            .is_some_and(|room| room.reruns > 0)
    }

    /// The same; whoever asks is woken when none is any more.
    pub(crate) fn poll_busy(&self, cluster: &str, cx: &Context<'_>) -> bool {
        let mut rooms = self.rooms();
        let room = rooms.get_mut(cluster).filter(|room| room.reruns > 0);
        let Some(room) = room else { return false };
        room.waiting.push(cx.waker().clone());
        true
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.ledger.reruns.fetch_sub(1, Ordering::SeqCst);
        let mut rooms = self.ledger.rooms();
        let Some(room) = rooms.get_mut(&self.cluster) else {
            return;
        };
        room.reruns -= 1;
        let free = (room.reruns == 0).then(|| rooms.remove(&self.cluster));
        drop(rooms);
        let waiting = free.flatten().map(|room| room.waiting);
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}
