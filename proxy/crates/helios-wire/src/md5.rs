//! MD5 password authentication: what PostgreSQL stores and what the client answers.
//!
//! The engine uses it in both roles: to check a client's PasswordMessage and to answer a server's
//! AuthenticationMD5Password. Both work from the stored form, so the plain password is not needed.

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

const PREFIX: &str = "md5";
const HEX_LEN: usize = 32;

/// The stored form of a password, as in `pg_authid`: `md5` and 32 hex digits over password and user name.
pub fn shadow(user: &str, password: &str) -> String {
    prefixed_digest(password.as_bytes(), user.as_bytes())
}

/// Whether `secret` has the stored form: `md5` and 32 hex digits, in either case.
pub fn is_shadow(secret: &str) -> bool {
    secret
        .strip_prefix(PREFIX)
        .is_some_and(|hex| hex.len() == HEX_LEN && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The client's answer to AuthenticationMD5Password with this salt, without the trailing NUL.
pub fn response(shadow: &str, salt: [u8; 4]) -> String {
    let hex = shadow
        .strip_prefix(PREFIX)
        .unwrap_or(shadow)
        .to_ascii_lowercase();
    prefixed_digest(hex.as_bytes(), &salt)
}

/// Whether `answer` (without the trailing NUL) is the right response; compared in constant time.
pub fn verify(shadow: &str, salt: [u8; 4], answer: &[u8]) -> bool {
    is_shadow(shadow) && response(shadow, salt).as_bytes().ct_eq(answer).into()
}

fn prefixed_digest(first: &[u8], second: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = Md5::new()
        .chain_update(first)
        .chain_update(second)
        .finalize();
    let mut text = String::with_capacity(PREFIX.len() + HEX_LEN);
    text.push_str(PREFIX);
    for byte in digest {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}
