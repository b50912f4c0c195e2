//! The journal of a session's open transaction: what the client has sent, as it came, and checksums of what it was told.
//! With it the transaction can be run again on another server, and seen to give the same. Pure: bytes go in, and what is
//! to be done comes out; `session::replaying` acts.

mod answer;
mod holdings;
mod ledger;
mod number;
mod outcome;
mod reason;
mod values;

use std::collections::VecDeque;
use std::sync::Arc;

use helios_wire::frame;

pub(crate) use answer::Answer;
use answer::{Digest, Ended};
pub(crate) use holdings::{Held, Holdings, Rules, Step};
pub(crate) use ledger::{Ledger, Part, Ticket};
pub(crate) use outcome::{
    judge, of_prepared, status_of, Ending, Outcome, Place, Seen, Xact, PLACE, PROBE,
};
pub(crate) use reason::Reason;
pub(crate) use values::Slot;
use values::Values;

/// Capacity that a journal keeps between transactions.
const KEPT: usize = 16 * 1024;

/// What one journal may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    /// Of all sessions together.
    pub(crate) total_bytes: usize,
}

/// What a statement means for its transaction's being run again; the worse is the greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// It only reads, or says what transaction it is.
    #[default]
    Reads,
    /// It only reads by its form.
    Looks,
    /// It changes or locks rows, and commits where no block is open.
    Rows,
    /// It may be run again in a transaction that is begun anew.
    Writes,
    /// It commits, and does nothing else.
    Commits,
    /// It ends a prepared transaction, and does nothing else.
    Ends,
    /// It may commit, and do other things.
    Mixes,
}

/// What the loss of the server means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing was under way that the journal knows of.
    Nothing,
    /// The transaction can be run again.
    Replay,
    /// So it can if it has not been committed, which a server knows.
    Ask(Xact),
    /// It cannot.
    Fatal(Reason),
}

/// A request that has been sent whole and not been answered to its end.
#[derive(Debug, Clone, Copy)]
struct Request {
    /// Where it ends in the journal.
    end: usize,
    /// Its number among all of the session.
    number: u64,
    weight: Weight,
    /// It opens a transaction block before it does anything else.
    begins: bool,
    /// It leaves values that are others each time.
    is_mutable: bool,
}

/// A request of the transaction that has been answered.
#[derive(Debug)]
struct Entry {
    end: usize,
    digest: Digest,
}

/// A transaction that is run again.
#[derive(Debug)]
struct Rerun {
    /// Entries that have given the same answer.
    checked: usize,
    /// Entries that are sent, whole.
    sent: usize,
    /// What of the answer to the first request without an entry the client has been told.
    cut: Answer,
    /// The answer that is being compared.
    seen: Answer,
}

/// What has become of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    /// It goes on.
    Same,
    /// Everything that had an answer has given it again.
    Verified,
    /// The client is to be told what comes from here on.
    Live,
    /// The answer is another one.
    Other,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Journal {
    bounds: Bounds,
    ledger: Arc<Ledger>,
    /// What the client has sent since its transaction began.
    requests: Vec<u8>,
    /// How far that has been sent to the server at hand.
    fed: usize,
    /// Of the message under way: its tag, and bytes to come.
    tag: u8,
    left: usize,
    /// Of the request under way.
    weight: Weight,
    begins: Option<bool>,
    /// What was noted last has not been sent yet: it may be noted once more.
    is_noted: bool,
    is_mutable: bool,
    /// It has bound something; the heaviest of what earlier ones have, which may run by its portal's name alone.
    binds: bool,
    portals: Weight,
    pending: VecDeque<Request>,
    entries: Vec<Entry>,
    answer: Answer,
    obstacle: Option<Reason>,
    /// What has been answered has left values that are others each time.
    has_mutables: bool,
    rerun: Option<Rerun>,
    values: Values,
    /// The transaction's number, once it is known.
    xact: Option<Xact>,
    /// The worst that was sent since the server was asked for it last.
    owed: Weight,
    /// Questions for it under way.
    asked: u32,
    /// The prepared transaction that the request under way ends, if there is one; the outer `None`: nobody has asked.
    #[allow(clippy::option_option, reason = "whether, and what")]
    prepared: Option<Option<Xact>>,
    /// The last transaction that was committed with a number.
    last: Option<Xact>,
    /// The block has failed; an error was told in the answer under way.
    has_failed: bool,
    is_erring: bool,
    /// Servers that this transaction has lost.
    losses: u32,
    /// Bytes that the ledger has it down for.
    charged: usize,
    /// What the session has on its server alone.
    pub(crate) holdings: Holdings,
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.ledger.discharge(self.charged);
    }
}

