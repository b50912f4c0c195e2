//! A text of SQL that names prepared statements: PREPARE, EXECUTE and DEALLOCATE share the names of the protocol, so
//! they get the names that servers know, and errors about those are told in the client's words. Made by `prepared`.

use std::collections::VecDeque;
use std::sync::Arc;

use helios_sql::{statements, Control, ControlKind, Span, Syntax};
use helios_wire::error_response::{self, ErrorFields, Severity};
use helios_wire::frame::{self, HEADER_LEN};
use helios_wire::sqlstate;

use super::prepared::{NOBODY, OWN_PREFIX};
use super::residue::Pin;
use super::Session;
use crate::plans::Plan;
use crate::statements::Statement;

/// Longer names are cut, as PostgreSQL does: NAMEDATALEN - 1.
const MAX_NAME: usize = 63;

/// What a statement of the text does to the client's names, once it has succeeded.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Made(Box<[u8]>, Arc<Statement>),
    /// The statement is the one that the server was told to forget.
    Gone(Box<[u8]>, Arc<Statement>),
    /// Every name is gone.
    Cleared,
    /// The name could not be read: it is the server's.
    Unread,
}

impl Change {
    /// How many names more there are after it.
    fn growth(&self) -> isize {
        match self {
            Change::Made(..) => 1,
            Change::Gone(..) => -1,
            Change::Cleared | Change::Unread => 0,
        }
    }
}

/// What is told in the place of a name of ours.
#[derive(Debug, Clone)]
enum Told {
    Name(Box<[u8]>),
    /// Instead of the whole error.
    Error(Box<[u8]>),
}

/// What becomes of the replies to a text whose names were replaced.
#[derive(Debug, Clone, Default)]
pub(super) struct Renamed {
    /// In the order of the statements.
    pub(super) changes: VecDeque<Change>,
    /// That of the text, which is also that of what it prepares.
    pub(super) plan: Option<Arc<Plan>>,
    told: Vec<(Arc<[u8]>, Told)>,
    /// Where names of ours begin, in characters, and how much longer they are.
    moved: Vec<(usize, isize)>,
    /// A statement could not be prepared: the error, instead of one that the transaction has failed.
    failed: Option<Box<[u8]>>,
}

/// A text in the server's names.
#[derive(Debug, Default)]
pub(super) struct Renaming {
    pub(super) text: Vec<u8>,
    pub(super) renamed: Renamed,
    /// What the server must have before.
    pub(super) needs: Vec<Arc<Statement>>,
    /// The client's names of statements that it executes.
    pub(super) runs: Vec<Box<[u8]>>,
}

impl Renamed {
    /// Notes that a statement could not be prepared.
    pub(super) fn fail(&mut self, statement: &Statement, error: &[u8]) {
        for (ours, told) in &mut self.told {
            if **ours == *statement.name {
                *told = Told::Error(error.into());
            }
        }
        self.failed.get_or_insert_with(|| error.into());
    }

    /// What it prepares.
    pub(super) fn made(&self) -> impl Iterator<Item = &Arc<Statement>> {
        self.changes.iter().filter_map(|change| match change {
            Change::Made(_, statement) => Some(statement),
            _ => None,
        })
    }

    /// Whether an error says that the server lacks a statement which it should have.
    pub(super) fn is_lost(&self, fields: &ErrorFields<'_>) -> bool {
        matches!(self.about(fields), Some((ours, Told::Name(_))) if **ours != *NOBODY)
    }

    fn about(&self, fields: &ErrorFields<'_>) -> Option<&(Arc<[u8]>, Told)> {
        let message = fields.get(b'M')?;
        self.told
            .iter()
            .find(|(ours, _)| find(message, &quoted(ours)).is_some())
    }

    /// An error in the client's words: the whole message.
    pub(super) fn translate(&self, fields: &ErrorFields<'_>) -> Vec<u8> {
        let has_failed = fields.sqlstate() == Some(sqlstate::IN_FAILED_SQL_TRANSACTION);
        let (fields, about) = match (self.about(fields), &self.failed) {
            (Some((_, Told::Error(error))), _) => (body_of(error), None),
            (_, Some(error)) if has_failed => (body_of(error), None),
            (about, _) => (*fields, about),
        };
        let mut out = Vec::new();
        frame::write(&mut out, b'E', |body| {
            for (code, value) in fields.iter() {
                body.push(code);
                match (code, about) {
                    (b'M', Some((ours, Told::Name(name)))) => {
                        body.extend(replaced(value, &quoted(ours), &quoted(name)));
                    }
                    (b'P', _) => body.extend(self.position(value)),
                    _ => body.extend(value),
                }
                body.push(0);
            }
            body.push(0);
        });
        out
    }

