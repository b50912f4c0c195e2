//! One worker's part of a pool. A server comes back to the client that has waited longest: here, or on another
//! worker if one has waited clearly longer there.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use helios_wire::sqlstate;

use super::shared::Seen;
use super::waiters::{Denial, Grant, Waiters};
use super::{PoolShared, SamplerSeat, Slot};
use crate::config::PoolSettings;
use crate::error::Refusal;
use crate::events::{Event, Level};
use crate::rt;
use crate::server::auth::ConnectError;
use crate::server::{connect, idle, Parcel, Server};
use crate::settings::Bucket;
use crate::traffic::Counts;
use crate::worker::{Message, Worker};

/// How much longer a client elsewhere must have waited, beyond one and a half times as long as the first one here, to
/// be served before it. Moving a server costs both workers system calls, so small differences are not worth it.
const CLEARLY_OLDER: Duration = Duration::from_millis(1);
/// The same for a client of another pool, for which a connection is closed here and another opened there.
const WORTH_A_LOGIN: Duration = Duration::from_millis(100);
/// How often waits are checked against their limit, while there are any.
const PATIENCE_CHECK: Duration = Duration::from_millis(100);
/// Connections that a shard opens at a time.
const MAX_CONNECTING: usize = 4;
/// First and longest pause after a connection attempt that failed.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Idle servers looked at for one that has a client's settings already.
const BUCKET_SEARCH: usize = 8;

/// One worker's part of a pool.
#[derive(Debug)]
pub(crate) struct PoolShard {
    pub(crate) shared: Arc<PoolShared>,
    seen: RefCell<Seen>,
    worker: Weak<Worker>,
    me: usize,
    /// Last used last, so that caches stay warm and the rest may age out.
    #[allow(
        clippy::vec_box,
        reason = "a server moves between owners all the time, and is large"
    )]
    idle: RefCell<Vec<Box<Server>>>,
    waiters: RefCell<Waiters>,
    connecting: Cell<usize>,
    /// A task checks the waits against their limit.
    watched: Cell<bool>,
    /// The time of the last reap: idle times and lifetimes need no better, and a clock read costs.
    now: Cell<Instant>,
    /// The same on the process clock, and when that began.
    now_ns: Cell<u64>,
    epoch: Instant,
    last_error: RefCell<Option<String>>,
}

/// A client's place in the queue. Dropped early, it passes on what it was given.
#[derive(Debug)]
pub(crate) struct Ticket {
    shard: Rc<PoolShard>,
    slot: usize,
}

impl Ticket {
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Grant> {
        self.shard.waiters.borrow_mut().poll(self.slot, cx)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let (was_queued, left) = self.shard.waiters.borrow_mut().remove(self.slot);
        if was_queued {
            self.shard.publish();
        }
        if let Some(Ok(server)) = left {
            self.shard.give(server);
        }
    }
}

impl PoolShard {
    pub(crate) fn new(shared: Arc<PoolShared>, worker: &Rc<Worker>) -> PoolShard {
        PoolShard {
            seen: RefCell::new(Seen::new(&shared)),
            shared,
            worker: Rc::downgrade(worker),
            me: worker.id,
            idle: RefCell::default(),
            waiters: RefCell::default(),
            connecting: Cell::new(0),
            watched: Cell::new(false),
            now: Cell::new(Instant::now()),
            now_ns: Cell::new(worker.clock()),
            epoch: worker.shared.epoch,
            last_error: RefCell::default(),
        }
    }

    /// What `look` finds in the pool's settings.
    pub(crate) fn with_settings<T>(&self, look: impl FnOnce(&PoolSettings) -> T) -> T {
        look(self.seen.borrow_mut().settings())
    }

    fn is_unwanted(&self, server: &Server, now: Instant) -> bool {
        let mut seen = self.seen.borrow_mut();
        self.shared.is_unwanted(server, now, &mut seen)
    }

    /// What this worker counts for the database.
    pub(crate) fn counts(&self) -> &Counts {
        self.shared.traffic.of(self.me)
    }

