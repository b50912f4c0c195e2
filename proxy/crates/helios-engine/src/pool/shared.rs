//! What all workers see of one pool: how many connections there are, who waits longest, how to log in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};

use super::budget::{Claims, Shares};
use super::PoolKey;
use crate::catalog::Catalog;
use crate::config::PoolSettings;
use crate::nodes::Standing;
use crate::notify::Hub;
use crate::rt::Sender;
use crate::server::auth::Credential;
use crate::server::{Backend, Server};
use crate::settings::Bucket;
use crate::traffic::Traffic;
use crate::worker::{Message, Numbers};

/// Settings whose reported values are remembered; more than this and the memory starts over.
const MAX_PROFILES: usize = 1024;
/// How often a node is doubted at most because it takes no writes.
const SUSPECT_EVERY: Duration = Duration::from_millis(200);

/// Reported parameters of a server under certain settings, in the order of their names.
pub(crate) type Profile = Arc<[(String, String)]>;

/// What one worker shows the others of its shard.
#[derive(Debug)]
pub(crate) struct Face {
    /// Servers that nobody uses.
    pub(crate) idle: AtomicUsize,
    /// Clients that wait.
    pub(crate) waiting: AtomicUsize,
    /// When the first of them began to, in nanoseconds of the process clock; `u64::MAX` for nobody.
    pub(crate) oldest: AtomicU64,
}

/// One pool of the process.
#[derive(Debug)]
pub(crate) struct PoolShared {
    pub(crate) key: PoolKey,
    pub(crate) catalog: Arc<Catalog>,
    /// Where the node's name leads.
    addresses: Arc<ArcSwap<Arc<[IpAddr]>>>,
    pub(crate) traffic: Arc<Traffic>,
    /// Its node's.
    pub(crate) standing: Arc<Standing>,
    numbers: Arc<Numbers>,
    settings: Arc<ArcSwap<PoolSettings>>,
    credential: ArcSwap<Credential>,
    shares: Shares,
    total: AtomicUsize,
    /// Of them, those that sample positions and serve no client.
    samplers: AtomicUsize,
    faces: Box<[Face]>,
    inboxes: Arc<[Sender<Message>]>,
    profiles: Mutex<HashMap<usize, (Arc<Bucket>, Profile)>>,
    retired: AtomicBool,
    /// Its node is fenced: also what is under way on its servers ends.
    cut: AtomicBool,
    /// An administrator has stopped it: no server is lent.
    paused: AtomicBool,
    /// Servers that were opened in an earlier one are to be replaced.
    era: AtomicU64,
    /// Servers that are logged in.
    servers: Mutex<Vec<Arc<Backend>>>,
    created: AtomicU64,
    closed: AtomicU64,
    /// On the process clock, when a read-only error was last told.
    suspected: AtomicU64,
    /// Its shared links.
    pub(crate) hub: Hub,
}

type View<T> = Cache<Arc<ArcSwap<T>>, Arc<T>>;

/// What a worker last saw of a pool's values that are replaced whole. That they still are the same takes one comparison
/// to find out, which a query can afford.
#[derive(Debug)]
pub(super) struct Seen {
    settings: View<PoolSettings>,
    addresses: View<Arc<[IpAddr]>>,
}

impl Seen {
    pub(super) fn new(pool: &PoolShared) -> Seen {
        Seen {
            settings: Cache::new(Arc::clone(&pool.settings)),
            addresses: Cache::new(Arc::clone(&pool.addresses)),
        }
    }

    pub(super) fn settings(&mut self) -> &PoolSettings {
        self.settings.load()
    }
}

/// What a pool has in common with others.
pub(crate) struct Common {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) shares: Shares,
    pub(crate) numbers: Arc<Numbers>,
    pub(crate) inboxes: Arc<[Sender<Message>]>,
}

