"""A commit whose answer is lost has let go of its locks, and others had them, before the server was lost. On the next
primary, which has not got it, it comes first again: nobody notices more than a pause.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.asks import Ask, extended, simple
from harness.backend import Event
from harness.client import Client, rows, sqlstates
from harness.failover import PATIENCE, behind_gates, mend, primary_of, stop_senders, successor_of
from harness.gate import Gate
from harness.proxy import HeliosProcess
from harness.replay import counts
from harness.replicas import ReplicatedCluster
from harness.wait import until

SCHEMA = "create table counters (id int primary key, n int not null); grant all on counters to public"
FILL = "truncate counters; insert into counters select id, 0 from generate_series(1, 9) id"
HELD = b"/* its answer is lost */"
BUMP = "update counters set n = n + 1 where id = 1 returning n"

ASKS = pytest.mark.parametrize("ask", [simple, extended])


@pytest.fixture(scope="module")
def cluster() -> Iterator[ReplicatedCluster]:
    """Three servers, whichever leads."""
    with ReplicatedCluster(schema=SCHEMA) as made:
        yield made


class Scene:
    """A proxy before three servers, of which the first one can lose an answer, and with it what it was about."""

    def __init__(self, cluster: ReplicatedCluster, gate: Gate, proxy: HeliosProcess, stack: ExitStack) -> None:
        """`gate` is before the primary."""
        self._cluster = cluster
        self._gate = gate
        self._stack = stack
        self._pool = stack.enter_context(ThreadPoolExecutor(max_workers=4))
        self.proxy = proxy
        self.former = primary_of(proxy)
        self.is_killed = False

    def client(self) -> Client:
        return self._stack.enter_context(Client(self.proxy.target(), deadline=PATIENCE))

    def ask(self, ask: Ask, client: Client, sql: str) -> Future[list[Event]]:
        """What comes of it, whenever that comes."""
        return self._pool.submit(ask, client, sql)

    def stop_standbys(self) -> None:
        """They get nothing more of the primary."""
        stop_senders(self._cluster, self.former)

    def lose_answer(self, ask: Ask, client: Client, sql: str, passing: int = 0) -> Future[list[Event]]:
        """Has the server do it without its standbys, which the client is not told, but for the first packets."""
        self._gate.hold(HELD, answer=True, passing=passing)
        future = self.ask(ask, client, f"{sql} {HELD.decode()}")
        waiting = "from pg_stat_activity where wait_event = 'SyncRep'"
        cancel = f"select count(*) from (select pg_cancel_backend(pid) {waiting})"
        until(lambda: self._cluster.ask(self.former, cancel) == "1", "a commit that waits for standbys", PATIENCE)
        assert self._gate.is_holding.wait(PATIENCE)
        return future

    def kill(self) -> None:
        """The primary, with what it has told nobody."""
        self._cluster[self.former].kill()
        self._gate.lose()
        self.is_killed = True

    def number(self, counter: int = 1) -> str | None:
        """As the next primary has it."""
        until(lambda: successor_of(self.proxy, self.former), "another primary", PATIENCE)
        return self._cluster.ask(primary_of(self.proxy), f"select n from counters where id = {counter}")

    def mend(self) -> None:
        """Three servers again."""
        if not self.is_killed:
            self.kill()
        heir = str(until(lambda: successor_of(self.proxy, self.former), "another primary", PATIENCE))
        mend(self._cluster, self.proxy, self.former, heir)


@pytest.fixture
def scene(cluster: ReplicatedCluster, tmp_path: Path) -> Iterator[Scene]:
    former = next(name for name in cluster.servers if cluster.ask(name, "select pg_is_in_recovery()") == "f")
    with Client(cluster.app(former)) as client:
        client.query(FILL)
    cluster.wait_for_one(former)
    cluster.await_replay(former)
    with behind_gates(cluster, tmp_path, [former]) as (gates, proxy), ExitStack() as stack:
        made = Scene(cluster, gates[former], proxy, stack)
        yield made
        made.mend()


def well(events: list[Event]) -> list[Event]:
    assert not sqlstates(events), events
    return events


def lose_commit(scene: Scene, ask: Ask, first: Client, second: Client) -> Future[list[Event]]:
    """The first one has counted, and its COMMIT has no answer; the second has the lock, and has seen it."""
    well(ask(first, "begin"))
    assert rows(ask(first, BUMP)) == [["1"]]
    committed = scene.lose_answer(ask, first, "commit")
    well(ask(second, "begin"))
    assert rows(well(ask(second, "select n from counters where id = 1 for update"))) == [["1"]]
    return committed


@ASKS
def test_whoever_has_seen_a_commit_comes_behind_it(scene: Scene, ask: Ask) -> None:
    first, second, third = (scene.client() for _ in range(3))
    well(ask(third, "begin"))
    well(ask(third, "update counters set n = 7 where id = 3"))
    scene.stop_standbys()
    committed = lose_commit(scene, ask, first, second)

    scene.kill()

    assert rows(well(ask(second, "update counters set n = n + 10 where id = 1 returning n"))) == [["11"]]
    well(ask(second, "commit"))
    well(committed.result(PATIENCE))
    # Whoever had nothing to do with it has what it had.
    assert rows(ask(third, "update counters set n = n + 1 where id = 3 returning n")) == [["8"]]
    well(ask(third, "commit"))
    assert (scene.number(), scene.number(3)) == ("11", "8")
    assert counts(scene.proxy)["completed"] == 3
    assert not any(counts(scene.proxy)["diverged"].values())


@ASKS
def test_whoever_has_got_its_locks_gives_them_back(scene: Scene, ask: Ask) -> None:
    first, second = scene.client(), scene.client()
    scene.stop_standbys()
    well(ask(first, "begin"))
    # What takes its time on the next primary, so that the other one is there before.
    for number in range(40):
        assert rows(ask(first, f"select count(*) + {number} from generate_series(1, 50000)"))
    assert rows(ask(first, BUMP)) == [["1"]]
    committed = scene.lose_answer(ask, first, "commit")
    well(ask(second, "begin"))
    # Its answer does not say whether it came before or behind.
    well(ask(second, "update counters set n = n * 10 where id = 1"))

    scene.kill()

    assert rows(well(ask(second, "select n from counters where id = 1"))) == [["10"]]
    well(ask(second, "commit"))
    well(committed.result(PATIENCE))
    assert scene.number() == "10"
    assert not any(counts(scene.proxy)["diverged"].values())


@ASKS
def test_a_statement_that_commits_by_itself_comes_first_as_well(scene: Scene, ask: Ask) -> None:
    first, second = scene.client(), scene.client()
    scene.stop_standbys()
    committed = scene.lose_answer(ask, first, BUMP, passing=1)
    well(ask(second, "begin"))
    assert rows(well(ask(second, "select n from counters where id = 1 for update"))) == [["1"]]

    scene.kill()

    assert rows(well(ask(second, "update counters set n = n + 10 where id = 1 returning n"))) == [["11"]]
    well(ask(second, "commit"))
    assert rows(well(committed.result(PATIENCE))) == [["1"]]
    assert scene.number() == "11"
    assert not any(counts(scene.proxy)["diverged"].values())


@ASKS
def test_a_client_that_leaves_with_its_commit_is_waited_for_by_nobody(scene: Scene, ask: Ask) -> None:
    first, second = Client(scene.proxy.target(), deadline=PATIENCE), scene.client()
    scene.stop_standbys()
    lost = lose_commit(scene, ask, first, second)

    first.abort()
    scene.kill()

    told = ask(second, "select n from counters where id = 1")
    assert lost.exception(PATIENCE) is not None
    # Where the proxy has noticed too late that it left, its commit has come to be.
    assert sqlstates(told) == ["40001"] or rows(told) == [["1"]]
    well(ask(second, "rollback"))
    assert scene.number() == ("0" if sqlstates(told) else "1")
