"""COPY through a proxy, weighed by its CPU. Called by `figures.copies`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg

import proc
from rig import DATABASE, HOST, PASSWORD, ROLE, Proxy

__all__ = ["rate"]


def rate(proxy: Proxy, source: str, into: bool) -> float:
    """MB per second of the proxy's CPU for what `source` selects, out to a client or `into` a temporary table, which is
    one transaction on one server."""
    return asyncio.run(_rate(proxy, source, into))


async def _rate(proxy: Proxy, source: str, into: bool) -> float:
    connection = await asyncpg.connect(
        host=HOST, port=proxy.port, user=ROLE, password=PASSWORD, database=DATABASE, ssl=False, statement_cache_size=0
    )
    try:
        data = bytearray()

        async def take(block: bytes) -> None:
            data.extend(block)

        before = proc.cpu_of(proxy.pid)
        await connection.copy_from_query(source, output=take)
        if into:
            async with connection.transaction():
                await connection.execute("create temp table copied (line text) on commit drop")
                before = proc.cpu_of(proxy.pid)
                await connection.copy_to_table("copied", schema_name="pg_temp", source=_blocks(bytes(data)))
        spent = (proc.cpu_of(proxy.pid) - before).total
        return len(data) / spent
    finally:
        await connection.close()


async def _blocks(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 1 << 16):
        yield data[at : at + (1 << 16)]
