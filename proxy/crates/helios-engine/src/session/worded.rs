//! Texts that name prepared statements: before one runs, the server has what it names, and afterwards the client's names
//! are what its tags say. Called by the scans of both directions.

use std::sync::Arc;

use helios_wire::frame::{Header, HEADER_LEN};
use helios_wire::frontend;

use super::fifo::Expect;
use super::planning;
use super::prepared::parse_of;
use super::renaming::{Change, Renamed, Renaming};
use super::up::{Act, Pending};
use super::Session;
use crate::plans::Plan;
use crate::statements::{Named, Statement};

impl Session {
    /// Sends a simple Query that names prepared statements in the server's words, and before it what it needs. `None` if
    /// it is to be sent as it is.
    pub(super) fn rename_query(
        &mut self,
        plan: Option<Arc<Plan>>,
        message: &[u8],
        pending: &mut Pending<'_>,
    ) -> Option<Renamed> {
        let plan = plan.filter(|plan| plan.names && self.maps_names())?;
        let renaming = self.read_names(planning::text(message), Some(plan))?;
        pending.flush(self.link_mut());
        for statement in renaming.needs {
            if !self.has(&statement) {
                self.prepare_ahead(statement);
            }
        }
        for statement in renaming.renamed.made() {
            self.forget(statement);
        }
        let mut out = Vec::with_capacity(renaming.text.len() + 8);
        frontend::query(&mut out, &renaming.text);
        self.link_mut().server.conn.wbuf.extend(&out);
        Some(renaming.renamed)
    }

    /// Reads the names in a text, and notes what the statements that it executes may leave.
    fn read_names(&mut self, sql: &[u8], plan: Option<Arc<Plan>>) -> Option<Renaming> {
        let syntax = self.syntax();
        let mut renaming = self.rename(sql, syntax)?;
        renaming.renamed.plan = plan;
        for name in &renaming.runs {
            let plan = self.current_plan(name);
            self.act_on_plan(plan.as_ref());
        }
        Some(renaming)
    }

    /// Whether the server has a statement for certain.
    fn has(&mut self, statement: &Statement) -> bool {
        let state = &mut self.link_mut().server.state;
        state.statements.touch(statement.id).is_some() && !state.dirt.prepared
    }

    /// Has the server not have a statement, which the client is about to make.
    fn forget(&mut self, statement: &Statement) {
        let state = &mut self.link_mut().server.state;
        if state.statements.touch(statement.id).is_some() || state.dirt.prepared {
            self.close_on_server(statement);
        }
    }

    /// Prepares a statement before a simple Query. Its Sync keeps the Query from being skipped if that fails.
    fn prepare_ahead(&mut self, statement: Arc<Statement>) {
        let Some(parse) = parse_of(&statement) else {
            return;
        };
        let mut out = Vec::new();
        frontend::close_statement(&mut out, &statement.name);
        out.extend(parse);
        out.extend_from_slice(frontend::SYNC);
        let link = self.link_mut();
        link.prepared = true;
        link.server.conn.wbuf.extend(&out);
        link.server.state.statements.insert(Arc::clone(&statement));
        self.fifo.push_back(Expect::Preparation {
            statement,
            error: None,
        });
    }

    /// The reply to a statement prepared ahead is complete.
    pub(super) fn on_prepared_ahead(&mut self, statement: &Statement, error: Option<Box<[u8]>>) {
        let Some(error) = error else { return };
        if let Some(link) = &mut self.link {
            link.server.state.statements.remove(statement.id);
        }
        let mut renamed = self.fifo.iter_mut().filter_map(Expect::renamed_mut);
        if let Some(renamed) = renamed.next() {
            renamed.fail(statement, &error);
        }
    }

    /// Has a prepared text that names other prepared statements mean those of now.
    pub(super) fn reword(
        &mut self,
        name: &[u8],
        named: Option<&mut Named>,
        portal: Option<&[u8]>,
        pending: &mut Pending<'_>,
    ) {
        if let Some(portal) = portal {
            self.link_mut()
                .renamed
                .retain(|(known, _)| **known != *portal);
        }
        let (worded, plan) = match &named {
            Some(named) => {
                let worded = named.worded.as_ref().and_then(|worded| worded.rest());
                (worded.map(<[u8]>::to_vec), &named.plan)
            }
            None if name.is_empty() => (self.unnamed.worded.clone(), &self.unnamed.plan),
            None => return,
        };
        let Some(worded) = worded else { return };
        let plan = plan.clone();
        let sql = planning::until_zero(&worded);
        let Some(renaming) = self.read_names(sql, plan) else {
            return;
        };
        pending.flush(self.link_mut());
        for statement in renaming.needs {
            if !self.has(&statement) {
                self.prepare(statement, None);
            }
        }
        let rest = [&renaming.text, &worded[sql.len()..]].concat();
        if let Some(named) = named {
            let interner = &self.worker.shared.interner;
            named.statement = interner.intern(&rest, self.bucket.meaning());
            self.statements.reread(name, &named.statement);
        } else if rest != self.unnamed.rest {
            self.unnamed.tag = self.worker.next_tag();
            self.unnamed.rest = rest;
        }
        if let Some(portal) = portal {
            let link = self.link_mut();
            link.renamed.push((portal.into(), renaming.renamed));
        }
    }

