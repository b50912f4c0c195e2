"""What clients see when the planner cannot answer: it raises, its thread dies, it hangs, or the text is none for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import faulty_planner
from harness.asks import Ask, extended, prepared_and_closed, simple
from harness.client import Client, brief, full, rows, sqlstates
from harness.frontend import bind, execute, parse, sync
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.wait import until

WHO = "current_setting('cluster_name')"
PATIENCE = 30.0
MAX_PREPARED_BYTES = 2 * 1024 * 1024

ASKS = (simple, extended, prepared_and_closed)


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """A proxy with a planner that fails on demand; reads are split, and all clients share one connection a node."""
    folder: Path = tmp_path_factory.mktemp("proxy")
    settings = base_settings(
        postgres,
        folder,
        workers=1,
        pool={"mode": "transaction", "max_size": 1},
        routing={"read_write_split": True, "max_lag_ms": 0, "consistency": "eventual"},
        limits={"max_prepared_bytes": MAX_PREPARED_BYTES},
    )
    program = (sys.executable, "-P", faulty_planner.__file__)
    with HeliosProcess(folder, settings, program=program) as process:
        await_plans(process)
        yield process


def await_plans(proxy: HeliosProcess) -> None:
    """Wait until a new shape is planned in time, and seen to be a read."""
    columns = "1"

    def is_planned() -> bool:
        nonlocal columns
        columns += ", 1"
        with Client(proxy.target(), deadline=PATIENCE) as client:
            return rows(client.query(f"select {WHO}, {columns}"))[0][0] == "standby-1"

    until(is_planned, "new reads to go to the standby", PATIENCE)


def counted(proxy: HeliosProcess, name: str) -> int:
    status, text = proxy.get("/metrics", accept="text/plain")
    assert status == 200
    return int(float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"heliosproxy_{name} "))))


@pytest.mark.parametrize("fault", faulty_planner.FAULTS)
def test_a_statement_is_answered_whatever_becomes_of_its_planning(
    proxy: HeliosProcess, postgres: PostgresCluster, fault: str
) -> None:
    """By the primary, though it looks like a read; what it leaves in the server meets nobody else."""
    names = ("plans_failed_total", "planner_restarts_total", "plans_missed_total")
    before = {name: counted(proxy, name) for name in names}
    with Client(proxy.target(), deadline=PATIENCE) as client, Client(proxy.target(), deadline=PATIENCE) as other:
        plain = other.value("show work_mem")
        for ask in ASKS:
            sql = f"select {WHO} as {fault}_{ask.__name__}, set_config('work_mem', '7777kB', false), 'secret'"
            sql = sql if fault != "planner_hangs" else sql.replace(f"_{ask.__name__}", "")
            for _ in range(2):
                events = ask(client, sql)
                assert rows(events) == [["primary", "7777kB", "secret"]], brief(events)
                assert rows(ask(other, "/*helios:route=primary*/ show work_mem")) == [[plain]]
        if fault == "planner_hangs":
            # While it hangs nobody waits for long, and what is known goes on as it is planned.
            assert other.value("select 'a new shape' as of_another") == "a new shape"
            assert counted(proxy, "plans_missed_total") > before["plans_missed_total"]
    if fault != "planner_raises":
        until(
            lambda: counted(proxy, "planner_restarts_total") > before["planner_restarts_total"],
            "another thread to go on",
            PATIENCE,
        )
    assert counted(proxy, "plans_failed_total") > before["plans_failed_total"]
    await_plans(proxy)
    assert "secret" not in proxy.log()


@pytest.mark.parametrize("name", ["", "s"])
def test_a_statement_that_is_kept_gets_its_plan_when_that_is_there(
    postgres: PostgresCluster, tmp_path: Path, name: str
) -> None:
    """Parsed once and bound again, or parsed with each execution. Until then its server is asked what it left there."""
    settings = base_settings(postgres, tmp_path, pool={"mode": "transaction", "max_size": 1})
    program = (sys.executable, "-P", faulty_planner.__file__)
    sql = f"select 1 as {faulty_planner.LATE}"
    with (
        HeliosProcess(tmp_path, settings, program=program) as proxy,
        Client(proxy.target(), deadline=PATIENCE) as client,
    ):
        last = f"select query from pg_stat_activity where pid = {client.value('select pg_backend_pid()')}"
        client.batch(parse(sql, name), sync())
        assert counted(proxy, "plans_missed_total") > 0

        def run() -> None:
            again = [] if name else [parse(sql)]
            assert rows(client.batch(*again, bind(name=name), execute(), sync())) == [["1"]]

        def is_planned() -> bool:
            run()
            return all(postgres.value(last) == sql for _ in range(5))

        run()
        until(lambda: postgres.value(last) != sql, "the server to be asked", PATIENCE)
        until(is_planned, "the statement to be planned", PATIENCE)


@pytest.mark.parametrize("ask", ASKS)
@pytest.mark.parametrize("sql", ["selec 1", "select 1 where", "select 'open", "select 1; selec 2"])
def test_a_syntax_error_is_postgresqls_own(proxy: HeliosProcess, postgres: PostgresCluster, ask: Ask, sql: str) -> None:
    with Client(proxy.target(), deadline=PATIENCE) as client, Client(postgres.direct()) as direct:
        assert full(ask(client, sql)) == full(ask(direct, sql))
        assert rows(ask(client, "select 1")) == [["1"]]


@pytest.mark.parametrize("ask", ASKS)
def test_a_text_too_long_to_be_planned_is_the_primarys(proxy: HeliosProcess, ask: Ask) -> None:
    with Client(proxy.target(), deadline=PATIENCE) as client:
        for size in (300_000, 1_200_000):
            events = ask(client, f"select {WHO}, length('{'x' * size}')")
            assert rows(events) == [["primary", str(size)]]
    assert counted(proxy, "plans_refused_total") > 0


def test_a_statement_beyond_the_limit_is_told_which(proxy: HeliosProcess) -> None:
    """A simple query is passed on in pieces; one that would have to be kept ends its session, and nobody else's."""
    long = f"select length('{'x' * (MAX_PREPARED_BYTES + 1000)}')"
    with Client(proxy.target(), deadline=PATIENCE) as client, Client(proxy.target(), deadline=PATIENCE) as other:
        assert client.value(long) == str(MAX_PREPARED_BYTES + 1000)
        for name in ("", "s"):
            with Client(proxy.target(), deadline=PATIENCE) as sender:
                # Its head is enough, and nothing of it is kept.
                sender.send(parse(long, name)[:1000])
                events = sender.until_closed()
                assert sqlstates(events) == ["54000"]
                assert "limits.max_prepared_bytes" in str(full(events))
        assert other.value("select 2") == "2"
