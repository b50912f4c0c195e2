"""Values that are others each time, which a transaction has left and its client has not seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.asks import Ask, extended, prepared, simple
from harness.client import Client, rows, sqlstates
from harness.frontend import query
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from harness.replay import await_catalog, counts, end_server
from harness.wait import until

PATIENCE = 60
NAME = "drawing"

ASKS = pytest.mark.parametrize("ask", [simple, extended, prepared])

DRAWS = {
    "a default identifier": "insert into drawn (n, body) values (1, gen_random_uuid()::text)",
    "a time": "insert into drawn (n, body) select 1, clock_timestamp()::text",
    "a time of the statement": "insert into drawn (n, body) values (1, statement_timestamp()::text)",
    "an update": "update drawn set body = random()::text where n = 0 returning n",
    "a function": "select draws()",
    "a block": "do $$ begin insert into drawn values (1, random()::text); end $$",
    "a part of a table": "insert into drawn select 1, s.body from drawn s tablesample bernoulli (100)",
    "a number of a transaction": "insert into drawn (n, body) values (1, pg_current_xact_id()::text)",
    "a temporary table": "create temporary table own on commit drop as select random()",
}


@pytest.fixture(scope="module")
def tables(postgres: PostgresCluster) -> Iterator[None]:
    postgres.execute(
        "create table drawn (n int, body text); grant all on drawn to public; "
        "create function draws() returns void language plpgsql "
        "as 'begin insert into drawn values (1, random()::text); end'"
    )
    yield
    postgres.execute("drop function draws; drop table drawn")


def served(postgres: PostgresCluster, paths: pytest.TempPathFactory, **replay: str) -> Iterator[HeliosProcess]:
    folder = paths.mktemp("mutables")
    pool = {"max_size": 6, "acquire_timeout_seconds": PATIENCE}
    config = base_settings(postgres, folder, transaction_replay={"enabled": True, **replay}, pool=pool)
    with HeliosProcess(folder, config) as process:
        with Client(process.target(), deadline=PATIENCE) as first:
            # What functions do is known with the catalog, which is read once somebody asks.
            first.query("select draws()")
        await_catalog(process)
        yield process


@pytest.fixture(scope="module")
def strict(
    postgres: PostgresCluster, tables: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HeliosProcess]:
    """As it is by default."""
    yield from served(postgres, tmp_path_factory)


@pytest.fixture(scope="module")
def lenient(
    postgres: PostgresCluster, tables: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HeliosProcess]:
    yield from served(postgres, tmp_path_factory, mutables="allow_unseen")


@pytest.fixture(autouse=True)
def row(postgres: PostgresCluster, tables: None) -> None:
    postgres.execute("truncate drawn; insert into drawn values (0, 'first')")


def connect(proxy: HeliosProcess) -> Client:
    return Client(proxy.target().with_options(application_name=NAME), deadline=PATIENCE)


@ASKS
@pytest.mark.parametrize("case", DRAWS)
def test_a_transaction_that_has_left_them_is_given_up(
    strict: HeliosProcess, postgres: PostgresCluster, ask: Ask, case: str
) -> None:
    before = counts(strict)
    with connect(strict) as client:
        for sql in ("begin", "insert into drawn values (9, 'plain')", DRAWS[case]):
            assert not sqlstates(ask(client, sql)), sql

        end_server(postgres, NAME)
        until(lambda: counts(strict)["diverged"]["mutable"] == before["diverged"]["mutable"] + 1, "its end", PATIENCE)

        events = ask(client, "select 1")
        assert sqlstates(events)[0] == "40001"
        (error, *_) = [event.fields for event in events if event.kind == "ErrorResponse"]
        assert "values that would be others" in error["M"]
        assert not sqlstates(ask(client, "rollback"))
        assert rows(ask(client, "select n, body from drawn")) == [["0", "first"]]
    assert counts(strict)["completed"] == before["completed"]


@ASKS
@pytest.mark.parametrize("case", DRAWS)
def test_where_it_is_wanted_the_transaction_goes_on_with_others(
    lenient: HeliosProcess, postgres: PostgresCluster, ask: Ask, case: str
) -> None:
    before = counts(lenient)
    with connect(lenient) as client:
        for sql in ("begin", "insert into drawn values (9, 'plain')", DRAWS[case]):
            assert not sqlstates(ask(client, sql)), sql

        end_server(postgres, NAME)

        assert not sqlstates(ask(client, "commit"))
        assert rows(ask(client, "select count(*) from drawn where n = 9")) == [["1"]]
    after = counts(lenient)
    assert after["completed"] == before["completed"] + 1
    assert after["diverged"] == before["diverged"]


@ASKS
def test_what_the_client_has_seen_is_compared_all_the_same(
    lenient: HeliosProcess, postgres: PostgresCluster, ask: Ask
) -> None:
    before = counts(lenient)["diverged"]["answer"]
    with connect(lenient) as client:
        ask(client, "begin")
        ask(client, DRAWS["a default identifier"])
        assert len(rows(ask(client, "select body from drawn where n = 1"))) == 1

        end_server(postgres, NAME)
        until(lambda: counts(lenient)["diverged"]["answer"] == before + 1, "the divergence", PATIENCE)

        assert sqlstates(ask(client, "commit"))[0] == "40001"
    assert postgres.value("select string_agg(n::text, ',') from drawn") == "0"


@ASKS
def test_what_is_the_same_for_all_of_a_transaction_or_has_been_seen_is_none(
    strict: HeliosProcess, postgres: PostgresCluster, ask: Ask
) -> None:
    before = counts(strict)
    with connect(strict) as client:
        for sql in ("begin", "insert into drawn values (1, now()::text)", "insert into drawn values (2, current_date)"):
            assert not sqlstates(ask(client, sql)), sql
        assert rows(ask(client, "select random() < 2")) == [["t"]]

        end_server(postgres, NAME)

        assert not sqlstates(ask(client, "commit"))
        assert rows(ask(client, "select count(*) from drawn")) == [["3"]]
        # Of one that is over nothing is left to be given up.
        assert not sqlstates(ask(client, DRAWS["a default identifier"]))
        ask(client, "begin")
        ask(client, "insert into drawn values (3, 'plain')")
        end_server(postgres, NAME)
        assert not sqlstates(ask(client, "commit"))
    after = counts(strict)
    assert after["completed"] == before["completed"] + 2
    assert after["diverged"] == before["diverged"]
    assert postgres.value("select count(*) from drawn") == "5"


def test_a_statement_without_an_answer_has_left_none(strict: HeliosProcess, postgres: PostgresCluster) -> None:
    before = counts(strict)
    with connect(strict) as client, Client(postgres.superuser(), deadline=PATIENCE) as other:
        client.query("begin")
        client.query("select 1")
        other.query("begin; lock table drawn")
        client.send(query(DRAWS["a default identifier"]))
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%gen_random%'"
        until(lambda: postgres.value(f"{waiting} and application_name = '{NAME}'") == "1", "it to wait", PATIENCE)

        end_server(postgres, NAME)
        until(lambda: counts(strict)["completed"] == before["completed"] + 1, "the transaction", PATIENCE)
        other.query("rollback")

        assert not sqlstates(client.until_ready())
        assert not sqlstates(client.query("commit"))
    assert postgres.value("select count(*) from drawn where n = 1") == "1"
    assert counts(strict)["diverged"] == before["diverged"]
