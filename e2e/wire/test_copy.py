"""COPY in both protocols: good, failing on either side, with late messages, interrupted, and large."""

from __future__ import annotations

import threading

import pytest

from harness.client import Client, brief, rows, sqlstates
from harness.frontend import bind, copy_data, copy_done, copy_fail, execute, extended, flush, parse, query, sync
from harness.proxy import HeliosProcess
from harness.routes import Parity, Route, Script
from harness.wait import until

COPY_NOTES = "copy notes from stdin"
ROW = b"100\tcopied\n"
MEBIBYTE = 1 << 20


def copy_started(c: Client) -> None:
    """Wait until the server asks for data or refuses."""
    c.receive_until(lambda event: event.kind in ("CopyInResponse", "ErrorResponse"))


def extended_copy(sql: str = COPY_NOTES) -> bytes:
    """Parse, Bind and Execute of a COPY, without Sync."""
    return parse(sql) + bind() + execute()


@pytest.mark.checklist(33, protocol="simple")
def copy_in(c: Client) -> None:
    c.send(query(COPY_NOTES))
    copy_started(c)
    c.batch(copy_data(ROW), copy_data(b"101\tsec"), copy_data(b"ond\n"), copy_done())
    c.query("delete from notes where id in (100, 101)")


def copy_in_without_rows(c: Client) -> None:
    c.batch(query(COPY_NOTES), copy_done())


def copy_in_sent_at_once(c: Client) -> None:
    c.batch(query(COPY_NOTES), copy_data(ROW), copy_done(), query("delete from notes where id = 100"), ready=2)


def copy_out(c: Client) -> None:
    c.query("copy (select id, name from items order by id) to stdout")
    c.query("copy items (id) to stdout with (format binary)")
    c.query("copy (select 1 where false) to stdout (format csv, header)")


def copy_between_other_statements(c: Client) -> None:
    c.batch(query("select 1; copy notes from stdin; select 2"), copy_data(ROW), copy_done())
    c.query("copy (select 1) to stdout; delete from notes where id = 100; copy (select 2) to stdout")


@pytest.mark.checklist(33, protocol="simple")
def copy_fail_by_client(c: Client) -> None:
    c.batch(query(COPY_NOTES), copy_data(ROW), copy_fail("changed my mind"))
    c.query("select count(*) from notes where id = 100")


def copy_refused_at_the_start(c: Client) -> None:
    c.query("copy no_such_table from stdin")
    c.query("copy notes (no_such_column) from stdin")
    c.query("select 1")


@pytest.mark.checklist(33, protocol="simple")
def copy_refused_but_data_follows(c: Client) -> None:
    c.batch(query("copy no_such_table from stdin"), copy_data(ROW), copy_done())
    c.query("select 'next'")


@pytest.mark.checklist(33, protocol="extended")
def copy_in_extended(c: Client) -> None:
    c.send(extended_copy(), flush())
    copy_started(c)
    c.batch(copy_data(ROW), copy_done(), sync())
    c.extended("delete from notes where id = 100")


def copy_in_extended_sent_at_once(c: Client) -> None:
    c.batch(extended_copy(), copy_data(ROW), copy_done(), sync())
    c.extended("delete from notes where id = 100")


def copy_out_extended(c: Client) -> None:
    c.batch(extended_copy("copy (select id from items order by id limit 20) to stdout"), sync())


@pytest.mark.checklist(33, protocol="extended")
def copy_fail_extended(c: Client) -> None:
    c.send(extended_copy(), flush())
    copy_started(c)
    c.batch(copy_data(ROW), copy_fail("no"), parse("select 'skipped'"), sync())
    c.extended("select count(*) from notes where id = 100")


@pytest.mark.checklist(33, protocol="extended")
def bad_data_extended(c: Client) -> None:
    c.batch(extended_copy(), copy_data(b"not a number\tx\n"), copy_done(), sync())
    c.extended("select 'next'")


@pytest.mark.checklist(33, protocol="simple")
def sync_and_flush_during_copy_are_ignored(c: Client) -> None:
    c.send(query(COPY_NOTES))
    copy_started(c)
    c.batch(copy_data(ROW), sync(), flush(), sync(), copy_done())
    c.query("delete from notes where id = 100")


@pytest.mark.checklist(33, protocol="extended")
def extended_sync_before_the_copy_data(c: Client) -> None:
    c.batch(extended_copy(), sync(), copy_data(ROW), copy_done(), sync())
    c.query("delete from notes where id = 100")


def copy_in_a_transaction(c: Client) -> None:
    c.query("begin")
    c.batch(query(COPY_NOTES), copy_data(ROW), copy_done())
    c.query("select body from notes where id = 100")
    c.query("rollback")
    c.query("select count(*) from notes where id = 100")


def failed_copy_in_a_transaction(c: Client) -> None:
    c.query("begin")
    c.batch(query(COPY_NOTES), copy_data(b"x\n"), copy_done())
    c.query("select 1")
    c.query("rollback")


EVERY_MODE = [
    copy_in,
    copy_in_without_rows,
    copy_in_sent_at_once,
    copy_out,
    copy_between_other_statements,
    copy_fail_by_client,
    copy_refused_at_the_start,
    copy_refused_but_data_follows,
    copy_in_extended,
    copy_in_extended_sent_at_once,
    copy_out_extended,
    copy_fail_extended,
    bad_data_extended,
    sync_and_flush_during_copy_are_ignored,
    extended_sync_before_the_copy_data,
]


