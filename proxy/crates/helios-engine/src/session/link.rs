//! Getting a server for a session, giving it back when its stream is at rest, and leaving it when the client goes.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use helios_wire::backend::Status;
use helios_wire::sqlstate;

use super::committing::Durability;
use super::handle::Signal;
use super::reader::{Found, Way};
use super::reading::Reach;
use super::residue::Pin;
use super::startup::Ended;
use super::{Homeless, Link, Session, HIGH_WATER};
use crate::buffer::{Bounds, Full, Place, Room};
use crate::config::{Database, PoolMode};
use crate::error::{Doubt, Refusal};
use crate::fault::Fault;
use crate::pool::{Denial, Grant, PoolShard, Profile, Ticket};
use crate::rt;
use crate::server::{connect, idle, Dirt, Doubts, Server};
use crate::settings::Bucket;

/// How long a CancelRequest under way may hold a server back before it is closed instead.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);
/// How often a server that is held back looks whether it may go on.
const CANCEL_POLL: Duration = Duration::from_millis(2);

/// How a wait for a server ends.
#[derive(Debug)]
pub(super) enum Wait {
    Granted(Grant),
    Cancelled,
    Draining,
    Ended,
    Left,
}

/// A server and how it was come to.
type Taken = (Box<Server>, Way);

impl Session {
    /// Waits for a server and links it.
    pub(super) async fn acquire(&mut self) -> Result<(), Ended> {
        // A cancel that came while nothing ran has nothing to stop.
        self.handle.clear_cancel();
        if self.attempt.has_token {
            Box::pin(self.take_hint()).await?;
        }
        if self.has_key() {
            Box::pin(self.take_key()).await?;
        }
        self.catch_up().await?;
        loop {
            let found = self.find_way().map_err(Ended::Refused)?;
            let (mut server, way) = match self.take_idle(found) {
                Ok(taken) => taken,
                Err(found) => self.wait_for_server(found).await?,
            };
            let hinted = self.hinted_bucket();
            let bucket = hinted.as_ref().unwrap_or(&self.bucket);
            if !Arc::ptr_eq(&server.state.bucket, bucket) {
                if server.state.bucket.shows_through(bucket) {
                    continue;
                }
                let bucket = Arc::clone(bucket);
                match Box::pin(self.apply_settings(server, &way.shard, bucket)).await? {
                    Some(ready) => server = ready,
                    None => continue,
                }
            }
            // Who has waited may have got it after its node was held or fenced, when nothing may begin there.
            if self.is_on_course() {
                self.attach(server, way);
                return Ok(());
            }
            way.shard.give(server);
        }
    }

    /// Whether configuration and topology are still those by which the session was led to its server.
    fn is_on_course(&self) -> bool {
        let revision = self.worker.shared.revision.load(Ordering::SeqCst);
        self.route
            .as_ref()
            .is_some_and(|route| route.revision == revision)
    }

    /// An idle server at once, if there is one; else what is to be waited for.
    fn take_idle(&mut self, found: Found) -> Result<Taken, Found> {
        let way = found.map_err(Err)?;
        match self.try_take(&way.shard) {
            Some(server) => {
                self.worker.stats().acquire.record(0);
                self.waited = 0;
                Ok((server, way))
            }
            None => Err(Ok(way)),
        }
    }

    /// An idle server, rather one that has the settings of the next transaction.
    fn try_take(&self, shard: &Rc<PoolShard>) -> Option<Box<Server>> {
        let hinted = self.hinted_bucket();
        shard.try_take(hinted.as_ref().unwrap_or(&self.bucket))
    }

    async fn wait_for_server(&mut self, found: Found) -> Result<Taken, Ended> {
        let since = self.worker.now();
        self.handle.set_waiting(since);
        let taken = self.wait_since(since, found).await;
        self.handle.set_waiting(0);
        if let Ok((_, way)) = &taken {
            // As of the answer that freed the server.
            let waited = self.worker.now().saturating_sub(since);
            self.worker.stats().acquire.record(waited);
            self.waited = waited;
            way.shard.counts().wait_us.add(waited / 1000);
        }
        taken
    }

