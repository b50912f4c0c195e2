"""Cancel requests: the right query, only that one, and never an answer."""

from __future__ import annotations

import random
import threading

import pytest

from harness import frontend
from harness.client import Client, Connection, brief, rows, sqlstates
from harness.frontend import extended, query
from harness.proxy import HeliosProcess, StartProxy
from harness.routes import Route
from harness.wait import until

CANCELLED = "57014"


def cancel(client: Client, key: bytes | None = None, pid: int | None = None) -> None:
    """Send a CancelRequest for `client` and wait until the other side closes, without an answer."""
    connection = Connection(client.target.host, client.target.port)
    connection.send(frontend.cancel_request(client.pid if pid is None else pid, client.key if key is None else key))
    assert connection.until_closed() == []
    connection.close()


def wait_until_running(watcher: Client, sql: str) -> None:
    """Wait until a server process runs `sql`."""
    count = f"select count(*) from pg_stat_activity where query = '{sql}' and state = 'active'"
    until(lambda: watcher.value(count) == "1", f"{sql} to run")


@pytest.mark.checklist(47)
@pytest.mark.routes("session", "transaction", "statement")
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_running_query_is_cancelled(route: Route, protocol: str) -> None:
    client, watcher = route.connect(), route.connect()
    sql = f"select pg_sleep(20) /* {route.kind} {protocol} */"
    client.send(query(sql) if protocol == "simple" else extended(sql))
    wait_until_running(watcher, sql)

    cancel(client)
    events = client.until_ready()

    assert sqlstates(events) == [CANCELLED]
    assert client.value("select 'alive'") == "alive"


@pytest.mark.routes("session", "transaction", chunks=("none",))
def test_cancel_inside_a_transaction_fails_it(route: Route) -> None:
    client, watcher = route.connect(), route.connect()
    sql = f"select pg_sleep(20) /* in transaction {route.kind} */"
    client.query("begin")
    client.send(query(sql))
    wait_until_running(watcher, sql)

    cancel(client)

    assert brief(client.until_ready())[-2:] == [f"ErrorResponse {CANCELLED}", "ReadyForQuery E"]
    assert brief(client.query("commit")) == ["CommandComplete ROLLBACK", "ReadyForQuery I"]


@pytest.mark.routes("transaction", chunks=("none",))
def test_protocol_3_2_key_cancels(route: Route) -> None:
    watcher = route.connect()
    target = route.target()
    client = Client(type(target)(**{**vars(target), "version": frontend.PROTOCOL_3_2}))
    sql = f"select pg_sleep(20) /* 3.2 {route.kind} */"
    client.send(query(sql))
    wait_until_running(watcher, sql)

    cancel(client)

    assert sqlstates(client.until_ready()) == [CANCELLED]
    client.terminate()


@pytest.mark.checklist(47, 48)
@pytest.mark.routes("session", "transaction", "statement", chunks=("none",))
def test_cancel_of_an_idle_client_does_nothing(route: Route) -> None:
    """Also the statement that is sent as soon as the request's connection has ended is safe from it."""
    client, other = route.connect(), route.connect()

    for number in range(25):
        assert client.value(f"select {number} as unseen_in_{route.mode}_{number}") == str(number)
        cancel(client)

    assert client.value("select 'mine'") == "mine"
    assert other.value("select 'other'") == "other"


@pytest.mark.checklist(47, 51)
@pytest.mark.routes("session", "transaction", chunks=("none",))
def test_wrong_key_does_nothing(route: Route) -> None:
    client, watcher = route.connect(), route.connect()
    sql = f"select pg_sleep(0.4) /* wrong key {route.kind} */"
    client.send(query(sql))
    wait_until_running(watcher, sql)

    cancel(client, key=bytes(len(client.key)))
    cancel(client, key=client.key[:-1])
    cancel(client, key=client.key + b"x")
    cancel(client, pid=client.pid ^ 1)

    assert sqlstates(client.until_ready()) == []


@pytest.mark.checklist(49)
def test_waiting_client_is_cancelled_without_touching_the_server(start_proxy: StartProxy) -> None:
    proxy = start_proxy(pool={"max_size": 1, "acquire_timeout_seconds": 20})
    holder, waiter = Client(proxy.target()), Client(proxy.target())
    holder.query("begin")
    waiter.send(query("select 'waited'"))
    waiter.expect_silence(0.1)

    cancel(waiter)
    events = waiter.until_ready()

    assert sqlstates(events) == [CANCELLED]
    assert brief(events)[-1] == "ReadyForQuery I"
    assert holder.value("select 'undisturbed'") == "undisturbed"
    holder.query("commit")
    assert waiter.value("select 'later'") == "later"
    for client in (holder, waiter):
        client.terminate()


@pytest.mark.checklist(48)
def test_late_cancel_never_hits_another_client(wire_proxy: HeliosProcess) -> None:
    """Cancels race with the end of their query while others use the same two servers."""
    target = wire_proxy.target("transaction")
    generator = random.Random(3)
    stop = threading.Event()
    wrong: list[str] = []

    def bystander(number: int) -> None:
        with Client(target) as client:
            while not stop.is_set():
                events = client.query(f"select {number}, pg_sleep(0.001)")
                if sqlstates(events) or rows(events)[0][0] != str(number):
                    wrong.append(str(brief(events)))

    threads = [threading.Thread(target=bystander, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    with Client(target) as victim:
        for _ in range(150):
            victim.send(query(f"select pg_sleep({generator.choice([0, 0.0005, 0.002])})"))
            cancel(victim)
            assert set(sqlstates(victim.until_ready())) <= {CANCELLED}
    stop.set()
    for thread in threads:
        thread.join(10)

    assert wrong == []


@pytest.mark.checklist(52)
def test_storm_of_bad_cancels_leaves_the_proxy_working(wire_proxy: HeliosProcess) -> None:
    for number in range(200):
        connection = Connection("127.0.0.1", wire_proxy.port)
        connection.send(frontend.cancel_request(number, bytes(4)))
        connection.close()

    with Client(wire_proxy.target("transaction")) as client:
        assert client.value("select 'fine'") == "fine"


@pytest.mark.checklist(51)
def test_keys_are_not_repeated(wire_proxy: HeliosProcess) -> None:
    keys = set()
    for _ in range(50):
        with Client(wire_proxy.target("transaction")) as client:
            keys.add((client.pid, client.key))

    assert len({key for _, key in keys}) == 50
    assert all(len(set(key)) > 1 for _, key in keys)
