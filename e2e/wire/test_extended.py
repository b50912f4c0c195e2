"""Extended protocol: portals, row limits, Describe, Flush, and the skipping until Sync after an error."""

from __future__ import annotations

import pytest

from harness.client import Client, brief, rows, sqlstates
from harness.frontend import (
    bind,
    close_portal,
    close_statement,
    describe_portal,
    describe_statement,
    execute,
    extended,
    flush,
    parse,
    query,
    sync,
)
from harness.routes import Parity, Route, Script

ID_ABOVE = "select id from items where id > $1 order by id limit 10"


def unnamed_batch(c: Client) -> None:
    c.extended("select $1::text, $2::int", "text", "7")
    c.extended("select $1::text", None)
    c.extended("select 1")


def typed_parameters(c: Client) -> None:
    c.batch(parse("select $1, $2", types=[23, 25]), bind(["5", "x"]), describe_portal(), execute(), sync())
    c.batch(parse("select $1 + 1", types=[20]), describe_statement(), sync())


def binary_formats(c: Client) -> None:
    five = (5).to_bytes(4)
    c.batch(
        parse("select $1::int, $2::text"), bind([five, "t"], formats=[1, 0], result_formats=[1, 0]), execute(), sync()
    )
    c.batch(
        parse("select $1::int"), bind([five], formats=[1], result_formats=[1]), describe_portal(), execute(), sync()
    )


@pytest.mark.checklist(22)
def describe_statement_and_portal(c: Client) -> None:
    c.batch(parse(ID_ABOVE), describe_statement(), bind(["3"]), describe_portal(), execute(), sync())
    c.batch(parse("insert into notes values ($1, $2)"), describe_statement(), sync())
    c.batch(parse("begin"), describe_statement(), bind(), describe_portal(), sync())


def no_describe(c: Client) -> None:
    c.batch(parse(ID_ABOVE), bind(["990"]), execute(), sync())


@pytest.mark.checklist(32, protocol="extended")
def empty_query(c: Client) -> None:
    c.extended("")
    c.batch(parse(""), describe_statement(), sync())
    c.extended("-- only a comment")


@pytest.mark.checklist(38, protocol="extended")
def command_tags(c: Client) -> None:
    c.extended("insert into notes select n, 'x' from generate_series(40, 44) n")
    c.extended("update notes set body = $1 where id between 40 and 41", "y")
    c.extended("delete from notes where id = 44 returning id")
    c.extended("delete from notes where id between 40 and 43")


@pytest.mark.checklist(18, protocol="extended")
def sync_only(c: Client) -> None:
    c.batch(sync())
    c.batch(sync(), sync(), sync(), ready=3)


@pytest.mark.checklist(23)
def row_limit_and_more_rows(c: Client) -> None:
    c.batch(parse(ID_ABOVE), bind(["0"]), execute(limit=3), execute(limit=3), execute(limit=0), sync())


@pytest.mark.checklist(23)
def row_limit_that_is_never_reached(c: Client) -> None:
    c.batch(parse(ID_ABOVE), bind(["0"]), execute(limit=10), execute(limit=10), sync())


@pytest.mark.checklist(23)
def suspended_portal_dies_at_sync(c: Client) -> None:
    c.batch(parse(ID_ABOVE), bind(["0"], portal="p"), execute("p", limit=2), sync())
    c.batch(execute("p", limit=2), sync())


@pytest.mark.checklist(19)
def error_skips_until_sync(c: Client) -> None:
    c.batch(parse("select 1/0"), bind(), execute(), parse("select 1"), bind(), execute(), sync())
    c.extended("select 2")


def error_in_parse(c: Client) -> None:
    c.batch(parse("selec"), bind(), describe_portal(), execute(), sync())
    c.extended("select 3")


def error_in_bind(c: Client) -> None:
    c.batch(parse("select $1::int"), bind(["not a number"]), execute(), sync())
    c.batch(parse("select $1::int"), bind(["1", "2"]), execute(), sync())
    c.batch(parse("select $1::int"), bind(["1"], formats=[0, 0, 0]), execute(), sync())


@pytest.mark.checklist(19)
def error_in_execute_after_rows(c: Client) -> None:
    c.batch(parse("select 1/(5 - n) from generate_series(1, 9) n"), bind(), execute(), execute(), sync())


