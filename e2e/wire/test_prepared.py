"""Prepared statements that outlive their server connection: named, unnamed, failed, closed, evicted, deallocated."""

from __future__ import annotations

import pytest

from harness.client import Client
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
from harness.routes import Parity, Script


def run(name: str, *values: str) -> bytes:
    """Bind, Execute and Sync of a statement prepared before."""
    return bind(values, name=name) + execute() + sync()


@pytest.mark.checklist(22)
def named_statement_is_used_again(c: Client) -> None:
    c.batch(parse("select $1::int + 1", name="plus"), sync())
    for value in ("1", "2", "3"):
        c.batch(run("plus", value))
    c.batch(describe_statement("plus"), sync())
    c.batch(close_statement("plus"), sync())
    c.batch(run("plus", "4"))


@pytest.mark.checklist(25)
def unnamed_statement_is_bound_later(c: Client) -> None:
    c.batch(parse("select $1::int * 2"), sync())
    c.batch(run("", "21"))
    c.batch(run("", "22"))
    c.batch(describe_statement(""), sync())


@pytest.mark.checklist(25)
def unnamed_statement_dies_at_a_simple_query(c: Client) -> None:
    c.batch(parse("select 1"), sync())
    c.query("select 'simple'")
    c.batch(run(""))


@pytest.mark.checklist(25)
def unnamed_statement_is_replaced(c: Client) -> None:
    c.batch(parse("select 'old'"), sync())
    c.batch(parse("select 'new'"), sync())
    c.batch(run(""))


@pytest.mark.checklist(26)
def failed_unnamed_parse_destroys_the_previous(c: Client) -> None:
    c.batch(parse("select 'old'"), sync())
    c.batch(parse("selec"), sync())
    c.batch(run(""))


@pytest.mark.checklist(26)
def failed_named_parse_defines_nothing(c: Client) -> None:
    c.batch(parse("selec", name="broken"), sync())
    c.batch(run("broken"))
    c.batch(parse("select 'mended'", name="broken"), sync())
    c.batch(run("broken"))
    c.batch(close_statement("broken"), sync())


@pytest.mark.checklist(26)
def failed_parse_and_its_use_in_one_batch(c: Client) -> None:
    c.batch(parse("select * from no_such_table", name="t"), bind(name="t"), execute(), sync())
    c.batch(parse("select 1", name="t"), bind(name="t"), execute(), sync())
    c.batch(close_statement("t"), sync())


@pytest.mark.checklist(26)
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


@pytest.mark.checklist(27)
def duplicate_name(c: Client) -> None:
    c.batch(parse("select 1", name="dup"), sync())
    c.batch(parse("select 2", name="dup"), bind(name="dup"), execute(), sync())
    c.batch(run("dup"))
    c.batch(parse("select 1", name="dup"), sync())
    c.batch(close_statement("dup"), sync())


@pytest.mark.checklist(27)
def duplicate_name_in_one_batch(c: Client) -> None:
    c.batch(parse("select 1", name="dd"), parse("select 2", name="dd"), sync())
    c.batch(run("dd"))
    c.batch(close_statement("dd"), sync())


@pytest.mark.checklist(27)
def unknown_name(c: Client) -> None:
    c.batch(run("nobody"))
    c.batch(describe_statement("nobody"), sync())
    c.batch(parse("select 1", name="somebody"), bind(name="nobody"), execute(), sync())
    c.batch(run("somebody"))
    c.batch(close_statement("somebody"), sync())


@pytest.mark.checklist(26)
def close_of_an_unknown_name_succeeds(c: Client) -> None:
    c.batch(close_statement("nobody"), sync())
    c.batch(close_statement(""), sync())
    c.query("select 1")


@pytest.mark.checklist(22)
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


def parse_in_a_failed_transaction(c: Client) -> None:
    c.batch(parse("select 'known'", name="before"), sync())
    c.batch(run("before"))
    c.query("begin")
    c.query("select 1/0")
    c.batch(parse("select 'known'", name="during"), sync())
    c.batch(parse("select 'new'", name="during"), sync())
    c.batch(run("before"))
    c.batch(describe_statement("before"), sync())
    c.batch(parse("rollback", name="end"), bind(name="end"), execute(), sync())
    c.batch(run("during"))
    c.batch(run("before"))
    c.batch(close_statement("before"), close_statement("end"), sync())


@pytest.mark.checklist(20)
def parse_in_a_failed_implicit_transaction(c: Client) -> None:
    c.batch(parse("select 'twice'", name="t1"), sync())
    c.batch(run("t1"))
    c.batch(parse("select 1/0"), bind(), execute(), parse("select 'twice'", name="t2"), sync())
    c.batch(run("t2"))
    c.batch(close_statement("t1"), sync())


def parse_of_a_table_made_in_the_same_pipeline(c: Client) -> None:
    make, drop = "create table piped (a int)", "drop table piped"
    for _ in range(2):
        c.batch(query(make), parse("select * from piped", name="pi"), run("pi"), query(drop), ready=3)
        c.batch(close_statement("pi"), sync())


def statement_used_before_and_after_its_table_is_recreated(c: Client) -> None:
    c.query("create table recreated as select 1 as a")
    c.batch(parse("select a from recreated", name="re"), sync())
    c.batch(run("re"))
    c.query("drop table recreated; create table recreated as select 2 as a")
    c.batch(run("re"))
    c.batch(close_statement("re"), sync())
    c.query("drop table recreated")


@pytest.mark.checklist(36, protocol="extended")
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


@pytest.mark.checklist(29)
def deallocate_all_and_discard_all(c: Client) -> None:
    for sql in ("deallocate all", "discard all"):
        c.batch(parse("select 'a'", name="da"), sync())
        c.query(sql)
        c.batch(run("da"))
        c.batch(parse("select 'b'", name="da"), sync())
        c.batch(run("da"))
        c.extended(sql)
        c.batch(run("da"))


@pytest.mark.checklist(29, protocol="simple")
def deallocate_all_inside_a_multi_statement(c: Client) -> None:
    c.batch(parse("select 'a'", name="dm"), sync())
    c.query("select 1; deallocate all; select 2")
    c.batch(run("dm"))


@pytest.mark.checklist(30)
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
    parse_in_a_failed_implicit_transaction,
    parse_of_a_table_made_in_the_same_pipeline,
    statement_used_before_and_after_its_table_is_recreated,
    bind_larger_than_any_buffer,
    several_statements_in_one_batch,
    deallocate_all_and_discard_all,
    deallocate_all_inside_a_multi_statement,
    result_type_changes,
]


@pytest.mark.routes("session", "transaction", "statement")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_prepared_statements(parity: Parity, script: Script) -> None:
    parity(script)


@pytest.mark.routes("session")
def test_deallocate_by_name(parity: Parity) -> None:
    parity(deallocate_one)


@pytest.mark.parametrize(
    "script", [statement_survives_a_rollback, parse_in_a_failed_transaction], ids=lambda script: script.__name__
)
def test_prepared_statements_and_transactions(parity: Parity, script: Script) -> None:
    parity(script)