    pub(super) fn on_execute(
        &mut self,
        header: Header,
        message: &[u8],
        pending: &mut Pending<'_>,
    ) -> Act {
        let is_plain = self.link_mut().renamed.is_empty();
        let is_read = !is_plain || self.traced.is_some() || self.replaying.is_some();
        if message.len() < header.total && is_read {
            return Act::Wait;
        }
        self.hold_execute(message);
        let span = self.trace_execute(message);
        let kept = self.keeping_of(message);
        if is_plain {
            let renamed = None;
            self.expect(Expect::Execute {
                renamed,
                span,
                kept,
            });
            return Act::Forward;
        }
        let portal = frontend::read_execute(&message[HEADER_LEN..]).map(|(portal, _)| portal);
        let mut all = self.link_mut().renamed.iter();
        let renamed = all.find(|(known, _)| portal == Some(known));
        let renamed = renamed.map(|(_, renamed)| Box::new(renamed.clone()));
        let Some(changing) = renamed
            .as_ref()
            .filter(|renamed| !renamed.changes.is_empty())
        else {
            self.expect(Expect::Execute {
                renamed,
                span,
                kept,
            });
            return Act::Forward;
        };
        pending.flush(self.link_mut());
        for statement in changing.made() {
            self.forget(statement);
        }
        let out = &mut self.link_mut().server.conn.wbuf;
        out.extend(message);
        // What the client sends next waits for the answer.
        out.extend(frontend::FLUSH);
        self.expect(Expect::Execute {
            renamed,
            span,
            kept,
        });
        Act::Drop
    }

    /// A statement of SQL has prepared something, or had the server forget something; whether its name is known.
    pub(super) fn on_change(&mut self) -> bool {
        let renamed = self.fifo.front_mut().and_then(Expect::renamed_mut);
        let Some(renamed) = renamed else { return false };
        let plan = renamed.plan.clone();
        let Some(change) = renamed.changes.pop_front() else {
            return false;
        };
        let Some(link) = &mut self.link else {
            return false;
        };
        match change {
            Change::Made(name, statement) => {
                link.prepared = true;
                link.server.state.statements.insert(Arc::clone(&statement));
                if statement.rest().is_none() {
                    link.unlearned.push(Arc::clone(&statement));
                }
                let seq = self.next_seq;
                self.next_seq += 1;
                let named = Named {
                    statement,
                    plan,
                    worded: None,
                    told: None,
                    seq,
                };
                self.statements.insert(&name, named);
            }
            Change::Gone(name, nothing) => {
                link.server.state.statements.remove(nothing.id);
                self.statements.remove(&name);
            }
            Change::Cleared => {}
            Change::Unread => return false,
        }
        true
    }

    /// The server has no prepared statements any more, and the client knows.
    pub(super) fn forget_statements(&mut self) {
        self.statements.clear();
        self.unnamed.tag = 0;
        let Some(link) = &mut self.link else { return };
        link.server.state.statements.clear();
        link.server.state.unnamed = 0;
        link.server.state.dirt.prepared = false;
        link.unlearned.clear();
    }

    /// Asks the server for the types of a statement that SQL has prepared, so that another server can be given it;
    /// whether that is under way now.
    pub(super) fn learn_types(&mut self) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        while let Some(statement) = link.unlearned.pop() {
            if statement.rest().is_some() {
                continue;
            }
            let mut out = Vec::new();
            frontend::describe_statement(&mut out, &statement.name);
            out.extend_from_slice(frontend::SYNC);
            link.server.conn.wbuf.extend(&out);
            self.fifo.push_back(Expect::Lesson(statement));
            return true;
        }
        false
    }

    /// The answer is complete. Without types no other server can be given the statement.
    pub(super) fn on_lesson(&mut self, statement: &Arc<Statement>) {
        if statement.rest().is_none() {
            self.statements.remove_all(statement);
        }
    }
}
