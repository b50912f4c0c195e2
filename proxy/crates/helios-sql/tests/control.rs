//! Control statements: which they are, and where their operand stands.

use helios_sql::{normalized, shape, statements, ControlKind, Encoding, Key, Syntax};

const SYNTAX: Syntax = Syntax {
    standard_conforming_strings: true,
    encoding: Encoding::AsciiSafe,
};

/// Kind, operand and setting of the first control statement.
fn control(sql: &str) -> Option<(&'static str, &str, &'static str)> {
    let control = shape(sql.as_bytes(), SYNTAX, &Key::new(&[1; 16])).control?;
    let operand = control
        .operand
        .map_or("", |span| &sql[span.start..span.end]);
    Some((control.kind.name(), operand, control.setting.unwrap_or("")))
}

fn text(sql: &str) -> String {
    let mut out = Vec::new();
    normalized(sql.as_bytes(), SYNTAX, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn every_form_is_known() {
    for (sql, kind, operand, setting) in [
        ("BEGIN", "begin", "", ""),
        ("begin work isolation level serializable", "begin", "", ""),
        (
            "/* c */ Start /*+ a=1 */ TRANSACTION read only",
            "begin",
            "",
            "",
        ),
        ("commit and chain", "commit", "", ""),
        ("end", "commit", "", ""),
        ("commit prepared 'x'", "commit_prepared", "'x'", ""),
        ("rollback", "rollback", "", ""),
        ("abort work", "rollback", "", ""),
        ("rollback prepared E'x'", "rollback_prepared", "E'x'", ""),
        ("rollback to a", "rollback_to", "a", ""),
        (
            "rollback work to savepoint \"A b\"",
            "rollback_to",
            "\"A b\"",
            "",
        ),
        (
            "rollback transaction to savepoint",
            "rollback_to",
            "savepoint",
            "",
        ),
        ("savepoint a", "savepoint", "a", ""),
        (
            "savepoint U&\"a!0061\" uescape '!'",
            "savepoint",
            "U&\"a!0061\" uescape '!'",
            "",
        ),
        ("release savepoint a", "release", "a", ""),
        ("release a", "release", "a", ""),
        ("release savepoint", "release", "savepoint", ""),
        (
            "prepare transaction 'gid'",
            "prepare_transaction",
            "'gid'",
            "",
        ),
        (
            "prepare transaction as select 1",
            "prepare",
            "transaction",
            "",
        ),
        ("prepare p (int, numeric(3, 2)) as select $1", "prepare", "p", ""),
        ("execute p (1)", "execute", "p", ""),
        ("explain execute p", "execute", "p", ""),
        ("explain analyze verbose execute \"P\"(1)", "execute", "\"P\"", ""),
        ("explain (costs off, format (x)) execute p", "execute", "p", ""),
        ("create table t (as_) as execute p (1)", "execute", "p", ""),
        (
            "create unlogged table if not exists s.t with (fillfactor = 1) as execute p with no data",
            "execute",
            "p",
            "",
        ),
        ("explain (analyze) create table t as execute p", "execute", "p", ""),
        ("deallocate p", "deallocate", "p", ""),
        ("deallocate prepare p", "deallocate", "p", ""),
        ("deallocate prepare", "deallocate", "prepare", ""),
        ("deallocate prepare all", "deallocate_all", "", ""),
        (
            "declare c no scroll cursor with hold for select 1",
            "declare",
            "c",
            "",
        ),
        ("fetch c", "fetch", "c", ""),
        ("fetch next from \"C\"", "fetch", "\"C\"", ""),
        ("fetch -- x\n backward 10 in c; select 1", "fetch", "c", ""),
        ("fetch relative - 1 from c -- the cursor", "fetch", "c", ""),
        ("move forward all c", "move", "c", ""),
        ("close c", "close", "c", ""),
        ("close all", "close_all", "", ""),
        ("listen \"a b\"", "listen", "\"a b\"", ""),
        ("unlisten a", "unlisten", "a", ""),
        ("unlisten *", "unlisten_all", "", ""),
        ("discard all", "discard_all", "", ""),
        ("discard temporary", "discard", "", ""),
        ("set a = 1", "set", "a", ""),
        ("set session a.\"B\".c to 'x'", "set", "a.\"B\".c", ""),
        ("set a . b from current", "set", "a . b", ""),
        ("set local a = 1", "set_local", "a", ""),
        ("set local = 1", "set", "local", ""),
        ("set session to 1", "set", "session", ""),
        ("set role to x", "set", "role", ""),
        ("set role x", "set", "", "role"),
        ("set local role 'x'", "set_local", "", "role"),
        ("set time zone 'UTC'", "set", "", "timezone"),
        (
            "set session authorization default",
            "set",
            "",
            "session_authorization",
        ),
        (
            "set session session authorization x",
            "set",
            "",
            "session_authorization",
        ),
        (
            "set local session authorization x",
            "set_local",
            "",
            "session_authorization",
        ),
        ("set schema 'x'", "set", "", "search_path"),
        ("set names 'UTF8'", "set", "", "client_encoding"),
        ("set xml option content", "set", "", "xmloption"),
        ("set transaction read only", "set_transaction", "", ""),
        (
            "set session characteristics as transaction read only",
            "set_characteristics",
            "",
            "",
        ),
        ("set constraints all deferred", "set_constraints", "", ""),
        ("reset a.b", "reset", "a.b", ""),
        ("reset all", "reset_all", "", ""),
        ("reset time zone", "reset", "", "timezone"),
        (
            "reset session authorization",
            "reset",
            "",
            "session_authorization",
        ),
        (
            "reset transaction isolation level",
            "reset",
            "",
            "transaction_isolation",
        ),
    ] {
        assert_eq!(control(sql), Some((kind, operand, setting)), "{sql}");
    }
}

#[test]
fn a_name_of_many_parts_is_read_to_its_end() {
    let name = "a".to_owned() + &".b".repeat(100);

    assert_eq!(
        control(&format!("set local {name} = 1")),
        Some(("set_local", &*name, ""))
    );
    assert_eq!(control(&format!("set {name}")), None);
}

#[test]
fn other_statements_are_none() {
    for sql in [
        "",
        "select 1",
        "\"begin\"",
        "update t set a = 1",
        "explain select 1 as execute, p",
        "explain (analyze",
        "create table t as select 1 as execute from p",
        "create table t (a int",
        "create function f() as execute",
        "prepare p",
        "select begin",
        "beginning",
        "savepoint",
        "savepoint 'a'",
        "release",
        "prepare",
        "set",
        "set 'a' = 1",
        "create function f() begin atomic end",
        "notify a",
        "with a as (begin) select 1",
        "unlisten",
        "close",
        "fetch",
        "fetch 5",
        "listen 'a'",
        "sets a = 1",
        "averyveryverylongwordthatisnone x",
        "discard",
        "'begin'",
        "-- begin",
        "/* begin */",
        "$$begin$$",
        "$1 begin",
    ] {
        assert_eq!(control(sql), None, "{sql}");
    }
}

#[test]
fn names_are_placeholders_and_settings_are_not() {
    for (sql, shape) in [
        ("savepoint Abc", "savepoint \"?\""),
        ("rollback to savepoint \"x\"", "rollback to savepoint \"?\""),
        ("fetch 5 from c", "fetch ? from \"?\""),
        (
            "declare c cursor for select c",
            "declare \"?\" cursor for select c",
        ),
        ("execute p(1)", "execute \"?\" (?)"),
        ("prepare transaction 'x'", "prepare transaction '?'"),
        ("listen ch", "listen \"?\""),
        ("set Work_Mem = '1MB'", "set work_mem = ?"),
        ("set a.b to c", "set a.b to c"),
        (
            "savepoint a; savepoint b",
            "savepoint \"?\"; savepoint \"?\"",
        ),
    ] {
        assert_eq!(text(sql), shape, "{sql}");
    }
    let hash = |sql: &str| shape(sql.as_bytes(), SYNTAX, &Key::new(&[1; 16])).hash;
    assert_eq!(hash("savepoint a"), hash("SAVEPOINT \"B\""));
    assert_ne!(hash("savepoint a"), hash("savepoint 'a'"));
    assert_ne!(hash("set a = 1"), hash("set b = 1"));
}

#[test]
fn each_statement_of_a_text_has_its_span_and_control() {
    let sql = "/* a */ BEGIN ; ;insert into t values (1); savepoint s -- b\n; select ';'; set local x.y = 2;commit;";

    let found: Vec<_> = statements(sql.as_bytes(), SYNTAX)
        .map(|s| (&sql[s.span.start..s.span.end], s.control.map(|c| c.kind)))
        .collect();

    assert_eq!(
        found,
        [
            ("BEGIN", Some(ControlKind::Begin)),
            ("insert into t values (1)", None),
            ("savepoint s", Some(ControlKind::Savepoint)),
            ("select ';'", None),
            ("set local x.y = 2", Some(ControlKind::SetLocal)),
            ("commit", Some(ControlKind::Commit)),
        ]
    );
    let third = statements(sql.as_bytes(), SYNTAX)
        .nth(2)
        .and_then(|s| s.control);
    let operand = third.and_then(|c| c.operand).expect("a savepoint");
    assert_eq!(operand.of(sql.as_bytes()), b"s");
    assert_eq!(control(sql), Some(("begin", "", "")));
}

#[test]
fn what_a_prepare_prepares_stands_behind_its_form() {
    for sql in [
        "prepare p as select 1",
        "select 2; prepare p (int, text) /* x */ AS/**/select 1;",
    ] {
        let found = statements(sql.as_bytes(), SYNTAX).last().expect("one");
        let end = found.control.expect("a PREPARE").end;
        assert_eq!(
            sql[end..found.span.end].trim_start_matches("/**/").trim(),
            "select 1"
        );
    }
}
