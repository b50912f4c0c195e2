"""The number of a transaction that was lost with its primary is given to another one by the next, which commits: that
is no commit of the first.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from harness.asks import Ask, extended, named, simple
from harness.client import Client, rows, sqlstates
from harness.failover import PATIENCE, mend, primary_of, settings, status
from harness.frontend import bind, describe_portal, execute, parse, query, sync
from harness.gate import Gate
from harness.proxy import HeliosProcess
from harness.replay import counts
from harness.replicas import ReplicatedCluster
from harness.wait import until

QUESTION = b"pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn())"
"""Of what Helios asks the next primary first."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[ReplicatedCluster]:
    """Three servers, whichever leads; nobody waits for standbys."""
    made = ReplicatedCluster(synchronous="")
    with Client(made.app("db-1")) as client:
        client.query("create table outcomes (id int, body text); grant all on outcomes to public")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def gates(cluster: ReplicatedCluster) -> Iterator[dict[str, Gate]]:
    """One between the proxy and each server."""
    made = {name: Gate(server.port) for name, server in cluster.servers.items()}
    yield made
    for gate in made.values():
        gate.stop()


@pytest.fixture(scope="module")
def proxy(
    cluster: ReplicatedCluster, gates: dict[str, Gate], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HeliosProcess]:
    """One that may promote."""
    folder = tmp_path_factory.mktemp("reused")
    config = settings(cluster, folder, folder / "lease") | {"transaction_replay": {"enabled": True}}
    for node in config["clusters"][0]["nodes"]:
        node["port"] = gates[node["name"]].port
    with HeliosProcess(folder, config) as process:
        until(lambda: status(process)["holds_lease"], "the lease", PATIENCE)
        yield process


def send_commit(client: Client, ask: Ask) -> None:
    """Ask without waiting for the answer."""
    if ask is simple:
        client.send(query("commit"))
        return
    name = "c" if ask is named else ""
    client.send(parse("commit", name), bind(name=name), describe_portal(), execute(), sync())


@pytest.mark.parametrize("ask", [simple, extended, named])
def test_a_number_that_is_given_again_is_another_transaction(
    cluster: ReplicatedCluster, gates: dict[str, Gate], proxy: HeliosProcess, ask: Ask
) -> None:
    former = primary_of(proxy)
    before = counts(proxy)
    with Client(cluster.app(former)) as looking:
        looking.query("truncate outcomes")
    cluster.await_replay(former)
    with Client(proxy.target(), deadline=PATIENCE) as client:
        senders = cluster.ask(former, "select string_agg(pid::text, ',') from pg_stat_replication") or ""
        for pid in senders.split(","):
            os.kill(int(pid), signal.SIGSTOP)
        ask(client, "begin")
        assert rows(ask(client, "insert into outcomes values (1, 'mine') returning body")) == [["mine"]]
        asked = "state = 'idle in transaction' and query like '%pg_current_xact_id_if_assigned%'"
        of = f"from pg_stat_activity where backend_xid is not null and {asked}"
        until(lambda: cluster.ask(former, f"select count(*) {of}") == "1", "a number", PATIENCE)
        number = int(cluster.ask(former, f"select backend_xid {of}") or 0)
        os.kill(int(cluster.ask(former, f"select pid {of}") or 0), signal.SIGSTOP)
        send_commit(client, ask)
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
        for gate in others.values():
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
