"""Connections of the control plane's own: to which address, as whom, encrypted how, and why there is none.

Used by `probe` and `catalog_reader`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Literal, TypeAlias

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from helios.config import ServerTlsConfig, ServerTlsMode
from helios.topology.credentials import Login

__all__ = ["FAILURES", "Connection", "cause", "connect"]

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

FAILURES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises when a server cannot be asked."""


async def connect(
    host: str, port: int, addresses: Sequence[str], login: Login, timeout_seconds: float, **settings: str
) -> Connection:
    """Log in to a node with these settings, at the first of `addresses` that answers. One of `FAILURES` or
    `TimeoutError` if that fails."""
    # A certificate is compared with the name, so that the name must be what is connected to.
    verifies_name = login.tls.mode is ServerTlsMode.VERIFY_FULL
    hosts = [host] if verifies_name or not addresses else list(addresses)
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout_seconds
    for left, each in zip(range(len(hosts), 0, -1), hosts, strict=True):
        try:
            # Everything is given, for asyncpg would else look into PG* variables and ~/.pgpass of whoever runs Helios.
            return await asyncpg.connect(
                host=each,
                port=port,
                user=login.user,
                password=login.password or "",
                database=login.database,
                timeout=(until - loop.time()) / left,
                ssl=_encryption(login.tls),
                target_session_attrs=SessionAttribute.any,
                server_settings=settings,
            )
        except OSError:
            if left == 1:
                raise
    raise AssertionError("there is at least one address")


def cause(error: Exception, login: Login) -> str:
    """Why a server could not be asked, in a sentence for people."""
    who = f'user "{login.user}" ({login.source})'
    match error:
        case asyncpg.InvalidPasswordError():
            return f"password of {who} refused: {error}"
        case asyncpg.InvalidAuthorizationSpecificationError():
            return f"{who} not let in: {error}"
        case asyncpg.PostgresError():
            return f"{error} (SQLSTATE {error.sqlstate})"
        case ssl.SSLError():
            return f"no TLS: {getattr(error, 'verify_message', '') or error.reason or error}"
        case OSError():
            return _network_cause(error)
        case _:
            return f"connection lost: {error}"


def _network_cause(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"host name not found: {error.strerror}"
    # asyncpg wraps what happened on several addresses of a name in one error without a number.
    return os.strerror(error.errno).lower() if error.errno else str(error) or type(error).__name__


def _encryption(tls: ServerTlsConfig) -> ssl.SSLContext | Literal["disable", "prefer", "require"]:
    """What asyncpg takes for it."""
    match tls.mode:
        case ServerTlsMode.DISABLE:
            return "disable"
        case ServerTlsMode.PREFER:
            return "prefer"
        case ServerTlsMode.REQUIRE:
            return "require"
        case ServerTlsMode.VERIFY_CA | ServerTlsMode.VERIFY_FULL:
            context = ssl.create_default_context(cafile=tls.ca_file)
            context.check_hostname = tls.mode is ServerTlsMode.VERIFY_FULL
            return context
