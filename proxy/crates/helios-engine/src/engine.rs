//! The engine as its owner sees it: start, reload, tell it where the primaries are, drain, stop.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::active::Active;
use crate::class::{Class, PLAIN_SYNTAX};
use crate::config::{read, IoBackend};
use crate::consistency;
use crate::console::Console;
use crate::error::EngineError;
use crate::events::{Events, Level};
use crate::halts::{Halts, Order};
use crate::handover::{Estate, Inheritance, Predecessors, Successor};
use crate::listener::{self, Bound};
use crate::nodes::{Nodes, Witness};
use crate::plans::Plans;
use crate::pool::{Budgets, PoolKey, PoolShared};
use crate::random;
use crate::rt::{self, Inbox, Io, Permits};
use crate::server::auth::KeyCache;
use crate::server::Backends;
use crate::session::cancel::Guesses;
use crate::settings::Buckets;
use crate::state;
use crate::statements::Interner;
use crate::topology::Topology;
use crate::traffic::Traffics;
use crate::worker::{self, Message, Shared, Whom};

/// How long a worker may take to say which clients it has.
const REPORT_LIMIT: Duration = Duration::from_secs(2);

/// Connections that carry CancelRequests, to servers and peers, at a time.
const MAX_CANCELS: usize = 64;

/// The data plane of one process.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    inboxes: Mutex<Option<Vec<Inbox<Message>>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    listen: Mutex<Vec<Bound>>,
    accepting: AtomicBool,
    estate: Estate,
}

impl Shared {
    pub(crate) fn halts(&self) -> MutexGuard<'_, Halts> {
        self.halts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a pool out of use; it stays known for as long as it has servers.
    pub(crate) fn retire(&self, pool: &Arc<PoolShared>) {
        pool.retire();
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|pool| pool.upgrade().is_some_and(|pool| pool.total() > 0));
        retired.push(Arc::downgrade(pool));
    }

    /// Every pool, those last that are out of use and have servers still.
    pub(crate) fn all_pools(&self) -> Vec<Arc<PoolShared>> {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = pools.values().cloned().collect();
        drop(pools);
        all.sort_by(|a, b| a.key.cmp(&b.key));
        let retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(
            retired
                .iter()
                .filter_map(Weak::upgrade)
                .filter(|pool| pool.total() > 0),
        );
        all
    }
}

impl Engine {
    /// Validates the snapshot; nothing is opened yet.
    ///
    /// # Errors
    /// `EngineError::Snapshot` naming the field.
    pub fn new(document: &[u8]) -> Result<Engine, EngineError> {
        let active = Active::new(document, None)?;
        let workers = active.snapshot.workers;
        let (senders, inboxes): (Vec<_>, Vec<_>) = (0..workers).map(|_| rt::channel()).unzip();
        let mut mock_secret = [0; 32];
        random::fill(&mut mock_secret);
        let mut plan_key = [0; 16];
        random::fill(&mut plan_key);
        let shared = Shared {
            active: ArcSwap::from_pointee(active),
            topology: ArcSwap::from_pointee(Topology::default()),
            nodes: Nodes::default(),
            revision: AtomicU64::new(0),
            pools: Mutex::default(),
            inboxes: senders.into(),
            stats: (0..workers).map(|_| Default::default()).collect(),
            clients: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            buffer: Arc::default(),
            ledger: Arc::default(),
            budgets: Budgets::default(),
            census: Arc::default(),
            buckets: Buckets::new(),
            interner: Interner::default(),
            plans: Plans::new(&plan_key),
            keys: KeyCache::default(),
            backends: Backends::default(),
            events: Events::new(),
            spans: Events::new(),
            draining: AtomicBool::new(false),
            numbers: Arc::default(),
            traffics: Traffics::new(workers),
            halts: Mutex::default(),
            retired: Mutex::default(),
            console: Console::default(),
            departures: Mutex::default(),
            departed: Condvar::new(),
            cancels: Permits::new(MAX_CANCELS),
            guesses: Guesses::default(),
            predecessors: Predecessors::default(),
            key_fault: consistency::Fault::default(),
            epoch: Instant::now(),
            mock_secret,
        };
        Ok(Engine {
            shared: Arc::new(shared),
            inboxes: Mutex::new(Some(inboxes)),
            threads: Mutex::default(),
            listen: Mutex::default(),
            accepting: AtomicBool::new(false),
            estate: Estate::default(),
        })
    }

