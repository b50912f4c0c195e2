"""A blocking PostgreSQL client of our own that speaks raw protocol and records every message it gets.

Called by the wire and behaviour tests; hands on `Event`s. It never repairs anything: what arrives is what is recorded.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from types import TracebackType

from harness import frontend, scram
from harness.backend import Event, decode

DEFAULT_DEADLINE = 5.0
RECEIVE_SIZE = 1 << 18

_open: set[Connection] = set()


def close_all() -> None:
    """Close every connection that a test left open, so that a failed test does not starve the next one."""
    for connection in list(_open):
        connection.close()


class ClosedError(AssertionError):
    """The other side closed the connection while the test expected a message."""


@dataclass(frozen=True)
class Target:
    """Where and as whom to connect. `password` None sends none; `options` are further start-up parameters; `source`
    is the loopback address to come from."""

    host: str
    port: int
    user: str
    password: str | None
    database: str
    options: dict[str, str] = field(default_factory=dict)
    version: int = frontend.PROTOCOL_3_0
    source: str = ""
    is_encrypted: bool = False
    """Ask for TLS first; whose certificate it is does not matter."""

    def dsn(self) -> str:
        """A libpq connection string."""
        secret = f" password='{self.password}'" if self.password else ""
        return f"host={self.host} port={self.port} user={self.user}{secret} dbname={self.database} sslmode=disable"

    def at(self, port: int) -> Target:
        """The same login at another loopback port (a relay)."""
        return replace(self, host="127.0.0.1", port=port)

    def with_options(self, **options: str) -> Target:
        """The same login with further start-up parameters."""
        return replace(self, options={**self.options, **options})


def _connect(host: str, port: int, deadline: float, source: str) -> socket.socket:
    """By TCP, or by the socket file in a folder, as libpq."""
    if not host.startswith("/"):
        made = socket.create_connection((host, port), timeout=deadline, source_address=(source, 0))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
    made = socket.socket(socket.AF_UNIX)
    try:
        made.settimeout(deadline)
        made.connect(f"{host}/.s.PGSQL.{port}")
    except OSError:
        made.close()
        raise
    return made


class Connection:
    """A connection that reads PostgreSQL messages with a deadline; no login of its own."""

    def __init__(self, host: str, port: int, deadline: float = DEFAULT_DEADLINE, source: str = "") -> None:
        self.deadline = deadline
        self.socket = _connect(host, port, deadline, source)
        self.transcript: list[Event] = []
        self._buffer = bytearray()
        _open.add(self)

    def send(self, *messages: bytes) -> None:
        """Send the messages in one write."""
        self.socket.sendall(b"".join(messages))

    def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes; ClosedError if the connection ends before, TimeoutError after the deadline."""
        self._fill(size)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _fill(self, size: int) -> None:
        end = time.monotonic() + self.deadline
        while len(self._buffer) < size:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no message within {self.deadline:g} s; got so far: {self.texts()[-8:]}")
            self.socket.settimeout(left)
            try:
                chunk = self.socket.recv(RECEIVE_SIZE)
            except TimeoutError as error:
                raise TimeoutError(f"no message within {self.deadline:g} s; so far: {self.texts()[-8:]}") from error
            except ConnectionResetError as error:
                raise ClosedError(f"connection reset; got so far: {self.texts()[-8:]}") from error
            if not chunk:
                raise ClosedError(f"connection closed; got so far: {self.texts()[-8:]}")
            self._buffer += chunk

    def discard(self, size: int) -> None:
        """Read `size` bytes without keeping them; for messages too large to hold."""
        left = size - len(self._buffer)
        del self._buffer[:size]
        self.socket.settimeout(self.deadline)
        while left > 0:
            chunk = self.socket.recv(min(left, RECEIVE_SIZE))
            if not chunk:
                raise ClosedError(f"connection closed {left} bytes before the end of a message")
            left -= len(chunk)

    def receive(self) -> Event:
        """The next message, recorded."""
        header = self.read_exactly(5)
        event = decode(header[:1], self.read_exactly(struct.unpack("!i", header[1:])[0] - 4))
        self.transcript.append(event)
        return event

    def receive_until(self, stop: Callable[[Event], bool]) -> list[Event]:
        """Messages up to and including the first for which `stop` is true."""
        start = len(self.transcript)
        while not stop(self.receive()):
            pass
        return self.transcript[start:]

    def until_ready(self, count: int = 1) -> list[Event]:
        """Messages up to and including the `count`-th ReadyForQuery."""
        start = len(self.transcript)
        for _ in range(count):
            self.receive_until(lambda event: event.kind == "ReadyForQuery")
        return self.transcript[start:]

    def until_closed(self) -> list[Event]:
        """All messages until the other side closes; TimeoutError if it does not."""
        start = len(self.transcript)
        try:
            while True:
                self.receive()
        except ClosedError:
            return self.transcript[start:]

    def expect_silence(self, seconds: float) -> None:
        """Assert that nothing arrives for the given time; the connection stays open."""
        assert not self._buffer, f"unexpected bytes: {bytes(self._buffer[:80])!r}"
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(RECEIVE_SIZE)
        except TimeoutError:
            return
        raise AssertionError(f"expected silence, got {data[:80]!r}" if data else "expected silence, got a close")

    def texts(self) -> list[str]:
        """The transcript so far in its full form."""
        return [event.text for event in self.transcript]

    def close(self) -> None:
        """Close the socket without a word."""
        _open.discard(self)
        self.socket.close()

    def abort(self) -> None:
        """Close with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class Client(Connection):
    """A logged-in session. Use as a context manager: leaving it sends Terminate and closes."""

    def __init__(self, target: Target, deadline: float = DEFAULT_DEADLINE) -> None:
        super().__init__(target.host, target.port, deadline, target.source)
        self.target = target
        self.parameters: dict[str, str] = {}
        self.pid = 0
        self.key = b""
        self.login_events: list[Event] = []
        try:
            if target.is_encrypted:
                self._encrypt()
            self._login()
        except BaseException:
            self.close()
            raise

    def _encrypt(self) -> None:
        self.send(frontend.ssl_request())
        assert self.read_exactly(1) == b"S"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket)

    def _login(self) -> None:
        parameters = {"user": self.target.user, "database": self.target.database, **self.target.options}
        self.send(frontend.startup(parameters, self.target.version))
        events = log_in(self, self.target.user, self.target.password)
        for event in events:
            if event.kind == "ParameterStatus":
                self.parameters[event.fields["name"]] = event.fields["value"]
            if event.kind == "BackendKeyData":
                self.pid, self.key = int(event.fields["pid"]), bytes.fromhex(event.fields["key"])
        self.login_events = list(self.transcript)
        self.transcript.clear()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.terminate()

    def terminate(self) -> None:
        """Send Terminate if the connection still takes it, and close."""
        try:
            self.send(frontend.terminate())
        except OSError:
            pass  # the other side may have closed first, which is what some tests provoke
        self.close()

    def query(self, sql: str | bytes) -> list[Event]:
        """Run a simple Query."""
        self.send(frontend.query(sql))
        return self.until_ready()

    def extended(self, sql: str, *values: frontend.Parameter) -> list[Event]:
        """Run Parse, Bind, Describe, Execute, Sync."""
        self.send(frontend.extended(sql, values))
        return self.until_ready()

    def batch(self, *messages: bytes, ready: int = 1) -> list[Event]:
        """Send messages in one write and read until the given number of ReadyForQuery."""
        self.send(*messages)
        return self.until_ready(ready)

    def value(self, sql: str) -> str | None:
        """First column of the first row of a simple Query, as text; None for NULL. AssertionError on an error."""
        events = self.query(sql)
        for event in events:
            assert event.kind != "ErrorResponse", event.text
            if event.kind == "DataRow":
                first = event.values[0]
                return None if first is None else first.decode()
        raise AssertionError(f"no row from {sql!r}: {full(events)}")


def asked(target: Target) -> list[str]:
    """What a client is asked for first, or how it is refused."""
    connection = Connection(target.host, target.port)
    connection.send(frontend.startup({"user": target.user, "database": target.database}))
    event = connection.receive()
    connection.close()
    return [event.fields.get("C", ""), event.fields.get("M", "")] if event.kind == "ErrorResponse" else [event.brief]


def log_in(connection: Connection, user: str, password: str | None) -> list[Event]:
    """Answer authentication requests until the first ReadyForQuery; LoginRefusedError on an ErrorResponse."""
    exchange = scram.ScramClient(password or "")
    start = len(connection.transcript)
    while True:
        event = connection.receive()
        if event.kind == "ErrorResponse":
            raise LoginRefusedError(event)
        if event.kind == "ReadyForQuery":
            return connection.transcript[start:]
        if event.kind == "Authentication":
            answer = _answer(event, exchange, user, password or "")
            if answer:
                connection.send(answer)


def _answer(event: Event, exchange: scram.ScramClient, user: str, password: str) -> bytes | None:
    match event.brief.split(" ")[1]:
        case "CleartextPassword":
            return frontend.password(password)
        case "MD5Password":
            return frontend.password(scram.md5_answer(user, password, event.raw[4:8]))
        case "SASL":
            assert scram.MECHANISM.encode() in event.raw[4:].split(b"\0"), event.raw
            return frontend.sasl_initial(scram.MECHANISM, exchange.first())
        case "SASLContinue":
            return frontend.sasl_response(exchange.final(event.raw[4:]))
        case "SASLFinal":
            exchange.verify(event.raw[4:])
            return None
        case "Ok":
            return None
        case other:
            raise AssertionError(f"unexpected authentication request {other}")


class LoginRefusedError(Exception):
    """The server answered the login with an ErrorResponse, kept as `event`."""

    def __init__(self, event: Event) -> None:
        super().__init__(event.text)
        self.event = event

    @property
    def sqlstate(self) -> str:
        """SQLSTATE of the refusal."""
        return self.event.sqlstate


def full(events: Iterable[Event]) -> list[str]:
    """Full texts, for comparisons between two runs."""
    return [event.text for event in events]


def brief(events: Iterable[Event]) -> list[str]:
    """Brief texts, for transcripts written in a test: errors by SQLSTATE, row descriptions by column names."""
    return [event.brief for event in events]


def rows(events: Iterable[Event]) -> list[list[str | None]]:
    """Values of the DataRows as text."""
    return [
        [None if value is None else value.decode() for value in event.values]
        for event in events
        if event.kind == "DataRow"
    ]


def sqlstates(events: Iterable[Event]) -> list[str]:
    """SQLSTATE of each ErrorResponse."""
    return [event.sqlstate for event in events if event.kind == "ErrorResponse"]
