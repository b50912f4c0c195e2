//! Randomness from the system's generator. It is read at login and connect, never per query.

/// Fills `bytes`.
///
/// The kernel's generator cannot fail once it is seeded; should it ever, no secret must be guessable, so this ends
/// the session that asked.
pub(crate) fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system's random generator must work");
}

/// A number below `limit`; 0 for 0.
pub(crate) fn below(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes).checked_rem(limit).unwrap_or(0)
}

/// A SCRAM nonce: 24 printable characters from 18 random bytes' worth of choices.
pub(crate) fn nonce() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = [0; 24];
    fill(&mut bytes);
    bytes
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte & 63)]))
        .collect()
}
