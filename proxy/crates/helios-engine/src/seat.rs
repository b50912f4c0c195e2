//! A client's place in its worker, from its acceptance to its end.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::census::{Member, Stranger};
use crate::config::Role;
use crate::error::Refusal;
use crate::worker::Worker;

/// How long a client that is refused for want of room has for saying who it is.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);

/// Counts a client in for as long as it lives.
#[derive(Debug)]
pub(crate) struct Seat {
    worker: Rc<Worker>,
    /// Of the entrance that it came by.
    role: Role,
    /// Until it is logged in.
    stranger: Option<Stranger>,
    /// From then on.
    member: Option<Member>,
}

impl Seat {
    pub(crate) fn take(worker: &Rc<Worker>, role: Role, stranger: Stranger) -> Seat {
        worker.shared.clients[worker.id].fetch_add(1, Ordering::Relaxed);
        worker.stats().accepted.add(1);
        Seat {
            worker: Rc::clone(worker),
            role,
            stranger: Some(stranger),
            member: None,
        }
    }

    /// What nodes serve those who come by the entrance that it came by.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// How long the login may take. Who is refused anyway is only waited for until it can be told so.
    pub(crate) fn patience(&self) -> Duration {
        if self.stranger.as_ref().is_some_and(Stranger::is_refused) {
            return REFUSAL_PATIENCE;
        }
        Duration::from_millis(self.worker.config().limits.startup_timeout_ms)
    }

    /// Whether there is room for whoever it is.
    ///
    /// # Errors
    /// Too many clients, or too many logins at a time.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        self.stranger.as_ref().map_or(Ok(()), Stranger::check)?;
        self.worker
            .shared
            .census
            .check(&self.worker.config().limits)
    }

    /// The client has proven who it is.
    ///
    /// # Errors
    /// Too many clients of its user, its database or its address.
    pub(crate) fn settle(&mut self, user: &str, database: &str) -> Result<(), Refusal> {
        if let Some(stranger) = &self.stranger {
            self.member = Some(stranger.enter(user, database, &self.worker.config())?);
        }
        self.stranger = None;
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.worker.shared.clients[self.worker.id].fetch_sub(1, Ordering::SeqCst);
        self.worker.stats().closed.add(1);
        if self.worker.shared.draining.load(Ordering::SeqCst) {
            // Under the lock, so that the drain cannot look just before and wait just after.
            let _departures = self.worker.shared.departures.lock();
            self.worker.shared.departed.notify_all();
        }
    }
}