impl Journal {
    pub(crate) fn new(bounds: Bounds, rules: Rules, ledger: &Arc<Ledger>) -> Journal {
        Journal {
            holdings: Holdings::new(rules, bounds, ledger),
            bounds,
            ledger: Arc::clone(ledger),
            requests: Vec::new(),
            fed: 0,
            tag: 0,
            left: 0,
            weight: Weight::Reads,
            begins: None,
            is_noted: false,
            is_mutable: false,
            binds: false,
            portals: Weight::Reads,
            pending: VecDeque::new(),
            entries: Vec::new(),
            answer: Answer::default(),
            obstacle: None,
            has_mutables: false,
            rerun: None,
            values: Values::default(),
            xact: None,
            owed: Weight::Reads,
            asked: 0,
            prepared: None,
            last: None,
            has_failed: false,
            is_erring: false,
            losses: 0,
            charged: 0,
        }
    }

    /// The session rests: what comes next begins a transaction.
    pub(crate) fn begin(&mut self) {
        if !self.is_unsent() {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.requests.clear();
        if self.requests.capacity() > KEPT {
            self.requests = Vec::new();
            self.ledger.discharge(std::mem::take(&mut self.charged));
        }
        self.unfeed();
        self.portals = Weight::Reads;
        self.entries.clear();
        self.obstacle = None;
        self.has_mutables = false;
        self.rerun = None;
        self.values.clear();
        self.xact = None;
        self.prepared = None;
        self.owed = Weight::Reads;
        self.has_failed = false;
        self.losses = 0;
    }

    /// Nothing is on its way to a server.
    fn unfeed(&mut self) {
        self.fed = 0;
        self.left = 0;
        self.weight = Weight::Reads;
        self.begins = None;
        self.is_noted = false;
        self.is_mutable = false;
        self.binds = false;
        self.pending.clear();
        self.holdings.forget_pending();
    }

    /// The transaction is lost with its server from here on.
    pub(crate) fn spoil(&mut self, reason: Reason) {
        self.obstacle.get_or_insert(reason);
        if self.rerun.is_none() {
            self.let_go();
        }
    }

    /// Whether it can take one more request of so many bytes.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let size = self.requests.len() + bytes;
        let is_crowded = size > KEPT && self.ledger.bytes() + size > self.bounds.total_bytes;
        self.entries.len() < self.bounds.entries && size <= self.bounds.bytes && !is_crowded
    }

    /// A server was left and not lost.
    pub(crate) fn forgive_loss(&mut self) {
        self.losses = self.losses.saturating_sub(1);
    }

    /// Nothing of what begins a transaction has been sent yet.
    pub(crate) fn is_unsent(&self) -> bool {
        self.requests.is_empty() && self.pending.is_empty() && self.obstacle.is_none()
    }

    /// Why the transaction is lost with its server, if it is.
    pub(crate) fn obstacle(&self) -> Option<Reason> {
        self.obstacle
    }

    /// Whether all that was asked has its answer, and no transaction is open that is kept.
    pub(crate) fn is_over(&self) -> bool {
        self.requests.is_empty() && self.pending.is_empty() && self.rerun.is_none()
    }

    /// Keeps nothing of the requests any more.
    fn let_go(&mut self) {
        self.requests = Vec::new();
        self.fed = 0;
        self.entries.clear();
        for request in &mut self.pending {
            request.end = 0;
        }
        self.ledger.discharge(std::mem::take(&mut self.charged));
    }

    /// A statement of the request under way is about to run.
    pub(crate) fn note(&mut self, weight: Weight, begins: bool) {
        let is_alone = self.begins.is_none() || self.is_noted;
        self.is_noted = true;
        self.weight = match self.weight.max(weight) {
            Weight::Ends if !is_alone => Weight::Mixes,
            most => most,
        };
        if !matches!(weight, Weight::Commits | Weight::Ends) {
            self.owed = self.owed.max(weight);
        }
        self.begins.get_or_insert(begins);
    }

