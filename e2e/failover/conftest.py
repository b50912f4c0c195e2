"""The report that the campaigns of `make failover` write together, and an API server whose Lease some of them share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import CannotRun, Cluster, Level, open_cluster
from harness.operator import install, kubeconfig_of_operator
from harness.resources import Shop
from harness.shared_lease import PodsLease

REPORT = os.environ.get("FAILOVER_REPORT")


@pytest.fixture(scope="session")
def report() -> Iterator[list[str]]:
    """Lines of the scenario report."""
    lines: list[str] = []
    yield lines
    text = "\n".join(lines)
    print(f"\n{text}")
    if REPORT:
        Path(REPORT).write_text(text.rstrip("\n") + "\n")


@pytest.fixture(scope="session")
def apiserver() -> Iterator[Cluster]:
    """With our kinds and the operator's rights."""
    try:
        opened = open_cluster(Level.APISERVER)
    except CannotRun as error:
        pytest.skip(str(error))
    try:
        install(opened)
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="session")
def pods_lease(apiserver: Cluster, tmp_path_factory: pytest.TempPathFactory) -> PodsLease:
    """What the operator makes for a HeliosProxy that may promote."""
    folder = tmp_path_factory.mktemp("lease")
    apiserver.kubectl("create", "namespace", "failover")
    return PodsLease(Shop(apiserver, "failover"), kubeconfig_of_operator(apiserver, folder), folder)
