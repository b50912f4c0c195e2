"""A commit whose answer is lost with its server is found: the client is told of it, or its transaction is run again."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.asks import Ask, extended, named, send, simple
from harness.client import Client, ClosedError, rows, sqlstates
from harness.cutter import Cut, CuttingRelay
from harness.frontend import bind, execute, parse, query, sync
from harness.postgres import APP, PostgresCluster, start_cluster
from harness.proxy import HeliosProcess, Servers, base_settings
from harness.replay import counts
from harness.wait import until

PATIENCE = 30

_numbers = itertools.count(1)


ASKS = pytest.mark.parametrize("ask", [simple, extended, named])


@pytest.fixture(scope="module")
def relay(postgres: PostgresCluster) -> Iterator[CuttingRelay]:
    with CuttingRelay(postgres.primary.port, APP) as made:
        yield made


@pytest.fixture(scope="module")
def proxy(
    postgres: PostgresCluster, relay: CuttingRelay, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HeliosProcess]:
    """One before a server whose connections are cut."""
    folder = tmp_path_factory.mktemp("outcome")
    postgres.execute("create table outcomes (id int, body text); grant all on outcomes to public")
    postgres.execute(
        "create table late (id int primary key deferrable initially deferred); grant all on late to public"
    )
    with HeliosProcess(folder, settings(relay, folder)) as process:
        yield process
    postgres.execute("drop table outcomes, late")


def settings(servers: Servers, folder: Path) -> dict[str, Any]:
    """Of a proxy that finds out what became of commits."""
    pool = {"acquire_timeout_seconds": PATIENCE, "max_size": 4}
    return base_settings(servers, folder, transaction_replay={"enabled": True}, pool=pool)


def copies(postgres: PostgresCluster, number: int) -> int:
    """How often a row is there."""
    return int(postgres.value(f"select count(*) from outcomes where id = {number}") or 0)


@ASKS
def test_a_commit_is_told_wherever_its_answer_is_lost(
    proxy: HeliosProcess, postgres: PostgresCluster, relay: CuttingRelay, ask: Ask
) -> None:
    before = counts(proxy)
    cuts = [Cut(True, 0), Cut(True, 0, 3), *(Cut(False, number) for number in range(6)), Cut(False, 0, 3)]
    is_cut = 0
    with Client(proxy.target(), deadline=PATIENCE) as client:
        for cut in cuts:
            number = next(_numbers)
            ask(client, "begin")
            ask(client, f"insert into outcomes values ({number}, 'mine')")
            assert rows(ask(client, f"select body from outcomes where id = {number}")) == [["mine"]]
            relay.arm(cut)

            events = ask(client, "commit")

            is_cut += relay.disarm()
            assert [event.brief for event in events][-2:] == ["CommandComplete COMMIT", "ReadyForQuery I"], cut
            assert copies(postgres, number) == 1, cut
            assert rows(ask(client, "select 1")) == [["1"]]
    after = counts(proxy)
    assert is_cut >= 4
    assert after["diverged"] == before["diverged"]
    assert after["acknowledged"] + after["completed"] - before["acknowledged"] - before["completed"] == is_cut
    assert after["acknowledged"] > before["acknowledged"]


@ASKS
def test_a_write_outside_of_a_block_is_told_or_its_outcome_is_unknown(
    proxy: HeliosProcess, postgres: PostgresCluster, relay: CuttingRelay, ask: Ask
) -> None:
    before = counts(proxy)
    unknown = 0
    client = Client(proxy.target(), deadline=PATIENCE)
    ask(client, "insert into outcomes values (0, 'the question is prepared')")
    for cut in [Cut(to_server, number) for to_server in (True, False) for number in range(10)]:
        number = next(_numbers)
        relay.arm(cut)
        try:
            events = ask(client, f"insert into outcomes values ({number}, 'mine') returning id, body")
        except ClosedError:
            assert sqlstates(client.transcript)[-1:] == ["08007"], cut
            client.close()
            unknown += 1
            client = Client(proxy.target(), deadline=PATIENCE)
        else:
            assert rows(events) == [[str(number), "mine"]], cut
            assert [event.brief for event in events][-2:] == ["CommandComplete INSERT 0 1", "ReadyForQuery I"], cut
            assert copies(postgres, number) == 1, cut
        relay.disarm()
        assert copies(postgres, number) <= 1, cut
        client.transcript.clear()
    client.terminate()
    after = counts(proxy)
    assert after["diverged"]["outcome"] == before["diverged"]["outcome"] + unknown
    assert after["acknowledged"] > before["acknowledged"]


@ASKS
def test_the_question_shows_nowhere(proxy: HeliosProcess, postgres: PostgresCluster, ask: Ask) -> None:
    with Client(proxy.target(), deadline=PATIENCE) as client, Client(postgres.direct(), deadline=PATIENCE) as plain:
        for sql in (
            "insert into outcomes values (1, 'x'), (2, null) returning *",
            "update outcomes set body = 'y' where id = -1",
            "select * from outcomes where false for update",
            "insert into nowhere values (1)",
            "insert into late values (1), (1)",
            "begin",
            "insert into outcomes values (3, 'z')",
            "savepoint a",
            "insert into nowhere values (1)",
            "rollback to a",
            "insert into late values (1), (1)",
            "commit",
            "insert into outcomes values (4, 'after')",
            "begin",
            "select count(*) > 0 from outcomes",
            "commit",
        ):
            ours, theirs = ask(client, sql), ask(plain, sql)
            if ask is simple and "late" in sql:
                assert sqlstates(ours) == sqlstates(theirs), sql
            assert [event.brief for event in ours] == [event.brief for event in theirs], sql
            assert rows(ours) == rows(theirs), sql


def test_requests_in_one_packet_are_answered_in_order(proxy: HeliosProcess, postgres: PostgresCluster) -> None:
    number = next(_numbers)
    insert = f"insert into outcomes values ({number}, 'packed')"
    with Client(proxy.target(), deadline=PATIENCE) as client:
        client.send(query("begin") + query(insert) + query("commit") + query(insert) + query("select 5"))
        tags = [event.brief.partition(" ")[2] for event in client.until_ready(5) if event.kind == "CommandComplete"]
        batch = bind("", "packed") + execute() + sync()
        client.batch(parse(insert, "packed"), sync())
        client.send(query("begin") + batch + batch + query("commit"))
        client.until_ready(4)
    assert tags == ["BEGIN", "INSERT 0 1", "COMMIT", "INSERT 0 1", "SELECT 1"]
    assert copies(postgres, number) == 4


@pytest.fixture(scope="module")
def crashing() -> Iterator[PostgresCluster]:
    made = start_cluster(with_standby=False)
    made.execute("create table outcomes (id int, body text); grant all on outcomes to public")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def crash_proxy(crashing: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """One before a server that crashes and comes back."""
    folder = tmp_path_factory.mktemp("crash")
    with HeliosProcess(folder, settings(crashing, folder)) as process:
        yield process


def begin_write(client: Client, crashing: PostgresCluster, ask: Ask) -> tuple[int, int]:
    """A transaction that has written; its row, and its server process."""
    number = next(_numbers)
    ask(client, "begin")
    ask(client, f"insert into outcomes values ({number}, 'mine')")
    of = "from pg_stat_activity where backend_type = 'client backend' and state = 'idle in transaction'"
    until(lambda: crashing.value(f"select count(*) {of}") == "1", "the transaction to be open", PATIENCE)
    return number, int(crashing.value(f"select pid {of}") or 0)


@pytest.mark.parametrize("ask", [simple, extended])
def test_a_commit_that_a_crash_has_kept_is_told(
    crash_proxy: HeliosProcess, crashing: PostgresCluster, ask: Ask
) -> None:
    before = counts(crash_proxy)
    with Client(crash_proxy.target(), deadline=PATIENCE) as client:
        # On disk here, and waiting for a standby that is not there.
        set_synchronous(crashing, "nobody")
        number, _ = begin_write(client, crashing, ask)
        send(client, ask, "commit")
        waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
        until(lambda: crashing.value(waiting) == "1", "the commit to wait", PATIENCE)

        crashing.primary.kill()
        set_synchronous(crashing, "")
        crashing.primary.start()

        assert [event.brief for event in client.until_ready()][-2:] == ["CommandComplete COMMIT", "ReadyForQuery I"]
    assert copies(crashing, number) == 1
    after = counts(crash_proxy)
    assert (after["acknowledged"], after["completed"]) == (before["acknowledged"] + 1, before["completed"])


@pytest.mark.parametrize("ask", [simple, extended])
def test_a_commit_that_a_crash_has_lost_is_made_again(
    crash_proxy: HeliosProcess, crashing: PostgresCluster, ask: Ask
) -> None:
    before = counts(crash_proxy)
    with Client(crash_proxy.target(), deadline=PATIENCE) as client:
        number, pid = begin_write(client, crashing, ask)
        os.kill(pid, signal.SIGSTOP)
        send(client, ask, "commit")
        crashing.primary.kill()
        crashing.primary.start()

        assert [event.brief for event in client.until_ready()][-2:] == ["CommandComplete COMMIT", "ReadyForQuery I"]
    assert copies(crashing, number) == 1
    after = counts(crash_proxy)
    assert (after["acknowledged"], after["completed"]) == (before["acknowledged"], before["completed"] + 1)


def set_synchronous(postgres: PostgresCluster, names: str) -> None:
    """For whom commits wait; also of a server that does not run."""
    path = postgres.primary.data / "postgresql.auto.conf"
    path.write_text(f"synchronous_standby_names = '{names}'\n")
    if postgres.primary.pid is not None:
        postgres.execute("select pg_reload_conf()")
        until(lambda: postgres.value("show synchronous_standby_names") == names, "the setting", PATIENCE)
