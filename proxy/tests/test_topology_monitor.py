"""Polling of real PostgreSQL servers: roles, lag, causes of failures, promotion."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest_asyncio

from harness.postgres import APP, MONITOR, PASSWORDS, PostgresCluster
from helios.config import ClusterConfig, MonitorConfig, NodeConfig, ProxyConfig
from helios.core import ClusterView, NodePosition
from helios.play import sql
from helios.play.process import free_port
from helios.topology.credentials import logins_of
from helios.topology.monitor import TopologyMonitor
from helios.topology.status import ClusterStatus, NodeStatus

DEADLINE_SECONDS = 15.0

StartMonitor = Callable[[ProxyConfig], "Watched"]


class Watched:
    """A monitor on the test's own event loop, and what it published last."""

    def __init__(self, config: ProxyConfig) -> None:
        self.published: Sequence[ClusterView] = ()
        self.positions: dict[str, NodePosition] = {}
        self.monitor = TopologyMonitor(self._keep, self._move, lambda *_: None)
        self.configure(config)

    def _keep(self, clusters: Sequence[ClusterView]) -> None:
        self.published = clusters

    def _move(self, position: NodePosition) -> None:
        self.positions[position.name] = position

    def configure(self, config: ProxyConfig) -> None:
        self.monitor.configure(config, logins_of(config))

    @property
    def cluster(self) -> ClusterStatus:
        return self.monitor.clusters()[0]

    def node(self, name: str) -> NodeStatus:
        return next(node for node in self.cluster.nodes if node.name == name)

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, f"{what}; now: {self.cluster}"
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def watch() -> AsyncIterator[StartMonitor]:
    started: list[Watched] = []

    def start(config: ProxyConfig) -> Watched:
        started.append(Watched(config))
        return started[-1]

    yield start
    for watched in started:
        await watched.monitor.stop()


def config_of(cluster: PostgresCluster, *extra: dict[str, Any], **monitor: Any) -> ProxyConfig:
    settings = {"user": MONITOR, "password": PASSWORDS[MONITOR], "interval_ms": 50, **monitor}
    nodes = tuple(NodeConfig.model_validate(node) for node in [*cluster.nodes(), *extra])
    return ProxyConfig(
        monitor=MonitorConfig.model_validate(settings), clusters=(ClusterConfig(name="main", nodes=nodes),)
    )


async def test_roles_and_positions_are_read_from_the_servers(postgres: PostgresCluster, watch: StartMonitor) -> None:
    watched = watch(config_of(postgres))

    await watched.until(lambda: all(node.healthy for node in watched.cluster.nodes), "both nodes healthy")

    primary, standby = watched.node("primary"), watched.node("standby-1")
    assert (primary.role, standby.role) == ("primary", "standby")
    assert primary.system_identifier == standby.system_identifier is not None
    assert (primary.timeline, standby.timeline) == (1, 1)
    assert (primary.replication_lag_bytes, primary.replication_lag_ms) == (0, 0.0)
    assert watched.published[0].primary == "primary"
    assert [node.healthy for node in watched.published[0].nodes] == [True, True]


async def test_labels_do_not_decide(postgres: PostgresCluster, watch: StartMonitor) -> None:
    swapped = [{**node, "role": "standby" if node["role"] == "primary" else "primary"} for node in postgres.nodes()]
    nodes = tuple(NodeConfig.model_validate(node) for node in swapped)
    config = config_of(postgres).model_copy(update={"clusters": (ClusterConfig(name="main", nodes=nodes),)})

    watched = watch(config)

    await watched.until(lambda: watched.cluster.primary == f"127.0.0.1:{postgres.primary.port}", "the true primary")


async def test_a_role_without_pg_monitor_is_enough_for_the_role(postgres: PostgresCluster, watch: StartMonitor) -> None:
    watched = watch(config_of(postgres, user=APP, password=PASSWORDS[APP]))

    await watched.until(lambda: all(node.healthy for node in watched.cluster.nodes), "both nodes healthy")

    assert (watched.node("primary").role, watched.node("standby-1").role) == ("primary", "standby")
    await watched.until(lambda: watched.node("standby-1").replication_lag_ms == 0.0, "its lag is known")
    assert watched.node("standby-1").timeline is None, "only roles with pg_read_all_stats may see it"


