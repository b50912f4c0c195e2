//! Admitting a client: trust, password, md5 and SCRAM against the users file, its certificate, or the system's word
//! for who it is. An unknown user is
//! asked the same questions and gets the same answer as one with a wrong password.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use helios_wire::ident::{Line, UserMaps};
use helios_wire::scram::{self, Channel, ScramError, ServerExchange, Verifier};
use helios_wire::startup::StartupParams;
use helios_wire::{backend, frontend, md5, sqlstate};
use nix::unistd::{Uid, User as SystemUser};
use subtle::ConstantTimeEq;

use super::auth_query::AuthQuery;
use super::demand::{Demand, Demands};
use super::startup::{no_certificate, read_password, Ended};
use crate::config::{AuthMethod, CertificateName, Snapshot, User};
use crate::error::Refusal;
use crate::events::Level;
use crate::random;
use crate::rt::{self, Conn};
use crate::server::auth::{Credential, Passed};
use crate::worker::Worker;

/// Iterations of the verifiers that we make of plain-text secrets; PostgreSQL's own default.
const ITERATIONS: u32 = 4096;

/// What is known of a role.
#[derive(Clone)]
pub(crate) enum Secret {
    None,
    Plain(Arc<Plain>),
    Md5(String),
    Scram(Arc<Passed>),
}

impl Secret {
    /// The same verifier as before comes with what its clients have proven since.
    pub(super) fn or_as_known(self, known: Option<&Secret>) -> Secret {
        match (&self, known) {
            (Secret::Scram(new), Some(Secret::Scram(old))) if new.verifier == old.verifier => {
                Secret::Scram(Arc::clone(old))
            }
            _ => self,
        }
    }

    /// How to log in to a server that stores the same.
    pub(super) fn credential(&self) -> Credential {
        match self {
            Secret::None => Credential::None,
            Secret::Plain(plain) => Credential::Plain(plain.password.clone()),
            Secret::Md5(shadow) => Credential::Md5(shadow.clone()),
            Secret::Scram(passed) => Credential::Scram(Arc::clone(passed)),
        }
    }
}

pub(crate) struct Plain {
    password: String,
    /// Made at the first SCRAM login, since PBKDF2 takes milliseconds.
    verifier: OnceLock<Verifier>,
}

/// Who may log in, and how it is proven.
pub(crate) struct Users {
    demands: Demands,
    maps: UserMaps,
    secrets: HashMap<String, Secret>,
    /// For roles that have none there.
    query: Option<AuthQuery>,
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Users({} by {:?})", self.secrets.len(), self.demands)
    }
}

impl Users {
    /// `before` is what was in force so far: what clients have proven stays known over a reload.
    ///
    /// # Errors
    /// A secret that looks like a SCRAM verifier and is none, or a faulty user map; the message names it.
    pub(crate) fn new(snapshot: &Snapshot, before: Option<&Users>) -> Result<Users, String> {
        let auth = &snapshot.auth;
        let known = |name: &str| before.and_then(|users| users.secrets.get(name));
        let secrets = auth.users.iter().map(|user| {
            let secret = secret(user)?;
            Ok((user.name.clone(), secret.or_as_known(known(&user.name))))
        });
        let secrets: HashMap<_, _> = secrets.collect::<Result<_, String>>()?;
        let query = auth.query.as_ref().map(|query| {
            let asked_before = before.and_then(|users| users.query.as_ref());
            AuthQuery::new(
                query,
                secrets.get(&query.user),
                &snapshot.clusters,
                asked_before,
            )
        });
        let lines = auth.ident.iter().map(|line| Line {
            map: &line.map,
            system_user: &line.system_user,
            database_user: &line.database_user,
        });
        Ok(Users {
            demands: Demands::new(snapshot)?,
            maps: UserMaps::new(lines).map_err(|(at, why)| format!("auth.ident[{at}]: {why}"))?,
            secrets,
            query,
        })
    }

