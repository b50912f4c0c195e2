//! How far a primary's WAL is, sampled for sessions that have used it: whoever sees all of a sample that was begun after
//! an answer of the primary sees what that answer said. One sample at a time for each worker and cluster, on a connection
//! of its own, at most one a millisecond, and only while somebody wants one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::nodes::Lsn;
use crate::pool::{PoolShard, SamplerSeat};
use crate::rt;
use crate::server::{idle, Server};
use crate::worker::Worker;

/// From one sample to the next; who waits for one looks as often.
pub(crate) const PACE: Duration = Duration::from_millis(1);
/// Pause after a sample that could not be had.
const BACKOFF: Duration = Duration::from_millis(100);
/// Samples that are kept; sessions that come later get a later one than they need.
const KEPT: usize = 1024;
/// How long the connection is kept that nobody needs.
const IDLE: Duration = Duration::from_secs(30);
/// Where the next record will be, behind everything that has been acknowledged, whatever synchronous_commit was.
const SAMPLE: &str = "SELECT pg_catalog.pg_current_wal_insert_lsn() || ' ' \
    || pg_catalog.current_setting('wal_block_size')";
/// What its positions belong to. A primary stays on its timeline for as long as it is one.
const HISTORY: &str = "SELECT system_identifier || ' ' || \
    ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8))::bit(32)::int \
    FROM pg_catalog.pg_control_system()";
/// Bytes that a page of WAL begins with: the first of a file, any other.
const PAGE_HEADS: [Lsn; 2] = [40, 24];

/// What positions belong to: they say nothing about those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct History {
    /// PostgreSQL's identifier of a cluster of servers.
    pub(crate) system: u64,
    pub(crate) timeline: u32,
}

