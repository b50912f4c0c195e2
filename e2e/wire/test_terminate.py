"""How clients leave, politely or not, and what is left of them: nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness import frontend
from harness.client import Client, rows, sqlstates
from harness.frontend import bind, execute, parse, query, sync
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, StartProxy
from harness.routes import Route
from harness.wait import until

Leave = Callable[[Client], None]


def politely(client: Client) -> None:
    client.send(frontend.terminate())
    client.until_closed()
    client.close()


def closing(client: Client) -> None:
    client.close()


def resetting(client: Client) -> None:
    client.abort()


def with_half_a_message(client: Client) -> None:
    client.send(b"Q\0\0\0")
    client.close()


def behind_a_query(client: Client) -> None:
    client.send(query("select 1"), frontend.terminate())
    client.close()


WAYS = [politely, closing, resetting, with_half_a_message, behind_a_query]


@pytest.mark.routes("session", "transaction", "statement", chunks=("none", "7"))
@pytest.mark.parametrize("leave", WAYS, ids=lambda way: way.__name__)
def test_leaving_while_idle(route: Route, leave: Leave) -> None:
    for _ in range(6):
        client = route.connect()
        assert client.value("select 'here'") == "here"
        leave(client)

    assert route.connect().value("select 'next'") == "next"


@pytest.mark.checklist(55)
@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
@pytest.mark.parametrize("leave", WAYS, ids=lambda way: way.__name__)
def test_leaving_inside_a_transaction_rolls_back_and_frees_its_locks(route: Route, leave: Leave) -> None:
    client, other = route.connect(), route.connect()
    client.query("begin")
    client.query("insert into notes values (300, 'never')")
    client.query("select * from items where id = 5 for update")

    leave(client)

    other.query("set lock_timeout = 5000")
    assert sqlstates(other.query("begin; select * from items where id = 5 for update; rollback")) == []
    assert other.value("select count(*) from notes where id = 300") == "0"


@pytest.mark.checklist(55)
@pytest.mark.routes("session", "transaction", chunks=("none",))
def test_leaving_inside_a_failed_transaction(route: Route) -> None:
    client = route.connect()
    client.query("begin")
    client.query("select 1/0")

    politely(client)

    assert route.connect().value("select 'fine'") == "fine"


@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_leaving_with_a_batch_that_has_no_sync(route: Route) -> None:
    client, other = route.connect(), route.connect()

    client.send(parse("insert into notes values (301, 'never')"), bind(), execute())
    politely(client)

    assert other.value("select count(*) from notes where id = 301") == "0"


@pytest.mark.checklist(54, protocol="simple")
@pytest.mark.routes("session", "transaction", chunks=("none",))
def test_leaving_with_unread_replies(route: Route) -> None:
    client, other = route.connect(), route.connect()

    client.send(*[query("select repeat('x', 100000) from generate_series(1, 50)")] * 3)
    client.receive()
    client.abort()

    for _ in range(3):
        assert other.value("select 'fine'") == "fine"


@pytest.mark.checklist(54, protocol="simple")
def test_server_of_a_client_that_left_during_its_query_comes_back(start_proxy: StartProxy) -> None:
    proxy = start_proxy(pool={"max_size": 1})
    client = Client(proxy.target())
    client.send(query("select pg_sleep(2)"))
    client.expect_silence(0.2)

    client.close()

    with Client(proxy.target()) as other:
        assert other.value("select 'mine'") == "mine"


@pytest.fixture
def single(start_proxy: StartProxy) -> HeliosProcess:
    """A proxy with one server connection, so that the next client gets what the last one left."""
    return start_proxy(pool={"mode": "session", "max_size": 1})


READ_ONLY = "set session characteristics as transaction read only"

LOCKS = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"

LEFTOVERS = {
    "temporary table": ("create temp table left_behind (a int)", "select count(to_regclass('left_behind'))"),
    "setting": ("set work_mem = '44MB'", "select (current_setting('work_mem') = '44MB')::int"),
    "role": ("set role app_trust", "select (current_user <> 'app')::int"),
    "advisory lock": ("select pg_advisory_lock(42)", LOCKS),
    "setting by function": (
        "select set_config('work_mem', '44MB', false)",
        "select (current_setting('work_mem') = '44MB')::int",
    ),
    "cursor": ("declare kept cursor with hold for select 1", "select count(*) from pg_cursors where name = 'kept'"),
    "channel": ("listen left_behind", "select count(*) from pg_listening_channels()"),
    "statement": ("prepare kept as select 1", "select count(*) from pg_prepared_statements where name = 'kept'"),
    "read only": (READ_ONLY, "select (current_setting('default_transaction_read_only') = 'on')::int"),
    "planner": ("set enable_seqscan = off", "select (current_setting('enable_seqscan') = 'off')::int"),
}
"""What a session may leave behind: how to make it and how the next client would see it (0 = it does not)."""


@pytest.mark.checklist(54, 61)
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_session_leaves_nothing_to_the_next_client(single: HeliosProcess, protocol: str) -> None:
    for name, (make, count) in LEFTOVERS.items():
        with Client(single.target()) as client:
            events = client.query(make) if protocol == "simple" else client.extended(make)
            assert sqlstates(events) == [], name
        with Client(single.target()) as next_client:
            assert next_client.value(count) == "0", name


@pytest.mark.checklist(62, protocol="simple")
@pytest.mark.routes("transaction", "statement", chunks=("none",), direct=False)
def test_transaction_mode_leaves_nothing_to_the_next_client(route: Route) -> None:
    other = route.connect()

    for name, (make, count) in LEFTOVERS.items():
        for _ in range(3):
            with Client(route.target()) as client:
                assert sqlstates(client.query(make)) == [], name
                assert other.value(count) == "0", name
            assert other.value(count) == "0", name


def test_no_server_connection_is_leaked(start_proxy: StartProxy, postgres: PostgresCluster) -> None:
    proxy = start_proxy(pool={"max_size": 2})
    count = "select count(*) from pg_stat_activity where application_name = 'leak check'"
    for number in range(30):
        client = Client(proxy.target().with_options(application_name="leak check"))
        client.send(query("begin"), query(f"select {number}"), parse("select 1"), bind(), execute(), sync())
        if number % 3:
            client.until_ready(2)
        client.abort() if number % 2 else client.close()

    until(lambda: int(postgres.value(count) or 0) <= 2, "at most two server connections")
    with Client(proxy.target()) as client:
        assert rows(client.query("select 'fine'")) == [["fine"]]
