//! Prepared statements: the client's names are mapped to ours in transaction and statement mode, and a statement
//! that the server at hand lacks is prepared there before it is used. Called by the scan of the client's bytes.

use std::sync::Arc;

use helios_wire::backend::Status;
use helios_wire::error_response::{self, Severity};
use helios_wire::frame::{self, Header, HEADER_LEN};
use helios_wire::frontend::{self, Target};
use helios_wire::sqlstate;

use super::down;
use super::fifo::{Described, Expect};
use super::renaming::too_many;
use super::up::{Act, Pending};
use super::Session;
use crate::config::PoolMode;
use crate::error::{Doubt, Refusal};
use crate::statements::{Columns, Named, Statement};
use crate::stats::Counter;
use crate::traffic::Counts;

/// Longest portal and statement name together in a Bind.
pub(super) const MAX_BIND_HEAD: usize = 64 * 1024;
/// Statement names of ours on servers begin with this.
pub(super) const OWN_PREFIX: &[u8] = b"helios_";
/// A statement name that no server has: ids begin at 1.
pub(super) const NOBODY: &[u8] = b"helios_0";

/// How the client's name for a statement is to be passed on.
enum Resolved {
    AsIs,
    /// Under our name, with what is known of its columns on this server.
    Renamed(Arc<Statement>, Option<Columns>),
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
        let plan = self.plan.take();
        self.tell_notices(plan.as_deref());
        self.plan = plan;
        let Some((name, rest)) = frontend::read_parse(&message[HEADER_LEN..]) else {
            // PostgreSQL words the error, and it belongs to this place in the batch.
            self.expect(Expect::ParseVerbatim);
            return Ok(Act::Forward);
        };
        if name.is_empty() {
            self.keep_unnamed(rest);
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

    /// The client's unnamed statement is this one now, as planned.
    pub(super) fn keep_unnamed(&mut self, rest: &[u8]) {
        self.note_unnamed_change();
        self.unnamed.tag = self.worker.next_tag();
        self.unnamed.rest.clear();
        self.unnamed.rest.extend_from_slice(rest);
        self.unnamed.plan = self.plan.take();
        self.unnamed.syntax = Some(self.syntax());
        let names = self.unnamed.plan.as_ref().is_some_and(|plan| plan.names);
        self.unnamed.worded = (names && self.maps_names()).then(|| rest.to_vec());
    }

    /// Whether the client may give a statement this name.
    pub(super) fn check_name(&self, name: &[u8], rest: &[u8]) -> Result<(), Refusal> {
        if self.statements.get(name).is_some() {
            let text = format!(
                "prepared statement \"{}\" already exists",
                String::from_utf8_lossy(name)
            );
            return Err(Refusal::new(sqlstate::DUPLICATE_PREPARED_STATEMENT, text));
        }
        match self.statements.has_room(&self.limits, rest.len(), 0) {
            true => Ok(()),
            false => Err(Refusal::Server(too_many().into())),
        }
    }

    /// A name of the client stands for this text now, as planned; the number of its Parse.
    pub(super) fn keep_named(&mut self, name: &[u8], rest: &[u8]) -> u64 {
        let interner = &self.worker.shared.interner;
        let statement = interner.intern(rest, self.bucket.meaning());
        let seq = self.next_seq;
        self.next_seq += 1;
        let plan = self.plan.take();
        let names = plan.as_ref().is_some_and(|plan| plan.names);
        let worded = names.then(|| Arc::clone(&statement));
        let named = Named {
            statement,
            worded,
            told: None,
            plan,
            seq,
        };
        self.statements.insert(name, named);
        seq
    }

    fn parse_named(&mut self, name: &[u8], rest: &[u8]) {
        if let Err(refusal) = self.check_name(name, rest) {
            return self.doom_with(refusal.message(Severity::Error));
        }
        self.count(|counts| &counts.client_parses);
        let seq = self.keep_named(name, rest);
        let Some(named) = self.statements.get(name) else {
            return;
        };
        let statement = Arc::clone(&named.statement);
        let known = self.link_mut().server.state.statements.touch(statement.id);
        if known.is_none() {
            self.prepare(statement, Some(seq));
        } else if self.status == Status::Failed {
            // In a failed transaction PostgreSQL refuses most statements, and knows which: let it judge.
            self.close_on_server(&statement);
            self.prepare(statement, Some(seq));
        } else {
            self.expect(Expect::FakeParse { seq });
        }
    }

    fn count(&mut self, counter: impl Fn(&Counts) -> &Counter) {
        counter(self.link_mut().shard.counts()).add(1);
    }

    /// Sends a Parse under our own name; the client sees its reply if it asked for it.
    pub(super) fn prepare(&mut self, statement: Arc<Statement>, seq: Option<u64>) {
        let Some(parse) = parse_of(&statement) else {
            return;
        };
        if self.link_mut().server.state.dirt.prepared {
            // What the server has under our names is not known for sure any more.
            self.close_on_server(&statement);
        }
        self.count(|counts| &counts.server_parses);
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

    /// Has the client's request fail with this error.
    pub(super) fn doom(&mut self, sqlstate: &str, message: &str) {
        self.doom_with(error_response::error(
            Severity::Error,
            sqlstate,
            message,
            None,
            None,
        ));
    }

    /// Sends a request that is sure to fail, so that the server is in the state that the client's error implies.
    pub(super) fn doom_with(&mut self, error: Vec<u8>) {
        let mut out = Vec::new();
        frontend::describe_statement(&mut out, NOBODY);
        self.link_mut().server.conn.wbuf.extend(&out);
        self.expect(Expect::Doomed(error.into()));
    }

    /// Makes sure that the server has the statement which the client means by this name, and says under which
    /// name; `None` if the client's own word is to be passed on.
    fn resolve(
        &mut self,
        name: &[u8],
        named: Option<&Named>,
        pending: &mut Pending<'_>,
    ) -> Resolved {
        if name.is_empty() {
            self.ensure_unnamed(pending);
            return Resolved::AsIs;
        }
        if !self.maps_names() {
            return Resolved::AsIs;
        }
        match named {
            Some(named) => {
                pending.flush(self.link_mut());
                let (statement, columns) = self.ensure_prepared(name, &named.statement);
                Resolved::Renamed(statement, columns)
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
    fn ensure_prepared(
        &mut self,
        name: &[u8],
        statement: &Arc<Statement>,
    ) -> (Arc<Statement>, Option<Columns>) {
        let known = self.link_mut().server.state.statements.touch(statement.id);
        if let Some(columns) = known {
            return (Arc::clone(statement), columns);
        }
        if Arc::ptr_eq(&statement.meaning, self.bucket.meaning()) {
            self.prepare(Arc::clone(statement), None);
            return (Arc::clone(statement), None);
        }
        let interner = &self.worker.shared.interner;
        let reread = interner.reread(statement, self.bucket.meaning());
        self.statements.reread(name, &reread);
        let known = self.link_mut().server.state.statements.touch(reread.id);
        if known.is_none() {
            self.prepare(Arc::clone(&reread), None);
        }
        (reread, known.flatten())
    }

    /// The server's unnamed statement may be another client's.
    fn ensure_unnamed(&mut self, pending: &mut Pending<'_>) {
        self.note_unnamed_use();
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
        if self.awaits_held_bind(header, message) {
            return Ok(Act::Wait);
        }
        let mut named = self.meant(head.statement);
        let current;
        let plan = match &named {
            Some(named) => named.plan.as_ref(),
            None => {
                current = self.current_plan(head.statement);
                current.as_ref()
            }
        };
        if self.awaits_bind(plan.map(Arc::as_ref), header, message) {
            return Ok(Act::Wait);
        }
        let plan = plan.cloned();
        self.act_on_plan(plan.as_ref());
        self.limit_time(plan.as_deref());
        self.hold_bind(header, message, &head);
        self.note_bound(head.statement);
        self.trace_bind(head.portal, head.statement);
        self.reword(head.statement, named.as_mut(), Some(head.portal), pending);
        let is_described = pending.is_described(header);
        let may_heal = is_described && self.status == Status::Idle && !self.unsynced;
        match self.resolve(head.statement, named.as_ref(), pending) {
            Resolved::AsIs => {
                let rest = std::mem::take(&mut self.unnamed.rest);
                let sent = self.keep_bind(plan.as_deref(), &rest, message, &head, pending);
                self.unnamed.rest = rest;
                if let Some(act) = sent {
                    return Ok(act);
                }
                self.expect(Expect::Bind { statement: None });
                Ok(Act::Forward)
            }
            Resolved::Doomed => Ok(Act::Drop),
            Resolved::Renamed(statement, columns) => {
                let named = named.filter(|named| !is_settled(named, columns));
                if let (Some(named), false) = (&named, may_heal) {
                    if let Some(act) = self.compare(named, &statement, columns) {
                        return Ok(act);
                    }
                }
                let rest = statement.rest().unwrap_or_default();
                if let Some(act) = self.keep_bind(plan.as_deref(), rest, message, &head, pending) {
                    return Ok(act);
                }
                let named = named.filter(|_| is_described || pending.is_last(header));
                self.link_mut().bound = named.map(|named| {
                    let described = Described::new(head.statement, named.seq, &statement);
                    (head.portal.into(), described)
                });
                self.count(|counts| &counts.binds);
                self.expect(Expect::Bind {
                    statement: Some(Arc::clone(&statement)),
                });
                let rest = header.body_len() - head.len;
                let wbuf = &mut self.link_mut().server.conn.wbuf;
                frontend::bind_head(
                    |piece| wbuf.extend(piece),
                    head.portal,
                    &statement.name,
                    rest,
                );
                Ok(Act::ForwardAfter(HEADER_LEN + head.len))
            }
        }
    }

    /// What a name of the client stands for, with the plan as it holds now.
    fn meant(&mut self, name: &[u8]) -> Option<Named> {
        if name.is_empty() {
            return None;
        }
        self.settle_class();
        let mut named = self.statements.get(name)?.clone();
        if named.plan.as_ref().is_some_and(|plan| !self.holds(plan)) {
            named.plan = self.current_plan(name);
        }
        Some(named)
    }

    /// Has the client run nothing that has other columns than it was told. A copy that was prepared before those
    /// were told is made anew, and a new one is asked for them; `None` if there is nothing to be said against it.
    fn compare(
        &mut self,
        named: &Named,
        statement: &Arc<Statement>,
        columns: Option<Columns>,
    ) -> Option<Act> {
        named.told?;
        if self.status == Status::Failed || statement.rest().is_none() {
            return None;
        }
        if columns.is_some() {
            if self.link_mut().server.state.statements.is_new(statement.id) {
                self.doom_with(changed_result_type());
                return Some(Act::Drop);
            }
            self.close_on_server(statement);
            self.prepare(Arc::clone(statement), None);
        }
        let mut out = Vec::new();
        frontend::describe_statement(&mut out, &statement.name);
        out.extend_from_slice(frontend::FLUSH);
        self.link_mut().server.conn.wbuf.extend(&out);
        self.expect(Expect::Comparison(Arc::clone(statement)));
        Some(Act::Ask)
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
            Expect::Describe { of: None }
        };
        let name = match frontend::read_target(&message[HEADER_LEN..]) {
            Some((Target::Statement, name)) => name,
            Some((Target::Portal, portal)) if !is_close => {
                let bound = self.link_mut().bound.take();
                let bound = bound.filter(|(known, _)| **known == *portal);
                let of = bound.map(|(_, described)| Box::new(described));
                self.expect(Expect::Describe { of });
                return Ok(Act::Forward);
            }
            Some((Target::Portal, _)) | None => {
                self.expect(plain);
                return Ok(Act::Forward);
            }
        };
        if is_close {
            return Ok(self.on_close_statement(name, pending));
        }
        let mut named = self.meant(name);
        self.reword(name, named.as_mut(), None, pending);
        match self.resolve(name, named.as_ref(), pending) {
            Resolved::AsIs => {
                self.expect(plain);
                Ok(Act::Forward)
            }
            Resolved::Doomed => Ok(Act::Drop),
            Resolved::Renamed(statement, columns) => {
                let mut out = Vec::with_capacity(HEADER_LEN + 2 + statement.name.len());
                frontend::describe_statement(&mut out, &statement.name);
                self.link_mut().server.conn.wbuf.extend(&out);
                let named = named.filter(|named| !is_settled(named, columns));
                let of = named.map(|named| Box::new(Described::new(name, named.seq, &statement)));
                self.expect(Expect::Describe { of });
                Ok(Act::Drop)
            }
        }
    }

    /// The server has told the columns of something.
    pub(super) fn on_description(
        &mut self,
        header: Header,
        body: &[u8],
    ) -> Result<down::Act, Doubt> {
        let columns = || match header.tag {
            b'n' => Columns::NONE,
            _ if body.len() < header.body_len() => Columns::UNREAD,
            _ => Columns::of(body),
        };
        match self.fifo.front() {
            Some(Expect::Describe { .. } | Expect::Comparison(_)) => {}
            Some(Expect::Query { .. }) if header.tag == b'T' => return Ok(down::Act::Forward),
            _ => return Err(self.misplaced(header.tag)),
        }
        let Some(link) = &mut self.link else {
            return Ok(down::Act::Forward);
        };
        let known = &mut link.server.state.statements;
        match self.fifo.pop_front() {
            Some(Expect::Comparison(statement)) => {
                known.describe(statement.id, columns());
                return Ok(down::Act::Drop);
            }
            Some(Expect::Describe { of: Some(of) }) => {
                let columns = columns();
                known.describe(of.statement, columns);
                self.statements.tell(&of.name, of.seq, columns);
            }
            _ => {}
        }
        Ok(down::Act::Forward)
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

/// Whether client and server have said the same of a statement's columns. Those of a text that names others may change.
fn is_settled(named: &Named, columns: Option<Columns>) -> bool {
    (columns.is_some() && named.told == columns) || named.worded.is_some()
}

/// What PostgreSQL says of a statement whose columns have changed since it was prepared.
fn changed_result_type() -> Vec<u8> {
    let fields: [(u8, &str); 6] = [
        (b'S', "ERROR"),
        (b'V', "ERROR"),
        (b'C', sqlstate::FEATURE_NOT_SUPPORTED),
        (b'M', "cached plan must not change result type"),
        (b'F', "plancache.c"),
        (b'R', "RevalidateCachedQuery"),
    ];
    let mut out = Vec::new();
    frame::write(&mut out, b'E', |body| {
        for (code, text) in fields {
            body.push(code);
            frame::write_cstr(body, text.as_bytes());
        }
        body.push(0);
    });
    out
}

/// The Parse of a statement; `None` for one that SQL has prepared and whose types are not known yet, as long as its
/// transaction lasts: the server that has it says what is wrong.
pub(super) fn parse_of(statement: &Statement) -> Option<Vec<u8>> {
    let rest = statement.rest()?;
    let mut out = Vec::with_capacity(rest.len() + 32);
    frontend::parse(&mut out, &statement.name, rest);
    Some(out)
}
