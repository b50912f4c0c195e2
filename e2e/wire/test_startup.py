"""Connection start: encryption requests, versions, start-up parameters, and what a health probe or garbage does."""

from __future__ import annotations

import socket
import struct

import pytest

from harness import frontend
from harness.client import Client, Connection, LoginRefusedError, Target, brief, log_in
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, StartProxy
from harness.routes import Route


def raw(target: Target) -> Connection:
    """A connection that has not said anything yet."""
    return Connection(target.host, target.port)


def start(connection: Connection, target: Target, version: int = frontend.PROTOCOL_3_0, **extra: str) -> list[str]:
    """Send the StartupMessage, log in, and return the brief transcript."""
    parameters = {"user": target.user, "database": target.database, **extra}
    connection.send(frontend.startup(parameters, version))
    return brief(log_in(connection, target.user, target.password))


def refusal(target: Target, packet: bytes) -> list[str]:
    """Kinds and SQLSTATEs of what answers a bad packet until the connection is closed."""
    connection = raw(target)
    connection.send(packet)
    return brief(connection.until_closed())


@pytest.mark.checklist(1)
@pytest.mark.routes("transaction")
@pytest.mark.parametrize("requests", [["ssl"], ["gss"], ["ssl", "gss"], ["gss", "ssl"]], ids="-".join)
def test_encryption_requests_are_declined_and_login_goes_on(route: Route, requests: list[str]) -> None:
    connection = raw(route.target())

    for request in requests:
        connection.send(frontend.ssl_request() if request == "ssl" else frontend.gssenc_request())
        assert connection.read_exactly(1) == b"N"

    assert start(connection, route.target())[-1] == "ReadyForQuery I"
    connection.close()


@pytest.mark.checklist(1)
@pytest.mark.routes("transaction")
@pytest.mark.parametrize("request_packet", [frontend.ssl_request(), frontend.gssenc_request()], ids=["ssl", "gss"])
def test_second_encryption_request_is_an_error(route: Route, request_packet: bytes) -> None:
    connection = raw(route.target())
    connection.send(request_packet)
    assert connection.read_exactly(1) == b"N"

    connection.send(request_packet)
    events = connection.until_closed()

    assert [event.kind for event in events] == ["ErrorResponse"]
    assert events[0].sqlstate in ("0A000", "08P01")


@pytest.mark.checklist(13)
@pytest.mark.routes("session", "transaction")
def test_login_reports_the_servers_parameters(route: Route, postgres: PostgresCluster) -> None:
    direct = raw(postgres.direct())
    expected = {text for text in start(direct, postgres.direct()) if text.startswith("ParameterStatus")}
    connection = raw(route.target())

    transcript = start(connection, route.target())

    assert {text for text in transcript if text.startswith("ParameterStatus")} == expected
    assert transcript.count("BackendKeyData") == 1
    assert transcript[-1] == "ReadyForQuery I"
    assert not [text for text in transcript if text.startswith("NegotiateProtocolVersion")]
    for end in (direct, connection):
        end.close()


@pytest.mark.checklist(7)
@pytest.mark.routes("transaction")
def test_protocol_3_2(route: Route) -> None:
    connection = raw(route.target())

    transcript = start(connection, route.target(), frontend.PROTOCOL_3_2)

    assert not [text for text in transcript if text.startswith("NegotiateProtocolVersion")]
    [key] = [event for event in connection.transcript if event.kind == "BackendKeyData"]
    assert 4 + 4 <= len(key.raw) <= 4 + 256
    connection.close()


@pytest.mark.checklist(7)
@pytest.mark.routes("transaction")
@pytest.mark.parametrize("minor", [3, 9999])
def test_newer_minor_version_is_negotiated_down_once_before_authentication(route: Route, minor: int) -> None:
    connection = raw(route.target())

    transcript = start(connection, route.target(), (3 << 16) | minor)

    assert transcript[0] == "NegotiateProtocolVersion 3.2"
    assert len([text for text in transcript if text.startswith("NegotiateProtocolVersion")]) == 1
    connection.send(frontend.query("select 1"))
    assert brief(connection.until_ready())[1] == "DataRow 1"
    connection.close()


@pytest.mark.checklist(7)
@pytest.mark.routes("transaction")
@pytest.mark.parametrize("version", [frontend.PROTOCOL_3_0, frontend.PROTOCOL_3_2], ids=["3.0", "3.2"])
def test_unknown_protocol_options_are_reported(route: Route, version: int) -> None:
    connection = raw(route.target())

    options = {"_pq_.unheard_of": "1", "_pq_.also_unheard_of": "x"}
    transcript = start(connection, route.target(), version, **options)

    assert transcript[0] == f"NegotiateProtocolVersion 3.{version & 0xFFFF} _pq_.unheard_of _pq_.also_unheard_of"
    assert transcript[-1] == "ReadyForQuery I"
    connection.close()


