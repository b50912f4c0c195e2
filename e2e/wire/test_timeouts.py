"""Limits of time: what runs, waits or rests too long is ended with PostgreSQL's own errors, and nothing else."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator

import pytest

from harness import frontend
from harness.client import Client, brief, rows, sqlstates
from harness.postgres import APP, APP_MD5, APP_PLAIN, DATABASE, PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.wait import until

HURRIED, AGEING, STRICT = APP, APP_PLAIN, APP_MD5
USERS = [
    {"name": HURRIED, "query_timeout_seconds": 1},
    {"name": AGEING, "client_max_age_seconds": 1},
    {
        "name": STRICT,
        "idle_transaction_timeout_seconds": 1,
        "client_idle_timeout_seconds": 2,
        "client_write_timeout_seconds": 2,
    },
]
PROTOCOLS = ["simple", "extended"]
MODES = ["session", "transaction"]
MANY_ROWS = 60
"""Of 1 MB each: more than the kernel takes for a client that does not read."""


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """A proxy whose users have different limits, and every pool two servers."""
    folder = tmp_path_factory.mktemp("timeouts")
    databases = [{"name": mode, "database": DATABASE, "pool": {"mode": mode}} for mode in MODES]
    settings = base_settings(postgres, folder, auth={"method": "md5"}, users=USERS, databases=databases)
    with HeliosProcess(folder, settings) as process:
        yield process


def request(sql: str, protocol: str) -> bytes:
    return frontend.query(sql) if protocol == "simple" else frontend.extended(sql)


def last_words(client: Client) -> tuple[str, str, str]:
    """Severity, SQLSTATE and text of the error that ends the connection."""
    [error] = [event for event in client.until_closed() if event.kind == "ErrorResponse"]
    return error.fields["V"], error.sqlstate, error.fields["M"]


@pytest.mark.checklist(59)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", MODES)
def test_a_query_that_takes_too_long_is_cancelled(proxy: HeliosProcess, mode: str, protocol: str) -> None:
    with Client(proxy.target(mode, HURRIED)) as client:
        begun = client.value("begin; select pg_backend_pid()")
        start = time.monotonic()
        client.send(request("select pg_sleep(30)", protocol), request("select 'behind'", protocol))
        events = client.until_ready(2)
        took = time.monotonic() - start

        [error, behind] = [event for event in events if event.kind == "ErrorResponse"]
        assert (error.fields["V"], error.sqlstate) == ("ERROR", "57014")
        assert error.fields["M"] == "canceling statement due to query timeout"
        assert error.fields["H"] == "query_timeout_seconds is 1 for this user."
        assert behind.sqlstate == "25P02"  # the transaction failed, and the client is still in it
        assert 1 <= took < 4
        client.query("rollback")
        assert client.value("select pg_backend_pid()") == begun
        assert rows(client.extended("select $1::int", "7")) == [["7"]]


@pytest.mark.checklist(59)
@pytest.mark.parametrize("mode", MODES)
def test_query_timeout_leaves_alone_who_has_no_query_in_flight(proxy: HeliosProcess, mode: str) -> None:
    """In a transaction, between a Flush and its Sync, between transactions, and with one quick query after another."""
    target = proxy.target(mode, HURRIED)
    with Client(target) as idle, Client(target) as silent:
        idle.value("select 1")
        silent.send(frontend.parse("select 1"), frontend.bind(), frontend.execute(), frontend.flush())
        silent.receive_until(lambda event: event.kind == "CommandComplete")
        with Client(proxy.target("transaction", HURRIED)) as busy:
            end = time.monotonic() + 2.5
            while time.monotonic() < end:
                busy.query("begin")
                assert busy.value("select 'quick' from pg_sleep(0.05)") == "quick"
                busy.query("commit")
        assert brief(silent.batch(frontend.sync())) == ["ReadyForQuery I"]
        assert idle.value("select 'alive'") == "alive"


@pytest.mark.checklist(56, 59)
def test_a_server_that_does_not_stop_is_given_up(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    """PostgreSQL looks at no cancel while it waits for a client's COPY data."""
    client = Client(proxy.target("transaction", HURRIED), deadline=10)
    pid = client.value("begin; select pg_backend_pid()")
    client.send(frontend.query("copy notes from stdin"))
    client.receive_until(lambda event: event.kind == "CopyInResponse")

    assert last_words(client)[:2] == ("FATAL", "57014")
    until(
        lambda: postgres.value(f"select count(*) from pg_stat_activity where pid = {pid}") == "0",
        "the server to be gone",
    )


