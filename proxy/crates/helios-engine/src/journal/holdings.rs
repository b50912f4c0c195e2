//! What a session has on its server alone: temporary tables, advisory locks, cursors WITH HOLD. Kept are the requests that
//! made and changed them, to be sent again to another server, and what a server says of what is there, to see that it is
//! the same then. Pure; `session::holding` records, `session::rebuilding` sends.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use helios_wire::{backend, frontend};

use super::answer::Digest;
use super::{Bounds, Ledger, Reason};
use crate::plans::Holding;
use crate::settings::{literal, Bucket};

/// Most temporary relations of a session whose rows are looked at.
const MAX_RELATIONS: usize = 100;

/// Bytes of a Bind that may take a lock, or move a cursor.
const MAX_BIND: usize = 64 * 1024;

/// What a server says of what a session holds there: what it is, its name, and more of it.
pub(crate) type Held = BTreeSet<[Box<[u8]>; 3]>;

/// What the configuration says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) holdable_cursors: bool,
    pub(crate) max_cursors: usize,
    pub(crate) temp_table_max_bytes: usize,
}

/// Which of the things that are kept a request changes.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    locks: bool,
    tables: bool,
    cursors: bool,
}

impl Parts {
    fn of(holding: &Holding) -> Parts {
        Parts {
            locks: holding.takes_locks || holding.frees_locks,
            cursors: holding.moves_cursor,
            tables: !holding.makes.is_empty() || !holding.writes.is_empty(),
        }
    }

    fn add(&mut self, other: Parts) {
        self.locks |= other.locks;
        self.tables |= other.tables;
        self.cursors |= other.cursors;
    }

    /// Why a session is lost that cannot have them again.
    fn reason(self) -> Reason {
        match self {
            Parts { locks: true, .. } => Reason::Advisory,
            Parts { cursors: true, .. } => Reason::Cursor,
            _ => Reason::TemporaryTable,
        }
    }
}

/// A request that is sent again, complete in itself.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) request: Vec<u8>,
    /// The client's settings when it was sent.
    pub(crate) bucket: Arc<Bucket>,
    /// The rows that it gave, if they are known apart from those of others.
    pub(crate) rows: Option<(u64, u64)>,
    parts: Parts,
}

impl Step {
    pub(crate) fn reason(&self) -> Reason {
        self.parts.reason()
    }

    /// Whether its rows are all that tells where a cursor is.
    pub(crate) fn moves_cursor(&self) -> bool {
        self.parts.cursors
    }

    /// Whether a session has the same as before if this gives the same answer again.
    fn is_proof(&self) -> bool {
        self.rows.is_some() && !self.parts.tables
    }
}

/// The request under way.
#[derive(Debug, Default)]
struct Draft {
    request: Vec<u8>,
    /// Portals of it, with what makes them.
    bound: Vec<(Box<[u8]>, Vec<u8>)>,
    is_batch: bool,
    bucket: Option<Arc<Bucket>>,
    parts: Parts,
    /// The statement at hand belongs to it.
    is_wanted: bool,
    /// One did not.
    has_others: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Holdings {
    rules: Rules,
    bounds: Bounds,
    ledger: Arc<Ledger>,
    draft: Draft,
    /// As requests of the journal that have not been answered.
    pending: VecDeque<Option<Step>>,
    /// Of the transaction that is open.
    open: Vec<Step>,
    steps: Vec<Step>,
    /// So many of them were done when a server has last said what the session holds.
    told: usize,
    charged: usize,
    /// Names of temporary relations, and of those that the open transaction has made.
    own: BTreeSet<String>,
    made: BTreeSet<String>,
    /// A cursor WITH HOLD has been declared.
    holds_cursor: bool,
    obstacle: Option<Reason>,
    was_open: bool,
    /// What is there may have changed since a server has said it, in the open transaction and before.
    is_changing: bool,
    is_changed: bool,
    /// The same of what is held, by statements that are not kept.
    is_stirring: bool,
    is_stirred: bool,
    held: Held,
    /// What the temporary relations hold; absent for what is not known.
    contents: Option<Vec<u8>>,
}

impl Drop for Holdings {
    fn drop(&mut self) {
        self.ledger.discharge(self.charged);
    }
}

impl Holdings {
    pub(super) fn new(rules: Rules, bounds: Bounds, ledger: &Arc<Ledger>) -> Holdings {
        Holdings {
            rules,
            bounds,
            ledger: Arc::clone(ledger),
            draft: Draft::default(),
            pending: VecDeque::new(),
            open: Vec::new(),
            steps: Vec::new(),
            told: 0,
            charged: 0,
            own: BTreeSet::new(),
            made: BTreeSet::new(),
            holds_cursor: false,
            obstacle: None,
            was_open: false,
            is_changing: false,
            is_changed: false,
            is_stirring: false,
            is_stirred: false,
            held: Held::new(),
            contents: None,
        }
    }

