//! One thread of the engine: its runtime, its clients, its part of every pool.

mod message;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use slab::Slab;

use crate::active::Active;
use crate::buffer::Buffer;
use crate::census::Census;
use crate::config::{Database, Role, Snapshot};
use crate::consistency::{self, Keys};
use crate::console::Console;
use crate::events::Events;
use crate::halts::Halts;
use crate::handover::{self, Predecessors};
use crate::journal::Ledger;
use crate::listener;
use crate::nodes::Nodes;
use crate::notify::{Address, Mail};
use crate::plans::{Own, Plans};
use crate::pool::{Budgets, Common, PoolKey, PoolShard, PoolShared};
use crate::rt::{self, Inbox, Listener, Permits, Sender};
use crate::server::auth::{Credential, KeyCache};
use crate::server::Backends;
use crate::session::cancel::{Claim, Guesses};
use crate::session::handle::{Handle, Signal, TICK_MS};
use crate::session::Login;
use crate::settings::Buckets;
use crate::stamps::Sampler;
use crate::state;
use crate::statements::Interner;
use crate::stats::Stats;
use crate::topology::{NodeTopology, Topology};
use crate::traffic::Traffics;

pub(crate) use message::{Message, Whom};

/// How often idle servers and sessions are looked at.
const TICK_EVERY: Duration = Duration::from_millis(TICK_MS);
/// Between two rounds of a drain; a client that is silent for so long is not between a ping and its transaction.
const DRAIN_EVERY: Duration = Duration::from_millis(100);

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) active: ArcSwap<Active>,
    pub(crate) topology: ArcSwap<Topology>,
    pub(crate) nodes: Nodes,
    /// Counts changes of the two, under the lock of `pools`.
    pub(crate) revision: AtomicU64,
    pub(crate) pools: Mutex<HashMap<PoolKey, Arc<PoolShared>>>,
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) budgets: Budgets,
    pub(crate) inboxes: Arc<[Sender<Message>]>,
    pub(crate) stats: Box<[Stats]>,
    /// Clients per worker, for giving a new one to the least loaded.
    pub(crate) clients: Box<[AtomicUsize]>,
    pub(crate) census: Arc<Census>,
    pub(crate) buckets: Buckets,
    pub(crate) interner: Interner,
    pub(crate) plans: Plans,
    pub(crate) keys: KeyCache,
    pub(crate) backends: Backends,
    pub(crate) events: Events,
    /// Spans, which are not to crowd out the others.
    pub(crate) spans: Events,
    pub(crate) draining: AtomicBool,
    /// Given to clients and servers.
    pub(crate) numbers: Arc<Numbers>,
    pub(crate) traffics: Traffics,
    /// Taken after the lock of `pools` where both are.
    pub(crate) halts: Mutex<Halts>,
    /// Pools out of use, whose servers may be in use still.
    pub(crate) retired: Mutex<Vec<Weak<PoolShared>>>,
    pub(crate) console: Console,
    /// With `departed`: tells a drain that a client has gone.
    pub(crate) departures: Mutex<()>,
    pub(crate) departed: Condvar,
    /// For connections that carry CancelRequests, so that a storm of them does not become one of connections.
    pub(crate) cancels: Permits,
    pub(crate) guesses: Guesses,
    pub(crate) predecessors: Predecessors,
    /// Why consistency keys cannot be kept.
    pub(crate) key_fault: consistency::Fault,
    pub(crate) epoch: Instant,
    /// Makes mock verifiers of unknown users the same at every attempt.
    pub(crate) mock_secret: [u8; 32],
}

/// Numbers that nobody else of the process has; they fit PostgreSQL's `integer` for two thousand million connections.
#[derive(Debug, Default)]
pub(crate) struct Numbers(AtomicU64);