def unknown_portal(c: Client) -> None:
    c.batch(execute("nowhere"), sync())
    c.batch(describe_portal("nowhere"), sync())
    c.batch(close_portal("nowhere"), sync())
    c.extended("select 4")


def sync_between_error_and_next_batch(c: Client) -> None:
    c.batch(parse("select 1/0"), bind(), execute(), sync(), *[extended("select 5")], ready=2)


@pytest.mark.checklist(19)
def error_then_simple_query_before_sync_is_skipped(c: Client) -> None:
    c.batch(parse("select 1/0"), bind(), execute(), query("select 'skipped'"), sync())
    c.query("select 'runs'")


def simple_query_between_extended_messages(c: Client) -> None:
    c.batch(parse("select 6", name="between"), query("select 'middle'"), ready=1)
    c.batch(bind(name="between"), execute(), sync())
    c.batch(close_statement("between"), sync())


def two_statements_in_one_parse_are_refused(c: Client) -> None:
    c.batch(parse("select 1; select 2"), sync())


def wrong_message_forms(c: Client) -> None:
    c.batch(parse("select $1", types=[4_000_000_000]), sync())
    c.batch(parse("select $2::int"), describe_statement(), sync())


@pytest.mark.checklist(36, protocol="extended")
def large_values(c: Client) -> None:
    c.extended("select length($1::text), md5($1::text)", "z" * 70_000)
    c.extended("select length($1::text), md5($1::text)", "z" * 3_000_000)
    c.extended("select $1::text", "w" * 100_000)


def many_parameters(c: Client) -> None:
    sql = "select " + " || ".join(f"${n}::text" for n in range(1, 400))
    c.extended(sql, *[f"v{n}" for n in range(1, 400)])


def invalid_utf8_parameter(c: Client) -> None:
    c.extended("select $1::text", b"\xff")
    c.extended("select 'next'")


@pytest.mark.checklist(24)
def portal_and_statement_names_are_separate_spaces(c: Client) -> None:
    c.query("begin")
    c.batch(parse(ID_ABOVE, name="n"), bind(["1"], name="n", portal="n"), execute("n", limit=1), sync())
    c.batch(close_portal("n"), bind(["2"], name="n", portal="n"), execute("n", limit=1), sync())
    c.batch(close_statement("n"), bind(["2"], name="n"), sync())
    c.query("rollback")


@pytest.mark.checklist(24)
def portals_live_to_the_end_of_the_transaction(c: Client) -> None:
    c.query("begin")
    c.batch(parse(ID_ABOVE, name="s"), bind(["0"], name="s", portal="a"), bind(["5"], name="s", portal="b"), sync())
    c.batch(execute("a", limit=2), sync())
    c.batch(execute("b", limit=2), sync())
    c.batch(execute("a", limit=2), describe_portal("b"), sync())
    c.batch(close_portal("a"), execute("a"), sync())
    c.query("rollback")
    c.batch(execute("b"), sync())
    c.batch(close_statement("s"), sync())


def duplicate_portal_name(c: Client) -> None:
    c.query("begin")
    c.batch(parse(ID_ABOVE), bind(["0"], portal="twice"), bind(["0"], portal="twice"), sync())
    c.query("rollback")


def sql_cursor_read_by_a_portal(c: Client) -> None:
    c.query("begin")
    c.query("declare cur cursor for select id from items order by id")
    c.batch(describe_portal("cur"), execute("cur", limit=2), sync())
    c.query("fetch 1 from cur")
    c.query("commit")


@pytest.mark.checklist(39, protocol="extended")
def transaction_by_extended_protocol(c: Client) -> None:
    for sql in ("begin", "select 1", "savepoint s", "select 1/0", "select 1", "rollback to s", "commit"):
        c.extended(sql)


@pytest.mark.checklist(38, 39, protocol="extended")
def commit_of_a_failed_transaction(c: Client) -> None:
    for sql in ("begin", "select 1/0", "commit", "select 8"):
        c.extended(sql)


def implicit_transaction_is_rolled_back_at_the_error(c: Client) -> None:
    insert = "insert into notes values (50, 'gone')"
    c.batch(parse(insert), bind(), execute(), parse("select 1/0"), bind(), execute(), sync())
    c.query("select count(*) from notes where id = 50")


def mixed_with_simple(c: Client) -> None:
    c.query("begin")
    c.extended("insert into notes values ($1, 'mixed')", "51")
    c.query("select body from notes where id = 51")
    c.extended("rollback")


