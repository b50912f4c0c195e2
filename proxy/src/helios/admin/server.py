"""The listener of the admin API: bind, TLS, bounds on connections and headers, end.

Started by `helios.app` in two steps: `bind` before the engine starts, so that a taken port costs no client anything,
and `serve` once there is something to show.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from asyncio import BaseTransport, Protocol, Transport
from pathlib import Path
from typing import cast

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
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """`http://host:port` with the port really bound."""
        assert self._listener is not None, "bind comes first"
        host, port = self._listener.sockets[0].getsockname()[:2]
        return f"{'http' if self._tls is None else 'https'}://{join_address(host, port)}"

    async def bind(self) -> None:
        """Take the address without answering yet. `StartError` names the address and why it cannot be had."""
        self.load_certificate()
        await self._runner.setup()
        host, port = split_address(self._admin.address)
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(
                self._protocol, host, port, ssl=self._tls, start_serving=False, backlog=MAX_CONNECTIONS
            )
        except OSError as error:
            raise self._cannot_listen(error) from error

    async def serve(self) -> None:
        """Answer from now on. `StartError` as `bind`: another process may have begun to listen in between."""
        assert self._listener is not None, "bind comes first"
        try:
            await self._listener.start_serving()
        except OSError as error:
            raise self._cannot_listen(error) from error

    def load_certificate(self) -> None:
        """Read certificate and key again, for new connections; `SecretError` as `check_tls`, the old ones stay then."""
        check_tls(self._admin)
        if self._tls is not None:
            _load_chain(self._tls, self._admin)

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._listener is not None:
            self._listener.close()
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