impl Numbers {
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// One thread of the engine.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    shards: RefCell<HashMap<*const PoolShared, Rc<PoolShard>>>,
    pub(crate) sessions: RefCell<Slab<Rc<Handle>>>,
    /// Sessions that wait for a primary to appear.
    pub(crate) homeless: RefCell<Vec<Waker>>,
    pub(crate) accepting: Cell<bool>,
    /// Accept loops and logins, to be woken when the worker drains.
    pub(crate) newcomers: RefCell<Slab<Option<Waker>>>,
    tags: Cell<u64>,
    /// Seconds, roughly, since the worker began.
    ticks: Cell<u32>,
    /// When it last looked at the clock.
    now: Cell<u64>,
    /// A task asks sessions for their end that are too old.
    is_pressing: Cell<bool>,
    /// A task asks sessions to leave for maintenance.
    empties: Cell<bool>,
    /// By cluster, samples of the primary's position.
    samplers: RefCell<HashMap<String, Rc<Sampler>>>,
    /// How far others' writes have come.
    pub(crate) consistency_keys: Rc<Keys>,
    /// The share of statements that have spans though their callers say nothing of it; `None` where none has any.
    pub(crate) sampling: Cell<Option<f64>>,
    /// What has come together of it since the last one.
    pub(crate) share: Cell<f64>,
    /// Plans that this worker has used lately.
    pub(crate) plans: RefCell<Own>,
}

impl Worker {
    /// A number that no other unnamed statement of the process has.
    pub(crate) fn next_tag(&self) -> u64 {
        self.tags.set(self.tags.get() + 1);
        (self.id as u64) << 48 | self.tags.get()
    }

    pub(crate) fn ticks(&self) -> u32 {
        self.ticks.get()
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.shared.stats[self.id]
    }

    pub(crate) fn active(&self) -> Arc<Active> {
        self.shared.active.load_full()
    }

    pub(crate) fn config(&self) -> impl std::ops::Deref<Target = Snapshot> {
        struct Guard(arc_swap::Guard<Arc<Active>>);
        impl std::ops::Deref for Guard {
            type Target = Snapshot;
            fn deref(&self) -> &Snapshot {
                &self.0.snapshot
            }
        }
        Guard(self.shared.active.load())
    }

    /// Nanoseconds since the engine started: looks at the clock.
    pub(crate) fn clock(&self) -> u64 {
        let now = self.shared.epoch.elapsed().as_nanos() as u64;
        self.now.set(now);
        now
    }

    /// The same as of the last look, which whoever took bytes from a socket has had: what follows from them needs no
    /// other. Who has waited for something else looks itself.
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// This worker's part of a pool; `None` once the worker ends.
    pub(crate) fn shard(self: &Rc<Self>, pool: &Arc<PoolShared>) -> Option<Rc<PoolShard>> {
        let make = || Rc::new(PoolShard::new(Arc::clone(pool), self));
        Some(Rc::clone(
            self.shards
                .borrow_mut()
                .entry(Arc::as_ptr(pool))
                .or_insert_with(make),
        ))
    }

    /// The pool for this entry of `databases` on this node; `None` if configuration or topology are not those of
    /// `revision` any more, so that no pool is made of what has been replaced.
    pub(crate) fn pool(
        self: &Rc<Self>,
        revision: u64,
        node: &NodeTopology,
        database: &Database,
        login: &Login,
    ) -> Option<Rc<PoolShard>> {
        let key = PoolKey {
            cluster: database.cluster.clone(),
            node: node.name.clone(),
            host: node.host.clone(),
            port: node.port,
            entry: database.name.clone(),
            database: database
                .database
                .clone()
                .unwrap_or_else(|| login.database.clone()),
            user: database.user.clone().unwrap_or_else(|| login.user.clone()),
            replication: login.replication,
        };
        let mut pools = self
            .shared
            .pools
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.shared.revision.load(Ordering::SeqCst) != revision {
            return None;
        }
        let pool = pools.entry(key).or_insert_with_key(|key| {
            let active = self.shared.active.load();
            let common = Common {
                catalog: self.shared.plans.catalogs.of(&key.cluster, &key.database),
                traffic: self.shared.traffics.of(key.shown()),
                standing: self.shared.nodes.standing(&key.cluster, &key.node),
                shares: self.shared.budgets.of(key, &active.snapshot),
                numbers: Arc::clone(&self.shared.numbers),
                inboxes: Arc::clone(&self.shared.inboxes),
            };
            PoolShared::new(
                key.clone(),
                common,
                Arc::clone(&node.addresses),
                &active.snapshot.pool_settings(database, &key.user),
                credential(&active, database, &key.user),
                self.shared.halts().is_paused(key.shown()),
            )
        });
        let pool = Arc::clone(pool);
        drop(pools);
        self.shard(&pool)
    }

