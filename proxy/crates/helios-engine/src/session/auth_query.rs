//! Asking the server what it knows of a role that the users file does not have: the auth query.
//!
//! Called by `auth` at a login. The question goes over a connection of its own with fixed settings, so that nothing a
//! client says can change what its names mean; role and password travel as parameters. What was answered is kept for a
//! while, that a role does not exist as well, so that time tells nobody.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use helios_wire::frame::HEADER_LEN;
use helios_wire::{backend, frontend, sqlstate};

use super::auth::{read_secret, Secret};
use super::startup::Ended;
use crate::config::{self, ChannelBinding};
use crate::error::Refusal;
use crate::events::Level;
use crate::rt::{self, Conn, Lock, Moving};
use crate::server::auth::{self, ConnectError, Credential, Who};
use crate::server::connect;
use crate::topology::NodeTopology;
use crate::worker::Worker;

/// Whether a role that the server knows may log in now. One that it does not know is the query's own affair.
const MAY_LOG_IN: &str = "SELECT rolcanlogin AND (rolvaliduntil IS NULL OR rolvaliduntil \
    OPERATOR(pg_catalog.>) pg_catalog.now()) FROM pg_catalog.pg_roles \
    WHERE rolname OPERATOR(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name";
/// What the connection is set to; a startup packet goes over what an administrator set for the role or database.
const SETTINGS: [(&str, &str); 4] = [
    ("application_name", "helios auth_query"),
    ("client_encoding", "UTF8"),
    ("default_transaction_read_only", "on"),
    ("search_path", "pg_catalog"),
];
/// Longest name of a role; PostgreSQL cuts longer ones off, and so would take one role for another.
const MAX_NAME: usize = 63;
/// Roles that do not exist which are remembered.
const MAX_UNKNOWN: usize = 4096;
/// Age from which an answer that did not let its client in is asked for again: the password may be new.
const DOUBTFUL: Duration = Duration::from_secs(1);

/// The query, its connections and what it brought.
pub(crate) struct AuthQuery {
    settings: config::AuthQuery,
    credential: Credential,
    /// One for each cluster, used by one login at a time.
    links: HashMap<String, Lock<Option<Link>>>,
    answers: Mutex<HashMap<Asked, Answer>>,
}

/// Cluster and role.
type Asked = (String, String);

#[derive(Clone)]
struct Answer {
    /// `None` since a reload: known, to be asked for again.
    since: Option<Instant>,
    secret: Secret,
    /// How pools of this role log in; follows the server.
    latest: Arc<Latest>,
}

/// How to log in as a role whose secret the server has: as last heard.
pub(crate) struct Latest(ArcSwap<Credential>);

impl Latest {
    pub(crate) fn get(&self) -> Arc<Credential> {
        self.0.load_full()
    }
}

/// A connection between two logins.
struct Link {
    host: String,
    port: u16,
    address: Option<IpAddr>,
    moving: Moving,
}

impl Link {
    fn leads_to(&self, node: &NodeTopology) -> bool {
        let is_known = |address| node.addresses.is_empty() || node.addresses.contains(&address);
        self.host == node.host && self.port == node.port && self.address.is_none_or(is_known)
    }
}

impl AuthQuery {
    pub(crate) fn new(
        settings: &config::AuthQuery,
        known: Option<&Secret>,
        clusters: &[config::Cluster],
        before: Option<&AuthQuery>,
    ) -> AuthQuery {
        let mut answers = before.map_or_else(HashMap::new, |before| before.answers().clone());
        for answer in answers.values_mut() {
            answer.since = None;
        }
        let links = clusters
            .iter()
            .map(|cluster| (cluster.name.clone(), Lock::new(None)));
        AuthQuery {
            credential: match &settings.password {
                Some(password) => Credential::Plain(password.clone()),
                None => known.map_or(Credential::None, Secret::credential),
            },
            settings: settings.clone(),
            links: links.collect(),
            answers: Mutex::new(answers),
        }
    }

    /// How to log in to a server of this cluster as a role that was asked for.
    pub(crate) fn credential(&self, cluster: &str, user: &str) -> Option<Credential> {
        let asked = (cluster.to_owned(), user.to_owned());
        let answers = self.answers();
        answers
            .get(&asked)
            .map(|answer| Credential::Latest(Arc::clone(&answer.latest)))
    }

