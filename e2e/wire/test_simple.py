"""Simple protocol: what a client sees through Helios is what PostgreSQL itself sends, message by message."""

from __future__ import annotations

import pytest

from harness import frontend
from harness.client import Client, brief, rows
from harness.routes import Parity, Route, Script


def one_row(c: Client) -> None:
    c.query("select 1 as one, 'two' as two, null as three, '' as four")


def no_rows(c: Client) -> None:
    c.query("select id from items where id < 0")


def many_rows(c: Client) -> None:
    c.query("select id, name from items order by id")


def wide_row(c: Client) -> None:
    c.query("select " + ", ".join(f"{n} as column_{n}" for n in range(500)))


@pytest.mark.checklist(36, protocol="simple")
def row_larger_than_any_buffer(c: Client) -> None:
    c.query("select repeat('x', 300000), 1")
    c.query("select 2")


@pytest.mark.checklist(36, protocol="simple")
def statement_larger_than_any_buffer(c: Client) -> None:
    c.query("select length('" + "y" * 300_000 + "')")
    c.query("select 3")


@pytest.mark.checklist(32, protocol="simple")
def empty_statements(c: Client) -> None:
    for sql in ("", " ", ";", ";;", "-- nothing", "/* nothing */"):
        c.query(sql)


@pytest.mark.checklist(31)
def several_statements(c: Client) -> None:
    c.query("select 1; select 2; insert into notes values (1, 'a'); delete from notes where id = 1; select 3")


@pytest.mark.checklist(31)
def error_ends_a_multi_statement(c: Client) -> None:
    c.query("select 1; select 1/0; select 2")
    c.query("select 3")


@pytest.mark.checklist(31)
def multi_statement_is_one_implicit_transaction(c: Client) -> None:
    c.query("insert into notes values (2, 'gone'); select 1/0")
    c.query("select count(*) from notes where id = 2")


@pytest.mark.checklist(31)
def begin_inside_a_multi_statement(c: Client) -> None:
    c.query("select 1; begin; insert into notes values (3, 'x')")
    c.query("select count(*) from notes where id = 3")
    c.query("rollback; select count(*) from notes where id = 3")


@pytest.mark.checklist(31)
def commit_inside_a_multi_statement(c: Client) -> None:
    c.query("begin; select 1; commit; select 2; begin")
    c.query("commit")


@pytest.mark.checklist(38, protocol="simple")
def command_tags(c: Client) -> None:
    c.query("insert into notes select n, 'tag' from generate_series(10, 14) n")
    c.query("update notes set body = 'changed' where id between 10 and 12")
    c.query("delete from notes where id between 10 and 14")
    c.query("create table tagged (a int)")
    c.query("truncate tagged")
    c.query("drop table tagged")
    c.query("merge into notes using (select 90 as k) s on id = k when matched then do nothing")
    c.query("values (1), (2)")
    c.query("explain (costs off) select 1")


@pytest.mark.checklist(39, protocol="simple")
def transaction_block(c: Client) -> None:
    c.query("begin")
    c.query("select 1")
    c.query("savepoint s")
    c.query("select 1/0")
    c.query("select 2")
    c.query("rollback to savepoint s")
    c.query("release savepoint s")
    c.query("commit")


@pytest.mark.checklist(38, 39, protocol="simple")
def commit_of_a_failed_transaction_is_a_rollback(c: Client) -> None:
    c.query("begin")
    c.query("select * from no_such_table")
    c.query("commit")
    c.query("select 1")


@pytest.mark.checklist(38, 39, protocol="simple")
def commit_and_chain_stays_in_a_transaction(c: Client) -> None:
    c.query("begin")
    c.query("commit and chain")
    c.query("rollback and chain")
    c.query("rollback")


def warnings_of_transaction_control(c: Client) -> None:
    c.query("commit")
    c.query("begin")
    c.query("begin")
    c.query("rollback")


@pytest.mark.checklist(38, protocol="simple")
def two_phase_commit(c: Client) -> None:
    c.query("begin")
    c.query("insert into notes values (20, 'prepared')")
    c.query("prepare transaction 'helios-two-phase'")
    c.query("select 1")
    c.query("rollback prepared 'helios-two-phase'")


@pytest.mark.checklist(42, protocol="simple")
def notices(c: Client) -> None:
    c.query("do $$ begin raise notice 'one %', 1; raise warning 'two'; end $$")
    c.query("do $$ begin raise info 'a'; raise exception 'stop' using errcode = 'P0042', hint = 'a hint'; end $$")
    c.query("select 1")


