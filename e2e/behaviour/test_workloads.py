"""Kinds of reads on nodes of their own: OLAP on one standby, searches by vectors (pgvector) on the other."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harness.asks import Ask, prepared_and_closed
from harness.client import Client, brief, rows, sqlstates
from harness.frontend import bind, execute, parse, sync
from harness.postgres import DATABASE, SETTINGS, PostgresCluster, start_cluster, superuser_of
from harness.proxy import HeliosProcess, base_settings
from harness.wait import until
from helios.play.postgres import PostgresServer, ServerOptions, start_standby

OBJECTS = """
create extension vector;
create table big (id int primary key, amount int);
insert into big select n, n from generate_series(1, 20000) n;
create table pages (id int primary key, embedding vector(3));
insert into pages select n, array[n, 1, 1]::vector from generate_series(1, 10) n;
create view totals as select current_setting('cluster_name') as who, sum(amount) as total from big;
grant all on big, pages, totals to public;
analyze;
"""
WHO = "select current_setting('cluster_name')"
POINT = f"{WHO}, count(*) from big where id = 7"
OLAP = f"{WHO}, count(*) from big where amount > 0"
VIEW = "select who, total from totals"
WINDOW = f"{WHO}, row_number() over (order by amount) from big limit 1"
VECTOR = f"{WHO}, id from pages order by embedding <=> '[1,2,3]' limit 1"
WRITE = f"with w as (update big set amount = amount where id = 1 returning 1) {WHO}, count(*) from w, big"


ASKS = pytest.mark.parametrize("ask", [Client.query, Client.extended, prepared_and_closed])


class Trio:
    """A primary, two standbys, and a proxy that tells kinds of reads apart."""

    def __init__(self, cluster: PostgresCluster, second: PostgresServer, proxy: HeliosProcess) -> None:
        self.cluster = cluster
        self.second = second
        self.proxy = proxy

    def connect(self, database: str = DATABASE) -> Client:
        return Client(self.proxy.target(database), deadline=30)

    def routed(self) -> Counter[tuple[str, str]]:
        """Transactions by node and reason, from /metrics."""
        addresses = {node["address"]: node["name"] for node in self.proxy.json("/nodes")}
        _, text = self.proxy.get("/metrics", accept="text/plain")
        found = re.findall(r'^heliosproxy_route_total\{node="([^"]+)",reason="(\w+)"\} (\S+)$', text, re.MULTILINE)
        return Counter({(addresses[node], reason): int(float(total)) for node, reason, total in found})

    @contextmanager
    def reloaded(self, **workload: Any) -> Iterator[None]:
        """Other targets meanwhile."""
        plain = self.proxy.settings
        try:
            self.proxy.write({**plain, "routing": {**plain["routing"], "workload": workload}})
            assert self.proxy.post("/config/reload")[0] == 200
            yield
        finally:
            self.proxy.write(plain)
            assert self.proxy.post("/config/reload")[0] == 200


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    cluster = start_cluster()
    second: PostgresServer | None = None
    try:
        second = start_standby(cluster.primary, "standby-2", ServerOptions(fsync=False, settings=SETTINGS))
        cluster.execute(OBJECTS)
        nodes = [*cluster.nodes(), {"name": second.name, "host": second.host, "port": second.port, "weight": 0}]
        settings = base_settings(
            cluster,
            tmp_path_factory.mktemp("workloads"),
            clusters=[{"name": "main", "nodes": nodes}],
            databases=[
                {"name": "*", "routing": {"consistency": "bounded"}},
                {"name": "unsplit", "database": DATABASE, "routing": {"read_write_split": False}},
                {"name": "own_writes", "database": DATABASE},
            ],
            routing={
                "read_write_split": True,
                "schema_aware": True,
                "catch_up_ms": 10_000,
                "rules": [{"name": "near", "application_name": ["searches"], "route": "vector"}],
                "workload": {"olap_target": ["standby-2"], "vector_target": "stand?y-1", "large_table_rows": 10_000},
            },
            monitor={"interval_ms": 200},
            circuit_breaker={"reset_timeout_seconds": 1, "success_threshold": 1, "slow_start_seconds": 0},
        )
        with HeliosProcess(tmp_path_factory.mktemp("workloads-proxy"), settings) as proxy:
            made = Trio(cluster, second, proxy)
            with made.connect() as client:
                for sql, wanted in ((WHO, "standby-1"), (OLAP, "standby-2"), (VECTOR, "standby-1")):
                    arrive(client, Client.query, sql, wanted)
            yield made
    finally:
        if second is not None:
            second.stop("immediate")
        cluster.stop()


def node(client: Client, sql: str, ask: Ask = Client.query) -> str | None:
    """Who answers."""
    events = ask(client, sql)
    assert not sqlstates(events), brief(events)
    return rows(events)[0][0]


def arrive(client: Client, ask: Ask, sql: str, wanted: str) -> None:
    until(lambda: node(client, sql, ask) == wanted, f"{sql} on {wanted}", 40)


@ASKS
@pytest.mark.parametrize(
    ("sql", "wanted", "reason"),
    [
        (OLAP, "standby-2", "olap"),
        (VIEW, "standby-2", "olap"),
        (WINDOW, "standby-2", "olap"),
        (VECTOR, "standby-1", "vector"),
        (f"/*helios:route=vector*/ {WHO}", "standby-1", "vector"),
        (POINT, "standby-1", "read"),
        (WHO, "standby-1", "read"),
        (f"/*helios:route=standby*/ {OLAP}", "standby-1", "hint"),
        (WRITE, "primary", "write"),
    ],
)
def test_kinds_of_reads_go_to_their_nodes(trio: Trio, ask: Ask, sql: str, wanted: str, reason: str) -> None:
    reason = "hint" if sql.startswith("/*") else reason
    with trio.connect() as client:
        arrive(client, ask, sql, wanted)
        before = trio.routed()

        for _ in range(3):
            assert node(client, sql, ask) == wanted

        routed = trio.routed() - before
        assert routed[(wanted, reason)] >= 3, routed
        if ask is not prepared_and_closed:
            (session,) = trio.proxy.json("/sessions?list=true")["sessions"]
            assert session["route"] == reason


@ASKS
def test_a_rule_may_name_the_kind(trio: Trio, ask: Ask) -> None:
    with Client(trio.proxy.target().with_options(application_name="searches")) as client:
        before = trio.routed()
        arrive(client, ask, OLAP, "standby-1")
        assert (trio.routed() - before)["standby-1", "rule"] >= 1
        assert node(client, WRITE, ask) == "primary"


@ASKS
def test_without_a_split_only_these_kinds_leave_the_primary(trio: Trio, ask: Ask) -> None:
    with trio.connect("unsplit") as client:
        arrive(client, ask, OLAP, "standby-2")
        arrive(client, ask, VECTOR, "standby-1")
        assert node(client, POINT, ask) == node(client, WHO, ask) == "primary"


@ASKS
def test_others_answer_when_those_that_are_meant_cannot(trio: Trio, ask: Ask) -> None:
    with trio.connect() as client, trio.connect("unsplit") as unsplit:
        for each in (client, unsplit):
            arrive(each, ask, OLAP, "standby-2")
        before = trio.routed()
        assert trio.proxy.post("/nodes/standby-2/disable")[0] == 200
        try:
            assert node(client, OLAP, ask) == "standby-1"
            assert node(unsplit, OLAP, ask) == "primary"
            routed = trio.routed() - before
            assert routed[("standby-1", "fallback")] >= 1
            assert routed[("primary", "no_standby")] >= 1
        finally:
            assert trio.proxy.post("/nodes/standby-2/enable")[0] == 200
        arrive(client, ask, OLAP, "standby-2")


def test_a_target_that_lags_or_dies_costs_no_error(trio: Trio) -> None:
    late = f"/*helios:lag=500*/ {OLAP}"
    with trio.connect() as client, Client(superuser_of(trio.second)) as admin:
        arrive(client, Client.query, late, "standby-2")
        admin.query("select pg_wal_replay_pause()")
        try:
            trio.cluster.execute("update big set amount = amount where id = 1")
            arrive(client, Client.query, late, "standby-1")
        finally:
            admin.query("select pg_wal_replay_resume()")
        arrive(client, Client.query, late, "standby-2")
    with trio.connect() as client:
        arrive(client, Client.extended, OLAP, "standby-2")
        trio.second.kill()
        try:
            assert {node(client, OLAP, Client.extended) for _ in range(20)} <= {"standby-1", "primary"}
        finally:
            trio.second.start()
        arrive(client, Client.extended, OLAP, "standby-2")


@ASKS
def test_heavy_reads_see_what_their_session_has_written(trio: Trio, ask: Ask) -> None:
    with trio.connect("own_writes") as client:
        arrive(client, ask, OLAP, "standby-2")
        answered = Counter[str]()
        for number in range(30_000, 30_020):
            assert not sqlstates(ask(client, f"insert into big values ({number}, 1)"))
            # On the standby that answers it, what that one has shown must be seen elsewhere too.
            node(client, WHO, ask)
            who, count = rows(ask(client, OLAP))[0]
            assert count == str(20_000 + number - 30_000 + 1)
            answered[str(who)] += 1
        assert answered["standby-2"] > 10, answered
        assert not sqlstates(ask(client, "delete from big where id >= 30000"))


def test_targets_change_by_a_reload_also_for_what_is_prepared(trio: Trio) -> None:
    def asked(client: Client, name: str) -> str | None:
        events = client.batch(bind(name=name), execute(), sync())
        assert not sqlstates(events), brief(events)
        return rows(events)[0][0]

    with trio.connect() as client:
        for name, sql in (("olap", OLAP), ("point", POINT)):
            client.batch(parse(sql, name), sync())
        until(lambda: asked(client, "olap") == "standby-2", "OLAP on its node")
        with trio.reloaded(oltp_target=["primary", "standby-2"], oltp_patterns="big"):
            until(lambda: asked(client, "olap") == asked(client, "point") == "standby-2", "all in one group")
        with trio.reloaded(oltp_target=["primary"], olap_target=["standby-2"], olap_patterns="pa*s"):
            until(lambda: asked(client, "point") == "primary", "points on the primary")
            until(lambda: asked(client, "olap") == "primary", "a table that is not large")
            arrive(client, Client.query, VECTOR, "standby-2")
            routed = trio.routed()
            assert asked(client, "point") == "primary"
            assert (trio.routed() - routed)[("primary", "oltp")] >= 1
        until(lambda: asked(client, "olap") == "standby-2", "OLAP on its node again")


def test_tables_that_are_seldom_used_have_a_node_of_their_own(trio: Trio) -> None:
    page = f"{WHO} from pages where id = 3"
    cold = {"cold_target": "standby-2", "cold_below_per_minute": 6_000, "temperature_half_life_seconds": 1}

    def pages() -> Any:
        tables = trio.proxy.json("/api/temperature")["tables"]
        return next((each for each in tables if each["table"] == "pages"), None)

    def heated(client: Client) -> bool:
        events = client.batch(parse(page), *[bind(), execute()] * 1_000, sync())
        assert not sqlstates(events), brief(events)
        return bool(pages()["temperature"] == "warm")

    before = trio.routed()
    with trio.reloaded(**cold), trio.connect() as client:
        for ask in (Client.query, Client.extended, prepared_and_closed):
            arrive(client, ask, page, "standby-2")
            assert node(client, WHO, ask) == "standby-1", "it uses no table"
        assert (pages()["temperature"], pages()["database"]) == ("cold", DATABASE)
        assert (trio.routed() - before)[("standby-2", "cold")] >= 3
        _, text = trio.proxy.get("/metrics", accept="text/plain")
        assert re.search(r'^heliosproxy_tables\{[^}]*temperature="cold"\} [1-9]', text, re.MULTILINE)
        until(lambda: heated(client) and node(client, page) == "standby-1", "a table that is used to be warm", 60)
        assert pages()["uses_total"] >= 1_000
    assert trio.proxy.json("/api/temperature") == {"tables": []}


def test_an_explanation_tells_of_kind_target_and_reason(trio: Trio) -> None:
    def explained(sql: str) -> Any:
        status, text = trio.proxy.post("/api/explain", json.dumps({"database": DATABASE, "sql": sql}).encode())
        assert status == 200, text
        return json.loads(text)

    olap = explained(OLAP)
    assert (olap["workload"], olap["target"], olap["origin"]) == ("olap", ["standby-2"], "workload")
    assert olap["reason"] == "it only reads, and aggregates public.big, which is large"
    assert explained(VECTOR)["reason"] == "it only reads, and computes distances between vectors (<=>)"
    assert (explained(POINT)["workload"], explained(POINT)["reason"]) == (None, "it only reads")
    command = [sys.executable, "-m", "helios", "explain", "--admin", trio.proxy.admin, "--database", DATABASE, OLAP]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "workload  olap\n" in said
    assert "target    standby-2\n" in said
