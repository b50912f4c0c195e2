//! A transaction whose server is lost is run again on another one, and goes on there if that gives the same answers. The
//! client's own bytes are sent once more and take the way that they took before; what comes back is compared with the
//! journal instead of being told again.

use std::sync::Arc;

use helios_wire::backend::Status;
use helios_wire::error_response::ErrorFields;
use helios_wire::frame::Header;
use helios_wire::sqlstate;

use super::block::Opening;
use super::committing::unknown_outcome;
use super::fifo::Expect;
use super::optimistic::{unmoved, Departure};
use super::resolving::Doubtful;
use super::startup::Ended;
use super::turn::Turn;
use super::{Link, Partial, Session, Step, HIGH_WATER};
use crate::config::{JournalBounds, Mutables, PoolMode, TransactionReplay};
use crate::error::Refusal;
use crate::journal::{Bounds, Compared, Journal, Ledger, Loss, Reason, Rules, Xact};
use crate::plans::Verb;
use crate::settings::{literal, Bucket};
use crate::statements::{ClientStatements, Statement};

/// Whoever has the lock may wait for us. The odd value tells it from one that the client sets.
const GUARD: &[u8] = b"SET LOCAL lock_timeout = 1001";
const GUARD_VALUE: &str = "1001ms";

pub(super) const LACKS: &str = "the new primary lacks what this session has seen";

/// Of a block that is tried on a standby, where transactions do not outlive their servers.
const ONE_BLOCK: TransactionReplay = TransactionReplay {
    max_retries: 1,
    mutables: Mutables::AllowUnseen,
    notices: false,
    holdable_cursors: false,
    max_cursors: 0,
    temp_table_max_bytes: 0,
};

/// What a session needs to run its transaction again.
#[derive(Debug)]
pub(super) struct Replaying {
    pub(super) rules: TransactionReplay,
    /// It is for all transactions, and not for one block that is tried on a standby.
    pub(super) is_lasting: bool,
    /// What is run again was on a standby, which it has left.
    pub(super) is_moving: bool,
    pub(super) journal: Journal,
    /// The client's settings when the transaction began.
    pub(super) bucket: Arc<Bucket>,
    /// Bytes at the head of what is to be written to the client that the journal knows of.
    pub(super) told: usize,
    /// The server's last words: the client need not hear them if its transaction goes on.
    last_words: Option<Vec<u8>>,
    pub(super) turn: Turn,
    /// Locks are not waited for as long as the client would.
    is_guarded: bool,
    /// The transaction has savepoints, to which settings go back.
    pub(super) has_savepoints: bool,
    /// An unnamed statement of before was used; one was made, or dropped, in this transaction.
    pub(super) used_unnamed: bool,
    pub(super) made_unnamed: bool,
    /// What the server said while the transaction was run again.
    error: Option<Reason>,
    /// The client's statements as they were when the server was lost.
    statements: Option<ClientStatements>,
    /// What the client is told on its next request.
    owed: Option<Refusal>,
    /// The client knows that its transaction will be lost with its server.
    pub(super) is_obstacle_told: bool,
    /// The question for a transaction's number.
    pub(super) probing: Option<Arc<Statement>>,
    /// The node that told the last number.
    pub(super) home: String,
    /// A commit that nobody has answered.
    pub(super) doubtful: Option<Box<Doubtful>>,
    /// Cursors WITH HOLD have gone with their server.
    pub(super) has_lost_cursors: bool,
    /// A transaction is over that may have changed what the session holds, and the server has not said what that is.
    pub(super) is_untold: bool,
}

impl Replaying {
    pub(super) fn new(
        rules: Option<TransactionReplay>,
        bounds: JournalBounds,
        ledger: &Arc<Ledger>,
        bucket: &Arc<Bucket>,
    ) -> Replaying {
        let (is_lasting, rules) = (rules.is_some(), rules.unwrap_or(ONE_BLOCK));
        let bounds = Bounds {
            entries: bounds.max_entries,
            bytes: bounds.max_bytes,
            total_bytes: bounds.max_total_bytes,
        };
        let kept = Rules {
            holdable_cursors: rules.holdable_cursors,
            max_cursors: rules.max_cursors,
            temp_table_max_bytes: rules.temp_table_max_bytes,
        };
        Replaying {
            rules,
            is_lasting,
            is_moving: false,
            journal: Journal::new(bounds, kept, ledger),
            bucket: Arc::clone(bucket),
            told: 0,
            last_words: None,
            turn: Turn::default(),
            is_guarded: false,
            has_savepoints: false,
            used_unnamed: false,
            made_unnamed: false,
            error: None,
            statements: None,
            owed: None,
            is_obstacle_told: false,
            probing: None,
            home: String::new(),
            doubtful: None,
            has_lost_cursors: false,
            is_untold: false,
        }
    }