    /// What a client that says to be `user` must know. A role that does not exist, or may not log in, has nothing.
    ///
    /// # Errors
    /// The server could not be asked; nobody is told why but the log.
    pub(crate) async fn secret(
        &self,
        worker: &Worker,
        cluster: &str,
        user: &str,
    ) -> Result<Secret, Ended> {
        let asked = (cluster.to_owned(), user.to_owned());
        if let Some(secret) = self.fresh(&asked) {
            return Ok(secret);
        }
        let Some(link) = self.links.get(cluster).filter(|_| user.len() <= MAX_NAME) else {
            return Ok(Secret::None);
        };
        let node = primary(worker, cluster).await;
        let mut link = link.lock().await;
        // Somebody may have asked the same meanwhile.
        if let Some(secret) = self.fresh(&asked) {
            return Ok(secret);
        }
        match self.ask(worker, cluster, &node, &mut link, user).await {
            Ok(secret) => Ok(self.remember(asked, secret)),
            Err(err) => {
                let fields = vec![("cluster", cluster.to_owned()), ("error", err.to_string())];
                let events = &worker.shared.events;
                events.log(Level::Warning, "the auth query failed", fields);
                Err(Ended::Refused(Refusal::new(
                    sqlstate::CANNOT_CONNECT_NOW,
                    "the proxy cannot find out who may log in",
                )))
            }
        }
    }

    /// A client did not know what we hold for right.
    pub(crate) fn doubt(&self, cluster: &str, user: &str) {
        let asked = (cluster.to_owned(), user.to_owned());
        let mut answers = self.answers();
        if let Some(answer) = answers.get_mut(&asked) {
            answer.since = answer.since.filter(|since| since.elapsed() < DOUBTFUL);
        }
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<Asked, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, asked: &Asked) -> Option<Secret> {
        let limit = Duration::from_millis(self.settings.cache_ms);
        let answers = self.answers();
        let answer = answers.get(asked)?;
        let is_fresh = answer.since.is_some_and(|since| since.elapsed() < limit);
        is_fresh.then(|| answer.secret.clone())
    }

    fn remember(&self, asked: Asked, secret: Secret) -> Secret {
        let mut answers = self.answers();
        let unknown = |answer: &Answer| matches!(answer.secret, Secret::None);
        if unknown_is_many(&answers, unknown) {
            answers.retain(|_, answer| !unknown(answer));
        }
        let before = answers.get(&asked);
        let secret = secret.or_as_known(before.map(|answer| &answer.secret));
        let credential = Arc::new(secret.credential());
        let latest = before.map_or_else(
            || Arc::new(Latest(ArcSwap::new(Arc::clone(&credential)))),
            |answer| Arc::clone(&answer.latest),
        );
        latest.0.store(credential);
        let answer = Answer {
            since: Some(Instant::now()),
            secret: secret.clone(),
            latest,
        };
        answers.insert(asked, answer);
        secret
    }

    /// Asks over the kept connection if it still leads to this node, over a new one if not, or if it was closed.
    async fn ask(
        &self,
        worker: &Worker,
        cluster: &str,
        node: &NodeTopology,
        link: &mut Option<Link>,
        user: &str,
    ) -> Result<Secret, ConnectError> {
        let limit = Duration::from_millis(worker.config().limits.connect_timeout_ms);
        let kept = link.take().filter(|kept| kept.leads_to(node));
        let attempt = async {
            if let Some(mut conn) = kept.and_then(|kept| Conn::attach(kept.moving).ok()) {
                match self.answer(&mut conn, user).await {
                    Err(ConnectError::Io(_)) => {}
                    other => return other.map(|secret| (conn, secret)),
                }
            }
            let mut conn = self.connect(worker, cluster, node, limit).await?;
            let secret = self.answer(&mut conn, user).await?;
            Ok((conn, secret))
        };
        let timed_out = || ConnectError::Io(format!("no answer within {} ms", limit.as_millis()));
        let (conn, secret) = rt::timeout(limit, attempt).await.ok_or_else(timed_out)??;
        if conn.rbuf.is_empty() {
            let address = conn.ends()?.map(|(peer, _)| peer.ip());
            *link = conn.detach().ok().map(|moving| Link {
                address,
                host: node.host.clone(),
                port: node.port,
                moving,
            });
        }
        Ok(secret)
    }

