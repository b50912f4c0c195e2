//! What the journal makes of two streams of bytes.

use helios_wire::frame::HEADER_LEN;

use super::*;
use crate::topology::Promotion;

const BOUNDS: Bounds = Bounds {
    entries: 8,
    bytes: 1000,
    total_bytes: 1 << 20,
};

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write(&mut out, tag, |out| out.extend_from_slice(body));
    out
}

fn answer(rows: &[&str], tag: &str, status: u8) -> Vec<u8> {
    let mut out = Vec::new();
    for row in rows {
        out.extend(message(b'D', row.as_bytes()));
    }
    out.extend(message(b'C', tag.as_bytes()));
    out.extend(message(b'Z', &[status]));
    out
}

const RULES: Rules = Rules {
    holdable_cursors: true,
    max_cursors: 2,
    temp_table_max_bytes: 1000,
};

struct Desk {
    journal: Journal,
    ledger: Arc<Ledger>,
}

impl Desk {
    fn new() -> Desk {
        let ledger = Arc::new(Ledger::default());
        let journal = Journal::new(BOUNDS, RULES, &ledger);
        Desk { journal, ledger }
    }

    fn ask(&mut self, sql: &str, weight: Weight) {
        self.journal.note(weight, sql == "begin");
        self.journal.sent(&message(b'Q', sql.as_bytes()));
    }

    fn run(&mut self, sql: &str, rows: &[&str]) {
        self.ask(sql, Weight::Writes);
        self.journal.told(&answer(rows, sql, b'T'));
    }
}

#[test]
fn nothing_is_left_of_a_transaction_that_is_over() {
    let mut desk = Desk::new();
    desk.run("begin", &[]);
    desk.run("update", &["1"]);
    assert_eq!(desk.journal.weigh_loss(), Loss::Replay);

    desk.ask("commit", Weight::Commits);
    assert_eq!(
        desk.journal.weigh_loss(),
        Loss::Fatal(Reason::Outcome),
        "nobody knows"
    );
    desk.journal.told(&answer(&[], "COMMIT", b'I'));

    assert_eq!(desk.journal.weigh_loss(), Loss::Nothing);
    assert!(desk.journal.requests.is_empty());
}

#[test]
fn what_may_have_been_committed_is_not_sent_twice() {
    for (begin, weight, loss) in [
        (None, Weight::Reads, Loss::Replay),
        (None, Weight::Writes, Loss::Fatal(Reason::Outcome)),
        (Some("begin"), Weight::Writes, Loss::Replay),
        (Some("begin"), Weight::Mixes, Loss::Fatal(Reason::Outcome)),
    ] {
        let mut desk = Desk::new();
        if let Some(sql) = begin {
            desk.ask(sql, Weight::Reads);
        }
        desk.ask("a statement", weight);
        assert_eq!(desk.journal.weigh_loss(), loss, "{begin:?} {weight:?}");
    }
}

#[test]
fn a_portal_that_an_earlier_request_has_bound_weighs_what_it_did() {
    for (weight, loss) in [
        (Weight::Commits, Loss::Fatal(Reason::Outcome)),
        (Weight::Writes, Loss::Replay),
    ] {
        let mut desk = Desk::new();
        desk.run("begin", &[]);
        desk.journal.note(weight, false);
        desk.journal.sent(&message(b'B', b"p\0\0\0\0\0\0\0\0"));
        desk.journal.sent(&message(b'S', b""));
        desk.journal.told(&message(b'2', b""));
        desk.journal.told(&message(b'Z', b"T"));

        desk.journal.sent(&message(b'E', b"p\0\0\0\0\0"));
        desk.journal.sent(&message(b'S', b""));

        assert_eq!(desk.journal.weigh_loss(), loss, "{weight:?}");
    }
}

#[test]
fn a_transaction_sent_ahead_ends_where_the_next_one_begins() {
    let mut desk = Desk::new();
    desk.ask("begin", Weight::Reads);
    desk.ask("commit", Weight::Commits);
    desk.ask("begin", Weight::Reads);
    desk.journal.told(&answer(&[], "begin", b'T'));
    desk.journal.told(&answer(&[], "commit", b'I'));
    desk.journal.told(&answer(&[], "begin", b'T'));

    let again = desk.journal.begin_rerun(3);

    assert_eq!(again, Some(message(b'Q', b"begin")));
}

