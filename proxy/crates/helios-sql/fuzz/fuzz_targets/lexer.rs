//! Any bytes are a text. The first one chooses the syntax; a 0xff cuts the rest into two texts.
#![no_main]

use helios_sql::{exact, normalized, shape, statements, Encoding, Key, Pattern, Syntax};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, sql)) = bytes.split_first() else {
        return;
    };
    let syntax = Syntax {
        standard_conforming_strings: first & 1 == 0,
        encoding: Encoding::AsciiSafe,
    };
    let mut parts = sql.splitn(2, |b| *b == 0xff);
    let one = parts.next().unwrap_or_default();
    let other = parts.next().unwrap_or_default();
    check(one, syntax);
    check(other, syntax);
    let key = Key::new(&[3; 16]);
    let (a, b) = (shape(one, syntax, &key), shape(other, syntax, &key));
    if a.hash == b.hash {
        assert_eq!(text(one, syntax), text(other, syntax));
        assert_eq!(a.is_exact, b.is_exact);
    }
    if Pattern::of(one, syntax).fits(other, syntax) {
        assert_eq!(a.hash, b.hash);
    }
});

/// What holds for every text.
fn check(sql: &[u8], syntax: Syntax) {
    let key = Key::new(&[3; 16]);
    let shape = shape(sql, syntax, &key);
    let found: Vec<_> = statements(sql, syntax).collect();
    assert_eq!(found.len(), shape.statements as usize);
    assert_eq!(found.iter().find_map(|s| s.control), shape.control);
    let mut end = 0;
    for statement in found {
        assert!(end <= statement.span.start && statement.span.start < statement.span.end);
        end = statement.span.end;
        if let Some(operand) = statement.control.and_then(|c| c.operand) {
            assert!(statement.span.start <= operand.start && operand.end <= end);
            assert!(!operand.of(sql).is_empty());
        }
    }
    assert!(end <= sql.len());
    assert_eq!(shape.hash == exact(sql, syntax, &key), shape.is_exact);
    let once = text(sql, syntax);
    assert_eq!(text(&once, syntax), once);
}

fn text(sql: &[u8], syntax: Syntax) -> Vec<u8> {
    let mut out = Vec::new();
    normalized(sql, syntax, &mut out);
    out
}