async def test_lag_grows_while_replay_is_paused_and_goes_back_to_nothing(
    postgres: PostgresCluster, watch: StartMonitor
) -> None:
    watched = watch(config_of(postgres))
    await watched.until(lambda: watched.node("standby-1").replication_lag_bytes == 0, "no lag at first")

    standby_execute(postgres, "select pg_wal_replay_pause()")
    try:
        postgres.execute("create table lag_test as select generate_series(1, 20000) n; drop table lag_test")
        await watched.until(lambda: (watched.node("standby-1").replication_lag_bytes or 0) > 500_000, "bytes of lag")
        await watched.until(lambda: (watched.node("standby-1").replication_lag_ms or 0) > 200, "time of lag")
        behind, ahead = watched.positions["standby-1"], watched.positions["primary"]
        assert (behind.lag_bytes or 0) > 500_000
        assert (behind.lag_ms or 0) > 200
        assert (ahead.lag_bytes, ahead.lag_ms) == (0, 0)
        assert ahead.position > behind.position
    finally:
        standby_execute(postgres, "select pg_wal_replay_resume()")

    await watched.until(lambda: watched.node("standby-1").replication_lag_bytes == 0, "no bytes of lag at last")
    assert watched.node("standby-1").replication_lag_ms == 0.0


async def test_a_wrong_password_is_named_with_the_role_and_its_origin(
    postgres: PostgresCluster, watch: StartMonitor
) -> None:
    watched = watch(config_of(postgres, password="wrong"))

    await watched.until(lambda: watched.node("primary").last_error, "an error")

    node = watched.node("primary")
    assert f'password of user "{MONITOR}" ([monitor]) refused' in str(node.last_error)
    assert not node.healthy
    assert "password of user" in str(watched.cluster.reason)
    assert watched.cluster.primary is None


async def test_a_missing_role_and_a_missing_database_are_told_apart(
    postgres: PostgresCluster, watch: StartMonitor
) -> None:
    absent = watch(config_of(postgres, database="no_such_database"))

    await absent.until(lambda: absent.node("primary").last_error, "an error")

    assert 'database "no_such_database" does not exist' in str(absent.node("primary").last_error)


async def test_an_unreachable_node_disturbs_nobody(postgres: PostgresCluster, watch: StartMonitor) -> None:
    nodes = (
        {"name": "nobody", "host": "127.0.0.1", "port": free_port()},
        {"name": "nowhere", "host": "no-such-host.invalid", "port": 5432},
    )
    watched = watch(config_of(postgres, *nodes))

    await watched.until(lambda: watched.node("nobody").failure_count >= 3, "three failures")
    await watched.until(lambda: watched.node("nowhere").last_error, "a failure")
    await watched.until(lambda: watched.cluster.primary, "a primary")

    assert watched.node("nobody").last_error == "connection refused"
    assert "host name not found" in str(watched.node("nowhere").last_error)
    assert watched.node("standby-1").healthy