    /// Binds the addresses, or takes over the sockets that another process had for them, and starts the workers. Takes
    /// what `offer` of that process returned, and returns `{"listen": [{"host", "port"}]}`.
    ///
    /// # Errors
    /// `EngineError::Listen` naming address and cause; `EngineError::Worker` when called twice or out of threads.
    pub fn start(&self, inheritance: &[u8]) -> Result<Vec<u8>, EngineError> {
        let inheritance: Inheritance =
            read("inheritance", inheritance).map_err(EngineError::Snapshot)?;
        let inherited = inheritance.sockets()?;
        self.shared.predecessors.set(inheritance.predecessors);
        let active = self.shared.active.load_full();
        let io = self.io(active.snapshot.io);
        let (sockets, bound) = listener::bind(&active.snapshot, inherited)?;
        self.estate
            .keep(sockets.iter().map(|(socket, _)| socket))
            .map_err(|err| EngineError::Listen(err.to_string()))?;
        let inboxes = lock(&self.inboxes)
            .take()
            .ok_or_else(|| EngineError::Worker("already started".to_owned()))?;
        // One worker is enough to accept: a socket of each would wake those that have no clients yet.
        let mut sockets = Some(sockets);
        for (id, inbox) in inboxes.into_iter().enumerate() {
            let sockets = sockets.take().unwrap_or_default();
            let shared = Arc::clone(&self.shared);
            let run = move || {
                let events = Arc::clone(&shared);
                if let Err(err) = rt::run_worker(io, worker::run(id, shared, inbox, sockets)) {
                    let fields = vec![("error", err.to_string())];
                    let events = &events.events;
                    events.log(Level::Error, "a worker could not start", fields);
                }
            };
            let thread = std::thread::Builder::new()
                .name(format!("helios-{id}"))
                .spawn(run);
            lock(&self.threads).push(thread.map_err(|err| EngineError::Worker(err.to_string()))?);
        }
        self.accepting.store(true, Ordering::SeqCst);
        let document = serde_json::json!({"listen": state::addresses(&bound)});
        *lock(&self.listen) = bound;
        Ok(document.to_string().into_bytes())
    }

    /// What the connections will be on; says so, and why not on io_uring.
    fn io(&self, wanted: IoBackend) -> Io {
        let (level, io, told) = match wanted {
            // As io_uring costs no less so far (docs/adr/0031-io-uring.md).
            IoBackend::Auto => (Level::Info, Io::Epoll, "epoll, chosen by auto".to_owned()),
            IoBackend::Epoll => (Level::Info, Io::Epoll, "epoll".to_owned()),
            IoBackend::IoUring => match rt::probe() {
                Ok(()) => (Level::Info, Io::Uring, "io_uring".to_owned()),
                Err(err) => {
                    let told = format!("epoll, because io_uring is not to be had here: {err}");
                    (Level::Warning, Io::Epoll, told)
                }
            },
        };
        self.shared
            .events
            .log(level, "workers start", vec![("io", told)]);
        io
    }

    fn broadcast(&self, message: impl Fn() -> Message) {
        for inbox in self.shared.inboxes.iter() {
            // A worker that has ended needs no news.
            let _ = inbox.send(message());
        }
    }

    /// Swaps the configuration. Statements in flight finish on the old one.
    ///
    /// # Errors
    /// `EngineError::Snapshot`; the old configuration stays.
    pub fn reload(&self, document: &[u8]) -> Result<(), EngineError> {
        let active = Arc::new(Active::new(document, Some(&self.shared.active.load()))?);
        let mut pools = lock(&self.shared.pools);
        self.shared.active.store(Arc::clone(&active));
        self.shared.revision.fetch_add(1, Ordering::SeqCst);
        pools.retain(|key, pool| {
            let kept = update(&active, key, pool);
            if !kept {
                self.shared.retire(pool);
            }
            kept
        });
        self.shared.budgets.update(&active.snapshot);
        drop(pools);
        self.broadcast(|| Message::Changed);
        Ok(())
    }

