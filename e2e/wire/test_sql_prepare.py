"""SQL's PREPARE, EXECUTE and DEALLOCATE: one name space with the protocol's statements, on whatever server they run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.client import Client, full, rows, sqlstates
from harness.frontend import (
    bind,
    close_statement,
    copy_data,
    copy_done,
    describe_portal,
    describe_statement,
    execute,
    flush,
    parse,
    query,
    sync,
)
from harness.nomad import Nomad
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess
from harness.routes import Parity, Route, Script


def run(name: str, *values: str) -> bytes:
    """Bind, Execute and Sync of a prepared statement."""
    return bind(values, name=name) + execute() + sync()


def both(c: Client) -> tuple[Callable[..., object], Callable[..., object]]:
    """A statement by the simple protocol, and by the extended one."""
    return c.query, c.extended


@pytest.mark.checklist(27, 29)
def made_used_and_removed(c: Client) -> None:
    for way in both(c):
        way("prepare p (int, text) as select $1 + 1, $2")
        way("execute p (41, 'x')")
        way("EXECUTE P (1, $$y$$)")
        way("prepare p as select 2")
        way("execute p")
        way("deallocate p")
        way("execute p (1, 'x')")
        way("deallocate p")
        way("prepare p as insert into notes values (80, 'sql') returning body")
        way("execute p")
        way("delete from notes where id = 80")
        way("deallocate prepare p")


@pytest.mark.checklist(27, 29)
def made_by_the_protocol(c: Client) -> None:
    for way in both(c):
        c.batch(parse("select $1::int * 2", name="wire"), sync())
        way("execute wire (21)")
        way("prepare wire as select 1")
        way("deallocate wire")
        c.batch(run("wire", "1"))
        way("execute wire (1)")
        c.batch(parse("select $1::text", name="wire"), sync())
        way("execute wire ('again')")
        c.batch(close_statement("wire"), sync())
        way("execute wire ('gone')")


@pytest.mark.checklist(22, 27)
def used_by_the_protocol(c: Client) -> None:
    for way in both(c):
        way("prepare s (int, numeric(4, 1)) as select $1, $2 as n, id from items where id = $1")
        c.batch(describe_statement("s"), sync())
        c.batch(bind(["7", "1.5"], name="s"), describe_portal(), execute(), sync())
        c.batch(parse("select 1", name="s"), sync())
        c.batch(close_statement("s"), sync())
        way("execute s (1, 2)")
        c.batch(run("s", "1", "2"))


def types_that_nobody_names(c: Client) -> None:
    c.query("prepare guessed as select id, $2 from items where id = $1")
    c.batch(describe_statement("guessed"), sync())
    c.batch(run("guessed", "5", "text"))
    c.query("execute guessed (6, 'x')")
    c.query("prepare unknowable as select $1 is null")
    c.query("deallocate guessed")


def several_in_one_text(c: Client) -> None:
    c.query("prepare a as select 'a'; execute a; prepare b as select 'b'; execute b; execute a")
    c.query("execute b; deallocate a; execute b")
    c.query("execute a")
    c.query("deallocate b; prepare b as select 'new b'; execute b")
    c.query("execute b; select 1; execute b")
    c.query("prepare x as select 1; prepare y as select 1; execute x; execute y; deallocate x; deallocate y")
    c.query("prepare x as select 1; deallocate x; prepare x as select 1; execute x; deallocate x; execute b")
    c.query("deallocate all; execute b")
    c.query("prepare b as select 'third b'; deallocate all; prepare b as select 'fourth b'; execute b")
    c.query("execute b")
    c.query("deallocate b")


@pytest.mark.checklist(31)
def error_in_the_middle(c: Client) -> None:
    c.query("prepare m as select 'm'; select 1/0; prepare n as select 'n'")
    c.query("execute m")
    c.query("execute n")
    c.query("select 1; prepare m as select 'again'; select 2")
    c.query("select 1; execute nobody; select 2")
    c.query("select 1/0; deallocate m")
    c.query("execute m; deallocate m; select 1/0")
    c.query("execute m")
    c.query("prepare broken as selec 1")
    c.query("prepare broken as select nothing; select 1")
    c.query("execute broken")


@pytest.mark.checklist(29)
def transactions_that_roll_back(c: Client) -> None:
    for way in both(c):
        c.query("begin")
        way("prepare kept as select 'kept'")
        way("execute kept")
        c.query("rollback")
        way("execute kept")
        c.query("begin")
        c.query("select 1/0")
        way("prepare never as select 'never'")
        way("execute kept")
        way("deallocate kept")
        c.query("rollback")
        way("execute never")
        way("execute kept")
        c.query("begin")
        way("deallocate kept")
        c.query("rollback")
        way("execute kept")
        c.query("begin; prepare half as select 'half'; select 1/0")
        c.query("rollback")
        way("execute half")
        way("deallocate half")


def texts_prepared_by_the_protocol(c: Client) -> None:
    c.query("prepare t (int) as select $1")
    c.batch(parse("execute t (4)", name="use"), describe_statement("use"), sync())
    c.batch(parse("prepare t (int) as select $1", name="make"), sync())
    c.batch(parse("deallocate t", name="end"), sync())
    for _ in range(2):
        c.batch(run("use"))
        c.batch(run("make"))
        c.batch(run("make"))
        c.batch(bind(name="use"), describe_portal(), execute(), sync())
        c.batch(describe_statement("use"), sync())
        c.batch(run("end"))
        c.batch(run("end"))
    c.query("prepare t as select 'another', 'type'")
    c.batch(bind(name="use"), execute(), sync())
    c.query("deallocate t; prepare t (text) as select $1, 'type'")
    c.batch(bind(name="use"), describe_portal(), execute(), sync())
    c.query("deallocate all")


@pytest.mark.checklist(20, 29)
def one_batch(c: Client) -> None:
    def step(sql: str) -> bytes:
        return parse(sql) + bind() + describe_portal() + execute()

    c.batch(
        step("prepare o (int) as select $1"), step("execute o (1)"), step("deallocate o"), step("execute o"), sync()
    )
    c.batch(step("prepare o as select 1"), step("select 1/0"), step("deallocate o"), sync())
    c.batch(step("execute o"), bind(name="o"), execute(), step("deallocate o"), parse("select 3", name="o"), sync())
    c.batch(run("o"))
    c.batch(step("deallocate o"), parse("select 4", name="o"), run("o"))
    c.batch(close_statement("o"), step("prepare o as select 5"), run("o"))
    c.batch(step("deallocate all"), parse("select 6", name="o"), run("o"))
    c.send(step("prepare f as select 7"), flush(), step("execute f"), flush())
    c.receive_until(lambda event: event.fields.get("tag") == "SELECT 1")
    c.batch(sync())
    c.query("deallocate all")


@pytest.mark.checklist(17, 29)
def pipelined(c: Client) -> None:
    texts = ("prepare l as select 1", "execute l", "deallocate l", "prepare l as select 2", "execute l", "discard all")
    c.batch(*[query(text) for text in texts], ready=6)
    c.batch(*[parse(text) + bind() + execute() + sync() for text in texts], ready=6)
    remade = query("deallocate l") + parse("select 4", name="l")
    c.batch(query("prepare l as select 3"), run("l"), remade, run("l"), ready=4)
    c.batch(query("deallocate all"), parse("select 5", name="l"), run("l"), close_statement("l"), sync(), ready=3)


@pytest.mark.checklist(27)
def odd_names(c: Client) -> None:
    names = ['"Big Name"', '"a""b"', "MiXed", "ümläut", '"select"', "helios_1", "helios_0", "all_", f"n{'x' * 62}"]
    for name in names:
        for way in both(c):
            way(f"prepare {name} as select 1")
            way(f"execute {name}")
            way(f"deallocate {name}")
            way(f"execute {name}")
    for name in ("Big Name", 'a"b', "mixed", f"n{'x' * 62}"):
        c.query(f"""prepare "{name.replace('"', '""')}" as select 1""")
        c.batch(run(name))
        c.batch(close_statement(name), sync())
    c.query('prepare "" as select 1')
    c.query("prepare U&\"d!0061ta\" uescape '!' as select 1; execute data; deallocate data")


