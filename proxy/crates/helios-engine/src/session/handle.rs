//! What the rest of a worker may do to a session: cancel what it runs, and ask it to end.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::{Context, Waker};

use subtle::ConstantTimeEq;

use crate::server::Backend;

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
    /// CancelRequests on their way to the server.
    cancels: Cell<u32>,
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
            cancels: Cell::new(0),
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
        self.pid == pid && bool::from(self.key.as_slice().ct_eq(key))
    }

    /// Notes which server serves the session now.
    pub(crate) fn set_backend(&self, backend: Option<Arc<Backend>>) {
        self.backend.replace(backend);
    }

    /// The server to cancel on, counted until `end_cancel`.
    pub(crate) fn begin_cancel(&self) -> Option<Arc<Backend>> {
        let backend = self.backend.borrow().clone()?;
        self.cancels.set(self.cancels.get() + 1);
        Some(backend)
    }

    pub(crate) fn end_cancel(&self) {
        self.cancels.set(self.cancels.get() - 1);
        self.wake();
    }

    /// Whether a CancelRequest may still reach the server: it must not serve another client before that is over.
    pub(crate) fn is_cancelling(&self) -> bool {
        self.cancels.get() > 0
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
