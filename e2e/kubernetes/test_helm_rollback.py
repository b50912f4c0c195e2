"""A rollback of the operator's chart to a release that does not know everything that is stored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster
from harness.operator import kubeconfig_of_operator
from harness.resources import GROUP, Shop

CRD = f"crd/heliosproxies.{GROUP}"
SCHEMA = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties"


@pytest.fixture
def later(installed: Cluster) -> Iterator[Cluster]:
    """The definitions of a later release: a HeliosProxy has one field more."""
    path = f"{SCHEMA}/inventedLater"
    patch(installed, {"op": "add", "path": path, "value": {"type": "string"}})
    yield installed
    patch(installed, {"op": "remove", "path": path})


def patch(cluster: Cluster, operation: dict[str, object]) -> None:
    cluster.kubectl("patch", CRD, "--type=json", "-p", json.dumps([operation]))


def check(kubeconfig: Path) -> subprocess.CompletedProcess[str]:
    """What the hook runs, with the rights of the operator."""
    command = [sys.executable, "-m", "helios_operator.rollback", f"--kubeconfig={kubeconfig}"]
    environment = {key: value for key, value in os.environ.items() if key != "KUBECONFIG"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def test_a_stored_field_that_this_release_does_not_know_refuses_the_rollback(
    later: Cluster, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = kubeconfig_of_operator(later, tmp_path)
    shop = Shop(later, namespace)
    shop.apply("PoolProfile", "fast", {"maxPoolSize": 20})
    shop.until(shop.stored_by_a_later_release, "the API server knows the field", 30)

    refused = check(kubeconfig)
    assert refused.returncode == 1, refused
    assert f"HeliosProxy {namespace}/web: spec.inventedLater: " in refused.stderr
    assert "crds.checkRollback=false" in refused.stderr
    assert "PoolProfile" not in refused.stderr

    shop.proxy()
    shop.until(lambda: "inventedLater" not in shop.get("heliosproxy", "web")["spec"], "the field is removed", 30)
    allowed = check(kubeconfig)
    assert (allowed.returncode, allowed.stderr) == (0, ""), allowed


def test_without_an_api_server_nothing_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("{}")

    answer = check(tmp_path / "kubeconfig")

    assert answer.returncode == 1
    assert "cannot look at what is stored" in answer.stderr
