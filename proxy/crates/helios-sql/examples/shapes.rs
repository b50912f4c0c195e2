//! The shapes of texts: each text of standard input, ended by a zero byte, becomes a line with its hash, or `exact`.
//! `proxy/tests/planner_pairs.py` asks it which texts would share a plan.
#![allow(clippy::print_stdout)] // a command line tool

use std::io::Read;

use helios_sql::{shape, Encoding, Key, Syntax};

const SYNTAX: Syntax = Syntax {
    standard_conforming_strings: true,
    encoding: Encoding::AsciiSafe,
};

fn main() -> std::io::Result<()> {
    let key = Key::new(&[7; 16]);
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let mut lines = String::new();
    for text in input
        .strip_suffix(&[0])
        .unwrap_or(&input)
        .split(|byte| *byte == 0)
    {
        let shape = shape(text, SYNTAX, &key);
        lines += &match shape.is_exact {
            true => "exact\n".to_owned(),
            false => format!("{:032x}\n", shape.hash),
        };
    }
    print!("{lines}");
    Ok(())
}