    /// How to log in to a server as this role.
    pub(crate) fn credential(&self, cluster: &str, user: &str) -> Credential {
        let asked = || self.query.as_ref()?.credential(cluster, user);
        match self.secrets.get(user) {
            Some(secret) => secret.credential(),
            None => asked().unwrap_or(Credential::None),
        }
    }

    /// What a client that says to be `user` must know.
    async fn secret(&self, worker: &Worker, cluster: &str, user: &str) -> Result<Secret, Ended> {
        match (self.secrets.get(user), &self.query) {
            (Some(secret), _) => Ok(secret.clone()),
            (None, Some(query)) => Box::pin(query.secret(worker, cluster, user)).await,
            (None, None) => Ok(Secret::None),
        }
    }

    /// Asks the client to prove that it is `user`.
    pub(crate) async fn admit(
        &self,
        worker: &Worker,
        conn: &mut Conn,
        params: &StartupParams,
    ) -> Result<(), Ended> {
        let user = params.user.as_str();
        let demand = self.demands.of(conn, params)?;
        if demand.needs_certificate && conn.subject().is_none() {
            return Err(Ended::Refused(no_certificate()));
        }
        let cluster = cluster_of(&worker.active().snapshot, &params.database);
        // Also where nothing is asked: a server may ask for what is known of the role.
        let secret = self.secret(worker, &cluster, user).await?;
        let mock = &worker.shared.mock_secret;
        let proven = match (demand.method, &secret) {
            (AuthMethod::Trust | AuthMethod::Cert, _) => true,
            (AuthMethod::Peer, _) => self.is_peer(worker, conn, user, &demand).await?,
            (AuthMethod::Password, _) => by_password(conn, user, secret).await?,
            // A role that does not exist is asked as most are that a server knows.
            (AuthMethod::Md5, Secret::None) if self.query.is_some() => {
                by_scram(conn, user, secret, mock).await?
            }
            (AuthMethod::Md5, Secret::Plain(_) | Secret::Md5(_) | Secret::None) => {
                by_md5(conn, user, &secret).await?
            }
            (AuthMethod::Md5 | AuthMethod::ScramSha256, _) => {
                by_scram(conn, user, secret, mock).await?
            }
        };
        if proven && (!demand.needs_name || self.is_named(worker, conn, user, &demand)) {
            return Ok(());
        }
        if let Some(query) = &self.query {
            query.doubt(&cluster, user);
        }
        let (state, what) = match demand.method {
            AuthMethod::Cert => (sqlstate::INVALID_AUTHORIZATION_SPECIFICATION, "certificate"),
            AuthMethod::Peer => (sqlstate::INVALID_AUTHORIZATION_SPECIFICATION, "Peer"),
            _ => (sqlstate::INVALID_PASSWORD, "password"),
        };
        let text = format!("{what} authentication failed for user \"{user}\"");
        Err(Ended::Refused(Refusal::new(state, text)))
    }

    /// Whether the client's process runs as a user that may log in as `user`; if not, the log says as whom it runs.
    async fn is_peer(
        &self,
        worker: &Worker,
        conn: &Conn,
        user: &str,
        demand: &Demand,
    ) -> Result<bool, Ended> {
        if !conn.is_local() {
            let text = "peer authentication is only supported on local sockets";
            let refusal = Refusal::new(sqlstate::INVALID_AUTHORIZATION_SPECIFICATION, text);
            return Err(Ended::Refused(refusal));
        }
        let uid = conn.peer_user()?;
        // Beside the event loop, since the system may have to ask a directory service.
        let found = rt::offload(move || SystemUser::from_uid(Uid::from_raw(uid))).await?;
        let name = found.ok().flatten().map(|found| found.name);
        let map = demand.map.as_deref();
        let allows = |name: &str| self.maps.allow(map, name, user);
        let proven = name.as_deref().is_some_and(allows);
        if !proven {
            let fields = vec![
                ("user", user.to_owned()),
                ("peer", name.unwrap_or_else(|| format!("uid {uid}"))),
                ("map", map.unwrap_or("none").to_owned()),
            ];
            let events = &worker.shared.events;
            events.log(Level::Info, "peer may not log in as the user", fields);
        }
        Ok(proven)
    }

