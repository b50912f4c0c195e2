"""Reads while nobody is the primary: a standby answers those that it may, the others wait and are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

from harness import frontend
from harness.asks import Ask, extended, named, prepared, simple
from harness.client import Client, brief, full, rows, sqlstates
from harness.frontend import bind, execute, parse, sync
from harness.postgres import PostgresCluster, start_cluster, superuser_of
from harness.proxy import HeliosProcess, Settings, base_settings
from harness.replay import paused_replay
from harness.wait import until

WHO = "select current_setting('cluster_name')"
"""A read that tells which server answers it."""
PATIENCE = 40.0

NUMBERS = count()

ASKS = pytest.mark.parametrize("ask", [simple, extended, named, prepared])


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    """A primary, which goes and comes back, and a standby."""
    made = start_cluster()
    yield made
    made.stop()


def settings(cluster: PostgresCluster, folder: Path, seconds: int, **routing: object) -> Settings:
    routing = {"read_write_split": True, "max_lag_ms": 0, **routing}
    pool = {"acquire_timeout_seconds": seconds}
    return base_settings(cluster, folder, routing=routing, pool=pool, workers=1)


@pytest.fixture(scope="module")
def proxy(cluster: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """One that waits for a second, on one worker: whatever holds that up holds up everybody."""
    folder: Path = tmp_path_factory.mktemp("impatient")
    with HeliosProcess(folder, settings(cluster, folder, 1)) as started:
        yield started


@pytest.fixture(scope="module")
def patient(cluster: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """One that waits."""
    folder: Path = tmp_path_factory.mktemp("patient")
    with HeliosProcess(folder, settings(cluster, folder, int(PATIENCE))) as started:
        yield started


def connect(proxy: HeliosProcess) -> Client:
    return Client(proxy.target(), deadline=PATIENCE)


def who(client: Client, ask: Ask) -> str | None:
    events = ask(client, WHO)
    assert not sqlstates(events), brief(events)
    return rows(events)[0][0]


def await_standby(proxy: HeliosProcess) -> None:
    with connect(proxy) as client:
        until(lambda: who(client, simple) == "standby-1", "reads to go to the standby", PATIENCE)


def primary_of(proxy: HeliosProcess) -> object:
    return proxy.json("/topology")["currentPrimary"]


@contextmanager
def no_primary(cluster: PostgresCluster, *proxies: HeliosProcess) -> Iterator[None]:
    """It is killed, and started again."""
    cluster.primary.stop("immediate")
    try:
        until(lambda: not any(map(primary_of, proxies)), "the loss to be noticed", PATIENCE)
        yield
    finally:
        cluster.primary.start()
        until(lambda: all(map(primary_of, proxies)), "the primary to be found", PATIENCE)


def await_received(cluster: PostgresCluster, token: str) -> None:
    """Wait until the standby has on its disk what a token says."""
    assert cluster.standby is not None
    position = token.rpartition(":")[2]
    with Client(superuser_of(cluster.standby)) as admin:
        has = f"select pg_last_wal_receive_lsn() >= '{position}'"
        until(lambda: admin.value(has) == "t", "the standby to receive it", PATIENCE)


@ASKS
def test_a_standby_answers_reads_and_everything_else_waits_and_is_told(
    cluster: PostgresCluster, proxy: HeliosProcess, ask: Ask
) -> None:
    await_standby(proxy)
    with connect(proxy) as client, connect(proxy) as held:
        client.batch(parse(WHO, "kept"), parse("update items set name = name where id = 1", "writes"), sync())
        assert rows(client.batch(bind(name="kept"), execute(), sync())) == [["standby-1"]]
        with no_primary(cluster, proxy):
            assert who(client, ask) == "standby-1"
            assert rows(client.batch(bind(name="kept"), execute(), sync())) == [["standby-1"]]
            for sql in ("begin read only", WHO, "select name from items where id = 1", "commit"):
                assert not sqlstates(ask(client, sql)), sql
            for sql in (
                "update items set name = name where id = 1",
                f"/*helios:consistency=strong*/ {WHO}",
                f"/*helios:route=primary*/ {WHO}",
            ):
                events = ask(client, sql)
                assert set(sqlstates(events)) == {"57P03"}, brief(events)
                assert who(client, ask) == "standby-1", "and the session goes on"
            assert sqlstates(client.batch(bind(name="writes"), execute(), sync())) == ["57P03"]
            assert not sqlstates(client.query("begin")), "which is answered here"
            assert set(sqlstates(ask(client, "delete from notes"))) == {"57P03"}
            assert who(client, ask) == "standby-1"
            with connect(proxy) as newcomer:
                assert who(newcomer, ask) == "standby-1"
                assert newcomer.parameters["in_hot_standby"] == "off"
        until(lambda: not sqlstates(ask(client, "delete from notes")), "a write", PATIENCE)
        assert who(held, simple) == "standby-1"


@ASKS
def test_a_read_that_needs_more_waits_for_it(
    cluster: PostgresCluster, proxy: HeliosProcess, patient: HeliosProcess, ask: Ask
) -> None:
    """The standby stands still behind what two sessions have written."""
    id = 8200 + next(NUMBERS)
    found = f"select count(*), current_setting('cluster_name') from notes where id = {id}"
    for each in (proxy, patient):
        await_standby(each)
    with connect(proxy) as told, connect(patient) as client, connect(patient) as other:
        clients = (told, client, other)
        on_standby = lambda: [rows(each.query(found)) for each in clients] == [[["0", "standby-1"]]] * 3  # noqa: E731
        until(on_standby, "reads on the standby", PATIENCE)
        with paused_replay(cluster):
            for writer in (told, client):
                writer.query(f"insert into notes values ({id}, 'x') on conflict (id) do update set body = 'x'")
                token = writer.value("show helios.lsn")
                assert token
                await_received(cluster, token)
            with no_primary(cluster, proxy, patient):
                events = ask(told, found)
                assert set(sqlstates(events)) == {"57P03"}, brief(events)
                assert rows(ask(other, found)) == [["0", "standby-1"]], "it has written nothing"
                client.send(frontend.query(found) if ask is simple else frontend.extended(found))
                client.expect_silence(0.5)
                with Client(superuser_of(cluster.standby)) as admin:  # type: ignore[arg-type]  # it is there
                    admin.query("select pg_wal_replay_resume()")
                assert rows(client.until_ready()) == [["1", "standby-1"]]
                until(lambda: rows(ask(told, found)) == [["1", "standby-1"]], "the other to read it too", PATIENCE)


@ASKS
def test_a_session_that_has_begun_without_a_primary_has_seen_something(
    cluster: PostgresCluster, proxy: HeliosProcess, ask: Ask
) -> None:
    """Once there is a primary, it must say how far that was before another standby may answer."""
    await_standby(proxy)
    with no_primary(cluster, proxy):
        reader, silent = connect(proxy), connect(proxy)
        assert who(reader, ask) == "standby-1"
    assert who(silent, simple) == "standby-1"
    assert who(reader, simple) == "primary"
    until(lambda: who(reader, simple) == "standby-1", "the position to be told", PATIENCE)
    for client in (reader, silent):
        client.terminate()


@ASKS
def test_hints_of_a_session_that_a_standby_has_greeted_count(
    cluster: PostgresCluster, tmp_path: Path, ask: Ask
) -> None:
    """Though nobody has logged in at the primary yet, whose texts are read alike."""
    with ExitStack() as stack:
        with no_primary(cluster):
            proxy = stack.enter_context(HeliosProcess(tmp_path, settings(cluster, tmp_path, int(PATIENCE))))
            client = stack.enter_context(connect(proxy))
        until(lambda: primary_of(proxy), "the primary to be found", PATIENCE)
        assert "nokey" in str(full(ask(client, "/*helios:nokey=1*/ select 1")))