async def test_a_server_that_never_answers_times_out(postgres: PostgresCluster, watch: StartMonitor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        node = {"name": "mute", "host": "127.0.0.1", "port": mute.getsockname()[1]}
        watched = watch(config_of(postgres, node, timeout_ms=200))

        await watched.until(lambda: watched.node("mute").last_error, "a failure")

        assert watched.node("mute").last_error == "no answer within 200 ms"


async def test_a_disabled_node_is_not_asked(postgres: PostgresCluster, watch: StartMonitor) -> None:
    nodes = tuple(
        NodeConfig.model_validate({**node, "enabled": node["role"] == "primary"}) for node in postgres.nodes()
    )
    config = config_of(postgres).model_copy(update={"clusters": (ClusterConfig(name="main", nodes=nodes),)})
    watched = watch(config)

    await watched.until(lambda: watched.cluster.primary, "a primary")

    standby = watched.node("standby-1")
    assert (standby.enabled, standby.healthy, standby.last_check) == (False, False, None)
    assert [node.healthy for node in watched.published[0].nodes] == [True, False]


async def test_a_node_of_another_cluster_is_not_used(
    postgres: PostgresCluster, other_postgres: PostgresCluster, watch: StartMonitor
) -> None:
    foreign = {**other_postgres.nodes()[1], "name": "foreign"}
    watched = watch(config_of(postgres, foreign))

    await watched.until(lambda: watched.node("foreign").last_error, "the foreign node is noticed")

    assert "belongs to another database system" in str(watched.node("foreign").last_error)
    assert not watched.node("foreign").healthy
    assert watched.cluster.primary is not None


async def test_two_primaries_make_clients_wait(
    postgres: PostgresCluster, other_postgres: PostgresCluster, watch: StartMonitor
) -> None:
    watched = watch(config_of(postgres, {**other_postgres.nodes()[0], "name": "second"}))

    await watched.until(lambda: "all accept writes" in str(watched.cluster.reason), "both are named")

    assert watched.cluster.primary is None
    assert watched.published[0].primary is None
    assert "primary (timeline 1) and second (timeline 1)" in str(watched.published[0].reason)


async def test_a_promotion_is_seen(doomed_postgres: PostgresCluster, watch: StartMonitor) -> None:
    watched = watch(config_of(doomed_postgres))
    standby = doomed_postgres.standby
    assert standby is not None
    await watched.until(lambda: all(node.healthy for node in watched.cluster.nodes), "both nodes healthy")

    doomed_postgres.primary.kill()
    await watched.until(lambda: watched.cluster.primary is None, "the primary is missed")
    assert "primary cannot be asked (connection refused), standby-1 is a standby" in str(watched.cluster.reason)
    await asyncio.to_thread(standby.promote)

    await watched.until(lambda: watched.published[0].primary == "standby-1", "the promoted standby is primary")
    assert watched.cluster.primary == f"127.0.0.1:{standby.port}"
    assert watched.cluster.failovers == 1
    assert watched.cluster.last_failover_at is not None
    assert watched.node("standby-1").timeline == 2
    assert watched.node("primary").role == "unknown"


async def test_a_stopped_server_is_missed_and_found_again(postgres: PostgresCluster, watch: StartMonitor) -> None:
    watched = watch(config_of(postgres, timeout_ms=200, failure_threshold=2))
    await watched.until(lambda: watched.cluster.primary, "a primary")
    frozen = postmaster_and_monitors(postgres)

    try:
        send(signal.SIGSTOP, frozen)
        await watched.until(lambda: watched.cluster.primary is None, "a frozen primary is none")
        assert "no answer within 200 ms" in str(watched.node("primary").last_error)
    finally:
        send(signal.SIGCONT, frozen)

    await watched.until(lambda: watched.cluster.primary, "it is primary again")
    assert watched.cluster.failovers == 0
    assert watched.node("primary").last_error is None


async def test_without_a_primary_only_standbys_of_the_last_one_may_read(
    postgres: PostgresCluster, other_postgres: PostgresCluster, watch: StartMonitor
) -> None:
    foreign = {**other_postgres.nodes()[1], "name": "foreign"}
    watched = watch(config_of(postgres, foreign, timeout_ms=200, failure_threshold=2))
    await watched.until(lambda: watched.cluster.primary and watched.node("foreign").last_error, "all to be known")
    frozen = postmaster_and_monitors(postgres)

    try:
        send(signal.SIGSTOP, frozen)
        await watched.until(lambda: watched.published[0].primary is None, "a frozen primary is none")

        assert {node.name for node in watched.published[0].nodes if node.standby} == {"standby-1"}
        assert "another database system than the last primary" in str(watched.node("foreign").last_error)
    finally:
        send(signal.SIGCONT, frozen)

    await watched.until(lambda: watched.cluster.primary, "it is primary again")


async def test_a_wake_polls_at_once(postgres: PostgresCluster, watch: StartMonitor) -> None:
    watched = watch(config_of(postgres, interval_ms=60_000))
    await watched.until(lambda: watched.node("primary").last_check, "the first poll")
    first = watched.node("primary").last_check

    watched.monitor.wake("main", "primary")
    watched.monitor.wake("main", "unknown")
    watched.monitor.wake("unknown", "primary")

    await watched.until(lambda: watched.node("primary").last_check != first, "a second poll")


async def test_nodes_that_stay_keep_their_state_over_a_new_configuration(
    postgres: PostgresCluster, watch: StartMonitor
) -> None:
    watched = watch(config_of(postgres))
    await watched.until(lambda: watched.node("standby-1").healthy and watched.cluster.primary, "both nodes")

    only_primary = config_of(postgres).clusters[0]
    only_primary = only_primary.model_copy(update={"nodes": only_primary.nodes[:1]})
    watched.configure(config_of(postgres).model_copy(update={"clusters": (only_primary,)}))

    assert [node.name for node in watched.published[0].nodes] == ["primary"]
    assert watched.published[0].primary == "primary", "no moment without a primary"


def postmaster_and_monitors(cluster: PostgresCluster) -> list[int]:
    postmaster = cluster.primary.pid
    assert postmaster is not None
    monitors = "select string_agg(pid::text, ',') from pg_stat_activity where application_name = 'helios monitor'"
    pids = cluster.value(monitors)
    return [postmaster, *(int(pid) for pid in str(pids).split(","))]


def send(number: signal.Signals, pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # a connection of an earlier test that has just ended
            os.kill(pid, number)


def standby_execute(cluster: PostgresCluster, query: str) -> None:
    assert cluster.standby is not None
    sql.execute(cluster.standby.target(), query)


async def test_a_connection_that_was_closed_is_no_failure(postgres: PostgresCluster, watch: StartMonitor) -> None:
    watched = watch(config_of(postgres, failure_threshold=1))
    await watched.until(lambda: watched.cluster.primary, "a primary")

    postgres.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'helios monitor'")
    for _ in range(3):
        await another_poll(watched)
        assert watched.cluster.primary is not None
        assert watched.node("primary").last_error is None


async def another_poll(watched: Watched) -> None:
    before = watched.node("primary").last_check
    await watched.until(lambda: watched.node("primary").last_check != before, "another poll")
