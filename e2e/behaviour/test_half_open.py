"""Peers that vanish without a word: a network of their own whose address goes away, so that nothing is answered."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from harness.client import Client, sqlstates
from harness.frontend import extended, query
from harness.postgres import PostgresCluster
from harness.proxy import StartProxy
from harness.wait import until

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
SOON = {"keepalive_idle_seconds": 1, "keepalive_interval_seconds": 1, "keepalive_count": 2, "user_timeout_ms": 3000}


class Elsewhere:
    """A network namespace at the other end of a link, kept by a process that sleeps."""

    def __init__(self) -> None:
        self._keeper = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        self._net = Path(f"/proc/{self._keeper.pid}/ns/net")
        # Others may do the same on this machine: four addresses for each process, of those for benchmarks (RFC 2544).
        block = os.getpid() % (1 << 14) * 4
        self.ours, self.theirs = (f"198.19.{block >> 8}.{(block & 255) + last}" for last in (1, 2))
        self._link = f"half{block}"

    def link(self) -> None:
        """Connect it with ours."""
        own = Path("/proc/self/ns/net").readlink()
        until(lambda: self._net.readlink() != own, "a network of its own")
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "far", "netns", str(self._keeper.pid))
        _ip("address", "add", f"{self.ours}/30", "dev", self._link)
        _ip("link", "set", self._link, "up")
        self._ip("address", "add", f"{self.theirs}/30", "dev", "far")
        self._ip("link", "set", "far", "up")

    def _ip(self, *words: str) -> None:
        _run("nsenter", "--target", str(self._keeper.pid), "--net", "ip", *words)

    def do(self, act: Callable[[], T]) -> T:
        """What `act` returns there: sockets belong to the network of the thread that makes them."""
        made: list[T] = []

        def enter() -> None:
            with self._net.open() as namespace:
                assert ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) == 0
            made.append(act())

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        assert made, "it failed there"
        return made[0]

    def vanish(self) -> None:
        """From now on nothing that is sent there is answered, not even by a reset."""
        self._ip("address", "del", f"{self.theirs}/30", "dev", "far")

    def end(self) -> None:
        subprocess.run(["ip", "link", "del", self._link], check=False, capture_output=True)
        self._keeper.kill()
        self._keeper.wait()


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def _ip(*words: str) -> None:
    _run("ip", *words)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    probe = ["unshare", "--net", "ip", "link", "add", "name", "probe0", "type", "veth", "peer", "name", "probe1"]
    if shutil.which("ip") is None or subprocess.run(probe, check=False, capture_output=True).returncode != 0:
        pytest.skip("networks of their own take root and iproute2")
    made = Elsewhere()
    try:
        made.link()
    except subprocess.CalledProcessError as error:
        made.end()
        pytest.skip(f"networks of their own cannot be had here: {error.stderr.decode().strip()}")
    yield made
    made.end()


@pytest.mark.checklist(57)
@pytest.mark.parametrize("waits", ["idle", "for an answer"])
def test_a_client_that_vanishes_gives_its_server_back(
    start_proxy: StartProxy, elsewhere: Elsewhere, waits: str
) -> None:
    """By keepalive if nothing is on its way to it, by TCP_USER_TIMEOUT if something is."""
    pool = {"max_size": 1, "acquire_timeout_seconds": 60}
    proxy = start_proxy(listen_address=f"{elsewhere.ours}:0", pool=pool, tcp=SOON)
    target = replace(proxy.target(), host=elsewhere.ours)
    gone = elsewhere.do(lambda: Client(target, deadline=30))
    gone.query("begin")
    if waits == "for an answer":
        gone.send(query("select pg_sleep(1)"))
    waiter = Client(target, deadline=60)
    waiter.send(query("select 'served'"))
    until(lambda: proxy.json("/sessions")["waiting_sessions"] == 1, "the other client to wait")

    elsewhere.vanish()

    assert not sqlstates(waiter.until_ready())
    until(lambda: proxy.json("/sessions")["active_sessions"] == 1, "the client to be counted out", deadline=30)


@pytest.mark.checklist(57)
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_a_server_that_vanishes_is_given_up(
    start_proxy: StartProxy, elsewhere: Elsewhere, postgres: PostgresCluster, protocol: str
) -> None:
    listener = elsewhere.do(lambda: socket.create_server((elsewhere.theirs, 0)))
    threading.Thread(target=_relay, args=[listener, postgres.primary.port], daemon=True).start()
    node = {"name": "far", "host": elsewhere.theirs, "port": listener.getsockname()[1], "role": "primary"}
    proxy = start_proxy(clusters=[{"name": "main", "nodes": [node]}], tcp=SOON)
    client = Client(proxy.target(), deadline=60)
    sql = f"select pg_sleep(300) /* {protocol} */"
    client.send(query(sql) if protocol == "simple" else extended(sql))
    running = f"select count(*) from pg_stat_activity where query = '{sql}' and state = 'active'"
    until(lambda: postgres.value(running) == "1", "the statement to run")

    elsewhere.vanish()

    assert sqlstates(client.until_closed()) == ["08006"]
    postgres.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where query = '{sql}'")
    listener.close()


def _relay(listener: socket.socket, port: int) -> None:
    with suppress(OSError):
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", port))
            for ends in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=ends, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(65536):
            sink.sendall(block)
        sink.shutdown(socket.SHUT_WR)
