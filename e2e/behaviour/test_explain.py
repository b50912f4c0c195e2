"""What the running proxy makes of a statement, by its admin API and by `helios explain`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from harness.postgres import DATABASE, PostgresCluster
from harness.proxy import HeliosProcess, StartProxy

OBJECTS = """
create schema explained;
create table explained.seen (what text);
create function explained.log(text) returns text language plpgsql
  as $$ begin insert into explained.seen values ($1); return $1; end $$;
create function explained.shout(text) returns text language plpgsql as $$ begin return upper($1); end $$;
create view explained.logged as select explained.log(name) from items;
create view explained.loud as select explained.shout(name) from items;
"""


@pytest.fixture(scope="module")
def objects(postgres: PostgresCluster) -> Iterator[None]:
    postgres.execute(OBJECTS)
    yield
    postgres.execute("drop schema explained cascade")


@pytest.fixture
def proxy(start_proxy: StartProxy, objects: None) -> HeliosProcess:
    return start_proxy(pool={"mode": "transaction"})


def ask(proxy: HeliosProcess, **body: str) -> tuple[int, Any]:
    status, text = proxy.post("/api/explain", json.dumps(body).encode())
    return status, json.loads(text)


@pytest.mark.parametrize(
    ("sql", "route", "reason"),
    [
        ("select * from items where id = 7", "any", "it only reads"),
        ("select * from explained.loud", "any", "it only reads"),
        ("select * from explained.logged", "primary", "explained.log() contains: INSERT writes"),
        ("select explained.log('secret')", "primary", "explained.log() contains: INSERT writes"),
        ("select explained.missing()", "primary", "explained.missing() is not in the catalog and may do anything"),
        ("update items set name = 'secret'", "primary", "UPDATE writes"),
        ("select pg_advisory_lock(77)", "primary", "pg_advisory_lock() changes something, or tells of the server"),
    ],
)
def test_route_comes_with_its_reason(proxy: HeliosProcess, sql: str, route: str, reason: str) -> None:
    status, answer = ask(proxy, sql=sql, database=DATABASE)

    assert (status, answer["route"]) == (200, route)
    assert answer["reason"].startswith(reason)
    assert "secret" not in json.dumps(answer)


def test_effects_are_told(proxy: HeliosProcess) -> None:
    _, answer = ask(proxy, sql="set work_mem = '4MB'; listen news", database=DATABASE)

    assert answer["kind"] == "session"
    assert answer["effects"].keys() == {"settings", "listen"}
    assert answer["settings"] == ["work_mem"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"sql": "selec 1", "database": DATABASE}, 400, 'sql: syntax error at or near "selec" at character 1'),
        ({"sql": "select 1"}, 400, "database: Field required"),
        ({"database": DATABASE}, 400, "sql: Field required"),
        ({"sql": "select 1", "database": DATABASE, "role": "x"}, 400, "role: Extra inputs are not permitted"),
    ],
)
def test_bad_input_names_the_field(proxy: HeliosProcess, body: dict[str, str], status: int, words: str) -> None:
    answered, answer = ask(proxy, **body)

    assert (answered, answer["error"]) == (status, words)


def test_a_database_that_is_not_configured_is_not_found(start_proxy: StartProxy) -> None:
    proxy = start_proxy(databases=[{"name": DATABASE}])

    assert ask(proxy, sql="select 1", database="nowhere") == (404, {"error": 'database: "nowhere" is not configured'})


def test_command_asks_the_proxy_or_answers_by_itself(proxy: HeliosProcess) -> None:
    def helios(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "helios", "explain", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    asked = helios("--admin", proxy.admin, "--database", DATABASE, "select * from explained.logged")
    alone = helios("select * from explained.logged")
    wrong = helios("--admin", proxy.admin, "--database", DATABASE, "selec 1")

    assert asked.stdout == "kind      read\nroute     primary: explained.log() contains: INSERT writes\n"
    assert alone.stdout == "kind      read\nroute     any: it only reads\n"
    assert (wrong.returncode, wrong.stderr) == (
        1,
        'helios explain: sql: syntax error at or near "selec" at character 1\n',
    )
