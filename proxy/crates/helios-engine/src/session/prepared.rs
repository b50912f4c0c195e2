//! Prepared statements: the client's names are mapped to ours in transaction and statement mode, and a statement
//! that the server at hand lacks is prepared there before it is used. Called by the scan of the client's bytes.

use std::sync::Arc;

use helios_wire::backend::Status;
use helios_wire::error_response::{self, Severity};
use helios_wire::frame::{Header, HEADER_LEN};
use helios_wire::frontend::{self, Target};
use helios_wire::sqlstate;

use super::fifo::Expect;
use super::renaming::too_many;
use super::up::{Act, Pending};
use super::Session;
use crate::config::PoolMode;
use crate::error::Refusal;
use crate::statements::{Named, Statement};

/// Longest portal and statement name together in a Bind.
const MAX_BIND_HEAD: usize = 64 * 1024;
/// Statement names of ours on servers begin with this.
pub(super) const OWN_PREFIX: &[u8] = b"helios_";
/// A statement name that no server has: ids begin at 1.
pub(super) const NOBODY: &[u8] = b"helios_0";

/// How the client's name for a statement is to be passed on.
enum Resolved {
    AsIs,
    Renamed(Arc<Statement>),
    Doomed,
}

impl Session {
    /// Whether names are mapped; in session mode the server is the client's own.
    pub(super) fn maps_names(&self) -> bool {
        self.link
            .as_ref()
            .is_some_and(|link| link.mode != PoolMode::Session && link.prepared_statements)
    }

    pub(super) fn on_parse(
        &mut self,
        header: Header,
        message: &[u8],
        pending: &mut Pending<'_>,
    ) -> Result<Act, Refusal> {
        if message.len() < header.total {
            return Ok(Act::Wait);
        }
        let Some((name, rest)) = frontend::read_parse(&message[HEADER_LEN..]) else {
            // PostgreSQL words the error, and it belongs to this place in the batch.
            self.expect(Expect::ParseVerbatim);
            return Ok(Act::Forward);
        };
        if name.is_empty() {
            self.unnamed.tag = self.worker.next_tag();
            self.unnamed.rest.clear();
            self.unnamed.rest.extend_from_slice(rest);
            self.unnamed.plan = self.plan.take();
            self.unnamed.syntax = Some(self.syntax());
            let names = self.unnamed.plan.as_ref().is_some_and(|plan| plan.names);
            self.unnamed.worded = (names && self.maps_names()).then(|| rest.to_vec());
            let tag = self.unnamed.tag;
            self.link_mut().server.state.unnamed = tag;
            self.expect(Expect::ParseUnnamed { tag, hidden: false });
            return Ok(Act::Forward);
        }
        if !self.maps_names() {
            self.link_mut().server.state.dirt.prepared = true;
            self.expect(Expect::ParseVerbatim);
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
            return self.doom(sqlstate::DUPLICATE_PREPARED_STATEMENT, &text);
        }
        if !self.statements.has_room(&self.limits, rest.len(), 0) {
            return self.doom_with(too_many());
        }
        let statement = self
            .worker
            .shared
            .interner
            .intern(rest, self.bucket.meaning());
        let seq = self.next_seq;
        self.next_seq += 1;
        let plan = self.plan.take();
        let names = plan.as_ref().is_some_and(|plan| plan.names);
        self.statements.insert(
            name,
            Named {
                statement: Arc::clone(&statement),
                worded: names.then(|| Arc::clone(&statement)),
                plan,
                seq,
            },
        );
        if !self.link_mut().server.state.statements.touch(statement.id) {
            self.prepare(statement, Some(seq));
        } else if self.status == Status::Failed {
            // In a failed transaction PostgreSQL refuses most statements, and knows which: let it judge.
            self.close_on_server(&statement);
            self.prepare(statement, Some(seq));
        } else {
            self.expect(Expect::FakeParse { seq });
        }
    }

    /// Sends a Parse under our own name; the client sees its reply if it asked for it.
    pub(super) fn prepare(&mut self, statement: Arc<Statement>, seq: Option<u64>) {
        if self.link_mut().server.state.dirt.prepared {
            // What the server has under our names is not known for sure any more.
            self.close_on_server(&statement);
        }
        let Some(parse) = parse_of(&statement) else {
            return;
        };
        let link = self.link_mut();
        link.prepared = true;
        link.server.conn.wbuf.extend(&parse);
        link.server.state.statements.insert(Arc::clone(&statement));
        self.expect(match seq {
            Some(seq) => Expect::Parse { statement, seq },
            None => Expect::HiddenParse { statement },
        });
        self.evict();
    }

