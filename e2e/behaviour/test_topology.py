"""Who is primary: found by evidence, whatever the labels say, and found again after a failover."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.client import Client, ClosedError, LoginRefusedError
from harness.postgres import MONITOR, PASSWORDS, PostgresCluster, start_cluster
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.wait import until
from helios.play.postgres import PostgresServer
from helios.play.process import free_port

WHERE = "select pg_is_in_recovery() || ' ' || current_setting('cluster_name')"


def nodes_by_name(proxy: HeliosProcess) -> dict[str, dict[str, object]]:
    """The entries of /nodes."""
    return {node["name"]: node for node in proxy.json("/nodes")}


def swapped(cluster: PostgresCluster) -> list[dict[str, object]]:
    """The cluster's nodes with their roles exchanged and the standby first."""
    other = {"primary": "standby", "standby": "primary"}
    return [{**node, "role": other[str(node["role"])]} for node in reversed(cluster.nodes())]


def address_of(server: PostgresServer) -> str:
    """The name of a server in the admin API."""
    return f"{server.host}:{server.port}"


def answers_from(proxy: HeliosProcess) -> str | None:
    """Recovery state and name of the server that a new client reaches; None while there is none."""
    try:
        with Client(proxy.target(), deadline=5) as client:
            return client.value(WHERE)
    except (AssertionError, LoginRefusedError, ClosedError, OSError):
        return None


def test_primary_is_found_although_the_labels_are_swapped(start_proxy: StartProxy, postgres: PostgresCluster) -> None:
    proxy = start_proxy(clusters=[{"name": "main", "nodes": swapped(postgres)}])

    with Client(proxy.target()) as client:
        assert client.value(WHERE) == "false primary"
        assert client.value("select pg_is_in_recovery()") == "f"

    topology = proxy.json("/topology")
    assert topology["currentPrimary"] == address_of(postgres.primary)
    until(lambda: nodes_by_name(proxy)["standby-1"]["healthy"], "the standby to answer")
    roles = {name: (node["role"], node["configured_role"]) for name, node in nodes_by_name(proxy).items()}
    assert roles == {"primary": ("primary", "standby"), "standby-1": ("standby", "primary")}


def test_lag_of_the_standby_is_reported(start_proxy: StartProxy, postgres: PostgresCluster) -> None:
    proxy = start_proxy()

    def caught_up() -> bool:
        node = nodes_by_name(proxy)["standby-1"]
        return node["healthy"] is True and node["replication_lag_bytes"] == 0

    until(caught_up, "the standby to catch up")


def test_only_a_standby_means_no_primary_and_a_reason(start_proxy: StartProxy, postgres: PostgresCluster) -> None:
    assert postgres.standby
    node = {"name": "lonely", "host": "127.0.0.1", "port": postgres.standby.port, "role": "primary"}
    proxy = start_proxy(clusters=[{"name": "main", "nodes": [node]}], pool={"acquire_timeout_seconds": 1})
    until(lambda: nodes_by_name(proxy)["lonely"]["role"] == "standby", "the node to be polled")

    topology = proxy.json("/topology")

    assert topology["currentPrimary"] is None
    assert "lonely is a standby" in topology["reason"]
    assert answers_from(proxy) is None


def test_two_that_claim_to_be_primary_stop_writes_with_a_reason(
    start_proxy: StartProxy, postgres: PostgresCluster
) -> None:
    other = start_cluster(with_standby=False)
    try:
        nodes = [*postgres.nodes()[:1], {**other.nodes()[0], "name": "usurper", "role": "standby"}]
        proxy = start_proxy(clusters=[{"name": "main", "nodes": nodes}], pool={"acquire_timeout_seconds": 1})

        until(lambda: "all accept writes" in (proxy.json("/topology")["reason"] or ""), "both claims to be seen")

        assert proxy.json("/topology")["currentPrimary"] is None
        until(lambda: answers_from(proxy) is None, "clients to be held")
        other.primary.stop("immediate")
        assert until(lambda: answers_from(proxy), "one primary to be left") == "false primary"
    finally:
        other.stop()


def test_unreachable_node_does_not_disturb_the_others(start_proxy: StartProxy, postgres: PostgresCluster) -> None:
    gone = {"name": "gone", "host": "127.0.0.1", "port": free_port(), "role": "standby"}
    proxy = start_proxy(clusters=[{"name": "main", "nodes": [gone, *postgres.nodes()]}])

    assert answers_from(proxy) == "false primary"
    until(lambda: nodes_by_name(proxy)["gone"]["last_error"], "the node's fault to be shown")
    assert nodes_by_name(proxy)["gone"]["healthy"] is False
    assert proxy.get("/readyz")[0] == 200


def test_wrong_monitor_password_is_shown_as_the_reason(start_proxy: StartProxy) -> None:
    proxy = start_proxy(monitor={"user": MONITOR, "password": "wrong"}, pool={"acquire_timeout_seconds": 1})

    until(lambda: nodes_by_name(proxy)["primary"]["last_error"], "the refusal to be shown")

    assert "password" in str(nodes_by_name(proxy)["primary"]["last_error"])
    assert PASSWORDS[MONITOR] not in proxy.log()


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[PostgresCluster]:
    """A primary and a standby that the tests below break, each a little more."""
    cluster = start_cluster()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def own_proxy(own_cluster: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """A proxy before that cluster."""
    folder: Path = tmp_path_factory.mktemp("own-proxy")
    with HeliosProcess(folder, base_settings(own_cluster, folder, pool={"acquire_timeout_seconds": 20})) as proxy:
        yield proxy


def test_primary_that_comes_back_on_its_port_is_used_again(
    own_cluster: PostgresCluster, own_proxy: HeliosProcess
) -> None:
    with Client(own_proxy.target(), deadline=20) as client:
        assert client.value(WHERE) == "false primary"

        own_cluster.primary.restart("immediate")

        assert until(lambda: answers_from(own_proxy), "the restarted primary") == "false primary"
        assert client.value("select 'same session'") == "same session"


@pytest.mark.checklist(65)
def test_promotion_is_noticed_and_clients_follow(own_cluster: PostgresCluster, own_proxy: HeliosProcess) -> None:
    assert own_cluster.standby
    standby = address_of(own_cluster.standby)
    idle = Client(own_proxy.target(), deadline=20)
    idle.query("insert into notes values (500, 'before')")
    replicated = "select count(*) from pg_stat_replication where replay_lsn >= pg_current_wal_lsn()"
    until(lambda: own_cluster.value(replicated) == "1", "the standby to catch up")

    own_cluster.primary.stop("immediate")
    until(lambda: nodes_by_name(own_proxy)["primary"]["healthy"] is False, "the loss to be noticed")
    own_cluster.standby.promote()
    until(lambda: own_proxy.json("/topology")["currentPrimary"] == standby, "the promotion to be noticed")

    assert own_proxy.json("/topology")["lastFailoverAt"]
    assert idle.value(WHERE) == "false standby-1"
    with Client(own_proxy.target(), deadline=20) as newcomer:
        assert newcomer.value("select body from notes where id = 500") == "before"
        newcomer.query("insert into notes values (501, 'after')")
        assert newcomer.value("select count(*) from notes where id = 501") == "1"
    idle.terminate()
