"""Cancel requests that come to another process than their session: `[peers]`, by pairs of proxies on loopback."""

from __future__ import annotations

import hashlib
import hmac
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from harness import frontend
from harness.client import Client, Connection, brief, sqlstates
from harness.frontend import extended, query
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.wait import until

HERE, THERE, STRANGER, GONE, SILENT = (f"127.0.0.{last}" for last in range(2, 7))
SECRET, OLD, OTHER = (secret * 16 for secret in ("here", "past", "fake"))
PEER_CODE = (1234 << 16) | 5400
PURPOSE = b"helios cancel request\0"


class Peer:
    """One of the processes."""

    def __init__(self, process: HeliosProcess, host: str) -> None:
        self.process, self.host = process, host

    def client(self, version: int = frontend.PROTOCOL_3_0) -> Client:
        return Client(replace(self.process.target(), host=self.host, version=version))

    def cancel(self, client: Client, key: bytes | None = None) -> None:
        """Send a request for `client` here, and wait until it is dealt with."""
        connection = Connection(self.host, self.process.port, deadline=20)
        connection.send(frontend.cancel_request(client.pid, client.key if key is None else key))
        assert connection.until_closed() == []
        connection.close()


def name(host: str) -> bytes:
    """The beginning of the keys that clients get at this address."""
    return hashlib.sha256(socket.inet_aton(host)).digest()[:2]


@pytest.fixture(scope="module")
def silent() -> Iterator[socket.socket]:
    """A peer that takes connections and says nothing."""
    with socket.create_server((SILENT, 0)) as listener:
        yield listener


@pytest.fixture(scope="module")
def peers(
    postgres: PostgresCluster, silent: socket.socket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Peer]]:
    """Two that share a secret, while it is replaced, and one that has another. They learn of each other by a reload."""
    secrets = {HERE: f"{SECRET}\n{OLD}\n", THERE: f"{OLD}\n", STRANGER: f"{OTHER}\n"}
    with ExitStack() as started:
        made = {}
        for host, secret in secrets.items():
            folder = tmp_path_factory.mktemp("peer")
            (folder / "peers.secret").write_text(secret)
            settings = base_settings(postgres, folder, listen_address=f"{host}:0")
            made[host] = Peer(started.enter_context(HeliosProcess(folder, settings)), host)
        hosts = [f"{host}:{peer.process.port}" for host, peer in made.items()]
        with socket.create_server((GONE, 0)) as closed:
            hosts.append(f"{GONE}:{closed.getsockname()[1]}")
        hosts.append(f"{SILENT}:{silent.getsockname()[1]}")
        for peer in made.values():
            file = peer.process.config_file.with_name("peers.secret")
            section = {"hosts": hosts, "secret_file": str(file)}
            peer.process.write({**peer.process.settings, "peers": section})
            status, body = peer.process.post("/config/reload")
            assert status == 200, body
        yield made


def run(client: Client, watcher: Client, sql: str, protocol: str = "simple") -> None:
    """Start a statement and wait until a server runs it."""
    client.send(query(sql) if protocol == "simple" else extended(sql))
    count = f"select count(*) from pg_stat_activity where query = '{sql}' and state = 'active'"
    until(lambda: watcher.value(count) == "1", f"{sql} to run")


@pytest.mark.checklist(50)
@pytest.mark.parametrize("protocol", ["simple", "extended"])
@pytest.mark.parametrize("version", [frontend.PROTOCOL_3_0, frontend.PROTOCOL_3_2], ids=["3.0", "3.2"])
def test_request_finds_its_session_at_a_peer(peers: dict[str, Peer], version: int, protocol: str) -> None:
    for at, other in ((HERE, THERE), (THERE, HERE)):
        client, watcher = peers[at].client(version), peers[other].client()
        assert client.key[:2] == name(at)
        assert 0 < client.pid < 1 << 31
        run(client, watcher, f"select pg_sleep(20) /* at {at} {version} {protocol} */", protocol)

        peers[other].cancel(client)

        assert sqlstates(client.until_ready()) == ["57014"]
        peers[other].cancel(client)
        assert client.value("select 'not the next one'") == "not the next one"


@pytest.mark.checklist(50, 51)
def test_request_that_should_not_pass_does_nothing(peers: dict[str, Peer]) -> None:
    """From a process with another secret, and with a wrong key behind the right name."""
    client, watcher = peers[HERE].client(), peers[THERE].client()
    run(client, watcher, "select pg_sleep(0.5) /* undisturbed */")

    peers[STRANGER].cancel(client)
    peers[THERE].cancel(client, client.key[:2] + bytes(2))
    peers[THERE].cancel(client, name(GONE) + client.key[2:])
    peers[THERE].cancel(client, name("127.0.0.99") + client.key[2:])
    peers[THERE].cancel(client, client.key + b"x")

    assert sqlstates(client.until_ready()) == []
    assert "a peer took no cancel request" in peers[THERE].process.log()


