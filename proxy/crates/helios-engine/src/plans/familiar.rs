//! Statements that a worker has had lately, recognised by their text: most are written by a program that changes nothing
//! but their literals.

use std::sync::Arc;

use helios_sql::{beginning, Pattern};

use super::{Plan, Statement};

/// Places; a statement has one, by what it begins with.
const PLACES: usize = 1024;
/// Longer texts take no place.
const MAX_TEXT: usize = 4096;
/// Statements without a place that may pass before one takes that of another: where texts never come again, as those
/// with a number in a comment, the pattern of each would be made for nothing.
const STRANGERS: u8 = 16;

/// One place, and the statements that came to it since it was taken.
#[derive(Debug, Default)]
struct Place {
    known: Option<Known>,
    strangers: u8,
}

#[derive(Debug)]
struct Known {
    pattern: Pattern,
    plan: Arc<Plan>,
}

/// The statements of one worker.
#[derive(Debug)]
pub(super) struct Familiar(Box<[Place]>);

impl Default for Familiar {
    fn default() -> Familiar {
        Familiar((0..PLACES).map(|_| Place::default()).collect())
    }
}

impl Familiar {
    /// The plan of a statement that differs from a known one in its literals at most.
    #[inline]
    pub(super) fn get(&self, statement: Statement<'_>) -> Option<&Arc<Plan>> {
        let known = self.0[place(statement)].known.as_ref()?;
        let holds = known.plan.class == statement.class.hash
            && known.plan.is_for(statement.catalog)
            && known.pattern.fits(statement.sql, statement.syntax);
        holds.then_some(&known.plan)
    }

    /// Takes note of a plan that holds whatever the literals are.
    pub(super) fn learn(&mut self, statement: Statement<'_>, plan: &Arc<Plan>) {
        if statement.sql.len() > MAX_TEXT {
            return;
        }
        let place = &mut self.0[place(statement)];
        place.strangers += 1;
        let known = place.known.as_ref();
        let is_free = known.is_none_or(|known| !known.plan.is_current());
        if is_free || place.strangers >= STRANGERS {
            place.known = Some(Known {
                pattern: Pattern::of(statement.sql, statement.syntax),
                plan: Arc::clone(plan),
            });
            place.strangers = 0;
        }
    }
}

fn place(statement: Statement<'_>) -> usize {
    (beginning(statement.sql) as usize ^ statement.class.hash as usize) % PLACES
}
