//! What is stored for a user instead of the password. Used by the server side of the exchange.

use std::fmt;

use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use subtle::ConstantTimeEq;

use super::{
    client_key, decode_key, hash, hmac, salted_password, server_key, Challenge, ClientKeys, Key,
    DEFAULT_ITERATIONS, MAX_ITERATIONS, MAX_SALT_LEN, MECHANISM,
};

/// Length of the salts PostgreSQL makes, in bytes.
const SALT_LEN: usize = 16;

/// A SCRAM-SHA-256 verifier. [`fmt::Display`] gives the form of `pg_authid`; `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
    /// A mock: the exchange looks like any other, and fails.
    pub(super) doomed: bool,
}

impl Verifier {
    /// Reads `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (cost, keys) = text
            .strip_prefix(MECHANISM)?
            .strip_prefix('$')?
            .split_once('$')?;
        let (iterations, salt) = cost.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations = parse_iterations(iterations)?;
        let salt = decode_salt(salt)?;
        Some(Self {
            salt,
            iterations,
            stored_key: decode_key(stored_key, "").ok()?,
            server_key: decode_key(server_key, "").ok()?,
            doomed: false,
        })
    }

    /// Computes the verifier of a password. Costs `iterations` (0 counts as 1) times two hashes.
    pub fn from_password(password: impl AsRef<[u8]>, salt: &[u8], iterations: u32) -> Self {
        let iterations = iterations.max(1);
        let salted = salted_password(password.as_ref(), salt, iterations);
        Self {
            salt: salt.to_vec(),
            iterations,
            stored_key: hash(&client_key(&salted)),
            server_key: server_key(&salted),
            doomed: false,
        }
    }

    /// A verifier no password matches, for users that do not exist or have none: a client sees the same
    /// salt each time it asks, as it would for a real user.
    pub fn mock(user: &str, process_secret: &[u8]) -> Self {
        let key = |label: &[u8]| hmac(process_secret, &[label, user.as_bytes()]);
        Self {
            salt: salt_for(user, process_secret).to_vec(),
            iterations: DEFAULT_ITERATIONS,
            stored_key: key(b"mock stored key:"),
            server_key: key(b"mock server key:"),
            doomed: true,
        }
    }

    /// The keys of `password` if this is its verifier; a mock has none. Costs as much as making one.
    pub fn keys_of(&self, password: impl AsRef<[u8]>) -> Option<ClientKeys> {
        let salted = salted_password(password.as_ref(), &self.salt, self.iterations);
        let same: bool = server_key(&salted).ct_eq(&self.server_key).into();
        (same && !self.doomed).then(|| ClientKeys::new(client_key(&salted), server_key(&salted)))
    }

    /// Whether a server that asks this wants keys which this verifier was made of, as far as can be told before trying.
    pub fn answers(&self, challenge: &Challenge) -> bool {
        self.salt == challenge.salt && self.iterations == challenge.iterations
    }
}

/// A salt that is always the same for a user and cannot be told from a random one without the secret.
pub fn salt_for(user: &str, process_secret: &[u8]) -> [u8; SALT_LEN] {
    let digest = hmac(process_secret, &[b"salt:", user.as_bytes()]);
    let mut salt = [0; SALT_LEN];
    salt.iter_mut()
        .zip(digest)
        .for_each(|(to, from)| *to = from);
    salt
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{MECHANISM}${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key),
        )
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// Digits only, between 1 and [`MAX_ITERATIONS`].
pub(super) fn parse_iterations(text: &str) -> Option<u32> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse()
        .ok()
        .filter(|n| (1..=MAX_ITERATIONS).contains(n))
}

/// At least one byte, at most [`MAX_SALT_LEN`].
pub(super) fn decode_salt(text: &str) -> Option<Vec<u8>> {
    STANDARD
        .decode(text)
        .ok()
        .filter(|salt| (1..=MAX_SALT_LEN).contains(&salt.len()))
}
