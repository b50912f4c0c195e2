//! Reads on standbys: which requests may go there, and the second try on the primary of one that a standby could not
//! answer. Only a request that is seen to its end, and only reads, leaves the primary.

use std::rc::Rc;
use std::sync::Arc;

use helios_wire::error_response::ErrorFields;
use helios_wire::frame::{self, HEADER_LEN};
use helios_wire::frontend;
use helios_wire::sqlstate;

use super::planning::text;
use super::{Homeless, Session};
use crate::config::{Database, PoolMode};
use crate::error::Refusal;
use crate::nodes::{choose, Standing};
use crate::plans::Plan;
use crate::pool::PoolShard;
use crate::topology::{ClusterTopology, Topology};

/// Longest request that is looked through to its end, and kept for a second try.
const MAX_ATTEMPT: usize = 64 * 1024;

/// Where the next transaction may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Primary,
    /// To a standby that is fresh enough, if there is one.
    Standby,
}

/// Where a session's reads may go, until configuration or topology change.
#[derive(Debug)]
pub(super) struct Reads {
    entry: Arc<Database>,
    cluster: Arc<ClusterTopology>,
    /// Of the cluster's nodes, as far as they have been used.
    shards: Vec<Option<Rc<PoolShard>>>,
}

impl Reads {
    /// Absent where the primary answers everything.
    pub(super) fn new(
        entry: &Arc<Database>,
        topology: &Topology,
        primary: &PoolShard,
    ) -> Option<Reads> {
        let is_split = entry.routing.is_some() && primary.shared.mode() != PoolMode::Session;
        let cluster = topology.cluster(&entry.cluster).filter(|_| is_split)?;
        Some(Reads {
            entry: Arc::clone(entry),
            cluster: Arc::clone(cluster),
            shards: cluster.nodes.iter().map(|_| None).collect(),
        })
    }
}

/// A standby that a transaction is on.
#[derive(Debug)]
pub(super) struct Reader {
    standing: Arc<Standing>,
    /// The client's request is on its way.
    has_begun: bool,
}

impl Reader {
    fn new(standing: &Arc<Standing>) -> Reader {
        standing.begin();
        Reader {
            standing: Arc::clone(standing),
            has_begun: false,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.standing.end();
    }
}

/// How a read that a standby was asked stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is none, or its answer is on its way to the client.
    #[default]
    None,
    /// Nothing of its answer has gone to the client, or will before more is known.
    Open,
    /// The answer is of no use: it is dropped to its end.
    Withdrawn,
    /// It is the primary's turn.
    Again,
}

/// A read that a standby was asked, for as long as another node may be asked instead.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    stage: Stage,
    /// The whole request.
    request: Vec<u8>,
    /// Bytes for the client from before.
    mark: usize,
    plans: Vec<Arc<Plan>>,
}

/// Whether a message of a server counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Stands,
    Withdrawn,
}

impl Attempt {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Withdrawn)
    }

    /// Looks at a message of the standby before it is passed on.
    pub(super) fn judge(&mut self, tag: u8, message: &[u8]) -> Verdict {
        match (self.stage, tag) {
            (Stage::None | Stage::Again, _) => return Verdict::Stands,
            (Stage::Withdrawn, _) => return Verdict::Withdrawn,
            // Ahead of the answer.
            (Stage::Open, b'1' | b'2' | b'3' | b't' | b'T' | b'n' | b'N' | b'S' | b'A') => {
                return Verdict::Stands
            }
            (Stage::Open, b'E') => {
                let fields = ErrorFields::new(message.get(HEADER_LEN..).unwrap_or_default());
                if fields.is_fatal() {
                    // The end of the stream decides.
                    return Verdict::Withdrawn;
                }
                if let Some(cause) = fields.sqlstate().and_then(Cause::of) {
                    self.withdraw(cause);
                    return Verdict::Withdrawn;
                }
            }
            _ => {}
        }
        self.close();
        Verdict::Stands
    }

    fn withdraw(&mut self, cause: Cause) {
        self.stage = Stage::Withdrawn;
        if cause == Cause::Impossible {
            // Its claim to read was wrong, or something that it reads is not there.
            for plan in &self.plans {
                plan.learn_write();
            }
        }
    }

    fn close(&mut self) {
        self.stage = Stage::None;
        self.plans.clear();
    }
}

/// Why a standby could not answer a read that the primary can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// It is no statement for a standby.
    Impossible,
    /// Replaying what the primary has done came first.
    Conflict,
}

impl Cause {
    fn of(state: &str) -> Option<Cause> {
        match state {
            sqlstate::READ_ONLY_SQL_TRANSACTION
            | sqlstate::FEATURE_NOT_SUPPORTED
            | sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE => Some(Cause::Impossible),
            sqlstate::SERIALIZATION_FAILURE => Some(Cause::Conflict),
            _ => None,
        }
    }
}

/// What has come of a request.
enum Seen {
    /// Its end is not there yet.
    Part,
    /// The whole, which only reads; its length.
    Reads(usize),
    /// Something that is for the primary.
    Other,
}

impl Session {
    /// Whether reads may go to standbys.
    pub(super) fn is_split(&self) -> bool {
        self.route
            .as_ref()
            .is_some_and(|route| route.reads.is_some())
    }

    /// Finds out how far the request at the head of the client's bytes reaches. False: more of it must come first.
    pub(super) fn look_ahead(&mut self, bytes: &[u8]) -> bool {
        self.reach = Reach::Primary;
        if !self.is_split() || self.attempt.stage == Stage::Again {
            return true;
        }
        self.attempt.close();
        match self.survey(bytes) {
            Seen::Part => bytes.len() >= MAX_ATTEMPT,
            Seen::Other => true,
            Seen::Reads(length) => {
                self.reach = Reach::Standby;
                self.attempt.request.clear();
                self.attempt.request.extend_from_slice(&bytes[..length]);
                true
            }
        }
    }

