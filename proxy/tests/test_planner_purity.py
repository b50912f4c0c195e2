"""What calls of functions are found to do, by the functions' definitions as PostgreSQL writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from helios.planner.catalog import Catalog, Function
from helios.planner.context import Context
from helios.planner.decide import plan
from helios.planner.plan import Effect, Plan
from helios.planner.purity import RUN_CODE, SET_SETTINGS


def plpgsql(
    body: str, arguments: str = "", returns: str = "void", name: str = "f", declare: str = "", **more: Any
) -> Function:
    """As pg_get_functiondef() writes it; `returns` is empty for a procedure."""
    kind = "FUNCTION" if returns else "PROCEDURE"
    head = f"CREATE OR REPLACE {kind} public.{name}({arguments})\n"
    head += f" RETURNS {returns}\n" if returns else ""
    block = f"declare {declare} begin {body} end" if declare else f"begin {body} end"
    definition = f"{head} LANGUAGE plpgsql\nAS $function$ {block} $function$\n"
    return Function("public", name, "plpgsql", source=definition, **more)


def sql(source: str, name: str = "f", **more: Any) -> Function:
    return Function("public", name, "sql", source=source, **more)


def standard(body: str, name: str = "f") -> Function:
    return Function("public", name, "sql", source="", body=body)


def native(extension: str | None, name: str = "f", language: str = "c", **more: Any) -> Function:
    return Function("public", name, language, extension=extension, **more)


def planned(*functions: Function, text: str = "select f()") -> tuple[Plan, Context]:
    context = Context(lambda: Catalog("1", functions))
    return plan(text, context), context


@dataclass(frozen=True)
class Row:
    """Functions, of which the first is called, and what the call has of effects."""

    what: str
    effects: str
    functions: tuple[Function, ...]


def row(what: str, effects: str, *functions: Function) -> Row:
    return Row(what, effects, functions)


SET = "perform set_config('work_mem', '1MB', false);"
LOCK = "perform pg_advisory_lock(1);"

TABLE = (
    # SQL
    row("a body in SQL", "", sql("select 1; insert into t values (1)")),
    row("an empty body", "", sql("")),
    row("set_config in SQL", "settings", sql("select 1; select set_config('a.b', '1', false)")),
    row("a local setting in SQL", "", sql("select set_config('a.b', '1', true)")),
    row("words in a literal", "", sql("select 'set_config(1)', $$pg_advisory_lock(1)$$ -- listen x")),
    row("SET in SQL", "settings", sql("set work_mem = '1MB'")),
    row("SQL that is refused", "unknown", sql("selec 1")),
    row("SQL that is too long", "unknown", Function("public", "f", "sql")),
    row("LISTEN in SQL", "listen", sql("listen x")),
    row(
        "several effects",
        "settings temp advisory",
        sql("set a.b = 1; create temp table t (); select pg_advisory_lock(1)"),
    ),
    # standard SQL
    row("RETURN", "", standard("RETURN (a + 1)")),
    row("RETURN of a call", "advisory", standard("RETURN pg_try_advisory_lock((a)::bigint)")),
    row("BEGIN ATOMIC", "", standard("BEGIN ATOMIC\n SELECT 1;\n INSERT INTO public.t (a) VALUES (1);\nEND")),
    row(
        "set_config in BEGIN ATOMIC",
        "settings",
        standard("BEGIN ATOMIC\n SELECT set_config('a'::text, 'b'::text, false);\nEND"),
    ),
    row(
        "a local one", "", standard("BEGIN ATOMIC\n SELECT set_config('a'::text, 'b'::text, true) AS set_config;\nEND")
    ),
    row(
        "nested in BEGIN ATOMIC",
        "advisory",
        standard("BEGIN ATOMIC\n WITH a AS (SELECT public.g() AS g) SELECT g FROM a;\nEND"),
        sql("select pg_advisory_lock(1)", "g"),
    ),
    # PL/pgSQL
    row("a block", "", plpgsql("return a + 1;", "a integer", "integer")),
    row("a procedure", "", plpgsql("insert into t values (1); commit;", returns="")),
    row(
        "a procedure that calls one",
        "settings",
        plpgsql("call g();", returns=""),
        plpgsql("set a.b = 1;", name="g", returns=""),
    ),
    row(
        "a record of a table",
        "",
        plpgsql(
            "select * into r from t; r.a := lower(r.a); return next r;", returns="SETOF public.t", declare="r public.t;"
        ),
    ),
    row("rows by a query", "", plpgsql("return query select id from t;", returns="TABLE(id integer, name text)")),
    row("a variadic parameter", "", plpgsql("return d[1];", "VARIADIC d text[]", "text")),
    row("set_config", "settings", plpgsql(SET)),
    row("in a nested block", "settings", plpgsql(f"begin begin {SET} end; end;")),
    row("in an exception handler", "settings", plpgsql(f"begin perform 1; exception when others then {SET} end;")),
    row("in a loop", "settings", plpgsql(f"for i in 1..3 loop {SET} end loop;")),
    row(
        "in the query of a loop",
        "advisory",
        plpgsql("for r in select pg_advisory_lock(1) loop null; end loop;", declare="r record;"),
    ),
    row("in a condition", "advisory", plpgsql("if pg_try_advisory_lock(1) then return; end if;")),
    row("in a branch of CASE", "advisory", plpgsql(f"case 1 when 2 then {LOCK} else null; end case;")),
    row("in a declaration", "advisory", plpgsql("null;", declare="a bool := pg_try_advisory_lock(1);")),
    row("in a cursor", "advisory", plpgsql("open c; close c;", declare="c cursor for select pg_advisory_lock(1);")),
    row("in an assignment", "advisory", plpgsql("a[1] := pg_try_advisory_lock(1);", declare="a bool[];")),
    row("in RAISE", "advisory", plpgsql("raise notice '%', pg_try_advisory_lock(1);")),
    row("in RETURN", "settings", plpgsql("return set_config('a.b', 'c', false);", returns="text")),
    row("SET LOCAL", "", plpgsql("set local work_mem = '1MB';")),
    row("a temporary table", "temp", plpgsql("create temp table x (a int);")),
    row("one that is dropped at commit", "", plpgsql("create temp table x on commit drop as select 1;")),
    row("EXECUTE", "unknown", plpgsql("execute 'select 1';")),
    row("EXECUTE in a handler", "unknown", plpgsql("begin null; exception when others then execute format('x'); end;")),
    row("FOR IN EXECUTE", "unknown", plpgsql("for r in execute 'x' loop null; end loop;", declare="r record;")),
    row("OPEN FOR EXECUTE", "unknown", plpgsql("open c for execute 'x';", declare="c refcursor;")),
    row("RETURN QUERY EXECUTE", "unknown", plpgsql("return query execute 'x';", returns="SETOF integer")),
    row("EXECUTE in a literal", "", plpgsql("raise notice 'execute select 1'; /* execute x */")),
    row("EXECUTE and a lock", "unknown", plpgsql(f"{LOCK} execute 'x';")),
    row("a block that is refused", "unknown", plpgsql("this is nothing")),
    row("a trigger function", "unknown", plpgsql("new.a := 1; return new;", returns="trigger")),
    # one calls another
    row("a clean one", "", sql("select g()"), plpgsql("return 1;", returns="integer", name="g")),
    row("one that does", "settings", plpgsql("perform public.g();"), plpgsql(SET, name="g")),
    row(
        "three deep",
        "advisory",
        sql("select g()"),
        plpgsql("perform h();", name="g"),
        sql("select pg_advisory_lock(1)", "h"),
    ),
    row("one that is not there", "unknown", sql("select g()")),
    row("itself", "", plpgsql("return f(a - 1);", "a integer", "integer")),
    row("itself, and a lock", "advisory", plpgsql(f"perform f(a - 1); {LOCK}", "a integer")),
    row("each other", "", sql("select g()"), sql("select f()", "g")),
    row(
        "each other, and one does",
        "settings advisory",
        sql("select g()"),
        sql("select f(), h()", "g"),
        sql("set a.b = 1; select pg_advisory_lock(1), g()", "h"),
    ),
    # overloads and schemas
    row("two clean overloads", "", sql("select 1"), sql("select 2")),
    row("a dirty overload", "settings", sql("select 1"), plpgsql(SET, "a integer")),
    row(
        "a dirty overload of another schema",
        "settings",
        sql("select 1"),
        Function("other", "f", "sql", source="set a.b = 1"),
    ),
    row("an overload in an unknown language", "unknown", sql("select 1"), native(None, language="plpython3u")),
    row("a name of another schema", "unknown", sql("select other.g()"), sql("select 1", "g")),
    # defaults and aggregates
    row("a default that locks", "advisory", sql("select 1", defaults="1, pg_advisory_lock(1)")),
    row("a clean default", "", plpgsql("null;", "a integer, b text DEFAULT lower('A')", defaults="lower('A'::text)")),
    row(
        "a clean aggregate",
        "",
        native(None, language="internal", support=(("pg_catalog", "int4pl"), ("public", "g"))),
        sql("select 1", "g"),
    ),
    row(
        "an aggregate whose step sets",
        "settings",
        native(None, language="internal", support=(("public", "g"),)),
        plpgsql(SET, name="g"),
    ),
    row(
        "an aggregate of a built-in that sets",
        "settings",
        native(None, language="internal", support=(("pg_catalog", "set_config"),)),
    ),
    # C
    row("C of an extension", "", native("postgis")),
    row("an internal one of an extension", "", native("uuid-ossp", language="internal")),
    row("C of nobody", "unknown", native(None)),
    row("an internal one of nobody", "unknown", native(None, language="internal")),
    row("C that is given a statement", "unknown", native("somebody", takes_code=True)),
    row("C of dblink", "unknown", native("dblink")),
    row("a language's own function", "unknown", native("plperl")),
    row("PL/pgSQL of an extension", "settings", plpgsql(SET, extension="postgis")),
    row("SQL of an extension", "", sql("select g()", extension="postgis"), native("postgis", "g")),
    # what is run only later
    row(
        "a function that makes one",
        "",
        plpgsql("create function g() returns int language sql as $$ select set_config('a', 'b', false) $$;"),
    ),
    row("DO in a function", "advisory", sql("do $$ begin perform pg_advisory_lock(1); end $$")),
)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
def test_a_call_does_what_the_function_does(row: Row) -> None:
    made, context = planned(*row.functions)

    assert {str(effect) for effect in made.effects} == set(row.effects.split()), made.reasons
    assert len(made.reasons) == len(made.effects)
    assert context.reads == {"catalog"}
    assert not made.exact


@pytest.mark.parametrize(
    "text", ["select f()", "call f()", "do $$ begin perform f(); end $$", "explain select public.f()"]
)
def test_a_call_is_one_however_it_is_written(text: str) -> None:
    clean, _ = planned(sql("select 1"), text=text)
    dirty, _ = planned(sql("select pg_advisory_lock(1)"), text=text)

    assert (clean.effects, dirty.effects) == ((), (Effect.ADVISORY,))


def test_reasons_name_the_function() -> None:
    functions = (plpgsql("perform g();"), plpgsql(SET, name="g"), native("dblink", "h"))
    made, context = planned(*functions, text="select public.f(), h(), pg_advisory_lock(1)")

    assert made.effects == (Effect.SETTINGS, Effect.ADVISORY, Effect.UNKNOWN)
    assert made.reasons == (
        "public.f() calls g(), which contains: set_config() sets a setting beyond the transaction",
        "pg_advisory_lock() keeps a lock after the transaction",
        "h() of extension dblink may run what it is given",
    )
    assert not context.lacks


def test_a_function_that_is_missing_is_noted() -> None:
    made, context = planned(sql("select g()"))

    assert made.reasons == ("g() is not in the catalog and may do anything",)
    assert context.lacks


def test_without_a_catalog_every_call_may_do_anything() -> None:
    context = Context()
    made = plan("select s.f()", context)

    assert made.reasons == ("s.f() is not built in and may do anything",)
    assert context.reads == {"catalog"}
    assert not context.lacks


@pytest.mark.parametrize(
    ("function", "settings"),
    [
        (plpgsql("set app.tenant = 'x';"), ("app.tenant",)),
        (plpgsql(SET), ("work_mem",)),
        (native("pg_trgm", "f"), ()),
        *((native(extension, name), (setting,)) for (extension, name), setting in SET_SETTINGS.items()),
    ],
)
def test_settings_are_those_of_the_body(function: Function, settings: tuple[str, ...]) -> None:
    made, _ = planned(function, text=f"select {function.name}()")

    assert made.settings == settings


@pytest.mark.parametrize("extension", sorted(RUN_CODE))
def test_extensions_that_run_code_are_not_trusted(extension: str) -> None:
    assert planned(native(extension))[0].effects == (Effect.UNKNOWN,)


@pytest.mark.parametrize(
    "text",
    [
        "create or replace function f() returns int language sql return 1",
        "create procedure p() language plpgsql as 'begin end'",
        "create aggregate a (int) (sfunc = int4pl, stype = int)",
        "alter function f() volatile",
        "alter function f() rename to g",
        "alter routine f() set schema other",
        "alter schema a rename to b",
        "alter extension x update",
        "drop function f()",
        "drop schema s cascade",
        "create extension x",
        "drop extension x",
        "do $$ begin create function f() returns int return 1; end $$",
        "select defines()",
    ],
)
def test_texts_that_define_functions_say_so(text: str) -> None:
    definer = plpgsql("create or replace function g() returns int return 1;", name="defines")

    assert planned(definer, text=text)[0].defines


@pytest.mark.parametrize(
    "text",
    [
        "create table t (a int)",
        "drop table t",
        "alter table t rename to u",
        "create schema s",
        "create type t as (a int)",
        "create operator + (function = f)",
        "explain create table t as select 1",
        "select 'create function f()'",
    ],
)
def test_texts_that_define_something_else_do_not(text: str) -> None:
    assert not planned(text=text)[0].defines
