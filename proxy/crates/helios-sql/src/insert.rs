//! An INSERT that has a column given which it leaves to the server. The planner says that it is one and where; here are the
//! tokens.

use crate::scan::Scanner;
use crate::token::{Kind, Token};
use crate::{Encoding, Syntax};

/// Where the values of a column are written into an INSERT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the place of DEFAULT VALUES.
    Nothing,
    /// In front of the columns, and of each row of VALUES.
    Rows,
    /// In the place of one item of each row of VALUES, from 0.
    Default(usize),
    /// In front of the columns, and of each row of the query.
    Query,
}

/// What says that the values are the client's.
const OVERRIDING: &[u8] = b" OVERRIDING SYSTEM VALUE ";

/// The text of an INSERT with the values (expressions, one for each row) of a column (an identifier); `None` where it
/// has another number of rows, or is no such INSERT.
pub fn give(
    sql: &[u8],
    syntax: Syntax,
    place: Place,
    column: &str,
    values: &[String],
) -> Option<Vec<u8>> {
    if syntax.encoding == Encoding::TrailingAscii {
        return None;
    }
    let mut text = Text {
        sql,
        copied: 0,
        out: Vec::with_capacity(sql.len() + 64 * values.len()),
    };
    let outline = Outline::read(sql, syntax)?;
    match place {
        Place::Nothing => {
            let ([value], Some(default)) = (values, outline.default) else {
                return None;
            };
            text.skip_to(default.start);
            text.add(&[b"(", column.as_bytes(), b")", OVERRIDING]);
            text.add(&[b"VALUES (", value.as_bytes(), b")"]);
            text.copied = outline.values?.end;
        }
        Place::Rows => {
            text.name(column, outline.columns?);
            text.overriding(&outline);
            let rows = rows(sql, syntax, outline.values?.end)?;
            text.rows(
                rows.iter().map(|row| (row.open.end, row.open.end)),
                values,
                b", ",
            )?;
        }
        Place::Default(at) => {
            text.overriding(&outline);
            let rows = rows(sql, syntax, outline.values?.end)?;
            let items: Option<Vec<_>> = rows.iter().map(|row| row.items.get(at).copied()).collect();
            text.rows(items?.into_iter(), values, b"")?;
        }
        Place::Query => {
            text.name(column, outline.columns?);
            text.overriding(&outline);
            text.skip_to(outline.select?.start);
            let values = values.join(", ");
            text.add(&[
                b"SELECT (ARRAY[",
                values.as_bytes(),
                b"])[pg_catalog.row_number() OVER ()], q.* FROM (",
            ]);
            text.skip_to(outline.tail.start);
            text.add(&[b") AS q "]);
        }
    }
    text.skip_to(sql.len());
    Some(text.out)
}

/// A text that is copied with things put into it.
struct Text<'a> {
    sql: &'a [u8],
    copied: usize,
    out: Vec<u8>,
}

impl Text<'_> {
    fn skip_to(&mut self, end: usize) {
        let more = self.sql.get(self.copied..end).unwrap_or_default();
        self.out.extend_from_slice(more);
        self.copied = end;
    }

    fn add(&mut self, parts: &[&[u8]]) {
        parts
            .iter()
            .for_each(|part| self.out.extend_from_slice(part));
    }

    /// One more in front of the names of columns.
    fn name(&mut self, column: &str, columns: Token) {
        self.skip_to(columns.end);
        self.add(&[column.as_bytes(), b", "]);
    }

    fn overriding(&mut self, outline: &Outline) {
        if !outline.is_overriding {
            self.skip_to(outline.source.start);
            self.add(&[OVERRIDING]);
        }
    }

    /// Writes each value where its row says, instead of what is there.
    fn rows(
        &mut self,
        places: impl ExactSizeIterator<Item = (usize, usize)>,
        values: &[String],
        behind: &[u8],
    ) -> Option<()> {
        if places.len() != values.len() {
            return None;
        }
        for ((start, end), value) in places.zip(values) {
            self.skip_to(start);
            self.add(&[b" ", value.as_bytes(), behind]);
            self.copied = end;
        }
        Some(())
    }
}

/// Where the parts of an INSERT begin.
struct Outline {
    /// The parenthesis in front of the names of columns.
    columns: Option<Token>,
    is_overriding: bool,
    /// The first word of what is inserted.
    source: Token,
    default: Option<Token>,
    values: Option<Token>,
    select: Option<Token>,
    /// The first word behind it.
    tail: Token,
}

impl Outline {
    fn read(sql: &[u8], syntax: Syntax) -> Option<Outline> {
        let mut scanner = Scanner::new(sql, syntax);
        let mut outline = Outline {
            columns: None,
            is_overriding: false,
            source: Token::NONE,
            default: None,
            values: None,
            select: None,
            tail: Token::NONE,
        };
        let mut depth = 0_usize;
        let mut before = Token::NONE;
        loop {
            let token = scanner.next_but_hints();
            let is_word = |word: &[u8]| {
                depth == 0 && scanner.bytes(before) != b"." && scanner.is_word(token, word)
            };
            match token.kind {
                Kind::Open => {
                    if depth == 0 && outline.source == Token::NONE {
                        outline.columns = outline.columns.or(Some(token));
                    }
                    depth += 1;
                }
                Kind::Close => depth = depth.checked_sub(1)?,
                Kind::End | Kind::Semicolon if depth == 0 => return None,
                Kind::End | Kind::Unfinished | Kind::Junk => return None,
                _ if outline.source != Token::NONE => {
                    if is_word(b"values") && outline.default.is_some() {
                        outline.values = outline.values.or(Some(token));
                    } else if is_word(b"on") || is_word(b"returning") {
                        outline.tail = token;
                        return Some(outline);
                    }
                }
                _ if is_word(b"overriding") => outline.is_overriding = true,
                _ if is_word(b"values") => {
                    outline.source = token;
                    outline.values = Some(token);
                }
                _ if is_word(b"default") => {
                    outline.source = token;
                    outline.default = Some(token);
                }
                _ if is_word(b"select") => {
                    outline.source = token;
                    outline.select = Some(token);
                }
                _ => {}
            }
            before = token;
        }
    }
}

