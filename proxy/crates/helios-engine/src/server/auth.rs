//! Logging in to a server: one state machine from the startup packet to the first ReadyForQuery.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use helios_wire::backend::{self, Authentication};
use helios_wire::error_response::ErrorFields;
use helios_wire::frame::{self, HEADER_LEN};
use helios_wire::scram::{self, Challenge, Channel, ClientExchange, ClientKeys, Verifier};
use helios_wire::{frontend, md5, sqlstate, startup};

use crate::config::{ChannelBinding, PoolSettings};
use crate::rt::{self, Conn};
use crate::session::auth_query::Latest;

/// Messages a server may send during the login are capped; a malicious one must not fill memory.
const MAX_LOGIN_MESSAGE: usize = 64 * 1024;
/// Derived keys kept; a change of passwords beyond this starts over.
const MAX_CACHED_KEYS: usize = 1024;

/// How a pool logs in.
#[derive(Clone)]
pub(crate) enum Credential {
    /// Nothing to show: works with `trust`, `peer` and the like.
    None,
    /// The password itself.
    Plain(String),
    /// `md5…` of password and user name: works with md5 only.
    Md5(String),
    /// A verifier and, once a client has proven to have them, the keys it was made of: works with SCRAM where the server
    /// stores the same verifier.
    Scram(Arc<Passed>),
    /// As the auth query last heard.
    Latest(Arc<Latest>),
}

impl PartialEq for Credential {
    fn eq(&self, other: &Credential) -> bool {
        match (self, other) {
            (Credential::None, Credential::None) => true,
            (Credential::Plain(a), Credential::Plain(b))
            | (Credential::Md5(a), Credential::Md5(b)) => a == b,
            (Credential::Scram(a), Credential::Scram(b)) => a.verifier == b.verifier,
            (Credential::Latest(a), Credential::Latest(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// A verifier of the users file and what its clients prove to have. In memory only, and as good as the password.
pub(crate) struct Passed {
    pub(crate) verifier: Verifier,
    /// Empty until the first login.
    pub(crate) keys: OnceLock<ClientKeys>,
}

impl Passed {
    pub(crate) fn new(verifier: Verifier) -> Passed {
        Passed {
            verifier,
            keys: OnceLock::new(),
        }
    }

    /// The keys, if a server that asks this can be answered with them.
    fn keys_for(&self, challenge: &Challenge, user: &str) -> Result<ClientKeys, ConnectError> {
        let why = match self.keys.get() {
            _ if !self.verifier.answers(challenge) => {
                "its verifier there is not the one that Helios knows"
            }
            Some(keys) => return Ok(keys.clone()),
            None => "no client has logged in by SCRAM or password as it since Helios started",
        };
        Err(ConnectError::Auth(format!(
            "cannot log in to the server as \"{user}\" by a SCRAM verifier: {why}"
        )))
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credential::None => "none",
            Credential::Plain(_) => "password",
            Credential::Md5(_) => "md5",
            Credential::Scram(_) => "SCRAM keys",
            Credential::Latest(_) => "as the server last said",
        })
    }
}

/// Why no server connection came about.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The node cannot be reached, or the connection broke.
    Io(String),
    /// The server sent an ErrorResponse: the whole message.
    Server(Vec<u8>),
    /// The server asks for what we do not have or do not speak.
    Auth(String),
    /// No encryption on the terms that are demanded.
    Tls(String),
    /// The server broke the protocol.
    Protocol(String),
}

impl ConnectError {
    /// What the server gave as its reason, if it was the server.
    pub(crate) fn sqlstate(&self) -> Option<&str> {
        match self {
            ConnectError::Server(message) => ErrorFields::new(&message[HEADER_LEN..]).sqlstate(),
            _ => None,
        }
    }

    /// Whether another attempt may do better: the node starts, ends, is full or cannot be reached.
    pub(crate) fn may_pass(&self) -> bool {
        let passing = [
            sqlstate::TOO_MANY_CONNECTIONS,
            sqlstate::CANNOT_CONNECT_NOW,
            sqlstate::ADMIN_SHUTDOWN,
            sqlstate::CRASH_SHUTDOWN,
        ];
        match self {
            ConnectError::Io(_) => true,
            ConnectError::Server(_) => self
                .sqlstate()
                .is_some_and(|state| passing.contains(&state)),
            ConnectError::Auth(_) | ConnectError::Tls(_) | ConnectError::Protocol(_) => false,
        }
    }
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConnectError::Io(text)
            | ConnectError::Auth(text)
            | ConnectError::Tls(text)
            | ConnectError::Protocol(text) => f.write_str(text),
            ConnectError::Server(message) => f.write_str(&crate::error::server_text(message)),
        }
    }
}

