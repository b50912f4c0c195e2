//! One client. The session owns the client's connection and, while it is linked, the server's; one task drives
//! both directions by readiness, so neither can block the other.

mod attempt;
pub(crate) mod auth;
pub(crate) mod auth_query;
mod block;
pub(crate) mod cancel;
mod carried;
mod choice;
mod committing;
mod console;
mod demand;
mod down;
mod failure;
mod fifo;
pub(crate) mod handle;
mod holding;
mod journaling;
mod keeping;
mod keyed;
mod leaving;
mod link;
mod listening;
mod obstacle;
mod optimistic;
mod own;
mod parameters;
mod planning;
mod prepared;
mod probing;
mod reader;
mod reading;
mod reads;
mod rebuilding;
mod renaming;
mod replaying;
mod replication;
mod residue;
mod resolving;
mod route;
mod serving;
pub(crate) mod startup;
mod step;
mod timeouts;
mod tracing;
mod turn;
mod up;
mod worded;
mod write_mode;

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use helios_sql::Syntax;
use helios_wire::backend::Status;
use helios_wire::startup::Replication;

use crate::catalog::Definition;
use crate::config::{Limits, PoolMode, WriteMode};
use crate::error::Doubt;
use crate::plans::Plan;
use crate::pool::{PoolShard, Profile};
use crate::rt::Conn;
use crate::seat::Seat;
use crate::server::{Doubts, Server};
use crate::settings::Bucket;
use crate::statements::{ClientStatements, Statement, Unnamed};
use crate::worker::Worker;

use attempt::Attempt;
use block::Opening;
use carried::Stamp;
use committing::Durability;
use fifo::{Described, Fifo};
use handle::{Ends, Handle, Signal};
use keyed::Keyed;
pub(crate) use leaving::Silence;
use listening::Listening;
pub(crate) use optimistic::Departure;
use optimistic::Trust;
use planning::ClassOf;
use reader::Reader;
use reading::{Reach, Seen};
use renaming::Renamed;
use replaying::Replaying;
pub(crate) use residue::Pin;
use residue::Pins;
use route::{Homeless, Route};
use startup::Client;
use step::Step;
use timeouts::Pause;
use up::Flow;

/// Bytes on their way to one side beyond which the other is not read: back-pressure.
const HIGH_WATER: usize = 64 * 1024;
/// Rounds of one wake-up before other sessions get their turn.
const MAX_ROUNDS: usize = 32;
/// How long the last words to a client may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Who the client said it is.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) database: String,
    /// What its connection replicates; `None` for an ordinary one.
    pub(crate) replication: Option<Replication>,
}

/// Which sockets have been found empty.
#[derive(Debug, Default)]
struct Dry {
    client: bool,
    server: bool,
}

/// A message that is larger than what has come of it.
#[derive(Debug, Default)]
struct Partial {
    remaining: usize,
    forward: bool,
}

