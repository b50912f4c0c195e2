"""Bounds: how many clients, how many files, how much memory; each is enforced with an error that says so."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from harness import frontend
from harness.client import Client, ClosedError, Connection, LoginRefusedError, Target, rows
from harness.frontend import query
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.routes import Route
from harness.wait import until

MEBIBYTE = 1 << 20
LARGE = 100 * MEBIBYTE
ALLOWED_GROWTH = 24 * MEBIBYTE


class PeakMemory:
    """Samples the resident memory of a process in a thread; `growth` is the highest seen above the start."""

    def __init__(self, proxy: HeliosProcess) -> None:
        self._proxy = proxy
        self._start = proxy.resident_bytes()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.growth = 0

    def _sample(self) -> None:
        while not self._stop.wait(0.01):
            self.growth = max(self.growth, self._proxy.resident_bytes() - self._start)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def drain_one_row(client: Client) -> int:
    """Read a single huge DataRow without keeping it; its size in bytes."""
    while True:
        header = client.read_exactly(5)
        size = int.from_bytes(header[1:]) - 4
        if header[:1] == b"D":
            break
        client.read_exactly(size)
    client.discard(size)
    return size


@pytest.mark.checklist(36, protocol="simple")
@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_row_of_100_mb_streams(wire_proxy: HeliosProcess, mode: str) -> None:
    with Client(wire_proxy.target(mode), deadline=20) as client, PeakMemory(wire_proxy) as memory:
        client.send(query(f"select repeat('x', {LARGE})"))
        size = drain_one_row(client)
        client.until_ready()

        assert size > LARGE
        assert client.value("select 'after'") == "after"
    assert memory.growth < ALLOWED_GROWTH, memory.growth


@pytest.mark.checklist(36, protocol="extended")
@pytest.mark.parametrize("name", ["", "kept"])
def test_bind_of_100_mb_streams(wire_proxy: HeliosProcess, name: str) -> None:
    value = bytes(LARGE).replace(b"\0", b"y")
    with Client(wire_proxy.target("transaction"), deadline=20) as client, PeakMemory(wire_proxy) as memory:
        client.batch(frontend.parse("select length($1::text)", name=name), frontend.sync())
        events = client.batch(frontend.bind([value], name=name), frontend.execute(), frontend.sync())

        assert rows(events) == [[str(LARGE)]]
        assert client.value("select 'after'") == "after"
    assert memory.growth < ALLOWED_GROWTH, memory.growth


@pytest.mark.checklist(36, protocol="simple")
def test_query_of_30_mb_streams(wire_proxy: HeliosProcess) -> None:
    with Client(wire_proxy.target("transaction"), deadline=20) as client, PeakMemory(wire_proxy) as memory:
        assert client.value("select length('" + "z" * (30 * MEBIBYTE) + "')") == str(30 * MEBIBYTE)
    assert memory.growth < ALLOWED_GROWTH, memory.growth


@pytest.mark.checklist(58)
def test_slow_reader_is_held_back_not_buffered(wire_proxy: HeliosProcess) -> None:
    with PeakMemory(wire_proxy) as memory, Client(wire_proxy.target("transaction"), deadline=20) as slow:
        slow.send(query(f"select repeat('x', 1000000) from generate_series(1, {LARGE // 1_000_000})"))
        slow.receive()
        with Client(wire_proxy.target("transaction")) as other:
            for _ in range(20):
                assert other.value("select 'not held back'") == "not held back"
        received = sum(len(event.raw) for event in slow.until_ready() if event.kind == "DataRow")

    assert received > LARGE * 0.9
    assert memory.growth < ALLOWED_GROWTH, memory.growth


def test_one_client_too_many_is_told_so(start_proxy: StartProxy) -> None:
    proxy = start_proxy(limits={"max_client_connections": 5})
    clients = [Client(proxy.target()) for _ in range(5)]

    with pytest.raises(LoginRefusedError) as refusal:
        Client(proxy.target())

    assert refusal.value.sqlstate == "53300"
    assert refusal.value.event.fields["V"] == "FATAL"
    assert [client.value("select 1") for client in clients] == ["1"] * 5
    clients.pop().terminate()
    until(lambda: can_log_in(proxy.target()), "a place to become free")
    for client in clients:
        client.terminate()


def can_log_in(target: Target) -> bool:
    """Whether a login succeeds now."""
    try:
        Client(target).terminate()
    except (LoginRefusedError, ClosedError, OSError):
        return False
    return True


@pytest.mark.checklist(16)
def test_out_of_file_descriptors_pauses_accepting_without_spinning(
    postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("few-files")
    with HeliosProcess(folder, base_settings(postgres, folder), nofile=64) as proxy:
        with Client(proxy.target()) as client:
            assert client.value("select 1") == "1"
            crowd = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(100)]
            before = proxy.cpu_seconds()
            time.sleep(1.0)
            spent = proxy.cpu_seconds() - before
            assert client.value("select 'served'") == "served"
        for connection in crowd:
            connection.close()

        assert spent < 0.5, spent
        until(lambda: can_log_in(proxy.target()), "logins to work again", deadline=15)


def test_many_unauthenticated_connections_do_not_stop_the_others(wire_proxy: HeliosProcess) -> None:
    silent = [Connection("127.0.0.1", wire_proxy.port) for _ in range(200)]

    with Client(wire_proxy.target("transaction")) as client:
        assert client.value("select 'served'") == "served"

    for connection in silent:
        connection.close()


@pytest.mark.routes("session", "transaction", chunks=("none",))
def test_hundred_short_sessions(route: Route) -> None:
    for number in range(100):
        with Client(route.target()) as client:
            assert client.value(f"select {number}") == str(number)
