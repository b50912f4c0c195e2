//! The state document: what the engine is doing, for the admin API and its metrics.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use helios_wire::startup::Replication;
use serde_json::{json, Value};

use crate::census::Ceiling;
use crate::journal;
use crate::listener::Bound;
use crate::nodes::Reason;
use crate::pool::PoolShared;
use crate::server::{Backend, Server};
use crate::session::handle::Handle;
use crate::session::{Departure, Pin, Session, Silence};
use crate::stats::{merged, total, Counter, Optimistic, Replays, Stats};
use crate::worker::Shared;

/// Gathers it. Counters are read one by one, so sums may be a moment apart.
pub(crate) fn document(shared: &Shared, listen: &[Bound], accepting: bool) -> Value {
    let stats = || shared.stats.iter();
    let clients: usize = shared
        .clients
        .iter()
        .map(|clients| clients.load(Ordering::Relaxed))
        .sum();
    let now = shared.epoch.elapsed().as_nanos() as u64;
    let mut pools = shared.all_pools();
    let open: Vec<_> = pools.iter().map(|pool| open(pool)).collect();
    pools.retain(|pool| !pool.is_retired());
    let (kept, made, missed) = shared.plans.counts();
    let waiting: usize = pools.iter().map(|pool| pool.waiting()).sum();
    json!({
        "generation": shared.active.load().snapshot.generation,
        "listen": addresses(listen),
        "accepting": accepting,
        "workers": shared.stats.len(),
        "clients": {
            "active": clients,
            "waiting": waiting,
            "accepted_total": total(stats(), |stats| &stats.accepted),
            "closed_total": total(stats(), |stats| &stats.closed),
            "unauthenticated": shared.census.strangers(),
            "refused": Ceiling::ALL.map(|ceiling| json!({
                "reason": ceiling.name(),
                "total": shared.census.refused(ceiling),
            })),
            "cut": Silence::ALL.map(|silence| json!({
                "reason": silence.name(),
                "total": total(stats(), |stats| &stats.cut[silence as usize]),
            })),
        },
        "queries": {
            "read_total": total(stats(), |stats| &stats.reads),
            "write_total": total(stats(), |stats| &stats.writes),
        },
        "plans": {"kept": kept, "made_total": made, "missed_total": missed},
        "pins": Pin::ALL.map(|pin| json!({
            "reason": pin.name(),
            "sessions": total(stats(), |stats| &stats.pinned[pin as usize]),
            "total": total(stats(), |stats| &stats.pins[pin as usize]),
        })),
        "listening": {
            "sessions": total(stats(), |stats| &stats.listening),
            "links": pools.iter().map(|pool| pool.hub.len()).sum::<usize>(),
            "notifications_total": total(stats(), |stats| &stats.notifications),
            "lost_total": total(stats(), |stats| &stats.listeners_lost),
        },
        "consistency_keys": consistency_keys(shared),
        "buffer": buffer(shared),
        "replays": replays(shared),
        "optimistic": optimistic(shared),
        "bytes": {
            "received_total": total(stats(), |stats| &stats.received),
            "sent_total": total(stats(), |stats| &stats.sent),
        },
        "pools": pools.iter().map(|pool| row(pool, now)).collect::<Vec<_>>(),
        "open": open,
        "traffic": shared.traffics.rows(),
        "nodes": shared.nodes.rows(),
        "heat": shared.heat(),
        "halts": *shared.halts(),
        "histograms": {
            "query_duration_seconds": merged(stats(), |stats| &stats.query),
            "pool_acquire_duration_seconds": merged(stats(), |stats| &stats.acquire),
        },
    })
}

