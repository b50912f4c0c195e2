"""A relay before a real PostgreSQL that cuts a connection at a chosen message, or inside of one.

Called by the tests of transactions that outlive their server. Everything passes through unchanged until `arm`: from
then on the messages of every connection of one role are counted in one direction, and the connection that comes to the
number is closed behind so many bytes of the next message.
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass

from harness.frontend import SSL_REQUEST_CODE
from harness.listening import ListeningRelay

HEADER = 5
_SSL_REQUEST = struct.pack("!i", SSL_REQUEST_CODE)


@dataclass
class Cut:
    """Where: `messages` pass, and `size` bytes of the one behind them."""

    to_server: bool
    messages: int
    size: int = 0


class CuttingRelay(ListeningRelay):
    """See the module."""

    def __init__(self, target_port: int, user: str) -> None:
        self._target_port = target_port
        self._user = user.encode()
        self._lock = threading.Lock()
        self._cut: Cut | None = None
        super().__init__()

    def nodes(self) -> list[dict[str, object]]:
        """The `[[clusters.nodes]]` entries of a proxy that stands before it."""
        return [{"name": "cut", "host": "127.0.0.1", "port": self.port}]

    def arm(self, cut: Cut) -> None:
        """Cut there, once."""
        with self._lock:
            self._cut = cut

    def disarm(self) -> bool:
        """Cut nothing any more; whether it has been cut."""
        with self._lock:
            is_cut, self._cut = self._cut is None, None
        return is_cut

    def _serve(self, client: socket.socket) -> None:
        """The startup packet says whose connection it is; encryption is declined."""
        with suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server = socket.create_connection(("127.0.0.1", self._target_port))
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.add(server)
            startup = client.recv(65536)
            while startup[4:8] == _SSL_REQUEST:
                client.sendall(b"N")
                startup = client.recv(65536)
            words = startup[8:].split(b"\0")
            # Whoever reads the catalog has the same database.
            is_watched = dict(zip(words[::2], words[1::2], strict=False)).get(b"user") == self._user
            server.sendall(startup)
            self._start(self._copy, server, client, False, is_watched)
            self._copy(client, server, True, is_watched)
        self._end(client)

    def _copy(self, source: socket.socket, sink: socket.socket, to_server: bool, is_watched: bool) -> None:
        rest = b""
        with suppress(OSError):
            while data := source.recv(65536):
                if not is_watched:
                    sink.sendall(data)
                    continue
                rest += data
                passed, rest, is_cut = self._pass(rest, to_server)
                sink.sendall(passed)
                if is_cut:
                    break
        self._end(source)
        self._end(sink)

    def _pass(self, data: bytes, to_server: bool) -> tuple[bytes, bytes, bool]:
        """Of the bytes, those to be sent on, those that are no whole message yet, and whether to cut behind them."""
        at = 0
        with self._lock:
            while len(data) - at >= HEADER:
                total = 1 + struct.unpack("!i", data[at + 1 : at + HEADER])[0]
                cut = self._cut
                is_due = cut is not None and cut.to_server == to_server and cut.messages == 0
                if cut is not None and is_due and len(data) - at >= min(total, cut.size):
                    self._cut = None
                    return data[: at + min(cut.size, total - 1)], b"", True
                if len(data) - at < total:
                    break
                at += total
                if cut is not None and cut.to_server == to_server:
                    cut.messages -= 1
        return data[:at], data[at:], False
