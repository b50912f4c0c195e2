"""Hints, routing rules and databases of standbys, on a primary with a streaming standby; simple and extended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.asks import Ask, extended, prepared_and_closed, simple
from harness.backend import Event
from harness.client import Client, rows, sqlstates
from harness.frontend import bind, execute, parse, sync
from harness.postgres import DATABASE, PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.replay import paused_replay
from harness.wait import until

WHO = "select current_setting('cluster_name')"
"""A read that tells which server answers it."""
SLOW, LATE = (f"{WHO}, pg_sleep({seconds})" for seconds in (3, 60))
RULES: list[dict[str, Any]] = [
    {"name": "pinned", "application_name": ["pinned-*"], "route": "primary"},
    {"name": "shop", "application_name": ["shop"], "query_pattern": "FROM items WHERE", "route": "primary"},
    {"name": "reports", "application_name": ["report?", "other*report"], "route": "standby", "node": "standby-1"},
]
DATABASES: list[dict[str, Any]] = [
    {"name": "*"},
    {"name": "unsplit", "database": DATABASE, "routing": {"read_write_split": False}},
    {"name": "app_ro", "database": DATABASE, "role": "standby"},
]


ASKS = pytest.mark.parametrize("ask", [simple, extended, prepared_and_closed])


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    folder: Path = tmp_path_factory.mktemp("routing")
    routing = {"read_write_split": True, "rules": RULES}
    monitor = {"interval_ms": 200}
    settings = base_settings(postgres, folder, routing=routing, databases=DATABASES, monitor=monitor)
    with HeliosProcess(folder, settings) as started:
        with Client(started.target()) as client:
            until(lambda: node(client, WHO) == "standby-1", "reads to go to the standby")
        yield started


def node(client: Client, sql: str, ask: Ask = simple) -> str | None:
    """Who answers."""
    events = ask(client, sql)
    assert not sqlstates(events), [event.text for event in events]
    return rows(events)[0][0]


def notices(events: list[Event]) -> list[str]:
    return [event.fields["M"] for event in events if event.kind == "NoticeResponse"]


@contextmanager
def client_of(proxy: HeliosProcess, application_name: str, database: str = DATABASE) -> Iterator[Client]:
    with Client(proxy.target(database).with_options(application_name=application_name)) as client:
        yield client


def arrive(client: Client, ask: Ask, sql: str, wanted: str) -> None:
    until(lambda: node(client, sql, ask) == wanted, f"{sql} on {wanted}")


def show(client: Client, ask: Ask, sql: str, what: Callable[[list[Event]], object]) -> None:
    """Wait until its plan shows."""
    until(lambda: what(ask(client, sql)), f"the plan of {sql}")


@ASKS
@pytest.mark.parametrize(
    ("hint", "wanted"),
    [
        ("/*helios:route=primary*/", "primary"),
        ("/*+ route=master */", "primary"),
        ("/* helios:cache=skip helios:route=replica */", "standby-1"),
        ("/*helios:node=primary, route=standby*/", "primary"),
        ("/*helios:node=standby-1, consistency=strong*/", "standby-1"),
        ("/*helios:consistency=strong*/", "primary"),
        ("/*+ SeqScan(items) nearest route=nearest */", "standby-1"),
    ],
)
def test_a_hint_says_which_node_answers(proxy: HeliosProcess, ask: Ask, hint: str, wanted: str) -> None:
    with Client(proxy.target()) as client:
        for sql in (f"{hint} {WHO}", f"{WHO} {hint}"):
            arrive(client, ask, sql, wanted)
            events = ask(client, sql)
            assert (rows(events), notices(events)) == ([[wanted]], [])
    with client_of(proxy, "", "unsplit") as client:
        assert node(client, WHO, ask) == "primary"
        arrive(client, ask, f"{hint} {WHO}", wanted)


@ASKS
def test_a_node_that_is_not_there_is_an_error_with_those_that_are(proxy: HeliosProcess, ask: Ask) -> None:
    with Client(proxy.target()) as client:
        for sql in (f"/*helios:node=elsewhere*/ {WHO}", "/*helios:node=elsewhere*/ update items set name = name"):
            show(client, ask, sql, sqlstates)
            events = ask(client, sql)
            errors = [event.fields for event in events if event.kind == "ErrorResponse"]
            assert (errors[0]["C"], errors[0]["M"]) == ("0A000", 'there is no node "elsewhere"')
            assert errors[0]["H"] == 'Nodes of cluster "main": primary, standby-1.'
            assert node(client, f"/*helios:node=primary*/ {WHO}", ask) == "primary"


@ASKS
def test_a_hint_makes_no_write_go_to_a_standby(proxy: HeliosProcess, ask: Ask) -> None:
    write = f"with w as (update items set name = name where id = 1 returning 1) {WHO} from w"
    with Client(proxy.target()) as client:
        for hint in ("route=standby", "node=standby-1"):
            sql = f"/*helios:{hint}*/ {write}"
            show(client, ask, sql, notices)
            events = ask(client, sql)
            assert (rows(events), sqlstates(events)) == ([["primary"]], [])
            assert [text.split(",")[0] for text in notices(events)] == [f"hint {hint} has no effect"]


@ASKS
def test_what_a_hint_does_not_mean_is_told_each_time(proxy: HeliosProcess, ask: Ask) -> None:
    sql = "/*helios:rout=primary, workflow=nightly, lag=much*/ select 1"
    told = [
        'hint "rout" is not known and has no effect',
        "hint lag must be a number of milliseconds from 1 to 86400000, and has no effect",
    ]
    with Client(proxy.target()) as client:
        show(client, ask, sql, notices)
        for _ in range(2):
            events = ask(client, sql)
            assert (notices(events), rows(events)) == (told, [["1"]])
        client.query("begin")
        events = ask(client, sql)
        assert (notices(events), rows(events)) == (told, [["1"]])
        client.query("rollback")
        client.query("set client_min_messages = warning")
        assert notices(ask(client, sql)) == []


@ASKS
def test_a_hint_limits_the_time_of_its_statement(proxy: HeliosProcess, ask: Ask) -> None:
    with Client(proxy.target(), deadline=40) as client:
        for route in ("primary", "standby"):
            is_cut_off(client, ask, f"timeout=200, route={route}", 200)
        assert node(client, "/*helios:timeout=60000*/ select 'done', pg_sleep(0.01)", ask) == "done"
        assert node(client, "select 'done', pg_sleep(1.5)", ask) == "done"


def test_a_longer_limit_of_a_hint_is_exact_to_a_second(proxy: HeliosProcess) -> None:
    with Client(proxy.target(), deadline=40) as client:
        is_cut_off(client, Client.query, "timeout=1200", 1200)


def is_cut_off(client: Client, ask: Ask, hint: str, limit: int) -> None:
    show(client, ask, f"/*helios:{hint}*/ {SLOW}", sqlstates)
    events = ask(client, f"/*helios:{hint}*/ {LATE}")
    (error,) = [event.fields for event in events if event.kind == "ErrorResponse"]
    assert (error["C"], error["M"]) == ("57014", "canceling statement due to query timeout")
    assert error["H"] == f"The statement's hint is timeout={limit}."


@ASKS
def test_hints_say_how_old_a_read_may_be(proxy: HeliosProcess, postgres: PostgresCluster, ask: Ask) -> None:
    old, late = f"/*helios:consistency=eventual*/ {WHO}", f"/*helios:lag=86400000 consistency=bounded*/ {WHO}"
    with Client(proxy.target()) as client, Client(proxy.target()) as other:
        until(lambda: node(other, WHO, ask) == "standby-1", "a read on the standby")
        with paused_replay(postgres):
            client.query("insert into notes values (8100, 'new')")
            assert node(client, WHO, ask) == "primary", "the standby has not what was written"
            until(lambda: node(client, old, ask) == "standby-1", "an old answer")
            count = "/*helios:consistency=eventual*/ select count(*) from notes where id = 8100"
            until(lambda: node(client, count, ask) == "0", "what the standby has, once the catalog is known")
            until(lambda: node(other, f"/*helios:lag=1*/ {WHO}", ask) == "primary", "the standby to be found late")
            until(lambda: node(other, late, ask) == "standby-1", "an answer that may be late")
        client.query("delete from notes where id = 8100")
        until(lambda: node(other, f"/*helios:lag=60000*/ {WHO}", ask) == "standby-1", "the standby to have caught up")


@ASKS
def test_a_rule_is_for_clients_and_statements(proxy: HeliosProcess, ask: Ask) -> None:
    shown = "select current_setting('cluster_name') from  Items where id = 1"
    with client_of(proxy, "pinned-1") as client:
        for _ in range(3):
            assert node(client, WHO, ask) == "primary"
        until(lambda: node(client, f"/*helios:route=any*/ {WHO}", ask) == "standby-1", "a hint to go before a rule")
        client.query("set application_name = 'pinned'")
        until(lambda: node(client, WHO, ask) == "standby-1", "the rule to hold no longer")
        client.query("set application_name = 'shop'")
        assert node(client, shown, ask) == "primary"
        until(lambda: node(client, f"{WHO}, 'from items where'", ask) == "standby-1", "a statement of no rule")
        client.query("set application_name = 'shopper'")
        until(lambda: node(client, shown, ask) == "standby-1", "a client of no rule")
    with client_of(proxy, "report1", "unsplit") as client:
        until(lambda: node(client, WHO, ask) == "standby-1", "the rule to act without a split")
        assert node(client, "select name from items where id = 1", ask)
        events = ask(client, "update items set name = name where id = 1")
        assert (sqlstates(events), notices(events)) == ([], [])
        client.query("set application_name = 'report'")
        assert node(client, WHO, ask) == "primary"


def test_a_prepared_statement_follows_the_rules_of_the_moment(proxy: HeliosProcess) -> None:
    def asked() -> str | None:
        events = client.batch(bind(name="s"), execute(), sync())
        assert not sqlstates(events)
        return rows(events)[0][0]

    with client_of(proxy, "pinned-1") as client:
        client.batch(parse(WHO, "s"), sync())
        assert asked() == "primary"
        client.query("set application_name = 'free'")
        until(lambda: asked() == "standby-1", "the statement on the standby")
        client.query("set application_name = 'pinned-2'")
        until(lambda: asked() == "primary", "the statement on the primary")


@ASKS
def test_a_database_of_standbys(proxy: HeliosProcess, ask: Ask) -> None:
    with client_of(proxy, "pinned-1", "app_ro") as client:
        for _ in range(3):
            assert node(client, f"/*helios:route=primary*/ {WHO}", ask) == "standby-1"
        assert sqlstates(ask(client, "insert into notes values (8200, 'x')"))[:1] == ["25006"]
        client.query("begin")
        assert node(client, "select pg_is_in_recovery()", ask) == "t"
        assert sqlstates(ask(client, "create table never (id int)"))[:1] == ["25006"]
        client.query("rollback")
        assert node(client, WHO, ask) == "standby-1"


def explained(proxy: HeliosProcess, **body: str) -> Any:
    status, text = proxy.post("/api/explain", json.dumps({"database": DATABASE, **body}).encode())
    assert status == 200, text
    return json.loads(text)


def test_an_explanation_tells_of_rules_and_hints(proxy: HeliosProcess) -> None:
    until(lambda: explained(proxy, sql="select 1 from items")["route"] == "any", "the catalog to be known")
    pinned = explained(proxy, sql=WHO, application_name="pinned-x")
    assert (pinned["route"], pinned["reason"], pinned["origin"]) == ("primary", "rule pinned", "rule")
    report = explained(proxy, sql="select 1 from items", application_name="report7")
    assert (report["route"], report["node"], report["origin"]) == ("standby", "standby-1", "rule")
    sql = "/*helios:route=any timeout=5 lag=7 consistency=bounded x=1*/ select 1 from items"
    hinted = explained(proxy, sql=sql, application_name="pinned-x")
    assert (hinted["route"], hinted["origin"], hinted["timeout_ms"], hinted["max_lag_ms"]) == ("any", "hint", 5, 7)
    assert (hinted["consistency"], hinted["notices"]) == ("bounded", ['hint "x" is not known and has no effect'])
