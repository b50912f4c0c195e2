"""Whether a text may leave values that are others each time."""

from __future__ import annotations

import pytest

from helios.planner.catalog import Catalog, Function
from helios.planner.context import Context
from helios.planner.decide import plan
from helios.planner.explain import NO_OBJECTS

CATALOG = Catalog(
    "1",
    functions=(
        Function("public", "draws", "sql", "insert into t values (random())"),
        Function("public", "through", "sql", "select draws()"),
        Function("public", "plain", "sql", "insert into t values (1)"),
        Function("public", "uuid_generate_v4", "c", extension="uuid-ossp"),
        Function("public", "digest", "c", extension="pgcrypto", is_volatile=False),
    ),
)


@pytest.mark.parametrize(
    ("sql", "is_mutable"),
    [
        ("insert into t values (gen_random_uuid())", True),
        ("insert into t values (pg_catalog.clock_timestamp()) returning *", True),
        ("insert into t select n from o order by random() limit 1", True),
        ("insert into t select n from o tablesample system (1)", True),
        ("insert into t select n from o tablesample system (1) repeatable (7)", False),
        ("with a as (insert into t values (uuidv7())) select 1", True),
        ("update t set n = random() where id = 3", True),
        ("create table t as select statement_timestamp()", True),
        ("do $$ begin insert into t values (random()); end $$", True),
        ("insert into t values (1); select random()", True),
        ("insert into t values (now(), current_timestamp, current_date, transaction_timestamp())", False),
        ("insert into t values (nextval('s')), (default)", False),
        ("insert into t select md5('random()') from random", False),
        ("explain insert into t values (random())", False),
        ("select random(), clock_timestamp()", False),
        ("select * from t where id = gen_random_uuid() for update", True),
        ("select draws()", True),
        ("select through()", True),
        ("select plain()", False),
        ("insert into t values (uuid_generate_v4())", True),
        ("insert into t values (digest('a', 'md5'))", False),
        ("create function f() returns float return random()", False),
        ("begin", False),
    ],
)
def test_values_that_would_be_others(sql: str, is_mutable: bool) -> None:
    assert plan(sql, Context(lambda: CATALOG)).mutable is is_mutable


def test_nothing_is_known_of_functions_without_a_catalog() -> None:
    assert not plan("select draws()", Context(lambda: NO_OBJECTS)).mutable
