//! The TLS channel below an exchange: the header that says what each side knows of it. Used by both sides.

use base64::engine::general_purpose::STANDARD;
use base64::Engine as _;

use super::ScramError;

/// The only way of binding PostgreSQL knows.
const END_POINT: &str = "tls-server-end-point";

/// Whether an exchange is bound to the TLS channel it runs over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Channel {
    /// There is none that could be bound to, or this side does not want to.
    #[default]
    Absent,
    /// This side could, and the peer does not: a server offered it in vain, a client was offered nothing.
    Unused,
    /// The hash of the server's certificate, as this side sees it.
    Bound(Vec<u8>),
}

impl Channel {
    /// What a client puts before its first message.
    pub(super) fn header(&self) -> &'static str {
        match self {
            Channel::Absent => "n,,",
            Channel::Unused => "y,,",
            Channel::Bound(_) => "p=tls-server-end-point,,",
        }
    }

    /// The attribute of a client's last message, in base64.
    pub(super) fn attribute(&self) -> String {
        let mut bytes = self.header().as_bytes().to_vec();
        if let Channel::Bound(hash) = self {
            bytes.extend_from_slice(hash);
        }
        STANDARD.encode(bytes)
    }

    /// What a server must find in the last message of a client whose first one began with `flag`.
    pub(super) fn expected(&self, flag: &str) -> Result<String, ScramError> {
        match (self, flag.strip_prefix("p=").ok_or(flag)) {
            (Channel::Bound(_), Ok(END_POINT)) => Ok(self.attribute()),
            (Channel::Bound(_), Ok(_)) => {
                Err(ScramError::Malformed("unknown channel binding type"))
            }
            (Channel::Bound(_), Err("n" | "y")) => Err(ScramError::Malformed(
                "SCRAM-SHA-256-PLUS without channel binding data",
            )),
            (Channel::Absent | Channel::Unused, Ok(_)) => Err(ScramError::Malformed(
                "channel binding data without SCRAM-SHA-256-PLUS",
            )),
            (Channel::Unused, Err("y")) => Err(ScramError::Downgrade),
            (Channel::Absent, Err("y")) => Ok(Channel::Unused.attribute()),
            (Channel::Absent | Channel::Unused, Err("n")) => Ok(Channel::Absent.attribute()),
            (_, Err(_)) => Err(ScramError::Malformed("unexpected channel binding flag")),
        }
    }
}