    /// Tells where the primaries are. Pools of a node that another has replaced are closed as they come to rest.
    ///
    /// # Errors
    /// `EngineError::Snapshot` when the document is not understood.
    pub fn set_topology(&self, document: &[u8]) -> Result<(), EngineError> {
        let topology =
            Topology::parse(document, &self.shared.nodes).map_err(EngineError::Snapshot)?;
        let mut pools = lock(&self.shared.pools);
        pools.retain(|key, pool| {
            let primary = topology.primary(&key.cluster);
            let nodes = topology.cluster(&key.cluster).map(|cluster| &cluster.nodes);
            let node = nodes.into_iter().flatten().find(|node| {
                node.name == key.node && node.host == key.host && node.port == key.port
            });
            if node.is_some_and(|node| node.fenced) {
                pool.cut();
                self.shared.retire(pool);
                return false;
            }
            if let Some(node) = node {
                pool.set_addresses(&node.addresses);
            }
            if matches!(primary, Ok(primary) if primary.name != key.node) {
                // What is notified from now on, is notified elsewhere.
                pool.hub.end();
            }
            // While nobody is the primary, the last one may turn out to be it again.
            let kept = primary.is_err()
                || node.is_some_and(|node| {
                    node.standby || primary.is_ok_and(|primary| primary.name == node.name)
                });
            if !kept {
                self.shared.retire(pool);
            }
            kept
        });
        self.shared.topology.store(Arc::new(topology));
        self.shared.nodes.forget_unused();
        self.shared.revision.fetch_add(1, Ordering::SeqCst);
        drop(pools);
        self.broadcast(|| Message::Changed);
        Ok(())
    }

