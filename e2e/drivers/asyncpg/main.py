"""What asyncpg sees: `python -m drivers.asyncpg.main DSN`. Binary extended protocol, a cache of prepared statements."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import ipaddress
import json
import uuid
from typing import Any

import asyncpg

from drivers.scenarios import Scenarios, failures

scenario = Scenarios()

Connection = Any
"""asyncpg's own, or a pool's proxy of one, which are no relatives."""

REPORTED = (
    *("application_name", "client_encoding", "DateStyle", "default_transaction_read_only", "in_hot_standby"),
    *("integer_datetimes", "IntervalStyle", "is_superuser", "scram_iterations", "search_path", "server_encoding"),
    *("server_version", "session_authorization", "standard_conforming_strings", "TimeZone"),
)


async def shown(connection: Connection, *names: str) -> list[Any]:
    """Settings as the server shows them."""
    return [await connection.fetchval("select current_setting($1, true)", name) for name in names]


async def record(source: Any, *arguments: Any) -> tuple[Any, ...]:
    """The first row of a connection's query or of a prepared statement, which asyncpg's types say may be none."""
    return tuple(await source.fetchrow(*arguments))


def rows(records: list[Any]) -> list[Any]:
    """Records as tuples."""
    return [tuple(record) for record in records]


@scenario
async def connect(dsn: str) -> Any:
    settings = {"application_name": "the shop", "work_mem": "21MB", "search_path": "nowhere,public", "jit": "off"}
    connection = await asyncpg.connect(dsn, server_settings=settings)
    seen = await shown(connection, *settings, "client_encoding", "TimeZone")
    reported = connection.get_settings()
    seen += [{name: getattr(reported, name) for name in REPORTED}, connection.get_server_version()]
    await connection.reset()
    seen.append(await shown(connection, *settings))
    await connection.close()
    return seen


@scenario
async def refused(dsn: str) -> Any:
    seen: list[Any] = []
    wrongs: list[dict[str, Any]] = [{"password": "wrong"}, {"user": "nobody_here"}, {"database": "no_such_database"}]
    for wrong in wrongs:
        try:
            await (await asyncpg.connect(dsn, **wrong)).close()
        except asyncpg.PostgresError as error:
            seen.append([type(error).__name__, error.sqlstate, str(error)])
    return seen


@scenario
async def types(dsn: str) -> Any:
    values: list[tuple[str, Any]] = [
        *(("bool", True), ("int8", -(2**62)), ("float8", 1.5), ("numeric", decimal.Decimal("1e-20")), ("text", "é✓")),
        *(("bytea", b"\x00\xff"), ("date", dt.date(2024, 2, 29)), ("timetz", dt.time(12, tzinfo=dt.UTC))),
        *(("timestamptz", dt.datetime(2024, 2, 29, tzinfo=dt.UTC)), ("interval", dt.timedelta(days=3, seconds=1))),
        *(("uuid", uuid.UUID(int=1)), ("jsonb", '{"a": [1, null]}'), ("int4[]", [1, None, 3]), ("text[]", ["a", 'b"'])),
        *(("inet", ipaddress.ip_interface("10.0.0.1/24")), ("int4range", asyncpg.Range(1, 10)), ("point", (1, 2))),
        ("bit", asyncpg.BitString.from_int(5, 4)),
    ]
    connection = await asyncpg.connect(dsn)
    seen = [repr(await connection.fetchval(f"select $1::{name}", each)) for name, each in values]
    await connection.execute("create type mood as enum ('sad', 'fine'); create type pair as (a int, b mood)")
    seen.append(repr(await connection.fetchval("select (1, 'fine')::pair")))
    seen.append(repr(await connection.fetchval("select $1::mood[]", ["sad", "fine"])))
    await connection.set_type_codec("json", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    seen.append(repr(await connection.fetchval("select $1::json", {"b": [1]})))
    await connection.close()
    return seen


@scenario
async def prepared(dsn: str) -> Any:
    one, two = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    seen: list[Any] = []
    for number in range(40):
        seen.append(await one.fetchval("select $1::int + 1", number))
        seen.append(await two.fetchval("select $1::int * 2", number))
    statement = await one.prepare("select $1::int as n, $2::text as t")
    seen += [str(statement.get_parameters()), str(statement.get_attributes()), statement.get_statusmsg()]
    for number in range(20):
        async with two.transaction():
            seen.append(await record(statement, number, "x"))
            seen.append(await two.fetchval("select $1::int - 1", number))
    await one.execute("deallocate all")
    with failures(seen, asyncpg.PostgresError):
        seen.append(await record(statement, 1, "x"))
    await one.close()
    await two.close()
    return seen


@scenario
async def changed_result_type(dsn: str) -> Any:
    """asyncpg binds without describing again: a plan with other columns would be decoded wrongly."""
    one, two = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    seen: list[Any] = []
    await two.execute("create table changing (a int); insert into changing values (1)")
    for _ in range(3):
        seen.append(rows(await one.fetch("select * from changing")))
    await two.execute("alter table changing add column b text default 'new'")
    async with one.transaction():
        with failures(seen, asyncpg.PostgresError):
            seen.append(rows(await one.fetch("select * from changing")))
    seen.append(rows(await one.fetch("select * from changing")))
    await two.execute("alter table changing alter a type text using a::text || '!'")
    seen.append(rows(await one.fetch("select * from changing")))
    await one.close()
    await two.close()
    return seen


@scenario
async def errors_in_transactions(dsn: str) -> Any:
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table unique_rows (id int primary key)")
    seen: list[Any] = []
    broken = ("select 1 / 0", "selec 1", "select * from missing", "insert into unique_rows values (1), (1)")
    for query in broken:
        for run in (connection.execute, connection.fetch):
            with failures(seen, asyncpg.PostgresError):
                async with connection.transaction():
                    await connection.execute("insert into unique_rows values (7)")
                    with failures(seen, asyncpg.PostgresError):
                        await run(query)
                    await run("select 1")
            seen.append(connection.is_in_transaction())
    seen.append(await connection.fetchval("select count(*) from unique_rows"))
    try:
        await connection.execute("insert into unique_rows values ($1), ($1)", 4)
    except asyncpg.UniqueViolationError as error:
        seen += [str(error), error.detail, error.constraint_name]
    await connection.close()
    return seen


@scenario
async def savepoints(dsn: str) -> Any:
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table kept (id int)")
    async with connection.transaction():
        for number in range(4):
            try:
                async with connection.transaction():
                    await connection.execute("insert into kept values ($1)", number)
                    await connection.fetchval("select 1 / $1::int", number % 2)
            except asyncpg.DivisionByZeroError:
                pass
    seen = rows(await connection.fetch("select id from kept"))
    await connection.close()
    return seen


@scenario
async def settings(dsn: str) -> Any:
    names = ("work_mem", "search_path", "TimeZone", "DateStyle", "app.me")
    connection = await asyncpg.connect(dsn)
    seen: list[Any] = [await shown(connection, *names)]
    for query in (
        "set work_mem = '17MB'; set search_path to pg_temp, public; set app.me = 'here'; set time zone 'Asia/Tokyo'",
        *("select set_config('work_mem', '19MB', false)", "reset work_mem", "reset all"),
    ):
        for fails in (True, False):
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(query)
            seen.append(await shown(connection, *names))
            await (transaction.rollback() if fails else transaction.commit())
            seen.append(await shown(connection, *names))
        seen.append(str(await connection.fetchval("select '2024-07-01 12:00+00'::timestamptz")))
        seen.append(connection.get_settings().TimeZone)
    await connection.close()
    return seen


@scenario
async def large_values(dsn: str) -> Any:
    connection = await asyncpg.connect(dsn)
    seen: list[Any] = []
    for size in (1, 8191, 65536, 5_000_000):
        data = bytes(size)
        seen.append(await connection.fetchval("select $1::bytea", data) == data)
    many = await connection.fetch("select n, repeat('x', n % 300) from generate_series(1, 20000) n")
    seen += [len(many), sum(len(record[1]) for record in many)]
    seen.append(await connection.fetchval("select cardinality($1::int[])", list(range(100_000))))
    await connection.close()
    return seen


@scenario
async def copy(dsn: str) -> Any:
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table copied (id int, body text)")
    records = [(number, f"row {number}") for number in range(5000)]
    seen: list[Any] = [await connection.copy_records_to_table("copied", records=records)]
    blocks: list[bytes] = []

    async def keep(block: bytes) -> None:
        blocks.append(bytes(block))

    seen.append(await connection.copy_from_query("select * from copied where id < $1", 1000, output=keep, format="csv"))
    seen.append(len(b"".join(blocks)))

    async def source() -> Any:
        for number in range(100):
            yield f"{number},source\n".encode()

    seen.append(await connection.copy_to_table("copied", source=source(), format="csv"))
    with failures(seen, asyncpg.PostgresError):
        await connection.copy_to_table("copied", source=source(), format="binary")
    seen.append(await connection.fetchval("select count(*) from copied"))
    await connection.close()
    return seen


@scenario
async def cancel(dsn: str) -> Any:
    connection = await asyncpg.connect(dsn)
    seen: list[Any] = []
    for _ in range(3):
        with failures(seen, TimeoutError):
            await connection.fetchval("select pg_sleep(15)", timeout=0.15)
        seen.append(await connection.fetchval("select 'usable'"))
    await connection.execute("set statement_timeout = '80ms'")
    with failures(seen, asyncpg.PostgresError):
        await connection.fetchval("select pg_sleep(15)")
    await connection.close()
    return seen


@scenario
async def notifications(dsn: str) -> Any:
    listener, sender = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    note = lambda _connection, _pid, channel, payload: heard.put_nowait((channel, payload))  # noqa: E731
    await listener.add_listener("news", note)
    async with sender.transaction():
        await sender.execute("notify news, 'first'")
        await sender.execute("select pg_notify('news', $1)", "second")
    seen: list[Any] = [await heard.get(), await heard.get()]
    await listener.fetchval("select pg_notify('news', 'own')")
    seen.append(await heard.get())
    await listener.remove_listener("news", note)
    await sender.execute("notify news, 'late'")
    await listener.fetchval("select 1")
    seen.append(heard.empty())
    await listener.close()
    await sender.close()
    return seen


@scenario
async def cursors(dsn: str) -> Any:
    connection = await asyncpg.connect(dsn)
    seen: list[Any] = []
    async with connection.transaction():
        total = 0
        async for record in connection.cursor("select n from generate_series(1, $1::int) n", 1000, prefetch=100):
            total += record[0]
        seen.append(total)
        cursor = await connection.cursor("select n from generate_series(1, 100) n")
        seen += [rows(await cursor.fetch(3)), await cursor.forward(10), tuple(await cursor.fetchrow() or ())]
        nested = await connection.fetchval("select 'between fetches'")
        seen += [nested, rows(await cursor.fetch(2))]
    await connection.close()
    return seen


@scenario
async def batches(dsn: str) -> Any:
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table batched (id int primary key, body text)")
    await connection.executemany("insert into batched values ($1, $2)", [(n, f"row {n}") for n in range(2000)])
    seen: list[Any] = []
    with failures(seen, asyncpg.PostgresError):
        await connection.executemany("insert into batched values ($1, $2)", [(n, "twice") for n in range(2500, 0, -1)])
    returned = await connection.fetchmany("insert into batched values ($1, 'x') returning id", [(3000,), (3001,)])
    seen += [rows(returned), await connection.fetchval("select count(*) from batched")]
    await connection.close()
    return seen


@scenario
async def pooled(dsn: str) -> Any:
    """asyncpg's pool resets each connection as it is given back, with its own query of four statements."""

    async def work(number: int) -> Any:
        seen: set[Any] = set()
        for turn in range(15):
            async with pool.acquire() as connection:
                left = await connection.fetchval("select current_setting('app.worker', true)")
                await connection.execute(f"set app.worker = '{number}'; set work_mem = '{number + 10}MB'")
                async with connection.transaction():
                    query = "select $1::int, current_setting('app.worker'), current_setting('work_mem')"
                    found = await record(connection, query, turn)
                seen.add((left or "", found[0] == turn, *found[1:]))
        return sorted(seen)

    async with asyncpg.create_pool(dsn, min_size=8, max_size=8) as pool:
        return await asyncio.gather(*(work(number) for number in range(16)))


