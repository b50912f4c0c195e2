//! The number of a transaction that writes, asked for before its commit can be sent: with it a server can tell what has
//! become of the commit if the answer is lost. The question and its answer are the proxy's own.

use std::sync::Arc;

use helios_sql::{ControlKind, Syntax};
use helios_wire::backend::{self, Status};
use helios_wire::frame::{self, Header, HEADER_LEN};
use helios_wire::frontend;

use super::down::Act;
use super::fifo::Expect;
use super::planning::text;
use super::prepared::parse_of;
use super::replaying::Replaying;
use super::up::Pending;
use super::Session;
use crate::journal::{of_prepared, Ending, Xact, PROBE};
use crate::plans::Plan;
use crate::statements::Statement;

/// Name of our portal. The client's unnamed one may live as long as its block.
const PORTAL: &[u8] = b"helios_number";
/// A Bind's formats, parameters and formats of results: none, so all is text.
const NOTHING: &[u8] = &[0; 6];
/// A Parse's types of parameters: none given.
const NO_TYPES: &[u8] = &[0; 2];

/// A simple Query that is run as unnamed statement, so that the question comes in front of its commit.
#[derive(Debug)]
pub(super) struct Probed {
    /// What is prepared behind it for the question.
    parse: Option<Arc<Statement>>,
    /// Its CommandComplete, which the client gets with ReadyForQuery: the commit may still fail.
    held: Vec<u8>,
    /// The question has been answered.
    is_told: bool,
}

impl Probed {
    /// The client's answer up to here, behind what it has been told.
    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Whether the answer is past that of the client's own statement.
    pub(super) fn is_asking(&self) -> bool {
        !self.held.is_empty()
    }
}

impl Session {
    /// Whether numbers are asked for on the server at hand.
    fn is_probed(&self) -> bool {
        self.replaying.as_ref().is_some_and(|it| it.is_lasting)
            && self.maps_names()
            && self.link.as_ref().is_some_and(|link| link.reader.is_none())
    }

    fn wants_number(&self, is_in_block: bool) -> bool {
        let replaying = self.replaying.as_ref();
        replaying.is_some_and(|it| it.journal.wants_number(is_in_block)) && self.is_probed()
    }

    /// Runs a simple Query with the question behind it where it would commit by itself.
    pub(super) fn probe_query(
        &mut self,
        sql: &[u8],
        pending: &mut Pending<'_>,
    ) -> Option<Box<Probed>> {
        let is_alone = self.status == Status::Idle && self.fifo.is_empty();
        if !is_alone || !self.wants_number(false) {
            return None;
        }
        pending.flush(self.link_mut());
        let mut out = Vec::with_capacity(sql.len() + 256);
        frontend::parse(&mut out, b"", &[sql, b"\0", NO_TYPES].concat());
        bind(&mut out, b"", b"");
        frame::write(&mut out, b'D', |body| body.extend_from_slice(b"P\0"));
        frontend::execute(&mut out, b"");
        let parse = self.question(&mut out);
        out.extend_from_slice(frontend::FLUSH);
        out.extend_from_slice(frontend::SYNC);
        self.link_mut().server.conn.wbuf.extend(&out);
        Some(Box::new(Probed {
            parse,
            held: Vec::new(),
            is_told: false,
        }))
    }

    /// Asks in front of the Sync of a batch that writes.
    pub(super) fn probe_batch(&mut self, pending: &mut Pending<'_>) {
        if self.replaying.is_none() || self.skipping || self.status == Status::Failed {
            return;
        }
        let is_in_block = self.status == Status::Transaction;
        if !self.wants_number(is_in_block) {
            return;
        }
        pending.flush(self.link_mut());
        let mut out = Vec::new();
        let parse = self.question(&mut out);
        if !is_in_block {
            // In a block rows must not come without their end: what has not ended is not held together with other locks.
            out.extend_from_slice(frontend::FLUSH);
        }
        self.link_mut().server.conn.wbuf.extend(&out);
        if let Some(statement) = parse {
            self.fifo.push_back(Expect::HiddenParse { statement });
        }
        self.fifo.push_back(Expect::Number);
    }

