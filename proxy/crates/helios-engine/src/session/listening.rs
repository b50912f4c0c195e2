//! LISTEN below session mode. The server says what a transaction has made it listen to; the pool's shared link takes
//! that over (`notify`), and the client's answer waits until it has. What UNLISTEN ends is read from its text, and holds
//! if the transaction goes through. What the link hears comes to the client between its transactions.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use helios_sql::{Control, ControlKind};
use helios_wire::backend::{self, Status};
use helios_wire::frame::HEADER_LEN;
use helios_wire::sqlstate;

use super::fifo::Expect;
use super::planning::Planned;
use super::{Session, Step};
use crate::error::Refusal;
use crate::notify::{self, Address, Channel, Mail, Mailbox, Order};
use crate::plans::Plan;
use crate::pool::PoolShared;

/// Bytes of a ReadyForQuery.
const READY_LEN: usize = HEADER_LEN + 1;

/// A client that listens.
#[derive(Debug)]
pub(super) struct Listening {
    pool: Arc<PoolShared>,
    /// Its client_encoding, in which names and payloads come.
    encoding: String,
    channels: BTreeSet<Channel>,
    mailbox: Rc<Mailbox>,
    /// The order which the client's answer waits for.
    awaited: Option<u64>,
    /// It has notified, and its answer waits for what it may hear of itself.
    hears_itself: bool,
    transaction: Transaction,
    /// What it gives up now that its transaction has gone through.
    leaving: BTreeSet<Channel>,
}

/// What the transaction under way has said.
#[derive(Debug, Default)]
struct Transaction {
    unlistens: Vec<Unlisten>,
    /// How many of them were carried out.
    executed: usize,
    /// A part of it has failed or was rolled back.
    is_torn: bool,
    /// NOTIFY.
    notifies: bool,
}

#[derive(Debug)]
enum Unlisten {
    All,
    One(Channel),
}

impl Listening {
    /// Notes what a transaction that has gone through gives up. Where a part of it has not, or an UNLISTEN was not seen,
    /// the client rather hears too much.
    fn confirm(&mut self) {
        let transaction = std::mem::take(&mut self.transaction);
        self.transaction.notifies = transaction.notifies;
        if transaction.is_torn || transaction.executed != transaction.unlistens.len() {
            return;
        }
        for unlisten in transaction.unlistens {
            match unlisten {
                Unlisten::All => self.leaving.clone_from(&self.channels),
                Unlisten::One(channel) => drop(self.leaving.insert(channel)),
            }
        }
    }
}

impl Session {
    /// Whether the client hears this channel over the shared link.
    pub(super) fn hears(&self, channel: &[u8]) -> bool {
        let listening = self.listening.as_ref();
        listening.is_some_and(|listening| listening.channels.contains(channel))
    }

    /// Whether what the client sends next has to wait: for an answer held back, or because the request under way may
    /// decide what the client listens to, or notify it.
    pub(super) fn holds_back(&self) -> bool {
        let is_asked = |session: &Session| session.fifo.back().is_some_and(Expect::is_ready_bound);
        !self.held.is_empty() || (is_asked(self) && self.may_listen())
    }

    /// Notes which UNLISTEN a statement of a listening client holds.
    pub(super) fn note_unlistens(&mut self, plan: Option<&Plan>, sql: &[u8]) {
        let has_none = |plan: &Plan| !plan.frees && !plan.doubts().unseen;
        if self.listening.is_none() || plan.is_some_and(has_none) {
            return;
        }
        let syntax = self.syntax();
        let Some(listening) = &mut self.listening else {
            return;
        };
        let controls = helios_sql::statements(sql, syntax).filter_map(|found| found.control);
        let unlistens = controls.filter_map(|control: Control| match control.kind {
            ControlKind::UnlistenAll => Some(Unlisten::All),
            ControlKind::Unlisten => {
                let name = helios_sql::identifier(control.operand?.of(sql))?;
                Some(Unlisten::One(name.into()))
            }
            _ => None,
        });
        listening.transaction.unlistens.extend(unlistens);
    }

    /// The same of a prepared statement that is about to run.
    pub(super) fn note_bound(&mut self, name: &[u8]) {
        if self.listening.is_none() {
            return;
        }
        let Some(Planned {
            plan,
            sql: Some(sql),
        }) = self.prepared(name)
        else {
            return;
        };
        let (plan, sql) = (plan.cloned(), sql.to_vec());
        self.note_unlistens(plan.as_deref(), &sql);
    }

