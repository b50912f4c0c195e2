use std::sync::Arc;

use helios_wire::frame;

use super::*;
use crate::settings::Buckets;

const RULES: Rules = Rules {
    holdable_cursors: true,
    max_cursors: 2,
    temp_table_max_bytes: 1000,
};
const BOUNDS: Bounds = Bounds {
    entries: 3,
    bytes: 1000,
    total_bytes: 2000,
};

struct Desk {
    holdings: Holdings,
    ledger: Arc<Ledger>,
    bucket: Arc<Bucket>,
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn lock() -> Holding {
    Holding {
        takes_locks: true,
        ..Holding::default()
    }
}

fn makes(name: &str) -> Holding {
    Holding {
        makes: names(&[name]),
        ..Holding::default()
    }
}

fn writes(of: &[&str]) -> Holding {
    Holding {
        writes: names(of),
        ..Holding::default()
    }
}

fn held(rows: &[[&str; 3]]) -> Held {
    let bytes = |text: &&str| text.as_bytes().into();
    rows.iter()
        .map(|[what, name, more]| [bytes(what), bytes(name), bytes(more)])
        .collect()
}

impl Desk {
    fn new() -> Desk {
        let ledger = Arc::new(Ledger::default());
        Desk {
            holdings: Holdings::new(RULES, BOUNDS, &ledger),
            bucket: Arc::clone(&Buckets::new().plain),
            ledger,
        }
    }

    /// A simple Query; whether it is recorded.
    fn ask(&mut self, sql: &str, holding: &Holding) -> bool {
        let is_kept = self.holdings.judge(Some(holding), true, true);
        if self.holdings.is_wanted() {
            let mut message = Vec::new();
            frame::write(&mut message, b'Q', |body| {
                body.extend_from_slice(sql.as_bytes());
            });
            self.holdings.query(&message, &self.bucket);
        }
        self.holdings.end_request(false);
        is_kept
    }

    fn answer(&mut self, is_done: bool, commits: bool, is_idle: bool) {
        self.holdings
            .answered(Digest::default(), is_done, commits, is_idle);
    }

    fn run(&mut self, sql: &str, holding: &Holding) {
        self.ask(sql, holding);
        self.answer(true, false, true);
    }