#[test]
fn rows_count_in_any_order_and_everything_else_in_its_own() {
    for (rows, tag, compared) in [
        (&["a", "b"][..], "SELECT 2", Compared::Verified),
        (&["b", "a"][..], "SELECT 2", Compared::Verified),
        (&["a", "c"][..], "SELECT 2", Compared::Other),
        (&["a", "a"][..], "SELECT 2", Compared::Other),
        (&["a", "b"][..], "SELECT 3", Compared::Other),
    ] {
        let mut desk = Desk::new();
        desk.ask("select", Weight::Reads);
        desk.journal.told(&answer(&["a", "b"], "SELECT 2", b'T'));
        let again = desk.journal.begin_rerun(3).expect("a first time");
        desk.journal.sent(&again);
        // What a server says at any time does not count.
        let mut other = message(b'N', b"notice");
        other.extend(answer(rows, tag, b'T'));

        assert_eq!(
            desk.journal.compare(&other),
            (other.len(), compared),
            "{rows:?}"
        );
    }
}

/// A RowDescription of two columns.
fn columns(names: [&str; 2], table: u8, of: u8) -> Vec<u8> {
    let mut body = vec![0, 2];
    for name in names {
        body.extend(name.as_bytes());
        body.extend([
            0, 0, 0, 0, table, 0, 1, 0, 0, 0, of, 0, 4, 255, 255, 255, 255, 0, 0,
        ]);
    }
    message(b'T', &body)
}

#[test]
fn the_oid_of_a_table_does_not_count_and_all_else_of_its_columns_does() {
    for (other, compared) in [
        (columns(["a", "b"], 7, 23), Compared::Verified),
        (columns(["a", "b"], 8, 23), Compared::Verified),
        (columns(["a", "b"], 7, 25), Compared::Other),
        (columns(["a", "c"], 7, 23), Compared::Other),
    ] {
        let mut desk = Desk::new();
        desk.ask("select", Weight::Reads);
        let told = [columns(["a", "b"], 7, 23), answer(&[], "SELECT 0", b'T')].concat();
        desk.journal.told(&told);
        let again = desk.journal.begin_rerun(3).expect("a first time");
        desk.journal.sent(&again);

        let bytes = [other, answer(&[], "SELECT 0", b'T')].concat();
        let (last, rest) = pieces(&bytes, true)
            .split_last()
            .map(|(a, b)| (*a, b.to_vec()))
            .expect("many");
        for piece in rest {
            let so_far = desk.journal.compare(piece);
            assert_eq!(so_far, (piece.len(), Compared::Same));
        }

        assert_eq!(desk.journal.compare(last), (last.len(), compared));
    }
}

/// As they pass: a header is never torn.
fn pieces(mut bytes: &[u8], is_fine: bool) -> Vec<&[u8]> {
    let mut out = Vec::new();
    while let Ok(Some(header)) = frame::header(bytes) {
        let (message, rest) = bytes.split_at(header.total);
        let (head, body) = message.split_at(HEADER_LEN);
        match is_fine {
            true => out.extend(std::iter::once(head).chain(body.chunks(1))),
            false => out.push(message),
        }
        bytes = rest;
    }
    out
}

#[test]
fn an_answer_that_was_cut_goes_on_at_the_byte() {
    let whole = answer(&["first", "second"], "SELECT 2", b'T');
    let other = answer(&["first", "SECOND"], "SELECT 2", b'T');
    let differs = whole.iter().zip(&other).position(|(a, b)| a != b);
    let mut cut = 0;
    for piece in pieces(&whole, true) {
        for is_fine in [true, false] {
            let mut desk = cut_at(&whole[..cut]);
            let mut rest = Vec::new();
            for piece in pieces(&whole, is_fine) {
                let n = match desk.journal.is_rerunning() {
                    true => desk.journal.compare(piece).0,
                    false => 0,
                };
                rest.extend_from_slice(&piece[n..]);
                if !desk.journal.is_rerunning() {
                    desk.journal.told(&piece[n..]);
                }
            }

            assert_eq!(rest, &whole[cut..], "{cut}");
            assert!(!desk.journal.is_rerunning());
            assert_eq!(desk.journal.entries(), 2);
        }
        let (_, compared) = cut_at(&whole[..cut]).journal.compare(&other);
        assert_eq!(compared == Compared::Other, Some(cut) > differs, "{cut}");
        cut += piece.len();
    }
}

/// A block whose second request was lost behind this much of its answer, and the first of which has been compared.
fn cut_at(told: &[u8]) -> Desk {
    let mut desk = Desk::new();
    desk.run("begin", &[]);
    desk.ask("select", Weight::Writes);
    desk.journal.told(told);
    let again = desk.journal.begin_rerun(3).expect("a first time");
    desk.journal.sent(&again);
    let begun = answer(&[], "begin", b'T');
    let compared = desk.journal.compare(&begun);
    assert_eq!(compared, (begun.len(), Compared::Verified));
    desk
}