def inside_other_statements(c: Client) -> None:
    for way in both(c):
        way("prepare e (int) as select id from items where id < $1")
        way("explain (costs off) execute e (3)")
        way("explain (analyze, costs off, timing off, summary off, buffers off) execute e (3)")
        way("explain verbose execute nobody")
        way("create table executed as execute e (3)")
        way("select count(*) + 0 from executed")
        way("drop table executed")
        way("deallocate e")


def errors_point_to_their_place(c: Client) -> None:
    for way in both(c):
        way("prepare e as select nothing from items")
        way("prepare e (int) as select $1; selec" if way == c.query else "prepare e (int) selec")
        way("prepare e (int) as select $1")
        way("execute e (nothing)")
        way("execute e (1, 2)")
        way("execute e (1) 2")
        way("execute e ('x')")
        c.query("select 'ü'; execute e (1); execute e (nothing)")
        way("deallocate e e")
        way("deallocate e")


def table_is_gone(c: Client) -> None:
    c.query("create table going as select 1 as a")
    c.query("prepare g as select a + 0 from going")
    c.query("execute g")
    c.query("drop table going")
    c.query("execute g")
    c.query("begin")
    c.query("execute g")
    c.query("rollback")
    c.query("select 1; execute g; select 2")
    c.query("create table going as select 2 as a")
    c.query("execute g")
    c.query("drop table going; deallocate g")


