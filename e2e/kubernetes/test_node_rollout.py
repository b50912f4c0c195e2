"""Level node: pods come and go under 50 clients in transactions, and no client that pings first notices."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness.installed import CLIENTS, Installed
from harness.wait import until

pytestmark = pytest.mark.level("node")

COUNT = 50
TOTAL = 20
SETTLE_SECONDS = 120.0
"""Until pods have come or gone: drain and readiness take some seconds for each."""


@pytest.fixture
def busy(in_cluster: Installed) -> Installed:
    """The example with two pods, and the tables of the clients."""
    in_cluster.apply_example()
    until(lambda: in_cluster.psql("select 1"), "the Service answers psql", deadline=20)
    in_cluster.psql("create table written (number bigserial primary key, client int)")
    in_cluster.psql("create table ended ()")
    return in_cluster


def under_load(busy: Installed, change: Callable[[], None]) -> dict[str, Any]:
    """Make a change while all clients work; what they counted."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        counts = pool.submit(busy.python, CLIENTS.read_text(), str(COUNT))
        try:
            until(lambda: written(busy) > COUNT or counts.done(), "the clients are at work", deadline=30)
            change()
            before = written(busy)
            until(lambda: written(busy) > before + COUNT or counts.done(), "the clients still work", deadline=30)
        finally:
            busy.psql("insert into ended default values")
        answer = counts.result()
    assert isinstance(answer, dict)
    print(answer)
    return answer


def written(busy: Installed) -> int:
    """Transactions so far."""
    return int(busy.psql("select count(*) from written") or 0)


def settle(busy: Installed, pods: int, gone: set[str]) -> None:
    """Wait until there are as many pods, all ready, and none of those that had to go."""

    def settled() -> bool:
        found = {pod["metadata"]["name"] for pod in busy.pods()}
        status = busy.get("heliosproxy", "minimal")["status"]
        return len(found) == pods and not found & gone and status.get("readyReplicas") == pods

    until(settled, f"{pods} pods are ready and the others gone", SETTLE_SECONDS)


def assert_undisturbed(busy: Installed, counts: dict[str, Any]) -> None:
    """Nobody saw an exception, and what was committed is there, once."""
    assert counts["errors"] == []
    assert written(busy) == counts["transactions"]


def test_rolling_restart_disturbs_nobody(busy: Installed) -> None:
    old = {pod["metadata"]["name"] for pod in busy.pods()}

    def restart() -> None:
        busy.kubectl("rollout", "restart", "deployment/minimal")
        settle(busy, 2, gone=old)

    assert_undisturbed(busy, under_load(busy, restart))


def test_scaling_disturbs_nobody(busy: Installed) -> None:
    def scale() -> None:
        for replicas in (5, 1):
            busy.kubectl("scale", "heliosproxy/minimal", f"--replicas={replicas}")
            settle(busy, replicas, gone=set())

    assert_undisturbed(busy, under_load(busy, scale))


def test_total_of_server_connections_is_never_exceeded(busy: Installed) -> None:
    """PostgreSQL takes ten more than the total: what polls the nodes and reads definitions, and three for itself."""
    busy.kubectl("set", "env", "statefulset/database", f"MAX_CONNECTIONS={TOTAL + 10}")
    busy.kubectl("rollout", "status", "statefulset/database", "--timeout=60s")
    spec = {"limits": {"maxServerConnections": TOTAL}, "pool": {"maxConnections": 40, "acquireTimeoutSeconds": 30}}
    busy.kubectl("patch", "heliosproxy", "minimal", "--type=merge", "--patch", json.dumps({"spec": spec}))
    until(lambda: busy.psql("select 1"), "the proxies found the new pod", deadline=30)
    until(lambda: shares(busy) == [8, 8], f"17 of {TOTAL} are divided", deadline=30)

    def disturb() -> None:
        for replicas, each in ((5, 3), (1, 15), (2, 8)):
            busy.kubectl("scale", "heliosproxy/minimal", f"--replicas={replicas}")
            settle(busy, replicas, gone=set())
            until(lambda: shares(busy) == [each] * replicas, f"{replicas} pods have {each} each", deadline=30)  # noqa: B023
        old = {pod["metadata"]["name"] for pod in busy.pods()}
        busy.kubectl("rollout", "restart", "deployment/minimal")
        settle(busy, 2, gone=old)

    counts = under_load(busy, disturb)

    assert_undisturbed(busy, counts)
    log = busy.kubectl("logs", "database-0")
    assert "database system is ready" in log
    assert not [line for line in log.splitlines() if "too many clients" in line or "connection slots" in line]


def shares(busy: Installed) -> list[int | None]:
    """Server connections that each pod may have."""
    return [pod.get("maxServerConnections") for pod in busy.get("heliosproxy", "minimal")["status"].get("pods", ())]
