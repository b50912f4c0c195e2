//! The task of a shared link: it connects, has the server listen to what anybody listens to, and hands on what it
//! hears. Whoever still listens when it ends, for whatever reason, hears that notifications may be missed.
//!
//! Orders are carried out in rounds, one simple Query each. A server sends what was notified before a Query in front of
//! its answer. So a listener that counts from the end of its round hears nothing twice that its own server has told it,
//! and nothing is missing that is sent after that.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::Duration;

use helios_wire::frame::{self, HEADER_LEN};
use helios_wire::{backend, frontend};

use super::{lost, post, Address, Channel, Mail, Order, Word, MOVED};
use crate::config::PoolMode;
use crate::error::server_text;
use crate::events::{Event, Level};
use crate::pool::PoolShared;
use crate::rt::{self, Conn, Inbox};
use crate::server::auth::ConnectError;
use crate::server::{connect, Backend};
use crate::worker::Worker;

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest message; a notification has 8000 bytes and two names.
const MAX_MESSAGE: usize = 64 * 1024;
/// Turns after which other tasks of the worker get theirs.
const MAX_TURNS: usize = 32;
/// A role may have this limit; nobody would know that a link is not idle. Servers before 14 do not know it.
const NEVER_TOO_IDLE: &[u8] =
    b"SELECT pg_catalog.set_config('idle_session_timeout','0',false) FROM pg_catalog.pg_settings \
    WHERE name OPERATOR(pg_catalog.=) 'idle_session_timeout';";

/// A session and the round from whose end on it hears a channel.
#[derive(Debug)]
struct Listener {
    address: Address,
    since: u64,
}

/// One shared link.
#[derive(Debug)]
pub(super) struct Link {
    worker: Rc<Worker>,
    pool: Arc<PoolShared>,
    encoding: String,
    inbox: Inbox<Word>,
    channels: HashMap<Channel, Vec<Listener>>,
    /// What the server listens to once it has answered.
    told: HashSet<Channel>,
    /// Channels that may have to be told.
    touched: Vec<Channel>,
    /// Whose order goes into the next round.
    next: Vec<(Address, u64)>,
    /// Whose order is in the round under way.
    under_way: Option<Vec<(Address, u64)>>,
    /// Rounds so far, with the one under way.
    rounds: u64,
    turns: usize,
    is_out: bool,
    /// Why it ends.
    cause: String,
}

/// What happens next.
enum Turn {
    Word(Word),
    Bytes,
}

impl Link {
    pub(super) fn new(
        worker: &Rc<Worker>,
        pool: &Arc<PoolShared>,
        encoding: &str,
        inbox: Inbox<Word>,
    ) -> Link {
        worker.shared.backends.watch();
        Link {
            worker: Rc::clone(worker),
            pool: Arc::clone(pool),
            encoding: encoding.to_owned(),
            inbox,
            channels: HashMap::new(),
            told: HashSet::new(),
            touched: Vec::new(),
            next: Vec::new(),
            under_way: None,
            rounds: 0,
            turns: 0,
            is_out: false,
            cause: "the proxy stopped".to_owned(),
        }
    }

    /// From the first order to the last listener.
    pub(super) async fn run(mut self) {
        let outcome = match self.connect().await {
            Ok((mut conn, server)) => {
                self.pool.hub.show(&self.encoding, &server);
                self.serve(&mut conn, &server).await
            }
            Err(cause) => Err(cause),
        };
        if let Err(cause) = outcome {
            self.report(&cause);
            self.cause = cause;
        }
    }

