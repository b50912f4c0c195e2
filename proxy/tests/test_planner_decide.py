"""The planner's answers: the corpus, texts without a plan, and literals that must not matter."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_corpus import CORPUS, Row

from helios.errors import PlanError
from helios.planner.context import Context
from helios.planner.decide import plan
from helios.planner.parser import MAX_CHARACTERS, MAX_NESTING
from helios.planner.plan import Effect, Kind, Plan


def planned(text: str) -> Plan:
    return plan(text, Context())


@pytest.mark.parametrize("row", CORPUS, ids=lambda row: row.sql[:60])
def test_statement_has_its_kind_and_effects(row: Row) -> None:
    made = planned(row.sql)

    assert str(made.kind) == row.kind
    assert {str(effect) for effect in made.effects} == row.effects
    assert len(made.reasons) == len(made.effects)


def test_corpus_shows_every_kind_and_effect() -> None:
    assert len(CORPUS) >= 150
    assert {row.kind for row in CORPUS} == set(Kind) - {Kind.UNKNOWN}
    assert {effect for row in CORPUS for effect in row.effects} == set(Effect)


def test_reasons_name_the_construct() -> None:
    made = planned("select f(), pg_advisory_lock(1); set work_mem = 1")

    assert made.effects == (Effect.SETTINGS, Effect.ADVISORY, Effect.UNKNOWN)
    assert made.reasons == (
        "SET work_mem lasts beyond the transaction",
        "pg_advisory_lock() keeps a lock after the transaction",
        "f() is not built in and may do anything",
    )
    assert made.is_multi


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("set DateStyle = 'ISO'", {"datestyle"}),
        ('set "Helios.A" = 1; reset work_mem', {"helios.a"}),
        ("set time zone 'UTC'", {"timezone"}),
        ("set role none", {"role"}),
        ("set session characteristics as transaction read only", {"default_transaction_read_only"}),
        ("reset all", set()),
        ("select set_config('Shop.Tenant', $1, false)", {"shop.tenant"}),
        ("select set_config($1, '1MB', false)", {"*"}),
        ("select set_config()", {"*"}),
        ("set local work_mem = 1", set()),
        ("select 1", set()),
    ],
)
def test_settings_are_named(text: str, names: set[str]) -> None:
    assert set(planned(text).settings) == names


def test_the_catalog_is_read_for_calls_and_for_nothing_else() -> None:
    for row in CORPUS:
        context = Context()
        made = plan(row.sql, context)

        called = any(reason.endswith("() is not built in and may do anything") for reason in made.reasons)
        assert context.reads == ({"catalog"} if called else frozenset()), row


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("selec 1", 1),
        ("select 'é' frm x y", 16),
        ("select '€𝄞' frm x", 17),
        ("select (", 9),
        ("select 'open", 8),
        ("select 1 \0", 10),
    ],
)
def test_refused_text_has_a_position(text: str, position: int) -> None:
    with pytest.raises(PlanError) as raised:
        planned(text)

    assert raised.value.position == position


@pytest.mark.parametrize(
    ("head", "part", "tail"),
    [
        ("select 1", "+1", ""),
        ("select 1", "::int", ""),
        ("select 1, 2", " union select 1, 2", ""),
        ("select 1, 2", " union values (1, 2), (3, 4)", ""),
        ("select ", "f(", "1"),
        ("select 1 from a", " natural join a", ""),
        ("select ','", "||','", ""),
        ("select ", "(1,", "2"),
        ("select a", " collate b", ""),
        ("do $$ begin perform 1", "+1", "; end $$"),
    ],
)
def test_deep_nesting_is_refused_and_does_no_harm(head: str, part: str, tail: str) -> None:
    text = head + part * ((MAX_CHARACTERS - len(head) - len(tail)) // len(part)) + tail

    if text.startswith("do"):
        assert planned(text).effects == (Effect.UNKNOWN,)
    else:
        with pytest.raises(PlanError):
            planned(text)


@pytest.mark.parametrize(
    ("head", "part", "tail"), [("select 1", "+1", ""), ("select 1", "::x", ""), ("select 1", " union select 1", "")]
)
def test_what_is_just_not_refused_is_parsed(head: str, part: str, tail: str) -> None:
    tokens = len(re.findall(r"\w+|::|\+", part)) + (2 if "union" in part else 0)
    count = (MAX_NESTING - 10) // tokens

    assert planned(head + part * count + tail).kind is Kind.READ


def test_long_lists_are_not_deep() -> None:
    rows = ", ".join(f"({n}, 'x{n}')" for n in range(3 * MAX_NESTING))

    assert planned(f"insert into t values {rows}").kind is Kind.WRITE
    assert planned(f"select 1 where 1 in ({', '.join(map(str, range(3 * MAX_NESTING)))})").kind is Kind.READ


LITERALS = [
    *("'x'", "''", "'true'", "'set_config(1,2,3)'", "'it''s'", r"E'\n'", "$$f()$$", "$a$'$a$", "'pg_temp'", "'off'"),
    *("0", "1", "2147483648", "1.5", "0x1F", "1e10", "1_000", ".5"),
]

EXPRESSION = st.recursive(
    st.sampled_from(["?", "a", "null", "true", "current_user"]),
    lambda inner: st.one_of(
        st.tuples(
            st.sampled_from(
                [
                    *("({} + {})", "({} = {})", "({} || {})", "case when {} then {} end", "coalesce({}, {})"),
                    *(
                        "({} in ({}, ?))",
                        "f({}, {})",
                        "lower({}, {})",
                        "set_config({}, ?, {})",
                        "({} between ? and {})",
                    ),
                    *("set_config(?, {}, true or {})", "(select {} where {})", "pg_advisory_lock({}, {})"),
                    *("array[{}, {}]", "set_config({}, {}, true)", "query_to_xml({}, {})"),
                ]
            ),
            inner,
            inner,
        ).map(lambda parts: parts[0].format(parts[1], parts[2])),
        inner.map(lambda one: f"{one}::text"),
    ),
    max_leaves=8,
)
STATEMENT = st.tuples(
    st.sampled_from(
        [
            *("select {}", "select {} from t where b = ? limit 3", "insert into t values ({}, ?), (?, ?)"),
            *("update t set b = {} where a = ?", "explain (analyze ?) select {}", "explain select {}"),
            *(
                "prepare x as select {}",
                "create temp table x as select {}",
                "select {} into y",
                "set x.y = ?; select {}",
            ),
            *("copy (select {}) to '/x'", "declare c cursor with hold for select {}", "set role 'x'; select {}"),
            *("create table z (a int default {})", "execute q ({}, ?)", "listen a; notify a, 'x'; select {}"),
            *("do 'begin perform {}; end'",),
        ]
    ),
    EXPRESSION,
).map(lambda parts: parts[0].format(parts[1]) if "do '" not in parts[0] else "do ?")


def filled(template: str, seed: int) -> str:
    source = random.Random(seed)
    return re.sub(r"\?", lambda _: source.choice(LITERALS), template)


@settings(max_examples=2500, deadline=None)
@given(template=STATEMENT, first=st.integers(0, 2**20), second=st.integers(0, 2**20))
def test_literals_do_not_matter(template: str, first: int, second: int) -> None:
    plans = []
    for seed in (first, second):
        try:
            plans.append(planned(filled(template, seed)))
        except PlanError:  # not every literal fits every place: EXPLAIN (ANALYZE 0x1F)
            return

    assert plans[0].exact == plans[1].exact
    assert plans[0] == plans[1] or plans[0].exact


@pytest.mark.parametrize("row", [row for row in CORPUS if "'" in row.sql], ids=lambda row: row.sql[:60])
def test_strings_of_the_corpus_do_not_matter(row: Row) -> None:
    original = planned(row.sql)
    changed = re.sub(r"'(?:[^']|'')*'", "'another'", row.sql)

    assert planned(changed) == original or original.exact


def test_only_blocks_and_names_of_settings_are_exact() -> None:
    exact = [row.sql for row in CORPUS if planned(row.sql).exact]

    assert len([sql for sql in exact if re.match(r"do\b", sql)]) > 10
    others = [sql for sql in exact if not re.match(r"do\b", sql)]
    assert "select set_config('helios.a', '1', false)" in others
    assert [sql for sql in others if not re.search(r"set_config\"?\('", sql, re.I)] == []


def test_list_of_functions_holds_every_name_with_an_effect() -> None:
    from helios.planner.builtin import SESSION_FUNCTIONS, builtin_names

    assert SESSION_FUNCTIONS.keys() <= builtin_names().keys()
    assert all(not re.search("[A-Z]", reason[0]) for _, reason in SESSION_FUNCTIONS.values())


def test_nothing_but_the_parser_names_postgast() -> None:
    folder = Path(__file__).parents[1] / "src" / "helios" / "planner"
    naming = {
        file.name
        for file in folder.glob("*.py")
        if re.search(r"^\s*(from|import) (postgast|google)", file.read_text(), re.M)
    }

    assert naming == {"parser.py"}
