//! What a session had on its server alone is made again on another one when that is lost: its own requests that made and
//! changed it are sent once more, one by one, and it goes on if a server then says of what is there what the other has said.
//! Meanwhile nobody begins anything in the cluster, so that others do not get its locks.

use std::sync::Arc;
use std::time::Duration;

use helios_wire::sqlstate::{
    ADMIN_SHUTDOWN, CONNECTION_FAILURE, QUERY_CANCELED, SERIALIZATION_FAILURE,
};

use super::reading::Reach;
use super::replaying::divergence;
use super::residue::{Inspection, HOLDS_ROWS};
use super::startup::Ended;
use super::{Link, Session, Step};
use crate::config::Mutables;
use crate::error::{Doubt, Refusal};
use crate::journal::{Answer, Reason, Step as Request};
use crate::server::idle::{self, Limits};
use crate::server::{Dirt, Doubts, Server};
use crate::settings::{literal, Bucket};

/// Of one request that is sent again.
const LIMITS: Limits = Limits {
    time: Duration::from_secs(60),
    message: 64 * 1024 * 1024,
};
/// How long connections that are lost at once do not count, and until the next one is looked for.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// Whoever has the lock may wait for us.
const GUARD: &str = "SET lock_timeout = 1000";

impl Session {
    /// The server is lost between two transactions.
    pub(super) fn outlive_at_rest(&mut self, link: &Link) -> Step {
        self.take_turn(link, false);
        self.lay_aside();
        Step::NeedRebuild { replays: false }
    }

    /// Nothing stands in the way of the transaction's being run again.
    pub(super) fn begin_again(&mut self) -> Step {
        if self.has_mutables() {
            self.take_back_statements();
            return self.give_up(Reason::Mutable, divergence(Reason::Mutable));
        }
        if !self.may_hold() {
            return self.replay();
        }
        self.take_back_statements();
        self.lay_aside();
        Step::NeedRebuild { replays: true }
    }

    /// Whether the transaction has left values that would be others, where that is not wanted.
    pub(super) fn has_mutables(&self) -> bool {
        let replaying = self.replaying.as_ref();
        replaying.is_some_and(|it| {
            it.rules.mutables == Mutables::Error && !it.is_moving && it.journal.has_mutables()
        })
    }

    /// Makes again what the session had on its server, and goes on from there.
    pub(super) async fn rebuild(&mut self, replays: bool) -> Step {
        if let Some(replaying) = self.replaying.as_ref().filter(|_| replays) {
            let bucket = Arc::clone(&replaying.bucket);
            self.set_bucket(bucket);
        }
        self.reach = Reach::Primary;
        match self.build_somewhere().await {
            Ok(Ok(mut held)) => {
                self.pin(held.catalogued(self.pins));
                self.on_holds(&mut held);
            }
            Ok(Err(reason)) => {
                self.worker.stats().replays.fail(reason);
                self.link = None;
                self.handle.set_backend(None);
                return Step::Fatal(self.unbuilt(reason));
            }
            Err(Ended::Quietly) => return Step::Left,
            Err(Ended::Refused(refusal)) => {
                self.worker.stats().replays.fail(Reason::NoServer);
                return Step::Fatal(refusal);
            }
        }
        self.worker.stats().replays.sessions.add(1);
        if replays {
            return self.replay();
        }
        if let Some(replaying) = &mut self.replaying {
            replaying.turn.end();
        }
        // What it has changed last may have left nothing.
        if !self.pins.any() {
            self.release_if_done();
        }
        Step::Again
    }

    /// What the session has then.
    async fn build_somewhere(&mut self) -> Result<Result<Inspection, Reason>, Ended> {
        let max_losses = self.replaying.as_ref().map_or(0, |it| it.rules.max_retries);
        let since = self.worker.clock();
        let mut losses = 0;
        loop {
            match self.acquire().await {
                Ok(()) => match self.build().await {
                    Ok(outcome) => return Ok(outcome),
                    Err(Doubt(cause)) => self.lose_link(&cause),
                },
                Err(Ended::Refused(Refusal::Own { sqlstate, .. })) if is_passing(sqlstate) => {}
                Err(ended) => return Err(ended),
            }
            losses += 1;
            // Connections that ended together with the one that was lost are no further losses.
            let waited = Duration::from_nanos(self.worker.clock().saturating_sub(since));
            if losses > max_losses && waited > PATIENCE {
                return Ok(Err(Reason::Losses));
            }
            self.wait_a_while(POLL).await?;
        }
    }

