"""Send SQL to a server from synchronous code. Called by helios.play for set-up and readiness, not for clients."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

__all__ = ["SQL_ERRORS", "Target", "execute", "fetch"]

T = TypeVar("T")

SQL_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What execute and fetch raise when the server cannot be reached or refuses."""


@dataclass(frozen=True)
class Target:
    """One database as one user."""

    host: str
    port: int
    user: str
    password: str
    database: str = "postgres"


def execute(target: Target, script: str, timeout: float = 30) -> None:
    """Run a script of statements (simple protocol), within `timeout` seconds. Raises one of SQL_ERRORS."""

    async def body() -> None:
        connection = await _connect(target, timeout)
        try:
            await connection.execute(script, timeout=timeout)
        finally:
            await connection.close(timeout=5)

    _finish(body())


def fetch(target: Target, query: str, *arguments: object, timeout: float = 30) -> list[dict[str, Any]]:
    """The rows of one query (extended protocol), each a dict by column name. Raises one of SQL_ERRORS."""

    async def body() -> list[dict[str, Any]]:
        connection = await _connect(target, timeout)
        try:
            return [dict(row) for row in await connection.fetch(query, *arguments, timeout=timeout)]
        finally:
            await connection.close(timeout=5)

    return _finish(body())


async def _connect(target: Target, seconds: float) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=target.host,
        port=target.port,
        user=target.user,
        password=target.password,
        database=target.database,
        timeout=seconds,
        ssl=False,
        passfile="/dev/null",
    )


def _finish(work: Coroutine[Any, Any, T]) -> T:
    with ThreadPoolExecutor(max_workers=1) as pool:  # a fresh thread: the caller's may already run an event loop
        return pool.submit(asyncio.run, work).result()
