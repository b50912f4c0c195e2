//! The packets that come before the first tagged message: startup, SSLRequest, GSSENCRequest,
//! CancelRequest, and the negotiation of the minor protocol version.
//!
//! The engine reads four bytes, asks [`packet_len`], reads the rest and hands it to [`parse`]. Towards
//! a server it sends what [`build`] and [`build_cancel`] return.

use std::collections::HashMap;
use std::fmt;

use crate::options::{self, OptionsError};
use crate::sqlstate;

/// Longest packet accepted, its length word included. PostgreSQL's own limit.
pub const MAX_STARTUP_LEN: usize = 10_000;
/// Shortest packet: the length word and a code.
pub const MIN_STARTUP_LEN: usize = 8;
/// Shortest cancel key: that of protocol 3.0.
pub const MIN_CANCEL_KEY_LEN: usize = 4;
/// Longest cancel key protocol 3.2 allows.
pub const MAX_CANCEL_KEY_LEN: usize = 256;
/// The only major protocol version there is.
pub const MAJOR: u16 = 3;
/// The newest minor protocol version this crate speaks.
pub const NEWEST_MINOR: u16 = 2;

/// Major number of the codes that take the place of a version; no protocol can have it.
const REQUEST_MAJOR: u16 = 1234;
const CANCEL_MINOR: u16 = 5678;
const SSL_MINOR: u16 = 5679;
const GSSENC_MINOR: u16 = 5680;
/// Our own, far from what PostgreSQL may give out next.
const PEER_MINOR: u16 = 5400;

/// Prefix of protocol options, which are no settings.
const PROTOCOL_OPTION_PREFIX: &str = "_pq_.";

/// What a client may open a connection with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Startup {
    /// Asks for TLS; the answer is one byte, `S` or `N`.
    Ssl,
    /// Asks for GSSAPI encryption; the answer is one byte, `G` or `N`.
    GssEnc,
    /// Asks to cancel the query of another connection; there is no answer.
    Cancel {
        /// Process id, as given out in BackendKeyData.
        pid: u32,
        /// Secret key, [`MIN_CANCEL_KEY_LEN`] to [`MAX_CANCEL_KEY_LEN`] bytes.
        key: Vec<u8>,
    },
    /// Another process of the same service has a cancel request for us; see [`crate::peer`].
    Peer,
    /// Opens a session.
    Start(StartupParams),
}

/// The contents of a StartupMessage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartupParams {
    /// Major protocol version; always [`MAJOR`].
    pub major: u16,
    /// Minor protocol version asked for; may be newer than [`NEWEST_MINOR`], see [`negotiate`].
    pub minor: u16,
    /// Role to log in as; never empty.
    pub user: String,
    /// Database asked for; the user name if the client gave none.
    pub database: String,
    /// Settings, in the order in which they take effect: first those of `options`, then those given as
    /// parameters of their own, which therefore win. A repeated name (in any case) is kept once, last.
    pub parameters: Vec<(String, String)>,
    /// What the connection replicates; `None` for an ordinary session.
    pub replication: Option<Replication>,
    /// Names of all protocol options (`_pq_.…`) in order; none is supported.
    pub protocol_options: Vec<String>,
}

/// What a replication connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Replication {
    /// The whole server's WAL; belongs to no database.
    Physical,
    /// The changes of one database; takes SQL too.
    Logical,
}

impl Replication {
    /// The value of the startup parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Physical => "true",
            Self::Logical => "database",
        }
    }
}

/// Why a packet was refused. [`fmt::Display`] gives PostgreSQL's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartupError {
    /// The length word, or the length of a fixed-size packet, is out of bounds.
    Length,
    /// The strings do not come in pairs ended by one zero byte that is the last of the packet.
    Layout,
    /// A protocol of another major version, or an encryption request where none may come.
    UnsupportedProtocol {
        /// Major version asked for.
        major: u16,
        /// Minor version asked for.
        minor: u16,
    },
    /// No `user`, or an empty one.
    NoUser,
    /// A string that is not UTF-8; holds the first byte that is wrong.
    Encoding(u8),
    /// `replication` is neither a boolean nor `database`.
    Replication(String),
    /// `options` could not be split.
    Options(OptionsError),
}

impl StartupError {
    /// The SQLSTATE PostgreSQL answers with.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Length | Self::Layout => sqlstate::PROTOCOL_VIOLATION,
            Self::UnsupportedProtocol { .. } => sqlstate::FEATURE_NOT_SUPPORTED,
            Self::NoUser => sqlstate::INVALID_AUTHORIZATION_SPECIFICATION,
            Self::Encoding(_) => sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
            Self::Replication(_) => sqlstate::INVALID_PARAMETER_VALUE,
            Self::Options(error) => error.sqlstate(),
        }
    }

    /// PostgreSQL's message; the same as `to_string`.
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// PostgreSQL's hint, where it gives one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Replication(_) => {
                Some("Valid values are: \"false\", 0, \"true\", 1, \"database\".")
            }
            _ => None,
        }
    }

    /// Whether the client is told. PostgreSQL only logs a bad length and closes: such a peer most
    /// likely speaks another protocol and would not understand.
    pub fn is_for_client(&self) -> bool {
        !matches!(self, Self::Length)
    }
}

