//! What goes wrong, by who is to blame, and how a client is told: SQLSTATE, one sentence, a hint.

use std::sync::Arc;

use helios_wire::error_response::{self, Severity};
use helios_wire::frame::{InvalidLength, HEADER_LEN};
use helios_wire::sqlstate;

/// An error that a client will see.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// Made by the proxy.
    Own {
        sqlstate: &'static str,
        message: String,
        hint: Option<String>,
    },
    /// A complete ErrorResponse of the server, passed on as it is.
    Server(Arc<[u8]>),
}

impl Refusal {
    pub(crate) fn new(sqlstate: &'static str, message: impl Into<String>) -> Refusal {
        Refusal::Own {
            sqlstate,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(self, text: impl Into<String>) -> Refusal {
        match self {
            Refusal::Own {
                sqlstate, message, ..
            } => Refusal::Own {
                sqlstate,
                message,
                hint: Some(text.into()),
            },
            server @ Refusal::Server(_) => server,
        }
    }

    /// The client broke the protocol.
    pub(crate) fn protocol(message: impl Into<String>) -> Refusal {
        Refusal::new(sqlstate::PROTOCOL_VIOLATION, message)
    }

    /// The proxy is shutting down or replacing the connection.
    pub(crate) fn shutdown() -> Refusal {
        Refusal::new(
            sqlstate::ADMIN_SHUTDOWN,
            "terminating connection because the proxy is shutting down",
        )
    }

    /// An administrator ends the session.
    pub(crate) fn terminated() -> Refusal {
        Refusal::new(
            sqlstate::ADMIN_SHUTDOWN,
            "terminating connection due to administrator command",
        )
    }

    /// The server connection that served this client broke.
    pub(crate) fn server_lost(cause: &str) -> Refusal {
        Refusal::new(
            sqlstate::CONNECTION_FAILURE,
            format!("server connection lost: {cause}"),
        )
        .hint("Reconnect; the outcome of a statement that was running is unknown.")
    }

    /// As an ErrorResponse.
    pub(crate) fn message(&self, severity: Severity) -> Vec<u8> {
        match self {
            Refusal::Own {
                sqlstate,
                message,
                hint,
            } => error_response::error(severity, sqlstate, message, hint.as_deref(), None),
            Refusal::Server(bytes) => bytes.to_vec(),
        }
    }

    /// Text for the log.
    pub(crate) fn text(&self) -> String {
        match self {
            Refusal::Own { message, .. } => message.clone(),
            Refusal::Server(bytes) => server_text(bytes),
        }
    }

    /// Whether the server that sent it has ended the session.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self, Refusal::Server(bytes) if error_response::ErrorFields::new(&bytes[HEADER_LEN..]).is_fatal())
    }

    /// Whether its user has asked for it.
    pub(crate) fn is_cancellation(&self) -> bool {
        matches!(self, Refusal::Own { sqlstate, .. } if *sqlstate == sqlstate::QUERY_CANCELED)
    }
}

/// What a complete ErrorResponse of a server says, for the log.
pub(crate) fn server_text(message: &[u8]) -> String {
    let text = error_response::ErrorFields::new(&message[HEADER_LEN..]).message();
    text.map_or_else(
        || "the server sent an error without a message".to_owned(),
        |text| text.into_owned(),
    )
}

impl From<InvalidLength> for Refusal {
    fn from(err: InvalidLength) -> Refusal {
        Refusal::protocol(err.to_string())
    }
}

/// Why a server connection is not to be used again: its stream is not where we think it is, or it ended.
#[derive(Debug)]
pub(crate) struct Doubt(pub(crate) String);

impl From<InvalidLength> for Doubt {
    fn from(err: InvalidLength) -> Doubt {
        Doubt(err.to_string())
    }
}

/// Why the engine did not start or reload.
#[derive(Debug)]
pub enum EngineError {
    /// The snapshot was refused.
    Snapshot(String),
    /// An address could not be bound.
    Listen(String),
    /// A worker could not be started or has gone.
    Worker(String),
}

impl std::fmt::Display for EngineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EngineError::Snapshot(text) | EngineError::Listen(text) | EngineError::Worker(text) => {
                f.write_str(text)
            }
        }
    }
}

impl std::error::Error for EngineError {}
