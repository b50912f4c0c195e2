//! What the rest of a worker may do to a session: cancel what it runs, and ask it to end.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::{Context, Waker};

use subtle::ConstantTimeEq;

use crate::fault::Fault;
use crate::rt::Sender;
use crate::server::{connect, Backend};

/// What a session is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Nothing.
    None,
    /// Stop waiting for a server, with 57014.
    Cancel,
    /// End between transactions, with 57P01.
    Drain,
}

/// One session as its worker knows it.
#[derive(Debug)]
pub(crate) struct Handle {
    pid: u32,
    key: Vec<u8>,
    backend: RefCell<Option<Arc<Backend>>>,
    /// Whether the server works on what the client has sent; what Helios asks of it for itself does not count.
    is_busy: Cell<bool>,
    /// Who waits for a CancelRequest to be dealt with, beside those whose request is under way.
    cancels: RefCell<Vec<Sender<()>>>,
    is_cancelling: Cell<bool>,
    signal: Cell<Signal>,
    /// How often the worker has asked for an end.
    drain_rounds: Cell<u32>,
    waker: RefCell<Option<Waker>>,
}

impl Handle {
    pub(crate) fn new(pid: u32, key: Vec<u8>) -> Handle {
        Handle {
            pid,
            key,
            backend: RefCell::default(),
            is_busy: Cell::new(false),
            cancels: RefCell::default(),
            is_cancelling: Cell::new(false),
            signal: Cell::new(Signal::None),
            drain_rounds: Cell::new(0),
            waker: RefCell::default(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn is_key(&self, pid: u32, key: &[u8]) -> bool {
        let fits = bool::from(self.key.as_slice().ct_eq(key)) || Fault::AnyKey.is_seeded();
        self.pid == pid && fits
    }

    /// Notes which server serves the session now.
    pub(crate) fn set_backend(&self, backend: Option<Arc<Backend>>) {
        self.backend.replace(backend);
    }

    pub(crate) fn set_busy(&self, is_busy: bool) {
        self.is_busy.set(is_busy);
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
    pub(crate) async fn run_cancels(&self) {
        loop {
            let asked = self.cancels.take();
            if asked.is_empty() {
                break;
            }
            let backend = self.backend.borrow().clone();
            if let Some(backend) = backend.filter(|_| self.is_busy.get()) {
                connect::cancel(&backend).await;
            }
        }
        self.is_cancelling.set(false);
        self.wake();
    }

    /// Whether a CancelRequest may still reach the server: it must not serve another client before that is over.
    pub(crate) fn is_cancelling(&self) -> bool {
        self.is_cancelling.get()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if signal == Signal::Drain {
            self.drain_rounds.set(self.drain_rounds.get() + 1);
        }
        // A drain outranks a cancel.
        if self.signal.get() != Signal::Drain {
            self.signal.set(signal);
        }
        self.wake();
    }

    pub(crate) fn pending(&self) -> Signal {
        self.signal.get()
    }

    /// Rounds of the drain so far; each wakes the session.
    pub(crate) fn drain_rounds(&self) -> u32 {
        self.drain_rounds.get()
    }

    /// Forgets a cancel that has been acted on or came when nothing waited.
    pub(crate) fn clear_cancel(&self) {
        if self.signal.get() == Signal::Cancel {
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

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
