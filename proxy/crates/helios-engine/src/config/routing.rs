//! The snapshot's part about which node runs a statement.

use std::collections::HashMap;

use regex_lite::Regex;
use serde::Deserialize;

/// What nodes serve a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The primary, and standbys as its routing says.
    Primary,
    /// Standbys, whatever the statement.
    Standby,
}

/// What the planner is told of routing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Reads may go to standbys without anybody asking for it.
    pub split: bool,
    /// Hints in comments are acted on.
    pub hints: bool,
    /// In the order in which they count; at most as many as a number has bits.
    pub rules: Vec<RoutingRule>,
    /// How kinds of work are told apart, for the planner alone; null where they are not.
    pub workloads: serde_json::Value,
    /// Transactions are run again, with the numbers of sequences that their clients have seen.
    pub keeps: bool,
}

/// Where some reads go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingRule {
    /// Globs, of which one must match the client's application_name; none is any client.
    pub applications: Vec<String>,
    /// What must be found in a statement; absent is any statement.
    #[serde(deserialize_with = "pattern")]
    pub pattern: Option<Regex>,
    /// What the planner makes of it.
    pub told: serde_json::Value,
}

fn pattern<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Regex>, D::Error> {
    let text: Option<String> = Deserialize::deserialize(from)?;
    let made = text.map(|text| Regex::new(&format!("(?i){text}")));
    made.transpose().map_err(serde::de::Error::custom)
}

/// How reads may be spread over nodes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routing {
    /// Which of the nodes that may answer does.
    pub read_strategy: ReadStrategy,
    /// How old what a read sees may be.
    pub consistency: Consistency,
    /// How far behind a standby may be; 0 is any, as below.
    pub max_lag_ms: u64,
    /// The same in WAL.
    pub max_lag_bytes: u64,
    /// How long a read waits for a standby to come as far as its session.
    pub catch_up_ms: u64,
    /// Reads in a row that the primary answers before that.
    pub catch_up_after: u32,
    /// Blocks that may write begin on standbys.
    pub optimistic: bool,
    /// How far writes must have come, where nobody says it.
    pub write_mode: Option<WriteMode>,
    /// Where this process runs.
    pub zone: Option<String>,
    /// Globs over the nodes that a kind of work is for, where there are any.
    pub targets: HashMap<Workload, Vec<String>>,
}

/// When a table is cold.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Temperature {
    /// Statements a minute; it is warm again from twice as many.
    pub cold_below_per_minute: u32,
    /// Time after which what was counted counts half.
    pub half_life_ms: u64,
}

/// A kind of work, the heaviest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// As the next, over tables that are seldom used.
    Cold,
    /// All that is of no other kind.
    Oltp,
    /// Searches by distances between vectors.
    Vector,
    /// Aggregates of large tables.
    Olap,
}

impl Routing {
    /// How fresh a standby must be where a statement asks for nothing else.
    pub(crate) fn freshness(&self) -> Freshness {
        Freshness {
            consistency: self.consistency,
            max_lag_ms: self.max_lag_ms,
            max_lag_bytes: self.max_lag_bytes,
        }
    }
}

/// How far a write must have come when it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// It is seen on the synchronous standbys.
    Sync,
    /// They have it on disk.
    Semisync,
    /// The primary has it on disk.
    Async,
}

impl WriteMode {
    const ALL: [WriteMode; 3] = [WriteMode::Sync, WriteMode::Semisync, WriteMode::Async];

    pub(crate) fn name(self) -> &'static str {
        match self {
            WriteMode::Sync => "sync",
            WriteMode::Semisync => "semisync",
            WriteMode::Async => "async",
        }
    }

    pub(crate) fn named(name: &str) -> Option<WriteMode> {
        let mut all = WriteMode::ALL.into_iter();
        all.find(|mode| mode.name().eq_ignore_ascii_case(name))
    }

    /// PostgreSQL's `synchronous_commit` for it.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            WriteMode::Sync => "remote_apply",
            WriteMode::Semisync => "on",
            WriteMode::Async => "local",
        }
    }

    /// Whether it says anything of standbys.
    pub(crate) fn needs_standby(self) -> bool {
        self != WriteMode::Async
    }
}

/// How fresh a standby must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Freshness {
    pub(crate) consistency: Consistency,
    /// 0 is any lag, as below.
    pub(crate) max_lag_ms: u64,
    pub(crate) max_lag_bytes: u64,
}

/// Which of the nodes that may answer a read does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadStrategy {
    /// One after the other.
    RoundRobin,
    /// The same, by weight.
    WeightedRoundRobin,
    /// The one with the least to do, for its weight.
    LeastConnections,
    /// Of two at random, the one that will answer sooner.
    LatencyBased,
    /// Any.
    Random,
}

/// How old what a read sees may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Not at all.
    Strong,
    /// Not older than what the session has written or read.
    Session,
    /// As the limits of lag allow.
    Bounded,
    /// As it may be.
    Eventual,
}

/// When a node is not asked for reads.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreaker {
    /// Whether there are circuits at all.
    pub enabled: bool,
    /// Failures in a row that open one.
    pub failure_threshold: u32,
    /// How long it stays open before the node is tried.
    pub reset_timeout_ms: u64,
    /// Answers that close it.
    pub success_threshold: u32,
    /// Requests at a time while the node is tried.
    pub half_open_requests: usize,
    /// How long its share grows after that.
    pub slow_start_ms: u64,
    /// Times the other nodes' answer time that open one; 0 is never.
    pub outlier_latency_factor: u32,
    /// Points of failed requests above the other nodes' that open one; 0 is never.
    pub outlier_error_percent: u64,
}

/// The Redis that keeps how far the writes of consistency keys have come.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyKeys {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Certificates of the authorities that are trusted, in PEM; absent is no encryption.
    pub ca: Option<String>,
    /// Whom to log in as; absent is Redis' default user.
    pub user: Option<String>,
    /// Its password; absent is no login.
    pub password: Option<String>,
    /// Number of the database there.
    pub database: u32,
    /// What the names of keys begin with there.
    pub prefix: String,
    /// How long a position is kept.
    pub ttl_ms: u64,
    /// How long an answer may take.
    pub timeout_ms: u64,
}

impl ConsistencyKeys {
    /// Where it is, for people to read.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl std::fmt::Debug for ConsistencyKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConsistencyKeys({})", self.place())
    }
}