    /// A statement is about to run; whether all that it does is to change what is kept. `may_change`: what the session's
    /// tables hold; `stirs`: what it holds, of which a server is asked then.
    pub(crate) fn judge(
        &mut self,
        holding: Option<&Holding>,
        may_change: bool,
        stirs: bool,
    ) -> bool {
        self.is_changing |= may_change && !self.own.is_empty();
        let is_kept = holding.is_some_and(|holding| self.takes(holding));
        self.is_stirring |= stirs && !is_kept;
        self.draft.is_wanted = is_kept;
        self.draft.has_others |= !is_kept;
        is_kept
    }

    fn takes(&mut self, holding: &Holding) -> bool {
        if self.obstacle.is_some() {
            return false;
        }
        let is_own = |name: &String| self.own.contains(name) || self.made.contains(name);
        let makes_tables = !holding.makes.is_empty();
        let writes_own = holding.writes.iter().any(is_own);
        let writes_other = !holding.writes.iter().all(is_own);
        let holds = self.holds_cursor || holding.holds_cursor;
        let moves_held = self.rules.holdable_cursors && holding.moves_cursor && holds;
        let frees = holding.frees_locks && !(self.steps.is_empty() && self.open.is_empty());
        if !(makes_tables || writes_own || moves_held || holding.takes_locks || frees) {
            return false;
        }
        if holding.does_more || writes_other {
            self.spoil(Parts::of(holding).reason());
            return false;
        }
        self.holds_cursor |= holding.holds_cursor;
        self.made.extend(holding.makes.iter().cloned());
        if holding.drops {
            for name in &holding.writes {
                self.own.remove(name);
                self.made.remove(name);
            }
        }
        // To read a cursor changes nothing that a server tells of it.
        self.is_changing |= !holding.moves_cursor || holding.holds_cursor;
        self.draft.parts.add(Parts::of(holding));
        true
    }

    /// Bytes of the longest Bind that may have to be recorded.
    pub(crate) fn longest_bind(&self) -> usize {
        match self.own.is_empty() && self.made.is_empty() {
            true => MAX_BIND,
            false => self.bounds.bytes,
        }
    }

    /// Whether the statement at hand is to be recorded.
    pub(crate) fn is_wanted(&self) -> bool {
        self.draft.is_wanted
    }

    /// A simple Query, whole.
    pub(crate) fn query(&mut self, message: &[u8], bucket: &Arc<Bucket>) {
        self.draft.request.extend_from_slice(message);
        self.draft.bucket = Some(Arc::clone(bucket));
    }

    /// A Bind: what follows the name of its statement in a Parse, and what follows the names in the Bind.
    pub(crate) fn bind(&mut self, portal: &[u8], parse: &[u8], bind: &[u8], bucket: &Arc<Bucket>) {
        let mut out = Vec::new();
        frontend::parse(&mut out, b"", parse);
        frontend::bind_head(|bytes| out.extend_from_slice(bytes), b"", b"", bind.len());
        out.extend_from_slice(bind);
        frontend::execute(&mut out, b"");
        self.draft.bound.retain(|(known, _)| **known != *portal);
        self.draft.bound.push((portal.into(), out));
        self.draft.bucket = Some(Arc::clone(bucket));
    }

    /// An Execute, with its limit of rows, 0 for none.
    pub(crate) fn execute(&mut self, portal: &[u8], limit: usize) {
        let draft = &mut self.draft;
        let of = draft.bound.iter().position(|(known, _)| **known == *portal);
        let Some(of) = of else {
            return;
        };
        let (_, request) = draft.bound.swap_remove(of);
        draft.request.extend_from_slice(&request);
        draft.is_batch = true;
        if limit > 0 {
            let reason = draft.parts.reason();
            self.spoil(reason);
        }
    }

    /// What is there cannot be had again on another server.
    pub(crate) fn spoil(&mut self, reason: Reason) {
        self.obstacle.get_or_insert(reason);
        self.open.clear();
        self.drop_steps();
    }

    fn drop_steps(&mut self) {
        self.steps.clear();
        self.told = 0;
        self.ledger.discharge(std::mem::take(&mut self.charged));
    }

