//! What a text does with a parameter of ours: a setting that reaches no server, as the session answers for it.

use serde::Deserialize;

/// What a text does, as the planner has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Handling {
    pub(crate) parameter: Parameter,
    pub(crate) act: Act,
}

/// A setting of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Parameter {
    /// What the session has seen.
    Lsn,
    /// How far its writes must have come.
    WriteMode,
    /// Under which it shares with others what must be seen.
    ConsistencyKey,
}

impl Parameter {
    pub(crate) const ALL: [Parameter; 3] = [
        Parameter::Lsn,
        Parameter::WriteMode,
        Parameter::ConsistencyKey,
    ];

    pub(crate) fn named(name: &str) -> Option<Parameter> {
        let mut all = Parameter::ALL.into_iter();
        all.find(|parameter| parameter.name().eq_ignore_ascii_case(name))
    }

    /// Its name, in small letters.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Parameter::Lsn => "helios.lsn",
            Parameter::WriteMode => "helios.write_mode",
            Parameter::ConsistencyKey => "helios.consistency_key",
        }
    }
}

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    Show,
    Set,
    Reset,
    /// Something that is not done: it is one statement of several, or set in another way than by SET.
    Mix,
}