    /// The samples of a cluster's primary.
    pub(crate) fn sampler(&self, cluster: &str) -> Rc<Sampler> {
        let mut samplers = self.samplers.borrow_mut();
        if let Some(sampler) = samplers.get(cluster) {
            return Rc::clone(sampler);
        }
        let sampler = Rc::<Sampler>::default();
        samplers.insert(cluster.to_owned(), Rc::clone(&sampler));
        sampler
    }

    /// Makes a client known to its worker; its place among the others.
    pub(crate) fn enroll(&self, handle: Handle) -> (Rc<Handle>, usize) {
        let handle = Rc::new(handle);
        if self.shared.draining.load(Ordering::SeqCst) {
            handle.signal(Signal::Drain);
        }
        let place = self.sessions.borrow_mut().insert(Rc::clone(&handle));
        (handle, place)
    }

    /// Ends these clients, but for those of the console, who are ended one by one.
    fn end(&self, whom: &Whom) {
        let active = self.active();
        let is_meant = |handle: &Handle| match whom {
            Whom::Client(id) => handle.visit.id == *id,
            Whom::Database(name) => {
                let asked = handle.visit.login.database.as_str();
                let is_named = |name: &String| active.snapshot.shown(asked) == name;
                active.snapshot.console(asked).is_none() && name.as_ref().is_none_or(is_named)
            }
        };
        let meant = self.sessions.borrow();
        let meant: Vec<_> = meant
            .iter()
            .filter(|(_, handle)| is_meant(handle))
            .map(|(_, handle)| Rc::clone(handle))
            .collect();
        for handle in meant {
            handle.signal(Signal::End);
        }
    }

    /// Clients of a cluster with a transaction open or a statement running on a primary.
    fn under_way(&self, cluster: &str) -> usize {
        let active = self.active();
        let is_of = |handle: &Handle| {
            let entry = active.snapshot.database(&handle.visit.login.database);
            entry.is_some_and(|entry| entry.cluster == cluster)
        };
        let sessions = self.sessions.borrow();
        let at_work = sessions.iter().filter(|(_, handle)| handle.is_at_work());
        at_work.filter(|(_, handle)| is_of(handle)).count()
    }

    fn each_shard(&self, act: impl Fn(&Rc<PoolShard>)) {
        let shards: Vec<_> = self.shards.borrow().values().cloned().collect();
        shards.iter().for_each(act);
    }

    /// Asks sessions for their end until none is left: what does not rest now may rest in the next round.
    fn begin_drain(self: &Rc<Self>) {
        let worker = Rc::downgrade(self);
        rt::spawn(rt::interval(DRAIN_EVERY, move || {
            let worker = worker.upgrade();
            worker
                .map(|worker| worker.signal_sessions(Signal::Drain))
                .is_some()
        }));
    }

