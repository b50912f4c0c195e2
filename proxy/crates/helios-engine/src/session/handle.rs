//! What the rest of a worker may do to a session: cancel what it runs, and ask it to end.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::SystemTime;

use super::cancel::Claim;
use crate::config::UserLimits;
use crate::fault::Fault;
use crate::nodes::Reason;
use crate::notify::{Mail, Mailbox};
use crate::random;
use crate::rt::{Permits, Sender};
use crate::server::{connect, Backend};
use crate::session::Login;
use crate::settings::Bucket;

/// How often a worker looks at its sessions.
pub(crate) const TICK_MS: u64 = 1000;

/// What a session is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    /// Nothing.
    None,
    /// Stop waiting for a server, with 57014.
    Cancel,
    /// End between transactions, with 57P01.
    Drain,
    /// End at once, with 57P01.
    End,
}

/// A client's address, and ours that it came to.
pub(crate) type Ends = (SocketAddr, SocketAddr);

/// Who a client is and where it came from.
#[derive(Debug)]
pub(crate) struct Visit {
    /// Unique in the process.
    pub(crate) id: u64,
    pub(crate) login: Login,
    /// Absent on a Unix socket.
    pub(crate) ends: Option<Ends>,
    /// How it is encrypted; empty if it is not.
    pub(crate) encryption: String,
    pub(crate) since: SystemTime,
}

/// What a session does, as far as limits of time go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Nothing is asked and no transaction is open.
    Resting,
    /// The same, and the server is asked what the session has left there.
    Asked,
    /// The server waits for the client to go on.
    InTransaction,
    /// The server works on what the client has sent; what Helios asks of it for itself does not count.
    Busy,
    /// The server commits. A cancel would end its wait for standbys, and the client would take for safe what is not.
    Committing,
}

/// What a session was last seen doing, and since which tick of its worker.
#[derive(Debug, Clone, Copy)]
struct Seen {
    activity: Activity,
    turns: u32,
    since: u32,
}

/// One session as its worker knows it.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) visit: Visit,
    pid: u32,
    key: Vec<u8>,
    backend: RefCell<Option<Arc<Backend>>>,
    activity: Cell<Activity>,
    /// Requests begun and answered so far, wrapping: what has not changed has stood still.
    turns: Cell<u32>,
    seen: Cell<Seen>,
    limits: Cell<UserLimits>,
    /// How long its statement may run by its own words, in milliseconds.
    time_limit: Cell<Option<u64>>,
    born: u32,
    /// Thousandths of its greatest age that it is ended earlier, so that clients that came together do not leave
    /// together.
    jitter: u64,
    /// It has done the same for longer than it may.
    is_overdue: Cell<bool>,
    /// The tick since which its client takes nothing of what there is for it; absent while it does.
    blocked_since: Cell<Option<u32>>,
    /// It is to end when it rests, for its age.
    is_aged: Cell<bool>,
    /// On the process clock, when it last asked for something.
    requested: Cell<Option<u64>>,
    /// On the process clock, since when it waits for a server; 0 is that it does not.
    waiting_since: Cell<u64>,
    /// Why its last transaction went where it went; absent where there was nothing to choose.
    reason: Cell<Option<Reason>>,
    /// Its server is a standby, which has nothing to lose.
    is_reading: Cell<bool>,
    /// Its named statements.
    prepared: Cell<usize>,
    /// Its settings.
    bucket: RefCell<Option<Arc<Bucket>>>,
    /// Who waits for a CancelRequest to be dealt with, beside those whose request is under way.
    cancels: RefCell<Vec<Sender<()>>>,
    is_cancelling: Cell<bool>,
    signal: Cell<Signal>,
    /// How often the worker has asked for an end.
    rounds: Cell<u32>,
    waker: RefCell<Option<Waker>>,
    /// While the session listens.
    mailbox: RefCell<Option<Rc<Mailbox>>>,
}

