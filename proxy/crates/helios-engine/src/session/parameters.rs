//! Settings of Helios' own, `helios.…`: SHOW, SET and RESET of one are answered here, in their place among the client's
//! messages, and reach no server.

use helios_wire::backend::{self, Column, Status};
use helios_wire::error_response::Severity;
use helios_wire::frame::{Header, HEADER_LEN};
use helios_wire::frontend::{self, BindHead, Target};
use helios_wire::sqlstate;

use super::carried::{read_token, Soon};
use super::fifo::Expect;
use super::planning::{text, until_zero};
use super::prepared::MAX_BIND_HEAD;
use super::startup::Ended;
use super::Session;
use crate::error::Refusal;
use crate::plans::{Act, Handling, Parameter};

/// Object id of the type `text`.
const TEXT: u32 = 25;
/// Portals that are kept; a client has one or two.
const MAX_PORTALS: usize = 64;

/// What becomes of a message that may be about a parameter.
pub(super) enum Handled {
    /// It is for a server.
    Not,
    /// It has been answered.
    Answered,
    /// The rest of it must come first.
    Part,
    /// The answers to what was sent before must come first.
    Later,
    /// A sample of the primary must come first.
    Unsampled,
}

/// A portal of a statement about a parameter.
#[derive(Debug)]
pub(super) struct Portal {
    name: Box<[u8]>,
    handling: Handling,
    sql: Box<[u8]>,
    is_binary: bool,
}

/// What a client gets, without ReadyForQuery.
type Answer = Vec<u8>;

impl Session {
    /// Answers a message if it is about a parameter of ours.
    pub(super) fn handle_parameter(&mut self, header: Header, message: &[u8]) -> Handled {
        let handling = self.plan.as_ref().and_then(|plan| plan.handling);
        let is_whole = message.len() >= header.total;
        match (header.tag, handling) {
            (b'Q' | b'P', None) if self.is_missed() && names_parameter(text(message)) => {
                let handled = self.fail_parameter(&unplanned());
                self.end_if_query(header.tag, handled)
            }
            (b'Q', Some(handling)) => self.on_parameter_query(handling, text(message)),
            (b'P', Some(handling)) => {
                let named = frontend::read_parse(&message[HEADER_LEN..]);
                match named {
                    Some((name, rest)) => self.on_parameter_parse(handling, name, rest),
                    None => Handled::Not,
                }
            }
            _ if self.portals.is_none() => Handled::Not,
            (b'B', _) => self.on_parameter_bind(&message[HEADER_LEN..], is_whole),
            (b'D' | b'C' | b'E' | b'S' | b'H', _) if !is_whole => Handled::Part,
            (b'D' | b'C', _) => self.on_parameter_target(header.tag, &message[HEADER_LEN..]),
            (b'E', _) => self.on_parameter_execute(&message[HEADER_LEN..]),
            (b'S', _) if self.link.is_none() && self.unsynced => {
                self.unsynced = false;
                let mut out = Vec::new();
                backend::ready_for_query(&mut out, self.status);
                self.told(out)
            }
            (b'H', _) if self.link.is_none() && self.unsynced => Handled::Answered,
            _ => Handled::Not,
        }
    }

    /// Whether messages are looked at by `handle_parameter`.
    #[inline]
    pub(super) fn has_parameters(&self) -> bool {
        let handles = self
            .plan
            .as_ref()
            .is_some_and(|plan| plan.handling.is_some());
        (handles || self.portals.is_some() || self.is_missed()) && self.answers_parameters()
    }

    /// Whether the statement at hand runs without its plan, which could have said that it is not for a server.
    fn is_missed(&self) -> bool {
        let plans = &self.worker.shared.plans;
        self.plan.as_ref().is_some_and(|plan| plans.is_missed(plan))
    }

    /// Where reads are not split a setting of ours is one of PostgreSQL's like any other with a dot in its name.
    fn answers_parameters(&self) -> bool {
        self.route
            .as_ref()
            .is_some_and(|route| route.reads.is_some())
            && !self.copying_in
    }