    async fn wait_since(&mut self, since: u64, mut found: Found) -> Result<Taken, Ended> {
        let mut place = None;
        loop {
            let way = match found {
                Ok(way) => way,
                Err(homeless) => {
                    Box::pin(self.wait_for_primary(since, homeless, &mut place)).await?;
                    if self.reach == Reach::NoStandby {
                        self.reach = Reach::Standby;
                    }
                    found = self.find_way().map_err(Ended::Refused)?;
                    continue;
                }
            };
            place = None;
            // The pool may be another one than a moment ago.
            if let Some(server) = self.try_take(&way.shard) {
                return Ok((server, way));
            }
            let ticket = way.shard.enqueue(since);
            let wait = poll_fn(|cx| self.poll_wait(Some(&ticket), cx)).await;
            drop(ticket);
            match wait {
                Wait::Granted(Ok(server)) => return Ok((server, way)),
                Wait::Granted(Err(Denial::Moved)) => {
                    // A standby that lets nobody in is not waited for. What is for the primary stays that.
                    if self.reach == Reach::Standby {
                        self.reach = Reach::NoStandby;
                    }
                    found = self.find_way().map_err(Ended::Refused)?;
                }
                Wait::Granted(Err(Denial::Refused(refusal))) => {
                    return Err(Ended::Refused(refusal))
                }
                wait => return Err(self.end_by(&wait)),
            }
        }
    }

