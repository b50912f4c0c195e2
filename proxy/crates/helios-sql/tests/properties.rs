//! Properties over generated statements: literals, comments, case and blanks change no hash, any token does.

use helios_sql::{beginning, normalized, shape, Encoding, Key, Pattern, Syntax};

const SYNTAX: Syntax = Syntax {
    standard_conforming_strings: true,
    encoding: Encoding::AsciiSafe,
};
const PAIRS: u64 = 100_000;

/// SplitMix64: a seed gives the same statement on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

/// A token as the generator means it.
#[derive(Clone, PartialEq, Debug)]
enum Token {
    Word(&'static str),
    Fixed(&'static str),
    Literal,
}

const WORDS: [&str; 12] = [
    "select", "from", "where", "a", "b", "u", "e", "été", "_x", "null", "order", "t1$",
];
const FIXED: [&str; 22] = [
    "\"A\"",
    "\"b\"\"c\"",
    "U&\"d\"",
    "$1",
    "$22",
    "+",
    "-",
    "*",
    "<=",
    "<>",
    "@>",
    "||",
    "->>",
    "=>",
    ":=",
    "::",
    ":",
    ".",
    "[",
    "]",
    ",",
    "?",
];
const BLANKS: [&str; 6] = [" ", "  ", "\n", "\t ", " /* c */ ", " -- c\n"];
const LITERALS: [&str; 14] = [
    "1",
    "0x1f",
    "1_0",
    "1.5",
    ".5",
    "2e-3",
    "'a'",
    "''",
    "'it''s'",
    "E'\\''",
    "b'1'",
    "$$x$$",
    "$t$ ' $t$",
    "U&'!41' uescape '!'",
];

fn tokens(random: &mut Random) -> Vec<Token> {
    // The first word is of no control statement, and no parenthesis makes a list that would be squashed.
    let mut tokens = vec![Token::Word("select")];
    for _ in 0..=random.below(12) {
        tokens.push(token(random));
    }
    tokens
}

fn token(random: &mut Random) -> Token {
    match random.below(3) {
        0 => Token::Word(random.of(&WORDS)),
        1 => Token::Fixed(random.of(&FIXED)),
        _ => Token::Literal,
    }
}

/// One of the many ways to write the tokens. A literal never follows another behind a line break alone, which would
/// make them one.
fn written(tokens: &[Token], random: &mut Random) -> String {
    let mut sql = String::new();
    let mut was_literal = false;
    for token in tokens {
        let is_literal = *token == Token::Literal;
        sql.push_str(if was_literal && is_literal {
            " "
        } else {
            random.of(&BLANKS)
        });
        match token {
            Token::Word(word) if random.below(2) == 0 => sql.push_str(&word.to_ascii_uppercase()),
            Token::Word(text) | Token::Fixed(text) => sql.push_str(text),
            Token::Literal => sql.push_str(random.of(&LITERALS)),
        }
        was_literal = is_literal;
    }
    sql
}

fn hash(sql: &str) -> u128 {
    let shape = shape(sql.as_bytes(), SYNTAX, &Key::new(&[9; 16]));
    assert!(!shape.is_exact, "{sql}");
    shape.hash
}

fn text(sql: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    normalized(sql, SYNTAX, &mut out);
    out
}

#[test]
fn other_literals_comments_case_and_blanks_have_the_same_hash() {
    for seed in 0..PAIRS {
        let mut random = Random(seed);
        let tokens = tokens(&mut random);
        let (one, other) = (written(&tokens, &mut random), written(&tokens, &mut random));

        assert_eq!(hash(&one), hash(&other), "{one:?}\n{other:?}");
        assert_eq!(text(one.as_bytes()), text(other.as_bytes()));
    }
}

#[test]
fn another_token_makes_another_hash() {
    for seed in 0..PAIRS {
        let mut random = Random(seed);
        let tokens = tokens(&mut random);
        let mut others = tokens.clone();
        let at = 1 + random.below(tokens.len() - 1);
        match random.below(3) {
            0 => drop(others.remove(at)),
            1 => others.insert(at, token(&mut random)),
            _ => others[at] = token(&mut random),
        }
        if others == tokens {
            continue;
        }
        let (one, other) = (written(&tokens, &mut random), written(&others, &mut random));

        assert_ne!(hash(&one), hash(&other), "{one:?}\n{other:?}");
    }
}

/// Bytes that lexers stumble over.
const PIECES: [&str; 48] = [
    "'",
    "''",
    "\"",
    "$",
    "$$",
    "$a$",
    "/*",
    "*/",
    "--",
    "\n",
    " ",
    "e'",
    "U&\"",
    "U&'",
    "uescape",
    "'!'",
    "\\",
    "(",
    ")",
    ",",
    ";",
    "1",
    ".",
    "..",
    ":",
    "=",
    "-",
    "+",
    "@",
    "in",
    "values",
    "a",
    "é",
    "0x",
    "_",
    "/*+ k=v*/",
    "savepoint",
    "set",
    "begin",
    "atomic",
    "create function",
    "end",
    "?",
    "n'x'",
    "release ",
    "prepare ",
    "transaction ",
    "fetch ",
];

/// Put in any order: equal hashes mean equal text, and text is its own shape's text.
#[test]
fn text_of_a_text_is_the_same_text() {
    let mut seen = std::collections::HashMap::new();
    for seed in 0..PAIRS {
        let mut random = Random(seed);
        let sql: String = (0..1 + random.below(10))
            .map(|_| random.of(&PIECES))
            .collect();

        let once = text(sql.as_bytes());
        let shape = shape(sql.as_bytes(), SYNTAX, &Key::new(&[9; 16]));

        assert_eq!(
            String::from_utf8_lossy(&text(&once)),
            String::from_utf8_lossy(&once),
            "{sql:?}"
        );
        if !shape.is_exact {
            assert_eq!(
                *seen.entry(shape.hash).or_insert(once.clone()),
                once,
                "{sql:?}"
            );
        }
    }
    assert!(seen.len() > 10_000);
}

/// A character or what may stand in its place, mostly in literals.
fn changed(c: char, random: &mut Random) -> String {
    let choices: &[&str] = match (c, random.below(16)) {
        ('0'..='9', 0..8) => &["7", "0", "00", "12"],
        ('0'..='9', 8) => &["", "x", "'", "e", "$", ".", " "],
        ('a' | 'x' | '!', 0..2) => &["", "b", "é", "--", "''", "\\", "\0"],
        (_, 15) if random.below(4) == 0 => &PIECES,
        _ => return c.to_string(),
    };
    random.of(choices).to_owned()
}

/// Texts that are made of another by changes in any place: those which fit its pattern have its shape.
#[test]
fn what_fits_a_pattern_has_its_shape() {
    let mut fitting = 0;
    for seed in 0..PAIRS {
        let mut random = Random(seed);
        let one = match random.below(2) {
            0 => written(&tokens(&mut random), &mut random),
            _ => (0..1 + random.below(12))
                .map(|_| random.of(&PIECES))
                .collect(),
        };
        let other: String = one.chars().map(|c| changed(c, &mut random)).collect();
        for standard_conforming_strings in [true, false] {
            let syntax = Syntax {
                standard_conforming_strings,
                ..SYNTAX
            };
            let pattern = Pattern::of(one.as_bytes(), syntax);
            assert!(pattern.fits(one.as_bytes(), syntax), "{one:?}");
            if one == other || !pattern.fits(other.as_bytes(), syntax) {
                continue;
            }
            fitting += 1;
            let of = |sql: &str| shape(sql.as_bytes(), syntax, &Key::new(&[9; 16]));
            let (one_shape, other_shape) = (of(&one), of(&other));
            assert_eq!(one_shape.hash, other_shape.hash, "{one:?}\n{other:?}");
            assert_eq!(one_shape.statements, other_shape.statements);
            assert_eq!(beginning(one.as_bytes()), beginning(other.as_bytes()));
        }
    }
    assert!(fitting > 1_000, "{fitting}");
}
