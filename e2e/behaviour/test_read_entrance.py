"""A second address, for clients that only read: standbys answer there, whatever the statement and the database."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.asks import Ask, extended, named, prepared_and_closed, simple
from harness.client import Client, LoginRefusedError, Target, rows, sqlstates
from harness.postgres import DATABASE, PostgresCluster
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.wait import until

WHO = "select current_setting('cluster_name')"
"""A read that tells which server answers it."""
WRITE = "update items set name = name where id = 1"
DATABASES = [
    {"name": "*"},
    {"name": "split", "database": DATABASE, "routing": {"read_write_split": True}},
    {"name": "session", "database": DATABASE, "pool": {"mode": "session"}},
]
ASKS = pytest.mark.parametrize("ask", [simple, extended, named, prepared_and_closed])


def readers_of(proxy: HeliosProcess, database: str = DATABASE) -> Target:
    """Its second address."""
    found = re.search(r"helios ready listen=[^\s,]+,127\.0\.0\.1:(\d+)", proxy.log())
    assert found, proxy.log()
    return replace(proxy.target(database), port=int(found[1]))


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    folder = tmp_path_factory.mktemp("readers")
    monitor = {"interval_ms": 200}
    settings = base_settings(postgres, folder, read_listen_address="127.0.0.1:0", databases=DATABASES, monitor=monitor)
    with HeliosProcess(folder, settings) as started:
        until(lambda: who(readers_of(started)) == "standby-1", "the standby to be known", deadline=60)
        yield started


def who(target: Target, ask: Ask = simple) -> str | None:
    with Client(target, deadline=60) as client:
        events = ask(client, WHO)
        assert not sqlstates(events), [event.text for event in events]
        return rows(events)[0][0]


@ASKS
@pytest.mark.parametrize("database", [DATABASE, "split", "session"])
def test_standbys_answer_those_who_only_read(proxy: HeliosProcess, ask: Ask, database: str) -> None:
    with Client(readers_of(proxy, database)) as reader, Client(proxy.target(database)) as writer:
        assert rows(ask(reader, WHO)) == [["standby-1"]]
        assert sqlstates(ask(reader, WRITE)) == ["25006"]
        assert sqlstates(ask(writer, WRITE)) == []
        reader.query("begin")
        assert rows(ask(reader, WHO)) == [["standby-1"]]
        assert sqlstates(ask(reader, WRITE)) == ["25006"]
        assert reader.query("rollback")[-1].brief == "ReadyForQuery I"
        if database != "split":
            assert rows(ask(writer, WHO)) == [["primary"]]


@ASKS
def test_settings_and_statements_follow_a_reader(proxy: HeliosProcess, ask: Ask) -> None:
    """Between its transactions others have its server."""
    with Client(readers_of(proxy)) as reader, Client(readers_of(proxy)) as other:
        ask(reader, "set work_mem = '7MB'")
        for _ in range(3):
            ask(other, "set work_mem = '9MB'")
            assert rows(ask(reader, "select current_setting('work_mem'), current_setting('cluster_name')")) == [
                ["7MB", "standby-1"]
            ]


def test_pools_of_a_standby_are_shared_by_both_entrances(postgres: PostgresCluster, tmp_path: Path) -> None:
    """One server connection is enough for who reads there by way of either."""
    settings = base_settings(
        postgres,
        tmp_path,
        read_listen_address="127.0.0.1:0",
        routing={"read_write_split": True},
        pool={"max_size": 1},
        workers=1,
        monitor={"interval_ms": 200},
    )
    with HeliosProcess(tmp_path, settings) as proxy:
        until(lambda: who(proxy.target()) == "standby-1", "reads to go to the standby", deadline=60)
        assert who(readers_of(proxy)) == "standby-1"
        nodes = [pool["node_name"] for pool in proxy.json("/pools")]

    assert nodes.count("standby-1") == 1, nodes


def test_without_a_standby_readers_are_told_so(start_proxy: StartProxy, postgres: PostgresCluster) -> None:
    proxy = start_proxy(
        read_listen_address="127.0.0.1:0",
        clusters=[{"name": "main", "nodes": postgres.nodes()[:1]}],
        pool={"acquire_timeout_seconds": 1},
    )
    until(lambda: who(proxy.target()) == "primary", "the primary to be known", deadline=60)

    with pytest.raises(LoginRefusedError, match="has no standby"):
        Client(readers_of(proxy), deadline=60)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, as a Unix socket needs."""
    made = Path(tempfile.mkdtemp(prefix="helios-"))
    yield made
    shutil.rmtree(made)


def test_both_entrances_are_handed_over(postgres: PostgresCluster, tmp_path: Path, folder: Path) -> None:
    """Port 0 twice: each goes on with the port that it led to."""
    own = {
        "read_listen_address": "127.0.0.1:0",
        "handover": {"socket_file": str(folder / "handover.sock"), "keep_seconds": 60},
        "monitor": {"interval_ms": 200},
    }

    def start(name: str) -> HeliosProcess:
        place = tmp_path / name
        return HeliosProcess(place, base_settings(postgres, place, **own), arguments=["--takeover"])

    with start("first") as first, start("second") as second:
        assert (second.port, readers_of(second).port) == (first.port, readers_of(first).port)
        until(lambda: "another process has taken over" in first.log(), "the first to let go")
        until(lambda: who(readers_of(second)) == "standby-1", "the standby to be known", deadline=60)
        assert who(second.target()) == "primary"
        first.wait()
