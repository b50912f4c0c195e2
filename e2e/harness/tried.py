"""A proxy whose blocks begin on a standby though they may write: who is ready for it, and what it tells of them.

Called by the behaviour tests of `[routing] optimistic`, over a table `tried` (id, body) that they make.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.asks import Ask, extended, simple
from harness.backend import Event
from harness.client import Client, brief, rows, sqlstates
from harness.postgres import DATABASE, PostgresCluster, superuser_of
from harness.proxy import HeliosProcess
from harness.replay import await_replay
from harness.wait import until

__all__ = [
    "PATIENCE",
    "READ",
    "WHO",
    "control",
    "counts",
    "impatient",
    "node",
    "ready",
    "refused",
    "route",
    "status",
    "well",
]

WHO = "select current_setting('cluster_name')"
"""A read that has another answer on the primary."""
READ = "select body from tried where id = 1"
PATIENCE = 60


@contextmanager
def ready(proxy: HeliosProcess, postgres: PostgresCluster, database: str = DATABASE) -> Iterator[Client]:
    """A client for whom the standby answers, which has all that is there."""
    postgres.execute("truncate tried; insert into tried select n, 'old' from generate_series(1, 9) n")
    await_replay(postgres)
    # Plans of what the tests ask are made, and the catalog is known.
    with Client(proxy.target(database), deadline=PATIENCE) as client:
        until(lambda: {node(proxy, client, sql) for sql in (WHO, READ)} == {"read"}, "reads on the standby", PATIENCE)
    with Client(proxy.target(database), deadline=PATIENCE) as client:
        yield client


@contextmanager
def impatient(postgres: PostgresCluster) -> Iterator[Client]:
    """The standby cancels what is in the way of its replay at once; an administrator of it."""
    assert postgres.standby is not None
    setting = "max_standby_streaming_delay"
    with Client(superuser_of(postgres.standby)) as admin:

        def change(sql: str) -> None:
            for each in (f"alter system {sql}", "select pg_reload_conf()"):
                assert not sqlstates(admin.query(each))

        change(f"set {setting} = '10ms'")
        try:
            until(lambda: admin.value(f"show {setting}") == "10ms", "the setting", PATIENCE)
            yield admin
        finally:
            change(f"reset {setting}")


def node(proxy: HeliosProcess, client: Client, sql: str) -> str:
    """Why a statement went where it went."""
    assert not sqlstates(client.query(sql))
    return route(proxy)


def route(proxy: HeliosProcess) -> str:
    """Of the only session, once earlier ones have ended."""

    def only() -> list[Any]:
        found: list[Any] = proxy.json("/sessions?list=true")["sessions"]
        return found if len(found) == 1 else []

    (session,) = until(only, "other sessions to end", PATIENCE)
    return str(session["route"])


def counts(proxy: HeliosProcess) -> Counter[str]:
    """What the proxy tells of such blocks, and where transactions went."""
    _, text = proxy.get("/metrics", accept="text/plain")
    found = re.findall(r'^heliosproxy_optimistic_(\w+)_total(?:\{reason="(\w+)"\})? (\S+)$', text, re.MULTILINE)
    counted = {" ".join(filter(None, (name, reason))): int(float(total)) for name, reason, total in found}
    routed = re.findall(r'^heliosproxy_route_total\{node="([^"]+)",reason="(\w+)"\} (\S+)$', text, re.MULTILINE)
    names = {each["address"]: each["name"] for each in proxy.json("/nodes")}
    counted.update({f"{names[address]} {reason}": int(float(total)) for address, reason, total in routed})
    return Counter(counted)


def well(client: Client, ask: Ask, sql: str) -> list[list[str | None]]:
    """The rows, of what must succeed."""
    events = ask(client, sql)
    assert not sqlstates(events), (sql, brief(events))
    return rows(events)


def refused(events: list[Event]) -> str:
    """The first error's SQLSTATE: who prepares in a batch of its own goes on, with what was not prepared."""
    return sqlstates(events)[0]


def control(client: Client, ask: Ask, sql: str) -> list[Event]:
    """Begin or end a block, as drivers do: one that prepares its statements does not prepare these."""
    events = (ask if ask is extended else simple)(client, sql)
    assert not sqlstates(events), (sql, brief(events))
    return events


def status(client: Client) -> bytes:
    """That of the transaction, as the client was told last."""
    return next(event.raw for event in reversed(client.transcript) if event.kind == "ReadyForQuery")
