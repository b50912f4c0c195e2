"""Which standby answers a read: strategies, zones, lag, circuits, and nodes that are taken out of use."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.client import Client, brief, rows, sqlstates
from harness.postgres import APP, DATABASE, SETTINGS, PostgresCluster, start_cluster, superuser_of
from harness.proxy import HeliosProcess, base_settings
from harness.wait import until
from helios.play.postgres import PostgresServer, ServerOptions, start_standby

WHO = "select current_setting('cluster_name')"
SLOW_ON_ONE = "select case when current_setting('cluster_name') = 'standby-2' then pg_sleep(0.1) end"

Ask = Callable[[Client, str], str | None]


def simple(client: Client, sql: str) -> str | None:
    return client.value(sql)


def extended(client: Client, sql: str) -> str | None:
    events = client.extended(sql)
    assert not sqlstates(events), brief(events)
    return rows(events)[0][-1]


ASKS = pytest.mark.parametrize("ask", [simple, extended])


class Trio:
    """A primary with two streaming standbys, and a proxy before them with a database for each way to choose."""

    def __init__(self, cluster: PostgresCluster, second: PostgresServer, proxy: HeliosProcess) -> None:
        assert cluster.standby
        self.cluster = cluster
        self.first, self.second = cluster.standby, second
        self.proxy = proxy

    def read(self, database: str, times: int = 60, ask: Ask = simple) -> Counter[str]:
        """Reads by the server that answered; each of them must succeed."""
        with Client(self.proxy.target(database), deadline=30) as client:
            return Counter(str(ask(client, WHO)) for _ in range(times))

    def reads_reach(self, *names: str, database: str = "in_turn") -> bool:
        """Whether just these answer now, by a few dozen reads."""
        return set(self.read(database, 30)) == set(names)

    def settled(self) -> None:
        """Wait until both standbys answer reads."""
        until(lambda: self.reads_reach("standby-1", "standby-2"), "reads on both standbys", 40)

    def node(self, name: str) -> dict[str, Any]:
        """What /nodes says."""
        found: dict[str, Any] = self.proxy.json(f"/nodes/{name}")
        return found

    def circuit(self, name: str) -> dict[str, Any]:
        """What /api/circuit says."""
        found: list[dict[str, Any]] = self.proxy.json("/api/circuit")["circuits"]
        return next(each for each in found if each["name"] == name)

    def routed(self, name: str, reason: str) -> float:
        """The counter of choices."""
        _, text = self.proxy.get("/metrics/prometheus")
        labels = re.escape(f'{{node="{self.node(name)["address"]}",reason="{reason}"}}')
        sample = rf"^heliosproxy_route_total{labels} (\S+)$"
        found = re.search(sample, text, re.MULTILINE)
        return float(found[1]) if found else 0.0


def run(server: PostgresServer, *statements: str) -> None:
    with Client(superuser_of(server)) as client:
        for statement in statements:
            events = client.query(statement)
            assert not sqlstates(events), brief(events)


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    cluster = start_cluster()
    second: PostgresServer | None = None
    try:
        second = start_standby(cluster.primary, "standby-2", ServerOptions(fsync=False, settings=SETTINGS))
        folder = tmp_path_factory.mktemp("trio")
        with HeliosProcess(folder, settings_for(cluster, second, folder)) as proxy:
            trio = Trio(cluster, second, proxy)
            trio.settled()
            yield trio
    finally:
        if second is not None:
            second.stop("immediate")
        cluster.stop()


def settings_for(cluster: PostgresCluster, second: PostgresServer, folder: Path) -> dict[str, Any]:
    strategies = {
        "in_turn": "round_robin",
        "by_weight": "weighted_round_robin",
        "least": "least_connections",
        "quickest": "latency_based",
        "any": "random",
    }
    databases: list[dict[str, Any]] = [
        {"name": name, "database": DATABASE, "routing": {"read_strategy": strategy}}
        for name, strategy in strategies.items()
    ]
    limits = {"by_time": {"max_lag_ms": 2_000}, "by_bytes": {"max_lag_ms": 0, "max_lag_bytes": 1_000_000}}
    for name, limit in limits.items():
        databases.append({"name": name, "database": DATABASE, "routing": {"read_strategy": "round_robin", **limit}})
    nodes = cluster.nodes()
    nodes[1] |= {"weight": 100, "zone": "near"}
    nodes.append({"name": second.name, "host": second.host, "port": second.port, "weight": 300, "zone": "far"})
    return base_settings(
        cluster,
        folder,
        clusters=[{"name": "main", "nodes": nodes}],
        databases=databases,
        routing={"read_write_split": True, "consistency": "bounded", "max_lag_ms": 0},
        circuit_breaker={
            "failure_threshold": 3,
            "reset_timeout_seconds": 1,
            "slow_start_seconds": 1,
            "outlier_latency_factor": 0,
        },
        monitor={"timeout_ms": 10_000},
        pool={"max_size": 4},
    )


@ASKS
@pytest.mark.parametrize(
    ("database", "low", "high"),
    [("in_turn", 0.45, 0.55), ("by_weight", 0.7, 0.8), ("least", 0.7, 0.8), ("any", 0.6, 0.9), ("quickest", 0, 1)],
)
def test_reads_are_shared_as_the_strategy_says(trio: Trio, ask: Ask, database: str, low: float, high: float) -> None:
    until(lambda: not trio.read(database, 5, ask)["primary"], "plans and pools to be made")

    found = trio.read(database, 200, ask)

    assert found["primary"] == 0, found
    assert low <= found["standby-2"] / 200 <= high, found


def test_choices_are_counted_by_node_and_reason(trio: Trio) -> None:
    before = {reason: trio.routed("standby-1", reason) for reason in ("read", "write")}
    writes = trio.routed("primary", "write")

    answered = trio.read("in_turn", 40)
    with Client(trio.proxy.target("in_turn")) as client:
        client.query("insert into notes values (9001, 'x'); delete from notes where id = 9001")

    assert trio.routed("standby-1", "read") - before["read"] == answered["standby-1"] > 0
    assert trio.routed("standby-1", "write") == before["write"] == 0
    assert trio.routed("primary", "write") > writes
    shown = until(lambda: (node := trio.node("standby-1"))["running"] == 0 and node, "reads to have ended")
    assert (shown["circuit"], shown["zone"]) == ("closed", "near")
    assert shown["replayed_lsn"]


def test_a_node_that_is_disabled_gets_no_reads_until_it_is_enabled(trio: Trio) -> None:
    assert trio.proxy.post("/nodes/standby-2/disable") == (200, '{"status":"disabled"}')
    assert not trio.read("in_turn")["standby-2"]
    assert trio.proxy.post("/config/reload")[0] == 200
    assert not trio.read("in_turn")["standby-2"], "a reload must not undo it"
    until(lambda: trio.reads_reach("standby-1"), "the other to answer")
    assert trio.node("standby-2")["enabled"] is False
    assert trio.proxy.post("/nodes/standby-1/disable")[0] == 200
    assert set(trio.read("in_turn")) == {"primary"}
    status, refusal = trio.proxy.post("/nodes/primary/disable")
    assert status == 409
    assert "is the primary of cluster main" in refusal
    assert trio.proxy.post("/nodes/nobody/enable")[0] == 404

    for name in ("standby-1", "standby-2"):
        assert trio.proxy.post(f"/nodes/{name}/enable") == (200, '{"status":"enabled"}')

    trio.settled()


def test_standbys_of_the_own_zone_answer_while_there_are_any(trio: Trio) -> None:
    plain = trio.proxy.settings
    try:
        trio.proxy.write({**plain, "routing": {**plain["routing"], "zone": "far"}})
        assert trio.proxy.post("/config/reload")[0] == 200
        until(lambda: trio.reads_reach("standby-2"), "reads to stay in the zone")
        trio.proxy.post("/nodes/standby-2/disable")
        until(lambda: trio.reads_reach("standby-1"), "the other zone to answer")
    finally:
        trio.proxy.post("/nodes/standby-2/enable")
        trio.proxy.write(plain)
        assert trio.proxy.post("/config/reload")[0] == 200
    trio.settled()


@contextmanager
def writing(trio: Trio) -> Iterator[None]:
    """Something is written all the time."""
    over = threading.Event()

    def write() -> None:
        with Client(trio.cluster.direct()) as client:
            while not over.wait(0.05):
                client.query("insert into notes values (9002, 'x'); delete from notes where id = 9002")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


def test_reads_avoid_a_standby_that_is_seconds_behind(trio: Trio) -> None:
    with writing(trio):
        run(trio.second, "alter system set recovery_min_apply_delay = '30s'", "select pg_reload_conf()")
        try:
            until(lambda: trio.reads_reach("standby-1", database="by_time"), "reads to avoid it", 30)
            until(lambda: (trio.node("standby-2")["replication_lag_ms"] or 0) > 5_000, "five seconds of lag", 30)
            assert not trio.read("by_time", 500)["standby-2"]
            assert trio.read("in_turn")["standby-2"], "there any lag will do"
        finally:
            run(trio.second, "alter system reset recovery_min_apply_delay", "select pg_reload_conf()")
        until(lambda: trio.reads_reach("standby-1", "standby-2", database="by_time"), "it to be used again", 30)


def test_reads_avoid_a_standby_that_lacks_many_bytes(trio: Trio) -> None:
    run(trio.second, "select pg_wal_replay_pause()")
    try:
        run(trio.cluster.primary, "create table much as select n, repeat('x', 100) from generate_series(1, 30000) n")
        until(lambda: (trio.node("standby-2")["replication_lag_bytes"] or 0) > 1_000_000, "its lag to be seen")
        until(lambda: trio.reads_reach("standby-1", database="by_bytes"), "reads to avoid it", 30)
    finally:
        run(trio.second, "select pg_wal_replay_resume()")
        run(trio.cluster.primary, "drop table much")
    until(lambda: trio.reads_reach("standby-1", "standby-2", database="by_bytes"), "it to be used again", 30)


def test_a_standby_that_writes_values_in_another_form_gets_no_reads(trio: Trio) -> None:
    run(trio.second, "alter system set timezone = 'Asia/Tokyo'", "select pg_reload_conf()")
    try:
        until(lambda: trio.reads_reach("standby-1"), "reads to avoid it", 30)
        node = trio.node("standby-2")
        assert (node["role"], node["healthy"]) == ("standby", True)
        assert node["last_error"].startswith("gets no reads: its TimeZone is 'Asia/Tokyo', the primary's is ")
    finally:
        run(trio.second, "alter system reset timezone", "select pg_reload_conf()")
    until(lambda: trio.reads_reach("standby-1", "standby-2"), "it to be used again", 30)


def test_one_backend_that_is_killed_is_not_a_dead_node(trio: Trio) -> None:
    opened = trio.circuit("standby-2")["opened_total"]

    for _ in range(6):
        run(trio.second, f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{APP}'")
        assert set(trio.read("in_turn", 10)) <= {"standby-1", "standby-2", "primary"}

    assert trio.circuit("standby-2")["opened_total"] == opened
    assert trio.circuit("standby-2")["state"] == "closed"


def test_a_standby_that_answers_polls_and_no_clients_gets_no_reads_until_it_does(trio: Trio) -> None:
    hba = trio.second.data / "pg_hba.conf"
    plain = hba.read_text()
    opened = trio.circuit("standby-2")["opened_total"]
    try:
        hba.write_text(f"host all {APP} all reject\n{plain}")
        run(
            trio.second,
            "select pg_reload_conf()",
            f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{APP}'",
        )
        until(
            lambda: trio.read("in_turn", 10) and trio.circuit("standby-2")["opened_total"] > opened,
            "its circuit to open, while every read is answered",
        )
        reason = until(lambda: trio.read("in_turn", 10) and trio.circuit("standby-2")["reason"], "the cause to be told")
        assert "pg_hba" in str(reason)
        assert trio.node("standby-2")["healthy"] is True
        assert "circuit opened" in trio.proxy.log()
    finally:
        hba.write_text(plain)
        run(trio.second, "select pg_reload_conf()")
    trio.settled()
    until(
        lambda: trio.read("in_turn", 10) and trio.circuit("standby-2")["state"] == "closed", "its circuit to close", 30
    )


def test_no_read_fails_when_a_standby_is_killed(trio: Trio) -> None:
    failed: list[str] = []
    over = threading.Event()

    def work(ask: Ask) -> None:
        try:
            with Client(trio.proxy.target("in_turn"), deadline=60) as client:
                while not over.is_set():
                    ask(client, WHO)
        except Exception as error:  # noqa: BLE001 - whatever it is fails the test
            failed.append(repr(error))

    readers = [threading.Thread(target=work, args=(ask,)) for ask in (simple, extended) * 2]
    for reader in readers:
        reader.start()
    try:
        trio.second.kill()
        until(lambda: trio.circuit("standby-2")["state"] == "open", "its circuit to open", 30)
        assert not trio.read("in_turn")["standby-2"]
    finally:
        trio.second.start()
    until(lambda: trio.reads_reach("standby-1", "standby-2"), "it to be used again", 60)
    over.set()
    for reader in readers:
        reader.join()

    assert not failed, failed


def test_a_standby_that_is_far_slower_than_the_other_is_ejected(trio: Trio) -> None:
    opened = trio.circuit("standby-2")["opened_total"]
    plain = trio.proxy.settings
    breaker = {**plain["circuit_breaker"], "outlier_latency_factor": 3}

    def ejected() -> bool:
        with Client(trio.proxy.target("in_turn"), deadline=30) as client:
            for _ in range(30):
                events = client.query(SLOW_ON_ONE)
                assert not sqlstates(events), brief(events)
        return bool(trio.circuit("standby-2")["opened_total"] > opened)

    try:
        trio.proxy.write({**plain, "circuit_breaker": breaker})
        assert trio.proxy.post("/config/reload")[0] == 200
        until(ejected, "the slow one to be ejected", 90)
    finally:
        trio.proxy.write(plain)
        assert trio.proxy.post("/config/reload")[0] == 200
    assert "to answer, the other nodes" in trio.proxy.log()
    assert trio.circuit("standby-1")["state"] == "closed"
