//! The one walk over a text: tokens in, items of the shape out. Hash and readable text are made from the same items.

use crate::boundary::Boundary;
use crate::control::{self, Control};
use crate::hint;
use crate::scan::Scanner;
use crate::token::{Kind, Token};
use crate::Syntax;

/// One item of a shape. Equal sequences of items are equal shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A keyword or identifier, in any case; the sink folds it.
    Word(&'a [u8]),
    /// `"…"`.
    Quoted(&'a [u8]),
    /// `"…"` that was written `U&"…"`, and the character of its UESCAPE clause.
    Unicode(&'a [u8], Option<u8>),
    /// `$1`.
    Parameter(&'a [u8]),
    /// An operator.
    Symbol(&'a [u8]),
    /// Any literal.
    Literal,
    /// The operand of a control statement: a name, or (a transaction's identifier) a string.
    Name {
        is_text: bool,
    },
    Open,
    Close,
    Comma,
    /// Between two statements, or inside one (see `boundary`). Empty statements have none.
    Semicolon,
    /// A hint comment with at least one key.
    Hint(&'a [u8]),
    /// A byte that is part of no token.
    Junk(u8),
    /// A quote or comment without an end.
    Unfinished,
}

/// What takes the items.
pub(crate) trait Sink {
    /// The next item.
    fn put(&mut self, item: Item<'_>);
}

/// What the walk learns beside the items.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outline {
    /// Statements that are not empty.
    pub(crate) statements: u32,
    /// The first control statement.
    pub(crate) control: Option<Control>,
    /// The items do not tell this text from every other one.
    pub(crate) is_odd: bool,
    /// The text ends in a quote or comment.
    pub(crate) ends_inside: bool,
}

/// Hands the items of a text to a sink.
pub(crate) fn walk(sql: &[u8], syntax: Syntax, sink: &mut impl Sink) -> Outline {
    let mut walk = Walk {
        scanner: Scanner::new(sql, syntax),
        boundary: Boundary::default(),
        outline: Outline::default(),
        before: Token::NONE,
        last: Token::NONE,
        slot: NO_SLOT,
        is_start: true,
        is_empty: true,
        has_gap: false,
        is_attentive: true,
    };
    loop {
        let token = walk.scanner.next_inline();
        if token.kind.is_plain() && !walk.is_attentive {
            sink.put(item(&walk.scanner, token));
        } else if token.kind == Kind::End {
            walk.outline.is_odd = walk.scanner.is_odd();
            return walk.outline;
        } else if !walk.attend(token, sink) {
            continue;
        }
        walk.before = walk.last;
        walk.last = token;
    }
}

/// Where no token starts.
const NO_SLOT: usize = usize::MAX;

struct Walk<'a> {
    scanner: Scanner<'a>,
    boundary: Boundary,
    outline: Outline,
    before: Token,
    last: Token,
    /// Where the operand starts that is a placeholder.
    slot: usize,
    /// The next token is a statement's first.
    is_start: bool,
    /// There was no item yet.
    is_empty: bool,
    /// A statement has ended, and if another item comes, there is a semicolon between.
    has_gap: bool,
    /// A plain token may mean more than its item.
    is_attentive: bool,
}

impl Walk<'_> {
    /// Takes a token of any kind but the end; whether it counts as one.
    #[inline(never)]
    fn attend(&mut self, token: Token, sink: &mut impl Sink) -> bool {
        let counts = match token.kind {
            Kind::Hint => self.hint(token, sink),
            _ => self.part(token, sink),
        };
        self.is_attentive =
            self.is_start || self.has_gap || self.slot != NO_SLOT || self.boundary.follows_words();
        counts
    }

    fn part(&mut self, token: Token, sink: &mut impl Sink) -> bool {
        if self.boundary.ends(&self.scanner, token) {
            self.is_start = true;
            self.has_gap = !self.is_empty;
            return true;
        }
        if self.is_start {
            self.start(token);
        }
        self.fill_gap(sink);
        self.outline.ends_inside |= token.kind == Kind::Unfinished;
        if token.start == self.slot {
            self.slot = NO_SLOT;
            sink.put(Item::Name {
                is_text: token.kind == Kind::Text,
            });
            return true;
        }
        sink.put(item(&self.scanner, token));
        if token.kind == Kind::Open && self.last.kind == Kind::Word {
            self.squash(sink);
        }
        true
    }

    fn hint(&mut self, token: Token, sink: &mut impl Sink) -> bool {
        let comment = self.scanner.bytes(token);
        if hint::hints(comment).next().is_none() {
            return false;
        }
        self.fill_gap(sink);
        sink.put(Item::Hint(comment));
        true
    }

    fn start(&mut self, token: Token) {
        self.is_start = false;
        self.outline.statements = self.outline.statements.saturating_add(1);
        let Some(control) = control::find(self.scanner, token) else {
            return;
        };
        self.outline.control = self.outline.control.or(Some(control));
        if let (true, Some(operand)) = (control.is_slot, control.operand) {
            self.slot = operand.start;
        }
    }

    fn fill_gap(&mut self, sink: &mut impl Sink) {
        if self.has_gap {
            self.has_gap = false;
            sink.put(Item::Semicolon);
        }
        self.is_empty = false;
    }

    /// Behind `IN (` and `VALUES (`: puts a list of literals and goes behind it.
    fn squash(&mut self, sink: &mut impl Sink) {
        // `s.values (1)` calls a function.
        if self.scanner.bytes(self.before) == b"." {
            return;
        }
        if let Some(list) = squash(&self.scanner, self.last) {
            list.put(sink);
            self.boundary.ends(&self.scanner, list.close);
            self.scanner = list.behind;
        }
    }
}

#[inline(always)]
fn item<'a>(scanner: &Scanner<'a>, token: Token) -> Item<'a> {
    let bytes = scanner.bytes(token);
    match token.kind {
        Kind::Word => Item::Word(bytes),
        Kind::Quoted => Item::Quoted(bytes),
        Kind::UnicodeQuoted => unicode(bytes),
        Kind::Parameter => Item::Parameter(bytes),
        Kind::Text | Kind::Bits | Kind::Number => Item::Literal,
        Kind::Symbol => Item::Symbol(bytes),
        Kind::Open => Item::Open,
        Kind::Close => Item::Close,
        Kind::Comma => Item::Comma,
        Kind::Semicolon => Item::Semicolon,
        Kind::Hint => Item::Hint(bytes),
        Kind::Junk => Item::Junk(bytes.first().copied().unwrap_or_default()),
        Kind::Unfinished | Kind::End => Item::Unfinished,
    }
}

/// `U&"…"` or `U&"…" UESCAPE 'c'`, cut into its parts.
fn unicode(bytes: &[u8]) -> Item<'_> {
    let name = bytes.get(2..).unwrap_or_default();
    match name {
        [.., b'"'] => Item::Unicode(name, None),
        [.., escape, b'\''] => Item::Unicode(quoted_part(name), Some(*escape)),
        _ => Item::Unicode(name, None),
    }
}

