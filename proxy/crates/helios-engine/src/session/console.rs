//! A client of the console. It speaks both protocols and understands no command: the text goes to Python as an event,
//! and what comes back is put into messages. One command at a time; whoever waits can be cancelled, ended or leave.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use helios_wire::backend::{self, Status};
use helios_wire::error_response::Severity;
use helios_wire::frame::{self, Header, HEADER_LEN, MAX_SMALL_LEN};
use helios_wire::frontend::{self, Target};
use helios_wire::sqlstate;

use super::handle::{Handle, Signal};
use super::{FAREWELL, HIGH_WATER};
use crate::console::{unheard, Answer};
use crate::error::Refusal;
use crate::events::Event;
use crate::rt::{self, Conn, Inbox};
use crate::seat::Seat;
use crate::worker::Worker;

/// Longest message of a client.
const MAX_MESSAGE: usize = MAX_SMALL_LEN;
/// Statements, and portals, of one client.
const MAX_NAMES: usize = 256;
/// What the console says of itself at the login, as PgBouncer's does.
const PARAMETERS: [(&str, &str); 7] = [
    ("server_version", "1.25.0/bouncer"),
    ("client_encoding", "UTF8"),
    ("server_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("TimeZone", "GMT"),
    ("standard_conforming_strings", "on"),
    ("is_superuser", "on"),
];

/// A statement that is bound.
struct Portal {
    text: String,
    formats: Vec<bool>,
    /// What is left of its result once it has been executed.
    result: Option<Rest>,
}

/// DataRows that have not been sent, and the CommandComplete behind them.
struct Rest {
    rows: VecDeque<Vec<Option<Vec<u8>>>>,
    tag: String,
}

/// One client of the console.
pub(crate) struct ConsoleSession {
    worker: Rc<Worker>,
    handle: Rc<Handle>,
    place: usize,
    _seat: Seat,
    conn: Conn,
    statements: HashMap<Vec<u8>, String>,
    portals: HashMap<Vec<u8>, Portal>,
    /// An error came; everything up to the next Sync is dropped.
    skipping: bool,
}

impl Drop for ConsoleSession {
    fn drop(&mut self) {
        self.worker.sessions.borrow_mut().try_remove(self.place);
    }
}

/// Why a session of the console ends.
enum Over {
    Left,
    Told(Refusal),
}

/// Why there is no answer to a message.
enum Failure {
    Over(Over),
    /// The client is told this complete message, and goes on.
    Error(Vec<u8>),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Error(refusal.message(Severity::Error))
    }
}

impl ConsoleSession {
    pub(super) fn new(
        worker: &Rc<Worker>,
        mut conn: Conn,
        seat: Seat,
        handle: Handle,
    ) -> ConsoleSession {
        let (handle, place) = worker.enroll(handle);
        let mut out = Vec::new();
        for (name, value) in PARAMETERS {
            backend::parameter_status(&mut out, name, value);
        }
        backend::backend_key_data(&mut out, handle.pid(), handle.key());
        backend::ready_for_query(&mut out, Status::Idle);
        conn.wbuf.extend(&out);
        ConsoleSession {
            worker: Rc::clone(worker),
            handle,
            place,
            _seat: seat,
            conn,
            statements: HashMap::new(),
            portals: HashMap::new(),
            skipping: false,
        }
    }

    pub(super) async fn serve(mut self) {
        if let Over::Told(refusal) = self.converse().await {
            self.conn.wbuf.extend(&refusal.message(Severity::Fatal));
        }
        // A client that does not read its last words does not get them.
        let _ = rt::timeout(FAREWELL, self.conn.flush()).await;
    }

    async fn converse(&mut self) -> Over {
        loop {
            let (header, message) = match self.next_message().await {
                Ok(message) => message,
                Err(over) => return over,
            };
            let mut out = Vec::new();
            match self
                .on_message(header.tag, &message[HEADER_LEN..], &mut out)
                .await
            {
                Ok(()) => {}
                Err(Failure::Over(over)) => return over,
                Err(Failure::Error(error)) => {
                    out.extend(error);
                    if header.tag == b'Q' {
                        backend::ready_for_query(&mut out, Status::Idle);
                    } else {
                        self.skipping = true;
                    }
                }
            }
            self.conn.wbuf.extend(&out);
        }
    }

