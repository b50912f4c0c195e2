//! Reads on standbys: which requests may go there, and the second try on the primary of one that a standby could not
//! answer. Only a request that is seen to its end, and only reads, leaves the primary.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use helios_wire::backend::{self, Status};
use helios_wire::frame::{self, HEADER_LEN};
use helios_wire::frontend;

use super::attempt::{Cause, Stage};
use super::fifo::Expect;
use super::planning::{head, text};
use super::reader::{Found, Reader, Way};
use super::reads::Reads;
use super::startup::Ended;
use super::{Homeless, Session};
use crate::config::Consistency;
use crate::error::Refusal;
use crate::nodes::{Certainty, Lsn, Need, Reason, Standing};
use crate::plans::{Access, Aim, Origin, Plan, Route};
use crate::pool::PoolShard;
use crate::stamps::read_lsn;

/// Longest request that is looked through to its end, and kept for a second try.
const MAX_ATTEMPT: usize = 64 * 1024;

/// How often a session that waits for a standby looks for one.
const CATCH_UP_POLL: Duration = Duration::from_millis(1);
/// How often one that may go to standbys alone looks whether one has caught up. Their lag is polled seldomer.
const LAG_POLL: Duration = Duration::from_millis(50);
/// Reads on the primary at most, beside those configured, until one waits again.
const MOST_DOUBLED: u32 = 1023;
/// A Query for how far a standby is.
const FRESHNESS: &[u8] = b"Q\0\0\0\x2fSELECT pg_catalog.pg_last_wal_replay_lsn()\0";

/// Where the next transaction may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Primary,
    /// To a standby that is fresh enough, if there is one.
    Standby,
    /// There was one, but it lets nobody in.
    NoStandby,
    /// To one that has what the session's key must see, of which nobody can tell what that is.
    Untold,
}

/// What a session has seen and written, which its reads must see as well.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// As far as it is known, with when that was, on the process clock.
    pub(super) floor: Lsn,
    pub(super) since: u64,
    /// The number of the sample that will say the rest.
    pub(super) pending: Option<u64>,
    /// A standby that has all of it.
    pub(super) on: Option<Arc<Standing>>,
    /// Something of it comes from another session, so it counts whatever the configuration says.
    pub(super) is_carried: bool,
    /// All that is known comes from there, so it may be older than `since`.
    pub(super) may_be_older: bool,
    /// Reads in a row that went to the primary, as no standby had it.
    behind: u32,
    /// So many more than configured make one wait, since waiting was of no use.
    doubled: u32,
    /// The primary that all this is about.
    primary: String,
}

impl Seen {
    /// Whether there is anything that later reads must see.
    fn has_any(&self) -> bool {
        self.floor > 0 || self.pending.is_some() || self.on.is_some()
    }

    /// What has been carried here is not forgotten where nothing else is kept.
    pub(super) fn at_least(&self, consistency: Consistency) -> Consistency {
        match consistency {
            Consistency::Bounded | Consistency::Eventual if self.is_carried => Consistency::Session,
            _ => consistency,
        }
    }
}

/// What has come of a request.
enum Request {
    /// Its end is not there yet.
    Part,
    /// The whole, which only reads; its length.
    Reads(usize),
    /// Something that is for the primary.
    Other,
}

impl Session {
    /// What holds for its reads, if there is anything to choose.
    pub(super) fn reads(&self) -> Option<&Reads> {
        self.route.as_ref()?.reads.as_ref()
    }

    /// Whether standbys answer everything.
    pub(super) fn is_bound(&self) -> bool {
        self.reads().is_some_and(Reads::is_bound)
    }

    /// How old what its reads see may be, where a statement says nothing else.
    pub(super) fn consistency(&self) -> Consistency {
        let configured = self.reads().map_or(Consistency::Strong, Reads::consistency);
        self.seen.at_least(configured)
    }

    /// Whether reads may go to standbys, and everything else to the primary.
    fn is_split(&self) -> bool {
        self.reads().is_some_and(|reads| !reads.is_bound())
    }

    /// Whether a standby could not answer what is asked now.
    pub(super) fn is_second_try(&self) -> bool {
        self.attempt.stage == Stage::Again
    }