def made_of_what_is_rolled_back(c: Client) -> None:
    c.query("begin")
    c.query("create table rolled (a int)")
    c.query("prepare r as select a + 0 from rolled")
    c.query("execute r")
    c.query("rollback")
    c.query("execute r")
    c.query("deallocate r")


@pytest.mark.checklist(29)
def discard(c: Client) -> None:
    for way in both(c):
        way("prepare d as select 1")
        way("discard plans")
        way("execute d")
        way("discard all")
        way("execute d")


def copy_beside_prepare(c: Client) -> None:
    c.query("begin")
    text = "copy notes from stdin; prepare cp as select body from notes where id = 90; execute cp"
    c.batch(query(text), copy_data(b"90\tcopied\n"), copy_done(), query("execute cp"), ready=2)
    c.query("rollback")
    c.query("execute cp")
    c.query("deallocate cp")


def settings_of_a_prepared_statement(c: Client) -> None:
    c.query("prepare w (text) as select set_config('work_mem', $1, false)")
    c.query("execute w ('41MB')")
    c.query("show work_mem")
    c.extended("execute w ('42MB')")
    c.query("show work_mem")
    c.query("deallocate w; reset work_mem")


EVERY_MODE = [
    made_used_and_removed,
    made_by_the_protocol,
    used_by_the_protocol,
    types_that_nobody_names,
    several_in_one_text,
    error_in_the_middle,
    texts_prepared_by_the_protocol,
    one_batch,
    pipelined,
    odd_names,
    inside_other_statements,
    errors_point_to_their_place,
    discard,
    settings_of_a_prepared_statement,
]
TRANSACTIONS = [table_is_gone, transactions_that_roll_back, made_of_what_is_rolled_back, copy_beside_prepare]


@pytest.mark.routes("session", "transaction", "statement", chunks=("none", "7"))
@pytest.mark.parametrize("script", EVERY_MODE, ids=lambda script: script.__name__)
def test_sql_prepared_statements(parity: Parity, script: Script) -> None:
    parity(script)


@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
@pytest.mark.parametrize("script", TRANSACTIONS, ids=lambda script: script.__name__)
def test_sql_prepared_statements_and_transactions(parity: Parity, script: Script) -> None:
    parity(script)


@pytest.mark.routes("transaction", chunks=("none", "7"), direct=False)
@pytest.mark.parametrize("script", EVERY_MODE + TRANSACTIONS, ids=lambda script: script.__name__)
def test_sql_prepared_statements_follow_their_client(route: Route, postgres: PostgresCluster, script: Script) -> None:
    seen = []
    for client in (Client(postgres.direct()), Nomad(route.target())):
        with client:
            client.transcript.clear()
            script(client)
            seen.append(full(client.transcript))

    assert seen[1] == seen[0]


@pytest.mark.routes("transaction", "statement", chunks=("none",), direct=False)
def test_sql_prepare_pins_nothing(route: Route, wire_proxy: HeliosProcess) -> None:
    client = route.connect()
    for way in both(client):
        way("prepare free (int) as select $1")
        way("execute free (1)")
        client.value("select 1")
        assert wire_proxy.json("/sessions")["pinned_sessions"] == {}
        way("deallocate free")


@pytest.mark.routes("transaction", "statement", chunks=("none",))
def test_same_sql_name_means_each_clients_own_statement(route: Route) -> None:
    clients = [route.connect() for _ in range(4)]
    for number, client in enumerate(clients):
        client.query(f"prepare own (int) as select {number // 2}, $1")
    for turn in ("1", "2"):
        for number, client in enumerate(clients):
            assert rows(client.query(f"execute own ({turn})")) == [[str(number // 2), turn]]
            assert rows(client.batch(run("own", turn))) == [[str(number // 2), turn]]
    clients[0].query("deallocate own")
    assert sqlstates(clients[0].query("execute own (3)")) == ["26000"]
    assert rows(clients[1].query("execute own (3)")) == [["0", "3"]]
    assert sqlstates(clients[1].query("execute helios_1 (3)")) == ["26000"]