    /// An idle server at once, unless somebody has waited before.
    pub(crate) fn try_take(&self, bucket: &Arc<Bucket>) -> Option<Box<Server>> {
        if !self.waiters.borrow().is_empty() || self.shared.is_paused() {
            return None;
        }
        let mut idle = self.idle.borrow_mut();
        loop {
            let recent = idle.iter().rev().take(BUCKET_SEARCH);
            let mut buckets = recent.map(|server| &server.state.bucket);
            let at = buckets
                .position(|had| Arc::ptr_eq(had, bucket))
                .unwrap_or(0);
            let at = idle.len().checked_sub(at + 1)?;
            let server = idle.remove(at);
            self.shared
                .face(self.me)
                .idle
                .store(idle.len(), Ordering::SeqCst);
            // What came while it was idle is looked at by a task of its own, never by the next client.
            if server.conn.is_readable() {
                self.inspect(server);
            } else {
                return Some(server);
            }
        }
    }

    /// A place in the queue, and whatever can be done to shorten it.
    pub(crate) fn enqueue(self: &Rc<Self>, now: u64) -> Ticket {
        let slot = self.waiters.borrow_mut().push(now);
        self.publish();
        self.watch();
        // An idle server here, with others waiting before, cannot be: `give` would have granted it.
        if let Some(worker) = self.shared.idle_elsewhere(self.me) {
            let wanted = Message::Steal {
                pool: Arc::clone(&self.shared),
                to: self.me,
            };
            self.shared.post(worker, wanted);
        } else {
            self.kick();
        }
        Ticket {
            shard: Rc::clone(self),
            slot,
        }
    }

    /// Takes back a clean server with nothing outstanding.
    pub(crate) fn give(&self, mut server: Box<Server>) {
        let now = self.now.get();
        if self.is_unwanted(&server, now) || self.must_yield() {
            return;
        }
        // What came behind its last reply is for no client, and must not get lost on the way to another worker.
        if !server.conn.rbuf.is_empty() {
            return self.inspect(server);
        }
        if let Some(worker) = self.clearly_older_elsewhere() {
            return self.send(server, worker);
        }
        server.state.idle_since = now;
        let backend = &server.state.backend;
        backend.set_returned(self.now_ns.get());
        backend.set_prepared(server.state.statements.len());
        let grant = self.waiters.borrow_mut().grant(Ok(server));
        self.publish();
        if let Some(Ok(server)) = grant {
            server.conn.watch();
            self.idle.borrow_mut().push(server);
            self.shared
                .face(self.me)
                .idle
                .store(self.idle.borrow().len(), Ordering::SeqCst);
            // Somebody may have begun to wait elsewhere before this server showed as idle.
            if let Some((worker, _)) = self.shared.oldest_elsewhere(self.me) {
                self.steal(worker);
            }
        }
    }

    /// The worker whose first client is to be served before ours.
    fn clearly_older_elsewhere(&self) -> Option<usize> {
        let (worker, since) = self.shared.oldest_elsewhere(self.me)?;
        let mine = self.waiters.borrow().oldest();
        if mine == u64::MAX {
            return Some(worker);
        }
        let now = self.worker.upgrade()?.now();
        is_clearly_older(since, mine, now, CLEARLY_OLDER).then_some(worker)
    }

    /// Whether a client of another pool is to have what one of ours would get, since they share a limit.
    fn must_yield(&self) -> bool {
        let Some(since) = self.shared.oldest_rival() else {
            return false;
        };
        let mine = self.waiters.borrow().oldest();
        let Some(worker) = self.worker.upgrade() else {
            return true;
        };
        mine == u64::MAX || is_clearly_older(since, mine, worker.clock(), WORTH_A_LOGIN)
    }

    /// Closes the server that has been idle longest, for a client of another pool.
    pub(crate) fn evict(&self) {
        let mut idle = self.idle.borrow_mut();
        let oldest = (!idle.is_empty()).then(|| idle.remove(0));
        self.shared
            .face(self.me)
            .idle
            .store(idle.len(), Ordering::SeqCst);
        drop(idle);
        drop(oldest);
    }

