"""Fixtures of the providers' tests: one API server with an operator for the session, a namespace for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from cluster import CannotRun, Cluster, Level, open_cluster
from harness.operator import OperatorProcess, install, kubeconfig_of_operator
from harness.resources import Shop


def pytest_configure(config: pytest.Config) -> None:
    """Declare our markers."""
    config.addinivalue_line("markers", "smoke: one of the few that continuous integration runs")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """An API server with our CRDs; tests keep to namespaces of their own."""
    try:
        opened = open_cluster(Level.APISERVER)
    except CannotRun as error:
        pytest.skip(str(error))
    with opened:
        install(opened)
        yield opened


@pytest.fixture(scope="session")
def operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """A real operator, which says of each object whether it is accepted."""
    folder = tmp_path_factory.mktemp("operator")
    with OperatorProcess(kubeconfig_of_operator(cluster, folder), folder) as process:
        yield process.wait_leading()


@pytest.fixture
def shop(cluster: Cluster) -> Iterator[Shop]:
    """A namespace of the test's own."""
    name = f"iac-{uuid.uuid4().hex[:10]}"
    cluster.kubectl("create", "namespace", name)
    yield Shop(cluster, name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")
