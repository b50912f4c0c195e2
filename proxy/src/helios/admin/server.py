"""The listener of the admin API: bind, TLS, bounds on connections and headers, end.

Started by `helios.app` in two steps: `bind` before the engine starts, so that a taken port costs no client anything,
and `serve` once there is something to show.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from asyncio import BaseTransport, Protocol, Transport
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from helios.admin.app import build_app
from helios.admin.control import Control
from helios.config import AdminConfig
from helios.config.base import join_address, split_address
from helios.errors import Problem, SecretError, StartError

__all__ = ["AdminServer", "check_tls"]

MAX_CONNECTIONS = 256
MAX_HEADERS = 100
MAX_HEADER_BYTES = 8190
"""Longest single header and longest request line."""
READ_DEADLINE_SECONDS = 15.0
"""Time for the headers of a request, and for the next request on a kept connection."""
SHUTDOWN_SECONDS = 1.0
"""Time for answers under way when the process ends."""
LEAVE_LOOKS = 100
"""How often it is looked whether connections have ended by themselves, when another process takes over."""
LOOK_SECONDS = 0.02
"""Between two looks."""

_log = logging.getLogger(__name__)

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b'Content-Length: 42\r\n\r\n{"error":"too many admin API connections"}'
)


class AdminServer:
    """One HTTP listener. `url` is known after `bind`."""

    def __init__(self, control: Control, admin: AdminConfig) -> None:
        self._admin = admin
        self._tls = None if admin.tls_cert_file is None else ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._runner = web.AppRunner(
            build_app(control),
            access_log=None,
            handle_signals=False,
            keepalive_timeout=READ_DEADLINE_SECONDS,
            max_headers=MAX_HEADERS,
            max_field_size=MAX_HEADER_BYTES,
            max_line_size=MAX_HEADER_BYTES,
        )
        self._listeners: list[asyncio.Server] = []

    @property
    def url(self) -> str:
        """`http://host:port` with the port really bound."""
        assert self._listeners, "bind comes first"
        host, port = self._listeners[0].sockets[0].getsockname()[:2]
        return f"{'http' if self._tls is None else 'https'}://{join_address(host, port)}"

    async def bind(self, inherited: Sequence[socket.socket] = ()) -> None:
        """Take the address, or sockets that another process has for it, without answering yet. `StartError` names the
        address and why it cannot be had."""
        self.load_certificate()
        await self._runner.setup()
        host, port = split_address(self._admin.address)
        try:
            if inherited:
                self._listeners = [await self._listener(sock=each.dup()) for each in inherited]
            else:
                self._listeners = [await self._listener(host=host, port=port)]
        except OSError as error:
            raise self._cannot_listen(error) from error

    async def _listener(self, **where: Any) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            self._protocol, ssl=self._tls, start_serving=False, backlog=MAX_CONNECTIONS, **where
        )

    def descriptors(self) -> list[int]:
        """Those of the listening sockets."""
        return [each.fileno() for listener in self._listeners for each in listener.sockets]

    async def serve(self) -> None:
        """Answer from now on. `StartError` as `bind`: another process may have begun to listen in between."""
        assert self._listeners, "bind comes first"
        try:
            for listener in self._listeners:
                await listener.start_serving()
        except OSError as error:
            raise self._cannot_listen(error) from error

    def load_certificate(self) -> None:
        """Read certificate and key again, for new connections; `SecretError` as `check_tls`, the old ones stay then."""
        check_tls(self._admin)
        if self._tls is not None:
            _load_chain(self._tls, self._admin)

    async def leave(self) -> None:
        """Accept no more, let requests that have come be answered for a while, then `stop`.

        The listeners are closed only then: asyncio forgets a connection that it has just accepted when they are closed.
        """
        for descriptor in self.descriptors():
            asyncio.get_running_loop().remove_reader(descriptor)
        for _ in range(LEAVE_LOOKS):
            await asyncio.sleep(LOOK_SECONDS)
            if self._runner.server is None or not self._runner.server.connections:
                break
        await self.stop()

    async def stop(self) -> None:
        """Close the listener and every connection."""
        for listener in self._listeners:
            listener.close()
        await self._runner.cleanup()

    def _protocol(self) -> Protocol:
        server = self._runner.server
        if server is None or len(server.connections) >= MAX_CONNECTIONS:
            return _Refused()
        return cast(Protocol, server())

    def _cannot_listen(self, error: OSError) -> StartError:
        cause = (error.strerror or str(error)).lower()
        return StartError(
            f"admin.address: cannot listen on {self._admin.address}: {cause}; "
            "end what uses it or choose another address (port 0 takes any free port)"
        )


class _Refused(Protocol):
    """Tells one connection too many that it is one."""

    def connection_made(self, transport: BaseTransport) -> None:
        full = cast(Transport, transport)
        full.write(_FULL)
        full.close()


def check_tls(admin: AdminConfig) -> None:
    """Read certificate and key of the admin API; `SecretError` names the file and what is wrong with it."""
    if admin.tls_cert_file is not None:
        _load_chain(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), admin)


def _load_chain(context: ssl.SSLContext, admin: AdminConfig) -> None:
    assert admin.tls_cert_file is not None, "only called with a certificate"
    try:
        context.load_cert_chain(admin.tls_cert_file, admin.tls_key_file)
    except ssl.SSLError as error:
        hint = "both must be PEM and belong together, the key without a passphrase"
        message = f"cannot use {admin.tls_cert_file} with key {admin.tls_key_file}: {error.reason or error}"
        raise SecretError([Problem(message, "admin.tls_cert_file", hint)]) from error
    except OSError as error:
        raise SecretError([_unreadable(admin, error)]) from error


def _unreadable(admin: AdminConfig, error: OSError) -> Problem:
    """OpenSSL does not say which of the two files it could not open."""
    for field, name in (("admin.tls_cert_file", admin.tls_cert_file), ("admin.tls_key_file", admin.tls_key_file)):
        try:
            with Path(name or "").open("rb"):
                continue
        except OSError as cause:
            return Problem(f"cannot read {name}: {(cause.strerror or str(cause)).lower()}", field)
    return Problem(f"cannot read certificate or key: {error}", "admin.tls_cert_file")