    /// Whether to ask behind the message that has just been sent, a simple Query in a block.
    pub(super) fn is_probe_due(&self) -> bool {
        self.replaying.is_some()
            && !self.unsynced
            && self.status == Status::Transaction
            && self.wants_number(true)
    }

    /// Asks on its own.
    pub(super) fn probe(&mut self) {
        let mut out = Vec::new();
        let parse = self.question(&mut out);
        out.extend_from_slice(frontend::SYNC);
        self.link_mut().server.conn.wbuf.extend(&out);
        self.fifo.push_back(Expect::Probe { parse });
    }

    /// Whether the message at hand is a commit that waits until the number is known.
    pub(super) fn awaits_number(&mut self, header: Header, message: &[u8]) -> bool {
        let Some(replaying) = &self.replaying else {
            return false;
        };
        let (is_asked, lacks) = (
            replaying.journal.is_number_asked(),
            replaying.journal.lacks_number(),
        );
        if !is_asked && !lacks {
            return false;
        }
        let plan = match header.tag {
            b'Q' | b'P' => self.plan.clone(),
            b'B' => self.bound_plan(message),
            _ => None,
        };
        if !plan.as_deref().is_some_and(Plan::may_commit) {
            return false;
        }
        let may_ask = self.status == Status::Transaction && !self.unsynced && self.is_probed();
        is_asked || may_ask
    }

    /// How the message at hand is to end a prepared transaction, and that one's name: with its number a server can tell
    /// what has become of it. `None`: it does not, or that is known.
    pub(super) fn question_of_prepared(
        &mut self,
        header: Header,
        message: &[u8],
    ) -> Option<(Ending, String)> {
        let is_resting = self.status == Status::Idle && self.fifo.is_empty() && !self.unsynced;
        let wants = |it: &Replaying| it.journal.wants_prepared();
        if !is_resting || !self.replaying.as_deref().is_some_and(wants) || !self.is_probed() {
            return None;
        }
        let plan = match header.tag {
            b'Q' | b'P' => self.plan.clone(),
            b'B' => self.bound_plan(message),
            _ => None,
        };
        plan.filter(|plan| plan.ends_prepared())?;
        let syntax = self.syntax();
        let sql = match frontend::read_bind_head(message.get(HEADER_LEN..)?) {
            Some(head) if header.tag == b'B' => self.prepared(head.statement)?.sql?,
            _ => text(message),
        };
        ending(sql, syntax)
    }

    pub(super) fn ask_for_prepared(&mut self, (ending, name): &(Ending, String)) {
        let question = of_prepared(name);
        self.send_own(question.as_bytes(), Expect::Prepared(*ending, None));
    }

    /// It is this one, or none that could be asked for.
    pub(super) fn learn_prepared(&mut self, xact: Option<Xact>) {
        if let (Some(replaying), Some(link)) = (&mut self.replaying, &self.link) {
            replaying.journal.learn_prepared(xact);
            replaying.note_home(&link.shard.shared.key.node);
        }
    }

    /// Asks for it if that has not been done.
    pub(super) fn ask_if_needed(&mut self) {
        let journal = self.replaying.as_ref().map(|it| &it.journal);
        if journal.is_some_and(|journal| !journal.is_number_asked()) {
            self.probe();
        }
    }

    /// Appends the question; what it prepares, if the server at hand has not got it.
    fn question(&mut self, out: &mut Vec<u8>) -> Option<Arc<Statement>> {
        let statement = self.probing_statement();
        let known = self.link_mut().server.state.statements.touch(statement.id);
        let parse = known.is_none().then(|| Arc::clone(&statement));
        if parse.is_some() {
            out.extend(parse_of(&statement).unwrap_or_default());
            let link = self.link_mut();
            link.prepared = true;
            link.server.state.statements.insert(Arc::clone(&statement));
        }
        bind(out, PORTAL, &statement.name);
        frontend::execute(out, PORTAL);
        frame::write(out, b'C', |body| {
            body.push(b'P');
            frame::write_cstr(body, PORTAL);
        });
        if let Some(replaying) = &mut self.replaying {
            replaying.journal.ask_number();
        }
        parse
    }

