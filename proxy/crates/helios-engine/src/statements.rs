//! Prepared statements: interned by text, parameter types and the settings they are read under for the process, mapped per client by the client's
//! name, and remembered per server by our own name, least recently used first out.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use helios_sql::Syntax;
use helios_wire::backend;

use crate::config::Limits;
use crate::plans::Plan;
use crate::settings::Bucket;

/// Live statements looked through for dead ones when the map has grown by this many.
const PRUNE_EVERY: usize = 1024;
/// What a map entry costs beside the text it holds.
const ENTRY_OVERHEAD: usize = 128;

/// One statement text with its parameter types, as read under certain settings: '01/02/2026' is another date under
/// another DateStyle, and `t` another table under another search_path.
#[derive(Debug)]
pub(crate) struct Statement {
    /// Unique in the process.
    pub(crate) id: u64,
    /// Its name on servers.
    pub(crate) name: Arc<[u8]>,
    source: Source,
    /// What of the client's settings decides its meaning.
    pub(crate) meaning: Arc<Bucket>,
}

/// How the client has defined a statement.
#[derive(Debug, Clone)]
enum Source {
    /// What follows the name in its Parse: text, terminator, types.
    Parse(Box<[u8]>),
    /// By SQL's PREPARE.
    Prepare {
        /// What follows the name.
        tail: Box<[u8]>,
        /// Where the text begins in it.
        query: usize,
        /// What a Parse of it would have; the server that has it knows the types.
        rest: OnceLock<Box<[u8]>>,
    },
}

impl Source {
    /// What tells it from others.
    fn key(&self) -> (bool, &[u8]) {
        match self {
            Source::Parse(rest) => (false, rest),
            Source::Prepare { tail, .. } => (true, tail),
        }
    }
}

impl Statement {
    /// What follows the name in a Parse of it; `None` while the types are not known.
    pub(crate) fn rest(&self) -> Option<&[u8]> {
        match &self.source {
            Source::Parse(rest) => Some(rest),
            Source::Prepare { rest, .. } => rest.get().map(|rest| &rest[..]),
        }
    }

    /// Takes the types of a statement that was made by PREPARE, as a ParameterDescription has them. What stood before
    /// the text becomes blanks, so that errors point where they would.
    pub(crate) fn learn(&self, types: &[u8]) {
        let Source::Prepare { tail, query, rest } = &self.source else {
            return;
        };
        rest.get_or_init(|| {
            let mut parse = vec![b' '; PREPARE.len() + self.name.len() + query];
            parse.extend_from_slice(&tail[*query..]);
            parse.push(0);
            parse.extend_from_slice(types);
            parse.into()
        });
    }

    fn cost(&self) -> usize {
        let bytes = match &self.source {
            Source::Parse(rest) => rest.len(),
            Source::Prepare { tail, .. } => 2 * tail.len(),
        };
        bytes + ENTRY_OVERHEAD
    }
}

const PREPARE: &str = "prepare ";

/// All live statements of the process.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    live: Mutex<HashMap<u64, Weak<Statement>>>,
    hasher: RandomState,
    next_id: AtomicU64,
}

impl Interner {
    fn hash(&self, key: (bool, &[u8]), meaning: &Arc<Bucket>) -> u64 {
        self.hasher.hash_one((key, Arc::as_ptr(meaning) as usize))
    }

    /// The statement of a Parse.
    pub(crate) fn intern(&self, rest: &[u8], meaning: &Arc<Bucket>) -> Arc<Statement> {
        self.find_or_make((false, rest), meaning, || Source::Parse(rest.into()))
    }

    /// The statement of a PREPARE: what follows its name, and where the text begins in that.
    pub(crate) fn intern_prepare(
        &self,
        tail: &[u8],
        query: usize,
        meaning: &Arc<Bucket>,
    ) -> Arc<Statement> {
        self.find_or_make((true, tail), meaning, || Source::Prepare {
            tail: tail.into(),
            query,
            rest: OnceLock::new(),
        })
    }