    /// Whether standbys are all that can be asked now.
    pub(super) fn is_without_primary(&self) -> bool {
        let route = self.route.as_ref();
        route.is_some_and(super::Route::is_without_primary)
    }

    /// Whether a second try need not be the primary's, which there is none of.
    fn may_ask_another_standby(&self) -> bool {
        self.is_split() && self.is_without_primary() && !self.attempt.is_for_primary
    }

    /// Whether they may without a hint or rule that says so.
    pub(super) fn is_split_by_itself(&self) -> bool {
        let policy = self.reads().and_then(|reads| reads.entry.policy.as_ref());
        policy.is_some_and(|policy| policy.split)
    }

    /// Finds out how far the request at the head of the client's bytes reaches. False: more of it must come first.
    pub(super) fn look_ahead(&mut self, bytes: &[u8]) -> bool {
        self.reach = Reach::Primary;
        if self.is_second_try() && self.may_ask_another_standby() {
            self.reach = Reach::Standby;
        }
        if !self.is_split() || self.is_second_try() {
            return true;
        }
        self.attempt.close();
        if let Some(reach) = self.block_reach() {
            if reach == Reach::Primary && self.is_trial_held_back() {
                let Some(length) = self.survey_tried(bytes) else {
                    return false;
                };
                self.attempt.is_tried = length > 0;
            }
            self.reach = match self.attempt.is_tried {
                true => Reach::Standby,
                false => self.reach_of_block(reach, bytes),
            };
            return true;
        }
        match self.survey(bytes, false) {
            Request::Part => bytes.len() >= MAX_ATTEMPT,
            Request::Other => true,
            Request::Reads(length) => {
                self.reach = Reach::Standby;
                self.attempt.request.clear();
                self.attempt.request.extend_from_slice(&bytes[..length]);
                true
            }
        }
    }

    /// Where a block goes that allows `reach`: its first statement may ask for more.
    fn reach_of_block(&mut self, reach: Reach, bytes: &[u8]) -> Reach {
        let bound = bytes.get(HEADER_LEN..).and_then(frontend::read_bind_head);
        let plan = match (bytes.first(), bound) {
            (Some(b'B'), Some(head)) => self.current_plan(head.statement),
            _ => self.plan.clone(),
        };
        let Some(plan) = plan else { return reach };
        self.note_aim(&plan.aim);
        let is_sent = plan.aim.route == Route::Primary && plan.aim.origin != Origin::Statement;
        self.attempt.plans.push(plan);
        match is_sent {
            true => Reach::Primary,
            false => reach,
        }
    }

    /// Looks through a request in a block that is tried: its length if the block stays on a standby with it, else 0;
    /// `None` while more of it must come.
    pub(super) fn survey_tried(&mut self, bytes: &[u8]) -> Option<usize> {
        let length = match self.survey(bytes, true) {
            Request::Part if bytes.len() < MAX_ATTEMPT => return None,
            Request::Part | Request::Other => 0,
            Request::Reads(length) => length,
        };
        if length == 0 {
            self.attempt.close();
        }
        Some(length)
    }

    fn survey(&mut self, bytes: &[u8], is_tried: bool) -> Request {
        let mut at = 0;
        let mut parsed: Vec<(&[u8], bool)> = Vec::new();
        while let Ok(Some(header)) = frame::header(&bytes[at..]) {
            let Some(message) = bytes.get(at..at + header.total) else {
                break;
            };
            let body = &message[HEADER_LEN..];
            let is_read = match header.tag {
                b'Q' if at == 0 => {
                    let plan = self.plan.clone();
                    return match self.note_read(plan, is_tried) {
                        true => Request::Reads(header.total),
                        false => Request::Other,
                    };
                }
                b'P' => {
                    let plan = self.plan_ahead(at, message);
                    let is_read = self.note_read(plan, is_tried);
                    let name = frontend::read_parse(body).map(|(name, _)| name);
                    parsed.extend(name.map(|name| (name, is_read)));
                    // A named one stays where it was made, which is better the primary for as long as there is one.
                    let is_meant =
                        |name: &[u8]| name.is_empty() || is_tried || self.is_without_primary();
                    is_read && name.is_some_and(is_meant)
                }
                b'B' => match frontend::read_bind_head(body) {
                    Some(head) => self.reads_statement(head.statement, &parsed, is_tried),
                    None => false,
                },
                b'D' => match body.split_first() {
                    Some((b'S', name)) => {
                        let name = name.strip_suffix(&[0]).unwrap_or(name);
                        self.reads_statement(name, &parsed, is_tried)
                    }
                    _ => at > 0,
                },
                b'E' | b'H' => at > 0,
                b'C' => is_tried,
                b'S' if at > 0 => return Request::Reads(at + header.total),
                _ => false,
            };
            if !is_read {
                return Request::Other;
            }
            at += header.total;
            if header.tag == b'H' {
                // The client waits for an answer, and may go on with anything.
                return Request::Other;
            }
        }
        Request::Part
    }

