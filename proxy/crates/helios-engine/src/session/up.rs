//! Client to server: headers are scanned in place, whole runs forwarded, and only what names a statement is read.
//! Every request that will be answered leaves an entry in the FIFO.

use std::sync::Arc;
use std::time::Instant;

use helios_wire::error_response::{self, Severity};
use helios_wire::frame::{self, Header, HEADER_LEN, MAX_SMALL_LEN};
use helios_wire::frontend::{self, Target};
use helios_wire::sqlstate;

use super::fifo::Expect;
use super::{Link, Session};
use crate::config::PoolMode;
use crate::error::Refusal;
use crate::rt::{Buf, BLOCK};
use crate::statements::{Named, Statement};

/// Longest portal and statement name together in a Bind.
const MAX_BIND_HEAD: usize = 64 * 1024;
/// Statement names of ours on servers begin with this.
const OWN_PREFIX: &[u8] = b"helios_";
/// A statement name that no server has: ids begin at 1.
const NOBODY: &[u8] = b"helios_0";

/// What stopped the scan of the client's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// More bytes are needed.
    Starved,
    /// A message needs a server.
    NeedServer,
    /// The server does not keep up.
    Blocked,
    /// The client said Terminate.
    Terminate,
}

/// What to do with the message at hand.
enum Act {
    /// Send it as it is, of whatever length.
    Forward,
    /// It has been answered or rewritten whole.
    Drop,
    /// Its first bytes have been rewritten; the rest is sent as it is.
    ForwardAfter(usize),
    /// It must be complete before it can be read.
    Wait,
}

impl Session {
    /// Handles what is in the client's buffer.
    pub(super) fn on_client_bytes(&mut self) -> Result<Flow, Refusal> {
        let mut input = std::mem::take(&mut self.client.rbuf);
        let mut cursor = Cursor { at: 0, run: 0 };
        let was_partial = self.up.remaining > 0;
        let result = self.scan(&mut input, &mut cursor);
        self.send_run(&mut input, &mut cursor);
        input.consume(cursor.at);
        self.client.rbuf = input;
        self.emit_fakes();
        if was_partial && self.up.remaining == 0 {
            // The reply may have come before the request was whole, as when a COPY fails.
            self.release_if_done();
        }
        result
    }

    fn scan(&mut self, input: &mut Buf, cursor: &mut Cursor) -> Result<Flow, Refusal> {
        loop {
            if self.is_server_full() {
                return Ok(Flow::Blocked);
            }
            let available = input.len() - cursor.at;
            if self.up.remaining > 0 {
                let n = self.up.remaining.min(available);
                self.advance(input, cursor, n, self.up.forward);
                self.up.remaining -= n;
                if self.up.remaining > 0 {
                    return Ok(Flow::Starved);
                }
                continue;
            }
            let Some(header) = frame::header(&input.bytes()[cursor.at..])? else {
                return Ok(Flow::Starved);
            };
            if header.tag == b'X' {
                return Ok(Flow::Terminate);
            }
            if self.is_ignored(header.tag) {
                self.begin_partial(header, false);
                continue;
            }
            if self.link.is_none() {
                // A slow sender must not hold a server while it sends.
                let whole =
                    available >= header.total || (header.total > BLOCK && !is_named(header.tag));
                return Ok(if whole {
                    Flow::NeedServer
                } else {
                    Flow::Starved
                });
            }
            let end = input.len().min(cursor.at + header.total);
            let message = &input.bytes()[cursor.at..end];
            match self.on_message(
                header,
                message,
                &mut Pending {
                    cursor,
                    input: input.bytes(),
                },
            )? {
                Act::Forward => self.begin_partial(header, true),
                Act::Drop => self.begin_partial(header, false),
                Act::ForwardAfter(head) => {
                    cursor.at += head;
                    cursor.run = cursor.at;
                    self.up.remaining = header.total - head;
                    self.up.forward = true;
                }
                Act::Wait => return Ok(Flow::Starved),
            }
        }
    }

    fn begin_partial(&mut self, header: Header, forward: bool) {
        self.up.remaining = header.total;
        self.up.forward = forward;
    }

    /// Takes `n` bytes into the run, or ends the run before them.
    fn advance(&mut self, input: &Buf, cursor: &mut Cursor, n: usize, forward: bool) {
        if forward {
            cursor.at += n;
            return;
        }
        if let Some(link) = &mut self.link {
            link.server
                .conn
                .wbuf
                .extend(&input.bytes()[cursor.run..cursor.at]);
        }
        cursor.at += n;
        cursor.run = cursor.at;
    }

