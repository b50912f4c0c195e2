//! Notifications below session mode. One server connection of a pool, the shared link, listens for all clients of the
//! pool, so that LISTEN keeps no server. `link` is its task, `mailbox` what waits for one session, and `session` says
//! what a client listens to. Sessions and links may be on different workers: orders go one way, mail comes back.

mod link;
mod mailbox;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Refusal;
use crate::pool::PoolShared;
use crate::rt::{self, Inbox, Sender};
use crate::server::Backend;
use crate::worker::{Message, Worker};

pub(crate) use mailbox::Mailbox;

/// A channel's name as the server writes it in the client_encoding of its link.
pub(crate) type Channel = Arc<[u8]>;

/// Where a session is found, from any worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(crate) worker: usize,
    pub(crate) place: usize,
    pub(crate) pid: u32,
}

/// What a session wants of the link. With nothing to listen to any more or anew, it wants to know that everything has
/// come which was sent before.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) from: Address,
    /// Rises with each order of a session.
    pub(crate) number: u64,
    pub(crate) listen: Vec<Channel>,
    pub(crate) unlisten: Vec<Channel>,
}

/// What a link is told.
#[derive(Debug)]
enum Word {
    Order(Order),
    /// To look whether its pool is still what it was.
    Look,
    /// To end, since its node is not the primary any more.
    End,
}

/// One shared link, as others see it.
#[derive(Debug)]
struct Entry {
    sender: Sender<Word>,
    /// Once it is logged in.
    server: Option<Arc<Backend>>,
}

/// What a link tells a session.
#[derive(Debug)]
pub(crate) enum Mail {
    /// The server has carried out the order of this number.
    Done(u64),
    /// A NotificationResponse, whose sender is a client's process id where it is known.
    Notification {
        message: Arc<[u8]>,
        /// The server process it is from.
        server: u32,
    },
    /// Notifications may be missed from here on.
    Lost(Refusal),
}

/// The shared links of one pool, by client_encoding: PostgreSQL converts what it sends, so clients of different
/// encodings cannot share one.
#[derive(Debug, Default)]
pub(crate) struct Hub(Mutex<HashMap<String, Entry>>);

impl Hub {
    /// Gives an order to the link of this encoding, which is made if there is none.
    pub(crate) fn order(
        &self,
        worker: &Rc<Worker>,
        pool: &Arc<PoolShared>,
        encoding: &str,
        order: Order,
    ) {
        let mut links = self.links();
        if let Some(link) = links.get(encoding) {
            // Under the lock, where a link takes itself out before it stops to receive.
            let _ = link.sender.send(Word::Order(order));
        } else if order.listen.is_empty() {
            // The link is lost, which the session is about to hear.
        } else if pool.is_retired() {
            post(pool, order.from, Mail::Lost(lost(MOVED)));
        } else {
            let (sender, inbox) = rt::channel();
            let _ = sender.send(Word::Order(order));
            let server = None;
            links.insert(encoding.to_owned(), Entry { sender, server });
            drop(links);
            let link = link::Link::new(worker, pool, encoding, inbox);
            rt::spawn(link.run());
        }
    }

    /// Has all links look whether their pool is still what it was.
    pub(crate) fn look(&self) {
        for link in self.links().values() {
            let _ = link.sender.send(Word::Look);
        }
    }

    /// Ends all links: the primary is elsewhere.
    pub(crate) fn end(&self) {
        for link in self.links().values() {
            let _ = link.sender.send(Word::End);
        }
    }

    /// How many links there are.
    pub(crate) fn len(&self) -> usize {
        self.links().len()
    }

    /// The connections of those that are logged in.
    pub(crate) fn servers(&self) -> Vec<Arc<Backend>> {
        let links = self.links();
        links.values().filter_map(|it| it.server.clone()).collect()
    }

    /// A link is logged in.
    fn show(&self, encoding: &str, server: &Arc<Backend>) {
        if let Some(link) = self.links().get_mut(encoding) {
            link.server = Some(Arc::clone(server));
        }
    }

    /// Takes a link out, with the orders that nobody will carry out.
    fn take_out(&self, encoding: &str, inbox: &mut Inbox<Word>) -> Vec<Order> {
        let mut links = self.links();
        links.remove(encoding);
        std::iter::from_fn(|| inbox.try_recv().ok())
            .filter_map(|word| match word {
                Word::Order(order) => Some(order),
                Word::Look | Word::End => None,
            })
            .collect()
    }

    /// Takes a link out unless something has been asked of it; whether it is out.
    fn take_out_if_unasked(&self, encoding: &str, inbox: &Inbox<Word>) -> bool {
        let mut links = self.links();
        inbox.is_empty() && links.remove(encoding).is_some()
    }

    fn links(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a link ends that nothing has happened to.
const MOVED: &str = "the configuration or the primary of this database has changed";

/// What a client that listens is told when its notifications may be missed.
pub(crate) fn lost(cause: &str) -> Refusal {
    Refusal::new(
        helios_wire::sqlstate::ADMIN_SHUTDOWN,
        format!("terminating connection because notifications may have been missed: {cause}"),
    )
    .hint("Reconnect and LISTEN again.")
}

fn post(pool: &PoolShared, to: Address, mail: Mail) {
    pool.post(to.worker, Message::Mail { to, mail });
}