    /// Where the error is in the client's text.
    fn position(&self, value: &[u8]) -> Vec<u8> {
        let position = std::str::from_utf8(value)
            .ok()
            .and_then(|value| value.parse::<usize>().ok());
        let Some(position) = position else {
            return value.to_vec();
        };
        let before = self.moved.iter().filter(|(start, _)| position > start + 1);
        let grown: isize = before.map(|(_, grown)| grown).sum();
        position.saturating_add_signed(-grown).to_string().into()
    }
}

impl Renaming {
    fn put(&mut self, sql: &[u8], from: usize, span: Span, ours: &Arc<[u8]>, told: Told) {
        self.text
            .extend_from_slice(sql.get(from..span.start).unwrap_or_default());
        let grown = characters(ours) as isize - characters(span.of(sql)) as isize;
        self.renamed.moved.push((characters(&self.text), grown));
        self.text.extend_from_slice(ours);
        self.renamed.told.push((Arc::clone(ours), told));
    }
}

/// What a name stands for, if it stands for anything.
type Known = Option<Arc<Statement>>;

/// What the client's names mean as far into a text as it has been read.
struct Reader<'a> {
    session: &'a Session,
    sql: &'a [u8],
    done: Renaming,
    /// Names that an earlier statement of the text has made or removed, the latest last.
    changed: Vec<(Box<[u8]>, Known)>,
    cleared: bool,
}

impl Session {
    /// The text with the names that servers know; `None` where it names no prepared statement.
    pub(super) fn rename(&self, sql: &[u8], syntax: Syntax) -> Option<Renaming> {
        let mut reader = Reader {
            session: self,
            sql,
            done: Renaming::default(),
            changed: Vec::new(),
            cleared: false,
        };
        let mut at = 0;
        let mut names_any = false;
        for statement in statements(sql, syntax) {
            let Some(control) = statement.control else {
                continue;
            };
            names_any |= reader.take(control, statement.span, &mut at);
        }
        let mut done = reader.done;
        done.text.extend_from_slice(&sql[at..]);
        names_any.then_some(done)
    }
}

impl Reader<'_> {
    /// Takes a control statement, and moves `at` behind what the text has of it; whether it names statements.
    fn take(&mut self, control: Control, span: Span, at: &mut usize) -> bool {
        let is_change = matches!(control.kind, ControlKind::Prepare | ControlKind::Deallocate);
        match control.kind {
            ControlKind::DeallocateAll | ControlKind::DiscardAll => {
                self.changed.clear();
                self.cleared = true;
                self.done.renamed.changes.push_back(Change::Cleared);
                return true;
            }
            ControlKind::Prepare | ControlKind::Deallocate | ControlKind::Execute => {}
            _ => return false,
        }
        let operand = control.operand.unwrap_or(Span { start: 0, end: 0 });
        let Some(name) = read_name(operand.of(self.sql)) else {
            if is_change {
                self.done.renamed.changes.push_back(Change::Unread);
            }
            return true;
        };
        let renamed = match control.kind {
            ControlKind::Prepare => Some(self.prepare(&name, control, operand, span)),
            ControlKind::Deallocate => self.deallocate(&name),
            _ => self.execute(&name),
        };
        if let Some((ours, told)) = renamed {
            self.done.put(self.sql, *at, operand, &ours, told);
            *at = operand.end;
        }
        true
    }

    /// What a name stands for here.
    fn known(&self, name: &[u8]) -> Known {
        if let Some((_, now)) = self
            .changed
            .iter()
            .rev()
            .find(|(known, _)| **known == *name)
        {
            return now.clone();
        }
        let named = self
            .session
            .statements
            .get(name)
            .filter(|_| !self.cleared)?;
        Some(Arc::clone(&named.statement))
    }

    fn is_made(&self, statement: &Statement) -> bool {
        let mut made = self.done.renamed.made();
        made.any(|known| known.id == statement.id)
    }

    fn need(&mut self, statement: Arc<Statement>) {
        if !self.is_made(&statement) && !self.cleared {
            self.done.needs.push(statement);
        }
    }

    fn execute(&mut self, name: &[u8]) -> Option<(Arc<[u8]>, Told)> {
        let Some(statement) = self.known(name) else {
            if self.session.pins.has(Pin::PreparedStatement) {
                self.done.runs.push(name.into());
            }
            return unknown(name);
        };
        // The plan of the text is that of what it prepares, too.
        if !self.is_made(&statement) {
            self.done.runs.push(name.into());
        }
        self.need(Arc::clone(&statement));
        Some((Arc::clone(&statement.name), Told::Name(name.into())))
    }

    /// The server forgets a statement of nothing instead: other clients use the one that the name stands for.
    fn deallocate(&mut self, name: &[u8]) -> Option<(Arc<[u8]>, Told)> {
        if self.known(name).is_none() {
            self.done.renamed.changes.push_back(Change::Unread);
            return unknown(name);
        }
        let nothing = self.nothing();
        let ours = Arc::clone(&nothing.name);
        let gone = Change::Gone(name.into(), Arc::clone(&nothing));
        self.done.renamed.changes.push_back(gone);
        self.done.needs.push(nothing);
        self.changed.push((name.into(), None));
        Some((ours, Told::Name(name.into())))
    }

    /// A statement of nothing that this text does not use yet.
    fn nothing(&self) -> Arc<Statement> {
        let interner = &self.session.worker.shared.interner;
        let nothing = interner.intern(b"\0\0\0", self.session.bucket.meaning());
        let is_used = self.done.needs.iter().any(|known| known.id == nothing.id);
        if is_used {
            interner.again(&nothing)
        } else {
            nothing
        }
    }

    fn prepare(
        &mut self,
        name: &[u8],
        control: Control,
        operand: Span,
        span: Span,
    ) -> (Arc<[u8]>, Told) {
        if let Some(statement) = self.known(name) {
            // It is there already, so the server refuses it.
            self.done.renamed.changes.push_back(Change::Unread);
            self.need(Arc::clone(&statement));
            return (Arc::clone(&statement.name), Told::Name(name.into()));
        }
        let tail = &self.sql[operand.end..span.end];
        let session = self.session;
        let others: isize = self.done.renamed.changes.iter().map(Change::growth).sum();
        let size = 2 * tail.len();
        if !session.statements.has_room(&session.limits, size, others) {
            let nothing = self.nothing();
            let ours = Arc::clone(&nothing.name);
            self.done.renamed.changes.push_back(Change::Unread);
            self.done.needs.push(nothing);
            return (ours, Told::Error(too_many().into()));
        }
        let interner = &session.worker.shared.interner;
        let query = control.end - operand.end;
        let mut statement = interner.intern_prepare(tail, query, session.bucket.meaning());
        let is_needed = self.done.needs.iter().any(|known| known.id == statement.id);
        if is_needed || self.is_made(&statement) {
            statement = interner.again(&statement);
        }
        let made = Change::Made(name.into(), Arc::clone(&statement));
        self.done.renamed.changes.push_back(made);
        self.changed
            .push((name.into(), Some(Arc::clone(&statement))));
        (Arc::clone(&statement.name), Told::Name(name.into()))
    }
}