impl fmt::Display for StartupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("invalid length of startup packet"),
            Self::Layout => {
                f.write_str("invalid startup packet layout: expected terminator as last byte")
            }
            Self::UnsupportedProtocol { major, minor } => write!(
                f,
                "unsupported frontend protocol {major}.{minor}: server supports {MAJOR}.0 to {MAJOR}.{NEWEST_MINOR}"
            ),
            Self::NoUser => f.write_str("no PostgreSQL user name specified in startup packet"),
            Self::Encoding(byte) => {
                write!(f, "invalid byte sequence for encoding \"UTF8\": 0x{byte:02x}")
            }
            Self::Replication(value) => {
                write!(f, "invalid value for parameter \"replication\": \"{value}\"")
            }
            Self::Options(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StartupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Options(error) => Some(error),
            _ => None,
        }
    }
}

impl From<OptionsError> for StartupError {
    fn from(error: OptionsError) -> Self {
        Self::Options(error)
    }
}

/// The total length of a packet, these four bytes included, between [`MIN_STARTUP_LEN`] and
/// [`MAX_STARTUP_LEN`]; anything else is [`StartupError::Length`].
pub fn packet_len(first4: [u8; 4]) -> Result<usize, StartupError> {
    usize::try_from(u32::from_be_bytes(first4))
        .ok()
        .filter(|len| (MIN_STARTUP_LEN..=MAX_STARTUP_LEN).contains(len))
        .ok_or(StartupError::Length)
}

/// Reads a packet without its length word, so starting with the version or request code.
pub fn parse(body: &[u8]) -> Result<Startup, StartupError> {
    if body.len() > MAX_STARTUP_LEN {
        return Err(StartupError::Length);
    }
    let (major, rest) = take_u16(body).ok_or(StartupError::Length)?;
    let (minor, rest) = take_u16(rest).ok_or(StartupError::Length)?;
    match (major, minor) {
        (REQUEST_MAJOR, SSL_MINOR) => exactly(rest, Startup::Ssl),
        (REQUEST_MAJOR, GSSENC_MINOR) => exactly(rest, Startup::GssEnc),
        (REQUEST_MAJOR, PEER_MINOR) => exactly(rest, Startup::Peer),
        (REQUEST_MAJOR, CANCEL_MINOR) => parse_cancel(rest),
        (MAJOR, _) => parse_start(minor, rest).map(Startup::Start),
        _ => Err(StartupError::UnsupportedProtocol { major, minor }),
    }
}

fn take_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*head), rest))
}

fn exactly(rest: &[u8], startup: Startup) -> Result<Startup, StartupError> {
    if rest.is_empty() {
        Ok(startup)
    } else {
        Err(StartupError::Length)
    }
}

fn parse_cancel(rest: &[u8]) -> Result<Startup, StartupError> {
    let (pid, key) = rest.split_first_chunk::<4>().ok_or(StartupError::Length)?;
    if !(MIN_CANCEL_KEY_LEN..=MAX_CANCEL_KEY_LEN).contains(&key.len()) {
        return Err(StartupError::Length);
    }
    Ok(Startup::Cancel {
        pid: u32::from_be_bytes(*pid),
        key: key.to_vec(),
    })
}

fn parse_start(minor: u16, mut rest: &[u8]) -> Result<StartupParams, StartupError> {
    let mut user = String::new();
    let mut database = String::new();
    let mut replication = None;
    let mut command_line = String::new();
    let mut given = Vec::new();
    let mut protocol_options = Vec::new();
    while let Some((name, value, after)) = take_pair(rest)? {
        rest = after;
        match name {
            "user" => user = value.to_owned(),
            "database" => database = value.to_owned(),
            "options" => command_line = value.to_owned(),
            "replication" => replication = parse_replication(value)?,
            _ if name.starts_with(PROTOCOL_OPTION_PREFIX) => protocol_options.push(name.to_owned()),
            _ => given.push((name.to_owned(), value.to_owned())),
        }
    }
    if user.is_empty() {
        return Err(StartupError::NoUser);
    }
    if database.is_empty() {
        database.clone_from(&user);
    }
    // PostgreSQL applies `options` first, so a parameter of its own overrides it.
    let mut parameters = options::split(&command_line)?;
    parameters.append(&mut given);
    Ok(StartupParams {
        major: MAJOR,
        minor,
        user,
        database,
        parameters: keep_last(parameters),
        replication,
        protocol_options,
    })
}

/// A name, its value, and the bytes after them.
type Pair<'a> = (&'a str, &'a str, &'a [u8]);

/// The next pair, or `None` at a terminator that is the last byte of the packet.
fn take_pair(bytes: &[u8]) -> Result<Option<Pair<'_>>, StartupError> {
    if bytes == [0] {
        return Ok(None);
    }
    let (name, rest) = take_cstr(bytes)?;
    if name.is_empty() {
        return Err(StartupError::Layout);
    }
    let (value, rest) = take_cstr(rest)?;
    Ok(Some((as_text(name)?, as_text(value)?, rest)))
}

