"""The ways in which clients have a statement run. Called by the behaviour tests that show a thing in each of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from harness.backend import Event
from harness.client import Client
from harness.frontend import bind, close_statement, describe_portal, describe_statement, execute, parse, query, sync

__all__ = ["Ask", "extended", "named", "prepared", "prepared_and_closed", "send", "simple"]

Ask = Callable[[Client, str], list[Event]]
"""Runs a statement; all that came up to the last ReadyForQuery."""

_numbers = count()


def simple(client: Client, sql: str) -> list[Event]:
    """A Query."""
    return client.query(sql)


def extended(client: Client, sql: str) -> list[Event]:
    """One batch with unnamed statement and portal."""
    return client.extended(sql)


def named(client: Client, sql: str) -> list[Event]:
    """One batch, prepared under a name that stays."""
    name = f"s{next(_numbers)}"
    return client.batch(parse(sql, name), bind(name=name), describe_portal(), execute(), sync())


def send(client: Client, ask: Ask, sql: str) -> None:
    """Ask so, as `simple`, `extended` or `named`, without waiting for the answer."""
    if ask is simple:
        client.send(query(sql))
        return
    name = f"s{next(_numbers)}" if ask is named else ""
    client.send(parse(sql, name), bind(name=name), describe_portal(), execute(), sync())


def prepared(client: Client, sql: str) -> list[Event]:
    """As a driver that prepares in a batch of its own, and keeps what it has prepared."""
    name = f"s{next(_numbers)}"
    made = client.batch(parse(sql, name), describe_statement(name), sync())
    return [*made, *client.batch(bind(name=name), execute(), sync())]


def prepared_and_closed(client: Client, sql: str) -> list[Event]:
    """As a driver that prepares in a batch of its own, under a name that it uses again."""
    made = client.batch(parse(sql, "s"), sync())
    events = client.batch(bind(name="s"), execute(), sync())
    return [*made, *events, *client.batch(close_statement("s"), sync())]
