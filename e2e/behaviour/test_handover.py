"""Online restart: a process takes over the sockets of the one that runs, and no client is refused or reset."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.client import RemoteDisconnected
from pathlib import Path

import pytest

from harness import frontend
from harness.certificates import Authority
from harness.client import Client, Connection, Target, close_all, rows, sqlstates
from harness.frontend import extended, query
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.wait import until
from helios.play.process import unprivileged_identity

TAKEOVER = ["--takeover"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, as a Unix socket needs."""
    made = Path(tempfile.mkdtemp(prefix="helios-"))
    yield made
    shutil.rmtree(made)


class Chain:
    """Processes that take over from each other."""

    def __init__(self, cluster: PostgresCluster, tmp_path: Path, folder: Path) -> None:
        self.cluster, self.tmp_path, self.folder = cluster, tmp_path, folder
        self.file = folder / "handover.sock"
        self.started: list[HeliosProcess] = []

    def settings(self, **sections: object) -> dict[str, object]:
        handover = {"socket_file": str(self.file), "keep_seconds": 60}
        own = {"unix_socket_dir": str(self.folder), "handover": handover, **sections}
        return base_settings(self.cluster, self.place(), **own)

    def place(self) -> Path:
        return self.tmp_path / f"process-{len(self.started)}"

    def start(self, expect_ready: bool = True, **sections: object) -> HeliosProcess:
        """The next process; it takes over from the one before, if there is one."""
        made = HeliosProcess(self.place(), self.settings(**sections), expect_ready, arguments=TAKEOVER)
        self.started.append(made)
        return made

    def end(self) -> None:
        """Those that were taken over from end by themselves."""
        close_all()
        for process in self.started:
            if process.running() and "another process has taken over" in process.log():
                process.wait()
            process.stop()


@pytest.fixture
def chain(postgres: PostgresCluster, tmp_path: Path, folder: Path) -> Iterator[Chain]:
    made = Chain(postgres, tmp_path, folder)
    yield made
    made.end()


