//! Numbers of sequences that the client is told: learned from the answer, and given to the statement when its transaction
//! is run again. They hold only where the next primary's sequence has gone past them, which the statement itself asks.

use std::sync::Arc;

use helios_wire::backend;
use helios_wire::error_response::{ErrorFields, Severity};
use helios_wire::frame::{Header, HEADER_LEN};
use helios_wire::frontend::{self, BindHead};
use helios_wire::sqlstate;

use super::fifo::Expect;
use super::replaying::divergence;
use super::up::{Act, Pending};
use super::Session;
use crate::journal::{Reason, Slot};
use crate::plans::{Kept, Plan};
use crate::settings::literal;

/// Larger Binds are not waited for.
const MAX_BIND: usize = 1024 * 1024;
/// Numbers that a sequence may be behind: PostgreSQL logs 32 ahead.
const MAX_BEHIND: i64 = 1000;
/// What the session of the server remembers of sequences may be another client's.
const FORGET: &[u8] = b"DISCARD SEQUENCES";

/// A statement whose answer tells numbers.
#[derive(Debug, Clone)]
pub(super) struct Keeping {
    slot: Slot,
    kept: Arc<Kept>,
    is_binary: bool,
}

/// What is to be done about a statement's numbers.
pub(super) enum Numbers {
    Nothing,
    Learn(Keeping),
    /// The statement with them.
    Give(Vec<u8>),
}

impl Session {
    /// A statement is about to run.
    pub(super) fn numbers_of(
        &mut self,
        plan: Option<&Plan>,
        sql: &[u8],
        formats: &[bool],
    ) -> Numbers {
        let Some(replaying) = &mut self.replaying else {
            return Numbers::Nothing;
        };
        let slot = replaying.journal.slot();
        if let Some((kept, told)) = replaying.journal.told_before(slot) {
            let given = self.with_numbers(sql, &kept, &told);
            return given.map_or(Numbers::Nothing, Numbers::Give);
        }
        let Some(kept) = plan.and_then(|plan| plan.kept.as_ref()) else {
            return Numbers::Nothing;
        };
        let one_for_all = formats.first().filter(|_| formats.len() == 1);
        let format = one_for_all.or(formats.get(kept.column));
        Numbers::Learn(Keeping {
            slot,
            kept: Arc::clone(kept),
            is_binary: format.copied().unwrap_or(false),
        })
    }

    fn with_numbers(&mut self, sql: &[u8], kept: &Kept, told: &[i64]) -> Option<Vec<u8>> {
        let Some(place) = kept.place() else {
            return alone(kept, told);
        };
        let mut values: Vec<_> = told
            .iter()
            .map(|value| format!("'{value}'::int8"))
            .collect();
        if let (Some(first), Some(&most)) = (values.first_mut(), told.iter().max()) {
            *first = format!("CASE WHEN {} THEN {first} END", is_past(kept, most));
        }
        helios_sql::give(sql, self.syntax(), place, &kept.name, &values)
    }

    /// Sends a simple Query with its numbers.
    pub(super) fn give_query(&mut self, text: &[u8], pending: &mut Pending<'_>) {
        let mut out = Vec::with_capacity(text.len() + 8);
        frontend::query(&mut out, text);
        pending.flush(self.link_mut());
        self.link_mut().server.conn.wbuf.extend(&out);
    }

    /// Whether a Bind must be whole before it can be handled.
    pub(super) fn awaits_bind(&self, plan: Option<&Plan>, header: Header, message: &[u8]) -> bool {
        let is_kept = plan.is_some_and(|plan| plan.kept.is_some()) || self.is_rerunning();
        self.replaying.is_some()
            && is_kept
            && message.len() < header.total
            && header.total <= MAX_BIND
    }

    /// A Bind is about to be sent. `Some`: it has been, to the statement (`rest` of its Parse) with its numbers.
    pub(super) fn keep_bind(
        &mut self,
        plan: Option<&Plan>,
        rest: &[u8],
        message: &[u8],
        head: &BindHead<'_>,
        pending: &mut Pending<'_>,
    ) -> Option<Act> {
        self.replaying.as_ref()?;
        self.link_mut().keeping = None;
        let arguments = &message[HEADER_LEN + head.len..];
        let formats = frontend::read_bind_formats(arguments).unwrap_or_default();
        let sql = super::planning::until_zero(rest);
        match self.numbers_of(plan, sql, &formats) {
            Numbers::Nothing => None,
            Numbers::Learn(keeping) => {
                self.link_mut().keeping = Some((head.portal.into(), keeping));
                None
            }
            Numbers::Give(text) => {
                let tag = self.worker.next_tag();
                let types = &rest[sql.len()..];
                let mut out = Vec::with_capacity(text.len() + message.len() + 32);
                frontend::parse(&mut out, b"", &[&text[..], types].concat());
                let mut put = |piece: &[u8]| out.extend_from_slice(piece);
                frontend::bind_head(&mut put, head.portal, b"", arguments.len());
                out.extend_from_slice(arguments);
                pending.flush(self.link_mut());
                let link = self.link_mut();
                // Whoever means the unnamed statement prepares it anew.
                link.server.state.unnamed = tag;
                link.server.conn.wbuf.extend(&out);
                self.expect(Expect::ParseUnnamed { tag, hidden: true });
                self.expect(Expect::Bind { statement: None });
                Some(Act::Drop)
            }
        }
    }

