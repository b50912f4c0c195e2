"""What a pool promises: few server connections for many clients, fair turns, bounded waiting, and one identity each."""

from __future__ import annotations

import selectors
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.client import Client, LoginRefusedError, Target, brief, rows, sqlstates
from harness.frontend import bind, execute, parse, query, sync
from harness.postgres import APP, APP_PLAIN, PASSWORDS, PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.wait import until
from harness.workload import in_parallel

CROWD = 1000
CROWD_POOL = 20
FAIR_CLIENTS = 64


def server_pid(client: Client) -> str:
    """Process id of the server connection that answers."""
    return client.value("select pg_backend_pid()") or ""


class ConnectionCount:
    """Counts, in a thread, the server connections a role has; `highest` is the most ever seen, `samples` how often."""

    def __init__(self, postgres: PostgresCluster, user: str) -> None:
        self._sql = f"select count(*) from pg_stat_activity where usename = '{user}'"
        self._client = Client(postgres.superuser())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.highest = 0
        self.samples = 0

    def _sample(self) -> None:
        while not self._stop.is_set():
            self.highest = max(self.highest, int(self._client.value(self._sql) or 0))
            self.samples += 1

    def __enter__(self) -> ConnectionCount:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.terminate()


@pytest.fixture(scope="module")
def crowd_proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """A proxy with twenty server connections. Clients are trusted: a thousand SCRAM logins would measure SCRAM."""
    folder: Path = tmp_path_factory.mktemp("crowd")
    pool = {"max_size": CROWD_POOL, "acquire_timeout_seconds": 20}
    plain = {"name": "plain", "database": "app", "user": APP_PLAIN, "password": PASSWORDS[APP_PLAIN]}
    sections = {"pool": pool, "auth": {"method": "trust"}, "databases": [plain, {"name": "*"}]}
    with HeliosProcess(folder, base_settings(postgres, folder, **sections)) as process:
        yield process


POOLS: dict[str, dict[str, object]] = {
    "fair": {"max_size": 1, "acquire_timeout_seconds": 30},
    "short-wait": {"max_size": 1, "acquire_timeout_seconds": 1},
    "ordered": {"max_size": 1},
    "shared": {"max_size": 1},
    "session": {"mode": "session", "max_size": 1, "acquire_timeout_seconds": 1},
    "transaction": {"max_size": 2},
    "statement": {"mode": "statement", "max_size": 1},
    "warm": {"min_idle": 3, "max_size": 5},
    "cooling": {"idle_timeout_seconds": 1, "max_size": 4},
    "ageing": {"max_lifetime_seconds": 1, "max_size": 1},
    "identity": {"max_size": 3},
    "reset": {"max_size": 1, "reset_query": "set search_path = 'reset_by_helios'"},
    "clean": {"max_size": 1},
    "counted": {"max_size": 3},
}
"""Database name → pool. They lead to databases of these names on the server, so that each has its own pool."""


