"""Consistency keys: what one session has written is seen by every other one of the same key, at another proxy too."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from harness.asks import Ask, extended, prepared, simple
from harness.certificates import Authority
from harness.client import Client, LoginRefusedError, brief, full, rows, sqlstates
from harness.frontend import bind, execute, parse, query, sync
from harness.keyed import (
    PATIENCE,
    Pods,
    await_split,
    connect,
    done,
    found,
    insert,
    split,
    told,
    two_proxies,
    warnings,
)
from harness.postgres import PostgresCluster, superuser_of
from harness.proxy import HeliosProcess, StartProxy
from harness.redis import Redis
from harness.replay import paused_replay
from harness.wait import until

NUMBERS = count(75_000)

ASKS = pytest.mark.parametrize("ask", [simple, extended, prepared])


@pytest.fixture(scope="module")
def pods(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    folder = tmp_path_factory.mktemp("keys")
    with Redis(folder / "redis") as redis, two_proxies(postgres, folder, redis) as both:
        yield both


@ASKS
def test_another_proxy_shows_what_was_written_under_the_key(pods: Pods, postgres: PostgresCluster, ask: Ask) -> None:
    """The standby stands still: under another key, or none, the other proxy answers from before the write."""
    id = next(NUMBERS)
    with connect(pods[0]) as writer, connect(pods[1]) as other, connect(pods[1], f"not {id}") as stranger:
        for client in (writer, other):
            done(ask(client, f"set helios.consistency_key = 'user {id}'"))
        with paused_replay(postgres):
            done(ask(writer, insert(id)))
            assert rows(ask(other, found(id))) == [["1", "primary"]]
            assert rows(ask(stranger, found(id))) == [["0", "standby-1"]]
            assert rows(ask(writer, found(id))) == [["1", "primary"]]
            with connect(pods[1], f"user {id}") as later:
                assert rows(ask(later, found(id))) == [["1", "primary"]]
        with connect(pods[1], f"user {id}") as later:
            until(lambda: rows(ask(later, found(id))) == [["1", "standby-1"]], "the standby to catch up", PATIENCE)
        done(writer.query(f"delete from notes where id = {id}"))


WRITES = {
    "autocommit": ("insert into notes values ({id}, 'x')",),
    "block": ("begin", "insert into notes values ({id}, 'x')", "select 1", "commit"),
    "chain": ("begin", "insert into notes values ({id}, 'x')", "commit and chain"),
    "CTE": ("with made as (insert into notes values ({id}, 'x') returning id) select id from made",),
    "function": ("select keyed_note({id})",),
    "DO": ("do $$ begin insert into notes values ({id}, 'x'); end $$",),
    "key set in the block": (
        "set helios.consistency_key = 'another'",
        "begin",
        "set local helios.consistency_key = 'user {id}'",
        "insert into notes values ({id}, 'x')",
        "commit",
    ),
}


@pytest.fixture
def keyed_note(postgres: PostgresCluster) -> Iterator[None]:
    """A function that writes and does not say so."""
    with Client(superuser_of(postgres.primary)) as admin:
        body = "insert into notes values ($1, $$x$$) returning id"
        done(admin.query(f"create function keyed_note(int) returns int language sql as '{body}'"))
        yield
        done(admin.query("drop function keyed_note(int)"))


@ASKS
@pytest.mark.parametrize("way", WRITES)
def test_whatever_writes_is_told(pods: Pods, postgres: PostgresCluster, keyed_note: None, ask: Ask, way: str) -> None:
    id = next(NUMBERS)
    with connect(pods[0], f"user {id}") as writer, connect(pods[1]) as without, paused_replay(postgres):
        for sql in WRITES[way]:
            done(ask(writer, sql.format(id=id)))
        assert rows(ask(without, found(id))) == [["0", "standby-1"]]
        with connect(pods[1], f"user {id}") as other:
            assert rows(ask(other, found(id))) == [["1", "primary"]]
            done(ask(other, "begin read only"))
            assert rows(ask(other, found(id))) == [["1", "primary"]]
            done(ask(other, "commit"))
        writer.query("rollback")
        done(writer.query(f"delete from notes where id = {id}"))


def test_what_another_session_has_prepared_is_told_by_who_commits_it(pods: Pods, postgres: PostgresCluster) -> None:
    id = next(NUMBERS)
    with connect(pods[0]) as first, connect(pods[0], f"user {id}") as second, paused_replay(postgres):
        done(first.query(f"begin; {insert(id)}; prepare transaction 'keyed {id}'"))
        done(second.query(f"commit prepared 'keyed {id}'"))
        with connect(pods[1], f"user {id}") as other:
            assert rows(other.query(found(id))) == [["1", "primary"]]
        done(second.query(f"delete from notes where id = {id}"))


def test_writes_that_are_sent_ahead_are_all_told(pods: Pods, postgres: PostgresCluster) -> None:
    id, later = next(NUMBERS), next(NUMBERS)
    with connect(pods[0], f"user {id}") as writer, paused_replay(postgres):
        batch = (parse(insert(later)), bind(), execute(), sync())
        done(writer.batch(query(insert(id)), *batch, query("select 1"), ready=3))
        with connect(pods[1], f"user {id}") as other:
            assert rows(other.query(f"select count(*) from notes where id in ({id}, {later})")) == [["2"]]
        done(writer.query(f"delete from notes where id in ({id}, {later})"))


def await_told(pod: HeliosProcess, postgres: PostgresCluster, id: int) -> None:
    """Wait until the standby has what was told under the key of this number."""
    # What nobody has committed is flushed with what somebody has, and else when the server comes to it.
    postgres.execute("select pg_logical_emit_message(true, 'test', 'flushed')")
    with connect(pod, f"user {id}") as other:
        until(lambda: rows(other.query(found(id))) == [["1", "standby-1"]], "the standby to catch up", PATIENCE)


@pytest.mark.parametrize("is_simple", [True, False])
def test_what_is_sent_ahead_is_told_when_it_is_done(pods: Pods, postgres: PostgresCluster, is_simple: bool) -> None:
    """Long after the first of them was told."""
    id, later = next(NUMBERS), next(NUMBERS)
    waits = f"insert into notes select {later}, 'x' from pg_advisory_xact_lock({later})"
    second = (query(waits),) if is_simple else (parse(waits), bind(), execute(), sync())
    with Client(superuser_of(postgres.primary)) as holder, connect(pods[0], f"user {id}") as writer:
        done(holder.query(f"begin; select pg_advisory_xact_lock({later})"))
        done(writer.batch(query(insert(id)), *second))
        await_told(pods[1], postgres, id)
        with paused_replay(postgres):
            done(holder.query("commit"))
            done(writer.until_ready())
            with connect(pods[1], f"user {id}") as other:
                assert rows(other.query(found(later))) == [["1", "primary"]]
        done(writer.query(f"delete from notes where id in ({id}, {later})"))


@pytest.mark.parametrize("link", ["commit and chain", "commit; begin"])
def test_what_is_written_behind_a_commit_is_told_by_the_next_one(
    pods: Pods, postgres: PostgresCluster, link: str
) -> None:
    id, later = next(NUMBERS), next(NUMBERS)
    with connect(pods[0], f"user {id}") as writer:
        done(writer.query(f"begin; {insert(id)}; {link}; {insert(later)}"))
        await_told(pods[1], postgres, id)
        with paused_replay(postgres):
            done(writer.query("commit"))
            with connect(pods[1], f"user {id}") as other:
                assert rows(other.query(found(later))) == [["1", "primary"]]
        done(writer.query(f"delete from notes where id in ({id}, {later})"))


@ASKS
@pytest.mark.parametrize("consistency", ["eventual", "bounded"])
def test_a_key_holds_whatever_the_consistency_is(
    pods: Pods, start_proxy: StartProxy, postgres: PostgresCluster, ask: Ask, consistency: str
) -> None:
    lax = start_proxy(routing={**pods[0].settings["routing"], "consistency": consistency})
    await_split(lax)
    id = next(NUMBERS)
    with connect(lax, f"user {id}") as writer, connect(lax) as without, paused_replay(postgres):
        done(ask(writer, insert(id)))
        assert rows(ask(writer, found(id))) == [["1", "primary"]]
        assert rows(ask(without, found(id))) == [["0", "standby-1"]]
        with connect(pods[1], f"user {id}") as other:
            assert rows(ask(other, found(id))) == [["1", "primary"]]
        done(writer.query(f"delete from notes where id = {id}"))


@ASKS
def test_it_is_set_shown_and_reset_like_a_setting(pods: Pods, ask: Ask) -> None:
    def shown(client: Client) -> str | None:
        return rows(ask(client, "show helios.consistency_key"))[0][0]

    with connect(pods[0]) as client:
        assert shown(client) == ""
        for sql in ("set helios.consistency_key = 'one'", "set session \"helios\".consistency_key to 'it''s' -- so"):
            done(ask(client, sql))
        assert shown(client) == "it's"
        assert client.value("select current_setting('helios.consistency_key', true)") is None, "no server has it"
        for forgets in (
            "reset all",
            "discard all",
            "reset helios.consistency_key",
            "set helios.consistency_key to default",
            "set helios.consistency_key = ''",
            "begin; reset all; commit",
        ):
            if ask is not simple and ";" in forgets:
                continue
            done(ask(client, "set helios.consistency_key = 'two'"))
            done(ask(client, forgets))
            assert shown(client) == "", forgets
        done(ask(client, "set helios.consistency_key = 'three'"))
        for keeps in ("begin; reset all; rollback", "reset all; select 1/0", "reset timezone"):
            client.query(keeps)
            assert shown(client) == "three", keeps
        done(client.batch(query("select 1"), query("reset all"), ready=2))
        assert shown(client) == "", "sent together with something else"
    with Client(pods[0].target().with_options(options="-c helios.consistency_key=four")) as begun:
        done(ask(begun, "set helios.consistency_key = 'five'"))
        done(ask(begun, "discard all"))
        assert shown(begun) == "four"


@ASKS
def test_what_is_no_key_is_refused(pods: Pods, ask: Ask) -> None:
    with connect(pods[0]) as client:
        done(ask(client, f"set helios.consistency_key = '{'k' * 256}'"))
        assert sqlstates(ask(client, f"set helios.consistency_key = '{'k' * 257}'"))[:1] == ["22023"]
        assert sqlstates(ask(client, f"set helios.consistency_key = '{'ü' * 129}'"))[:1] == ["22023"]
        assert client.value("show helios.consistency_key") == "k" * 256
        client.query("begin")
        ask(client, "select 1")
        assert sqlstates(ask(client, "set helios.consistency_key = 'late'"))[:1] == ["25001"]
        assert sqlstates(client.query("select 1")) == ["25P02"]
        client.query("rollback")
        assert sqlstates(client.query("set helios.consistency_key = 'a'; select 1")) == ["0A000"]
    with pytest.raises(LoginRefusedError, match="22023"):
        connect(pods[0], "k" * 257)


@ASKS
def test_without_a_redis_there_are_no_keys(start_proxy: StartProxy, ask: Ask) -> None:
    proxy = start_proxy(routing={"read_write_split": True})
    with connect(proxy) as client:
        events = ask(client, "set helios.consistency_key = 'one'")
        assert sqlstates(events)[:1] == ["55000"], full(events)
        assert client.value("show helios.consistency_key") == ""
    assert told(proxy)["enabled"] is False
    with connect(start_proxy()) as pooled:
        done(ask(pooled, "set helios.consistency_key = 'anything'"))
        assert pooled.value("select current_setting('helios.consistency_key')") == "anything"


@ASKS
def test_a_read_goes_to_the_primary_while_redis_is_away(postgres: PostgresCluster, tmp_path: Path, ask: Ask) -> None:
    """What was written meanwhile is seen also when Redis comes back with what it knew before."""
    id, missed = next(NUMBERS), next(NUMBERS)
    with (
        Redis(tmp_path / "redis", is_durable=True) as redis,
        two_proxies(postgres, tmp_path, redis) as (first, second),
        connect(first, f"user {id}") as writer,
        connect(second, f"user {id}") as other,
        connect(second) as without,
    ):
        done(ask(writer, insert(id)))
        until(lambda: rows(ask(other, found(id))) == [["1", "standby-1"]], "the standby to catch up", PATIENCE)
        redis.kill()
        until(lambda: told(second)["connections"] == 0, "Redis to be missed", PATIENCE)
        with paused_replay(postgres):
            events = ask(writer, insert(missed))
            assert not sqlstates(events) and len(warnings(events)) == 1, full(events)
            assert "01000" in warnings(events)[0]
            assert events[-1].kind == "ReadyForQuery" and events[-2].kind == "NoticeResponse"
            assert rows(ask(other, found(missed))) == [["1", "primary"]]
            assert rows(ask(without, found(missed))) == [["0", "standby-1"]]
            counts = told(first), told(second)
            assert counts[0]["writes_unkept"] == 1 and counts[1]["reads_untold"] >= 1
            assert counts[1]["fault"]
            listed = second.json("/sessions?list=true")["sessions"]
            assert "key" in {each["route"] for each in listed}
            redis.start()
            for pod in (first, second):
                until(lambda pod=pod: told(pod)["connections"] == 2, "connections to Redis", PATIENCE)  # type: ignore[misc]
            assert redis.ask("get", f"helios:main:user {id}"), "it knows of the first write, and not of the second"
            with connect(second, f"user {id}") as later:
                assert rows(ask(later, found(missed))) == [["1", "primary"]]
            assert told(second)["fault"] is None
        done(writer.query(f"delete from notes where id in ({id}, {missed})"))


@pytest.mark.parametrize("is_durable", [True, False])
def test_standbys_are_asked_again_a_while_after_redis_is_back(
    postgres: PostgresCluster, tmp_path: Path, is_durable: bool
) -> None:
    id = next(NUMBERS)
    with (
        Redis(tmp_path / "redis", is_durable=is_durable) as redis,
        two_proxies(postgres, tmp_path, redis, ttl_seconds=4, max_lag_ms=2000) as (first, second),
        connect(first, f"user {id}") as writer,
        connect(second, f"user {id}") as other,
    ):
        done(writer.query(insert(id)))
        redis.kill()
        until(lambda: told(second)["fault"], "Redis to be missed", PATIENCE)
        assert rows(other.query(found(id))) == [["1", "primary"]]
        redis.start()
        until(lambda: rows(other.query(found(id))) == [["1", "standby-1"]], "a standby", PATIENCE)
        done(writer.query(f"delete from notes where id = {id}"))
        assert int(redis.ask("pttl", f"helios:main:user {id}")) <= 4000


@ASKS
def test_a_redis_that_does_not_answer_is_not_waited_for(postgres: PostgresCluster, tmp_path: Path, ask: Ask) -> None:
    id = next(NUMBERS)
    with (
        Redis(tmp_path / "redis") as redis,
        two_proxies(postgres, tmp_path, redis, ttl_seconds=4, timeout_ms=500, max_lag_ms=2000) as (first, second),
        connect(first, f"user {id}") as writer,
        connect(second, f"user {id}") as other,
    ):
        redis.pause()
        try:
            events = ask(writer, insert(id))
            assert not sqlstates(events) and len(warnings(events)) == 1, full(events)
            assert rows(ask(other, found(id))) == [["1", "primary"]]
            assert "no answer" in told(second)["fault"]
        finally:
            redis.resume()
        until(lambda: rows(ask(other, found(id))) == [["1", "standby-1"]], "a standby", PATIENCE)
        until(lambda: not warnings(writer.query(f"delete from notes where id = {id}")), "Redis to be told", PATIENCE)


def test_a_redis_that_was_emptied_is_not_believed(postgres: PostgresCluster, tmp_path: Path) -> None:
    id = next(NUMBERS)
    with (
        Redis(tmp_path / "redis") as redis,
        two_proxies(postgres, tmp_path, redis) as (first, second),
        connect(first, f"user {id}") as writer,
        connect(second, f"user {id}") as other,
        paused_replay(postgres),
    ):
        done(writer.query(insert(id)))
        assert redis.ask("flushall") == "OK"
        for _ in range(3):
            assert rows(other.query(found(id))) == [["1", "primary"]]
        done(writer.query(f"delete from notes where id = {id}"))


def test_a_wrong_password_is_told_and_a_right_one_taken_up(
    start_proxy: StartProxy, postgres: PostgresCluster, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "ca")
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    id = next(NUMBERS)
    with Redis(tmp_path / "redis", password="right", authority=authority) as redis:
        proxy = start_proxy(routing=split(redis, password_file=str(secret), ca_file=str(authority.cert)))
        until(lambda: "WRONGPASS" in (told(proxy)["fault"] or ""), "the fault to be told", PATIENCE)
        until(lambda: "consistency keys cannot be kept" in proxy.log(), "a line in the log", PATIENCE)
        assert "wrong" not in proxy.log().replace("WRONGPASS", "")
        with connect(proxy, f"user {id}") as client:
            assert len(warnings(client.query(insert(id)))) == 1
            assert rows(client.query(found(id))) == [["1", "primary"]]
            secret.write_text("right\n")
            assert proxy.post("/config/reload")[0] == 200
            until(lambda: told(proxy)["connections"] == 2, "connections to Redis", PATIENCE)
            assert told(proxy)["fault"] is None
            done(client.query(f"delete from notes where id = {id}"))
            assert redis.ask("get", f"helios:main:user {id}")


def test_a_redis_that_may_forget_keys_is_refused(start_proxy: StartProxy, tmp_path: Path) -> None:
    options = ("--maxmemory", "10mb", "--maxmemory-policy", "allkeys-lru")
    with Redis(tmp_path / "redis", options=options) as redis:
        proxy = start_proxy(routing=split(redis))
        until(lambda: "noeviction" in (told(proxy)["fault"] or ""), "the fault to be told", PATIENCE)
        redis.ask("config", "set", "maxmemory-policy", "noeviction")
        until(lambda: told(proxy)["connections"] == 2, "connections to Redis", PATIENCE)


def test_the_later_position_stays(pods: Pods, postgres: PostgresCluster) -> None:
    """Of two sessions with one key, in whatever order they come."""
    id = next(NUMBERS)
    with connect(pods[0], f"user {id}") as one, connect(pods[1], f"user {id}") as two, paused_replay(postgres):
        for each in (one, two, one):
            done(each.query(f"{insert(id)} on conflict do nothing" if each is one else insert(next(NUMBERS))))
        for pod in pods:
            with connect(pod, f"user {id}") as other:
                assert rows(other.query(found(id)))[0][1] == "primary"
        done(one.query(f"delete from notes where id >= {id}"))
        assert "heliosproxy_consistency_key_writes_total" in pods[0].get("/metrics", accept="text/plain")[1]
        assert brief(one.query("select 1"))
