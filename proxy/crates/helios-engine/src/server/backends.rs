//! Which client a server process works for, so that a notification from it can name its sender as that client was
//! named here. Kept only while somebody listens; a process that has just changed hands may still speak for the last one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Backend;

/// How long after a transaction its notifications may come.
const ON_THE_WAY_NS: u64 = 50_000_000;
/// Server processes after which the map is looked through for ended ones.
const PRUNE_EVERY: usize = 256;

/// Whom one server process works for, or has worked for last.
#[derive(Debug, Default)]
pub(crate) struct Holder {
    /// 0 is nobody known.
    pid: AtomicU32,
    /// When its last request was answered.
    ended: AtomicU64,
    /// Until then it may be the one before who is heard.
    unclear_until: AtomicU64,
}

impl Holder {
    /// A client's request goes to the server.
    pub(crate) fn begin(&self, pid: u32, now: u64) {
        if self.pid.load(Ordering::Relaxed) == pid {
            return;
        }
        let heard_until = self.ended.load(Ordering::Relaxed) + ON_THE_WAY_NS;
        self.unclear_until.store(heard_until, Ordering::Relaxed);
        self.pid.store(pid, Ordering::Relaxed);
        // Until it is answered, the last answer was to another client.
        self.ended.store(now, Ordering::Relaxed);
    }

    /// Its request has been answered.
    pub(crate) fn end(&self, now: u64) {
        self.ended.store(now, Ordering::Relaxed);
    }

    fn client(&self, now: u64) -> Option<u32> {
        let pid = self.pid.load(Ordering::Relaxed);
        (pid != 0 && now > self.unclear_until.load(Ordering::Relaxed)).then_some(pid)
    }
}

/// Host, port and process id.
type Place = (String, u16, u32);

/// All server processes that this process is connected to.
#[derive(Debug, Default)]
pub(crate) struct Backends {
    live: Mutex<HashMap<Place, Weak<Backend>>>,
    watchers: AtomicUsize,
}

impl Backends {
    pub(crate) fn add(&self, backend: &Arc<Backend>) {
        let place = (backend.host.clone(), backend.port, backend.pid);
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.len() % PRUNE_EVERY == PRUNE_EVERY - 1 {
            live.retain(|_, backend| backend.strong_count() > 0);
        }
        live.insert(place, Arc::downgrade(backend));
    }

    /// The client that this server process speaks for, if there can be no doubt about it.
    pub(crate) fn client_of(&self, host: &str, port: u16, pid: u32, now: u64) -> Option<u32> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let backend = live.get(&(host.to_owned(), port, pid))?.upgrade()?;
        drop(live);
        backend.holder.client(now)
    }

    /// Has holders kept from now on, until `unwatch`.
    pub(crate) fn watch(&self) {
        self.watchers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unwatch(&self) {
        self.watchers.fetch_sub(1, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn are_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_heard_is_unclear_while_the_last_one_may_still_be() {
        let holder = Holder::default();
        let later = ON_THE_WAY_NS + 1;
        assert_eq!(holder.client(later), None);
        holder.begin(7, later);
        assert_eq!(holder.client(later), Some(7));
        holder.end(later + 10);
        holder.begin(8, later + 20);
        assert_eq!(holder.client(later + 30), None);
        assert_eq!(holder.client(2 * later + 30), Some(8));
    }
}
