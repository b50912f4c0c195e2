//! What an administrator has stopped: databases that lend no servers, databases that take no new clients, by the names
//! they are shown under, and maintenance, which concerns all. Not part of the snapshot: a reload keeps it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What is stopped now.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Halts {
    /// Every database is paused, whatever is said about each.
    all: bool,
    paused: BTreeSet<String>,
    disabled: BTreeSet<String>,
    /// No new client is let in.
    #[serde(skip)]
    refuses: bool,
    /// Those that are here are to leave.
    #[serde(skip)]
    empties: bool,
}

impl Halts {
    pub(crate) fn is_paused(&self, database: &str) -> bool {
        self.all || self.paused.contains(database)
    }

    pub(crate) fn is_disabled(&self, database: &str) -> bool {
        self.disabled.contains(database)
    }

    /// Pauses or resumes one database, or all.
    pub(crate) fn pause(&mut self, database: Option<&str>, on: bool) {
        match database {
            None => self.all = on,
            Some(name) => note(&mut self.paused, name, on),
        }
    }

    pub(crate) fn refuses_newcomers(&self) -> bool {
        self.refuses
    }

    pub(crate) fn is_emptying(&self) -> bool {
        self.empties
    }

    pub(crate) fn admit(&mut self, newcomers: bool, present: bool) {
        (self.refuses, self.empties) = (!newcomers, !present);
    }

    pub(crate) fn disable(&mut self, database: &str, on: bool) {
        note(&mut self.disabled, database, on);
    }
}

fn note(names: &mut BTreeSet<String>, name: &str, on: bool) {
    if on {
        names.insert(name.to_owned());
    } else {
        names.remove(name);
    }
}

/// What an administrator orders. A database that is absent stands for every one.
#[derive(Debug, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Order {
    /// Lend no servers, and close them as they come back.
    Pause { database: Option<String> },
    /// Lend servers again.
    Resume { database: Option<String> },
    /// Close servers as they come back, and open others in their place.
    Reconnect { database: Option<String> },
    /// Take no new clients.
    Disable { database: String },
    /// Take new clients again.
    Enable { database: String },
    /// Pause, and end its clients at once.
    Kill { database: Option<String> },
    /// End this client at once.
    KillClient { id: u64 },
    /// Whether new clients, and those that are here, may be here; not those of the console.
    Admit { newcomers: bool, present: bool },
}