impl PoolShared {
    pub(crate) fn new(
        key: PoolKey,
        common: Common,
        addresses: Arc<[IpAddr]>,
        entry: &PoolSettings,
        credential: Credential,
        is_paused: bool,
    ) -> Arc<PoolShared> {
        let Common {
            catalog,
            traffic,
            standing,
            shares,
            numbers,
            inboxes,
        } = common;
        let face = || Face {
            idle: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            oldest: AtomicU64::new(u64::MAX),
        };
        let pool = Arc::new(PoolShared {
            settings: Arc::new(ArcSwap::from_pointee(key.settings(entry))),
            key,
            catalog,
            addresses: Arc::new(ArcSwap::from_pointee(addresses)),
            traffic,
            standing,
            numbers,
            credential: ArcSwap::from_pointee(credential),
            shares,
            total: AtomicUsize::new(0),
            samplers: AtomicUsize::new(0),
            faces: inboxes.iter().map(|_| face()).collect(),
            inboxes,
            profiles: Mutex::default(),
            retired: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            paused: AtomicBool::new(is_paused),
            era: AtomicU64::new(0),
            servers: Mutex::default(),
            created: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            suspected: AtomicU64::new(0),
            hub: Hub::default(),
        });
        pool.shares.join(&pool);
        pool
    }

    pub(crate) fn settings(&self) -> Arc<PoolSettings> {
        self.settings.load_full()
    }

    pub(crate) fn credential(&self) -> Arc<Credential> {
        self.credential.load_full()
    }

    /// Takes over settings and credential after a reload; true when the login changed.
    pub(crate) fn update(&self, entry: &PoolSettings, credential: Credential) -> bool {
        let settings = self.key.settings(entry);
        if **self.settings.load() != settings {
            self.settings.store(Arc::new(settings));
            self.hub.look();
        }
        let changed = **self.credential.load() != credential;
        if changed {
            self.credential.store(Arc::new(credential));
            self.forget_profiles();
        }
        changed
    }

    pub(crate) fn addresses(&self) -> Arc<[IpAddr]> {
        Arc::clone(&self.addresses.load())
    }

    pub(crate) fn set_addresses(&self, addresses: &Arc<[IpAddr]>) {
        if **self.addresses.load() != *addresses {
            self.addresses.store(Arc::new(Arc::clone(addresses)));
            self.hub.look();
        }
    }

    /// Marks the pool as out of use: its servers are closed as they come back.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        self.hub.look();
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// From when a worker has looked, no session of it reads from or writes to a server of this pool.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Whether a doubt about the node is worth telling: applications that write where they may not do so all the time.
    pub(crate) fn is_newly_suspect(&self, now: u64) -> bool {
        let last = self.suspected.load(Ordering::Relaxed);
        let is_new = last == 0 || now.saturating_sub(last) >= SUSPECT_EVERY.as_nanos() as u64;
        if is_new {
            self.suspected.store(now.max(1), Ordering::Relaxed);
        }
        is_new
    }

    /// Stops lending servers, or begins again.
    pub(crate) fn pause(&self, on: bool) {
        self.paused.store(on, Ordering::SeqCst);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Has every server replaced that is open now.
    pub(crate) fn reconnect(&self) {
        self.era.fetch_add(1, Ordering::SeqCst);
        self.hub.look();
    }

    pub(crate) fn era(&self) -> u64 {
        self.era.load(Ordering::SeqCst)
    }

    /// A number for one more connection.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.next()
    }

    /// Whether a connection is to be replaced by one to where the node is now.
    pub(crate) fn is_outdated(&self, server: &Backend) -> bool {
        self.outdates(server, &self.addresses.load())
    }

    fn outdates(&self, server: &Backend, addresses: &[IpAddr]) -> bool {
        server.era < self.era() || !leads_to(addresses, server.address())
    }

    /// Whether a server that nobody uses is to be closed.
    pub(super) fn is_unwanted(&self, server: &Server, now: Instant, seen: &mut Seen) -> bool {
        self.is_retired()
            || self.is_paused()
            || self.is_oversized(seen.settings())
            || self.outdates(&server.state.backend, seen.addresses.load())
            || server.is_expired(now)
    }

    /// The servers that are logged in, and whether each is to be replaced as soon as it comes back.
    pub(crate) fn servers(&self) -> Vec<(Arc<Backend>, bool)> {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let era = self.era();
        let is_retired = self.is_retired();
        servers
            .iter()
            .map(|server| (Arc::clone(server), is_retired || server.era < era))
            .collect()
    }