#[test]
fn a_full_journal_is_given_up_and_its_bytes_with_it() {
    let mut desk = Desk::new();
    desk.run("begin", &[]);
    desk.ask(&"x".repeat(2000), Weight::Writes);
    assert_eq!(desk.journal.weigh_loss(), Loss::Fatal(Reason::Overflow));
    desk.journal.told(&answer(&[], "INSERT", b'T'));
    desk.ask("commit", Weight::Commits);
    desk.journal.told(&answer(&[], "COMMIT", b'I'));
    desk.journal.begin();
    desk.run("begin", &[]);
    assert_eq!(desk.journal.weigh_loss(), Loss::Replay);

    for _ in 0..BOUNDS.entries {
        desk.run("select", &[]);
    }
    assert_eq!(desk.journal.weigh_loss(), Loss::Fatal(Reason::Overflow));
    assert_eq!(desk.ledger.bytes(), 0);
}

#[test]
fn so_many_servers_may_be_lost_and_what_has_no_answer_is_handed_back() {
    let mut desk = Desk::new();
    desk.run("begin", &[]);
    desk.ask("update", Weight::Writes);
    for _ in 0..2 {
        let again = desk.journal.begin_rerun(2).expect("not too often");
        desk.journal.sent(&again);
    }
    assert_eq!(desk.journal.begin_rerun(2), None);

    assert_eq!(desk.journal.give_up(), message(b'Q', b"update"));
    assert_eq!(desk.journal.weigh_loss(), Loss::Nothing);
}

const NUMBER: &[u8] = b"00000003 0/5000 0/4000 77";

fn xact() -> Xact {
    Xact::read(NUMBER).flatten().unwrap()
}

#[test]
fn a_commit_under_way_is_asked_for_by_its_number_or_had_nothing_to_commit() {
    for (told, loss) in [
        (Xact::read(NUMBER), Loss::Ask(xact())),
        (Some(None), Loss::Replay),
        (None, Loss::Fatal(Reason::Outcome)),
    ] {
        let mut desk = Desk::new();
        desk.run("begin", &[]);
        desk.run("update", &["1"]);
        assert!(desk.journal.wants_number(true));
        desk.journal.ask_number();
        desk.journal.learn_number(told);
        desk.ask("commit", Weight::Commits);

        assert_eq!(desk.journal.weigh_loss(), loss, "{told:?}");
    }
}

#[test]
fn the_end_of_a_prepared_transaction_is_asked_for_if_nothing_else_is_in_its_request() {
    let unknown = Loss::Fatal(Reason::Outcome);
    for (others, loss) in [(0, Loss::Ask(xact())), (1, unknown)] {
        let mut desk = Desk::new();
        desk.journal.learn_prepared(Some(xact()));
        for _ in 0..others {
            desk.journal.note(Weight::Reads, false);
            desk.journal.sent(&message(b'B', b"\0\0\0\0\0\0\0\0"));
        }
        // Once more where something had to be asked before it could be sent.
        desk.journal.note(Weight::Ends, false);
        desk.journal.sent(b"");
        desk.journal.note(Weight::Ends, false);
        assert_eq!(desk.journal.is_unsent(), others == 0);
        desk.journal.sent(&message(b'B', b"\0\0\0\0\0\0\0\0"));
        desk.journal.sent(&message(b'E', b"\0\0\0\0\0"));
        desk.journal.sent(&message(b'S', b""));

        assert_eq!(desk.journal.weigh_loss(), loss, "{others}");
        assert!(!desk.journal.is_unsent());
    }
}

#[test]
fn what_was_prepared_is_no_commit_of_its_session() {
    let mut desk = Desk::new();
    desk.run("begin", &[]);
    desk.run("insert", &["1"]);
    desk.journal.ask_number();
    desk.journal.learn_number(Xact::read(NUMBER));
    desk.ask("prepare transaction", Weight::Mixes);
    desk.journal.part_with_number();
    desk.journal.told(&answer(&[], "PREPARE TRANSACTION", b'I'));

    assert_eq!(desk.journal.last(), None);
}

#[test]
fn a_number_that_is_not_told_yet_leaves_the_outcome_open() {
    let mut desk = Desk::new();
    desk.ask("insert", Weight::Rows);
    desk.journal.ask_number();
    assert_eq!(desk.journal.weigh_loss(), Loss::Fatal(Reason::Outcome));

    desk.journal.learn_number(Xact::read(NUMBER));

    assert_eq!(desk.journal.weigh_loss(), Loss::Ask(xact()));
    desk.journal.told(&answer(&[], "INSERT", b'I'));
    assert_eq!(desk.journal.weigh_loss(), Loss::Nothing);
    desk.ask("insert", Weight::Rows);
    let unknown = Loss::Fatal(Reason::Outcome);
    assert_eq!(desk.journal.weigh_loss(), unknown, "of another");
}