/// A server in use by this session.
#[derive(Debug)]
struct Link {
    server: Box<Server>,
    shard: Rc<PoolShard>,
    mode: PoolMode,
    prepared_statements: bool,
    server_prepared_bytes: usize,
    /// A statement was prepared on it for this session.
    prepared: bool,
    /// Made by SQL's PREPARE on it, with types that are not known yet.
    unlearned: Vec<Arc<Statement>>,
    /// The portal that a Describe may be about which the client sends next, and its statement.
    bound: Option<(Box<[u8]>, Described)>,
    /// The portal that was bound last, if its rows hold numbers that are to be known.
    keeping: Option<(Box<[u8]>, keeping::Keeping)>,
    /// Portals of texts that name prepared statements; old ones do no harm.
    renamed: Vec<(Box<[u8]>, Renamed)>,
    /// What a transaction leaves follows the client, or keeps it on this server.
    carries_state: bool,
    /// What is not known of the server's session since this transaction began.
    doubts: Doubts,
    /// The server has been told to forget its settings.
    discarded: bool,
    /// What this transaction did may give other columns to statements that are prepared already.
    redefines: bool,
    /// Settings went back to the server's defaults within this transaction.
    reset: bool,
    /// Present while its transaction defines functions.
    definition: Option<Definition>,
    /// The server has said goodbye by a FATAL.
    fatal: bool,
    /// That has been passed on: the end of its stream needs no second error.
    is_told: bool,
    /// Something was run on it, of which the client sees or knows the outcome.
    has_run: bool,
    /// Whether standbys have what it commits.
    durability: Durability,
    /// The node, for a transaction that only reads.
    reader: Option<Reader>,
    /// How far what this transaction writes must have come, where a hint says so.
    write_mode: Option<WriteMode>,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Session {
    worker: Rc<Worker>,
    pub(crate) handle: Rc<Handle>,
    place: usize,
    seat: Seat,
    pub(crate) client: Conn,
    limits: Limits,
    /// Settings of the client's startup packet.
    startup: Arc<Bucket>,
    /// Settings that the client has now.
    bucket: Arc<Bucket>,
    /// Why it keeps its server between transactions.
    pins: Pins,
    /// What it listens to over the shared link.
    listening: Option<Box<Listening>>,
    /// The end of an answer, which waits until the shared link listens to what the client was promised.
    held: Vec<u8>,
    route: Option<Route>,
    link: Option<Link>,
    fifo: Fifo,
    up: Partial,
    down: Partial,
    status: Status,
    /// Extended messages were taken whose Sync has not come.
    unsynced: bool,
    /// The server skips everything up to the next Sync.
    skipping: bool,
    /// A batch is being dropped up to its Sync, since no server could be had for it.
    refusing: bool,
    /// The statement that was sent or bound last is a COMMIT.
    commits: bool,
    /// The server takes CopyData.
    copying_in: bool,
    /// Both ends send CopyData, without an end of their own accord.
    streaming: bool,
    /// A Sync was sent during COPY IN, when the server ignores it unless it has failed meanwhile.
    sync_in_copy: bool,
    /// A transaction block was begun where none is allowed.
    must_roll_back: bool,
    /// The client has said Terminate.
    leaving: bool,
    pause: Pause,
    /// When the statement that runs was cancelled for taking too long.
    time_out: Option<u32>,
    /// Sockets that had nothing in this wake-up. They cannot get anything before the task yields.
    dry: Dry,
    statements: ClientStatements,
    unnamed: Unnamed,
    /// Of the statement at the head of the client's buffer, once it is had.
    plan: Option<Arc<Plan>>,
    /// What else plans depend on.
    context: ClassOf,
    /// A block that has begun for the client alone.
    opening: Option<Opening>,
    /// Where the next transaction may go, as far as what has come of it says.
    reach: Reach,
    /// What its reads must see.
    seen: Seen,
    /// A sample that what the client asks for needs.
    stamp: Stamp,
    /// Portals of statements about parameters of ours; absent before the first such statement.
    portals: Option<Vec<parameters::Portal>>,
    /// Absent before its first consistency key.
    keyed: Option<Box<Keyed>>,
    /// How far its writes must have come when they are acknowledged.
    write_mode: Option<WriteMode>,
    /// The same as it began.
    first_write_mode: Option<WriteMode>,
    /// The read that a standby has been asked.
    attempt: Attempt,
    /// How statements are read under a bucket.
    syntax: Option<(Arc<Bucket>, Syntax)>,
    /// What the client was told of its server at first.
    greeting: Option<Profile>,
    /// Settings with a dot in their names that the client has set; the catalog does not list them.
    own_settings: BTreeSet<String>,
    next_seq: u64,
    /// On the process clock, when the oldest outstanding request began.
    started: Option<u64>,
    /// When the first one of the transaction did.
    transaction: Option<u64>,
    /// How long it waited for the server that it has, if no span has told yet.
    waited: u64,
    /// The portal that was bound last, if its statement is traced.
    traced: Option<Box<tracing::Portal>>,
    /// Absent where transactions end with their servers.
    replaying: Option<Box<Replaying>>,
    /// In what it reads on standbys.
    trust: Trust,
    /// Servers that were lost in a row before they had anything of the client.
    spared: u8,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.pin(Pins::NONE);
        self.stop_listening();
        self.worker.sessions.borrow_mut().try_remove(self.place);
    }
}

/// The whole life of a client on this worker.
pub(crate) fn run(
    worker: Rc<Worker>,
    conn: Conn,
    ends: Option<Ends>,
    seat: Seat,
) -> impl Future<Output = ()> {
    // Whatever is boxed here and in `serve` is no part of the task that an idle client keeps.
    let login = Box::pin(startup::establish(worker, conn, ends, seat));
    async move {
        match login.await {
            Some(Client::Session(session)) => session.serve().await,
            Some(Client::Console(console)) => Box::pin(console.serve()).await,
            None => {}
        }
    }
}

