"""Clients as applications have them: each pings its connection, then runs a transaction, again and again.

Read by `test_node_rollout`, run inside a pod with asyncpg. Ends when table `ended` has a row, and prints one JSON
object of counts. A ping that fails is what a pool that pings first notices: it connects anew, no user sees anything.
"""

import asyncio
import collections
import json
import os
import sys
import time

import asyncpg

CLIENTS = int(sys.argv[1])
LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
PATIENCE_SECONDS = 30.0


class Clients:
    """What all of them counted."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.errors: list[str] = []

    def fail(self, what: str, error: Exception) -> None:
        """Somebody saw an exception."""
        self.counts[what] += 1
        self.errors.append(f"{what}: {error!r}")

    async def connect(self) -> asyncpg.Connection:
        """One connection through the Service; prepared statements are on, as asyncpg has them."""
        while True:
            try:
                return await asyncpg.connect(
                    host="minimal",
                    port=6432,
                    user="app",
                    password=os.environ["PGPASSWORD"],
                    database="app",
                    timeout=PATIENCE_SECONDS,
                )
            except LOST as error:
                self.fail("connect", error)
                await asyncio.sleep(0.05)

    async def transaction(self, connection: asyncpg.Connection, client: int) -> bool:
        """Write, think, read back what was written; whether all is over."""
        try:
            await connection.execute("begin")
        except LOST as error:
            self.fail("begin", error)
            return False
        try:
            number = await connection.fetchval("insert into written (client) values ($1) returning number", client)
            await asyncio.sleep(0.1)  # most of the time in a transaction, and a processor left for the others
            assert await connection.fetchval("select client from written where number = $1", number) == client
            over = await connection.fetchval("select exists (select from ended)")
            await connection.execute("commit")
        except LOST as error:
            self.fail("statement in a transaction", error)
            return False
        self.counts["transactions"] += 1
        return bool(over)

    async def work(self, client: int) -> None:
        """One client until the end."""
        connection = await self.connect()
        over = False
        while not over:
            try:
                await connection.fetchval("select 1")
            except LOST:
                self.counts["closed while idle"] += 1
                connection.terminate()
                connection = await self.connect()
                continue
            over = await self.transaction(connection, client)
            await asyncio.sleep(0.005)
        await connection.close()


async def main() -> None:
    """All clients."""
    clients = Clients()
    started = time.monotonic()
    await asyncio.gather(*(clients.work(client) for client in range(CLIENTS)))
    seconds = round(time.monotonic() - started, 1)
    print(json.dumps({**clients.counts, "seconds": seconds, "errors": clients.errors[:20]}))


asyncio.run(main())
