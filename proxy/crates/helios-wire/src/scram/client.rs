//! The client side of the exchange: the engine logs in to a server, which is not trusted.

use std::fmt;

use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use subtle::ConstantTimeEq;

use super::verifier::{decode_salt, parse_iterations};
use super::{
    as_text, client_key, decode_key, hash, hmac, is_nonce, salted_password, server_key, xor,
    Attributes, Channel, Key, ScramError, MAX_NONCE_LEN, MAX_SERVER_MESSAGE_LEN,
};

/// Longest reason for a refusal that is passed on, in characters.
const MAX_REASON_LEN: usize = 128;

/// What the server wants the password hashed with; the key to cache [`ClientKeys`] by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Challenge {
    /// Salt, 1 to [`MAX_SALT_LEN`](super::MAX_SALT_LEN) bytes.
    pub salt: Vec<u8>,
    /// Iterations, 1 to [`MAX_ITERATIONS`](super::MAX_ITERATIONS).
    pub iterations: u32,
}

/// The keys derived from a password; as good as the password for this server. `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKeys {
    client_key: Key,
    server_key: Key,
}

impl ClientKeys {
    pub(super) fn new(client_key: Key, server_key: Key) -> Self {
        Self {
            client_key,
            server_key,
        }
    }

    /// Derives the keys: milliseconds for the usual 4096 iterations, seconds for the most allowed, so
    /// keep it off the event loop.
    pub fn derive(password: impl AsRef<[u8]>, challenge: &Challenge) -> Self {
        let salted = salted_password(password.as_ref(), &challenge.salt, challenge.iterations);
        Self {
            client_key: client_key(&salted),
            server_key: server_key(&salted),
        }
    }
}

impl fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKeys").finish_non_exhaustive()
    }
}

/// One login to one server: [`first`](Self::first), [`challenge`](Self::challenge),
/// [`respond`](Self::respond), [`verify`](Self::verify).
#[derive(Debug)]
pub struct ClientExchange {
    client_first_bare: String,
    nonce: String,
    channel: Channel,
    /// The server's first message and combined nonce, once it came.
    challenged: Option<(String, String)>,
    /// The signature the server must prove itself with, once the response is made.
    expected: Option<Key>,
}

impl ClientExchange {
    /// Starts an exchange. `nonce` is fresh randomness in printable ASCII without commas. A bound `channel` needs
    /// [`MECHANISM_PLUS`](super::MECHANISM_PLUS); it is unused if the server did not offer that.
    pub fn new(nonce: &str, channel: Channel) -> Self {
        Self {
            client_first_bare: format!("n=,r={nonce}"),
            nonce: nonce.to_owned(),
            channel,
            challenged: None,
            expected: None,
        }
    }

    /// The message to send in SASLInitialResponse.
    pub fn first(&self) -> Vec<u8> {
        format!("{}{}", self.channel.header(), self.client_first_bare).into_bytes()
    }

    /// Takes the server's first message; returns what to derive the keys with.
    pub fn challenge(&mut self, server_first: &[u8]) -> Result<Challenge, ScramError> {
        if self.challenged.is_some() {
            return Err(ScramError::OutOfOrder);
        }
        let message = as_text(server_first, MAX_SERVER_MESSAGE_LEN)?;
        refuse_error(message)?;
        let mut attributes = Attributes::new(message);
        let nonce = attributes.expect(b'r', "nonce expected")?;
        let salt = attributes.expect(b's', "salt expected")?;
        let iterations = attributes.expect(b'i', "iteration count expected")?;
        attributes.skip_extensions()?;
        self.check_nonce(nonce)?;
        let salt = decode_salt(salt).ok_or(ScramError::Malformed(
            "salt is empty, too long or not base64",
        ))?;
        let iterations =
            parse_iterations(iterations).ok_or(ScramError::Limit("iteration count"))?;
        self.challenged = Some((message.to_owned(), nonce.to_owned()));
        Ok(Challenge { salt, iterations })
    }

    /// The server's nonce must be ours with something added.
    fn check_nonce(&self, nonce: &str) -> Result<(), ScramError> {
        if nonce.len() > MAX_NONCE_LEN {
            return Err(ScramError::Limit("nonce length"));
        }
        match nonce.strip_prefix(self.nonce.as_str()) {
            Some(added) if is_nonce(added) => Ok(()),
            _ => Err(ScramError::NonceMismatch),
        }
    }

    /// The message to send in SASLResponse. Before [`challenge`](Self::challenge) it is one no server
    /// accepts.
    pub fn respond(&mut self, keys: &ClientKeys) -> Vec<u8> {
        let (server_first, nonce) = self.challenged.clone().unwrap_or_default();
        let without_proof = format!("c={},r={nonce}", self.channel.attribute());
        let sign = |key: &Key| {
            let (first, last) = (self.client_first_bare.as_bytes(), without_proof.as_bytes());
            hmac(key, &[first, b",", server_first.as_bytes(), b",", last])
        };
        let proof = xor(keys.client_key, &sign(&hash(&keys.client_key)));
        self.expected = self.challenged.is_some().then(|| sign(&keys.server_key));
        format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes()
    }

    /// Takes the server's final message and checks that the server knows the password too. Without an
    /// `Ok` from here, AuthenticationOk must not be believed.
    pub fn verify(&self, server_final: &[u8]) -> Result<(), ScramError> {
        let expected = self.expected.ok_or(ScramError::OutOfOrder)?;
        let message = as_text(server_final, MAX_SERVER_MESSAGE_LEN)?;
        refuse_error(message)?;
        let mut attributes = Attributes::new(message);
        let signature = attributes.expect(b'v', "server signature expected")?;
        attributes.skip_extensions()?;
        let signature = decode_key(signature, "server signature is not 32 bytes in base64")?;
        if bool::from(signature.ct_eq(&expected)) {
            Ok(())
        } else {
            Err(ScramError::WrongServerSignature)
        }
    }
}

/// An `e=` message is a refusal. The reason comes from an untrusted peer and goes to a log, so only
/// printable ASCII of it is kept.
fn refuse_error(message: &str) -> Result<(), ScramError> {
    match message.strip_prefix("e=") {
        None => Ok(()),
        Some(reason) => Err(ScramError::Refused(
            reason
                .chars()
                .filter(|c| c.is_ascii_graphic() || *c == ' ')
                .take(MAX_REASON_LEN)
                .collect(),
        )),
    }
}
