//! Which standby answers the read at hand: by who is meant for it, how fresh it must be, and what its session must see.

use std::rc::Rc;

use super::reader::{Reader, Way};
use super::Session;
use crate::config::{Freshness, Workload};
use crate::nodes::{choose, has_fit, Certainty, Meant, Need, Reason, Wish};

impl Session {
    /// How fresh a standby must be for the read at hand.
    pub(super) fn freshness(&self) -> Option<Freshness> {
        let aim = self.attempt.aim();
        let mut freshness = self.reads()?.freshness(aim)?;
        if aim.is_none_or(|aim| aim.consistency.is_none()) {
            freshness.consistency = self.seen.at_least(freshness.consistency);
        }
        Some(freshness)
    }

    /// The pool of a standby that may answer now.
    pub(super) fn way_to_standby(&mut self) -> Option<Way> {
        let freshness = self.freshness()?;
        let need = self.need(freshness.consistency);
        let (place, certainty, reason) = self.choose_standby(freshness, need)?;
        if certainty == Certainty::Asked && self.is_second_try() {
            return None;
        }
        let route = self.route.as_mut()?;
        let reads = route.reads.as_mut()?;
        let node = &reads.cluster.nodes[place];
        let is_bound = reads.is_bound();
        let shard = match &reads.shards[place] {
            Some(shard) => Rc::clone(shard),
            None => {
                let login = &self.handle.visit.login;
                let made = self
                    .worker
                    .pool(route.revision, node, &reads.entry, login)?;
                Rc::clone(reads.shards[place].insert(made))
            }
        };
        let reader = Reader::new(&node.standing, certainty, is_bound);
        Some(Way::to_standby(shard, reader, reason))
    }

    /// The standby that answers the read at hand, and why that one.
    fn choose_standby(
        &self,
        freshness: Freshness,
        need: Option<Need>,
    ) -> Option<(usize, Certainty, Reason)> {
        let reads = self.reads()?;
        let routing = reads.entry.routing.as_ref()?;
        let mut answerers = self.answerers().into_iter().flatten();
        answerers.find_map(|(meant, reason)| {
            let wish = self.wish(meant, freshness, need);
            let (place, certainty) = choose(&reads.cluster, routing, wish)?;
            Some((place, certainty, reason))
        })
    }

    /// Who may answer the read at hand, and why, those first that go first: the one that is named, those that are meant
    /// for its kind of work, or anyone.
    fn answerers(&self) -> [Option<(Meant<'_>, Reason)>; 2] {
        let Some(reads) = self.reads() else {
            return [None, None];
        };
        let by = |reason| self.attempt.origin.reason(reason);
        if reads.is_bound() {
            return [Some((Meant::Anyone, Reason::Role)), None];
        }
        let workload = self.attempt.workload();
        let (Some(workload), Some(group)) = (workload, reads.group(workload)) else {
            let named = self.attempt.named().map_or(Meant::Anyone, Meant::Named);
            let read = match self.attempt.is_tried {
                true => Reason::Optimistic,
                false => Reason::Read,
            };
            return [Some((named, by(read))), None];
        };
        let own = (Meant::Group(&group.members), by(Reason::of(workload)));
        let may_be_others = !group.has_primary && self.is_split_by_itself();
        let others = may_be_others.then_some((Meant::Anyone, Reason::Fallback));
        [Some(own), others]
    }

    /// Why the primary answers a read: it is meant for that kind of work, or nobody else is fit.
    pub(super) fn reason_for_primary(&self) -> Reason {
        let workload = self.attempt.workload();
        let group = self.reads().and_then(|reads| reads.group(workload));
        match (workload, group) {
            (Some(workload), Some(group)) if group.has_primary => {
                self.attempt.origin.reason(Reason::of(workload))
            }
            _ => Reason::NoStandby,
        }
    }

    /// Whether a standby could answer the read at hand now.
    pub(super) fn has_standby(&mut self) -> bool {
        let Some(freshness) = self.freshness() else {
            return false;
        };
        let need = self.need(freshness.consistency);
        let mut answerers = self.answerers().into_iter().flatten();
        answerers.any(|(meant, _)| self.is_fit(meant, freshness, need))
    }

    /// Whether one could, but for what it must see.
    pub(super) fn could_have_standby(&self) -> bool {
        let mut answerers = self.answerers().into_iter().flatten();
        let freshness = self.freshness();
        freshness.is_some_and(|freshness| {
            answerers.any(|(meant, _)| self.is_fit(meant, freshness, Some(Need::default())))
        })
    }

    /// Whether those that are meant for a heavy read could answer it, but for what it must see: that is worth waiting for,
    /// rather than to burden others.
    pub(super) fn is_astray(&mut self) -> bool {
        let workload = self.attempt.workload();
        if workload.is_none_or(|workload| workload <= Workload::Oltp) {
            return false;
        }
        let Some(freshness) = self.freshness() else {
            return false;
        };
        let need = self.need(freshness.consistency);
        let [Some((meant @ Meant::Group(_), _)), _] = self.answerers() else {
            return false;
        };
        !self.is_fit(meant, freshness, need) && self.is_fit(meant, freshness, Some(Need::default()))
    }

    fn is_fit(&self, meant: Meant<'_>, freshness: Freshness, need: Option<Need>) -> bool {
        let wish = self.wish(meant, freshness, need);
        self.reads()
            .is_some_and(|reads| has_fit(&reads.cluster, wish))
    }

    fn wish<'a>(&'a self, meant: Meant<'a>, freshness: Freshness, need: Option<Need>) -> Wish<'a> {
        Wish {
            freshness,
            meant,
            need,
            kept: self.seen.on.as_ref(),
        }
    }
}
