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

from pydantic import Field, TypeAdapter

from helios.engine_state import EngineState, Message, SessionsState, SocketAddress
from helios.errors import EngineError, ListenError, SnapshotError

__all__ = [
    "ClusterView",
    "Command",
    "Core",
    "EngineEvent",
    "LogEvent",
    "NodePosition",
    "NodeSuspect",
    "NodeView",
    "Promotion",
    "Question",
    "SocketOffer",
    "Withdrawn",
    "engine_built_at",
    "hints",
]

_log = logging.getLogger(__name__)


class NodeView(Message):
    """A node as the engine may use it."""

    name: str
    host: str
    port: int
    addresses: tuple[str, ...] = ()
    """What the host's name stands for; none where that is for the system to find out."""
    healthy: bool
    standby: bool = False
    """It replays what the primary of its cluster writes, as far as is known, and answers as that would."""
    fenced: bool = False
    """Another node is primary in its place, or is about to be: whatever is under way on it ends at once."""
    weight: int = 100
    zone: str | None = None


class Promotion(Message):
    """Where the history of a primary parts from its predecessor's."""

    timeline: int
    """Of the new primary."""
    forked_at: int
    """Nothing that its predecessor wrote from here on is in it, in bytes."""
    xid_bound: int
    """No transaction with this number or a later one came over."""


class ClusterView(Message):
    """Who is primary in one cluster; `primary` is a node's name, or null with the reason why there is none."""

    name: str
    primary: str | None
    reason: str | None
    nodes: tuple[NodeView, ...]
    synchronous: bool
    """The primary waits with an acknowledgement until a standby has what it says."""
    promotions: tuple[Promotion, ...] = ()
    """Of late, as far as they were ours: with them it can be told what became of a commit that nobody has answered."""


class NodePosition(Message):
    """How far a node is, as last asked."""

    cluster: str
    name: str
    position: int
    """End of the WAL that a standby has applied or a primary has flushed, in bytes."""
    lag_ms: float | None
    """How long it is behind its primary; None where that cannot be known, as below."""
    lag_bytes: int | None


class SocketOffer(Message):
    """What another process needs to take over."""

    listeners: tuple[int, ...]
    """Descriptors, which stay the engine's and hold until it stops accepting."""
    predecessors: tuple[str, ...]
    """Sockets at which this process, and those before it that still have clients, are asked to cancel."""


class _Listening(Message):
    """What `Engine.start` answers."""

    listen: tuple[SocketAddress, ...]


class LogEvent(Message):
    """A log line of the engine."""

    kind: Literal["log"]
    level: Literal["debug", "info", "warning", "error"]
    message: str
    fields: dict[str, str]


class NodeSuspect(Message):
    """Traffic showed that a node may be gone or no longer primary; its next poll should not wait."""

    kind: Literal["node_suspect"]
    cluster: str
    node: str
    reason: str


class Command(Message):
    """A client of the console wants something."""

    kind: Literal["command"]
    id: int
    """What the answer is given under."""
    client: int
    user: str
    text: str
    describe: bool
    """Only the columns of the result are wanted."""


class Withdrawn(Message):
    """Nobody waits for the answer to a command any more."""

    kind: Literal["withdrawn"]
    id: int
    cancelled: bool
    """The client asked for that; else it has gone."""


@dataclass(frozen=True, slots=True)
class Question:
    """A statement that needs a plan, as `helios.planner.service.Question` describes it."""

    id: int
    text: str
    cluster: str
    database: str
    policy: Mapping[str, Any]
    defined: int


EngineEvent = LogEvent | NodeSuspect | Command | Withdrawn

_EVENT: TypeAdapter[EngineEvent] = TypeAdapter(Annotated[EngineEvent, Field(discriminator="kind")])
_POSITIONS = TypeAdapter(dict[str, tuple[NodePosition, ...]])
_CLUSTERS = TypeAdapter(dict[str, tuple[ClusterView, ...]])