impl From<std::io::Error> for ConnectError {
    fn from(err: std::io::Error) -> ConnectError {
        ConnectError::Io(err.to_string())
    }
}

/// Keys that PBKDF2 made, by password, salt and iterations; the same for all connections of a role.
#[derive(Default)]
pub(crate) struct KeyCache(Mutex<HashMap<KeyId, ClientKeys>>);

/// Password, salt, iterations.
type KeyId = (String, Vec<u8>, u32);

impl std::fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyCache")
    }
}

impl KeyCache {
    async fn keys(&self, password: &str, challenge: Challenge) -> Result<ClientKeys, ConnectError> {
        let id = (
            password.to_owned(),
            challenge.salt.clone(),
            challenge.iterations,
        );
        let cached = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned();
        if let Some(keys) = cached {
            return Ok(keys);
        }
        let secret = password.to_owned();
        let keys = rt::offload(move || ClientKeys::derive(&secret, &challenge)).await?;
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MAX_CACHED_KEYS {
            cache.clear();
        }
        cache.insert(id, keys.clone());
        Ok(keys)
    }
}

/// What a login leaves behind.
#[derive(Debug, Default)]
pub(crate) struct LoggedIn {
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) pid: u32,
    pub(crate) key: Vec<u8>,
}

/// As whom to log in, and how.
pub(crate) struct Who<'a> {
    pub(crate) user: &'a str,
    pub(crate) database: &'a str,
    /// Names and values for the startup packet.
    pub(crate) settings: &'a [(&'a str, &'a str)],
    pub(crate) credential: &'a Credential,
    pub(crate) binding: ChannelBinding,
}

/// Sends the startup packet and answers until the server is ready.
pub(crate) async fn login(
    conn: &mut Conn,
    who: &Who<'_>,
    cache: &KeyCache,
) -> Result<LoggedIn, ConnectError> {
    conn.wbuf
        .extend(&startup::build(who.user, who.database, who.settings));
    conn.flush().await?;
    let latest = match who.credential {
        Credential::Latest(latest) => Some(latest.get()),
        _ => None,
    };
    let mut done = LoggedIn::default();
    let mut dialogue = Dialogue {
        user: who.user,
        credential: latest.as_deref().unwrap_or(who.credential),
        binding: who.binding,
        end_point: conn.end_point(),
        cache,
        scram: None,
        is_bound: false,
    };
    let mut reply = Vec::new();
    loop {
        let message = next_message(conn).await?;
        let body = &message[HEADER_LEN..];
        match message[0] {
            b'R' => {
                let request =
                    Authentication::parse(body).ok_or_else(|| broken("authentication request"))?;
                dialogue.answer(request, &mut reply).await?;
                if !reply.is_empty() {
                    conn.wbuf.extend(&reply);
                    reply.clear();
                    conn.flush().await?;
                }
            }
            b'S' => {
                let (name, value) = backend::read_parameter_status(body)
                    .ok_or_else(|| broken("parameter status"))?;
                done.parameters.insert(name.to_owned(), value.to_owned());
            }
            b'K' => {
                let (pid, secret) =
                    backend::read_backend_key_data(body).ok_or_else(|| broken("key data"))?;
                (done.pid, done.key) = (pid, secret.to_vec());
            }
            b'Z' => return Ok(done),
            b'E' => return Err(ConnectError::Server(message)),
            // A logon trigger may raise notices; there is nobody to show them to.
            b'N' | b'A' | b'v' => {}
            _ => return Err(broken("message during login")),
        }
    }
}

fn broken(what: &str) -> ConnectError {
    ConnectError::Protocol(format!("unexpected or malformed {what} from the server"))
}

/// The part of a login in which the two ends prove who they are.
struct Dialogue<'a> {
    user: &'a str,
    credential: &'a Credential,
    binding: ChannelBinding,
    /// The server's certificate, if there is one that a channel can be bound to.
    end_point: Option<Vec<u8>>,
    cache: &'a KeyCache,
    /// While it runs.
    scram: Option<ClientExchange>,
    /// Whether the server proved that it is the other end of the channel.
    is_bound: bool,
}

