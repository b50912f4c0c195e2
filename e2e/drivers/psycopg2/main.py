"""What psycopg2 sees: `python -m drivers.psycopg2.main DSN`. libpq's simple protocol, as Django used it for years."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import io
import re
import select
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import psycopg2.extensions
import psycopg2.extras
from psycopg2.extras import Json, RealDictCursor, execute_batch, execute_values

from drivers.scenarios import Scenarios, failures

scenario = Scenarios()

Connection = psycopg2.extensions.connection
psycopg2.extras.register_uuid()  # type: ignore[no-untyped-call]  # the stubs leave it out


@contextlib.contextmanager
def connected(dsn: str, **options: Any) -> Iterator[Connection]:
    """A connection that is closed at the end; psycopg2's own context manager ends transactions only."""
    with contextlib.closing(psycopg2.connect(dsn, **options)) as connection:
        yield connection


def rows(connection: Connection, query: str, *parameters: Any) -> list[Any]:
    """All rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        return cursor.fetchall() if cursor.description else []


def shown(connection: Connection, *names: str) -> list[Any]:
    """Settings as the server shows them."""
    return [rows(connection, "select current_setting(%s, true)", name)[0][0] for name in names]


@scenario
def connect(dsn: str) -> Any:
    options = "-c work_mem=21MB -c search_path=nowhere,public"
    with connected(dsn, application_name="the shop", options=options) as connection:
        first = shown(connection, "application_name", "work_mem", "search_path", "client_encoding")
        connection.set_client_encoding("LATIN1")
        return [
            *first,
            rows(connection, "select %s, chr(252)", "é"),
            connection.encoding,
            connection.server_version,
            connection.get_parameter_status("TimeZone"),
            connection.get_parameter_status("client_encoding"),
        ]


@scenario
def refused(dsn: str) -> Any:
    seen = []
    wrongs: list[dict[str, Any]] = [{"password": "wrong"}, {"user": "nobody_here"}, {"dbname": "no_such_database"}]
    for wrong in wrongs:
        try:
            psycopg2.connect(dsn, **wrong).close()
        except psycopg2.OperationalError as error:
            seen.append(re.sub(r"port \d+", "", str(error)).splitlines())
    return seen


@scenario
def types(dsn: str) -> Any:
    values: list[Any] = [
        *(True, 42, 1.5, decimal.Decimal("1234567890.123456789"), "naïve ✓ 'quoted' \\ back", dt.date(2024, 2, 29)),
        *(dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC), dt.timedelta(days=3), uuid.UUID(int=1), [1, None, 3], None),
        *(Json({"a": [1, None]}), psycopg2.Binary(b"\x00\xff"), ["a", 'b"c'], (1, "x")),
    ]
    with connected(dsn) as connection:
        seen = [repr(rows(connection, "select %s", each)) for each in values[:-3]]
        seen.append(repr(rows(connection, "select %s::jsonb, %s::text[], (1, 'x') = %s", values[-4], *values[-2:])))
        seen.append(bytes(rows(connection, "select %s::bytea", values[-3])[0][0]).hex())
        return seen


@scenario
def prepared_by_sql(dsn: str) -> Any:
    with connected(dsn) as connection:
        rows(connection, "prepare mine (int) as select $1 * 10")
        seen: list[Any] = []
        for number in range(10):
            seen.append(rows(connection, f"execute mine ({number})"))
            connection.commit()
        rows(connection, "deallocate mine")
        connection.commit()
        with failures(seen, psycopg2.Error):
            rows(connection, "execute mine (1)")
        return seen


@scenario
def errors_in_transactions(dsn: str) -> Any:
    seen: list[Any] = []
    with connected(dsn) as connection:
        rows(connection, "create table unique_rows (id int primary key)")
        connection.commit()
        for query in ("select 1 / 0", "selec 1", "select * from missing", "insert into unique_rows values (1), (1)"):
            with failures(seen, psycopg2.Error):
                rows(connection, "insert into unique_rows values (7)")
                rows(connection, query)
            with failures(seen, psycopg2.Error):
                rows(connection, "select 1")
            seen.append(connection.info.transaction_status)
            connection.commit()
        seen.append(rows(connection, "select count(*) from unique_rows"))
        with failures(seen, psycopg2.Error):
            rows(connection, "set local lock_timeout = '50ms'; select 1; select 1 / 0; select 2")
        return seen


@scenario
def savepoints(dsn: str) -> Any:
    with connected(dsn) as connection:
        rows(connection, "create table kept (id int)")
        for number in range(4):
            rows(connection, "savepoint here")
            rows(connection, "insert into kept values (%s)", number)
            rows(connection, "rollback to here" if number % 2 else "release here")
        connection.commit()
        return rows(connection, "select id from kept")


@scenario
def settings(dsn: str) -> Any:
    names = ("work_mem", "search_path", "TimeZone", "DateStyle", "app.me", "default_transaction_isolation")
    with connected(dsn) as connection:
        seen = [shown(connection, *names)]
        for query in (
            *("set work_mem = '17MB'; set search_path to pg_temp, public; set app.me = 'here'", "set time zone 'UTC'"),
            *("set local work_mem = '18MB'", "set datestyle to german", "reset work_mem", "reset all"),
        ):
            for end in (connection.rollback, connection.commit):
                rows(connection, query)
                seen.append(shown(connection, *names))
                end()
                seen.append(shown(connection, *names))
                connection.commit()
        connection.set_session(isolation_level="SERIALIZABLE", readonly=True, deferrable=True)
        seen.append(shown(connection, "transaction_isolation", "transaction_read_only", "transaction_deferrable"))
        connection.rollback()
        connection.set_session(readonly=False, autocommit=True)
        seen.append(shown(connection, *names))
        connection.reset()
        seen.append(shown(connection, *names))
        return seen


@scenario
def large_values(dsn: str) -> Any:
    with connected(dsn) as connection:
        data = bytes(range(256)) * 8000
        found = rows(connection, "select %s, repeat('é', 1000000)", psycopg2.Binary(data))[0]
        many = rows(connection, "select n, repeat('x', n %% 300) from generate_series(1, %s) n", 20000)
        return [bytes(found[0]) == data, len(found[1]), len(many), sum(len(text) for _, text in many)]


@scenario
def copy(dsn: str) -> Any:
    seen: list[Any] = []
    with connected(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("create table copied (id int, body text)")
        cursor.copy_from(io.StringIO("".join(f"{n}\trow {n}\n" for n in range(5000))), "copied")
        seen += [cursor.rowcount, cursor.statusmessage]
        cursor.copy_expert("copy copied from stdin (format csv)", io.StringIO('5000,"with ""quotes"""\n'))
        connection.commit()
        out = io.StringIO()
        cursor.copy_to(out, "copied")
        seen.append(len(out.getvalue()))
        with failures(seen, psycopg2.Error):
            cursor.copy_from(io.StringIO("not a number\ttext\n"), "copied")
        connection.rollback()
        seen.append(rows(connection, "select count(*) from copied"))
        return seen


