//! Prepared statements: interned by text, parameter types and the settings they are read under for the process, mapped per client by the client's
//! name, and remembered per server by our own name, least recently used first out.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

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
    pub(crate) name: Box<[u8]>,
    /// What follows the name in a Parse: text, terminator, types.
    pub(crate) rest: Box<[u8]>,
    /// What of the client's settings decides its meaning.
    pub(crate) meaning: Arc<Bucket>,
}

impl Statement {
    fn cost(&self) -> usize {
        self.rest.len() + ENTRY_OVERHEAD
    }
}

/// All live statements of the process.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    live: Mutex<HashMap<u64, Weak<Statement>>>,
    hasher: RandomState,
    next_id: AtomicU64,
}

impl Interner {
    fn hash(&self, rest: &[u8], meaning: &Arc<Bucket>) -> u64 {
        self.hasher.hash_one((rest, Arc::as_ptr(meaning) as usize))
    }

    pub(crate) fn intern(&self, rest: &[u8], meaning: &Arc<Bucket>) -> Arc<Statement> {
        let hash = self.hash(rest, meaning);
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let same =
            |found: &Arc<Statement>| *found.rest == *rest && Arc::ptr_eq(&found.meaning, meaning);
        if let Some(found) = live.get(&hash).and_then(Weak::upgrade).filter(same) {
            return found;
        }
        if live.len() % PRUNE_EVERY == PRUNE_EVERY - 1 {
            live.retain(|_, statement| statement.strong_count() > 0);
        }
        let id = 1 + self.next_id.fetch_add(1, Ordering::Relaxed);
        let name = format!("helios_{id}").into_bytes().into();
        let statement = Arc::new(Statement {
            id,
            name,
            rest: rest.into(),
            meaning: Arc::clone(meaning),
        });
        live.insert(hash, Arc::downgrade(&statement));
        statement
    }

    /// Has the next Parse of this text make a statement of its own: the plans that servers have of this one are stale.
    pub(crate) fn retire(&self, statement: &Arc<Statement>) {
        let hash = self.hash(&statement.rest, &statement.meaning);
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

/// A client's named statement. `seq` tells two Parses of one name apart.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) statement: Arc<Statement>,
    /// Absent where it was not asked for, as in session mode.
    pub(crate) plan: Option<Arc<Plan>>,
    pub(crate) seq: u64,
}

/// The named statements of one client.
#[derive(Debug, Default)]
pub(crate) struct ClientStatements {
    by_name: HashMap<Box<[u8]>, Named>,
    bytes: usize,
}

impl ClientStatements {
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Named> {
        self.by_name.get(name)
    }

    /// Whether one more with this text fits.
    pub(crate) fn has_room(&self, limits: &Limits, rest: &[u8]) -> bool {
        self.by_name.len() < limits.max_prepared_statements
            && self.bytes + rest.len() + ENTRY_OVERHEAD <= limits.max_prepared_bytes
    }

    pub(crate) fn insert(&mut self, name: &[u8], named: Named) {
        self.bytes += named.statement.cost();
        if let Some(old) = self.by_name.insert(name.into(), named) {
            self.bytes -= old.statement.cost();
        }
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<Named> {
        let named = self.by_name.remove(name)?;
        self.bytes -= named.statement.cost();
        Some(named)
    }

    /// Has a name stand for the same text as read under other settings.
    pub(crate) fn reread(&mut self, name: &[u8], statement: &Arc<Statement>) {
        if let Some(named) = self.by_name.get_mut(name) {
            named.statement = Arc::clone(statement);
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
        self.by_name.clear();
        self.bytes = 0;
    }
}

/// The statements that one server has under our names.
#[derive(Debug, Default)]
pub(crate) struct ServerStatements {
    by_id: HashMap<u64, (Arc<Statement>, u64)>,
    bytes: usize,
    /// Counts batches; what the current one used is not evicted.
    batch: u64,
}

impl ServerStatements {
    /// A new batch begins: what earlier ones used may be evicted.
    pub(crate) fn begin_batch(&mut self) {
        self.batch += 1;
    }

    /// Marks a statement as used; false when the server lacks it.
    pub(crate) fn touch(&mut self, id: u64) -> bool {
        let batch = self.batch;
        self.by_id
            .get_mut(&id)
            .map(|(_, used)| *used = batch)
            .is_some()
    }

    pub(crate) fn insert(&mut self, statement: Arc<Statement>) {
        self.bytes += statement.cost();
        self.by_id.insert(statement.id, (statement, self.batch));
    }

    pub(crate) fn remove(&mut self, id: u64) {
        if let Some((statement, _)) = self.by_id.remove(&id) {
            self.bytes -= statement.cost();
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
        let oldest = self
            .by_id
            .values()
            .filter(|(_, used)| *used < batch)
            .min_by_key(|(_, used)| *used)?;
        let statement = Arc::clone(&oldest.0);
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
        assert!(server.touch(statements[0].id));
        server.insert(Arc::clone(&statements[2]));

        assert_eq!(server.evict(0).map(|s| s.id), Some(statements[1].id));
        assert_eq!(server.evict(0).map(|s| s.id), None);
        assert!(!server.touch(statements[1].id));
    }
}
