//! Counters and histograms of one worker. Only the worker writes, so an update is a load and a store, not a
//! locked instruction; the admin thread reads.

use serde_json::{json, Value};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::journal::Reason;
use crate::session::{Departure, Pin, Silence};

/// A number that one thread changes and others read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn subtract(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_sub(n),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the histograms' buckets, in microseconds.
const BOUNDS_US: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000, 30_000_000,
];

/// How long something took.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    counts: [Counter; BOUNDS_US.len() + 1],
    sum_ns: Counter,
}

impl Histogram {
    pub(crate) fn record(&self, took_ns: u64) {
        let us = took_ns / 1000;
        let at = BOUNDS_US.partition_point(|&bound| bound < us);
        self.counts[at].add(1);
        self.sum_ns.add(took_ns);
    }
}

/// Everything one worker counts.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) accepted: Counter,
    pub(crate) closed: Counter,
    pub(crate) reads: Counter,
    pub(crate) writes: Counter,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) query: Histogram,
    pub(crate) acquire: Histogram,
    /// Sessions that listen over a shared link.
    pub(crate) listening: Counter,
    /// Notifications that came that way.
    pub(crate) notifications: Counter,
    /// Sessions that were ended since they may have missed some.
    pub(crate) listeners_lost: Counter,
    /// By reason, how often a session began to keep its server between transactions.
    pub(crate) pins: [Counter; Pin::ALL.len()],
    /// By reason, the sessions that do now.
    pub(crate) pinned: [Counter; Pin::ALL.len()],
    /// By reason, sessions that were ended without a word of ours.
    pub(crate) cut: [Counter; Silence::ALL.len()],
    pub(crate) replays: Replays,
    pub(crate) optimistic: Optimistic,
    /// Connections to the Redis that keeps consistency keys.
    pub(crate) key_links: Counter,
    pub(crate) keys: KeyCounts,
}

/// What became of blocks that began on a standby though they might write.
#[derive(Debug, Default)]
pub(crate) struct Optimistic {
    pub(crate) begun: Counter,
    /// Ended there.
    pub(crate) stayed: Counter,
    /// By reason, left it.
    pub(crate) departed: [Counter; Departure::ALL.len()],
    /// Gone on on the primary.
    pub(crate) moved: Counter,
    /// By reason, those that could not.
    pub(crate) failed: [Counter; Reason::ALL.len()],
}

/// What became of requests under consistency keys.
#[derive(Debug, Default)]
pub(crate) struct KeyCounts {
    /// Writes whose position was told to others before they were acknowledged.
    pub(crate) kept: Counter,
    /// Those of which others do not know.
    pub(crate) unkept: Counter,
    /// Reads that were told what they must see.
    pub(crate) told: Counter,
    /// Those that went to the primary, since nobody could say.
    pub(crate) untold: Counter,
}

/// What became of transactions whose servers were lost.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    /// Commits whose answer was lost, and which a server knew of.
    pub(crate) acknowledged: Counter,
    /// Run again, and gone on.
    pub(crate) completed: Counter,
    /// Requests of those that gave the same answers.
    pub(crate) statements: Counter,
    /// Sessions that have on another server what they had on the one that was lost.
    pub(crate) sessions: Counter,
    /// By reason, those that were not.
    pub(crate) failed: [Counter; Reason::ALL.len()],
}

impl Replays {
    pub(crate) fn fail(&self, reason: Reason) {
        self.failed[reason as usize].add(1);
    }
}

/// The sum of one counter over all workers.
pub(crate) fn total<'a>(
    all: impl Iterator<Item = &'a Stats>,
    counter: impl Fn(&Stats) -> &Counter,
) -> u64 {
    all.map(|stats| counter(stats).get()).sum()
}

/// The sum of one histogram over all workers, as the border's document has it.
pub(crate) fn merged<'a>(
    all: impl Iterator<Item = &'a Stats>,
    histogram: impl Fn(&Stats) -> &Histogram,
) -> Value {
    let mut counts = [0_u64; BOUNDS_US.len() + 1];
    let mut sum_ns = 0_u64;
    for stats in all {
        let histogram = histogram(stats);
        for (sum, count) in counts.iter_mut().zip(&histogram.counts) {
            *sum += count.get();
        }
        sum_ns += histogram.sum_ns.get();
    }
    let le: Vec<f64> = BOUNDS_US.iter().map(|&us| us as f64 / 1e6).collect();
    json!({"le": le, "counts": counts, "sum": sum_ns as f64 / 1e9})
}
