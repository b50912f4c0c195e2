"""What a session has on its server alone is made again on the next one, as it was, or its client is told why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.asks import Ask, extended, prepared, simple
from harness.client import Client, rows, sqlstates
from harness.cutter import Cut, CuttingRelay
from harness.frontend import bind, execute, parse, query, sync
from harness.postgres import APP, PostgresCluster, start_cluster
from harness.proxy import HeliosProcess, base_settings
from harness.replay import await_sessions, counts, end_server
from harness.replicas import ReplicatedCluster
from harness.wait import until

PATIENCE = 60

ASKS = pytest.mark.parametrize("ask", [simple, extended, prepared])


def replaying(**more: Any) -> dict[str, Any]:
    return {"enabled": True, "holdable_cursors": True, "max_cursors": 3, "temp_table_max_bytes": 100_000, **more}


POOL = {"max_size": 8, "acquire_timeout_seconds": PATIENCE}


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    """It makes sessions again, on the same server over another connection."""
    folder: Path = tmp_path_factory.mktemp("sessions")
    postgres.execute("create table sources (n int, body text); grant all on sources to public")
    postgres.execute("create table sinks (n int); grant all on sinks to public")
    replay = replaying(journal={"max_entries": 60})
    with HeliosProcess(folder, base_settings(postgres, folder, transaction_replay=replay, pool=POOL)) as process:
        yield process
    postgres.execute("drop table sources, sinks")


@pytest.fixture
def client(proxy: HeliosProcess, postgres: PostgresCluster) -> Iterator[Client]:
    postgres.execute("truncate sources, sinks; insert into sources select n, 'row' from generate_series(1, 9) n")
    with Client(proxy.target().with_options(application_name="kept"), deadline=PATIENCE) as client:
        yield client


def kill(postgres: PostgresCluster, client: Client) -> None:
    """End the server process of the client, once the proxy knows what it holds, and wait until it is gone."""
    client.query("select 1")
    end_server(postgres, "kept")


LOCKS = "select string_agg(concat_ws('/', classid, objid, objsubid, mode), ' ' order by objid, mode) from pg_locks"
OWN_LOCKS = f"{LOCKS} where locktype = 'advisory' and pid = pg_backend_pid()"


@ASKS
def test_advisory_locks_are_taken_again(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask
) -> None:
    before = counts(proxy)
    for sql in (
        "select pg_advisory_lock(7001)",
        "select pg_advisory_lock(7001)",
        "select pg_advisory_lock_shared(7, 7002)",
        "select pg_try_advisory_lock(hashtext('computed'))",
        "select pg_advisory_lock(7003)",
        "select pg_advisory_unlock(7003)",
        "insert into sinks values (1)",
    ):
        assert not sqlstates(ask(client, sql)), sql
    ask(client, "begin")
    ask(client, "select pg_advisory_lock(7004)")
    ask(client, "rollback")
    held = rows(ask(client, OWN_LOCKS))

    kill(postgres, client)
    await_sessions(proxy, before["sessions"] + 1)

    assert rows(ask(client, OWN_LOCKS)) == held
    assert (held[0][0] or "").count("/") == 12
    ask(client, "begin")
    ask(client, "insert into sinks values (2)")
    kill(postgres, client)
    assert rows(ask(client, OWN_LOCKS)) == held
    assert not sqlstates(ask(client, "commit"))
    # One of two is left, and then none.
    taken = "select pg_try_advisory_lock(7001)"
    with Client(proxy.target(), deadline=PATIENCE) as other:
        assert rows(ask(client, "select pg_advisory_unlock(7001)")) == [["t"]]
        assert rows(ask(other, taken)) == [["f"]]
        assert rows(ask(client, "select pg_advisory_unlock(7001)")) == [["t"]]
        assert rows(ask(other, taken)) == [["t"]]
    assert postgres.value("select string_agg(n::text, ',' order by n) from sinks") == "1,2"
    ask(client, "select pg_advisory_unlock_all()")
    after = counts(proxy)
    assert after["sessions"] == before["sessions"] + 2
    assert after["diverged"] == before["diverged"]


def test_a_lock_that_somebody_else_has_now_ends_the_session(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client
) -> None:
    before = counts(proxy)["diverged"]["advisory"]
    with Client(postgres.direct(), deadline=PATIENCE) as other:
        client.query("select pg_advisory_lock(7010)")
        client.query("select 1")
        other.send(query("select pg_advisory_lock(7010)"))
        waiting = "select count(*) from pg_stat_activity where wait_event = 'advisory'"
        until(lambda: postgres.value(waiting) == "1", "the other to wait")

        kill(postgres, client)

        events = client.until_closed()
        assert not sqlstates(other.until_ready())
    assert sqlstates(events) == ["57P01"]
    assert "advisory locks cannot be taken again" in events[-1].fields["M"]
    assert counts(proxy)["diverged"]["advisory"] == before + 1


@ASKS
def test_what_a_session_has_set_and_prepared_follows_it(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask
) -> None:
    before = counts(proxy)
    client.batch(parse("select $1::int * 2", "twice"), sync())
    for sql in (
        "set work_mem = '7MB'",
        "set search_path = pg_catalog, public",
        "set helios_test.own = 'mine'",
        f"set role {APP}",
        "prepare thrice as select $1::int * 3",
        "select pg_advisory_lock(7020)",
        "create temporary table mine as select 5 as n",
        "select 1",
    ):
        assert not sqlstates(ask(client, sql)), sql

    kill(postgres, client)
    await_sessions(proxy, before["sessions"] + 1)

    asked = "select current_setting('work_mem'), current_setting('search_path'), current_setting('helios_test.own')"
    assert rows(ask(client, asked)) == [["7MB", "pg_catalog, public", "mine"]]
    assert rows(ask(client, "select current_setting('role')")) == [[APP]]
    assert rows(client.batch(bind([b"4"], "twice"), execute(), sync())) == [["8"]]
    assert rows(ask(client, "execute thrice(4)")) == [["12"]]
    assert rows(ask(client, "select n from mine")) == [["5"]]
    assert rows(ask(client, "show lock_timeout")) == [["0"]]


@ASKS
def test_temporary_tables_are_made_again_with_their_rows(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask
) -> None:
    before = counts(proxy)
    for sql in (
        "create temporary table mine (id serial, n int unique, body text default 'none')",
        "begin",
        "insert into mine (n) values (10), (20), (30) returning id",
        "insert into sinks values (1)",
        "update mine set body = 'changed' where n = 20",
        "savepoint a",
        "select count(*) from mine",
        "release a",
        "create temporary table copied on commit preserve rows as select * from sources where n < 4",
        "create index on copied (n)",
        "commit",
        "begin",
        "delete from mine",
        "rollback",
        "with gone as (delete from mine where n = 30 returning n) insert into copied select n, 'moved' from gone",
        "insert into mine (n) values (10)",
        "insert into sinks select n from mine",
        "create temporary table dropped (n int)",
        "drop table dropped",
        "alter table copied add column more int",
        "select 1",
    ):
        assert sqlstates(ask(client, sql)) in ([], ["23505"]), sql
    contents = "select n, body, null from mine union all select n, body, more from copied order by n, body"
    found = rows(ask(client, contents))
    assert found == [["1", "row", None], ["2", "row", None], ["3", "row", None], ["10", "none", None],
                     ["20", "changed", None], ["30", "moved", None]]  # fmt: skip

    kill(postgres, client)
    await_sessions(proxy, before["sessions"] + 1)

    assert rows(ask(client, contents)) == found
    ask(client, "begin")
    ask(client, "insert into mine (id, n) values (40, 40) returning n")
    ask(client, "insert into sinks values (2)")
    kill(postgres, client)
    await_sessions(proxy, before["sessions"] + 2)
    assert rows(ask(client, "select count(*) from mine")) == [["3"]]
    assert not sqlstates(ask(client, "commit"))
    kill(postgres, client)
    await_sessions(proxy, before["sessions"] + 3)
    assert rows(ask(client, "select count(*) from mine")) == [["3"]]
    assert postgres.value("select string_agg(n::text, ',' order by n) from sinks") == "1,2,10,20"
    after = counts(proxy)
    assert after["sessions"] == before["sessions"] + 3
    assert after["diverged"] == before["diverged"]


@ASKS
def test_cursors_with_hold_go_on_where_they_were(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask
) -> None:
    before = counts(proxy)
    for sql in (
        "begin",
        "insert into sinks values (1)",
        "declare kept cursor with hold for select n from sources order by n",
        "fetch 2 from kept",
        "commit",
        "declare other scroll cursor with hold for select n * 10 from sources order by n",
        "fetch 1 from kept",
        "move 4 in other",
    ):
        assert not sqlstates(ask(client, sql)), sql

    kill(postgres, client)
    await_sessions(proxy, before["sessions"] + 1)

    assert rows(ask(client, "fetch 2 from kept")) == [["4"], ["5"]]
    assert rows(ask(client, "fetch prior from other")) == [["30"]]
    ask(client, "begin")
    assert rows(ask(client, "fetch 1 from kept")) == [["6"]]
    kill(postgres, client)
    assert rows(ask(client, "fetch all from kept")) == [["7"], ["8"], ["9"]]
    assert not sqlstates(ask(client, "commit"))
    assert postgres.value("select count(*) from sinks") == "1"
    assert counts(proxy)["diverged"] == before["diverged"]

    ask(client, "close other")
    ask(client, "close kept")
    ask(client, "declare again cursor with hold for select n from sources order by n")
    ask(client, "fetch 2 from again")
    postgres.execute("update sources set n = 100 where n = 1")
    kill(postgres, client)
    assert sqlstates(client.until_closed()) == ["57P01"]
    assert counts(proxy)["diverged"]["cursor"] == before["diverged"]["cursor"] + 1


LOST: dict[str, tuple[str, list[str]]] = {
    "a lock together with a write": ("advisory", ["insert into sinks select 1 where pg_try_advisory_lock(7030)"]),
    "a view": ("temp_table", ["create temporary view seen as select * from sources"]),
    "a write to both": (
        "temp_table",
        [
            "create temporary table mine (n int)",
            "with a as (insert into mine values (1)) insert into sinks values (1)",
        ],
    ),
    "part of it rolled back": (
        "temp_table",
        [
            "begin",
            "savepoint a",
            "create temporary table mine (n int)",
            "rollback to a",
            "create temporary table mine (n int)",
            "commit",
        ],
    ),
    "values of their own": ("temp_table", ["create temporary table mine as select random()"]),
    "code that is not seen": (
        "temp_table",
        ["create temporary table mine (n int)", "do 'begin execute ''insert into mine values (1)''; end'"],
    ),
    "too many rows": ("temp_table", ["create temporary table mine as select generate_series(1, 10000)"]),
    "too many cursors": (
        "cursor",
        [f"declare c{n} cursor with hold for select 1" for n in range(4)],
    ),
    "too many requests": (
        "overflow",
        ["create temporary table mine (n int)", *["insert into mine values (1)"] * 61],
    ),
    "an own name": ("temp_table", ["create temporary table mine (n int)", "alter table mine rename to yours"]),
}


@pytest.mark.parametrize("case", LOST)
def test_what_cannot_be_made_again_is_lost_with_its_server_and_counted(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, case: str
) -> None:
    reason, script = LOST[case]
    before = counts(proxy)
    for sql in [*script, "begin", "insert into sinks values (5)"]:
        assert not sqlstates(client.query(sql)), sql

    kill(postgres, client)

    assert sqlstates(client.until_closed())[-1] in ("40001", "57P01")
    assert postgres.value("select count(*) from sinks where n = 5") == "0"
    after = counts(proxy)
    assert after["sessions"] == before["sessions"]
    assert after["diverged"][reason] == before["diverged"][reason] + 1


def test_rows_that_are_others_now_are_no_answer(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client
) -> None:
    before = counts(proxy)["diverged"]["temp_table"]
    client.query("create temporary table mine as select * from sources")
    client.query("select 1")
    postgres.execute("update sources set body = 'other' where n = 3")

    kill(postgres, client)

    events = client.until_closed()
    assert sqlstates(events) == ["57P01"]
    assert "temporary tables cannot be made again" in events[-1].fields["M"]
    assert counts(proxy)["diverged"]["temp_table"] == before + 1


@ASKS
def test_a_table_that_is_gone_is_no_answer(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask
) -> None:
    before = counts(proxy)["diverged"]["answer"]
    postgres.execute("create table leaving (n int); grant all on leaving to public")
    with Client(postgres.superuser(), deadline=PATIENCE) as other:
        ask(client, "begin")
        assert rows(ask(client, "select count(*) from leaving")) == [["0"]]
        other.send(query("drop table leaving"))
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like 'drop%'"
        until(lambda: postgres.value(waiting) == "1", "the other to wait", PATIENCE)

        kill(postgres, client)

        assert not sqlstates(other.until_ready())
    assert sqlstates(ask(client, "select 1"))[0] == "40001"
    assert not sqlstates(ask(client, "rollback"))
    assert counts(proxy)["diverged"]["answer"] == before + 1


@ASKS
def test_without_the_option_a_cursor_with_hold_is_gone_and_says_why(
    postgres: PostgresCluster, tmp_path: Path, ask: Ask
) -> None:
    config = base_settings(postgres, tmp_path, transaction_replay={"enabled": True}, pool=POOL)
    with HeliosProcess(tmp_path, config) as proxy:
        with Client(proxy.target().with_options(application_name="kept"), deadline=PATIENCE) as client:
            ask(client, "select pg_advisory_lock(7040)")
            ask(client, "declare c cursor with hold for select generate_series(1, 5)")
            assert rows(ask(client, "fetch 2 from c")) == [["1"], ["2"]]

            kill(postgres, client)

            events = ask(client, "fetch 2 from c")
            assert sqlstates(events) == ["34000"]
            (error,) = [event.fields for event in events if event.kind == "ErrorResponse"]
            assert "lost with its server" in error["D"]
            assert "holdable_cursors" in error["H"]
            assert rows(ask(client, "select count(*) from pg_locks where locktype = 'advisory'")) == [["1"]]
        assert counts(proxy)["sessions"] == 1


def test_a_second_loss_while_a_session_is_made_again(postgres: PostgresCluster, tmp_path: Path) -> None:
    """What is sent to the next server is cut at its messages, one after the other."""
    endless = 1_000_000
    with CuttingRelay(postgres.primary.port, APP) as relay:
        replay = replaying(max_retries=3)
        with HeliosProcess(tmp_path, base_settings(relay, tmp_path, transaction_replay=replay, pool=POOL)) as proxy:
            client = Client(proxy.target().with_options(application_name="kept"), deadline=PATIENCE)
            client.query("select pg_advisory_lock(7050)")
            client.query("create temporary table mine as select generate_series(1, 9) n")
            client.query("declare c cursor with hold for select n from mine order by n")
            assert rows(client.query("fetch 1 from c")) == [["1"]]

            def outlive(cut: Cut) -> tuple[bool, int]:
                client.query("select 1")
                relay.arm(cut)
                sessions = counts(proxy)["sessions"]
                end_server(postgres, "kept")
                await_sessions(proxy, sessions + 1)
                left = cut.messages
                is_cut = relay.disarm()
                assert rows(client.query("select sum(n) from mine")) == [["45"]]
                assert rows(client.query("select pg_try_advisory_lock(7050)")) == [["t"]]
                assert rows(client.query("select pg_advisory_unlock(7050)")) == [["t"]]
                return is_cut, left

            is_cut, left = outlive(Cut(False, endless))
            assert not is_cut
            reached = [outlive(Cut(False, number))[0] for number in range(2, endless - left - 2, 4)]
            assert len(reached) >= 4
            assert all(reached)
            assert not any(counts(proxy)["diverged"].values())
            client.terminate()


@pytest.fixture
def cluster() -> Iterator[PostgresCluster]:
    made = start_cluster()
    yield made
    made.stop()


def test_sessions_go_on_after_a_promotion_and_nobody_takes_their_locks(
    cluster: PostgresCluster, tmp_path: Path
) -> None:
    """Nor are rows of an unlogged table, which a standby has not got, taken for the same."""
    assert cluster.standby is not None
    cluster.execute("create unlogged table fleeting (n int); grant all on fleeting to public")
    with HeliosProcess(tmp_path, base_settings(cluster, tmp_path, transaction_replay=replaying(), pool=POOL)) as proxy:
        clients = [Client(proxy.target(), deadline=PATIENCE) for _ in range(3)]
        for place, (client, ask) in enumerate(zip(clients, (simple, extended, prepared), strict=True)):
            ask(client, f"select pg_advisory_lock({8000 + place})")
            ask(client, f"create temporary table mine as select {place} as n")
            ask(client, "declare c cursor with hold for select generate_series(1, 5)")
            assert rows(ask(client, "fetch 2 from c")) == [["1"], ["2"]]
        reader = Client(proxy.target(), deadline=PATIENCE)
        reader.query("insert into fleeting values (1)")
        reader.query("begin")
        assert rows(reader.query("select count(*) from fleeting")) == [["1"]]
        copier = Client(proxy.target(), deadline=PATIENCE)
        copier.query("create temporary table copied as select * from fleeting")
        copier.query("select 1")

        cluster.primary.stop("immediate")
        rival = Client(proxy.target(), deadline=PATIENCE)
        rival.send(query("select pg_try_advisory_lock(8001), current_setting('cluster_name')"))
        until(lambda: counts(proxy)["active"] == 5, "all to wait", PATIENCE)
        cluster.standby.promote()

        assert rows(rival.until_ready()) == [["f", "standby-1"]]
        for place, (client, ask) in enumerate(zip(clients, (simple, extended, prepared), strict=True)):
            assert rows(ask(client, "select n from mine")) == [[str(place)]]
            assert rows(ask(client, "fetch 2 from c")) == [["3"], ["4"]]
            assert rows(ask(client, f"select pg_advisory_unlock({8000 + place})")) == [["t"]]
        assert sqlstates(reader.query("select 1")) == ["40001"]
        assert sqlstates(copier.until_closed()) == ["57P01"]
        told = counts(proxy)
        assert told["sessions"] == 3
        assert (told["diverged"]["answer"], told["diverged"]["temp_table"]) == (1, 1)
        for client in (*clients, reader, rival):
            client.terminate()


@pytest.mark.parametrize("way", ["killed", "switched"])
def test_a_failover_and_a_switchover_of_our_own(tmp_path: Path, way: str) -> None:
    servers = ReplicatedCluster(synchronous='FIRST 2 ("db-2", "db-3")')
    try:
        config = base_settings(
            servers,
            tmp_path,
            failover={"enabled": True, "lease_file": str(tmp_path / "lease")},
            transaction_replay=replaying(),
            pool=POOL,
        )
        with HeliosProcess(tmp_path, config) as proxy:
            until(lambda: all(node["healthy"] for node in proxy.json("/nodes")), "all nodes", PATIENCE)
            with Client(proxy.target(), deadline=PATIENCE) as client:
                client.query("select pg_advisory_lock(9000)")
                client.query("create temporary table mine as select generate_series(1, 5) n")
                assert rows(client.query("select current_setting('cluster_name'), sum(n) from mine")) == [
                    ["db-1", "15"]
                ]

                if way == "killed":
                    servers["db-1"].kill()
                else:
                    code, told = proxy.post_json("/api/switchover", {}, PATIENCE)
                    assert code == 200, told

                assert rows(client.query("select current_setting('cluster_name'), sum(n) from mine")) == [
                    ["db-2", "15"]
                ]
                assert rows(client.query("select pg_advisory_unlock(9000)")) == [["t"]]
                assert counts(proxy)["sessions"] == 1
    finally:
        servers.stop()
