"""The engine as Python sees it: a typed wrapper around `helios_core`, JSON in and out.

This is the only module that imports `helios_core`, and it does so when the first `Core` is made, so that
`helios check` and the tests of the control plane load no engine. Called by `helios.app`; everything that only
reads the engine gets an `EngineState`.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from helios.errors import EngineError, ListenError, SnapshotError

__all__ = [
    "ClientCounts",
    "ClusterView",
    "Core",
    "EngineEvent",
    "EngineState",
    "Histogram",
    "LogEvent",
    "NodeSuspect",
    "NodeView",
    "PoolState",
    "Question",
    "SocketAddress",
    "engine_built_at",
]

_log = logging.getLogger(__name__)


class _Message(BaseModel):
    """One side's message at the border. Extra fields are let through: the engine may know more than we read."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class SocketAddress(_Message):
    """A bound listener."""

    host: str
    """The folder of a Unix socket, told by its slash."""
    port: int

    def __str__(self) -> str:
        if self.host.startswith("/"):
            return f"{self.host}/.s.PGSQL.{self.port}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class RefusedCount(_Message):
    """Clients refused for want of room."""

    reason: str
    """Which limit was reached: `total`, `user`, `database`, `address`, `unauthenticated` or
    `unauthenticated_address`."""
    total: int


class ClientCounts(_Message):
    """Client connections of all workers."""

    active: int
    """Connected now, waiting ones and those that log in included."""
    waiting: int
    """Waiting for a server connection now."""
    accepted_total: int
    closed_total: int
    unauthenticated: int
    """Connected now and not logged in."""
    refused: tuple[RefusedCount, ...]


class QueryCounts(_Message):
    """Finished statements by PostgreSQL's own command tag."""

    read_total: int
    write_total: int


class PlanCounts(_Message):
    """Plans of statements."""

    kept: int
    made_total: int
    missed_total: int
    """Statements that ran as ones that may do anything, since no plan came in time."""


class PinCount(_Message):
    """Sessions below session mode that keep their server between transactions, by what would be lost otherwise."""

    reason: str
    """`temporary_object`, `holdable_cursor`, `listen`, `prepared_statement`, `advisory_lock`,
    `session_authorization`, `library`, or `unknown` where the server could not be asked."""
    sessions: int
    """Now."""
    total: int
    """How often a session began to."""


class ByteCounts(_Message):
    """Bytes on client connections, seen from the proxy."""

    received_total: int
    sent_total: int


class PoolState(_Message):
    """One pool: the server connections of one identity to one node."""

    cluster: str
    node: str
    """The node's name, not its address."""
    database: str
    user: str
    """The client's user."""
    server_user: str
    """The user PostgreSQL sees."""
    mode: str
    max_size: int
    active: int
    idle: int
    waiting: int
    created_total: int
    closed_total: int


class Histogram(_Message):
    """Durations in seconds. `counts` has one entry more than `le` (beyond the last bound) and is not cumulative."""

    le: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


class Histograms(_Message):
    """All histograms the engine keeps."""

    query_duration_seconds: Histogram
    pool_acquire_duration_seconds: Histogram


class EngineState(_Message):
    """Counters and gauges of the engine at one moment."""

    generation: int
    listen: tuple[SocketAddress, ...]
    accepting: bool
    workers: int
    clients: ClientCounts
    queries: QueryCounts
    plans: PlanCounts
    pins: tuple[PinCount, ...]
    bytes: ByteCounts
    pools: tuple[PoolState, ...]
    histograms: Histograms


class NodeView(_Message):
    """A node as the engine may use it."""

    name: str
    host: str
    port: int
    addresses: tuple[str, ...] = ()
    """What the host's name stands for; none where that is for the system to find out."""
    healthy: bool


class ClusterView(_Message):
    """Who is primary in one cluster; `primary` is a node's name, or null with the reason why there is none."""

    name: str
    primary: str | None
    reason: str | None
    nodes: tuple[NodeView, ...]


class _Listening(_Message):
    """What `Engine.start` answers."""

    listen: tuple[SocketAddress, ...]


class LogEvent(_Message):
    """A log line of the engine."""

    kind: Literal["log"]
    level: Literal["debug", "info", "warning", "error"]
    message: str
    fields: dict[str, str]


class NodeSuspect(_Message):
    """Traffic showed that a node may be gone or no longer primary; its next poll should not wait."""

    kind: Literal["node_suspect"]
    cluster: str
    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Question:
    """A statement that needs a plan, as `helios.planner.service.Question` describes it."""

    id: int
    text: str
    cluster: str
    database: str
    defined: int


