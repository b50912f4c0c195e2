"""Level node: a changed configuration is in force in running pods within seconds, and restarts none of them."""

from __future__ import annotations

import time

import pytest

from harness.installed import Installed
from harness.resources import Json

pytestmark = pytest.mark.level("node")

LIVE_SECONDS = 5.0
"""From the edit of a PoolProfile to the last pod that runs with it."""


def restarts(in_cluster: Installed) -> dict[str, int]:
    """Pod → how often its container was started anew."""
    return {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"] for pod in in_cluster.pods()}


def in_force(in_cluster: Installed, not_before: str) -> Json | None:
    """The status once all pods run the wanted document, and that is not `not_before`."""
    status: Json = in_cluster.get("heliosproxy", "minimal")["status"]
    hashes = [pod.get("configHash") for pod in status.get("pods") or ()]
    settled = len(hashes) == 2 and set(hashes) == {status["configHash"]} != {not_before}
    return status if settled else None


@pytest.mark.smoke
def test_pool_profile_edit_is_live_without_a_restart(in_cluster: Installed) -> None:
    in_cluster.apply("PoolProfile", "fast", {"maxPoolSize": 20})
    in_cluster.apply("HeliosProxy", "minimal", {"replicas": 2, "poolProfileRef": {"name": "fast"}})
    in_cluster.await_condition("minimal", "Ready", "True", deadline=30)
    in_cluster.until(lambda: in_force(in_cluster, ""), "both pods run the first document", 15)
    old, pods = in_cluster.get("heliosproxy", "minimal")["status"]["configHash"], restarts(in_cluster)

    started = time.monotonic()
    in_cluster.apply("PoolProfile", "fast", {"maxPoolSize": 30})
    in_cluster.until(lambda: in_force(in_cluster, old), "both pods run the edited document", LIVE_SECONDS)
    print(f"PoolProfile edit live in both pods after {time.monotonic() - started:.1f} s")

    assert "max_size = 30" in in_cluster.document("minimal")
    assert restarts(in_cluster) == pods
    assert set(pods.values()) == {0}