/// A row of VALUES: its parenthesis, and where its items begin and end.
struct Row {
    open: Token,
    items: Vec<(usize, usize)>,
}

/// The rows behind VALUES, which ends at `at`.
fn rows(sql: &[u8], syntax: Syntax, at: usize) -> Option<Vec<Row>> {
    let mut scanner = Scanner::behind(sql, syntax, at);
    let mut rows = Vec::new();
    loop {
        let open = scanner.next_but_hints();
        if open.kind != Kind::Open {
            return None;
        }
        rows.push(row(&mut scanner, open)?);
        let mut ahead = scanner;
        if ahead.next_but_hints().kind != Kind::Comma {
            return Some(rows);
        }
        scanner = ahead;
    }
}

fn row(scanner: &mut Scanner<'_>, open: Token) -> Option<Row> {
    let mut items = Vec::new();
    let (mut depth, mut begin) = (1_usize, open.end);
    loop {
        let token = scanner.next_but_hints();
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Comma if depth == 1 => {
                items.push((begin, token.start));
                begin = token.end;
            }
            Kind::Close if depth == 1 => {
                items.push((begin, token.start));
                return Some(Row { open, items });
            }
            Kind::Close => depth -= 1,
            Kind::End | Kind::Unfinished => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNTAX: Syntax = Syntax {
        standard_conforming_strings: true,
        encoding: Encoding::AsciiSafe,
    };

    fn given(sql: &str, place: Place, values: &[&str]) -> Option<String> {
        let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
        let text = give(sql.as_bytes(), SYNTAX, place, "\"id\"", &values)?;
        Some(String::from_utf8(text).expect("UTF-8"))
    }

    #[test]
    fn values_are_given_where_they_are_left_out() {
        for (sql, place, values, wanted) in [
            (
                "insert into t default values returning id",
                Place::Nothing,
                &["7"][..],
                "insert into t (\"id\") OVERRIDING SYSTEM VALUE VALUES (7) returning id",
            ),
            (
                "insert into s.t as x (a, \"b)\") values ('(', f(1, 2)), ($1, /* ) */ ')')\nreturning id",
                Place::Rows,
                &["7", "8"],
                "insert into s.t as x (\"id\", a, \"b)\")  OVERRIDING SYSTEM VALUE values ( 7, '(', f(1, 2)), \
                 ( 8, $1, /* ) */ ')')\nreturning id",
            ),
            (
                "insert into s.values (a) overriding system value values (1) on conflict do nothing returning id",
                Place::Rows,
                &["7"],
                "insert into s.values (\"id\", a) overriding system value values ( 7, 1) \
                 on conflict do nothing returning id",
            ),
            (
                "insert into t values (1, default, f((2), 3)) returning *",
                Place::Default(1),
                &["7"],
                "insert into t  OVERRIDING SYSTEM VALUE values (1, 7, f((2), 3)) returning *",
            ),
            (
                "insert into t (a) select p::int from (values ($1, 0), ($2, 1)) as v (p, n) order by n returning id",
                Place::Query,
                &["7", "8"],
                "insert into t (\"id\", a)  OVERRIDING SYSTEM VALUE SELECT \
                 (ARRAY[7, 8])[pg_catalog.row_number() OVER ()], q.* FROM (select p::int from \
                 (values ($1, 0), ($2, 1)) as v (p, n) order by n ) AS q returning id",
            ),
        ] {
            assert_eq!(given(sql, place, values).as_deref(), Some(wanted));
        }
    }

    #[test]
    fn what_does_not_fit_is_left_alone() {
        for (sql, place, values) in [
            (
                "insert into t (a) values (1), (2) returning id",
                Place::Rows,
                &["7"][..],
            ),
            (
                "insert into t (a) values (1) returning id",
                Place::Rows,
                &["7", "8"],
            ),
            ("insert into t (a) values (1)", Place::Rows, &["7"]),
            ("insert into t values (1) returning id", Place::Rows, &["7"]),
            (
                "insert into t values (1) returning id",
                Place::Default(1),
                &["7"],
            ),
            (
                "insert into t (a) values (1) returning id",
                Place::Nothing,
                &["7"],
            ),
            (
                "insert into t (a) values (1) returning id",
                Place::Query,
                &["7"],
            ),
            (
                "insert into t (a) values (1; returning id",
                Place::Rows,
                &["7"],
            ),
            (
                "insert into t (a) values ('1) returning id",
                Place::Rows,
                &["7"],
            ),
            ("", Place::Rows, &["7"]),
        ] {
            assert_eq!(given(sql, place, values), None, "{sql}");
        }
    }
}