impl Dialogue<'_> {
    async fn answer(
        &mut self,
        request: Authentication<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), ConnectError> {
        match (request, self.credential) {
            (Authentication::Ok, _) => self.check_end()?,
            (Authentication::Cleartext | Authentication::Md5(_), _)
                if self.binding == ChannelBinding::Require =>
            {
                return Err(unbound("the server asks for a password instead"));
            }
            (Authentication::Cleartext, Credential::Plain(password)) => {
                frontend::password(out, &terminated(password));
            }
            (Authentication::Md5(salt), Credential::Plain(password)) => {
                let shadow = md5::shadow(self.user, password);
                frontend::password(out, &terminated(&md5::response(&shadow, salt)));
            }
            (Authentication::Md5(salt), Credential::Md5(shadow)) => {
                frontend::password(out, &terminated(&md5::response(shadow, salt)));
            }
            (Authentication::Sasl(mechanisms), Credential::Plain(_) | Credential::Scram(_)) => {
                let (mechanism, channel) = self.channel(&mechanisms)?;
                self.is_bound = mechanism == scram::MECHANISM_PLUS;
                let exchange = ClientExchange::new(&crate::random::nonce(), channel);
                frontend::sasl_initial(out, mechanism, &exchange.first());
                self.scram = Some(exchange);
            }
            (Authentication::SaslContinue(data), credential) => {
                let exchange = self.scram.as_mut().ok_or_else(|| broken("SASL message"))?;
                let challenge = exchange.challenge(data).map_err(failed)?;
                let keys = match credential {
                    Credential::Plain(password) => self.cache.keys(password, challenge).await?,
                    Credential::Scram(passed) => passed.keys_for(&challenge, self.user)?,
                    Credential::None | Credential::Md5(_) | Credential::Latest(_) => {
                        return Err(broken("SASL message"))
                    }
                };
                frontend::password(out, &exchange.respond(&keys));
            }
            (Authentication::SaslFinal(data), _) => {
                let exchange = self.scram.take().ok_or_else(|| broken("SASL message"))?;
                exchange.verify(data).map_err(failed)?;
            }
            (Authentication::Other(code), _) => {
                return Err(ConnectError::Auth(format!(
                    "the server asks for authentication method {code}, which Helios does not speak"
                )));
            }
            (_, _) => {
                return Err(ConnectError::Auth(format!(
                    "the server asks for a password of user \"{}\", and none that fits is configured",
                    self.user
                )));
            }
        }
        Ok(())
    }

    /// AuthenticationOk is believed only from a server that has proven what it had to.
    fn check_end(&self) -> Result<(), ConnectError> {
        if self.scram.is_some() {
            return Err(broken("end of SCRAM: the server did not prove itself"));
        }
        if self.binding == ChannelBinding::Require && !self.is_bound {
            return Err(unbound("the server lets us in without it"));
        }
        Ok(())
    }

    /// The mechanism to use of those that the server offers.
    fn channel(&self, offered: &[&[u8]]) -> Result<(&'static str, Channel), ConnectError> {
        let offers = |mechanism: &str| offered.contains(&mechanism.as_bytes());
        let wanted = self.binding != ChannelBinding::Disable;
        match &self.end_point {
            Some(hash) if wanted && offers(scram::MECHANISM_PLUS) => {
                Ok((scram::MECHANISM_PLUS, Channel::Bound(hash.clone())))
            }
            None if self.binding == ChannelBinding::Require => Err(unbound(
                "the connection has no TLS, or a certificate that cannot be bound to",
            )),
            _ if self.binding == ChannelBinding::Require => {
                Err(unbound("the server does not offer it"))
            }
            _ if !offers(scram::MECHANISM) => Err(ConnectError::Auth(
                "the server offers no SASL mechanism we speak".to_owned(),
            )),
            Some(_) if wanted => Ok((scram::MECHANISM, Channel::Unused)),
            _ => Ok((scram::MECHANISM, Channel::Absent)),
        }
    }
}

fn failed(err: scram::ScramError) -> ConnectError {
    ConnectError::Auth(err.to_string())
}

fn unbound(why: &str) -> ConnectError {
    ConnectError::Auth(format!(
        "channel binding is required by the cluster's tls.channel_binding, and {why}"
    ))
}

fn terminated(password: &str) -> Vec<u8> {
    let mut bytes = password.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// The next message, whole.
pub(crate) async fn next_message(conn: &mut Conn) -> Result<Vec<u8>, ConnectError> {
    loop {
        let bytes = conn.rbuf.bytes();
        if let Some(header) =
            frame::header(bytes).map_err(|err| ConnectError::Protocol(err.to_string()))?
        {
            if header.total > MAX_LOGIN_MESSAGE {
                return Err(ConnectError::Protocol(format!(
                    "login message of {} bytes from the server",
                    header.total
                )));
            }
            if bytes.len() >= header.total {
                let message = bytes[..header.total].to_vec();
                conn.rbuf.consume(header.total);
                return Ok(message);
            }
        }
        if conn.fill().await? == 0 {
            return Err(ConnectError::Io(
                "the server closed the connection during login".to_owned(),
            ));
        }
    }
}

/// Longest time a connection of this pool may live, spread so that not all end at once.
pub(crate) fn lifetime(settings: &PoolSettings) -> Option<std::time::Duration> {
    let limit = settings.max_lifetime_ms;
    let jitter = crate::random::below(limit / 10 + 1);
    (limit > 0).then(|| std::time::Duration::from_millis(limit - jitter))
}