    /// On the server at hand.
    async fn build(&mut self) -> Result<Result<Inspection, Reason>, Doubt> {
        let (Some(link), Some(replaying)) = (&mut self.link, &self.replaying) else {
            return Ok(Err(Reason::NoServer));
        };
        link.has_run = true;
        let kept = &replaying.journal.holdings;
        let server = &mut link.server;
        // Whoever gets it next gets nothing of this, whatever becomes of it here.
        server.state.dirt = Dirt::ALL;
        for step in kept.steps() {
            if let Err(reason) = send_again(server, step, step.moves_cursor()).await? {
                return Ok(Err(reason));
            }
        }
        if !take_settings(server, &self.bucket).await? {
            return Ok(Err(kept.reason()));
        }
        let sequences = kept.sequences_sql().unwrap_or_default();
        if idle::run(server, &sequences).await?.is_err() {
            return Ok(Err(kept.reason()));
        }
        let said = held(server).await?;
        let is_same = said.held() == Some(kept.held())
            && (kept.contents().is_none()
                || contents(server, &kept.contents_sql()).await?.as_deref() == kept.contents());
        if !is_same {
            return Ok(Err(kept.reason()));
        }
        let Some(last) = kept.untold().last() else {
            return Ok(Ok(said));
        };
        // Of these no server has said what they have made; their answers have to be the same.
        for step in kept.untold() {
            if let Err(reason) = send_again(server, step, true).await? {
                return Ok(Err(reason));
            }
        }
        if !take_settings(server, &self.bucket).await? {
            return Ok(Err(last.reason()));
        }
        let said = held(server).await?;
        Ok(match said.held() {
            Some(_) => Ok(said),
            None => Err(last.reason()),
        })
    }

    /// What the client is told of what it had.
    pub(super) fn unbuilt(&self, reason: Reason) -> Refusal {
        let journal = self.replaying.as_ref().map(|it| &it.journal);
        let is_in_block = journal.is_some_and(|journal| journal.is_in_block());
        let sqlstate = match is_in_block {
            true => SERIALIZATION_FAILURE,
            false => ADMIN_SHUTDOWN,
        };
        let what = match reason {
            Reason::Advisory => "its advisory locks cannot be taken again",
            Reason::TemporaryTable => "its temporary tables cannot be made again as they were",
            Reason::Cursor => "its cursors WITH HOLD cannot be declared again as they were",
            Reason::Overflow => {
                "more has made what it held than is kept, so it cannot be made again"
            }
            _ => "what it held cannot be made again",
        };
        let text = format!("the server of the session was lost, and {what} on another");
        let hint = match is_in_block {
            true => "Nothing of the open transaction has been done; reconnect and repeat it.",
            false => "Reconnect.",
        };
        Refusal::new(sqlstate, text).hint(hint)
    }
}

/// Whether it is worth another try: there is nothing to be cancelled, and there may be another server.
fn is_passing(sqlstate: &str) -> bool {
    matches!(sqlstate, QUERY_CANCELED | CONNECTION_FAILURE)
}

/// Sends one request again, under the settings that it had. `is_compared`: it has to give the rows again that it gave.
async fn send_again(
    server: &mut Server,
    step: &Request,
    is_compared: bool,
) -> Result<Result<(), Reason>, Doubt> {
    let sql = format!("{}{GUARD}", server.state.bucket.to(&step.bucket));
    if idle::run(server, &sql).await?.is_err() {
        return Ok(Err(step.reason()));
    }
    server.state.bucket = Arc::clone(&step.bucket);
    let mut answer = Answer::default();
    let outcome = idle::repeat(server, &step.request, LIMITS, |message| {
        answer.take(message);
    });
    let is_done = outcome.await?.is_ok();
    let is_same = !is_compared || step.rows == Some(answer.digest().rows());
    Ok(match is_done && is_same {
        true => Ok(()),
        false => Err(step.reason()),
    })
}

/// Gives a server the settings that its client has now; false if it will not have them.
async fn take_settings(server: &mut Server, bucket: &Arc<Bucket>) -> Result<bool, Doubt> {
    let guarded = bucket.get("lock_timeout").map_or_else(
        || "RESET lock_timeout".to_owned(),
        |value| {
            let value = literal(value);
            format!("SELECT pg_catalog.set_config('lock_timeout',{value},false)")
        },
    );
    let sql = format!("{}{guarded}", server.state.bucket.to(bucket));
    let is_done = idle::run(server, &sql).await?.is_ok();
    server.state.bucket = Arc::clone(bucket);
    Ok(is_done)
}

async fn held(server: &mut Server) -> Result<Inspection, Doubt> {
    let mut inspection = Inspection::new(Doubts::HOLDS);
    let outcome = idle::ask(server, HOLDS_ROWS, |row| inspection.take(b'D', row));
    if outcome.await?.is_err() {
        inspection.take(b'E', &[]);
    }
    Ok(inspection)
}

async fn contents(server: &mut Server, sql: &str) -> Result<Option<Vec<u8>>, Doubt> {
    let mut contents = None;
    let outcome = idle::ask(server, sql, |row| contents = Some(row.to_vec()));
    let is_done = outcome.await?.is_ok();
    Ok(contents.filter(|_| is_done))
}