    /// The next whole message; what was answered so far is sent before it is waited for.
    async fn next_message(&mut self) -> Result<(Header, Vec<u8>), Over> {
        loop {
            let bytes = self.conn.rbuf.bytes();
            let header = frame::header(bytes).map_err(|err| Over::Told(err.into()))?;
            match header {
                Some(header) if header.total > MAX_MESSAGE => {
                    let text = format!("a message of {} bytes on the console", header.total);
                    return Err(Over::Told(Refusal::protocol(text)));
                }
                Some(header) if bytes.len() >= header.total => {
                    let message = bytes[..header.total].to_vec();
                    self.conn.rbuf.consume(header.total);
                    return Ok((header, message));
                }
                _ => poll_fn(|cx| self.poll_fill(cx)).await?,
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        self.handle.listen(cx);
        match self.handle.pending() {
            Signal::None => {}
            // Nothing is under way that it could stop.
            Signal::Cancel => self.handle.clear_cancel(),
            Signal::Drain => return Poll::Ready(Err(Over::Told(Refusal::shutdown()))),
            Signal::End => return Poll::Ready(Err(Over::Told(Refusal::terminated()))),
        }
        if let Poll::Ready(Err(_)) = self.conn.poll_flush(cx) {
            return Poll::Ready(Err(Over::Left));
        }
        match self.conn.poll_fill(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Err(Over::Left)),
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
        }
    }

    async fn on_message(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        if self.skipping && !matches!(tag, b'S' | b'X') {
            return Ok(());
        }
        match tag {
            b'Q' => return self.on_query(body, out).await,
            b'P' => self.on_parse(body, out)?,
            b'B' => self.on_bind(body, out)?,
            b'D' => self.on_describe(body, out).await?,
            b'E' => self.on_execute(body, out).await?,
            b'C' => self.on_close(body, out)?,
            b'H' => {}
            b'S' => {
                self.skipping = false;
                self.portals.clear();
                backend::ready_for_query(out, Status::Idle);
            }
            b'X' => return Err(Failure::Over(Over::Left)),
            tag => {
                let text = format!("message type '{}' on the console", tag.escape_ascii());
                return Err(Failure::Over(Over::Told(Refusal::protocol(text))));
            }
        }
        Ok(())
    }

    async fn on_query(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let text = utf8(body.strip_suffix(&[0]).ok_or_else(|| malformed("Query"))?)?;
        self.portals.remove(&b""[..]);
        self.statements.remove(&b""[..]);
        if is_empty(text) {
            out.extend_from_slice(backend::EMPTY_QUERY_RESPONSE);
        } else {
            let answer = self.ask(text, false).await?;
            out.extend(answer.notice().unwrap_or_default());
            if let Some(columns) = answer.columns(&[]) {
                backend::row_description(out, columns);
            }
            answer
                .rows(&[])
                .for_each(|row| backend::data_row(out, &row));
            backend::command_complete(out, &answer.tag);
        }
        backend::ready_for_query(out, Status::Idle);
        Ok(())
    }

    fn on_parse(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let (name, rest) = frontend::read_parse(body).ok_or_else(|| malformed("Parse"))?;
        if !name.is_empty() && self.statements.contains_key(name) {
            let text = format!("prepared statement \"{}\" already exists", lossy(name));
            return Err(Refusal::new(sqlstate::DUPLICATE_PREPARED_STATEMENT, text).into());
        }
        let end = rest.iter().position(|&byte| byte == 0);
        let text = utf8(&rest[..end.unwrap_or(rest.len())])?.to_owned();
        keep(&mut self.statements, name, text)?;
        out.extend_from_slice(backend::PARSE_COMPLETE);
        Ok(())
    }

    fn on_bind(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let head = frontend::read_bind_head(body).ok_or_else(|| malformed("Bind"))?;
        let text = self.statement(head.statement)?.to_owned();
        let formats = frontend::read_result_formats(&body[head.len..]).ok_or_else(|| {
            Refusal::protocol("malformed Bind, or one with parameters: the console takes none")
        })?;
        let portal = Portal {
            text,
            formats,
            result: None,
        };
        keep(&mut self.portals, head.portal, portal)?;
        out.extend_from_slice(backend::BIND_COMPLETE);
        Ok(())
    }

    async fn on_describe(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let (target, name) = frontend::read_target(body).ok_or_else(|| malformed("Describe"))?;
        let (text, formats) = match target {
            Target::Statement => {
                out.extend_from_slice(backend::NO_PARAMETERS);
                (self.statement(name)?.to_owned(), Vec::new())
            }
            Target::Portal => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (portal.text.clone(), portal.formats.clone())
            }
        };
        let answer = match is_empty(&text) {
            true => None,
            false => Some(self.ask(&text, true).await?),
        };
        match answer.as_ref().and_then(|answer| answer.columns(&formats)) {
            Some(columns) => backend::row_description(out, columns),
            None => out.extend_from_slice(backend::NO_DATA),
        }
        Ok(())
    }

