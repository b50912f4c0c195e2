//! Server to client: headers are scanned in place and whole runs forwarded. The head of the FIFO says whom each
//! reply belongs to; a reply that fits nothing means that we have lost our place, and ends the server connection.

use helios_wire::backend::{self, Status};
use helios_wire::error_response::{self, ErrorFields, Severity};
use helios_wire::frame::{self, Header, HEADER_LEN};
use helios_wire::sqlstate;

use super::attempt::Verdict;
use super::fifo::Expect;
use super::handle::Signal;
use super::residue::Pin;
use super::Session;
use crate::config::PoolMode;
use crate::error::Doubt;
use crate::rt::Buf;
use crate::server::evidence::{self, Effect};
use crate::server::Doubts;

/// Messages whose bodies are read must be whole; larger ones are passed on unread.
const MAX_READ: usize = 64 * 1024;

/// What becomes of a server message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Forward,
    Drop,
}

impl Session {
    /// Handles what is in the server's buffer, and gives the server back if that ends the transaction.
    pub(super) fn on_server_bytes(&mut self) -> Result<(), Doubt> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let mut input = std::mem::take(&mut link.server.conn.rbuf);
        let mut run = Run { at: 0, start: 0 };
        let result = self.scan_replies(&mut input, &mut run);
        self.send_replies(&mut input, &mut run);
        input.consume(run.at);
        if let Some(link) = &mut self.link {
            link.server.conn.rbuf = input;
        }
        result?;
        self.tell_obstacle();
        self.emit_fakes();
        self.release_if_done();
        self.ask_again();
        self.handle.set_activity(self.activity());
        Ok(())
    }

    fn scan_replies(&mut self, input: &mut Buf, run: &mut Run) -> Result<(), Doubt> {
        loop {
            let available = input.len() - run.at;
            if self.down.remaining > 0 {
                let n = self.down.remaining.min(available);
                if !self.down.forward {
                    self.flush_run(input, run);
                    run.start += n;
                }
                run.at += n;
                self.down.remaining -= n;
                if self.down.remaining > 0 {
                    return Ok(());
                }
                continue;
            }
            if self.streaming && self.handle.pending() == Signal::Drain {
                // What comes from here on would go on for ever.
                return Ok(());
            }
            let Some(header) = frame::header(&input.bytes()[run.at..])? else {
                return Ok(());
            };
            let front = self.fifo.front();
            let is_whole = available >= header.total;
            if !is_whole && is_read(header, front) {
                return Ok(());
            }
            if front.is_some_and(is_fake) {
                self.flush_run(input, run);
                self.emit_fakes();
            }
            let end = input.len().min(run.at + header.total);
            let is_ours = self.fifo.front().is_some_and(Expect::is_ours);
            let message = &input.bytes()[run.at..end];
            let act = match self.attempt.judge(header.tag, message, is_ours) {
                Verdict::Withdrawn => {
                    self.untrace();
                    self.on_reply(header, input.bytes(), run, end)?;
                    Act::Drop
                }
                Verdict::Stands => self.on_reply(header, input.bytes(), run, end)?,
            };
            if is_whole && act == Act::Forward {
                run.at = end;
                let is_read = self.fifo.front().is_some_and(Expect::is_read);
                if matches!(header.tag, b'D' | b'd') && !self.attempt.is_open() && !is_read {
                    // The same becomes of all that follow, since nobody reads them.
                    run.at += frame::run_of(header.tag, &input.bytes()[end..]);
                }
                continue;
            }
            self.down.remaining = header.total;
            self.down.forward = act == Act::Forward;
        }
    }

    fn flush_run(&mut self, input: &Buf, run: &mut Run) {
        self.client.wbuf.extend(&input.bytes()[run.start..run.at]);
        run.start = run.at;
    }

    fn send_replies(&mut self, input: &mut Buf, run: &mut Run) {
        if run.start == 0 && run.at == input.len() && run.at > 0 && self.client.wbuf.is_empty() {
            std::mem::swap(input, &mut self.client.wbuf);
            run.at = 0;
        } else {
            self.client.wbuf.extend(&input.bytes()[run.start..run.at]);
        }
    }

    /// Answers, in their turn, requests that the server does not answer.
    pub(super) fn emit_fakes(&mut self) {
        while let Some(fake) = self.fifo.front().filter(|expect| is_fake(expect)) {
            match fake {
                Expect::FakeParse { .. } => self.client.wbuf.extend(backend::PARSE_COMPLETE),
                Expect::FakeClose { .. } => self.client.wbuf.extend(backend::CLOSE_COMPLETE),
                Expect::FakeNotice(told) | Expect::Told(told) => self.client.wbuf.extend(told),
                _ => {}
            }
            self.fifo.pop_front();
        }
    }

    fn on_reply(
        &mut self,
        header: Header,
        input: &[u8],
        run: &mut Run,
        end: usize,
    ) -> Result<Act, Doubt> {
        let body = &input[run.at + HEADER_LEN..end];
        if self.fifo.front().is_some_and(Expect::is_ours) {
            return self.on_own_reply(header.tag, body, input, run);
        }
        self.check_order(header.tag)?;
        if self.replaying.is_some() {
            let message = &input[run.at..end];
            if let Some(act) = self.on_probed(header.tag, message) {
                return Ok(act);
            }
        }
        match header.tag {
            b'D' => {
                self.learn_numbers(body);
                self.belongs(header.tag)
            }
            b'd' | b'c' | b'V' => self.belongs(header.tag),
            b'T' | b'n' => self.on_description(header, body),
            b't' => self.belongs(header.tag),
            b'C' => {
                self.on_command_complete(body);
                let act = self.ends_execute(header.tag)?;
                Ok(match self.unreplicated(header.tag) {
                    None => act,
                    error => self.tell(error, input, run),
                })
            }
            b'I' | b's' => self.ends_execute(header.tag),
            b'1' => self.on_parse_complete(),
            b'2' => self.ends(header.tag, |head| matches!(head, Expect::Bind { .. })),
            b'3' => self.on_close_complete(),
            b'Z' => {
                let error = self.unreplicated(header.tag);
                if error.is_some() {
                    // Nor is the success told that was held back until here.
                    drop(self.take_held());
                }
                self.tell(error, input, run);
                self.on_ready(body, input, run)
            }
            b'E' => self.on_error(body, input, run),
            b'N' => {
                self.note_notice(body);
                Ok(Act::Forward)
            }
            b'A' => Ok(self.on_notification(body, input, run)),
            b'S' => Ok(self.on_parameter_status(body)),
            b'G' => self.on_copy_in(),
            b'W' if self.is_replication() => {
                self.streaming = true;
                self.on_copy_in()
            }
            b'H' => self.belongs(header.tag),
            tag => Err(Doubt(format!(
                "unexpected message '{}' from the server",
                tag.escape_ascii()
            ))),
        }
    }

    pub(super) fn misplaced(&self, tag: u8) -> Doubt {
        Doubt(format!(
            "message '{}' from the server, while {:?} is expected",
            tag.escape_ascii(),
            self.fifo.front()
        ))
    }

    /// Part of the reply to a statement, and not its end.
    fn belongs(&self, tag: u8) -> Result<Act, Doubt> {
        match self.fifo.front() {
            Some(Expect::Query { .. } | Expect::Execute { .. } | Expect::FunctionCall) => {
                Ok(Act::Forward)
            }
            Some(Expect::Describe { .. }) if tag == b't' => Ok(Act::Forward),
            Some(Expect::Comparison(_)) if tag == b't' => Ok(Act::Drop),
            _ => Err(self.misplaced(tag)),
        }
    }

    fn ends_execute(&mut self, tag: u8) -> Result<Act, Doubt> {
        match self.fifo.front() {
            Some(Expect::Execute { .. }) => {
                let answered = self.fifo.pop_front();
                self.trace_end(answered);
            }
            Some(Expect::Query { .. }) if tag != b's' => {}
            _ => return Err(self.misplaced(tag)),
        }
        self.copying_in = false;
        self.sync_in_copy = false;
        Ok(Act::Forward)
    }

    fn ends(&mut self, tag: u8, fits: impl Fn(&Expect) -> bool) -> Result<Act, Doubt> {
        if !self.fifo.front().is_some_and(fits) {
            return Err(self.misplaced(tag));
        }
        self.fifo.pop_front();
        Ok(Act::Forward)
    }

    fn on_parse_complete(&mut self) -> Result<Act, Doubt> {
        let act = match self.fifo.front() {
            Some(Expect::HiddenParse { .. } | Expect::ParseUnnamed { hidden: true, .. }) => {
                Act::Drop
            }
            Some(Expect::Parse { .. } | Expect::ParseUnnamed { .. } | Expect::ParseVerbatim) => {
                Act::Forward
            }
            _ => return Err(self.misplaced(b'1')),
        };
        self.fifo.pop_front();
        Ok(act)
    }

    fn on_close_complete(&mut self) -> Result<Act, Doubt> {
        let act = match self.fifo.front() {
            Some(Expect::Close) => Act::Forward,
            Some(Expect::HiddenClose) => Act::Drop,
            _ => return Err(self.misplaced(b'3')),
        };
        self.fifo.pop_front();
        Ok(act)
    }

    /// Counts the command, and notes what it leaves in the session.
    pub(super) fn on_command_complete(&mut self, body: &[u8]) {
        let tag = body.strip_suffix(&[0]).unwrap_or(body);
        let effect = evidence::effect(tag);
        let stats = self.worker.stats();
        let counter = if effect == Effect::Read {
            &stats.reads
        } else {
            &stats.writes
        };
        counter.add(1);
        if self.pins.has(Pin::Unknown) {
            self.hope();
        }
        if let Some(link) = &mut self.link {
            link.redefines |= evidence::redefines(tag);
        }
        self.note_command(tag);
        self.note_keyed_command(tag);
        self.note_control(tag);
        self.trace_tag(tag);
        match effect {
            Effect::Read | Effect::Write => {}
            Effect::Leaves(doubts) => self.doubt(doubts),
            Effect::Prepared => {
                if !self.on_change() {
                    self.doubt(Doubts::HOLDS);
                }
            }
            Effect::Forgotten => {
                self.on_change();
                self.hope();
            }
            Effect::Resets => self.doubt_settings_if_any(),
            Effect::Frees => self.hope(),
            Effect::Deallocated => {
                self.on_change();
                self.forget_statements();
                self.hope();
            }
            Effect::Discarded => {
                self.on_change();
                self.forget_statements();
                self.on_discarded();
            }
        }
    }

    fn on_ready(&mut self, body: &[u8], input: &[u8], run: &mut Run) -> Result<Act, Doubt> {
        let status = body.first().copied().and_then(Status::from_byte);
        let status =
            status.ok_or_else(|| Doubt("ReadyForQuery with an unknown status".to_owned()))?;
        self.pause.answered(self.status, status);
        self.handle.turn();
        self.status = status;
        if !self.fifo.front().is_some_and(Expect::is_ready_bound) {
            return Err(self.misplaced(b'Z'));
        }
        if let Some(held) = self.take_held() {
            self.tell(Some(held), input, run);
        }
        let answered = self.fifo.pop_front();
        self.trace_end(answered);
        self.streaming = false;
        if status == Status::Idle {
            self.note_untold();
        }
        if let Some(link) = self.link.as_mut().filter(|link| link.redefines) {
            if status == Status::Idle {
                link.redefines = false;
                self.worker.shared.interner.retire_all();
            }
        }
        self.copying_in = false;
        self.sync_in_copy = false;
        self.count_answer(status);
        self.note_end(self.client.wbuf.len() + run.at - run.start);
        let statement_mode = self
            .link
            .as_ref()
            .is_some_and(|link| link.mode == PoolMode::Statement);
        if statement_mode && self.status != Status::Idle {
            return self.refuse_block(input, run);
        }
        // An answer that is dropped takes nothing else with it.
        if self.status == Status::Idle && self.may_listen() && !self.attempt.is_open() {
            return Ok(self.on_transaction_end(body, input, run));
        }
        Ok(Act::Forward)
    }

    /// Counts what ReadyForQuery ends.
    fn count_answer(&mut self, status: Status) {
        let Some(link) = &self.link else { return };
        self.spared = 0;
        let counts = link.shard.counts();
        counts.queries.add(1);
        let is_over = status == Status::Idle;
        if is_over {
            counts.transactions.add(1);
        }
        if !self.fifo.is_empty() {
            return;
        }
        self.handle.set_prepared(self.statements.len());
        let Some(started) = self.started.take() else {
            return;
        };
        let now = self.worker.now();
        let took = now.saturating_sub(started);
        self.worker.stats().query.record(took);
        counts.query_us.add(took / 1000);
        if let Some(began) = self.transaction.take_if(|_| is_over) {
            counts.transaction_us.add(now.saturating_sub(began) / 1000);
        }
        self.note_answer(took, now);
        self.note_holder(|holder| holder.end(now));
    }

    /// For a client that listens, or may have begun to: what it hears comes in front of ReadyForQuery, which may be held
    /// back together with what comes before.
    fn on_transaction_end(&mut self, body: &[u8], input: &[u8], run: &mut Run) -> Act {
        let end = run.at + HEADER_LEN + body.len();
        let begin = std::mem::replace(&mut run.start, run.at);
        if self.holds_ready(&input[begin..end]) {
            return Act::Drop;
        }
        self.client.wbuf.extend(&input[begin..run.at]);
        self.deliver();
        Act::Forward
    }

    /// A transaction block was begun in statement mode: the client gets an error and the server is rolled back.
    fn refuse_block(&mut self, input: &[u8], run: &mut Run) -> Result<Act, Doubt> {
        self.client.wbuf.extend(&input[run.start..run.at]);
        run.start = run.at;
        let text = "transaction blocks are not allowed in statement pool mode";
        let hint = Some("Set pool.mode = \"transaction\" for this database.");
        let mut out = error_response::error(
            Severity::Error,
            sqlstate::FEATURE_NOT_SUPPORTED,
            text,
            hint,
            None,
        );
        backend::ready_for_query(&mut out, Status::Idle);
        self.client.wbuf.extend(&out);
        if !self.fifo.is_empty() || self.unsynced {
            return Err(Doubt(
                "a transaction block was begun in statement pool mode".to_owned(),
            ));
        }
        self.must_roll_back = true;
        Ok(Act::Drop)
    }

    fn on_error(&mut self, body: &[u8], input: &[u8], run: &mut Run) -> Result<Act, Doubt> {
        let fields = ErrorFields::new(body);
        self.note_error(&fields);
        if fields.is_fatal() {
            let message = &input[run.at..run.at + HEADER_LEN + body.len()];
            return Ok(self.on_goodbye(&fields, message));
        }
        self.note_failure();
        self.note_keyed_failure();
        self.note_replay_error(&fields);
        self.trace_error(fields.sqlstate());
        if self.sync_in_copy {
            // Whether the server took that Sync before or after it failed decides how many ReadyForQuery come.
            return Err(Doubt(
                "a Sync was sent during a COPY that failed".to_owned(),
            ));
        }
        self.copying_in = false;
        let is_timed_out =
            self.time_out.is_some() && fields.sqlstate() == Some(sqlstate::QUERY_CANCELED);
        let translated = self.fifo.front().and_then(Expect::renamed);
        let translated = translated.map(|renamed| renamed.translate(&fields));
        let translated = translated.or_else(|| self.forgotten_sequence(&fields));
        let translated = translated.or_else(|| self.lost_cursor(&fields));
        match self.fifo.front() {
            None => Err(self.misplaced(b'E')),
            Some(_) if is_timed_out => {
                let error = self.query_timed_out().message(Severity::Error);
                if self.fifo.front().is_some_and(Expect::is_extended) {
                    self.fail_batch();
                }
                Ok(self.tell(Some(error), input, run))
            }
            Some(head) if head.is_ready_bound() => Ok(self.tell(translated, input, run)),
            Some(Expect::Doomed(_)) => {
                self.client.wbuf.extend(&input[run.start..run.at]);
                run.start = run.at;
                if let Some(Expect::Doomed(error)) = self.fifo.pop_front() {
                    self.client.wbuf.extend(&error);
                }
                self.fail_batch();
                Ok(Act::Drop)
            }
            Some(_) => {
                self.fail_batch();
                Ok(self.tell(translated, input, run))
            }
        }
    }

    /// Sends the client this in the place of the server's message, if there is one.
    fn tell(&mut self, instead: Option<Vec<u8>>, input: &[u8], run: &mut Run) -> Act {
        let Some(message) = instead else {
            return Act::Forward;
        };
        self.client.wbuf.extend(&input[run.start..run.at]);
        self.client.wbuf.extend(&message);
        run.start = run.at;
        Act::Drop
    }

    /// Only what this client listens to comes. The client knows itself by the process id that it was given here. What the
    /// shared link tells it comes from there only.
    pub(super) fn on_notification(&mut self, body: &[u8], input: &[u8], run: &mut Run) -> Act {
        let Some((sender, channel)) = backend::read_notification(body) else {
            return Act::Forward;
        };
        if self.hears(channel) {
            return Act::Drop;
        }
        let own = self.link.as_ref().map(|link| link.server.state.backend.pid);
        if own != Some(sender) {
            return Act::Forward;
        }
        self.client
            .wbuf
            .extend(&input[run.start..run.at + HEADER_LEN]);
        self.client.wbuf.extend(&self.handle.pid().to_be_bytes());
        self.client.wbuf.extend(&body[4..]);
        run.start = run.at;
        Act::Drop
    }

    /// What the client set stays with the client, whichever server it gets next.
    pub(super) fn on_parameter_status(&mut self, body: &[u8]) -> Act {
        let Some((name, value)) = backend::read_parameter_status(body) else {
            return Act::Forward;
        };
        let Some(link) = &mut self.link else {
            return Act::Forward;
        };
        link.server.set_parameter(name, value);
        // Of the server and not of the session, which stays what it was told at first: that of the primary.
        if name == "in_hot_standby" {
            return Act::Drop;
        }
        let buckets = &self.worker.shared.buckets;
        let plain = link.shard.shared.profile(&buckets.plain);
        let default = plain
            .as_ref()
            .and_then(|plain| plain.iter().find(|(known, _)| known == name));
        let bucket = buckets.with(
            &self.bucket,
            name,
            value,
            default.map(|(_, value)| value.as_str()),
        );
        self.set_bucket(bucket);
        let lent = self.lent_bucket();
        if let Some(link) = &mut self.link {
            let bucket = lent.as_ref().unwrap_or(&self.bucket);
            link.server.state.bucket = std::sync::Arc::clone(bucket);
        }
        Act::Forward
    }

    fn on_copy_in(&mut self) -> Result<Act, Doubt> {
        match self.fifo.front() {
            Some(Expect::Query { .. }) => {}
            // A Sync that was sent ahead of the data is read as part of the COPY, and ignored.
            Some(Expect::Execute { .. }) => {
                while matches!(self.fifo.get(1), Some(Expect::Sync)) {
                    self.fifo.remove(1);
                    self.unsynced |= !self
                        .fifo
                        .iter()
                        .any(|expect| matches!(expect, Expect::Sync));
                }
            }
            _ => return Err(self.misplaced(b'G')),
        }
        if matches!(self.fifo.get(1), Some(Expect::CopyEnd)) {
            self.fifo.remove(1);
        } else {
            self.copying_in = true;
        }
        Ok(Act::Forward)
    }
}

/// Where the scan is, and where the run of bytes to be forwarded began.
pub(super) struct Run {
    pub(super) at: usize,
    start: usize,
}

fn is_fake(expect: &Expect) -> bool {
    matches!(
        expect,
        Expect::FakeParse { .. }
            | Expect::FakeClose { .. }
            | Expect::FakeNotice(_)
            | Expect::Told(_)
            | Expect::CopyEnd
    )
}

/// Whether a message's body is looked at, so that it must have come whole.
fn is_read(header: Header, front: Option<&Expect>) -> bool {
    let is_read = match header.tag {
        b'Z' | b'C' | b'S' | b'E' | b'N' | b'A' => true,
        b'D' => front.is_some_and(Expect::is_read),
        b't' => front.is_some_and(Expect::is_ours),
        b'T' => matches!(
            front,
            Some(Expect::Comparison(_) | Expect::Describe { of: Some(_) })
        ),
        _ => false,
    };
    is_read && header.total <= MAX_READ
}