    /// Tries for as long as a client waits for a server.
    async fn connect(&self) -> Result<(Conn, Arc<Backend>), String> {
        let settings = [
            ("application_name", "helios listen"),
            ("client_encoding", self.encoding.as_str()),
        ];
        let limit = Duration::from_millis(self.pool.settings().acquire_timeout_ms);
        let mut last = None;
        let attempts = async {
            loop {
                let (id, era) = (self.pool.number(), self.pool.era());
                match connect::log_in(&self.worker, &self.pool, id, era, &settings).await {
                    Ok((conn, server, _)) => return Ok((conn, server)),
                    Err(err) if err.may_pass() => last = Some(err),
                    Err(err) => return Err(err),
                }
                rt::sleep(PAUSE).await;
            }
        };
        let result = rt::timeout(limit, attempts).await;
        let cause = |err: Option<ConnectError>| {
            let err = err.map_or_else(|| "no answer".to_owned(), |err| err.to_string());
            format!("no connection to listen on: {err}")
        };
        match result {
            Some(Ok(opened)) => Ok(opened),
            Some(Err(err)) => Err(cause(Some(err))),
            None => Err(cause(last)),
        }
    }

    /// Ends well once nobody listens, or when told to.
    async fn serve(&mut self, conn: &mut Conn, server: &Backend) -> Result<(), String> {
        loop {
            let turn = poll_fn(|cx| self.poll(conn, cx)).await?;
            match turn {
                Turn::Bytes => self.read(conn)?,
                Turn::Word(Word::Order(order)) => self.take(order),
                Turn::Word(Word::End) => {
                    self.cause = MOVED.to_owned();
                    return Ok(());
                }
                Turn::Word(Word::Look) => {
                    if let Some(cause) = self.displaced(server) {
                        self.cause = cause.to_owned();
                        return Ok(());
                    }
                }
            }
            if self.channels.is_empty() {
                self.is_out = self
                    .pool
                    .hub
                    .take_out_if_unasked(&self.encoding, &self.inbox);
                if self.is_out {
                    return Ok(());
                }
            }
            if self.under_way.is_none() && !self.next.is_empty() && self.inbox.is_empty() {
                self.ask(conn);
            }
        }
    }

    fn poll(&mut self, conn: &mut Conn, cx: &mut Context<'_>) -> Poll<Result<Turn, String>> {
        self.turns += 1;
        if self.turns % MAX_TURNS == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Poll::Ready(Err(err)) = conn.poll_flush(cx) {
            return Poll::Ready(Err(err.to_string()));
        }
        if let Poll::Ready(Some(word)) = self.inbox.poll_recv(cx) {
            return Poll::Ready(Ok(Turn::Word(word)));
        }
        Poll::Ready(match ready!(conn.poll_fill(cx)) {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(_) => Ok(Turn::Bytes),
            Err(err) => Err(err.to_string()),
        })
    }

