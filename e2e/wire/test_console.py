"""The console as exporters and scripts read it: PgBouncer's columns, true rows, both protocols, rights by user.

The columns are compared with `console_columns.json`, recorded from PgBouncer 1.24.1 (1.25 has the same), and that file
with the program itself where `make bench` has built it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from harness.backend import Event
from harness.client import Client, LoginRefusedError, Target, rows, sqlstates
from harness.frontend import bind, close_statement, describe_portal, describe_statement, execute, parse, query, sync
from harness.pgbouncer import find_pgbouncer, real_pgbouncer
from harness.postgres import APP, APP_PLAIN, APP_TRUST, DATABASE, PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.wait import until

RECORDED = Path(__file__).with_name("console_columns.json")
ADMIN_COMMANDS = (
    "disable app",
    "enable app",
    "kill app",
    "kill_client 1",
    "pause",
    "reconnect",
    "reload",
    "resume",
    "shutdown",
    "suspend",
    "wait_close",
    "set default_pool_size = 3",
)
NUMERIC, INT4 = 1700, 23


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """A proxy with an administrator and a user who may look."""
    folder = tmp_path_factory.mktemp("console")
    users = {"admin_users": [APP], "stats_users": [APP_PLAIN]}
    with HeliosProcess(folder, base_settings(postgres, folder, console=users)) as process:
        yield process


@pytest.fixture
def admin(proxy: HeliosProcess) -> Iterator[Client]:
    """The administrator on the console."""
    with Client(proxy.target("pgbouncer")) as client:
        yield client


def columns(event: Event) -> list[list[object]]:
    """Name, type and size of each column of a RowDescription."""
    (count,) = struct.unpack("!H", event.raw[:2])
    at, found = 2, []
    for _ in range(count):
        end = event.raw.index(b"\0", at)
        oid, size = struct.unpack("!IH", event.raw[end + 7 : end + 13])
        found.append([event.raw[at:end].decode(), oid, size])
        at = end + 19
    return found


def described(events: list[Event]) -> list[list[object]]:
    return columns(next(event for event in events if event.kind == "RowDescription"))


def table(client: Client, command: str) -> list[dict[str, str | None]]:
    events = client.query(command)
    names = [str(name) for name, *_ in described(events)]
    return [dict(zip(names, row, strict=True)) for row in rows(events)]


def test_columns_are_pgbouncers_by_both_protocols(admin: Client) -> None:
    recorded = json.loads(RECORDED.read_text())

    assert len(recorded) == 21
    for command, wanted in recorded.items():
        simple, extended = admin.query(command), admin.extended(command)
        assert described(simple) == wanted, command
        assert described(extended) == wanted, command
        assert [event.text for event in simple[-2:]] == [event.text for event in extended[-2:]], command


def test_the_record_is_what_pgbouncer_answers(postgres: PostgresCluster) -> None:
    program = find_pgbouncer()
    if program is None:
        pytest.skip("no PgBouncer here; `make bench` builds one")
    with real_pgbouncer(program, postgres) as console, Client(console) as client:
        answers = {command: described(client.query(command)) for command in json.loads(RECORDED.read_text())}

    assert answers == json.loads(RECORDED.read_text())


def tables_of(console: Client, database: Target) -> dict[str, list[dict[str, str | None]]]:
    """Some tables after one query of one client, who is still there."""
    with Client(database) as client:
        client.query("select 1")
        return {name: table(console, f"show {name}") for name in ("lists", "state", "totals", "clients", "servers")}


def test_first_rows_beside_pgbouncers(proxy: HeliosProcess, admin: Client, postgres: PostgresCluster) -> None:
    """Keys of the tables that are lists of names, times and states in the same form."""
    program = find_pgbouncer()
    if program is None:
        pytest.skip("no PgBouncer here; `make bench` builds one")
    with real_pgbouncer(program, postgres) as console, Client(console) as theirs:
        there = tables_of(theirs, replace(console, database=DATABASE))
    here = tables_of(admin, proxy.target())

    for name, key in (("lists", "list"), ("state", "key"), ("totals", "name")):
        assert [row[key] for row in here[name]] == [row[key] for row in there[name]]
    for name in ("clients", "servers"):
        (mine,), (other,) = ([row for row in side[name] if row["database"] == DATABASE] for side in (here, there))
        assert {key: type(value) for key, value in mine.items()} == {key: type(value) for key, value in other.items()}
        for key in ("type", "user", "database", "replication", "addr", "local_addr", "tls", "prepared_statements"):
            assert mine[key] == other[key], key
        for key in ("connect_time", "request_time"):
            assert len(str(mine[key])) == len(str(other[key])) and str(mine[key])[-4:] == str(other[key])[-4:]


def test_clients_and_servers_are_linked(proxy: HeliosProcess, admin: Client) -> None:
    with Client(proxy.target().with_options(application_name="shop")) as client:
        client.query("begin")
        pid = client.value("select pg_backend_pid()")
        client.batch(parse("select 1", "named"), sync())
        mine = next(row for row in table(admin, "show clients") if row["application_name"] == "shop")
        server = next(row for row in table(admin, "show servers") if row["remote_pid"] == pid)

        assert (mine["type"], mine["state"], mine["database"], mine["user"]) == ("C", "active", DATABASE, APP)
        assert int(mine["port"] or 0) == client.socket.getsockname()[1]
        assert (mine["link"], server["link"]) == (server["ptr"], mine["ptr"])
        assert (server["type"], server["state"], server["application_name"]) == ("S", "active", "shop")
        assert mine["prepared_statements"] == "1"
        client.query("set application_name = 'till'; commit")

        def states() -> dict[str | None, tuple[str | None, str | None]]:
            return {row["id"]: (row["state"], row["application_name"]) for row in table(admin, "show clients")}

        until(lambda: states()[mine["id"]] == ("idle", "till"), "the new name, and the server back")
        own = [row for row in table(admin, "show clients") if row["database"] == "pgbouncer"]
        assert [(row["user"], row["link"]) for row in own] == [(APP, "")]


def test_waiting_clients_show_in_pools(proxy: HeliosProcess, admin: Client) -> None:
    """Both servers of the pool are taken: the next one waits, and for how long is shown."""
    holders = [Client(proxy.target()) for _ in range(2)]
    for holder in holders:
        holder.query("begin")
    with Client(proxy.target()) as waiter:
        waiter.send(query("select 1"))

        def pool() -> dict[str, str | None]:
            return next(row for row in table(admin, "show pools") if (row["database"], row["user"]) == (DATABASE, APP))

        until(lambda: pool()["cl_waiting"] == "1" and int(pool()["maxwait_us"] or 0) > 0, "a waiting client")
        assert (pool()["sv_active"], pool()["sv_idle"], pool()["pool_mode"]) == ("2", "0", "transaction")
        waiting = [row for row in table(admin, "show clients") if row["state"] == "waiting"]
        assert len(waiting) == 1 and int(waiting[0]["wait_us"] or 0) > 0
        holders[0].query("commit")
        waiter.until_ready()
        assert pool()["cl_waiting"] == "0"
    for holder in holders:
        holder.terminate()


def test_stats_count_what_was_done(proxy: HeliosProcess, admin: Client) -> None:
    def counts() -> dict[str, int]:
        row = next(row for row in table(admin, "show stats_totals") if row["database"] == DATABASE)
        return {key: int(value or 0) for key, value in row.items() if key != "database"}

    with Client(proxy.target()) as client:
        client.query("select 1")
        before = counts()
        client.query("begin")
        client.query("select pg_sleep(0.02), repeat('x', 5000)")
        client.query("commit")
        client.batch(parse("select 'counted'", "counted"), bind((), "counted"), execute(), sync())
        grown = {key: value - before[key] for key, value in counts().items()}

    assert (grown["query_count"], grown["xact_count"], grown["server_assignment_count"]) == (4, 2, 2)
    assert (grown["client_parse_count"], grown["server_parse_count"], grown["bind_count"]) == (1, 1, 1)
    assert grown["xact_time"] >= grown["query_time"] >= 20_000
    assert grown["bytes_sent"] > 5000 and 100 < grown["bytes_received"] < 1000


def test_databases_users_and_settings(admin: Client) -> None:
    databases = {row["name"]: row for row in table(admin, "show databases")}
    users = {row["name"]: row for row in table(admin, "show users")}
    config = {row["key"]: row for row in table(admin, "show config")}

    app = databases[DATABASE]
    assert (app["database"], app["pool_size"], app["paused"], app["disabled"]) == (DATABASE, "2", "0", "0")
    assert databases["pgbouncer"]["pool_mode"] == "statement"
    assert int(users[APP]["current_client_connections"] or 0) >= 1
    assert (config["default_pool_size"]["value"], config["default_pool_size"]["changeable"]) == ("2", "yes")
    assert (config["pool.max_size"]["value"], config["pool.max_size"]["default"]) == ("2", "100")
    assert (config["listen_port"]["changeable"], config["max_client_conn"]["value"]) == ("no", "10000")
    assert config["monitor.password"]["value"] == "**********"


def test_extended_protocol_in_every_shape(admin: Client) -> None:
    """Named statements, both kinds of Describe, a limit of rows, binary numbers, errors that skip to Sync."""
    events = admin.batch(parse("show lists", "lists"), describe_statement("lists"), sync())
    assert [event.kind for event in events] == [
        "ParseComplete",
        "ParameterDescription",
        "RowDescription",
        "ReadyForQuery",
    ]
    everything = rows(admin.query("show lists"))
    events = admin.batch(
        bind((), "lists"),
        describe_portal(),
        execute("", 3),
        execute("", 4),
        execute(),
        close_statement("lists"),
        sync(),
    )
    assert rows(events) == everything
    suspended = [event.kind for event in events if event.kind in ("PortalSuspended", "CommandComplete")]
    assert suspended == ["PortalSuspended", "PortalSuspended", "CommandComplete"]

    events = admin.batch(parse("show lists"), bind(result_formats=(0, 1)), execute(), sync())
    values = [event.values for event in events if event.kind == "DataRow"]
    assert [[name.decode(), str(struct.unpack("!i", number)[0])] for name, number in values if name and number] == (
        everything
    )
    events = admin.batch(parse("nonsense"), bind(), execute(), parse("show lists"), sync())
    assert sqlstates(events) == ["42601"]
    assert [event.kind for event in events].count("ParseComplete") == 1
    events = admin.batch(bind((), "gone"), sync(), parse("show lists"), bind((b"1",)), sync(), ready=2)
    assert sqlstates(events) == ["26000", "08P01"]
    assert [event.kind for event in admin.query("-- ping")] == ["EmptyQueryResponse", "ReadyForQuery"]


def test_psycopg_and_its_types(proxy: HeliosProcess) -> None:
    """A driver that always asks by the extended protocol, text and binary."""
    with psycopg.connect(proxy.target("pgbouncer").dsn(), autocommit=True) as connection:
        for binary in (False, True):
            with connection.cursor(binary=binary) as cursor:
                lists: dict[str, int] = dict(cursor.execute("show lists").fetchall())
                stats = cursor.execute("show stats").fetchall()
            assert lists["used_clients"] >= 1
            assert {name for name, *_ in stats} >= {DATABASE, "pgbouncer"}
            assert all(isinstance(int(value), int) for _, *values in stats for value in values)
        assert connection.info.parameter_status("server_version") == "1.25.0/bouncer"


def test_who_may_do_what(proxy: HeliosProcess, admin: Client) -> None:
    with Client(proxy.target("pgbouncer", user=APP_PLAIN)) as stats:
        for command in ADMIN_COMMANDS:
            assert sqlstates(stats.query(command)) == sqlstates(stats.extended(command)) == ["42501"], command
        assert sqlstates(stats.query("show pools")) == []
        assert [event.fields["M"] for event in stats.query("set client_encoding to 'UTF8'") if "M" in event.fields] == [
            "SET ignored"
        ]
    assert sqlstates(admin.query("show help")) == []
    with pytest.raises(LoginRefusedError) as refused:
        Client(proxy.target("pgbouncer", user=APP_TRUST))
    assert refused.value.sqlstate == "28000"
    with pytest.raises(LoginRefusedError) as refused:
        Client(Target("127.0.0.1", proxy.port, APP, "wrong", "pgbouncer"))
    assert refused.value.sqlstate == "28P01"


@pytest.mark.parametrize(
    ("command", "state"),
    [
        ("show nothing", "42601"),
        ("select 1 + 1", "42601"),
        ("begin", "42601"),
        ("show fds", "0A000"),
        ("suspend", "0A000"),
        ("pause pgbouncer", "0A000"),
        ("resume", "55000"),
        ("resume app", "55000"),
        ("kill_client x", "22023"),
        ("kill_client 4294967296", "42704"),
        ("disable", "42601"),
        ("reload now", "42601"),
        ("shutdown sometime", "42601"),
        ("set listen_port = 1", "55P02"),
        ("set transaction_timeout = 1", "55P02"),
        ("set nothing = 1", "42704"),
        ("set default_pool_size = many", "22023"),
        ("set default_pool_size = 0", "22023"),
    ],
)
def test_bad_commands_are_told(admin: Client, command: str, state: str) -> None:
    assert sqlstates(admin.query(command)) == [state]
    assert sqlstates(admin.extended(command))[-1:] == [state]
    assert admin.query("show version")[-1].kind == "ReadyForQuery"


def test_process_of_pg_stat_activity_leads_to_its_client(
    proxy: HeliosProcess, admin: Client, postgres: PostgresCluster
) -> None:
    with Client(proxy.target(user=APP_PLAIN).with_options(application_name="looked for")) as client:
        client.query("begin")
        pid = client.value("select pg_backend_pid()")
        address, port = client.socket.getsockname()

        [found] = proxy.json(f"/servers?pid={pid}")

        assert (found["state"], found["user"], found["node_name"]) == ("active", APP_PLAIN, "primary")
        holder = {name: found["client"][name] for name in ("user", "database", "address", "port", "application_name")}
        assert holder == {
            "user": APP_PLAIN,
            "database": DATABASE,
            "address": address,
            "port": port,
            "application_name": "looked for",
        }
        [server] = [row for row in table(admin, "show servers") if row["remote_pid"] == pid]
        [shown] = [row for row in table(admin, "show clients") if row["ptr"] == server["link"]]
        assert (shown["id"], shown["port"]) == (str(found["client"]["id"]), str(port))

        client.extended("commit")
        until(lambda: proxy.json(f"/servers?pid={pid}")[0]["client"] is None, "the server to be given back")
        monitor = postgres.value("select pg_backend_pid()")
        assert proxy.json(f"/servers?pid={monitor}") == []
    assert proxy.get("/servers?pid=one")[0] == proxy.get("/servers?process=1")[0] == 400