@scenario
def cancel(dsn: str) -> Any:
    seen: list[Any] = []
    with connected(dsn) as connection:
        for _ in range(3):
            timer = threading.Timer(0.15, connection.cancel)
            timer.start()
            with failures(seen, psycopg2.Error):
                rows(connection, "select pg_sleep(15)")
            timer.join()
            connection.rollback()
        rows(connection, "set statement_timeout = '80ms'")
        connection.commit()
        with failures(seen, psycopg2.Error):
            rows(connection, "select pg_sleep(15)")
        connection.rollback()
        return seen


@scenario
def notifications(dsn: str) -> Any:
    with connected(dsn) as listener, connected(dsn) as sender:
        listener.autocommit = True
        rows(listener, "listen news")
        rows(sender, "notify news, 'first'")
        rows(sender, "select pg_notify('news', 'second')")
        sender.commit()
        while len(listener.notifies) < 2 and select.select([listener], [], [], 5)[0]:
            listener.poll()
        return [(each.channel, each.payload) for each in listener.notifies]


@scenario
def cursors(dsn: str) -> Any:
    with connected(dsn) as connection:
        with connection.cursor("mine", scrollable=True) as cursor:
            cursor.itersize = 100
            cursor.execute("select n from generate_series(1, 1000) n")
            seen = [cursor.fetchone(), sum(row[0] for row in cursor)]
            cursor.scroll(0, mode="absolute")
            seen.append(cursor.fetchmany(2))
        connection.commit()
        with connection.cursor("holding", withhold=True) as cursor:
            cursor.execute("select n from generate_series(1, 10) n")
            connection.commit()
            seen.append(cursor.fetchall())
        connection.commit()
        with connection.cursor(cursor_factory=RealDictCursor) as named:
            named.execute("select 1 as one")
            seen.append(named.fetchone())
        return seen


@scenario
def batches(dsn: str) -> Any:
    with connected(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("create table batched (id int, body text)")
        execute_values(cursor, "insert into batched values %s", [(n, f"row {n}") for n in range(2000)])
        execute_batch(cursor, "update batched set body = %s where id = %s", [(f"new {n}", n) for n in range(500)])
        connection.commit()
        return rows(connection, "select count(*), count(*) filter (where body like 'new%%') from batched")


@scenario
def two_phase(dsn: str) -> Any:
    with connected(dsn) as connection:
        rows(connection, "create table agreed (id int)")
        connection.commit()
        for number, end in enumerate((connection.tpc_commit, connection.tpc_rollback)):
            transaction = connection.xid(7, f"psycopg2 {number}", "branch")
            connection.tpc_begin(transaction)
            rows(connection, "insert into agreed values (%s)", number)
            connection.tpc_prepare()
            end()
        return rows(connection, "select id from agreed")


@scenario
def notices(dsn: str) -> Any:
    with connected(dsn) as connection:
        rows(connection, "do $$ begin raise notice 'hear %%', 1; raise warning 'and this'; end $$", ())
        return connection.notices


@scenario
def large_objects(dsn: str) -> Any:
    """By libpq's fast-path function calls."""
    with connected(dsn) as connection:
        opened: Any = connection.lobject(0, "wb")
        written = opened.write(b"x" * 100_000)
        number = opened.oid
        opened.close()
        connection.commit()
        read: Any = connection.lobject(number, "rb")
        seen = [written, len(read.read()), read.seek(10), read.tell()]
        read.close()
        named: Any = connection.lobject(number, "n")
        named.unlink()
        connection.commit()
        return seen


@scenario
def concurrent(dsn: str) -> Any:
    def work(number: int) -> Any:
        seen = set()
        with connected(dsn) as connection:
            rows(connection, f"set app.worker = '{number}'; set work_mem = '{number + 10}MB'")
            connection.commit()
            for turn in range(50):
                query = "select %s * 1000 + %s, current_setting('work_mem') || current_setting('app.worker')"
                [(found, mine)] = rows(connection, query, number, turn)
                seen.add((found - turn, mine))
                connection.commit() if turn % 5 else connection.rollback()
        return sorted(seen)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(work, range(8)))


if __name__ == "__main__":
    scenario.main()
