"""The console's pure parts: reading commands, rights of every command, averages, names of databases."""

from __future__ import annotations

import re

import pytest
from fakes.core import engine_state, proxy_config

from helios.config import DatabaseConfig, ProxyConfig
from helios.console.answer import ConsoleError
from helios.console.averages import Averages
from helios.console.command import Command, parse
from helios.console.settings import assignment, setting_rows
from helios.console.show import SHOWS, View
from helios.console.table import COMMANDS, HELP, Right
from helios.engine_state import DatabaseTraffic, SessionsState

LOOKS = {"show", "select", "set"}
"""Commands that whoever may log in may give; SET asks for more itself."""


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("SHOW Pools;", Command("show", "Pools")),
        ("  pause ;; ", Command("pause")),
        ('PAUSE "My ""Db"""', Command("pause", 'My "Db"')),
        ("KILL my-db.example", Command("kill", "my-db.example")),
        ("set a=1", Command("set", "a", "1")),
        ("SET server_reset_query = 'select ''x'', 1';", Command("set", "server_reset_query", "select 'x', 1")),
        ('set "pool.max_size" TO 5', Command("set", "pool.max_size", "5")),
        ("set a to ''", Command("set", "a", "")),
    ],
)
def test_commands_are_read(text: str, command: Command) -> None:
    assert parse(text) == command


@pytest.mark.parametrize(
    "text", ["", "show pools pools", "show pools; show lists", "set a", "set a = b c", "set = 1", "ö"]
)
def test_what_is_no_command_is_refused_in_pgbouncers_words(text: str) -> None:
    with pytest.raises(ConsoleError, match=re.escape(f"invalid command '{text}', use SHOW HELP;")) as refused:
        parse(text)
    assert refused.value.sqlstate == "42601"


def test_every_command_has_a_right_and_only_looking_needs_none() -> None:
    """What HELP lists exists, and what changes anything is for administrators: a new command must be put here."""
    words = re.findall(r"^\t(\w+)", HELP, re.MULTILINE)
    topics = {topic.lower() for line in re.findall(r"SHOW ([\w|]+)", HELP) for topic in line.split("|")}

    assert {word.lower() for word in words} | {"select", "suspend"} == set(COMMANDS)
    assert {name for name, entry in COMMANDS.items() if entry.right is Right.STATS} == LOOKS
    assert topics - {"help"} <= set(SHOWS)


def traffic(database: str, **counts: int) -> DatabaseTraffic:
    return DatabaseTraffic(database=database, **{**dict.fromkeys(DatabaseTraffic.COUNTERS, 0), **counts})


def test_averages_are_over_the_last_whole_period_and_the_one_under_way() -> None:
    now = [100.0]
    averages = Averages(lambda: now[0])
    first = traffic("app", query_count=60, query_time=6000)

    now[0] = 110.0
    assert averages.of({"app": first.counts})["query_count"] == 6
    assert averages.of({"app": first.counts})["query_time"] == 100
    now[0] = 160.0
    averages.note((first,))
    averages.note((first,))
    now[0] = 170.0
    grown = traffic("app", query_count=90, query_time=36_000)
    assert averages.of({"app": grown.counts}) == {**dict.fromkeys(DatabaseTraffic.COUNTERS, 0)} | {
        "query_count": 3,
        "query_time": 1000,
    }
    assert averages.of({"new": traffic("new").counts})["query_time"] == 0


def view(config: ProxyConfig, *databases: str) -> View:
    state = engine_state(pools=[], traffic=[traffic(name).model_dump() for name in databases])
    sessions = SessionsState(logins=0, clients=(), servers=(), sizes={})
    return View(config, state, sessions, (), (), Averages(), "0")


def test_databases_under_the_star_show_once_they_were_asked_for() -> None:
    config = proxy_config().model_copy(update={"databases": (DatabaseConfig(name="app"), DatabaseConfig())})
    shown = [(row[0], row[3]) for row in SHOWS["databases"].rows(view(config, "report"))]

    assert shown == [("app", "app"), ("report", "report"), ("pgbouncer", "pgbouncer")]
    assert [row[0] for row in SHOWS["stats"].rows(view(config, "report"))] == ["pgbouncer", "report"]


def test_secrets_are_not_shown() -> None:
    values = {key: value for key, value, _, _ in setting_rows(proxy_config(token="hidden"))}

    assert values["admin.token"] == "**********"
    assert "hidden" not in str(values)


def test_set_names_what_it_cannot_change() -> None:
    assert assignment("pool_mode", "Session") == (("pool", "mode"), "session")
    for key, state in (("listen_addr", "55P02"), ("workers", "55P02"), ("clusters", "42704"), ("peer_id", "55P02")):
        with pytest.raises(ConsoleError) as refused:
            assignment(key, "1")
        assert refused.value.sqlstate == state
        assert refused.value.hint
