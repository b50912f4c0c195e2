//! What a session has seen, carried from one to another as a token. The client asks for it with SHOW helios.lsn and hands
//! it over by SET, by a hint or when it connects; what has been seen only ever grows.

use std::future::poll_fn;
use std::time::Duration;

use helios_wire::frame::HEADER_LEN;
use helios_wire::frontend;
use helios_wire::sqlstate;

use super::link::Wait;
use super::planning::{head, text};
use super::reader::Reader;
use super::startup::Ended;
use super::Session;
use crate::config::Consistency;
use crate::error::Refusal;
use crate::nodes::Lsn;
use crate::rt;
use crate::stamps::{self, History};
use crate::token::Token;

/// A sample that what the client asks for needs.
#[derive(Debug, Default)]
pub(super) enum Stamp {
    #[default]
    None,
    /// The first one of this number or a later one.
    Wanted(u64),
    Had(Lsn, Option<History>),
    /// There was none.
    Failed(Refusal),
}

/// What is known at once, or only with a sample that is wanted now.
pub(super) type Soon<T> = Option<Result<T, Refusal>>;

impl Session {
    /// What the session has seen; `None` while a sample of the primary is wanted for that.
    pub(super) fn present_token(&mut self) -> Soon<Token> {
        // What has happened on a server at hand is noted when it is given back, and nothing is where nothing is kept.
        let is_noted = self.link.is_none() && self.consistency() == Consistency::Session;
        let (position, history) = match std::mem::take(&mut self.stamp) {
            Stamp::Failed(refusal) => return Some(Err(refusal)),
            Stamp::Had(position, history) => (position, history),
            Stamp::None | Stamp::Wanted(_) => {
                let Some(reads) = self.reads() else {
                    return Some(Err(untold()));
                };
                let sampler = &reads.sampler;
                let (next, history) = (sampler.next(), sampler.history());
                match self.seen.pending {
                    None if is_noted && history.is_some() => (0, history),
                    Some(number) if is_noted => return self.want_stamp(number),
                    _ => return self.want_stamp(next),
                }
            }
        };
        let Some(history) = history else {
            return Some(Err(untold()));
        };
        let position = position.max(self.seen.floor);
        if is_noted {
            self.seen.floor = position;
            self.seen.pending = None;
        }
        Some(Ok(Token { history, position }))
    }

    /// Has the session see what a token says from now on; `None` while a sample is wanted to judge it.
    pub(super) fn admit(&mut self, token: Token) -> Soon<()> {
        let sampled = match std::mem::take(&mut self.stamp) {
            Stamp::Failed(refusal) => return Some(Err(refusal)),
            Stamp::Had(_, history) => Some(history),
            Stamp::None | Stamp::Wanted(_) => None,
        };
        let Some(reads) = self.reads() else {
            return Some(Err(untold()));
        };
        let sampler = &reads.sampler;
        let (next, known) = (sampler.next(), sampled.unwrap_or_else(|| sampler.history()));
        let is_ours = |known: &History| {
            known.system == token.history.system && known.timeline >= token.history.timeline
        };
        match known {
            Some(known) if is_ours(&known) && self.is_too_late(token, known) => {
                return Some(Err(too_late()))
            }
            Some(known) if is_ours(&known) => self.see(token, known, next),
            // What is known may be of a primary that has been replaced.
            _ if sampled.is_none() => return self.want_stamp(next),
            None => return Some(Err(untold())),
            Some(known) => return Some(Err(foreign(known, token))),
        }
        Some(Ok(()))
    }

    /// Whether a standby runs a block, which cannot move to where a token is seen.
    fn is_too_late(&self, token: Token, known: History) -> bool {
        let reader = self.link.as_ref().and_then(|link| link.reader.as_ref());
        let has_it = |reader: &Reader| reader.standing.position() >= token.position;
        token.history != known && reader.is_some() || reader.is_some_and(|reader| !has_it(reader))
    }

    fn see(&mut self, token: Token, known: History, next: u64) {
        self.seen.is_carried = true;
        if token.history.timeline < known.timeline {
            // A failover came in between: whether its end has all of it, only the new primary can tell.
            self.seen.pending = Some(next);
            self.seen.on = None;
        } else if token.position > self.seen.floor {
            self.seen.floor = token.position;
            self.seen.since = self.worker.clock();
            self.seen.may_be_older = true;
            let has_it =
                |kept: &std::sync::Arc<crate::nodes::Standing>| kept.position() >= token.position;
            self.seen.on.take_if(|kept| !has_it(kept));
        }
    }

    fn want_stamp<T>(&mut self, number: u64) -> Soon<T> {
        self.stamp = Stamp::Wanted(number);
        None
    }