    fn on_parameter_query(&mut self, handling: Handling, sql: &[u8]) -> Handled {
        if self.link.is_some() && self.unsynced {
            // The server answers nothing of that batch before its Sync, so it cannot be waited for.
            let handled = self.fail_parameter(&unsynced(handling.parameter));
            return self.end_if_query(b'Q', handled);
        }
        if !self.fifo.is_empty() {
            return Handled::Later;
        }
        match self.act_on_parameter(handling, sql) {
            None => Handled::Unsampled,
            Some(Ok(answer)) => {
                let mut out = match handling.act {
                    Act::Show => description(handling.parameter, false),
                    _ => Vec::new(),
                };
                out.extend(answer);
                backend::ready_for_query(&mut out, self.status);
                self.plan = None;
                self.told(out)
            }
            Some(Err(refusal)) => {
                let handled = self.fail_parameter(&refusal);
                self.end_if_query(b'Q', handled)
            }
        }
    }

    /// Ends, at the server, what stands for a request without a Sync of its own.
    pub(super) fn sync_failed(&mut self) {
        self.link_mut().server.conn.wbuf.extend(frontend::SYNC);
        self.expect(Expect::Sync);
        self.unsynced = false;
    }

    /// Adds the ReadyForQuery of a simple Query that failed as a message of a batch does.
    fn end_if_query(&mut self, tag: u8, handled: Handled) -> Handled {
        if !matches!(handled, Handled::Answered) {
            return handled;
        }
        self.plan = None;
        if tag != b'Q' {
            return handled;
        }
        self.refusing = false;
        self.unsynced = false;
        if self.link.is_some() {
            self.sync_failed();
        } else {
            let mut out = Vec::new();
            backend::ready_for_query(&mut out, Status::Idle);
            self.told(out);
        }
        handled
    }

    fn on_parameter_parse(&mut self, handling: Handling, name: &[u8], rest: &[u8]) -> Handled {
        if let Err(refusal) = self.check_parse(handling, name, rest) {
            let handled = self.fail_parameter(&refusal);
            return self.end_if_query(b'P', handled);
        }
        self.portals.get_or_insert_default();
        if name.is_empty() {
            self.keep_unnamed(rest);
            return self.tell_in_batch(backend::PARSE_COMPLETE.to_vec());
        }
        let seq = self.keep_named(name, rest);
        self.answer_in_batch(Expect::FakeParse { seq })
    }

    fn check_parse(&self, handling: Handling, name: &[u8], rest: &[u8]) -> Result<(), Refusal> {
        self.check_status()?;
        if handling.act == Act::Mix {
            return Err(mixed(handling.parameter));
        }
        self.check_name(name, rest)
    }

    fn check_status(&self) -> Result<(), Refusal> {
        if self.status == Status::Failed {
            let text =
                "current transaction is aborted, commands ignored until end of transaction block";
            return Err(Refusal::new(sqlstate::IN_FAILED_SQL_TRANSACTION, text));
        }
        Ok(())
    }

    fn on_parameter_bind(&mut self, body: &[u8], is_whole: bool) -> Handled {
        let Some(head) = frontend::read_bind_head(body) else {
            // Who has no room for the names is told so elsewhere.
            return match is_whole || body.len() >= MAX_BIND_HEAD {
                true => Handled::Not,
                false => Handled::Part,
            };
        };
        let portals = self.portals.get_or_insert_default();
        portals.retain(|portal| *portal.name != *head.portal);
        let Some((handling, sql)) = self.parameter_statement(head.statement) else {
            return Handled::Not;
        };
        if !is_whole {
            return Handled::Part;
        }
        let Some(formats) = frontend::read_result_formats(&body[head.len..]) else {
            return self.fail_parameter(&parameters_given(head));
        };
        let portal = Portal {
            name: head.portal.into(),
            handling,
            sql,
            is_binary: formats.first().is_some_and(|is_binary| *is_binary),
        };
        let portals = self.portals.get_or_insert_default();
        if portals.len() >= MAX_PORTALS {
            portals.remove(0);
        }
        portals.push(portal);
        self.tell_in_batch(backend::BIND_COMPLETE.to_vec())
    }

