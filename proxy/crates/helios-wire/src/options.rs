//! Splitting the `options` startup parameter (`PGOPTIONS`) into settings.
//!
//! Called by [`crate::startup`]. The words are cut as PostgreSQL's `pg_split_opts` cuts them; of the
//! switches of the `postgres` program only those that name a setting are accepted.

use std::fmt;

use crate::sqlstate;

/// Why an `options` string was refused. The text is PostgreSQL's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionsError {
    /// `-c name` or `--name` without `=value`; holds the switch as written.
    MissingValue(String),
    /// A word that is not a setting.
    InvalidArgument(String),
    /// A name that cannot be a setting, or that only the startup packet itself may carry.
    UnrecognizedParameter(String),
}

impl OptionsError {
    /// The SQLSTATE PostgreSQL answers with.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::MissingValue(_) | Self::InvalidArgument(_) => sqlstate::SYNTAX_ERROR,
            Self::UnrecognizedParameter(_) => sqlstate::UNDEFINED_OBJECT,
        }
    }
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingValue(switch) => write!(f, "{switch} requires a value"),
            Self::InvalidArgument(word) => {
                write!(
                    f,
                    "invalid command-line argument for server process: {word}"
                )
            }
            Self::UnrecognizedParameter(name) => {
                write!(f, "unrecognized configuration parameter \"{name}\"")
            }
        }
    }
}

impl std::error::Error for OptionsError {}

/// The settings in an `options` string, in order, repeats included.
///
/// Accepts `-c name=value`, `-cname=value` and `--name=value`; a backslash keeps the next character,
/// and a dash in a name means an underscore.
pub fn split(options: &str) -> Result<Vec<(String, String)>, OptionsError> {
    let mut settings = Vec::new();
    let mut words = Words { rest: options };
    while let Some(word) = words.next() {
        if word == "--" {
            // The end of the switches; whatever follows is an argument, and the server takes none.
            return words.next().map_or(Ok(settings), |word| {
                Err(OptionsError::InvalidArgument(word))
            });
        }
        let (switch, assignment) = if let Some(assignment) = word.strip_prefix("--") {
            ("--", assignment.to_owned())
        } else if word == "-c" {
            let next = words.next().ok_or(OptionsError::InvalidArgument(word))?;
            ("-c ", next)
        } else if let Some(assignment) = word.strip_prefix("-c") {
            ("-c ", assignment.to_owned())
        } else {
            return Err(OptionsError::InvalidArgument(word));
        };
        settings.push(setting(switch, &assignment)?);
    }
    Ok(settings)
}

fn setting(switch: &str, assignment: &str) -> Result<(String, String), OptionsError> {
    let (name, value) = assignment
        .split_once('=')
        .ok_or_else(|| OptionsError::MissingValue(format!("{switch}{assignment}")))?;
    let name = name.replace('-', "_");
    if is_reserved(&name) {
        return Err(OptionsError::UnrecognizedParameter(name));
    }
    Ok((name, value.to_owned()))
}

/// Names the startup packet gives a meaning of its own. None is a setting, and passing one on to a
/// server would change who logs in, where, or in which mode.
fn is_reserved(name: &str) -> bool {
    matches!(name, "" | "user" | "database" | "options" | "replication")
        || name.starts_with("_pq_.")
}

/// The words of an options string: separated by white space, a backslash keeps the next character.
struct Words<'a> {
    rest: &'a str,
}

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let text = self.rest.trim_start_matches(is_space);
        if text.is_empty() {
            self.rest = text;
            return None;
        }
        let mut word = String::new();
        let mut escaped = false;
        let mut end = text.len();
        for (at, c) in text.char_indices() {
            if escaped {
                word.push(c);
                escaped = false;
            } else if is_space(c) {
                end = at;
                break;
            } else if c == '\\' {
                escaped = true;
            } else {
                word.push(c);
            }
        }
        self.rest = text.get(end..).unwrap_or_default();
        Some(word)
    }
}

/// C's `isspace` in the C locale, which the server uses.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}