    async fn on_execute(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let (name, limit) = frontend::read_execute(body).ok_or_else(|| malformed("Execute"))?;
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        if is_empty(&portal.text) {
            out.extend_from_slice(backend::EMPTY_QUERY_RESPONSE);
        } else {
            let mut rest = match portal.result.take() {
                Some(rest) => rest,
                None => {
                    let answer = self.ask(&portal.text, false).await?;
                    out.extend(answer.notice().unwrap_or_default());
                    Rest {
                        rows: answer.rows(&portal.formats).collect(),
                        tag: answer.tag,
                    }
                }
            };
            let wanted = if limit == 0 { usize::MAX } else { limit };
            let sent = rest.rows.len().min(wanted);
            rest.rows
                .drain(..sent)
                .for_each(|row| backend::data_row(out, &row));
            if rest.rows.is_empty() {
                backend::command_complete(out, &rest.tag);
            } else {
                out.extend_from_slice(backend::PORTAL_SUSPENDED);
            }
            portal.result = Some(rest);
        }
        self.portals.insert(name.to_vec(), portal);
        Ok(())
    }

    fn on_close(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let (target, name) = frontend::read_target(body).ok_or_else(|| malformed("Close"))?;
        match target {
            Target::Statement => drop(self.statements.remove(name)),
            Target::Portal => drop(self.portals.remove(name)),
        }
        out.extend_from_slice(backend::CLOSE_COMPLETE);
        Ok(())
    }

    fn statement(&self, name: &[u8]) -> Result<&str, Failure> {
        let text = self.statements.get(name).map(String::as_str);
        let missing = || {
            let text = format!("prepared statement \"{}\" does not exist", lossy(name));
            Refusal::new(sqlstate::INVALID_SQL_STATEMENT_NAME, text).into()
        };
        text.ok_or_else(missing)
    }

    /// Has Python carry a command out, or only say which columns its result has.
    async fn ask(&mut self, text: &str, describe: bool) -> Result<Answer, Failure> {
        self.handle.clear_cancel();
        let shared = &self.worker.shared;
        let (id, mut inbox) = shared.console.ask();
        let command = Event::Command {
            id,
            client: self.handle.visit.id,
            user: self.handle.visit.login.user.clone(),
            text: text.to_owned(),
            describe,
        };
        if !shared.events.send(command) {
            shared.console.forget(id);
            return Err(unheard().into());
        }
        let answer = poll_fn(|cx| self.poll_answer(&mut inbox, cx)).await;
        match answer {
            Ok(answer) => answer
                .error()
                .map_or(Ok(answer), |error| Err(Failure::Error(error))),
            Err(failure) => {
                let cancelled = matches!(failure, Failure::Error(_));
                let shared = &self.worker.shared;
                shared.console.forget(id);
                shared.events.send(Event::Withdrawn { id, cancelled });
                Err(failure)
            }
        }
    }

    fn poll_answer(
        &mut self,
        inbox: &mut Inbox<Answer>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Answer, Failure>> {
        self.handle.listen(cx);
        if let Poll::Ready(Some(answer)) = inbox.poll_recv(cx) {
            return Poll::Ready(Ok(answer));
        }
        match self.handle.pending() {
            // What it asked for before a drain is still answered: it may be what began it.
            Signal::None | Signal::Drain => {}
            Signal::Cancel => {
                self.handle.clear_cancel();
                let text = "canceling statement due to user request";
                return Poll::Ready(Err(Refusal::new(sqlstate::QUERY_CANCELED, text).into()));
            }
            Signal::End => {
                let over = Over::Told(Refusal::terminated());
                return Poll::Ready(Err(Failure::Over(over)));
            }
        }
        while self.conn.rbuf.len() <= HIGH_WATER {
            match self.conn.poll_fill(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Failure::Over(Over::Left))),
                Poll::Ready(Ok(_)) => {}
            }
        }
        Poll::Pending
    }
}

/// Keeps something under a name, if there is room; the unnamed one replaces the one before.
fn keep<T>(kept: &mut HashMap<Vec<u8>, T>, name: &[u8], value: T) -> Result<(), Failure> {
    if kept.len() >= MAX_NAMES && !kept.contains_key(name) {
        let text = "too many prepared statements or portals on the console";
        return Err(Refusal::new(sqlstate::CONFIGURATION_LIMIT_EXCEEDED, text).into());
    }
    kept.insert(name.to_vec(), value);
    Ok(())
}

/// Whether a text has no command at all, as what some drivers send to see whether a connection lives.
fn is_empty(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == ';');
        line.is_empty() || line.starts_with("--")
    })
}

fn malformed(what: &str) -> Failure {
    Refusal::protocol(format!("malformed {what} message")).into()
}

fn no_portal(name: &[u8]) -> Failure {
    let text = format!("portal \"{}\" does not exist", lossy(name));
    Refusal::new(sqlstate::INVALID_CURSOR_NAME, text).into()
}

fn utf8(text: &[u8]) -> Result<&str, Failure> {
    let refusal = |_| {
        let text = "invalid byte sequence for encoding \"UTF8\"";
        Refusal::new(sqlstate::CHARACTER_NOT_IN_REPERTOIRE, text).into()
    };
    std::str::from_utf8(text).map_err(refusal)
}

fn lossy(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}