    /// A place for one more connection, if there is one. The reserve is for clients that have waited long.
    pub(crate) fn reserve(self: &Arc<Self>, with_reserve: bool) -> Option<Slot> {
        if self.is_paused() {
            return None;
        }
        let max = self.max_size(with_reserve);
        let claims = self.shares.take()?;
        let more = |total: usize| (total < max).then_some(total + 1);
        self.total
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .ok()?;
        Some(Slot {
            pool: Arc::clone(self),
            claims,
            number: self.number(),
            era: self.era(),
            server: None,
        })
    }

    /// A place beside those for clients, for sampling positions.
    pub(crate) fn reserve_sampler(self: &Arc<Self>) -> Option<SamplerSlot> {
        let seat = SamplerSeat::new(self);
        self.reserve(true).map(|slot| (slot, seat))
    }

    fn max_size(&self, with_reserve: bool) -> usize {
        let settings = self.settings.load();
        settings.max_size
            + self.samplers.load(Ordering::Relaxed)
            + if with_reserve {
                settings.reserve_size
            } else {
                0
            }
    }

    /// Whether this pool may have one more connection as far as it goes alone.
    pub(crate) fn has_own_room(&self, with_reserve: bool) -> bool {
        self.total() < self.max_size(with_reserve)
    }

    /// Whether there are more connections than there may be, as after a reload that shrank the pool, or when a reserve
    /// is not needed any more.
    fn is_oversized(&self, settings: &PoolSettings) -> bool {
        let total = self.total.load(Ordering::Relaxed);
        let total = total.saturating_sub(self.samplers.load(Ordering::Relaxed));
        total > settings.max_size + settings.reserve_size
            || (total > settings.max_size && self.waiting() == 0)
            || self.shares.are_overdrawn()
    }

    /// Has room made for a client that waits while other pools have used up what they share with this one: one of them
    /// closes a server that is idle; if there is none, whoever is given one back looks for who waits longest.
    pub(crate) fn make_room(&self) {
        self.shares.contend();
        if !self.shares.are_used_up() {
            return;
        }
        for pool in self.shares.rivals() {
            if std::ptr::eq(&*pool, self) {
                continue;
            }
            if let Some(worker) = pool.idle_elsewhere(usize::MAX) {
                let message = Message::Evict(Arc::clone(&pool));
                return pool.post(worker, message);
            }
        }
    }

    /// Since when a client of another pool has waited that a connection of this one could serve by its end.
    pub(crate) fn oldest_rival(&self) -> Option<u64> {
        if !self.shares.are_contended() {
            return None;
        }
        let rivals = self.shares.rivals();
        let others = rivals.iter().filter(|pool| {
            !std::ptr::eq(&***pool, self)
                && pool.has_own_room(false)
                && self.shares.would_serve(&pool.shares)
        });
        let waits = others.filter_map(|pool| pool.oldest_elsewhere(usize::MAX));
        let oldest = waits.map(|(_, since)| since).min();
        if oldest.is_none() {
            self.shares.settle();
        }
        oldest
    }

    /// Tells whoever has waited longest that there is room: here, or where it was used up for others.
    fn pass_on_room(self: &Arc<Self>) {
        let mut pools = self.shares.heirs();
        pools.push(Arc::clone(self));
        let able = pools
            .iter()
            .filter(|pool| pool.has_own_room(false) && pool.shares.have_room());
        let waits = able.filter_map(|pool| Some((pool, pool.oldest_elsewhere(usize::MAX)?)));
        if let Some((pool, (worker, _))) = waits.min_by_key(|(_, (_, since))| *since) {
            pool.post(worker, Message::Kick(Arc::clone(pool)));
        }
    }

    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    pub(crate) fn idle(&self) -> usize {
        self.faces
            .iter()
            .map(|face| face.idle.load(Ordering::Relaxed))
            .sum()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.faces
            .iter()
            .map(|face| face.waiting.load(Ordering::Relaxed))
            .sum()
    }

