"""`limits.maxServerConnections` at the API server: too few are refused, each pod's document holds its first share."""

from __future__ import annotations

import tomllib

import pytest

from cluster import Cluster, KubectlError
from harness.resources import Shop

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    return Shop(installed, namespace)


def test_first_share_is_written_and_fewer_than_pods_are_refused(shop: Shop) -> None:
    def first_share() -> int:
        return int(tomllib.loads(shop.document())["limits"]["max_server_connections"])

    with pytest.raises(KubectlError, match="must be more than replicas"):
        shop.proxy(replicas=4, limits={"maxServerConnections": 4})
    shop.proxy(replicas=4, limits={"maxServerConnections": 20})
    shop.await_deployed()

    assert first_share() == 2, "half of an equal part among four and the one more of a rolling update"
    with pytest.raises(KubectlError, match="must be more than replicas"):
        shop.kubectl("scale", "heliosproxy/web", "--replicas=20")
    shop.kubectl("scale", "heliosproxy/web", "--replicas=1")
    # Pods of this cluster never run, so that nothing is known of them; fewer are always possible.
    shop.until(lambda: shop.get("deployment", "web")["spec"]["replicas"] == 1, "it is scaled down")
    shop.until(lambda: first_share() == 5, "one pod may have more")
