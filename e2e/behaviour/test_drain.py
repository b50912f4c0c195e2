"""Leaving: not ready at once, accepting a while, idle clients told, transactions finished, exit status 0."""

from __future__ import annotations

import signal
import socket
import struct
import threading
import time
from contextlib import suppress

import pytest

from harness.client import Client, ClosedError, Connection, rows, sqlstates
from harness.frontend import extended, query
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, StartProxy
from harness.wait import until

ENDPOINT_DELAY = 2


@pytest.fixture
def leaving(start_proxy: StartProxy) -> HeliosProcess:
    """A proxy that keeps accepting for two seconds after SIGTERM and gives transactions ten."""
    return start_proxy(drain={"endpoint_delay_seconds": ENDPOINT_DELAY, "timeout_seconds": 10})


def accepts(proxy: HeliosProcess) -> bool:
    """Whether a TCP connection is accepted."""
    try:
        socket.create_connection(("127.0.0.1", proxy.port), timeout=2).close()
    except OSError:
        return False
    return True


@pytest.mark.checklist(63)
def test_sigterm_in_its_order(leaving: HeliosProcess) -> None:
    idle, busy = Client(leaving.target()), Client(leaving.target())
    busy.query("begin")
    busy.query("insert into notes values (400, 'before the end')")
    assert leaving.get("/readyz")[0] == 200

    start = time.monotonic()
    leaving.signal(signal.SIGTERM)
    until(lambda: leaving.get("/readyz")[0] == 503, "/readyz to turn to 503", deadline=1)
    with Client(leaving.target()) as newcomer:
        assert newcomer.value("select 'still welcome'") == "still welcome"
    assert idle.value("select 'still served'") == "still served"
    assert leaving.get("/livez")[0] == 200
    until(lambda: not accepts(leaving), "the listener to close")
    closed_after = time.monotonic() - start
    farewell = idle.until_closed()

    assert closed_after >= ENDPOINT_DELAY - 0.2
    assert [event.brief for event in farewell] == ["ErrorResponse 57P01"]
    assert farewell[0].fields["V"] == "FATAL"
    assert busy.value("select body from notes where id = 400") == "before the end"
    busy.query("delete from notes where id = 400")
    assert busy.query("commit")[0].brief == "CommandComplete COMMIT"
    assert [event.sqlstate for event in busy.until_closed()] == ["57P01"]
    assert leaving.wait() == 0
    idle.close()


@pytest.mark.checklist(63)
def test_running_query_ends_before_its_client_is_told(leaving: HeliosProcess) -> None:
    client = Client(leaving.target())
    client.send(query("select pg_sleep(1.5), 'finished'"))
    client.expect_silence(0.1)

    leaving.signal(signal.SIGINT)
    events = client.until_closed()

    kinds = [event.brief for event in events]
    assert kinds[1:] == ["DataRow |finished", "CommandComplete SELECT 1", "ReadyForQuery I", "ErrorResponse 57P01"]
    assert leaving.wait() == 0


def test_pipelined_batches_are_answered(leaving: HeliosProcess) -> None:
    client = Client(leaving.target())
    client.send(query("select pg_sleep(0.5)"), extended("select 'second'"), query("select 'third'"))
    client.expect_silence(0.1)

    leaving.signal(signal.SIGINT)
    texts = [event.brief for event in client.until_closed()]

    assert [text for text in texts if text.startswith("DataRow")] == ["DataRow", "DataRow second", "DataRow third"]
    assert texts[-1] == "ErrorResponse 57P01"
    assert leaving.wait() == 0


@pytest.mark.checklist(63)
def test_transaction_that_does_not_end_is_cut_off_at_the_timeout(
    start_proxy: StartProxy, postgres: PostgresCluster
) -> None:
    proxy = start_proxy(drain={"endpoint_delay_seconds": 0, "timeout_seconds": 1})
    client = Client(proxy.target())
    client.query("begin")
    client.query("insert into notes values (401, 'never')")

    start = time.monotonic()
    proxy.signal(signal.SIGTERM)
    events = client.until_closed()

    assert proxy.wait() == 0
    assert 0.8 <= time.monotonic() - start < 6
    assert {event.sqlstate for event in events} <= {"57P01"}
    assert "timed out" in proxy.log()
    count = "select count(*) from pg_stat_activity where usename = 'app' and state = 'idle in transaction'"
    until(lambda: postgres.value(count) == "0", "the transaction to be gone")
    assert postgres.value("select count(*) from notes where id = 401") == "0"


