"""A server that is lost before it has said what its session holds now: what its client was told is not forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.asks import Ask, extended, prepared, simple
from harness.client import Client, rows, sqlstates
from harness.failover import behind_gates, status
from harness.frontend import bind, execute, parse, query, sync
from harness.gate import Gate
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.replay import await_catalog, await_sessions, counts, end_server
from harness.replicas import ReplicatedCluster
from harness.wait import until

PATIENCE = 60
NAME = "untold"

ASKS = pytest.mark.parametrize("ask", [simple, extended, prepared])

QUESTION = b"'advisory_lock', ''"
CONTENTS = b"hashtextextended"
"""What is in the two questions."""

LOCKS = "select string_agg(objid::text, ',' order by objid) from pg_locks where locktype = 'advisory'"
OWN_LOCKS = f"select coalesce(({LOCKS} and pid = pg_backend_pid()), '')"


@pytest.fixture(scope="module")
def gate(postgres: PostgresCluster) -> Iterator[Gate]:
    made = Gate(postgres.primary.port)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    folder = tmp_path_factory.mktemp("untold")
    pool = {"max_size": 8, "acquire_timeout_seconds": PATIENCE}
    config = base_settings(postgres, folder, transaction_replay={"enabled": True, "holdable_cursors": True}, pool=pool)
    config["clusters"][0]["nodes"][0]["port"] = gate.port
    postgres.execute("create table awaited (n int); grant all on awaited to public")
    postgres.execute(
        "create function takes_lock(number int) returns void language plpgsql "
        "as 'begin perform pg_catalog.pg_advisory_lock(number); end'"
    )
    with HeliosProcess(folder, config) as process:
        with Client(process.target(), deadline=PATIENCE) as first:
            first.query("select takes_lock(7100)")
        await_catalog(process)
        yield process
    postgres.execute("drop function takes_lock; drop table awaited")


@pytest.fixture
def client(proxy: HeliosProcess) -> Iterator[Client]:
    with Client(proxy.target().with_options(application_name=NAME), deadline=PATIENCE) as client:
        yield client


def lose(postgres: PostgresCluster, gate: Gate, client: Client, ask: Ask, sql: str, question: bytes = QUESTION) -> None:
    """Have a statement run, and end its server when that has answered it, and has not got this question behind it."""
    # What was asked before is told.
    client.query("select 1")
    gate.hold(question, answer=False)
    assert not sqlstates(ask(client, sql)), sql
    until(gate.is_holding.is_set, "the question", PATIENCE)
    client.transcript.clear()
    end_server(postgres, NAME)
    gate.let_go()


@ASKS
@pytest.mark.parametrize("before", [[], ["select pg_advisory_lock(7101)"]], ids=["first", "next"])
def test_a_lock_that_the_client_has_been_given_is_taken_again(
    proxy: HeliosProcess, postgres: PostgresCluster, gate: Gate, client: Client, ask: Ask, before: list[str]
) -> None:
    told = counts(proxy)
    for sql in before:
        assert not sqlstates(ask(client, sql))

    lose(postgres, gate, client, ask, "select pg_try_advisory_lock(7102)")
    await_sessions(proxy, told["sessions"] + 1)

    assert rows(ask(client, OWN_LOCKS)) == [["7101,7102" if before else "7102"]]
    assert rows(ask(client, "select pg_advisory_unlock(7102)")) == [["t"]]
    after = counts(proxy)
    assert after["sessions"] == told["sessions"] + 1
    assert after["diverged"] == told["diverged"]
    ask(client, "select pg_advisory_unlock_all()")


@ASKS
def test_a_lock_that_the_client_has_given_back_is_not_taken_again(
    proxy: HeliosProcess, postgres: PostgresCluster, gate: Gate, client: Client, ask: Ask
) -> None:
    told = counts(proxy)
    assert not sqlstates(ask(client, "select pg_advisory_lock(7111)"))

    lose(postgres, gate, client, ask, "select pg_advisory_unlock(7111)")
    await_sessions(proxy, told["sessions"] + 1)

    locks = "select count(*) from pg_locks where locktype = 'advisory' and objid = 7111"
    until(lambda: postgres.value(locks) == "0", "nobody to have it", PATIENCE)
    assert rows(ask(client, OWN_LOCKS)) == [[""]]
    assert counts(proxy)["diverged"] == told["diverged"]

    # It has nothing any more, and loses nothing.
    end_server(postgres, NAME)
    assert rows(ask(client, "select 1")) == [["1"]]


@ASKS
def test_an_answer_that_would_be_another_one_ends_the_session(
    proxy: HeliosProcess, postgres: PostgresCluster, gate: Gate, client: Client, ask: Ask
) -> None:
    told = counts(proxy)["diverged"]["advisory"]
    with Client(postgres.superuser(), deadline=PATIENCE) as other:
        assert not sqlstates(other.query("select pg_advisory_lock(7121)"))
        lose(postgres, gate, client, ask, "select pg_advisory_lock(7122)")
        assert rows(ask(client, OWN_LOCKS)) == [["7122"]]
        gate.hold(QUESTION, answer=False)
        assert rows(ask(client, "select pg_try_advisory_lock(7121)")) == [["f"]]
        until(gate.is_holding.is_set, "the question", PATIENCE)
        client.transcript.clear()
        assert rows(other.query("select pg_advisory_unlock(7121)")) == [["t"]]

        end_server(postgres, NAME)
        gate.let_go()

        events = client.until_closed()
    assert sqlstates(events) == ["57P01"]
    assert "advisory locks cannot be taken again" in events[-1].fields["M"]
    assert counts(proxy)["diverged"]["advisory"] == told + 1


UNPROVEN: dict[str, tuple[str, bytes, list[str], str]] = {
    "a function": ("advisory", QUESTION, ["select pg_advisory_lock(7131)"], "select takes_lock(7132)"),
    "a first table": ("temp_table", QUESTION, [], "create temporary table mine as select 1 as n"),
    "its rows": ("temp_table", CONTENTS, [], "create temporary table mine as select 1 as n"),
    "a lock beside a table": (
        "temp_table",
        CONTENTS,
        ["create temporary table mine as select 1 as n"],
        "select pg_advisory_lock(7133)",
    ),
    "rows of a table": (
        "temp_table",
        CONTENTS,
        ["create temporary table mine as select 1 as n"],
        "insert into mine values (2)",
    ),
}


@ASKS
@pytest.mark.parametrize("case", UNPROVEN)
def test_what_nothing_tells_of_ends_the_session(
    proxy: HeliosProcess, postgres: PostgresCluster, gate: Gate, client: Client, ask: Ask, case: str
) -> None:
    reason, question, before, last = UNPROVEN[case]
    told = counts(proxy)
    for sql in before:
        assert not sqlstates(ask(client, sql))

    lose(postgres, gate, client, ask, last, question)

    assert sqlstates(client.until_closed()) == ["57P01"]
    after = counts(proxy)
    assert after["diverged"][reason] == told["diverged"][reason] + 1
    assert after["sessions"] == told["sessions"]


def one_packet(client: Client, form: str, *statements: str) -> None:
    """Send these, each with its own end, without waiting for an answer."""
    if form == "simple":
        return client.send(*(query(sql) for sql in statements))
    batches = [[parse(sql), bind(), execute(), sync()] for sql in statements]
    client.send(*(message for batch in batches for message in batch))
    return None


@pytest.mark.parametrize("form", ["simple", "extended"])
def test_a_lock_of_the_request_before_the_one_that_is_lost(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, form: str
) -> None:
    """The server could not be asked in between."""
    told = counts(proxy)
    with Client(postgres.superuser(), deadline=PATIENCE) as other:
        other.query("begin; lock table awaited")
        one_packet(client, form, "select pg_advisory_lock(7141)", "begin", "insert into awaited values (1)")
        waiting = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like 'insert into aw%'"
        )
        until(lambda: postgres.value(waiting) == "1", "the second to wait", PATIENCE)

        end_server(postgres, NAME)
        await_sessions(proxy, told["sessions"] + 1)

        other.query("rollback")
        events = client.until_ready(3)
    assert not sqlstates(events)
    assert rows(client.query(OWN_LOCKS)) == [["7141"]]
    assert not sqlstates(client.query("commit"))
    assert counts(proxy)["diverged"] == told["diverged"]
    assert rows(client.query("select pg_advisory_unlock(7141)")) == [["t"]]
    assert rows(client.query("select count(*) from awaited")) == [["1"]]
    postgres.execute("truncate awaited")


@pytest.mark.parametrize("form", ["simple", "extended"])
def test_a_function_in_the_request_before_the_one_that_is_lost(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, form: str
) -> None:
    told = counts(proxy)["diverged"]["pinned"]
    with Client(postgres.superuser(), deadline=PATIENCE) as other:
        other.query("begin; lock table awaited")
        one_packet(client, form, "select takes_lock(7151)", "begin", "select count(*) from awaited")
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%from awaited%'"
        until(lambda: postgres.value(waiting) == "1", "the second to wait", PATIENCE)

        end_server(postgres, NAME)

        assert sqlstates(client.until_closed()) == ["57P01"]
        other.query("rollback")
    assert counts(proxy)["diverged"]["pinned"] == told + 1


LEFT = {
    "a setting": (b"pg_catalog.lower(name)", "set work_mem = '7MB'", "show work_mem", "7MB"),
    "a temporary table": (CONTENTS, "create temporary table mine as select 5 as n", "select n from mine", "5"),
    "a lock": (QUESTION, "select pg_advisory_lock(7161)", OWN_LOCKS, "7161"),
}


@pytest.mark.parametrize(
    ("case", "ask"), [("a setting", extended), ("a temporary table", simple), ("a lock", prepared)]
)
def test_a_switchover_waits_for_what_a_server_is_asked(tmp_path: Path, case: str, ask: Ask) -> None:
    question, sql, look, found = LEFT[case]
    with (
        ReplicatedCluster(synchronous='FIRST 2 ("db-2", "db-3")') as servers,
        behind_gates(servers, tmp_path, ["db-1"]) as (gates, proxy),
        ThreadPoolExecutor(1) as side,
        Client(proxy.target(), deadline=PATIENCE) as client,
    ):
        gate = gates["db-1"]
        assert rows(ask(client, "select current_setting('cluster_name')")) == [["db-1"]]
        gate.hold(question, answer=False)
        assert not sqlstates(ask(client, sql))
        until(gate.is_holding.is_set, "the question", PATIENCE)

        switched = side.submit(proxy.post_json, "/api/switchover", {}, PATIENCE)
        until(lambda: status(proxy)["step"] == "drain", "the switchover to wait", PATIENCE)
        gate.let_go()

        assert switched.result(PATIENCE)[0] == 200
        assert rows(ask(client, "select current_setting('cluster_name')")) == [["db-2"]]
        assert rows(ask(client, look)) == [[found]]
        assert not any(counts(proxy)["diverged"].values())