/// The `"…"` that a text starts with.
fn quoted_part(text: &[u8]) -> &[u8] {
    let mut at = 1;
    while let Some(found) = memchr::memchr(b'"', text.get(at..).unwrap_or_default()) {
        at += found + 1;
        if text.get(at) != Some(&b'"') {
            return text.get(..at).unwrap_or_default();
        }
        at += 1;
    }
    text
}

/// A list of literals, or of tuples of literals, that the shape holds once.
struct List<'a> {
    /// Whether the list's elements are tuples in parentheses of their own.
    has_tuples: bool,
    /// Literals in a tuple.
    arity: u32,
    /// The parenthesis that ends it.
    close: Token,
    behind: Scanner<'a>,
}

impl List<'_> {
    /// Everything behind the opening parenthesis.
    fn put(&self, sink: &mut impl Sink) {
        if self.has_tuples {
            sink.put(Item::Open);
        }
        for at in 0..self.arity {
            if at > 0 {
                sink.put(Item::Comma);
            }
            sink.put(Item::Literal);
        }
        sink.put(Item::Close);
        if self.has_tuples {
            sink.put(Item::Close);
        }
    }
}

/// The list behind `IN (` or `VALUES (`, if it holds nothing but literals.
#[inline]
fn squash<'a>(scanner: &Scanner<'a>, keyword: Token) -> Option<List<'a>> {
    if scanner.is_word(keyword, b"in") {
        let mut ahead = *scanner;
        if ahead.next().kind != Kind::Open {
            return in_literals(*scanner);
        }
        let mut tuples = tuples(ahead)?;
        tuples.close = tuples.behind.next();
        tuples.has_tuples = true;
        return (tuples.close.kind == Kind::Close).then_some(tuples);
    }
    if scanner.is_word(keyword, b"values") {
        return tuples(*scanner);
    }
    None
}

/// `1, 2, 3)`.
fn in_literals(scanner: Scanner<'_>) -> Option<List<'_>> {
    tuple(scanner).map(|list| List { arity: 1, ..list })
}

/// `1, 2), (3, 4), (5, 6)`: as many tuples as have the size of the first.
fn tuples(scanner: Scanner<'_>) -> Option<List<'_>> {
    let mut run = tuple(scanner)?;
    loop {
        let mut ahead = run.behind;
        if ahead.next().kind != Kind::Comma || ahead.next().kind != Kind::Open {
            return Some(run);
        }
        match tuple(ahead) {
            Some(next) if next.arity == run.arity => run = next,
            _ => return Some(run),
        }
    }
}

/// `1, -2, '3')`.
fn tuple(mut scanner: Scanner<'_>) -> Option<List<'_>> {
    let mut arity = 0_u32;
    loop {
        let mut token = scanner.next();
        if token.kind == Kind::Symbol && matches!(scanner.bytes(token), b"-" | b"+") {
            token = scanner.next();
            if token.kind != Kind::Number {
                return None;
            }
        }
        if !matches!(token.kind, Kind::Text | Kind::Bits | Kind::Number) {
            return None;
        }
        arity = arity.saturating_add(1);
        let close = scanner.next();
        match close.kind {
            Kind::Comma => {}
            Kind::Close => {
                return Some(List {
                    has_tuples: false,
                    arity,
                    close,
                    behind: scanner,
                })
            }
            _ => return None,
        }
    }
}
