"""Another release of the operator takes over: pods are started anew only where their template says something else."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster
from harness.operator import OperatorProcess, objects
from harness.resources import Shop


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    return Shop(installed, namespace)


def image_of(deployment: dict[str, Any]) -> str:
    """The image of the proxy's container."""
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def test_operator_of_another_release_rolls_only_who_names_no_image(
    shop: Shop, operator_kubeconfig: Path, tmp_path: Path
) -> None:
    with OperatorProcess(operator_kubeconfig, tmp_path, "--image=helios-proxy:1", name="old").wait_leading():
        shop.proxy("pinned", image="helios-proxy:0.9")
        shop.proxy("plain")
        for name in ("pinned", "plain"):
            shop.await_deployed(name)
            shop.until(partial(generation_seen, shop, name), "its controller has made pods")
    before = {name: shop.get("deployment", name) for name in ("pinned", "plain")}
    documents = {name: shop.document(name) for name in before}

    with OperatorProcess(operator_kubeconfig, tmp_path, "--image=helios-proxy:2", name="new").wait_leading() as new:
        shop.until(lambda: image_of(shop.get("deployment", "plain")) == "helios-proxy:2", "the new default counts")
        new.wait_idle()

        pinned = shop.get("deployment", "pinned")
        assert image_of(pinned) == "helios-proxy:0.9"
        assert pinned["metadata"]["generation"] == before["pinned"]["metadata"]["generation"], "nothing was written"
        owners = [owner_of(each) for each in objects(shop.cluster, shop.namespace, "replicaset").values()]
        assert owners.count("pinned") == 1, "no second set of pods"
        assert {name: shop.document(name) for name in before} == documents, "no new generation for anybody"
        assert f"Deployment {shop.namespace}/pinned" not in new.log


def generation_seen(shop: Shop, name: str) -> bool:
    """Whether the Deployment's controller has acted on what it is now."""
    deployment = shop.get("deployment", name)
    seen = (deployment.get("status") or {}).get("observedGeneration")
    return bool(seen == deployment["metadata"]["generation"])


def owner_of(value: Any) -> str:
    """Name of the object that controls another."""
    return str(value["metadata"]["ownerReferences"][0]["name"])
