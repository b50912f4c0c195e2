//! The statements of a text one by one, for requests that hold several.

use crate::boundary::Boundary;
use crate::control::{self, Control, Span};
use crate::scan::Scanner;
use crate::token::Kind;
use crate::{Encoding, Syntax};

/// One statement of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// From its first token to its last, without the semicolon and without comments around it.
    pub span: Span,
    /// What it says it does, if it is a control statement.
    pub control: Option<Control>,
}

/// The statements of `sql` that are not empty, in order. In an encoding that is not lexed there are none.
pub fn statements(sql: &[u8], syntax: Syntax) -> Statements<'_> {
    let lexed = match syntax.encoding {
        Encoding::AsciiSafe => sql,
        Encoding::TrailingAscii => &[],
    };
    Statements {
        scanner: Scanner::new(lexed, syntax),
        boundary: Boundary::default(),
    }
}

/// See [`statements`].
pub struct Statements<'a> {
    scanner: Scanner<'a>,
    boundary: Boundary,
}

impl Iterator for Statements<'_> {
    type Item = Statement;

    fn next(&mut self) -> Option<Statement> {
        let mut statement: Option<Statement> = None;
        loop {
            let token = self.scanner.next_but_hints();
            if token.kind == Kind::End {
                return statement;
            }
            if self.boundary.ends(&self.scanner, token) {
                if statement.is_some() {
                    return statement;
                }
                continue;
            }
            match &mut statement {
                Some(statement) => statement.span.end = token.end,
                None => {
                    statement = Some(Statement {
                        span: Span {
                            start: token.start,
                            end: token.end,
                        },
                        control: control::find(self.scanner, token),
                    });
                }
            }
        }
    }
}
