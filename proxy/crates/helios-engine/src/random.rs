//! Randomness from the system's generator. It is read at login and connect, never per query.

use std::cell::RefCell;

/// Bytes that a thread takes from the system at a time: what some twenty logins need.
const STOCK: usize = 512;

thread_local! {
    static KEPT: RefCell<Stock> = const { RefCell::new(Stock { bytes: [0; STOCK], left: 0 }) };
}

/// Bytes from the system that nobody has had yet.
struct Stock {
    bytes: [u8; STOCK],
    left: usize,
}

impl Stock {
    /// Moves bytes out of it: what somebody has is known here no more.
    fn take(&mut self, out: &mut [u8]) {
        if out.len() > STOCK {
            return draw(out);
        }
        if self.left < out.len() {
            draw(&mut self.bytes);
            self.left = STOCK;
        }
        let taken = &mut self.bytes[self.left - out.len()..self.left];
        out.copy_from_slice(taken);
        taken.fill(0);
        self.left -= out.len();
    }
}

/// Fills `bytes`.
///
/// The kernel's generator cannot fail once it is seeded; should it ever, no secret must be guessable, so this ends
/// the session that asked.
pub(crate) fn fill(bytes: &mut [u8]) {
    KEPT.with_borrow_mut(|stock| stock.take(bytes));
}

fn draw(bytes: &mut [u8]) {
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_bytes_are_given_out_twice() {
        let mut seen = HashSet::new();
        for length in (8..STOCK + 40).step_by(24) {
            let mut bytes = vec![0; length];
            fill(&mut bytes);
            for window in bytes.chunks_exact(8) {
                assert!(seen.insert(window.to_vec()), "{length} bytes");
            }
        }
    }
}