fn take_cstr(bytes: &[u8]) -> Result<(&[u8], &[u8]), StartupError> {
    let mut halves = bytes.splitn(2, |&byte| byte == 0);
    match (halves.next(), halves.next()) {
        (Some(text), Some(rest)) => Ok((text, rest)),
        _ => Err(StartupError::Layout),
    }
}

fn as_text(bytes: &[u8]) -> Result<&str, StartupError> {
    std::str::from_utf8(bytes).map_err(|error| {
        StartupError::Encoding(bytes.get(error.valid_up_to()).copied().unwrap_or_default())
    })
}

/// What the server would understand the value as.
fn parse_replication(value: &str) -> Result<Option<Replication>, StartupError> {
    if value == Replication::Logical.as_str() {
        return Ok(Some(Replication::Logical));
    }
    match parse_bool(value) {
        Some(true) => Ok(Some(Replication::Physical)),
        Some(false) => Ok(None),
        None => Err(StartupError::Replication(value.to_owned())),
    }
}

/// PostgreSQL's booleans: any unambiguous beginning of true, false, yes, no, on, off, or 1 and 0.
fn parse_bool(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    let begins = |word: &str, least: usize| value.len() >= least && word.starts_with(&value);
    if begins("true", 1) || begins("yes", 1) || begins("on", 2) || value == "1" {
        Some(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || value == "0" {
        Some(false)
    } else {
        None
    }
}

/// Each name once, where it came last. Setting names do not tell capitals from small letters.
fn keep_last(parameters: Vec<(String, String)>) -> Vec<(String, String)> {
    let last: HashMap<String, usize> = parameters
        .iter()
        .enumerate()
        .map(|(at, (name, _))| (name.to_ascii_lowercase(), at))
        .collect();
    parameters
        .into_iter()
        .enumerate()
        .filter(|(at, (name, _))| last.get(&name.to_ascii_lowercase()) == Some(at))
        .map(|(_, parameter)| parameter)
        .collect()
}

/// A NegotiateProtocolVersion message, to be sent once and before authentication, or `None` if the
/// client asked for nothing unknown. Names all of `options`, since no protocol option is supported.
pub fn negotiate(minor: u16, options: &[String]) -> Option<Vec<u8>> {
    if minor <= NEWEST_MINOR && options.is_empty() {
        return None;
    }
    let count = i32::try_from(options.len()).unwrap_or(i32::MAX);
    let mut body = Vec::new();
    body.extend(MAJOR.to_be_bytes());
    body.extend(minor.min(NEWEST_MINOR).to_be_bytes());
    body.extend(count.to_be_bytes());
    for name in options {
        put_cstr(&mut body, name);
    }
    let mut message = vec![b'v'];
    message.append(&mut with_length(body));
    Some(message)
}

/// A protocol 3.0 StartupMessage to a server. `user` and `database` are what the arguments say: entries
/// of `parameters` with these names are left out, because a server takes the last one.
pub fn build(user: &str, database: &str, parameters: &[(&str, &str)]) -> Vec<u8> {
    let identity = [("user", user), ("database", database)];
    let settings = parameters
        .iter()
        .filter(|(name, _)| !name.is_empty() && !matches!(*name, "user" | "database"));
    let mut body = Vec::new();
    body.extend(MAJOR.to_be_bytes());
    body.extend(0_u16.to_be_bytes());
    for (name, value) in identity.iter().chain(settings) {
        put_cstr(&mut body, name);
        put_cstr(&mut body, value);
    }
    body.push(0);
    with_length(body)
}

/// An SSLRequest to a server.
pub fn build_ssl_request() -> Vec<u8> {
    build_request(SSL_MINOR)
}

/// What opens a connection to a peer.
pub(crate) fn build_peer() -> Vec<u8> {
    build_request(PEER_MINOR)
}

fn build_request(minor: u16) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(REQUEST_MAJOR.to_be_bytes());
    body.extend(minor.to_be_bytes());
    with_length(body)
}

/// A CancelRequest to a server.
pub fn build_cancel(pid: u32, key: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(REQUEST_MAJOR.to_be_bytes());
    body.extend(CANCEL_MINOR.to_be_bytes());
    body.extend(pid.to_be_bytes());
    body.extend(key);
    with_length(body)
}

/// Appends `text` and a zero byte. A zero inside would end the string early and could smuggle in
/// another parameter, so it becomes U+FFFD, which no name matches.
fn put_cstr(body: &mut Vec<u8>, text: &str) {
    for (at, piece) in text.split('\0').enumerate() {
        if at > 0 {
            body.extend("\u{FFFD}".as_bytes());
        }
        body.extend(piece.as_bytes());
    }
    body.push(0);
}

fn with_length(body: Vec<u8>) -> Vec<u8> {
    let len = u32::try_from(body.len().saturating_add(4)).unwrap_or(u32::MAX);
    let mut packet = len.to_be_bytes().to_vec();
    packet.extend(body);
    packet
}
