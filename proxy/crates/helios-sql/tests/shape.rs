//! What a shape keeps and drops, rule by rule.

use helios_sql::{
    exact, hints, normalized, shape, without_hints, Encoding, Key, Pattern, Shape, Syntax,
};

const SYNTAX: Syntax = Syntax {
    standard_conforming_strings: true,
    encoding: Encoding::AsciiSafe,
};
const OLD: Syntax = Syntax {
    standard_conforming_strings: false,
    ..SYNTAX
};

fn key() -> Key {
    Key::new(b"0123456789abcdef")
}

fn of(sql: impl AsRef<[u8]>) -> Shape {
    shape(sql.as_ref(), SYNTAX, &key())
}

fn text_under(sql: &[u8], syntax: Syntax) -> String {
    let mut out = Vec::new();
    normalized(sql, syntax, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn text(sql: impl AsRef<[u8]>) -> String {
    text_under(sql.as_ref(), SYNTAX)
}

/// Each text has the shape that the second one shows.
#[track_caller]
fn shown(cases: &[(&str, &str)]) {
    for (sql, shape) in cases {
        assert_eq!(text(sql), *shape, "{sql}");
    }
}

/// All have one hash.
#[track_caller]
fn same(texts: &[&str]) {
    for sql in texts {
        assert_eq!(of(sql).hash, of(texts[0]).hash, "{sql} and {}", texts[0]);
        assert!(!of(sql).is_exact, "{sql}");
    }
}

/// No two have one hash.
#[track_caller]
fn different(texts: &[&str]) {
    for (at, one) in texts.iter().enumerate() {
        for other in &texts[at + 1..] {
            assert_ne!(of(one).hash, of(other).hash, "{one} and {other}");
        }
    }
}

#[test]
fn every_literal_is_one_placeholder() {
    shown(&[
        (
            "select 'a', E'\\'', B'1', x'F', N'n'",
            "select ?, ?, ?, ?, ?",
        ),
        ("select U&'d!0061t' UESCAPE '!' , 1", "select ?, ?"),
        ("select $$a$$, $tag$ $$ $ta$ $tag$", "select ?, ?"),
        (
            "select 1, 0x1F, 0o7, 0b1, 1_000, 1.5, .5, 1., 1e5, 1.e5, 1E-5",
            &format!("select ?{}", ", ?".repeat(10)),
        ),
        ("select 1..2", "select ? .. ?"),
        ("select 'it''s', e'\\\\'", "select ?, ?"),
    ]);
    same(&["select 1", "select 'a'", "select $$x$$", "SELECT\n0x1F"]);
}

#[test]
fn strings_go_on_behind_a_line_break() {
    same(&[
        "select 'a'",
        "select 'a' \n 'b'",
        "select 'a' -- c\n 'b'",
        "select E'a'\r'\\''",
    ]);
    shown(&[
        ("select 'a' 'b'", "select ? ?"),
        ("select 'a' /* \n */ 'b'", "select ? ?"),
        ("select 'a'\n-- c\n\"b\"", "select ? \"b\""),
    ]);
}

#[test]
fn parameters_and_keywords_are_no_literals() {
    shown(&[
        (
            "select $1, TRUE, false, NULL",
            "select $1, true, false, null",
        ),
        ("select $1$", "select $1 $"),
    ]);
    different(&[
        "select $1",
        "select $2",
        "select 1",
        "select null",
        "select true",
    ]);
}

#[test]
fn comments_and_white_space_go() {
    same(&[
        "select a from b",
        "  SELECT\t/* x /* y */ z */a--c\n\x0c\r\x0bFROM b -- end",
        "select a from b;",
        "; ;select a from b;; /* end */",
    ]);
    different(&["select a from b", "select a fromb", "selecta from b"]);
}

#[test]
fn identifiers_fold_unless_they_are_quoted() {
    same(&["select Name, ÉTÉ_x", "SELECT nAME, ÉTÉ_X"]);
    different(&[
        "select a",
        "select \"a\"",
        "select \"A\"",
        "select U&\"a\"",
        "select a_",
        "select é",
        "select É",
    ]);
    different(&["select \"a\" \"b\"", "select \"a\"\"b\""]);
    shown(&[("select A.\"B c\".D :: INT", "select a.\"B c\".d::int")]);
}

#[test]
fn the_escape_of_a_unicode_identifier_is_kept() {
    different(&[
        "select U&\"d!0061t\"",
        "select U&\"d!0061t\" uescape '!'",
        "select U&\"d!0061t\" uescape '#'",
        "select U&\"d!0061t\" uescape x",
    ]);
    same(&[
        "select U&\"a\" uescape '!'",
        "SELECT u&\"a\" /* c */ UESCAPE\n'!'",
    ]);
    shown(&[(
        "select u&\"A!0061\" Uescape  '!', 'x'",
        "select U&\"A!0061\" uescape '!', ?",
    )]);
    for odd in [
        "U&\"a\" uescape '!!'",
        "U&\"a\" /*+ x=1 */ uescape '!'",
        "U&\"a\" uescape $$!$$",
    ] {
        assert!(of(odd).is_exact, "{odd}");
    }
}

#[test]
fn operators_end_where_postgresql_ends_them() {
    shown(&[
        ("a--b", "a"),
        ("- -1", "- - ?"),
        ("a+-b", "a + - b"),
        ("a@-b", "a @- b"),
        ("a@--b", "a @"),
        ("a*/*c*/b", "a * b"),
        ("a := b => c :: d", "a := b => c::d"),
        ("a ::b : : c", "a::b : : c"),
        ("a.b . c .. d", "a.b.c .. d"),
    ]);
    different(&["a - - b", "a @- b", "a @ - b", "a <- b", "a <@- b"]);
    different(&["a : : b", "a :: b", "a . . b", "a .. b"]);
    different(&["u & \"a\"", "U&\"a\""]);
    same(&["a<b", "a < b"]);
    same(&["a<-b", "a < - b"]);
}

#[test]
fn lists_of_literals_are_squashed() {
    same(&["a in (1)", "a IN (1, 2,3)", "a in ('x', -1, + 2.5)"]);
    same(&[
        "values (1, 2)",
        "values (1, -2), ('a', 4)",
        "values (1,2),(3,4),(5,6)",
    ]);
    same(&["(a, b) in ((1, 2))", "(a, b) in ((1, 2), (3, 4))"]);
    different(&[
        "values (1)",
        "values (1, 2)",
        "values (1, 2, 3)",
        "values (1), (1, 2)",
    ]);
    different(&[
        "a in (1)",
        "a in ((1, 2))",
        "a in (1, b)",
        "a in ($1, 1)",
        "a in (null)",
        "a in (1, null)",
    ]);
    shown(&[
        ("values (1, 2), (3, 4), (5), (6)", "values (?, ?), (?), (?)"),
        (
            "values (1, f(2, 3)), (1, 2)",
            "values (?, f (?, ?)), (?, ?)",
        ),
        ("a in (1, 2) and b in (3, c)", "a in (?) and b in (?, c)"),
        ("a in ((1, 2), (3, x))", "a in ((?, ?), (?, x))"),
        ("a in (1, 2", "a in (?, ?"),
        ("a in ('1', - '2')", "a in (?, - ?)"),
    ]);
}

#[test]
fn arguments_of_functions_are_not_squashed() {
    different(&["f(1)", "f(1, 2)", "f(1, 2, 3)"]);
    different(&["s.values(1), (2)", "s.values(1)"]);
    different(&["s.in(1)", "s.in(1, 2)"]);
    different(&["\"in\" (1)", "\"in\" (1, 2)"]);
    different(&["(1)", "(1, 2)", "array[1]", "array[1, 2]"]);
}

#[test]
fn of_hints_the_keys_count_and_the_values_that_are_acted_on() {
    same(&[
        "/*helios:route=primary,node=a, workflow=1*/ select 1",
        "/* HELIOS:Route=primary helios:node=a workflow=\"b, c\" */ select 2",
    ]);
    different(&[
        "select 1",
        "/*helios:route=a*/ select 1",
        "/*+ route=a*/ select 1",
        "/*helios:route=b*/ select 1",
        "/*helios:node=a*/ select 1",
        "/*helios:route=a,node=b*/ select 1",
        "/*helios:route=\"a,node=b\"*/ select 1",
        "select 1 /*helios:route=a*/",
    ]);
    same(&[
        "select 1",
        "/*+ */ select 1",
        "/* route=x */ select 1",
        "-- helios:route=x\nselect 1",
    ]);
    shown(&[
        ("/*+ a=1 B=2*/select 1", "/*+a,b*/ select ?"),
        (
            "/*helios:Route=Any,cache=skip node='x'*/select 1",
            "/*helios:route=Any,cache,node*/ select ?",
        ),
    ]);
}

#[test]
fn hints_are_found_with_their_values() {
    let found = |sql: &str| hints(sql.as_bytes(), SYNTAX);
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
        pairs.iter().map(owned).collect()
    };
    assert_eq!(
        found("/* helios:Route=standby helios:cache=skip */ select '/*helios:node=a*/', 1 /*helios:lag=5,x*/"),
        pairs(&[("route", "standby"), ("cache", "skip"), ("lag", "5"), ("x", "")])
    );
    assert_eq!(
        found("/*+ SeqScan(a) route=nearest Rows(a b #10) mine=1 node */ select 1"),
        pairs(&[("route", "nearest")])
    );
    assert_eq!(
        found("/*helios:node=\"a b\",timeout=''*/"),
        pairs(&[("node", "a b"), ("timeout", "")])
    );
    assert_eq!(found("select 1 -- helios:route=any"), pairs(&[]));
    let mut seen = Vec::new();
    without_hints(
        b"/*helios:route=any*/ SELECT  * from T where a in (1, 2)",
        SYNTAX,
        &mut seen,
    );
    assert_eq!(seen, b"select * from t where a in (?)");
}

#[test]
fn statements_are_counted() {
    for (sql, count) in [
        ("", 0),
        (" ; -- x\n;", 0),
        ("/*+ a */", 0),
        ("select 1", 1),
        ("select 1; select ';';", 2),
        ("create rule r as on insert to t do (select 1; select 2)", 1),
        ("create function f() begin atomic select 1; select case when a then 2 end; end; select 3", 2),
        ("create function begin() returns int as 'x'; select 1", 2),
        ("create view v as select begin atomic; select 1; end", 3),
    ] {
        assert_eq!(of(sql).statements, count, "{sql}");
    }
    different(&["select 1; select 2", "select 1 select 2", "select 1"]);
}

#[test]
fn text_that_ends_inside_is_exact() {
    for sql in [
        "select 'a",
        "select \"a",
        "select $a$ $b$",
        "select 1 /* /* */",
        "e'\\'",
        "U&'",
        "U&\"a",
        "'a'\n'",
    ] {
        let shape = of(sql);

        assert!(shape.ends_inside && shape.is_exact, "{sql}");
        assert_eq!(shape.hash, exact(sql.as_bytes(), SYNTAX, &key()));
    }
    assert_eq!(text("select 'secret"), "select ?");
    different(&["select 'a", "select 'b"]);
}

#[test]
fn a_backslash_escapes_where_the_session_says_so() {
    assert_eq!(text_under(b"select 'a\\' , 'b'", SYNTAX), "select ?, ?");
    assert_eq!(text_under(b"select 'a\\' , ' b", OLD), "select ? b");
    assert_eq!(text_under(b"select b'\\', x'\\'", OLD), "select ?, ?");
    assert!(shape(b"select U&'a'", OLD, &key()).is_exact);
}

#[test]
fn a_text_in_an_encoding_with_ascii_bytes_inside_characters_is_exact() {
    let syntax = Syntax {
        encoding: Encoding::TrailingAscii,
        ..SYNTAX
    };
    let made = shape(b"select 'secret'", syntax, &key());

    assert!(made.is_exact && !made.ends_inside && made.control.is_none());
    assert_eq!(made.statements, 0);
    assert_ne!(made.hash, shape(b"select 'other'", syntax, &key()).hash);
    assert_eq!(text_under(b"select 'secret'", syntax), "?");
    for name in [
        "SJIS",
        "SHIFT_JIS_2004",
        "BIG5",
        "GBK",
        "UHC",
        "GB18030",
        "JOHAB",
        "WIN936",
        "unheard of",
    ] {
        assert_eq!(Encoding::of(name), Encoding::TrailingAscii, "{name}");
    }
    for name in [
        "UTF8",
        "SQL_ASCII",
        "LATIN1",
        "EUC_JP",
        "EUC_JIS_2004",
        "WIN1252",
        "ISO_8859_5",
        "KOI8R",
    ] {
        assert_eq!(Encoding::of(name), Encoding::AsciiSafe, "{name}");
    }
}

#[test]
fn an_exact_hash_is_no_shape_and_knows_its_syntax() {
    let sql = b"select 1";

    assert_ne!(exact(sql, SYNTAX, &key()), of(sql).hash);
    assert_ne!(exact(sql, SYNTAX, &key()), exact(sql, OLD, &key()));
    assert_ne!(
        exact(sql, SYNTAX, &key()),
        exact(b"select 2", SYNTAX, &key())
    );
}

#[test]
fn the_hash_depends_on_the_key() {
    let other = Key::new(b"another key here");

    assert_ne!(of("select 1").hash, shape(b"select 1", SYNTAX, &other).hash);
    assert_ne!(exact(b"a", SYNTAX, &key()), exact(b"a", SYNTAX, &other));
    assert_eq!(format!("{other:?}"), "Key");
}

#[test]
fn bytes_that_are_no_text_are_lexed_all_the_same() {
    assert_eq!(of(b"select \xff\xc3('\xe9')").statements, 1);
    assert_ne!(of(b"a \xff").hash, of(b"a \xfe").hash);
    assert_ne!(of(b"a \\ b").hash, of(b"a { b").hash);
    assert_ne!(of(b"a \x01 b").hash, of("a 1 b").hash);
    assert_ne!(of(b"a \x00 b").hash, of("a b").hash);
}

#[test]
fn a_long_word_and_a_long_text_are_hashed_to_their_end() {
    let word = "Wort".repeat(1_000);

    assert_eq!(
        of(format!("select {word}")).hash,
        of(format!("SELECT {}", word.to_uppercase())).hash
    );
    assert_ne!(
        of(format!("select {word}")).hash,
        of(format!("select {word}x")).hash
    );
    for length in 0..600 {
        let sql = "a".repeat(length);
        assert_eq!(of(&sql).hash, of(sql.to_uppercase()).hash, "{length}");
        assert_ne!(of(&sql).hash, of(format!("{sql}b")).hash, "{length}");
        assert_eq!(text(sql.to_uppercase()), sql);
    }
}

#[test]
fn letters_alone_are_folded() {
    for byte in (0_u8..=255).filter(|b| !b.is_ascii_alphabetic() && !matches!(b, 0x02 | b'"')) {
        let one = [b"Abcdefgh\"", &[byte][..], b"z\""].concat();
        let folded = [b"aBCDEFGH\"", &[byte][..], b"z\""].concat();
        let other = [b"Abcdefgh\"", &[byte ^ 0x20][..], b"z\""].concat();

        assert_eq!(of(&one).hash, of(&folded).hash, "{byte:#x}");
        assert_ne!(of(&one).hash, of(&other).hash, "{byte:#x}");
    }
    for byte in 0x80_u8..=255 {
        let word = [byte, b'A', byte, b'Z', byte, b'Q', byte, b'R', byte];
        assert_ne!(
            of(word).hash,
            of(word.map(|b| b ^ if b == byte { 0x20 } else { 0 })).hash
        );
        assert_eq!(of(word).hash, of(word.map(|b| b.to_ascii_lowercase())).hash);
    }
}

/// The work is linear: each of these would take hours if it were not.
#[test]
fn hostile_texts_take_no_longer_than_others() {
    let long = 1_000_000;
    for part in [
        "+",
        "-+",
        "+*",
        "@-",
        "U&'a' ",
        "U&\"a\" ",
        "$a$",
        "$a ",
        "$",
        "/*",
        "'a'\n",
        "\"",
        "in (1,",
        "values (1,",
        "in ((1),",
        "(",
        ";",
        "set a.",
        "fetch 1 ",
        "begin;",
        "/*+ a=( */",
        "/**/U&'a'",
        "create or replace ",
        "- -",
        "set /**/",
        "rollback to ",
    ] {
        let sql = part.repeat(long / part.len());
        let start = std::time::Instant::now();
        of(&sql);
        text(&sql);
        assert!(start.elapsed().as_secs() < 20, "{part}");
    }
}

#[test]
fn a_pattern_fits_other_literals_and_nothing_else() {
    let fits =
        |one: &str, other: &str| Pattern::of(one.as_bytes(), SYNTAX).fits(other.as_bytes(), SYNTAX);
    for (one, other) in [
        (
            "select a from t where b = 1",
            "select a from t where b = 99999",
        ),
        ("select 'x', 1 in (1, -2)", "select '', 0 in (77, -8)"),
        ("select '--', '/*'", "select '\\', '\n'"),
        ("select 0", "select 123"),
    ] {
        assert!(fits(one, other) && fits(other, one), "{one} / {other}");
        assert_eq!(of(one).hash, of(other).hash);
    }
    for (one, other) in [
        ("select 1", "select "),
        ("select 1", "select 1a"),
        ("select 1", "select 1.5"),
        ("select 1", "select -1"),
        ("select 1", "select 1 "),
        ("select a1", "select a2"),
        ("select $1", "select $2"),
        ("select 'a'", "select 'a''b'"),
        ("select 'a'", "select 'a"),
        ("select 'a\0'", "select 'b\0'"),
        ("select e'a'", "select e'b'"),
        ("select 0x1", "select 0x2"),
        ("select \"1\"", "select \"2\""),
        ("select /* 1 */ 2", "select /* 3 */ 2"),
        ("select 1 'open", "select 2 'open"),
    ] {
        assert!(!fits(one, other), "{one} / {other}");
    }
    let one = Pattern::of(b"select 'a'", SYNTAX);
    let syntax = Syntax {
        standard_conforming_strings: false,
        ..SYNTAX
    };
    assert!(!one.fits(b"select 'a'", syntax));
    assert!(!Pattern::of(b"select 'a'", syntax).fits(b"select 'b'", syntax));
}