    /// Waits for the sample that is wanted, as long as for a server.
    pub(super) async fn await_stamp(&mut self) -> Result<(), Ended> {
        let since = self.worker.clock();
        while let Stamp::Wanted(number) = self.stamp {
            let Some(limit) = self.look_for_sample(number)? else {
                break;
            };
            let waited = Duration::from_nanos(self.worker.clock().saturating_sub(since));
            if waited >= limit {
                self.stamp = Stamp::Failed(unsampled(limit));
                break;
            }
            let wait = poll_fn(|cx| self.poll_wait(None, cx));
            match rt::timeout(stamps::PACE, wait).await {
                None => {}
                Some(Wait::Cancelled) => self.stamp = Stamp::Failed(self.cancellation()),
                Some(Wait::Draining) => self.stamp = Stamp::Failed(Refusal::shutdown()),
                Some(wait) => return Err(self.end_by(&wait)),
            }
        }
        Ok(())
    }

    /// Takes the sample if it has been had; else has one taken, and says how long it may be waited for.
    fn look_for_sample(&mut self, number: u64) -> Result<Option<Duration>, Ended> {
        // The primary may be another one by now, or none.
        let primary = self.route().map_err(Ended::Refused)?;
        let Some(reads) = self.reads() else {
            let refusal = match primary {
                Ok(_) => untold(),
                Err(homeless) => Refusal::new(sqlstate::CANNOT_CONNECT_NOW, homeless.reason),
            };
            self.stamp = Stamp::Failed(refusal);
            return Ok(None);
        };
        if let Some(position) = reads.sampler.position(number) {
            self.stamp = Stamp::Had(position, reads.sampler.history());
            return Ok(None);
        }
        if let Ok(shard) = primary {
            reads.sampler.want(&shard, &self.worker);
        }
        let limit = reads.entry.pool.acquire_timeout_ms;
        Ok(Some(Duration::from_millis(limit)))
    }

    /// Takes what a hint of the statement at the head of the client's bytes carries.
    pub(super) async fn take_hint(&mut self) -> Result<(), Ended> {
        if !std::mem::take(&mut self.attempt.has_token) {
            return Ok(());
        }
        let Some(value) = self.hinted() else {
            return Ok(());
        };
        self.take_token(&value).await
    }

    fn hinted(&mut self) -> Option<String> {
        let syntax = self.syntax();
        let bytes = self.client.rbuf.bytes();
        let sql = match bytes.first()? {
            b'B' => {
                let head = frontend::read_bind_head(bytes.get(HEADER_LEN..)?)?;
                self.prepared(head.statement)?.sql?
            }
            _ => text(head(bytes)?),
        };
        let hints = helios_sql::hints(sql, syntax);
        let token = hints.into_iter().find(|(key, _)| key == "lsn");
        token.map(|(_, value)| value)
    }

    /// Takes a token that comes with something else, before that is done.
    pub(super) async fn take_token(&mut self, value: &str) -> Result<(), Ended> {
        let token = read_token(value).map_err(Ended::Refused)?;
        loop {
            match self.admit(token) {
                Some(carried) => return carried.map_err(Ended::Refused),
                None => self.await_stamp().await?,
            }
        }
    }
}

pub(super) fn read_token(value: &str) -> Result<Token, Refusal> {
    value.parse().map_err(|_| {
        let text = format!("invalid value for parameter \"helios.lsn\": \"{value}\"");
        Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, text).hint(
            "A token is what SHOW helios.lsn has told: system identifier, timeline and position, with colons between.",
        )
    })
}

fn foreign(known: History, token: Token) -> Refusal {
    if known.system == token.history.system {
        let text = format!(
            "the token is of timeline {}, and the primary that is known here of timeline {}",
            token.history.timeline, known.timeline
        );
        let refusal = Refusal::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, text);
        return refusal
            .hint("Another primary has taken over, which this proxy has not seen yet; try again.");
    }
    let text = format!(
        "the token is of database system {}, and this one is {}",
        token.history.system, known.system
    );
    Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, text)
        .hint("A token holds for the servers of one cluster.")
}

fn too_late() -> Refusal {
    let text = "helios.lsn cannot be set within a transaction that a standby runs which has not come so far";
    Refusal::new(sqlstate::ACTIVE_SQL_TRANSACTION, text)
        .hint("Set it before, or in front of the transaction's first statement.")
}

fn untold() -> Refusal {
    let text = "the primary does not tell which database system it is";
    Refusal::new(sqlstate::FEATURE_NOT_SUPPORTED, text)
        .hint("The role of the pool must be allowed to execute pg_control_system().")
}

fn unsampled(limit: Duration) -> Refusal {
    let text = format!(
        "the position of the primary was not told within {} s",
        limit.as_secs_f64()
    );
    Refusal::new(sqlstate::CANNOT_CONNECT_NOW, text).hint("Try again.")
}
