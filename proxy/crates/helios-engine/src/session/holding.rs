//! What a session has on its server alone, as its statements change it: what is recorded of that, and what the server is
//! asked about it. What it is for is in `rebuilding`.

use std::sync::Arc;

use helios_wire::error_response::{self, ErrorFields, Severity};
use helios_wire::frame::{Header, HEADER_LEN};
use helios_wire::frontend::{self, BindHead};
use helios_wire::sqlstate;

use super::fifo::Expect;
use super::residue::{Inspection, Pin, Pins};
use super::Session;
use crate::journal::{Holdings, Reason};
use crate::plans::Plan;

impl Session {
    fn holdings_mut(&mut self) -> Option<&mut Holdings> {
        self.replaying.as_mut().map(|it| &mut it.journal.holdings)
    }

    /// Whether a statement that is about to run does nothing but change what its session keeps.
    pub(super) fn is_holding(&mut self, plan: Option<&Plan>) -> bool {
        let carries_state = self.link.as_ref().is_some_and(|link| link.carries_state);
        let path = self.bucket.get("search_path").unwrap_or_default();
        let has_any = self.pins.any();
        // Then a name without a schema may be that of another relation.
        let hides_own = path.contains("pg_temp");
        let Some(kept) = self.holdings_mut().filter(|_| carries_state) else {
            return false;
        };
        let may_change = plan.is_none_or(|plan| plan.holding.is_some() || plan.doubts().any());
        let stirs = plan.is_none_or(|plan| plan.doubts().holds || (plan.frees && has_any));
        let holding = plan.and_then(|plan| plan.holding.as_deref());
        let is_kept = kept.judge(holding, may_change, stirs);
        if is_kept && hides_own {
            kept.spoil(Reason::TemporaryTable);
        }
        is_kept && !hides_own
    }

    /// Whether a Bind is waited for until it is whole: it may have to be recorded.
    pub(super) fn awaits_held_bind(&self, header: Header, message: &[u8]) -> bool {
        let Some(replaying) = self.replaying.as_ref() else {
            return false;
        };
        message.len() < header.total && header.total <= replaying.journal.holdings.longest_bind()
    }

    /// Records a simple Query if it is to be kept.
    pub(super) fn hold_query(&mut self, header: Header, message: &[u8]) {
        let bucket = Arc::clone(&self.bucket);
        let Some(kept) = self.holdings_mut().filter(|kept| kept.is_wanted()) else {
            return;
        };
        match message.len() == header.total {
            true => kept.query(message, &bucket),
            false => kept.spoil(Reason::Overflow),
        }
    }

    /// The same of a Bind. One that has not come whole is too long to be kept.
    pub(super) fn hold_bind(&mut self, header: Header, message: &[u8], head: &BindHead<'_>) {
        if !self.holdings_mut().is_some_and(|kept| kept.is_wanted()) {
            return;
        }
        let bucket = Arc::clone(&self.bucket);
        let named = self.statements.get(head.statement);
        let statement = named.map(|named| Arc::clone(&named.statement));
        let parse = match &statement {
            Some(statement) => statement.rest().map(<[u8]>::to_vec),
            None => head.statement.is_empty().then(|| self.unnamed.rest.clone()),
        };
        let Some(kept) = self.holdings_mut() else {
            return;
        };
        match (parse, message.get(HEADER_LEN + head.len..header.total)) {
            (Some(parse), Some(rest)) => kept.bind(head.portal, &parse, rest, &bucket),
            _ => kept.spoil(Reason::Overflow),
        }
    }

    /// The same of an Execute.
    pub(super) fn hold_execute(&mut self, message: &[u8]) {
        let of = frontend::read_execute(message.get(HEADER_LEN..).unwrap_or_default());
        if let (Some((portal, limit)), Some(kept)) = (of, self.holdings_mut()) {
            kept.execute(portal, limit);
        }
    }

    /// Asks the server what the session's temporary tables hold, if they may have changed; whether that is under way.
    pub(super) fn ask_contents(&mut self) -> bool {
        if !self.pins.has(Pin::TemporaryObject) {
            return false;
        }
        let question = self.holdings_mut().and_then(|kept| kept.question());
        let Some(sql) = question else { return false };
        self.send_own(sql.as_bytes(), Expect::Contents(None));
        true
    }

    /// Part of the answer.
    pub(super) fn take_contents(&mut self, tag: u8, body: &[u8]) {
        if let (b'D', Some(Expect::Contents(contents))) = (tag, self.fifo.front_mut()) {
            *contents = Some(body.to_vec());
        }
    }

    /// Its end.
    pub(super) fn on_contents(&mut self, contents: Option<Vec<u8>>) {
        if let Some(kept) = self.holdings_mut() {
            kept.on_contents(contents);
        }
    }

    /// A transaction is over: whether the server will be asked what the session holds now.
    pub(super) fn note_untold(&mut self) {
        let asks = self.link.as_ref().is_some_and(|link| link.doubts.holds);
        if let Some(replaying) = self.replaying.as_mut().filter(|_| asks) {
            replaying.is_untold = true;
        }
    }

    /// The server has said so.
    pub(super) fn on_holds(&mut self, inspection: &mut Inspection) {
        if let Some(replaying) = &mut self.replaying {
            replaying.is_untold = false;
            replaying.journal.holdings.on_held(inspection.take_held());
        }
    }

    /// Whether the session has something on its server alone, as far as is known.
    pub(super) fn may_hold(&self) -> bool {
        let replaying = self.replaying.as_ref();
        self.pins.any() || replaying.is_some_and(|it| it.is_untold)
    }

    /// Why what the session has on its server alone is lost with that; `None` if it can be had again, or is nothing.
    pub(super) fn unkept(&self) -> Option<Reason> {
        let replaying = self.replaying.as_ref()?;
        if !self.may_hold() {
            return None;
        }
        let mut others = self.pins;
        for pin in [Pin::AdvisoryLock, Pin::TemporaryObject, Pin::HoldableCursor] {
            others.set(pin, false);
        }
        let pinned = others.any().then_some(Reason::Pinned);
        pinned.or_else(|| replaying.journal.holdings.obstacle(replaying.is_untold))
    }

    /// Cursors WITH HOLD go with their server, unless somebody wants them declared again.
    pub(super) fn lose_cursors(&mut self) {
        let Some(replaying) = &mut self.replaying else {
            return;
        };
        if self.pins.has(Pin::HoldableCursor) && !replaying.journal.holdings.holdable_cursors() {
            replaying.has_lost_cursors = true;
            let mut pins: Pins = self.pins;
            pins.set(Pin::HoldableCursor, false);
            self.pin(pins);
        }
    }

    /// What the client is told of a cursor that may have gone so, in place of the server's words.
    pub(super) fn lost_cursor(&self, fields: &ErrorFields<'_>) -> Option<Vec<u8>> {
        let has_lost = self
            .replaying
            .as_ref()
            .is_some_and(|it| it.has_lost_cursors);
        if !has_lost || fields.sqlstate() != Some(sqlstate::INVALID_CURSOR_NAME) {
            return None;
        }
        let message = fields.message().unwrap_or_default();
        let detail = "The cursors WITH HOLD of this session were lost with its server.";
        let hint =
            "With transaction_replay.holdable_cursors they are declared again on the next one.";
        Some(error_response::error(
            Severity::Error,
            sqlstate::INVALID_CURSOR_NAME,
            &message,
            Some(hint),
            Some(detail),
        ))
    }
}
