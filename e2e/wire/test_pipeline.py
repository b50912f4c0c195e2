"""Pipelining: many requests before any reply; the replies come in order, one ReadyForQuery for each Sync and Query."""

from __future__ import annotations

import threading

import pytest

from harness.client import Client, brief, rows, sqlstates
from harness.frontend import (
    bind,
    close_portal,
    close_statement,
    copy_data,
    copy_done,
    describe_portal,
    execute,
    extended,
    parse,
    query,
    sync,
)
from harness.routes import Parity, Route, Script


@pytest.mark.checklist(17, protocol="simple")
def simple_queries(c: Client) -> None:
    c.batch(*[query(f"select {number}") for number in range(30)], ready=30)


@pytest.mark.checklist(17, protocol="extended")
def extended_batches(c: Client) -> None:
    c.batch(*[extended("select $1::int", [str(number)]) for number in range(30)], ready=30)


@pytest.mark.checklist(17, 18, protocol="extended")
def one_sync_for_many_statements(c: Client) -> None:
    c.batch(*[extended("select $1::int", [str(number)])[:-5] for number in range(30)], sync())


@pytest.mark.checklist(17, 18)
def simple_and_extended_in_turn(c: Client) -> None:
    messages = [query(f"select {n}") if n % 2 else extended("select $1::int", [str(n)]) for n in range(30)]
    c.batch(*messages, ready=30)


@pytest.mark.checklist(19)
def error_in_the_middle_of_many_batches(c: Client) -> None:
    texts = [f"select 10/({number} - 3)" for number in range(7)]
    c.batch(*[extended(text) for text in texts], ready=7)


@pytest.mark.checklist(18, protocol="simple")
def errors_in_simple_queries(c: Client) -> None:
    c.batch(*[query(f"select 10/({number} - 3)") for number in range(7)], ready=7)


@pytest.mark.checklist(19)
def error_skips_to_its_own_sync_only(c: Client) -> None:
    c.batch(
        parse("select 1"),
        bind(),
        execute(),
        parse("selec"),
        bind(),
        execute(),
        close_portal(),
        sync(),
        extended("select 2"),
        parse("select 1/0"),
        bind(),
        execute(),
        sync(),
        sync(),
        query("select 3"),
        ready=5,
    )


def prepare_use_and_close_in_one_write(c: Client) -> None:
    use = bind(["1"], name="pl") + execute() + sync()
    c.batch(parse("select $1::int", name="pl"), sync(), use, use, close_statement("pl"), sync(), use, ready=5)


def transaction_in_one_write(c: Client) -> None:
    texts = (
        "begin",
        "insert into notes values (60, 'p')",
        "select body from notes where id = 60",
        "rollback",
        "select 1",
    )
    c.batch(*[query(text) for text in texts], ready=5)
    c.batch(*[extended(text) for text in texts], ready=5)


@pytest.mark.checklist(39, protocol="extended")
def failed_transaction_in_one_write(c: Client) -> None:
    texts = ("begin", "select 1/0", "select 1", "commit", "select 2")
    c.batch(*[extended(text) for text in texts], ready=5)


def transaction_with_one_sync(c: Client) -> None:
    texts = ("begin", "insert into notes values (61, 'p')", "select count(*) from notes where id = 61", "rollback")
    c.batch(*[parse(text) + bind() + describe_portal() + execute() for text in texts], sync())


def copy_inside_a_pipeline(c: Client) -> None:
    c.batch(
        query("begin"),
        query("copy notes from stdin"),
        copy_data(b"70\tpiped\n"),
        copy_done(),
        query("copy (select body from notes where id = 70) to stdout"),
        query("rollback"),
        extended("select count(*) from notes where id = 70"),
        ready=5,
    )


@pytest.mark.checklist(18)
def empty_queries_between(c: Client) -> None:
    c.batch(query(""), query("select 1"), query(";"), extended(""), sync(), query("select 2"), ready=6)


def big_and_small_replies(c: Client) -> None:
    texts = [f"select repeat('{number}', {size})" for number, size in enumerate((1, 70_000, 3, 200_000, 5))]
    c.batch(*[query(text) for text in texts], ready=5)


