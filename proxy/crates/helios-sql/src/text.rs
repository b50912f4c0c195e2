//! The sink that writes readable text.
//!
//! Written again, the text stays the same. Its shape is another one where it holds `?`, which is an operator to
//! PostgreSQL; the operands of control statements keep their quotes, so that the statement stays one.

use crate::hint;
use crate::walk::{Item, Sink};

/// Appends to a buffer.
pub(crate) struct Text<'o> {
    out: &'o mut Vec<u8>,
    last: Spacing,
    has_hints: bool,
}

/// What kind of neighbour an item is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spacing {
    /// Nothing before it, or `(`: no blank follows.
    Start,
    /// An identifier: joined with a dot or a cast.
    Name,
    /// `.` or `::` behind an identifier: joined with one.
    Link,
    Other,
}

impl<'o> Text<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Self {
        Self {
            out,
            last: Spacing::Start,
            has_hints: true,
        }
    }

    pub(crate) fn without_hints(out: &'o mut Vec<u8>) -> Self {
        Self {
            has_hints: false,
            ..Self::new(out)
        }
    }

    fn blank(&mut self) {
        if self.last != Spacing::Start {
            self.out.push(b' ');
        }
        self.last = Spacing::Other;
    }

    fn spaced(&mut self, bytes: &[u8]) {
        self.blank();
        self.out.extend_from_slice(bytes);
    }

    /// An identifier or keyword; the caller writes it.
    fn name(&mut self) {
        if self.last != Spacing::Link {
            self.blank();
        }
        self.last = Spacing::Name;
    }

    fn hint(&mut self, comment: &[u8]) {
        let mut before: &[u8] = if hint::is_shared(comment) {
            b"/*+"
        } else {
            b"/*helios:"
        };
        self.blank();
        for hint in hint::hints(comment) {
            self.out.extend_from_slice(before);
            self.out.extend(hint.key.iter().map(u8::to_ascii_lowercase));
            if hint.acts() && hint.is_plain() {
                self.out.push(b'=');
                self.out.extend_from_slice(hint.value);
            }
            before = b",";
        }
        self.out.extend_from_slice(b"*/");
    }
}

impl Sink for Text<'_> {
    fn put(&mut self, item: Item<'_>) {
        match item {
            Item::Word(bytes) => {
                self.name();
                self.out.extend(bytes.iter().map(u8::to_ascii_lowercase));
            }
            Item::Quoted(bytes) => {
                self.name();
                self.out.extend_from_slice(bytes);
            }
            Item::Unicode(bytes, escape) => {
                self.name();
                self.out.extend_from_slice(b"U&");
                self.out.extend_from_slice(bytes);
                if let Some(escape) = escape {
                    self.out.extend_from_slice(b" uescape '");
                    self.out.extend_from_slice(&[escape, b'\'']);
                }
            }
            Item::Symbol(bytes @ (b"." | b"::")) if self.last == Spacing::Name => {
                self.out.extend_from_slice(bytes);
                self.last = Spacing::Link;
            }
            Item::Parameter(bytes) | Item::Symbol(bytes) => self.spaced(bytes),
            Item::Literal | Item::Unfinished => self.spaced(b"?"),
            Item::Name { is_text: false } => self.spaced(b"\"?\""),
            Item::Name { is_text: true } => self.spaced(b"'?'"),
            Item::Junk(byte) => self.spaced(&[byte]),
            Item::Hint(comment) if self.has_hints => self.hint(comment),
            Item::Hint(_) => {}
            Item::Open => {
                self.spaced(b"(");
                self.last = Spacing::Start;
            }
            Item::Close => {
                self.out.push(b')');
                self.last = Spacing::Other;
            }
            Item::Comma => {
                self.out.push(b',');
                self.last = Spacing::Other;
            }
            Item::Semicolon => {
                self.out.push(b';');
                self.last = Spacing::Other;
            }
        }
    }
}
