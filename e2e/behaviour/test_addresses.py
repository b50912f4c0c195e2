"""Names of servers that lead to several addresses, to others than before, or nowhere; and who is at the other end."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import psycopg
import pytest
from asyncpg.connect_utils import SessionAttribute

from harness import frontend
from harness.client import Client
from harness.postgres import APP, PASSWORDS, PostgresCluster
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.wait import until

NAME = "db.test"

RESOLVED = """
import socket, sys
from helios.cli import main

ask = socket.getaddrinfo

def look_up(host, *rest, **more):
    if host != {name!r}:
        return ask(host, *rest, **more)
    addresses = open({file!r}).read().split()
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [found for address in addresses for found in ask(address, *rest, **more)]

socket.getaddrinfo = look_up
sys.exit(main())
"""
"""`helios` on a machine whose resolver knows one name more, by a file that the test writes."""


class Door:
    """Another address of the server: a relay that knows how many connections lead through it."""

    def __init__(self, address: str, port: int, server_port: int) -> None:
        self.address = address
        self._server_port = server_port
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, port), family=family)
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def open(self) -> int:
        return len(self._pairs)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for pair in list(self._pairs):
            shut(*pair)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                pair = (client, socket.create_connection(("127.0.0.1", self._server_port)))
                self._pairs.add(pair)
                self._threads.append(threading.Thread(target=self._relay, args=(pair,)))
                self._threads[-1].start()

    def _relay(self, pair: tuple[socket.socket, socket.socket]) -> None:
        back = threading.Thread(target=copy, args=pair[::-1])
        back.start()
        copy(*pair)
        back.join()
        self._pairs.discard(pair)
        for end in pair:
            end.close()


def copy(source: socket.socket, sink: socket.socket) -> None:
    """Until one of the two ends, and with it the other."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    shut(source, sink)


