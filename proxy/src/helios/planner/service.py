"""Answers the engine's questions for plans, on a thread of its own: pulls texts, plans them, hands plans back.

Made by whoever holds the engine. The engine never calls into Python; it queues a shape that has no plan, and this
thread asks for it. A statement that cannot be planned is answered too, so that nothing waits for it.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from helios.errors import PlanError
from helios.planner.catalog import Catalog
from helios.planner.context import Context, Policy
from helios.planner.decide import plan
from helios.planner.plan import Workload
from helios.planner.wish import Rule
from helios.planner.workload import Workloads

__all__ = ["CatalogSource", "PlanCounts", "PlanSource", "PlannerService", "Question", "policy_of"]

_LOG = logging.getLogger(__name__)

_WAIT_MS = 500
"""How long one question waits for work; also the longest that `stop` waits for an idle thread."""

_RETRY_SECONDS = 1.0
"""Pause after the source itself failed."""

_STACK_BYTES = 16 * 1024 * 1024
"""Stack of the thread, whatever the platform's default: twice what `parser.MAX_NESTING` was measured with."""


class Question(Protocol):
    """A text that needs a plan."""

    @property
    def id(self) -> int:
        """What the answer is given under."""

    @property
    def text(self) -> str:
        """The statement or statements."""

    @property
    def cluster(self) -> str:
        """The cluster it is for."""

    @property
    def database(self) -> str:
        """The database on the server."""

    @property
    def policy(self) -> Mapping[str, Any]:
        """What `policy_of` makes a `Policy` of."""

    @property
    def defined(self) -> int:
        """Grows when functions of the database are defined through the proxy."""


class PlanSource(Protocol):
    """Where statements without a plan come from. Both answers return at once; neither may be given twice."""

    def next_unplanned(self, timeout_ms: int) -> Sequence[Question] | None:
        """What needs a plan, empty when nothing came in time; None when there will be no more."""
        ...

    def planned(self, id: int, plan: dict[str, Any]) -> None:
        """The plan of a text, as plain data."""
        ...

    def unplanned(self, id: int, reason: str) -> None:
        """There is no plan, and why; holds nothing of the text."""
        ...


class CatalogSource(Protocol):
    """Where the functions of databases are known. Both return at once; plans are asked for again when more is known."""

    def catalog(self, cluster: str, database: str, defined: int) -> Catalog | None:
        """The functions of a database, read after `defined`; None while they are not known."""
        ...

    def lacks(self, cluster: str, database: str) -> None:
        """A function is called that the catalog does not have: it may be new."""
        ...


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """What a service did since it was made."""

    planned: int = 0
    refused: int = 0
    """Texts that PostgreSQL's parser refuses, or that are too long or too deep for it."""
    failed: int = 0
    """Texts whose planning ended with an exception: a fault of ours."""


class PlannerService:
    """One thread between `start` and `stop`."""

    def __init__(self, source: PlanSource, catalogs: CatalogSource) -> None:
        self._source = source
        self._catalogs = catalogs
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._planned = self._refused = self._failed = 0

    @property
    def counts(self) -> PlanCounts:
        """The counts of this moment."""
        return PlanCounts(self._planned, self._refused, self._failed)

    def start(self) -> None:
        """Start the thread."""
        before = threading.stack_size(_STACK_BYTES)
        try:
            self._thread = threading.Thread(target=self._run, name="helios-planner", daemon=True)
            self._thread.start()
        finally:
            threading.stack_size(before)

    def stop(self, timeout: float = 5.0) -> bool:
        """Ask the thread to end after what it has in hand; whether it did within `timeout` seconds."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                batch = self._source.next_unplanned(_WAIT_MS)
            except Exception as error:  # noqa: BLE001 - nobody else would notice
                _LOG.error("planner: asking for work failed: %s", _describe(error))
                self._stopping.wait(_RETRY_SECONDS)
                continue
            if batch is None:
                return
            for question in batch:
                self._answer(question)

    def _answer(self, question: Question) -> None:
        """Plan one text and answer; whatever happens, the thread goes on."""
        id = question.id
        try:
            try:
                message = plan_message(question, self._catalogs)
            except PlanError as error:
                self._refused += 1
                self._source.unplanned(id, _refusal(error))
            else:
                self._source.planned(id, message)
                self._planned += 1
        except Exception as error:  # noqa: BLE001 - one statement must not end the planning of all
            self._failed += 1
            _LOG.error("planner: a statement could not be planned: %s", _describe(error))
            self._give_up(id, error)

    def _give_up(self, id: int, error: Exception) -> None:
        try:
            self._source.unplanned(id, f"planning failed with {type(error).__name__}")
        except Exception as second:  # noqa: BLE001 - the same
            _LOG.error("planner: an answer was not taken: %s", _describe(second))


def plan_message(question: Question, catalogs: CatalogSource) -> dict[str, Any]:
    """The plan of a text as plain data: the fields of `Plan`, and `reads`, the fields of the context it holds for."""
    context = Context(
        lambda: catalogs.catalog(question.cluster, question.database, question.defined), policy_of(question.policy)
    )
    fields = asdict(plan(question.text, context), dict_factory=_plain)
    if context.lacks:
        catalogs.lacks(question.cluster, question.database)
    return {**fields, "reads": sorted(context.reads)}


def _plain(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in items}


def policy_of(message: Mapping[str, Any]) -> Policy:
    """A policy as the engine writes it: `split`, `hints` as pairs, `rules` with the fields of `Rule`, and `workloads`
    with those of `Workloads`, or None."""
    told = message["workloads"]
    return Policy(
        is_split=message["split"],
        hints=tuple((key, value) for key, value in message["hints"]),
        rules=tuple(Rule(**rule) for rule in message["rules"]),
        workloads=None if told is None else _workloads(told),
    )


def _workloads(told: Mapping[str, Any]) -> Workloads:
    def by_kind(listed: Mapping[str, list[str]]) -> dict[Workload, tuple[str, ...]]:
        return {Workload(kind): tuple(globs) for kind, globs in listed.items()}

    return Workloads(by_kind(told["targets"]), by_kind(told["patterns"]), told["large_table_rows"])


def _refusal(error: PlanError) -> str:
    """Why there is no plan, without the parser's words, which quote the statement."""
    if error.position is None:
        return "too long or nested too deeply to be planned"
    return f"refused by PostgreSQL's parser at character {error.position}"


def _describe(error: BaseException) -> str:
    """An exception by its type and place. Its text may hold a part of a statement."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
