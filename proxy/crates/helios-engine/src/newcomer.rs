//! Accept loops and logins of a worker: who is to be woken when it accepts no more.

use std::rc::Rc;
use std::task::{Context, Waker};

use crate::worker::Worker;

impl Worker {
    /// A place among those to be woken when the worker drains.
    pub(crate) fn newcomer(self: &Rc<Self>) -> Newcomer {
        let place = self.newcomers.borrow_mut().insert(None);
        Newcomer {
            worker: Rc::clone(self),
            place,
        }
    }

    /// Ends its accept loops.
    pub(crate) fn stop_accepting(&self) {
        self.accepting.set(false);
        let mut newcomers = self.newcomers.borrow_mut();
        newcomers
            .iter_mut()
            .filter_map(|(_, waker)| waker.take())
            .for_each(Waker::wake);
    }
}

/// An accept loop or a login of this worker.
#[derive(Debug)]
pub(crate) struct Newcomer {
    worker: Rc<Worker>,
    place: usize,
}

impl Newcomer {
    /// Has `cx` woken when the worker drains.
    pub(crate) fn listen(&self, cx: &Context<'_>) {
        let mut newcomers = self.worker.newcomers.borrow_mut();
        let waker = &mut newcomers[self.place];
        match waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.worker.newcomers.borrow_mut().try_remove(self.place);
    }
}