impl Session {
    pub(crate) fn new(
        worker: Rc<Worker>,
        client: Conn,
        seat: Seat,
        bucket: Arc<Bucket>,
        handle: Handle,
    ) -> Session {
        handle.set_bucket(&bucket);
        let (handle, place) = worker.enroll(handle);
        let config = worker.config();
        let limits = config.limits.clone();
        let ledger = &worker.shared.ledger;
        let (rules, bounds) = (config.transaction_replay, config.journal);
        let replaying = rules.map(|_| Box::new(Replaying::new(rules, bounds, ledger, &bucket)));
        let context = ClassOf::nothing(&bucket);
        Session {
            worker,
            handle,
            place,
            seat,
            client,
            limits,
            startup: Arc::clone(&bucket),
            bucket,
            pins: Pins::NONE,
            listening: None,
            held: Vec::new(),
            route: None,
            link: None,
            fifo: Fifo::new(),
            up: Partial::default(),
            down: Partial::default(),
            status: Status::Idle,
            unsynced: false,
            skipping: false,
            refusing: false,
            commits: false,
            copying_in: false,
            streaming: false,
            sync_in_copy: false,
            must_roll_back: false,
            leaving: false,
            pause: Pause::default(),
            time_out: None,
            dry: Dry::default(),
            statements: ClientStatements::default(),
            unnamed: Unnamed::default(),
            plan: None,
            context,
            opening: None,
            reach: Reach::Primary,
            seen: Seen::default(),
            stamp: Stamp::None,
            portals: None,
            keyed: None,
            write_mode: None,
            first_write_mode: None,
            attempt: Attempt::default(),
            syntax: None,
            greeting: None,
            own_settings: BTreeSet::new(),
            next_seq: 1,
            started: None,
            transaction: None,
            waited: 0,
            traced: None,
            replaying,
            trust: Trust::default(),
            spared: 0,
        }
    }

    /// The client's settings are others now.
    fn set_bucket(&mut self, bucket: Arc<Bucket>) {
        self.handle.set_bucket(&bucket);
        self.bucket = bucket;
    }

