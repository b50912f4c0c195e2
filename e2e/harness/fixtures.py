"""Fixtures that the tests of more than one folder take: imported by name into their conftest files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.client import close_all
from harness.postgres import PostgresCluster, start_cluster
from harness.proxy import HeliosProcess, StartProxy, base_settings

__all__ = ["no_connection_is_left_open", "postgres", "start_proxy"]


@pytest.fixture(autouse=True)
def no_connection_is_left_open() -> Iterator[None]:
    """Close what a test leaves open, before the proxies that a test started are asked to end."""
    yield
    close_all()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A primary and a standby for the whole session. Tests must leave tables, roles and settings as they found them."""
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

    with ExitStack() as stops:  # each, also where another does not end
        yield start
        close_all()
        for process in started:
            stops.callback(process.stop)