    /// Sends what is left of the run; the whole buffer changes hands when it is all of it.
    fn send_run(&mut self, input: &mut Buf, cursor: &mut Cursor) {
        let Some(link) = &mut self.link else { return };
        let output = &mut link.server.conn.wbuf;
        if cursor.run == 0 && cursor.at == input.len() && output.is_empty() && cursor.at > 0 {
            std::mem::swap(input, output);
            cursor.at = 0;
        } else {
            output.extend(&input.bytes()[cursor.run..cursor.at]);
        }
    }

    /// Messages that PostgreSQL would drop: what a failed COPY leaves behind, and a failed batch up to its Sync.
    fn is_ignored(&self, tag: u8) -> bool {
        match tag {
            b'd' | b'c' | b'f' => self.skipping || (!self.copying_in && self.fifo.is_empty()),
            b'S' => false,
            _ => self.skipping,
        }
    }

    fn on_message(
        &mut self,
        header: Header,
        message: &[u8],
        pending: &mut Pending<'_>,
    ) -> Result<Act, Refusal> {
        if self.copying_in {
            return self.on_copy_message(header);
        }
        match header.tag {
            b'Q' => {
                self.expect(Expect::Query);
                self.unsynced = false;
                self.unnamed.tag = 0;
                let link = self.link_mut();
                link.server.state.unnamed = 0;
                Ok(Act::Forward)
            }
            b'P' => self.on_parse(header, message, pending),
            b'B' => self.on_bind(header, message, pending),
            b'D' | b'C' => self.on_target(header, message, pending),
            b'E' => {
                bounded(header)?;
                self.expect(Expect::Execute);
                Ok(Act::Forward)
            }
            b'H' => {
                bounded(header)?;
                Ok(Act::Forward)
            }
            b'S' => {
                bounded(header)?;
                self.expect(Expect::Sync);
                self.unsynced = false;
                self.skipping = false;
                self.link_mut().server.state.statements.begin_batch();
                Ok(Act::Forward)
            }
            b'F' => {
                self.expect(Expect::FunctionCall);
                Ok(Act::Forward)
            }
            // Ahead of the server's CopyInResponse. If none comes, the server drops them.
            b'd' => Ok(Act::Forward),
            b'c' | b'f' => {
                self.fifo.push_back(Expect::CopyEnd);
                Ok(Act::Forward)
            }
            tag => Err(Refusal::protocol(format!(
                "invalid frontend message type {tag}"
            ))),
        }
    }

    /// During COPY IN the server takes data, ignores Sync and Flush, and is confused by anything else.
    fn on_copy_message(&mut self, header: Header) -> Result<Act, Refusal> {
        match header.tag {
            b'd' => {}
            b'c' | b'f' => self.copying_in = false,
            b'H' => {}
            b'S' => self.sync_in_copy = true,
            tag => {
                let tag = tag.escape_ascii();
                return Err(Refusal::protocol(format!(
                    "unexpected message type '{tag}' during COPY from stdin"
                )));
            }
        }
        Ok(Act::Forward)
    }

    /// Notes an outstanding request. Only called while linked.
    fn expect(&mut self, expect: Expect) {
        if self.fifo.is_empty() && self.started.is_none() {
            self.started = Some(Instant::now());
        }
        self.unsynced |= expect.is_extended();
        self.fifo.push_back(expect);
    }

    fn link_mut(&mut self) -> &mut Link {
        self.link
            .as_mut()
            .expect("messages are handled only while a server is linked")
    }

    /// Whether names are mapped; in session mode the server is the client's own.
    fn maps_names(&self) -> bool {
        self.link
            .as_ref()
            .is_some_and(|link| link.mode != PoolMode::Session && link.prepared_statements)
    }

