"""What a client hears when its server ends: nothing if it has lost nothing, else an error, and if it can hear none, the
log and a metric say so.
"""

from __future__ import annotations

import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.asks import Ask, extended, named, simple
from harness.client import Client, ClosedError, rows, sqlstates
from harness.cutter import Cut, CuttingRelay
from harness.frontend import SSL_REQUEST_CODE, query
from harness.gate import Gate
from harness.postgres import APP, PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.replay import counts
from harness.wait import until

PATIENCE = 30
ASKS = pytest.mark.parametrize("ask", [simple, extended, named])

Start = Callable[..., HeliosProcess]


@pytest.fixture
def relay(postgres: PostgresCluster) -> Iterator[CuttingRelay]:
    with CuttingRelay(postgres.primary.port, APP) as made:
        yield made


@pytest.fixture
def start(relay: CuttingRelay, tmp_path: Path) -> Iterator[Start]:
    """A proxy before the relay, with these sections of its configuration."""
    started: list[HeliosProcess] = []

    def make(**sections: object) -> HeliosProcess:
        pool = {"max_size": 1, "acquire_timeout_seconds": PATIENCE}
        started.append(HeliosProcess(tmp_path, base_settings(relay, tmp_path, **{"pool": pool, **sections})))
        return started[-1]

    yield make
    for process in started:
        process.stop()


def cut_counts(proxy: HeliosProcess) -> dict[str, int]:
    """Clients that were disconnected without an error of the proxy's own, by reason."""
    lines = proxy.get("/metrics", accept="text/plain")[1].splitlines()
    name = 'heliosproxy_clients_cut_total{reason="'
    found = [line.removeprefix(name).split('"} ') for line in lines if line.startswith(name)]
    return {reason: int(float(value)) for reason, value in found}


def end_idle_server(postgres: PostgresCluster) -> None:
    """End the server process that has just answered, and wait until it is gone."""
    of = f"from pg_stat_activity where usename = '{APP}' and state = 'idle' and backend_type = 'client backend'"
    until(lambda: postgres.value(f"select count(*) {of}") == "1", "the answer", PATIENCE)
    pid = postgres.value(f"select pid {of}")
    postgres.value(f"select pg_terminate_backend({pid})")
    there = f"select count(*) from pg_stat_activity where pid = {pid}"
    until(lambda: postgres.value(there) == "0", "its end", PATIENCE)


@pytest.mark.parametrize("has_words", [True, False], ids=["with a word", "without"])
@pytest.mark.parametrize("replays", [True, False], ids=["run again", "not run again"])
@ASKS
def test_a_server_that_ends_behind_its_answer_is_given_to_nobody(
    start: Start, relay: CuttingRelay, postgres: PostgresCluster, ask: Ask, replays: bool, has_words: bool
) -> None:
    proxy = start(transaction_replay={"enabled": replays})
    with Client(proxy.target(), deadline=PATIENCE) as first, Client(proxy.target(), deadline=PATIENCE) as second:
        assert rows(ask(first, "select 1")) == [["1"]]
        first.send(query("select 2 from pg_sleep(1)"))
        working = f"select count(*) from pg_stat_activity where usename = '{APP}' and wait_event = 'PgSleep'"
        until(lambda: postgres.value(working) == "1", "the statement to run", PATIENCE)
        if ask is simple:
            second.send(query("select 3"))
        # What comes meanwhile it sees at once: the answer, and the end behind it.
        proxy.signal(signal.SIGSTOP)
        if not has_words:
            relay.arm(Cut(False, 4))
        end_idle_server(postgres)
        if not has_words:
            until(relay.disarm, "the cut", PATIENCE)
        proxy.signal(signal.SIGCONT)

        assert rows(first.until_ready()) == [["2"]]
        events = second.until_ready() if ask is simple else ask(second, "select 3")
        assert rows(events) == [["3"]]
        assert rows(ask(first, "select 4")) == [["4"]]
        assert not sqlstates(first.transcript + second.transcript)
    assert cut_counts(proxy) == {"told": 0, "torn": 0}
    assert set(counts(proxy)["diverged"].values()) == {0}


@ASKS
def test_a_block_that_was_begun_here_outlives_the_loss_of_its_first_statement(
    start: Start, relay: CuttingRelay, postgres: PostgresCluster, ask: Ask
) -> None:
    proxy = start(transaction_replay={"enabled": True}, routing={"read_write_split": True})
    places = [Cut(to_server, number) for to_server in (True, False) for number in range(5)]
    is_cut = 0
    with Client(proxy.target(), deadline=PATIENCE) as client:
        for cut in places:
            where = str(cut)
            ask(client, "begin")
            relay.arm(cut)
            assert rows(ask(client, "select id from items where id = 1 for update")) == [["1"]], where
            is_cut += relay.disarm()
            assert not sqlstates(ask(client, "commit")), where
    assert is_cut >= 4
    assert set(counts(proxy)["diverged"].values()) == {0}


def test_an_end_inside_of_a_message_is_logged_and_counted(start: Start, relay: CuttingRelay) -> None:
    proxy = start()
    with Client(proxy.target(), deadline=PATIENCE) as client:
        client.query("select 1")
        relay.arm(Cut(False, 1, 5000))
        with pytest.raises(ClosedError):
            client.query("select repeat('x', 100000)")
        assert not sqlstates(client.transcript)
    until(lambda: cut_counts(proxy) == {"told": 0, "torn": 1}, "the count", PATIENCE)
    assert "client disconnected without an error" in proxy.log()
    assert "why=torn" in proxy.log()


@ASKS
def test_the_last_words_of_a_server_are_told_once(start: Start, postgres: PostgresCluster, ask: Ask) -> None:
    proxy = start()
    with Client(proxy.target(), deadline=PATIENCE) as client:
        ask(client, "begin")
        pid = rows(ask(client, "select pg_backend_pid()"))[0][0]
        postgres.value(f"select pg_terminate_backend({pid})")
        assert sqlstates(client.until_closed()) == ["57P01"]
    until(lambda: cut_counts(proxy) == {"told": 1, "torn": 0}, "the count", PATIENCE)


def test_a_server_that_ends_when_it_is_asked_for_encryption_is_asked_again(
    postgres: PostgresCluster, tmp_path: Path
) -> None:
    gate = Gate(postgres.primary.port)
    config = base_settings(postgres, tmp_path, pool={"acquire_timeout_seconds": PATIENCE})
    config["clusters"][0]["nodes"] = [{"name": "gate", "host": "127.0.0.1", "port": gate.port}]
    try:
        with (
            HeliosProcess(tmp_path, config) as proxy,
            Client(proxy.target(), deadline=PATIENCE) as first,
            Client(proxy.target(), deadline=PATIENCE) as second,
        ):
            first.query("begin; select 1")
            gate.hold(struct.pack("!i", SSL_REQUEST_CODE), answer=True)
            second.send(query("select 2"))
            until(gate.is_holding.is_set, "the request for encryption", PATIENCE)
            gate.lose()

            assert rows(second.until_ready()) == [["2"]]
            assert not sqlstates(second.transcript)
    finally:
        gate.stop()