    /// What an Execute of this portal tells.
    pub(super) fn keeping_of(&mut self, message: &[u8]) -> Option<Box<Keeping>> {
        let (portal, keeping) = self.link_mut().keeping.as_ref()?;
        let (executed, _) = frontend::read_execute(message.get(HEADER_LEN..)?)?;
        (**portal == *executed).then(|| Box::new(keeping.clone()))
    }

    /// A row has come for the client.
    pub(super) fn learn_numbers(&mut self, body: &[u8]) {
        let (Some(keeping), Some(replaying)) = (
            self.fifo.front().and_then(Expect::keeping),
            &mut self.replaying,
        ) else {
            return;
        };
        let columns = backend::read_data_row(body);
        let value = columns.and_then(|columns| columns.get(keeping.kept.column).copied().flatten());
        if let Some(number) = value.and_then(|value| number(value, keeping.is_binary)) {
            replaying
                .journal
                .learn_value(keeping.slot, &keeping.kept, number);
        }
    }

    /// Whether the server's session must forget what it knows of sequences in front of the message at hand: it would be
    /// another client's, or of a number that was not asked for.
    pub(super) fn knows_sequences(&mut self) -> bool {
        let Some(replaying) = &mut self.replaying else {
            return false;
        };
        let is_possible = !self.unsynced && self.status != backend::Status::Failed;
        is_possible && replaying.journal.wants_fresh_sequences()
    }

    /// Has it forget.
    pub(super) fn forget_sequences(&mut self) {
        self.send_own(FORGET, Expect::Adjustment);
    }

    /// What the client is told instead of an error that says that the server's session has not asked a sequence, where
    /// that was another one.
    pub(super) fn forgotten_sequence(&self, fields: &ErrorFields<'_>) -> Option<Vec<u8>> {
        let replaying = self.replaying.as_ref()?;
        let journal = &replaying.journal;
        let is_repeated = journal.is_repeated() && !journal.is_rerunning();
        let is_state = fields.sqlstate() == Some(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE);
        let routine = fields.routine();
        let is_recalled = matches!(routine.as_deref(), Some("currval_oid" | "lastval"));
        if !(is_repeated && is_state && is_recalled) {
            return None;
        }
        self.worker.stats().replays.fail(Reason::Sequence);
        Some(divergence(Reason::Sequence).message(Severity::Error))
    }
}

/// `SELECT nextval(…)` that is not asked again.
fn alone(kept: &Kept, told: &[i64]) -> Option<Vec<u8>> {
    let [value] = told else { return None };
    let (name, is_past) = (&kept.name, is_past(kept, *value));
    Some(format!("SELECT '{value}'::int8 AS {name} WHERE {is_past}").into())
}

/// Whether a sequence does not give a number any more. Where two rows cannot have the same one it may be behind: then
/// nobody has the number, or the statement fails; and the sequence is asked until it has gone past.
fn is_past(kept: &Kept, value: i64) -> String {
    let sequence = literal(&kept.sequence);
    let catches_up = match kept.is_unique {
        true => format!(
            " OR {value} - last <= {MAX_BEHIND} * step AND (SELECT max(nextval(sequence) + 0 * n) \
             FROM generate_series(1, ({value} - last + step - 1) / step) AS n) >= {value}"
        ),
        false => String::new(),
    };
    format!(
        "(SELECT CASE WHEN step > 0 AND NOT seqcycle THEN last >= {value}{catches_up} END FROM (\
         SELECT seqrelid::regclass AS sequence, seqcycle, seqincrement AS step, \
         coalesce(pg_sequence_last_value(seqrelid), seqstart - seqincrement) AS last \
         FROM pg_catalog.pg_sequence WHERE seqrelid = {sequence}::regclass) AS s)"
    )
}

/// An integer as a server writes it.
fn number(value: &[u8], is_binary: bool) -> Option<i64> {
    if !is_binary {
        return std::str::from_utf8(value).ok()?.parse().ok();
    }
    match value.len() {
        2 => Some(i16::from_be_bytes(value.try_into().ok()?).into()),
        4 => Some(i32::from_be_bytes(value.try_into().ok()?).into()),
        8 => Some(i64::from_be_bytes(value.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn integers_of_each_size() {
        assert_eq!(number(b"-12", false), Some(-12));
        assert_eq!(number(b"12", true), Some(0x3132));
        assert_eq!(number(&(-7_i32).to_be_bytes(), true), Some(-7));
        assert_eq!(number(&i64::MAX.to_be_bytes(), true), Some(i64::MAX));
        for (value, is_binary) in [
            (&b""[..], false),
            (b"1.5", false),
            (b"123", true),
            (b"", true),
        ] {
            assert_eq!(number(value, is_binary), None);
        }
    }
}