fn replays(shared: &Shared) -> Value {
    let stats = || shared.stats.iter().map(|stats| &stats.replays);
    let sum =
        |counter: fn(&Replays) -> &Counter| -> u64 { stats().map(|it| counter(it).get()).sum() };
    let failed = journal::Reason::ALL.map(|reason| {
        let total: u64 = stats().map(|it| it.failed[reason as usize].get()).sum();
        json!({"reason": reason.name(), "total": total})
    });
    json!({
        "active": shared.ledger.reruns(),
        "journal_bytes": shared.ledger.bytes(),
        "completed_total": sum(|it| &it.completed),
        "acknowledged_total": sum(|it| &it.acknowledged),
        "statements_total": sum(|it| &it.statements),
        "sessions_total": sum(|it| &it.sessions),
        "failed": failed,
    })
}

fn optimistic(shared: &Shared) -> Value {
    let stats = || shared.stats.iter().map(|stats| &stats.optimistic);
    let sum =
        |counter: fn(&Optimistic) -> &Counter| -> u64 { stats().map(|it| counter(it).get()).sum() };
    let departed = Departure::ALL.map(|why| {
        let total: u64 = stats().map(|it| it.departed[why as usize].get()).sum();
        json!({"reason": why.name(), "total": total})
    });
    let failed = journal::Reason::ALL.map(|reason| {
        let total: u64 = stats().map(|it| it.failed[reason as usize].get()).sum();
        json!({"reason": reason.name(), "total": total})
    });
    json!({
        "begun_total": sum(|it| &it.begun),
        "stayed_total": sum(|it| &it.stayed),
        "moved_total": sum(|it| &it.moved),
        "departed": departed,
        "failed": failed,
    })
}

fn consistency_keys(shared: &Shared) -> Value {
    let keys = &shared.active.load().snapshot.consistency_keys;
    let sum = |counter: fn(&Stats) -> &Counter| -> u64 { total(shared.stats.iter(), counter) };
    json!({
        "redis": keys.as_ref().map(|keys| keys.place()),
        "connections": sum(|it| &it.key_links),
        "fault": shared.key_fault.told().filter(|_| keys.is_some()),
        "kept_total": sum(|it| &it.keys.kept),
        "unkept_total": sum(|it| &it.keys.unkept),
        "told_total": sum(|it| &it.keys.told),
        "untold_total": sum(|it| &it.keys.untold),
    })
}

fn buffer(shared: &Shared) -> Value {
    let (clients, bytes, entered, refused) = shared.buffer.counts();
    json!({"clients": clients, "bytes": bytes, "entered_total": entered, "refused_total": refused})
}

/// The document of `Engine::sessions`, with what the workers say of their clients.
pub(crate) fn sessions(shared: &Shared, clients: Vec<Value>) -> Value {
    let pools = shared.all_pools();
    let servers = pools.iter().flat_map(|pool| {
        let servers = pool.servers().into_iter().map(|(server, is_closing)| {
            let state = match (server.client(), server.is_cleaned()) {
                (0, true) => "tested",
                (0, false) => "idle",
                _ => "active",
            };
            self::server(shared, pool, &server, state, is_closing)
        });
        let links = pool.hub.servers().into_iter();
        let links = links.map(|link| self::server(shared, pool, &link, "listening", false));
        servers.chain(links).collect::<Vec<_>>()
    });
    let sizes = [
        ("client", size_of::<Session>() + size_of::<Handle>()),
        ("server", size_of::<Server>() + size_of::<Backend>()),
        ("pool", size_of::<PoolShared>()),
    ];
    json!({
        "logins": shared.census.strangers(),
        "clients": clients,
        "servers": servers.collect::<Vec<_>>(),
        "sizes": sizes.into_iter().collect::<HashMap<_, _>>(),
    })
}

