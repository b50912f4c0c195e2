"""Nobody is promoted by guess: a standby that is none of this primary, or that says too little, and a lease that runs
out in the middle. Each is refused with its reason in status, log and metric, by what real servers say.

A fence that fails or hangs, and a role that may not call `pg_promote`, are in e2e/behaviour/test_failover.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster import Cluster
from harness.failover import (
    PATIENCE,
    await_nodes,
    await_refusal,
    primaries,
    primary_of,
    settings,
    status,
    successor_of,
    timeline_of,
)
from harness.gate import Gate
from harness.postgres import MONITOR
from harness.proxy import HeliosProcess
from harness.replicas import ReplicatedCluster
from harness.shared_lease import PodsLease
from harness.wait import until

ASYNCHRONOUS = ""
"""Commits wait for nobody, so that whoever answers may be promoted."""


@pytest.fixture
def cluster() -> Iterator[ReplicatedCluster]:
    made = ReplicatedCluster(synchronous=ASYNCHRONOUS)
    yield made
    made.stop()


@contextmanager
def before(cluster: ReplicatedCluster, folder: Path, *nodes: dict[str, object]) -> Iterator[HeliosProcess]:
    """A proxy that may promote one of these nodes."""
    config = settings(cluster, folder / "proxy", folder / "lease")
    config["clusters"][0]["nodes"] = list(nodes)
    with HeliosProcess(folder / "proxy", config) as proxy:
        until(lambda: status(proxy)["holds_lease"], "the lease", PATIENCE)
        yield proxy


def node(cluster: ReplicatedCluster, name: str) -> dict[str, object]:
    return next(each for each in cluster.nodes() if each["name"] == name)


def nobody_is_promoted(cluster: ReplicatedCluster, proxy: HeliosProcess, dead: str) -> None:
    assert status(proxy)["promotions"] == 0
    assert primaries(cluster, dead) == []


def test_a_standby_of_another_cluster_is_not_promoted(cluster: ReplicatedCluster, tmp_path: Path) -> None:
    other = ReplicatedCluster(synchronous=ASYNCHRONOUS)
    try:
        stranger = {**node(other, "db-2"), "name": "stranger"}
        with before(cluster, tmp_path, node(cluster, "db-1"), stranger) as proxy:
            told = "belongs to another database system"
            until(lambda: told in str(proxy.json("/nodes/stranger")["last_error"]), "it to be known", PATIENCE)
            cluster["db-1"].kill()

            await_refusal(proxy, told, "system")

            nobody_is_promoted(cluster, proxy, "db-1")
            assert other.ask("db-2", "select pg_is_in_recovery()") == "t"
    finally:
        other.stop()


def test_a_standby_that_kept_the_history_before_is_not_promoted(cluster: ReplicatedCluster, tmp_path: Path) -> None:
    # Helios may not point it to its new primary, so that it stays where it is.
    cluster.ask("db-1", f"revoke alter system on parameter primary_conninfo from {MONITOR}; select 1", "postgres")
    cluster.await_replay("db-1")
    cluster["db-1"].kill()
    cluster["db-2"].promote()
    with before(cluster, tmp_path, node(cluster, "db-2"), node(cluster, "db-3")) as proxy:
        await_nodes(proxy)
        assert primary_of(proxy) == "db-2"
        cluster["db-2"].kill()

        await_refusal(proxy, "db-2 was on 2", "timeline")

        assert status(proxy)["promotions"] == 0
        assert cluster.ask("db-3", "select pg_is_in_recovery()") == "t"


def test_a_standby_that_does_not_say_how_far_it_is_is_not_promoted(cluster: ReplicatedCluster, tmp_path: Path) -> None:
    with before(cluster, tmp_path, *cluster.nodes()) as proxy:
        await_nodes(proxy)
        cluster.ask("db-1", f"revoke pg_monitor from {MONITOR}; select 1", "postgres")
        cluster.await_replay("db-1")
        cluster["db-1"].kill()

        await_refusal(proxy, "grant pg_monitor to the monitor's role", "rights")

        nobody_is_promoted(cluster, proxy, "db-1")


def test_a_lease_that_runs_out_in_the_middle_promotes_nobody(
    cluster: ReplicatedCluster, apiserver: Cluster, pods_lease: PodsLease, tmp_path: Path
) -> None:
    shared = pods_lease.fresh()
    gates = {name: Gate(server.port) for name, server in cluster.servers.items()}
    config = settings(cluster, tmp_path / "proxy", tmp_path)
    shared.put_into(config)
    for each in config["clusters"][0]["nodes"]:
        each["port"] = gates[each["name"]].port
    try:
        with HeliosProcess(tmp_path / "proxy", config, environment=shared.environment) as proxy:
            await_nodes(proxy)
            until(lambda: status(proxy)["holds_lease"], "the lease", PATIENCE)
            timeline = timeline_of(cluster, "db-1")
            for name in ("db-2", "db-3"):
                # The last look before pg_promote is sent.
                gates[name].hold(b"SELECT pg_is_in_recovery()\0", answer=True)
            cluster["db-1"].kill()
            until(lambda: any(gate.is_holding.is_set() for gate in gates.values()), "the last look", PATIENCE)
            apiserver.stop_apiserver()
            try:
                until(lambda: not status(proxy)["holds_lease"], "the lease to run out", PATIENCE)
                for gate in gates.values():
                    gate.let_go()

                await_refusal(proxy, "", "lease")

                nobody_is_promoted(cluster, proxy, "db-1")
            finally:
                apiserver.start_apiserver()
            heir = str(until(lambda: successor_of(proxy, "db-1"), "another primary", PATIENCE))
            until(lambda: status(proxy)["refused"] is None, "all to be well", PATIENCE)
            assert timeline_of(cluster, heir) == timeline + 1, "promoted once, when the lease was there again"
            assert primaries(cluster, "db-1") == [heir]
    finally:
        for gate in gates.values():
            gate.stop()