@pytest.mark.checklist(7)
@pytest.mark.routes("transaction", chunks=("none",))
@pytest.mark.parametrize("version", [2 << 16, 4 << 16, 0, 1 << 16], ids=["2.0", "4.0", "0.0", "1.0"])
def test_other_major_versions_are_refused(route: Route, version: int) -> None:
    connection = raw(route.target())

    connection.send(frontend.startup({"user": "app", "database": "app"}, version))
    answer = b""
    while chunk := connection.socket.recv(4096):
        answer += chunk

    # The form differs (a client of version 2 cannot read ours), the words do not.
    assert answer.startswith(b"E")
    assert b"unsupported frontend protocol" in answer


OPTIONS = {
    "one": ("-c work_mem=5MB", {"work_mem": "5MB"}),
    "joined": ("-cwork_mem=6MB", {"work_mem": "6MB"}),
    "long": ("--work_mem=7MB", {"work_mem": "7MB"}),
    "dashes": ("--work-mem=8MB --statement-timeout=1234", {"work_mem": "8MB", "statement_timeout": "1234ms"}),
    "several": ("-c work_mem=9MB  -c lock_timeout=77", {"work_mem": "9MB", "lock_timeout": "77ms"}),
    "escaped": (r"-c application_name=a\ -c\ b\\c", {"application_name": r"a -c b\c"}),
    "value with -c": (r"-c search_path=a-c,b", {"search_path": "a-c,b"}),
}


@pytest.mark.checklist(8)
@pytest.mark.routes("session", "transaction", chunks=("none", "1"))
@pytest.mark.parametrize("name", list(OPTIONS))
def test_options_parameter(route: Route, name: str) -> None:
    options, expected = OPTIONS[name]
    client = route.connect(options=options)

    for setting, value in expected.items():
        if setting == "search_path":
            value = '"a-c", b' if client.value("show search_path") != value else value
        assert client.value(f"show {setting}") == value


@pytest.mark.checklist(9)
@pytest.mark.routes("session", "transaction")
def test_startup_parameters_that_are_settings_are_applied(route: Route) -> None:
    client = route.connect(
        extra_float_digits="2", search_path="pg_catalog", application_name="my app", TimeZone="Asia/Tokyo"
    )

    assert client.value("show extra_float_digits") == "2"
    assert client.value("show search_path") == "pg_catalog"
    assert client.value("show application_name") == "my app"
    assert client.value("show timezone") == "Asia/Tokyo"
    assert client.parameters["application_name"] == "my app"
    assert client.parameters["TimeZone"] == "Asia/Tokyo"


@pytest.mark.checklist(9)
@pytest.mark.routes("transaction", "statement", chunks=("none", "7"))
def test_startup_settings_of_one_client_are_not_seen_by_another(route: Route) -> None:
    tuned, plain = route.connect(work_mem="11MB", DateStyle="German"), route.connect()
    default = plain.value("show work_mem")

    for _ in range(6):
        assert tuned.value("show work_mem") == "11MB"
        assert tuned.value("select date '2026-02-01'") == "01.02.2026"
        assert plain.value("show work_mem") == default
        assert plain.value("select date '2026-02-01'") == "2026-02-01"


@pytest.mark.checklist(9)
@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_unknown_setting_is_refused_before_the_first_result(route: Route) -> None:
    try:
        events = route.connect(no_such_setting="1").query("select 1")
    except LoginRefusedError as refused:
        assert refused.sqlstate == "42704"
        return
    assert [event.sqlstate for event in events if event.kind == "ErrorResponse"] == ["42704"]


@pytest.mark.checklist(5)
@pytest.mark.routes("transaction")
def test_database_defaults_to_the_user_name(route: Route) -> None:
    connection, target = raw(route.target()), route.target()

    connection.send(frontend.startup({"user": target.user}))
    log_in(connection, target.user, target.password)
    connection.send(frontend.query("select current_database()"))

    assert brief(connection.until_ready())[1] == "DataRow app"
    connection.close()


def _without_user() -> bytes:
    return frontend.startup({"database": "app"})


BAD_PACKETS = {
    "no user": _without_user(),
    "empty user": frontend.startup({"user": "", "database": "app"}),
    "no terminator": frontend.startup_packet(frontend.PROTOCOL_3_0, b"user\0app\0database\0app"),
    "odd number of strings": frontend.startup_packet(frontend.PROTOCOL_3_0, b"user\0app\0database\0\0"),
    "too long": frontend.startup({"user": "app", "database": "app", "application_name": "x" * 10_500}),
    "2 GB length": struct.pack("!ii", 2**31 - 1, frontend.PROTOCOL_3_0) + b"user\0app\0",
    "negative length": struct.pack("!ii", -5, frontend.PROTOCOL_3_0),
    "length 4": struct.pack("!i", 4),
    "length 0": struct.pack("!i", 0) + b"x" * 20,
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "TLS ClientHello": bytes.fromhex("16030100c8010000c40303") + b"r" * 194,
    "zero bytes": b"\0" * 64,
    "all ones": b"\xff" * 64,
    "invalid UTF-8": frontend.startup_packet(frontend.PROTOCOL_3_0, b"user\0\xff\xfe\0database\0app\0\0"),
}


