"""Fixtures of the proxy's tests: a real PostgreSQL and real `helios serve` processes, by the harness of `e2e/`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "e2e"))

from harness.postgres import PostgresCluster, start_cluster
from harness.proxy import HeliosProcess, StartProxy, base_settings


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A primary and a standby for the whole session. Tests must leave them as they found them."""
    cluster = start_cluster()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def other_postgres() -> Iterator[PostgresCluster]:
    """Another database system for the whole session, to be left as found."""
    cluster = start_cluster()
    yield cluster
    cluster.stop()


@pytest.fixture
def doomed_postgres() -> Iterator[PostgresCluster]:
    """A primary and a standby for one test, which may kill and promote them."""
    cluster = start_cluster()
    yield cluster
    cluster.stop()


@pytest.fixture
def start_proxy(postgres: PostgresCluster, tmp_path: Path) -> Iterator[StartProxy]:
    """Start proxies of the test's own before the session's cluster: `start_proxy(pool={"max_size": 1})`."""
    started: list[HeliosProcess] = []

    def start(**sections: object) -> HeliosProcess:
        folder = tmp_path / f"proxy-{len(started)}"
        started.append(HeliosProcess(folder, base_settings(postgres, folder, **sections)))
        return started[-1]

    yield start
    for process in started:
        process.stop()