class Exchange(Connection):
    """What a process says to one of its peers."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer.host, peer.process.port)
        self.send(frontend.startup_packet(PEER_CODE))
        self.challenge = self.read_exactly(32)

    def claim(self, secret: str, client: Client, challenge: bytes | None = None) -> bytes:
        """What the peer answers to a proof."""
        pid = struct.pack("!I", client.pid)
        told = PURPOSE + (self.challenge if challenge is None else challenge) + pid + client.key
        proof = hmac.digest(secret.encode(), told, "sha256")
        self.send(struct.pack("!i", 8 + len(proof)) + pid + proof)
        return self.read_exactly(1)


@pytest.mark.checklist(50)
def test_proof_holds_for_one_challenge_and_goes_no_further(peers: dict[str, Peer]) -> None:
    client, watcher = peers[HERE].client(), peers[THERE].client()
    sql = "select pg_sleep(20) /* proven */"
    run(client, watcher, sql)

    first = Exchange(peers[HERE])
    assert Exchange(peers[HERE]).challenge != first.challenge
    assert first.claim(OTHER, client) == b"N"
    assert Exchange(peers[HERE]).claim(SECRET, client, first.challenge) == b"N"
    assert Exchange(peers[THERE]).claim(OLD, client) == b"N"
    assert watcher.value(f"select state from pg_stat_activity where query = '{sql}'") == "active"
    assert Exchange(peers[HERE]).claim(SECRET, client) == b"F"
    assert sqlstates(client.until_ready()) == ["57014"]

    for nonsense in (b"", b"\0", struct.pack("!i", 9000) + b"x" * 8996, struct.pack("!iI", 8, 1)):
        odd = Exchange(peers[HERE])
        odd.send(nonsense)
        odd.close()
    assert client.value("select 'fine'") == "fine"


@pytest.mark.checklist(50)
def test_without_peers_nobody_is_one(wire_proxy: HeliosProcess) -> None:
    connection = Connection("127.0.0.1", wire_proxy.port)
    connection.send(frontend.startup_packet(PEER_CODE))
    assert connection.until_closed() == []


@pytest.mark.checklist(51)
def test_silent_peer_holds_a_request_up_for_a_time_and_nobody_else(
    peers: dict[str, Peer], silent: socket.socket
) -> None:
    stuck = [Connection(HERE, peers[HERE].process.port, deadline=20) for _ in range(3)]
    start = time.monotonic()
    for connection in stuck:
        connection.send(frontend.cancel_request(77, name(SILENT) + b"xx"))
    taken, _ = silent.accept()
    with taken:
        told = taken.recv(100)
        client, watcher = peers[HERE].client(), peers[THERE].client()
        run(client, watcher, "select pg_sleep(20) /* beside a silent peer */")

        peers[HERE].cancel(client)
        assert brief(client.until_ready())[-1] == "ReadyForQuery I"
        assert time.monotonic() - start < 10
        for connection in stuck:
            assert connection.until_closed() == []
        assert time.monotonic() - start < 18
    assert told == frontend.startup_packet(PEER_CODE)


@pytest.mark.checklist(51)
def test_wrong_keys_of_an_address_run_out(peers: dict[str, Peer]) -> None:
    """Then its requests are not looked at for a while, be they right or wrong; others' are."""
    peer, client = peers[STRANGER], peers[STRANGER].client()
    sql = "select pg_sleep(20) /* guessed at */"
    watcher = peers[HERE].client()
    run(client, watcher, sql)

    def guess() -> bool:
        for _ in range(50):
            connection = socket.create_connection((STRANGER, peer.process.port))
            connection.sendall(frontend.cancel_request(client.pid, bytes(4)))
            connection.close()
        return "too many wrong cancel requests" in peer.process.log()

    until(guess, "its requests to be ignored")
    peer.cancel(client)
    assert watcher.value(f"select count(*) from pg_stat_activity where query = '{sql}' and state = 'active'") == "1"
    with socket.create_connection((STRANGER, peer.process.port), source_address=("127.0.0.77", 0)) as other:
        other.sendall(frontend.cancel_request(client.pid, client.key))
        assert other.recv(1) == b""

    assert sqlstates(client.until_ready()) == ["57014"]


def test_secret_that_is_too_short_is_refused(postgres: PostgresCluster, tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("short\n")
    section = {"hosts": ["peers.example"], "secret_file": str(short)}
    settings = base_settings(postgres, tmp_path, peers=section, listen_address="127.0.0.1:6432")
    process = HeliosProcess(tmp_path / "proxy", settings, expect_ready=False)
    assert process.wait() != 0
    assert "peers.secret_file" in process.log()
    assert "shorter than 16" in process.log()