    /// What a prepared statement does with a parameter, and its text.
    fn parameter_statement(&self, name: &[u8]) -> Option<(Handling, Box<[u8]>)> {
        if name.is_empty() && self.unnamed.tag == 0 {
            return None;
        }
        let prepared = self.prepared(name)?;
        Some((prepared.plan?.handling?, prepared.sql?.into()))
    }

    fn portal(&self, name: &[u8]) -> Option<&Portal> {
        let mut portals = self.portals.as_ref()?.iter();
        portals.find(|portal| *portal.name == *name)
    }

    /// Describe and Close.
    fn on_parameter_target(&mut self, tag: u8, body: &[u8]) -> Handled {
        let told = match frontend::read_target(body) {
            Some((Target::Statement, name)) => {
                let Some((handling, _)) = self.parameter_statement(name) else {
                    return Handled::Not;
                };
                if tag == b'C' {
                    return self.close_parameter_statement(name);
                }
                [backend::NO_PARAMETERS, &shown(handling, false)].concat()
            }
            Some((Target::Portal, name)) => {
                let Some(portal) = self.portal(name) else {
                    return Handled::Not;
                };
                match tag {
                    b'C' => backend::CLOSE_COMPLETE.to_vec(),
                    _ => shown(portal.handling, portal.is_binary),
                }
            }
            None => return Handled::Not,
        };
        self.tell_in_batch(told)
    }

    fn close_parameter_statement(&mut self, name: &[u8]) -> Handled {
        if name.is_empty() {
            self.unnamed.tag = 0;
            return self.tell_in_batch(backend::CLOSE_COMPLETE.to_vec());
        }
        let closed = self.statements.remove(name);
        let restore = closed.map(|named| (name.into(), named));
        self.answer_in_batch(Expect::FakeClose { restore })
    }

    fn on_parameter_execute(&mut self, body: &[u8]) -> Handled {
        let named = frontend::read_execute(body).and_then(|(name, _)| self.portal(name));
        let Some(Portal { handling, sql, .. }) = named else {
            return Handled::Not;
        };
        let (handling, sql) = (*handling, sql.clone());
        // What requests before have done counts; what this batch does happens with its Sync.
        if self.fifo.iter().any(Expect::is_ready_bound) {
            return Handled::Later;
        }
        match self.act_on_parameter(handling, &sql) {
            None => Handled::Unsampled,
            Some(Ok(answer)) => self.tell_in_batch(answer),
            Some(Err(refusal)) => self.fail_parameter(&refusal),
        }
    }

    /// Does what a statement says; its answer, without a description of columns.
    fn act_on_parameter(&mut self, handling: Handling, sql: &[u8]) -> Soon<Answer> {
        let Handling { parameter, act } = handling;
        if let Err(refusal) = self.check_act(handling) {
            return Some(Err(refusal));
        }
        let value = match (act, parameter) {
            (Act::Show, Parameter::Lsn) => {
                self.present_token()?.map(|token| Some(token.to_string()))
            }
            (Act::Show, Parameter::WriteMode) => Ok(Some(self.shown_write_mode().to_owned())),
            (Act::Show, Parameter::ConsistencyKey) => Ok(Some(self.shown_key())),
            (Act::Set, Parameter::Lsn) => {
                let token = self
                    .assigned(sql, parameter)
                    .and_then(|value| read_token(&value));
                match token {
                    Ok(token) => self.admit(token)?.map(|()| None),
                    Err(refusal) => Err(refusal),
                }
            }
            (Act::Set, Parameter::WriteMode) => {
                let mode = self.assigned(sql, parameter);
                mode.and_then(|mode| self.set_write_mode(&mode))
                    .map(|()| None)
            }
            (Act::Set, Parameter::ConsistencyKey) => {
                let key = self.assigned(sql, parameter);
                key.and_then(|key| self.set_key(&key)).map(|()| None)
            }
            // What has been seen cannot be unseen.
            (Act::Reset, Parameter::Lsn) => Ok(None),
            (Act::Reset, Parameter::WriteMode) => self.reset_write_mode().map(|()| None),
            (Act::Reset, Parameter::ConsistencyKey) => self.reset_key().map(|()| None),
            (Act::Mix, _) => Err(mixed(parameter)),
        };
        Some(value.map(|value| {
            let mut out = Vec::new();
            if let Some(value) = value {
                backend::data_row(&mut out, &[Some(value.into_bytes())]);
            }
            backend::command_complete(&mut out, self.tag_of(act, sql));
            out
        }))
    }

