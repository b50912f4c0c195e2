//! What several pools share: server connections of the process, of a database and of a user, and logins under way at a
//! node. A connection holds a claim on each from the attempt to its end, on the logins until it is logged in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{PoolKey, PoolShared};
use crate::config::Snapshot;

/// What is limited.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Scope {
    /// Connections of the process.
    Process,
    /// Of one entry of `databases`, and one database where the entry is for all.
    Database(String, String),
    /// Of one role on the servers.
    User(String),
    /// Logins under way at one node.
    Logins(String, u16),
}

impl Scope {
    /// How many there may be; 0 is any number.
    fn limit(&self, snapshot: &Snapshot) -> usize {
        let limits = &snapshot.limits;
        match self {
            Scope::Process => limits.max_server_connections,
            Scope::Database(entry, _) => {
                let mut entries = snapshot.databases.iter();
                let found = entries.find(|database| database.name == *entry);
                found.map_or(0, |database| database.max_server_connections)
            }
            Scope::User(user) => snapshot.user_limits(user).max_server_connections,
            Scope::Logins(..) => limits.max_parallel_logins,
        }
    }
}

/// One limit and the pools that draw on it.
#[derive(Debug, Default)]
pub(super) struct Budget {
    used: AtomicUsize,
    /// 0 is any number.
    limit: AtomicUsize,
    /// A pool with waiting clients found it used up.
    is_contended: AtomicBool,
    pools: Mutex<Vec<Weak<PoolShared>>>,
}

impl Budget {
    fn take(self: &Arc<Self>) -> Option<Claim> {
        let limit = self.limit.load(Ordering::Relaxed);
        let more = |used: usize| (limit == 0 || used < limit).then_some(used + 1);
        let taken = self
            .used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        taken.ok().map(|_| Claim(Arc::clone(self)))
    }

    fn has_room(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        limit == 0 || self.used.load(Ordering::SeqCst) < limit
    }

    fn is_overdrawn(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        limit > 0 && self.used.load(Ordering::Relaxed) > limit
    }

    fn join(&self, pool: &Arc<PoolShared>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|known| known.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    fn pools(&self) -> Vec<Arc<PoolShared>> {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().filter_map(Weak::upgrade).collect()
    }
}

/// One connection's share of a budget.
#[derive(Debug)]
pub(super) struct Claim(Arc<Budget>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::SeqCst);
    }
}

/// All budgets of the process.
#[derive(Debug, Default)]
pub(crate) struct Budgets(Mutex<HashMap<Scope, Arc<Budget>>>);

impl Budgets {
    /// Those that a pool draws on.
    pub(crate) fn of(&self, key: &PoolKey, snapshot: &Snapshot) -> Shares {
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut budget = |scope: Scope| {
            let limit = scope.limit(snapshot);
            let budget = budgets.entry(scope).or_default();
            budget.limit.store(limit, Ordering::Relaxed);
            Arc::clone(budget)
        };
        Shares {
            logins: budget(Scope::Logins(key.host.clone(), key.port)),
            connections: [
                budget(Scope::Process),
                budget(Scope::Database(key.entry.clone(), key.database.clone())),
                budget(Scope::User(key.user.clone())),
            ],
        }
    }

    /// Takes over the limits of a new configuration, and forgets what nobody draws on.
    pub(crate) fn update(&self, snapshot: &Snapshot) {
        let mut budgets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.retain(|_, budget| Arc::strong_count(budget) > 1);
        for (scope, budget) in budgets.iter() {
            budget.limit.store(scope.limit(snapshot), Ordering::Relaxed);
        }
    }
}

/// The budgets that one pool draws on.
#[derive(Debug)]
pub(crate) struct Shares {
    logins: Arc<Budget>,
    connections: [Arc<Budget>; 3],
}

/// What one connection holds.
#[derive(Debug)]
pub(super) struct Claims {
    login: Option<Claim>,
    connections: [Option<Claim>; 3],
}

impl Claims {
    pub(super) fn release(&mut self) {
        self.release_login();
        self.connections = [None, None, None];
    }

    pub(super) fn release_login(&mut self) {
        self.login = None;
    }
}

impl Shares {
    pub(super) fn join(&self, pool: &Arc<PoolShared>) {
        self.all().for_each(|budget| budget.join(pool));
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Budget>> {
        self.connections.iter().chain([&self.logins])
    }

    /// A claim on each, or on none.
    pub(super) fn take(&self) -> Option<Claims> {
        let login = Some(self.logins.take()?);
        let mut connections = [None, None, None];
        for (claim, budget) in connections.iter_mut().zip(&self.connections) {
            *claim = Some(budget.take()?);
        }
        Some(Claims { login, connections })
    }

    /// Whether one more connection may be opened, as far as these go.
    pub(super) fn have_room(&self) -> bool {
        self.all().all(|budget| budget.has_room())
    }

    /// Whether there are as many connections as there may be.
    pub(super) fn are_used_up(&self) -> bool {
        !self.connections.iter().all(|budget| budget.has_room())
    }

    /// Whether there are more connections than there may be, as after a reload that lowered a limit.
    pub(super) fn are_overdrawn(&self) -> bool {
        self.connections.iter().any(|budget| budget.is_overdrawn())
    }

    /// Notes that a pool with waiting clients found some used up.
    pub(super) fn contend(&self) {
        for budget in self.all().filter(|budget| !budget.has_room()) {
            budget.is_contended.store(true, Ordering::SeqCst);
        }
    }

    /// Whether somebody may wait for a connection that others have; a guess that errs on this side.
    pub(super) fn are_contended(&self) -> bool {
        self.connections
            .iter()
            .any(|budget| budget.is_contended.load(Ordering::SeqCst))
    }

    /// Nobody waits for a connection that others have.
    pub(super) fn settle(&self) {
        for budget in &self.connections {
            budget.is_contended.store(false, Ordering::SeqCst);
        }
    }

    /// The pools that draw on a limit of connections which is contended.
    pub(super) fn rivals(&self) -> Vec<Arc<PoolShared>> {
        contenders(self.connections.iter())
    }

    /// The same with those that may wait for a login to end.
    pub(super) fn heirs(&self) -> Vec<Arc<PoolShared>> {
        contenders(self.all())
    }

    /// Whether a connection that gives up its claims on these would make room for one of `other`.
    pub(super) fn would_serve(&self, other: &Shares) -> bool {
        let is_shared = |budget: &Arc<Budget>| {
            self.connections
                .iter()
                .any(|own| Arc::ptr_eq(own, budget) && !own.is_overdrawn())
        };
        let mut budgets = other.connections.iter();
        budgets.all(|budget| budget.has_room() || is_shared(budget))
    }
}

fn contenders<'a>(budgets: impl Iterator<Item = &'a Arc<Budget>>) -> Vec<Arc<PoolShared>> {
    let contended = budgets.filter(|budget| budget.is_contended.load(Ordering::SeqCst));
    contended.flat_map(|budget| budget.pools()).collect()
}
