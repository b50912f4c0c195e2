"""Blocks that may write and begin on a standby: `[routing] optimistic`, on a primary with a streaming standby."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.asks import Ask, extended, named, prepared, prepared_and_closed, simple
from harness.client import Client, brief, full, rows, sqlstates
from harness.frontend import bind, close_statement, describe_statement, execute, parse, query, sync
from harness.frontend import extended as whole_batch
from harness.postgres import DATABASE, PostgresCluster, superuser_of
from harness.proxy import HeliosProcess, Settings, base_settings
from harness.replay import paused_replay
from harness.tried import PATIENCE, READ, WHO, control, counts, impatient, node, ready, refused, route, status, well
from harness.wait import until

WRITE = "update tried set body = 'mine' where id = 2"
ENTRIES = 12
PURE = "returns bigint stable language sql as 'select 1::bigint'"
IMPURE = "returns bigint volatile language sql as $$select nextval('tried_ids')$$"

WAYS = [simple, extended, named, prepared, prepared_and_closed]
ASKED = [ask.__name__ for ask in WAYS]
ASKS = pytest.mark.parametrize("ask", WAYS)


def settings(postgres: PostgresCluster, folder: Path, **sections: Any) -> Settings:
    """Blocks may begin on the standby, however slow the machine is; not so in database `plain`."""
    plain = {"name": "plain", "database": DATABASE, "routing": {"optimistic": False}}
    stale = {"name": "stale", "database": DATABASE, "routing": {"consistency": "eventual"}}
    ours: dict[str, Any] = {
        "routing": {"read_write_split": True, "optimistic": True, "max_lag_ms": 0, "catch_up_ms": 0},
        "databases": [{"name": DATABASE}, plain, stale],
        "transaction_replay": {"journal": {"max_entries": ENTRIES}},
        "pool": {"max_size": 6, "acquire_timeout_seconds": PATIENCE},
        "planner": {"catalog_interval_seconds": 3600},
    }
    return base_settings(postgres, folder, **{**ours, **sections})


@pytest.fixture(scope="module")
def tables(postgres: PostgresCluster) -> Iterator[None]:
    postgres.execute(
        "create table tried (id int primary key, body text); create sequence tried_ids;"
        "create function tries() returns int language plpgsql as $$begin execute 'select 1'; return 1; end$$;"
        + "".join(f"create function turns_{ask}() {PURE};" for ask in ASKED)
        + "grant all on tried, tried_ids to public"
    )
    yield
    postgres.execute(
        "drop table tried; drop sequence tried_ids; drop function tries();"
        + "".join(f"drop function turns_{ask}();" for ask in ASKED)
    )


@pytest.fixture(scope="module")
def proxy(postgres: PostgresCluster, tables: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeliosProcess]:
    folder = tmp_path_factory.mktemp("optimistic")
    with HeliosProcess(folder, settings(postgres, folder)) as process:
        yield process


@pytest.fixture(scope="module")
def outliving(
    postgres: PostgresCluster, tables: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HeliosProcess]:
    """The same, and transactions outlive their servers."""
    folder = tmp_path_factory.mktemp("outliving")
    with HeliosProcess(folder, settings(postgres, folder, transaction_replay={"enabled": True})) as process:
        yield process


@pytest.fixture
def client(proxy: HeliosProcess, postgres: PostgresCluster) -> Iterator[Client]:
    with ready(proxy, postgres) as client:
        yield client


@ASKS
def test_a_block_goes_on_on_the_primary_if_that_answers_the_same(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask
) -> None:
    before = counts(proxy)
    control(client, ask, "begin")
    assert well(client, ask, READ) == [["old"]]
    assert well(client, ask, "select id from tried order by id desc")[0] == ["9"]
    assert route(proxy) == "optimistic"

    well(client, ask, WRITE)

    assert route(proxy) == "moved"
    assert well(client, ask, "select body from tried where id = 2") == [["mine"]]
    assert well(client, ask, READ) == [["old"]]
    well(client, ask, "insert into tried values (100, 'new')")
    assert postgres.value("select body from tried where id = 2") == "old"
    control(client, ask, "commit")
    assert postgres.value("select string_agg(body, ' ' order by id) from tried where id in (2, 100)") == "mine new"
    assert well(client, ask, "select body from tried where id = 100") == [["new"]]
    after = counts(proxy) - before
    wanted = {"blocks": 1, "blocks_moved": 1, "departures write": 1, "standby-1 optimistic": 1, "primary moved": 1}
    assert {name: after[name] for name in wanted} == wanted, after


@ASKS
def test_another_answer_is_40001_and_nothing_is_written(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask
) -> None:
    before = counts(proxy)
    control(client, ask, "begin")
    well(client, ask, READ)
    assert well(client, ask, WHO) == [["standby-1"]]

    events = ask(client, WRITE)

    assert refused(events) == "40001", brief(events)
    (first, *_) = (event for event in events if event.kind == "ErrorResponse")
    assert "does not give the answers that a standby gave" in first.text
    assert status(client) == b"E"
    assert refused(ask(client, READ)) == "25P02"
    control(client, ask, "rollback")
    assert status(client) == b"I"
    assert postgres.value("select body from tried where id = 2") == "old"
    # Whoever repeats it has it done.
    control(client, ask, "begin")
    assert well(client, ask, WHO) == [["primary"]]
    well(client, ask, WRITE)
    control(client, ask, "commit")
    assert postgres.value("select body from tried where id = 2") == "mine"
    after = counts(proxy) - before
    assert (after["failures answer"], after["blocks_moved"]) == (1, 0)


@ASKS
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_client_that_ends_the_refused_block_is_told_or_need_not_be(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask, end: str
) -> None:
    control(client, ask, "begin")
    well(client, ask, WHO)
    assert refused(ask(client, WRITE)) == "40001"
    events = control(client, ask, end)
    assert "CommandComplete ROLLBACK" in [event.text for event in events]
    assert status(client) == b"I"
    assert postgres.value("select body from tried where id = 2") == "old"


@ASKS
def test_a_block_that_only_reads_never_touches_the_primary(proxy: HeliosProcess, client: Client, ask: Ask) -> None:
    before = counts(proxy)
    for end in ("commit", "rollback", "end"):
        control(client, ask, "begin")
        for _ in range(3):
            assert well(client, ask, WHO) == [["standby-1"]]
        assert route(proxy) == "optimistic"
        control(client, ask, end)
        assert status(client) == b"I"
    after = counts(proxy) - before
    assert (after["blocks"], after["blocks_stayed"]) == (3, 3)
    assert not [name for name in after if name.startswith("primary")], after


LEAVES = [
    "select body from tried where id = 1 for update",
    "select nextval('tried_ids')",
    "select tries()",
    "savepoint a",
    "declare c cursor for select id from tried order by id",
    "create temporary table mine (n int) on commit drop",
    "set local work_mem = '7MB'",
    "lock table tried in share mode",
    "select pg_advisory_xact_lock(77)",
    "select 1 as one into temporary table ones",
    "explain analyze update tried set body = 'x' where id = 3",
    "with w as (delete from tried where id = 4 returning id) select id from w",
    "prepare told as select 1",
    "/*helios:route=primary*/ select 1",
    "do $$begin null; end$$",
    "set transaction read write",
]
"""What a standby could not do, or cannot be seen to only read."""


@ASKS
@pytest.mark.parametrize("sql", LEAVES)
def test_what_is_not_sure_to_only_read_has_the_block_leave(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask, sql: str
) -> None:
    number = int(postgres.value("select last_value - 1 + is_called::int from tried_ids") or 0)
    control(client, ask, "begin")
    assert well(client, ask, READ) == [["old"]]
    events = ask(client, sql)
    assert not sqlstates(events), brief(events)
    assert route(proxy) == "moved"
    if "nextval" in sql:
        assert rows(events) == [[str(number + 1)]], "asked once"
    if "cursor" in sql:
        assert well(client, ask, "fetch 2 from c") == [["1"], ["2"]]
    if "work_mem" in sql:
        assert well(client, ask, "show work_mem") == [["7MB"]]
    well(client, ask, WRITE)
    control(client, ask, "commit")
    assert postgres.value("select body from tried where id = 2") == "mine"


def test_a_copy_has_the_block_leave(proxy: HeliosProcess, postgres: PostgresCluster, client: Client) -> None:
    client.query("begin")
    client.query(READ)
    assert [event.raw for event in client.query("copy (select 7) to stdout") if event.kind == "CopyData"] == [b"7\n"]
    assert route(proxy) == "moved"
    client.query("rollback")


FIRST = [
    (("begin isolation level repeatable read",), "write"),
    (("begin isolation level serializable",), "write"),
    (("begin read write",), "write"),
    (("begin", "set transaction isolation level repeatable read"), "write"),
    (("set default_transaction_isolation = 'repeatable read'", "begin"), "write"),
    (("begin", WRITE), "write"),
    (("begin", "savepoint a"), "write"),
    (("begin", "/*helios:route=primary*/ select 1"), "hint"),
    (("begin read only",), "read"),
    (("begin isolation level repeatable read, read only",), "read"),
    (("begin isolation level read committed",), "optimistic"),
    (("start transaction",), "optimistic"),
]


@ASKS
@pytest.mark.parametrize(("script", "reason"), FIRST, ids=["|".join(script) for script, _ in FIRST])
def test_what_else_is_said_of_a_block_counts_as_ever(
    proxy: HeliosProcess, client: Client, ask: Ask, script: tuple[str, ...], reason: str
) -> None:
    before = counts(proxy)
    for sql in script:
        (control if sql.startswith(("begin", "start", "set transaction")) else well)(client, ask, sql)
    well(client, ask, READ)
    assert route(proxy) == reason
    control(client, ask, "rollback")
    assert (counts(proxy) - before)["blocks"] == (reason == "optimistic")


@ASKS
@pytest.mark.parametrize("writes", [(), (WRITE, "insert into tried values (101, 'x')")], ids=["reads", "writes"])
def test_a_failed_block_stays_failed_wherever_it_is(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask, writes: tuple[str, ...]
) -> None:
    control(client, ask, "begin")
    well(client, ask, READ)
    assert refused(ask(client, "select 1 / 0")) == "22012"
    for sql in (READ, *writes):
        assert refused(ask(client, sql)) == "25P02", sql
    if writes or ask in (simple, extended):
        # Who binds what could not be prepared asks for something unknown.
        assert route(proxy) == ("moved" if writes else "optimistic")
    control(client, ask, "rollback")
    assert postgres.value("select count(*) from tried where id = 101") == "0"


@ASKS
def test_a_block_whose_standby_is_lost_goes_on_on_the_primary(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask
) -> None:
    assert postgres.standby is not None
    before = counts(proxy)
    control(client, ask, "begin")
    assert well(client, ask, READ) == [["old"]]
    of = "from pg_stat_activity where state = 'idle in transaction' and backend_type = 'client backend'"
    with Client(superuser_of(postgres.standby)) as admin:
        assert admin.value(f"select count(pg_terminate_backend(pid)) {of}") == "1"
        until(lambda: admin.value(f"select count(*) {of}") == "0", "its end", PATIENCE)

    assert well(client, ask, READ) == [["old"]]

    well(client, ask, WRITE)
    control(client, ask, "commit")
    assert postgres.value("select body from tried where id = 2") == "mine"
    after = counts(proxy) - before
    assert (after["departures lost"], after["blocks_moved"]) == (1, 1)


@ASKS
def test_a_lock_that_the_standby_replays_does_not_end_the_block(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask
) -> None:
    """It cancels whoever is in its way there."""
    before = counts(proxy)
    with impatient(postgres):
        control(client, ask, "begin")
        assert well(client, ask, READ) == [["old"]]
        postgres.execute("begin; lock table tried in access exclusive mode; commit")
        until(lambda: (counts(proxy) - before)["departures lost"] == 1, "the standby to end it", PATIENCE)
    assert well(client, ask, READ) == [["old"]]
    well(client, ask, WRITE)
    control(client, ask, "commit")
    assert postgres.value("select body from tried where id = 2") == "mine"


@pytest.mark.parametrize("message", [query, whole_batch], ids=["simple", "extended"])
def test_a_read_that_the_standby_cancels_for_its_replay_is_answered_by_the_primary(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, message: Callable[[str], bytes]
) -> None:
    """It takes for ever on the standby, where a lock that is replayed is in its way."""
    rounds = "case current_setting('cluster_name') when 'standby-1' then 2000000000 else 1 end"
    long = f"select count(*) from (select generate_series(1, {rounds}) from tried) each"
    running = "select count(*) from pg_stat_activity where state = 'active' and query like 'select count(*) from (%'"
    before = counts(proxy)
    with impatient(postgres) as admin:
        control(client, simple, "begin")
        assert well(client, simple, READ) == [["old"]]
        client.send(message(long))
        until(lambda: admin.value(running) == "1", "the read to run", PATIENCE)
        postgres.execute("begin; lock table tried in access exclusive mode; commit")
        events = client.until_ready()
    assert not sqlstates(events), brief(events)
    assert rows(events) == [["9"]]
    assert route(proxy) == "moved"
    well(client, simple, WRITE)
    control(client, simple, "commit")
    assert postgres.value("select body from tried where id = 2") == "mine"
    assert (counts(proxy) - before)["departures conflict"] == 1


@ASKS
def test_what_a_standby_refuses_is_done_on_the_primary(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask
) -> None:
    """A function that is another one by now, as the proxy learns only from its next look at the catalog."""
    assert postgres.standby is not None
    sql = f"select turns_{ask.__name__}()"
    assert node(proxy, client, sql) == "read"
    postgres.execute(f"create or replace function turns_{ask.__name__}() {IMPURE}")
    with Client(superuser_of(postgres.standby)) as standby:
        body = f"select prosrc like '%nextval%' from pg_proc where proname = 'turns_{ask.__name__}'"
        until(lambda: standby.value(body) == "t", "the function of now", PATIENCE)
    before = counts(proxy)
    control(client, ask, "begin")
    assert well(client, ask, READ) == [["old"]]
    well(client, ask, sql)
    assert route(proxy) == "moved"
    well(client, ask, WRITE)
    control(client, ask, "commit")
    assert postgres.value("select body from tried where id = 2") == "mine"
    assert (counts(proxy) - before)["departures refused"] == 1


def test_blocks_may_be_sent_ahead(proxy: HeliosProcess, postgres: PostgresCluster, client: Client) -> None:
    before = counts(proxy)
    client.send(query("begin"), query(READ), query("select 1 / 1"), query(WRITE), query("commit"), query(READ))
    events = client.until_ready(6)
    assert not sqlstates(events), brief(events)
    assert [event.raw for event in events if event.kind == "ReadyForQuery"] == [b"T", b"T", b"T", b"T", b"I", b"I"]
    assert rows(events) == [["old"], ["1"], ["old"]]
    assert postgres.value("select body from tried where id = 2") == "mine"
    assert (counts(proxy) - before)["blocks_moved"] == 1

    def asked(sql: str) -> bytes:
        return parse(sql) + bind() + execute() + sync()

    # Reads in one batch; byte by byte; a batch that reads and then writes.
    both = parse(READ) + bind() + execute() + parse("select 2") + bind() + execute() + sync()
    mixed = parse(READ) + bind() + execute() + parse("update tried set body = 'b' where id = 3")
    mixed += bind() + execute() + sync()
    for byte in asked("begin") + both + mixed + asked("commit"):
        client.send(bytes([byte]))
    events = client.until_ready(4)
    assert not sqlstates(events), brief(events)
    assert rows(events) == [["old"], ["2"], ["old"]]
    assert postgres.value("select body from tried where id = 3") == "b"


def test_a_write_behind_another_answer_is_refused_when_sent_ahead(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client
) -> None:
    client.send(query("begin"), query(WHO), query(WRITE), query("commit"), query("select 'next'"))
    events = client.until_ready(5)
    assert sqlstates(events) == ["40001"]
    assert [event.raw for event in events if event.kind == "ReadyForQuery"] == [b"T", b"T", b"E", b"I", b"I"]
    assert rows(events) == [["standby-1"], ["next"]]
    assert postgres.value("select body from tried where id = 2") == "old"


def test_what_is_prepared_in_the_block_is_there_on_the_primary(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client
) -> None:
    made = client.batch(parse(READ, "before"), describe_statement("before"), sync())
    client.query("begin")
    made += client.batch(parse(READ, "within"), describe_statement("within"), sync())
    made += client.batch(parse("select body from tried where id = $1"), describe_statement(), sync())
    for name in ("before", "within"):
        assert rows(client.batch(bind(name=name), execute(), sync())) == [["old"]]
    made += client.batch(parse(WHO, "gone"), sync())
    made += client.batch(close_statement("gone"), sync())
    assert route(proxy) == "optimistic"

    made += client.batch(parse(WRITE, "write"), bind(name="write"), execute(), sync())

    assert route(proxy) == "moved"
    for name in ("before", "within"):
        assert rows(client.batch(bind(name=name), execute(), sync())) == [["old"]]
    assert not sqlstates(made), brief(made)
    assert sqlstates(client.batch(bind(name="gone"), execute(), sync())) == ["26000"]
    client.query("rollback")
    assert rows(client.batch(bind(name="within"), execute(), sync())) == [["old"]]
    assert postgres.value("select body from tried where id = 2") == "old"


@ASKS
def test_a_block_that_is_longer_than_its_journal_leaves_before(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask
) -> None:
    before = counts(proxy)
    control(client, ask, "begin")
    for _ in range(2 * ENTRIES):
        assert well(client, ask, READ) == [["old"]]
    well(client, ask, WRITE)
    control(client, ask, "commit")
    assert postgres.value("select body from tried where id = 2") == "mine"
    after = counts(proxy) - before
    assert (after["departures full"], after["blocks_moved"], after["departures write"]) == (1, 1, 0)


@ASKS
def test_a_session_sees_in_it_what_it_wrote(
    proxy: HeliosProcess, postgres: PostgresCluster, client: Client, ask: Ask
) -> None:
    with paused_replay(postgres):
        for turn in map(str, range(3)):
            well(client, ask, f"update tried set body = '{turn}' where id = 1")
            control(client, ask, "begin")
            assert well(client, ask, READ) == [[turn]]
            assert route(proxy) == "no_standby"
            control(client, ask, "commit")


@ASKS
def test_where_reads_may_be_old_a_write_behind_them_is_not(
    proxy: HeliosProcess, postgres: PostgresCluster, ask: Ask
) -> None:
    with ready(proxy, postgres, "stale") as client, paused_replay(postgres):
        postgres.execute("update tried set body = 'newer' where id = 1")
        control(client, ask, "begin")
        assert well(client, ask, READ) == [["old"]]
        assert refused(ask(client, WRITE)) == "40001"
        control(client, ask, "rollback")
        assert postgres.value("select body from tried where id = 2") == "old"
        control(client, ask, "begin")
        assert well(client, ask, READ) == [["newer"]], "the next one begins on the primary"
        well(client, ask, WRITE)
        control(client, ask, "commit")
    assert postgres.value("select body from tried where id = 2") == "mine"


@ASKS
def test_a_database_may_have_it_off(proxy: HeliosProcess, postgres: PostgresCluster, ask: Ask) -> None:
    with ready(proxy, postgres, "plain") as client:
        control(client, ask, "begin")
        assert well(client, ask, WHO) == [["primary"]]
        control(client, ask, "commit")


@ASKS
def test_a_block_that_has_moved_outlives_the_primarys_server(
    outliving: HeliosProcess, postgres: PostgresCluster, ask: Ask
) -> None:
    with ready(outliving, postgres) as client:
        before = counts(outliving)
        control(client, ask, "begin")
        assert well(client, ask, READ) == [["old"]]
        well(client, ask, WRITE)
        assert route(outliving) == "moved"
        of = "from pg_stat_activity where state = 'idle in transaction' and backend_type = 'client backend'"
        pid = postgres.value(f"select pid {of}")
        assert postgres.value(f"select pg_terminate_backend({pid})") == "t"
        until(
            lambda: postgres.value(f"select count(*) from pg_stat_activity where pid = {pid}") == "0",
            "its end",
            PATIENCE,
        )
        assert well(client, ask, "select body from tried where id = 2") == [["mine"]]
        control(client, ask, "commit")
        assert postgres.value("select body from tried where id = 2") == "mine"
        after = counts(outliving) - before
        assert (after["blocks_moved"], after["departures write"]) == (1, 1)
        assert outliving.json("/api/tr")["completed"] >= 1


SCRIPTS = [
    ("begin", "select 1", "commit"),
    ("begin", "select 1", "begin", "commit"),
    ("begin", "select 1/0", "select 1", "commit"),
    ("begin", "select 1", "commit and chain", "select 1", "rollback"),
    ("begin", "select 1", "savepoint a", "select 1/0", "rollback to a", "select 2", "commit"),
    ("begin", "select 1/0", "rollback to a", "rollback"),
    ("begin", "select 1", "set local work_mem = '7MB'", "show work_mem", "commit", "show work_mem"),
    ("begin", "select 1", "", "commit"),
    ("begin", "select 1", "this is no statement", "select 1", "rollback"),
    ("begin", "select 1", "insert into tried values (1, 'again')", "select 1", "rollback"),
    ("begin", "select 1", "prepare p as select 7", "execute p", "deallocate p", "commit"),
    ("begin", "select 1", "select 2; insert into tried values (200, 'x'); select 3", "rollback"),
]


@pytest.mark.parametrize("ask", [simple, extended])
@pytest.mark.parametrize("script", SCRIPTS, ids="|".join)
def test_what_a_client_sees_is_what_postgresql_says(
    client: Client, postgres: PostgresCluster, ask: Ask, script: tuple[str, ...]
) -> None:
    with Client(superuser_of(postgres.primary)) as direct:
        for _ in range(2):
            wanted = [full(ask(direct, sql)) for sql in script]
            assert [full(ask(client, sql)) for sql in script] == wanted