    fn on_parse(
        &mut self,
        header: Header,
        message: &[u8],
        pending: &mut Pending<'_>,
    ) -> Result<Act, Refusal> {
        if header.total > self.limits.max_prepared_bytes + HEADER_LEN {
            let text = format!(
                "a statement of {} bytes is longer than limits.max_prepared_bytes",
                header.body_len()
            );
            return Err(Refusal::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, text));
        }
        if message.len() < header.total {
            return Ok(Act::Wait);
        }
        let Some((name, rest)) = frontend::read_parse(&message[HEADER_LEN..]) else {
            // PostgreSQL words the error, and it belongs to this place in the batch.
            self.expect(Expect::Parse {
                statement: None,
                seq: 0,
            });
            return Ok(Act::Forward);
        };
        if name.is_empty() {
            self.unnamed.tag = self.worker.next_tag();
            self.unnamed.rest.clear();
            self.unnamed.rest.extend_from_slice(rest);
            let tag = self.unnamed.tag;
            self.link_mut().server.state.unnamed = tag;
            self.expect(Expect::Parse {
                statement: None,
                seq: 0,
            });
            return Ok(Act::Forward);
        }
        if !self.maps_names() {
            self.link_mut().server.state.dirt.prepared = true;
            self.expect(Expect::Parse {
                statement: None,
                seq: 0,
            });
            return Ok(Act::Forward);
        }
        pending.flush(self.link_mut());
        self.parse_named(name, rest);
        Ok(Act::Drop)
    }

    fn parse_named(&mut self, name: &[u8], rest: &[u8]) {
        if self.statements.get(name).is_some() {
            let text = format!(
                "prepared statement \"{}\" already exists",
                String::from_utf8_lossy(name)
            );
            return self.doom(sqlstate::DUPLICATE_PREPARED_STATEMENT, &text, None);
        }
        if !self.statements.has_room(&self.limits, rest) {
            let hint = "Raise limits.max_prepared_statements or limits.max_prepared_bytes, or close statements.";
            let text = "too many prepared statements in this session";
            return self.doom(sqlstate::CONFIGURATION_LIMIT_EXCEEDED, text, Some(hint));
        }
        let statement = self.worker.shared.interner.intern(rest);
        let seq = self.next_seq;
        self.next_seq += 1;
        self.statements.insert(
            name,
            Named {
                statement: Arc::clone(&statement),
                seq,
            },
        );
        if self.link_mut().server.state.statements.touch(statement.id) {
            self.expect(Expect::FakeParse { seq });
        } else {
            self.prepare(statement, Some(seq));
        }
    }

    /// Sends a Parse under our own name; the client sees its reply if it asked for it.
    fn prepare(&mut self, statement: Arc<Statement>, seq: Option<u64>) {
        let link = self.link_mut();
        let mut out = Vec::with_capacity(statement.rest.len() + 32);
        frontend::parse(&mut out, &statement.name, &statement.rest);
        link.server.conn.wbuf.extend(&out);
        link.server.state.statements.insert(Arc::clone(&statement));
        let statement = Some(statement);
        self.expect(match seq {
            Some(seq) => Expect::Parse { statement, seq },
            None => Expect::HiddenParse { statement },
        });
        self.evict();
    }

    fn evict(&mut self) {
        let max = self.link_mut().server_prepared_bytes;
        while let Some(old) = self.link_mut().server.state.statements.evict(max) {
            let mut out = Vec::new();
            frontend::close_statement(&mut out, &old.name);
            self.link_mut().server.conn.wbuf.extend(&out);
            self.expect(Expect::HiddenClose);
        }
    }

    /// Sends a request that is sure to fail, so that the server is in the state that the client's error implies.
    fn doom(&mut self, sqlstate: &str, message: &str, hint: Option<&str>) {
        let mut out = Vec::new();
        frontend::describe_statement(&mut out, NOBODY);
        self.link_mut().server.conn.wbuf.extend(&out);
        let error = error_response::error(Severity::Error, sqlstate, message, hint, None);
        self.expect(Expect::Doomed(error.into()));
    }

    /// Makes sure that the server has the statement which the client means by this name, and says under which
    /// name; `None` if the client's own word is to be passed on.
    fn resolve(&mut self, name: &[u8], pending: &mut Pending<'_>) -> Resolved {
        if name.is_empty() {
            self.ensure_unnamed(pending);
            return Resolved::AsIs;
        }
        if !self.maps_names() {
            return Resolved::AsIs;
        }
        match self
            .statements
            .get(name)
            .map(|named| Arc::clone(&named.statement))
        {
            Some(statement) => {
                pending.flush(self.link_mut());
                if !self.link_mut().server.state.statements.touch(statement.id) {
                    self.prepare(Arc::clone(&statement), None);
                }
                Resolved::Renamed(statement)
            }
            None if name.starts_with(OWN_PREFIX) => {
                pending.flush(self.link_mut());
                let text = format!(
                    "prepared statement \"{}\" does not exist",
                    String::from_utf8_lossy(name)
                );
                self.doom(sqlstate::INVALID_SQL_STATEMENT_NAME, &text, None);
                Resolved::Doomed
            }
            // Made by SQL PREPARE, or unknown: the server knows.
            None => Resolved::AsIs,
        }
    }

    /// The server's unnamed statement may be another client's.
    fn ensure_unnamed(&mut self, pending: &mut Pending<'_>) {
        let tag = self.unnamed.tag;
        let link = self.link_mut();
        if link.mode == PoolMode::Session || (tag != 0 && link.server.state.unnamed == tag) {
            return;
        }
        pending.flush(link);
        link.server.state.unnamed = tag;
        if tag == 0 {
            link.server
                .conn
                .wbuf
                .extend(frontend::CLOSE_UNNAMED_STATEMENT);
            return self.expect(Expect::HiddenClose);
        }
        let mut out = Vec::with_capacity(self.unnamed.rest.len() + 8);
        frontend::parse(&mut out, b"", &self.unnamed.rest);
        self.link_mut().server.conn.wbuf.extend(&out);
        self.expect(Expect::HiddenParse { statement: None });
    }

    fn on_bind(
        &mut self,
        header: Header,
        message: &[u8],
        pending: &mut Pending<'_>,
    ) -> Result<Act, Refusal> {
        let body = &message[HEADER_LEN..];
        let Some(head) = frontend::read_bind_head(body) else {
            if message.len() < header.total && body.len() < MAX_BIND_HEAD {
                return Ok(Act::Wait);
            }
            if message.len() < header.total {
                return Err(Refusal::protocol(
                    "the names in a Bind message are too long",
                ));
            }
            self.expect(Expect::Bind);
            return Ok(Act::Forward);
        };
        match self.resolve(head.statement, pending) {
            Resolved::AsIs => {
                self.expect(Expect::Bind);
                Ok(Act::Forward)
            }
            Resolved::Doomed => Ok(Act::Drop),
            Resolved::Renamed(statement) => {
                self.expect(Expect::Bind);
                let rest = header.body_len() - head.len;
                let mut out = Vec::with_capacity(HEADER_LEN + head.len + statement.name.len());
                frontend::bind_head(&mut out, head.portal, &statement.name, rest);
                self.link_mut().server.conn.wbuf.extend(&out);
                Ok(Act::ForwardAfter(HEADER_LEN + head.len))
            }
        }
    }

    /// Describe and Close.
    fn on_target(
        &mut self,
        header: Header,
        message: &[u8],
        pending: &mut Pending<'_>,
    ) -> Result<Act, Refusal> {
        bounded(header)?;
        if message.len() < header.total {
            return Ok(Act::Wait);
        }
        let is_close = header.tag == b'C';
        let plain = if is_close {
            Expect::Close
        } else {
            Expect::Describe
        };
        let name = match frontend::read_target(&message[HEADER_LEN..]) {
            Some((Target::Statement, name)) => name,
            Some((Target::Portal, _)) | None => {
                self.expect(plain);
                return Ok(Act::Forward);
            }
        };
        if is_close {
            return Ok(self.on_close_statement(name, pending));
        }
        match self.resolve(name, pending) {
            Resolved::AsIs => {
                self.expect(plain);
                Ok(Act::Forward)
            }
            Resolved::Doomed => Ok(Act::Drop),
            Resolved::Renamed(statement) => {
                let mut out = Vec::with_capacity(HEADER_LEN + 2 + statement.name.len());
                frontend::describe_statement(&mut out, &statement.name);
                self.link_mut().server.conn.wbuf.extend(&out);
                self.expect(plain);
                Ok(Act::Drop)
            }
        }
    }

    fn on_close_statement(&mut self, name: &[u8], pending: &mut Pending<'_>) -> Act {
        if name.is_empty() {
            self.unnamed.tag = 0;
            self.link_mut().server.state.unnamed = 0;
        } else if self.maps_names() {
            let closed = self.statements.remove(name);
            if closed.is_some() || name.starts_with(OWN_PREFIX) {
                // The server keeps its copy: other clients use it too.
                pending.flush(self.link_mut());
                let restore = closed.map(|named| (name.into(), named));
                self.expect(Expect::FakeClose { restore });
                return Act::Drop;
            }
        }
        self.expect(Expect::Close);
        Act::Forward
    }
}

/// Where the scan is, and where the run of bytes to be forwarded began.
struct Cursor {
    at: usize,
    run: usize,
}

/// The run before the message at hand, which must go out before anything is inserted.
struct Pending<'a> {
    cursor: &'a mut Cursor,
    input: &'a [u8],
}

impl Pending<'_> {
    fn flush(&mut self, link: &mut Link) {
        link.server
            .conn
            .wbuf
            .extend(&self.input[self.cursor.run..self.cursor.at]);
        self.cursor.run = self.cursor.at;
    }
}

/// How the client's name for a statement is to be passed on.
enum Resolved {
    AsIs,
    Renamed(Arc<Statement>),
    Doomed,
}

/// Whether a message names a statement, so that it must be whole before it is handled.
fn is_named(tag: u8) -> bool {
    matches!(tag, b'P' | b'D' | b'C')
}

fn bounded(header: Header) -> Result<(), Refusal> {
    if header.total > MAX_SMALL_LEN {
        let tag = header.tag.escape_ascii();
        return Err(Refusal::protocol(format!(
            "invalid message length for message type '{tag}'"
        )));
    }
    Ok(())
}