@pytest.mark.checklist(5)
@pytest.mark.routes("transaction", chunks=("none", "1"))
@pytest.mark.parametrize("name", list(BAD_PACKETS))
def test_bad_startup_packet_ends_only_its_own_connection(route: Route, name: str) -> None:
    client = route.connect()
    connection = raw(route.target())

    try:
        connection.send(BAD_PACKETS[name])
        connection.socket.shutdown(socket.SHUT_WR)
        data = b""
        while chunk := connection.socket.recv(4096):
            data += chunk
    except OSError:
        data = b""

    # PostgreSQL and Helios may close without a word; if they speak it is one ErrorResponse or a login request first.
    assert data[:1] in (b"", b"E", b"R")
    assert client.value("select 'still here'") == "still here"
    connection.close()


@pytest.mark.checklist(5)
@pytest.mark.routes("transaction", chunks=("none",))
def test_missing_user_has_postgresqls_sqlstate(route: Route) -> None:
    assert refusal(route.target(), _without_user()) == ["ErrorResponse 28000"]


@pytest.mark.checklist(5)
@pytest.mark.routes("transaction", chunks=("none", "1"))
def test_half_a_startup_packet_then_close(route: Route) -> None:
    whole = frontend.startup({"user": "app", "database": "app"})
    for size in (1, 4, 7, 8, len(whole) - 1):
        connection = raw(route.target())
        connection.send(whole[:size])
        connection.close()

    assert route.connect().value("select 1") == "1"


@pytest.mark.checklist(15)
def test_health_probe_leaves_no_line_in_the_log(wire_proxy: HeliosProcess) -> None:
    before = wire_proxy.log()
    for _ in range(20):
        socket.create_connection(("127.0.0.1", wire_proxy.port)).close()

    target = wire_proxy.target("transaction")
    connection = raw(target)
    assert start(connection, target)[-1] == "ReadyForQuery I"
    connection.close()

    assert wire_proxy.log() == before


@pytest.mark.checklist(13)
def test_parameters_come_from_a_server_even_for_the_first_client_of_a_pool(start_proxy: StartProxy) -> None:
    proxy = start_proxy()
    target = proxy.target()

    connection = raw(target)
    transcript = start(connection, target)

    assert any(text.startswith("ParameterStatus server_version=1") for text in transcript)
    assert "ParameterStatus client_encoding=UTF8" in transcript
    connection.close()


def test_silent_clients_are_told_at_the_startup_timeout(start_proxy: StartProxy) -> None:
    proxy = start_proxy(limits={"startup_timeout_seconds": 1})
    whole = frontend.startup({"user": "app", "database": "app"})
    silent = [Connection("127.0.0.1", proxy.port, deadline=60) for _ in range(3)]

    for connection, said in zip(silent, (b"", whole[:10], whole), strict=True):
        connection.send(said)
    for connection in silent:
        told = connection.until_closed()[-1]
        assert (told.brief, told.fields["V"]) == ("ErrorResponse 57P03", "FATAL")
        assert told.fields["M"] == "the login was not finished within 1 s"
        assert "limits.startup_timeout_seconds" in told.fields["H"]

    with_login = raw(proxy.target())
    assert start(with_login, proxy.target())[-1] == "ReadyForQuery I"


def test_a_login_that_gets_no_server_is_told_at_the_startup_timeout(start_proxy: StartProxy) -> None:
    """Nobody has come with its settings yet, so that a server must say how it greets such a client."""
    proxy = start_proxy(limits={"startup_timeout_seconds": 1}, pool={"max_size": 1})
    with Client(proxy.target()) as holder:
        holder.query("begin; select 1")
        with pytest.raises(LoginRefusedError, match="not finished within 1 s") as refused:
            start(raw(proxy.target()), proxy.target(), TimeZone="Asia/Tokyo")
        assert refused.value.sqlstate == "57P03"
        holder.query("commit")
    assert start(raw(proxy.target()), proxy.target(), TimeZone="Asia/Tokyo")[-1] == "ReadyForQuery I"


def test_twenty_logins_at_once(wire_proxy: HeliosProcess) -> None:
    target = wire_proxy.target("transaction")
    connections = [raw(target) for _ in range(20)]
    for connection in connections:
        connection.send(frontend.startup({"user": target.user, "database": target.database}))

    for connection in connections:
        assert log_in(connection, target.user, target.password)[-1].kind == "ReadyForQuery"
        connection.close()
