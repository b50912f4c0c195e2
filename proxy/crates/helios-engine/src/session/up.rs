//! Client to server: headers are scanned in place, whole runs forwarded, and only what names a statement is read
//! (`prepared`). Every request that will be answered leaves an entry in the FIFO.

use helios_wire::backend;
use helios_wire::error_response::Severity;
use helios_wire::frame::{self, Header, MAX_SMALL_LEN};
use helios_wire::sqlstate;

use super::block::Held;
use super::fifo::Expect;
use super::handle::Signal;
use super::keeping::Numbers;
use super::optimistic::{Departure, Vetted};
use super::parameters::Handled;
use super::planning;
use super::{Link, Session};
use crate::error::Refusal;
use crate::plans::Wanted;
use crate::rt::{Buf, BLOCK};
use crate::server::Holder;

/// What stopped the scan of the client's bytes.
#[derive(Debug)]
pub(super) enum Flow {
    /// More bytes are needed.
    Starved,
    /// A message needs a server.
    NeedServer,
    /// A statement needs its plan.
    NeedPlan(Wanted),
    /// A statement of ours needs a sample of the primary.
    NeedStamp,
    /// The server does not keep up.
    Blocked,
    /// The server is being asked what the last transaction left, or set accordingly; or its answer decides what names
    /// mean, or is held back.
    Asking,
    /// The block at hand leaves its standby.
    Departs(Departure),
    /// The client said Terminate.
    Terminate,
}

/// What to do with the message at hand.
pub(super) enum Act {
    /// Send it as it is, of whatever length.
    Forward,
    /// It has been answered or rewritten whole.
    Drop,
    /// Its first bytes have been rewritten; the rest is sent as it is.
    ForwardAfter(usize),
    /// It must be complete before it can be read.
    Wait,
    /// The server is asked something first; the message is looked at again when it has answered.
    Ask,
}

impl Session {
    /// Handles what is in the client's buffer.
    pub(super) fn on_client_bytes(&mut self) -> Result<Flow, Refusal> {
        self.begin_journal();
        let mut input = std::mem::take(&mut self.client.rbuf);
        let mut cursor = Cursor { at: 0, run: 0 };
        let was_partial = self.up.remaining > 0;
        let result = self.scan(&mut input, &mut cursor);
        self.send_run(&mut input, &mut cursor);
        input.consume(cursor.at);
        self.client.rbuf = input;
        self.tell_obstacle();
        self.emit_fakes();
        if was_partial && self.up.remaining == 0 {
            // The reply may have come before the request was whole, as when a COPY fails.
            self.release_if_done();
        }
        result
    }

