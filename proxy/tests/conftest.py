"""Fixtures of the proxy's tests: a real PostgreSQL and real `helios serve` processes, by the harness of `e2e/`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "e2e"))

from harness.fixtures import postgres, start_proxy
from harness.postgres import PostgresCluster, start_cluster

__all__ = ["postgres", "start_proxy"]


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
