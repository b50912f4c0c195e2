"""Proxies that share a Lease of Kubernetes, with the rights that the operator gives them: one promotes, or nobody."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster, KubectlError
from harness.client import Client, ClosedError, LoginRefusedError
from harness.operator import OperatorProcess
from harness.proxy import HeliosProcess, base_settings
from harness.replicas import ReplicatedCluster
from harness.resources import Shop
from harness.shared_lease import identity
from harness.wait import until

PATIENCE = 90


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    return Shop(installed, namespace)


@pytest.fixture
def servers() -> Iterator[ReplicatedCluster]:
    made = ReplicatedCluster()
    yield made
    made.stop()


def status(proxy: HeliosProcess) -> dict[str, Any]:
    found: dict[str, Any] = proxy.json("/api/failover")["clusters"][0]
    return found


def writes_to(proxy: HeliosProcess) -> str | None:
    """The server that a new client may write to; None while there is none."""
    try:
        with Client(proxy.target(), deadline=PATIENCE) as client:
            return client.value("select current_setting('cluster_name') where not pg_is_in_recovery()")
    except (AssertionError, LoginRefusedError, ClosedError, OSError):
        return None


def standbys(servers: ReplicatedCluster, names: tuple[str, ...]) -> list[str | None]:
    return [servers.ask(name, "select pg_is_in_recovery()") for name in names]


def test_pods_share_a_lease_and_promote_once_or_not_at_all(
    shop: Shop, servers: ReplicatedCluster, operator: OperatorProcess, tmp_path: Path
) -> None:
    shop.proxy(failover={"enabled": True})
    shop.await_deployed()
    template = shop.get("deployment", "web")["spec"]["template"]["spec"]
    assert (template["serviceAccountName"], template["automountServiceAccountToken"]) == ("web", True)
    assert 'lease_name = "web-failover"' in shop.document()
    folder, environment = identity(shop, "web", tmp_path / "identity")
    may = f"--as=system:serviceaccount:{shop.namespace}:web"
    for verb, what, answer in (
        ("patch", "lease/web-failover", "yes"),
        ("patch", "lease/other", "no"),
        ("create", "lease", "no"),
        ("get", "secrets", "no"),
    ):
        assert can(shop, verb, what, may) == answer

    def pod(name: str) -> HeliosProcess:
        lease = {"lease_name": "web-failover", "service_account_dir": str(folder), "enabled": True}
        settings = base_settings(servers, tmp_path / name, failover=lease, pool={"acquire_timeout_seconds": PATIENCE})
        return HeliosProcess(tmp_path / name, settings, environment=environment)

    with pod("first") as first:
        until(lambda: status(first)["holds_lease"], "the lease", PATIENCE)
        with pod("second") as second:
            for proxy in (first, second):
                until(lambda: all(node["healthy"] for node in proxy.json("/nodes")), "all nodes", PATIENCE)  # noqa: B023
            assert not status(second)["holds_lease"]

            # Without the API server the proxies go on, and nobody is promoted.
            shop.cluster.stop_apiserver()
            try:
                for proxy in (first, second):
                    until(lambda: "web-failover" in str(status(proxy)["refused"]), "the reason", PATIENCE)  # noqa: B023
                assert [writes_to(proxy) for proxy in (first, second)] == ["db-1", "db-1"]
                servers["db-1"].kill()
                for proxy in (first, second):
                    until(lambda: "no right to use the primary" in proxy.log(), "the right to lapse", PATIENCE)  # noqa: B023
                assert standbys(servers, ("db-2", "db-3")) == ["t", "t"]
            finally:
                shop.cluster.start_apiserver()
            for proxy in (first, second):
                assert until(lambda: writes_to(proxy), "another primary", PATIENCE) == "db-2"  # noqa: B023
            assert [status(proxy)["promotions"] for proxy in (first, second)] == [1, 1]
            assert standbys(servers, ("db-3",)) == ["t"]

            # One that hangs is waited for until it must have let go.
            holder, other = (first, second) if status(first)["holds_lease"] else (second, first)
            servers.await_streaming("db-2", 1)
            timeline = holder.json("/nodes/db-2")["timeline"]
            until(lambda: holder.json("/nodes/db-3")["timeline"] == timeline, "it to be seen to follow", PATIENCE)
            other.signal(signal.SIGSTOP)
            servers["db-2"].kill()
            until(lambda: "did not confirm" in str(status(holder)["refused"]), "it to be waited for", PATIENCE)
            assert standbys(servers, ("db-3",)) == ["t"]
            until(lambda: status(holder)["promotions"] == 2, f"the last one: {holder.log_file}", PATIENCE)
            assert writes_to(holder) == "db-3"
            other.signal(signal.SIGCONT)
            assert until(lambda: writes_to(other), "the same", PATIENCE) == "db-3"
            assert [status(proxy)["promotions"] for proxy in (first, second)] == [2, 2]
            left = json.loads(shop.kubectl("get", "lease", "web-failover", "-o", "json"))["metadata"]["annotations"]
            assert json.loads(left["failover.heliosproxy.dev/decided"])["main"]["promotions"] == 2
    left = json.loads(shop.kubectl("get", "lease", "web-failover", "-o", "json"))
    assert not [name for name in left["metadata"]["annotations"] if name.startswith("member.")]
    assert left["spec"]["holderIdentity"] == ""


def can(shop: Shop, verb: str, what: str, who: str) -> str:
    """`yes` or `no`; kubectl fails with the latter."""
    try:
        return shop.kubectl("auth", "can-i", verb, what, who).strip()
    except KubectlError:
        return "no"