    /// Whether the client is to hear why its transaction cannot be run again, and has not.
    pub(super) fn wants_notice(&self) -> bool {
        self.rules.notices && !self.is_obstacle_told && !self.journal.is_rerunning()
    }

    /// Notes which node a number is of.
    pub(super) fn note_home(&mut self, node: &str) {
        if self.home != node {
            node.clone_into(&mut self.home);
        }
    }

    /// Whether the client is yet to be told that its transaction is lost.
    pub(super) fn owes_error(&self) -> bool {
        self.owed.is_some()
    }

    /// What the client is told whose transaction cannot go on.
    fn refusal(&self, reason: Reason) -> Refusal {
        match self.is_moving {
            true => unmoved(reason),
            false => divergence(reason),
        }
    }
}

impl Session {
    pub(super) fn is_rerunning(&self) -> bool {
        let replaying = self.replaying.as_ref();
        replaying.is_some_and(|replaying| replaying.journal.is_rerunning())
    }

    /// Compares what is about to be written to the client with what it was told before.
    pub(super) fn compare_answers(&mut self) -> Result<(), Step> {
        while let Some(replaying) = &mut self.replaying {
            let bytes = &self.client.wbuf.bytes()[replaying.told..];
            let (n, compared) = replaying.journal.compare(bytes);
            let rest = bytes[n..].to_vec();
            self.client.wbuf.truncate(replaying.told);
            self.client.wbuf.extend(&rest);
            match compared {
                Compared::Same => return Ok(()),
                Compared::Verified => self.on_verified(),
                Compared::Live => {
                    self.on_live();
                    return self.note_told();
                }
                Compared::Other => {
                    let other = replaying.journal.divergence();
                    let reason = replaying.error.take().unwrap_or(other);
                    let refusal = replaying.refusal(reason);
                    let step = self.give_way(reason);
                    return Err(step.unwrap_or_else(|| self.give_up(reason, refusal)));
                }
            }
        }
        Ok(())
    }

    /// The transaction has everything again that it had.
    fn on_verified(&mut self) {
        let Some(replaying) = &mut self.replaying else {
            return;
        };
        replaying.turn.stand_back();
        replaying.statements = None;
        if std::mem::take(&mut replaying.is_guarded) && self.status == Status::Transaction {
            let sql = release(replaying.bucket.get("lock_timeout"));
            self.send_own(sql.as_bytes(), Expect::Adjustment);
        }
    }

    fn on_live(&mut self) {
        let Some(replaying) = &mut self.replaying else {
            return;
        };
        // Where nothing had an answer there was nothing to wait for.
        replaying.turn.go_on();
        replaying.statements = None;
        if replaying.is_moving {
            return self.arrive();
        }
        self.count_rerun();
    }

    /// The transaction has been run again, if it waits neither for its own answers nor for others.
    pub(super) fn count_rerun(&self) {
        let is_done = |it: &&Replaying| !it.journal.is_rerunning() && !it.turn.stands_back();
        let Some(replaying) = self.replaying.as_deref().filter(is_done) else {
            return;
        };
        let stats = self.worker.stats();
        stats.replays.completed.add(1);
        stats
            .replays
            .statements
            .add(replaying.journal.entries() as u64);
    }

    /// Whether the client's next message waits for what is run again.
    pub(super) fn awaits_replay(&self) -> bool {
        self.replaying.as_ref().is_some_and(|replaying| {
            replaying.journal.is_comparing() || replaying.turn.stands_back()
        })
    }