    /// Notes what a listening client's command has done.
    pub(super) fn note_command(&mut self, tag: &[u8]) {
        let Some(listening) = &mut self.listening else {
            return;
        };
        let transaction = &mut listening.transaction;
        match tag {
            b"UNLISTEN" => transaction.executed += 1,
            b"NOTIFY" => transaction.notifies = true,
            b"ROLLBACK" => transaction.is_torn = true,
            _ => {}
        }
    }

    /// Notes an error of a listening client's statement.
    pub(super) fn note_failure(&mut self) {
        if let Some(listening) = &mut self.listening {
            listening.transaction.is_torn = true;
        }
    }

    /// Whether the end of a transaction concerns what the client listens to or hears.
    pub(super) fn may_listen(&self) -> bool {
        self.listening.is_some() || self.link.as_ref().is_some_and(|link| link.doubts.listens)
    }

    /// A transaction is over and `ready` about to tell the client so. Whether it is held back instead: until the server has
    /// said what it listens to, and the shared link does too.
    pub(super) fn holds_ready(&mut self, ready: &[u8]) -> bool {
        if let Some(listening) = &mut self.listening {
            listening.confirm();
        }
        let asks = self.link.as_ref().is_some_and(|link| link.doubts.listens);
        // What comes behind would be held back too, and waits for nothing.
        let is_last = self.fifo.is_empty() && !self.unsynced;
        if is_last && !asks {
            self.settle(BTreeSet::new());
        }
        let waits = |listening: &Listening| listening.awaited.is_some();
        if is_last && (asks || self.listening.as_deref().is_some_and(waits)) {
            self.held.extend_from_slice(ready);
            return true;
        }
        false
    }

    /// Has the shared link listen to what the server was `found` to listen to, and to nothing that was given up.
    pub(super) fn settle(&mut self, found: BTreeSet<Channel>) {
        if !found.is_empty() {
            self.begin_listening();
            self.send_own(b"UNLISTEN *", Expect::Adjustment);
        }
        if let Some(listening) = &mut self.listening {
            let mut leaving = std::mem::take(&mut listening.leaving);
            leaving
                .retain(|channel| !found.contains(channel) && listening.channels.remove(channel));
            let fresh = |channel: &Channel| listening.channels.insert(Arc::clone(channel));
            let listen: Vec<Channel> = found.into_iter().filter(fresh).collect();
            if listening.channels.len() > self.limits.max_channels {
                let refusal = too_many_channels(self.limits.max_channels);
                listening.mailbox.put(Mail::Lost(refusal));
            }
            let notifies = std::mem::take(&mut listening.transaction.notifies);
            listening.hears_itself |= notifies && !listening.channels.is_empty();
            let waits = !listen.is_empty() || listening.hears_itself;
            if waits || !leaving.is_empty() {
                let number = self.order(listen, leaving.into_iter().collect());
                if let Some(listening) = self.listening.as_mut().filter(|_| waits) {
                    listening.awaited = Some(number);
                }
            }
        }
        match &self.listening {
            Some(listening) if listening.awaited.is_some() => {}
            Some(listening) if listening.channels.is_empty() => {
                self.forget_listening();
                self.emit_held();
            }
            _ => self.emit_held(),
        }
    }

    /// DISCARD ALL, or the end of the session.
    pub(super) fn stop_listening(&mut self) {
        let Some(listening) = &mut self.listening else {
            return;
        };
        let channels = std::mem::take(&mut listening.channels);
        self.order(Vec::new(), channels.into_iter().collect());
        self.forget_listening();
    }

    fn begin_listening(&mut self) {
        let Some(link) = &self.link else { return };
        let pool = &link.shard.shared;
        let encoding = link.server.state.parameters.get("client_encoding");
        let encoding = encoding.cloned().unwrap_or_default();
        if let Some(listening) = &self.listening {
            if listening.encoding != encoding {
                let cause = "client_encoding has changed while it listened";
                listening.mailbox.put(Mail::Lost(notify::lost(cause)));
            }
            // Of another pool: the end of the first one's links is on its way.
            return;
        }
        let mailbox = Rc::new(Mailbox::new(self.limits.max_notification_bytes));
        self.handle.set_mailbox(Some(Rc::clone(&mailbox)));
        self.worker.stats().listening.add(1);
        self.listening = Some(Box::new(Listening {
            pool: Arc::clone(pool),
            encoding,
            channels: BTreeSet::new(),
            mailbox,
            awaited: None,
            hears_itself: false,
            transaction: Transaction::default(),
            leaving: BTreeSet::new(),
        }));
    }

