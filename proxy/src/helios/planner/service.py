"""Answers the engine's questions for plans, on a thread of its own: pulls texts, plans them, hands plans back.

Made by whoever holds the engine. The engine never calls into Python; it queues a shape that has no plan, and this
thread asks for it. A statement that cannot be planned is answered too, so that nothing waits for it. A second thread
watches the first: where that dies or hangs on a statement, another one goes on with the next.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
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

_LOOK_SECONDS = 0.5
"""Between two looks at the thread that plans."""

_HUNG_SECONDS = 30.0
"""How long one text may take before the thread is given up. The longest that is planned at all takes half a second, and
ten where the machine does too much else; meanwhile sessions with new statements go on after half a second each."""

_MAX_HUNG = 4
"""Threads that may hang at a time. With one more nothing is planned any more, as each may keep a core busy."""

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
    """Texts whose planning ended with an exception, or not at all: a fault of ours."""
    restarts: int = 0
    """Threads that died or hung, and were replaced."""


class _Shift:
    """The time of one thread as the planner: the text that it is at, and those that it has taken beside."""

    def __init__(self, left: Iterable[Question] = ()) -> None:
        self.thread: threading.Thread | None = None
        self.is_over = False
        """Nothing more is to be begun or answered: there is no work any more, or another thread does it."""
        self._left = deque(left)
        self._at: tuple[Question, float] | None = None

    def take(self, questions: Iterable[Question]) -> None:
        """Have these to do."""
        self._left.extend(questions)

    def begin(self) -> Question | None:
        """The next text, which it is at from now on; None when it has none, or is over."""
        self._at = None
        if self.is_over:
            return None
        try:
            question = self._left.popleft()
        except IndexError:
            return None
        self._at = (question, time.monotonic())
        return question

    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self.thread is not None and self.thread.is_alive()

    def is_hanging(self) -> bool:
        """Whether it is at one text for too long."""
        at = self._at
        return at is not None and time.monotonic() - at[1] > _HUNG_SECONDS

    def end(self) -> tuple[Question | None, list[Question]]:
        """The text that it was at when it was given up, and those for somebody else."""
        at, self.is_over = self._at, True
        left: list[Question] = []
        while self._left:
            left.append(self._left.popleft())
        return (None if at is None else at[0]), left


class PlannerService:
    """One thread that plans, and one that watches it, between `start` and `stop`."""

    def __init__(self, source: PlanSource, catalogs: CatalogSource) -> None:
        self._source = source
        self._catalogs = catalogs
        self._stopping = threading.Event()
        self._shift = _Shift()
        self._hung: list[_Shift] = []
        self._watcher: threading.Thread | None = None
        self._planned = self._refused = self._failed = self._restarts = 0

    def counts(self) -> PlanCounts:
        """The counts of this moment."""
        return PlanCounts(self._planned, self._refused, self._failed, self._restarts)

    def start(self) -> None:
        """Start the threads."""
        self._begin(self._shift)
        self._watcher = threading.Thread(target=self._watch, name="helios-planner-watch", daemon=True)
        self._watcher.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """Ask the thread to end after what it has in hand; whether it did within `timeout` seconds."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join(timeout)
        thread = self._shift.thread
        if thread is not None:
            thread.join(timeout)
        return not self._shift.is_alive()

    def _begin(self, shift: _Shift) -> None:
        before = threading.stack_size(_STACK_BYTES)
        try:
            shift.thread = threading.Thread(target=self._run, args=(shift,), name="helios-planner", daemon=True)
            shift.thread.start()
        finally:
            threading.stack_size(before)

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            if self._shift.is_over:
                return
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - there may be no memory for another thread just now
                _LOG.error("planner: another thread could not be started: %s", _describe(error))

    def _look(self) -> None:
        """Have another thread go on where the one that plans has died, or is at one text for too long."""
        shift = self._shift
        self._hung = [each for each in self._hung if each.is_alive()]
        if shift.is_alive():
            if not shift.is_hanging() or len(self._hung) >= _MAX_HUNG:
                return
            self._hung.append(shift)
            reason = f"planning took longer than {_HUNG_SECONDS:g} s"
        elif shift.is_over or self._stopping.is_set():
            return
        else:
            reason = "the planner's thread died"
        question, left = shift.end()
        if question is not None:
            self._failed += 1
            self._give_up(question.id, reason)
        self._restarts += 1
        _LOG.error("planner: another thread goes on: %s", reason)
        self._shift = _Shift(left)
        self._begin(self._shift)

    def _run(self, shift: _Shift) -> None:
        try:
            while not (self._stopping.is_set() or shift.is_over):
                self._pull(shift)
                while (question := shift.begin()) is not None:
                    self._answer(shift, question)
        except BaseException as error:  # noqa: BLE001 - the interpreter would show the statement with the traceback
            _LOG.error("planner: the thread dies: %s", _describe(error))

    def _pull(self, shift: _Shift) -> None:
        """Take what is asked by now, if anything is."""
        try:
            batch = self._source.next_unplanned(_WAIT_MS)
        except Exception as error:  # noqa: BLE001 - nobody else would notice
            _LOG.error("planner: asking for work failed: %s", _describe(error))
            self._stopping.wait(_RETRY_SECONDS)
            return
        if batch is None:
            shift.is_over = True
        else:
            shift.take(batch)

    def _answer(self, shift: _Shift, question: Question) -> None:
        """Plan one text and answer; whatever happens, the thread goes on."""
        id = question.id
        try:
            try:
                message = plan_message(question, self._catalogs)
            except PlanError as error:
                self._refused += 1
                self._source.unplanned(id, _refusal(error))
            else:
                if not shift.is_over:
                    self._source.planned(id, message)
                    self._planned += 1
        except Exception as error:  # noqa: BLE001 - one statement must not end the planning of all
            self._failed += 1
            _LOG.error("planner: a statement could not be planned: %s", _describe(error))
            self._give_up(id, f"planning failed with {type(error).__name__}")

    def _give_up(self, id: int, reason: str) -> None:
        try:
            self._source.unplanned(id, reason)
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
    with those of `Workloads`, or None, and `keeps`."""
    told = message["workloads"]
    return Policy(
        is_split=message["split"],
        hints=tuple((key, value) for key, value in message["hints"]),
        rules=tuple(Rule(**rule) for rule in message["rules"]),
        workloads=None if told is None else _workloads(told),
        keeps=message["keeps"],
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
