//! The state document: what the engine is doing, for the admin API and its metrics.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use serde_json::{json, Value};

use crate::census::Ceiling;
use crate::listener::Bound;
use crate::pool::PoolShared;
use crate::session::Pin;
use crate::stats::{merged, total};
use crate::worker::Shared;

/// Gathers it. Counters are read one by one, so sums may be a moment apart.
pub(crate) fn document(shared: &Shared, listen: &[Bound], accepting: bool) -> Value {
    let stats = || shared.stats.iter();
    let clients: usize = shared
        .clients
        .iter()
        .map(|clients| clients.load(Ordering::Relaxed))
        .sum();
    let mut pools: Vec<Arc<PoolShared>> = shared
        .pools
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .values()
        .cloned()
        .collect();
    pools.sort_by(|a, b| a.key.cmp(&b.key));
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
        "bytes": {
            "received_total": total(stats(), |stats| &stats.received),
            "sent_total": total(stats(), |stats| &stats.sent),
        },
        "pools": pools.iter().map(|pool| row(pool)).collect::<Vec<_>>(),
        "histograms": {
            "query_duration_seconds": merged(stats(), |stats| &stats.query),
            "pool_acquire_duration_seconds": merged(stats(), |stats| &stats.acquire),
        },
    })
}

/// Listening addresses as the border's documents have them; the host of a Unix socket is its folder, as for libpq.
pub(crate) fn addresses(listen: &[Bound]) -> Value {
    listen
        .iter()
        .map(|bound| match bound {
            Bound::Tcp(address) => {
                json!({"host": address.ip().to_string(), "port": address.port()})
            }
            Bound::Unix(file) => json!({"host": file.folder, "port": file.port}),
        })
        .collect()
}

fn row(pool: &PoolShared) -> Value {
    let settings = pool.settings();
    let idle = pool.idle();
    json!({
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