/// The server is to say that there is no such statement, also where another client has one of this name there. Any
/// other name may be one that the server was given without our knowing.
fn unknown(name: &[u8]) -> Option<(Arc<[u8]>, Told)> {
    let is_own = name.starts_with(OWN_PREFIX);
    is_own.then(|| (NOBODY.into(), Told::Name(name.into())))
}

/// The error for a client that has as many statements as it may.
pub(super) fn too_many() -> Vec<u8> {
    let hint =
        "Raise limits.max_prepared_statements or limits.max_prepared_bytes, or close statements.";
    error_response::error(
        Severity::Error,
        sqlstate::CONFIGURATION_LIMIT_EXCEEDED,
        "too many prepared statements in this session",
        Some(hint),
        None,
    )
}

fn body_of(message: &[u8]) -> ErrorFields<'_> {
    ErrorFields::new(message.get(HEADER_LEN..).unwrap_or_default())
}

/// The name that an identifier means; `None` for `U&"…"`, and for an empty one, which the server refuses.
fn read_name(token: &[u8]) -> Option<Vec<u8>> {
    let mut name = match token {
        [] | [b'U' | b'u', b'&', ..] => return None,
        [b'"', inside @ .., b'"'] => replaced(inside, b"\"\"", b"\""),
        _ => token.to_ascii_lowercase(),
    };
    let is_inside = |byte: Option<&u8>| byte.is_some_and(|byte| byte & 0xc0 == 0x80);
    if name.len() > MAX_NAME {
        let mut end = MAX_NAME;
        while end > 0 && is_inside(name.get(end)) {
            end -= 1;
        }
        name.truncate(end);
    }
    (!name.is_empty()).then_some(name)
}

fn quoted(name: &[u8]) -> Vec<u8> {
    [b"\"", name, b"\""].concat()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn replaced(text: &[u8], part: &[u8], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find(rest, part) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(by);
        rest = &rest[at + part.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// Characters of a text in UTF-8; in other encodings an error may point a little beside its place.
fn characters(text: &[u8]) -> usize {
    text.iter().filter(|&byte| byte & 0xc0 != 0x80).count()
}
