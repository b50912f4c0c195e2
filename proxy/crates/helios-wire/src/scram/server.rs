//! The server side of the exchange: the engine checks a client against a verifier.

use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;
use subtle::ConstantTimeEq;

use super::{
    as_text, decode_key, hash, hmac, is_nonce, xor, Attributes, Channel, ClientKeys, ScramError,
    Verifier, MAX_CLIENT_MESSAGE_LEN,
};

/// One authentication of one client: [`first`](Self::first), then [`finish`](Self::finish).
#[derive(Debug)]
pub struct ServerExchange {
    verifier: Verifier,
    nonce: String,
    channel: Channel,
    state: State,
    proven: Option<ClientKeys>,
}

#[derive(Debug)]
enum State {
    Start,
    Challenged(Challenged),
    Done,
}

/// What has to be remembered between the client's two messages.
#[derive(Debug)]
struct Challenged {
    /// The client's channel binding header, in base64, as it must come back.
    binding: String,
    nonce: String,
    client_first_bare: String,
    server_first: String,
}

impl ServerExchange {
    /// Starts an exchange. `nonce` is fresh randomness in printable ASCII without commas. `channel` is bound to if
    /// the client chose [`MECHANISM_PLUS`](super::MECHANISM_PLUS), unused if it was offered and not chosen.
    pub fn new(verifier: Verifier, nonce: &str, channel: Channel) -> Self {
        Self {
            verifier,
            nonce: nonce.to_owned(),
            channel,
            state: State::Start,
            proven: None,
        }
    }

    /// Takes the client's first message and returns the answer to send in AuthenticationSASLContinue.
    pub fn first(&mut self, client_first: &[u8]) -> Result<Vec<u8>, ScramError> {
        let State::Start = std::mem::replace(&mut self.state, State::Done) else {
            return Err(ScramError::OutOfOrder);
        };
        let message = as_text(client_first, MAX_CLIENT_MESSAGE_LEN)?;
        let (flag, bare) = split_header(message)?;
        let binding = self.channel.expected(flag)?;
        let mut attributes = Attributes::new(bare);
        attributes.expect(b'n', "user name expected")?;
        let client_nonce = attributes.expect(b'r', "nonce expected")?;
        if !is_nonce(client_nonce) {
            return Err(ScramError::Malformed("nonce is not printable"));
        }
        attributes.skip_extensions()?;

        let nonce = format!("{client_nonce}{}", self.nonce);
        let salt = STANDARD.encode(&self.verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", self.verifier.iterations);
        let answer = server_first.clone().into_bytes();
        let client_first_bare = bare.to_owned();
        self.state = State::Challenged(Challenged {
            binding,
            nonce,
            client_first_bare,
            server_first,
        });
        Ok(answer)
    }

    /// Takes the client's final message and returns what to send in AuthenticationSASLFinal. A wrong
    /// password is [`ScramError::WrongProof`].
    pub fn finish(&mut self, client_final: &[u8]) -> Result<Vec<u8>, ScramError> {
        let State::Challenged(challenged) = std::mem::replace(&mut self.state, State::Done) else {
            return Err(ScramError::OutOfOrder);
        };
        let message = as_text(client_final, MAX_CLIENT_MESSAGE_LEN)?;
        let (without_proof, proof) = message
            .rsplit_once(",p=")
            .ok_or(ScramError::Malformed("proof expected"))?;
        let proof = decode_key(proof, "proof is not 32 bytes in base64")?;
        let mut attributes = Attributes::new(without_proof);
        if attributes.expect(b'c', "channel binding expected")? != challenged.binding {
            return Err(match self.channel {
                Channel::Bound(_) => ScramError::WrongChannel,
                Channel::Absent | Channel::Unused => {
                    ScramError::Malformed("unexpected channel binding")
                }
            });
        }
        let same_nonce = attributes.expect(b'r', "nonce expected")? == challenged.nonce;
        attributes.skip_extensions()?;
        if !same_nonce {
            return Err(ScramError::NonceMismatch);
        }
        self.check(&challenged, without_proof, proof)
    }

    /// What the client proved to have, once [`finish`](Self::finish) let it in: enough to log in, in its name, wherever
    /// the same verifier is stored.
    pub fn client_keys(&self) -> Option<&ClientKeys> {
        self.proven.as_ref()
    }

    fn check(
        &mut self,
        challenged: &Challenged,
        without_proof: &str,
        proof: [u8; 32],
    ) -> Result<Vec<u8>, ScramError> {
        let sign = |key: &[u8; 32]| {
            let (first, second) = (&challenged.client_first_bare, &challenged.server_first);
            hmac(
                key,
                &[
                    first.as_bytes(),
                    b",",
                    second.as_bytes(),
                    b",",
                    without_proof.as_bytes(),
                ],
            )
        };
        let client_key = xor(proof, &sign(&self.verifier.stored_key));
        let proven: bool = hash(&client_key).ct_eq(&self.verifier.stored_key).into();
        let signature = sign(&self.verifier.server_key);
        // A mock takes the same steps as a real one, so that the time does not tell them apart.
        if !proven || self.verifier.doomed {
            return Err(ScramError::WrongProof);
        }
        self.proven = Some(ClientKeys::new(client_key, self.verifier.server_key));
        Ok(format!("v={}", STANDARD.encode(signature)).into_bytes())
    }
}

/// Cuts the channel binding header off; returns its flag and the bare message.
fn split_header(message: &str) -> Result<(&str, &str), ScramError> {
    let (flag, rest) = message
        .split_once(',')
        .ok_or(ScramError::Malformed("no channel binding header"))?;
    match rest.split_once(',') {
        Some(("", bare)) => Ok((flag, bare)),
        Some((identity, _)) if identity.starts_with("a=") => {
            Err(ScramError::Unsupported("an authorization identity"))
        }
        _ => Err(ScramError::Malformed(
            "unexpected attribute in channel binding header",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scram::{ClientExchange, ClientKeys};

    #[test]
    fn a_mock_refuses_even_the_right_proof() {
        let mut verifier = Verifier::from_password("pencil", b"salt", 1);
        verifier.doomed = true;
        let mut server = ServerExchange::new(verifier, "s", Channel::Absent);
        let mut client = ClientExchange::new("c", Channel::Absent);

        let challenge = client.challenge(&server.first(&client.first()).expect("first"));
        let keys = ClientKeys::derive("pencil", &challenge.expect("challenge"));

        assert_eq!(
            server.finish(&client.respond(&keys)),
            Err(ScramError::WrongProof)
        );
    }
}