    /// Of a Parse that begins here.
    fn plan_ahead(&mut self, at: usize, message: &[u8]) -> Option<Arc<Plan>> {
        if at == 0 {
            return self.plan.clone();
        }
        let sql = text(message);
        match self.plan_of(sql) {
            Ok(plan) => Some(plan),
            Err(wanted) => {
                self.ask(wanted, sql);
                None
            }
        }
    }

    fn reads_statement(&mut self, name: &[u8], parsed: &[(&[u8], bool)], is_tried: bool) -> bool {
        if let Some((_, is_read)) = parsed.iter().rev().find(|(known, _)| *known == name) {
            return *is_read;
        }
        let plan = self.current_plan(name);
        self.note_read(plan, is_tried)
    }

    /// Whether the plan is one of a read; remembered for what the standby will say.
    fn note_read(&mut self, plan: Option<Arc<Plan>>, is_tried: bool) -> bool {
        let Some(plan) = plan else { return false };
        self.note_aim(&plan.aim);
        if is_tried {
            return self.stays(&plan);
        }
        let is_alike = |first: &Arc<Plan>| first.aim.agrees(&plan.aim);
        let opens = |access| self.is_split_by_itself() && self.is_for_standby(access);
        if !(plan.is_read() || plan.opens().is_some_and(opens))
            || !self.attempt.plans.first().is_none_or(is_alike)
        {
            return false;
        }
        self.attempt.plans.push(plan);
        true
    }

    /// Whether a standby may run a transaction of which this is said.
    pub(super) fn is_for_standby(&self, access: Access) -> bool {
        let is = |name, value| self.bucket.get(name).is_some_and(|set| set == value);
        access.is_for_standby(is("default_transaction_read_only", "on"))
            && !is("default_transaction_isolation", "serializable")
    }

    /// What a statement asks for, wherever it goes.
    fn note_aim(&mut self, aim: &Aim) {
        self.attempt.origin = aim.origin;
        self.attempt.has_token |= aim.has_token;
        self.attempt.write_mode = self.attempt.write_mode.or(aim.write_mode);
        self.note_node(aim);
    }

    /// A rule may name a node that is not there yet; who writes a hint wants to know.
    fn note_node(&mut self, aim: &Aim) {
        let Some(name) = aim.node.as_ref().filter(|_| aim.origin != Origin::Rule) else {
            return;
        };
        let is_there = |reads: &Reads| reads.cluster.nodes.iter().any(|node| node.name == *name);
        if self.reads().is_some_and(|reads| !is_there(reads)) {
            self.attempt.stranger = Some(name.clone());
        }
    }

    /// The pool for the next transaction, by its reach; as `route` otherwise.
    pub(super) fn find_way(&mut self) -> Result<Found, Refusal> {
        let primary = self.route()?;
        let Some(reads) = self.reads() else {
            return Ok(self.after_others(primary).map(Way::pooled));
        };
        if let Some(name) = &self.attempt.stranger {
            return Err(reads.unknown_node(name));
        }
        let is_bound = reads.is_bound();
        if self.reach == Reach::Standby || is_bound {
            if let Some(way) = self.way_to_standby() {
                return Ok(Ok(way));
            }
        }
        if is_bound {
            return Ok(primary.and_then(|_| Err(self.no_standby())));
        }
        let primary = self.after_others(primary);
        let reason = match self.reach {
            _ if self.is_second_try() => Reason::Retry,
            Reach::Primary if self.is_moving() => Reason::Moved,
            Reach::Standby => self.reason_for_primary(),
            Reach::NoStandby => Reason::NoStandby,
            Reach::Untold => Reason::Key,
            Reach::Primary => self.attempt.origin.reason(Reason::Write),
        };
        // A standby may answer before there is a primary.
        let look_again = (self.reach != Reach::Primary).then_some(LAG_POLL);
        let found = primary.map(|shard| Way::to_primary(shard, reason));
        Ok(found.map_err(|homeless| Homeless {
            look_again: homeless.look_again.or(look_again),
            ..homeless
        }))
    }