    /// Sends an idle server to a worker whose clients wait.
    pub(crate) fn steal(&self, to: usize) {
        let server = self.idle.borrow_mut().pop();
        self.shared
            .face(self.me)
            .idle
            .store(self.idle.borrow().len(), Ordering::SeqCst);
        match server {
            Some(server) if server.conn.is_readable() => self.inspect(server),
            Some(server) => self.send(server, to),
            None => self
                .shared
                .post(to, Message::Kick(Arc::clone(&self.shared))),
        }
    }

    fn send(&self, server: Box<Server>, to: usize) {
        if let Some(parcel) = server.pack() {
            self.shared.post(to, Message::Deliver(Box::new(parcel)));
        }
    }

    /// Takes in a server that another worker sent.
    pub(crate) fn deliver(&self, parcel: Parcel) {
        if let Some(server) = parcel.unpack() {
            self.give(server);
        }
    }

    /// Opens connections while clients wait for more than are on their way.
    pub(crate) fn kick(&self) {
        while self.waiters.borrow().len() > self.connecting.get()
            && self.connecting.get() < MAX_CONNECTING
        {
            let with_reserve = self.may_use_reserve();
            // The rule where clients wait, and quicker to find out than what others may have.
            if !self.shared.has_own_room(with_reserve) || self.must_yield() {
                return;
            }
            let Some(slot) = self.shared.reserve(with_reserve) else {
                if self.shared.has_own_room(with_reserve) {
                    self.shared.make_room();
                }
                return;
            };
            self.open(slot);
        }
    }

    fn may_use_reserve(&self) -> bool {
        let (reserve, patience_ms) =
            self.with_settings(|settings| (settings.reserve_size, settings.reserve_timeout_ms));
        if reserve == 0 || self.shared.has_own_room(false) {
            return false;
        }
        let (oldest, worker) = (self.waiters.borrow().oldest(), self.worker.upgrade());
        let now = worker.map_or(0, |worker| worker.clock());
        now.saturating_sub(oldest) >= patience_ms * 1_000_000
    }

    fn open(&self, slot: Slot) {
        let Some(worker) = self.worker.upgrade() else {
            return;
        };
        let Some(shard) = worker.shard(&self.shared) else {
            return;
        };
        self.connecting.set(self.connecting.get() + 1);
        rt::spawn(async move {
            let opened = shard.open_with_patience(slot, &worker).await;
            shard.connecting.set(shard.connecting.get() - 1);
            worker.clock();
            if let Some(server) = opened {
                shard.give(server);
            }
            shard.kick();
        });
    }

    /// Connects, and tries again while clients wait and the cause may pass.
    async fn open_with_patience(&self, mut slot: Slot, worker: &Rc<Worker>) -> Option<Box<Server>> {
        let mut pause = BACKOFF.0;
        loop {
            let err = match self.connect(slot, worker, &[]).await {
                Ok(server) => return Some(server),
                Err(err) => err,
            };
            if worker.shared.is_reader(&self.shared) {
                // Other nodes answer what this one would.
                self.deny_all(&Denial::Moved);
                return None;
            }
            if !err.may_pass() {
                self.deny_all(&Denial::Refused(err.into()));
                return None;
            }
            rt::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
            if self.waiters.borrow().is_empty() || self.shared.is_retired() {
                return None;
            }
            slot = self.shared.reserve(self.may_use_reserve())?;
        }
    }

    /// Opens a connection for one client, which will not give it back. Who asks for one is not made to wait.
    pub(crate) async fn open_own(
        &self,
        worker: &Worker,
        settings: &[(String, String)],
    ) -> Result<Box<Server>, Refusal> {
        let slot = self.shared.reserve(false).ok_or_else(|| {
            if self.shared.is_paused() {
                let name = self.shared.key.shown();
                return paused(format!("database \"{name}\" is paused"));
            }
            let text = format!(
                "no free replication connection for user \"{}\": all {} are in use",
                self.shared.key.user,
                self.shared.settings().max_size
            );
            Refusal::new(sqlstate::TOO_MANY_CONNECTIONS, text)
                .hint("Raise pool.max_size of the database entry.")
        })?;
        Ok(self.connect(slot, worker, settings).await?)
    }

