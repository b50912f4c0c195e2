//! Control statements: those on whose operands the engine acts at each execution.
//!
//! Which they are is written once, in the planner's `control.toml`; `control_table.rs` is generated from it.

use crate::control_table::{rows, ControlKind};
use crate::scan::Scanner;
use crate::token::{Kind, Token};

/// A range of bytes in the text of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
}

impl Span {
    /// The bytes it names in the text that it was made from; nothing in a shorter one.
    pub fn of(self, sql: &[u8]) -> &[u8] {
        sql.get(self.start..self.end).unwrap_or_default()
    }
}

/// What a control statement says it does. The server may still refuse it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// What it does.
    pub kind: ControlKind,
    /// The name it acts on as it is written, quotes and all: a savepoint, cursor, prepared statement, transaction,
    /// channel or setting (a setting's dots included).
    pub operand: Option<Span>,
    /// The setting that the words mean where they do not name one, as `SET TIME ZONE` does.
    pub setting: Option<&'static str>,
    /// The byte behind the words by which it was known; behind the AS of a PREPARE.
    pub end: usize,
    /// Whether the operand is a placeholder of the shape. A setting is not.
    pub(crate) is_slot: bool,
}

/// One token of a form, or what stands for several.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// This word, in small letters.
    Word(&'static [u8]),
    /// This operator.
    Symbol(&'static [u8]),
    /// An identifier.
    Name,
    /// A string literal.
    Text,
    /// An identifier, or several with dots between.
    Setting,
    /// Everything up to the last token.
    Rest,
    /// Everything up to this word outside parentheses, and the word.
    Until(&'static [u8]),
    /// Parentheses and what is in them.
    Group,
}

/// A form and what it means.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) parts: &'static [Part],
    pub(crate) kind: ControlKind,
    pub(crate) setting: Option<&'static str>,
}

/// The control statement that starts with `first`, which `behind` has just passed.
#[inline]
pub(crate) fn find(behind: Scanner<'_>, first: Token) -> Option<Control> {
    if first.kind != Kind::Word {
        return None;
    }
    let word = behind.bytes(first);
    let mut folded = [0; LONGEST];
    let folded = folded.get_mut(..word.len())?;
    folded.copy_from_slice(word);
    folded.make_ascii_lowercase();
    let rows = rows(folded);
    if rows.is_empty() {
        return None;
    }
    let mut head = Head::new(behind);
    rows.iter().find_map(|row| fits(row, first, &mut head))
}

/// No control statement starts with a longer word.
const LONGEST: usize = 16;

/// The tokens behind the first one. Every row looks at the same few, so they are kept.
struct Head<'a> {
    scanner: Scanner<'a>,
    tokens: [Token; HEAD],
    known: usize,
}

/// How many tokens are kept; only a setting with many dots goes beyond.
const HEAD: usize = 8;

/// A place between tokens of a [`Head`].
#[derive(Clone, Copy)]
struct Place<'a> {
    index: usize,
    /// Behind the kept ones.
    scanner: Option<Scanner<'a>>,
}

impl<'a> Head<'a> {
    fn new(scanner: Scanner<'a>) -> Self {
        Self {
            scanner,
            tokens: [Token::NONE; HEAD],
            known: 0,
        }
    }

    /// The token at a place, which then moves on.
    fn take(&mut self, place: &mut Place<'a>) -> Token {
        while self.known <= place.index && self.known < HEAD {
            self.tokens[self.known] = self.scanner.next_but_hints();
            self.known += 1;
        }
        place.index += 1;
        match self.tokens.get(place.index - 1) {
            Some(token) => *token,
            None => place.scanner.get_or_insert(self.scanner).next_but_hints(),
        }
    }

    /// The token at a place if it ends the statement or the text.
    fn is_end(&mut self, place: Place<'a>) -> bool {
        let next = self.take(&mut { place });
        matches!(next.kind, Kind::End | Kind::Semicolon)
    }

    /// Goes behind the parenthesis that closes the one before the place; nothing if there is none.
    fn close(&mut self, place: &mut Place<'a>) -> Option<Token> {
        let mut depth = 1_u32;
        loop {
            let token = self.take(place);
            match token.kind {
                Kind::Open => depth = depth.saturating_add(1),
                Kind::Close => depth -= 1,
                Kind::End | Kind::Unfinished => return None,
                _ => {}
            }
            if depth == 0 {
                return Some(token);
            }
        }
    }

    /// Goes behind the next such word of the statement outside parentheses.
    fn until(&mut self, place: &mut Place<'a>, word: &[u8]) -> Option<Token> {
        loop {
            let token = self.take(place);
            match token.kind {
                Kind::Open => {
                    self.close(place)?;
                }
                Kind::End | Kind::Unfinished | Kind::Semicolon => return None,
                _ if self.scanner.is_word(token, word) => return Some(token),
                _ => {}
            }
        }
    }
}

fn fits(row: &Row, first: Token, head: &mut Head<'_>) -> Option<Control> {
    let mut place = Place {
        index: 0,
        scanner: None,
    };
    let mut operand = None;
    let mut is_slot = false;
    let mut end = first.end;
    for part in row.parts {
        if matches!(part, Part::Rest) {
            // What follows is one token, the statement's last.
            while !head.is_end(place) {
                let mut behind = place;
                head.take(&mut behind);
                if head.is_end(behind) {
                    break;
                }
                place = behind;
            }
            continue;
        }
        if let Part::Until(word) = part {
            end = head.until(&mut place, word)?.end;
            continue;
        }
        let token = head.take(&mut place);
        end = token.end;
        let is_name = matches!(token.kind, Kind::Word | Kind::Quoted | Kind::UnicodeQuoted);
        let mut span = Span {
            start: token.start,
            end: token.end,
        };
        match part {
            Part::Word(word) if head.scanner.is_word(token, word) => continue,
            Part::Group if token.kind == Kind::Open => {
                end = head.close(&mut place)?.end;
                continue;
            }
            Part::Symbol(symbol)
                if token.kind == Kind::Symbol && head.scanner.bytes(token) == *symbol =>
            {
                continue;
            }
            Part::Name if is_name => is_slot = true,
            Part::Text if token.kind == Kind::Text => is_slot = true,
            Part::Setting if is_name => span.end = setting_end(head, &mut place, token),
            _ => return None,
        }
        operand = Some(span);
    }
    Some(Control {
        kind: row.kind,
        operand,
        setting: row.setting,
        end,
        is_slot,
    })
}

/// The end of a setting's name that starts with `first`; the place moves behind it.
fn setting_end<'a>(head: &mut Head<'a>, place: &mut Place<'a>, first: Token) -> usize {
    let mut end = first.end;
    loop {
        let mut behind = *place;
        let dot = head.take(&mut behind);
        if dot.kind != Kind::Symbol || head.scanner.bytes(dot) != b"." {
            return end;
        }
        let name = head.take(&mut behind);
        if !matches!(name.kind, Kind::Word | Kind::Quoted | Kind::UnicodeQuoted) {
            return end;
        }
        end = name.end;
        *place = behind;
    }
}
