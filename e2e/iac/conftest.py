"""Fixtures of the providers' tests: one API server with an operator for the session, a namespace for each test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

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
def operators(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], OperatorProcess]]:
    """Starts one more operator; all end with the session."""
    with ExitStack() as started:

        def start() -> OperatorProcess:
            folder = tmp_path_factory.mktemp("operator")
            process = started.enter_context(OperatorProcess(kubeconfig_of_operator(cluster, folder), folder))
            return process.wait_leading()

        yield start


@pytest.fixture(scope="session")
def running(operators: Callable[[], OperatorProcess]) -> list[OperatorProcess]:
    """The operators so far; the last one runs, unless a test took its resources away."""
    return [operators()]


@pytest.fixture
def operator(running: list[OperatorProcess], operators: Callable[[], OperatorProcess]) -> OperatorProcess:
    """A real operator, which says of each object whether it is accepted. One that has ended since its definitions were
    deleted is started again, as Kubernetes would do it."""
    if running[-1].exit_status is not None:
        running.append(operators())
    return running[-1]


@pytest.fixture
def shop(cluster: Cluster) -> Iterator[Shop]:
    """A namespace of the test's own."""
    name = f"iac-{uuid.uuid4().hex[:10]}"
    cluster.kubectl("create", "namespace", name)
    yield Shop(cluster, name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")