    fn scan(&mut self, input: &mut Buf, cursor: &mut Cursor) -> Result<Flow, Refusal> {
        loop {
            if self.is_server_full() {
                return Ok(Flow::Blocked);
            }
            let available = input.len() - cursor.at;
            if self.up.remaining > 0 {
                let n = self.up.remaining.min(available);
                self.advance(input, cursor, n, self.up.forward);
                self.up.remaining -= n;
                if self.up.remaining > 0 {
                    return Ok(Flow::Starved);
                }
                if self.is_probe_due() {
                    self.advance(input, cursor, 0, false);
                    self.probe();
                }
                continue;
            }
            let Some(header) = frame::header(&input.bytes()[cursor.at..])? else {
                return Ok(Flow::Starved);
            };
            if header.tag == b'X' {
                return Ok(Flow::Terminate);
            }
            if self.must_wait() && !self.copying_in {
                return Ok(Flow::Asking);
            }
            self.check_size(header)?;
            if self.refusing && header.tag == b'S' {
                self.end_refusal(header);
                continue;
            }
            if self.is_ignored(header.tag) {
                self.begin_partial(header, false);
                continue;
            }
            if planning::is_statement(header) && self.plan.is_none() && self.is_planned() {
                if available < header.total {
                    return Ok(Flow::Starved);
                }
                let message = &input.bytes()[cursor.at..cursor.at + header.total];
                if let Err(wanted) = self.find_plan(message) {
                    return Ok(Flow::NeedPlan(wanted));
                }
            }
            if self.is_read_under_way() {
                return Ok(Flow::Asking);
            }
            if self.owes_error() && self.tell_owed(header, &input.bytes()[cursor.at..])? {
                continue;
            }
            if self.link.is_none() {
                if let Some(stop) = self.take_parameter(header, input, cursor) {
                    match stop {
                        Some(flow) => return Ok(flow),
                        None => continue,
                    }
                }
                match self.hold_back_begin(&input.bytes()[cursor.at..]) {
                    Held::Answered(length) => {
                        self.advance(input, cursor, length, false);
                        continue;
                    }
                    Held::Part => return Ok(Flow::Starved),
                    Held::Not => {}
                }
                // A slow sender must not hold a server while it sends.
                let whole =
                    available >= header.total || (header.total > BLOCK && !is_named(header.tag));
                let is_seen = whole && self.look_ahead(&input.bytes()[cursor.at..]);
                return Ok(if is_seen {
                    Flow::NeedServer
                } else {
                    Flow::Starved
                });
            }
            match self.vet(&input.bytes()[cursor.at..]) {
                Vetted::Goes => {}
                Vetted::Part => return Ok(Flow::Starved),
                Vetted::Later => return Ok(Flow::Asking),
                Vetted::Departs(why) => return Ok(Flow::Departs(why)),
            }
            if !self.begin_block() {
                return Ok(Flow::Asking);
            }
            if let Some(stop) = self.take_parameter(header, input, cursor) {
                match stop {
                    Some(flow) => return Ok(flow),
                    None => continue,
                }
            }
            if self.replaying.is_some() {
                let end = input.len().min(cursor.at + header.total);
                if self.awaits_number(header, &input.bytes()[cursor.at..end]) {
                    self.advance(input, cursor, 0, false);
                    self.ask_if_needed();
                    return Ok(Flow::Asking);
                }
                let message = &input.bytes()[cursor.at..end];
                if let Some(question) = self.question_of_prepared(header, message) {
                    self.advance(input, cursor, 0, false);
                    self.ask_for_prepared(&question);
                    return Ok(Flow::Asking);
                }
            }
            self.guard();
            if self.knows_sequences() {
                self.advance(input, cursor, 0, false);
                self.forget_sequences();
            }
            let end = input.len().min(cursor.at + header.total);
            let message = &input.bytes()[cursor.at..end];
            if let Some(refusal) = self.write_refusal(header, message) {
                self.advance(input, cursor, 0, false);
                self.refuse_write(header, &refusal);
                self.begin_partial(header, false);
                continue;
            }
            if self.keyed.is_some() {
                self.note_run(header, message);
            }
            self.begin_attempt();
            match self.on_message(
                header,
                message,
                &mut Pending {
                    cursor,
                    input: input.bytes(),
                },
            )? {
                Act::Forward => self.begin_partial(header, true),
                Act::Drop => self.begin_partial(header, false),
                Act::ForwardAfter(head) => {
                    self.plan = None;
                    self.record(&input.bytes()[cursor.at..cursor.at + head]);
                    cursor.at += head;
                    cursor.run = cursor.at;
                    self.up.remaining = header.total - head;
                    self.up.forward = true;
                }
                Act::Wait => return Ok(Flow::Starved),
                Act::Ask => return Ok(Flow::Asking),
            }
        }
    }

    /// Answers the message at hand if it is about a parameter of ours. `None`: it is not; else what stops the scan, if
    /// anything does.
    #[inline]
    #[allow(clippy::option_option, reason = "whether, and what")]
    fn take_parameter(
        &mut self,
        header: Header,
        input: &Buf,
        cursor: &mut Cursor,
    ) -> Option<Option<Flow>> {
        if !self.has_parameters() {
            return None;
        }
        // What is put among the client's messages must not come before those that were there first.
        self.advance(input, cursor, 0, false);
        let end = input.len().min(cursor.at + header.total);
        match self.handle_parameter(header, &input.bytes()[cursor.at..end]) {
            Handled::Not => None,
            Handled::Answered => {
                self.advance(input, cursor, header.total, false);
                Some(None)
            }
            Handled::Part => Some(Some(Flow::Starved)),
            Handled::Later => Some(Some(Flow::Asking)),
            Handled::Unsampled => Some(Some(Flow::NeedStamp)),
        }
    }

    /// Whether an answer must have come before the message at hand can be understood, or may be sent.
    fn must_wait(&self) -> bool {
        let awaits = self.fifo.back().is_some_and(Expect::is_awaited) || self.holds_back();
        (awaits || self.awaits_replay()) && !self.copying_in
    }

    pub(super) fn begin_partial(&mut self, header: Header, forward: bool) {
        self.plan = None;
        self.up.remaining = header.total;
        self.up.forward = forward;
    }

    /// Takes `n` bytes into the run, or ends the run before them.
    fn advance(&mut self, input: &Buf, cursor: &mut Cursor, n: usize, forward: bool) {
        self.record(&input.bytes()[cursor.at..cursor.at + n]);
        if forward {
            cursor.at += n;
            return;
        }
        if let Some(link) = &mut self.link {
            link.server
                .conn
                .wbuf
                .extend(&input.bytes()[cursor.run..cursor.at]);
        }
        cursor.at += n;
        cursor.run = cursor.at;
    }

