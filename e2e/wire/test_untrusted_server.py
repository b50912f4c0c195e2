"""A server that breaks the protocol: its client is told, its connection is closed, and nobody else sees its bytes."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.client import Client, ClosedError, LoginRefusedError, rows
from harness.frontend import extended, message, query
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.tamper import Lie, LoginScript, TamperingRelay

READY = message(b"Z", b"I")
ROW_DESCRIPTION = message(b"T", struct.pack("!h", 1) + b"a\0" + struct.pack("!IhIhih", 0, 0, 25, -1, -1, 0))


def row(text: str) -> bytes:
    return message(b"D", struct.pack("!hi", 1, len(text)) + text.encode())


COMPLETE = message(b"C", b"SELECT 1\0")
ANSWER = ROW_DESCRIPTION + row("a lie") + COMPLETE

LIES = {
    "error-without-fields": Lie(message(b"E", b"\0") + READY),
    "error-without-sqlstate": Lie(message(b"E", b"Mno code\0\0") + READY),
    "error-without-end": Lie(message(b"E", b"SERROR\0C42601\0Mx") + READY),
    "unknown-type": Lie(message(b"q", b"?") + READY),
    "length-3": Lie(b"D" + struct.pack("!i", 3)),
    "length-negative": Lie(b"D" + struct.pack("!i", -7)),
    "length-2gb": Lie(b"Z" + struct.pack("!i", 2**31 - 1) + b"I"),
    "ready-too-long": Lie(message(b"Z", b"I" * 5000)),
    "ready-empty": Lie(message(b"Z", b"")),
    "ready-unknown-status": Lie(ANSWER + message(b"Z", b"X")),
    "ready-twice": Lie(ANSWER + READY + READY),
    "answer-twice": Lie((ANSWER + READY) * 2),
    "row-after-ready": Lie(ANSWER + READY + row("for the next one")),
    "half-a-row": Lie(ROW_DESCRIPTION + row("cut short")[:-4], close=True),
    "half-a-row-behind-ready": Lie(ANSWER + READY + row("cut short")[:-4]),
    "authentication-again": Lie(message(b"R", struct.pack("!i", 3)) + ANSWER + READY),
    "parameter-without-end": Lie(message(b"S", b"TimeZone") + ANSWER + READY),
    "parameter-of-a-megabyte": Lie(message(b"S", b"TimeZone\0" + b"x" * (1 << 20) + b"\0") + ANSWER + READY),
    "closed-at-once": Lie(b"", close=True),
    "copy-in-out-of-place": Lie(message(b"G", b"\0\0\0"), close=True),
    "complete-not-utf8": Lie(message(b"C", b"\xff\xfe") + READY),
}


def read_one(client: socket.socket) -> None:
    """Take one message from Helios and throw it away."""
    header = client.recv(5, socket.MSG_WAITALL)
    client.recv(struct.unpack("!i", header[1:])[0] - 4, socket.MSG_WAITALL)


def sasl(payload: bytes) -> LoginScript:
    """A server that offers SCRAM and answers the first message with `payload`."""

    def script(client: socket.socket) -> None:
        client.sendall(message(b"R", struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0"))
        read_one(client)
        client.sendall(message(b"R", struct.pack("!i", 11) + payload))
        client.recv(1)

    return script


def saying(payload: bytes) -> LoginScript:
    """A server that answers the start-up packet with `payload` and waits."""

    def script(client: socket.socket) -> None:
        client.sendall(payload)
        client.recv(1)

    return script


def silent(client: socket.socket) -> None:
    """A server that never answers."""
    client.recv(1)


LOGINS: dict[str, LoginScript] = {
    "silent": silent,
    "closing": lambda client: None,
    "gss": saying(message(b"R", struct.pack("!i", 7))),
    "unknown-method": saying(message(b"R", struct.pack("!i", 4711))),
    "short-method": saying(message(b"R", b"\0\0")),
    "only-scram-plus": saying(message(b"R", struct.pack("!i", 10) + b"SCRAM-SHA-256-PLUS\0\0")),
    "row-at-login": saying(row("too early")),
    "length-at-login": saying(b"R" + struct.pack("!i", 2**31 - 1)),
    "error-at-login": saying(message(b"E", b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed\0\0")),
    "foreign-nonce": sasl(b"r=not-yours,s=c2FsdHNhbHQ=,i=4096"),
    "huge-nonce": sasl(b"r=" + b"n" * 60_000 + b",s=c2FsdHNhbHQ=,i=4096"),
    "costly": sasl(b"r=not-yours,s=c2FsdHNhbHQ=,i=2147483647"),
    "no-salt": sasl(b"r=not-yours,s=,i=0"),
    "garbage": sasl(b"\xff\x00\xfe" * 50),
    "ready-before-authentication": saying(message(b"Z", b"I")),
}


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """A proxy with one server connection to the relay, so that the next client would get a spoiled one."""
    folder: Path = tmp_path_factory.mktemp("untrusted")
    with TamperingRelay(postgres.primary.port, LIES, LOGINS) as relay:
        node = {"name": "liar", "host": "127.0.0.1", "port": relay.port, "role": "primary"}
        sections = {
            "clusters": [{"name": "main", "nodes": [node]}],
            "pool": {"max_size": 1, "acquire_timeout_seconds": 2},
            "limits": {"connect_timeout_seconds": 1},
        }
        with HeliosProcess(folder, base_settings(postgres, folder, **sections)) as process:
            yield process


@pytest.mark.parametrize("protocol", ["simple", "extended"])
@pytest.mark.parametrize("name", list(LIES))
def test_lie_reaches_nobody_else(proxy: HeliosProcess, name: str, protocol: str) -> None:
    sql = f"select 'tamper:{name}'"
    client = Client(proxy.target(), deadline=1)
    other = Client(proxy.target())

    client.send(query(sql) if protocol == "simple" else extended(sql))
    try:
        client.until_ready()
    except (ClosedError, TimeoutError, ValueError, IndexError):
        pass  # the lie's own client may get no answer, or one that cannot be decoded
    client.close()

    for number in range(3):
        assert other.value(f"select 'true {number}'") == f"true {number}"
        assert rows(other.extended("select $1::int", str(number))) == [[str(number)]]
    assert proxy.running()


TOLD = (
    "unknown-type",
    "length-3",
    "length-negative",
    "length-2gb",
    "ready-unknown-status",
    "ready-empty",
    "authentication-again",
    "closed-at-once",
)
"""Lies that can be nothing else, and leave no half message before the client."""


@pytest.mark.checklist(37, 46)
@pytest.mark.parametrize("protocol", ["simple", "extended"])
@pytest.mark.parametrize("name", TOLD)
def test_client_of_a_liar_is_told_in_words(proxy: HeliosProcess, name: str, protocol: str) -> None:
    """That server connection ends, and its client gets one error with a sentence, FATAL and the last word."""
    client = Client(proxy.target())
    sql = f"select 'tamper:{name}'"

    client.send(query(sql) if protocol == "simple" else extended(sql))
    errors = [event for event in client.until_closed() if event.kind == "ErrorResponse"]

    [error] = errors
    assert error.sqlstate in ("08006", "08P01")
    assert error.fields["V"] == "FATAL"
    assert " " in error.fields["M"]


@pytest.mark.parametrize("name", list(LOGINS))
def test_login_to_a_liar_fails_in_time_and_costs_nothing(proxy: HeliosProcess, name: str) -> None:
    before, start = proxy.cpu_seconds(), time.monotonic()

    with pytest.raises((LoginRefusedError, ClosedError)), Client(proxy.target(name), deadline=6) as client:
        client.send(query("select 1"))
        event = client.receive_until(lambda event: event.kind in ("ErrorResponse", "ReadyForQuery"))[-1]
        raise LoginRefusedError(event) if event.kind == "ErrorResponse" else AssertionError("the liar was believed")

    assert time.monotonic() - start < 6
    assert proxy.cpu_seconds() - before < 1.0
    with Client(proxy.target()) as other:
        assert other.value("select 'fine'") == "fine"


@pytest.mark.checklist(40, 44)
def test_what_comes_behind_the_answer_to_a_reset_reaches_nobody(
    postgres: PostgresCluster, start_proxy: StartProxy
) -> None:
    """The server says farewell while it is cleaned: its last words are for no client."""
    farewell = message(b"E", b"SFATAL\0VFATAL\0C57P01\0Mfor nobody\0\0")
    lies = {"farewell": Lie(message(b"C", b"SELECT 1\0") + READY + farewell)}
    with TamperingRelay(postgres.primary.port, lies, {}) as relay:
        node = {"name": "leaving", "host": "127.0.0.1", "port": relay.port, "role": "primary"}
        pool = {"mode": "session", "max_size": 1, "reset_query": "select 'tamper:farewell'"}
        proxy = start_proxy(clusters=[{"name": "main", "nodes": [node]}], pool=pool)

        for number in range(4):
            with Client(proxy.target()) as client:
                assert client.value(f"select {number}") == str(number)
                assert rows(client.extended("select $1::int", str(number))) == [[str(number)]]
