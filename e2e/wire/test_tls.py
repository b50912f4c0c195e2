"""TLS towards clients: every sslmode, direct negotiation, what must be refused, and a certificate that changes."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from harness import frontend
from harness.certificates import Authority, Certificate
from harness.client import Client, Connection, LoginRefusedError
from harness.postgres import APP, DATABASE, PASSWORDS, PostgresCluster
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.relay import ChunkRelay
from harness.wait import until
from harness.workload import in_parallel

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
ALERT = b"\x15"
"""First byte of TLS' own last words."""
CLIENTS = 20


def tls_section(certificate: Certificate, mode: str = "allow") -> dict[str, str]:
    return {"mode": mode, "cert_file": str(certificate.cert), "key_file": str(certificate.key)}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def proxy(
    postgres: PostgresCluster, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HeliosProcess]:
    """A proxy that clients may talk to with and without TLS."""
    folder = tmp_path_factory.mktemp("tls-proxy")
    with HeliosProcess(folder, base_settings(postgres, folder, tls=tls_section(authority.sign("proxy")))) as process:
        yield process


def connect(
    proxy: HeliosProcess,
    authority: Authority,
    sslmode: str = "verify-full",
    port: int | None = None,
    negotiation: str = "postgres",
) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host="127.0.0.1",
        port=port or proxy.port,
        user=APP,
        password=PASSWORDS[APP],
        dbname=DATABASE,
        sslmode=sslmode,
        sslrootcert=str(authority.cert),
        connect_timeout=10,
        autocommit=True,
        sslnegotiation=negotiation,
    )


def context_for(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.cert))