@scenario
async def temporary_tables(dsn: str) -> Any:
    connection = await asyncpg.connect(dsn)
    await connection.execute("create temp table mine (a int)")
    await connection.executemany("insert into mine values ($1)", [(1,), (2,)])
    seen = [await connection.fetchval("select sum(a) from mine")]
    await connection.execute("drop table mine")
    async with connection.transaction(isolation="serializable", readonly=True, deferrable=True):
        seen.append(await shown(connection, "transaction_isolation", "transaction_read_only", "transaction_deferrable"))
    await connection.close()
    return seen


@scenario
async def advisory_locks(dsn: str) -> Any:
    one, two = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    seen: list[Any] = []
    async with one.transaction():
        await one.fetchval("select pg_advisory_xact_lock($1)", 80)
        seen.append(await two.fetchval("select pg_try_advisory_lock($1)", 80))
    await one.fetchval("select pg_advisory_lock($1)", 81)
    seen.append(await two.fetchval("select pg_try_advisory_lock($1)", 81))
    await one.reset()
    seen.append(await two.fetchval("select pg_try_advisory_lock($1)", 81))
    seen.append(await two.fetchval("select pg_advisory_unlock($1)", 81))
    await one.close()
    await two.close()
    return seen


@scenario
async def logs(dsn: str) -> Any:
    connection = await asyncpg.connect(dsn)
    seen: list[Any] = []
    connection.add_log_listener(lambda _connection, message: seen.append([message.severity_en, message.message]))
    await connection.execute("do $$ begin raise notice 'hear'; raise warning 'and this'; end $$")
    await connection.fetchval("select 1")
    await connection.close()
    return seen


@scenario
async def concurrent(dsn: str) -> Any:
    async def work(number: int) -> Any:
        connection = await asyncpg.connect(dsn)
        await connection.execute(f"set app.worker = '{number}'")
        seen = set()
        for turn in range(50):
            async with connection.transaction():
                query = "select $1::int * 1000 + $2::int, current_setting('app.worker')"
                found = await record(connection, query, number, turn)
                seen.add((found[0] - turn, found[1]))
        await connection.close()
        return sorted(seen)

    return await asyncio.gather(*(work(number) for number in range(8)))


if __name__ == "__main__":
    scenario.main()