@pytest.fixture(scope="module")
def pools(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """One proxy of two workers with a pool for each test, so that a test need not start its own."""
    folder: Path = tmp_path_factory.mktemp("pools")
    databases = [{"name": name, "database": name, "pool": pool} for name, pool in POOLS.items()]
    for name in POOLS:
        postgres.execute(f'create database "{name}" owner {APP} strategy file_copy', "postgres")
    with HeliosProcess(folder, base_settings(postgres, folder, databases=[*databases, {"name": "*"}])) as process:
        yield process


def test_thousand_clients_share_twenty_server_connections(
    crowd_proxy: HeliosProcess, postgres: PostgresCluster
) -> None:
    target = crowd_proxy.target("plain")
    with ConnectionCount(postgres, APP_PLAIN) as connections:
        clients = [Client(target, deadline=30) for _ in range(CROWD)]
        for turn in range(3):
            for number, client in enumerate(clients):
                client.send(query(f"select {number}, {turn}"))
            for number, client in enumerate(clients):
                assert rows(client.until_ready()) == [[str(number), str(turn)]]
        for number, client in enumerate(clients):
            client.send(parse("select $1::int"), bind([str(number)]), execute(), sync())
        for number, client in enumerate(clients):
            assert rows(client.until_ready()) == [[str(number)]]
        for client in clients:
            client.terminate()

    assert connections.samples > 10
    assert 1 <= connections.highest <= CROWD_POOL


def test_pool_fills_to_its_size_under_load_and_not_beyond(
    crowd_proxy: HeliosProcess, postgres: PostgresCluster
) -> None:
    with ConnectionCount(postgres, APP_PLAIN) as connections:
        clients = [Client(crowd_proxy.target("plain"), deadline=20) for _ in range(100)]
        for client in clients:
            client.send(query("select pg_sleep(0.05)"))
        for client in clients:
            assert sqlstates(client.until_ready()) == []
            client.terminate()

    assert connections.highest == CROWD_POOL


def test_one_server_connection_is_shared_fairly(pools: HeliosProcess) -> None:
    """64 clients of two workers on one server connection: the longest wait is at most four times the median."""
    target = pools.target("fair")
    clients = [Client(target, deadline=30) for _ in range(FAIR_CLIENTS)]
    message = query("select pg_sleep(0.002)")
    selector = selectors.DefaultSelector()
    sent: dict[Client, float] = {}
    waits: list[float] = []
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
        sent[client] = time.monotonic()
        client.send(message)

    turns = dict.fromkeys(clients, 0)
    while min(turns.values()) < 15:
        for key, _ in selector.select(timeout=20):
            ready: Client = key.data
            assert sqlstates(ready.until_ready()) == []
            now = time.monotonic()
            turns[ready] += 1
            if turns[ready] > 1:  # the first turn starts with a rush that is the test's own
                waits.append(now - sent[ready])
            sent[ready] = now
            ready.send(message)
    for client in clients:
        client.until_ready()
        client.terminate()

    assert max(waits) <= 4 * statistics.median(waits), (max(waits), statistics.median(waits))
    assert max(turns.values()) <= 2 * min(turns.values()) + 2


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_acquire_timeout_is_an_error_that_names_pool_and_remedy(pools: HeliosProcess, protocol: str) -> None:
    target = pools.target("short-wait")
    holder, waiter = Client(target), Client(target)
    holder.query("begin")

    start = time.monotonic()
    events = waiter.query("select 1") if protocol == "simple" else waiter.extended("select 1")
    waited = time.monotonic() - start

    [error] = [event for event in events if event.kind == "ErrorResponse"]
    assert 0.9 <= waited <= 3
    assert error.sqlstate == "53300"
    assert "short-wait" in error.fields["M"]
    assert error.fields.get("H")
    assert brief(events)[-1] == "ReadyForQuery I"
    holder.query("commit")
    assert waiter.value("select 'later'") == "later"
    for client in (holder, waiter):
        client.terminate()


def test_waiting_clients_are_served_in_order_of_arrival(pools: HeliosProcess) -> None:
    target = pools.target("ordered")
    holder = Client(target)
    holder.query("begin")
    waiters = [Client(target) for _ in range(10)]
    for number, waiter in enumerate(waiters):
        waiter.send(query(f"select {number}, clock_timestamp()::text"))
        wait_until_waiting(pools, "ordered", number + 1)

    holder.query("commit")
    answered = [rows(waiter.until_ready())[0][1] or "" for waiter in waiters]

    assert answered == sorted(answered)
    for client in (holder, *waiters):
        client.terminate()


def pool_of(proxy: HeliosProcess, database: str) -> dict[str, int]:
    """The entry of /pools on the primary; zeros if there is none yet."""
    for pool in proxy.json("/pools"):
        if (pool["database"], pool["node_name"]) == (database, "primary"):
            return dict(pool)
    return {"active_connections": 0, "idle_connections": 0, "pending_requests": 0, "total_connections_created": 0}


def wait_until_waiting(proxy: HeliosProcess, database: str, count: int) -> None:
    """Wait until so many clients wait for a connection of the pool."""
    until(lambda: pool_of(proxy, database)["pending_requests"] == count, f"{count} clients to wait")


def test_pool_of_one_serves_the_clients_of_every_worker(pools: HeliosProcess) -> None:
    target = pools.target("shared")
    clients = [Client(target) for _ in range(12)]

    for turn in range(5):
        assert [client.value(f"select {turn}") for client in clients] == [str(turn)] * 12

    assert len({server_pid(client) for client in clients}) == 1
    for client in clients:
        client.terminate()


def test_session_mode_keeps_its_server_for_the_session(pools: HeliosProcess) -> None:
    target = pools.target("session")
    with Client(target) as client:
        pids = {server_pid(client) for _ in range(5)}
        client.query("set work_mem = '21MB'; create temp table mine (a int)")
        kept = client.value("select current_setting('work_mem') || count(*) from mine")
        refused = login_or_query_error(target)

    assert len(pids) == 1
    assert kept == "21MB0"
    assert refused == "53300"
    with Client(target) as after:
        assert after.value("select to_regclass('mine') is null") == "t"


def login_or_query_error(target: Target) -> str:
    """SQLSTATE with which a new client fails at its login or first query."""
    try:
        with Client(target) as client:
            return sqlstates(client.query("select 1"))[0]
    except LoginRefusedError as refused:
        return refused.sqlstate


@pytest.mark.checklist(40, protocol="simple")
def test_transaction_mode_keeps_its_server_for_the_transaction(pools: HeliosProcess) -> None:
    target = pools.target("transaction")
    clients = [Client(target) for _ in range(2)]
    for client in clients:
        client.query("begin")

    pids = [{server_pid(client) for _ in range(4)} for client in clients]
    for client in clients:
        client.query("commit")

    assert [len(seen) for seen in pids] == [1, 1]
    assert pids[0] != pids[1]
    third = Client(target)
    assert third.value("select 'served'") == "served"
    for client in (*clients, third):
        client.terminate()


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_statement_mode_refuses_a_transaction_block(pools: HeliosProcess, protocol: str) -> None:
    target = pools.target("statement")
    client, other = Client(target), Client(target)

    events = client.query("begin") if protocol == "simple" else client.extended("begin")

    assert len(sqlstates(events)) == 1, brief(events)
    assert other.value("select 'not blocked'") == "not blocked"
    for end in (client, other):
        end.terminate()


def test_min_idle_connections_are_opened_ahead_of_need(pools: HeliosProcess) -> None:
    target = pools.target("warm")
    with Client(target) as client:
        client.query("select 1")

        until(lambda: pool_of(pools, "warm")["idle_connections"] >= 3, "three idle server connections")

    assert pool_of(pools, "warm")["total_connections_created"] <= 5


def test_idle_connections_are_closed_after_the_idle_timeout(pools: HeliosProcess) -> None:
    target = pools.target("cooling")
    clients = [Client(target) for _ in range(4)]
    for client in clients:
        client.send(query("select pg_sleep(0.1)"))
    for client in clients:
        client.until_ready()
    opened = pool_of(pools, "cooling")["idle_connections"]

    until(lambda: pool_of(pools, "cooling")["idle_connections"] == 0, "the idle connections to be closed")

    assert opened == 4
    assert [client.value("select 'again'") for client in clients] == ["again"] * 4
    for client in clients:
        client.terminate()


def test_connections_are_replaced_after_their_lifetime_without_an_error(pools: HeliosProcess) -> None:
    target = pools.target("ageing")
    with Client(target) as client:
        first = server_pid(client)

        until(lambda: server_pid(client) != first, "another server connection", deadline=5)

        client.query("begin")
        inside = server_pid(client)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert server_pid(client) == inside
        client.query("commit")


def test_two_users_never_share_a_server_connection(pools: HeliosProcess) -> None:
    users = (APP, APP_PLAIN)

    def use(number: int) -> tuple[str, str, set[str]]:
        user = users[number % 2]
        with Client(pools.target("identity", user)) as client:
            seen = {client.value("select session_user || ' ' || pg_backend_pid()") or "" for _ in range(20)}
        return user, {text.split()[0] for text in seen}.pop(), {text.split()[1] for text in seen}

    results = in_parallel(12, use)

    pids: dict[str, set[str]] = {user: set() for user in users}
    for user, session_user, seen in results:
        assert session_user == user
        pids[user] |= seen
    assert not pids[APP] & pids[APP_PLAIN]


def test_two_databases_never_share_a_server_connection(pools: HeliosProcess) -> None:

    for _ in range(5):
        for database in ("app", "other"):
            with Client(pools.target(database)) as client:
                assert client.value("select current_database()") == database


@pytest.mark.checklist(61)
def test_reset_query_of_the_file_is_sent_between_clients(pools: HeliosProcess) -> None:
    target = pools.target("reset")
    with Client(target) as first, Client(target) as second:
        first.query("set work_mem = '21MB'")

        assert second.value("show search_path") == "reset_by_helios"


@pytest.mark.checklist(61)
def test_clean_connection_is_not_reset(pools: HeliosProcess, postgres: PostgresCluster) -> None:
    """Plain queries of many clients send nothing else to the server: its last statement is the client's own."""
    target = pools.target("clean")
    with Client(target) as first, Client(target) as second:
        pid = server_pid(first)
        for _ in range(3):
            first.value("select 'first'")
            second.value("select 'second'")

        last = postgres.value(f"select query from pg_stat_activity where pid = {pid}")

    assert last == "select 'second'"


def test_pools_are_counted_in_the_admin_api(pools: HeliosProcess) -> None:
    target = pools.target("counted")
    holder = Client(target)
    holder.query("begin")
    idle = Client(target)
    idle.query("select 1")

    until(lambda: pool_of(pools, "counted")["active_connections"] == 1, "one active connection")

    assert pool_of(pools, "counted")["idle_connections"] >= 1
    for client in (holder, idle):
        client.terminate()
