"""The scenarios of psycopg 3's coroutines; `main` adds them to its table."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
from psycopg import sql

from drivers.scenarios import failures


async def asynchronous(dsn: str) -> Any:
    async def work(number: int) -> Any:
        seen: list[Any] = []
        async with await psycopg.AsyncConnection.connect(dsn, prepare_threshold=0) as connection:
            await connection.execute(sql.SQL("set app.worker = {}").format(str(number)))
            await connection.commit()
            for turn in range(25):
                async with connection.transaction():
                    cursor = await connection.execute("select %s::int, current_setting('app.worker')", [turn])
                    seen.append(await cursor.fetchone())
            async with connection.pipeline():
                cursors = [await connection.execute("select %s::int", [turn]) for turn in range(20)]
                seen += [await cursor.fetchone() for cursor in cursors]
            await connection.commit()
            with failures(seen, psycopg.Error):
                async with asyncio.timeout(0.2):
                    await connection.execute("select pg_sleep(0.01)")
                await connection.execute("select 1 / 0")
            await connection.rollback()
        return seen

    return await asyncio.gather(*(work(number) for number in range(8)))


async def abandoned(dsn: str) -> Any:
    """A task that is cancelled in a query leaves a connection that can be used again."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        seen: list[Any] = []
        with failures(seen, TimeoutError):
            async with asyncio.timeout(0.15):
                await connection.execute("select pg_sleep(15)")
        await connection.rollback()
        cursor = await connection.execute("select 'usable'")
        return [*seen, await cursor.fetchone()]
