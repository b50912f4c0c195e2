"""Level node: the operator of one release with the proxy of the release before it, and the reverse, as two images."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster
from harness.installed import Installed
from harness.operator import OperatorProcess
from harness.releases import PROXY, NoHistory, Release, built_image, next_release, older_release, tagged
from helios_make.images import ensure_images
from helios_make.places import find_places

pytestmark = pytest.mark.level("node")

SETTLE_SECONDS = 150.0
"""Until pods of another image have come and the others gone: drain and readiness take some seconds for each."""
LIVE_SECONDS = 30.0


@dataclass(frozen=True)
class Releases:
    """Two of them, whose proxy images are in the node."""

    older: Release
    newer: Release


@pytest.fixture(scope="module")
def releases(cluster_with_images: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """An older tree of this repository, and the present one as the release after it."""
    try:
        older = older_release()
    except NoHistory as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("releases")
    newer = next_release(older, folder / "newer")
    for release, archive in (
        (older, built_image(older)),
        (newer, ensure_images(find_places(), [PROXY])[PROXY.tag]),
    ):
        copy = tagged(archive, release.image, folder)
        cluster_with_images.load_image(copy)
        copy.unlink()
    return Releases(older, newer)


@pytest.fixture
def shop(installed: Cluster, releases: Releases, namespace: str) -> Installed:
    """A namespace with a PostgreSQL; the operator is a process of the test's own."""
    return Installed(installed, namespace)


def apply(shop: Installed, release: Release, **spec: Any) -> None:
    """The example with an image of that release."""
    shop.apply("HeliosProxy", "minimal", {"replicas": 2, "image": release.image, **spec})


def settle(shop: Installed, release: Release) -> None:
    """Wait until two pods of that release, and no others, run the wanted document and answer."""

    def settled() -> bool:
        status = shop.get("heliosproxy", "minimal").get("status") or {}
        hashes = [pod.get("configHash") for pod in status.get("pods") or ()]
        images = [pod["spec"]["containers"][0]["image"] for pod in shop.pods()]
        return images == [release.image] * 2 and len(hashes) == 2 and set(hashes) == {status.get("configHash")}

    shop.until(settled, f"two pods of {release.version} run the document", SETTLE_SECONDS)
    shop.await_condition("minimal", "Ready", "True", deadline=SETTLE_SECONDS)
    shop.until(lambda: shop.psql("select 42") == "42", "the Service answers psql", LIVE_SECONDS)


def starts(shop: Installed) -> dict[str, int]:
    """Pod → how often its container was started anew."""
    return {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"] for pod in shop.pods()}


def document(shop: Installed) -> dict[str, Any]:
    """What the pods are to run."""
    return tomllib.loads(shop.document("minimal"))


def test_operator_writes_what_the_proxy_before_it_reads(
    shop: Installed, releases: Releases, operator_kubeconfig: Path, tmp_path: Path
) -> None:
    older, newer = releases.older, releases.newer
    with OperatorProcess(operator_kubeconfig, tmp_path, environment=newer.environment).wait_leading():
        apply(shop, older)
        settle(shop, older)
        told = shop.await_condition("minimal", "ConfigValid", "True", "NotInImage")
        assert f"a proxy of version {older.version} reads helios.toml, and does not know peers in it" in told
        assert "peers" not in document(shop)
        before = starts(shop)

        apply(shop, older, pool={"maxConnections": 7})
        shop.until(lambda: document(shop).get("pool") == {"max_size": 7}, "the edit is in the ConfigMap", LIVE_SECONDS)
        settle(shop, older)
        assert starts(shop) == before, "it was taken up by running pods"

        console = {"adminUsers": ["app"]}
        apply(shop, older, console=console)
        told = shop.await_condition("minimal", "ConfigValid", "False", "NotInImage", LIVE_SECONDS)
        assert "spec.console" in told
        assert document(shop)["pool"] == {"max_size": 7}, "the last configuration stays"
        assert "Stalled" not in shop.conditions("minimal")

        apply(shop, newer, console=console)
        settle(shop, newer)
        shop.await_condition("minimal", "ConfigValid", "True", "Valid", LIVE_SECONDS)
        assert document(shop)["console"] == {"admin_users": ["app"]}
        assert document(shop)["peers"]["hosts"] == ["minimal-peers"]


def test_proxy_reads_what_the_operator_before_it_writes(
    shop: Installed, releases: Releases, operator_kubeconfig: Path, tmp_path: Path
) -> None:
    older, newer = releases.older, releases.newer
    with OperatorProcess(operator_kubeconfig, tmp_path, environment=older.environment).wait_leading():
        apply(shop, newer)
        settle(shop, newer)
        before = starts(shop)
        assert "peers" not in document(shop)

        apply(shop, newer, pool={"maxConnections": 7})
        shop.until(lambda: document(shop).get("pool") == {"max_size": 7}, "the edit is in the ConfigMap", LIVE_SECONDS)
        settle(shop, newer)
        assert starts(shop) == before
