"""COMMIT PREPARED and ROLLBACK PREPARED whose answer is lost with their server: what has become of the transaction is
found out by its number, and the statement is sent again where it has not come to be.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.asks import Ask, extended, named, send, simple
from harness.backend import Event
from harness.client import Client, ClosedError, rows, sqlstates
from harness.cutter import Cut, CuttingRelay
from harness.frontend import bind, describe_statement, execute, parse, sync
from harness.postgres import APP, PostgresCluster, start_cluster
from harness.proxy import HeliosProcess, Servers, base_settings
from harness.replay import counts
from harness.wait import until

PATIENCE = 60
TABLE = "create table outcomes (id int, body text); grant all on outcomes to public"

ASKS = pytest.mark.parametrize("ask", [simple, extended, named])
VERBS = pytest.mark.parametrize("verb", ["commit", "rollback"])

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresCluster]:
    """One that crashes and comes back."""
    made = start_cluster(with_standby=False)
    made.execute(TABLE)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def relay(server: PostgresCluster) -> Iterator[CuttingRelay]:
    with CuttingRelay(server.primary.port, APP) as made:
        yield made


def config(servers: Servers, folder: Path) -> dict[str, Any]:
    pool = {"acquire_timeout_seconds": PATIENCE, "max_size": 4}
    return base_settings(servers, folder, transaction_replay={"enabled": True}, pool=pool)


@pytest.fixture(scope="module")
def cut_proxy(relay: CuttingRelay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """One before a server whose connections are cut."""
    folder = tmp_path_factory.mktemp("cut")
    with HeliosProcess(folder, config(relay, folder)) as process:
        yield process


@pytest.fixture(scope="module")
def crash_proxy(server: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """One before the server itself."""
    folder = tmp_path_factory.mktemp("crash")
    with HeliosProcess(folder, config(server, folder)) as process:
        yield process


def prepare(client: Client, ask: Ask) -> tuple[int, str]:
    """Prepare a transaction that has written: its row, and its name."""
    number = next(_numbers)
    name = f"it''s {number}"
    for sql in ("begin", f"insert into outcomes values ({number}, 'mine')", f"prepare transaction '{name}'"):
        assert not sqlstates(ask(client, sql))
    return number, name


def state(client: Client, number: int, name: str) -> str:
    """What the database says of it."""
    if client.value(f"select count(*) from pg_prepared_xacts where gid = '{name}'") == "1":
        return "prepared"
    there = client.value(f"select count(*) from outcomes where id = {number}")
    return {"0": "rollback", "1": "commit"}[str(there)]


def end_at_each(
    proxy: HeliosProcess,
    relay: CuttingRelay,
    looking: Client,
    cuts: Iterable[Cut],
    verb: str,
    make_ready: Callable[[Client], tuple[int, str, Callable[[], list[Event]]]],
) -> int:
    """End one prepared transaction for each cut, and see that it is told and has come to be; how often it was cut.
    `make_ready` gives the transaction's row, its name and what ends it."""
    before = counts(proxy)
    is_cut = 0
    told = [f"CommandComplete {verb.upper()} PREPARED", "ReadyForQuery I"]
    with Client(proxy.target(), deadline=PATIENCE) as client:
        for cut in cuts:
            where = str(cut)
            number, name, end = make_ready(client)
            relay.arm(cut)

            events = end()

            is_cut += relay.disarm()
            assert [event.brief for event in events][-2:] == told, where
            assert not sqlstates(events), where
            assert state(looking, number, name) == verb, where
    after = counts(proxy)
    assert after["diverged"] == before["diverged"]
    assert after["acknowledged"] > before["acknowledged"]
    assert after["completed"] > before["completed"]
    return is_cut


@ASKS
@VERBS
def test_the_end_is_told_wherever_its_answer_is_lost(
    cut_proxy: HeliosProcess, server: PostgresCluster, relay: CuttingRelay, ask: Ask, verb: str
) -> None:
    def make_ready(client: Client) -> tuple[int, str, Callable[[], list[Event]]]:
        number, name = prepare(client, ask)
        return number, name, lambda: ask(client, f"{verb} prepared '{name}'")

    cuts = [Cut(to_server, number) for to_server in (True, False) for number in range(10)]
    with Client(server.direct(), deadline=PATIENCE) as looking:
        assert end_at_each(cut_proxy, relay, looking, cuts, verb, make_ready) >= 8


@VERBS
def test_the_end_that_was_described_by_another_server_is_told(
    cut_proxy: HeliosProcess, server: PostgresCluster, relay: CuttingRelay, verb: str
) -> None:
    def make_ready(client: Client) -> tuple[int, str, Callable[[], list[Event]]]:
        number, name = prepare(client, simple)
        made = client.batch(parse(f"{verb} prepared '{name}'", name), describe_statement(name), sync())
        assert not sqlstates(made)
        end_idle_servers(server)
        return number, name, lambda: client.batch(bind(name=name), execute(), sync())

    # The next server logs in first, which is a good many messages.
    cuts = [*(Cut(True, number) for number in range(16)), *(Cut(False, number) for number in range(40))]
    with Client(server.superuser()) as looking:
        assert end_at_each(cut_proxy, relay, looking, cuts, verb, make_ready) >= 30