    /// It means the same under all settings, so that one is kept.
    fn probing_statement(&mut self) -> Arc<Statement> {
        let (shared, meaning) = (&self.worker.shared, self.bucket.meaning());
        let make = || {
            let rest = [PROBE.as_bytes(), b"\0", NO_TYPES].concat();
            shared.interner.intern(&rest, meaning)
        };
        match &mut self.replaying {
            Some(replaying) => Arc::clone(replaying.probing.get_or_insert_with(make)),
            None => make(),
        }
    }

    /// The number, or `None` for an error.
    pub(super) fn learn_number(&mut self, row: Option<&[u8]>) {
        let Some(replaying) = &mut self.replaying else {
            return;
        };
        let row = row.and_then(backend::read_data_row);
        let value = row.and_then(|columns| columns.first().copied().flatten());
        let told = value.and_then(Xact::read);
        replaying.journal.learn_number(told);
        if let (Some(Some(_)), Some(link)) = (told, &self.link) {
            replaying.note_home(&link.shard.shared.key.node);
        }
    }

    /// A question in front of ReadyForQuery failed, and with it what was to be prepared.
    pub(super) fn on_probe_error(&mut self, parse: Option<Arc<Statement>>) {
        if let (Some(statement), Some(link)) = (parse, &mut self.link) {
            link.server.state.statements.remove(statement.id);
        }
        self.learn_number(None);
    }

    /// Part of the answer to a question of ours within a request of the client's; `None`: it is the client's.
    pub(super) fn on_probed(&mut self, tag: u8, message: &[u8]) -> Option<Act> {
        let body = message.get(HEADER_LEN..).unwrap_or_default();
        if let Some(Expect::Number) = self.fifo.front() {
            match tag {
                b'D' => self.learn_number(Some(body)),
                b'2' | b'C' => {}
                b'3' => drop(self.fifo.pop_front()),
                _ => return None,
            }
            return Some(Act::Drop);
        }
        let Some(Expect::Query {
            probed: Some(probed),
            ..
        }) = self.fifo.front_mut()
        else {
            return None;
        };
        let is_asking = probed.is_asking();
        match tag {
            b'1' if is_asking => probed.parse = None,
            b'1' | b'2' | b'3' | b'n' => {}
            b'C' if is_asking => {}
            b'C' => {
                probed.held = message.to_vec();
                self.on_command_complete(body);
            }
            b'D' if is_asking => {
                probed.is_told = true;
                self.learn_number(Some(body));
            }
            b'E' => {
                probed.held.clear();
                let parse = probed.parse.take();
                if !probed.is_told {
                    self.on_probe_error(parse);
                }
                return None;
            }
            _ => return None,
        }
        Some(Act::Drop)
    }

    /// What is held back of such an answer, to come in front of its ReadyForQuery.
    pub(super) fn take_held(&mut self) -> Option<Vec<u8>> {
        let Some(Expect::Query {
            probed: Some(probed),
            ..
        }) = self.fifo.front_mut()
        else {
            return None;
        };
        Some(std::mem::take(&mut probed.held))
    }
}

/// The answer to the question for a prepared transaction.
pub(super) fn read_prepared(row: &[u8], ending: Ending) -> Option<Xact> {
    let value = *backend::read_data_row(row)?.first()?;
    Some(Xact::read(value?)??.prepared(ending))
}

/// How a text ends a prepared transaction, if it does nothing else, and that one's name as it has it.
fn ending(sql: &[u8], syntax: Syntax) -> Option<(Ending, String)> {
    let mut statements = helios_sql::statements(sql, syntax);
    let statement = statements.next()?;
    let control = statement.control?;
    let ending = match control.kind {
        ControlKind::CommitPrepared => Ending::Commit,
        ControlKind::RollbackPrepared => Ending::Rollback,
        _ => return None,
    };
    // A literal may go on behind its first token.
    let name = control
        .operand
        .filter(|name| name.end == statement.span.end)?;
    let name = String::from_utf8(name.of(sql).to_vec()).ok()?;
    statements.next().is_none().then_some((ending, name))
}

fn bind(out: &mut Vec<u8>, portal: &[u8], statement: &[u8]) {
    let put = |piece: &[u8]| out.extend_from_slice(piece);
    frontend::bind_head(put, portal, statement, NOTHING.len());
    out.extend_from_slice(NOTHING);
}
