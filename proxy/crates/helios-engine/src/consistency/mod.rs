//! How far the writes have come that were done under consistency keys, told to other sessions and other proxies: Redis
//! keeps it, to which each worker has one connection. Where Redis may lack something that was acknowledged, everybody is
//! told that, and goes by what the primary says (docs/adr/0045-consistency-keys.md).

mod link;
mod resp;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::config::ConsistencyKeys;
use crate::events::Level;
use crate::rt;
use crate::token::Token;
use crate::worker::Worker;

use link::{End, Link};

/// Pause after a connection that broke, or could not be made.
const BACKOFF: Duration = Duration::from_millis(500);
/// The same after one that Redis has closed since nothing was asked.
const PAUSE: Duration = Duration::from_millis(10);

/// What Redis is asked for.
#[derive(Debug)]
pub(crate) enum Order {
    /// To keep a position under a key, unless it has a later one.
    Keep(String, Token),
    /// What it has under a key.
    Find(String),
    /// To tell everybody that it may lack something.
    Doubt,
}

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// It knows of everything that was acknowledged lately, and of this under the key.
    Found(Option<Token>),
    /// It may lack something.
    Doubtful,
}

/// One worker's way to Redis.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    orders: RefCell<VecDeque<(Order, Rc<Slot>)>>,
    is_running: Cell<bool>,
    is_up: Cell<bool>,
    /// Something may have been acknowledged of which Redis has not been told.
    is_lost: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Keys {
    /// Keeps a connection for as long as the configuration has one.
    pub(crate) fn keep_up(self: &Rc<Self>, worker: &Rc<Worker>) {
        self.wake();
        if worker.config().consistency_keys.is_none() || self.is_running.replace(true) {
            return;
        }
        let (keys, worker) = (Rc::clone(self), Rc::clone(worker));
        rt::spawn(async move {
            keys.run(&worker).await;
            keys.is_running.set(false);
            keys.refuse_all();
        });
    }

    /// What Redis says within its limit of time; `None`: nothing.
    pub(crate) async fn ask(
        self: &Rc<Self>,
        order: Order,
        config: &ConsistencyKeys,
        worker: &Rc<Worker>,
    ) -> Option<Answer> {
        // Who comes while the connection is lost does not wait for it.
        if self.is_lost.get() && !self.is_up.get() {
            return None;
        }
        let slot = Rc::<Slot>::default();
        self.orders
            .borrow_mut()
            .push_back((order, Rc::clone(&slot)));
        self.keep_up(worker);
        let limit = Duration::from_millis(config.timeout_ms);
        rt::timeout(limit, poll_fn(|cx| slot.poll(cx)))
            .await
            .flatten()
    }

    /// Something is about to be acknowledged of which Redis has not been told: it is told so as soon as it can be.
    pub(crate) fn note_loss(&self) {
        self.is_lost.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn refuse_all(&self) {
        for (_, slot) in self.orders.take() {
            slot.put(None);
        }
    }

    async fn run(&self, worker: &Worker) {
        loop {
            let Some(config) = worker.config().consistency_keys.clone() else {
                return;
            };
            let limit = Duration::from_millis(worker.config().limits.connect_timeout_ms);
            let opened = rt::timeout(limit, Link::open(worker, &config)).await;
            let end = match opened {
                Some(Ok(link)) => self.serve(worker, &config, link).await,
                Some(Err(cause)) => End::Lost(cause),
                None => End::Lost(format!("no answer within {} s", limit.as_secs_f64())),
            };
            match end {
                End::Unused => rt::sleep(PAUSE).await,
                // The next one knows nothing of what the last one was told.
                End::Replaced => self.is_lost.set(true),
                End::Lost(cause) => {
                    self.is_lost.set(true);
                    worker.shared.key_fault.set(worker, &config, cause);
                    self.refuse_all();
                    rt::sleep(BACKOFF).await;
                }
            }
        }
    }

    async fn serve(&self, worker: &Worker, config: &Arc<ConsistencyKeys>, mut link: Link) -> End {
        self.is_up.set(true);
        worker.stats().key_links.add(1);
        worker.shared.key_fault.clear(worker, config);
        let end = link.serve(self, worker, config).await;
        worker.stats().key_links.subtract(1);
        self.is_up.set(false);
        end
    }
}

/// Where one answer comes.
#[derive(Debug, Default)]
struct Slot {
    answer: Cell<Option<Option<Answer>>>,
    waker: RefCell<Option<Waker>>,
}

impl Slot {
    fn put(&self, answer: Option<Answer>) {
        self.answer.set(Some(answer));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<Answer>> {
        match self.answer.get() {
            Some(answer) => Poll::Ready(answer),
            None => {
                self.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// Why Redis cannot be asked, for people to read.
#[derive(Debug, Default)]
pub(crate) struct Fault(Mutex<Option<String>>);

impl Fault {
    pub(crate) fn told(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, worker: &Worker, config: &ConsistencyKeys, cause: String) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref() != Some(&cause) {
            worker.shared.events.log(
                Level::Warning,
                "consistency keys cannot be kept",
                vec![("redis", config.place()), ("error", cause.clone())],
            );
        }
        *told = Some(cause);
    }

    fn clear(&self, worker: &Worker, config: &ConsistencyKeys) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.take().is_some() {
            worker.shared.events.log(
                Level::Info,
                "consistency keys are kept again",
                vec![("redis", config.place())],
            );
        }
    }
}
