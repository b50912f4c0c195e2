//! What has come for one session and waits for the end of its transaction, bounded in bytes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use helios_wire::sqlstate;

use super::Mail;
use crate::error::Refusal;

/// A NotificationResponse and the server process it is from.
pub(crate) type Letter = (Arc<[u8]>, u32);

/// The queue of one session.
#[derive(Debug)]
pub(crate) struct Mailbox {
    queue: RefCell<VecDeque<Letter>>,
    bytes: Cell<usize>,
    max_bytes: usize,
    /// The number of the last order that was carried out.
    done: Cell<u64>,
    /// Why something is missing.
    loss: RefCell<Option<Refusal>>,
}

impl Mailbox {
    pub(crate) fn new(max_bytes: usize) -> Mailbox {
        Mailbox {
            queue: RefCell::default(),
            bytes: Cell::new(0),
            max_bytes,
            done: Cell::new(0),
            loss: RefCell::default(),
        }
    }

    /// Takes in what a link has sent. Nothing is kept behind a gap.
    pub(crate) fn put(&self, mail: Mail) {
        match mail {
            Mail::Done(number) => self.done.set(number),
            Mail::Lost(refusal) => drop(self.loss.borrow_mut().get_or_insert(refusal)),
            Mail::Notification { .. } if self.loss.borrow().is_some() => {}
            Mail::Notification { message, server } => {
                let bytes = self.bytes.get() + message.len();
                if bytes > self.max_bytes {
                    *self.loss.borrow_mut() = Some(overflow(self.max_bytes));
                    self.queue.take();
                    return;
                }
                self.bytes.set(bytes);
                self.queue.borrow_mut().push_back((message, server));
            }
        }
    }

    pub(crate) fn pop(&self) -> Option<Letter> {
        let letter = self.queue.borrow_mut().pop_front()?;
        self.bytes.set(self.bytes.get() - letter.0.len());
        Some(letter)
    }

    /// Whether the order of this number has been carried out.
    pub(crate) fn is_done(&self, number: u64) -> bool {
        self.done.get() >= number
    }

    pub(crate) fn loss(&self) -> Option<Refusal> {
        self.loss.borrow().clone()
    }
}

fn overflow(max_bytes: usize) -> Refusal {
    Refusal::new(
        sqlstate::CONFIGURATION_LIMIT_EXCEEDED,
        format!("terminating connection because more than {max_bytes} bytes of notifications wait for it"),
    )
    .hint("Read notifications sooner, end transactions sooner, or raise limits.max_notification_bytes.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_no_more_than_it_may_and_nothing_behind_a_gap() {
        let mailbox = Mailbox::new(10);
        let notify = |size| Mail::Notification {
            message: vec![0; size].into(),
            server: 1,
        };
        mailbox.put(notify(6));
        mailbox.put(notify(4));
        assert!(mailbox.pop().is_some() && mailbox.loss().is_none());
        mailbox.put(notify(6));
        mailbox.put(notify(1));
        assert!(mailbox.loss().is_some());
        mailbox.put(notify(1));
        assert!(mailbox.pop().is_none());
    }
}