    /// Whether the certificate that the client showed names `user`; if not, the log says whom it names.
    fn is_named(&self, worker: &Worker, conn: &Conn, user: &str, demand: &Demand) -> bool {
        let name = conn.subject().and_then(|subject| match demand.name {
            CertificateName::Cn => subject.common,
            CertificateName::Dn => Some(subject.distinguished),
        });
        let map = demand.map.as_deref();
        let proven = name
            .as_deref()
            .is_some_and(|name| self.maps.allow(map, name, user));
        if !proven {
            let fields = vec![
                ("client", conn.peer()),
                ("user", user.to_owned()),
                ("certificate", name.unwrap_or_else(|| "no name".to_owned())),
                ("map", map.unwrap_or("none").to_owned()),
            ];
            let events = &worker.shared.events;
            events.log(Level::Info, "certificate does not name the user", fields);
        }
        proven
    }
}

/// The cluster that a client's database lies in; for a name that leads nowhere any, so that the login looks the same.
fn cluster_of(snapshot: &Snapshot, database: &str) -> String {
    match (snapshot.database(database), snapshot.clusters.first()) {
        (Some(entry), _) => entry.cluster.clone(),
        (None, Some(cluster)) => cluster.name.clone(),
        (None, None) => String::new(),
    }
}

fn secret(user: &User) -> Result<Secret, String> {
    match &user.secret {
        Some(text) => read_secret(&user.name, text),
        None => Ok(Secret::None),
    }
}

/// What a text of the users file or of a server is, told by its form as PostgreSQL does.
pub(super) fn read_secret(user: &str, text: &str) -> Result<Secret, String> {
    if text.starts_with("SCRAM-SHA-256$") {
        let parsed = Verifier::parse(text).map(Passed::new);
        let shared = parsed.map(|passed| Secret::Scram(Arc::new(passed)));
        return shared
            .ok_or_else(|| format!("auth.users: the SCRAM verifier of {user:?} is malformed"));
    }
    if md5::is_shadow(text) {
        return Ok(Secret::Md5(text.to_owned()));
    }
    Ok(Secret::Plain(Arc::new(Plain {
        password: text.to_owned(),
        verifier: OnceLock::new(),
    })))
}

fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

async fn by_password(conn: &mut Conn, user: &str, secret: Secret) -> Result<bool, Ended> {
    conn.wbuf.extend(backend::AUTHENTICATION_CLEARTEXT);
    conn.flush().await?;
    let message = read_password(conn).await?;
    let given = message.strip_suffix(&[0]).unwrap_or(&message).to_vec();
    Ok(match secret {
        Secret::None => false,
        Secret::Plain(plain) => equal(plain.password.as_bytes(), &given),
        Secret::Md5(shadow) => std::str::from_utf8(&given)
            .is_ok_and(|given| equal(shadow.as_bytes(), md5::shadow(user, given).as_bytes())),
        Secret::Scram(passed) => {
            let keys = Arc::clone(&passed);
            match rt::offload(move || keys.verifier.keys_of(&given)).await? {
                Some(keys) => {
                    passed.keys.get_or_init(|| keys);
                    true
                }
                None => false,
            }
        }
    })
}

