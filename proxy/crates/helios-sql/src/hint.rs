//! Hint comments: `/*helios:route=primary*/`, `/* helios:route=primary helios:cache=skip */`, `/*+ route=primary */`.
//!
//! Of most hints only the keys belong to a shape: values (a tenant, a request) are as many as there are callers. What
//! decides where a statement runs, and for how long, belongs to it with its value.

use crate::walk::{Item, Sink};

/// Keys whose values are acted on; the planner has the same (`planner/wish.py`).
const ACTING: [&[u8]; 6] = [
    b"route",
    b"node",
    b"consistency",
    b"lag",
    b"timeout",
    b"twr",
];
/// A key whose value is read at each execution, since no two of them are alike.
const TOKEN: &[u8] = b"lsn";

/// Whether a block comment with this body is a hint.
pub(crate) fn is_hint(body: &[u8]) -> bool {
    body.first() == Some(&b'+') || has_prefix(body.trim_ascii_start())
}

/// One hint of a comment, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hint<'a> {
    pub(crate) key: &'a [u8],
    /// With its quotes; empty if it has none.
    pub(crate) value: &'a [u8],
}

impl Hint<'_> {
    /// Whether its value is acted on.
    pub(crate) fn acts(&self) -> bool {
        ACTING.iter().any(|key| self.key.eq_ignore_ascii_case(key))
    }

    /// Whether it is surely meant for us.
    fn is_ours(&self) -> bool {
        (self.acts() || self.key.eq_ignore_ascii_case(TOKEN)) && !self.value.is_empty()
    }

    /// Whether its value holds nothing that would have to be quoted.
    pub(crate) fn is_plain(&self) -> bool {
        let is_plain = |byte: &u8| is_in_key(*byte) || matches!(byte, b'-' | b':');
        !self.value.is_empty() && self.value.iter().all(is_plain)
    }

    fn unquoted(&self) -> &[u8] {
        match self.value {
            [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
            value => value,
        }
    }
}

/// Whether a hint comment is one of several programs', `/*+ … */`.
pub(crate) fn is_shared(comment: &[u8]) -> bool {
    comment.get(2) == Some(&b'+')
}

/// The hints in a comment (whole, with its marks), in their order.
pub(crate) fn hints(comment: &[u8]) -> Hints<'_> {
    let body = comment.strip_prefix(b"/*").unwrap_or(comment);
    let body = body.strip_suffix(b"*/").unwrap_or(body);
    Hints {
        rest: body.strip_prefix(b"+").unwrap_or(body),
    }
}

/// See [`hints`].
pub(crate) struct Hints<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Hints<'a> {
    type Item = Hint<'a>;

    fn next(&mut self) -> Option<Hint<'a>> {
        loop {
            let start = self.rest.iter().position(|b| !is_between(*b))?;
            let item = self.rest.get(start..).unwrap_or_default();
            let key = if has_prefix(item) {
                item.get(PREFIX.len()..).unwrap_or_default()
            } else {
                item
            };
            let length = key.iter().position(|b| !is_in_key(*b)).unwrap_or(key.len());
            let (key, value) = key.split_at(length);
            self.rest = behind_value(value);
            let value = value
                .get(..value.len() - self.rest.len())
                .unwrap_or_default();
            let value = value.strip_prefix(b"=").unwrap_or_default();
            if !key.is_empty() {
                return Some(Hint { key, value });
            }
        }
    }
}

/// The sink that gathers the hints of a text: keys in small letters, values without quotes. Of comments that other
/// programs read too, only what is surely meant for us.
#[derive(Default)]
pub(crate) struct Gathered(pub(crate) Vec<(String, String)>);

impl Sink for Gathered {
    fn put(&mut self, item: Item<'_>) {
        let Item::Hint(comment) = item else { return };
        let is_shared = is_shared(comment);
        let ours = hints(comment).filter(|hint| !is_shared || hint.is_ours());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.0
            .extend(ours.map(|hint| (text(hint.key).to_ascii_lowercase(), text(hint.unquoted()))));
    }
}

const PREFIX: &[u8] = b"helios:";

fn has_prefix(text: &[u8]) -> bool {
    text.get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

fn is_between(byte: u8) -> bool {
    byte == b',' || byte.is_ascii_whitespace()
}

fn is_in_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')
}

/// What follows a value: it ends at a blank or comma outside quotes and parentheses.
fn behind_value(text: &[u8]) -> &[u8] {
    let mut depth = 0_usize;
    let mut quote = None;
    for (at, &byte) in text.iter().enumerate() {
        match (quote, byte) {
            (Some(open), _) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'(') => depth += 1,
            (None, b')') => depth = depth.saturating_sub(1),
            (None, _) if depth == 0 && is_between(byte) => {
                return text.get(at..).unwrap_or_default();
            }
            (None, _) => {}
        }
    }
    &[]
}