    /// The same for maintenance, until that is over: who has not left by then stays.
    fn empty(self: &Rc<Self>) {
        if !self.shared.halts().is_emptying() || self.empties.replace(true) {
            return;
        }
        let worker = Rc::downgrade(self);
        rt::spawn(rt::interval(DRAIN_EVERY, move || {
            let Some(worker) = worker.upgrade() else {
                return false;
            };
            let goes_on = worker.shared.halts().is_emptying();
            let active = worker.active();
            for handle in worker.handles() {
                match goes_on {
                    _ if active
                        .snapshot
                        .console(&handle.visit.login.database)
                        .is_some() => {}
                    true => handle.signal(Signal::Drain),
                    false => handle.stay(),
                }
            }
            worker.empties.set(goes_on);
            goes_on
        }));
    }

    fn handles(&self) -> Vec<Rc<Handle>> {
        let sessions = self.sessions.borrow();
        sessions.iter().map(|(_, it)| Rc::clone(it)).collect()
    }

    fn signal_sessions(&self, signal: Signal) {
        for handle in self.handles() {
            handle.signal(signal);
        }
    }

    fn set_sampling(&self) {
        let tracing = self.config().tracing;
        self.sampling
            .set(tracing.map(|tracing| tracing.sample_ratio));
    }

    fn wake_homeless(&self) {
        self.homeless.take().into_iter().for_each(Waker::wake);
    }

    /// Finds the session that somebody may cancel, and asks the server that serves it.
    fn cancel(&self, pid: u32, claim: &Claim, done: Sender<()>) {
        let found = self
            .sessions
            .borrow()
            .iter()
            .find(|(_, handle)| handle.is_claimed(pid, claim))
            .map(|(_, h)| Rc::clone(h));
        let Some(handle) = found else { return };
        // Who asked may have left.
        let _ = done.send(());
        if handle.request_cancel(done) {
            let shared = Arc::clone(&self.shared);
            rt::spawn(async move { handle.run_cancels(&shared.cancels).await });
        }
    }

    fn tick(self: &Rc<Self>) {
        self.reap();
        self.consistency_keys.keep_up(self);
        self.ticks.set(self.ticks.get().wrapping_add(1));
        if self.id == 0 {
            self.shared.tick_nodes(self.ticks.get());
            self.shared.tick_tables();
        }
        let mut has_aged = false;
        for (_, handle) in self.sessions.borrow().iter() {
            handle.tick(self.ticks.get());
            has_aged |= handle.is_aged();
        }
        if has_aged && !self.is_pressing.replace(true) {
            self.press_aged();
        }
    }

    /// As in a drain, asks sessions for their end that are too old, until none is left.
    fn press_aged(self: &Rc<Self>) {
        let worker = Rc::downgrade(self);
        rt::spawn(rt::interval(DRAIN_EVERY, move || {
            let Some(worker) = worker.upgrade() else {
                return false;
            };
            let mut has_aged = false;
            for (_, handle) in worker.sessions.borrow().iter().filter(|(_, h)| h.is_aged()) {
                handle.press();
                has_aged = true;
            }
            worker.is_pressing.set(has_aged);
            has_aged
        }));
    }

    /// Gives mail to its session, if that is still there.
    fn forward(&self, to: Address, mail: Mail) {
        let sessions = self.sessions.borrow();
        let found = sessions.get(to.place).filter(|it| it.pid() == to.pid);
        if let Some(handle) = found {
            handle.put(mail);
        }
    }

    fn reap(&self) {
        self.each_shard(|shard| shard.reap());
        self.shards
            .borrow_mut()
            .retain(|_, shard| !(shard.shared.is_retired() && shard.is_unused()));
    }