    fn steps(&self) -> Vec<String> {
        let text = |step: &Step| String::from_utf8_lossy(&step.request[5..]).into_owned();
        let (told, untold) = (self.holdings.steps(), self.holdings.untold());
        told.iter().chain(untold).map(text).collect()
    }
}

#[test]
fn what_changes_nothing_else_is_kept_and_what_fails_is_not() {
    let mut desk = Desk::new();
    assert!(
        !desk.ask("insert into t", &writes(&["t"])),
        "it is everybody's"
    );
    desk.answer(true, false, true);
    desk.run("make t", &makes("t"));
    desk.holdings
        .on_held(held(&[["temporary_object", "t", "r"]]));
    assert!(desk.ask("insert into t", &writes(&["t"])));
    desk.answer(false, false, true);
    desk.run("update t", &writes(&["t"]));

    assert_eq!(desk.steps(), ["make t", "update t"]);
    assert!(desk.holdings.question().is_some());
    assert_eq!(
        desk.holdings.obstacle(false),
        Some(Reason::TemporaryTable),
        "unsaid"
    );
    desk.holdings.on_contents(Some(b"sum".to_vec()));
    assert_eq!(desk.holdings.obstacle(false), None);
    assert!(desk.ledger.bytes() > 0);

    desk.holdings.on_held(Held::new());
    assert!(desk.steps().is_empty());
    assert_eq!(desk.ledger.bytes(), 0);
}

#[test]
fn a_transaction_is_kept_by_its_commit_and_locks_in_any_case() {
    for (commits, kept) in [(true, &["make t", "lock"][..]), (false, &["lock"])] {
        let mut desk = Desk::new();
        desk.ask("begin", &Holding::default());
        desk.answer(true, false, false);
        for (sql, holding) in [("make t", makes("t")), ("lock", lock())] {
            desk.ask(sql, &holding);
            desk.answer(true, false, false);
        }
        assert!(desk.holdings.is_open());
        desk.ask("the end", &Holding::default());
        desk.answer(true, commits, true);
        assert_eq!(desk.steps(), kept);
    }
}

#[test]
fn answers_are_the_proof_of_locks_that_no_server_has_told_of() {
    let mut desk = Desk::new();
    desk.run("lock", &lock());
    assert_eq!(desk.holdings.obstacle(true), None);
    desk.holdings.on_held(held(&[["advisory_lock", "", "1"]]));
    assert_eq!(
        (desk.holdings.steps().len(), desk.holdings.untold().len()),
        (1, 0)
    );
    desk.run("lock another", &lock());
    assert_eq!(desk.holdings.untold().len(), 1);
    assert_eq!(desk.holdings.obstacle(true), None);

    // It may have taken its lock in front of its error.
    desk.ask("lock a third, and fail", &lock());
    desk.answer(false, false, true);
    assert_eq!(desk.holdings.obstacle(true), Some(Reason::Advisory));
    desk.holdings.on_held(held(&[["advisory_lock", "", "2"]]));
    assert_eq!(desk.holdings.obstacle(true), None);

    desk.run("what is not seen", &Holding::default());
    assert_eq!(desk.holdings.obstacle(false), None);
    assert_eq!(desk.holdings.obstacle(true), Some(Reason::Advisory));

    let mut desk = Desk::new();
    desk.run("make t", &makes("t"));
    assert_eq!(desk.holdings.obstacle(true), Some(Reason::TemporaryTable));
}

#[test]
fn what_is_mixed_or_rolled_back_in_part_spoils_all() {
    let mut desk = Desk::new();
    desk.run("make t", &makes("t"));
    desk.holdings
        .on_held(held(&[["temporary_object", "t", "r"]]));
    assert!(!desk.ask("insert into both", &writes(&["t", "other"])));
    assert_eq!(desk.holdings.obstacle(false), Some(Reason::TemporaryTable));

    let mut desk = Desk::new();
    desk.ask("begin", &Holding::default());
    desk.answer(true, false, false);
    desk.ask("make t", &makes("t"));
    desk.answer(true, false, false);
    desk.holdings.roll_back_part();
    assert!(
        !desk.ask("insert into t", &writes(&["t"])),
        "whose it is, is not known"
    );
    assert_eq!(desk.holdings.obstacle(false), Some(Reason::TemporaryTable));
}

#[test]
fn what_is_dropped_has_no_name_any_more() {
    let mut desk = Desk::new();
    desk.ask("make t", &makes("t"));
    let drop = Holding {
        drops: true,
        ..writes(&["t"])
    };
    assert!(desk.ask("drop t", &drop));
    assert!(!desk.ask("insert into t", &writes(&["t"])));
    assert_eq!(desk.holdings.obstacle(false), None);
}

#[test]
fn a_batch_is_kept_complete_in_itself() {
    let mut desk = Desk::new();
    for (portal, run) in [(&b"a"[..], true), (b"b", false), (b"c", true)] {
        desk.holdings.judge(Some(&lock()), true, true);
        desk.holdings
            .bind(portal, b"lock\0\0\0", b"rest", &desk.bucket);
        if run {
            desk.holdings.execute(portal, 0);
        }
    }
    desk.holdings.end_request(false);
    desk.answer(true, false, true);

    let mut tags = Vec::new();
    let [step] = desk.holdings.untold() else {
        panic!("one request");
    };
    let mut rest = &step.request[..];
    while let Ok(Some(header)) = frame::header(rest) {
        tags.push(header.tag);
        rest = &rest[header.total..];
    }
    assert_eq!(tags, b"PBEPBES");
}

#[test]
fn too_much_is_not_kept() {
    let mut desk = Desk::new();
    for _ in 0..4 {
        desk.run("lock", &lock());
    }
    assert_eq!(desk.holdings.obstacle(false), Some(Reason::Overflow));

    let mut desk = Desk::new();
    let cursors = [
        ["holdable_cursor", "a", ""],
        ["holdable_cursor", "b", ""],
        ["holdable_cursor", "c", ""],
    ];
    desk.holdings.on_held(held(&cursors));
    assert_eq!(desk.holdings.obstacle(false), Some(Reason::Cursor));
}