    /// Waits, at most `limit`, until every worker acts by the last topology: from then on no session uses a server of a
    /// fenced node, nor begins a transaction that may write where there is no primary. How many clients of the cluster have
    /// a transaction under way on a primary; `None` if some worker did not say in time.
    pub fn settle(&self, cluster: &str, limit: Duration) -> Option<usize> {
        let (sender, receiver) = mpsc::channel();
        let mut asked = 0;
        for inbox in self.shared.inboxes.iter() {
            let message = Message::Settle {
                cluster: cluster.to_owned(),
                done: sender.clone(),
            };
            // A worker that has ended has no sessions.
            asked += usize::from(inbox.send(message).is_ok());
        }
        drop(sender);
        let until = Instant::now() + limit;
        let mut under_way = 0;
        for _ in 0..asked {
            let left = until.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left) {
                Ok(count) => under_way += count,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => return None,
            }
        }
        Some(under_way)
    }

    /// Tells how far nodes are: JSON `{"nodes": [{"cluster", "name", "position", "lag_ms", "lag_bytes"}]}`.
    ///
    /// # Errors
    /// `EngineError::Snapshot` when the document is not understood.
    pub fn set_positions(&self, document: &[u8]) -> Result<(), EngineError> {
        self.shared
            .nodes
            .set_positions(document)
            .map_err(EngineError::Snapshot)
    }

    /// Tells how a poll of a node went: `error` is why it had no answer.
    pub fn note_poll(&self, cluster: &str, node: &str, error: Option<&str>) {
        let standing = self.shared.nodes.standing(cluster, node);
        match error {
            None => self.shared.node_reached(&standing, Witness::Poll),
            Some(cause) => self.shared.node_failed(&standing, Witness::Poll, cause),
        }
    }

    /// The `policy` of a question about a statement of such a client; `None` for a database that is not configured.
    pub fn policy(&self, database: &str, application_name: &str, sql: &str) -> Option<Vec<u8>> {
        let active = self.shared.active.load();
        let entry = active.snapshot.database(database)?;
        let class = Class::of(entry, application_name, &self.shared.plans.key);
        Some(class.told(sql.as_bytes(), PLAIN_SYNTAX).to_string().into())
    }

    /// The state document.
    pub fn state(&self) -> Vec<u8> {
        let listen = lock(&self.listen);
        state::document(&self.shared, &listen, self.accepting.load(Ordering::SeqCst))
            .to_string()
            .into_bytes()
    }

    /// The clients, the servers, what each database's have done, and what is stopped.
    pub fn sessions(&self) -> Vec<u8> {
        let reports: Vec<_> = self
            .shared
            .inboxes
            .iter()
            .filter_map(|inbox| {
                let (sender, receiver) = mpsc::channel();
                // A worker that has ended has no clients.
                inbox.send(Message::Report(sender)).ok()?;
                Some(receiver)
            })
            .collect();
        let limit = Instant::now() + REPORT_LIMIT;
        let clients = reports.into_iter().filter_map(|report| {
            let left = limit.saturating_duration_since(Instant::now());
            report.recv_timeout(left).ok()
        });
        let clients = clients.flatten().collect();
        state::sessions(&self.shared, clients)
            .to_string()
            .into_bytes()
    }

    /// Carries out what an administrator orders: JSON, an `Order`.
    ///
    /// # Errors
    /// `EngineError::Snapshot` when the document is not understood.
    pub fn order(&self, document: &[u8]) -> Result<(), EngineError> {
        let order: Order = read("order", document).map_err(EngineError::Snapshot)?;
        match order {
            Order::Pause { database } => self.pause(database.as_deref(), true),
            Order::Resume { database } => self.pause(database.as_deref(), false),
            Order::Kill { database } => {
                self.pause(database.as_deref(), true);
                let whom = Whom::Database(database);
                self.broadcast(|| Message::End(whom.clone()));
            }
            Order::KillClient { id } => self.broadcast(|| Message::End(Whom::Client(id))),
            Order::Admit { newcomers, present } => {
                self.shared.halts().admit(newcomers, present);
                self.broadcast(|| Message::Empty);
            }
            Order::Disable { database } => self.shared.halts().disable(&database, true),
            Order::Enable { database } => self.shared.halts().disable(&database, false),
            Order::Reconnect { database } => {
                for pool in self.shared.all_pools() {
                    let is_its = |name: &String| pool.key.shown() == name;
                    if database.as_ref().is_none_or(is_its) {
                        pool.reconnect();
                    }
                }
                self.broadcast(|| Message::Changed);
            }
        }
        Ok(())
    }

    fn pause(&self, database: Option<&str>, on: bool) {
        let pools = lock(&self.shared.pools);
        let mut halts = self.shared.halts();
        halts.pause(database, on);
        for (key, pool) in pools.iter() {
            pool.pause(halts.is_paused(key.shown()));
        }
        drop(halts);
        drop(pools);
        self.broadcast(|| Message::Changed);
    }

    /// Answers a command of the console; the document is `helios.console`'s.
    ///
    /// # Errors
    /// `EngineError::Snapshot` when it is not understood.
    pub fn answer(&self, id: u64, document: &[u8]) -> Result<(), EngineError> {
        self.shared
            .console
            .answer(id, document)
            .map_err(EngineError::Snapshot)
    }

    /// The next event, waiting at most `limit`.
    pub fn next_event(&self, limit: Duration) -> Option<Vec<u8>> {
        self.shared.events.next(limit)
    }

    /// The next span of a statement, waiting at most `limit`; `session/tracing.rs` says what is in it.
    pub fn next_span(&self, limit: Duration) -> Option<Vec<u8>> {
        self.shared.spans.next(limit)
    }

    /// JSON `[{"id", "text", "cluster", "database", "defined"}]` of statements that wait for a plan, waiting at most
    /// `limit` for one; `None` once the engine has ended.
    pub fn next_unplanned(&self, limit: Duration) -> Option<Vec<u8>> {
        self.shared.plans.next(limit)
    }

    /// Takes a plan: JSON `{"id", "plan": {"effects", "settings", "exact", "reads", "defines"}}`, with `null` for one
    /// that cannot be had.
    ///
    /// # Errors
    /// `EngineError::Snapshot` when the document is not understood.
    pub fn set_plan(&self, document: &[u8]) -> Result<(), EngineError> {
        self.shared
            .plans
            .decide(document)
            .map_err(EngineError::Snapshot)
    }

    /// Forgets the plans that were made by the catalog of this database.
    pub fn outdate_plans(&self, cluster: &str, database: &str) {
        self.shared.plans.catalogs.outdate(cluster, database);
    }

    /// The process that was taken over from has let go: the files of its sockets are ours.
    ///
    /// # Errors
    /// `EngineError::Listen` if one is not there any more.
    pub fn own_files(&self) -> Result<(), EngineError> {
        lock(&self.listen)
            .iter()
            .try_for_each(Bound::own)
            .map_err(|err| EngineError::Listen(format!("cannot take over a socket file: {err}")))
    }

    /// What a process needs to take over: `{"listeners": [descriptor], "predecessors": [file]}`. The descriptors stay
    /// ours, and hold until the next `withdraw`, `drain` or `stop`. At `path` it asks for sessions that are here.
    ///
    /// # Errors
    /// `EngineError::Listen` if there can be no socket at `path`.
    pub fn offer(&self, path: &str) -> Result<Vec<u8>, EngineError> {
        let opened = self
            .estate
            .open(path.as_ref())
            .map_err(|err| EngineError::Listen(format!("cannot listen on {path}: {err}")))?;
        if let (Some(socket), Some(inbox)) = (opened, self.shared.inboxes.first()) {
            // A worker that has ended has no sessions either.
            let _ = inbox.send(Message::Answer(socket));
        }
        let document = self.estate.document(&self.shared.predecessors);
        Ok(document.to_string().into_bytes())
    }

    /// Another process has taken over: JSON `{"listen": [{"host", "port"}]}` is where it listens. Stops accepting, and
    /// leaves clients alone.
    ///
    /// # Errors
    /// `EngineError::Snapshot` when the document is not understood.
    pub fn withdraw(&self, document: &[u8]) -> Result<(), EngineError> {
        let successor: Successor = read("successor", document).map_err(EngineError::Snapshot)?;
        for bound in lock(&self.listen).iter() {
            for place in &successor.listen {
                bound.leave_to(&place.host, place.port);
            }
        }
        self.stop_accepting();
        self.broadcast(|| Message::Withdraw);
        Ok(())
    }

    /// Stops accepting, ends clients between their transactions, waits at most `limit`. Returns the clients left.
    pub fn drain(&self, limit: Duration) -> usize {
        self.stop_accepting();
        self.shared.draining.store(true, Ordering::SeqCst);
        self.broadcast(|| Message::Drain);
        let clients = || {
            self.shared
                .clients
                .iter()
                .map(|clients| clients.load(Ordering::SeqCst))
                .sum()
        };
        let guard = lock(&self.shared.departures);
        let stay = |_: &mut ()| clients() > 0;
        let waited = self.shared.departed.wait_timeout_while(guard, limit, stay);
        drop(waited);
        clients()
    }

    /// The workers close their sockets when they are told.
    fn stop_accepting(&self) {
        self.accepting.store(false, Ordering::SeqCst);
        self.estate.close();
        lock(&self.listen).iter().for_each(Bound::withdraw);
    }

    /// Ends everything at once.
    pub fn stop(&self) {
        self.stop_accepting();
        self.estate.end();
        self.broadcast(|| Message::Stop);
        self.shared.plans.close();
        for thread in lock(&self.threads).drain(..) {
            // A worker that panicked has ended too.
            let _ = thread.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a pool its new settings; false when nothing in the configuration leads to it any more.
fn update(active: &Active, key: &PoolKey, pool: &PoolShared) -> bool {
    let entry = active
        .snapshot
        .databases
        .iter()
        .find(|entry| entry.name == key.entry && entry.cluster == key.cluster);
    let Some(entry) = entry else { return false };
    let nodes = active
        .snapshot
        .clusters
        .iter()
        .filter(|cluster| cluster.name == key.cluster);
    let mut nodes = nodes.flat_map(|cluster| &cluster.nodes);
    let known =
        nodes.any(|node| node.name == key.node && node.host == key.host && node.port == key.port);
    let same_database = entry
        .database
        .as_ref()
        .is_none_or(|database| *database == key.database);
    let same_user = entry.user.as_ref().is_none_or(|user| *user == key.user);
    if !(known && same_database && same_user) {
        return false;
    }
    let settings = active.snapshot.pool_settings(entry, &key.user);
    pool.update(&settings, worker::credential(active, entry, &key.user));
    true
}
