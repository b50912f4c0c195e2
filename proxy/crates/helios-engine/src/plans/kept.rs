//! Numbers of sequences that a statement tells its client, as the planner writes them.

use helios_sql::Place;
use serde::Deserialize;

/// Where a statement's numbers are told, and where they are written when it is run again.
#[derive(Debug, Deserialize)]
pub(crate) struct Kept {
    /// Which one of the result's columns has them, from 0.
    pub(crate) column: usize,
    /// The column's name as an identifier.
    pub(crate) name: String,
    /// As `regclass` reads it.
    pub(crate) sequence: String,
    /// Two rows cannot have the same number.
    pub(crate) is_unique: bool,
    place: Written,
    at: usize,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Written {
    Alone,
    Nothing,
    Rows,
    Default,
    Query,
}

impl Kept {
    /// What `SELECT nextval(…)` tells.
    #[cfg(test)]
    pub(crate) fn alone(sequence: &str) -> Kept {
        Kept {
            column: 0,
            name: "nextval".to_owned(),
            sequence: sequence.to_owned(),
            is_unique: false,
            place: Written::Alone,
            at: 0,
        }
    }

    /// Where numbers are written into an INSERT; `None` where they are all that is asked for.
    pub(crate) fn place(&self) -> Option<Place> {
        match self.place {
            Written::Alone => None,
            Written::Nothing => Some(Place::Nothing),
            Written::Rows => Some(Place::Rows),
            Written::Default => Some(Place::Default(self.at)),
            Written::Query => Some(Place::Query),
        }
    }
}