    /// Whether what is run again may go on without a word of the server, as it was answered here. It may be done with that.
    pub(super) fn goes_on_rerunning(&self) -> bool {
        let replaying = self.replaying.as_ref();
        let is_comparing = replaying.is_some_and(|it| it.journal.is_comparing());
        self.fifo.is_empty() && !is_comparing
    }

    /// Whether the client is yet to be told that its transaction is lost.
    pub(super) fn owes_error(&self) -> bool {
        self.replaying.as_deref().is_some_and(Replaying::owes_error)
    }

    /// The client may leave meanwhile, or send more.
    pub(super) fn is_listened_to(&self) -> bool {
        self.client.rbuf.len() <= HIGH_WATER
    }

    /// Has the server not wait for locks for long while a transaction is run again. One that holds them may wait for
    /// what this one is to do.
    pub(super) fn guard(&mut self) {
        let Some(replaying) = &mut self.replaying else {
            return;
        };
        let journal = &replaying.journal;
        let is_wanted = journal.is_rerunning() && journal.has_begun() && !journal.is_verified();
        // What a standby has answered took no locks that anybody waits for.
        let is_guarded = replaying.is_guarded || replaying.is_moving;
        if !is_wanted || is_guarded || replaying.has_savepoints {
            return;
        }
        if self.status == Status::Transaction {
            replaying.is_guarded = true;
            self.send_own(GUARD, Expect::Adjustment);
        }
    }

    /// Notes an error of the server while a transaction is run again: it tells why the answer will be another one.
    pub(super) fn note_replay_error(&mut self, fields: &ErrorFields<'_>) {
        let Some(replaying) = &mut self.replaying else {
            return;
        };
        if replaying.journal.is_rerunning() && !replaying.journal.is_verified() {
            replaying.error = match fields.sqlstate() {
                Some(sqlstate::LOCK_NOT_AVAILABLE) => Some(Reason::Lock),
                Some(sqlstate::QUERY_CANCELED) => Some(Reason::Cancelled),
                _ => None,
            };
        }
    }

    /// Keeps the last words of a server that ends: they are the client's only if its transaction ends with it.
    pub(super) fn keeps_last_words(&mut self, fields: &ErrorFields<'_>, message: &[u8]) -> bool {
        let is_tried = self.is_tried();
        let Some(replaying) = &mut self.replaying else {
            return false;
        };
        let is_end = matches!(
            fields.sqlstate(),
            Some(sqlstate::ADMIN_SHUTDOWN | sqlstate::CRASH_SHUTDOWN)
        );
        let is_kept = is_end || is_tried || replaying.journal.is_rerunning();
        if is_kept {
            replaying.last_words = Some(message.to_vec());
        }
        is_kept
    }

    /// They are of no use to the client.
    pub(super) fn forget_last_words(&mut self) {
        if let Some(replaying) = &mut self.replaying {
            replaying.last_words = None;
        }
    }

    /// The server is lost. What to do if the transaction can be run again or nobody knows what became of it; `None` if
    /// it is lost as well.
    pub(super) fn outlive(&mut self, link: &Link) -> Option<Step> {
        if link.is_tried() {
            self.take_back_attempt();
        }
        self.settle_told();
        let replaying = self.replaying.as_mut()?;
        let last_words = replaying.last_words.take();
        let loss = replaying.journal.weigh_loss();
        let is_told = link.is_told;
        self.lose_cursors();
        let unkept = match self.pins.any() && link.mode != PoolMode::Transaction {
            true => Some(Reason::Pinned),
            false => self.unkept(),
        };
        if let (Loss::Nothing | Loss::Replay, Some(reason)) = (loss, unkept) {
            if reason != Reason::Pinned && !is_told {
                self.worker.stats().replays.fail(reason);
                return Some(Step::Fatal(self.unbuilt(reason)));
            }
        }
        let loss = match (loss, unkept) {
            (Loss::Replay, None) if link.mode != PoolMode::Transaction => {
                Loss::Fatal(Reason::Pinned)
            }
            (Loss::Replay, Some(reason)) => Loss::Fatal(reason),
            (Loss::Ask(_), Some(_)) => Loss::Fatal(Reason::Outcome),
            (Loss::Replay | Loss::Ask(_), None) if is_told => Loss::Nothing,
            (loss, _) => loss,
        };
        match loss {
            Loss::Replay => return Some(self.repeat(link, None)),
            Loss::Ask(xact) => return Some(self.repeat(link, Some(xact))),
            Loss::Nothing if self.may_hold() && unkept.is_none() && !is_told => {
                return Some(self.outlive_at_rest(link))
            }
            Loss::Fatal(reason) => self.worker.stats().replays.fail(reason),
            Loss::Nothing => {}
        }
        if loss == Loss::Fatal(Reason::Outcome) {
            return Some(Step::Fatal(unknown_outcome()));
        }
        let last_words = last_words?;
        Some(Step::Fatal(Refusal::Server(last_words.into())))
    }

