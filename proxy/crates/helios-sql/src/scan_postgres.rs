//! The scanner beside PostgreSQL's own, whose tokens and statements are recorded in tests/data/postgres.json
//! (proxy/tests/test_sql_scan.py keeps the record true).

use serde_json::{json, Value};

use crate::scan::Scanner;
use crate::token::Kind;
use crate::{statements, Encoding, Syntax};

const SYNTAX: Syntax = Syntax {
    standard_conforming_strings: true,
    encoding: Encoding::AsciiSafe,
};

fn recorded() -> Vec<Value> {
    let text = include_str!("../tests/data/postgres.json");
    serde_json::from_str(text).expect("the record is JSON")
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Word => "word",
        Kind::Quoted => "quoted",
        Kind::UnicodeQuoted => "unicode_quoted",
        Kind::Parameter => "parameter",
        Kind::Text => "text",
        Kind::Bits => "bits",
        Kind::Number => "number",
        Kind::Symbol | Kind::Junk => "symbol",
        Kind::Open => "open",
        Kind::Close => "close",
        Kind::Comma => "comma",
        Kind::Semicolon => "semicolon",
        Kind::Hint | Kind::Unfinished | Kind::End => "none of PostgreSQL's",
    }
}

fn tokens(sql: &str) -> Value {
    let mut scanner = Scanner::new(sql.as_bytes(), SYNTAX);
    let mut made = Vec::new();
    loop {
        let token = scanner.next_but_hints();
        if token.kind == Kind::End {
            return made.into();
        }
        made.push(json!([token.start, token.end, name(token.kind)]));
    }
}

#[test]
fn tokens_are_those_of_postgresql() {
    for entry in recorded() {
        let sql = entry["sql"].as_str().expect("a text");

        assert_eq!(tokens(sql), entry["tokens"], "{sql}");
    }
}

#[test]
fn statements_are_those_of_postgresql() {
    let mut compared = 0;
    for entry in recorded().iter().filter(|e| !e["statements"].is_null()) {
        let sql = entry["sql"].as_str().expect("a text");

        let spans: Value = statements(sql.as_bytes(), SYNTAX)
            .map(|s| json!([s.span.start, s.span.end]))
            .collect();

        assert_eq!(spans, entry["statements"], "{sql}");
        compared += 1;
    }
    assert!(compared > 50);
}
