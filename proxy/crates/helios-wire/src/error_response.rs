//! ErrorResponse and NoticeResponse: reading the fields of a server's, and writing our own.
//!
//! The engine looks into the ones it relays (a dying server, a cached plan) and builds the ones it
//! originates. A server is not trusted to send any field at all, nor text in UTF-8.

use std::borrow::Cow;

use crate::sqlstate;

/// Tag of ErrorResponse.
pub const ERROR_TAG: u8 = b'E';
/// Tag of NoticeResponse.
pub const NOTICE_TAG: u8 = b'N';
/// Longest message, hint or detail we send, in bytes; longer ones are cut.
pub const MAX_TEXT_LEN: usize = 8 * 1024;

/// The fields of an ErrorResponse or NoticeResponse body, found when asked for.
#[derive(Debug, Clone, Copy)]
pub struct ErrorFields<'a> {
    body: &'a [u8],
}

impl<'a> ErrorFields<'a> {
    /// Looks at a message body, without tag and length.
    pub fn new(body: &'a [u8]) -> Self {
        Self { body }
    }

    /// The first field with this code, as sent and without its terminator.
    pub fn get(&self, code: u8) -> Option<&'a [u8]> {
        self.iter()
            .find(|(found, _)| *found == code)
            .map(|(_, value)| value)
    }

    /// All fields up to the terminator or the first one that is not complete.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = self.body;
        std::iter::from_fn(move || {
            let (&code, after) = rest.split_first()?;
            let end = after.iter().position(|&byte| byte == 0)?;
            if code == 0 {
                return None;
            }
            let (value, tail) = after.split_at_checked(end)?;
            rest = tail.get(1..)?;
            Some((code, value))
        })
    }

    /// The severity in English if the server sends it so (V), else in the server's language (S).
    pub fn severity(&self) -> Option<Cow<'a, str>> {
        self.text(b'V').or_else(|| self.text(b'S'))
    }

    /// The SQLSTATE; `None` unless it is five letters or digits.
    pub fn sqlstate(&self) -> Option<&'a str> {
        let code = std::str::from_utf8(self.get(b'C')?).ok()?;
        is_sqlstate(code).then_some(code)
    }

    /// The primary message, in the server's language.
    pub fn message(&self) -> Option<Cow<'a, str>> {
        self.text(b'M')
    }

    /// The detail.
    pub fn detail(&self) -> Option<Cow<'a, str>> {
        self.text(b'D')
    }

    /// The hint.
    pub fn hint(&self) -> Option<Cow<'a, str>> {
        self.text(b'H')
    }

    /// The function of the server that raised it; the same in every language.
    pub fn routine(&self) -> Option<Cow<'a, str>> {
        self.text(b'R')
    }

    /// Whether the server ends the connection after this.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity().as_deref(), Some("FATAL" | "PANIC"))
    }

    /// Bytes that are not UTF-8 become U+FFFD.
    fn text(&self, code: u8) -> Option<Cow<'a, str>> {
        self.get(code).map(String::from_utf8_lossy)
    }
}

/// How bad it is; the words PostgreSQL uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The transaction is aborted, the connection lives on.
    Error,
    /// The connection ends.
    Fatal,
    /// All connections end.
    Panic,
    /// A likely problem.
    Warning,
    /// Something to know.
    Notice,
    /// Something that was asked for.
    Info,
    /// Something for administrators.
    Log,
    /// Something for developers.
    Debug,
}

impl Severity {
    /// The word in the S and V fields.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Panic => "PANIC",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
            Self::Info => "INFO",
            Self::Log => "LOG",
            Self::Debug => "DEBUG",
        }
    }
}

/// A whole ErrorResponse, tag and length included.
pub fn error(
    severity: Severity,
    sqlstate: &str,
    message: &str,
    hint: Option<&str>,
    detail: Option<&str>,
) -> Vec<u8> {
    response(ERROR_TAG, severity, sqlstate, message, hint, detail)
}

/// A whole NoticeResponse, tag and length included.
pub fn notice(
    severity: Severity,
    sqlstate: &str,
    message: &str,
    hint: Option<&str>,
    detail: Option<&str>,
) -> Vec<u8> {
    response(NOTICE_TAG, severity, sqlstate, message, hint, detail)
}

fn response(
    tag: u8,
    severity: Severity,
    sqlstate: &str,
    message: &str,
    hint: Option<&str>,
    detail: Option<&str>,
) -> Vec<u8> {
    let code = if is_sqlstate(sqlstate) {
        sqlstate
    } else {
        sqlstate::INTERNAL_ERROR
    };
    let mut body = Vec::with_capacity(64 + message.len().min(MAX_TEXT_LEN));
    put_field(&mut body, b'S', severity.as_str());
    put_field(&mut body, b'V', severity.as_str());
    put_field(&mut body, b'C', code);
    put_field(&mut body, b'M', message);
    if let Some(detail) = detail {
        put_field(&mut body, b'D', detail);
    }
    if let Some(hint) = hint {
        put_field(&mut body, b'H', hint);
    }
    body.push(0);
    let len = u32::try_from(body.len() + 4).expect("a few texts of at most MAX_TEXT_LEN fit");
    let mut packet = Vec::with_capacity(body.len() + 5);
    packet.push(tag);
    packet.extend(len.to_be_bytes());
    packet.extend(body);
    packet
}

/// A zero byte inside `text` would end the field early, so it becomes `?`.
fn put_field(body: &mut Vec<u8>, code: u8, text: &str) {
    let end = (0..=text.len().min(MAX_TEXT_LEN))
        .rev()
        .find(|&at| text.is_char_boundary(at));
    let text = text.get(..end.unwrap_or_default()).unwrap_or_default();
    body.push(code);
    body.extend(text.bytes().map(|byte| if byte == 0 { b'?' } else { byte }));
    body.push(0);
}

fn is_sqlstate(code: &str) -> bool {
    code.len() == 5
        && code
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}
