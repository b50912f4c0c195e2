"""Two operators and one Lease; an API server that is away for a while."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from cluster import Cluster
from harness.operator import NAMESPACE, OperatorProcess
from harness.resources import Shop
from harness.wait import until


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    return Shop(installed, namespace)


def holder(cluster: Cluster) -> str:
    lease = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "lease", "helios-operator", "-o", "json"))
    return str(lease["spec"].get("holderIdentity") or "")


@pytest.mark.smoke
def test_only_one_of_two_writes_and_the_other_takes_over(shop: Shop, operator_kubeconfig: Path, tmp_path: Path) -> None:
    first = OperatorProcess(operator_kubeconfig, tmp_path, name="first").wait_leading()
    with first, OperatorProcess(operator_kubeconfig, tmp_path, name="second") as second:
        until(lambda: "standing by" in second.get("/readyz"), "the second stands by")
        shop.proxy("one")
        shop.await_deployed("one")
        assert second.metric("writes_total") == 0
        assert holder(shop.cluster) == "first"

        first.kill()
        started = time.monotonic()
        second.wait_leading()
        print(f"took over {time.monotonic() - started:.2f} s after a hard kill, lease of 5 s")
        shop.proxy("two")
        shop.await_deployed("two")
        assert holder(shop.cluster) == "second"


def test_operator_that_is_told_to_end_lets_the_next_in_at_once(
    shop: Shop, operator_kubeconfig: Path, tmp_path: Path
) -> None:
    first = OperatorProcess(operator_kubeconfig, tmp_path, "--lease-duration=60", name="first").wait_leading()
    with first, OperatorProcess(operator_kubeconfig, tmp_path, "--lease-duration=60", name="second") as second:
        until(lambda: "standing by" in second.get("/readyz"), "the second stands by")

        assert first.stop() == 0

        started = time.monotonic()
        second.wait_leading()
        print(f"took over {time.monotonic() - started:.2f} s after the first was told to end")
        assert time.monotonic() - started < 20


def test_operator_that_was_frozen_does_not_write_over_its_successor(
    shop: Shop, operator_kubeconfig: Path, tmp_path: Path
) -> None:
    first = OperatorProcess(operator_kubeconfig, tmp_path, name="first").wait_leading()
    with first, OperatorProcess(operator_kubeconfig, tmp_path, name="second") as second:
        first.freeze()
        second.wait_leading()
        shop.proxy()
        shop.await_deployed()

        first.thaw()

        until(lambda: first.exit_status is not None, "the first ends", 20)
        assert first.exit_status == 3
        assert holder(shop.cluster) == "second"


def test_operator_outlives_an_api_server_that_is_away(shop: Shop, operator: OperatorProcess) -> None:
    shop.proxy()
    shop.await_deployed()

    shop.cluster.stop_apiserver()
    until(lambda: operator.metric("leading") == 0, "it knows that it may not write", 20)
    shop.cluster.start_apiserver()

    operator.wait_leading()
    shop.proxy(replicas=4)
    shop.until(lambda: shop.get("deployment", "web")["spec"]["replicas"] == 4, "it goes on as before", 30)
    assert operator.exit_status is None