EngineEvent = Annotated[LogEvent | NodeSuspect, Field(discriminator="kind")]

_EVENT: TypeAdapter[LogEvent | NodeSuspect] = TypeAdapter(EngineEvent)
_CLUSTERS = TypeAdapter(dict[str, tuple[ClusterView, ...]])


class Core:
    """One engine. Made from a snapshot (`helios.config.snapshot.engine_snapshot`); `start` makes it accept clients.

    `next_event` and `drain` wait and belong on a thread of their own; the others return at once.
    """

    def __init__(self, snapshot: bytes) -> None:
        """Check the snapshot without opening anything; `SnapshotError` names the field that is wrong."""
        try:
            from helios_core import Engine
        except ImportError as error:
            raise EngineError(f"{_NOT_INSTALLED} ({error})") from error
        with _helios_errors():
            self._engine = Engine(snapshot)

    def start(self) -> tuple[SocketAddress, ...]:
        """Bind, start the workers and accept clients; the addresses really bound. `ListenError` if one is taken."""
        with _helios_errors():
            return _Listening.model_validate_json(self._engine.start()).listen

    def reload(self, snapshot: bytes) -> None:
        """Swap the configuration atomically; on `SnapshotError` the old one stays."""
        with _helios_errors():
            self._engine.reload(snapshot)

    def set_topology(self, clusters: Sequence[ClusterView]) -> None:
        """Tell the engine who is primary and which nodes are healthy."""
        with _helios_errors():
            self._engine.set_topology(_CLUSTERS.dump_json({"clusters": tuple(clusters)}))

    def state(self) -> EngineState:
        """Counters and gauges of this moment."""
        with _helios_errors():
            return EngineState.model_validate_json(self._engine.state())

    def next_event(self, timeout_ms: int) -> LogEvent | NodeSuspect | None:
        """Wait up to `timeout_ms` for the next event; None if there was none."""
        with _helios_errors():
            event = self._engine.next_event(timeout_ms)
        return None if event is None else _EVENT.validate_json(event)

    def next_unplanned(self, timeout_ms: int) -> list[Question] | None:
        """Wait up to `timeout_ms` for statements without a plan. None once the engine has ended."""
        with _helios_errors():
            questions = self._engine.next_unplanned(timeout_ms)
        return None if questions is None else [Question(**each) for each in json.loads(questions)]

    def planned(self, id: int, plan: Mapping[str, Any]) -> None:
        """Answer with a plan: `helios.planner.plan.Plan` as plain data, and `reads`."""
        with _helios_errors():
            self._engine.set_plan(json.dumps({"id": id, "plan": plan}).encode())

    def unplanned(self, id: int, reason: str) -> None:
        """Answer that there is no plan; the statement is taken for one that may do anything."""
        _log.debug("no plan for a statement", extra={"fields": {"id": str(id), "reason": reason}})
        with _helios_errors():
            self._engine.set_plan(json.dumps({"id": id, "plan": None}).encode())

    def outdate_plans(self, cluster: str, database: str) -> None:
        """Forget the plans that read the catalog of this database: it is known better now, or no longer."""
        with _helios_errors():
            self._engine.outdate_plans(cluster, database)

    def drain(self, timeout_ms: int) -> int:
        """Close the listeners, end idle clients (57P01), wait for transactions; the number of clients left."""
        with _helios_errors():
            return self._engine.drain(timeout_ms)

    def stop(self) -> None:
        """End every connection and worker at once."""
        with _helios_errors():
            self._engine.stop()


def engine_built_at() -> datetime:
    """When the engine's binary was built (the time of its file), in UTC; `EngineError` if there is no engine."""
    spec = importlib.util.find_spec("helios_core")
    if spec is None or spec.origin is None:
        raise EngineError(_NOT_INSTALLED)
    return datetime.fromtimestamp(Path(spec.origin).stat().st_mtime, tz=UTC)


@contextmanager
def _helios_errors() -> Iterator[None]:
    """Turn the extension's exceptions into those of `helios.errors`."""
    import helios_core

    try:
        yield
    except helios_core.ListenError as error:
        raise ListenError(str(error)) from error
    except helios_core.SnapshotError as error:
        raise SnapshotError(str(error)) from error
    except helios_core.EngineError as error:
        raise EngineError(str(error)) from error


_NOT_INSTALLED = "the engine (helios_core) cannot be loaded by this Python; `make run` builds it"
