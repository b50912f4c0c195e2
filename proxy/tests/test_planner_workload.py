"""What kind of work a read is, by its tables, its tree and the catalog."""

from __future__ import annotations

import pytest

from helios.planner.catalog import Catalog, Function, Operator, Relation, Table
from helios.planner.context import Context, Policy
from helios.planner.decide import plan
from helios.planner.plan import Origin, Route, Routing, Workload
from helios.planner.wish import Hint, Rule
from helios.planner.workload import Workloads

CATALOG = Catalog(
    "1",
    functions=(Function("public", "median", "sql", support=(("pg_catalog", "array_append"),)),),
    operators=(Operator("<=>", ("public", "cosine_distance")), Operator("<->", ("public", "l2_distance"))),
    relations=(
        Relation("public", "totals", queries=("SELECT day, sum(amount) FROM public.orders GROUP BY day",)),
        Relation("public", "plain", queries=("SELECT id, amount FROM public.orders",)),
    ),
    tables=(
        Table("public", "orders", 5_000_000, frozenset({"id", "customer_id", "created_at"})),
        Table("public", "lines", 20_000_000, frozenset({"order_id"})),
        Table("public", "countries", 50_000, frozenset({"code"})),
        Table("docs", "pages", 2_000, frozenset({"id"}), frozenset({"embedding"})),
    ),
)
ALL: dict[Workload, tuple[str, ...]] = {kind: (f"{kind}-*",) for kind in Workload if kind is not Workload.COLD}


def routing(sql: str, *hints: Hint, is_split: bool = True, **more: object) -> Routing:
    workloads = Workloads(**{"targets": ALL, "large_table_rows": 100_000, **more})  # type: ignore[arg-type]
    return plan(sql, Context(lambda: CATALOG, Policy(is_split, hints, workloads=workloads))).routing


OLAP = [
    "select count(*) from orders",
    "select status, sum(amount) from public.orders where created_at > now() - interval '1 day' group by status",
    "select id, row_number() over (order by amount) from orders",
    "select status, city, count(*) from orders group by grouping sets ((status), (city))",
    "select max(amount) from orders",
    "select median(amount) from orders",
    "select * from totals where day = '2020-01-01'",
    "select sum(amount) from plain",
    "with recent as (select * from orders) select avg(amount) from recent",
    "select c.name, (select count(*) from orders o where o.country = c.code) from countries c",
    "select 1 where exists (select from orders having count(*) > 3)",
    "select count(*) from orders where id = 1 or amount > 5",
    "select count(*) from orders where customer_id + 0 = 3",
    "copy (select sum(amount) from orders) to stdout",
]

OLTP = [
    "select 1",
    "select * from orders where id = 7",
    "select * from orders",
    "select count(*) from orders where id = 1",
    "select count(*), sum(amount) from orders where customer_id = $1 and amount > 5",
    "select count(*) from orders where id in (1, 2, 3)",
    "select count(*) from orders where id = any ($1)",
    "select max(id), min(created_at) from orders",
    "select o.id, sum(l.price) from orders o join lines l on l.order_id = o.id where o.id = $1 group by o.id",
    "select count(*) from countries",
    "select c.name, (select count(*) from orders o where o.customer_id = c.id) from countries c",
    "select count(*) from missing",
    "select point(1, 2) <-> point(3, 4)",
    "select name from countries order by place <-> point(1, 2) limit 5",
    "with orders as (select 1 as id) select count(*) from orders",
]

VECTOR = [
    "select id from docs.pages order by embedding <-> $1 limit 5",
    "select id, embedding <=> $1 as d from docs.pages order by d limit 5",
    "select id from docs.pages where embedding <#> '[1,2]' < 0.3",
    "select id from elsewhere order by thing <-> '[1,2,3]'::vector limit 5",
    "select id from elsewhere order by lower(thing) <=> lower($1) limit 5",
]


@pytest.mark.parametrize(
    ("kind", "sql"),
    [
        *((Workload.OLAP, sql) for sql in OLAP),
        *((Workload.OLTP, sql) for sql in OLTP),
        *((Workload.VECTOR, sql) for sql in VECTOR),
    ],
)
def test_kinds_are_told_by_tree_and_catalog(kind: Workload, sql: str) -> None:
    for is_split in (True, False):
        made = routing(sql, is_split=is_split)

        assert (made.workload, made.route, made.origin) == (kind, Route.ANY, Origin.WORKLOAD), made.reason


