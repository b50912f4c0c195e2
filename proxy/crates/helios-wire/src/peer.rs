//! What two processes of one service say to each other when a CancelRequest has come to the one and the session is at
//! the other. The first proves that it knows the session's key and that both share a secret; neither goes over the wire.
//!
//! [`hello`] opens a connection in place of a startup packet, the other end sends a challenge, [`claim`] answers that,
//! and one byte, [`FOUND`] or [`UNKNOWN`], ends it.

use std::net::IpAddr;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::startup;

/// Bytes at the start of a key that name the process which gave it out.
pub const NAME_LEN: usize = 2;
/// Bytes of a challenge.
pub const CHALLENGE_LEN: usize = 32;
/// Proofs of one claim at most: a secret and those that came before it.
pub const MAX_PROOFS: usize = 4;
/// The session was there, and the request has been dealt with.
pub const FOUND: u8 = b'F';
/// There is no such session, or the secrets differ.
pub const UNKNOWN: u8 = b'N';

const PROOF_LEN: usize = 32;
/// Sets these proofs apart from whatever else is made of the same secret.
const PURPOSE: &[u8] = b"helios cancel request\0";

/// Random bytes that a claim answers.
pub type Challenge = [u8; CHALLENGE_LEN];
/// What only who knows secret and key can make of a challenge.
pub type Proof = [u8; PROOF_LEN];

/// The name of the process that clients reach at this address. Several may have the same one.
pub fn name(address: IpAddr) -> [u8; NAME_LEN] {
    let digest = match address.to_canonical() {
        IpAddr::V4(address) => Sha256::digest(address.octets()),
        IpAddr::V6(address) => Sha256::digest(address.octets()),
    };
    [digest[0], digest[1]]
}

/// The packet that opens the connection.
pub fn hello() -> Vec<u8> {
    startup::build_peer()
}

/// Shows knowledge of a session's key, to whoever has the same secret.
pub fn prove(secret: &str, challenge: &Challenge, pid: u32, key: &[u8]) -> Proof {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    for part in [PURPOSE, challenge, &pid.to_be_bytes(), key] {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The answer to a challenge: length, pid, a proof for each secret.
pub fn claim(pid: u32, proofs: &[Proof]) -> Vec<u8> {
    let proofs = &proofs[..proofs.len().min(MAX_PROOFS)];
    let length = 8 + proofs.len() * PROOF_LEN;
    let mut packet = (length as u32).to_be_bytes().to_vec();
    packet.extend(pid.to_be_bytes());
    packet.extend(proofs.as_flattened());
    packet
}

/// Reads a claim without its length word.
pub fn read_claim(body: &[u8]) -> Option<(u32, Vec<Proof>)> {
    let (pid, rest) = body.split_first_chunk::<4>()?;
    let chunks = rest.chunks_exact(PROOF_LEN);
    let is_whole = chunks.remainder().is_empty() && (1..=MAX_PROOFS).contains(&chunks.len());
    let proofs = chunks.filter_map(|chunk| chunk.try_into().ok());
    is_whole.then(|| (u32::from_be_bytes(*pid), proofs.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: Challenge = [7; CHALLENGE_LEN];

    #[test]
    fn a_proof_holds_for_one_secret_challenge_and_session() {
        let proof = prove("secret", &CHALLENGE, 1, b"key");

        assert_eq!(proof, prove("secret", &CHALLENGE, 1, b"key"));
        for other in [
            prove("Secret", &CHALLENGE, 1, b"key"),
            prove("secret", &[8; CHALLENGE_LEN], 1, b"key"),
            prove("secret", &CHALLENGE, 2, b"key"),
            prove("secret", &CHALLENGE, 1, b"kez"),
        ] {
            assert_ne!(proof, other);
        }
    }

    #[test]
    fn a_claim_is_read_as_it_was_made() {
        let proofs = [[1; PROOF_LEN], [2; PROOF_LEN]];
        let packet = claim(77, &proofs);

        assert_eq!(packet.len(), 4 + 4 + 64);
        assert_eq!(read_claim(&packet[4..]), Some((77, proofs.to_vec())));
        for end in 4..packet.len() - PROOF_LEN {
            assert_eq!(read_claim(&packet[4..end]), None);
        }
        assert_eq!(read_claim(&[0; 4 + PROOF_LEN * (MAX_PROOFS + 1)]), None);
    }

    #[test]
    fn both_forms_of_an_address_have_one_name() {
        let name_of = |text: &str| name(text.parse().expect("an address"));

        assert_eq!(name_of("10.1.2.3"), name_of("::ffff:10.1.2.3"));
        assert_ne!(name_of("10.1.2.3"), name_of("10.1.2.4"));
    }
}
