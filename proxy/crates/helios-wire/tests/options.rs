//! Splitting `options`. The accepted and refused forms were tried against PostgreSQL 15.

use helios_wire::options::{split, OptionsError};

fn pairs(options: &str) -> Vec<(String, String)> {
    split(options).expect("must be accepted")
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn all_three_forms_name_a_setting() {
    assert_eq!(
        pairs("-c geqo=off -cwork_mem=5MB --statement-timeout=7s"),
        [
            pair("geqo", "off"),
            pair("work_mem", "5MB"),
            pair("statement_timeout", "7s")
        ]
    );
}

#[test]
fn nothing_or_white_space_is_no_setting() {
    for empty in ["", " ", " \t\n\x0b\x0c\r ", "--", " -- "] {
        assert!(pairs(empty).is_empty(), "{empty:?}");
    }
}

#[test]
fn backslash_keeps_the_next_character() {
    assert_eq!(
        pairs(r"-c search_path=a,\ b"),
        [pair("search_path", "a, b")]
    );
    assert_eq!(pairs(r"-c a=\\n\'"), [pair("a", r"\n'")]);
    assert_eq!(pairs("-c\\ a=b"), [pair(" a", "b")]);
    assert_eq!(pairs("-c a=b\\"), [pair("a", "b")]);
}

#[test]
fn value_may_contain_anything_that_looks_like_a_switch() {
    assert_eq!(
        pairs("-c a=x-cy=z -c b==--c -c c="),
        [pair("a", "x-cy=z"), pair("b", "=--c"), pair("c", "")]
    );
    assert_eq!(
        pairs("-c --a-b=1 -c -c=2"),
        [pair("__a_b", "1"), pair("_c", "2")]
    );
}

#[test]
fn dashes_change_in_names_only() {
    assert_eq!(
        pairs("--Time-Zone=Etc/GMT-1"),
        [pair("Time_Zone", "Etc/GMT-1")]
    );
}

#[test]
fn white_space_beyond_ascii_does_not_separate() {
    assert_eq!(
        pairs("-c a=b\u{a0}\u{2003}c"),
        [pair("a", "b\u{a0}\u{2003}c")]
    );
}

#[test]
fn refusals_have_the_words_of_postgresql() {
    let cases = [
        (
            "foo",
            "42601",
            "invalid command-line argument for server process: foo",
        ),
        (
            "-c",
            "42601",
            "invalid command-line argument for server process: -c",
        ),
        (
            "-e",
            "42601",
            "invalid command-line argument for server process: -e",
        ),
        (
            "-",
            "42601",
            "invalid command-line argument for server process: -",
        ),
        (
            "-c a=1 -- foo",
            "42601",
            "invalid command-line argument for server process: foo",
        ),
        ("-c k", "42601", "-c k requires a value"),
        ("-ck", "42601", "-c k requires a value"),
        ("--k", "42601", "--k requires a value"),
        (
            "-c =x",
            "42704",
            "unrecognized configuration parameter \"\"",
        ),
        (
            "--user=x",
            "42704",
            "unrecognized configuration parameter \"user\"",
        ),
    ];
    for (options, sqlstate, message) in cases {
        let error = split(options).expect_err(options);
        assert_eq!(
            (error.sqlstate(), error.to_string().as_str()),
            (sqlstate, message)
        );
    }
    assert_eq!(
        split("a\\ b"),
        Err(OptionsError::InvalidArgument("a b".to_owned()))
    );
}

#[test]
fn broken_options_never_panic() {
    let valid = "-c a=é\\ f  --c-d=e -cg=h\\\\ -c i=";
    for (end, _) in valid.char_indices() {
        drop(split(&valid[..end]));
    }
    let chars: Vec<char> = valid.chars().collect();
    for at in 0..chars.len() {
        for new in ['\\', ' ', '-', '=', 'c', '\u{0}', '\u{a0}', '\u{1F600}'] {
            let mut mutated = chars.clone();
            mutated[at] = new;
            drop(split(&mutated.into_iter().collect::<String>()));
        }
    }
}
