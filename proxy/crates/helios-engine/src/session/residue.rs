//! What a transaction has left in the server's session. The server itself is asked, once the transaction is over and
//! only where something may be left: its settings follow the client to the next server, and what cannot follow keeps
//! the client on this one, for a reason that everybody can see, until it is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use helios_wire::backend;
use helios_wire::backend::Status;
use helios_wire::error_response::{self, Severity};
use helios_wire::frontend;
use helios_wire::sqlstate;

use super::fifo::Expect;
use super::{Link, Session};
use crate::config::PoolMode;
use crate::journal::Held;
use crate::notify::Channel;
use crate::server::Doubts;
use crate::settings::literal;

/// Why a session keeps its server between transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Pin {
    /// A table, view, sequence or function of the session's own.
    TemporaryObject,
    /// A cursor WITH HOLD.
    HoldableCursor,
    /// A statement that SQL's PREPARE made without our seeing its name.
    PreparedStatement,
    /// An advisory lock of the session.
    AdvisoryLock,
    /// SET SESSION AUTHORIZATION.
    SessionAuthorization,
    /// LOAD.
    Library,
    /// The server could not tell what is left.
    Unknown,
}

impl Pin {
    pub(crate) const ALL: [Pin; 7] = [
        Pin::TemporaryObject,
        Pin::HoldableCursor,
        Pin::PreparedStatement,
        Pin::AdvisoryLock,
        Pin::SessionAuthorization,
        Pin::Library,
        Pin::Unknown,
    ];

    /// Its name in the admin API and in metrics; also that of its row in the server's answer.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Pin::TemporaryObject => "temporary_object",
            Pin::HoldableCursor => "holdable_cursor",
            Pin::PreparedStatement => "prepared_statement",
            Pin::AdvisoryLock => "advisory_lock",
            Pin::SessionAuthorization => "session_authorization",
            Pin::Library => "library",
            Pin::Unknown => "unknown",
        }
    }

    /// What keeps the server, for people.
    fn sentence(self) -> &'static str {
        match self {
            Pin::TemporaryObject => "a temporary object, which no other server has",
            Pin::HoldableCursor => "a cursor WITH HOLD, whose rows no other server has",
            Pin::PreparedStatement => "a statement prepared where its name was not seen",
            Pin::AdvisoryLock => {
                "an advisory lock of the session, which only its server can release"
            }
            Pin::SessionAuthorization => "SET SESSION AUTHORIZATION, which belongs to its server",
            Pin::Library => "a library that was loaded, which stays for as long as its server",
            Pin::Unknown => "the server could not tell what the session has left in it",
        }
    }

    /// Those that the server's catalog shows.
    const CATALOGUED: [Pin; 4] = [
        Pin::TemporaryObject,
        Pin::HoldableCursor,
        Pin::PreparedStatement,
        Pin::AdvisoryLock,
    ];

    fn named(name: &[u8]) -> Option<Pin> {
        Pin::ALL
            .into_iter()
            .find(|pin| pin.name().as_bytes() == name)
    }
}

/// A set of reasons.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pins(u8);

impl Pins {
    pub(crate) const NONE: Pins = Pins(0);

    pub(crate) fn any(self) -> bool {
        self != Pins::NONE
    }

    pub(crate) fn has(self, pin: Pin) -> bool {
        self.0 & (1 << pin as u8) != 0
    }

    pub(super) fn set(&mut self, pin: Pin, on: bool) {
        let bit = 1 << pin as u8;
        self.0 = if on { self.0 | bit } else { self.0 & !bit };
    }

    /// In a fixed order.
    pub(crate) fn iter(self) -> impl Iterator<Item = Pin> {
        Pin::ALL.into_iter().filter(move |&pin| self.has(pin))
    }
}

impl fmt::Debug for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// A question under way to the server, and what it has answered so far.
#[derive(Debug)]
pub(crate) struct Inspection {
    asked: Doubts,
    settings: BTreeMap<String, String>,
    found: Pins,
    /// What was told of those.
    held: Held,
    channels: BTreeSet<Channel>,
    failed: bool,
}