    /// Moves bytes both ways until something must be awaited or decided.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.handle.listen(cx);
        self.dry = Dry::default();
        for _ in 0..MAX_ROUNDS {
            if let Some(refusal) = self.farewell() {
                return Poll::Ready(Step::Fatal(refusal));
            }
            if let Err(step) = self.open_mail() {
                return Poll::Ready(step);
            }
            let (from_server, from_client) = match self.poll_round(cx) {
                Ok(moved) => moved,
                Err(step) => return Poll::Ready(step),
            };
            if !from_client && (!from_server || self.is_settled()) {
                return self.poll_overdue();
            }
        }
        cx.waker().wake_by_ref();
        self.poll_overdue()
    }

    fn poll_round(&mut self, cx: &mut Context<'_>) -> Result<(bool, bool), Step> {
        let from_server = self.poll_server(cx)?;
        let was_full = self.is_client_full();
        let from_client = self.poll_client(cx)?;
        // The server was not read while the client was full, so nothing else will wake this task for it.
        Ok((
            from_server || (was_full && !self.is_client_full()),
            from_client,
        ))
    }

    /// Nothing can come before the task yields, and what else a round looks for is not there: an end that somebody has
    /// asked for, and mail.
    fn is_settled(&self) -> bool {
        let is_dry = self.dry.client && (self.dry.server || self.link.is_none());
        let is_asked = self.handle.pending() != Signal::None || self.handle.is_aged();
        is_dry && !is_asked && self.listening.is_none()
    }

    /// Bytes are waiting for the client beyond what is reasonable.
    fn is_client_full(&self) -> bool {
        self.client.wbuf.len() > HIGH_WATER
    }

    fn poll_server(&mut self, cx: &mut Context<'_>) -> Result<bool, Step> {
        match &self.link {
            None => return Ok(false),
            Some(link) if link.shard.shared.is_cut() => {
                return Err(self.server_lost(failure::FENCED))
            }
            Some(_) => {}
        }
        if let Err(err) = self.flush_server(cx) {
            // What the server said before it went is worth more than the broken pipe.
            return self
                .read_server(cx)
                .and(Err(self.server_gone(&err.to_string())));
        }
        self.read_server(cx)
    }

    fn read_server(&mut self, cx: &mut Context<'_>) -> Result<bool, Step> {
        if self.is_client_full() || self.dry.server {
            return Ok(false);
        }
        let Some(link) = &mut self.link else {
            return Ok(false);
        };
        match link.server.conn.poll_fill(cx) {
            Poll::Pending => {
                self.dry.server = true;
                Ok(false)
            }
            Poll::Ready(Ok(0)) => Err(self.server_gone("the server closed the connection")),
            Poll::Ready(Err(err)) => Err(self.server_gone(&err.to_string())),
            Poll::Ready(Ok(n)) => {
                self.worker.clock();
                link.shard.counts().sent.add(n as u64);
                match self.on_server_bytes() {
                    Ok(()) if self.is_key_due() => Err(Step::Again),
                    Ok(()) => self.depart_if_due().map_or(Ok(true), Err),
                    Err(Doubt(cause)) => Err(self.server_lost(&cause)),
                }
            }
        }
    }

    fn flush_server(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match &mut self.link {
            Some(link) if !link.server.conn.wbuf.is_empty() => {
                match link.server.conn.poll_flush(cx) {
                    Poll::Ready(result) => result,
                    Poll::Pending => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn poll_client(&mut self, cx: &mut Context<'_>) -> Result<bool, Step> {
        if self.leaving {
            return self.poll_leave();
        }
        self.flush_client(cx)?;
        if self.is_timing_out() {
            return Ok(false);
        }
        if self.stands_back(cx)? {
            return Ok(self.is_listened_to() && self.read_client(cx)?);
        }
        if !self.client.rbuf.is_empty() || self.read_client(cx)? {
            let was_rerunning = self.is_rerunning();
            let flow = self.on_client_bytes().map_err(Step::Fatal)?;
            if let Err(err) = self.flush_server(cx) {
                return Err(self.server_gone(&err.to_string()));
            }
            self.flush_client(cx)?;
            match flow {
                Flow::NeedServer => return Err(Step::NeedServer),
                Flow::NeedPlan(wanted) => return Err(Step::NeedPlan(wanted)),
                Flow::NeedStamp => return Err(Step::NeedStamp),
                Flow::Departs(why) => return Err(self.depart(why)),
                Flow::Terminate => {
                    self.leaving = true;
                    return Ok(true);
                }
                // While its socket is full, the server's readiness wakes this task.
                Flow::Blocked => return Ok(!self.is_server_full()),
                // Its answer wakes this task, unless it was ours.
                Flow::Asking => return Ok(was_rerunning && self.goes_on_rerunning()),
                Flow::Starved => {}
            }
        }
        self.read_client(cx)
    }

    /// Reads once; whether anything came.
    fn read_client(&mut self, cx: &mut Context<'_>) -> Result<bool, Step> {
        if self.is_client_full() || self.dry.client {
            return Ok(false);
        }
        match self.client.poll_fill(cx) {
            Poll::Pending => {
                self.dry.client = true;
                Ok(false)
            }
            Poll::Ready(Ok(0) | Err(_)) => Err(Step::Left),
            Poll::Ready(Ok(n)) => {
                self.worker.clock();
                self.count_received(n);
                Ok(true)
            }
        }
    }

    fn count_received(&self, n: usize) {
        self.worker.stats().received.add(n as u64);
        if let Some(route) = &self.route {
            route.shard.counts().received.add(n as u64);
        }
    }

    #[inline]
    fn flush_client(&mut self, cx: &mut Context<'_>) -> Result<(), Step> {
        // What a standby says of a read is held back until it is its answer.
        if self.client.wbuf.is_empty() || self.attempt.is_open() {
            return Ok(());
        }
        self.note_told()?;
        self.write_client(cx)
    }

    fn write_client(&mut self, cx: &mut Context<'_>) -> Result<(), Step> {
        let before = self.client.wbuf.len();
        let flushed = self.client.poll_flush(cx);
        let taken = before - self.client.wbuf.len();
        self.worker.stats().sent.add(taken as u64);
        self.note_written(taken);
        match flushed {
            Poll::Ready(Err(_)) => return Err(Step::Left),
            Poll::Ready(Ok(())) => self.handle.unblock(),
            Poll::Pending => self.handle.block(taken > 0, self.worker.ticks()),
        }
        Ok(())
    }

    fn login(&self) -> &Login {
        &self.handle.visit.login
    }
}