    fn repeat(&mut self, link: &Link, commit: Option<Xact>) -> Step {
        if link.is_tried() {
            self.note_departure(Departure::Lost);
            return self.begin_again();
        }
        self.take_turn(link, commit.is_some());
        match self.doubt_loss(link, commit) {
            Some(step) => step,
            None => self.begin_again(),
        }
    }

    /// Sends everything once more.
    pub(super) fn replay(&mut self) -> Step {
        let is_first = |it: &Replaying| it.statements.is_none();
        if self.replaying.as_deref().is_some_and(is_first) {
            self.take_back_statements();
        }
        let Some(replaying) = &mut self.replaying else {
            return Step::Fatal(unknown_outcome());
        };
        let unfed = replaying.journal.unfed();
        // The standby that a block has left is none that it has lost.
        let losses = replaying.rules.max_retries + u32::from(replaying.is_moving);
        let refusal = replaying.refusal(Reason::Losses);
        let Some(requests) = replaying.journal.begin_rerun(losses) else {
            return self.give_up(Reason::Losses, refusal);
        };
        replaying.is_guarded = false;
        replaying.error = None;
        replaying.turn.begin(replaying.journal.entries() == 0);
        let bucket = Arc::clone(&replaying.bucket);
        self.set_bucket(bucket);
        self.statements.go_back();
        self.lay_aside();
        self.client.rbuf.consume(unfed);
        self.put_before(&requests);
        Step::Again
    }

    /// What has been sent and not been answered has prepared nothing, and closed nothing.
    pub(super) fn take_back_statements(&mut self) {
        for expect in std::mem::take(&mut self.fifo) {
            match expect {
                Expect::Parse { seq, .. } | Expect::FakeParse { seq } => {
                    self.statements.remove_seq(seq);
                }
                Expect::FakeClose {
                    restore: Some((name, named)),
                } => self.statements.insert(&name, named),
                _ => {}
            }
        }
        let now = self.statements.snapshot();
        if let Some(replaying) = &mut self.replaying {
            replaying.statements = Some(now);
        }
    }

    /// There is no server and nothing outstanding.
    pub(super) fn lay_aside(&mut self) {
        self.fifo.clear();
        self.up = Partial::default();
        self.down = Partial::default();
        self.status = Status::Idle;
        self.unsynced = false;
        self.skipping = false;
        self.refusing = false;
        self.copying_in = false;
        self.sync_in_copy = false;
        self.must_roll_back = false;
        self.time_out = None;
        self.plan = None;
        self.opening = None;
        self.attempt.close();
    }

    pub(super) fn put_before(&mut self, bytes: &[u8]) {
        let rest = self.client.rbuf.bytes().to_vec();
        self.client.rbuf.release();
        self.client.rbuf.extend(bytes);
        self.client.rbuf.extend(&rest);
    }

    /// The transaction cannot go on. The client is told so by the answer to what it has asked, and has a block that has
    /// failed, as if the server had said so.
    pub(super) fn give_up(&mut self, reason: Reason, refusal: Refusal) -> Step {
        self.leave_rerun();
        self.count_failure(reason);
        self.lay_aside();
        let Some(replaying) = &mut self.replaying else {
            return Step::Fatal(refusal);
        };
        let unfed = replaying.journal.unfed();
        let rest = replaying.journal.give_up();
        replaying.turn.end();
        let is_torn = replaying.journal.is_torn();
        if let Some(statements) = replaying.statements.take() {
            self.statements = statements;
        }
        let bucket = Arc::clone(&replaying.bucket);
        self.set_bucket(bucket);
        self.client.rbuf.consume(unfed);
        self.put_before(&rest);
        self.status = Status::Failed;
        self.opening = Some(Opening::failed());
        // What the session had there is lost with this server as well.
        if is_torn || refusal.is_fatal() || self.may_hold() {
            return Step::Fatal(refusal);
        }
        // What it has asked meanwhile says how the block goes on from here.
        if let Some(replaying) = &mut self.replaying {
            replaying.owed = Some(refusal);
        }
        Step::Again
    }

