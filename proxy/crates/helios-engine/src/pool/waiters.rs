//! Clients of one worker that wait for a server of one pool, first come first served, without an allocation once
//! the queue has reached its size.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use crate::error::Refusal;
use crate::server::Server;

/// What a waiter gets.
pub(crate) type Grant = Result<Box<Server>, Denial>;

/// Why a waiter gets no server.
#[derive(Debug, Clone)]
pub(crate) enum Denial {
    /// The client is to be told this.
    Refused(Refusal),
    /// The pool is out of use: ask again where to go.
    Moved,
}

#[derive(Debug)]
struct Waiter {
    since: u64,
    waker: Option<Waker>,
    grant: Option<Grant>,
    is_queued: bool,
}

/// The queue. A granted waiter is out of it, but keeps its slot until it takes what it got.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    slots: Slab<Waiter>,
    queue: VecDeque<usize>,
}

impl Waiters {
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// When the first one began to wait; `u64::MAX` for nobody.
    pub(crate) fn oldest(&self) -> u64 {
        self.queue
            .front()
            .map_or(u64::MAX, |&slot| self.slots[slot].since)
    }

    pub(crate) fn push(&mut self, since: u64) -> usize {
        let slot = self.slots.insert(Waiter {
            since,
            waker: None,
            grant: None,
            is_queued: true,
        });
        self.queue.push_back(slot);
        slot
    }

    /// Gives the first one what it waits for; gives `grant` back when nobody waits.
    pub(crate) fn grant(&mut self, grant: Grant) -> Option<Grant> {
        let Some(slot) = self.queue.pop_front() else {
            return Some(grant);
        };
        let waiter = &mut self.slots[slot];
        waiter.is_queued = false;
        waiter.grant = Some(grant);
        if let Some(waker) = waiter.waker.take() {
            waker.wake();
        }
        None
    }

    pub(crate) fn poll(&mut self, slot: usize, cx: &mut Context<'_>) -> Poll<Grant> {
        let waiter = &mut self.slots[slot];
        if let Some(grant) = waiter.grant.take() {
            return Poll::Ready(grant);
        }
        match &mut waiter.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Takes a waiter out: whether it was in the queue, or what it was given and did not take.
    pub(crate) fn remove(&mut self, slot: usize) -> (bool, Option<Grant>) {
        let waiter = self.slots.remove(slot);
        if waiter.is_queued {
            self.queue.retain(|&queued| queued != slot);
        }
        (waiter.is_queued, waiter.grant)
    }
}