class Load:
    """Clients that connect, ask in both protocols and leave, one after the other, until they are told to end."""

    def __init__(self, *asks: Callable[[int], None]) -> None:
        self.rounds = [0] * len(asks)
        self.failures: list[str] = []
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[at, ask]) for at, ask in enumerate(asks)]
        for thread in self._threads:
            thread.start()

    def _run(self, at: int, ask: Callable[[int], None]) -> None:
        while not self._is_over.is_set():
            try:
                ask(self.rounds[at])
            except BaseException as error:  # noqa: BLE001 - whatever it is, it should not have come
                self.failures.append(f"{at}: {error!r}")
                return
            self.rounds[at] += 1

    def go_on(self, rounds: int = 3) -> None:
        """Wait until each has come round so many times more."""
        before = list(self.rounds)
        until(
            lambda: self.failures or all(now >= then + rounds for now, then in zip(self.rounds, before, strict=True)),
            "everybody to come round",
            deadline=60,
        )
        assert self.failures == []

    def end(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(60)
        assert self.failures == []


def ask(target: Target, number: int) -> None:
    with Client(target, deadline=30) as client:
        assert rows(client.query(f"select {number}")) == [[str(number)]]
        assert rows(client.extended("select $1::int4 + 1", str(number))) == [[str(number + 1)]]
        client.query("begin")
        assert rows(client.extended("select 'inside'")) == [["inside"]]
        assert client.query("commit")[-1].brief == "ReadyForQuery I"


def look(url: str) -> None:
    """A connection without a request may be closed, as any HTTP server's; no answer says that nobody is ready."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
            assert answer.status == 200
    except RemoteDisconnected:
        pass


def cancel(target: Target, client: Client) -> None:
    """Have a statement cancelled by whoever listens now."""
    connection = Connection(target.host, target.port, deadline=30)
    connection.send(frontend.cancel_request(client.pid, client.key))
    assert connection.until_closed() == []
    connection.close()


def sleep_until_cancelled(cluster: PostgresCluster, target: Target, client: Client, protocol: str, mark: str) -> None:
    sql = f"select pg_sleep(60) /* {mark} {protocol} */"
    client.send(query(sql) if protocol == "simple" else extended(sql))
    running = f"select count(*) from pg_stat_activity where query = '{sql}' and state = 'active'"
    until(lambda: cluster.value(running) == "1", "the statement to run", deadline=30)
    cancel(target, client)
    assert sqlstates(client.until_ready()) == ["57014"]


def clients_of(process: HeliosProcess) -> int:
    return int(process.json("/sessions")["active_sessions"])


@pytest.mark.checklist(63)
def test_nobody_is_refused_or_reset_while_another_process_takes_over(chain: Chain, postgres: PostgresCluster) -> None:
    """Twice, so that the third process passes cancel requests on to both before it."""
    first = chain.start()
    by_tcp = first.target()
    by_file = replace(by_tcp, host=str(chain.folder))
    old, idle = Client(by_tcp, deadline=30), Client(by_file, deadline=30)
    old.query("begin")
    old.query("create temp table seen (n int) on commit drop")
    waiting = Client(by_tcp, deadline=30)
    waiting.send(query("select pg_sleep(1), 'through'"))
    asks = [lambda n, target=target: ask(target, n) for target in (by_tcp, by_file, by_tcp)]
    load = Load(*asks, lambda _: look(first.admin))
    load.go_on()

    second = chain.start(listen_address=f"127.0.0.1:{first.port}", workers=1)

    assert (second.port, second.admin) == (first.port, first.admin)
    until(lambda: "another process has taken over" in first.log(), "the first to let go")
    load.go_on()
    assert [row[1] for row in rows(waiting.until_ready())] == ["through"]
    for protocol in ("simple", "extended"):
        sleep_until_cancelled(postgres, by_tcp, idle, protocol, "at the first")
        sleep_until_cancelled(postgres, by_file, waiting, protocol, "at the first too")
    middle = Client(by_tcp, deadline=30)
    assert clients_of(second) >= 1

    third = chain.start(workers=3)
    load.go_on()

    for protocol in ("simple", "extended"):
        sleep_until_cancelled(postgres, by_tcp, idle, protocol, "two before")
        sleep_until_cancelled(postgres, by_tcp, middle, protocol, "one before")
    assert rows(old.extended("select count(*) from seen")) == [["0"]]
    assert old.query("commit")[0].brief == "CommandComplete COMMIT"
    for client in (old, idle, waiting):
        client.terminate()
    assert first.wait() == 0
    cancel(by_tcp, idle)
    sleep_until_cancelled(postgres, by_tcp, middle, "simple", "the first has gone")
    middle.terminate()
    assert second.wait() == 0
    load.go_on()
    load.end()
    third.stop()
    assert sorted(path.name for path in chain.folder.iterdir()) == []


def await_start_on(process: HeliosProcess, io: str) -> None:
    until(lambda: f"workers start io={io}" in process.log(), f"connections on {io}")


def test_encrypted_clients_outlast_a_change_of_what_connections_are_on(chain: Chain, tmp_path: Path) -> None:
    """From epoll to io_uring, and back."""
    certificate = Authority(tmp_path / "authority").sign("proxy")
    tls = {"mode": "allow", "cert_file": str(certificate.cert), "key_file": str(certificate.key)}
    first = chain.start(io="epoll", tls=tls)
    target = replace(first.target(), is_encrypted=True)
    load = Load(lambda n: ask(target, n), lambda n: ask(first.target(), n))
    load.go_on()
    processes, clients = [first], [Client(target, deadline=30)]
    clients[0].query("begin")

    for io in ("io_uring", "epoll"):
        processes.append(chain.start(io=io, tls=tls))
        await_start_on(processes[-1], io)
        load.go_on()
        clients.append(Client(target, deadline=30))
        clients[-1].query("begin")

    for client in clients:
        assert rows(client.extended("select 'through'")) == [["through"]]
        assert client.query("commit")[0].brief == "CommandComplete COMMIT"
    for process, client in zip(processes[:-1], clients[:-1], strict=True):
        client.terminate()
        assert process.wait() == 0
    load.go_on()
    load.end()


def test_clients_of_the_first_process_are_ended_when_their_time_is_over(chain: Chain) -> None:
    first = chain.start(handover={"socket_file": str(chain.file), "keep_seconds": 1})
    busy, idle = Client(first.target(), deadline=30), Client(first.target(), deadline=30)
    busy.query("begin")

    second = chain.start()

    assert [event.brief for event in idle.until_closed()] == ["ErrorResponse 57P01"]
    assert rows(busy.query("select 'still'")) == [["still"]]
    busy.query("commit")
    assert sqlstates(busy.until_closed()) == ["57P01"]
    assert first.wait() == 0
    with Client(second.target()) as client:
        assert client.value("select 1") == "1"


def test_signal_ends_a_process_that_was_taken_over_from(chain: Chain) -> None:
    first = chain.start()
    client = Client(first.target(), deadline=30)
    second = chain.start()
    until(lambda: "another process has taken over" in first.log(), "the first to let go")

    first.signal(signal.SIGTERM)

    assert sqlstates(client.until_closed()) == ["57P01"]
    assert first.wait() == 0
    assert second.running()


def still_serves(chain: Chain, process: HeliosProcess) -> None:
    """It has everything that it had, and can be taken over from."""
    by_file = replace(process.target(), host=str(chain.folder))
    for target in (process.target(), by_file):
        ask(target, 1)
    look(process.admin)
    assert "another process has taken over" not in process.log()
    assert chain.file.exists()


def test_process_that_cannot_start_changes_nothing(chain: Chain, tmp_path: Path) -> None:
    first = chain.start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bad: list[dict[str, object]] = [
            {"pool": {"mode": "sideways"}},
            {"listen_address": f"127.0.0.1:{taken.getsockname()[1]}"},
            {"handover": {"keep_seconds": 1}},
        ]
        said = ["pool.mode", "cannot listen", "handover.socket_file"]
        for sections, word in zip(bad, said, strict=True):
            settings = chain.settings(**sections)
            if "handover" in sections:
                settings["handover"] = sections["handover"]
            second = HeliosProcess(tmp_path / "bad", settings, expect_ready=False, arguments=TAKEOVER)
            assert second.wait() == 1
            assert word in second.log(), second.log()
            still_serves(chain, first)

    second = chain.start()
    until(lambda: "another process has taken over" in first.log(), "the first to let go")
    ask(second.target(), 1)


CONNECT = """
import socket, sys
link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
link.settimeout(30)
link.connect(sys.argv[1])
print(link.recv(10))
"""


def connect_as_another_user(file: Path) -> subprocess.CompletedProcess[str]:
    identity = unprivileged_identity()
    assert identity is not None, "only root can be somebody else"
    return subprocess.run(
        [sys.executable, "-c", CONNECT, str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
        user=identity.uid,
        group=identity.gid,
        extra_groups=[],
    )


def test_peer_that_dies_half_way_or_is_a_stranger_changes_nothing(chain: Chain) -> None:
    first = chain.start()
    if os.geteuid() == 0:
        chain.folder.chmod(0o755)
        assert "PermissionError" in connect_as_another_user(chain.file).stderr
        chain.file.chmod(0o777)
        assert connect_as_another_user(chain.file).stdout == "b''\n"
        until(lambda: "a process of another user" in first.log(), "the stranger to be seen")
    for answer in (None, b"", b"\0", b"{}", json.dumps({"pid": "none"}).encode()):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            link.settimeout(30)
            link.connect(str(chain.file))
            text, descriptors, _, _ = socket.recv_fds(link, 1 << 16, 250)
            assert len(descriptors) == 1 + json.loads(text)["listeners"] + json.loads(text)["admin"]
            for descriptor in descriptors:
                os.close(descriptor)
            if answer:
                link.send(answer)
        still_serves(chain, first)

    chain.start()
    until(lambda: "another process has taken over" in first.log(), "the first to let go")
    assert first.log().count("nothing has changed") == 5


def test_without_a_process_before_it_starts_as_ever(chain: Chain) -> None:
    first = chain.start()
    assert "no process to take over from" in first.log()
    first.kill()
    assert chain.file.exists()

    second = chain.start(unix_socket_dir=None)

    ask(second.target(), 1)
    third = HeliosProcess(
        chain.place(), chain.settings(unix_socket_dir=None, listen_address="127.0.0.1:0"), expect_ready=False
    )
    assert third.wait() == 1
    assert "start with --takeover" in third.log()
