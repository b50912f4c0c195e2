//! Whether a transaction was committed whose commit has not been answered. A server is asked, which may be another one by
//! then; what it says counts as far as its history holds the transaction's records, since the number of a transaction
//! that was lost may be given to another one. Pure.

use helios_wire::backend::{self, Status};
use helios_wire::frame::{self, HEADER_LEN};

use crate::nodes::Lsn;
use crate::stamps::read_lsn;
use crate::topology::Promotion;

/// What is asked within a transaction that may write: its number, if it has one, and where it is.
pub(crate) const PROBE: &str = "SELECT pg_catalog.concat_ws(' ', \
    pg_catalog.left(pg_catalog.pg_walfile_name(lsn), 8), lsn, \
    coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0'), pg_catalog.pg_current_xact_id_if_assigned()) \
    FROM pg_catalog.pg_current_wal_insert_lsn() AS lsn";

/// What is asked of the server that a lost transaction may be run again on.
pub(crate) const PLACE: &str = "SELECT pg_catalog.concat_ws(' ', \
    pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8), \
    coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0'))";

/// How a prepared transaction is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Commit,
    Rollback,
}

/// A transaction with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Xact {
    pub(crate) number: u64,
    /// Of one that was prepared before, what is asked for.
    ending: Option<Ending>,
    timeline: u32,
    /// Its records so far end here at most, and its commit begins here at least.
    written: Lsn,
    /// Where the last recovery of its server ended; 0 for none.
    replayed: Lsn,
}

/// A server that takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) timeline: u32,
    /// As above.
    replayed: Lsn,
}

/// What has become of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Committed,
    /// Nothing of it is there.
    Lost,
    /// Its server still has it.
    UnderWay,
    Unknown,
}

impl Xact {
    /// Reads the answer to `PROBE`; the inner `None`: it has no number.
    #[allow(clippy::option_option, reason = "whether, and what")]
    pub(crate) fn read(value: &[u8]) -> Option<Option<Xact>> {
        let mut words = std::str::from_utf8(value).ok()?.split(' ');
        let timeline = u32::from_str_radix(words.next()?, 16).ok()?;
        let written = read_lsn(words.next()?.as_bytes())?;
        let replayed = read_lsn(words.next()?.as_bytes())?;
        let Some(number) = words.next() else {
            return Some(None);
        };
        Some(Some(Xact {
            number: number.parse().ok()?,
            ending: None,
            timeline,
            written,
            replayed,
        }))
    }

    /// The same of one that has been prepared, by the answer to `of_prepared`.
    pub(crate) fn prepared(self, ending: Ending) -> Xact {
        Xact {
            ending: Some(ending),
            ..self
        }
    }

    /// Whether a commit is asked for.
    pub(crate) fn commits(self) -> bool {
        self.ending != Some(Ending::Rollback)
    }

    /// What a server says when it has done what was asked for.
    pub(super) fn tag(self) -> &'static str {
        match self.ending {
            None => "COMMIT",
            Some(Ending::Commit) => "COMMIT PREPARED",
            Some(Ending::Rollback) => "ROLLBACK PREPARED",
        }
    }

    /// Whether its commit, or anything later, is no part of the history that a server has; `None` where nothing tells.
    fn is_cut_off(
        &self,
        place: Place,
        is_same_node: bool,
        promotions: &[Promotion],
    ) -> Option<bool> {
        if place.timeline == self.timeline && is_same_node {
            // Another end of a recovery: the server has crashed since, and may have lost what was not on disk.
            let has_crashed = place.replayed != self.replayed && place.replayed != 0;
            return Some(has_crashed && place.replayed < self.written);
        }
        if place.timeline <= self.timeline {
            return None;
        }
        let mut is_cut_off = false;
        for timeline in self.timeline + 1..=place.timeline {
            let mut known = promotions.iter();
            let promotion = known.find(|promotion| promotion.timeline == timeline)?;
            is_cut_off |= promotion.forked_at < self.written || promotion.xid_bound <= self.number;
        }
        Some(is_cut_off)
    }
}

/// How far a session has seen a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) timeline: u32,
    pub(crate) position: Lsn,
}

impl Place {
    /// Whether this history parts from the one that was seen before what was seen of it.
    pub(crate) fn lacks(self, seen: Seen, promotions: &[Promotion]) -> bool {
        let since = seen.timeline + 1..=self.timeline;
        let mut known = promotions.iter();
        known.any(|it| since.contains(&it.timeline) && it.forked_at < seen.position)
    }

