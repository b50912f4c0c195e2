//! A session with a consistency key: how far its writes have come is told under the key before they are acknowledged, and
//! its reads see at least what was told. `consistency` is where that is kept (docs/adr/0045-consistency-keys.md).

use std::rc::Rc;
use std::time::Duration;

use helios_sql::ControlKind;
use helios_wire::backend::Status;
use helios_wire::error_response::{self, Severity};
use helios_wire::frame::{Header, HEADER_LEN};
use helios_wire::frontend;
use helios_wire::sqlstate;

use super::fifo::Expect;
use super::planning::text;
use super::reading::Reach;
use super::startup::Ended;
use super::Session;
use crate::config::{Consistency, ConsistencyKeys};
use crate::consistency::{Answer, Order};
use crate::error::Refusal;
use crate::plans::{Parameter, Plan};
use crate::rt;
use crate::stamps::{self, Sampler};
use crate::token::Token;

/// Bytes of a key at most.
const MAX_KEY: usize = 256;

/// What a session with a key knows. Absent before its first one.
#[derive(Debug, Default)]
pub(super) struct Keyed {
    key: Option<Rc<str>>,
    /// That which it began with.
    first: Option<Rc<str>>,
    /// What is under way may write, or has written.
    writes: bool,
    /// It has been committed, and another one may have begun.
    commits: bool,
    /// What runs holds a RESET ALL.
    resets: bool,
    /// Settings have gone back to what they were, if the transaction goes through.
    has_reset: bool,
    /// Writes that wait to be told.
    due: Option<Due>,
    /// What was told last.
    last: Option<Token>,
}

/// Writes that others must be told of before their client may know that they are done.
#[derive(Debug)]
struct Due {
    /// As Redis has it.
    name: String,
    /// The sample that covers them.
    sampler: Rc<Sampler>,
    number: u64,
    /// Where their ReadyForQuery is in what the client gets.
    mark: usize,
}

impl Session {
    /// Whether writes wait to be told.
    #[inline]
    pub(super) fn is_key_due(&self) -> bool {
        self.keyed.as_ref().is_some_and(|keyed| keyed.due.is_some())
    }

    fn key(&self) -> Option<&Rc<str>> {
        self.keyed.as_ref()?.key.as_ref()
    }

    pub(super) fn shown_key(&self) -> String {
        self.key().map_or_else(String::new, ToString::to_string)
    }