    fn survey(&mut self, bytes: &[u8]) -> Seen {
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
                    return match self.note_read(plan) {
                        true => Seen::Reads(header.total),
                        false => Seen::Other,
                    };
                }
                b'P' => {
                    let plan = self.plan_ahead(at, message);
                    let is_read = self.note_read(plan);
                    let name = frontend::read_parse(body).map(|(name, _)| name);
                    parsed.extend(name.map(|name| (name, is_read)));
                    // A named one stays, and could not be made a second time.
                    is_read && name.is_some_and(<[u8]>::is_empty)
                }
                b'B' => match frontend::read_bind_head(body) {
                    Some(head) => self.reads_statement(head.statement, &parsed),
                    None => false,
                },
                b'D' => match body.split_first() {
                    Some((b'S', name)) => {
                        let name = name.strip_suffix(&[0]).unwrap_or(name);
                        self.reads_statement(name, &parsed)
                    }
                    _ => at > 0,
                },
                b'E' | b'H' => at > 0,
                b'S' if at > 0 => return Seen::Reads(at + header.total),
                _ => false,
            };
            if !is_read {
                return Seen::Other;
            }
            at += header.total;
            if header.tag == b'H' {
                // The client waits for an answer, and may go on with anything.
                return Seen::Other;
            }
        }
        Seen::Part
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

    fn reads_statement(&mut self, name: &[u8], parsed: &[(&[u8], bool)]) -> bool {
        if let Some((_, is_read)) = parsed.iter().rev().find(|(known, _)| *known == name) {
            return *is_read;
        }
        let plan = self.current_plan(name);
        self.note_read(plan)
    }

    /// Whether the plan is one of a read; remembered for what the standby will say.
    fn note_read(&mut self, plan: Option<Arc<Plan>>) -> bool {
        let Some(plan) = plan.filter(|plan| plan.is_read()) else {
            return false;
        };
        self.attempt.plans.push(plan);
        true
    }

    /// The pool for the next transaction, by its reach; as `route` otherwise.
    pub(super) fn reach_shard(&mut self) -> Result<Result<Rc<PoolShard>, Homeless>, Refusal> {
        let primary = self.route()?;
        if self.reach == Reach::Standby {
            if let Some(shard) = self.standby() {
                return Ok(Ok(shard));
            }
        }
        Ok(primary)
    }

    /// The pool of a standby that may answer now.
    fn standby(&mut self) -> Option<Rc<PoolShard>> {
        let route = self.route.as_mut()?;
        let reads = route.reads.as_mut()?;
        let place = choose(&reads.cluster, reads.entry.routing.as_ref()?, 0)?;
        if let Some(shard) = &reads.shards[place] {
            return Some(Rc::clone(shard));
        }
        let node = &reads.cluster.nodes[place];
        let login = &self.handle.visit.login;
        let shard = self
            .worker
            .pool(route.revision, node, &reads.entry, login)?;
        reads.shards[place] = Some(Rc::clone(&shard));
        Some(shard)
    }

    /// The standby that a pool is of.
    pub(super) fn reader_of(&self, shard: &Rc<PoolShard>) -> Option<Reader> {
        let reads = self.route.as_ref()?.reads.as_ref()?;
        let is_it = |known: &Option<Rc<PoolShard>>| {
            known.as_ref().is_some_and(|known| Rc::ptr_eq(known, shard))
        };
        let place = reads.shards.iter().position(is_it)?;
        Some(Reader::new(&reads.cluster.nodes[place].standing))
    }

    /// Whether the client's next request must wait for the answer of a standby: it may be for another node.
    pub(super) fn is_read_under_way(&self) -> bool {
        use helios_wire::backend::Status;
        let reader = self.link.as_ref().and_then(|link| link.reader.as_ref());
        reader.is_some_and(|reader| reader.has_begun)
            && self.status == Status::Idle
            && !self.is_unfinished()
    }

    /// The first message of a request goes to the server at hand.
    pub(super) fn begin_attempt(&mut self) {
        let Some(link) = &mut self.link else { return };
        match &mut link.reader {
            Some(reader) if !reader.has_begun => {
                reader.has_begun = true;
                if self.reach == Reach::Standby {
                    self.attempt.stage = Stage::Open;
                    self.attempt.mark = self.client.wbuf.len();
                }
            }
            Some(_) => {}
            None => self.attempt.close(),
        }
    }

    /// Has the primary asked what a standby could not answer, once that one's answer has come to its end.
    pub(super) fn ask_again(&mut self) {
        if self.attempt.stage != Stage::Withdrawn || self.link.is_some() {
            return;
        }
        self.attempt.stage = Stage::Again;
        self.client.wbuf.truncate(self.attempt.mark);
        let rest = self.client.rbuf.bytes().to_vec();
        self.client.rbuf.release();
        self.client.rbuf.extend(&self.attempt.request);
        self.client.rbuf.extend(&rest);
    }

    /// The standby is gone that was asked. True: the primary is asked instead.
    pub(super) fn survive(&mut self) -> bool {
        if !self.attempt.is_open() {
            return false;
        }
        while self.fifo.pop_front().is_some() {}
        self.unsynced = false;
        self.skipping = false;
        self.down = super::Partial::default();
        self.attempt.stage = Stage::Withdrawn;
        self.ask_again();
        true
    }
}
