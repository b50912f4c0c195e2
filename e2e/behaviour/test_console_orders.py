"""What the console does to clients and servers: pause, resume, reconnect, kill, disable, reload, set, shutdown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.client import Client, ClosedError, Connection, LoginRefusedError, rows, sqlstates
from harness.frontend import cancel_request, query
from harness.postgres import APP, DATABASE, PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.wait import until

OTHER = "other"
"""A second name of the same database, with pools of its own."""


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """A proxy with two databases, of which one is in session mode, and every other name."""
    folder = tmp_path_factory.mktemp("console")
    databases = [
        {"name": DATABASE},
        {"name": OTHER, "database": DATABASE, "pool": {"mode": "session"}},
        {"name": "*", "database": DATABASE},
    ]
    settings = base_settings(postgres, folder, console={"admin_users": [APP]}, databases=databases)
    with HeliosProcess(folder, settings) as process:
        yield process


@pytest.fixture
def admin(proxy: HeliosProcess) -> Iterator[Client]:
    """The administrator on the console. Leaves nothing paused or disabled behind."""
    with Client(proxy.target("pgbouncer")) as client:
        yield client
        for command in ("resume", f"resume {DATABASE}", f"resume {OTHER}", f"enable {DATABASE}"):
            client.query(command)


def servers(admin: Client, database: str = DATABASE) -> list[str | None]:
    """Process ids of the servers of a database."""
    return [row[16] for row in rows(admin.query("show servers")) if row[2] == database]


def waiting(admin: Client) -> int:
    return [row[4] for row in rows(admin.query("show clients"))].count("waiting")


def paused(admin: Client, database: str) -> bool:
    return next(row[15] == "1" for row in rows(admin.query("show databases")) if row[0] == database)


def test_pause_waits_for_transactions_and_holds_the_next_ones(proxy: HeliosProcess, admin: Client) -> None:
    """One database: who is in a transaction ends it, the next waits and is served after RESUME, another is not held."""
    with Client(proxy.target()) as inside, Client(proxy.target()) as next_one, Client(proxy.target(OTHER)) as other:
        inside.query("begin")
        with Client(proxy.target("pgbouncer")) as pauser:
            pauser.send(query(f"pause {DATABASE}"))
            until(lambda: paused(admin, DATABASE), "the pause")
            next_one.send(query("select 1"))
            until(lambda: waiting(admin) == 1, "a client that waits")
            assert rows(other.query("select 2")) == [["2"]]
            pauser.expect_silence(0.1)

            assert sqlstates(inside.query("select 3; commit")) == []
            assert [event.text for event in pauser.until_ready()] == ["CommandComplete PAUSE", "ReadyForQuery I"]
        assert servers(admin) == []
        next_one.expect_silence(0.1)
        with Client(proxy.target()) as newcomer:
            newcomer.send(query("select 4"))
            until(lambda: waiting(admin) == 2, "a new client that waits")
            assert sqlstates(admin.query(f"resume {DATABASE}")) == []
            assert rows(next_one.until_ready()) == [["1"]]
            assert rows(newcomer.until_ready()) == [["4"]]
        assert sqlstates(admin.query(f"resume {DATABASE}")) == ["55000"]


def test_pause_of_all_is_beside_that_of_one(proxy: HeliosProcess, admin: Client) -> None:
    with Client(proxy.target()) as client, Client(proxy.target(OTHER)) as other:
        client.query("select 1")
        assert sqlstates(admin.query(f"pause {DATABASE}")) == []
        assert sqlstates(admin.query("pause")) == []
        assert sqlstates(admin.query("pause")) == ["55000"]
        assert rows(admin.query("show state")) == [["active", "no"], ["paused", "yes"], ["suspended", "no"]]
        client.send(query("select 1"))
        other.send(query("select 2"))
        until(lambda: waiting(admin) == 2, "both to wait")
        admin.query("resume")
        assert rows(other.until_ready()) == [["2"]]
        client.expect_silence(0.1)
        admin.query(f"resume {DATABASE}")
        assert rows(client.until_ready()) == [["1"]]


def test_cancelled_pause_is_none(proxy: HeliosProcess, admin: Client) -> None:
    with Client(proxy.target()) as inside, Client(proxy.target()) as other:
        inside.query("begin")
        admin.send(query("pause"))
        other.send(query("select 1"))
        with Client(proxy.target("pgbouncer")) as watcher:
            until(lambda: waiting(watcher) == 1, "the pause to hold a client")
            canceller = Connection("127.0.0.1", proxy.port)
            canceller.send(cancel_request(admin.pid, admin.key))
            assert sqlstates(admin.until_ready()) == ["57014"]
            canceller.until_closed()
        assert rows(other.until_ready()) == [["1"]]
        inside.query("commit")


def test_a_pause_ends_a_wait_only_by_its_limit(proxy: HeliosProcess, admin: Client) -> None:
    admin.query("set query_wait_timeout = 1")
    try:
        with Client(proxy.target()) as client:
            admin.query("pause")
            events = client.query("select 1")
            assert sqlstates(events) == ["57P03"]
            assert "was paused for more than 1 s" in events[0].text
            admin.query("resume")
            assert rows(client.query("select 1")) == [["1"]]
    finally:
        admin.query("set query_wait_timeout = 10")


def test_reconnect_replaces_servers_as_they_come_back(proxy: HeliosProcess, admin: Client) -> None:
    with Client(proxy.target()) as idle, Client(proxy.target()) as inside:
        inside.query("begin")
        kept = inside.value("select pg_backend_pid()")
        idle.query("select 1")
        before = set(servers(admin))
        assert len(before) == 2
        admin.query("reconnect")
        until(lambda: set(servers(admin)) == {kept}, "the idle server to be closed")
        closing = [row[13] for row in rows(admin.query("show servers")) if row[16] == kept]
        assert closing == ["1"]
        assert idle.value("select pg_backend_pid()") not in before

        with Client(proxy.target("pgbouncer")) as watcher:
            watcher.send(query("wait_close"))
            watcher.expect_silence(0.1)
            assert inside.value("select pg_backend_pid()") == kept
            inside.query("commit")
            assert [event.text for event in watcher.until_ready()] == ["CommandComplete WAIT_CLOSE", "ReadyForQuery I"]
        assert kept not in servers(admin)


def test_kill_client_ends_it_and_its_transaction(proxy: HeliosProcess, admin: Client) -> None:
    with Client(proxy.target().with_options(application_name="victim")) as victim:
        victim.query("begin; update notes set body = 'killed' where false")
        victim.send(query("select pg_sleep(60)"))

        def asleep() -> str | None:
            found = [row for row in rows(admin.query("show clients")) if row[18] == "victim" and row[4] == "active"]
            return found[0][20] if found else None

        number = until(asleep, "the client to be active")
        assert sqlstates(admin.query(f"kill_client {number}")) == []
        assert [event.sqlstate for event in victim.until_closed()][-1] == "57P01"
    until(lambda: not any(row[18] == "victim" for row in rows(admin.query("show clients"))), "the client to be gone")
    assert sqlstates(admin.query(f"kill_client {number}")) == ["42704"]


def test_kill_ends_clients_of_a_database_and_holds_new_ones(proxy: HeliosProcess, admin: Client) -> None:
    idle, busy, other = Client(proxy.target()), Client(proxy.target()), Client(proxy.target(OTHER))
    busy.send(query("select pg_sleep(60)"))
    until(lambda: len(servers(admin)) >= 1 and "active" in {r[4] for r in rows(admin.query("show clients"))}, "a query")
    assert sqlstates(admin.query(f"kill {DATABASE}")) == []
    for client in (idle, busy):
        assert [event.sqlstate for event in client.until_closed()][-1] == "57P01"
    assert rows(other.query("select 1")) == [["1"]]
    until(lambda: servers(admin) == [], "its servers to be closed")
    with Client(proxy.target()) as newcomer:
        newcomer.send(query("select 2"))
        until(lambda: waiting(admin) == 1, "a new client to wait")
        admin.query(f"resume {DATABASE}")
        assert rows(newcomer.until_ready()) == [["2"]]
    other.terminate()


def test_disabled_database_takes_no_new_clients(proxy: HeliosProcess, admin: Client) -> None:
    with Client(proxy.target()) as client:
        admin.query(f"disable {DATABASE}")
        with pytest.raises(LoginRefusedError) as refused:
            Client(proxy.target())
        assert (refused.value.sqlstate, refused.value.event.fields["M"]) == (
            "55000",
            f'database "{DATABASE}" is disabled',
        )
        assert rows(client.query("select 1")) == [["1"]]
        Client(proxy.target(OTHER)).terminate()
        admin.query(f"enable {DATABASE}")
        Client(proxy.target()).terminate()


def test_set_and_reload(proxy: HeliosProcess, admin: Client) -> None:
    """SET holds until the file is read again; a file with a fault is told of and changes nothing."""

    def size() -> str | None:
        return next(row[1] for row in rows(admin.query("show config")) if row[0] == "pool.max_size")

    assert [event.text for event in admin.query("set default_pool_size = 1")] == [
        "CommandComplete SET default_pool_size=1",
        "ReadyForQuery I",
    ]
    assert size() == "1"
    with Client(proxy.target()) as first, Client(proxy.target()) as second:
        first.query("begin")
        second.send(query("select 1"))
        until(lambda: waiting(admin) == 1, "the second client to wait for the only server")
        assert sqlstates(admin.query('set "pool.max_size" = 2')) == []
        assert rows(second.until_ready()) == [["1"]]
        first.query("commit")
    proxy.write({**proxy.settings, "pool": {**proxy.settings["pool"], "max_size": 3}})
    assert sqlstates(admin.query("reload")) == []
    assert size() == "3"
    good = proxy.settings
    proxy.write({**good, "pool": {**good["pool"], "max_size": 0}})
    refused = admin.query("reload")
    assert sqlstates(refused) == ["F0000"] and "pool.max_size" in refused[0].text
    proxy.write({**good, "pool": {**good["pool"], "max_size": 2}})
    admin.query("reload")
    assert size() == "2"


def test_rights_follow_the_configuration(proxy: HeliosProcess, admin: Client) -> None:
    """Who is an administrator no longer is refused at the next command, on a connection that is open."""
    good = proxy.settings
    proxy.write({**good, "console": {"admin_users": ["nobody"], "stats_users": [APP]}})
    try:
        assert sqlstates(admin.query("reload")) == []
        assert sqlstates(admin.query("pause")) == ["42501"]
        assert sqlstates(admin.query("show pools")) == []
        proxy.write({**good, "console": {"stats_users": ["nobody"]}})
        assert proxy.post("/config/reload")[0] == 200
        assert sqlstates(admin.query("show pools")) == ["42501"]
    finally:
        proxy.write(good)
        proxy.post("/config/reload")
    assert sqlstates(admin.query("reload")) == []


@pytest.mark.parametrize(
    ("command", "ends_by_itself"),
    [("shutdown", True), ("shutdown wait_for_servers", False), ("shutdown wait_for_clients", False)],
)
def test_shutdown(postgres: PostgresCluster, tmp_path: Path, command: str, ends_by_itself: bool) -> None:
    """At once, or as soon as the transaction is over."""
    settings = base_settings(postgres, tmp_path, console={"admin_users": [APP]})
    with HeliosProcess(tmp_path, settings) as process:
        inside, admin = Client(process.target()), Client(process.target("pgbouncer"))
        inside.query("begin")
        admin.send(query(command))
        if not ends_by_itself:
            assert admin.receive().text == "CommandComplete SHUTDOWN"
            refused = threading.Event()

            def is_refused() -> bool:
                try:
                    Client(process.target()).terminate()
                except (OSError, ClosedError, LoginRefusedError):
                    refused.set()
                return refused.is_set()

            until(is_refused, "new clients to be refused")
            assert sqlstates(inside.query("select 1; commit")) == []
        assert process.wait() == 0