    /// Waits for a granted server, and for the client to leave, cancel or, without a queue, be asked to end.
    pub(super) fn poll_wait(
        &mut self,
        ticket: Option<&Ticket>,
        cx: &mut Context<'_>,
    ) -> Poll<Wait> {
        self.handle.listen(cx);
        if let Some(Poll::Ready(grant)) = ticket.map(|ticket| ticket.poll(cx)) {
            return Poll::Ready(Wait::Granted(grant));
        }
        match self.handle.pending() {
            Signal::None => {}
            Signal::Cancel => return Poll::Ready(Wait::Cancelled),
            // Who is in a queue has asked already, and is served like a transaction under way.
            Signal::Drain if ticket.is_some() => {}
            Signal::Drain => return Poll::Ready(Wait::Draining),
            Signal::End => return Poll::Ready(Wait::Ended),
        }
        while self.client.rbuf.len() <= HIGH_WATER {
            match self.client.poll_fill(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Wait::Left),
                Poll::Ready(Ok(n)) => self.count_received(n),
            }
        }
        Poll::Pending
    }

    /// Waits, and for the client to leave, cancel or be ended. False: no time for that, since the worker drains.
    pub(super) async fn wait_a_while(&mut self, time: Duration) -> Result<bool, Ended> {
        match rt::timeout(time, poll_fn(|cx| self.poll_wait(None, cx))).await {
            None => Ok(true),
            Some(Wait::Draining) => Ok(false),
            Some(wait) => Err(self.end_by(&wait)),
        }
    }

    /// What becomes of a session whose wait ended so.
    pub(super) fn end_by(&self, wait: &Wait) -> Ended {
        match wait {
            Wait::Cancelled => self.cancelled(),
            Wait::Draining => Ended::Refused(Refusal::shutdown()),
            Wait::Ended => Ended::Refused(Refusal::terminated()),
            Wait::Left | Wait::Granted(_) => Ended::Quietly,
        }
    }

    pub(super) fn cancelled(&self) -> Ended {
        Ended::Refused(self.cancellation())
    }

    pub(super) fn cancellation(&self) -> Refusal {
        self.handle.clear_cancel();
        let text = "canceling statement due to user request";
        Refusal::new(sqlstate::QUERY_CANCELED, text)
    }

    /// Waits for a primary in the buffer, within its bounds and the pool's limit of time. `place` is kept as long as the
    /// session has to come back.
    pub(super) async fn wait_for_primary(
        &mut self,
        since: u64,
        homeless: Homeless,
        place: &mut Option<Place>,
    ) -> Result<(), Ended> {
        let active = self.worker.active();
        let entry = self.entry(&active).map_err(Ended::Refused)?;
        let buffer = Arc::clone(&self.worker.shared.buffer);
        let refused = |text: String, hint: &str| {
            let text = format!("{text}: {}", homeless.reason);
            Ended::Refused(Refusal::new(sqlstate::CANNOT_CONNECT_NOW, text).hint(hint))
        };
        let limit = Duration::from_millis(entry.pool.acquire_timeout_ms);
        let timed_out = || {
            buffer.count_refused();
            let text = format!("no server within {} s", limit.as_secs_f64());
            refused(text, "See /nodes and /topology of the admin API.")
        };
        let bounds = Bounds {
            clients: active.snapshot.limits.max_buffered_clients,
            bytes: active.snapshot.limits.max_buffered_bytes,
        };
        let overflown = |full: Full| match full {
            Full::Clients => refused(
                format!("{} clients wait for a primary already", bounds.clients),
                "Try again, or raise limits.max_buffered_clients.",
            ),
            Full::Bytes => refused(
                format!(
                    "clients that wait for a primary have sent {} bytes already",
                    bounds.bytes
                ),
                "Try again, or raise limits.max_buffered_bytes.",
            ),
        };
        let waited = Duration::from_nanos(self.worker.clock().saturating_sub(since));
        let left = limit.checked_sub(waited).ok_or_else(timed_out)?;
        let pause = homeless.look_again.map_or(left, |pause| pause.min(left));
        let place = match place {
            Some(place) => place,
            None => place.insert(buffer.enter(self.room(&entry), bounds).map_err(overflown)?),
        };
        let worker = Rc::clone(&self.worker);
        let changed = poll_fn(|cx| {
            if worker.shared.revision.load(Ordering::SeqCst) != homeless.revision {
                return Poll::Ready(Ok(None));
            }
            worker.homeless.borrow_mut().push(cx.waker().clone());
            let wait = self.poll_wait(None, cx).map(|wait| Ok(Some(wait)));
            match place.hold(self.client.rbuf.len(), bounds) {
                Ok(()) => wait,
                Err(full) => Poll::Ready(Err(full)),
            }
        });
        match rt::timeout(pause, changed).await {
            None if pause < left => Ok(()),
            None => Err(timed_out()),
            Some(Err(full)) => Err(overflown(full)),
            Some(Ok(None)) => Ok(()),
            Some(Ok(Some(wait))) => Err(self.end_by(&wait)),
        }
    }

    /// The pool that it waits for, wherever that will be.
    fn room(&self, entry: &Database) -> Room {
        let login = self.login();
        let database = entry.database.as_ref().unwrap_or(&login.database);
        let user = entry.user.as_ref().unwrap_or(&login.user);
        (entry.name.clone(), database.clone(), user.clone())
    }

    /// Gives the server the settings of this session's transaction. Awaited, so that no statement can run under others.
    /// `None`: it was lost meanwhile, and another one will do.
    async fn apply_settings(
        &mut self,
        mut server: Box<Server>,
        shard: &Rc<PoolShard>,
        bucket: Arc<Bucket>,
    ) -> Result<Option<Box<Server>>, Ended> {
        let sql = server.state.bucket.to(&bucket);
        match idle::run(&mut server, &sql).await {
            Ok(Ok(())) => {
                server.state.bucket = bucket;
                Ok(Some(server))
            }
            Ok(Err(message)) => {
                shard.give(server);
                Err(Ended::Refused(Refusal::Server(message.into())))
            }
            Err(Doubt(cause)) => {
                let key = &shard.shared.key;
                let events = &self.worker.shared.events;
                events.server_lost(&key.cluster, &key.node, &cause);
                match self.may_be_spared() {
                    true => Ok(None),
                    false => Err(Ended::Refused(Refusal::server_lost(&cause))),
                }
            }
        }
    }

    pub(super) fn attach(&mut self, mut server: Box<Server>, way: Way) {
        let (shard, reader) = way.take(&self.handle);
        shard.counts().assignments.add(1);
        self.handle
            .set_backend(Some(Arc::clone(&server.state.backend)));
        server.state.statements.begin_batch();
        let kept = Rc::clone(&shard);
        self.link = Some(kept.with_settings(|settings| Link {
            server,
            mode: settings.mode,
            prepared_statements: settings.prepared_statements,
            server_prepared_bytes: settings.server_prepared_bytes,
            prepared: false,
            unlearned: Vec::new(),
            keeping: None,
            renamed: Vec::new(),
            bound: None,
            definition: None,
            carries_state: settings.mode != PoolMode::Session && settings.reset_query.is_none(),
            doubts: Doubts::NONE,
            discarded: false,
            reset: false,
            redefines: false,
            fatal: false,
            is_told: false,
            has_run: false,
            durability: Durability::default(),
            write_mode: self.hinted_write_mode(),
            reader,
            shard,
        }));
    }

    /// The reported parameters that this client is to be greeted with.
    pub(super) async fn profile(&mut self) -> Result<Profile, Ended> {
        let known = self.route().map_err(Ended::Refused)?;
        let route = self.route.as_ref().filter(|_| known.is_ok());
        if let Some(profile) = route.and_then(|route| route.shard.shared.profile(&self.bucket)) {
            return Ok(profile);
        }
        self.worker.clock();
        // Whoever comes while nobody is the primary, or no node is known yet, may want to read.
        if known.is_err() {
            self.reach = Reach::Standby;
        }
        self.acquire().await?;
        let Some(link) = &self.link else {
            return Err(Ended::Quietly);
        };
        let mut profile = link.server.profile();
        link.shard
            .shared
            .remember_profile(&self.bucket, Arc::clone(&profile));
        if self.reach == Reach::Standby {
            profile = as_of_primary(&profile);
        }
        self.reach = Reach::Primary;
        self.release();
        Ok(profile)
    }

    /// Whether the stream to and from the server is at rest.
    pub(super) fn is_at_rest(&self, link: &Link) -> bool {
        self.fifo.is_empty()
            && !self.unsynced
            && !self.skipping
            && !self.copying_in
            && self.up.remaining == 0
            && self.down.remaining == 0
            && link.server.conn.wbuf.is_empty()
    }

    /// Gives the server back if the transaction is over.
    pub(super) fn release_if_done(&mut self) {
        if std::mem::take(&mut self.must_roll_back) {
            return self.leave_block();
        }
        if !self.link.as_ref().is_some_and(|link| self.is_at_rest(link)) {
            return;
        }
        if self.opening.is_some() {
            return self.turn_from_standby();
        }
        if self.status != Status::Idle && self.attempt.is_withdrawn() {
            if !self.is_tried() {
                self.leave_block();
            }
            return;
        }
        if self.status != Status::Idle {
            self.restore_in_block();
            return;
        }
        let is_kept = self.pins.any();
        if let Some(link) = &mut self.link {
            link.definition = None;
            link.write_mode.take_if(|_| is_kept);
        }
        let is_asking = self.inspect_if_in_doubt() || self.ask_contents();
        if is_asking || self.adjust_if_needed() || self.learn_types() {
            return;
        }
        let is_own = |link: &Link| link.mode == PoolMode::Session;
        if self.awaits_itself() {
            return;
        }
        if !self.link.as_ref().is_some_and(is_own) && !self.pins.any() {
            self.release();
        }
    }

    /// Gives the server back in the middle of a block, which is over.
    pub(super) fn leave_block(&mut self) {
        self.status = Status::Idle;
        if let Some(Link { server, shard, .. }) = self.link.take() {
            self.handle.set_backend(None);
            self.recover(server, shard, true);
        }
    }

    /// Gives the server back. The stream must be at rest and no transaction open.
    pub(super) fn release(&mut self) {
        let Some(link) = self.link.take() else { return };
        self.handle.set_backend(None);
        if link.is_tried() {
            self.worker.stats().optimistic.stayed.add(1);
            self.end_trial();
        }
        // What has not been told has not been seen.
        if link.has_run && !self.attempt.is_withdrawn() {
            self.note_seen(link.reader.as_ref(), &link.shard);
        }
        if link.fatal {
            return;
        }
        let Link {
            mut server,
            shard,
            prepared,
            ..
        } = link;
        // It may have been read under settings that are about to be undone.
        server.state.dirt.prepared |= prepared && server.state.dirt.state;
        if server.state.dirt.any() || self.handle.is_cancelling() {
            self.recover(server, shard, false);
        } else {
            shard.give(server);
        }
    }

    /// Makes a server fit for the next client in a task of its own, or closes it.
    fn recover(&self, mut server: Box<Server>, shard: Rc<PoolShard>, roll_back: bool) {
        let handle = Rc::clone(&self.handle);
        let worker = Rc::clone(&self.worker);
        server.state.backend.set_cleaned(true);
        rt::spawn(async move {
            // Rare, and the handle's one waker belongs to the session.
            let settled = async {
                while handle.is_cancelling() {
                    rt::sleep(CANCEL_POLL).await;
                }
            };
            if rt::timeout(CANCEL_PATIENCE, settled).await.is_none() {
                return;
            }
            let restored = restore(&mut server, &shard, &worker, roll_back).await;
            if restored.is_ok() {
                server.state.backend.set_cleaned(false);
                shard.give(server);
            }
        });
    }

    /// The client is gone: the server is given back, cleaned, or closed with whatever it was doing.
    pub(super) fn let_go(&mut self) {
        let at_rest = self.link.as_ref().is_some_and(|link| self.is_at_rest(link));
        let Some(link) = self.link.take() else { return };
        self.handle.set_backend(None);
        let Link {
            mut server,
            shard,
            mode,
            doubts,
            ..
        } = link;
        let pins = self.pins;
        if at_rest {
            if pins.has(Pin::Library) || self.is_replication() {
                return;
            }
            if mode == PoolMode::Session {
                server.state.dirt.state = true;
            }
            if pins.any() || doubts.any() {
                server.state.dirt = Dirt::ALL;
            }
            return self.recover(server, shard, self.status != Status::Idle);
        }
        // The server may be busy for nobody: stop it, and do not wait for where its stream ends.
        if !self.fifo.is_empty() && !self.is_committing() {
            let backend = Arc::clone(&server.state.backend);
            let shared = Arc::clone(&self.worker.shared);
            rt::spawn(async move {
                connect::cancel(&backend, &shared.cancels).await;
                drop(server);
            });
        }
    }

    /// Bytes are waiting for the server beyond what is reasonable.
    pub(super) fn is_server_full(&self) -> bool {
        self.link
            .as_ref()
            .is_some_and(|link| link.server.conn.wbuf.len() > HIGH_WATER)
    }
}

/// What a standby has told, as the primary will: it takes writes.
fn as_of_primary(profile: &Profile) -> Profile {
    let told = profile.iter().cloned();
    told.map(|(name, value)| match name.as_str() {
        "in_hot_standby" => (name, "off".to_owned()),
        _ => (name, value),
    })
    .collect()
}

async fn restore(
    server: &mut Server,
    shard: &PoolShard,
    worker: &crate::worker::Worker,
    roll_back: bool,
) -> Result<(), Doubt> {
    if roll_back {
        idle::run(server, "ROLLBACK")
            .await?
            .map_err(|_| Doubt("ROLLBACK failed".to_owned()))?;
    }
    idle::listen(server).await?;
    let dirt: Dirt = server.state.dirt;
    if dirt.any() && !Fault::SkipReset.is_seeded() {
        let settings = shard.shared.settings();
        idle::clean(
            server,
            settings.reset_query.as_deref(),
            &worker.shared.buckets.plain,
        )
        .await?;
    }
    Ok(())
}