    /// Takes what the client's startup packet says of parameters.
    pub(super) async fn begin_with(
        &mut self,
        given: Vec<(Parameter, String)>,
    ) -> Result<(), Ended> {
        for (parameter, value) in given {
            self.check_role(parameter).map_err(Ended::Refused)?;
            match parameter {
                Parameter::Lsn => self.take_token(&value).await?,
                Parameter::WriteMode => self.set_write_mode(&value).map_err(Ended::Refused)?,
                Parameter::ConsistencyKey => self.set_key(&value).map_err(Ended::Refused)?,
            }
        }
        self.keep_as_begun();
        self.keep_first_key();
        Ok(())
    }

    fn check_act(&self, handling: Handling) -> Result<(), Refusal> {
        self.check_status()?;
        self.check_role(handling.parameter)
    }

    /// That no server has begun a transaction of the session's.
    pub(super) fn check_outside(&self, parameter: Parameter) -> Result<(), Refusal> {
        if self.link.is_none() || self.status == Status::Idle {
            return Ok(());
        }
        let text = format!(
            "{} cannot be set within a transaction that has begun",
            parameter.name()
        );
        let refusal = Refusal::new(sqlstate::ACTIVE_SQL_TRANSACTION, text);
        Err(refusal.hint("Set it before, or in front of the transaction's first statement."))
    }

    fn check_role(&self, parameter: Parameter) -> Result<(), Refusal> {
        if self.is_bound() {
            let text = format!(
                "{} is not for a database whose role is standby",
                parameter.name()
            );
            let refusal = Refusal::new(sqlstate::FEATURE_NOT_SUPPORTED, text);
            return Err(refusal.hint("Nobody can tell there how far the primary is."));
        }
        Ok(())
    }

    /// As PostgreSQL says it: SET … TO DEFAULT is a SET as well.
    fn tag_of(&mut self, act: Act, sql: &[u8]) -> &'static str {
        let is_set = |control: helios_sql::Control| {
            use helios_sql::ControlKind::{Set, SetLocal};
            matches!(control.kind, Set | SetLocal)
        };
        match act {
            Act::Show => "SHOW",
            _ if self
                .control_of(sql)
                .is_some_and(|(control, _)| is_set(control)) =>
            {
                "SET"
            }
            _ => "RESET",
        }
    }

    /// The control statement that a text is, and where it ends.
    fn control_of(&mut self, sql: &[u8]) -> Option<(helios_sql::Control, usize)> {
        let syntax = self.syntax();
        let statement = helios_sql::statements(sql, syntax).next()?;
        Some((statement.control?, statement.span.end))
    }

    /// The value in a SET: one literal or word.
    fn assigned(&mut self, sql: &[u8], parameter: Parameter) -> Result<String, Refusal> {
        let written = self
            .control_of(sql)
            .and_then(|(control, end)| sql.get(control.end..end))
            .map(<[u8]>::trim_ascii);
        written.and_then(value).ok_or_else(|| {
            let text = format!(
                "the value for parameter \"{}\" cannot be read",
                parameter.name()
            );
            Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, text)
                .hint("Write it as one literal between single quotes.")
        })
    }

    /// Puts an answer in its place among those of the servers.
    fn told(&mut self, message: Vec<u8>) -> Handled {
        self.fifo.push_back(Expect::Told(message.into()));
        self.emit_fakes();
        Handled::Answered
    }

    fn tell_in_batch(&mut self, message: Vec<u8>) -> Handled {
        self.answer_in_batch(Expect::Told(message.into()))
    }

    /// The same of a message that belongs to a batch.
    fn answer_in_batch(&mut self, expect: Expect) -> Handled {
        if self.link.is_some() {
            self.expect(expect);
        } else {
            self.unsynced = true;
            self.fifo.push_back(expect);
            self.emit_fakes();
        }
        Handled::Answered
    }

    /// Answers with an error. In a block it is the server's too, so that the block fails there.
    fn fail_parameter(&mut self, refusal: &Refusal) -> Handled {
        let message = refusal.message(Severity::Error);
        if self.link.is_some() {
            self.doom_with(message);
            return Handled::Answered;
        }
        if self.opening.is_some() {
            return Handled::Not;
        }
        self.refusing = true;
        self.told(message)
    }
}