    /// Gives back the server on which it was run again. The client hears nothing of that.
    pub(super) fn leave_rerun(&mut self) {
        let link = self.link.as_ref().filter(|_| self.is_moving());
        let is_at_rest = link.is_some_and(|link| self.is_at_rest(link));
        match is_at_rest {
            true => self.leave_block(),
            // With its connection the server ends what it was doing for this transaction.
            false => self.link = None,
        }
        self.handle.set_backend(None);
        if let Some(replaying) = &self.replaying {
            self.client.wbuf.truncate(replaying.told);
        }
    }

    /// No server could be had to run the transaction again.
    pub(super) fn give_up_waiting(&mut self, refusal: Refusal) -> Step {
        let reason = match refusal.is_cancellation() {
            true => Reason::Cancelled,
            false => Reason::NoServer,
        };
        self.give_up(reason, refusal)
    }

    /// The client is told now what it could not be told unasked; ROLLBACK is what it would be told to do. True: its
    /// request has been answered.
    pub(super) fn tell_owed(&mut self, header: Header, message: &[u8]) -> Result<bool, Refusal> {
        let Some(replaying) = self.replaying.as_mut().filter(|it| it.owed.is_some()) else {
            return Ok(false);
        };
        let Some(refusal) = replaying.owed.take() else {
            return Ok(false);
        };
        let plan = match header.tag {
            b'Q' | b'P' => self.plan.clone(),
            b'B' => self.bound_plan(message),
            _ => None,
        };
        match plan.and_then(|plan| plan.block()).map(|block| block.verb) {
            Some(Verb::Rollback) => return Ok(false),
            // It ends the block, whatever comes of it.
            Some(Verb::Commit) => self.drop_block(),
            _ => {}
        }
        self.answer_with(header, &refusal);
        Ok(true)
    }

    /// What becomes of a session that could not be given a server.
    pub(super) fn on_unserved(&mut self, ended: Ended) -> Step {
        match ended {
            Ended::Quietly => Step::Left,
            Ended::Refused(refusal) if self.is_rerunning() => self.give_up_waiting(refusal),
            Ended::Refused(refusal) => match self.refuse_request(refusal) {
                Ok(()) => Step::Again,
                Err(refusal) => Step::Fatal(refusal),
            },
        }
    }
}

/// Gives a lock's patience back that the client has not changed meanwhile.
fn release(own: Option<&str>) -> String {
    let value = own.map_or_else(
        || {
            "(SELECT reset_val FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'lock_timeout')"
                .to_owned()
        },
        literal,
    );
    format!(
        "SELECT pg_catalog.set_config('lock_timeout', {value}, true) \
         WHERE pg_catalog.current_setting('lock_timeout') OPERATOR(pg_catalog.=) '{GUARD_VALUE}'"
    )
}

/// What the client is told whose transaction could not be run again.
pub(super) fn divergence(reason: Reason) -> Refusal {
    let why = match reason {
        Reason::Lock => "others had taken its locks",
        Reason::Cancelled => {
            return Refusal::new(
                sqlstate::QUERY_CANCELED,
                "canceling statement due to user request",
            )
        }
        Reason::Losses => "one server after the other was lost",
        Reason::History => LACKS,
        Reason::Mutable => "it has left values that would be others now",
        Reason::Sequence => "a number of a sequence could not be had again",
        _ => "it did not give the answers that it gave before",
    };
    let text = format!(
        "the server was lost, and the transaction could not be run again on another: {why}"
    );
    Refusal::new(sqlstate::SERIALIZATION_FAILURE, text)
        .hint("Nothing of it has been done; repeat the transaction.")
}