def shut(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def doors(postgres: PostgresCluster) -> Iterator[dict[str, Door]]:
    port = postgres.primary.port
    made = {address: Door(address, port, port) for address in ("127.0.0.2", "127.0.0.3", "::1")}
    yield made
    for door in made.values():
        door.close()


@pytest.fixture
def black_hole(postgres: PostgresCluster) -> Iterator[str]:
    """An address where nobody answers: its queue is full, so that the system drops who knocks."""
    listener = socket.socket()
    listener.bind(("127.0.0.4", postgres.primary.port))
    listener.listen(0)
    knocking = []
    for _ in range(4):
        one = socket.socket()
        one.setblocking(False)
        with suppress(BlockingIOError):
            one.connect(listener.getsockname())
        knocking.append(one)
    yield "127.0.0.4"
    for each in (*knocking, listener):
        each.close()


class Named:
    """A proxy that knows its server by name only."""

    def __init__(self, cluster: PostgresCluster, folder: Path, *addresses: str, **sections: object) -> None:
        self._file = folder / "addresses"
        folder.mkdir(exist_ok=True)
        self.lead_to(*addresses)
        settings = base_settings(cluster, folder, **sections)
        settings["monitor"]["resolve_seconds"] = 1
        settings["clusters"] = [{"name": "main", "nodes": [{"host": NAME, "port": cluster.primary.port}]}]
        program = (sys.executable, "-c", RESOLVED.format(name=NAME, file=str(self._file)))
        self.proxy = HeliosProcess(folder, settings, program=program)

    def lead_to(self, *addresses: str) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(" ".join(addresses))
        new.replace(self._file)


@pytest.mark.checklist(60)
def test_a_name_that_leads_elsewhere_moves_idle_servers_at_once_and_others_after_their_transaction(
    postgres: PostgresCluster, tmp_path: Path, doors: dict[str, Door]
) -> None:
    old, new = doors["127.0.0.2"], doors["127.0.0.3"]
    named = Named(postgres, tmp_path / "proxy", old.address, pool={"max_size": 3})
    with named.proxy as proxy:
        busy, idle = Client(proxy.target()), Client(proxy.target())
        busy.query("begin")
        mine = busy.value("select pg_backend_pid()")
        idle.extended("select 1")
        assert (old.open, new.open) == (3, 0), "two servers and the monitor"

        named.lead_to(new.address)
        until(lambda: old.open == 1, "all but the server of the open transaction to have left")
        assert idle.value("select 1") == "1"
        assert busy.value("select pg_backend_pid()") == mine
        assert new.open >= 2
        busy.query("commit")
        until(lambda: old.open == 0, "the last server at the old address to have left")
        assert busy.value("select pg_backend_pid()") not in (None, mine)

        # Nowhere is no news: what worked is kept, also for new connections.
        named.lead_to()
        held = [Client(proxy.target()) for _ in range(3)]
        for client in held:
            assert client.query("begin")[-1].text == "ReadyForQuery T"
        assert proxy.json("/nodes")


@pytest.mark.checklist(60)
@pytest.mark.parametrize(
    "order", [("127.0.0.9", "127.0.0.3"), ("127.0.0.3", "::1"), ("hole", "127.0.0.5", "127.0.0.6")]
)
def test_every_address_of_a_name_is_tried_ipv6_first(
    postgres: PostgresCluster, tmp_path: Path, doors: dict[str, Door], black_hole: str, order: tuple[str, ...]
) -> None:
    """An address that refuses or does not answer costs a part of the time, not the connection."""
    port = postgres.primary.port
    last = doors["127.0.0.6"] = Door("127.0.0.6", port, port)
    addresses = [black_hole if each == "hole" else each for each in order]
    limits = {"connect_timeout_seconds": 3}
    with Named(postgres, tmp_path / "proxy", *addresses, limits=limits).proxy as proxy:
        with Client(proxy.target(), deadline=20) as client:
            assert client.value("select 1") == "1"
        expected = {"127.0.0.9": doors["127.0.0.3"], "127.0.0.3": doors["::1"], "hole": last}[order[0]]
        assert expected.open >= 2, "the monitor and a server"


def options_of(pid: int) -> list[tuple[int, ...]]:
    """Keepalive on, its times, its count and the user timeout of every connected TCP socket of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    owner = os.pidfd_open(pid)
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if not str(entry.readlink()).startswith("socket:"):
                continue
        except FileNotFoundError:
            continue  # closed meanwhile
        mine = libc.syscall(438, owner, int(entry.name), 0)  # pidfd_getfd
        assert mine >= 0, os.strerror(ctypes.get_errno())
        with socket.socket(fileno=mine) as copy:
            if copy.family not in (socket.AF_INET, socket.AF_INET6) or not is_connected(copy):
                continue
            tcp = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, 18)  # TCP_USER_TIMEOUT
            times = (copy.getsockopt(socket.IPPROTO_TCP, option) for option in tcp)
            found.append((copy.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *times))
    os.close(owner)
    return found


def is_connected(end: socket.socket) -> bool:
    try:
        end.getpeername()
    except OSError:
        return False
    return True


@pytest.mark.checklist(57)
def test_both_sides_are_probed_as_configured(start_proxy: StartProxy) -> None:
    times = {
        "keepalive_idle_seconds": 77,
        "keepalive_interval_seconds": 7,
        "keepalive_count": 5,
        "user_timeout_ms": 9000,
    }
    proxy = start_proxy(tcp=times)
    clients = [Client(proxy.target()) for _ in range(2)]
    for client in clients:
        client.query("begin")

    tuned = [each for each in options_of(proxy.pid) if each == (1, 77, 7, 5, 9000)]

    assert len(tuned) == 4, "two clients and two servers"

    proxy.write({**proxy.settings, "tcp": {**times, "keepalive_idle_seconds": 55}})
    assert proxy.post("/config/reload")[0] == 200
    later = [Client(proxy.target()) for _ in range(2)]
    tuned = [each for each in options_of(proxy.pid) if each == (1, 55, 7, 5, 9000)]
    assert len(tuned) == len(later), "the clients that came after the reload, the first of them as well"


@pytest.mark.checklist(57)
def test_a_client_that_takes_nothing_is_given_up_after_the_user_timeout(start_proxy: StartProxy) -> None:
    """To the system it is the same as one that is gone; its server goes to the next."""
    proxy = start_proxy(pool={"max_size": 1, "acquire_timeout_seconds": 20}, tcp={"user_timeout_ms": 1000})
    stuck, waiting = Client(proxy.target()), Client(proxy.target(), deadline=20)
    stuck.send(frontend.query("select repeat('x', 1000) from generate_series(1, 100000)"))
    stuck.receive()

    assert waiting.value("select 'next'") == "next"


def test_keepalive_can_be_off(start_proxy: StartProxy) -> None:
    proxy = start_proxy(tcp={"keepalive_idle_seconds": 0, "user_timeout_ms": 4321})
    client = Client(proxy.target())
    client.query("begin")

    def keepalive_of_both() -> bool:
        return [each[0] for each in options_of(proxy.pid) if each[-1] == 4321] == [0, 0]

    until(keepalive_of_both, "the sockets of client and server")


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_application_name_may_tell_the_server_whose_statement_it_is(start_proxy: StartProxy, protocol: str) -> None:
    proxy = start_proxy(pool={"application_name_add_host": True, "max_size": 1})
    named = Client(proxy.target().with_options(application_name="n" * 60))
    plain = Client(proxy.target())
    seen = []
    for client in (named, plain, named):
        ask = client.query if protocol == "simple" else client.extended
        row = next(
            event
            for event in ask("select application_name from pg_stat_activity where pid = pg_backend_pid()")
            if event.kind == "DataRow"
        )
        seen.append((row.values[0] or b"").decode())

    ours = [f"{'{}:{}'.format(*client.socket.getsockname())}" for client in (named, plain)]
    assert seen[1] == f"app - {ours[1]}"
    assert seen[0] == seen[2] == f"{'n' * (60 - len(ours[0]))} - {ours[0]}"


def nobody() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("wanted", ["any", "read-write", "primary", "prefer-standby"])
def test_a_dsn_of_several_hosts_finds_the_one_that_serves_and_writes(wire_proxy: HeliosProcess, wanted: str) -> None:
    """libpq and asyncpg ask by what the proxy reports, or by questions of their own."""
    ports = [nobody(), wire_proxy.port]
    dsn = f"host=127.0.0.1,127.0.0.1 port={ports[0]},{ports[1]} dbname=transaction user={APP}"
    with psycopg.connect(dsn, password=PASSWORDS[APP], target_session_attrs=wanted) as connection:
        assert connection.info.parameter_status("in_hot_standby") in ("off", None)
        assert connection.info.parameter_status("default_transaction_read_only") in ("off", None)
        assert connection.execute("show transaction_read_only").fetchone() == ("off",)

    async def ask() -> str:
        connection = await asyncpg.connect(
            host=["127.0.0.1"] * 2,
            port=ports,
            database="transaction",
            target_session_attrs=SessionAttribute(wanted),
            user=APP,
            password=PASSWORDS[APP],
        )
        try:
            answer: str = await connection.fetchval("show transaction_read_only")
            return answer
        finally:
            await connection.close()

    assert asyncio.run(ask()) == "off"


@pytest.mark.parametrize("wanted", ["read-only", "standby"])
def test_a_dsn_that_wants_no_primary_is_told_that_this_is_one(wire_proxy: HeliosProcess, wanted: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"session is not read-only|server is not in hot standby mode"):
        psycopg.connect(wire_proxy.target("transaction").dsn(), target_session_attrs=wanted)