    /// The same statement as read under other settings.
    pub(crate) fn reread(&self, statement: &Statement, meaning: &Arc<Bucket>) -> Arc<Statement> {
        self.find_or_make(statement.source.key(), meaning, || statement.source.clone())
    }

    /// The same statement under another name, for nobody else.
    pub(crate) fn again(&self, statement: &Statement) -> Arc<Statement> {
        self.make(statement.source.clone(), &statement.meaning)
    }

    fn find_or_make(
        &self,
        key: (bool, &[u8]),
        meaning: &Arc<Bucket>,
        source: impl FnOnce() -> Source,
    ) -> Arc<Statement> {
        let hash = self.hash(key, meaning);
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |found: &Arc<Statement>| {
            found.source.key() == key && Arc::ptr_eq(&found.meaning, meaning)
        };
        if let Some(found) = live.get(&hash).and_then(Weak::upgrade).filter(same) {
            return found;
        }
        if live.len() % PRUNE_EVERY == PRUNE_EVERY - 1 {
            live.retain(|_, statement| statement.strong_count() > 0);
        }
        let statement = self.make(source(), meaning);
        live.insert(hash, Arc::downgrade(&statement));
        statement
    }

    fn make(&self, source: Source, meaning: &Arc<Bucket>) -> Arc<Statement> {
        let id = 1 + self.next_id.fetch_add(1, Ordering::Relaxed);
        Arc::new(Statement {
            id,
            name: format!("helios_{id}").into_bytes().into(),
            source,
            meaning: Arc::clone(meaning),
        })
    }

    /// Has the next Parse of this text make a statement of its own: the plans that servers have of this one are stale.
    pub(crate) fn retire(&self, statement: &Arc<Statement>) {
        let hash = self.hash(statement.source.key(), &statement.meaning);
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let is_this =
            |found: &Weak<Statement>| std::ptr::eq(found.as_ptr(), Arc::as_ptr(statement));
        if live.get(&hash).is_some_and(is_this) {
            live.remove(&hash);
        }
    }

    /// Has the next Parse of each text make a statement of its own: definitions have changed.
    pub(crate) fn retire_all(&self) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.clear();
    }
}

/// The columns of a result, as far as a plan that is kept must not change them: names and types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Columns(u64);

impl Columns {
    /// There is no result.
    pub(crate) const NONE: Columns = Columns(0);
    /// They were not read; taken for the same, whatever they are.
    pub(crate) const UNREAD: Columns = Columns(1);

    /// Of a RowDescription's body.
    pub(crate) fn of(body: &[u8]) -> Columns {
        let mut hasher = DefaultHasher::new();
        for column in backend::read_columns(body) {
            hasher.write(column.name);
            hasher.write(column.kind);
        }
        Columns(hasher.finish())
    }
}

/// A client's named statement. `seq` tells two Parses of one name apart.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) statement: Arc<Statement>,
    /// Absent where it was not asked for, as in session mode.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Its text in the client's words, where it names other prepared statements: `statement` is made of it at each use.
    pub(crate) worded: Option<Arc<Statement>>,
    /// The columns that the client was last told.
    pub(crate) told: Option<Columns>,
    pub(crate) seq: u64,
}

/// The client's unnamed statement, kept so that another server can be given it.
#[derive(Debug, Default)]
pub(crate) struct Unnamed {
    /// Unique in the process; 0 is none.
    pub(crate) tag: u64,
    /// What follows the name in its Parse.
    pub(crate) rest: Vec<u8>,
    pub(crate) plan: Option<Arc<Plan>>,
    /// The same in the client's words, where they name other prepared statements: `rest` is made of it at each use.
    pub(crate) worded: Option<Vec<u8>>,
    /// How the text was read when the plan was looked for.
    pub(crate) syntax: Option<Syntax>,
}

/// What a name stood for before it was changed.
type Before = (Box<[u8]>, Option<Named>);

