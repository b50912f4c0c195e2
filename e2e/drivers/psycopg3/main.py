"""What psycopg 3 sees: `python -m drivers.psycopg3.main DSN`. Synchronous, asynchronous, pipelined and prepared."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg.types.range import Range

from drivers.psycopg3.asynchronous import abandoned, asynchronous
from drivers.scenarios import Scenarios, failures

scenario = Scenarios()

Connection = psycopg.Connection[Any]

REPORTED = (
    *("application_name", "client_encoding", "DateStyle", "default_transaction_read_only", "in_hot_standby"),
    *("integer_datetimes", "IntervalStyle", "is_superuser", "scram_iterations", "search_path", "server_encoding"),
    *("server_version", "session_authorization", "standard_conforming_strings", "TimeZone"),
)


def value(connection: Connection, query: LiteralString, *parameters: object) -> Any:
    """First column of the first row."""
    row = connection.execute(query, parameters or None).fetchone()
    return row and row[0]


def shown(connection: Connection, *names: str) -> dict[str, str]:
    """Settings as the server shows them."""
    return {name: value(connection, "select current_setting(%s, true)", name) for name in names}


def fresh_table(connection: Connection, name: str, columns: LiteralString) -> None:
    """An empty table, committed."""
    table = sql.Identifier(name)
    connection.execute(sql.SQL("drop table if exists {}").format(table))
    connection.execute(sql.SQL("create table {} ({})").format(table, sql.SQL(columns)))
    connection.commit()


@scenario
def connect(dsn: str) -> Any:
    options = "-c work_mem=21MB -c statement_timeout=31s -c search_path=nowhere,public"
    with psycopg.connect(dsn, application_name="the shop", options=options, client_encoding="latin1") as connection:
        return {
            "settings": shown(
                connection, "application_name", "work_mem", "statement_timeout", "search_path", "client_encoding"
            ),
            "reported": {name: connection.info.parameter_status(name) for name in REPORTED},
            "encoding": connection.info.encoding,
            "text": value(connection, "select %s::text || 'ü'", "é"),
            "version": connection.info.server_version,
            "user": value(connection, "select current_user || session_user"),
        }


@scenario
def refused(dsn: str) -> Any:
    seen = []
    for wrong in ({"password": "wrong"}, {"user": "nobody_here"}, {"dbname": "no_such_database"}):
        try:
            psycopg.connect(dsn, **wrong).close()  # type: ignore[arg-type]  # keywords of libpq
        except psycopg.OperationalError as error:
            seen.append(re.sub(r"port \d+", "", str(error)).splitlines())
    return seen


VALUES: list[Any] = [
    *(True, 42, -(2**62), 1.5, float("inf"), decimal.Decimal("12345678901234567890.123456789"), "", "naïve ✓"),
    *(b"\x00\xff bytes", dt.date(2024, 2, 29), dt.time(23, 59, 59, 999999), dt.timedelta(days=3, microseconds=1)),
    dt.datetime(2024, 2, 29, 12, 30, 15, 123456),  # noqa: DTZ001  # a timestamp without a zone is one of the types
    dt.datetime(2024, 2, 29, 12, 30, 15, tzinfo=dt.UTC),
    *(uuid.UUID(int=1), Jsonb({"a": [1, None, "é"]}), [1, None, 3], ["a", 'b"c'], Range(1, 10), None),
]


@scenario
def types(dsn: str) -> Any:
    with psycopg.connect(dsn) as connection:
        seen = {}
        for binary in (False, True):
            cursor = connection.cursor(binary=binary)
            rows = [cursor.execute("select %s", [each]).fetchone() for each in VALUES]
            oids = [cursor.execute("select %s", [each]).description for each in VALUES]
            seen[f"binary={binary}"] = [
                [repr(row), repr([column.type_code for column in description or []])]
                for row, description in zip(rows, oids, strict=True)
            ]
        record = connection.execute("select row(1, 'a'), '{{1,2},{3,4}}'::int[], null::int, point(1,2)").fetchone()
        return [seen, repr(record)]


@scenario
def prepared(dsn: str) -> Any:
    with psycopg.connect(dsn, prepare_threshold=0) as one, psycopg.connect(dsn, prepare_threshold=0) as two:
        seen: list[Any] = []
        for number in range(30):
            seen.append(value(one, "select %s::int + 1", number))
            one.commit()
            seen.append(value(two, "select %s::int * 2", number))
            two.commit()
        count = "select count(*) from pg_prepared_statements where statement like '%% + 1'"
        seen.append(value(one, count) >= 1)
        one.rollback()
        one.execute("deallocate all")
        one.commit()
        seen.append(value(one, "select %s::int + 1", 1))
        return seen


@scenario
def changed_result_type(dsn: str) -> Any:
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as two:
        seen: list[Any] = []
        fresh_table(one, "changing", "a int")
        for _ in range(3):
            one.execute("select * from changing", prepare=True)
            one.commit()
        two.execute("alter table changing add column b text default 'new'")
        two.commit()
        with failures(seen, psycopg.Error):
            seen.append(one.execute("select * from changing", prepare=True).fetchall())
        one.rollback()
        return seen


@scenario
def sql_prepare(dsn: str) -> Any:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("prepare mine (int) as select $1 * 10")
        seen = [value(connection, f"execute mine ({number})") for number in range(5)]
        connection.execute("deallocate mine")
        with failures(seen, psycopg.Error):
            connection.execute("execute mine (1)")
        return seen


@scenario
def errors_in_transactions(dsn: str) -> Any:
    seen: list[Any] = []
    with psycopg.connect(dsn) as connection:
        fresh_table(connection, "unique_rows", "id int primary key, positive int check (positive > 0) not null")
        broken: list[LiteralString] = [
            *("select 1 / 0", "select * from missing", "selec 1", "insert into unique_rows values (1, 1), (1, 1)"),
            *("insert into unique_rows values (2, -1)", "insert into unique_rows values (3, null)"),
            *("select 'x'::int", "do $$ begin raise exception 'mine' using errcode = 'ZZ001'; end $$"),
        ]
        for query in broken:
            for prepare in (False, True):
                with failures(seen, psycopg.Error):
                    connection.execute("select 1")
                    connection.execute(query, prepare=prepare)
                with failures(seen, psycopg.Error):
                    connection.execute("select 'still failed'")
                seen.append(connection.info.transaction_status.name)
                connection.rollback()
        try:
            connection.execute("insert into unique_rows values (4, 1), (4, 1)")
        except errors.UniqueViolation as error:
            diag = error.diag
            seen += [diag.severity, diag.message_primary, diag.message_detail, diag.constraint_name, diag.table_name]
        cursor = connection.execute("commit")
        seen += [cursor.statusmessage, connection.info.transaction_status.name]
        return seen


@scenario
def savepoints(dsn: str) -> Any:
    with psycopg.connect(dsn) as connection:
        fresh_table(connection, "kept", "id int")
        with connection.transaction():
            connection.execute("insert into kept values (1)")
            for number in (2, 3):
                try:
                    with connection.transaction():
                        connection.execute("insert into kept values (%s)", [number])
                        connection.execute("select %s / %s", [1, number - 2])
                except errors.DivisionByZero:
                    pass
            with connection.transaction(), connection.transaction(force_rollback=True):
                connection.execute("insert into kept values (4)")
        return [connection.execute("select id from kept order by id").fetchall(), connection.info.transaction_status]


@scenario
def settings(dsn: str) -> Any:
    names = ("work_mem", "search_path", "TimeZone", "DateStyle", "app.me", "role", "application_name")
    with psycopg.connect(dsn) as connection:
        seen = [shown(connection, *names)]
        connection.execute("set work_mem = '17MB'; set search_path to pg_temp, public; set app.me = 'me'")
        connection.commit()
        seen.append(shown(connection, *names))
        connection.rollback()
        connection.execute("set time zone 'Asia/Tokyo'; set datestyle to 'German'")
        connection.execute("set local work_mem = '18MB'")
        seen.append(shown(connection, *names))
        connection.commit()
        seen.append(shown(connection, *names))
        connection.execute("select set_config('work_mem', '19MB', false), set_config('app.me', 'you', true)")
        seen.append(shown(connection, *names))
        connection.rollback()
        seen.append(shown(connection, *names))
        connection.execute("select set_config('work_mem', '20MB', false), set_config('app.me', 'they', false)")
        connection.commit()
        seen.append(shown(connection, *names))
        connection.execute("reset work_mem; reset search_path; set application_name = 'renamed'")
        connection.commit()
        seen.append(shown(connection, *names))
        connection.execute("discard all" if connection.autocommit else "reset all")
        connection.commit()
        seen.append(shown(connection, *names))
        return seen


@scenario
def timezone(dsn: str) -> Any:
    with psycopg.connect(dsn) as connection:
        moment = "select '2024-07-01 12:00+00'::timestamptz"
        seen = []
        for zone in ("Europe/Zurich", "America/New_York", "UTC"):
            connection.execute("select set_config('TimeZone', %s, false)", [zone])
            connection.commit()
            found = value(connection, moment)
            seen.append([found.isoformat(), str(connection.info.timezone), value(connection, moment + "::text")])
            connection.commit()
        return seen


@scenario
def large_values(dsn: str) -> Any:
    with psycopg.connect(dsn) as connection:
        seen: list[Any] = []
        for size in (1, 8191, 8192, 65536, 3_000_000):
            data = bytes(number % 251 for number in range(size))
            for binary in (False, True):
                cursor = connection.cursor(binary=binary)
                row = cursor.execute("select %b, length(%b)", [data, data]).fetchone()
                seen.append(row == (data, size))
            connection.commit()
        seen.append(value(connection, "select repeat('é', 2000000)") == "é" * 2_000_000)
        rows = connection.execute("select n, repeat('x', n % 500) from generate_series(1, 20000) n").fetchall()
        seen += [len(rows), sum(len(text) for _, text in rows)]
        seen.append(len(connection.execute("select " + ",".join(["1"] * 1600)).fetchone() or ()))
        return seen


@scenario
def copy(dsn: str) -> Any:
    seen: list[Any] = []
    with psycopg.connect(dsn) as connection:
        fresh_table(connection, "copied", "id int, body text")
        with connection.cursor() as cursor:
            with cursor.copy("copy copied from stdin") as rows:
                for number in range(5000):
                    rows.write_row((number, None if number % 7 == 0 else f"row\t{number}\n"))
            seen.append(cursor.statusmessage)
            connection.commit()
            with cursor.copy("copy copied from stdin (format binary)") as rows:
                rows.set_types(["int4", "text"])
                for number in range(100):
                    rows.write_row((number, "b" * number))
            seen.append(cursor.statusmessage)
            with cursor.copy("copy (select * from copied order by id, body) to stdout") as rows:
                data = b"".join(bytes(block) for block in rows)
            seen += [len(data), cursor.statusmessage]
            with cursor.copy("copy (select n, 'x' from generate_series(1, 50) n) to stdout (format binary)") as rows:
                rows.set_types(["int4", "text"])
                seen.append(list(rows.rows()))
            with failures(seen, psycopg.Error), cursor.copy("copy copied from stdin") as rows:
                rows.write("not a number\ttext\n")
            connection.rollback()
            with failures(seen, ZeroDivisionError), cursor.copy("copy copied from stdin") as rows:
                rows.write_row((1, "left half way"))
                _ = 1 // 0
            connection.rollback()
            endless = "copy (select generate_series(1, 100000000)) to stdout"
            with failures(seen, ZeroDivisionError), cursor.copy(endless) as rows:
                rows.read()
                _ = 1 // 0  # the driver cancels what is left
            connection.rollback()
        seen.append(value(connection, "select count(*) from copied"))
        return seen


@scenario
def cancel(dsn: str) -> Any:
    seen: list[Any] = []
    with psycopg.connect(dsn) as connection:
        for _ in range(3):
            timer = threading.Timer(0.15, connection.cancel_safe)
            timer.start()
            with failures(seen, psycopg.Error):
                connection.execute("select pg_sleep(15)")
            timer.join()
            connection.rollback()
        connection.execute("set statement_timeout = '80ms'")
        connection.commit()
        with failures(seen, psycopg.Error):
            connection.execute("select pg_sleep(15)")
        connection.rollback()
        connection.execute("set statement_timeout = 0; set local lock_timeout = '80ms'")
        connection.commit()
        connection.cancel_safe()
        seen.append(value(connection, "select 'undisturbed'"))
        return seen


@scenario
def newest_protocol(dsn: str) -> Any:
    """Protocol 3.2, whose cancel keys are longer."""
    seen: list[Any] = []
    with psycopg.connect(dsn, max_protocol_version="latest") as connection:
        seen.append(connection.pgconn.full_protocol_version)
        timer = threading.Timer(0.15, connection.cancel_safe)
        timer.start()
        with failures(seen, psycopg.Error):
            connection.execute("select pg_sleep(15)")
        timer.join()
        connection.rollback()
        endless: Any = connection.cursor().stream("select generate_series(1, 100000000)")
        seen.append(next(endless))
        endless.close()
        connection.rollback()
        return [*seen, value(connection, "select 'usable'")]


@scenario
def notifications(dsn: str) -> Any:
    with psycopg.connect(dsn, autocommit=True) as listener, psycopg.connect(dsn, autocommit=True) as sender:
        listener.execute("listen news")
        with sender.transaction():
            sender.execute("notify news, 'first'")
            sender.execute("select pg_notify('news', %s)", ["second ✓"])
            sender.execute("select pg_notify('other', 'never')")
        seen: list[Any] = [(each.channel, each.payload) for each in listener.notifies(timeout=5, stop_after=2)]
        listener.execute("notify news, 'own'")
        own = list(listener.notifies(timeout=5, stop_after=1))
        seen += [(each.channel, each.payload) for each in own]
        listener.execute("unlisten news")
        sender.execute("notify news, 'late'")
        listener.execute("select 1")
        seen.append([each.payload for each in listener.notifies(timeout=0.2)])
        return seen


@scenario
def sender_of_a_notification(dsn: str) -> Any:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("listen own; notify own")
        return [each.pid == connection.info.backend_pid for each in connection.notifies(timeout=5, stop_after=1)]


@scenario
def notices(dsn: str) -> Any:
    seen: list[Any] = []
    with psycopg.connect(dsn) as connection:
        connection.add_notice_handler(lambda diag: seen.append([diag.severity, diag.sqlstate, diag.message_primary]))
        connection.execute("do $$ begin raise notice 'hear %', 1; raise warning 'and this'; end $$")
        connection.execute("set client_min_messages = 'error'")
        connection.commit()
        connection.execute("do $$ begin raise warning 'not heard'; end $$")
        connection.execute("create table if not exists twice (a int); create table if not exists twice (a int)")
        connection.commit()
        return seen


@scenario
def cursors(dsn: str) -> Any:
    seen: list[Any] = []
    with psycopg.connect(dsn) as connection:
        with connection.cursor("mine", scrollable=True) as cursor:
            cursor.execute("select n from generate_series(1, 1000) n")
            cursor.itersize = 100
            seen += [cursor.fetchone(), cursor.fetchmany(3)]
            cursor.scroll(-2)
            seen += [cursor.fetchone(), sum(row[0] for row in cursor)]
        connection.commit()
        with connection.cursor("holding", withhold=True, binary=True) as cursor:
            cursor.execute("select n, 'x' from generate_series(1, 10) n")
            seen.append(cursor.fetchmany(4))
            connection.commit()
            seen.append(cursor.fetchall())
        connection.commit()
        with failures(seen, psycopg.Error):
            connection.execute("fetch 1 from holding")
        connection.rollback()
        portal = [row[0] for row in connection.cursor().stream("select n from generate_series(1, 500) n", size=50)]
        seen.append(sum(portal))
        with connection.cursor(row_factory=dict_row) as rows:
            seen.append(rows.execute("select 1 as one, 2 as two").fetchone())
        return seen


@scenario
def temporary_tables(dsn: str) -> Any:
    with psycopg.connect(dsn) as connection:
        connection.execute("create temp table mine (a int) on commit preserve rows")
        connection.execute("insert into mine values (1), (2)")
        connection.commit()
        seen: list[Any] = [value(connection, "select sum(a) from mine")]
        connection.execute("drop table mine")
        connection.commit()
        connection.execute("create temp table brief (a int) on commit drop")
        connection.commit()
        with failures(seen, psycopg.Error):
            connection.execute("select * from brief")
        return seen


@scenario
def advisory_locks(dsn: str) -> Any:
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as two:
        one.execute("select pg_advisory_xact_lock(77)")
        seen: list[Any] = [value(two, "select pg_try_advisory_xact_lock(77)")]
        one.commit()
        two.commit()
        seen.append(value(two, "select pg_try_advisory_xact_lock(77)"))
        two.commit()
        one.execute("select pg_advisory_lock(78)")
        one.commit()
        seen.append(value(two, "select pg_try_advisory_lock(78)"))
        two.commit()
        seen.append(value(one, "select pg_advisory_unlock(78)"))
        one.commit()
        return seen


@scenario
def transactions(dsn: str) -> Any:
    seen: list[Any] = []
    names = ("transaction_isolation", "transaction_read_only", "transaction_deferrable")
    with psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        connection.read_only = True
        seen.append(shown(connection, *names))
        with failures(seen, psycopg.Error):
            connection.execute("create table forbidden (a int)")
        connection.rollback()
        connection.isolation_level = connection.read_only = None
        connection.execute("set session characteristics as transaction isolation level repeatable read")
        connection.commit()
        seen.append(shown(connection, *names))
        connection.rollback()
        seen.append(shown(connection, *names))
        connection.commit()
        transaction = connection.xid(1, f"global {time.time_ns()}", "branch")
        connection.tpc_begin(transaction)
        connection.execute("select 1")
        connection.tpc_prepare()
        connection.tpc_rollback()
        seen.append(connection.info.transaction_status.name)
        return seen


@scenario
def pipeline(dsn: str) -> Any:
    seen: list[Any] = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        fresh = "drop table if exists piped"
        connection.execute(fresh)
        with connection.pipeline() as pipe:
            connection.execute("create table piped (id int primary key)")
            cursors = [connection.execute("insert into piped values (%s) returning id", [n]) for n in range(200)]
            pipe.sync()
            seen.append(sum(row[0] for cursor in cursors for row in cursor.fetchall()))
        # Where in a pipeline the driver raises depends on when answers come; that it does, and what was done, do not.
        with failures(seen, psycopg.Error), connection.pipeline() as pipe:
            for query in ("insert into piped values (500)", "insert into piped values (1)", "select 3"):
                connection.execute(query)
            pipe.sync()
        seen.append(value(connection, "select count(*) from piped"))
        with failures(seen, psycopg.Error), connection.pipeline(), connection.transaction():
            connection.execute("insert into piped values (1000)")
            connection.execute("select 1 / 0")
            connection.execute("insert into piped values (1001)")
        with connection.pipeline():
            many = [connection.execute("select %s::int", [n], prepare=True) for n in range(300)]
            seen.append(sum((cursor.fetchone() or (0,))[0] for cursor in many))
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into piped values (%s) returning id", [(n,) for n in range(2000, 2100)], returning=True
            )
            results = []
            while True:
                results += cursor.fetchall()
                if not cursor.nextset():
                    break
            seen.append(sum(row[0] for row in results))
        seen.append(connection.execute("select count(*), max(id) from piped").fetchone())
        return seen


@scenario
def several_statements(dsn: str) -> Any:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute("select 1; select 'two', 2; create temp table t (a int); drop table t; select 3")
        seen: list[Any] = [[cursor.statusmessage, cursor.fetchall()]]
        while cursor.nextset():
            seen.append([cursor.statusmessage, cursor.fetchall() if cursor.description else None])
        with failures(seen, psycopg.Error):
            connection.execute("set app.half = 'set'; select 1 / 0; select 2")
        seen.append(value(connection, "select current_setting('app.half', true)"))
        seen.append(connection.execute("").statusmessage)
        return seen


@scenario
def settings_by_function(dsn: str) -> Any:
    """A setting with a dot in its name that only set_config() has named."""
    with psycopg.connect(dsn) as connection:
        connection.execute("select set_config('shop.tenant', 'seven', false)")
        connection.commit()
        return value(connection, "select current_setting('shop.tenant', true)")


@scenario
def functions_and_roles(dsn: str) -> Any:
    seen: list[Any] = []
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "create or replace function remember(t text) returns text language plpgsql as "
            "$$ begin perform set_config('app.remembered', t, false); return t; end $$"
        )
        connection.commit()
        seen.append(value(connection, "select remember('this')"))
        connection.commit()
        seen.append(value(connection, "select current_setting('app.remembered', true)"))
        connection.execute("set role app_trust")
        connection.commit()
        seen.append(value(connection, "select current_user || ' ' || session_user"))
        connection.commit()
        connection.execute("reset role")
        connection.commit()
        seen.append(value(connection, "select current_user || ' ' || session_user"))
        return seen


@scenario
def concurrent(dsn: str) -> Any:
    def work(number: int) -> Any:
        seen = set()
        with psycopg.connect(dsn, prepare_threshold=2) as connection:
            connection.execute("select set_config('work_mem', %s, false)", [f"{number + 10}MB"])
            connection.execute(sql.SQL("set app.worker = {}").format(str(number)))
            connection.commit()
            for turn in range(40):
                found = value(connection, "select %s::int * 1000 + %s::int", number, turn)
                mine = value(connection, "select current_setting('work_mem') || current_setting('app.worker')")
                seen.add((found - turn, mine))
                connection.commit() if turn % 5 else connection.rollback()
        return sorted(seen)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(work, range(8)))


scenario(asynchronous)
scenario(abandoned)


if __name__ == "__main__":
    scenario.main()