impl Handle {
    /// `now` is the worker's tick.
    pub(crate) fn new(
        visit: Visit,
        pid: u32,
        key: Vec<u8>,
        limits: UserLimits,
        now: u32,
    ) -> Handle {
        Handle {
            visit,
            pid,
            key,
            backend: RefCell::default(),
            activity: Cell::new(Activity::Resting),
            turns: Cell::new(0),
            seen: Cell::new(Seen {
                activity: Activity::Resting,
                turns: 0,
                since: now,
            }),
            limits: Cell::new(limits),
            time_limit: Cell::new(None),
            born: now,
            jitter: random::below(101),
            is_overdue: Cell::new(false),
            blocked_since: Cell::new(None),
            is_aged: Cell::new(false),
            requested: Cell::new(None),
            waiting_since: Cell::new(0),
            reason: Cell::new(None),
            is_reading: Cell::new(false),
            prepared: Cell::new(0),
            bucket: RefCell::default(),
            cancels: RefCell::default(),
            is_cancelling: Cell::new(false),
            signal: Cell::new(Signal::None),
            rounds: Cell::new(0),
            waker: RefCell::default(),
            mailbox: RefCell::default(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether a CancelRequest for this pid is for this session, and may be.
    pub(crate) fn is_claimed(&self, pid: u32, claim: &Claim) -> bool {
        self.pid == pid && (claim.fits(pid, &self.key) || Fault::AnyKey.is_seeded())
    }

    pub(crate) fn set_mailbox(&self, mailbox: Option<Rc<Mailbox>>) {
        self.mailbox.replace(mailbox);
    }

    /// Takes in what a shared link has sent. What comes too late is for nobody.
    pub(crate) fn put(&self, mail: Mail) {
        if let Some(mailbox) = &*self.mailbox.borrow() {
            mailbox.put(mail);
            self.wake();
        }
    }

    /// Notes which server serves the session now.
    pub(crate) fn set_backend(&self, backend: Option<Arc<Backend>>) {
        if let Some(backend) = &backend {
            backend.lend(self.visit.id);
        }
        if let Some(before) = self.backend.replace(backend) {
            before.lend(0);
        }
    }

    /// The server is asked for something.
    pub(crate) fn begin(&self, now: u64) {
        self.activity.set(Activity::Busy);
        self.requested.set(Some(now));
        self.turn();
    }

    pub(crate) fn set_activity(&self, activity: Activity) {
        self.activity.set(activity);
    }

    /// Something was begun or answered.
    pub(crate) fn turn(&self) {
        self.turns.set(self.turns.get().wrapping_add(1));
    }

    pub(crate) fn turns(&self) -> u32 {
        self.turns.get()
    }

    pub(crate) fn user(&self) -> &str {
        &self.visit.login.user
    }

    pub(crate) fn limits(&self) -> UserLimits {
        self.limits.get()
    }

    pub(crate) fn set_limits(&self, limits: UserLimits) {
        self.limits.set(limits);
    }

    pub(crate) fn set_time_limit(&self, limit: Option<u64>) {
        self.time_limit.set(limit);
    }

    /// What its statement says, where that is less than its user may.
    pub(crate) fn time_limit(&self) -> Option<u64> {
        let most = self.limits.get().query_timeout_ms;
        self.time_limit
            .get()
            .filter(|limit| most == 0 || *limit < most)
    }

    /// The request that `turns` counts has had its time. `now` is the worker's tick.
    pub(crate) fn expire(&self, turns: u32, now: u32) {
        let seen = Seen {
            activity: Activity::Busy,
            turns,
            since: now,
        };
        if (seen.activity, seen.turns) == (self.activity.get(), self.turns.get()) {
            self.seen.set(seen);
            self.is_overdue.set(true);
            self.wake();
        }
    }

    /// Looks at the session once a second, which is as exact as limits of time are: a request needs no clock for them.
    /// One that has stood still for too long is woken, and decides itself.
    pub(crate) fn tick(&self, now: u32) {
        let limits = self.limits.get();
        let mut seen = self.seen.get();
        if (seen.activity, seen.turns) != (self.activity.get(), self.turns.get()) {
            seen = Seen {
                activity: self.activity.get(),
                turns: self.turns.get(),
                since: now,
            };
            self.seen.set(seen);
        }
        let limit = match seen.activity {
            Activity::Resting | Activity::Asked => limits.client_idle_timeout_ms,
            Activity::InTransaction => limits.idle_transaction_timeout_ms,
            Activity::Busy => self.time_limit().unwrap_or(limits.query_timeout_ms),
            Activity::Committing => 0,
        };
        if is_over(now.wrapping_sub(seen.since), limit) {
            self.is_overdue.set(true);
            self.wake();
        }
        if self.has_stalled(now) {
            self.wake();
        }
        let age = now.wrapping_sub(self.born);
        let greatest = limits.client_max_age_ms;
        self.is_aged
            .set(is_over(age, greatest - greatest / 1000 * self.jitter));
    }

    /// What the session has done for too long, if it still does.
    pub(crate) fn take_overdue(&self) -> Option<Activity> {
        if !self.is_overdue.replace(false) {
            return None;
        }
        let seen = self.seen.get();
        let is_same = (seen.activity, seen.turns) == (self.activity.get(), self.turns.get());
        is_same.then_some(seen.activity)
    }

    /// Notes at the worker's tick `now` that the client's socket is full; `moved` if it took something before.
    pub(crate) fn block(&self, moved: bool, now: u32) {
        if moved || self.blocked_since.get().is_none() {
            self.blocked_since.set(Some(now));
        }
    }

    /// Notes that the client has taken all there was.
    pub(crate) fn unblock(&self) {
        self.blocked_since.set(None);
    }

    /// Whether at the worker's tick `now` a client that has a server has taken nothing for too long: others wait for that
    /// server.
    pub(crate) fn has_stalled(&self, now: u32) -> bool {
        let limit = self.limits.get().client_write_timeout_ms;
        // The tick during which it began is not a whole one.
        let is_over = |since| is_over(now.wrapping_sub(since).saturating_sub(1), limit);
        self.blocked_since.get().is_some_and(is_over) && self.backend.borrow().is_some()
    }

    pub(crate) fn is_aged(&self) -> bool {
        self.is_aged.get()
    }

    /// The number of the server that serves it now.
    pub(crate) fn server(&self) -> Option<u64> {
        self.backend.borrow().as_ref().map(|backend| backend.id)
    }

    /// Notes why its transaction goes where it goes, and whether that is a standby.
    pub(crate) fn set_reason(&self, reason: Option<Reason>, is_reading: bool) {
        self.reason.set(reason);
        self.is_reading.set(is_reading);
    }

    pub(crate) fn reason(&self) -> Option<Reason> {
        self.reason.get()
    }

    /// Notes how many named statements the client has.
    pub(crate) fn set_prepared(&self, prepared: usize) {
        self.prepared.set(prepared);
    }

    pub(crate) fn requested(&self) -> Option<u64> {
        self.requested.get()
    }

    pub(crate) fn prepared(&self) -> usize {
        self.prepared.get()
    }

    /// Notes since when the session waits for a server; 0 is that it does not.
    pub(crate) fn set_waiting(&self, since: u64) {
        self.waiting_since.set(since);
    }

    pub(crate) fn waiting_since(&self) -> Option<u64> {
        Some(self.waiting_since.get()).filter(|&since| since > 0)
    }

    pub(crate) fn set_bucket(&self, bucket: &Arc<Bucket>) {
        self.bucket.replace(Some(Arc::clone(bucket)));
    }

    pub(crate) fn application_name(&self) -> String {
        let bucket = self.bucket.borrow();
        let name = bucket
            .as_ref()
            .and_then(|bucket| bucket.get("application_name"));
        name.unwrap_or_default().to_owned()
    }

    /// Takes a CancelRequest; `done` is dropped once it can do nothing any more. The caller runs `run_cancels` if this
    /// says so: requests of one session go one after the other, so that a storm of them takes one connection.
    pub(crate) fn request_cancel(&self, done: Sender<()>) -> bool {
        if self.backend.borrow().is_none() {
            self.signal(Signal::Cancel);
            return false;
        }
        self.cancels.borrow_mut().push(done);
        !self.is_cancelling.replace(true)
    }

    /// Has the server stop what it does for this session, as often as that was asked. What came while it did nothing
    /// stops nothing: forwarded, it might hit the statement after.
    pub(crate) async fn run_cancels(&self, permits: &Permits) {
        loop {
            let asked = self.cancels.take();
            if asked.is_empty() {
                break;
            }
            let backend = self.backend.borrow().clone();
            if let Some(backend) = backend.filter(|_| self.activity.get() == Activity::Busy) {
                connect::cancel(&backend, permits).await;
            }
        }
        self.is_cancelling.set(false);
        self.wake();
    }

    /// Whether a CancelRequest may still reach the server: it must not serve another client before that is over.
    pub(crate) fn is_cancelling(&self) -> bool {
        self.is_cancelling.get()
    }

    /// Asks for an end once more.
    pub(crate) fn press(&self) {
        self.rounds.set(self.rounds.get() + 1);
        self.wake();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if signal == Signal::Drain {
            self.rounds.set(self.rounds.get() + 1);
        }
        // An end outranks a drain, and that a cancel.
        if self.signal.get() < signal {
            self.signal.set(signal);
        }
        self.wake();
    }

    pub(crate) fn pending(&self) -> Signal {
        self.signal.get()
    }

    /// How often it was asked for an end; each wakes the session.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.get()
    }

    /// Forgets a cancel that has been acted on or came when nothing waited.
    pub(crate) fn clear_cancel(&self) {
        if self.signal.get() == Signal::Cancel {
            self.signal.set(Signal::None);
        }
    }

    /// Forgets that it was asked to leave: the maintenance is over, and the process is not.
    pub(crate) fn stay(&self) {
        if self.signal.get() == Signal::Drain {
            self.signal.set(Signal::None);
        }
    }

    /// Has `cx` woken by signals.
    pub(crate) fn listen(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// Whether a primary works for it, or for us to see what it has left there, or waits for it within a transaction.
    pub(crate) fn is_at_work(&self) -> bool {
        let has_server =
            self.activity.get() != Activity::Resting && self.backend.borrow().is_some();
        has_server && !self.is_reading.get()
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// Whether so many ticks are more than a limit, of which 0 is none.
fn is_over(ticks: u32, limit_ms: u64) -> bool {
    limit_ms > 0 && u64::from(ticks) * TICK_MS >= limit_ms
}
