"""SCRAM channel binding: libpq against Helios, Helios against PostgreSQL, and somebody between the two."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from harness import frontend
from harness.certificates import Authority
from harness.client import Client, Connection, LoginRefusedError
from harness.postgres import APP, APP_MD5, APP_PLAIN, APP_TRUST, DATABASE, PASSWORDS, PostgresCluster
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.scram import MECHANISM, ScramClient
from harness.tls_middle import TlsMiddle
from harness.tls_server import TlsServer, tls_server
from harness.wait import until

PLUS = "SCRAM-SHA-256-PLUS"
END_POINT = "p=tls-server-end-point,,"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def proxy(
    postgres: PostgresCluster, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HeliosProcess]:
    """A proxy that clients may talk to with and without TLS."""
    folder = tmp_path_factory.mktemp("binding-proxy")
    shown = authority.sign("proxy")
    tls = {"mode": "allow", "cert_file": str(shown.cert), "key_file": str(shown.key)}
    with HeliosProcess(folder, base_settings(postgres, folder, tls=tls)) as process:
        yield process


def ask(port: int, channel_binding: str, sslmode: str = "require") -> object:
    """Log in by libpq and ask; OperationalError if that is refused."""
    with psycopg.connect(
        host="127.0.0.1",
        port=port,
        user=APP,
        password=PASSWORDS[APP],
        dbname=DATABASE,
        sslmode=sslmode,
        channel_binding=channel_binding,
        connect_timeout=10,
    ) as connection:
        row = connection.execute("select 1").fetchone()
        return row and row[0]


def encrypted(proxy: HeliosProcess) -> Connection:
    """A connection that has shaken hands and been asked for SCRAM."""
    connection = Connection("127.0.0.1", proxy.port)
    connection.send(frontend.ssl_request())
    assert connection.read_exactly(1) == b"S"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection.socket = context.wrap_socket(connection.socket)
    connection.send(frontend.startup({"user": APP, "database": DATABASE}))
    assert connection.receive().raw[4:] == b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"
    return connection


@pytest.mark.parametrize("channel_binding", ["disable", "prefer", "require"])
def test_libpq_over_tls(proxy: HeliosProcess, channel_binding: str) -> None:
    assert ask(proxy.port, channel_binding) == 1


def test_libpq_that_requires_it_refuses_a_connection_without_tls(proxy: HeliosProcess) -> None:
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        ask(proxy.port, "require", sslmode="disable")
    assert ask(proxy.port, "prefer", sslmode="disable") == 1


@pytest.mark.parametrize("channel_binding", ["prefer", "require"])
def test_a_client_that_talks_to_somebody_else_is_refused(
    proxy: HeliosProcess, tmp_path: Path, channel_binding: str
) -> None:
    with TlsMiddle(proxy.port, Authority(tmp_path).sign("middle")) as middle:
        with pytest.raises(psycopg.OperationalError, match="SCRAM channel binding check failed"):
            ask(middle.port, channel_binding)
        assert ask(middle.port, "disable") == 1


def test_the_offer_must_reach_a_client_that_could_take_it(proxy: HeliosProcess) -> None:
    """A client that says `y` supports binding and was told that the server does not: somebody lied to it."""
    connection = encrypted(proxy)
    connection.send(frontend.sasl_initial(MECHANISM, ScramClient(PASSWORDS[APP], "y,,").first()))

    (refused,) = connection.until_closed()

    assert refused.fields["C"] == "28000"
    assert refused.fields["M"] == "SCRAM channel binding negotiation error"


@pytest.mark.parametrize(
    ("mechanism", "header"),
    [(PLUS, "n,,"), (PLUS, "y,,"), (PLUS, "p=tls-unique,,"), (MECHANISM, END_POINT)],
)
def test_mechanism_and_header_that_do_not_agree(proxy: HeliosProcess, mechanism: str, header: str) -> None:
    connection = encrypted(proxy)
    connection.send(frontend.sasl_initial(mechanism, ScramClient(PASSWORDS[APP], header).first()))

    assert [event.sqlstate for event in connection.until_closed()] == ["08P01"]


def test_data_of_another_channel(proxy: HeliosProcess) -> None:
    connection = encrypted(proxy)
    exchange = ScramClient(PASSWORDS[APP], END_POINT)
    connection.send(frontend.sasl_initial(PLUS, exchange.first()))

    connection.send(frontend.sasl_response(exchange.final(connection.receive().raw[4:])))

    assert [event.sqlstate for event in connection.until_closed()] == ["28000"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    with tls_server(tmp_path_factory.mktemp("server-authority")) as made:
        yield made


def in_front(start_proxy: StartProxy, server: TlsServer, port: int | None = None, **tls: str) -> HeliosProcess:
    """A proxy before the server, or before `port`."""
    nodes = [{**node, "port": port or node["port"]} for node in server.cluster.nodes()]
    cluster = {"name": "main", "tls": tls, "nodes": nodes}
    return start_proxy(clusters=[cluster], pool={"acquire_timeout_seconds": 3})


def refusal(proxy: HeliosProcess, user: str = APP) -> str:
    with pytest.raises(LoginRefusedError) as refused:
        Client(proxy.target(user=user), deadline=15)
    return str(refused.value)


@pytest.mark.parametrize("channel_binding", ["disable", "prefer", "require"])
def test_servers_with_tls(start_proxy: StartProxy, server: TlsServer, channel_binding: str) -> None:
    proxy = in_front(start_proxy, server, mode="require", channel_binding=channel_binding)

    with Client(proxy.target()) as client:
        assert client.value("select current_user") == APP


@pytest.mark.parametrize(("channel_binding", "works"), [("disable", True), ("prefer", False), ("require", False)])
def test_somebody_before_the_server_is_found_out(
    start_proxy: StartProxy, server: TlsServer, tmp_path: Path, channel_binding: str, works: bool
) -> None:
    with TlsMiddle(server.cluster.primary.port, Authority(tmp_path / "other").sign("middle")) as middle:
        proxy = in_front(start_proxy, server, middle.port, mode="require", channel_binding=channel_binding)
        if works:
            with Client(proxy.target()) as client:
                assert client.value("select current_user") == APP
        else:
            assert "SCRAM channel binding check failed" in refusal(proxy)


@pytest.mark.parametrize(
    ("user", "why"),
    [
        (APP_MD5, "asks for a password instead"),
        (APP_PLAIN, "asks for a password instead"),
        (APP_TRUST, "lets us in without it"),
    ],
)
def test_required_binding_is_not_given_up_for_a_weaker_login(
    start_proxy: StartProxy, server: TlsServer, user: str, why: str
) -> None:
    proxy = in_front(start_proxy, server, mode="require", channel_binding="require")

    refusal(proxy, user)

    until(lambda: why in proxy.log(), "the cause in the log")


def test_required_binding_fails_where_the_server_has_no_tls(start_proxy: StartProxy, postgres: PostgresCluster) -> None:
    tls = {"mode": "prefer", "channel_binding": "require"}
    proxy = start_proxy(clusters=[{"name": "main", "tls": tls, "nodes": postgres.nodes()}])

    refusal(proxy)

    until(lambda: "the connection has no TLS" in proxy.log(), "the cause in the log")