    /// Nothing tells when a standby has come far enough.
    fn no_standby(&self) -> Homeless {
        Homeless {
            revision: self.route.as_ref().map_or(0, |route| route.revision),
            reason: "no standby is well and fresh enough".to_owned(),
            look_again: Some(LAG_POLL),
        }
    }

    /// What its next read must see; `None` while that is not known.
    pub(super) fn need(&mut self, consistency: Consistency) -> Option<Need> {
        let reads = self.route.as_ref()?.reads.as_ref()?;
        if consistency != Consistency::Session {
            return Some(Need::default());
        }
        if let Some(position) = self
            .seen
            .pending
            .and_then(|number| reads.sampler.position(number))
        {
            self.seen.pending = None;
            self.seen.floor = self.seen.floor.max(position);
        }
        if self.seen.pending.is_some() {
            return None;
        }
        Some(self.known_need())
    }

    /// The same as far as it is known.
    fn known_need(&self) -> Need {
        let age = self.worker.clock().saturating_sub(self.seen.since);
        Need {
            floor: self.seen.floor,
            age_us: age / 1000,
            is_carried: self.seen.may_be_older,
        }
    }

    /// Waits for a standby to come as far as this session, if it has been on the primary for long with what a standby
    /// could answer: as others write, it would stay there for ever. A heavy read waits at once.
    pub(super) async fn catch_up(&mut self) -> Result<(), Ended> {
        let Some(limit) = self.catch_up_limit() else {
            return Ok(());
        };
        let since = self.worker.clock();
        while self.is_astray() || !self.has_standby() {
            let waited = Duration::from_nanos(self.worker.clock().saturating_sub(since));
            if waited >= limit || !self.is_split() {
                self.seen.behind = 0;
                self.seen.doubled = (self.seen.doubled * 2 + 1).min(MOST_DOUBLED);
                return Ok(());
            }
            if !self.wait_a_while(CATCH_UP_POLL).await? {
                return Ok(());
            }
        }
        self.seen.doubled = 0;
        Ok(())
    }

    /// How long to wait; `None` where that is not called for, or of no use.
    fn catch_up_limit(&mut self) -> Option<Duration> {
        if self.reach != Reach::Standby {
            return None;
        }
        // Who waits for a primary looks for standbys meanwhile.
        if self.is_without_primary() {
            return None;
        }
        let reads = self.reads()?;
        let routing = reads.entry.routing.as_ref()?;
        let limit = Duration::from_millis(routing.catch_up_ms);
        let is_due = self.seen.on.is_none()
            && self.seen.behind >= routing.catch_up_after.saturating_add(self.seen.doubled);
        if limit.is_zero() || !(is_due || self.is_astray()) || !self.could_have_standby() {
            return None;
        }
        let reads = self.reads()?;
        if self.seen.pending.is_some() {
            reads
                .sampler
                .want(&self.route.as_ref()?.shard, &self.worker);
        }
        Some(limit)
    }

    /// A transaction is over: what it has shown or written must be seen from now on.
    pub(super) fn note_seen(&mut self, reader: Option<&Reader>, shard: &Rc<PoolShard>) {
        if self.consistency() != Consistency::Session {
            return;
        }
        let reads = self.route.as_ref().and_then(|route| route.reads.as_ref());
        let Some(reads) = reads else { return };
        self.seen.behind = match (reader, self.reach) {
            (None, Reach::Standby) => self.seen.behind.saturating_add(1),
            _ => 0,
        };
        self.seen.pending = Some(reads.sampler.next());
        self.seen.on = reader.map(|reader| Arc::clone(&reader.standing));
        if reader.is_none() {
            self.seen.since = self.worker.clock();
            self.seen.may_be_older = false;
            reads.sampler.want(shard, &self.worker);
        }
    }