    /// Why it must not go on, if it must not: what clients say from now on goes elsewhere, or not through here.
    fn displaced(&self, server: &Backend) -> Option<&'static str> {
        let settings = self.pool.settings();
        if self.pool.is_retired() {
            return Some(MOVED);
        }
        if settings.mode == PoolMode::Session || settings.reset_query.is_some() {
            return Some("the pool's mode has changed");
        }
        let is_outdated = self.pool.is_outdated(server);
        is_outdated.then_some("the connections to the server are being replaced")
    }

    fn take(&mut self, order: Order) {
        let address = order.from;
        for channel in order.unlisten {
            if let Some(listeners) = self.channels.get_mut(&channel) {
                listeners.retain(|listener| listener.address != address);
                if listeners.is_empty() {
                    self.channels.remove(&channel);
                    self.touched.push(channel);
                }
            }
        }
        let since = self.rounds + 1;
        for channel in order.listen {
            let listeners = self.channels.entry(Arc::clone(&channel)).or_default();
            listeners.push(Listener { address, since });
            self.touched.push(channel);
        }
        self.next.push((address, order.number));
    }

    /// Begins a round: tells the server what has changed, or just has it answer.
    fn ask(&mut self, conn: &mut Conn) {
        let mut sql = Vec::new();
        if self.rounds == 0 {
            sql.extend_from_slice(NEVER_TOO_IDLE);
        }
        for channel in std::mem::take(&mut self.touched) {
            if !self.channels.contains_key(&channel) {
                if self.told.remove(&channel) {
                    command(&mut sql, "UNLISTEN", &channel);
                }
            } else if self.told.insert(Arc::clone(&channel)) {
                command(&mut sql, "LISTEN", &channel);
            }
        }
        self.rounds += 1;
        self.under_way = Some(std::mem::take(&mut self.next));
        let mut out = Vec::new();
        frontend::query(&mut out, &sql);
        conn.wbuf.extend(&out);
    }

    /// Handles whole messages of the server.
    fn read(&mut self, conn: &mut Conn) -> Result<(), String> {
        loop {
            let bytes = conn.rbuf.bytes();
            let header = frame::header(bytes).map_err(|err| err.to_string())?;
            let Some(header) = header else { return Ok(()) };
            if header.total > MAX_MESSAGE {
                return Err("the server sent a message of unexpected size".to_owned());
            }
            let Some(message) = bytes.get(..header.total) else {
                return Ok(());
            };
            match header.tag {
                b'A' => self.hand_on(message),
                b'Z' => self.end_round(),
                b'E' => return Err(server_text(message)),
                b'C' | b'D' | b'I' | b'N' | b'S' | b'T' => {}
                tag => {
                    let tag = tag.escape_ascii();
                    return Err(format!("unexpected message '{tag}' on a shared link"));
                }
            }
            conn.rbuf.consume(header.total);
        }
    }

    fn end_round(&mut self) {
        for (address, number) in self.under_way.take().into_iter().flatten() {
            post(&self.pool, address, Mail::Done(number));
        }
    }

    fn hand_on(&self, message: &[u8]) {
        let Some((server, channel)) = backend::read_notification(&message[HEADER_LEN..]) else {
            return;
        };
        let Some(listeners) = self.channels.get(channel) else {
            return;
        };
        let mut message = message.to_vec();
        let key = &self.pool.key;
        let backends = &self.worker.shared.backends;
        if let Some(sender) = backends.client_of(&key.host, key.port, server, self.worker.clock()) {
            backend::set_sender(&mut message, sender);
        }
        let message: Arc<[u8]> = message.into();
        let ended = self.rounds - u64::from(self.under_way.is_some());
        for listener in listeners.iter().filter(|it| it.since <= ended) {
            let message = Arc::clone(&message);
            let mail = Mail::Notification { message, server };
            post(&self.pool, listener.address, mail);
        }
    }

    fn report(&self, cause: &str) {
        let key = &self.pool.key;
        let events = &self.worker.shared.events;
        let fields = vec![
            ("node", key.node.clone()),
            ("database", key.database.clone()),
            ("user", key.user.clone()),
            ("error", cause.to_owned()),
        ];
        events.log(Level::Warning, "listening ended", fields);
        events.send(Event::NodeSuspect {
            cluster: key.cluster.clone(),
            node: key.node.clone(),
            reason: cause.to_owned(),
        });
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let asked = if self.is_out {
            Vec::new()
        } else {
            self.pool.hub.take_out(&self.encoding, &mut self.inbox)
        };
        let unheard = asked.iter().filter(|order| !order.listen.is_empty());
        let listeners = self.channels.values().flatten();
        let left: HashSet<Address> = listeners
            .map(|listener| listener.address)
            .chain(unheard.map(|order| order.from))
            .collect();
        for address in left {
            post(&self.pool, address, Mail::Lost(lost(&self.cause)));
        }
        self.worker.shared.backends.unwatch();
    }
}

fn command(sql: &mut Vec<u8>, verb: &str, channel: &[u8]) {
    sql.extend_from_slice(verb.as_bytes());
    sql.extend_from_slice(b" \"");
    for &byte in channel {
        if byte == b'"' {
            sql.push(byte);
        }
        sql.push(byte);
    }
    sql.extend_from_slice(b"\";");
}
