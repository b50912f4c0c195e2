//! A client's place in its worker, from its acceptance to its end.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use helios_wire::sqlstate;

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
    /// On the process clock, when it was accepted.
    since: u64,
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
            since: worker.clock(),
            role,
            stranger: Some(stranger),
            member: None,
        }
    }

    /// What nodes serve those who come by the entrance that it came by.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// How long the login may still take.
    pub(crate) fn patience(&self) -> Duration {
        let taken = Duration::from_nanos(self.worker.clock().saturating_sub(self.since));
        self.limit().saturating_sub(taken)
    }

    /// Who is refused anyway is only waited for until it can be told so.
    fn limit(&self) -> Duration {
        if self.stranger.as_ref().is_some_and(Stranger::is_refused) {
            return REFUSAL_PATIENCE;
        }
        Duration::from_millis(self.worker.config().limits.startup_timeout_ms)
    }

    /// What a client is told whose login was not finished in time.
    pub(crate) fn too_late(&self) -> Refusal {
        if let Err(refusal) = self.stranger.as_ref().map_or(Ok(()), Stranger::check) {
            return refusal;
        }
        let seconds = self.limit().as_secs_f64();
        let text = format!("the login was not finished within {seconds} s");
        Refusal::new(sqlstate::CANNOT_CONNECT_NOW, text).hint(
            "limits.startup_timeout_seconds bounds all of it, the wait for a server included.",
        )
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