@pytest.mark.routes("session", "transaction", "statement")
@pytest.mark.parametrize("script", EVERY_MODE, ids=lambda script: script.__name__)
def test_copies(parity: Parity, script: Script) -> None:
    parity(script)


@pytest.mark.parametrize("script", [copy_in_a_transaction, failed_copy_in_a_transaction], ids=lambda s: s.__name__)
def test_copies_in_a_transaction(parity: Parity, script: Script) -> None:
    parity(script)


@pytest.mark.checklist(33, 40, protocol="simple")
def test_late_copy_data_reaches_nobody(route: Route) -> None:
    """A simple COPY that fails is over at once; what the client still sends must not reach another client's server."""
    client, other = route.connect(), route.connect()
    client.send(query(COPY_NOTES))
    copy_started(client)

    client.send(copy_data(b"not a number\tx\n" * 2000), copy_done())
    events = client.until_ready()
    client.send(copy_data(ROW), copy_data(ROW), copy_done())
    answers = [other.value("select 'other'") for _ in range(5)]

    assert sqlstates(events) == ["22P02"]
    assert brief(events)[-1] == "ReadyForQuery I"
    assert answers == ["other"] * 5
    assert client.value("select 'mine'") == "mine"


def test_copy_out_in_turns_with_another_client(route: Route) -> None:
    client, other = route.connect(), route.connect()

    client.send(query("copy (select repeat('c', 1000) from generate_series(1, 500)) to stdout"))
    assert other.value("select 'other'") == "other"
    events = client.until_ready()

    assert sum(event.kind == "CopyData" for event in events) == 500


@pytest.mark.checklist(54, protocol="simple")
@pytest.mark.routes("session", "transaction", chunks=("none", "random"))
def test_client_that_leaves_during_copy_in_leaves_nothing(route: Route) -> None:
    client = route.connect()
    client.send(query(COPY_NOTES))
    copy_started(client)
    client.send(copy_data(b"110\tlost\n"))

    client.close()

    watcher = route.connect()
    lost = "select count(*) from pg_stat_activity where query like 'copy notes%' and state = 'active'"
    until(lambda: watcher.value(lost) == "0", "the interrupted COPY to end")
    assert watcher.value("select count(*) from notes where id = 110") == "0"


@pytest.mark.checklist(34)
@pytest.mark.routes("transaction", chunks=("none",))
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_large_copy_in_and_out_streams(route: Route, protocol: str, request: pytest.FixtureRequest) -> None:
    proxy: HeliosProcess | None = None if route.mode == "direct" else request.getfixturevalue("wire_proxy")
    client = route.connect(deadline=30)
    chunk = copy_data((b"%s\n" % (b"l" * 8191)) * 16)
    client.query("create table if not exists large_copy (body text); truncate large_copy")
    before = proxy.resident_bytes() if proxy else 0
    ask, end = (query, b"") if protocol == "simple" else (extended_copy, sync())
    try:
        client.send(ask("copy large_copy from stdin"), flush())
        copy_started(client)
        sender = threading.Thread(target=lambda: client.send(*[chunk] * 320, copy_done(), end))
        sender.start()
        client.until_ready()
        sender.join(10)
        loaded = client.value("select count(*) from large_copy")
        client.send(ask("copy large_copy to stdout"), end)
        size = 0
        while (event := client.receive()).kind != "ReadyForQuery":
            size += len(event.raw) if event.kind == "CopyData" else 0
            client.transcript.clear()
    finally:
        client.query("drop table large_copy")

    assert loaded == str(320 * 16)
    assert size == 320 * 16 * 8192
    if proxy:
        assert proxy.resident_bytes() - before < 16 * MEBIBYTE


@pytest.mark.checklist(34)
@pytest.mark.routes("session", "transaction", chunks=("none",))
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_copy_that_fails_is_told_while_its_data_still_come(route: Route, protocol: str) -> None:
    """The client sends until it hears of the error: if its data held the error back, it would never stop."""
    client = route.connect(deadline=10)
    client.send(query(COPY_NOTES) if protocol == "simple" else extended_copy(), flush())
    copy_started(client)
    told = threading.Event()

    def send_on() -> None:
        while not told.is_set():
            client.socket.sendall(copy_data(b"not a number\tx\n" * 4000))

    sender = threading.Thread(target=send_on)
    sender.start()
    try:
        error = client.receive_until(lambda event: event.kind == "ErrorResponse")[-1]
    finally:
        told.set()
        sender.join(10)
    client.send(copy_done(), sync())

    assert error.sqlstate == "22P02"
    client.until_ready(2 if protocol == "simple" else 1)
    assert client.value("select 'next'") == "next"


@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_server_after_copy_is_clean_for_the_next_client(route: Route) -> None:
    client, other = route.connect(), route.connect()

    for _ in range(3):
        client.batch(query(COPY_NOTES), copy_data(ROW), copy_fail("stop"))
        client.batch(extended_copy(), copy_data(b"bad"), copy_done(), sync())
        assert rows(other.batch(extended("select 'clean'"))) == [["clean"]]
        assert other.value("select 'clean'") == "clean"


@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_query_during_copy_ends_the_connection(route: Route) -> None:
    """PostgreSQL cannot tell data from commands any more, so it gives the connection up."""
    client, other = route.connect(), route.connect()
    client.send(query(COPY_NOTES))
    copy_started(client)

    client.send(copy_data(ROW), query("select 'refused'"))
    events = client.until_closed()

    assert sqlstates(events)[0] == "08P01"
    assert other.value("select count(*) from notes where id = 100") == "0"