    async fn connect(
        &self,
        worker: &Worker,
        cluster: &str,
        node: &NodeTopology,
        limit: Duration,
    ) -> Result<Conn, ConnectError> {
        let active = worker.active();
        let tls = active.connectors.get(cluster);
        let way = connect::Way {
            host: &node.host,
            port: node.port,
            addresses: &node.addresses,
            tcp: &active.snapshot.tcp,
            tls,
        };
        let mut conn = way.reach(limit).await?;
        let who = Who {
            user: &self.settings.user,
            database: &self.settings.database,
            settings: &SETTINGS,
            credential: &self.credential,
            binding: tls.map_or(ChannelBinding::Disable, |tls| tls.channel_binding),
        };
        auth::login(&mut conn, &who, &worker.shared.keys).await?;
        Ok(conn)
    }

    /// Both questions in one round trip.
    async fn answer(&self, conn: &mut Conn, user: &str) -> Result<Secret, ConnectError> {
        let mut out = Vec::new();
        frontend::ask(&mut out, &self.settings.sql, user);
        frontend::ask(&mut out, MAY_LOG_IN, user);
        out.extend_from_slice(frontend::SYNC);
        conn.wbuf.extend(&out);
        conn.flush().await?;
        let mut results: [Vec<Row>; 2] = Default::default();
        let mut at = 0;
        let mut error = None;
        loop {
            let message = auth::next_message(conn).await?;
            let body = &message[HEADER_LEN..];
            match message[0] {
                b'D' => {
                    let row = backend::read_data_row(body);
                    let row = row.ok_or_else(|| broken("row"))?;
                    let result = results.get_mut(at).ok_or_else(|| broken("row"))?;
                    result.push(
                        row.into_iter()
                            .map(|value| value.map(<[u8]>::to_vec))
                            .collect(),
                    );
                }
                b'C' => at += 1,
                b'E' => error = Some(ConnectError::Server(message)),
                b'Z' => break,
                // The steps of the two, and what may come at any time.
                b'1' | b'2' | b'I' | b'N' | b'S' | b'A' => {}
                _ => return Err(broken("message")),
            }
        }
        match error {
            Some(error) => Err(error),
            None => evaluate(&results, user),
        }
    }
}

/// Values of one row; `None` is NULL.
type Row = Vec<Option<Vec<u8>>>;

/// Role and secret as the query found them, if the server says that the role may log in.
fn evaluate(results: &[Vec<Row>; 2], user: &str) -> Result<Secret, ConnectError> {
    let [found, allowed] = results;
    let may_log_in = allowed.iter().all(|row| {
        row.first()
            .is_some_and(|value| value.as_deref() == Some(b"t"))
    });
    match found.as_slice() {
        [] => Ok(Secret::None),
        [row] => match row.as_slice() {
            [name, secret, ..] if name.as_deref() == Some(user.as_bytes()) => match secret {
                Some(secret) if may_log_in => {
                    let text = std::str::from_utf8(secret).map_err(|_| broken("secret"))?;
                    read_secret(user, text).map_err(ConnectError::Auth)
                }
                _ => Ok(Secret::None),
            },
            [_, _, ..] => Ok(Secret::None),
            _ => Err(ConnectError::Auth(
                "auth.query must return two columns, role and secret".to_owned(),
            )),
        },
        _ => Err(ConnectError::Auth(
            "auth.query found more than one row".to_owned(),
        )),
    }
}

fn unknown_is_many(answers: &HashMap<Asked, Answer>, unknown: impl Fn(&Answer) -> bool) -> bool {
    answers.len() >= MAX_UNKNOWN
        && answers.values().filter(|answer| unknown(answer)).count() >= MAX_UNKNOWN
}

fn broken(what: &str) -> ConnectError {
    ConnectError::Protocol(format!(
        "unexpected or malformed {what} in the answer to the auth query"
    ))
}

/// The primary; waits for one, as a statement would. The login's own limit ends that.
async fn primary(worker: &Worker, cluster: &str) -> NodeTopology {
    poll_fn(|cx| {
        if let Ok(node) = worker.shared.topology.load().primary(cluster) {
            return Poll::Ready(node.clone());
        }
        // Each time: whoever is woken has been taken out, also by news that it had heard already.
        worker.homeless.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    })
    .await
}
