"""TLS towards servers: every mode against a PostgreSQL that has it, one that has not, and one with another's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import frontend
from harness.certificates import Authority
from harness.client import Client, Connection, LoginRefusedError, rows, sqlstates
from harness.frontend import message, query
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, StartProxy
from harness.tamper import TamperingRelay
from harness.tls_server import TlsServer, tls_server
from harness.wait import until
from harness.workload import in_parallel

ENCRYPTED = "select ssl::text from pg_stat_ssl where pid = pg_backend_pid()"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    with tls_server(tmp_path_factory.mktemp("server-authority")) as made:
        yield made


@pytest.fixture
def in_front(server: TlsServer, start_proxy: StartProxy) -> StartProxy:
    """Start proxies before the server with TLS: `in_front(mode="require")`."""

    def start(**tls: object) -> HeliosProcess:
        section = {name: value for name, value in tls.items() if value is not None}
        cluster = {"name": "main", "tls": section, "nodes": server.cluster.nodes()}
        return start_proxy(clusters=[cluster], pool={"acquire_timeout_seconds": 2})

    return start


def both(client: Client, sql: str) -> list[str | None]:
    """The value by the simple and by the extended protocol."""
    return [row[0] for row in (*rows(client.query(sql)), *rows(client.extended(sql)))]


@pytest.mark.parametrize(
    ("mode", "encrypted"),
    [
        ("disable", "false"),
        (None, "true"),
        ("prefer", "true"),
        ("require", "true"),
        ("verify-ca", "true"),
        ("verify-full", "true"),
    ],
)
def test_modes_with_a_server_that_has_tls(
    in_front: StartProxy, server: TlsServer, mode: str | None, encrypted: str
) -> None:
    ca_file = str(server.authority.cert) if mode in ("verify-ca", "verify-full") else None
    proxy = in_front(mode=mode, ca_file=ca_file)

    with Client(proxy.target()) as client:
        assert both(client, ENCRYPTED) == [encrypted] * 2
    until(lambda: proxy.json("/topology")["currentPrimary"], "the monitor to see the primary")


def test_encrypted_servers_serve_many_clients_of_both_workers(in_front: StartProxy) -> None:
    proxy = in_front(mode="require")

    def work(number: int) -> None:
        with Client(proxy.target()) as client:
            for turn in range(20):
                assert both(client, f"select {number * 100 + turn}") == [str(number * 100 + turn)] * 2
            assert client.value("select length(repeat('x', 1000000))") == "1000000"

    in_parallel(20, work)


@pytest.mark.checklist(47)
def test_cancel_of_an_encrypted_server(in_front: StartProxy, server: TlsServer) -> None:
    proxy = in_front(mode="require")
    running = "select count(*) from pg_stat_activity where query = 'select pg_sleep(20)' and state = 'active'"
    with Client(proxy.target()) as client:
        client.send(query("select pg_sleep(20)"))
        until(lambda: server.cluster.value(running) == "1", "the query to run")

        canceller = Connection("127.0.0.1", proxy.port)
        canceller.send(frontend.cancel_request(client.pid, client.key))
        assert sqlstates(client.until_ready()) == ["57014"]


def refusal(proxy: HeliosProcess) -> str:
    with pytest.raises(LoginRefusedError) as refused:
        Client(proxy.target())
    return str(refused.value)


def knows_primary(proxy: HeliosProcess) -> bool:
    return proxy.json("/topology")["currentPrimary"] is not None


@pytest.fixture
def renamed(server: TlsServer) -> Iterator[Callable[[], None]]:
    """Have the server show a certificate for another host; the right one afterwards."""
    yield lambda: server.show(server.authority.sign("elsewhere", "DNS:elsewhere.example"))
    server.show(server.authority.sign("server"))


def test_a_name_that_is_not_the_hosts(in_front: StartProxy, server: TlsServer, renamed: Callable[[], None]) -> None:
    ca_file = str(server.authority.cert)
    strict, lenient = in_front(mode="verify-full", ca_file=ca_file), in_front(mode="verify-ca", ca_file=ca_file)
    until(lambda: all(knows_primary(proxy) for proxy in (strict, lenient)), "the monitors to have their connections")

    renamed()

    with Client(lenient.target()) as client:
        assert both(client, ENCRYPTED) == ["true"] * 2
    assert "certificate not valid for name" in refusal(strict)


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_verifying_refuses_an_unknown_authority(in_front: StartProxy, tmp_path: Path, mode: str) -> None:
    proxy = in_front(mode=mode, ca_file=str(Authority(tmp_path).cert))

    until(lambda: "certificate" in (proxy.json("/topology")["reason"] or ""), "the reason to be known")

    assert "no node is primary" in refusal(proxy)


@pytest.mark.parametrize(("mode", "works"), [("disable", True), ("prefer", True), ("require", False)])
def test_modes_with_a_server_that_has_no_tls(
    start_proxy: StartProxy, postgres: PostgresCluster, mode: str, works: bool
) -> None:
    cluster = {"name": "main", "tls": {"mode": mode}, "nodes": postgres.nodes()}
    proxy = start_proxy(clusters=[cluster], pool={"acquire_timeout_seconds": 3})

    if works:
        with Client(proxy.target()) as client:
            assert both(client, "select 'plain'") == ["plain"] * 2
    else:
        until(lambda: "SSL" in (proxy.json("/topology")["reason"] or ""), "the reason to be known")
        assert "no node is primary" in refusal(proxy)


FORGED = message(b"E", b"SFATAL\0VFATAL\0C42501\0Mforged\0\0")


@pytest.mark.checklist(2)
@pytest.mark.parametrize("answer", [b"S" + FORGED, FORGED, b"SS"], ids=["behind S", "in place of S", "twice"])
def test_clear_text_before_the_handshake_is_not_believed(
    start_proxy: StartProxy, postgres: PostgresCluster, answer: bytes
) -> None:
    """Anybody on the way could have put it there: no client is shown it, and nothing is sent in answer."""
    with TamperingRelay(postgres.primary.port, {}, {}) as relay:
        node = {"name": "between", "host": "127.0.0.1", "port": relay.port, "role": "primary"}
        cluster = {"name": "main", "tls": {"mode": "prefer"}, "nodes": [node]}
        proxy = start_proxy(clusters=[cluster], pool={"acquire_timeout_seconds": 1})
        until(lambda: proxy.json("/topology")["currentPrimary"], "the primary to be known")
        relay.tls_answer = answer

        told = refusal(proxy)

        assert "forged" not in told
        until(lambda: "unexpected answer to the request for TLS" in proxy.log(), "the reason to be logged")
        assert set(relay.behind_tls_answer) <= {b""}
