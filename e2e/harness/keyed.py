"""Sessions with consistency keys at two proxies before the same servers, and what they are told.

Called by the tests of keys; the table is `notes`, whose rows are found by number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from harness.backend import Event
from harness.client import Client, full, sqlstates
from harness.proxy import HeliosProcess, Servers, base_settings
from harness.redis import Redis
from harness.wait import until

__all__ = [
    "PATIENCE",
    "Pods",
    "await_split",
    "connect",
    "done",
    "found",
    "insert",
    "split",
    "standbys",
    "told",
    "two_proxies",
    "warnings",
]

PATIENCE = 60.0

Pods = tuple[HeliosProcess, HeliosProcess]


def split(redis: Redis, max_lag_ms: int = 100_000, optimistic: bool = False, **keys: Any) -> dict[str, Any]:
    """Routing of a proxy that keeps keys in `redis`, which may take as long as a busy machine needs."""
    kept = {"url": redis.url, "timeout_ms": 10_000, "ttl_seconds": 200, **keys}
    return {
        "read_write_split": True,
        "max_lag_ms": max_lag_ms,
        "optimistic": optimistic,
        "consistency_keys": kept,
    }


@contextmanager
def two_proxies(
    servers: Servers, folder: Path, redis: Redis, sections: Mapping[str, Any] | None = None, **keys: Any
) -> Iterator[Pods]:
    """Before the same servers, with the same Redis that is new; otherwise they know nothing of each other."""
    routing = split(redis, **keys)
    with ExitStack() as stack:
        folders = (folder / "first", folder / "second")
        for each in folders:
            each.mkdir(parents=True)
        first, second = (
            stack.enter_context(HeliosProcess(each, base_settings(servers, each, routing=routing, **(sections or {}))))
            for each in folders
        )
        for pod in (first, second):
            await_split(pod)
        # As a ttl after it was met, which is how long nothing is believed of a Redis that is new.
        redis.ask("del", "helios:doubt")
        yield first, second


def await_split(pod: HeliosProcess) -> None:
    """Wait until a standby has been found, the tables of the database are known, and every worker has its Redis."""

    def who() -> str | None:
        with connect(pod) as client:
            return client.value("select current_setting('cluster_name') from items where id = 1")

    until(lambda: who() in standbys(pod), "reads to be split", PATIENCE)
    workers = pod.settings["workers"]
    until(lambda: told(pod)["connections"] == workers, "connections to Redis", PATIENCE)


def standbys(pod: HeliosProcess) -> list[str]:
    """Their names."""
    return [node["name"] for node in pod.json("/nodes") if node["role"] == "standby"]


def connect(pod: HeliosProcess, key: str | None = None) -> Client:
    options = {} if key is None else {"helios.consistency_key": key}
    return Client(pod.target().with_options(**options), deadline=PATIENCE)


def told(pod: HeliosProcess) -> dict[str, Any]:
    found: dict[str, Any] = pod.json("/api/consistency-keys")
    return found


def found(id: int) -> str:
    return f"select count(*), current_setting('cluster_name') from notes where id = {id}"


def insert(id: int) -> str:
    return f"insert into notes values ({id}, 'x')"


def warnings(events: list[Event]) -> list[str]:
    return [event.text for event in events if event.kind == "NoticeResponse" and "consistency key" in event.text]


def done(events: list[Event]) -> None:
    """It went well, and nobody was warned."""
    assert not sqlstates(events) and not warnings(events), full(events)
