//! The *shape* of PostgreSQL statements: a text without its literals, comments, case and white space, as a hash.
//!
//! The engine looks up what to do with a request by its shape. This crate only lexes: what a statement means is the
//! planner's business. The one exception are [`Control`] statements, on whose operands the engine acts at each
//! execution; their table is generated from the planner's `control.toml`. Nothing here does I/O, allocates (but for
//! [`normalized`], [`hints`] and [`give`]) or panics, and the work is linear in the length of the text.
//!
//! What a shape drops or folds:
//!
//! - every literal is one placeholder: strings of all kinds with their continuations, numbers without their sign.
//!   `true`, `false` and `null` are keywords and stay, `$1` stays;
//! - names of savepoints, cursors, prepared statements and channels in control statements are placeholders;
//! - keywords and unquoted identifiers are in small letters (ASCII only), quoted ones stay as they are;
//! - comments go, except hints, of which the keys stay, and the values of those that are acted on;
//! - `IN (1, 2, 3)` is `IN (?)`, `VALUES (1, 2), (3, 4)` is `VALUES (?, ?)` where they hold nothing but literals; there
//!   a sign goes too;
//! - empty statements and a semicolon at the end go.
//!
//! | Module | What it knows |
//! |---|---|
//! | `scan`, `token` | bytes to tokens, by PostgreSQL's rules |
//! | `walk` | tokens to the items of a shape |
//! | `digest`, `text` | the two sinks of the walk: hash and readable text |
//! | `boundary`, `statements` | where a statement ends |
//! | `control`, `control_table` | control statements |
//! | `hint` | hint comments |
//! | `identifier` | what an operand names |
//! | `insert` | an INSERT whose rows are given a column more |
//! | `pattern` | texts that differ in their literals alone, without a lexer |

#![forbid(unsafe_code)]

mod boundary;
mod control;
#[rustfmt::skip]
mod control_table;
mod digest;
mod hint;
mod identifier;
mod insert;
mod pattern;
mod scan;
#[cfg(test)]
mod scan_postgres;
mod statements;
mod text;
mod token;
mod walk;

pub use control::{Control, Span};
pub use control_table::ControlKind;
pub use digest::Key;
pub use identifier::identifier;
pub use insert::{give, Place};
pub use pattern::{beginning, Pattern};
pub use statements::{statements, Statement, Statements};

/// What a text's bytes mean to the server: settings of the session that sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syntax {
    /// The setting of this name: whether a backslash in `'…'` is an ordinary character.
    pub standard_conforming_strings: bool,
    /// What client_encoding says about ASCII bytes.
    pub encoding: Encoding,
}

/// Whether a byte below 0x80 is always the ASCII character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// It is: UTF8, SQL_ASCII, the EUC and the single-byte encodings.
    AsciiSafe,
    /// It may be the second half of a character, a backslash or a quote included. Such texts are not lexed.
    TrailingAscii,
}

impl Encoding {
    /// By the name that the server reports as client_encoding. One that is not known is not lexed.
    pub fn of(client_encoding: &str) -> Self {
        const SAFE: [&str; 9] = [
            "UTF8",
            "SQL_ASCII",
            "EUC_",
            "LATIN",
            "ISO_8859_",
            "WIN125",
            "WIN866",
            "WIN874",
            "KOI8",
        ];
        if SAFE.iter().any(|safe| client_encoding.starts_with(safe)) {
            Self::AsciiSafe
        } else {
            Self::TrailingAscii
        }
    }
}

/// What the engine knows about a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The hash of the shape, or [`exact`] if `is_exact`.
    pub hash: u128,
    /// Whether the text has no shape, and only the same text has the same hash: it ends inside a quote, its encoding is
    /// not lexed, or it holds what only the server can judge.
    pub is_exact: bool,
    /// Whether the text ends in a quote or comment. The server refuses it.
    pub ends_inside: bool,
    /// How many statements that are not empty it holds; 0 if the encoding is not lexed.
    pub statements: u32,
    /// The first control statement in it. With several statements, [`statements`] tells them all.
    pub control: Option<Control>,
}

/// The shape of a text.
pub fn shape(sql: &[u8], syntax: Syntax, key: &Key) -> Shape {
    if syntax.encoding == Encoding::TrailingAscii {
        return Shape {
            hash: exact(sql, syntax, key),
            is_exact: true,
            ends_inside: false,
            statements: 0,
            control: None,
        };
    }
    let mut digest = digest::Digest::new(key);
    let outline = walk::walk(sql, syntax, &mut digest);
    let is_exact = outline.is_odd || outline.ends_inside;
    Shape {
        hash: if is_exact {
            exact(sql, syntax, key)
        } else {
            digest.finish()
        },
        is_exact,
        ends_inside: outline.ends_inside,
        statements: outline.statements,
        control: outline.control,
    }
}

/// The hash of the full text, for shapes that the planner cannot plan without their literals. It never equals a
/// shape's.
pub fn exact(sql: &[u8], syntax: Syntax, key: &Key) -> u128 {
    digest::exact(sql, syntax, key)
}

/// Appends the shape as text, for logs and metrics: `?` for each literal, `"?"` for a
/// control statement's operand, no literal's content. A text that is not
/// lexed is one `?`.
pub fn normalized(sql: &[u8], syntax: Syntax, out: &mut Vec<u8>) {
    match syntax.encoding {
        Encoding::AsciiSafe => {
            walk::walk(sql, syntax, &mut text::Text::new(out));
        }
        Encoding::TrailingAscii => out.push(b'?'),
    }
}

/// As [`normalized`], without hints: what a pattern over statements sees.
pub fn without_hints(sql: &[u8], syntax: Syntax, out: &mut Vec<u8>) {
    if syntax.encoding == Encoding::AsciiSafe {
        walk::walk(sql, syntax, &mut text::Text::without_hints(out));
    }
}

/// The hints of a text in their order: keys in small letters, values without quotes. None of a text that is not lexed.
pub fn hints(sql: &[u8], syntax: Syntax) -> Vec<(String, String)> {
    let mut gathered = hint::Gathered::default();
    if syntax.encoding == Encoding::AsciiSafe {
        walk::walk(sql, syntax, &mut gathered);
    }
    gathered.0
}
