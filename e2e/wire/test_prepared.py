"""Prepared statements that outlive their server connection: named, unnamed, failed, closed, evicted, deallocated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.client import Client, brief, rows, sqlstates
from harness.frontend import (
    bind,
    close_statement,
    describe_portal,
    describe_statement,
    execute,
    parse,
    query,
    sync,
)
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.routes import Parity, Route, Script
from harness.workload import in_parallel

CLIENTS = 20


def run(name: str, *values: str) -> bytes:
    """Bind, Execute and Sync of a statement prepared before."""
    return bind(values, name=name) + execute() + sync()


def named_statement_is_used_again(c: Client) -> None:
    c.batch(parse("select $1::int + 1", name="plus"), sync())
    for value in ("1", "2", "3"):
        c.batch(run("plus", value))
    c.batch(describe_statement("plus"), sync())
    c.batch(close_statement("plus"), sync())
    c.batch(run("plus", "4"))


def unnamed_statement_is_bound_later(c: Client) -> None:
    c.batch(parse("select $1::int * 2"), sync())
    c.batch(run("", "21"))
    c.batch(run("", "22"))
    c.batch(describe_statement(""), sync())


def unnamed_statement_dies_at_a_simple_query(c: Client) -> None:
    c.batch(parse("select 1"), sync())
    c.query("select 'simple'")
    c.batch(run(""))


def unnamed_statement_is_replaced(c: Client) -> None:
    c.batch(parse("select 'old'"), sync())
    c.batch(parse("select 'new'"), sync())
    c.batch(run(""))


def failed_unnamed_parse_destroys_the_previous(c: Client) -> None:
    c.batch(parse("select 'old'"), sync())
    c.batch(parse("selec"), sync())
    c.batch(run(""))


def failed_named_parse_defines_nothing(c: Client) -> None:
    c.batch(parse("selec", name="broken"), sync())
    c.batch(run("broken"))
    c.batch(parse("select 'mended'", name="broken"), sync())
    c.batch(run("broken"))
    c.batch(close_statement("broken"), sync())


def failed_parse_and_its_use_in_one_batch(c: Client) -> None:
    c.batch(parse("select * from no_such_table", name="t"), bind(name="t"), execute(), sync())
    c.batch(parse("select 1", name="t"), bind(name="t"), execute(), sync())
    c.batch(close_statement("t"), sync())


def parse_after_an_error_is_skipped_and_defines_nothing(c: Client) -> None:
    c.batch(parse("select 1/0"), bind(), execute(), parse("select 'x'", name="skipped"), sync())
    c.batch(run("skipped"))
    c.batch(parse("select 'y'", name="skipped"), sync())
    c.batch(run("skipped"))
    c.batch(close_statement("skipped"), sync())


def close_after_an_error_is_skipped(c: Client) -> None:
    c.batch(parse("select 'kept'", name="kept"), sync())
    c.batch(parse("select 1/0"), bind(), execute(), close_statement("kept"), sync())
    c.batch(run("kept"))
    c.batch(close_statement("kept"), sync())


def duplicate_name(c: Client) -> None:
    c.batch(parse("select 1", name="dup"), sync())
    c.batch(parse("select 2", name="dup"), bind(name="dup"), execute(), sync())
    c.batch(run("dup"))
    c.batch(parse("select 1", name="dup"), sync())
    c.batch(close_statement("dup"), sync())


def duplicate_name_in_one_batch(c: Client) -> None:
    c.batch(parse("select 1", name="dd"), parse("select 2", name="dd"), sync())
    c.batch(run("dd"))
    c.batch(close_statement("dd"), sync())


def unknown_name(c: Client) -> None:
    c.batch(run("nobody"))
    c.batch(describe_statement("nobody"), sync())
    c.batch(parse("select 1", name="somebody"), bind(name="nobody"), execute(), sync())
    c.batch(run("somebody"))
    c.batch(close_statement("somebody"), sync())


def close_of_an_unknown_name_succeeds(c: Client) -> None:
    c.batch(close_statement("nobody"), sync())
    c.batch(close_statement(""), sync())
    c.query("select 1")


def name_is_reused_for_another_statement(c: Client) -> None:
    c.batch(parse("select 'first'", name="again"), sync())
    c.batch(close_statement("again"), parse("select 2, 'second'", name="again"), sync())
    c.batch(bind(name="again"), describe_portal(), execute(), sync())
    c.batch(close_statement("again"), sync())


def close_and_use_in_one_batch(c: Client) -> None:
    c.batch(parse("select 1", name="cu"), bind(name="cu"), close_statement("cu"), execute(), sync())
    c.batch(run("cu"))


def odd_names(c: Client) -> None:
    for name in ("with space", "ümläut", "x" * 200, "HELIOS_1", "helios_1", "select", '"quoted"'):
        c.batch(parse("select $1::text", name=name), sync())
        c.batch(run(name, name))
        c.batch(close_statement(name), sync())


def parameter_types_are_part_of_a_statement(c: Client) -> None:
    c.batch(
        parse("select $1 as a", name="as_int", types=[23]), parse("select $1 as a", name="as_text", types=[25]), sync()
    )
    c.batch(describe_statement("as_int"), describe_statement("as_text"), sync())
    c.batch(run("as_int", "1"))
    c.batch(run("as_text", "one"))
    c.batch(close_statement("as_int"), close_statement("as_text"), sync())


def statement_survives_a_rollback(c: Client) -> None:
    c.query("begin")
    c.batch(parse("select 'survivor'", name="sv"), sync())
    c.query("rollback")
    c.batch(run("sv"))
    c.batch(close_statement("sv"), sync())


def bind_larger_than_any_buffer(c: Client) -> None:
    c.batch(parse("select length($1::text), md5($1::text)", name="big"), sync())
    c.batch(run("big", "b" * 200_000))
    c.batch(run("big", "c" * 2_000_000))
    c.batch(close_statement("big"), sync())


def several_statements_in_one_batch(c: Client) -> None:
    prepares = [parse(f"select {number}, $1::int", name=f"m{number}") for number in range(8)]
    c.batch(*prepares, sync())
    c.batch(*[bind(["1"], name=f"m{number}") + execute() for number in range(8)], sync())
    c.batch(*[run(f"m{number}", "2") for number in range(8)], ready=8)
    c.batch(*[close_statement(f"m{number}") for number in range(8)], sync())


def deallocate_one(c: Client) -> None:
    c.batch(parse("select 'd'", name="dealloc"), sync())
    c.query("deallocate dealloc")
    c.batch(run("dealloc"))
    c.batch(parse("select 'e'", name="dealloc"), sync())
    c.batch(run("dealloc"))
    c.batch(close_statement("dealloc"), sync())


def deallocate_all_and_discard_all(c: Client) -> None:
    for sql in ("deallocate all", "discard all"):
        c.batch(parse("select 'a'", name="da"), sync())
        c.query(sql)
        c.batch(run("da"))
        c.batch(parse("select 'b'", name="da"), sync())
        c.batch(run("da"))
        c.extended(sql)
        c.batch(run("da"))


def deallocate_all_inside_a_multi_statement(c: Client) -> None:
    c.batch(parse("select 'a'", name="dm"), sync())
    c.query("select 1; deallocate all; select 2")
    c.batch(run("dm"))


def result_type_changes(c: Client) -> None:
    c.query("create table shape (a int); insert into shape values (1)")
    c.batch(parse("select * from shape", name="star"), sync())
    c.batch(run("star"))
    c.query("drop table shape")
    c.batch(run("star"))
    c.batch(close_statement("star"), sync())


SCRIPTS = [
    named_statement_is_used_again,
    unnamed_statement_is_bound_later,
    unnamed_statement_dies_at_a_simple_query,
    unnamed_statement_is_replaced,
    failed_unnamed_parse_destroys_the_previous,
    failed_named_parse_defines_nothing,
    failed_parse_and_its_use_in_one_batch,
    parse_after_an_error_is_skipped_and_defines_nothing,
    close_after_an_error_is_skipped,
    duplicate_name,
    duplicate_name_in_one_batch,
    unknown_name,
    close_of_an_unknown_name_succeeds,
    name_is_reused_for_another_statement,
    close_and_use_in_one_batch,
    odd_names,
    parameter_types_are_part_of_a_statement,
    bind_larger_than_any_buffer,
    several_statements_in_one_batch,
    deallocate_one,
    deallocate_all_and_discard_all,
    deallocate_all_inside_a_multi_statement,
    result_type_changes,
]


@pytest.mark.routes("session", "transaction", "statement")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_prepared_statements(parity: Parity, script: Script) -> None:
    parity(script)


def test_statement_survives_a_rollback(parity: Parity) -> None:
    parity(statement_survives_a_rollback)


@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_same_name_means_each_clients_own_statement(route: Route) -> None:
    first, second = route.connect(), route.connect()
    first.batch(parse("select 'first'", name="mine"), sync())
    second.batch(parse("select 'second', 2", name="mine"), sync())

    for _ in range(5):
        assert rows(first.batch(run("mine"))) == [["first"]]
        assert rows(second.batch(run("mine"))) == [["second", "2"]]


@pytest.mark.routes("transaction", "statement", chunks=("none", "random"))
def test_statements_follow_clients_over_the_servers(route: Route) -> None:
    """More clients than servers: everyone runs where the statement was never prepared."""
    if route.mode == "direct":
        clients = [route.connect() for _ in range(2)]
    else:
        clients = [route.connect() for _ in range(8)]
    for number, client in enumerate(clients):
        client.batch(parse(f"select {number}, $1::int, pg_backend_pid()", name="s"), sync())
        client.batch(parse(f"select 'unnamed {number}', $1::int"), sync())

    servers = set()
    for turn in range(6):
        for client in clients:
            client.send(run("", str(turn)))
        for number, client in enumerate(clients):
            assert rows(client.until_ready()) == [[f"unnamed {number}", str(turn)]]
        for client in clients:
            client.send(run("s", str(turn)))
        for number, client in enumerate(clients):
            [[value, parameter, pid]] = rows(client.until_ready())
            assert (value, parameter) == (str(number), str(turn))
            servers.add(pid)

    assert len(servers) == 2


@pytest.mark.routes("session", "transaction", chunks=("none",))
def test_plan_with_a_changed_result_type_recovers_at_the_latest_after_one_error(route: Route) -> None:
    client, admin = route.connect(), route.connect()
    admin.query("create table reshaped (a int); insert into reshaped values (1)")
    try:
        client.batch(parse("select * from reshaped", name="star"), sync())
        assert rows(client.batch(run("star"))) == [["1"]]
        admin.query("alter table reshaped add column b int default 2")

        events = client.batch(run("star"))
        if sqlstates(events):
            assert sqlstates(events) == ["0A000"]
        else:
            assert rows(events) == [["1", "2"]]
        client.batch(close_statement("star"), parse("select * from reshaped", name="star"), sync())
        assert rows(client.batch(run("star"))) == [["1", "2"]]
    finally:
        admin.query("drop table reshaped")


@pytest.fixture(scope="module")
def tiny_proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """A proxy whose servers keep only some 2 KB of prepared statements, and whose clients may have 50."""
    folder = tmp_path_factory.mktemp("tiny-proxy")
    limits = {"server_prepared_bytes": 2048, "max_prepared_statements": 50, "max_prepared_bytes": 8192}
    with HeliosProcess(Path(folder), base_settings(postgres, Path(folder), limits=limits)) as process:
        yield process


def test_eviction_with_twenty_clients_on_two_servers(tiny_proxy: HeliosProcess) -> None:
    def use_statements(number: int) -> None:
        with Client(tiny_proxy.target()) as client:
            for kept in range(6):
                padding = "x" * 120
                sql = f"select {number}, {kept}, $1::int, length('{padding}')"
                assert brief(client.batch(parse(sql, name=f"k{kept}"), sync()))[0] == "ParseComplete"
            for turn in range(15):
                kept = (turn * 5 + number) % 6
                events = client.batch(run(f"k{kept}", str(turn)))
                assert rows(events) == [[str(number), str(kept), str(turn), "120"]], brief(events)
                everything = b"".join(bind([str(turn)], name=f"k{n}") + execute() for n in range(6))
                assert len(rows(client.batch(everything, sync()))) == 6

    in_parallel(CLIENTS, use_statements)

    with Client(tiny_proxy.target()) as client:
        held = int(client.value("select coalesce(sum(length(statement)), 0) from pg_prepared_statements") or 0)
    assert held < 8192


def test_too_many_statements_are_refused_without_a_disconnect(tiny_proxy: HeliosProcess) -> None:
    with Client(tiny_proxy.target()) as client:
        codes = [sqlstates(client.batch(parse("select 1", name=f"n{number}"), sync())) for number in range(60)]

        assert codes[:50] == [[]] * 50
        assert codes[50] in (["54000"], ["53200"], ["53400"]), codes[50]
        assert client.value("select 1") == "1"
        client.batch(close_statement("n0"), sync())
        assert sqlstates(client.batch(parse("select 1", name="fresh"), sync())) == []


def test_too_much_statement_text_is_refused_without_a_disconnect(tiny_proxy: HeliosProcess) -> None:
    with Client(tiny_proxy.target()) as client:
        text = "select '" + "t" * 3000 + "'"
        codes = [sqlstates(client.batch(parse(text, name=f"t{number}"), sync())) for number in range(4)]

        assert [] in codes
        assert codes[-1] != []
        assert client.value("select 1") == "1"


@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_unnamed_parse_with_its_bind_in_one_batch_stays_unnamed(route: Route) -> None:
    client = route.connect()

    client.extended("select 'never named', $1::int", "1")

    named = client.value("select count(*) from pg_prepared_statements where statement like 'select ''never named%'")
    assert named == "0"


@pytest.mark.routes("session", "transaction", chunks=("none", "7"))
def test_pipelined_parse_of_a_known_statement_waits_its_turn(route: Route) -> None:
    """The reply to a Parse that needs no server must not overtake the replies before it."""
    teacher, pupil = route.connect(), route.connect()
    teacher.batch(parse("select 'known'", name="known"), sync())
    teacher.batch(run("known"))

    events = pupil.batch(query("select 'first'"), parse("select 'known'", name="known"), run("known"), ready=2)

    assert brief(events) == [
        "RowDescription ?column?",
        "DataRow first",
        "CommandComplete SELECT 1",
        "ReadyForQuery I",
        "ParseComplete",
        "BindComplete",
        "DataRow known",
        "CommandComplete SELECT 1",
        "ReadyForQuery I",
    ]
