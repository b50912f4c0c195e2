"""The typed wrapper around the engine: its documents are understood, its exceptions become ours."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from helios.config import AuthConfig, AuthMethod, ClusterConfig, NodeConfig, ProxyConfig
from helios.config.snapshot import engine_snapshot
from helios.core import ClusterView, Core, NodeView, engine_built_at
from helios.errors import ListenError, SnapshotError


def snapshot(listen_address: str = "127.0.0.1:0", generation: int = 3) -> bytes:
    cluster = ClusterConfig(name="main", nodes=(NodeConfig(host="127.0.0.1", port=1, name="db-0"),))
    config = ProxyConfig(
        listen_address=listen_address,
        generation=generation,
        workers=1,
        auth=AuthConfig(method=AuthMethod.TRUST),
        clusters=(cluster,),
    )
    return engine_snapshot(config)


@pytest.fixture
def core() -> Iterator[Core]:
    made = Core(snapshot())
    yield made
    made.stop()


def test_start_tells_the_port_really_bound(core: Core) -> None:
    (listener,) = core.start()

    assert str(listener) == f"127.0.0.1:{listener.port}"
    with socket.create_connection((listener.host, listener.port), timeout=5):
        assert core.state().accepting


def test_the_state_is_understood(core: Core) -> None:
    core.start()

    state = core.state()

    assert (state.generation, state.workers, state.clients.active) == (3, 1, 0)
    histogram = state.histograms.query_duration_seconds
    assert len(histogram.counts) == len(histogram.le) + 1


def test_a_refused_snapshot_names_the_field_and_keeps_the_old_one(core: Core) -> None:
    core.start()
    wrong = json.dumps({**json.loads(snapshot()), "workres": 1}).encode()

    with pytest.raises(SnapshotError, match="workres"):
        core.reload(wrong)
    with pytest.raises(SnapshotError, match="workres"):
        Core(wrong)

    assert core.state().generation == 3
    core.reload(snapshot(generation=4))
    assert core.state().generation == 4


def test_a_taken_address_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        core = Core(snapshot(address))

        with pytest.raises(ListenError, match=f"{address}.*in use"):
            core.start()
        core.stop()


def test_the_topology_is_taken_and_a_drain_ends_with_nobody_left(core: Core) -> None:
    core.start()
    node = NodeView(name="db-0", host="127.0.0.1", port=1, healthy=True)
    core.set_topology([ClusterView(name="main", primary="db-0", reason=None, nodes=(node,), synchronous=False)])

    assert core.drain(1_000) == 0
    assert not core.state().accepting


def test_the_engine_knows_when_it_was_built() -> None:
    assert datetime(2026, 1, 1, tzinfo=UTC) < engine_built_at() <= datetime.now(UTC)