/// Of `Inspection`, what one row says: a setting by its name, a channel that is listened to, or a reason. What SET
/// TRANSACTION sets is the transaction's, and cannot be reset, also where it was said outside of one.
const SETTINGS_ROWS: &str = "\
    SELECT 'setting', pg_catalog.lower(name), setting FROM pg_catalog.pg_settings \
        WHERE source OPERATOR(pg_catalog.=) 'session' AND name OPERATOR(pg_catalog.<>) ALL \
            ('{transaction_isolation,transaction_read_only,transaction_deferrable}') \
    UNION ALL SELECT 'setting', 'role', pg_catalog.current_setting('role') \
        WHERE pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) 'none'";
/// What is told of each serves to see whether another server has the same.
pub(super) const HOLDS_ROWS: &str = "\
    SELECT 'temporary_object', relname::pg_catalog.text, relkind::pg_catalog.text FROM pg_catalog.pg_class \
        WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() \
        AND relkind OPERATOR(pg_catalog.<>) 'i' AND relkind OPERATOR(pg_catalog.<>) 'I' \
    UNION ALL SELECT 'temporary_object', proname::pg_catalog.text, '()' FROM pg_catalog.pg_proc \
        WHERE pronamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() \
    UNION ALL SELECT 'holdable_cursor', name, '' FROM pg_catalog.pg_cursors WHERE is_holdable \
    UNION ALL SELECT 'prepared_statement', '', '' WHERE EXISTS \
        (SELECT FROM pg_catalog.pg_prepared_statements \
         WHERE from_sql AND name OPERATOR(pg_catalog.!~) '^helios_[0-9]+$') \
    UNION ALL SELECT 'advisory_lock', '', pg_catalog.md5(pg_catalog.string_agg(lock, ' ' ORDER BY lock)) FROM \
        (SELECT pg_catalog.concat_ws('/', classid, objid, objsubid, mode) FROM pg_catalog.pg_locks \
         WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
         AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) held (lock) \
        HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0";
const CHANNELS: &str = "pg_catalog.pg_listening_channels() AS channel (name)";

impl Inspection {
    pub(super) fn new(asked: Doubts) -> Inspection {
        Inspection {
            asked,
            settings: BTreeMap::new(),
            found: Pins::NONE,
            held: Held::new(),
            channels: BTreeSet::new(),
            failed: false,
        }
    }

    /// The question, with the settings that the catalog does not list.
    fn sql(&self, own_settings: &BTreeSet<String>, max_channels: usize) -> String {
        let mut parts = Vec::new();
        if self.asked.settings {
            parts.push(SETTINGS_ROWS.to_owned());
            parts.extend(own_settings.iter().map(|name| {
                let value = format!("pg_catalog.current_setting({},true)", literal(name));
                format!(
                    "SELECT 'setting',{},{value} WHERE {value} IS NOT NULL",
                    literal(name)
                )
            }));
        }
        if self.asked.holds {
            parts.push(HOLDS_ROWS.to_owned());
            parts.push(format!(
                "(SELECT 'channel', name, '' FROM {CHANNELS} LIMIT {max_channels})"
            ));
        }
        parts.join(" UNION ALL ")
    }

    /// What the session holds; `None` if the server could not tell.
    pub(super) fn held(&self) -> Option<&Held> {
        (!self.failed).then_some(&self.held)
    }

    pub(super) fn take_held(&mut self) -> Held {
        std::mem::take(&mut self.held)
    }

    /// The reasons for which the session keeps its server now, of those that the catalog shows, in the place of those
    /// that were there before.
    pub(super) fn catalogued(&self, mut pins: Pins) -> Pins {
        for pin in Pin::CATALOGUED {
            pins.set(pin, self.found.has(pin));
        }
        pins
    }