@ASKS
@pytest.mark.parametrize("is_own", [True, False], ids=["by itself", "by another"])
def test_what_was_prepared_and_rolled_back_is_nothing_that_a_session_must_find_again(
    cut_proxy: HeliosProcess, server: PostgresCluster, relay: CuttingRelay, ask: Ask, is_own: bool
) -> None:
    before = counts(cut_proxy)
    with Client(cut_proxy.target(), deadline=PATIENCE) as client, Client(server.direct(), deadline=PATIENCE) as other:
        _, name = prepare(client, ask)
        assert not sqlstates(ask(client if is_own else other, f"rollback prepared '{name}'"))
        number = next(_numbers)
        ask(client, "begin")
        ask(client, f"insert into outcomes values ({number}, 'mine')")
        relay.arm(Cut(False, 0))

        found = rows(ask(client, f"select body from outcomes where id = {number}"))

        assert relay.disarm()
        assert found == [["mine"]]
        assert not sqlstates(ask(client, "commit"))
        assert state(other, number, name) == "commit"
    after = counts(cut_proxy)
    assert after["diverged"] == before["diverged"]
    assert after["completed"] == before["completed"] + 1


@pytest.mark.parametrize("ask", [simple, extended])
@VERBS
@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "not begun"])
def test_the_end_is_told_over_a_crash(
    crash_proxy: HeliosProcess, server: PostgresCluster, ask: Ask, verb: str, is_kept: bool
) -> None:
    before = counts(crash_proxy)
    with Client(crash_proxy.target(), deadline=PATIENCE) as client:
        number, name = prepare(client, ask)
        if is_kept:
            # On disk here, and waiting for a standby that is not there.
            wait_for(server, "nobody")
            send(client, ask, f"{verb} prepared '{name}'")
            waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
            until(lambda: server.value(waiting) == "1", "the end to wait", PATIENCE)
        else:
            for pid in idle_processes(server):
                os.kill(pid, signal.SIGSTOP)
            send(client, ask, f"{verb} prepared '{name}'")

        server.primary.kill()
        wait_for(server, "")
        server.primary.start()

        events = client.until_ready()
        assert [event.brief for event in events][-2:] == [f"CommandComplete {verb.upper()} PREPARED", "ReadyForQuery I"]
        assert state(client, number, name) == verb
    after = counts(crash_proxy)
    assert after["diverged"] == before["diverged"]
    assert after["acknowledged"] == before["acknowledged"] + is_kept


def idle_processes(server: PostgresCluster) -> list[int]:
    """Of the connections of the pool."""
    sql = f"select string_agg(pid::text, ',') from pg_stat_activity where usename = '{APP}' and state = 'idle'"
    return [int(pid) for pid in (server.value(sql) or "").split(",") if pid]


def end_idle_servers(server: PostgresCluster) -> None:
    """End the connections of the pool, and wait until they are gone."""
    pids = ", ".join(str(pid) for pid in until(lambda: idle_processes(server), "the pool at rest", PATIENCE))
    there = f"from pg_stat_activity where pid in ({pids})"
    server.value(f"select count(pg_terminate_backend(pid)) {there}")
    until(lambda: server.value(f"select count(*) {there}") == "0", "their end", PATIENCE)


def wait_for(server: PostgresCluster, names: str) -> None:
    """For whom commits wait; also of a server that does not run."""
    path = server.primary.data / "postgresql.auto.conf"
    path.write_text(f"synchronous_standby_names = '{names}'\n")
    if server.primary.pid is not None:
        server.execute("select pg_reload_conf()")
        until(lambda: server.value("show synchronous_standby_names") == names, "the setting", PATIENCE)


def test_an_end_that_nobody_knows_of_is_said_to_be_unknown_and_a_wrong_name_is_an_error(
    cut_proxy: HeliosProcess, relay: CuttingRelay
) -> None:
    with Client(cut_proxy.target(), deadline=PATIENCE) as client:
        assert sqlstates(client.query("commit prepared 'nobody'")) == ["42704"]
        assert sqlstates(client.extended("rollback prepared 'nobody'")) == ["42704"]
        client.query("begin")
        assert sqlstates(client.query("commit prepared 'nobody'")) == ["25001"]
        client.query("rollback")
        number, name = prepare(client, simple)
        _, other = prepare(client, simple)
        # With something else in the same request nobody asks for a number.
        relay.arm(Cut(False, 0))
        with pytest.raises(ClosedError):
            client.query(f"commit prepared '{name}'; select 1")
        relay.disarm()
        assert sqlstates(client.transcript)[-1:] == ["08007"]
    with Client(cut_proxy.target(), deadline=PATIENCE) as client:
        until(lambda: not idle_in(client, name), "the server to be done with it", PATIENCE)
        assert state(client, number, name) in ("commit", "prepared")
        for left in (name, other):
            client.query(f"rollback prepared '{left}'")


def idle_in(client: Client, name: str) -> bool:
    """Whether a server process still ends it."""
    sql = "select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() and query like "
    return client.value(f"{sql}'%{name}%'") != "0"