async fn by_md5(conn: &mut Conn, user: &str, secret: &Secret) -> Result<bool, Ended> {
    let mut salt = [0; 4];
    random::fill(&mut salt);
    let mut out = Vec::new();
    backend::authentication_md5(&mut out, salt);
    conn.wbuf.extend(&out);
    conn.flush().await?;
    let message = read_password(conn).await?;
    let shadow = match secret {
        Secret::Plain(plain) => md5::shadow(user, &plain.password),
        Secret::Md5(shadow) => shadow.clone(),
        Secret::None | Secret::Scram(_) => return Ok(false),
    };
    Ok(md5::verify(
        &shadow,
        salt,
        message.strip_suffix(&[0]).unwrap_or(&message),
    ))
}

async fn by_scram(
    conn: &mut Conn,
    user: &str,
    secret: Secret,
    mock: &[u8; 32],
) -> Result<bool, Ended> {
    let malformed = |what: &str| {
        Ended::Refused(Refusal::protocol(format!(
            "malformed SCRAM message: {what}"
        )))
    };
    let end_point = conn.end_point();
    let offered: &[&str] = match end_point {
        Some(_) => &[scram::MECHANISM_PLUS, scram::MECHANISM],
        None => &[scram::MECHANISM],
    };
    let mut out = Vec::new();
    backend::authentication_sasl(&mut out, offered);
    conn.wbuf.extend(&out);
    conn.flush().await?;

    let message = read_password(conn).await?;
    let (mechanism, data) =
        frontend::read_sasl_initial(&message).ok_or_else(|| malformed("initial response"))?;
    let channel = match (mechanism, end_point) {
        (b"SCRAM-SHA-256-PLUS", Some(hash)) => Channel::Bound(hash),
        (b"SCRAM-SHA-256", Some(_)) => Channel::Unused,
        (b"SCRAM-SHA-256", None) => Channel::Absent,
        _ => {
            return Err(malformed(
                "the client selected a mechanism that was not offered",
            ))
        }
    };
    let first = data.ok_or_else(|| malformed("no initial response"))?;
    let passed = match &secret {
        Secret::Scram(passed) => Some(Arc::clone(passed)),
        _ => None,
    };
    let verifier = verifier(user, secret, mock).await?;
    let mut exchange = ServerExchange::new(verifier, &random::nonce(), channel);
    let reply = exchange.first(first).map_err(broken_off)?;
    out.clear();
    backend::authentication_sasl_continue(&mut out, &reply);
    conn.wbuf.extend(&out);
    conn.flush().await?;

    let message = read_password(conn).await?;
    match exchange.finish(&message) {
        Ok(last) => {
            if let (Some(passed), Some(keys)) = (passed, exchange.client_keys()) {
                passed.keys.get_or_init(|| keys.clone());
            }
            out.clear();
            backend::authentication_sasl_final(&mut out, &last);
            conn.wbuf.extend(&out);
            Ok(true)
        }
        Err(ScramError::WrongProof) => Ok(false),
        Err(err) => Err(broken_off(err)),
    }
}

fn broken_off(err: ScramError) -> Ended {
    let refusal = Refusal::new(err.sqlstate(), err.to_string());
    Ended::Refused(match err {
        ScramError::Downgrade => refusal.hint(
            "The client supports SCRAM channel binding but thinks the server does not. However, this server does \
             support channel binding.",
        ),
        _ => refusal,
    })
}

async fn verifier(user: &str, secret: Secret, mock: &[u8; 32]) -> Result<Verifier, Ended> {
    match secret {
        Secret::Scram(passed) => Ok(passed.verifier.clone()),
        // An md5 hash cannot answer SCRAM, as in PostgreSQL.
        Secret::None | Secret::Md5(_) => Ok(Verifier::mock(user, mock)),
        Secret::Plain(plain) => {
            if let Some(verifier) = plain.verifier.get() {
                return Ok(verifier.clone());
            }
            let salt = scram::salt_for(user, mock);
            let work = move || {
                plain
                    .verifier
                    .get_or_init(|| Verifier::from_password(&plain.password, &salt, ITERATIONS))
                    .clone()
            };
            Ok(rt::offload(work).await?)
        }
    }
}