@pytest.mark.checklist(59)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", MODES)
def test_an_idle_transaction_is_ended_and_rolled_back(proxy: HeliosProcess, mode: str, protocol: str) -> None:
    client = Client(proxy.target(mode, STRICT))
    client.query("begin")
    client.send(request("insert into notes values (77, 'left')", protocol))
    client.until_ready()

    assert last_words(client) == ("FATAL", "25P03", "terminating connection due to idle-in-transaction timeout")
    with Client(proxy.target("transaction", HURRIED)) as other:
        assert sqlstates(other.query("insert into notes values (77, 'kept')")) == []
        other.query("delete from notes")


@pytest.mark.checklist(59)
def test_a_batch_without_its_sync_is_an_idle_transaction(proxy: HeliosProcess) -> None:
    client = Client(proxy.target("transaction", STRICT))
    client.send(frontend.parse("select 1"), frontend.bind(), frontend.execute(), frontend.flush())

    assert last_words(client)[:2] == ("FATAL", "25P03")


@pytest.mark.checklist(58)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_client_that_takes_nothing_of_its_answer_gives_its_server_up(proxy: HeliosProcess, protocol: str) -> None:
    """And one that takes it slowly keeps it: of the pool's two servers, the third client gets the first one's."""
    target = proxy.target("transaction", STRICT)
    stalled, steady = (Client(target, deadline=30) for _ in range(2))
    for client in (stalled, steady):
        client.send(request(f"select repeat('x', 1000000) from generate_series(1, {MANY_ROWS})", protocol))
        client.receive_until(lambda event: event.kind == "DataRow")
    with Client(target, deadline=30) as waiting:
        waiting.send(request("select 'served'", protocol))
        while not select.select([waiting.socket], [], [], 0.2)[0]:
            steady.receive()
        assert rows(waiting.until_ready()) == [["served"]]
    steady.until_ready()

    assert len([event for event in steady.transcript if event.kind == "DataRow"]) == MANY_ROWS
    assert not [event for event in stalled.until_closed() if event.kind in ("CommandComplete", "ReadyForQuery")]


@pytest.mark.parametrize("mode", MODES)
def test_an_idle_client_is_closed(proxy: HeliosProcess, mode: str) -> None:
    client = Client(proxy.target(mode, STRICT))
    client.value("select 1")
    start = time.monotonic()

    assert last_words(client) == ("FATAL", "57P05", "terminating connection due to idle-session timeout")
    assert 2 <= time.monotonic() - start < 4.5


def test_who_waits_for_a_server_or_an_answer_is_not_idle(proxy: HeliosProcess) -> None:
    target = proxy.target("transaction", STRICT)
    working = [Client(target), Client(target)]
    for client in working:
        client.send(frontend.query("select 'slow' from pg_sleep(3.5)"))
    until(lambda: active(proxy) == 2, "both servers to be taken")
    waiting = Client(target)
    waiting.send(frontend.query("select 'waited'"))

    for client in (*working, waiting):
        assert len(rows(client.until_ready())) == 1
        client.terminate()


def active(proxy: HeliosProcess) -> int:
    return int(sum(pool["active_connections"] for pool in proxy.json("/pools") if pool["user"] == STRICT))


@pytest.mark.parametrize("mode", MODES)
def test_an_old_client_is_closed_between_two_transactions(proxy: HeliosProcess, mode: str) -> None:
    target = proxy.target(mode, AGEING)
    resting, working = Client(target), Client(target)
    resting.value("select 1")
    working.query("begin")

    assert last_words(resting) == ("FATAL", "57P01", "terminating connection because of its age")
    assert working.value("select 'still in its transaction'")
    assert brief(working.query("commit"))[-1] == "ReadyForQuery I"
    assert last_words(working)[:2] == ("FATAL", "57P01")


def test_an_old_client_that_would_lose_something_stays(proxy: HeliosProcess) -> None:
    with Client(proxy.target("transaction", AGEING)) as holder:
        holder.query("create temp table kept (a int)")
        other = Client(proxy.target("transaction", AGEING))
        assert last_words(other)[1] == "57P01"

        assert holder.value("select count(*) from kept") == "0"


def test_limits_of_time_hold_for_running_sessions_after_a_reload(proxy: HeliosProcess) -> None:
    with Client(proxy.target("transaction", HURRIED)) as client:
        settings = {**proxy.settings, "users": [{"name": HURRIED, "query_timeout_seconds": 30}, *USERS[1:]]}
        try:
            proxy.write(settings)
            assert proxy.post("/config/reload")[0] == 200
            assert client.value("select 'in time' from pg_sleep(2.5)") == "in time"
        finally:
            proxy.write({**settings, "users": USERS})
            assert proxy.post("/config/reload")[0] == 200
        assert sqlstates(client.query("select pg_sleep(30)")) == ["57014"]
