"""Twenty clients of each kind over two servers and two workers, behind the relay: nobody sees a foreign value.

Each client asks for its own number in many ways: simple, extended, prepared, pipelined, in transactions, with errors.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess

import asyncpg
import psycopg
import pytest

from harness.canary import SHORT_WAYS, Asker, break_off, extended_batch
from harness.client import Client, Target
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess
from harness.relay import ChunkRelay
from harness.workload import in_parallel

CLIENTS = 20
TURNS = 6
ROUTES = ("direct", "none", "1", "7", "random")
MODES = ("transaction", "statement", "session")


@pytest.fixture(params=ROUTES)
def target(request: pytest.FixtureRequest) -> Target:
    """PostgreSQL itself, and the transaction pool behind each relay."""
    if request.param == "direct":
        postgres: PostgresCluster = request.getfixturevalue("postgres")
        return postgres.direct()
    proxy: HeliosProcess = request.getfixturevalue("wire_proxy")
    relays: dict[str, ChunkRelay] = request.getfixturevalue("relays")
    plain = proxy.target("transaction")
    return plain if request.param == "none" else plain.at(relays[request.param].port)


def test_psycopg(target: Target) -> None:
    def use(number: int) -> None:
        with psycopg.connect(target.dsn(), autocommit=True, prepare_threshold=2, connect_timeout=15) as connection:
            for turn in range(TURNS):
                row = connection.execute("select %s::int, %s::text", (number, f"{number}/{turn}")).fetchone()
                assert row == (number, f"{number}/{turn}")
                with connection.transaction():
                    assert connection.execute("select %s::int", (number,), prepare=True).fetchone() == (number,)
                    assert connection.execute(f"select {number}").fetchone() == (number,)
                with connection.pipeline():
                    cursors = [connection.execute("select %s::int + %s", (number, n)) for n in range(5)]
                assert [cursor.fetchone() for cursor in cursors] == [(number + n,) for n in range(5)]
                with pytest.raises(psycopg.errors.DivisionByZero):
                    connection.execute("select %s::int / 0", (number,))

    in_parallel(CLIENTS, use)


def test_psycopg_pipeline_with_an_error(target: Target) -> None:
    def use(number: int) -> None:
        with psycopg.connect(target.dsn(), autocommit=True, prepare_threshold=0, connect_timeout=15) as connection:
            for _ in range(TURNS):
                with pytest.raises(psycopg.errors.DivisionByZero), connection.pipeline():
                    connection.execute("select %s::int", (number,))
                    connection.execute("select 1 / (%s::int - %s::int)", (number, number))
                    connection.execute("select %s::int", (number,))
                assert connection.execute("select %s::int", (number,)).fetchone() == (number,)

    in_parallel(CLIENTS, use)


def test_psycopg_server_side_cursor_and_copy(target: Target) -> None:
    def use(number: int) -> None:
        with psycopg.connect(target.dsn(), connect_timeout=15) as connection:
            with connection.cursor(name="c") as cursor:
                cursor.execute("select %s::int + n from generate_series(1, 250) n", (number,))
                assert cursor.fetchmany(100)[99] == (number + 100,)
                assert cursor.fetchall()[-1] == (number + 250,)
            with connection.cursor() as plain, plain.copy(f"copy (select {number}) to stdout") as copy:
                assert b"".join(bytes(block) for block in copy) == b"%d\n" % number

    in_parallel(CLIENTS, use)


def test_asyncpg(target: Target) -> None:
    async def use(number: int) -> None:
        connection = await asyncpg.connect(
            host=target.host,
            port=target.port,
            user=target.user,
            password=target.password,
            database=target.database,
            ssl=False,
            timeout=15,
        )
        try:
            for turn in range(TURNS):
                assert await connection.fetchval("select $1::int", number) == number
                assert await connection.fetchval(f"select {number} + {turn}") == number + turn
                async with connection.transaction():
                    assert await connection.fetchval("select $1::int * 2", number) == number * 2
                    numbers = [
                        row[0] async for row in connection.cursor("select $1::int from generate_series(1, 60)", number)
                    ]
                    assert numbers == [number] * 60
                with pytest.raises(asyncpg.DivisionByZeroError):
                    await connection.fetchval("select $1::int / 0", number)
            statement = await connection.prepare("select $1::int, $2::text")
            assert tuple(await statement.fetchrow(number, str(number)) or ()) == (number, str(number))
        finally:
            await connection.close(timeout=10)

    async def everyone() -> None:
        await asyncio.gather(*[use(number) for number in range(CLIENTS)])

    asyncio.run(everyone())


PSQL_SCRIPT = r"""
select :number;
begin;
select :number + 1;
savepoint s;
select 1/0;
rollback to s;
select :number + 2;
commit;
\copy (select :number + 3) to stdout
select :number + 4;
"""


def test_psql(target: Target) -> None:
    environment = {**os.environ, "PGPASSWORD": target.password or "", "PGSSLMODE": "disable", "PGCONNECT_TIMEOUT": "15"}
    where = ["-h", target.host, "-p", str(target.port), "-U", target.user, "-d", target.database]
    options = ["-X", "-q", "-A", "-t", "-f", "-"]

    def use(number: int) -> list[str]:
        script = PSQL_SCRIPT.replace(":number", str(number))
        done = subprocess.run(
            ["psql", *where, *options],
            input=script,
            env=environment,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "division by zero" in done.stderr
        return done.stdout.split()

    outputs = in_parallel(CLIENTS, use)

    for number, output in enumerate(outputs):
        assert output == [str(number + offset) for offset in range(5)]


def test_raw_clients(target: Target) -> None:
    def use(number: int) -> None:
        with Client(target, deadline=20) as client:
            asker = Asker(client, number, random.Random(number))
            for _ in range(TURNS * 4):
                asker.take_turn(SHORT_WAYS)

    in_parallel(CLIENTS, use)


@pytest.mark.parametrize("mode", MODES)
def test_raw_clients_that_come_go_break_off_and_cancel(wire_proxy: HeliosProcess, mode: str) -> None:
    """The canary, briefly: disconnects at any point, cancels and errors; a value that is not one's own fails."""
    target = wire_proxy.target(mode)
    ways = [extended_batch] if mode == "statement" else SHORT_WAYS

    def use(number: int) -> None:
        generator = random.Random(number)
        for _ in range(10):
            client = Client(target, deadline=20)
            try:
                asker = Asker(client, number, generator)
                for _ in range(generator.randint(1, 4)):
                    asker.take_turn(ways)
                break_off(client, number, generator)
            finally:
                client.close()

    in_parallel(CLIENTS, use)

    for _ in range(4):
        with Client(target) as client:
            assert client.value("select 'clean'") == "clean"
