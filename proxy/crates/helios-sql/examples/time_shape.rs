//! How long a shape takes: `cargo run --release -p helios-sql --example time_shape`. One line a statement: its bytes,
//! nanoseconds, and nanoseconds per 100 bytes, the best of several runs. With a number as argument: that many passes over
//! the typical statement and nothing else, to count instructions under valgrind.
#![allow(clippy::print_stdout)] // a command line tool

use std::hint::black_box;
use std::time::Instant;

use helios_sql::{shape, Encoding, Key, Syntax};

const SYNTAX: Syntax = Syntax {
    standard_conforming_strings: true,
    encoding: Encoding::AsciiSafe,
};

const TYPICAL: &str =
    "SELECT id, name, created_at FROM public.accounts WHERE tenant_id = 42 AND status = 'open' ORDER BY 1";

const RUNS: usize = 20;
const PASSES: u32 = 20_000;

fn main() {
    let key = Key::new(&[7; 16]);
    if let Some(passes) = std::env::args().nth(1).and_then(|n| n.parse::<u32>().ok()) {
        for _ in 0..passes {
            black_box(shape(black_box(TYPICAL.as_bytes()), SYNTAX, &key));
        }
        return;
    }
    let rows = (0..50)
        .map(|n| format!("({n}, 'value {n}', -{n}.5)"))
        .collect::<Vec<_>>()
        .join(", ");
    let statements = [
        ("typical", TYPICAL.to_owned()),
        (
            "operators",
            "select a+b*c-d/e, f||g, h->>'k', i::int from t where (a<b)and(c>=d)or(e<>f) and g@>h and i=any($1) and 1=1".to_owned(),
        ),
        (
            "update",
            "UPDATE pgbench_accounts SET abalance = abalance + -1234 WHERE aid = 98765; -- and a comment of no use"
                .to_owned(),
        ),
        ("begin", "BEGIN".to_owned()),
        ("select", "select 1".to_owned()),
        ("set", "SET application_name = 'x'".to_owned()),
        ("set local role", "SET LOCAL ROLE somebody".to_owned()),
        ("insert", format!("INSERT INTO t (a, b, c) VALUES {rows}")),
        ("literal", format!("insert into t values ('{}')", "x".repeat(10_000))),
    ];
    println!(
        "{:<16}{:>8}{:>10}{:>14}",
        "statement", "bytes", "ns", "ns/100 bytes"
    );
    for (name, sql) in &statements {
        let nanoseconds = best(sql.as_bytes(), &key);
        let length = sql.len() as f64;
        println!(
            "{name:<16}{length:>8}{nanoseconds:>10.1}{:>14.1}",
            nanoseconds * 100.0 / length
        );
    }
}

/// Nanoseconds for one shape, by the quickest of several runs.
fn best(sql: &[u8], key: &Key) -> f64 {
    (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..PASSES {
                black_box(shape(black_box(sql), SYNTAX, key));
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(PASSES)
        })
        .fold(f64::INFINITY, f64::min)
}
