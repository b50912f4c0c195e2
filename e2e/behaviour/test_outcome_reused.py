"""The number of a transaction that was lost with its primary is given to another one by the next, which commits: that
is no commit of the first.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.asks import Ask, extended, named, send, simple
from harness.client import Client, rows, sqlstates
from harness.failover import PATIENCE, Gates, behind_gates, mend, primary_of, stop_senders
from harness.proxy import HeliosProcess
from harness.replay import counts
from harness.replicas import ReplicatedCluster
from harness.wait import until

QUESTION = b"pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn())"
"""Of what Helios asks the next primary first."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[ReplicatedCluster]:
    """Three servers, whichever leads; nobody waits for standbys."""
    with ReplicatedCluster(synchronous="", schema="create table outcomes (id int, body text)") as made:
        yield made


@pytest.fixture(scope="module")
def gates_and_proxy(
    cluster: ReplicatedCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gates, HeliosProcess]]:
    """A proxy that may promote, and what is between it and each server."""
    with behind_gates(cluster, tmp_path_factory.mktemp("reused")) as made:
        yield made


@pytest.mark.parametrize("ask", [simple, extended, named])
def test_a_number_that_is_given_again_is_another_transaction(
    cluster: ReplicatedCluster, gates_and_proxy: tuple[Gates, HeliosProcess], ask: Ask
) -> None:
    gates, proxy = gates_and_proxy
    former = primary_of(proxy)
    before = counts(proxy)
    with Client(cluster.app(former)) as looking:
        looking.query("truncate outcomes")
    cluster.await_replay(former)
    with Client(proxy.target(), deadline=PATIENCE) as client:
        stop_senders(cluster, former)
        ask(client, "begin")
        assert rows(ask(client, "insert into outcomes values (1, 'mine') returning body")) == [["mine"]]
        # Behind this answer the proxy has been told the number.
        assert rows(ask(client, "select 2")) == [["2"]]
        of = "from pg_stat_activity where backend_xid is not null"
        assert cluster.ask(former, f"select count(*) {of}") == "1"
        number = int(cluster.ask(former, f"select backend_xid {of}") or 0)
        gates[former].hold(b"commit", answer=False)
        send(client, ask, "commit")
        until(gates[former].is_holding.is_set, "the commit", PATIENCE)
        others = {name: gate for name, gate in gates.items() if name != former}
        for gate in others.values():
            gate.hold(QUESTION, answer=False)

        cluster[former].kill()

        def holding() -> str | None:
            return next((name for name, gate in others.items() if gate.is_holding.is_set()), None)

        heir = str(until(holding, "the question", PATIENCE))
        with Client(cluster.app(heir)) as other:
            given = int(other.value("select pg_current_xact_id()") or 0)
            assert given <= number, "the standby has had more of the primary than it should"
            while given < number:
                given = int(other.value("select pg_current_xact_id()") or 0)
            assert other.value(f"select pg_xact_status('{number}')") == "committed"
            assert other.value("select count(*) from outcomes") == "0"
        for gate in gates.values():
            gate.let_go()

        events = client.until_ready()
        assert [event.brief for event in events][-2:] == ["CommandComplete COMMIT", "ReadyForQuery I"]
        assert not sqlstates(events)
        assert rows(ask(client, "select body from outcomes")) == [["mine"]]
    after = counts(proxy)
    assert after["diverged"] == before["diverged"]
    assert after["acknowledged"] == before["acknowledged"]
    assert after["completed"] == before["completed"] + 1
    mend(cluster, proxy, former, heir)