    /// The request under way is whole; nothing of it is new if it is one of a transaction that is run again.
    pub(super) fn end_request(&mut self, is_again: bool) {
        let mut draft = std::mem::take(&mut self.draft);
        if is_again {
            return;
        }
        let is_empty = draft.request.is_empty();
        let step = draft.bucket.take().filter(|_| !is_empty);
        self.pending.push_back(step.map(|bucket| {
            if draft.is_batch {
                draft.request.extend_from_slice(frontend::SYNC);
            }
            Step {
                request: draft.request,
                bucket,
                rows: (!draft.has_others).then_some((0, 0)),
                parts: draft.parts,
            }
        }));
    }

    /// Nothing is under way any more.
    pub(super) fn forget_pending(&mut self) {
        self.pending.clear();
        self.draft = Draft::default();
    }

    /// The transaction is lost with its server, and is not run again.
    pub(super) fn forget_open(&mut self) {
        self.open.clear();
        self.made.clear();
        self.is_changing = false;
        self.is_stirring = false;
        self.was_open = false;
    }

    /// The oldest request has been answered. `is_done`: without an error; `commits`: it may have been a COMMIT.
    pub(super) fn answered(&mut self, digest: Digest, is_done: bool, commits: bool, is_idle: bool) {
        let step = self.pending.pop_front().flatten();
        // A lock of the session stays also where its statement fails later.
        self.is_stirring |= step.is_some() && !is_done;
        let step = step.filter(|_| is_done);
        if let Some(mut step) = step.filter(|_| self.obstacle.is_none()) {
            match &mut step.rows {
                Some(rows) => *rows = digest.rows(),
                None if step.parts.cursors => self.spoil(Reason::Cursor),
                None => {}
            }
            self.open.push(step);
        }
        let is_committed = is_done && (commits || !self.was_open);
        self.was_open = !is_idle;
        if is_idle {
            self.end(is_committed);
        }
    }

    fn end(&mut self, is_committed: bool) {
        self.is_changed |= std::mem::take(&mut self.is_changing);
        self.is_stirred |= std::mem::take(&mut self.is_stirring);
        self.made.clear();
        if self.obstacle.is_some() {
            return self.open.clear();
        }
        for step in std::mem::take(&mut self.open) {
            // Locks of the session outlive what is rolled back.
            if is_committed || step.parts.locks {
                self.charged += step.request.len();
                self.ledger.charge(step.request.len());
                self.steps.push(step);
            }
        }
        let is_full = self.steps.len() > self.bounds.entries
            || self.charged > self.bounds.bytes
            || (self.charged > 0 && self.ledger.bytes() > self.bounds.total_bytes);
        if is_full {
            self.spoil(Reason::Overflow);
        }
    }

    /// Part of the transaction has been rolled back, of which it is not known what it had made.
    pub(crate) fn roll_back_part(&mut self) {
        if !self.was_open {
            return;
        }
        self.made.clear();
        if let Some(step) = self.open.first() {
            let reason = step.reason();
            self.spoil(reason);
        }
    }

    /// The server has said what the session holds.
    pub(crate) fn on_held(&mut self, held: Held) {
        if held.is_empty() {
            return self.clear();
        }
        let of = |what: &'static [u8]| held.iter().filter(move |row| *row[0] == *what);
        self.own.clear();
        for [_, name, kind] in of(b"temporary_object") {
            let name = std::str::from_utf8(name).ok();
            let is_plain = matches!(&**kind, b"r" | b"p" | b"S");
            match name.filter(|_| is_plain) {
                Some(name) => drop(self.own.insert(name.to_owned())),
                None => self.obstacle = self.obstacle.or(Some(Reason::TemporaryTable)),
            }
        }
        let cursors = of(b"holdable_cursor").count();
        self.holds_cursor = cursors > 0;
        if cursors > self.rules.max_cursors && self.rules.holdable_cursors {
            self.spoil(Reason::Cursor);
        }
        if self.own.len() > MAX_RELATIONS {
            self.spoil(Reason::TemporaryTable);
        }
        self.told = self.steps.len();
        self.is_stirred = false;
        self.is_changed &= !self.own.is_empty();
        self.contents.take_if(|_| self.own.is_empty());
        self.held = held;
        if !self.rules.holdable_cursors {
            self.held.retain(|row| *row[0] != *b"holdable_cursor");
        }
    }

    /// What to ask a server between transactions to know what the temporary relations hold; `None` if that is known, or
    /// of no use.
    pub(crate) fn question(&self) -> Option<String> {
        let may_differ = self.is_changed || self.is_changing;
        let is_wanted = may_differ && self.obstacle.is_none() && !self.own.is_empty();
        is_wanted.then(|| self.contents_sql())
    }

