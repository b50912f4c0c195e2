//! What the journal knows of its transaction's number, and what follows if a commit is not answered.

use super::answer::Answer;
use super::outcome::{self, Xact};
use super::{Journal, Loss, Reason, Request, Weight};

impl Journal {
    /// What follows from the loss of the server.
    pub(crate) fn weigh_loss(&self) -> Loss {
        let is_under_way = self.requests.len() > self.answered_end();
        let is_sent = !self.pending.is_empty() || is_under_way;
        if let Some(reason) = self.obstacle {
            return Loss::Fatal(reason);
        }
        if !is_sent && self.entries.is_empty() {
            return Loss::Nothing;
        }
        let doubt = self.doubt();
        if doubt == Some(None) {
            return Loss::Fatal(Reason::Outcome);
        }
        if self.cut().is_torn_aside() {
            return Loss::Fatal(Reason::Answer);
        }
        doubt.flatten().map_or(Loss::Replay, Loss::Ask)
    }

    /// Whether what has been sent and not been answered may have committed something, and under which number, if that
    /// tells.
    #[allow(clippy::option_option, reason = "whether, and what")]
    pub(super) fn doubt(&self) -> Option<Option<Xact>> {
        let mut is_in_block = !self.entries.is_empty();
        for request in &self.pending {
            is_in_block |= request.begins;
            let most = if is_in_block {
                Weight::Writes
            } else {
                Weight::Reads
            };
            if request.weight <= most {
                continue;
            }
            if request.weight == Weight::Ends {
                // In a block it fails.
                let xact = self.prepared.flatten();
                return Some(xact.filter(|_| !is_in_block && self.is_alone(request)));
            }
            let is_told = is_in_block || request.weight == Weight::Rows;
            if !is_told || !self.is_alone(request) || self.lacks_number() || self.asked > 0 {
                return Some(None);
            }
            // Without a number there is nothing to be committed.
            let is_plain = request.weight != Weight::Mixes;
            return match self.xact {
                None if is_plain => None,
                xact => Some(xact),
            };
        }
        // Whatever is not whole has not come to its Sync.
        (self.weight >= Weight::Commits).then_some(None)
    }

    /// Whether a request is all that has been asked and not been answered.
    fn is_alone(&self, request: &Request) -> bool {
        self.pending.len() == 1 && self.requests.len() == request.end
    }

    /// What a request has committed that has ended a transaction, as far as its number is known.
    pub(super) fn committed(&self, request: Request) -> Option<Xact> {
        match request.weight {
            Weight::Ends => self.prepared.flatten().filter(|xact| xact.commits()),
            _ => self.xact,
        }
    }

    /// Whether a request that has been answered outside of a block has committed.
    pub(super) fn commits(&self, request: Request) -> bool {
        match request.weight {
            Weight::Commits | Weight::Ends | Weight::Mixes => true,
            Weight::Rows => self.entries.is_empty(),
            _ => false,
        }
    }

    /// Nothing is under way any more, and the next server has other numbers.
    pub(super) fn lose_server(&mut self) {
        self.xact = None;
        self.prepared = None;
        self.owed = Weight::Reads;
        self.asked = 0;
        self.has_failed = false;
        self.is_erring = false;
    }

    /// Whether something was sent that may give the transaction a number, and that is neither known nor asked for.
    pub(crate) fn lacks_number(&self) -> bool {
        self.xact.is_none() && self.owed > Weight::Reads
    }

    /// Whether to ask for the number behind the request under way, in a block or outside of one.
    pub(crate) fn wants_number(&self, is_in_block: bool) -> bool {
        let most = if is_in_block {
            Weight::Writes
        } else {
            Weight::Rows
        };
        let is_due = self.owed >= Weight::Rows && self.owed <= most && self.weight <= most;
        self.xact.is_none() && is_due && self.obstacle.is_none()
    }

    /// The server is asked for the number.
    pub(crate) fn ask_number(&mut self) {
        self.asked += 1;
        self.owed = Weight::Reads;
    }

    /// It has told the number, or that there is none; the outer `None`: it could not be asked.
    #[allow(clippy::option_option, reason = "whether, and what")]
    pub(crate) fn learn_number(&mut self, told: Option<Option<Xact>>) {
        self.asked = self.asked.saturating_sub(1);
        match told {
            Some(None) => {}
            Some(xact) => self.xact = xact,
            None => self.owed = self.owed.max(Weight::Writes),
        }
    }

    /// The transaction is prepared: whoever may end it, nothing of it has been committed by this session.
    pub(crate) fn part_with_number(&mut self) {
        self.xact = None;
    }

    /// Whether to ask for the prepared transaction that the request at hand ends.
    pub(crate) fn wants_prepared(&self) -> bool {
        self.prepared.is_none() && self.obstacle.is_none()
    }

    /// It is this one, or none that could be asked for.
    pub(crate) fn learn_prepared(&mut self, told: Option<Xact>) {
        self.prepared = Some(told);
    }

    /// The server that has told it is lost before it has had the request.
    pub(crate) fn unlearn_prepared(&mut self) {
        self.prepared = None;
    }

    pub(crate) fn is_number_asked(&self) -> bool {
        self.asked > 0
    }

    /// The last transaction that was committed, if it had a number.
    pub(crate) fn last(&self) -> Option<Xact> {
        self.last
    }

    /// Whether what is lost, or part of it, is in a block.
    pub(crate) fn is_in_block(&self) -> bool {
        !self.entries.is_empty() || self.pending.iter().any(|request| request.begins)
    }

    /// The commit under way has come to be: what the client has not been told of its answer. `None` where that cannot
    /// be said.
    pub(crate) fn acknowledgement(&mut self) -> Option<Vec<u8>> {
        let tag = match self.pending.front()?.weight {
            Weight::Commits => "COMMIT",
            Weight::Ends => self.prepared.flatten()?.tag(),
            _ => return None,
        };
        let request = &self.requests[self.answered_end()..];
        let told = outcome::acknowledgement(request, tag)?;
        if let Some(rerun) = self.rerun.take() {
            self.answer = rerun.cut;
        }
        let cut = &self.answer;
        let mut seen = Answer::default();
        let mut at = 0;
        loop {
            match seen.begins_with(cut) {
                Some(true) => return Some(told[at..].to_vec()),
                Some(false) => return None,
                None => {}
            }
            let end = told.len().min(at.saturating_add(seen.room(cut)));
            let (n, _) = seen.take(told.get(at..end).filter(|rest| !rest.is_empty())?)?;
            at += n;
        }
    }
}
