"""A relay before a real PostgreSQL that lies when a test asks for it, because a real server cannot be made to.

Called by the tests of servers that cannot be trusted. Everything passes through unchanged, except that a request which
contains `tamper:NAME` is answered by the relay with the bytes registered under that name, and that a login to the
database `NAME` runs the login script registered under that name instead of reaching the server.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from harness.frontend import GSSENC_REQUEST_CODE, SSL_REQUEST_CODE
from harness.listening import ListeningRelay

MARK = re.compile(rb"tamper:([a-z0-9-]+)")


@dataclass(frozen=True)
class Lie:
    """Bytes sent in place of the server's answer; `close` ends the connection behind them."""

    payload: bytes
    close: bool = False


LoginScript = Callable[[socket.socket], None]


class TamperingRelay(ListeningRelay):
    """See the module."""

    def __init__(self, target_port: int, lies: Mapping[str, Lie], logins: Mapping[str, LoginScript]) -> None:
        self.tls_answer = b"N"
        """What a request for encryption is answered with."""
        self.behind_tls_answer: list[bytes] = []
        """What each client sent behind another answer than N."""
        self._target_port = target_port
        self._lies = lies
        self._logins = logins
        super().__init__()

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
