"""COMMIT PREPARED and ROLLBACK PREPARED whose primary is killed: the next one knows what has become of them, and gets
those again that have not come to be.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from harness.asks import Ask, extended, named, send, simple
from harness.client import Client, ClosedError, sqlstates
from harness.failover import PATIENCE, Gates, behind_gates, mend, primary_of, stop_senders, successor_of
from harness.postgres import superuser_of
from harness.proxy import HeliosProcess
from harness.replay import counts
from harness.replicas import ReplicatedCluster
from harness.wait import until

KINDS = tuple(itertools.product(("commit", "rollback"), (simple, extended, named)))
"""How one is ended, and in which way that is asked for: a client each."""

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ReplicatedCluster]:
    """Three servers, whichever leads."""
    settings, schema = {"max_prepared_transactions": "20"}, "create table outcomes (id int, body text)"
    with ReplicatedCluster(settings, schema=schema) as made:
        for server in made.servers.values():
            # For pg_rewind, which knows only what files say.
            with Client(superuser_of(server)) as admin:
                admin.query("alter system set max_prepared_transactions = 20")
        yield made


@pytest.fixture(scope="module")
def gates_and_proxy(
    cluster: ReplicatedCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gates, HeliosProcess]]:
    """A proxy that may promote, and what is between it and each server."""
    with behind_gates(cluster, tmp_path_factory.mktemp("promoted")) as made:
        yield made


def begin(client: Client, ask: Ask) -> int:
    """Begin a transaction that has written; the number in its row."""
    number = next(_numbers)
    for sql in ("begin", f"insert into outcomes values ({number}, 'mine')"):
        assert not sqlstates(ask(client, sql))
    return number


def prepare(client: Client, ask: Ask) -> int:
    """Prepare one; the number in its row and its name."""
    number = begin(client, ask)
    assert not sqlstates(ask(client, f"prepare transaction 'number {number}'"))
    return number


def state(client: Client, number: int) -> str:
    """What the database says of it."""
    if client.value(f"select count(*) from pg_prepared_xacts where gid = 'number {number}'") == "1":
        return "prepared"
    there = client.value(f"select count(*) from outcomes where id = {number}")
    return {"0": "rollback", "1": "commit"}[str(there)]


@pytest.mark.parametrize("how_far", ["not begun", "on the primary alone", "on its standby"])
def test_the_end_is_told_over_a_promotion(
    cluster: ReplicatedCluster, gates_and_proxy: tuple[Gates, HeliosProcess], how_far: str
) -> None:
    gates, proxy = gates_and_proxy
    former = primary_of(proxy)
    cluster.wait_for_one(former)
    before = counts(proxy)
    clients = [Client(proxy.target(), deadline=PATIENCE) for _ in KINDS]
    numbers = [prepare(client, ask) for client, (_, ask) in zip(clients, KINDS, strict=True)]
    if how_far == "on the primary alone":
        stop_senders(cluster, former)
    else:
        gates[former].hold(b" prepared 'number", answer=how_far == "on its standby", count=len(KINDS))

    for client, number, (verb, ask) in zip(clients, numbers, KINDS, strict=True):
        send(client, ask, f"{verb} prepared 'number {number}'")
    if how_far == "on the primary alone":
        waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
        until(lambda: cluster.ask(former, waiting) == str(len(KINDS)), "the ends to wait", PATIENCE)
    else:
        until(gates[former].is_holding.is_set, "the ends", PATIENCE)
    cluster[former].kill()
    gates[former].lose()

    for client, number, (verb, ask) in zip(clients, numbers, KINDS, strict=True):
        where = f"{verb} {ask.__name__}"
        events = client.until_ready()
        told = [f"CommandComplete {verb.upper()} PREPARED", "ReadyForQuery I"]
        assert [event.brief for event in events][-2:] == told, where
        assert not sqlstates(events), where
        assert state(client, number) == verb, where
        client.terminate()
    after = counts(proxy)
    assert after["diverged"] == before["diverged"]
    found = {name: after[name] - before[name] for name in ("acknowledged", "completed")}
    is_over = how_far == "on its standby"
    assert found == {"acknowledged": len(KINDS) * is_over, "completed": len(KINDS) * (not is_over)}
    mend(cluster, proxy, former, str(successor_of(proxy, former)))


def test_what_was_being_prepared_is_said_to_be_unknown_and_holds_up_nobody(
    cluster: ReplicatedCluster, gates_and_proxy: tuple[Gates, HeliosProcess]
) -> None:
    gates, proxy = gates_and_proxy
    former = primary_of(proxy)
    before = counts(proxy)
    cluster.wait_for_one(former)
    asks = (simple, extended, named)
    clients = [Client(proxy.target(), deadline=PATIENCE) for _ in asks]
    numbers = [begin(client, ask) for client, ask in zip(clients, asks, strict=True)]
    gates[former].hold(b"prepare transaction", answer=True, count=len(asks))
    for client, number, ask in zip(clients, numbers, asks, strict=True):
        send(client, ask, f"prepare transaction 'number {number}'")
    until(gates[former].is_holding.is_set, "them to be prepared", PATIENCE)
    cluster[former].kill()
    gates[former].lose()

    for client in clients:
        with pytest.raises(ClosedError):
            client.until_ready()
        assert sqlstates(client.transcript) == ["08007"]
    with Client(proxy.target(), deadline=PATIENCE) as other:
        for number in numbers:
            assert state(other, number) == "prepared"
            assert not sqlstates(other.query(f"rollback prepared 'number {number}'"))
    after = counts(proxy)
    assert after["diverged"]["outcome"] == before["diverged"]["outcome"] + len(asks)
    mend(cluster, proxy, former, str(successor_of(proxy, former)))