#[test]
fn what_is_sent_ahead_of_an_answer_counts_for_the_next_transaction() {
    let mut desk = Desk::new();
    desk.run("begin", &[]);
    desk.ask("commit", Weight::Commits);
    desk.ask("begin", Weight::Reads);
    desk.ask("update", Weight::Writes);
    desk.journal.told(&answer(&[], "COMMIT", b'I'));
    desk.journal.told(&answer(&[], "BEGIN", b'T'));
    desk.journal.told(&answer(&[], "UPDATE", b'T'));

    assert!(desk.journal.lacks_number());
}

#[test]
fn an_acknowledgement_goes_on_where_the_answer_was_cut() {
    let whole = answer(&[], "COMMIT\0", b'I');
    let command = whole.len() - 6;
    // A message is told from its whole head on.
    for n in [0, 5, 9, command, command + 5] {
        let mut desk = Desk::new();
        desk.run("begin", &[]);
        desk.ask("commit", Weight::Commits);
        desk.journal.told(&whole[..n]);

        assert_eq!(desk.journal.acknowledgement().as_deref(), Some(&whole[n..]));
    }
}

#[test]
fn a_number_says_what_became_of_a_commit_only_where_its_history_is_known() {
    let promotion = |timeline, forked_at, xid_bound| Promotion {
        timeline,
        forked_at,
        xid_bound,
    };
    let (kept, cut_off) = (promotion(4, 0x6000, 90), promotion(4, 0x4fff, 90));
    let reused = promotion(4, 0x6000, 77);
    let later = promotion(5, 0x7000, 100);
    let is_at = |words: &[u8]| Place::read(words).unwrap();
    let committed = Some(&b"committed"[..]);
    for (words, is_same_node, promotions, status, outcome) in [
        // The same server, which has not been away, was stopped well, has crashed.
        (
            &b"00000003 0/4000"[..],
            true,
            &[][..],
            committed,
            Outcome::Committed,
        ),
        (b"00000003 0/0", true, &[], committed, Outcome::Committed),
        (b"00000003 0/5000", true, &[], committed, Outcome::Committed),
        (b"00000003 0/4fff", true, &[], committed, Outcome::Lost),
        (
            b"00000003 0/4000",
            true,
            &[],
            Some(b"aborted"),
            Outcome::Lost,
        ),
        (
            b"00000003 0/4000",
            true,
            &[],
            Some(b"in progress"),
            Outcome::UnderWay,
        ),
        (b"00000003 0/4000", true, &[], None, Outcome::Unknown),
        // It was to be prepared, and is; nobody knows what else its request was to do.
        (
            b"00000003 0/4000",
            true,
            &[],
            Some(b"prepared"),
            Outcome::Unknown,
        ),
        (
            b"00000004 0/6000",
            false,
            &[kept],
            Some(b"prepared"),
            Outcome::Unknown,
        ),
        (
            b"00000004 0/6000",
            false,
            &[cut_off],
            Some(b"prepared"),
            Outcome::Lost,
        ),
        // Another one.
        (b"00000003 0/4000", false, &[], committed, Outcome::Unknown),
        (b"00000002 0/4000", true, &[], committed, Outcome::Unknown),
        (b"00000004 0/6000", false, &[], committed, Outcome::Unknown),
        (
            b"00000004 0/6000",
            false,
            &[],
            Some(b"aborted"),
            Outcome::Lost,
        ),
        (
            b"00000004 0/6000",
            false,
            &[kept],
            committed,
            Outcome::Committed,
        ),
        (
            b"00000004 0/6000",
            false,
            &[kept],
            Some(b"aborted"),
            Outcome::Lost,
        ),
        (
            b"00000004 0/6000",
            false,
            &[cut_off],
            committed,
            Outcome::Lost,
        ),
        (
            b"00000004 0/6000",
            true,
            &[reused],
            committed,
            Outcome::Lost,
        ),
        (
            b"00000005 0/7000",
            false,
            &[kept, later],
            committed,
            Outcome::Committed,
        ),
        (
            b"00000005 0/7000",
            false,
            &[cut_off, later],
            committed,
            Outcome::Lost,
        ),
        (
            b"00000005 0/7000",
            false,
            &[later],
            committed,
            Outcome::Unknown,
        ),
    ] {
        let judged = judge(xact(), is_at(words), is_same_node, promotions, status);
        assert_eq!(judged, outcome, "{words:?} {promotions:?} {status:?}");
    }
}

#[test]
fn nobody_waits_for_a_number_that_a_lost_server_was_asked() {
    let mut desk = Desk::new();
    desk.run("begin", &[]);
    desk.run("update", &["1"]);
    desk.journal.begin_rerun(3);
    desk.journal.ask_number();

    desk.journal.give_up();

    assert!(!desk.journal.is_number_asked());
}