/// One worker's samples of one cluster. They are numbered from 1.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    /// The last one that has begun.
    begun: Cell<u64>,
    /// Those that were had lately, by their numbers.
    done: RefCell<VecDeque<(u64, Lsn)>>,
    /// That of the primary that was asked last, as far as it tells.
    history: Cell<Option<History>>,
    wanted: Cell<u64>,
    /// The primary's pool, of whoever asked last.
    shard: RefCell<Option<Rc<PoolShard>>>,
    is_running: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Sampler {
    /// The number of the first sample that covers everything the primary has answered so far.
    pub(crate) fn next(&self) -> u64 {
        self.begun.get() + 1
    }

    /// Where the primary was by the first sample of this number or a later one, if it has been had. Not the last one:
    /// while others write that is further than it need be.
    pub(crate) fn position(&self, number: u64) -> Option<Lsn> {
        let done = self.done.borrow();
        if done.back().is_none_or(|(last, _)| *last < number) {
            return None;
        }
        let first = done.partition_point(|(known, _)| *known < number);
        done.get(first).map(|(_, position)| *position)
    }

    /// What the samples of late belong to; unknown before the first one, and where the server does not tell.
    pub(crate) fn history(&self) -> Option<History> {
        self.history.get()
    }

    fn keep(&self, number: u64, position: Lsn) {
        let mut done = self.done.borrow_mut();
        if done.len() >= KEPT {
            done.pop_front();
        }
        done.push_back((number, position));
    }

    /// Has the next sample taken, of the primary that this pool is of.
    pub(crate) fn want(self: &Rc<Self>, shard: &Rc<PoolShard>, worker: &Rc<Worker>) {
        self.wanted.set(self.next());
        let is_same = |known: &Rc<PoolShard>| Rc::ptr_eq(known, shard);
        if !self.shard.borrow().as_ref().is_some_and(is_same) {
            *self.shard.borrow_mut() = Some(Rc::clone(shard));
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        if !self.is_running.replace(true) {
            let (sampler, worker) = (Rc::clone(self), Rc::clone(worker));
            rt::spawn(async move {
                sampler.run(&worker).await;
                sampler.shard.take();
                sampler.is_running.set(false);
            });
        }
    }

    async fn run(&self, worker: &Rc<Worker>) {
        let mut link: Option<Link> = None;
        while rt::timeout(IDLE, self.wish()).await.is_some() {
            let Some(shard) = self.shard.borrow().clone() else {
                return;
            };
            // A primary that has been replaced says nothing of the new one.
            if !link.as_ref().is_some_and(|link| link.is_to(&shard)) {
                link = Link::open(&shard, worker).await;
                if let Some(link) = &mut link {
                    self.history.set(history(&mut link.server).await);
                }
            }
            let number = self.next();
            self.begun.set(number);
            let sampled = match &mut link {
                Some(link) => sample(&mut link.server).await,
                None => None,
            };
            // Whoever still needs one will say so.
            let Some(position) = sampled else {
                link = None;
                rt::sleep(BACKOFF).await;
                continue;
            };
            self.keep(number, position);
            rt::sleep(PACE).await;
        }
    }

    /// Until somebody wants a sample.
    async fn wish(&self) {
        poll_fn(|cx| {
            if self.wanted.get() > self.begun.get() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// The sampler's connection.
struct Link {
    server: Box<Server>,
    shard: Rc<PoolShard>,
    _seat: SamplerSeat,
}

impl Link {
    async fn open(shard: &Rc<PoolShard>, worker: &Worker) -> Option<Link> {
        let (server, seat) = shard.open_sampler(worker).await?;
        Some(Link {
            server,
            shard: Rc::clone(shard),
            _seat: seat,
        })
    }

    /// Whether it leads to the primary that this pool is of; any user's pool does.
    fn is_to(&self, shard: &PoolShard) -> bool {
        let (own, other) = (&self.shard.shared, &shard.shared);
        !own.is_retired() && own.key.node == other.key.node
    }
}

async fn sample(server: &mut Server) -> Option<Lsn> {
    read_sample(&idle::value(server, SAMPLE).await.ok()??)
}

async fn history(server: &mut Server) -> Option<History> {
    read_history(&idle::value(server, HISTORY).await.ok()??)
}

fn read_history(value: &[u8]) -> Option<History> {
    let (system, timeline) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    Some(History {
        system: system.parse().ok()?,
        timeline: timeline.parse().ok()?,
    })
}

/// The end of the last record: behind one that fills its page, the next begins only after the head of another page, and
/// no standby gets there before there is a next.
fn read_sample(value: &[u8]) -> Option<Lsn> {
    let (position, block) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    let position = read_lsn(position.as_bytes())?;
    let on_page = position.checked_rem(block.parse().ok()?)?;
    Some(match PAGE_HEADS.contains(&on_page) {
        true => position - on_page,
        false => position,
    })
}

/// A position as PostgreSQL writes it: `16/B374D848`.
pub(crate) fn read_lsn(text: &[u8]) -> Option<Lsn> {
    let (high, low) = std::str::from_utf8(text).ok()?.split_once('/')?;
    let half = |digits: &str| {
        let digits = Some(digits).filter(|digits| !digits.starts_with('+'))?;
        u32::from_str_radix(digits, 16).ok().map(Lsn::from)
    };
    Some(half(high)? << 32 | half(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_gets_the_first_sample_that_is_late_enough() {
        let sampler = Sampler::default();
        for number in [1, 2, 4] {
            sampler.keep(number, 10 * number);
        }
        assert_eq!(sampler.position(2), Some(20));
        assert_eq!(sampler.position(3), Some(40));
        assert_eq!(sampler.position(5), None);
    }

    #[test]
    fn the_head_of_an_empty_page_is_no_part_of_what_was_written() {
        assert_eq!(read_sample(b"0/3000028 8192"), Some(0x300_0000));
        assert_eq!(read_sample(b"0/3002018 8192"), Some(0x300_2000));
        assert_eq!(read_sample(b"0/3002018 16384"), Some(0x300_2018));
        assert_eq!(read_sample(b"0/3002020 8192"), Some(0x300_2020));
        assert_eq!(read_sample(b"0/3002020 0"), None);
    }

    #[test]
    fn positions_are_read_as_postgresql_writes_them() {
        assert_eq!(read_lsn(b"16/B374D848"), Some(0x16_B374_D848));
        assert_eq!(read_lsn(b"0/0"), Some(0));
        assert_eq!(read_lsn(b"16-B374D848"), None);
        assert_eq!(read_lsn(b"16/123456789"), None);
    }
}