    /// Sends what is left of the run; the whole buffer changes hands when it is all of it.
    fn send_run(&mut self, input: &mut Buf, cursor: &mut Cursor) {
        let Some(link) = &mut self.link else { return };
        let output = &mut link.server.conn.wbuf;
        if cursor.run == 0 && cursor.at == input.len() && output.is_empty() && cursor.at > 0 {
            std::mem::swap(input, output);
            cursor.at = 0;
        } else {
            output.extend(&input.bytes()[cursor.run..cursor.at]);
        }
    }

    /// Messages that are gathered or carry no data have a ceiling of their own.
    fn check_size(&self, header: Header) -> Result<(), Refusal> {
        match header.tag {
            b'P' if header.body_len() > self.limits.max_prepared_bytes => {
                let text = format!(
                    "a statement of {} bytes is longer than limits.max_prepared_bytes",
                    header.body_len()
                );
                Err(Refusal::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, text))
            }
            b'D' | b'C' | b'E' | b'H' | b'S' if header.total > MAX_SMALL_LEN => {
                let tag = header.tag.escape_ascii();
                Err(Refusal::protocol(format!(
                    "invalid message length for message type '{tag}'"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The Sync of a batch for which no server could be had.
    fn end_refusal(&mut self, header: Header) {
        self.refusing = false;
        self.unsynced = false;
        let mut out = Vec::new();
        backend::ready_for_query(&mut out, self.status);
        self.client.wbuf.extend(&out);
        self.begin_partial(header, false);
    }

    /// Answers the request at the head of the client's buffer, for which no server could be had, with an error.
    /// One that cannot be given this way is handed back, and ends the session.
    pub(super) fn refuse_request(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        self.drop_block();
        self.refuse_head(refusal)
    }

    /// The same within a block that goes on.
    pub(super) fn refuse_head(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        let header = frame::header(self.client.rbuf.bytes()).ok().flatten();
        // A FATAL of the server is one for the client too.
        let Some(header) =
            header.filter(|_| !refusal.is_fatal() && self.handle.pending() < Signal::Drain)
        else {
            return Err(refusal);
        };
        self.answer_with(header, &refusal);
        Ok(())
    }

    /// Answers the request that begins with this message by an error.
    pub(super) fn answer_with(&mut self, header: Header, refusal: &Refusal) {
        let mut out = refusal.message(Severity::Error);
        if matches!(header.tag, b'Q' | b'F') {
            backend::ready_for_query(&mut out, self.status);
            self.begin_partial(header, false);
        } else {
            self.refusing = true;
        }
        self.client.wbuf.extend(&out);
    }

    /// Messages that PostgreSQL would drop: what a failed COPY leaves behind, and a failed batch up to its Sync.
    fn is_ignored(&self, tag: u8) -> bool {
        match tag {
            b'd' | b'c' | b'f' => self.skipping || (!self.copying_in && self.fifo.is_empty()),
            b'S' => false,
            _ => self.skipping || self.refusing,
        }
    }

    fn on_message(
        &mut self,
        header: Header,
        message: &[u8],
        pending: &mut Pending<'_>,
    ) -> Result<Act, Refusal> {
        if self.copying_in {
            return self.on_copy_message(header);
        }
        if matches!(header.tag, b'Q' | b'E' | b'F') {
            self.link_mut().has_run = true;
        }
        match header.tag {
            b'Q' => {
                let plan = self.plan.take();
                self.tell_notices(plan.as_deref());
                self.act_on_plan(plan.as_ref());
                self.hold_query(header, message);
                self.note_unlistens(plan.as_deref(), planning::text(message));
                self.limit_time(plan.as_deref());
                let numbers = self.numbers_of(plan.as_deref(), planning::text(message), &[]);
                let (kept, given) = match numbers {
                    Numbers::Nothing => (None, None),
                    Numbers::Learn(keeping) => (Some(Box::new(keeping)), None),
                    Numbers::Give(text) => (None, Some(text)),
                };
                let (renamed, act) = match self.rename_query(plan, message, pending) {
                    Some(renamed) => (Some(Box::new(renamed)), Act::Drop),
                    None => (None, Act::Forward),
                };
                let probed = match renamed {
                    Some(_) => None,
                    None => {
                        let text = given.as_deref().unwrap_or(planning::text(message));
                        self.probe_query(text, pending)
                    }
                };
                let act = match (&probed, given) {
                    (Some(_), _) => Act::Drop,
                    (None, Some(text)) => {
                        self.give_query(&text, pending);
                        Act::Drop
                    }
                    (None, None) => act,
                };
                let span = self.trace_query(planning::text(message));
                self.expect(Expect::Query {
                    renamed,
                    span,
                    probed,
                    kept,
                });
                self.unsynced = false;
                self.unnamed.tag = 0;
                self.note_unnamed_change();
                let link = self.link_mut();
                link.server.state.unnamed = 0;
                Ok(act)
            }
            b'P' => self.on_parse(header, message, pending),
            b'B' => self.on_bind(header, message, pending),
            b'D' | b'C' => self.on_target(header, message, pending),
            b'E' => Ok(self.on_execute(header, message, pending)),
            b'H' if header.body_len() > 0 => {
                // The server's error would be taken for one of the request before, as a right Flush has no answer.
                pending.flush(self.link_mut());
                self.doom(sqlstate::PROTOCOL_VIOLATION, "invalid message format");
                Ok(Act::Drop)
            }
            b'H' => Ok(Act::Forward),
            b'S' => {
                self.probe_batch(pending);
                self.expect(Expect::Sync);
                self.unsynced = false;
                self.skipping = false;
                self.link_mut().server.state.statements.begin_batch();
                Ok(Act::Forward)
            }
            b'F' => {
                // By its number, of which the planner knows nothing.
                self.act_on_plan(None);
                self.expect(Expect::FunctionCall);
                Ok(Act::Forward)
            }
            // Ahead of the server's CopyInResponse. If none comes, the server drops them.
            b'd' => Ok(Act::Forward),
            b'c' | b'f' => {
                self.fifo.push_back(Expect::CopyEnd);
                Ok(Act::Forward)
            }
            tag => Err(Refusal::protocol(format!(
                "invalid frontend message type {tag}"
            ))),
        }
    }

    /// During COPY IN the server takes data, ignores Sync and Flush, and is confused by anything else.
    fn on_copy_message(&mut self, header: Header) -> Result<Act, Refusal> {
        match header.tag {
            b'd' => {}
            b'c' | b'f' => self.copying_in = false,
            b'H' => {}
            b'S' => self.sync_in_copy = true,
            tag => {
                let tag = tag.escape_ascii();
                return Err(Refusal::protocol(format!(
                    "unexpected message type '{tag}' during COPY from stdin"
                )));
            }
        }
        Ok(Act::Forward)
    }

    /// Notes an outstanding request. Only called while linked.
    pub(super) fn expect(&mut self, expect: Expect) {
        if self.fifo.iter().all(Expect::is_ours) {
            let now = *self.started.get_or_insert(self.worker.now());
            self.transaction.get_or_insert(now);
            self.handle.begin(now);
            self.note_holder(|holder| holder.begin(self.handle.pid(), now));
        }
        self.unsynced |= expect.is_extended();
        self.fifo.push_back(expect);
        if self.commits {
            self.handle.set_activity(self.activity());
        }
    }

    /// Has the server's holder kept, if anybody wants to know whom notifications are from.
    #[inline]
    pub(super) fn note_holder(&self, note: impl FnOnce(&Holder)) {
        if let (true, Some(link)) = (self.worker.shared.backends.are_watched(), &self.link) {
            note(&link.server.state.backend.holder);
        }
    }

    pub(super) fn link_mut(&mut self) -> &mut Link {
        self.link
            .as_mut()
            .expect("messages are handled only while a server is linked")
    }
}

/// Where the scan is, and where the run of bytes to be forwarded began.
pub(super) struct Cursor {
    at: usize,
    run: usize,
}

/// The run before the message at hand, which must go out before anything is inserted.
pub(super) struct Pending<'a> {
    cursor: &'a mut Cursor,
    input: &'a [u8],
}

impl Pending<'_> {
    /// Whether a Describe follows the message at hand, as far as can be seen.
    pub(super) fn is_described(&self, header: Header) -> bool {
        self.input.get(self.cursor.at + header.total) == Some(&b'D')
    }

    /// Whether nothing behind the message at hand has come yet.
    pub(super) fn is_last(&self, header: Header) -> bool {
        self.input.len() <= self.cursor.at + header.total
    }

    pub(super) fn flush(&mut self, link: &mut Link) {
        link.server
            .conn
            .wbuf
            .extend(&self.input[self.cursor.run..self.cursor.at]);
        self.cursor.run = self.cursor.at;
    }
}

/// Whether a message names a statement, so that it must be whole before it is handled.
fn is_named(tag: u8) -> bool {
    matches!(tag, b'P' | b'D' | b'C')
}
