//! Opening a server connection for a pool, and the connection that carries a CancelRequest.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use helios_wire::startup;

use super::auth::{self, ConnectError, Who};
use super::{Backend, Dirt, Holder, Server, ServerState, Usage};
use crate::config::{ChannelBinding, Tcp};
use crate::pool::{PoolShared, Slot};
use crate::rt::{self, Conn, Permits};
use crate::statements::ServerStatements;
use crate::tls::Connector;
use crate::worker::Worker;

/// How long a server may take to end the connection that carried a CancelRequest.
const CANCEL_LIMIT: Duration = Duration::from_secs(10);

/// Connects and logs in with these settings. The slot is given up when that fails.
pub(crate) async fn connect(
    mut slot: Slot,
    worker: &Worker,
    settings: &[(String, String)],
) -> Result<Box<Server>, ConnectError> {
    let pool = Arc::clone(slot.pool());
    let replication = pool.key.replication;
    let replication = replication.map(|kind| ("replication", kind.as_str()));
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .chain(replication)
        .collect();
    let opened = log_in(worker, &pool, slot.number(), slot.era(), &settings).await?;
    let (conn, backend, parameters) = opened;
    let now = Instant::now();
    slot.end_login();
    slot.occupy(&backend);
    let plain = &worker.shared.buckets.plain;
    pool.count_created();
    let reported = parameters
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    pool.set_plain_profile(plain, reported.collect());
    let state = ServerState {
        backend,
        parameters,
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

/// A connection that is logged in, how others see it, and what it has reported.
pub(crate) type Opened = (Conn, Arc<Backend>, BTreeMap<String, String>);

/// Connects and logs in as a pool does, with these settings; `id` and `era` are the new connection's.
pub(crate) async fn log_in(
    worker: &Worker,
    pool: &PoolShared,
    id: u64,
    era: u64,
    settings: &[(&str, &str)],
) -> Result<Opened, ConnectError> {
    let active = worker.active();
    let limit = Duration::from_millis(active.snapshot.limits.connect_timeout_ms);
    let key = &pool.key;
    let tls = active.connectors.get(&key.cluster);
    let attempt = async {
        let way = Way {
            host: &key.host,
            port: key.port,
            addresses: &pool.addresses(),
            tcp: &active.snapshot.tcp,
            tls,
        };
        let mut conn = way.reach(limit).await?;
        let who = Who {
            user: &key.user,
            database: &key.database,
            settings,
            credential: &pool.credential(),
            binding: tls.map_or(ChannelBinding::Disable, |tls| tls.channel_binding),
        };
        let done = auth::login(&mut conn, &who, &worker.shared.keys).await?;
        Ok::<_, ConnectError>((conn, done))
    };
    let timed_out = || ConnectError::Io(format!("no login within {} ms", limit.as_millis()));
    let (conn, done) = rt::timeout(limit, attempt).await.ok_or_else(timed_out)??;
    let backend = Arc::new(Backend {
        id,
        era,
        ends: conn.ends().ok().flatten(),
        encryption: conn.encryption(),
        since: SystemTime::now(),
        usage: Usage::default(),
        host: key.host.clone(),
        port: key.port,
        tcp: active.snapshot.tcp,
        pid: done.pid,
        key: done.key,
        tls: tls.filter(|_| conn.is_encrypted()).cloned(),
        holder: Holder::default(),
    });
    worker.shared.backends.add(&backend);
    Ok((conn, backend, done.parameters))
}

/// How to get to a server.
pub(crate) struct Way<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// What the host's name stands for; none where that is for the system to find out.
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) tcp: &'a Tcp,
    pub(crate) tls: Option<&'a Arc<Connector>>,
}

impl Way<'_> {
    /// Connects, and encrypts if both sides want to. On a Unix socket nobody does, whatever `tls` demands, as in libpq.
    pub(crate) async fn reach(&self, limit: Duration) -> Result<Conn, ConnectError> {
        let conn = rt::connect(self.host, self.port, self.addresses, limit, self.tcp).await?;
        match self.tls.filter(|_| !conn.is_local()) {
            Some(tls) => encrypt(conn, self.host, tls).await,
            None => Ok(conn),
        }
    }
}

async fn encrypt(mut conn: Conn, host: &str, tls: &Arc<Connector>) -> Result<Conn, ConnectError> {
    conn.wbuf.extend(&startup::build_ssl_request());
    conn.flush().await?;
    if conn.fill().await? == 0 {
        // It may be about to end.
        return Err(ConnectError::Io(
            "the server closed the connection when asked for TLS".to_owned(),
        ));
    }
    match conn.rbuf.bytes() {
        b"S" => {
            conn.rbuf.release();
            let stream = tls.stream(host).map_err(ConnectError::Tls)?;
            conn.start_tls(stream)
                .await
                .map_err(|err| match err.kind() {
                    io::ErrorKind::InvalidData => {
                        ConnectError::Tls(format!("no TLS with the server: {err}"))
                    }
                    _ => err.into(),
                })?;
            Ok(conn)
        }
        b"N" if tls.is_required => Err(ConnectError::Tls(
            "the server does not offer TLS, which the cluster's tls.mode demands".to_owned(),
        )),
        b"N" => {
            conn.rbuf.release();
            Ok(conn)
        }
        // More than one byte: somebody put plain text before the handshake.
        _ => Err(ConnectError::Protocol(
            "unexpected answer to the request for TLS".to_owned(),
        )),
    }
}

/// Asks the server to cancel what `backend` runs, and waits until it has taken note: it ends the connection.
pub(crate) async fn cancel(backend: &Backend, permits: &Permits) {
    let request = async {
        let _permit = permits.acquire().await;
        // To the very server that has the query: the name may stand for others as well, or by now.
        let address = backend.address();
        let way = Way {
            host: &backend.host,
            port: backend.port,
            addresses: address.as_slice(),
            tcp: &backend.tcp,
            tls: backend.tls.as_ref(),
        };
        let mut conn = way.reach(CANCEL_LIMIT).await?;
        conn.wbuf
            .extend(&startup::build_cancel(backend.pid, &backend.key));
        conn.flush().await?;
        while conn.fill().await? > 0 {
            conn.rbuf.release();
        }
        Ok::<_, ConnectError>(())
    };
    // Either way there is nobody to tell: a CancelRequest is never answered.
    let _ = rt::timeout(CANCEL_LIMIT, request).await;
}