    /// One row: of each relation a count and a sum of its rows, or of a sequence what sets it so.
    pub(crate) fn contents_sql(&self) -> String {
        let mut columns = Vec::new();
        let mut sizes = Vec::new();
        for (relation, is_sequence) in self.relations() {
            let literal = literal(&relation);
            if is_sequence {
                columns.push(format!(
                    "(SELECT pg_catalog.format('SELECT pg_catalog.setval(%L,%L,%L)',{literal},last_value,is_called) \
                     FROM {relation})"
                ));
                continue;
            }
            columns.push(format!(
                "(SELECT pg_catalog.concat_ws(' ',pg_catalog.count(*),pg_catalog.sum(\
                 pg_catalog.hashtextextended(ROW(helios_row.*)::pg_catalog.text,0))) FROM {relation} helios_row)"
            ));
            sizes.push(format!(
                "pg_catalog.pg_relation_size({literal}::pg_catalog.regclass)"
            ));
        }
        let columns = columns.join(",");
        let sizes = sizes.join("+");
        let max = self.rules.temp_table_max_bytes;
        match sizes.is_empty() {
            true => format!("SELECT {columns}"),
            false => format!("SELECT {columns} WHERE {sizes} <= {max}"),
        }
    }

    /// Temporary relations as SQL names them, in a fixed order, and whether each is a sequence.
    fn relations(&self) -> impl Iterator<Item = (String, bool)> + '_ {
        let of = |row: &&[Box<[u8]>; 3]| *row[0] == *b"temporary_object";
        self.held.iter().filter(of).map(|[_, name, kind]| {
            let name = String::from_utf8_lossy(name).replace('"', "\"\"");
            (format!("pg_temp.\"{name}\""), **kind == *b"S")
        })
    }

    /// What sets its sequences as they were: statements that failed, and were not kept, have counted on.
    pub(crate) fn sequences_sql(&self) -> Option<String> {
        let row = backend::read_data_row(self.contents()?)?;
        let of = row.iter().zip(self.relations());
        let mut sql = String::new();
        for (value, _) in of.filter(|(_, (_, is_sequence))| *is_sequence) {
            sql.push_str(std::str::from_utf8(value.as_deref()?).ok()?);
            sql.push(';');
        }
        Some(sql)
    }

    /// The answer; `None` if there is too much to be looked at, or it could not be.
    pub(crate) fn on_contents(&mut self, contents: Option<Vec<u8>>) {
        self.is_changed = false;
        self.told = self.steps.len();
        if contents.is_none() {
            self.spoil(Reason::TemporaryTable);
        }
        self.contents = contents;
    }

    /// Nothing is held any more.
    pub(crate) fn clear(&mut self) {
        self.drop_steps();
        self.own.clear();
        self.holds_cursor = false;
        self.obstacle = None;
        self.is_changed = false;
        self.is_stirred = false;
        self.held.clear();
        self.contents = None;
    }

    /// Why what is held cannot be had again on another server. `is_untold`: a server has not said yet what that is now.
    pub(crate) fn obstacle(&self, is_untold: bool) -> Option<Reason> {
        let is_unknown = match is_untold && self.own.is_empty() {
            // Then the answers to what has changed it are the proof.
            true => self.is_stirred || self.untold().iter().any(|step| !step.is_proof()),
            false => self.is_changed || (is_untold && self.is_stirred),
        };
        let unknown = is_unknown.then(|| match self.untold() {
            [.., last] => last.reason(),
            [] if self.held.is_empty() => Reason::Pinned,
            [] => self.reason(),
        });
        self.obstacle.or(unknown)
    }

    /// What to blame where what is there is not what it was.
    pub(crate) fn reason(&self) -> Reason {
        let holds = |what: &[u8]| self.held.iter().any(|row| *row[0] == *what);
        let parts = Parts {
            locks: holds(b"advisory_lock"),
            tables: true,
            cursors: self.rules.holdable_cursors && holds(b"holdable_cursor"),
        };
        match self.own.is_empty() {
            true => parts.reason(),
            false => Reason::TemporaryTable,
        }
    }

    /// Whether the open transaction has changed what is kept.
    pub(crate) fn is_open(&self) -> bool {
        !self.open.is_empty() || self.pending.iter().any(Option::is_some)
    }

    pub(crate) fn holdable_cursors(&self) -> bool {
        self.rules.holdable_cursors
    }

    /// What has made what a server has said.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps[..self.told]
    }

    /// What has changed it since.
    pub(crate) fn untold(&self) -> &[Step] {
        &self.steps[self.told..]
    }

    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    pub(crate) fn contents(&self) -> Option<&[u8]> {
        self.contents.as_deref()
    }
}

#[cfg(test)]
mod tests;