    /// Takes a DataRow or ErrorResponse; a row that cannot be read is an answer that cannot be trusted.
    pub(super) fn take(&mut self, tag: u8, body: &[u8]) {
        self.failed |= tag == b'E' || self.read(body).is_none();
    }

    fn read(&mut self, body: &[u8]) -> Option<()> {
        let columns = backend::read_data_row(body)?;
        let [Some(what), Some(name), Some(value)] = columns[..] else {
            return None;
        };
        if let Some(pin) = Pin::named(what) {
            self.found.set(pin, true);
            self.held.insert([what.into(), name.into(), value.into()]);
        } else if what == b"channel" {
            self.channels.insert(name.into());
        } else {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
            self.settings.insert(text(name)?, text(value)?);
        }
        Some(())
    }
}

impl Session {
    /// Notes that the linked server's session may have changed, by what a command said or by its plan.
    pub(super) fn doubt(&mut self, doubts: Doubts) {
        let Some(link) = &mut self.link else { return };
        if link.carries_state {
            link.doubts.add(doubts);
        } else {
            link.server.state.dirt.state |= doubts.any();
            link.server.state.dirt.prepared |= doubts.holds;
        }
    }

    /// Notes that settings go back to what they were at the start, unless that is where they are.
    pub(super) fn doubt_settings_if_any(&mut self) {
        let plain = &self.worker.shared.buckets.plain;
        let Some(link) = &mut self.link else { return };
        if Arc::ptr_eq(&link.server.state.bucket, plain) {
            return;
        }
        link.reset = true;
        if link.mode == PoolMode::Session {
            // The client's startup packet has to be set again.
            link.doubts.settings = true;
        } else {
            self.doubt(Doubts::SETTINGS);
        }
    }

    /// Nothing is left: the session is as after the server's login.
    pub(super) fn on_discarded(&mut self) {
        let mut left = Pins::NONE;
        left.set(Pin::Library, self.pins.has(Pin::Library));
        self.pin(left);
        if let Some(replaying) = &mut self.replaying {
            replaying.is_untold = false;
            replaying.journal.holdings.clear();
        }
        let Some(link) = &mut self.link else { return };
        link.doubts = Doubts::NONE;
        link.discarded = true;
        self.stop_listening();
    }

    /// Notes that something may be gone which keeps this session on its server.
    pub(super) fn hope(&mut self) {
        if self.pins.any() {
            self.doubt(Doubts::CATALOGUED);
        }
    }