/// The named statements of one client.
#[derive(Debug, Default)]
pub(crate) struct ClientStatements {
    by_name: HashMap<Box<[u8]>, Named>,
    bytes: usize,
    /// What names stood for, oldest first, since a time to which one may go back; absent where nobody does.
    before: Option<Vec<Before>>,
}

impl ClientStatements {
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&Named> {
        self.by_name.get(name)
    }

    /// Whether one more of this size fits beside `others`, that many more or fewer than there are.
    pub(crate) fn has_room(&self, limits: &Limits, size: usize, others: isize) -> bool {
        self.by_name.len().saturating_add_signed(others) < limits.max_prepared_statements
            && self.bytes + size + ENTRY_OVERHEAD <= limits.max_prepared_bytes
    }

    pub(crate) fn insert(&mut self, name: &[u8], named: Named) {
        self.bytes += named.statement.cost();
        let old = self.by_name.insert(name.into(), named);
        if let Some(old) = &old {
            self.bytes -= old.statement.cost();
        }
        if let Some(before) = &mut self.before {
            before.push((name.into(), old));
        }
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<Named> {
        let named = self.by_name.remove(name)?;
        self.bytes -= named.statement.cost();
        if let Some(before) = &mut self.before {
            before.push((name.into(), Some(named.clone())));
        }
        Some(named)
    }

    /// From here on one can go back to what is now.
    pub(crate) fn mark(&mut self) {
        self.before.get_or_insert_default().clear();
    }

    /// Nobody will go back.
    pub(crate) fn forget_mark(&mut self) {
        self.before = None;
    }

    /// Goes back to the mark.
    pub(crate) fn go_back(&mut self) {
        for (name, named) in self.before.take().into_iter().flatten().rev() {
            match named {
                Some(named) => self.insert(&name, named),
                None => drop(self.remove(&name)),
            }
        }
        self.mark();
    }

    /// What is now, to be put in place again.
    pub(crate) fn snapshot(&self) -> ClientStatements {
        ClientStatements {
            by_name: self.by_name.clone(),
            bytes: self.bytes,
            before: Some(Vec::new()),
        }
    }

    /// Takes the names that stand for a statement away.
    pub(crate) fn remove_all(&mut self, statement: &Arc<Statement>) {
        let is_it = |named: &Named| Arc::ptr_eq(&named.statement, statement);
        let all = self.by_name.iter().filter(|(_, named)| is_it(named));
        let names: Vec<_> = all.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.remove(&name);
        }
    }

    /// Has a name stand for the same text as read under other settings, or in other words.
    pub(crate) fn reread(&mut self, name: &[u8], statement: &Arc<Statement>) {
        if let Some(named) = self.by_name.get_mut(name) {
            self.bytes += statement.cost();
            self.bytes -= named.statement.cost();
            named.statement = Arc::clone(statement);
        }
    }

    /// Notes what the client was told of a statement's columns.
    pub(crate) fn tell(&mut self, name: &[u8], seq: u64, columns: Columns) {
        if let Some(named) = self.by_name.get_mut(name).filter(|named| named.seq == seq) {
            named.told = Some(columns);
        }
    }

    /// Gives a name a plan that holds.
    pub(crate) fn replan(&mut self, name: &[u8], plan: &Arc<Plan>) {
        if let Some(named) = self.by_name.get_mut(name) {
            named.plan = Some(Arc::clone(plan));
        }
    }

    /// Forgets what a Parse that failed had registered.
    pub(crate) fn remove_seq(&mut self, seq: u64) {
        let name = self
            .by_name
            .iter()
            .find(|(_, named)| named.seq == seq)
            .map(|(name, _)| name.clone());
        if let Some(name) = name {
            self.remove(&name);
        }
    }

    pub(crate) fn clear(&mut self) {
        let all = self
            .by_name
            .drain()
            .map(|(name, named)| (name, Some(named)));
        match &mut self.before {
            Some(before) => before.extend(all),
            None => drop(all),
        }
        self.bytes = 0;
    }
}