    /// Opens a connection that samples positions and serves no client.
    pub(crate) async fn open_sampler(&self, worker: &Worker) -> Option<(Box<Server>, SamplerSeat)> {
        let (slot, seat) = self.shared.reserve_sampler()?;
        let server = self.connect(slot, worker, &[]).await.ok()?;
        Some((server, seat))
    }

    async fn connect(
        &self,
        slot: Slot,
        worker: &Worker,
        settings: &[(String, String)],
    ) -> Result<Box<Server>, ConnectError> {
        let opened = connect::connect(slot, worker, settings).await;
        match &opened {
            Ok(_) => {
                *self.last_error.borrow_mut() = None;
                worker.shared.node_connected(&self.shared);
            }
            Err(err) => self.report(worker, err),
        }
        opened
    }

    fn report(&self, worker: &Worker, err: &ConnectError) {
        let key = &self.shared.key;
        *self.last_error.borrow_mut() = Some(err.to_string());
        worker.shared.node_refused(&self.shared, err);
        let events = &worker.shared.events;
        let fields = vec![
            ("node", key.node.clone()),
            ("database", key.database.clone()),
            ("user", key.user.clone()),
            ("error", err.to_string()),
        ];
        events.log(Level::Warning, "server connection failed", fields);
        if err.sqlstate() == Some(sqlstate::TOO_MANY_CONNECTIONS) {
            return; // it lives, and polling it would not make room
        }
        events.send(Event::NodeSuspect {
            cluster: key.cluster.clone(),
            node: key.node.clone(),
            reason: err.to_string(),
        });
    }

    /// Looks at what an idle server has sent; it comes back if it is still good.
    fn inspect(&self, mut server: Box<Server>) {
        let Some(worker) = self.worker.upgrade() else {
            return;
        };
        let Some(shard) = worker.shard(&self.shared) else {
            return;
        };
        rt::spawn(async move {
            match idle::listen(&mut server).await {
                Ok(()) => shard.give(server),
                Err(doubt) => {
                    let key = &shard.shared.key;
                    let (cluster, node) = (key.cluster.clone(), key.node.clone());
                    worker.shared.events.send(Event::NodeSuspect {
                        cluster,
                        node,
                        reason: doubt.0,
                    });
                }
            }
        });
    }

    /// Sees to it that no wait lasts longer than the pool's limit.
    fn watch(self: &Rc<Self>) {
        if self.watched.replace(true) {
            return;
        }
        let shard = Rc::clone(self);
        rt::spawn(async move {
            while !shard.waiters.borrow().is_empty() {
                rt::sleep(PATIENCE_CHECK).await;
                let Some(worker) = shard.worker.upgrade() else {
                    return;
                };
                shard.expire_waiters(worker.clock());
                shard.kick();
            }
            shard.watched.set(false);
        });
    }

    fn expire_waiters(&self, now: u64) {
        let settings = self.shared.settings();
        let limit = Duration::from_millis(settings.acquire_timeout_ms);
        let over = |oldest: u64| {
            oldest != u64::MAX && Duration::from_nanos(now.saturating_sub(oldest)) >= limit
        };
        while over(self.waiters.borrow().oldest()) {
            let refusal = self.timed_out(limit, settings.max_size);
            self.waiters
                .borrow_mut()
                .grant(Err(Denial::Refused(refusal)));
        }
        self.publish();
    }

    fn timed_out(&self, limit: Duration, max_size: usize) -> Refusal {
        let key = &self.shared.key;
        let seconds = limit.as_secs_f64();
        if self.shared.is_paused() {
            let name = key.shown();
            return paused(format!(
                "database \"{name}\" was paused for more than {seconds} s"
            ));
        }
        if let Some(cause) = &*self.last_error.borrow() {
            let text = format!(
                "no connection to node \"{}\" within {seconds} s: {cause}",
                key.node
            );
            return Refusal::new(sqlstate::CANNOT_CONNECT_NOW, text)
                .hint("The node is down, unreachable or full; see /nodes of the admin API.");
        }
        if self.shared.has_own_room(false) {
            let text = format!(
                "no free server connection for database \"{}\" within {seconds} s: other pools have used up a limit that they share with it",
                key.database
            );
            return Refusal::new(sqlstate::TOO_MANY_CONNECTIONS, text)
                .hint("Raise max_server_connections of the limits, the database or the user.");
        }
        let text = format!(
            "no free server connection for database \"{}\" within {seconds} s: all {max_size} are in use",
            key.database
        );
        Refusal::new(sqlstate::TOO_MANY_CONNECTIONS, text)
            .hint("Raise pool.max_size or lower the number of clients with open transactions.")
    }