EVERY_MODE = [
    unnamed_batch,
    typed_parameters,
    binary_formats,
    no_describe,
    empty_query,
    command_tags,
    sync_only,
    row_limit_and_more_rows,
    row_limit_that_is_never_reached,
    suspended_portal_dies_at_sync,
    error_skips_until_sync,
    error_in_parse,
    error_in_bind,
    error_in_execute_after_rows,
    unknown_portal,
    sync_between_error_and_next_batch,
    error_then_simple_query_before_sync_is_skipped,
    two_statements_in_one_parse_are_refused,
    wrong_message_forms,
    large_values,
    many_parameters,
    invalid_utf8_parameter,
    implicit_transaction_is_rolled_back_at_the_error,
]

TRANSACTIONS = [
    describe_statement_and_portal,
    simple_query_between_extended_messages,
    portal_and_statement_names_are_separate_spaces,
    portals_live_to_the_end_of_the_transaction,
    duplicate_portal_name,
    sql_cursor_read_by_a_portal,
    transaction_by_extended_protocol,
    commit_of_a_failed_transaction,
    mixed_with_simple,
]


@pytest.mark.routes("session", "transaction", "statement")
@pytest.mark.parametrize("script", EVERY_MODE, ids=lambda script: script.__name__)
def test_extended_batches(parity: Parity, script: Script) -> None:
    parity(script)


@pytest.mark.parametrize("script", TRANSACTIONS, ids=lambda script: script.__name__)
def test_extended_transactions(parity: Parity, script: Script) -> None:
    parity(script)


@pytest.mark.checklist(21)
def test_flush_without_sync_answers_at_once(route: Route) -> None:
    client = route.connect()

    client.send(parse("select $1::int"), describe_statement(), flush())
    described = client.receive_until(lambda event: event.kind == "RowDescription")
    client.send(bind(["9"]), flush())
    bound = client.receive()
    client.send(execute(), flush())
    executed = client.receive_until(lambda event: event.kind == "CommandComplete")
    client.expect_silence(0.05)
    ready = client.batch(sync())

    assert brief(described) == ["ParseComplete", "ParameterDescription 23", "RowDescription int4"]
    assert brief([bound]) == ["BindComplete"]
    assert brief(executed) == ["DataRow 9", "CommandComplete SELECT 1"]
    assert brief(ready) == ["ReadyForQuery I"]


@pytest.mark.checklist(21, 40, protocol="extended")
@pytest.mark.routes("session", "transaction", "statement", chunks=("none", "7"))
def test_server_stays_linked_between_flush_and_sync(route: Route) -> None:
    client = route.connect()
    others = [route.connect() for _ in range(1)]

    client.send(parse("select pg_backend_pid() from generate_series(1, 4)"), bind(), execute(limit=2), flush())
    first = client.receive_until(lambda event: event.kind == "PortalSuspended")
    for other in others:
        assert other.value("select 'other'") == "other"
    second = client.batch(execute(limit=0), sync())

    pids = {row[0] for row in rows(first) + rows(second)}
    assert len(pids) == 1
    assert len(rows(first) + rows(second)) == 4


@pytest.mark.checklist(19)
def test_error_after_flush_skips_until_sync(route: Route) -> None:
    client = route.connect()

    client.send(parse("select 1/0"), bind(), execute(), flush())
    events = client.receive_until(lambda event: event.kind == "ErrorResponse")
    client.send(parse("select 1"), bind(), execute(), flush())
    client.expect_silence(0.05)
    rest = client.batch(sync())

    assert sqlstates(events) == ["22012"]
    assert brief(rest) == ["ReadyForQuery I"]
    assert client.value("select 1") == "1"


@pytest.mark.checklist(24)
@pytest.mark.routes("session", "transaction", chunks=("none", "random"))
def test_named_portal_is_read_in_turns_with_another_client(route: Route) -> None:
    reader, other = route.connect(), route.connect()
    reader.query("begin")
    reader.batch(parse("select id from items order by id"), bind(portal="all"), sync())

    seen: list[str | None] = []
    for _ in range(5):
        seen += [row[0] for row in rows(reader.batch(execute("all", limit=4), sync()))]
        assert other.value("select 'between'") == "between"
    reader.query("commit")

    assert seen == [str(number) for number in range(1, 21)]
