//! Where one statement of a text ends and the next begins.
//!
//! As PostgreSQL's grammar has it: a semicolon, but not one in parentheses (`CREATE RULE … DO (…; …)`) and not one in
//! the body of an SQL function (`BEGIN ATOMIC …; …; END`).

use crate::scan::Scanner;
use crate::token::{Kind, Token};

/// The state of one statement.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Boundary {
    depth: usize,
    routine: Routine,
}

/// How far a `CREATE [OR REPLACE] FUNCTION|PROCEDURE … BEGIN ATOMIC … END` has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Routine {
    /// The first token is to come.
    #[default]
    Start,
    /// It is none, or its body is over.
    No,
    Create,
    Or,
    Header,
    Begin,
    /// A statement of the body is to begin, or its END.
    BodyStart,
    Body,
}

impl Boundary {
    /// Whether this token ends the statement. If it does not, it is part of it.
    #[inline]
    pub(crate) fn ends(&mut self, scanner: &Scanner<'_>, token: Token) -> bool {
        match token.kind {
            Kind::Open => self.depth += 1,
            Kind::Close => self.depth = self.depth.saturating_sub(1),
            Kind::Semicolon if !self.is_inside() => {
                *self = Self::default();
                return true;
            }
            _ => {}
        }
        if self.follows_words() {
            self.routine = self.follow(scanner, token);
        }
        false
    }

    /// Whether words matter to it as well as parentheses and semicolons.
    #[inline]
    pub(crate) fn follows_words(&self) -> bool {
        self.routine != Routine::No
    }

    fn is_inside(&self) -> bool {
        self.depth > 0 || matches!(self.routine, Routine::BodyStart | Routine::Body)
    }

    fn follow(&self, scanner: &Scanner<'_>, token: Token) -> Routine {
        let is = |word: &[u8]| scanner.is_word(token, word);
        match self.routine {
            Routine::Start if is(b"create") => Routine::Create,
            Routine::Create if is(b"or") => Routine::Or,
            Routine::Or if is(b"replace") => Routine::Create,
            Routine::Create if is(b"function") || is(b"procedure") => Routine::Header,
            Routine::Start | Routine::No | Routine::Create | Routine::Or => Routine::No,
            Routine::Header | Routine::Begin if self.depth == 0 && is(b"begin") => Routine::Begin,
            Routine::Begin if is(b"atomic") => Routine::BodyStart,
            Routine::Header | Routine::Begin => Routine::Header,
            // CASE … END cannot be taken for it: no semicolon can stand before that END.
            Routine::BodyStart if is(b"end") => Routine::No,
            Routine::BodyStart | Routine::Body if token.kind == Kind::Semicolon => {
                Routine::BodyStart
            }
            Routine::BodyStart | Routine::Body => Routine::Body,
        }
    }
}