    /// Reads the answer to `PLACE`.
    pub(crate) fn read(value: &[u8]) -> Option<Place> {
        let (timeline, replayed) = std::str::from_utf8(value).ok()?.split_once(' ')?;
        Some(Place {
            timeline: u32::from_str_radix(timeline, 16).ok()?,
            replayed: read_lsn(replayed.as_bytes())?,
        })
    }
}

/// What is asked about a transaction, of the server whose process `process` was to commit it, or of another. One that is
/// in progress while nobody works on it is prepared.
pub(crate) fn status_of(xact: Xact, process: Option<u32>) -> String {
    let status = format!("pg_catalog.pg_xact_status('{}'::xid8)", xact.number);
    let settled = format!("CASE {status} WHEN 'in progress' THEN 'prepared' ELSE {status} END");
    match process {
        Some(process) => format!(
            "SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_stat_activity \
             WHERE pid OPERATOR(pg_catalog.=) {process}) THEN {status} ELSE {settled} END"
        ),
        None => format!("SELECT {settled}"),
    }
}

/// What is asked for a prepared transaction before it is ended, as `PROBE`, by its name as the statement has it.
pub(crate) fn of_prepared(name: &str) -> String {
    // Its number is told without its upper half: it is the one that is nearest to the next that will have completed,
    // which may be before it.
    format!(
        "SELECT pg_catalog.concat_ws(' ', \
         pg_catalog.left(pg_catalog.pg_walfile_name(lsn), 8), lsn, \
         coalesce(pg_catalog.pg_last_wal_replay_lsn(), '0/0'), \
         (SELECT next OPERATOR(pg_catalog.+) ((transaction::pg_catalog.text::pg_catalog.int8 \
         OPERATOR(pg_catalog.-) next OPERATOR(pg_catalog.+) 2147483648) OPERATOR(pg_catalog.&) 4294967295) \
         OPERATOR(pg_catalog.-) 2147483648 \
         FROM pg_catalog.pg_prepared_xacts WHERE gid OPERATOR(pg_catalog.=) {name})) \
         FROM pg_catalog.pg_current_wal_insert_lsn() AS position (lsn), \
         CAST(pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text AS pg_catalog.int8) \
         AS numbers (next)"
    )
}

/// What has become of a transaction, by what the server at `place` says of its number.
pub(crate) fn judge(
    xact: Xact,
    place: Place,
    is_same_node: bool,
    promotions: &[Promotion],
    status: Option<&[u8]>,
) -> Outcome {
    let (done, undone): (&[u8], &[u8]) = match xact.commits() {
        true => (b"committed", b"aborted"),
        false => (b"aborted", b"committed"),
    };
    match (xact.is_cut_off(place, is_same_node, promotions), status) {
        // Nobody has touched it, or somebody else has ended it otherwise, of which the client is told.
        (_, Some(b"prepared")) if xact.ending.is_some() => Outcome::Lost,
        // Whoever has the number here, the commit is not here.
        (None, Some(b"aborted")) if xact.commits() && place.timeline > xact.timeline => {
            Outcome::Lost
        }
        (None, _) => Outcome::Unknown,
        (Some(true), _) => Outcome::Lost,
        (Some(false), Some(status)) if status == done => Outcome::Committed,
        (Some(false), Some(status)) if status == undone => Outcome::Lost,
        (Some(false), Some(b"in progress")) => Outcome::UnderWay,
        (Some(false), _) => Outcome::Unknown,
    }
}

/// The whole answer to a request that only commits, with this tag; `None` if it may have been another one.
pub(super) fn acknowledgement(request: &[u8], tag: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = request;
    let mut commands = 0;
    while !rest.is_empty() {
        let header = frame::header(rest).ok().flatten()?;
        let message = rest.get(..header.total)?;
        rest = &rest[header.total..];
        match header.tag {
            b'P' => out.extend_from_slice(backend::PARSE_COMPLETE),
            b'B' => out.extend_from_slice(backend::BIND_COMPLETE),
            b'D' => {
                if message.get(HEADER_LEN) == Some(&b'S') {
                    out.extend_from_slice(backend::NO_PARAMETERS);
                }
                out.extend_from_slice(backend::NO_DATA);
            }
            b'Q' | b'E' => {
                commands += 1;
                backend::command_complete(&mut out, tag);
            }
            b'C' => out.extend_from_slice(backend::CLOSE_COMPLETE),
            b'H' | b'S' => {}
            _ => return None,
        }
        if matches!(header.tag, b'Q' | b'S') {
            backend::ready_for_query(&mut out, Status::Idle);
        }
    }
    (commands == 1).then_some(out)
}
