"""A relay before a real PostgreSQL that lies when a test asks for it, because a real server cannot be made to.

Called by the tests of servers that cannot be trusted. Everything passes through unchanged, except that a request which
contains `tamper:NAME` is answered by the relay with the bytes registered under that name, and that a login to the
database `NAME` runs the login script registered under that name instead of reaching the server.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from harness.frontend import GSSENC_REQUEST_CODE, SSL_REQUEST_CODE

MARK = re.compile(rb"tamper:([a-z0-9-]+)")


@dataclass(frozen=True)
class Lie:
    """Bytes sent in place of the server's answer; `close` ends the connection behind them."""

    payload: bytes
    close: bool = False


LoginScript = Callable[[socket.socket], None]


class TamperingRelay:
    """Listens on a free loopback `port`; a context manager."""

    def __init__(self, target_port: int, lies: Mapping[str, Lie], logins: Mapping[str, LoginScript]) -> None:
        self.tls_answer = b"N"
        """What a request for encryption is answered with."""
        self.behind_tls_answer: list[bytes] = []
        """What each client sent behind another answer than N."""
        self._target_port = target_port
        self._lies = lies
        self._logins = logins
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def __enter__(self) -> TamperingRelay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in list(self._open):
            self._end(end)
        for thread in self._threads:
            thread.join(5)

    def _start(self, job: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=job, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _end(self, end: socket.socket) -> None:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
        self._open.discard(end)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.add(client)
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            startup = self._read_startup(client)
            names = startup[8:].split(b"\0")
            database = dict(zip(names[::2], names[1::2], strict=False)).get(b"database", b"").decode()
            if script := self._logins.get(database):
                script(client)
            else:
                self._relay(client, startup)
        self._end(client)

    def _read_startup(self, client: socket.socket) -> bytes:
        """The StartupMessage; encryption requests before it are declined, or answered with what is no answer."""
        while True:
            header = _exactly(client, 8)
            size, code = struct.unpack("!ii", header)
            if code not in (SSL_REQUEST_CODE, GSSENC_REQUEST_CODE):
                return header + _exactly(client, size - 8)
            client.sendall(answer := self.tls_answer)
            if answer != b"N":
                self.behind_tls_answer.append(client.recv(65536))
                raise ConnectionAbortedError("the client has seen through it or was taken in")

    def _relay(self, client: socket.socket, startup: bytes) -> None:
        server = socket.create_connection(("127.0.0.1", self._target_port))
        self._open.add(server)
        server.sendall(startup)
        self._start(self._copy, server, client)
        try:
            while data := client.recv(65536):
                mark = MARK.search(data)
                if mark is None:
                    server.sendall(data)
                    continue
                lie = self._lies[mark[1].decode()]
                client.sendall(lie.payload)
                if lie.close:
                    return
        finally:
            self._end(server)

    def _copy(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        self._end(client)


def _exactly(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = client.recv(size - len(data))
        if not chunk:
            raise ConnectionResetError("closed during the start-up packet")
        data += chunk
    return data
