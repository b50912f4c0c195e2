"""Tokens: what a session has seen, carried to another connection and another proxy (`helios.lsn`)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from harness.asks import Ask, extended, prepared, simple
from harness.backend import Event
from harness.client import Client, LoginRefusedError, brief, full, rows, sqlstates
from harness.frontend import (
    bind,
    close_statement,
    describe_statement,
    execute,
    flush,
    parse,
    query,
    sync,
)
from harness.postgres import PostgresCluster, superuser_of
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.replay import paused_replay
from harness.wait import until

WHO = "select current_setting('cluster_name')"
PATIENCE = 30.0

NUMBERS = count()

Pods = tuple[HeliosProcess, HeliosProcess]


def flushed(client: Client, sql: str) -> list[Event]:
    """As asyncpg, which prepares by a Flush."""
    client.send(parse(sql, "s"), describe_statement("s"), flush())
    made = client.receive_until(lambda event: event.kind in ("RowDescription", "NoData", "ErrorResponse"))
    events = client.batch(bind(name="s"), execute(), sync())
    closed = client.batch(close_statement("s"), sync())
    return [*made, *events, *closed]


ASKS = pytest.mark.parametrize("ask", [simple, extended, prepared])


@pytest.fixture(scope="module")
def pods(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """Two proxies before the same servers, which know nothing of each other."""
    routing = {"read_write_split": True, "max_lag_ms": 0}
    folders = [tmp_path_factory.mktemp("pod") for _ in range(2)]
    first, second = (HeliosProcess(each, base_settings(postgres, each, routing=routing)) for each in folders)
    with first, second:
        for pod in (first, second):
            await_split(pod)
        yield first, second


def await_split(pod: HeliosProcess) -> None:
    """Wait until the standby has been found, and the tables of the database are known."""
    with connect(pod) as client:
        until(
            lambda: client.value(f"{WHO} from items where id = 1") == "standby-1",
            "reads to go to the standby",
            PATIENCE,
        )


def connect(pod: HeliosProcess, **options: str) -> Client:
    return Client(pod.target().with_options(**options), deadline=PATIENCE)


def token_of(client: Client, ask: Ask = simple) -> str:
    events = ask(client, "show helios.lsn")
    assert not sqlstates(events), brief(events)
    token = rows(events)[0][0]
    assert token is not None
    return token


@ASKS
def test_another_proxy_shows_what_a_token_says(pods: Pods, postgres: PostgresCluster, ask: Ask) -> None:
    """The standby stands still: without the token the other proxy answers from before the write."""
    id = 74000 + next(NUMBERS)
    found = f"select count(*), current_setting('cluster_name') from notes where id = {id}"

    def is_before() -> bool:
        with connect(pods[1]) as other:
            return rows(ask(other, found)) == [["0", "standby-1"]]

    with connect(pods[0]) as writer, paused_replay(postgres):
        writer.query(f"insert into notes values ({id}, 'x')")
        token = token_of(writer, ask)
        until(is_before, "a read from before the write", PATIENCE)
        with connect(pods[1]) as other:
            assert not sqlstates(ask(other, f"set helios.lsn = '{token}'"))
            assert rows(ask(other, found)) == [["1", "primary"]]
            for forgets in ("reset all", "discard all", "reset helios.lsn", "set helios.lsn to default"):
                assert not sqlstates(other.query(forgets))
                assert rows(ask(other, found)) == [["1", "primary"]], forgets
        with connect(pods[1]) as hinted:
            assert rows(ask(hinted, f"/*helios:lsn={token}*/ {found}")) == [["1", "primary"]]
            assert rows(ask(hinted, found)) == [["1", "primary"]], "what has been seen stays seen"
        for options in ({"options": f"-c helios.lsn={token}"}, {"helios.lsn": token}):
            with connect(pods[1], **options) as started:
                assert rows(ask(started, found)) == [["1", "primary"]]
        with connect(pods[1]) as in_block:
            for sql in ("begin read only", f"set local helios.lsn = '{token}'"):
                assert not sqlstates(ask(in_block, sql))
            assert rows(ask(in_block, found)) == [["1", "primary"]]
            ask(in_block, "commit")
        with connect(pods[1]) as too_late:
            too_late.query("begin read only")
            assert rows(too_late.query(found)) == [["0", "standby-1"]]
            assert sqlstates(ask(too_late, f"set local helios.lsn = '{token}'"))[:1] == ["25001"]
            assert sqlstates(too_late.query("select 1")) == ["25P02"]
            too_late.query("rollback")
    with connect(pods[1], **{"helios.lsn": token}) as later:
        until(lambda: rows(ask(later, found)) == [["1", "standby-1"]], "the standby to have caught up", PATIENCE)
        later.query(f"delete from notes where id = {id}")


@ASKS
def test_what_was_read_is_carried_too(pods: Pods, postgres: PostgresCluster, ask: Ask) -> None:
    """Who has only read on the primary must not let another see less."""
    with connect(pods[0]) as writer, connect(pods[0]) as reader, paused_replay(postgres):
        writer.query("insert into notes values (7401, 'x')")
        ask(reader, "/*helios:route=primary*/ select count(*) from notes")
        with connect(pods[1], **{"helios.lsn": token_of(reader, ask)}) as other:
            assert rows(ask(other, "select count(*) from notes where id = 7401")) == [["1"]]
        writer.query("delete from notes where id = 7401")


@ASKS
def test_a_token_holds_whatever_the_consistency_is(
    start_proxy: StartProxy, postgres: PostgresCluster, ask: Ask
) -> None:
    lax = start_proxy(routing={"read_write_split": True, "consistency": "eventual"})
    id = 74000 + next(NUMBERS)
    found = f"select count(*) from notes where id = {id}"
    await_split(lax)
    with connect(lax) as client, connect(lax) as writer, paused_replay(postgres):
        writer.query(f"insert into notes values ({id}, 'x')")
        until(lambda: rows(ask(writer, found)) == [["0"]], "a read from before the write", PATIENCE)
        assert not sqlstates(ask(client, f"set helios.lsn = '{token_of(writer, ask)}'"))
        assert rows(ask(client, found)) == [["1"]]
        writer.query(f"delete from notes where id = {id}")


@pytest.mark.parametrize("ask", [simple, extended, prepared, flushed])
def test_statements_about_it_look_like_postgresqls(pods: Pods, postgres: PostgresCluster, ask: Ask) -> None:
    with connect(pods[0]) as client, Client(superuser_of(postgres.primary)) as direct:
        # What is shown is what was set, as the session has seen nothing else.
        token = token_of(client).rpartition(":")[0] + ":0/10"
        for sql in (f"SET helios.lsn = '{token}'", f"set session \"helios\".lsn to '{token}' -- so", "show Helios.LSN"):
            assert full(ask(client, sql)) == full(ask(direct, sql)), sql
        assert full(ask(client, "reset helios.lsn")) == full(ask(direct, "reset helios.lsn"))
        assert token_of(client, ask) == token, "nothing is unseen"


def test_it_has_its_place_in_batches_and_blocks(pods: Pods) -> None:
    show, write = parse("show helios.lsn", "s"), "insert into notes values (7403, 'x') returning id"
    with connect(pods[0]) as client:
        client.batch(show, sync())
        events = client.batch(
            *(bind(name="s"), execute(), parse("select 7"), bind(), execute(), bind(name="s"), execute(), sync()),
            *(query(write), query("show helios.lsn"), query("begin"), query("show helios.lsn"), query("rollback")),
            ready=6,
        )
        assert not sqlstates(events), brief(events)
        first, seven, second, id, third, fourth = (row[0] or "" for row in rows(events))
        assert (seven, id) == ("7", "7403")
        positions = [position_of(token) for token in (first, second, third, fourth)]
        assert positions == sorted(positions) and positions[1] < positions[2]
        client.query("delete from notes where id = 7403")
        # What fails in a batch takes the rest of it with it, whoever answers it.
        events = client.batch(bind(name="s"), execute(), parse("select 1/0"), bind(), execute(), bind(name="s"), sync())
        assert sqlstates(events) == ["22012"]
        events = client.batch(
            parse("set helios.lsn = 'x'"), bind(), execute(), parse("select 1"), bind(), execute(), sync()
        )
        assert sqlstates(events) == ["22023"] and rows(events) == []
        assert rows(client.batch(parse("select 8"), bind(), execute(), sync())) == [["8"]]
        client.send(parse("select 9"), bind(), execute(), query("show helios.lsn"))
        assert sqlstates(client.until_ready()) == ["0A000"], "and nobody waits"
        assert client.value("select 10") == "10"
        client.query("deallocate s")
        assert sqlstates(client.batch(bind(name="s"), sync())) == ["26000"]


def position_of(token: str) -> int:
    high, low = token.rpartition(":")[2].split("/")
    return (int(high, 16) << 32) + int(low, 16)


@ASKS
def test_what_is_no_token_is_refused(pods: Pods, ask: Ask) -> None:
    with connect(pods[0]) as client:
        system, timeline, position = token_of(client).split(":")
        later = f"{system}:{int(timeline) + 1}:{position}"
        for token, sqlstate in (
            ("nonsense", "22023"),
            (f"{system}:{timeline}", "22023"),
            (f"{int(system) + 1}:{timeline}:{position}", "22023"),
            (later, "55000"),
        ):
            assert sqlstates(ask(client, f"set helios.lsn = '{token}'"))[:1] == [sqlstate], token
            assert sqlstates(ask(client, f"/*helios:lsn={token}*/ select 1"))[:1] == [sqlstate], token
            with pytest.raises(LoginRefusedError, match=sqlstate):
                connect(pods[0], **{"helios.lsn": token})
        assert sqlstates(client.query(f"set helios.lsn = '{later}'; select 1")) == ["0A000"]
        assert sqlstates(ask(client, f"select set_config('helios.lsn', '{later}', false)"))[:1] == ["0A000"]
        assert client.value("select current_setting('helios.lsn', true)") is None, "no server has it"
        assert rows(ask(client, "select 1")) == [["1"]]


@ASKS
def test_a_hint_carries_it_once_a_client_has_another_encoding_than_it_began_with(pods: Pods, ask: Ask) -> None:
    """Texts are lexed by it, and nobody else has settings like these."""
    options = {"application_name": f"back by {ask.__name__}", "client_encoding": "LATIN1"}
    with connect(pods[0], **options) as client:
        system, timeline, position = token_of(client).split(":")
        later = f"{system}:{int(timeline) + 1}:{position}"
        for change in ("set client_encoding = 'UTF8'", "set client_encoding to default", "discard all"):
            assert not sqlstates(ask(client, change))
            assert sqlstates(ask(client, f"/*helios:lsn={later}*/ select 1"))[:1] == ["55000"], change


@ASKS
@pytest.mark.parametrize("begin", ["begin", "begin; select 1"])
def test_a_block_fails_with_it(pods: Pods, ask: Ask, begin: str) -> None:
    """What stands behind it in the block must not run by itself."""
    with connect(pods[0]) as client:
        client.query(begin)
        assert sqlstates(client.query("set helios.lsn = 'nonsense'")) == ["22023"]
        assert sqlstates(client.query("insert into notes values (7404, 'x')")) == ["25P02"]
        assert sqlstates(ask(client, "show helios.lsn"))[:1] == ["25P02"]
        assert next(event.text for event in client.query("commit")) == "CommandComplete ROLLBACK"
        assert rows(ask(client, "select count(*) from notes where id = 7404")) == [["0"]]


@ASKS
def test_a_token_from_before_a_failover_leads_to_the_primary_first(pods: Pods, ask: Ask) -> None:
    with connect(pods[0]) as client:
        system, timeline, _ = token_of(client).split(":")
        until(lambda: rows(ask(client, WHO)) == [["standby-1"]], "a read on the standby")
        assert not sqlstates(ask(client, f"set helios.lsn = '{system}:{int(timeline) - 1}:FF/0'"))
        assert rows(ask(client, WHO)) == [["primary"]]
        until(lambda: rows(ask(client, WHO)) == [["standby-1"]], "a read on the standby again", PATIENCE)


def test_without_a_split_it_is_a_setting_like_others(start_proxy: StartProxy) -> None:
    with connect(start_proxy()) as client:
        client.query("set helios.lsn = 'anything'")
        assert client.value("show helios.lsn") == "anything"
        assert client.value("select current_setting('helios.lsn')") == "anything"
