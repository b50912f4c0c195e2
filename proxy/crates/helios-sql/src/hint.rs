//! Hint comments: `/*helios:route=primary*/`, `/* helios:route=primary helios:cache=skip */`, `/*+ route=primary */`.
//!
//! Only their keys belong to a shape. Values (a node, a tenant, a time) are as many as there are callers.

/// Whether a block comment with this body is a hint.
pub(crate) fn is_hint(body: &[u8]) -> bool {
    body.first() == Some(&b'+') || has_prefix(body.trim_ascii_start())
}

/// The keys in a hint comment (whole, with its marks), as written, in their order.
pub(crate) fn keys(comment: &[u8]) -> Keys<'_> {
    let body = comment.strip_prefix(b"/*").unwrap_or(comment);
    let body = body.strip_suffix(b"*/").unwrap_or(body);
    Keys {
        rest: body.strip_prefix(b"+").unwrap_or(body),
    }
}

/// See [`keys`].
pub(crate) struct Keys<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Keys<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
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
            if !key.is_empty() {
                return Some(key);
            }
        }
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
