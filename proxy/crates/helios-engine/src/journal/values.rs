//! Numbers of sequences that a client has been told in its transaction: the same are given when it is run again. They are
//! known by the request that they were told in answer to, and by the statement's place there. And whether it has left
//! values that cannot be given again.

use std::sync::Arc;

use super::{Journal, Reason};
use crate::plans::Kept;

/// Numbers that are kept of one transaction.
const MAX_KEPT: usize = 10_000;

/// A statement of the transaction: in which request, and as which of those in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    request: u64,
    place: u32,
}

/// What a statement has told. What is known of it meanwhile may be less.
#[derive(Debug)]
struct Told {
    slot: Slot,
    kept: Arc<Kept>,
    values: Vec<i64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// The first request that is kept, and the one under way.
    first: u64,
    request: u64,
    /// Statements of that one so far.
    place: u32,
    /// The server's session may know of sequences what is not so.
    is_stale: bool,
    /// The last request in front of which it has forgotten them.
    fresh: Option<u64>,
    told: Vec<Told>,
    /// Numbers in there.
    count: usize,
}

impl Values {
    /// A statement is about to run.
    pub(super) fn slot(&mut self) -> Slot {
        let place = self.place;
        self.place += 1;
        Slot {
            request: self.request,
            place,
        }
    }

    pub(super) fn learn(&mut self, slot: Slot, kept: &Arc<Kept>, value: i64) {
        if self.count >= MAX_KEPT || slot.request < self.first {
            return;
        }
        self.count += 1;
        match self.told.iter_mut().find(|told| told.slot == slot) {
            Some(told) => told.values.push(value),
            None => self.told.push(Told {
                slot,
                kept: Arc::clone(kept),
                values: vec![value],
            }),
        }
    }

    /// What a statement has told.
    pub(super) fn of(&self, slot: Slot) -> Option<(Arc<Kept>, Vec<i64>)> {
        let told = self.told.iter().find(|told| told.slot == slot)?;
        Some((Arc::clone(&told.kept), told.values.clone()))
    }

    /// Whether a request has told any, by its place among those that are kept.
    pub(super) fn has(&self, place: usize) -> bool {
        let request = self.first + place as u64;
        self.told.iter().any(|told| told.slot.request == request)
    }

    /// Whether the one under way has.
    fn has_now(&self) -> bool {
        self.told
            .iter()
            .any(|told| told.slot.request == self.request)
    }

    /// The number of the request under way, which is whole.
    pub(super) fn end_request(&mut self) -> u64 {
        self.place = 0;
        self.request += 1;
        self.request - 1
    }

    /// The first request is under way again.
    pub(super) fn go_back(&mut self) {
        self.place = 0;
        self.request = self.first;
        self.is_stale = true;
    }

    /// Nothing up to this request is kept any more.
    pub(super) fn forget(&mut self, request: u64) {
        self.first = request + 1;
        self.told.retain(|told| told.slot.request > request);
        self.count = self.told.iter().map(|told| told.values.len()).sum();
    }

    pub(super) fn clear(&mut self) {
        self.first = self.request;
        self.place = 0;
        self.is_stale = false;
        self.told.clear();
        self.count = 0;
    }
}

impl Journal {
    /// A statement is about to run: where the numbers of a sequence are known that it tells.
    pub(crate) fn slot(&mut self) -> Slot {
        self.values.slot()
    }

    /// What it has told before, if the transaction is run again.
    pub(crate) fn told_before(&mut self, slot: Slot) -> Option<(Arc<Kept>, Vec<i64>)> {
        self.rerun.as_ref()?;
        let told = self.values.of(slot);
        self.values.is_stale |= told.is_some();
        told
    }

    /// The client is told a number of a sequence.
    pub(crate) fn learn_value(&mut self, slot: Slot, kept: &Arc<Kept>, value: i64) {
        self.values.learn(slot, kept, value);
    }

    /// Why another answer came, as far as the transaction tells.
    pub(crate) fn divergence(&self) -> Reason {
        let at = self.rerun.as_ref().map_or(0, |rerun| rerun.checked);
        match self.values.has(at) {
            true => Reason::Sequence,
            false => Reason::Answer,
        }
    }

    /// Whether the server's session must not know of any sequence now: the transaction is run again, and nothing of it has
    /// been sent, or what comes next is given its numbers, or what came before was.
    pub(crate) fn wants_fresh_sequences(&mut self) -> bool {
        let values = &mut self.values;
        let is_next = self.rerun.is_some() && values.fresh != Some(values.request);
        let is_due = values.is_stale || (is_next && values.has_now());
        if is_due {
            values.is_stale = false;
            values.fresh = Some(values.request);
        }
        is_due
    }

    /// A statement is about to run that leaves values which are others each time.
    pub(crate) fn note_mutable(&mut self) {
        self.is_mutable = true;
    }

    /// Whether what was answered has left such values.
    pub(crate) fn has_mutables(&self) -> bool {
        self.has_mutables
    }

    /// Whether the transaction has lost a server before.
    pub(crate) fn is_repeated(&self) -> bool {
        self.losses > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_belong_to_their_statements_when_they_run_again() {
        let mut values = Values::default();
        let kept = Arc::new(Kept::alone("s"));
        let of = |values: &Values, slot| values.of(slot).map_or_else(Vec::new, |(_, told)| told);
        let finished = values.slot();
        values.learn(finished, &kept, 1);
        let first = values.end_request();
        let (one, two) = (values.slot(), values.slot());
        values.learn(two, &kept, 5);
        values.learn(one, &kept, 3);
        values.learn(two, &kept, 6);
        values.end_request();
        let other = values.slot();
        values.learn(other, &kept, 9);

        values.forget(first);
        values.learn(finished, &kept, 2);
        values.go_back();

        assert_eq!((values.slot(), values.slot()), (one, two));
        assert_eq!((of(&values, one), of(&values, two)), (vec![3], vec![5, 6]));
        values.end_request();
        assert_eq!(values.slot(), other);
        assert!(of(&values, finished).is_empty());
        assert!(values.has(0) && values.has(1) && !values.has(2));
        values.clear();
        assert!(of(&values, other).is_empty());
    }
}
