"""Fixtures of the tests on Kubernetes: one cluster for the session, a namespace for each test.

HELIOS_LEVEL says which cluster (apiserver when it is not set), HELIOS_NEEDS that only tests run which need exactly that
level; `make e2e` sets both. A test says what it needs by `@pytest.mark.level("node")`; without it, `apiserver`.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import CannotRun, Cluster, KubectlError, Level, open_cluster
from cluster.local import LocalCluster
from harness.installed import Installed, install_operator, load_images, remove_operator
from harness.operator import OperatorProcess, install, kubeconfig_of_operator
from harness.wait import until
from helios_make.places import find_places

HERE = Path(__file__).parent
LEVEL = Level(os.environ.get("HELIOS_LEVEL") or Level.APISERVER)
NEEDS = os.environ.get("HELIOS_NEEDS")


def pytest_configure(config: pytest.Config) -> None:
    """Declare our markers."""
    config.addinivalue_line("markers", "level(name): what a test needs of a cluster: apiserver or node")
    config.addinivalue_line("markers", "smoke: one of the few that continuous integration runs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of another level when one is asked for; skip those that the level does not serve."""
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        if not item.path.is_relative_to(HERE):
            kept.append(item)
            continue
        needed = needed_by(item)
        (left_out if NEEDS and needed is not Level(NEEDS) else kept).append(item)
        if not LEVEL.serves(needed):
            item.add_marker(pytest.mark.skip(f"needs level {needed}, this is level {LEVEL} (HELIOS_LEVEL)"))
    items[:] = kept
    if left_out:
        config.hook.pytest_deselected(items=left_out)


def needed_by(item: pytest.Item) -> Level:
    """The level that a test is marked with."""
    marker = item.get_closest_marker("level")
    return Level(marker.args[0]) if marker else Level.APISERVER


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The session's cluster. Tests keep to namespaces of their own, and remove what they make outside of them."""
    try:
        opened = open_cluster(LEVEL)
    except CannotRun as error:
        pytest.skip(str(error))
    yield opened
    keep_logs(opened)
    opened.close()


def keep_logs(cluster: Cluster) -> None:
    """Copy the daemons' logs to those of the last test run, for whoever looks into a failure."""
    if isinstance(cluster, LocalCluster):
        kept = find_places().logs / f"cluster-{cluster.level}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(cluster.control.logs, kept)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own, with its ServiceAccount in place; deleted afterwards, without waiting for that."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    cluster.kubectl("create", "namespace", name)
    until(lambda: has_service_account(cluster, name), f"namespace {name} has its ServiceAccount", deadline=30)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def has_service_account(cluster: Cluster, namespace: str) -> bool:
    """Whether pods can be made."""
    try:
        return bool(json.loads(cluster.kubectl("-n", namespace, "get", "serviceaccount", "default", "-o", "json")))
    except KubectlError:
        return False


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> Cluster:
    """The cluster with our CRDs and the operator's rights, but without an operator."""
    install(cluster)
    return cluster


@pytest.fixture(scope="session")
def operator_kubeconfig(installed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the operator's ServiceAccount may do, and no more."""
    return kubeconfig_of_operator(installed, tmp_path_factory.mktemp("operator"))


@pytest.fixture
def operator(operator_kubeconfig: Path, tmp_path: Path) -> Iterator[OperatorProcess]:
    """A running operator that leads; its log is shown when the test fails."""
    with OperatorProcess(operator_kubeconfig, tmp_path) as process:
        yield process.wait_leading()
        print(process.log)


@pytest.fixture
def discovering_operator(operator_kubeconfig: Path, tmp_path: Path) -> Iterator[OperatorProcess]:
    """One that looks every second which kinds of other projects the API server has."""
    with OperatorProcess(operator_kubeconfig, tmp_path, "--discovery-interval=1") as process:
        yield process.wait_leading()
        print(process.log)


@pytest.fixture(scope="session")
def cluster_with_images(cluster: Cluster) -> Cluster:
    """Level node: the cluster with what `make images` builds, and PostgreSQL."""
    load_images(cluster)
    return cluster


@pytest.fixture(scope="module")
def operator_in_cluster(cluster_with_images: Cluster) -> Iterator[Cluster]:
    """Level node: the operator as users install it, while the tests of one module run."""
    install_operator(cluster_with_images)
    yield cluster_with_images
    remove_operator(cluster_with_images)


@pytest.fixture
def in_cluster(operator_in_cluster: Cluster, namespace: str) -> Installed:
    """Level node: a namespace with a PostgreSQL and clients in pods."""
    return Installed(operator_in_cluster, namespace)