    pub(super) fn set_key(&mut self, value: &str) -> Result<(), Refusal> {
        self.check_outside(Parameter::ConsistencyKey)?;
        if value.len() > MAX_KEY {
            let text = format!(
                "invalid value for parameter \"helios.consistency_key\": {} bytes",
                value.len()
            );
            let refusal = Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, text);
            return Err(refusal.hint(format!("A key has {MAX_KEY} bytes at most.")));
        }
        if self.worker.config().consistency_keys.is_none() {
            let text = "there is nothing that keeps consistency keys";
            let refusal = Refusal::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, text);
            return Err(refusal.hint("Set routing.consistency_keys.url, which names a Redis."));
        }
        let keyed = self.keyed.get_or_insert_default();
        keyed.key = (!value.is_empty()).then(|| value.into());
        // Whatever the configuration says, a session under a key sees what was written under it.
        self.seen.is_carried |= keyed.key.is_some();
        Ok(())
    }

    pub(super) fn reset_key(&mut self) -> Result<(), Refusal> {
        self.check_outside(Parameter::ConsistencyKey)?;
        if let Some(keyed) = &mut self.keyed {
            keyed.key.clone_from(&keyed.first);
        }
        Ok(())
    }

    /// Whatever it has now is what RESET goes back to.
    pub(super) fn keep_first_key(&mut self) {
        if let Some(keyed) = &mut self.keyed {
            keyed.first.clone_from(&keyed.key);
        }
    }

    /// Notes what a message for the server at hand may do.
    pub(super) fn note_run(&mut self, header: Header, message: &[u8]) {
        let Some(plan) = self.plan_to_run(header, message) else {
            return;
        };
        let plan = plan.as_deref();
        let writes = plan.is_none_or(Plan::may_write);
        let may_reset = plan.is_none_or(|plan| plan.resets || plan.doubts().any());
        let resets = may_reset && self.resets_all(header, message).unwrap_or(false);
        if let Some(keyed) = &mut self.keyed {
            keyed.writes |= writes;
            keyed.resets |= resets;
        }
    }

    /// Whether it holds a RESET ALL, which a plan does not tell from RESET of one setting.
    fn resets_all(&mut self, header: Header, message: &[u8]) -> Option<bool> {
        let syntax = self.syntax();
        let sql = match header.tag {
            b'Q' => text(message),
            b'B' => {
                let head = frontend::read_bind_head(message.get(HEADER_LEN..)?)?;
                self.prepared(head.statement)?.sql?
            }
            _ => return None,
        };
        let mut controls = helios_sql::statements(sql, syntax).filter_map(|found| found.control);
        Some(controls.any(|control| control.kind == ControlKind::ResetAll))
    }

    /// Notes what a command has done.
    pub(super) fn note_keyed_command(&mut self, tag: &[u8]) {
        let Some(keyed) = &mut self.keyed else { return };
        match tag {
            b"RESET" => keyed.has_reset |= keyed.resets,
            b"DISCARD ALL" => keyed.has_reset = true,
            b"ROLLBACK" => keyed.has_reset = false,
            b"COMMIT" => keyed.commits = true,
            // What it has written may be another session's.
            b"COMMIT PREPARED" => keyed.writes = true,
            _ => {}
        }
    }

    /// Notes that a statement has failed.
    pub(super) fn note_keyed_failure(&mut self) {
        if let Some(keyed) = &mut self.keyed {
            keyed.has_reset = false;
        }
    }

    /// Notes, where a transaction is over, that what it may have written is to be told before the client gets its
    /// ReadyForQuery, which comes at `mark` of what is on its way there.
    pub(super) fn note_end(&mut self, mark: usize) {
        let Some(keyed) = &mut self.keyed else { return };
        if !std::mem::take(&mut keyed.commits) && self.status != Status::Idle {
            return;
        }
        let is_over = std::mem::take(&mut keyed.has_reset);
        let writes = keyed.writes;
        // What was sent ahead, or has begun since, may have done the same and is not told yet.
        if self.status == Status::Idle && self.fifo.iter().all(Expect::is_ours) {
            keyed.resets = false;
            keyed.writes = false;
        }
        let linked = self.link.as_ref().map(|link| &link.shard);
        let shard = linked.or(self.route.as_ref().map(|route| &route.shard));
        if let (true, Some(key), Some(shard)) = (writes, &keyed.key, shard) {
            let cluster = &shard.shared.key.cluster;
            let sampler = self.worker.sampler(cluster);
            let before = keyed.due.take();
            keyed.due = Some(Due {
                name: name(cluster, key),
                number: sampler.next(),
                sampler,
                mark: before.map_or(mark, |due| due.mark),
            });
        }
        if is_over {
            keyed.key.clone_from(&keyed.first);
        }
    }

    /// Tells others of the writes that wait for that. The client is warned where it cannot be done.
    pub(super) async fn keep_key(&mut self) {
        let Some(due) = self.keyed.as_mut().and_then(|keyed| keyed.due.take()) else {
            return;
        };
        let config = self.worker.config().consistency_keys.clone();
        let is_told = match config {
            Some(config) => self.tell_others(&due, &config).await,
            None => false,
        };
        let counts = &self.worker.stats().keys;
        if is_told {
            return counts.kept.add(1);
        }
        counts.unkept.add(1);
        self.worker.consistency_keys.note_loss();
        self.warn_at(due.mark);
    }

    async fn tell_others(&mut self, due: &Due, config: &ConsistencyKeys) -> bool {
        // Where nobody knows how far it is, everybody is told that.
        let order = match self.sampled(due).await {
            Some(token) => Order::Keep(due.name.clone(), token),
            None => Order::Doubt,
        };
        let keys = Rc::clone(&self.worker.consistency_keys);
        keys.ask(order, config, &self.worker).await == Some(Answer::Done)
    }

    /// How far the primary is that has done them; `None` if it does not say so in time.
    async fn sampled(&mut self, due: &Due) -> Option<Token> {
        let limit = Duration::from_millis(self.worker.config().limits.connect_timeout_ms);
        let since = self.worker.clock();
        loop {
            if let Some(position) = due.sampler.position(due.number) {
                let history = due.sampler.history()?;
                return Some(Token { history, position });
            }
            let waited = Duration::from_nanos(self.worker.clock().saturating_sub(since));
            if waited >= limit {
                return None;
            }
            // It may be another one by now.
            if let Ok(Ok(primary)) = self.route() {
                due.sampler.want(&primary, &self.worker);
            }
            rt::sleep(stamps::PACE).await;
        }
    }

    fn warn_at(&mut self, mark: usize) {
        let warning = error_response::notice(
            Severity::Warning,
            sqlstate::WARNING,
            "who reads under this session's consistency key may not see yet what it has written",
            Some("Redis could not be told of it in time; see /api/consistency-keys of the admin API."),
            None,
        );
        let out = &mut self.client.wbuf;
        let rest = out.bytes().get(mark..).unwrap_or_default().to_vec();
        out.truncate(mark);
        out.extend(&warning);
        out.extend(&rest);
    }

    /// Finds out what the read at hand must see, where it may go to a standby.
    pub(super) async fn take_key(&mut self) -> Result<(), Ended> {
        let is_session = |consistency| consistency == Consistency::Session;
        let freshness = self.freshness();
        if self.reach != Reach::Standby
            || self.is_second_try()
            || !freshness.is_some_and(|freshness| is_session(freshness.consistency))
        {
            return Ok(());
        }
        let is_told = match self.find_key().await {
            Some(Some(token)) => self.see_told(token).await?,
            Some(None) => true,
            None => false,
        };
        let counts = &self.worker.stats().keys;
        if is_told {
            counts.told.add(1);
        } else {
            counts.untold.add(1);
            self.reach = Reach::Untold;
        }
        Ok(())
    }

    /// What was told under the key, if anything; `None`: that cannot be known.
    #[allow(clippy::option_option, reason = "whether it is known, and what")]
    async fn find_key(&mut self) -> Option<Option<Token>> {
        let config = self.worker.config().consistency_keys.clone()?;
        let cluster = &self.route.as_ref()?.shard.shared.key.cluster;
        let order = Order::Find(name(cluster, self.key()?));
        let keys = Rc::clone(&self.worker.consistency_keys);
        match keys.ask(order, &config, &self.worker).await? {
            Answer::Found(token) => Some(token),
            Answer::Done | Answer::Doubtful => None,
        }
    }

    /// Has the session see what was told from now on; whether that could be judged.
    async fn see_told(&mut self, token: Token) -> Result<bool, Ended> {
        let last = |session: &Session| session.keyed.as_ref().and_then(|keyed| keyed.last);
        if last(self) == Some(token) {
            return Ok(true);
        }
        loop {
            match self.admit(token) {
                None => self.await_stamp().await?,
                Some(Ok(())) => break,
                // The primary that is known here has been replaced, so that it cannot be asked instead.
                Some(Err(refusal)) if refusal.is_cancellation() || self.is_ahead(token) => {
                    return Err(Ended::Refused(refusal))
                }
                Some(Err(_)) => return Ok(false),
            }
        }
        if let Some(keyed) = &mut self.keyed {
            keyed.last = Some(token);
        }
        Ok(true)
    }

    fn is_ahead(&self, token: Token) -> bool {
        let known = self.reads().and_then(|reads| reads.sampler.history());
        known.is_some_and(|known| {
            known.system == token.history.system && known.timeline < token.history.timeline
        })
    }

    /// Whether its statements are under a key.
    pub(super) fn has_key(&self) -> bool {
        self.key().is_some()
    }
}

/// What a key is called where those of several clusters are.
fn name(cluster: &str, key: &str) -> String {
    format!("{cluster}:{key}")
}