LARGE = 50_000_000


@pytest.mark.checklist(56, 63)
def test_row_that_the_timeout_cuts_off_is_followed_by_nothing(
    start_proxy: StartProxy, postgres: PostgresCluster
) -> None:
    """A slow reader has half a row: whatever was sent behind it would be read as part of it."""
    proxy = start_proxy(drain={"endpoint_delay_seconds": 0, "timeout_seconds": 1})
    client = Client(proxy.target())
    client.send(query(f"select repeat('x', {LARGE})"))
    writing = "select count(*) from pg_stat_activity where query like 'select repeat%' and wait_event = 'ClientWrite'"
    until(lambda: postgres.value(writing) == "1", "the row to be on its way")

    proxy.signal(signal.SIGTERM)
    assert proxy.wait() == 0
    received = bytearray()
    with suppress(ConnectionResetError):
        while chunk := client.socket.recv(1 << 18):
            received += chunk

    _, found, value = received.partition(b"D" + struct.pack("!ihi", LARGE + 10, 1, LARGE))
    assert found
    assert 0 < len(value) < LARGE
    assert value == b"x" * len(value)
    until(lambda: postgres.value(writing) == "0", "the server to be gone")


def test_waiting_client_is_served_during_the_drain(start_proxy: StartProxy) -> None:
    proxy = start_proxy(pool={"max_size": 1}, drain={"endpoint_delay_seconds": 0, "timeout_seconds": 5})
    holder, waiter = Client(proxy.target()), Client(proxy.target())
    holder.query("begin")
    waiter.send(query("select 'waited'"))
    waiter.expect_silence(0.1)

    proxy.signal(signal.SIGTERM)
    holder.query("commit")
    events = waiter.until_closed()

    assert rows(events) == [["waited"]]
    assert sqlstates(events) == ["57P01"]
    assert proxy.wait() == 0
    holder.close()


POOLED = 6  # threads of one interpreter: with more, one may wait longer than a pool ever would


def test_a_client_that_goes_on_at_once_is_not_ended_between_ping_and_transaction(leaving: HeliosProcess) -> None:
    """As a pool does: ask whether the connection lives, then begin; ended in between, the transaction would fail."""
    broken: list[str] = []
    transactions = [0] * POOLED

    def work(number: int) -> None:
        client = Client(leaving.target())
        while True:
            try:
                client.query("select 'ping'")
            except (ClosedError, OSError):
                client.close()
                return
            for statement in ("begin", "select 'inside'", "commit"):
                try:
                    complete = client.query(statement)[-1].brief.startswith("ReadyForQuery")
                except (ClosedError, OSError):
                    complete = False
                if not complete:
                    broken.append(statement)
                    return
            transactions[number] += 1

    workers = [threading.Thread(target=work, args=[number]) for number in range(POOLED)]
    for worker in workers:
        worker.start()
    until(lambda: min(transactions) >= 3, "everybody to be at work")

    leaving.signal(signal.SIGINT)
    for worker in workers:
        worker.join(20)

    assert broken == []
    assert leaving.wait() == 0


def test_half_open_login_does_not_hold_up_the_end(leaving: HeliosProcess) -> None:
    silent = Connection("127.0.0.1", leaving.port)

    start = time.monotonic()
    leaving.signal(signal.SIGINT)

    assert leaving.wait() == 0
    assert time.monotonic() - start < 5
    silent.close()


def test_second_signal_ends_at_once(leaving: HeliosProcess) -> None:
    client = Client(leaving.target())
    client.query("begin")

    leaving.signal(signal.SIGTERM)
    until(lambda: leaving.get("/readyz")[0] == 503, "the drain to begin")
    start = time.monotonic()
    leaving.signal(signal.SIGTERM)

    assert leaving.wait() == 128 + signal.SIGTERM
    assert time.monotonic() - start < 3
    client.close()


def test_no_server_connection_is_left_behind(start_proxy: StartProxy, postgres: PostgresCluster) -> None:
    proxy = start_proxy()
    with Client(proxy.target().with_options(application_name="to be gone")) as client:
        client.query("set application_name = 'to be gone'")
        client.query("select 1")

    proxy.signal(signal.SIGTERM)

    assert proxy.wait() == 0
    count = "select count(*) from pg_stat_activity where application_name = 'to be gone'"
    until(lambda: postgres.value(count) == "0", "the server connections to be closed")