/// One client; `now` is the process clock's.
pub(crate) fn client(shared: &Shared, handle: &Handle, now: u64) -> Value {
    let visit = &handle.visit;
    let active = shared.active.load();
    let asked = visit.login.database.as_str();
    let server = handle.server();
    let waiting = handle.waiting_since();
    let state = match (server, waiting) {
        (Some(_), _) => "active",
        (None, Some(_)) => "waiting",
        (None, None) => "idle",
    };
    let requested = handle.requested().map_or(visit.since, |at| {
        SystemTime::now() - Duration::from_nanos(now.saturating_sub(at))
    });
    json!({
        "id": visit.id,
        "user": visit.login.user,
        "database": active.snapshot.shown(asked),
        "replication": replication(visit.login.replication),
        "is_console": active.snapshot.console(asked).is_some(),
        "state": state,
        "ends": ends(visit.ends),
        "tls": visit.encryption,
        "connected_us": unix_us(visit.since),
        "requested_us": unix_us(requested),
        "waiting_us": waiting.map_or(0, |since| now.saturating_sub(since) / 1000),
        "server": server,
        "route": handle.reason().map(Reason::name),
        "application_name": handle.application_name(),
        "prepared": handle.prepared(),
    })
}

fn server(
    shared: &Shared,
    pool: &PoolShared,
    server: &Backend,
    state: &str,
    is_closing: bool,
) -> Value {
    let returned =
        SystemTime::now() - shared.epoch.elapsed() + Duration::from_nanos(server.returned());
    json!({
        "id": server.id,
        "cluster": pool.key.cluster,
        "node": pool.key.node,
        "user": pool.key.user,
        "database": pool.key.shown(),
        "replication": replication(pool.key.replication),
        "state": state,
        "ends": ends(server.ends),
        "tls": server.encryption,
        "connected_us": unix_us(server.since),
        "requested_us": unix_us(returned.max(server.since)),
        "client": server.client(),
        "pid": server.pid,
        "prepared": server.prepared(),
        "closing": is_closing,
    })
}

fn replication(kind: Option<Replication>) -> &'static str {
    match kind {
        None => "none",
        Some(Replication::Physical) => "physical",
        Some(Replication::Logical) => "logical",
    }
}

/// The other end's address and port, then ours.
fn ends(ends: Option<(SocketAddr, SocketAddr)>) -> Value {
    let shown = |address: SocketAddr| (address.ip().to_canonical().to_string(), address.port());
    match ends {
        Some((other, own)) => json!([shown(other), shown(own)]),
        None => Value::Null,
    }
}

fn unix_us(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

/// Listening addresses as the border's documents have them; the host of a Unix socket is its folder, as for libpq.
pub(crate) fn addresses(listen: &[Bound]) -> Value {
    listen
        .iter()
        .map(|bound| match bound {
            Bound::Tcp(address) => {
                json!({"host": address.ip().to_string(), "port": address.port()})
            }
            Bound::Unix { folder, port, .. } => json!({"host": folder, "port": port}),
        })
        .collect()
}

fn open(pool: &PoolShared) -> Value {
    let servers = pool.servers();
    json!({
        "name": pool.key.shown(),
        "total": pool.total(),
        "closing": servers.iter().filter(|(_, is_closing)| *is_closing).count(),
    })
}

fn row(pool: &PoolShared, now: u64) -> Value {
    let settings = pool.settings();
    let idle = pool.idle();
    let servers = pool.servers();
    let count = |is: fn(&Backend) -> bool| servers.iter().filter(|(server, _)| is(server)).count();
    let oldest = pool.oldest_elsewhere(usize::MAX);
    json!({
        "name": pool.key.shown(),
        "paused": pool.is_paused(),
        "leased": count(|server| server.client() > 0),
        "cleaned": count(Backend::is_cleaned),
        "connecting": pool.total().saturating_sub(servers.len()),
        "oldest_wait_us": oldest.map_or(0, |(_, since)| now.saturating_sub(since) / 1000),
        "cluster": pool.key.cluster,
        "node": pool.key.node,
        "database": pool.key.database,
        "user": pool.key.user,
        "server_user": pool.key.user,
        "mode": settings.mode.as_str(),
        "max_size": settings.max_size,
        "active": pool.total().saturating_sub(idle),
        "idle": idle,
        "waiting": pool.waiting(),
        "created_total": pool.created(),
        "closed_total": pool.closed(),
    })
}