    fn forget_listening(&mut self) {
        if self.listening.take().is_some() {
            self.handle.set_mailbox(None);
            self.worker.stats().listening.subtract(1);
        }
    }

    /// Sends an order to the shared link; its number.
    fn order(&self, listen: Vec<Channel>, unlisten: Vec<Channel>) -> u64 {
        let number = self.worker.next_tag();
        if let Some(Listening { pool, encoding, .. }) = self.listening.as_deref() {
            let from = Address {
                worker: self.worker.id,
                place: self.place,
                pid: self.handle.pid(),
            };
            let order = Order {
                from,
                number,
                listen,
                unlisten,
            };
            pool.hub.order(&self.worker, pool, encoding, order);
        }
        number
    }

    /// Acts on what has come from the shared link.
    pub(super) fn open_mail(&mut self) -> Result<(), Step> {
        let Some(listening) = &mut self.listening else {
            return Ok(());
        };
        let mailbox = Rc::clone(&listening.mailbox);
        if listening
            .awaited
            .is_some_and(|number| mailbox.is_done(number))
        {
            listening.awaited = None;
            self.emit_held();
            self.release_if_done();
        }
        let is_waiting = |listening: &Listening| listening.awaited.is_some();
        let is_due = !self.held.is_empty() && self.listening.as_deref().is_some_and(is_waiting);
        if let Some(refusal) = mailbox.loss().filter(|_| is_due || self.is_between()) {
            // What was done is done, and the client may know.
            let answer = self.held.len().saturating_sub(READY_LEN);
            self.client.wbuf.extend(&self.held[..answer]);
            self.worker.stats().listeners_lost.add(1);
            return Err(Step::Fatal(refusal));
        }
        if self.is_between() {
            self.deliver();
        }
        Ok(())
    }

    /// Whether the server has to stay: its notification is about to come back to the client.
    pub(super) fn awaits_itself(&self) -> bool {
        let awaits = |it: &Listening| it.hears_itself && it.awaited.is_some();
        self.listening.as_deref().is_some_and(awaits)
    }

    /// Between two transactions of the client, whatever it may have sent of the next one.
    fn is_between(&self) -> bool {
        let quiet = self.fifo.is_empty() && self.held.is_empty() && self.down.remaining == 0;
        let ended = !self.is_unfinished() && !self.refusing;
        quiet && ended && self.status == Status::Idle
    }

    /// Gives the client the answer that was held back, behind what it has heard meanwhile.
    fn emit_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        let Some(answer) = held.len().checked_sub(READY_LEN) else {
            return;
        };
        let (answer, ready) = held.split_at(answer);
        self.client.wbuf.extend(answer);
        self.deliver();
        self.client.wbuf.extend(ready);
        if let Some(listening) = &mut self.listening {
            listening.hears_itself = false;
        }
    }

    /// Gives the client its notifications, as many as it can take now. One from the server that it notified on itself,
    /// and keeps until it has heard so, is its own.
    pub(super) fn deliver(&mut self) {
        let own = match (&self.link, &self.listening) {
            (Some(link), Some(listening)) if listening.hears_itself => {
                Some(link.server.state.backend.pid)
            }
            _ => None,
        };
        while let Some(listening) = self.listening.as_deref().filter(|_| !self.is_client_full()) {
            let Some((message, server)) = listening.mailbox.pop() else {
                return;
            };
            let body = &message[HEADER_LEN..];
            let channel = backend::read_notification(body).map(|(_, channel)| channel);
            if !channel.is_some_and(|channel| listening.channels.contains(channel)) {
                continue;
            }
            self.worker.stats().notifications.add(1);
            if own == Some(server) {
                let mut message = message.to_vec();
                backend::set_sender(&mut message, self.handle.pid());
                self.client.wbuf.extend(&message);
            } else {
                self.client.wbuf.extend(&message);
            }
        }
    }
}

fn too_many_channels(max_channels: usize) -> Refusal {
    let text =
        format!("terminating connection because it listens to more than {max_channels} channels");
    Refusal::new(sqlstate::CONFIGURATION_LIMIT_EXCEEDED, text)
        .hint("UNLISTEN some, or raise limits.max_channels.")
}
