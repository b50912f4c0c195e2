"""Clients that connect, ask once and then stay silent; a few bytes of protocol each. Called by `figures.memory`."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

from rig import DATABASE, HOST, ROLE, BenchError

__all__ = ["connected"]

PROTOCOL_3_0 = 196_608
TIMEOUT_SECONDS = 20


@contextlib.contextmanager
def connected(port: int, count: int) -> Iterator[None]:
    """`count` clients (trust), each after one `select 1`. Raises BenchError when one is turned away."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            _ask(stack.enter_context(socket.create_connection((HOST, port), TIMEOUT_SECONDS)))
        yield


def _ask(client: socket.socket) -> None:
    parameters = f"user\0{ROLE}\0database\0{DATABASE}\0\0".encode()
    client.sendall(struct.pack("!ii", 8 + len(parameters), PROTOCOL_3_0) + parameters)
    _read_until_ready(client)
    query = b"select 1\0"
    client.sendall(b"Q" + struct.pack("!i", 4 + len(query)) + query)
    _read_until_ready(client)


def _read_until_ready(client: socket.socket) -> None:
    """Read messages up to ReadyForQuery."""
    pending = b""
    while True:
        while len(pending) >= 5 and len(pending) > (length := struct.unpack_from("!i", pending, 1)[0]):
            message, pending = pending[: 1 + length], pending[1 + length :]
            if message.startswith(b"Z"):
                return
            if message.startswith(b"E"):
                raise BenchError(f"an idle client was refused: {message[5:]!r}")
        chunk = client.recv(4096)
        if not chunk:
            raise BenchError("an idle client was disconnected")
        pending += chunk