    /// Positions of one primary say nothing about another's: what was seen before it is found anew.
    pub(super) fn note_primary(&mut self, name: &str) {
        if self.seen.primary == name {
            return;
        }
        let has_seen = !self.seen.primary.is_empty() || self.seen.has_any();
        self.seen = Seen {
            primary: name.to_owned(),
            is_carried: self.seen.is_carried,
            ..Seen::default()
        };
        if let (true, Some(reads)) = (has_seen, self.reads()) {
            self.seen.pending = Some(reads.sampler.next());
        }
    }

    /// Whether the client's next request must wait for the answer of a standby: it may be for another node.
    pub(super) fn is_read_under_way(&self) -> bool {
        let reader = self.link.as_ref().and_then(|link| link.reader.as_ref());
        reader.is_some_and(|reader| reader.has_begun && !reader.is_bound)
            && self.status == Status::Idle
            && !self.is_unfinished()
    }

    /// The first message of a request goes to the server at hand.
    pub(super) fn begin_attempt(&mut self) {
        let Some(link) = &mut self.link else { return };
        match &mut link.reader {
            Some(reader) if !reader.has_begun && !reader.is_bound => {
                reader.has_begun = true;
                self.attempt.stage = Stage::Open;
                self.attempt.mark = self.client.wbuf.len();
                if reader.certainty == Certainty::Asked {
                    self.ask_freshness();
                }
            }
            Some(_) => {}
            None => self.attempt.close(),
        }
    }

    /// Asks the standby at hand how far it is.
    pub(super) fn ask_freshness(&mut self) {
        let Some(link) = &mut self.link else { return };
        link.server.conn.wbuf.extend(FRESHNESS);
        // As any Query does, it ends the unnamed statement.
        link.server.state.unnamed = 0;
        self.fifo.push_back(Expect::Freshness);
    }

    /// How far the standby is, or its error.
    pub(super) fn judge_freshness(&mut self, row: &[u8]) {
        let need = self.known_need();
        let Some(reader) = self.link.as_mut().and_then(|link| link.reader.as_mut()) else {
            return;
        };
        let value = backend::read_data_row(row).and_then(|row| row.first().copied().flatten());
        let position = value.and_then(read_lsn).unwrap_or(0);
        let is_enough = position >= need.floor;
        // Once it has been asked for in vain, it counts as written when it came here.
        self.seen.may_be_older &= is_enough;
        reader.standing.learn(position, need);
        match self.opening {
            Some(_) if is_enough => reader.certainty = Certainty::Known,
            Some(_) => {}
            None if is_enough => {}
            None => self.attempt.withdraw(Cause::Behind),
        }
    }

    /// Has the primary asked what a standby could not answer, once that one's answer has come to its end.
    pub(super) fn ask_again(&mut self) {
        if self.attempt.stage != Stage::Withdrawn || self.link.is_some() {
            return;
        }
        self.attempt.stage = Stage::Again;
        self.forget_attempt();
        self.client.wbuf.truncate(self.attempt.mark);
        self.forget_parsed();
        let rest = self.client.rbuf.bytes().to_vec();
        self.client.rbuf.release();
        self.client.rbuf.extend(&self.attempt.request);
        self.client.rbuf.extend(&rest);
    }

    /// What the request has prepared under a name has not been made: it will be.
    fn forget_parsed(&mut self) {
        let mut rest = &self.attempt.request[..];
        while let Some(message) = head(rest) {
            if message[0] == b'P' {
                let parsed = frontend::read_parse(&message[HEADER_LEN..]);
                if let Some((name, _)) = parsed.filter(|(name, _)| !name.is_empty()) {
                    self.statements.remove(name);
                }
            }
            rest = &rest[message.len()..];
        }
    }

    /// The standby is gone that was asked. True: the primary is asked instead.
    pub(super) fn survive(&mut self) -> bool {
        if !self.attempt.is_open() && self.opening.is_none() {
            return false;
        }
        while self.fifo.pop_front().is_some() {}
        self.unsynced = false;
        self.skipping = false;
        self.down = super::Partial::default();
        if self.opening.is_none() {
            self.attempt.stage = Stage::Withdrawn;
            self.ask_again();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_a_whole_query() {
        let header = frame::header(FRESHNESS).ok().flatten();
        assert_eq!(header.map(|header| header.total), Some(FRESHNESS.len()));
    }
}