def is_encrypted(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    return bool(connection.pgconn.ssl_in_use)


@pytest.mark.parametrize("sslmode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
def test_every_sslmode(proxy: HeliosProcess, authority: Authority, sslmode: str) -> None:
    with connect(proxy, authority, sslmode) as connection:
        assert is_encrypted(connection) == (sslmode not in ("disable", "allow"))
        assert connection.execute("select 1").fetchone() == (1,)
        assert connection.execute("select %s::int", (2,), prepare=True).fetchone() == (2,)


@pytest.mark.checklist(3)
@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
@pytest.mark.parametrize("chunk", ["1", "7", "random"])
def test_messages_cut_anywhere(proxy: HeliosProcess, authority: Authority, negotiation: str, chunk: str) -> None:
    with (
        ChunkRelay(proxy.port, chunk) as relay,
        connect(proxy, authority, port=relay.port, negotiation=negotiation) as connection,
    ):
        size = 20_000
        row = connection.execute("select length(%s), repeat('y', %s)", ("x" * size, size)).fetchone()

    assert row == (size, "y" * size)


def test_large_values_both_ways_at_once(proxy: HeliosProcess, authority: Authority) -> None:
    value = "v" * 300_000
    with connect(proxy, authority) as connection, connection.pipeline():
        cursors = [connection.execute("select %s::text", (value,)) for _ in range(20)]
        assert [cursor.fetchone() for cursor in cursors] == [(value,)] * 20


def test_many_clients_on_few_servers(proxy: HeliosProcess, authority: Authority) -> None:
    def work(number: int) -> None:
        with connect(proxy, authority) as connection:
            for turn in range(30):
                assert connection.execute("select %s::int, %s::int", (number, turn)).fetchone() == (number, turn)

    in_parallel(CLIENTS, work)


def test_asyncpg(proxy: HeliosProcess, authority: Authority) -> None:
    async def ask() -> object:
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=proxy.port,
            user=APP,
            password=PASSWORDS[APP],
            database=DATABASE,
            ssl=context_for(authority),
            timeout=10,
        )
        try:
            return await connection.fetchval("select $1::int + 1", 41)
        finally:
            await connection.close()

    assert asyncio.run(ask()) == 42


@pytest.mark.checklist(6)
@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
def test_cancel_over_tls(
    proxy: HeliosProcess, authority: Authority, postgres: PostgresCluster, negotiation: str
) -> None:
    with connect(proxy, authority, negotiation=negotiation) as connection:
        running = "select count(*) from pg_stat_activity where query = 'select pg_sleep(21)' and state = 'active'"

        def cancel_when_running() -> None:
            until(lambda: postgres.value(running) == "1", "the query to run")
            connection.cancel_safe(timeout=10)

        canceller = threading.Thread(target=cancel_when_running)
        canceller.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("select pg_sleep(21)")
        canceller.join()
        assert connection.execute("select 1").fetchone() == (1,)


def test_unknown_authority_is_the_clients_to_refuse(proxy: HeliosProcess, tmp_path: Path) -> None:
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        connect(proxy, Authority(tmp_path / "other"))

    with Client(proxy.target()) as client:
        assert client.value("select 1") == "1"


@pytest.mark.checklist(2)
def test_plain_text_before_the_handshake_is_refused(proxy: HeliosProcess) -> None:
    """What stands behind the SSLRequest in clear text could have been put there by anybody."""
    connection = Connection("127.0.0.1", proxy.port)
    connection.send(SSL_REQUEST + frontend.startup({"user": APP, "database": DATABASE}))

    event = connection.receive()
    connection.until_closed()

    assert event.kind == "ErrorResponse"
    assert "received unencrypted data after SSL request" in event.text


@pytest.mark.checklist(3)
def test_direct_handshake_without_the_protocols_name_is_ended(proxy: HeliosProcess, authority: Authority) -> None:
    raw = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    with context_for(authority).wrap_socket(raw, server_hostname="127.0.0.1") as wrapped:
        wrapped.sendall(frontend.startup({"user": APP, "database": DATABASE}))
        assert wrapped.recv(1) == b""


@pytest.mark.checklist(3)
def test_foreign_protocol_name_is_refused(proxy: HeliosProcess, authority: Authority) -> None:
    context = context_for(authority)
    context.set_alpn_protocols(["http/1.1"])
    raw = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    with raw, pytest.raises(ssl.SSLError, match="no application protocol"):
        context.wrap_socket(raw, server_hostname="127.0.0.1")


GARBAGE = {
    "no handshake": b"\x16\x03\x01\x00\x05hello",
    "giant record": b"\x16\x03\x01\xff\xff" + b"x" * 100,
    "half a record": b"\x16\x03\x01\x02\x00\x01",
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
}


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
@pytest.mark.parametrize("name", list(GARBAGE))
def test_garbage_instead_of_a_handshake_ends_only_its_own_connection(
    proxy: HeliosProcess, name: str, negotiation: str
) -> None:
    connection = Connection("127.0.0.1", proxy.port)
    if negotiation == "postgres":
        connection.send(SSL_REQUEST)
        assert connection.read_exactly(1) == b"S"

    connection.send(GARBAGE[name])
    connection.socket.shutdown(socket.SHUT_WR)
    connection.until_closed()

    with Client(proxy.target()) as client:
        assert client.value("select 1") == "1"


def test_who_is_late_is_told_through_tls_alone(start_proxy: StartProxy, authority: Authority) -> None:
    """And not at all in the middle of a handshake, of which plain text is no part."""
    proxy = start_proxy(tls=tls_section(authority.sign("late")), limits={"startup_timeout_seconds": 1})
    mute, late = (socket.create_connection(("127.0.0.1", proxy.port), timeout=60) for _ in range(2))
    with mute, late:
        for raw in (mute, late):
            raw.sendall(SSL_REQUEST)
            assert raw.recv(1) == b"S"
        with context_for(authority).wrap_socket(late, server_hostname="127.0.0.1") as wrapped:
            told = b"".join(iter(lambda: wrapped.recv(1000), b""))
        assert told.startswith(b"E") and b"C57P03" in told
        assert mute.recv(1) in (b"", ALERT)


@pytest.mark.checklist(1)
def test_a_second_ssl_request_inside_is_refused(proxy: HeliosProcess, authority: Authority) -> None:
    raw = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    raw.sendall(SSL_REQUEST)
    assert raw.recv(1) == b"S"
    with context_for(authority).wrap_socket(raw, server_hostname="127.0.0.1") as wrapped:
        wrapped.sendall(SSL_REQUEST)
        assert wrapped.recv(1) == b"E"


@pytest.mark.checklist(4)
def test_required_tls_refuses_clients_without_it(start_proxy: StartProxy, authority: Authority, tmp_path: Path) -> None:
    proxy = start_proxy(tls=tls_section(authority.sign("required"), "require"))

    with pytest.raises(LoginRefusedError) as refused:
        Client(proxy.target())
    assert refused.value.sqlstate == "28000"
    assert "encrypted connections only" in str(refused.value)
    for sslmode in ("require", "allow"):  # "allow" comes without encryption first, and then again with it
        with connect(proxy, authority, sslmode) as connection:
            assert is_encrypted(connection)
            assert connection.execute("select 1").fetchone() == (1,)


def test_a_new_certificate_is_shown_after_a_reload(
    start_proxy: StartProxy, authority: Authority, tmp_path: Path
) -> None:
    present = authority.sign("present")
    proxy = start_proxy(tls=tls_section(present))
    other = Authority(tmp_path / "other")
    with connect(proxy, authority) as old:
        replacement = other.sign("replacement")
        present.cert.write_bytes(replacement.cert.read_bytes())
        present.key.write_bytes(replacement.key.read_bytes())
        assert proxy.post("/config/reload")[0] == 200

        assert old.execute("select 1").fetchone() == (1,)
        with connect(proxy, other) as new:
            assert new.execute("select 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            connect(proxy, authority)


def test_a_bad_certificate_is_a_refused_reload_that_names_the_file(
    start_proxy: StartProxy, authority: Authority
) -> None:
    present, stranger = authority.sign("kept"), authority.sign("stranger")
    proxy = start_proxy(tls=tls_section(present))
    good = present.cert.read_bytes()

    for content, told in ((b"no PEM", "tls.cert_file"), (stranger.cert.read_bytes(), "tls.cert_file")):
        present.cert.write_bytes(content)
        status, body = proxy.post("/config/reload")
        assert status == 400
        assert told in body
    present.cert.unlink()
    status, body = proxy.post("/config/reload")
    assert (status, "tls.cert_file" in body) == (400, True)
    with connect(proxy, authority) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    present.cert.write_bytes(good)


def test_an_idle_client_that_vanishes_is_let_go(proxy: HeliosProcess, authority: Authority) -> None:
    def sessions() -> int:
        return int(proxy.json("/sessions")["active_sessions"])

    before = sessions()
    relay = ChunkRelay(proxy.port, "random")
    connection = connect(proxy, authority, port=relay.port)
    assert sessions() == before + 1

    relay.stop()

    until(lambda: sessions() == before, "the session to end")
    connection.close()
