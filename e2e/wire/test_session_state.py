"""Transaction and statement mode: what a session is made of follows its client, or keeps it on its server, by name.

Each client of a pool of two servers must see just what it would see on a connection of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.client import Client, rows, sqlstates
from harness.frontend import bind, execute, parse, query, sync
from harness.postgres import APP, PASSWORDS, PostgresCluster
from harness.proxy import HeliosProcess, StartProxy, write_users_file
from harness.routes import Parity, Route, Script
from harness.wait import until

MANY = 4
Run = Callable[[Client, str], None]


def simple(client: Client, sql: str) -> None:
    assert sqlstates(client.query(sql)) == [], sql


def extended(client: Client, sql: str) -> None:
    assert sqlstates(client.extended(sql)) == [], sql


def prepared(client: Client, sql: str) -> None:
    """Parsed once and executed in a batch of its own, as drivers do with statements that they keep."""
    assert sqlstates(client.batch(parse(sql, name=sql), sync())) == [], sql
    assert sqlstates(client.batch(bind(name=sql), execute(), sync())) == [], sql


RUNS = pytest.mark.parametrize("run", [simple, extended, prepared], ids=lambda run: run.__name__)

SETTINGS = {
    "work_mem": ("'33MB'", "33MB"),
    "statement_timeout": ("'5s'", "5s"),
    "search_path": ('pg_catalog, "$user"', 'pg_catalog, "$user"'),
    "enable_seqscan": ("off", "off"),
    "default_transaction_isolation": ("'repeatable read'", "repeatable read"),
    "role": ("app_trust", "app_trust"),
}
"""Setting → what is set, what SHOW says. None is reported by PostgreSQL 15."""


@RUNS
@pytest.mark.routes("transaction", "statement", chunks=("none",))
def test_set_transaction_outside_of_one_leaves_nothing(route: Route, run: Run) -> None:
    """It changes a setting that no server lets anybody reset."""
    client = route.connect()
    for what in ("read only", "isolation level serializable", "read only, deferrable"):
        run(client, f"set transaction {what}")
        for other in [client, *(route.connect() for _ in range(MANY))]:
            shown = [other.value(f"show transaction_{name}") for name in ("read_only", "isolation", "deferrable")]
            assert shown == ["off", "read committed", "off"]


@RUNS
@pytest.mark.routes("transaction", "statement", chunks=("none", "7"))
def test_unreported_settings_follow_their_client(route: Route, run: Run) -> None:
    client, others = route.connect(), [route.connect() for _ in range(MANY)]
    initial = {name: others[0].value(f"show {name}") for name in SETTINGS}

    for name, (value, _) in SETTINGS.items():
        run(client, f"set {name} = {value}")

    for other in others:
        assert {name: other.value(f"show {name}") for name in SETTINGS} == initial
        assert {name: client.value(f"show {name}") for name in SETTINGS} == {
            name: shown for name, (_, shown) in SETTINGS.items()
        }


@RUNS
@pytest.mark.routes("transaction", "statement", chunks=("none",))
def test_each_client_has_its_own_value(route: Route, run: Run) -> None:
    clients = [route.connect() for _ in range(MANY)]
    for number, client in enumerate(clients):
        run(client, f"set work_mem = '{number + 1}MB'")

    for _ in range(3):
        assert [client.value("show work_mem") for client in clients] == [f"{n + 1}MB" for n in range(MANY)]


@pytest.mark.checklist(29, protocol="simple")
@pytest.mark.routes("session", "transaction", "statement", chunks=("none", "7"))
def test_reset_goes_back_to_the_value_of_the_startup_packet(route: Route) -> None:
    client, other = route.connect(work_mem="11MB", TimeZone="Asia/Tokyo"), route.connect()

    ways = ["reset work_mem", "reset all", "discard all"]
    if route.kind.mode != "session":  # where the text is not looked at: docs/limits.md
        ways.append("set work_mem to default")
    for back in ways:
        client.query("set work_mem = '12MB'")
        client.query("set timezone = 'America/Lima'")
        other.value("select 1")
        assert (client.value("show work_mem"), client.value("show timezone")) == ("12MB", "America/Lima")

        client.query(back)

        assert client.value("show work_mem") == "11MB", back
        if "all" in back:
            assert client.value("show timezone") == "Asia/Tokyo", back
    assert other.value("show work_mem") not in ("11MB", "12MB")


def settings_and_transactions(c: Client) -> None:
    c.query("begin")
    c.query("set work_mem = '21MB'")
    c.query("savepoint a")
    c.query("set work_mem = '22MB'")
    c.query("rollback to a")
    c.query("commit")
    c.query("show work_mem")
    c.query("begin")
    c.query("set work_mem = '23MB'")
    c.query("set local lock_timeout = '3s'")
    c.query("rollback")
    c.query("show work_mem")
    c.query("show lock_timeout")
    c.batch(parse("begin"), bind(), execute(), sync())
    c.extended("set work_mem = '24MB'")
    c.extended("select 1/0")
    c.extended("commit")
    c.query("show work_mem")
    c.query("set work_mem = '25MB'; select 1/0")
    c.query("show work_mem")
    c.batch(query("set work_mem = '26MB'"), query("show work_mem"), query("reset work_mem"), ready=3)
    c.batch(parse("set work_mem = '27MB'"), bind(), execute(), parse("show work_mem"), bind(), execute(), sync())
    c.query("show work_mem")
    c.query("reset all")
    c.query("show work_mem")


def settings_by_function(c: Client) -> None:
    for way in (c.query, c.extended):
        way("select set_config('work_mem', '31MB', false)")
        way("select set_config('lock_timeout', '3s', true)")
        way("show work_mem")
        way("show lock_timeout")
        way("do $$ begin perform set_config('work_mem', '32MB', false); end $$")
        way("show work_mem")
        way("with a as (select set_config('work_mem', '33MB', false)) select case when true then (table a) end")
        way("show work_mem")
        way("explain (costs off) select set_config('work_mem', '34MB', false)")
        way("show work_mem")
        way("reset all")


def own_settings_by_function(c: Client) -> None:
    c.query("select set_config('shop.tenant', 'one', false)")
    c.query("select current_setting('shop.tenant')")
    c.extended("select set_config('shop.tenant', $1, false)", "two")
    c.extended("select current_setting('shop.tenant')")
    c.query("begin; select set_config('shop.tenant', 'three', true); commit")
    c.query("select current_setting('shop.tenant')")
    c.query("do $$ begin perform set_config('shop.tenant', 'four', false); end $$")
    c.query("select current_setting('shop.tenant')")


def reset_in_a_block(c: Client) -> None:
    for start in ("begin", "begin isolation level repeatable read"):
        c.query(start)
        c.query("set timezone = 'UTC'")
        c.query("reset timezone")
        c.query("show timezone")
        c.query("set work_mem = '5MB'")
        c.extended("reset all")
        c.query("show work_mem")
        c.extended("show timezone")
        c.query("savepoint a")
        c.query("set work_mem = '6MB'")
        c.query("rollback to a")
        c.query("show work_mem")
        c.query("rollback")
        c.query("show timezone")
        c.query("show work_mem")


def notified_of_its_own(c: Client) -> None:
    c.query("listen own; notify own, 'at once'")
    c.query("notify own, 'later'")
    c.query("begin; notify own; commit")
    c.extended("unlisten own")
    c.query("notify own")


def own_settings(c: Client) -> None:
    c.query("set app.tenant = 'blue'")
    c.query("select current_setting('app.tenant')")
    c.query("begin; set app.tenant = 'red'; rollback")
    c.extended("select current_setting('app.tenant')")
    c.extended("set app.\"Odd 'name'\" = 'x'")
    c.query("set app.tenant to default")
    c.query("select current_setting('app.tenant')")
    c.query("set local app.tenant = 'unseen'")


def temporary_by_select(c: Client) -> None:
    c.query("select 1 as a into temp into_temp")
    c.query("select a + 0 from into_temp")
    c.extended("create temp table as_temp as select 2 as b")
    c.extended("select b + 0 from as_temp")
    c.query("do 'begin create temp table in_do (a int); end'")
    c.query("select count(*) from in_do")
    c.query("create table pg_temp.qualified (a int)")
    c.query("select count(*) from qualified")
    c.query("discard temp")
    c.query("select count(*) from in_do")


def asyncpg_between_two_uses(c: Client) -> None:
    for _ in range(2):
        c.query("select pg_advisory_unlock_all(); close all; unlisten *; reset all;")
        c.query("set work_mem = '41MB'")
        c.query("listen heard")
        c.query("select pg_try_advisory_lock(815)")
        c.query("select pg_advisory_unlock_all(); close all; unlisten *; reset all;")
        c.query("show work_mem")
        c.query("select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'")
        c.query("notify heard")
        c.query("set timezone = 'Asia/Tokyo'")
        c.query("discard all")
        c.query("show timezone")


@pytest.mark.checklist(29, protocol="simple")
def roles(c: Client) -> None:
    c.query("set role app_trust")
    c.query("select current_user, session_user")
    c.query("set work_mem = '21MB'")
    c.query("reset role")
    c.query("select current_user")
    c.query("show work_mem")
    c.query("set session authorization default")
    c.query("reset all")


@pytest.mark.checklist(29, protocol="simple")
def sql_prepare(c: Client) -> None:
    c.query("prepare p (int) as select $1 + 1")
    c.query("select 1")
    c.query("execute p (41)")
    c.extended("execute p (1)")
    c.query("prepare p as select 2")
    c.query("deallocate p")
    c.query("execute p (1)")
    c.query("deallocate p")
    c.extended("prepare q as select 3")
    c.query("execute q")
    c.query("deallocate all")
    c.query("execute q")


def cursors(c: Client) -> None:
    c.query("begin; declare held cursor with hold for select generate_series(1, 3); commit")
    c.query("fetch 1 from held")
    c.extended("fetch all from held")
    c.query("close held")
    c.query("fetch 1 from held")


def temporary_tables(c: Client) -> None:
    c.query("create temp table mine (a int)")
    c.query("insert into mine values (1), (2)")
    c.extended("select sum(a) from mine")
    c.query("create temporary view seen as select a from mine")
    c.query("select count(*) from seen")
    c.query("drop table mine cascade")
    c.query("select count(*) from mine")
    c.query("create temp table once on commit drop as select 1 as a")
    c.query("discard all")


@pytest.mark.parametrize(
    "script",
    [
        settings_and_transactions,
        settings_by_function,
        own_settings,
        own_settings_by_function,
        notified_of_its_own,
        asyncpg_between_two_uses,
        roles,
        sql_prepare,
        cursors,
        temporary_tables,
        temporary_by_select,
    ],
    ids=lambda script: script.__name__,
)
def test_sessions_are_as_on_a_connection_of_their_own(parity: Parity, script: Script) -> None:
    parity(script)


@pytest.mark.checklist(29)
@pytest.mark.routes("session", "transaction", chunks=("none", "1"))
def test_reset_in_a_block_goes_back_to_the_startup_packet(route: Route, postgres: PostgresCluster) -> None:
    seen = []
    for target in (postgres.direct(), route.target()):
        with Client(target.with_options(TimeZone="Asia/Tokyo", work_mem="11MB")) as client:
            client.transcript.clear()
            reset_in_a_block(client)
            seen.append([(event.kind, rows([event])) for event in client.transcript if event.kind != "ParameterStatus"])

    assert seen[1] == seen[0]


@pytest.mark.routes("session", "transaction", "statement", chunks=("none",))
def test_sender_of_a_notification_knows_itself(route: Route) -> None:
    with Client(route.target()) as client:
        client.query("listen own")
        client.query("notify own")
        heard = [event for event in client.transcript if event.kind == "NotificationResponse"]
        assert [event.raw[:4] for event in heard] == [client.pid.to_bytes(4, "big")]


HOLDS = {
    "temporary_object": ("create temp table held (a int)", "drop table held"),
    "holdable_cursor": ("declare held cursor with hold for select 1", "close held"),
    # An escaped name is not read.
    "prepared_statement": ('prepare U&"held" as select 1', "deallocate held"),
    "advisory_lock": ("select pg_advisory_lock(4711)", "select pg_advisory_unlock(4711)"),
}
"""Reason → what makes it, what ends it."""


def pinned(proxy: HeliosProcess) -> dict[str, int]:
    """GET /sessions: reason → sessions."""
    found: dict[str, int] = proxy.json("/sessions")["pinned_sessions"]
    return found


@pytest.mark.checklist(62)
@RUNS
def test_a_library_stays_with_its_client(start_proxy: StartProxy, postgres: PostgresCluster, run: Run) -> None:
    """LOAD cannot be taken back, so the server is closed when the client leaves."""
    admin = postgres.superuser()
    assert admin.password is not None
    proxy = start_proxy(pool={"max_size": 2})
    write_users_file(Path(proxy.settings["auth"]["users_file"]), {APP: PASSWORDS[APP], admin.user: admin.password})
    assert proxy.post("/config/reload")[0] == 200
    with Client(proxy.target(user=admin.user, password=admin.password)) as client:
        run(client, "load 'plpgsql'")
        until(lambda: pinned(proxy) == {"library": 1}, "pinned by library")
        pid = client.value("select pg_backend_pid()")
        run(client, "discard all")
        assert client.value("select pg_backend_pid()") == pid
    until(lambda: pinned(proxy) == {}, "a client that left pins nothing")
    count = f"select count(*) from pg_stat_activity where pid = {pid}"
    until(lambda: postgres.value(count) == "0", "its server to be closed")


@pytest.mark.checklist(62)
@RUNS
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_what_cannot_follow_pins_with_a_reason_until_it_is_gone(start_proxy: StartProxy, mode: str, run: Run) -> None:
    proxy = start_proxy(pool={"mode": mode, "max_size": 2})
    with Client(proxy.target()) as client, Client(proxy.target()) as other:
        for reason, (make, end) in HOLDS.items():
            run(client, make)
            until(lambda: pinned(proxy) == {reason: 1}, f"pinned by {reason}")  # noqa: B023 - called at once
            pids = {client.value("select pg_backend_pid()") for _ in range(3) if other.value("select 1")}
            assert len(pids) == 1, reason

            run(client, end)
            until(lambda: pinned(proxy) == {}, f"no longer pinned by {reason}")

        simple(client, HOLDS["temporary_object"][0])
        until(lambda: pinned(proxy) == {"temporary_object": 1}, "pinned")
    until(lambda: pinned(proxy) == {}, "a client that left pins nothing")
    with Client(proxy.target()) as next_client:
        assert next_client.value("select to_regclass('held') is null") == "t"


@pytest.mark.checklist(62)
@RUNS
def test_a_client_that_wants_to_know_is_told_why_it_keeps_its_server(start_proxy: StartProxy, run: Run) -> None:
    proxy = start_proxy(pool={"pin_notices": True})
    with Client(proxy.target()) as client:
        for reason, (make, end) in HOLDS.items():
            run(client, make)
            until(lambda: pinned(proxy) == {reason: 1}, f"pinned by {reason}")  # noqa: B023 - called at once
            run(client, end)
        client.value("select 1")
        assert told(client) == list(HOLDS)

        run(client, "set client_min_messages = warning")
        run(client, "create temp table also_held (a int)")
        until(lambda: pinned(proxy) == {"temporary_object": 1}, "pinned")
        client.value("select 1")
        assert told(client) == list(HOLDS)


def told(client: Client) -> list[str]:
    """The reasons in the notices that a client has had, each a NOTICE with a sentence of why."""
    notices = [event.fields for event in client.transcript if event.kind == "NoticeResponse"]
    assert all((fields["V"], fields["C"]) == ("NOTICE", "00000") and fields["D"] for fields in notices)
    return [fields["M"].removeprefix("session keeps its server connection: ") for fields in notices]


@pytest.mark.routes("transaction", "statement", chunks=("none",))
def test_a_client_that_leaves_at_once_leaves_nothing(route: Route) -> None:
    for _ in range(5):
        client = route.connect()
        client.send(query("set work_mem = '44MB'; create temp table left_behind (a int)"))
        client.until_ready()
        client.terminate()
        with Client(route.target()) as next_client:
            assert next_client.value("show work_mem") != "44MB"
            assert next_client.value("select to_regclass('left_behind') is null") == "t"


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_setting_of_an_extension_does_not_show_through(start_proxy: StartProxy, mode: str) -> None:
    """RESET leaves '' where a server that never had the setting says NULL: row policies tell the two apart."""
    proxy = start_proxy(pool={"mode": mode, "max_size": 1})
    ask = "select coalesce(current_setting('app.tenant', true), 'null')"
    with Client(proxy.target()) as tenant, Client(proxy.target()) as stranger:
        simple(tenant, "set app.tenant = 'blue'")
        for _ in range(3):
            assert tenant.value(ask) == "blue"
            assert stranger.value(ask) == "null"


@RUNS
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_words_in_texts_pin_nothing(start_proxy: StartProxy, mode: str, run: Run) -> None:
    """The syntax tree decides: the same words in a literal, a name or a comment mean nothing."""
    proxy = start_proxy(pool={"mode": mode, "max_size": 1})
    with Client(proxy.target()) as client, Client(proxy.target()) as other:
        run(client, "select 'select pg_advisory_lock(1); listen x', 1 as set_config /* create temp table */")
        run(client, "select $$ set_config('work_mem', '1MB', false) $$ -- listen x")

        assert other.value("select 1") == "1"
        assert pinned(proxy) == {}


@pytest.mark.routes("transaction", chunks=("none",))
def test_requests_sent_before_the_answer_find_the_state_they_follow(route: Route) -> None:
    """The proxy asks the server what is left while the client goes on: nothing may overtake."""
    client = route.connect()

    client.send(query("set work_mem = '21MB'"), query("show work_mem"), query("set work_mem = '22MB'"))
    client.send(parse("show work_mem"), bind(), execute(), sync(), query("reset work_mem"), query("select 7"))

    assert rows(client.until_ready(6)) == [["21MB"], ["22MB"], ["7"]]


@pytest.mark.checklist(61)
@pytest.mark.parametrize(
    "sql", ["reset all", "unlisten *", "discard all", "select pg_advisory_unlock_all()", "close all"]
)
def test_nothing_is_asked_where_there_is_nothing_to_give_back(
    start_proxy: StartProxy, postgres: PostgresCluster, sql: str
) -> None:
    """Pools of drivers send these after each use: the server's last statement is still the client's own."""
    proxy = start_proxy(pool={"mode": "transaction", "max_size": 1})
    with Client(proxy.target()) as client, Client(proxy.target()) as other:
        pid = other.value("select pg_backend_pid()")
        simple(client, sql)
        with Client(postgres.direct()) as watcher:
            assert watcher.value(f"select query from pg_stat_activity where pid = {pid}") == sql