    pub(crate) fn created(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
    }

    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn count_created(&self) {
        self.created.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn face(&self, worker: usize) -> &Face {
        &self.faces[worker]
    }

    /// The worker, other than `me`, whose first waiter has waited longest, and since when.
    pub(crate) fn oldest_elsewhere(&self, me: usize) -> Option<(usize, u64)> {
        let others = self
            .faces
            .iter()
            .enumerate()
            .filter(|(worker, _)| *worker != me);
        let since = others.map(|(worker, face)| (worker, face.oldest.load(Ordering::SeqCst)));
        since
            .filter(|(_, since)| *since != u64::MAX)
            .min_by_key(|(_, since)| *since)
    }

    /// A worker other than `me` that has an idle server.
    pub(crate) fn idle_elsewhere(&self, me: usize) -> Option<usize> {
        let mut others = self
            .faces
            .iter()
            .enumerate()
            .filter(|(worker, _)| *worker != me);
        others
            .find(|(_, face)| face.idle.load(Ordering::SeqCst) > 0)
            .map(|(worker, _)| worker)
    }

    pub(crate) fn post(&self, worker: usize, message: Message) {
        // A worker that has ended has no clients to serve either.
        let _ = self.inboxes[worker].send(message);
    }

    /// What a server of this pool reports under these settings, if one has been asked.
    pub(crate) fn profile(&self, bucket: &Arc<Bucket>) -> Option<Profile> {
        let profiles = self.profiles.lock().unwrap_or_else(PoisonError::into_inner);
        profiles
            .get(&id(bucket))
            .map(|(_, profile)| Arc::clone(profile))
    }

    pub(crate) fn remember_profile(&self, bucket: &Arc<Bucket>, profile: Profile) {
        let mut profiles = self.profiles.lock().unwrap_or_else(PoisonError::into_inner);
        if profiles.len() >= MAX_PROFILES {
            profiles.clear();
        }
        profiles.insert(id(bucket), (Arc::clone(bucket), profile));
    }

    /// Notes what a server reports at its login. If that has changed, so may everything else.
    pub(crate) fn set_plain_profile(&self, plain: &Arc<Bucket>, profile: Profile) {
        if self.profile(plain).as_ref() != Some(&profile) {
            self.forget_profiles();
            self.remember_profile(plain, profile);
        }
    }

    fn forget_profiles(&self) {
        self.profiles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Whether the node's name still stands for this address.
fn leads_to(known: &[IpAddr], address: Option<IpAddr>) -> bool {
    known.is_empty() || address.is_none_or(|address| known.contains(&address))
}

/// A bucket's identity. The map holds the bucket too, so that its address cannot come to mean another.
fn id(bucket: &Arc<Bucket>) -> usize {
    Arc::as_ptr(bucket) as usize
}

/// With a place, what makes room for it.
pub(crate) type SamplerSlot = (Slot, SamplerSeat);

/// Room in a pool for a connection that samples positions, beside those for clients.
#[derive(Debug)]
pub(crate) struct SamplerSeat(Arc<PoolShared>);

impl SamplerSeat {
    fn new(pool: &Arc<PoolShared>) -> SamplerSeat {
        pool.samplers.fetch_add(1, Ordering::SeqCst);
        SamplerSeat(Arc::clone(pool))
    }
}

impl Drop for SamplerSeat {
    fn drop(&mut self) {
        self.0.samplers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A place in a pool's count, held by a connection from the attempt to its end.
#[derive(Debug)]
pub(crate) struct Slot {
    pool: Arc<PoolShared>,
    claims: Claims,
    number: u64,
    era: u64,
    server: Option<Arc<Backend>>,
}

impl Slot {
    pub(crate) fn pool(&self) -> &Arc<PoolShared> {
        &self.pool
    }

    /// The connection is logged in: another may.
    pub(crate) fn end_login(&mut self) {
        self.claims.release_login();
        self.pool.pass_on_room();
    }

    /// Of its connection.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn era(&self) -> u64 {
        self.era
    }

    /// Its connection is logged in.
    pub(crate) fn occupy(&mut self, server: &Arc<Backend>) {
        self.server = Some(Arc::clone(server));
        let servers = &self.pool.servers;
        let mut servers = servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.push(Arc::clone(server));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let pool = &self.pool;
        if let Some(server) = &self.server {
            let mut servers = pool.servers.lock().unwrap_or_else(PoisonError::into_inner);
            servers.retain(|other| !Arc::ptr_eq(other, server));
        }
        self.claims.release();
        pool.total.fetch_sub(1, Ordering::SeqCst);
        pool.closed.fetch_add(1, Ordering::Relaxed);
        pool.pass_on_room();
    }
}