EVERY_MODE = [
    simple_queries,
    extended_batches,
    one_sync_for_many_statements,
    simple_and_extended_in_turn,
    error_in_the_middle_of_many_batches,
    errors_in_simple_queries,
    error_skips_to_its_own_sync_only,
    prepare_use_and_close_in_one_write,
    empty_queries_between,
    big_and_small_replies,
]

TRANSACTIONS = [
    transaction_in_one_write,
    failed_transaction_in_one_write,
    transaction_with_one_sync,
    copy_inside_a_pipeline,
]


@pytest.mark.routes("session", "transaction", "statement")
@pytest.mark.parametrize("script", EVERY_MODE, ids=lambda script: script.__name__)
def test_pipelines(parity: Parity, script: Script) -> None:
    parity(script)


@pytest.mark.parametrize("script", TRANSACTIONS, ids=lambda script: script.__name__)
def test_pipelines_with_transactions(parity: Parity, script: Script) -> None:
    parity(script)


@pytest.mark.checklist(17)
@pytest.mark.routes("session", "transaction", "statement", chunks=("none", "random"))
def test_two_thousand_requests_while_reading(route: Route) -> None:
    client = route.connect(deadline=20)
    count = 2000
    messages = b"".join(
        query(f"select {n}") if n % 3 == 0 else extended("select $1::int", [str(n)]) for n in range(count)
    )
    sender = threading.Thread(target=client.socket.sendall, args=(messages,))

    sender.start()
    events = client.until_ready(count)
    sender.join(10)

    assert [row[0] for row in rows(events)] == [str(number) for number in range(count)]


@pytest.mark.checklist(40, protocol="simple")
@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_pipeline_with_an_open_transaction_keeps_its_server(route: Route) -> None:
    client = route.connect()

    events = client.batch(query("begin"), *[query("select pg_backend_pid()")] * 5, query("commit"), ready=7)

    assert len({row[0] for row in rows(events)}) == 1


@pytest.mark.routes("session", "transaction", "statement", chunks=("none", "7"))
def test_pipelines_of_two_clients_do_not_mix(route: Route) -> None:
    first, second = route.connect(), route.connect()
    for _ in range(10):
        first.send(*[extended("select 'first'")] * 20)
        second.send(*[query("select 'second'")] * 20)

        assert rows(first.until_ready(20)) == [["first"]] * 20
        assert rows(second.until_ready(20)) == [["second"]] * 20


@pytest.mark.checklist(18)
@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_error_in_pipeline_of_errors_counts_every_sync(route: Route) -> None:
    client = route.connect()

    events = client.batch(*[extended("select 1/0")] * 10, sync(), query("select 'end'"), ready=12)

    assert sqlstates(events) == ["22012"] * 10
    assert brief(events)[-3:] == ["DataRow end", "CommandComplete SELECT 1", "ReadyForQuery I"]


@pytest.mark.routes("session", "transaction", "statement", chunks=("none", "random"))
def test_large_requests_with_large_replies_flow_both_ways_at_once(route: Route) -> None:
    """Both directions fill up: whoever waits for one before serving the other stops for ever."""
    client = route.connect(deadline=20)
    value = "v" * 1_000_000
    count = 24
    sender = threading.Thread(target=client.send, args=[extended("select $1::text", [value])] * count)

    sender.start()
    sizes = [len(row[0] or "") for row in rows(client.until_ready(count))]
    sender.join(10)

    assert sizes == [len(value)] * count


@pytest.mark.routes("session", "transaction", chunks=("none",))
def test_replies_read_only_after_many_requests_were_sent(route: Route) -> None:
    """A client that sends a good deal before it reads, but less than the sockets hold, gets everything in order."""
    client = route.connect(deadline=20)

    for number in range(200):
        client.send(extended("select $1::int, repeat('r', 500)", [str(number)]))

    assert [row[0] for row in rows(client.until_ready(200))] == [str(number) for number in range(200)]