/// A statement that a server has under our name.
#[derive(Debug)]
struct Held {
    statement: Arc<Statement>,
    /// The batches that made it and that used it last.
    made: u64,
    used: u64,
    /// As the server has described them; they stay, since the server refuses to run it with others.
    columns: Option<Columns>,
}

/// The statements that one server has under our names.
#[derive(Debug, Default)]
pub(crate) struct ServerStatements {
    by_id: HashMap<u64, Held>,
    bytes: usize,
    /// Counts batches; what the current one used is not evicted.
    batch: u64,
}

impl ServerStatements {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// A new batch begins: what earlier ones used may be evicted.
    pub(crate) fn begin_batch(&mut self) {
        self.batch += 1;
    }

    /// Marks a statement as used; what is known of its columns, or `None` when the server lacks it.
    pub(crate) fn touch(&mut self, id: u64) -> Option<Option<Columns>> {
        let held = self.by_id.get_mut(&id)?;
        held.used = self.batch;
        Some(held.columns)
    }

    /// Whether this batch has made it.
    pub(crate) fn is_new(&self, id: u64) -> bool {
        self.by_id
            .get(&id)
            .is_some_and(|held| held.made == self.batch)
    }

    /// Notes what the server has said of a statement's columns.
    pub(crate) fn describe(&mut self, id: u64, columns: Columns) {
        if let Some(held) = self.by_id.get_mut(&id) {
            held.columns = Some(columns);
        }
    }

    pub(crate) fn insert(&mut self, statement: Arc<Statement>) {
        self.remove(statement.id);
        self.bytes += statement.cost();
        let held = Held {
            made: self.batch,
            used: self.batch,
            columns: None,
            statement: Arc::clone(&statement),
        };
        self.by_id.insert(statement.id, held);
    }

    pub(crate) fn remove(&mut self, id: u64) {
        if let Some(held) = self.by_id.remove(&id) {
            self.bytes -= held.statement.cost();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.by_id.clear();
        self.bytes = 0;
    }

    /// Takes out the least recently used statement while they hold more than `max_bytes`, never one of this batch.
    pub(crate) fn evict(&mut self, max_bytes: usize) -> Option<Arc<Statement>> {
        if self.bytes <= max_bytes {
            return None;
        }
        let batch = self.batch;
        let old = self.by_id.values().filter(|held| held.used < batch);
        let oldest = old.min_by_key(|held| held.used)?;
        let statement = Arc::clone(&oldest.statement);
        self.remove(statement.id);
        Some(statement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Buckets;

    #[test]
    fn equal_texts_share_one_statement() {
        let interner = Interner::default();
        let buckets = Buckets::new();
        let utc = buckets.with(&buckets.plain, "TimeZone", "UTC", None);
        let a = interner.intern(b"select 1\0\0\0", &buckets.plain);
        assert!(Arc::ptr_eq(
            &a,
            &interner.intern(b"select 1\0\0\0", &buckets.plain)
        ));
        assert!(!Arc::ptr_eq(&a, &interner.intern(b"select 1\0\0\0", &utc)));
        assert!(!Arc::ptr_eq(
            &a,
            &interner.intern(b"select 2\0\0\0", &buckets.plain)
        ));
    }

    #[test]
    fn evicts_the_least_recently_used_but_nothing_of_this_batch() {
        let interner = Interner::default();
        let plain = Buckets::new().plain;
        let mut server = ServerStatements::default();
        let statements: Vec<_> = (0..3_u8)
            .map(|i| interner.intern(&[b'a' + i, 0, 0, 0], &plain))
            .collect();
        for statement in &statements[..2] {
            server.begin_batch();
            server.insert(Arc::clone(statement));
        }
        server.begin_batch();
        assert!(server.touch(statements[0].id).is_some());
        server.insert(Arc::clone(&statements[2]));

        assert_eq!(server.evict(0).map(|s| s.id), Some(statements[1].id));
        assert_eq!(server.evict(0).map(|s| s.id), None);
        assert!(server.touch(statements[1].id).is_none());
    }
}