    fn evict(&mut self) {
        let max = self.link_mut().server_prepared_bytes;
        while let Some(old) = self.link_mut().server.state.statements.evict(max) {
            self.close_on_server(&old);
        }
    }

    pub(super) fn close_on_server(&mut self, statement: &Statement) {
        let link = self.link_mut();
        link.server.state.statements.remove(statement.id);
        let mut out = Vec::new();
        frontend::close_statement(&mut out, &statement.name);
        link.server.conn.wbuf.extend(&out);
        self.expect(Expect::HiddenClose);
    }

    fn doom(&mut self, sqlstate: &str, message: &str) {
        self.doom_with(error_response::error(
            Severity::Error,
            sqlstate,
            message,
            None,
            None,
        ));
    }

    /// Sends a request that is sure to fail, so that the server is in the state that the client's error implies.
    fn doom_with(&mut self, error: Vec<u8>) {
        let mut out = Vec::new();
        frontend::describe_statement(&mut out, NOBODY);
        self.link_mut().server.conn.wbuf.extend(&out);
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
                Resolved::Renamed(self.ensure_prepared(name, statement))
            }
            None if name.starts_with(OWN_PREFIX) => {
                pending.flush(self.link_mut());
                let text = format!(
                    "prepared statement \"{}\" does not exist",
                    String::from_utf8_lossy(name)
                );
                self.doom(sqlstate::INVALID_SQL_STATEMENT_NAME, &text);
                Resolved::Doomed
            }
            // Made by SQL in a way that was not seen, or unknown: the server knows.
            None => Resolved::AsIs,
        }
    }

    /// Prepares a statement that the server lacks. It is read under the settings of now, as PostgreSQL does when a
    /// plan has become invalid, so it must not pass for one that was read under those of its Parse.
    fn ensure_prepared(&mut self, name: &[u8], statement: Arc<Statement>) -> Arc<Statement> {
        if self.link_mut().server.state.statements.touch(statement.id) {
            return statement;
        }
        if Arc::ptr_eq(&statement.meaning, self.bucket.meaning()) {
            self.prepare(Arc::clone(&statement), None);
            return statement;
        }
        let interner = &self.worker.shared.interner;
        let reread = interner.reread(&statement, self.bucket.meaning());
        self.statements.reread(name, &reread);
        if !self.link_mut().server.state.statements.touch(reread.id) {
            self.prepare(Arc::clone(&reread), None);
        }
        reread
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
        self.expect(Expect::ParseUnnamed { tag, hidden: true });
    }

    pub(super) fn on_bind(
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
            self.expect(Expect::Bind { statement: None });
            return Ok(Act::Forward);
        };
        let plan = self.current_plan(head.statement);
        self.act_on_plan(plan.as_ref());
        self.reword(head.statement, Some(head.portal), plan, pending);
        match self.resolve(head.statement, pending) {
            Resolved::AsIs => {
                self.expect(Expect::Bind { statement: None });
                Ok(Act::Forward)
            }
            Resolved::Doomed => Ok(Act::Drop),
            Resolved::Renamed(statement) => {
                self.expect(Expect::Bind {
                    statement: Some(Arc::clone(&statement)),
                });
                let rest = header.body_len() - head.len;
                let mut out = Vec::with_capacity(HEADER_LEN + head.len + statement.name.len());
                frontend::bind_head(&mut out, head.portal, &statement.name, rest);
                self.link_mut().server.conn.wbuf.extend(&out);
                Ok(Act::ForwardAfter(HEADER_LEN + head.len))
            }
        }
    }

    /// Describe and Close.
    pub(super) fn on_target(
        &mut self,
        header: Header,
        message: &[u8],
        pending: &mut Pending<'_>,
    ) -> Result<Act, Refusal> {
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
        self.reword(name, None, None, pending);
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

/// The Parse of a statement; `None` for one that SQL has prepared and whose types are not known yet, as long as its
/// transaction lasts: the server that has it says what is wrong.
pub(super) fn parse_of(statement: &Statement) -> Option<Vec<u8>> {
    let rest = statement.rest()?;
    let mut out = Vec::with_capacity(rest.len() + 32);
    frontend::parse(&mut out, &statement.name, rest);
    Some(out)
}