/// The value of a word or of a plain literal.
fn value(written: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(written).ok()?;
    if let Some(inner) = text.strip_prefix('\'') {
        let inner = inner.strip_suffix('\'')?;
        let is_plain = !inner.replace("''", "").contains(['\'', '\\']);
        return is_plain.then(|| inner.replace("''", "'"));
    }
    let is_word = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_word && !text.is_empty()).then(|| text.to_owned())
}

/// What a Describe is told of a statement.
fn shown(handling: Handling, is_binary: bool) -> Vec<u8> {
    match handling.act {
        Act::Show => description(handling.parameter, is_binary),
        _ => backend::NO_DATA.to_vec(),
    }
}

fn description(parameter: Parameter, is_binary: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let column = Column {
        name: parameter.name(),
        oid: TEXT,
        size: -1,
        is_binary,
    };
    backend::row_description(&mut out, std::iter::once(column));
    out
}

fn mixed(parameter: Parameter) -> Refusal {
    let name = parameter.name();
    let text = format!("{name} is set and shown by a statement of its own only");
    Refusal::new(sqlstate::FEATURE_NOT_SUPPORTED, text).hint(format!(
        "Send SET {name} = '…' or SHOW {name} without other statements beside or around it."
    ))
}

fn unsynced(parameter: Parameter) -> Refusal {
    let text = format!("{} behind a batch that has no Sync", parameter.name());
    Refusal::new(sqlstate::FEATURE_NOT_SUPPORTED, text).hint("Send a Sync first.")
}

/// Whether a text may be about a parameter, as far as can be seen without a plan.
fn names_parameter(sql: &[u8]) -> bool {
    let folded = sql.to_ascii_lowercase();
    Parameter::ALL
        .iter()
        .any(|parameter| memchr::memmem::find(&folded, parameter.name().as_bytes()).is_some())
}

fn unplanned() -> Refusal {
    let text = "the statement names a setting of Helios, and there was no time to read it";
    Refusal::new(sqlstate::CANNOT_CONNECT_NOW, text).hint("Try again.")
}

fn parameters_given(head: BindHead<'_>) -> Refusal {
    let name = String::from_utf8_lossy(until_zero(head.statement));
    Refusal::protocol(format!(
        "bind message supplies parameters, but prepared statement \"{name}\" requires 0"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_words_or_plain_literals() {
        for (written, wanted) in [
            ("'1:2:0/3'", Some("1:2:0/3")),
            ("sync", Some("sync")),
            ("'it''s'", Some("it's")),
            ("''", Some("")),
            ("'a' 'b'", None),
            ("E'a'", None),
            ("'a\\b'", None),
            ("", None),
            ("'", None),
            ("a, b", None),
        ] {
            assert_eq!(value(written.as_bytes()).as_deref(), wanted, "{written}");
        }
    }
}