def hints(sql: str) -> tuple[tuple[str, str], ...]:
    """The hints in the comments of a text, in their order: key and value."""
    try:
        import helios_core
    except ImportError as error:
        raise EngineError(f"{_NOT_INSTALLED} ({error})") from error
    return tuple(helios_core.hints(sql))


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

    def start(self, listeners: Sequence[int] = (), predecessors: Sequence[str] = ()) -> tuple[SocketAddress, ...]:
        """Bind, or own the descriptors of another process's `SocketOffer`, start the workers and accept clients; the
        addresses really bound. `ListenError` if one is taken."""
        inheritance = json.dumps({"listeners": list(listeners), "predecessors": list(predecessors)})
        with _helios_errors():
            return _Listening.model_validate_json(self._engine.start(inheritance.encode())).listen

    def own_files(self) -> None:
        """The process that was taken over from has let go: the files of its sockets are ours to remove."""
        with _helios_errors():
            self._engine.own_files()

    def offer(self, path: str) -> SocketOffer:
        """What another process needs to take over. From now on it may ask at `path` for sessions that are here."""
        with _helios_errors():
            return SocketOffer.model_validate_json(self._engine.offer(path))

    def withdraw(self, listen: Sequence[SocketAddress]) -> None:
        """Stop accepting, for another process has taken over and listens there; clients that are here stay."""
        with _helios_errors():
            self._engine.withdraw(_Listening(listen=tuple(listen)).model_dump_json().encode())

    def reload(self, snapshot: bytes) -> None:
        """Swap the configuration atomically; on `SnapshotError` the old one stays."""
        with _helios_errors():
            self._engine.reload(snapshot)

    def set_topology(self, clusters: Sequence[ClusterView]) -> None:
        """Tell the engine who is primary and which nodes are healthy."""
        with _helios_errors():
            self._engine.set_topology(_CLUSTERS.dump_json({"clusters": tuple(clusters)}))

    def settle(self, cluster: str, timeout_ms: int) -> int | None:
        """Wait (not on an event loop) until every worker acts by the last topology: no session uses a fenced node, nor
        begins a transaction without a primary. How many clients have one under way; None: not known in time."""
        with _helios_errors():
            return self._engine.settle(cluster, timeout_ms)

    def set_positions(self, nodes: Sequence[NodePosition]) -> None:
        """Tell the engine how far nodes are; those that are not named stay as they were."""
        with _helios_errors():
            self._engine.set_positions(_POSITIONS.dump_json({"nodes": tuple(nodes)}))

    def note_poll(self, cluster: str, node: str, error: str | None) -> None:
        """Tell the engine how a poll went; `error` is why there was no answer."""
        with _helios_errors():
            self._engine.note_poll(cluster, node, error)

    def state(self) -> EngineState:
        """Counters and gauges of this moment."""
        with _helios_errors():
            return EngineState.model_validate_json(self._engine.state())

    def sessions(self) -> SessionsState:
        """Clients and servers of this moment; waits until the workers have said whom they have."""
        with _helios_errors():
            return SessionsState.model_validate_json(self._engine.sessions())

    def order(self, verb: str, **operands: Any) -> None:
        """Pause, resume, reconnect, disable, enable, kill (`database`, None for all), `kill_client` (`id`) or `admit`
        (`newcomers`, `present`: whether these may be here)."""
        with _helios_errors():
            self._engine.order(json.dumps({"verb": verb, **operands}).encode())

    def answer(self, id: int, answer: Mapping[str, Any]) -> None:
        """Answer a command of the console: `helios.console.answer`."""
        with _helios_errors():
            self._engine.answer(id, json.dumps(answer).encode())

    def next_event(self, timeout_ms: int) -> EngineEvent | None:
        """Wait up to `timeout_ms` for the next event; None if there was none."""
        with _helios_errors():
            event = self._engine.next_event(timeout_ms)
        return None if event is None else _EVENT.validate_json(event)

    def next_span(self, timeout_ms: int) -> bytes | None:
        """Wait up to `timeout_ms` for the next span, a `helios.telemetry.tracing.StatementSpan`; None for none."""
        with _helios_errors():
            return self._engine.next_span(timeout_ms)

    def next_unplanned(self, timeout_ms: int) -> list[Question] | None:
        """Wait up to `timeout_ms` for statements without a plan. None once the engine has ended."""
        with _helios_errors():
            questions = self._engine.next_unplanned(timeout_ms)
        return None if questions is None else [Question(**each) for each in json.loads(questions)]

    def policy(self, database: str, application_name: str, sql: str) -> Mapping[str, Any] | None:
        """What a question about this text would hold as its policy; None for a database that is not configured."""
        with _helios_errors():
            told = self._engine.policy(database, application_name, sql)
        return None if told is None else json.loads(told)

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
    except helios_core.EngineError as error:
        kinds = {helios_core.ListenError: ListenError, helios_core.SnapshotError: SnapshotError}
        raise kinds.get(type(error), EngineError)(str(error)) from error


_NOT_INSTALLED = "the engine (helios_core) cannot be loaded by this Python; `make run` builds it"
