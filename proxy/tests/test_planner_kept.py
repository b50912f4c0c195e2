"""Which numbers of sequences a statement tells its client, and where they are written when it is run again."""

from __future__ import annotations

import pytest

from helios.planner.catalog import Catalog, Numbered
from helios.planner.context import Context, Policy
from helios.planner.decide import plan
from helios.planner.plan import Kept, Place

CATALOG = Catalog(
    "1",
    numbered=(
        Numbered("public", "id", "orders", 2, "public.orders_id_seq", True),
        Numbered("public", "no", "orders", 4, "public.orders_no_seq"),
        Numbered("public", "id", "twice", 1, "public.twice_id_seq"),
        Numbered("other", "id", "twice", 1, "other.twice_id_seq"),
        Numbered("public", 'a"B', "odd", 1, 'public."odd_a""B_seq"'),
    ),
)


def kept(sql: str, keeps: bool = True, catalog: Catalog | None = CATALOG) -> Kept | None:
    return plan(sql, Context(lambda: catalog, Policy(keeps=keeps))).kept


def of_orders(column: int, place: Place, at: int = 0) -> Kept:
    return Kept(column, '"id"', "public.orders_id_seq", True, place, at)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("insert into orders (a, b) values (1, $1), ($2, 'x') returning id", of_orders(0, Place.ROWS)),
        ("insert into public.orders as o (a) values (1) returning a, o.id as n", of_orders(1, Place.ROWS)),
        ("insert into orders (a) values (1) returning 1, *", of_orders(2, Place.ROWS)),
        ("insert into orders (a) overriding system value values (1) returning id", of_orders(0, Place.ROWS)),
        ("insert into orders (a) values (1) on conflict do nothing returning id", of_orders(0, Place.ROWS)),
        ("insert into orders default values returning id", of_orders(0, Place.NOTHING)),
        ("insert into orders (a, id) values (1, default), (2, default) returning id", of_orders(0, Place.DEFAULT, 1)),
        ("insert into orders values (1, default, 3) returning id", of_orders(0, Place.DEFAULT, 1)),
        (
            "insert into orders (a) select p::int from (values ($1, 0), ($2, 1)) as v(p, n) order by n returning id",
            of_orders(0, Place.QUERY),
        ),
        (
            "insert into other.twice (a) values (1) returning id",
            Kept(0, '"id"', "other.twice_id_seq", False, Place.ROWS),
        ),
        (
            'insert into odd (b) values (1) returning "a""B"',
            Kept(0, '"a""B"', 'public."odd_a""B_seq"', False, Place.ROWS),
        ),
        # The first column that a sequence fills and that is told.
        (
            "insert into orders (a) values (1) returning no",
            Kept(0, '"no"', "public.orders_no_seq", False, Place.ROWS),
        ),
        ("select nextval('s')", Kept(0, '"nextval"', "s", False, Place.ALONE)),
        ("select pg_catalog.nextval('\"S\"'::regclass) as n", Kept(0, '"n"', '"S"', False, Place.ALONE)),
    ],
)
def test_numbers_that_a_client_is_told(sql: str, expected: Kept) -> None:
    assert kept(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "insert into orders (a) values (1)",
        "insert into orders (a) values (1) returning a, id + 1",
        "insert into orders (id, a) values (1, 2) returning id",
        "insert into orders (a, id) values (1, default), (2, 7) returning id",
        "insert into orders values (1) returning id",
        "insert into orders (a) overriding user value values (1) returning id",
        "with x as (select 1) insert into orders (a) values (1) returning id",
        "insert into orders (a) select b from source returning id",
        "insert into orders (a) select p from (values (1)) as v(p), source returning id",
        "insert into orders select p from (values (1)) as v(p) returning id",
        "insert into twice (a) values (1) returning id",
        "insert into unknown (a) values (1) returning id",
        "insert into orders (a) values (1) returning id; select 1",
        "select nextval($1)",
        "select nextval('s'), 1",
        "select nextval('s') from orders",
        "select nextval('s') limit 1",
        "select nextval('s') union select 1",
        "select other.nextval('s')",
        "select currval('s')",
        "update orders set a = 1 returning id",
    ],
)
def test_what_is_run_as_it_is(sql: str) -> None:
    assert kept(sql) is None


def test_nothing_is_looked_up_where_no_transaction_is_run_again() -> None:
    sql = "insert into orders (a) values (1) returning id"
    context = Context(lambda: CATALOG, Policy())

    assert plan(sql, context).kept is None
    assert context.reads == frozenset()
    assert kept("select nextval('s')", keeps=False) is None


def test_a_table_that_is_not_known_is_looked_for() -> None:
    for table, lacks in (("orders", False), ("brand_new", True)):
        context = Context(lambda: CATALOG, Policy(keeps=True))

        plan(f"insert into {table} (a) values (1) returning id", context)

        assert context.reads == {"catalog"}
        assert context.lacks == lacks
    assert kept("insert into orders (a) values (1) returning id", catalog=None) is None


def test_which_sequence_is_asked_is_a_matter_of_the_literal() -> None:
    context = Context(lambda: CATALOG, Policy(keeps=True))

    assert plan("select nextval('s')", context).exact
    assert not plan("insert into orders (a) values (1) returning id", context).exact