    /// Asks the server what is left, if something may be; whether that is under way now.
    pub(super) fn inspect_if_in_doubt(&mut self) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        let doubts = std::mem::take(&mut link.doubts);
        link.reset = false;
        if std::mem::take(&mut link.discarded) && !doubts.settings {
            link.server.state.bucket = Arc::clone(&self.worker.shared.buckets.plain);
            self.bucket = Arc::clone(&self.startup);
            self.handle.set_bucket(&self.bucket);
        }
        // What cannot be seen or undone is dealt with when the server is given back.
        link.server.state.dirt.state |= doubts.unseen;
        let asked = doubts.settings || doubts.holds;
        if doubts.library {
            let mut pins = self.pins;
            pins.set(Pin::Library, true);
            self.pin(pins);
            self.emit_fakes();
        }
        if asked {
            self.inspect(doubts);
        }
        asked
    }

    /// After a RESET inside a transaction block: what the client asked for at its start has to be set again there.
    pub(super) fn restore_in_block(&mut self) {
        let plain = &self.worker.shared.buckets.plain;
        let has_defaults = !Arc::ptr_eq(&self.startup, plain);
        let Some(link) = &mut self.link else { return };
        if self.status != Status::Transaction || !has_defaults {
            return;
        }
        if std::mem::take(&mut link.reset) {
            self.inspect(Doubts::SETTINGS);
        } else {
            self.adjust_if_needed();
        }
    }

    fn inspect(&mut self, doubts: Doubts) {
        let inspection = Inspection::new(doubts);
        // One more is too many.
        let sql = inspection.sql(&self.own_settings, self.limits.max_channels + 1);
        self.send_own(sql.as_bytes(), Expect::Inspection(Box::new(inspection)));
    }

    /// Sends a Query of ours, which ends the server's unnamed statement as any does.
    pub(super) fn send_own(&mut self, sql: &[u8], expect: Expect) {
        let Some(link) = &mut self.link else { return };
        let mut out = Vec::new();
        frontend::query(&mut out, sql);
        link.server.conn.wbuf.extend(&out);
        link.server.state.unnamed = 0;
        self.fifo.push_back(expect);
    }

    /// Acts on the answer, once it is complete.
    pub(super) fn on_inspected(&mut self, mut inspection: Inspection) {
        let mut pins = self.pins;
        pins.set(Pin::Unknown, inspection.failed);
        if inspection.failed {
            self.pin(pins);
            if inspection.asked.listens {
                self.settle(BTreeSet::new());
            }
            return;
        }
        if inspection.asked.holds {
            pins = inspection.catalogued(pins);
            self.on_holds(&mut inspection);
        }
        let Some(link) = &self.link else { return };
        if inspection.asked.settings {
            let user = link.server.state.parameters.get("session_authorization");
            let other = user.is_some_and(|user| *user != link.shard.shared.key.user);
            pins.set(Pin::SessionAuthorization, other);
            self.carry(inspection.settings);
        }
        self.pin(pins);
        // A statement whose plan says nothing of it may have listened all the same.
        if inspection.asked.listens || !inspection.channels.is_empty() {
            self.settle(inspection.channels);
        }
    }

    /// Has the server's settings follow the client. RESET goes back to what the client asked for at its start.
    fn carry(&mut self, settings: BTreeMap<String, String>) {
        let buckets = &self.worker.shared.buckets;
        let on_server = buckets.intern(settings);
        let own = self.own_bucket(&on_server);
        let bucket = buckets.over(&self.startup, &own);
        let Some(link) = &mut self.link else { return };
        link.server.state.bucket = on_server;
        self.set_bucket(bucket);
    }

    /// Sets what RESET has gone back to, so that the client hears of it; whether that is under way now.
    pub(super) fn adjust_if_needed(&mut self) -> bool {
        let lent = self.lent_bucket();
        let bucket = lent.as_ref().unwrap_or(&self.bucket);
        let Some(link) = &mut self.link else {
            return false;
        };
        if Arc::ptr_eq(&link.server.state.bucket, bucket) {
            return false;
        }
        let sql = link.server.state.bucket.to(bucket);
        link.server.state.bucket = Arc::clone(bucket);
        self.send_own(sql.as_bytes(), Expect::Adjustment);
        true
    }

    /// Changes the reasons for which the session keeps its server, counts them, and tells a client that wants to know.
    pub(super) fn pin(&mut self, pins: Pins) {
        let worker = std::rc::Rc::clone(&self.worker);
        let stats = worker.stats();
        for pin in Pin::ALL {
            match (self.pins.has(pin), pins.has(pin)) {
                (false, true) => {
                    stats.pins[pin as usize].add(1);
                    stats.pinned[pin as usize].add(1);
                    self.tell_pin(pin);
                }
                (true, false) => stats.pinned[pin as usize].subtract(1),
                _ => {}
            }
        }
        self.pins = pins;
    }

    /// In front of whatever is answered next: between two messages, where a notice may come at any time.
    fn tell_pin(&mut self, pin: Pin) {
        let is_wanted = |link: &Link| link.shard.shared.settings().pin_notices;
        if !self.link.as_ref().is_some_and(is_wanted) || !self.wants_notices() {
            return;
        }
        let text = format!("session keeps its server connection: {}", pin.name());
        let code = sqlstate::SUCCESSFUL_COMPLETION;
        let detail = Some(pin.sentence());
        let notice = error_response::notice(Severity::Notice, code, &text, None, detail);
        self.fifo.push_front(Expect::FakeNotice(notice.into()));
    }
}
