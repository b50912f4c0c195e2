"""Fixtures of the end-to-end tests: a real PostgreSQL, real proxies, and the routes a wire test runs on."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from harness import routes
from harness.client import Client, Target, full
from harness.fixtures import no_connection_is_left_open, postgres, start_proxy
from harness.postgres import DATABASE, PostgresCluster
from harness.proxy import HeliosProcess, Settings, base_settings, logs_since
from harness.relay import ChunkRelay
from harness.routes import Parity, Route, RouteKind, Script

__all__ = ["no_connection_is_left_open", "postgres", "start_proxy"]


def pytest_configure(config: pytest.Config) -> None:
    """Declare our markers."""
    config.addinivalue_line("markers", "routes(*modes, chunks=(…), direct=True): the routes a wire test runs on")
    config.addinivalue_line("markers", "checklist(*lines, protocol=…): what of wire/checklist.toml a test shows")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a test that failed what the proxies logged meanwhile."""
    report = yield
    if report.failed:
        report.sections += [(f"log of {file.parent.name}", text) for file, text in logs_since(call.start)]
    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that takes a `route` on the direct route and on the routes of its `routes` marker."""
    if "route_kind" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("routes")
    modes = (marker.args if marker else ()) or (routes.SESSION, routes.TRANSACTION)
    options = marker.kwargs if marker else {}
    metafunc.parametrize("route_kind", routes.kinds(modes, **options), ids=str, scope="function")


@pytest.fixture(scope="session")
def wire_proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """The proxy of the wire tests: two workers, pools of two, one database name per pool mode."""
    folder = tmp_path_factory.mktemp("wire-proxy")
    with HeliosProcess(folder, wire_settings(postgres, folder)) as process:
        yield process


def wire_settings(cluster: PostgresCluster, folder: Path) -> Settings:
    """Settings with the databases `session`, `transaction` and `statement`, all leading to the same one."""
    modes = (routes.SESSION, routes.TRANSACTION, routes.STATEMENT)
    databases = [{"name": mode, "database": DATABASE, "pool": {"mode": mode}} for mode in modes]
    return base_settings(cluster, folder, databases=[*databases, {"name": "*"}])


@pytest.fixture(scope="session")
def relays(wire_proxy: HeliosProcess) -> Iterator[dict[str, ChunkRelay]]:
    """A relay before the wire proxy for each chunking."""
    started = {chunk: ChunkRelay(wire_proxy.port, chunk) for chunk in routes.CHUNKS if chunk != "none"}
    yield started
    for relay in started.values():
        relay.stop()


def target_of(kind: RouteKind, request: pytest.FixtureRequest) -> Target:
    """The login for a route; starts the proxy and the relays only if the route needs them."""
    if kind.mode == routes.DIRECT:
        cluster: PostgresCluster = request.getfixturevalue("postgres")
        return cluster.direct()
    proxy: HeliosProcess = request.getfixturevalue("wire_proxy")
    target = proxy.target(database=kind.mode)
    if kind.chunk == "none":
        return target
    relays: dict[str, ChunkRelay] = request.getfixturevalue("relays")
    return target.at(relays[kind.chunk].port)


@pytest.fixture
def route(route_kind: RouteKind, request: pytest.FixtureRequest) -> Iterator[Route]:
    """One way to PostgreSQL; the test runs once for each."""
    made = Route(route_kind, target_of(route_kind, request))
    yield made
    made.close()


@pytest.fixture(scope="session")
def direct_transcripts() -> dict[str, list[str]]:
    """What each script saw when it ran directly against PostgreSQL, by the script's name."""
    return {}


@pytest.fixture
def parity(route: Route, postgres: PostgresCluster, direct_transcripts: dict[str, list[str]]) -> Parity:
    """Run a script on the route and demand the messages that PostgreSQL itself sends for it."""

    def run(script: Script) -> None:
        name = f"{script.__module__}.{script.__qualname__}"
        if name not in direct_transcripts:
            direct_transcripts[name] = transcript_of(script, postgres.direct())
        assert transcript_of(script, route.target()) == direct_transcripts[name]

    return run


def transcript_of(script: Script, target: Target) -> list[str]:
    """Everything a fresh client receives while the script runs."""
    with Client(target) as client:
        script(client)
        return full(client.transcript)
