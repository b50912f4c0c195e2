//! The console between its clients and Python: commands go out as events, answers come back here, and are turned into
//! what the protocol sends. What a command means is not known on this side.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use helios_wire::backend::Column;
use helios_wire::error_response::{self, Severity};
use serde::Deserialize;
use serde_json::Value;

use crate::config::read;
use crate::error::Refusal;
use crate::rt::{self, Inbox, Sender};

/// The type of a column, as PostgreSQL has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Type {
    Text,
    Int4,
    Int8,
    Numeric,
}

impl Type {
    /// Object id and size.
    fn facts(self) -> (u32, i16) {
        match self {
            Type::Text => (25, -1),
            Type::Int4 => (23, 4),
            Type::Int8 => (20, 8),
            Type::Numeric => (1700, -1),
        }
    }

    /// A value as the protocol has it; `None` is NULL.
    fn encode(self, value: &Value, is_binary: bool) -> Option<Vec<u8>> {
        let number = match value {
            Value::Null => return None,
            Value::String(text) => return Some(text.clone().into_bytes()),
            number => number.as_i64().unwrap_or(i64::MAX),
        };
        Some(match (self, is_binary) {
            (Type::Text, _) | (_, false) => number.to_string().into_bytes(),
            (Type::Int4, true) => (number as i32).to_be_bytes().to_vec(),
            (Type::Int8, true) => number.to_be_bytes().to_vec(),
            (Type::Numeric, true) => numeric(number),
        })
    }
}

/// A whole number as PostgreSQL's binary `numeric`: digits to the base of 10 000.
fn numeric(number: i64) -> Vec<u8> {
    let mut digits = Vec::new();
    let mut rest = number.unsigned_abs();
    while rest > 0 {
        digits.push((rest % 10_000) as u16);
        rest /= 10_000;
    }
    let weight = (digits.len() as i16 - 1).max(0);
    let sign = if number < 0 { 0x4000 } else { 0 };
    let mut out = Vec::with_capacity(8 + 2 * digits.len());
    out.extend((digits.len() as u16).to_be_bytes());
    out.extend(weight.to_be_bytes());
    out.extend(u16::to_be_bytes(sign));
    out.extend([0, 0]);
    out.extend(digits.iter().rev().flat_map(|digit| digit.to_be_bytes()));
    out
}

/// Why a command was refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    sqlstate: String,
    message: String,
    hint: Option<String>,
}

/// Something said beside the result.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Notice {
    message: String,
    detail: Option<String>,
}

/// What Python says to a command.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    error: Option<Fault>,
    notice: Option<Notice>,
    columns: Option<Vec<(String, Type)>>,
    rows: Vec<Vec<Value>>,
    /// Of its CommandComplete.
    pub(crate) tag: String,
}

impl Answer {
    /// As an ErrorResponse, if it is an error.
    pub(crate) fn error(&self) -> Option<Vec<u8>> {
        let fault = self.error.as_ref()?;
        let hint = fault.hint.as_deref();
        Some(error_response::error(
            Severity::Error,
            &fault.sqlstate,
            &fault.message,
            hint,
            None,
        ))
    }

    /// As a NoticeResponse, if there is one.
    pub(crate) fn notice(&self) -> Option<Vec<u8>> {
        let notice = self.notice.as_ref()?;
        Some(error_response::notice(
            Severity::Notice,
            "00000",
            &notice.message,
            None,
            notice.detail.as_deref(),
        ))
    }

    /// The columns of its rows; `None` where there are none to come.
    pub(crate) fn columns<'a>(
        &'a self,
        formats: &'a [bool],
    ) -> Option<impl ExactSizeIterator<Item = Column<'a>>> {
        let columns = self.columns.as_ref()?;
        Some(columns.iter().enumerate().map(|(at, (name, kind))| {
            let (oid, size) = kind.facts();
            Column {
                name,
                oid,
                size,
                is_binary: is_binary(formats, at),
            }
        }))
    }

    /// Its rows, each as the values of a DataRow.
    pub(crate) fn rows<'a>(
        &'a self,
        formats: &'a [bool],
    ) -> impl Iterator<Item = Vec<Option<Vec<u8>>>> + 'a {
        let columns = self.columns.as_deref().unwrap_or_default();
        self.rows.iter().map(move |row| {
            let values = row.iter().zip(columns).enumerate();
            values
                .map(|(at, (value, (_, kind)))| kind.encode(value, is_binary(formats, at)))
                .collect()
        })
    }
}

/// A Bind names one format for all columns, or one for each, or none, which is text.
fn is_binary(formats: &[bool], at: usize) -> bool {
    match formats {
        [all] => *all,
        each => each.get(at).copied().unwrap_or(false),
    }
}

/// Commands that wait for their answers.
#[derive(Debug, Default)]
pub(crate) struct Console {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Sender<Answer>>>,
}

impl Console {
    /// A number for a command, and where its answer will come.
    pub(crate) fn ask(&self) -> (u64, Inbox<Answer>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, inbox) = rt::channel();
        self.waiting().insert(id, sender);
        (id, inbox)
    }

    /// Nobody waits for this answer any more.
    pub(crate) fn forget(&self, id: u64) {
        self.waiting().remove(&id);
    }

    /// Takes an answer; one that nobody waits for is dropped.
    pub(crate) fn answer(&self, id: u64, document: &[u8]) -> Result<(), String> {
        let answer: Answer = read("console answer", document)?;
        if let Some(sender) = self.waiting().remove(&id) {
            // The client may have gone this moment.
            let _ = sender.send(answer);
        }
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody on the other side takes commands.
pub(crate) fn unheard() -> Refusal {
    Refusal::new(
        helios_wire::sqlstate::CANNOT_CONNECT_NOW,
        "the control plane takes no commands now",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numeric_has_digits_to_the_base_of_ten_thousand() {
        assert_eq!(numeric(0), [0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(numeric(7), [0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(numeric(120_003), [0, 2, 0, 1, 0, 0, 0, 0, 0, 12, 0, 3]);
        assert_eq!(numeric(-1), [0, 1, 0, 0, 0x40, 0, 0, 0, 0, 1]);
    }
}
