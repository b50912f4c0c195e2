//! CancelRequests: the keys that clients are given for them, and finding the session that one is for, on any worker of
//! this process or at a peer. Nobody is told whether a key was right: the connection is closed once the request can do
//! nothing any more, so that who sees that may send the next statement without fear for it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use helios_wire::{peer, startup};
use subtle::ConstantTimeEq;

use super::startup::read_packet;
use crate::census::network;
use crate::events::Level;
use crate::handover;
use crate::peers::{self, Proven};
use crate::random;
use crate::rt::{self, Conn};
use crate::worker::{Message, Worker};

/// Bytes of a key from protocol 3.2 on.
const LONG_KEY: usize = 32;
/// Bytes of a key before.
const SHORT_KEY: usize = 4;
/// An address that sends more wrong keys than this in `GUESS_TIME` is not listened to for as long; keys of sessions that
/// have just ended are wrong as well.
const GUESSES: u32 = 100;
const GUESS_TIME: Duration = Duration::from_secs(5);
/// Addresses with wrong keys that are remembered.
const MAX_ADDRESSES: usize = 4096;

/// Why somebody may cancel.
#[derive(Debug, Clone)]
pub(crate) enum Claim {
    /// A client has the key.
    Key(Arc<[u8]>),
    /// A peer has proven to know it.
    Peer(Arc<Proven>),
}

impl Claim {
    pub(super) fn fits(&self, pid: u32, key: &[u8]) -> bool {
        match self {
            Claim::Key(claimed) => claimed.as_ref().ct_eq(key).into(),
            Claim::Peer(proven) => proven.fits(pid, key),
        }
    }
}

/// A pid and a key. Where there are peers the key begins with the name of this process, as they know it by the address
/// that the client came to; the other 47 bits of the shortest kind are random.
pub(super) fn new_key(worker: &Worker, conn: &Conn, minor: u16) -> (u32, Vec<u8>) {
    let is_long = minor.min(startup::NEWEST_MINOR) >= 2;
    let mut key = vec![0; if is_long { LONG_KEY } else { SHORT_KEY }];
    random::fill(&mut key);
    if worker.config().peers.is_some() {
        if let Ok(Some((_, own))) = conn.ends() {
            key[..peer::NAME_LEN].copy_from_slice(&peer::name(own.ip()));
        }
    }
    // Drivers take it for a signed number.
    let pid = random::below(i32::MAX as u64) as u32 + 1;
    (pid, key)
}

/// A client's request.
pub(super) async fn request(worker: &Worker, conn: &Conn, pid: u32, key: Vec<u8>) {
    let ends = conn.ends().ok().flatten();
    // Over a Unix socket it comes from this machine.
    let client = ends.map_or(Ipv4Addr::LOCALHOST.into(), |(client, _)| {
        network(client.ip())
    });
    let guesses = &worker.shared.guesses;
    if guesses.are_used_up(client) {
        return;
    }
    let key: Arc<[u8]> = key.into();
    if find(worker, pid, Claim::Key(Arc::clone(&key))).await {
        return;
    }
    let own = ends.map(|(_, own)| own.ip());
    let is_found = match handover::ask(worker, &startup::build_cancel(pid, &key)).await {
        Some(false) => peers::forward(worker, own, pid, &key).await,
        answer => answer,
    };
    if is_found == Some(false) && guesses.count(client) {
        worker.shared.events.log(
            Level::Warning,
            "an address sends too many wrong cancel requests and is not listened to for a while",
            vec![("address", client.to_string())],
        );
    }
}

/// A request that a peer passes on.
pub(super) async fn passed_on(worker: &Worker, conn: &mut Conn) {
    let Some(challenge) = peers::challenge(worker, conn).await else {
        return;
    };
    let Ok(packet) = read_packet(conn).await else {
        return;
    };
    let Some((pid, proven)) = peers::read_claim(worker, challenge, &packet) else {
        return;
    };
    let found = find(worker, pid, Claim::Peer(Arc::clone(&proven))).await
        || handover::ask(worker, &proven.packets(pid)).await == Some(true);
    conn.wbuf
        .extend(&[if found { peer::FOUND } else { peer::UNKNOWN }]);
    // It may not have waited.
    let _ = conn.flush().await;
}

/// Asks every worker for the session, and waits until whoever has it is done with the request.
pub(crate) async fn find(worker: &Worker, pid: u32, claim: Claim) -> bool {
    let (done, mut found) = rt::channel();
    for inbox in worker.shared.inboxes.iter() {
        let (claim, done) = (claim.clone(), done.clone());
        // A worker that has ended has no sessions.
        let _ = inbox.send(Message::Cancel { pid, claim, done });
    }
    drop(done);
    let is_found = found.recv().await.is_some();
    while found.recv().await.is_some() {}
    is_found
}

/// Wrong keys by the address that they came from.
#[derive(Debug, Default)]
pub(crate) struct Guesses(Mutex<HashMap<IpAddr, Guessing>>);

/// What an address has sent in the time that began `since`, or began anew when that was too much.
#[derive(Debug)]
struct Guessing {
    since: Instant,
    wrong: u32,
}

impl Guessing {
    fn is_over(&self) -> bool {
        self.since.elapsed() >= GUESS_TIME
    }
}

impl Guesses {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Guessing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn are_used_up(&self, client: IpAddr) -> bool {
        self.lock()
            .get(&client)
            .is_some_and(|guessing| guessing.wrong >= GUESSES && !guessing.is_over())
    }

    /// Whether this one was the last that is let in for a while.
    fn count(&self, client: IpAddr) -> bool {
        let mut addresses = self.lock();
        if addresses.len() >= MAX_ADDRESSES {
            addresses.retain(|_, guessing| !guessing.is_over());
        }
        if addresses.len() >= MAX_ADDRESSES {
            addresses.clear();
        }
        let first = || Guessing {
            since: Instant::now(),
            wrong: 0,
        };
        let guessing = addresses.entry(client).or_insert_with(first);
        if guessing.is_over() {
            *guessing = first();
        }
        guessing.wrong += 1;
        let is_last = guessing.wrong == GUESSES;
        if is_last {
            guessing.since = Instant::now();
        }
        is_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_keys_are_used_up_by_address() {
        let guesses = Guesses::default();
        let address = |last| IpAddr::from([10, 0, 0, last]);

        for sent in 1..=GUESSES {
            assert!(!guesses.are_used_up(address(1)));
            assert_eq!(guesses.count(address(1)), sent == GUESSES);
        }

        assert!(guesses.are_used_up(address(1)));
        assert!(!guesses.are_used_up(address(2)));
    }
}