def test_what_decides_is_told() -> None:
    assert routing(OLAP[0]).reason == "it only reads, and aggregates public.orders, which is large"
    assert routing(VECTOR[0]).reason == "it only reads, and computes distances between vectors (<->)"
    patterns = {Workload.OLAP: ("totals",)}
    assert routing(OLAP[6], patterns=patterns).reason == "it only reads, and totals is among its olap_patterns"


def test_patterns_of_tables_go_before_what_is_done_with_them() -> None:
    patterns = {
        Workload.VECTOR: ("docs.*",),
        Workload.OLAP: ("countr?es", "order[s]"),
        Workload.OLTP: ("public.orders",),
    }

    def kind(sql: str) -> Workload | None:
        return routing(sql, patterns=patterns).workload

    assert kind("select id from docs.pages") is Workload.VECTOR
    assert kind("select * from countries, docs.pages") is Workload.VECTOR
    assert kind("select name from countries where code = 'x'") is Workload.OLAP
    assert kind("select sum(amount) from orders") is Workload.OLTP
    assert kind("select sum(amount) from plain") is Workload.OLTP, "the table behind a view"
    assert kind("select sum(amount) from other.orders, lines") is Workload.OLAP


def test_only_kinds_with_a_target_are_sent_anywhere() -> None:
    targets = {Workload.OLAP: ("big",)}
    plain = routing(OLTP[1], targets=targets)
    assert (plain.workload, plain.route, plain.origin) == (None, Route.ANY, Origin.STATEMENT)
    assert routing(OLTP[1], targets=targets, is_split=False).route is Route.PRIMARY
    assert routing(OLAP[0], targets=targets, is_split=False).route is Route.ANY
    assert routing(OLAP[0], targets={}).workload is None


def test_writes_stay_and_wishes_go_before_kinds() -> None:
    write = routing("insert into items select count(*) from orders")
    assert (write.route, write.workload, write.reason) == (Route.PRIMARY, None, "INSERT writes")
    for hint in (("route", "standby"), ("route", "primary"), ("node", "b"), ("consistency", "strong")):
        made = routing(OLAP[0], hint)
        assert (made.workload, made.origin) == (None, Origin.HINT)
    assert routing(OLAP[0], ("lag", "5")).workload is Workload.OLAP
    rules = (Rule("reports", "standby"),)
    workloads = Workloads(ALL, large_table_rows=1)
    context = Context(lambda: CATALOG, Policy(True, (), rules, workloads))
    assert plan(OLAP[0], context).routing.workload is None


def test_the_hint_for_vectors_needs_a_target() -> None:
    made = routing(OLTP[1], ("route", "vector"))
    assert (made.workload, made.origin, made.notices) == (Workload.VECTOR, Origin.HINT, ())
    without = routing(OLTP[1], ("route", "Vector"), targets={})
    assert (without.workload, without.route) == (None, Route.ANY)
    assert without.notices == ("hint route=Vector has no effect: no node is meant for that",)


def test_tables_are_told_where_somebody_counts_them() -> None:
    def tables(sql: str, targets: dict[Workload, tuple[str, ...]]) -> tuple[str, ...]:
        return plan(sql, Context(lambda: CATALOG, Policy(True, workloads=Workloads(targets)))).tables

    cold: dict[Workload, tuple[str, ...]] = {Workload.COLD: ("old-*",)}
    sql = "with o as (select 1) select * from totals, o, docs.pages, pg_class, public.countries"
    assert tables(sql, cold) == ("countries", "docs.pages", "orders", "totals")
    assert tables("update public.orders set id = 1", cold) == ("orders",)
    assert tables("select 1", cold) == tables(sql, ALL) == ()


def test_an_unknown_database_has_no_kinds_but_those_of_patterns() -> None:
    def asked(sql: str) -> Routing:
        workloads = Workloads(ALL, {Workload.OLAP: ("pg_*", "orders")}, 1)
        return plan(sql, Context(lambda: None, Policy(True, workloads=workloads))).routing

    assert asked("select sum(amount) from orders").route is Route.PRIMARY
    assert asked("select sum(generate_series) from generate_series(1, 3)").workload is Workload.OLTP