def errors_of_every_class(c: Client) -> None:
    c.query("selec 1")
    c.query("select * from no_such_table")
    c.query("select no_such_column from items")
    c.query("select no_such_function()")
    c.query("insert into items values (1, 'duplicate')")
    c.query("select 'x'::int")
    c.query("select 1")


def sql_cursor(c: Client) -> None:
    c.query("begin")
    c.query("declare cur cursor for select id from items order by id")
    c.query("fetch 3 from cur")
    c.query("move 10 from cur")
    c.query("fetch 1 from cur")
    c.query("close cur")
    c.query("fetch 1 from cur")
    c.query("rollback")


def sql_prepare_inside_a_transaction(c: Client) -> None:
    c.query("begin")
    c.query("prepare p (int) as select $1 + 1")
    c.query("execute p(41)")
    c.query("deallocate p")
    c.query("execute p(1)")
    c.query("rollback")


def quoting(c: Client) -> None:
    c.query('select \'a;b\', $$c;d$$, "e;f" from (select 1 as "e;f") s -- ; select')
    c.query("select E'\\'; select 2', /* ; /* nested; */ */ 3")


def non_ascii(c: Client) -> None:
    c.query("select 'größe €', '日本', E'\\u00e4' as ü")


def invalid_utf8(c: Client) -> None:
    c.query(b"select '\xff\xfe'")
    c.query(b"select 'still here'")
    c.query(b"select 1 as \xc3")


def set_and_show(c: Client) -> None:
    c.query("begin")
    c.query("set local work_mem = '7MB'")
    c.query("show work_mem")
    c.query("commit")


@pytest.mark.checklist(32)
def function_call(c: Client) -> None:
    int4pl = c.value("select 'int4pl(int4,int4)'::regprocedure::oid")
    assert int4pl
    c.batch(frontend.function_call(int(int4pl), [(20).to_bytes(4), (22).to_bytes(4)]))
    c.batch(frontend.function_call(int(int4pl), [(1).to_bytes(4), None]))
    c.batch(frontend.function_call(4_000_000_000, []))
    c.query("select 1")


SINGLE_STATEMENT = [
    one_row,
    no_rows,
    many_rows,
    wide_row,
    row_larger_than_any_buffer,
    statement_larger_than_any_buffer,
    empty_statements,
    several_statements,
    error_ends_a_multi_statement,
    multi_statement_is_one_implicit_transaction,
    command_tags,
    notices,
    errors_of_every_class,
    quoting,
    non_ascii,
    invalid_utf8,
    function_call,
]
"""Scripts that are legal in every pool mode."""

TRANSACTIONS = [
    begin_inside_a_multi_statement,
    commit_inside_a_multi_statement,
    transaction_block,
    commit_of_a_failed_transaction_is_a_rollback,
    commit_and_chain_stays_in_a_transaction,
    warnings_of_transaction_control,
    two_phase_commit,
    sql_cursor,
    sql_prepare_inside_a_transaction,
    set_and_show,
]


@pytest.mark.routes("session", "transaction", "statement")
@pytest.mark.parametrize("script", SINGLE_STATEMENT, ids=lambda script: script.__name__)
def test_simple_statements(parity: Parity, script: Script) -> None:
    parity(script)


@pytest.mark.parametrize("script", TRANSACTIONS, ids=lambda script: script.__name__)
def test_simple_transactions(parity: Parity, script: Script) -> None:
    parity(script)


@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_transaction_sees_its_own_writes_and_leaves_none_after_rollback(route: Route) -> None:
    writer, reader = route.connect(), route.connect()

    writer.query("begin")
    writer.query("insert into notes values (30, 'mine')")
    inside = rows(writer.query("select body from notes where id = 30"))
    outside = rows(reader.query("select body from notes where id = 30"))
    writer.query("rollback")

    assert inside == [["mine"]]
    assert outside == []
    assert rows(reader.query("select body from notes where id = 30")) == []


@pytest.mark.routes("session", "transaction", "statement", chunks=("none", "random"))
def test_transcript_of_a_select(route: Route) -> None:
    client = route.connect()

    events = client.query("select id, name from items where id = 7")

    assert brief(events) == [
        "RowDescription id name",
        "DataRow 7|item 7",
        "CommandComplete SELECT 1",
        "ReadyForQuery I",
    ]
