//! What all journals share: how many bytes they hold together, and which transactions are being run again. While any of
//! a cluster is, new statements wait: they might take the locks that it had. And in which order those go on: together,
//! unless one meets what a commit of another had done.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// What a transaction has others wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Its being run again.
    Rerun,
    /// Its commit, for which its client had asked already.
    Commit,
}

/// How the transactions of one cluster that are run again go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Order {
    reruns: usize,
    /// Commits that had been asked for and have not come to be.
    pub(crate) commits: usize,
    /// How often one of them has met what another had done. From the first time on those commits go first.
    pub(crate) calls: u64,
}

impl Order {
    /// Whether a transaction is being run again.
    pub(crate) fn is_busy(self) -> bool {
        self.reruns > 0
    }

    fn count(&mut self, part: Part) -> &mut usize {
        match part {
            Part::Rerun => &mut self.reruns,
            Part::Commit => &mut self.commits,
        }
    }
}

/// Of one cluster.
#[derive(Debug, Default)]
struct Room {
    order: Order,
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

/// What others wait for; given up when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    ledger: Arc<Ledger>,
    cluster: String,
    part: Part,
}

impl Ticket {
    pub(crate) fn order(&self) -> Order {
        self.ledger.order(&self.cluster)
    }

    /// Commits that had been asked for do not wait for the others any more, and these are called to begin once more
    /// behind them.
    pub(crate) fn put_commits_first(&self) {
        let mut rooms = self.ledger.rooms();
        let Some(room) = rooms.get_mut(&self.cluster) else {
            return;
        };
        room.order.calls += 1;
        let waiting = std::mem::take(&mut room.waiting);
        drop(rooms);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Another one for the same cluster.
    pub(crate) fn beside(&self, part: Part) -> Ticket {
        self.ledger.enter(&self.cluster, part)
    }
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

    pub(crate) fn enter(self: &Arc<Self>, cluster: &str, part: Part) -> Ticket {
        let mut rooms = self.rooms();
        let room = rooms.entry(cluster.to_owned()).or_default();
        *room.order.count(part) += 1;
        if part == Part::Rerun {
            self.reruns.fetch_add(1, Ordering::SeqCst);
        }
        drop(rooms);
        Ticket {
            ledger: Arc::clone(self),
            cluster: cluster.to_owned(),
            part,
        }
    }

    /// Whether a transaction of this cluster is being run again.
    pub(crate) fn is_busy(&self, cluster: &str) -> bool {
        self.reruns.load(Ordering::SeqCst) > 0 && self.order(cluster).is_busy()
    }

    pub(crate) fn order(&self, cluster: &str) -> Order {
        let rooms = self.rooms();
        rooms
            .get(cluster)
            .map(|room| room.order)
            .unwrap_or_default()
    }

    /// The same; whoever asks while a transaction is being run again is woken when that changes.
    pub(crate) fn poll_order(&self, cluster: &str, cx: &Context<'_>) -> Order {
        let mut rooms = self.rooms();
        let room = rooms.get_mut(cluster).filter(|room| room.order.is_busy());
        let Some(room) = room else {
            return Order::default();
        };
        room.waiting.push(cx.waker().clone());
        room.order
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let is_rerun = self.part == Part::Rerun;
        if is_rerun {
            self.ledger.reruns.fetch_sub(1, Ordering::SeqCst);
        }
        let mut rooms = self.ledger.rooms();
        let Some(room) = rooms.get_mut(&self.cluster) else {
            return;
        };
        *room.order.count(self.part) -= 1;
        let is_free = is_rerun && !room.order.is_busy();
        let waiting = is_free.then(|| std::mem::take(&mut room.waiting));
        if !room.order.is_busy() && room.order.commits == 0 {
            rooms.remove(&self.cluster);
        }
        drop(rooms);
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}
