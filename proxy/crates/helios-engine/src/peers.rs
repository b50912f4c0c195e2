//! Other processes of the same service, as behind one Kubernetes Service: a CancelRequest may come to any of them. The
//! key names the process that has the session; who got the request passes it on there, by `helios_wire::peer`.
//!
//! Called by `session::cancel`, on both ends. What a peer passed on is looked for here and goes no further.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use helios_wire::peer;
use subtle::ConstantTimeEq;

use crate::config::{Peers, Tcp};
use crate::events::Level;
use crate::random;
use crate::rt::{self, Conn};
use crate::worker::Worker;

/// How long passing a request on may take, with what the peer does about it.
const LIMIT: Duration = Duration::from_secs(12);
/// How long a peer may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// What a peer has shown to know.
pub(crate) struct Proven {
    challenge: peer::Challenge,
    proofs: Vec<peer::Proof>,
    secrets: Vec<String>,
}

impl std::fmt::Debug for Proven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proven")
    }
}

impl Proven {
    /// The same for a process that takes the word of this one.
    pub(crate) fn packets(&self, pid: u32) -> Vec<u8> {
        let mut packets = peer::hello();
        packets.extend(self.challenge);
        packets.extend(peer::claim(pid, &self.proofs));
        packets
    }

    /// Whether it knows this key of this session, and one of our secrets.
    pub(crate) fn fits(&self, pid: u32, key: &[u8]) -> bool {
        self.secrets.iter().any(|secret| {
            let right = peer::prove(secret, &self.challenge, pid, key);
            self.proofs.iter().any(|proof| proof.ct_eq(&right).into())
        })
    }
}

/// Passes a request on to each peer that the key may name, until one has the session. `own` is the address that it came
/// to. `None` if that cannot be said, since a peer did not answer.
pub(crate) async fn forward(
    worker: &Worker,
    own: Option<IpAddr>,
    pid: u32,
    key: &[u8],
) -> Option<bool> {
    let active = worker.active();
    let (Some(peers), Some(name)) = (&active.snapshot.peers, key.first_chunk()) else {
        return Some(false);
    };
    let all = async {
        let _permit = worker.shared.cancels.acquire().await;
        let mut found = Some(false);
        for address in named(peers, *name, own).await {
            match tell(address, peers, &active.snapshot.tcp, pid, key).await {
                Ok(true) => return Some(true),
                Ok(false) => {}
                Err(err) => {
                    let fields = vec![("peer", address.to_string()), ("error", err.to_string())];
                    let events = &worker.shared.events;
                    events.log(Level::Warning, "a peer took no cancel request", fields);
                    found = None;
                }
            }
        }
        found
    };
    rt::timeout(LIMIT, all).await.flatten()
}

/// The addresses of peers with this name, but for our own.
async fn named(peers: &Peers, name: [u8; peer::NAME_LEN], own: Option<IpAddr>) -> Vec<SocketAddr> {
    let own = own.map(|own| own.to_canonical());
    let mut found = Vec::new();
    for host in &peers.hosts {
        // A name that leads nowhere now is that of a service without pods.
        let addresses = rt::resolve(&host.host, host.port).await.unwrap_or_default();
        found.extend(addresses.into_iter().filter(|address| {
            peer::name(address.ip()) == name && Some(address.ip().to_canonical()) != own
        }));
    }
    found
}

/// Whether the peer has the session; it has dealt with the request then.
async fn tell(
    address: SocketAddr,
    peers: &Peers,
    tcp: &Tcp,
    pid: u32,
    key: &[u8],
) -> io::Result<bool> {
    let ip = address.ip();
    let host = ip.to_string();
    let mut conn = rt::connect(&host, address.port(), &[ip], CONNECT_LIMIT, tcp).await?;
    conn.wbuf.extend(&peer::hello());
    conn.flush().await?;
    let challenge: peer::Challenge = read(&mut conn).await?;
    let proofs: Vec<_> = peers
        .secrets
        .iter()
        .map(|secret| peer::prove(secret, &challenge, pid, key))
        .collect();
    conn.wbuf.extend(&peer::claim(pid, &proofs));
    conn.flush().await?;
    Ok(read(&mut conn).await? == [peer::FOUND])
}

/// So many bytes.
pub(crate) async fn read<const N: usize>(conn: &mut Conn) -> io::Result<[u8; N]> {
    loop {
        if let Some(bytes) = conn.rbuf.bytes().first_chunk() {
            let bytes = *bytes;
            conn.rbuf.consume(N);
            return Ok(bytes);
        }
        if conn.fill().await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Sends a challenge to a peer. `None` where there are no peers.
pub(crate) async fn challenge(worker: &Worker, conn: &mut Conn) -> Option<peer::Challenge> {
    worker.config().peers.as_ref()?;
    let mut challenge = [0; peer::CHALLENGE_LEN];
    random::fill(&mut challenge);
    conn.wbuf.extend(&challenge);
    conn.flush().await.ok()?;
    Some(challenge)
}

/// What a peer's answer to the challenge amounts to: a session's pid, and what it knows of that.
pub(crate) fn read_claim(
    worker: &Worker,
    challenge: peer::Challenge,
    body: &[u8],
) -> Option<(u32, Arc<Proven>)> {
    let (pid, proofs) = peer::read_claim(body)?;
    let secrets = worker.config().peers.as_ref()?.secrets.clone();
    let proven = Proven {
        challenge,
        proofs,
        secrets,
    };
    Some((pid, Arc::new(proven)))
}
