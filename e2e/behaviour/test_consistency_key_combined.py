"""Consistency keys with blocks that begin on standbys, across a failover, and where a sample does not come."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from harness.asks import Ask, extended, prepared, simple
from harness.client import Client, Connection, rows, sqlstates
from harness.failover import await_nodes, successor_of
from harness.frontend import cancel_request, query
from harness.gate import Gate
from harness.keyed import PATIENCE, Pods, await_split, connect, done, found, insert, split, told, two_proxies
from harness.postgres import PostgresCluster, superuser_of
from harness.proxy import HeliosProcess, base_settings
from harness.redis import Redis
from harness.replay import paused_replay
from harness.replicas import ReplicatedCluster
from harness.tried import control, counts, well
from harness.wait import until

NUMBERS = count(76_000)
WRITES = 40
"""Under a key, with a read of each at the other proxy."""

WAYS = (simple, extended, prepared)
ASKS = pytest.mark.parametrize("ask", WAYS)


@pytest.fixture(scope="module")
def optimistic(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """Blocks begin on the standby though they may write."""
    folder = tmp_path_factory.mktemp("optimistic-keys")
    with Redis(folder / "redis") as redis, two_proxies(postgres, folder, redis, optimistic=True) as both:
        yield both


def number_of(id: int) -> str:
    """A read that has the same answer on every server which has it."""
    return f"select count(*) from notes where id = {id}"


@ASKS
def test_a_block_begins_only_where_what_was_told_is_seen(optimistic: Pods, postgres: PostgresCluster, ask: Ask) -> None:
    id = next(NUMBERS)
    first, second = optimistic
    with connect(first, f"user {id}") as writer, connect(second, f"user {id}") as other, connect(second) as stranger:
        with paused_replay(postgres):
            done(ask(writer, insert(id)))
            for client, wanted in ((other, ["1", "primary"]), (stranger, ["0", "standby-1"])):
                control(client, ask, "begin")
                assert well(client, ask, found(id)) == [wanted]
                control(client, ask, "commit")
        done(writer.query(f"delete from notes where id = {id}"))


@ASKS
def test_what_a_block_writes_that_has_begun_on_a_standby_is_told(
    optimistic: Pods, postgres: PostgresCluster, ask: Ask
) -> None:
    id = next(NUMBERS)
    first, second = optimistic
    with connect(first, f"user {id}") as writer, connect(second) as without:
        well(writer, ask, number_of(id))
        moved = counts(first)["blocks_moved"]
        control(writer, ask, "begin")
        assert well(writer, ask, number_of(id)) == [["0"]]
        with paused_replay(postgres):
            done(ask(writer, insert(id)))
            assert counts(first)["blocks_moved"] == moved + 1
            done(control(writer, ask, "commit"))
            with connect(second, f"user {id}") as other:
                assert well(other, ask, found(id)) == [["1", "primary"]]
            assert well(without, ask, found(id)) == [["0", "standby-1"]]
        done(writer.query(f"delete from notes where id = {id}"))


def test_what_is_written_across_a_failover_is_seen_at_the_other_proxy(tmp_path: Path) -> None:
    """By sessions that were told of the old timeline, and on the standby that is left, once that has it."""
    sections = {
        "failover": {"enabled": True, "lease_file": str(tmp_path / "lease")},
        "pool": {"acquire_timeout_seconds": int(PATIENCE), "max_size": 8},
        "limits": {"connect_timeout_seconds": 30},
    }
    cluster = ReplicatedCluster()
    try:
        with (
            Redis(tmp_path / "redis") as redis,
            two_proxies(cluster, tmp_path, redis, sections) as (first, second),
            connect(first, "user") as writer,
            connect(second, "user") as other,
            connect(second) as without,
        ):
            for pod in (first, second):
                await_nodes(pod)

            def write_and_look() -> None:
                id = next(NUMBERS)
                done(writer.query(insert(id)))
                for ask in WAYS:
                    events = ask(other, found(id))
                    assert not sqlstates(events) and rows(events)[0][0] == "1", (id, rows(events))

            for n in range(WRITES):
                if n == WRITES // 2:
                    cluster["db-1"].kill()
                write_and_look()
            primary = str(until(lambda: successor_of(second, "db-1"), "another primary", PATIENCE))
            cluster.await_streaming(primary, 1, PATIENCE)
            (standby,) = (name for name in cluster.servers if name not in ("db-1", primary))
            for reader in (other, without):
                until(lambda it=reader: rows(it.query(found(0)))[0][1] == standby, f"reads on {standby}", PATIENCE)  # type: ignore[misc]

            with Client(superuser_of(cluster[standby])) as admin:
                admin.query("select pg_wal_replay_pause()")
                until(lambda: admin.value("select pg_get_wal_replay_pause_state()") == "paused", "replay to stop")
                id = next(NUMBERS)
                done(writer.query(insert(id)))
                assert rows(without.query(found(id))) == [["0", standby]]
                assert rows(other.query(found(id))) == [["1", primary]]
                admin.query("select pg_wal_replay_resume()")
            until(lambda: rows(other.query(found(id))) == [["1", standby]], "the standby to catch up", PATIENCE)
            assert told(second)["reads_told"] > 3 * WRITES // 2
    finally:
        cluster.stop()


def answer_to_cancel(client: Client, pod: HeliosProcess) -> str:
    """What comes first, however often it must be asked for."""

    def answered() -> str | None:
        canceller = Connection("127.0.0.1", pod.port)
        canceller.send(cancel_request(client.pid, client.key))
        canceller.until_closed()
        try:
            return client.receive().brief
        except TimeoutError:
            return None

    client.deadline, patience = 0.5, client.deadline
    try:
        return str(until(answered, "an answer", PATIENCE))
    finally:
        client.deadline = patience


def test_a_read_that_waits_for_the_primary_to_say_what_it_is_can_be_cancelled(
    postgres: PostgresCluster, tmp_path: Path
) -> None:
    """What was told under its key cannot be judged before."""
    gate = Gate(postgres.primary.port)
    gate.hold(b"pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn", answer=False)
    system = int(postgres.value("select system_identifier from pg_control_system()") or 0)
    with Redis(tmp_path / "redis") as redis:
        config = base_settings(postgres, tmp_path, routing=split(redis), workers=1)
        for node in config["clusters"][0]["nodes"]:
            node["port"] = gate.port if node["port"] == postgres.primary.port else node["port"]
        with HeliosProcess(tmp_path, config) as pod:
            await_split(pod)
            redis.ask("del", "helios:doubt")
            redis.ask("set", "helios:main:user", f"{system:020}:{1:010}:{1:020}")
            with connect(pod, "user") as client:
                client.send(query(found(1)))
                assert answer_to_cancel(client, pod) == "ErrorResponse 57014"
                client.until_ready()
                gate.let_go()
                until(lambda: rows(client.query(found(1))) == [["0", "standby-1"]], "a read on the standby", PATIENCE)
    gate.stop()