    fn receive(self: &Rc<Self>, message: Message) -> bool {
        match message {
            Message::Client(socket, role) => listener::admit(self, socket, role),
            Message::Steal { pool, to } => {
                if let Some(shard) = self.shard(&pool) {
                    shard.steal(to);
                }
            }
            Message::Deliver(parcel) => {
                self.clock();
                if let Some(shard) = self.shard(parcel.slot().pool()) {
                    shard.deliver(*parcel);
                }
            }
            Message::Evict(pool) => {
                if let Some(shard) = self.shard(&pool) {
                    shard.evict();
                }
            }
            Message::Kick(pool) => {
                if let Some(shard) = self.shard(&pool) {
                    shard.kick();
                }
            }
            Message::Cancel { pid, claim, done } => self.cancel(pid, &claim, done),
            Message::Report(to) => {
                let now = self.clock();
                let sessions = self.sessions.borrow();
                let rows = sessions
                    .iter()
                    .map(|(_, handle)| state::client(&self.shared, handle, now));
                // Who asked may have given up.
                let _ = to.send(rows.collect());
            }
            Message::Settle { cluster, done } => {
                // Who asked may have given up.
                let _ = done.send(self.under_way(&cluster));
            }
            Message::End(whom) => self.end(&whom),
            Message::Mail { to, mail } => self.forward(to, mail),
            Message::Changed => {
                let is_cut = self.shards.borrow().values().any(|it| it.shared.is_cut());
                self.each_shard(|shard| {
                    if shard.shared.is_retired() {
                        shard.vacate();
                    } else {
                        shard.reap();
                    }
                    shard.kick();
                });
                self.wake_homeless();
                self.set_sampling();
                let config = self.config();
                for (_, handle) in self.sessions.borrow().iter() {
                    handle.set_limits(*config.user_limits(handle.user()));
                    if is_cut {
                        handle.wake();
                    }
                }
            }
            Message::Answer(socket) => {
                rt::spawn(handover::answer_successors(Rc::clone(self), socket));
            }
            Message::Empty => self.empty(),
            Message::Withdraw => self.stop_accepting(),
            Message::Drain => {
                self.stop_accepting();
                self.begin_drain();
                self.wake_homeless();
            }
            Message::Stop => return false,
        }
        true
    }
}

/// How a pool logs in: the entry's own password, else what the users file knows of the role.
pub(crate) fn credential(active: &Active, database: &Database, user: &str) -> Credential {
    match (&database.user, &database.password) {
        (Some(_), Some(password)) => Credential::Plain(password.clone()),
        _ => active.users.credential(&database.cluster, user),
    }
}

/// The thread's whole life.
pub(crate) async fn run(
    id: usize,
    shared: Arc<Shared>,
    mut inbox: Inbox<Message>,
    sockets: Vec<(socket2::Socket, Role)>,
) {
    let worker = Rc::new(Worker {
        id,
        shared,
        shards: RefCell::default(),
        sessions: RefCell::default(),
        homeless: RefCell::default(),
        accepting: Cell::new(true),
        newcomers: RefCell::default(),
        tags: Cell::new(0),
        ticks: Cell::new(0),
        now: Cell::new(0),
        is_pressing: Cell::new(false),
        empties: Cell::default(),
        samplers: RefCell::default(),
        consistency_keys: Rc::default(),
        sampling: Cell::default(),
        share: Cell::default(),
        plans: RefCell::default(),
    });
    worker.set_sampling();
    for (socket, role) in sockets {
        match Listener::new(socket) {
            Ok(socket) => rt::spawn(listener::accept_loop(Rc::clone(&worker), socket, role)),
            Err(err) => worker.shared.events.log(
                crate::events::Level::Error,
                "a listener could not be started",
                vec![("error", err.to_string())],
            ),
        }
    }
    worker.consistency_keys.keep_up(&worker);
    let ticked = Rc::downgrade(&worker);
    rt::spawn(rt::interval(TICK_EVERY, move || {
        ticked.upgrade().map(|worker| worker.tick()).is_some()
    }));
    while let Some(message) = inbox.recv().await {
        if !worker.receive(message) {
            break;
        }
    }
    // Idle servers hold slots whose end looks for waiters: let go of them while the worker still stands.
    worker.each_shard(|shard| shard.vacate());
}