    /// Closes idle servers that are too old, ended or no longer wanted. Called every second.
    pub(crate) fn reap(&self) {
        let settings = self.shared.settings();
        let now = Instant::now();
        self.now.set(now);
        let since = now.saturating_duration_since(self.epoch);
        self.now_ns.set(since.as_nanos() as u64);
        let timeout = Duration::from_millis(settings.idle_timeout_ms);
        let mut spare = self.shared.idle().saturating_sub(settings.min_idle);
        let mut kept = Vec::new();
        for server in self.idle.take() {
            let unwanted = self.is_unwanted(&server, now);
            let rusty = !timeout.is_zero() && server.idle_for(now) >= timeout && spare > 0;
            if unwanted || rusty {
                spare = spare.saturating_sub(1);
            } else if server.conn.is_readable() {
                self.inspect(server);
            } else {
                kept.push(server);
            }
        }
        self.shared
            .face(self.me)
            .idle
            .store(kept.len(), Ordering::SeqCst);
        self.idle.replace(kept);
        if !self.shared.is_retired() && self.me == 0 {
            self.fill_up(settings.min_idle);
        }
    }

    fn fill_up(&self, min_idle: usize) {
        let mut missing = min_idle.saturating_sub(self.shared.idle() + self.connecting.get());
        while missing > 0 && self.connecting.get() < MAX_CONNECTING {
            let Some(slot) = self.shared.reserve(false) else {
                return;
            };
            self.open(slot);
            missing -= 1;
        }
    }

    fn deny_all(&self, denial: &Denial) {
        while self
            .waiters
            .borrow_mut()
            .grant(Err(denial.clone()))
            .is_none()
        {}
        self.publish();
    }

    /// Closes idle servers, and has whoever waits ask again where to go.
    pub(crate) fn vacate(&self) {
        let idle = self.idle.take();
        self.shared.face(self.me).idle.store(0, Ordering::SeqCst);
        drop(idle);
        self.deny_all(&Denial::Moved);
    }

    /// Whether nothing is left of a retired pool here.
    pub(crate) fn is_unused(&self) -> bool {
        self.waiters.borrow().is_empty()
            && self.idle.borrow().is_empty()
            && self.connecting.get() == 0
    }

    fn publish(&self) {
        let waiters = self.waiters.borrow();
        let face = self.shared.face(self.me);
        face.waiting.store(waiters.len(), Ordering::Relaxed);
        face.oldest.store(waiters.oldest(), Ordering::SeqCst);
    }
}

/// Whether a wait since `theirs` goes before one since `ours`.
fn is_clearly_older(theirs: u64, ours: u64, now: u64, margin: Duration) -> bool {
    let (theirs, ours) = (now.saturating_sub(theirs), now.saturating_sub(ours));
    theirs > ours * 3 / 2 + margin.as_nanos() as u64
}

impl From<ConnectError> for Refusal {
    fn from(err: ConnectError) -> Refusal {
        match err {
            ConnectError::Io(text) => Refusal::new(sqlstate::CANNOT_CONNECT_NOW, format!("no connection to the server: {text}")),
            ConnectError::Server(message) => Refusal::Server(message.into()),
            ConnectError::Auth(text) => Refusal::new(sqlstate::INVALID_PASSWORD, text)
                .hint("Give the database entry a user and password, or the user a plain-text secret in the users file."),
            ConnectError::Tls(text) | ConnectError::Protocol(text) => Refusal::new(sqlstate::CONNECTION_FAILURE, text),
        }
    }
}

fn paused(text: String) -> Refusal {
    Refusal::new(sqlstate::CANNOT_CONNECT_NOW, text)
        .hint("An administrator has paused it; RESUME on the console ends that.")
}
