//! Bytes to tokens, by the rules of PostgreSQL's `scan.l`.
//!
//! Called by the walk and by the control statements' look-ahead. A scanner is a position in a text and is copied
//! freely. White space and comments are passed over, except hint comments, which are tokens. No byte is looked at
//! more than a fixed number of times, whatever the text.

use memchr::{memchr, memchr2};

use crate::token::{Kind, Token};
use crate::Syntax;

/// What a token that starts with this byte can be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Space,
    Letter,
    /// A letter that may introduce a quoted token.
    Prefix,
    Digit,
    Operator,
    Quote,
    DoubleQuote,
    Dollar,
    Dot,
    Colon,
    Bracket,
    Open,
    Close,
    Comma,
    Semicolon,
    Other,
}

const fn first(byte: u8) -> First {
    match byte {
        b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => First::Space,
        b'b' | b'B' | b'e' | b'E' | b'n' | b'N' | b'u' | b'U' | b'x' | b'X' => First::Prefix,
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => First::Letter,
        b'0'..=b'9' => First::Digit,
        b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' => First::Operator,
        b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' => First::Operator,
        b'\'' => First::Quote,
        b'"' => First::DoubleQuote,
        b'$' => First::Dollar,
        b'.' => First::Dot,
        b':' => First::Colon,
        b'[' | b']' => First::Bracket,
        b'(' => First::Open,
        b')' => First::Close,
        b',' => First::Comma,
        b';' => First::Semicolon,
        _ => First::Other,
    }
}

static FIRST: [First; 256] = {
    let mut table = [First::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = first(byte as u8);
        byte += 1;
    }
    table
};

/// Whether a word goes on with this byte.
static IN_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(
            first(byte as u8),
            First::Letter | First::Prefix | First::Digit | First::Dollar
        );
        byte += 1;
    }
    table
};

/// What stands for a quote inside a string.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// Two quotes.
    Plain,
    /// Two quotes, or one behind a backslash.
    Escapes,
    /// Nothing: `B'…'` and `X'…'` end at the first quote.
    Bits,
}

