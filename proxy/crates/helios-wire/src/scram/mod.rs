//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL speaks it, both sides, as pure steps.
//!
//! | Type | Role |
//! |---|---|
//! | [`Verifier`] | what is stored for a user instead of the password |
//! | [`ServerExchange`] | checks a client against a verifier |
//! | [`ClientExchange`] | logs in to a server; [`ClientKeys`] is the costly part, kept apart to be cached |
//!
//! The user name inside the messages is ignored and sent empty: the one of the startup packet counts.
//! A [`Channel`] is bound to by `tls-server-end-point` (RFC 5929), as PostgreSQL does.

mod channel;
mod client;
mod server;
mod verifier;

pub use channel::Channel;
pub use client::{Challenge, ClientExchange, ClientKeys};
pub use server::ServerExchange;
pub use verifier::{salt_for, Verifier};

use std::borrow::Cow;
use std::fmt;

use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::sqlstate;

/// Name of the mechanism in AuthenticationSASL and SASLInitialResponse.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// Name of the mechanism that also binds the channel.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// Longest message accepted from a client, in bytes. PostgreSQL's own limit.
pub const MAX_CLIENT_MESSAGE_LEN: usize = 1024;
/// Longest message accepted from a server, in bytes.
pub const MAX_SERVER_MESSAGE_LEN: usize = 4096;
/// Longest combined nonce accepted from a server, in characters.
pub const MAX_NONCE_LEN: usize = 1024;
/// Longest salt accepted, in bytes; PostgreSQL makes 16.
pub const MAX_SALT_LEN: usize = 1024;
/// Most iterations accepted: a few seconds of one core. PostgreSQL's default is 4096.
pub const MAX_ITERATIONS: u32 = 10_000_000;
/// Iterations of verifiers PostgreSQL makes by default, and of mock ones.
pub const DEFAULT_ITERATIONS: u32 = 4096;

/// A SHA-256 hash, or an HMAC made with it.
type Key = [u8; 32];

/// Why an exchange ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScramError {
    /// The message does not follow the grammar; says where.
    Malformed(&'static str),
    /// A size or number is beyond its named limit; says which.
    Limit(&'static str),
    /// The peer needs something we do not have; says what.
    Unsupported(&'static str),
    /// The nonce is not the one of this exchange.
    NonceMismatch,
    /// The steps were called in the wrong order.
    OutOfOrder,
    /// Server side: the client could bind the channel and believes that the server could not, yet it was offered:
    /// somebody between the two took the offer out.
    Downgrade,
    /// Server side: the client is connected to somebody else, who passes its messages on.
    WrongChannel,
    /// Server side: wrong password, or a mock verifier.
    WrongProof,
    /// Client side: the server does not know the password either.
    WrongServerSignature,
    /// Client side: the server refused; its reason if it is plain text.
    Refused(String),
}

impl ScramError {
    /// The SQLSTATE to end the connection with.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Unsupported(_) => sqlstate::FEATURE_NOT_SUPPORTED,
            Self::WrongProof | Self::Refused(_) => sqlstate::INVALID_PASSWORD,
            Self::OutOfOrder => sqlstate::INTERNAL_ERROR,
            Self::WrongServerSignature | Self::Downgrade | Self::WrongChannel => {
                sqlstate::INVALID_AUTHORIZATION_SPECIFICATION
            }
            Self::Malformed(_) | Self::Limit(_) | Self::NonceMismatch => {
                sqlstate::PROTOCOL_VIOLATION
            }
        }
    }
}

impl fmt::Display for ScramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "malformed SCRAM message: {what}"),
            Self::Limit(what) => write!(f, "SCRAM message refused: {what} is beyond the limit"),
            Self::Unsupported(what) => {
                write!(f, "SCRAM peer requires {what}, which is not supported")
            }
            Self::NonceMismatch => f.write_str("invalid SCRAM response: nonce does not match"),
            Self::OutOfOrder => f.write_str("SCRAM step taken out of order"),
            Self::Downgrade => f.write_str("SCRAM channel binding negotiation error"),
            Self::WrongChannel => f.write_str("SCRAM channel binding check failed"),
            Self::WrongProof => f.write_str("SCRAM proof does not match"),
            Self::WrongServerSignature => f.write_str("SCRAM server signature does not match"),
            Self::Refused(reason) => write!(f, "SCRAM authentication refused by server: {reason}"),
        }
    }
}

impl std::error::Error for ScramError {}

/// The attributes of a message, `x=value` separated by commas.
struct Attributes<'a> {
    rest: Option<&'a str>,
}

impl<'a> Attributes<'a> {
    fn new(message: &'a str) -> Self {
        Self {
            rest: Some(message),
        }
    }

    /// The next attribute, which must have this name; `missing` is what to say otherwise.
    fn expect(&mut self, name: u8, missing: &'static str) -> Result<&'a str, ScramError> {
        match self.next() {
            Some(Ok((found, value))) if found == name => Ok(value),
            Some(Ok((b'm', _))) => Err(ScramError::Unsupported("a SCRAM extension")),
            _ => Err(ScramError::Malformed(missing)),
        }
    }

    /// Passes over what is left: extensions that may be ignored, as long as they are attributes.
    fn skip_extensions(self) -> Result<(), ScramError> {
        for attribute in self {
            if attribute?.0 == b'p' {
                return Err(ScramError::Malformed("proof is not the last attribute"));
            }
        }
        Ok(())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u8, &'a str), ScramError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest?;
        let (attribute, rest) = match rest.split_once(',') {
            Some((attribute, rest)) => (attribute, Some(rest)),
            None => (rest, None),
        };
        self.rest = rest;
        let parsed = match attribute.as_bytes() {
            [name, b'=', ..] if name.is_ascii_alphabetic() => {
                attribute.get(2..).map(|value| (*name, value))
            }
            _ => None,
        };
        Some(parsed.ok_or(ScramError::Malformed("attribute expected")))
    }
}

/// The message as text, if it is one and no longer than `limit`.
fn as_text(message: &[u8], limit: usize) -> Result<&str, ScramError> {
    if message.len() > limit {
        return Err(ScramError::Limit("message length"));
    }
    match std::str::from_utf8(message) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(ScramError::Malformed("not text")),
    }
}

/// A nonce is printable ASCII without a comma.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b',')
}

fn decode_key(text: &str, missing: &'static str) -> Result<Key, ScramError> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| ScramError::Malformed(missing))?;
    bytes.try_into().map_err(|_| ScramError::Malformed(missing))
}

/// SASLprep, or the bytes as they are where PostgreSQL takes them so: not UTF-8, prohibited
/// characters, or nothing left.
fn prepare(password: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(password)
        .ok()
        .and_then(|text| stringprep::saslprep(text).ok())
    {
        Some(prepared) if !prepared.is_empty() => Cow::Owned(prepared.into_owned().into_bytes()),
        _ => Cow::Borrowed(password),
    }
}

/// `Hi()` of RFC 5802: the costly step. No iterations count as one.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    let mut key = Key::default();
    pbkdf2::pbkdf2_hmac::<Sha256>(&prepare(password), salt, iterations.max(1), &mut key);
    key
}

fn client_key(salted: &Key) -> Key {
    hmac(salted, &[b"Client Key"])
}

fn server_key(salted: &Key) -> Key {
    hmac(salted, &[b"Server Key"])
}

fn hash(key: &Key) -> Key {
    Sha256::digest(key).into()
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn xor(mut left: Key, right: &Key) -> Key {
    for (a, b) in left.iter_mut().zip(right) {
        *a ^= b;
    }
    left
}
