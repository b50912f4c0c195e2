//! The catalogs that plans depend on, one for each database of a cluster: since when plans hold, and what has defined
//! functions meanwhile. Python reads the catalogs themselves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::heat::{Table, Tables};

/// Counts all that happens to catalogs, so that a number never comes back, not even for a database that was forgotten.
static CLOCK: AtomicU64 = AtomicU64::new(1);

/// An odd number without a pattern: its multiples tell databases apart in a hash.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

fn tick() -> u64 {
    CLOCK.fetch_add(1, Ordering::SeqCst)
}

/// What the engine knows of one database's catalog.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) cluster: String,
    /// The database on the server.
    pub(crate) database: String,
    /// Joined to a shape's hash, the place of the plan that is for this database.
    pub(crate) hash: u128,
    /// Plans hold that were asked for since.
    since: AtomicU64,
    /// When a session of ours last ended to define functions.
    defined: AtomicU64,
    /// Transactions that define functions now.
    defining: AtomicUsize,
    /// How often tables are used, where that is counted.
    pub(crate) tables: Tables,
}

impl Catalog {
    fn new(cluster: &str, database: &str) -> Catalog {
        let now = tick();
        Catalog {
            cluster: cluster.to_owned(),
            database: database.to_owned(),
            hash: u128::from(now).wrapping_mul(SPREAD),
            since: AtomicU64::new(now),
            // What was defined before is not known.
            defined: AtomicU64::new(now),
            defining: AtomicUsize::new(0),
            tables: Tables::default(),
        }
    }

    /// Plans made so far hold no longer.
    fn outdate(&self) {
        self.since.store(tick(), Ordering::SeqCst);
    }

    /// A catalog that was read for a question with a lower number is too old.
    pub(crate) fn defined(&self) -> u64 {
        self.defined.load(Ordering::SeqCst)
    }
}

/// A catalog as of the question that a plan answers.
#[derive(Debug, Clone)]
pub(crate) struct AsOf {
    catalog: Arc<Catalog>,
    since: u64,
}

impl AsOf {
    pub(crate) fn now(catalog: &Arc<Catalog>) -> AsOf {
        AsOf {
            catalog: Arc::clone(catalog),
            since: catalog.since.load(Ordering::SeqCst),
        }
    }

    pub(crate) fn hash(&self) -> u128 {
        self.catalog.hash
    }

    /// The counters of these tables; none if there is no room for one of them.
    pub(crate) fn tables(&self, names: &[String]) -> Vec<Arc<Table>> {
        let found = names.iter().map(|name| self.catalog.tables.of(name));
        found.collect::<Option<_>>().unwrap_or_default()
    }

    /// Whether nothing has changed that is known of.
    pub(crate) fn is_current(&self) -> bool {
        self.catalog.since.load(Ordering::SeqCst) == self.since
    }

    /// Whether functions may become other ones at any moment, or have.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.catalog.defining.load(Ordering::SeqCst) > 0 || !self.is_current()
    }
}

/// A transaction that defines functions, until it is over, however it ends.
#[derive(Debug)]
pub(crate) struct Definition(Arc<Catalog>);

impl Definition {
    pub(crate) fn begin(catalog: &Arc<Catalog>) -> Definition {
        catalog.defining.fetch_add(1, Ordering::SeqCst);
        Definition(Arc::clone(catalog))
    }
}

impl Drop for Definition {
    fn drop(&mut self) {
        self.0.defined.store(tick(), Ordering::SeqCst);
        self.0.outdate();
        self.0.defining.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Those of all databases that have a pool.
#[derive(Debug, Default)]
pub(crate) struct Catalogs {
    live: Mutex<HashMap<(String, String), Weak<Catalog>>>,
}

impl Catalogs {
    /// The catalog of a database, the same for all its pools.
    pub(crate) fn of(&self, cluster: &str, database: &str) -> Arc<Catalog> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (cluster.to_owned(), database.to_owned());
        if let Some(found) = live.get(&key).and_then(Weak::upgrade) {
            return found;
        }
        live.retain(|_, catalog| catalog.strong_count() > 0);
        let made = Arc::new(Catalog::new(cluster, database));
        live.insert(key, Arc::downgrade(&made));
        made
    }

    /// Those that there are.
    pub(crate) fn all(&self) -> Vec<Arc<Catalog>> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.values().filter_map(Weak::upgrade).collect()
    }

    /// Plans that were made by the catalog of this database hold no longer.
    pub(crate) fn outdate(&self, cluster: &str, database: &str) {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (cluster.to_owned(), database.to_owned());
        if let Some(catalog) = live.get(&key).and_then(Weak::upgrade) {
            catalog.outdate();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_unsettles_until_it_is_over_and_outdates_for_good() {
        let catalogs = Catalogs::default();
        let catalog = catalogs.of("main", "app");
        let (before, defined) = (AsOf::now(&catalog), catalog.defined());
        assert!(before.is_current() && !before.is_unsettled());

        let definition = Definition::begin(&catalog);
        assert!(before.is_current() && before.is_unsettled());
        drop(definition);

        assert!(!before.is_current());
        assert!(catalog.defined() > defined);
        assert!(!AsOf::now(&catalog).is_unsettled());
    }

    #[test]
    fn databases_have_catalogs_of_their_own() {
        let catalogs = Catalogs::default();
        let (one, two) = (catalogs.of("main", "one"), catalogs.of("main", "two"));
        assert!(Arc::ptr_eq(&one, &catalogs.of("main", "one")));
        assert_ne!(one.hash, two.hash);

        let (of_one, of_two) = (AsOf::now(&one), AsOf::now(&two));
        catalogs.outdate("main", "one");
        catalogs.outdate("main", "three");

        assert!(!of_one.is_current());
        assert!(of_two.is_current());
    }

    #[test]
    fn a_database_that_comes_back_has_newer_numbers() {
        let catalogs = Catalogs::default();
        let first = catalogs.of("main", "app");
        let (hash, defined) = (first.hash, first.defined());
        drop(first);
        let second = catalogs.of("main", "app");

        assert_ne!(second.hash, hash);
        assert!(second.defined() > defined);
    }
}
