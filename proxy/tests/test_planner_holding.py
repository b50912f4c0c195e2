"""What a text changes of the things that its session alone has."""

from __future__ import annotations

import pytest

from helios.planner.context import Context
from helios.planner.decide import plan
from helios.planner.explain import NO_OBJECTS
from helios.planner.plan import Holding

LOCK = Holding(takes_locks=True)
TABLE = Holding(makes=("t",))
WRITE = Holding(writes=("t",))
MORE = Holding(does_more=True)
CURSOR = Holding(moves_cursor=True)


@pytest.mark.parametrize(
    ("sql", "holding"),
    [
        ("select pg_advisory_lock(1)", LOCK),
        ("select pg_try_advisory_lock_shared(hashtext($1)) from o where id = 3", LOCK),
        ("select pg_catalog.pg_advisory_unlock_all()", Holding(frees_locks=True)),
        ("select pg_advisory_xact_lock(1)", MORE),
        ("select pg_advisory_lock(1), pg_notify('a', 'b')", Holding(takes_locks=True, does_more=True)),
        ("create temp table t (id serial, n int default 3)", TABLE),
        ("create table pg_temp.t as select * from o", TABLE),
        ("select * into temporary t from o", TABLE),
        ("create temp sequence t", TABLE),
        ("create temp table t (n int) on commit drop", None),
        ("create temp table t (n int) inherits (o)", Holding(makes=("t",), does_more=True)),
        ("create table t (n int)", MORE),
        ("create temp view t as select 1", Holding(writes=("t",), does_more=True)),
        ("insert into t select random(), nextval('s') from o returning n", WRITE),
        ("insert into public.t values (1)", MORE),
        ("update pg_temp.t set n = 1", WRITE),
        ("merge into t using o on t.n = o.n when matched then delete", WRITE),
        ("with gone as (delete from o returning *) insert into t select * from gone", Holding(writes=("o", "t"))),
        ("with a as (delete from s.o) insert into t select 1", Holding(writes=("t",), does_more=True)),
        ("insert into t values (f(1))", Holding(writes=("t",), does_more=True)),
        ("truncate t", WRITE),
        ("create index on t (n)", WRITE),
        ("alter table t add column b int, drop column a", WRITE),
        ("alter table t inherit o", Holding(writes=("t",), does_more=True)),
        ("alter table t rename to u", Holding(writes=("t",), does_more=True)),
        ("drop table if exists t, pg_temp.u", Holding(writes=("t", "u"), drops=True)),
        ("drop table public.t", Holding(drops=True, does_more=True)),
        ("copy t from stdin", Holding(writes=("t",), does_more=True)),
        ("copy t to stdout", None),
        ("lock table t", None),
        ("analyze t", None),
        ("explain select * from t", None),
        ("prepare s as insert into t values (1)", None),
        ("declare c cursor with hold for select 1", Holding(moves_cursor=True, holds_cursor=True)),
        ("declare c cursor for select 1", CURSOR),
        ("fetch 3 from c", CURSOR),
        ("close all", CURSOR),
        ("select * from t", None),
        ("select f()", MORE),
        ("execute s", MORE),
        ("begin; insert into t values (1); commit", WRITE),
    ],
)  # fmt: skip
def test_what_a_text_changes_of_what_its_session_has(sql: str, holding: Holding | None) -> None:
    assert plan(sql, Context(lambda: NO_OBJECTS)).holding == holding