/// A position in a text.
#[derive(Clone, Copy)]
pub(crate) struct Scanner<'a> {
    sql: &'a [u8],
    at: usize,
    /// Whether a backslash in `'…'` is an ordinary character.
    standard: bool,
    /// Up to here every byte is a `+` or `-` that is a token of its own.
    signs_until: usize,
    /// Something stood in the text that the server refuses or that has no shape of its own.
    odd: bool,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(sql: &'a [u8], syntax: Syntax) -> Self {
        Self {
            sql,
            at: 0,
            standard: syntax.standard_conforming_strings,
            signs_until: 0,
            odd: false,
        }
    }

    /// Behind the token that ends at `at`.
    pub(crate) fn behind(sql: &'a [u8], syntax: Syntax, at: usize) -> Self {
        Self {
            at,
            ..Self::new(sql, syntax)
        }
    }

    /// Whether something passed that only the full text tells apart.
    pub(crate) fn is_odd(&self) -> bool {
        self.odd
    }

    /// The bytes of a token.
    pub(crate) fn bytes(&self, token: Token) -> &'a [u8] {
        self.sql.get(token.start..token.end).unwrap_or_default()
    }

    /// Whether a token is this word (given in small letters).
    pub(crate) fn is_word(&self, token: Token, word: &[u8]) -> bool {
        token.kind == Kind::Word && self.bytes(token).eq_ignore_ascii_case(word)
    }

    /// The next token that is not a hint.
    pub(crate) fn next_but_hints(&mut self) -> Token {
        loop {
            let token = self.next();
            if token.kind != Kind::Hint {
                return token;
            }
        }
    }

    /// The next token; at the end of the text [`Kind::End`], again and again.
    pub(crate) fn next(&mut self) -> Token {
        self.next_inline()
    }

    /// [`Self::next`] for the one loop that takes most tokens.
    #[inline(always)]
    pub(crate) fn next_inline(&mut self) -> Token {
        loop {
            let start = self.at;
            let Some(&byte) = self.sql.get(start) else {
                return self.token(Kind::End, start, start);
            };
            return match FIRST[usize::from(byte)] {
                First::Space => {
                    self.at += 1;
                    continue;
                }
                First::Letter => self.word(start),
                First::Prefix => self.prefixed(start, byte),
                First::Digit => self.number(start),
                First::Operator => match (byte, self.peek(start + 1)) {
                    (b'-', Some(b'-')) => {
                        self.at = self.line_end(start);
                        continue;
                    }
                    (b'/', Some(b'*')) => match self.comment(start) {
                        Some(token) => token,
                        None => continue,
                    },
                    _ => self.operator(start),
                },
                First::Quote => self.string(Kind::Text, start, start + 1, self.plain()),
                First::DoubleQuote => self.quoted(Kind::Quoted, start, start + 1),
                First::Dollar => self.dollar(start),
                First::Dot => match self.peek(start + 1) {
                    Some(b'0'..=b'9') => self.number(start),
                    Some(b'.') => self.token(Kind::Symbol, start, start + 2),
                    _ => self.token(Kind::Symbol, start, start + 1),
                },
                First::Colon => match self.peek(start + 1) {
                    Some(b':' | b'=') => self.token(Kind::Symbol, start, start + 2),
                    _ => self.token(Kind::Symbol, start, start + 1),
                },
                First::Bracket => self.token(Kind::Symbol, start, start + 1),
                First::Open => self.token(Kind::Open, start, start + 1),
                First::Close => self.token(Kind::Close, start, start + 1),
                First::Comma => self.token(Kind::Comma, start, start + 1),
                First::Semicolon => self.token(Kind::Semicolon, start, start + 1),
                First::Other => self.token(Kind::Junk, start, start + 1),
            };
        }
    }

    #[inline]
    fn token(&mut self, kind: Kind, start: usize, end: usize) -> Token {
        self.at = end;
        Token { kind, start, end }
    }

    /// What a backslash in `'…'` is in this session.
    fn plain(&self) -> Inside {
        if self.standard {
            Inside::Plain
        } else {
            Inside::Escapes
        }
    }

    fn unfinished(&mut self, start: usize) -> Token {
        self.token(Kind::Unfinished, start, self.sql.len())
    }

    #[inline]
    fn peek(&self, at: usize) -> Option<u8> {
        self.sql.get(at).copied()
    }

    fn rest(&self, at: usize) -> &'a [u8] {
        self.sql.get(at..).unwrap_or_default()
    }

    #[inline]
    fn word(&mut self, start: usize) -> Token {
        let rest = self.rest(start);
        let length = rest.iter().position(|b| !IN_WORD[usize::from(*b)]);
        self.token(Kind::Word, start, start + length.unwrap_or(rest.len()))
    }

    /// A word, or a quoted token whose first byte looks like one.
    #[inline]
    fn prefixed(&mut self, start: usize, byte: u8) -> Token {
        match (byte | 0x20, self.peek(start + 1)) {
            (b'e', Some(b'\'')) => self.string(Kind::Text, start, start + 2, Inside::Escapes),
            (b'b' | b'x', Some(b'\'')) => self.string(Kind::Bits, start, start + 2, Inside::Bits),
            (b'n', Some(b'\'')) => self.string(Kind::Bits, start, start + 2, self.plain()),
            (b'u', Some(b'&')) => match self.peek(start + 2) {
                Some(b'\'') => self.unicode_string(start),
                Some(b'"') => self.unicode_quoted(start),
                _ => self.word(start),
            },
            _ => self.word(start),
        }
    }

    /// A string whose opening quote ends at `inside`, with all its continuations.
    fn string(&mut self, kind: Kind, start: usize, inside: usize, rule: Inside) -> Token {
        let mut at = inside;
        loop {
            let Some(end) = self.string_end(at, rule) else {
                return self.unfinished(start);
            };
            match self.continuation(end) {
                Some(inside) => at = inside,
                None => return self.token(kind, start, end),
            }
        }
    }

    /// Where the part of a string that goes on at `at` ends, behind its quote.
    fn string_end(&self, mut at: usize, rule: Inside) -> Option<usize> {
        loop {
            let rest = self.rest(at);
            let found = if rule == Inside::Escapes {
                memchr2(b'\'', b'\\', rest)?
            } else {
                memchr(b'\'', rest)?
            };
            let is_escape = rest.get(found) == Some(&b'\\');
            let is_double = rule != Inside::Bits && rest.get(found + 1) == Some(&b'\'');
            if !is_escape && !is_double {
                return Some(at + found + 1);
            }
            at += found + 2; // an escape with its character, or two quotes that mean one
        }
    }

    /// Whether another part of the string follows: white space and line comments with a line break, then a quote.
    /// Returns the place behind that quote.
    fn continuation(&self, mut at: usize) -> Option<usize> {
        let mut broken = false;
        loop {
            match self.peek(at)? {
                b'\n' | b'\r' => {
                    broken = true;
                    at += 1;
                }
                b' ' | b'\t' | 0x0b | 0x0c => at += 1,
                b'-' if self.peek(at + 1) == Some(b'-') => at = self.line_end(at),
                b'\'' if broken => return Some(at + 1),
                _ => return None,
            }
        }
    }

    /// `U&'…'`, with the UESCAPE clause if one follows.
    fn unicode_string(&mut self, start: usize) -> Token {
        // Without standard strings the server refuses it, and where it would end is anybody's guess.
        self.odd |= !self.standard;
        let token = self.string(Kind::Text, start, start + 3, Inside::Plain);
        if token.kind == Kind::Unfinished {
            return token;
        }
        match self.escape_clause(token.end) {
            Some(clause) if clause.kind == Kind::Text => self.token(Kind::Text, start, clause.end),
            _ => token,
        }
    }

    /// `U&"…"`, with the UESCAPE clause if one follows.
    fn unicode_quoted(&mut self, start: usize) -> Token {
        let token = self.quoted(Kind::UnicodeQuoted, start, start + 3);
        if token.kind == Kind::Unfinished {
            return token;
        }
        let Some(clause) = self.escape_clause(token.end) else {
            return token;
        };
        // The escape character is part of the identifier's meaning. A clause written in any other way than `'c'` has
        // no shape.
        if clause.kind == Kind::Text && matches!(self.bytes(clause), [b'\'', _, b'\'']) {
            return self.token(Kind::UnicodeQuoted, start, clause.end);
        }
        self.odd = true;
        token
    }

    /// If the word UESCAPE follows at `at`: the string behind it, or a token of another kind if there is none or a
    /// hint stands between.
    fn escape_clause(&self, at: usize) -> Option<Token> {
        let mut ahead = *self;
        let has_hint = ahead.pass_blanks(at);
        let start = ahead.at;
        if !matches!(ahead.peek(start), Some(b'u' | b'U')) {
            return None;
        }
        let word = ahead.word(start);
        if !ahead.is_word(word, b"uescape") {
            return None;
        }
        if has_hint || ahead.pass_blanks(word.end) || ahead.peek(ahead.at) != Some(b'\'') {
            return Some(word);
        }
        let start = ahead.at;
        Some(ahead.string(Kind::Text, start, start + 1, ahead.plain()))
    }

    /// Goes behind white space and comments from `at` on; whether a hint was among them.
    fn pass_blanks(&mut self, at: usize) -> bool {
        let mut has_hint = false;
        self.at = at;
        while let Some(byte) = self.peek(self.at) {
            match (byte, self.peek(self.at + 1)) {
                (b'-', Some(b'-')) => self.at = self.line_end(self.at),
                (b'/', Some(b'*')) => match self.comment(self.at) {
                    Some(token) if token.kind == Kind::Hint => has_hint = true,
                    Some(_) => return has_hint,
                    None => {}
                },
                _ if FIRST[usize::from(byte)] == First::Space => self.at += 1,
                _ => break,
            }
        }
        has_hint
    }

    /// An identifier in double quotes whose opening quote ends at `inside`.
    fn quoted(&mut self, kind: Kind, start: usize, inside: usize) -> Token {
        let mut at = inside;
        while let Some(found) = memchr(b'"', self.rest(at)) {
            let end = at + found + 1;
            if self.peek(end) != Some(b'"') {
                return self.token(kind, start, end);
            }
            at = end + 1;
        }
        self.unfinished(start)
    }

    /// `$1`, `$tag$…$tag$`, or a lone `$`.
    fn dollar(&mut self, start: usize) -> Token {
        let mut end = start + 1;
        if matches!(self.peek(end), Some(b'0'..=b'9')) {
            while matches!(self.peek(end), Some(b'0'..=b'9')) {
                end += 1;
            }
            return self.token(Kind::Parameter, start, end);
        }
        while self
            .peek(end)
            .is_some_and(|b| b != b'$' && IN_WORD[usize::from(b)])
        {
            end += 1;
        }
        if self.peek(end) != Some(b'$') {
            return self.token(Kind::Junk, start, start + 1);
        }
        self.dollar_string(start, end + 1)
    }

    /// A string in dollar quotes whose opening tag is `start..inside`.
    fn dollar_string(&mut self, start: usize, inside: usize) -> Token {
        let tag = self.sql.get(start..inside).unwrap_or_default();
        let mut at = inside;
        while let Some(found) = memchr(b'$', self.rest(at)) {
            at += found;
            if self.rest(at).starts_with(tag) {
                return self.token(Kind::Text, start, at + tag.len());
            }
            at += 1;
        }
        self.unfinished(start)
    }

    fn number(&mut self, start: usize) -> Token {
        if let Some(end) = self.other_radix(start) {
            return self.token(Kind::Number, start, end);
        }
        let mut end = self.digits(start, u8::is_ascii_digit);
        // `1..2` is a range of integers, `1.` a decimal; a number that starts with its point comes here with no digits.
        if self.peek(end) == Some(b'.') && (end == start || self.peek(end + 1) != Some(b'.')) {
            end = self.digits(end + 1, u8::is_ascii_digit);
        }
        if matches!(self.peek(end), Some(b'e' | b'E')) {
            let signed = matches!(self.peek(end + 1), Some(b'+' | b'-'));
            let exponent = end + 1 + usize::from(signed);
            if matches!(self.peek(exponent), Some(b'0'..=b'9')) {
                end = self.digits(exponent, u8::is_ascii_digit);
            }
        }
        self.token(Kind::Number, start, end)
    }

    /// The end of `0x…`, `0o…` or `0b…`.
    fn other_radix(&self, start: usize) -> Option<usize> {
        if self.peek(start)? != b'0' {
            return None;
        }
        let is_digit: fn(&u8) -> bool = match self.peek(start + 1)? | 0x20 {
            b'x' => u8::is_ascii_hexdigit,
            b'o' => |b| matches!(b, b'0'..=b'7'),
            b'b' => |b| matches!(b, b'0' | b'1'),
            _ => return None,
        };
        let mut first = start + 2;
        if self.peek(first) == Some(b'_') {
            first += 1;
        }
        let end = self.digits(first, is_digit);
        (end > first).then_some(end)
    }

    /// The end of a run of digits, in which one underscore may stand between two.
    fn digits(&self, start: usize, is_digit: fn(&u8) -> bool) -> usize {
        let mut end = start;
        loop {
            match self.peek(end) {
                Some(b) if is_digit(&b) => end += 1,
                Some(b'_') if end > start && self.peek(end + 1).is_some_and(|b| is_digit(&b)) => {
                    end += 2;
                }
                _ => return end,
            }
        }
    }

    /// An operator: a run of operator characters that ends before a comment. `+` and `-` at its end are tokens of
    /// their own unless a character stands in the run that no operator of the SQL standard has.
    fn operator(&mut self, start: usize) -> Token {
        if start < self.signs_until {
            return self.token(Kind::Symbol, start, start + 1);
        }
        let mut end = start;
        let mut behind_last_other = start;
        let mut is_free = false;
        while let Some(byte) = self.peek(end) {
            if FIRST[usize::from(byte)] != First::Operator
                || matches!(
                    (byte, self.peek(end + 1)),
                    (b'-', Some(b'-')) | (b'/', Some(b'*'))
                )
            {
                break;
            }
            end += 1;
            match byte {
                b'+' | b'-' => continue,
                b'*' | b'/' | b'<' | b'>' | b'=' => {}
                _ => is_free = true,
            }
            behind_last_other = end;
        }
        if is_free || behind_last_other == end || end == start + 1 {
            return self.token(Kind::Symbol, start, end);
        }
        self.signs_until = end;
        self.token(Kind::Symbol, start, behind_last_other.max(start + 1))
    }

    fn line_end(&self, at: usize) -> usize {
        memchr2(b'\n', b'\r', self.rest(at)).map_or(self.sql.len(), |found| at + found)
    }

    /// Passes over a block comment; a token if it is a hint or does not end.
    fn comment(&mut self, start: usize) -> Option<Token> {
        let Some(end) = self.comment_end(start + 2) else {
            return Some(self.unfinished(start));
        };
        let body = self.sql.get(start + 2..end - 2).unwrap_or_default();
        if crate::hint::is_hint(body) {
            return Some(self.token(Kind::Hint, start, end));
        }
        self.at = end;
        None
    }

    /// Where a block comment ends, whose inside starts at `at`. Comments nest.
    fn comment_end(&self, mut at: usize) -> Option<usize> {
        let mut depth = 1_usize;
        loop {
            at += memchr2(b'*', b'/', self.rest(at))?;
            match (self.peek(at), self.peek(at + 1)) {
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        return Some(at);
                    }
                }
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    at += 2;
                }
                _ => at += 1,
            }
        }
    }
}