    /// Takes what is sent for the client, or sent again.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        self.is_noted &= bytes.is_empty();
        let begin = self.fed;
        let mut at = 0;
        while at < bytes.len() {
            if self.left == 0 {
                let Ok(Some(header)) = frame::header(&bytes[at..]) else {
                    return self.spoil(Reason::Statement);
                };
                (self.tag, self.left) = (header.tag, header.total);
            }
            let n = self.left.min(bytes.len() - at);
            self.left -= n;
            at += n;
            match self.tag {
                b'd' | b'c' | b'f' => self.spoil(Reason::Copy),
                b'B' => self.binds = true,
                b'E' if !self.binds => self.weight = self.weight.max(self.portals),
                b'Q' | b'F' | b'S' if self.left == 0 => self.end_request(begin + at),
                _ => {}
            }
        }
        if self.is_kept() {
            self.keep(bytes);
        }
    }

    fn is_kept(&self) -> bool {
        self.obstacle.is_none() || self.rerun.is_some()
    }

    fn keep(&mut self, bytes: &[u8]) {
        let again = (self.requests.len() - self.fed).min(bytes.len());
        self.requests.extend_from_slice(&bytes[again..]);
        self.fed += bytes.len();
        let capacity = self.requests.capacity();
        if capacity > KEPT.max(self.charged) {
            self.ledger.charge(capacity - self.charged);
            self.charged = capacity;
        }
        let is_full = self.requests.len() > self.bounds.bytes;
        if is_full || (self.charged > 0 && self.ledger.bytes() > self.bounds.total_bytes) {
            self.spoil(Reason::Overflow);
        }
    }

    fn end_request(&mut self, end: usize) {
        let weight = std::mem::take(&mut self.weight);
        let begins = self.begins.take().unwrap_or(false);
        let is_mutable = std::mem::take(&mut self.is_mutable);
        let number = self.values.end_request();
        if std::mem::take(&mut self.binds) {
            self.portals = self.portals.max(weight);
        }
        if let Some(rerun) = self
            .rerun
            .as_mut()
            .filter(|rerun| rerun.sent < self.entries.len())
        {
            rerun.sent += 1;
            self.holdings.end_request(true);
            return;
        }
        self.holdings.end_request(false);
        let end = if self.is_kept() { end } else { 0 };
        self.pending.push_back(Request {
            end,
            number,
            weight,
            begins,
            is_mutable,
        });
    }

    /// Takes what the client is told.
    pub(crate) fn told(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some((n, ended)) = self.answer.take(bytes) else {
                return self.spoil(Reason::Answer);
            };
            bytes = &bytes[n..];
            match ended {
                Some(Ended { tag: b'Z', last }) => self.answered(last),
                Some(Ended { tag: b'E', .. }) => self.is_erring = true,
                Some(Ended {
                    tag: b'G' | b'H' | b'W',
                    ..
                }) => self.spoil(Reason::Copy),
                _ => {}
            }
        }
    }

    fn answered(&mut self, status: u8) {
        let digest = std::mem::take(&mut self.answer).digest();
        let was_failed = std::mem::replace(&mut self.has_failed, status == b'E');
        let is_done = !std::mem::take(&mut self.is_erring) && !was_failed;
        let Some(request) = self.pending.pop_front() else {
            return;
        };
        let commits = request.weight >= Weight::Commits;
        self.holdings
            .answered(digest, is_done, commits, status == b'I');
        if status == b'I' {
            if is_done && self.commits(request) {
                self.last = self.committed(request).or(self.last);
            }
            self.forget(request);
        } else if self.obstacle.is_none() {
            let end = request.end;
            self.has_mutables |= request.is_mutable;
            self.entries.push(Entry { end, digest });
            if self.entries.len() > self.bounds.entries {
                self.spoil(Reason::Overflow);
            }
        }
    }

    /// A transaction is over whose last request ends here.
    fn forget(&mut self, request: Request) {
        let end = request.end;
        if self.pending.is_empty() && self.requests.len() == end && self.left == 0 {
            return self.clear();
        }
        self.entries.clear();
        self.values.forget(request.number);
        self.losses = 0;
        self.has_mutables = false;
        self.xact = None;
        self.prepared = None;
        // What was asked meanwhile may have been for the one that is over.
        let unanswered = self.pending.iter().map(|request| request.weight);
        self.owed = unanswered.fold(self.weight, Weight::max);
        self.requests.drain(..end);
        self.fed -= end;
        for request in &mut self.pending {
            request.end -= end;
        }
    }

    /// Where the answered part of the transaction ends.
    fn answered_end(&self) -> usize {
        self.entries.last().map_or(0, |entry| entry.end)
    }

    fn cut(&self) -> &Answer {
        self.rerun.as_ref().map_or(&self.answer, |rerun| &rerun.cut)
    }

    /// The client has been given half a message, which no other can follow.
    pub(crate) fn is_torn(&self) -> bool {
        self.cut().is_torn()
    }

    /// Begins to run the transaction again; what is to be sent for it. `None` if that has been tried often enough.
    pub(crate) fn begin_rerun(&mut self, max_losses: u32) -> Option<Vec<u8>> {
        self.losses += 1;
        if self.losses > max_losses {
            return None;
        }
        let cut = match self.rerun.take() {
            Some(rerun) => rerun.cut,
            None => std::mem::take(&mut self.answer),
        };
        self.unfeed();
        self.values.go_back();
        self.lose_server();
        self.rerun = Some(Rerun {
            checked: 0,
            sent: 0,
            cut,
            seen: Answer::default(),
        });
        Some(self.requests.clone())
    }

    pub(crate) fn is_rerunning(&self) -> bool {
        self.rerun.is_some()
    }

    /// Whether an entry has been sent whose answer has not been compared.
    pub(crate) fn is_comparing(&self) -> bool {
        let rerun = self.rerun.as_ref();
        rerun.is_some_and(|rerun| rerun.sent > rerun.checked)
    }

    /// Whether the block is begun whose entries follow.
    pub(crate) fn has_begun(&self) -> bool {
        self.rerun.as_ref().is_some_and(|rerun| rerun.checked > 0)
    }

    /// Whether all entries have given their answers again.
    pub(crate) fn is_verified(&self) -> bool {
        let rerun = self.rerun.as_ref();
        rerun.is_some_and(|rerun| rerun.checked == self.entries.len())
    }

    /// Requests of the transaction that have been answered.
    pub(crate) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Compares what the server answers now; how many of the bytes are not for the client, and what to do behind them.
    pub(crate) fn compare(&mut self, bytes: &[u8]) -> (usize, Compared) {
        let Some(rerun) = &mut self.rerun else {
            return (0, Compared::Live);
        };
        let mut at = 0;
        loop {
            let is_last = rerun.checked == self.entries.len();
            if is_last {
                match rerun.seen.begins_with(&rerun.cut) {
                    Some(true) => {
                        self.answer = std::mem::take(&mut rerun.seen);
                        self.rerun = None;
                        if self.obstacle.is_some() {
                            self.let_go();
                        }
                        return (at, Compared::Live);
                    }
                    Some(false) => return (at, Compared::Other),
                    None => {}
                }
            }
            if at == bytes.len() {
                return (at, Compared::Same);
            }
            let room = if is_last {
                rerun.seen.room(&rerun.cut)
            } else {
                usize::MAX
            };
            let end = bytes.len().min(at.saturating_add(room));
            let Some((n, ended)) = rerun.seen.take(&bytes[at..end]) else {
                return (at, Compared::Other);
            };
            at += n;
            let Some(Ended { tag: b'Z', .. }) = ended else {
                continue;
            };
            if is_last {
                // Shorter than what the client was told.
                return (at, Compared::Other);
            }
            if std::mem::take(&mut rerun.seen).digest() != self.entries[rerun.checked].digest {
                return (at, Compared::Other);
            }
            rerun.checked += 1;
            if rerun.checked == self.entries.len() {
                return (at, Compared::Verified);
            }
        }
    }

    /// Of what is kept, what has not been sent again yet.
    pub(crate) fn unfed(&self) -> usize {
        self.requests.len() - self.fed
    }

    /// Gives the transaction up: the requests without an answer, which are still the client's.
    pub(crate) fn give_up(&mut self) -> Vec<u8> {
        let rest = self.requests.split_off(self.answered_end());
        let answer = match self.rerun.take() {
            Some(rerun) => rerun.cut,
            None => std::mem::take(&mut self.answer),
        };
        self.clear();
        self.holdings.forget_open();
        self.lose_server();
        self.answer = answer;
        rest
    }
}

#[cfg(test)]
mod tests;
