//! Opening a server connection for a pool, and the connection that carries a CancelRequest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use helios_wire::startup;

use super::auth::{self, ConnectError, KeyCache};
use super::{Backend, Dirt, Server, ServerState};
use crate::pool::Slot;
use crate::rt;
use crate::settings::Bucket;
use crate::statements::ServerStatements;

/// How long a server may take to end the connection that carried a CancelRequest.
const CANCEL_LIMIT: Duration = Duration::from_secs(10);

/// Connects and logs in within `limit`. The slot is given up when that fails.
pub(crate) async fn connect(
    slot: Slot,
    limit: Duration,
    plain: &Arc<Bucket>,
    cache: &KeyCache,
) -> Result<Box<Server>, ConnectError> {
    let pool = Arc::clone(slot.pool());
    let key = &pool.key;
    let attempt = async {
        let mut conn = rt::connect(&key.host, key.port, limit).await?;
        let done = auth::login(&mut conn, key, &pool.credential(), cache).await?;
        Ok::<_, ConnectError>((conn, done))
    };
    let timed_out = || ConnectError::Io(format!("no login within {} ms", limit.as_millis()));
    let (conn, done) = rt::timeout(limit, attempt).await.ok_or_else(timed_out)??;
    let now = Instant::now();
    let backend = Backend {
        host: key.host.clone(),
        port: key.port,
        pid: done.pid,
        key: done.key,
    };
    pool.count_created();
    let reported = done
        .parameters
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    pool.set_plain_profile(plain, reported.collect());
    let state = ServerState {
        backend: Arc::new(backend),
        parameters: done.parameters,
        bucket: Arc::clone(plain),
        statements: ServerStatements::default(),
        unnamed: 0,
        dirt: Dirt::default(),
        idle_since: now,
        expires: auth::lifetime(&pool.settings()).map(|lifetime| now + lifetime),
        slot,
    };
    Ok(Box::new(Server { conn, state }))
}

/// Asks the server to cancel what `backend` runs, and waits until it has taken note: it ends the connection.
pub(crate) async fn cancel(backend: &Backend) {
    let request = async {
        let mut conn = rt::connect(&backend.host, backend.port, CANCEL_LIMIT).await?;
        conn.wbuf
            .extend(&startup::build_cancel(backend.pid, &backend.key));
        conn.flush().await?;
        while conn.fill().await? > 0 {
            conn.rbuf.release();
        }
        Ok::<_, std::io::Error>(())
    };
    // Either way there is nobody to tell: a CancelRequest is never answered.
    let _ = rt::timeout(CANCEL_LIMIT, request).await;
}
