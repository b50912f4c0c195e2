"""The planner's thread: answers everything, outlives every statement, stops when asked."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from helios.planner import service as module
from helios.planner.catalog import Catalog, Function
from helios.planner.service import PlanCounts, PlannerService

SECONDS = 10.0


@dataclass(frozen=True)
class Text:
    """A question of the engine."""

    id: int
    text: str
    cluster: str = "main"
    database: str = "app"
    policy: Mapping[str, Any] = field(
        default_factory=lambda: {"split": False, "hints": [], "rules": [], "workloads": None, "keeps": False}
    )
    defined: int = 1
    split: bool = False


class Catalogs:
    """What is known of databases: `app` has a clean function."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int]] = []
        self.lacking: list[tuple[str, str]] = []

    def catalog(self, cluster: str, database: str, defined: int) -> Catalog | None:
        self.asked.append((cluster, database, defined))
        clean = Function("public", "clean", "sql", source="select 1")
        return Catalog("1", (clean,)) if database == "app" else None

    def lacks(self, cluster: str, database: str) -> None:
        self.lacking.append((cluster, database))


class Source:
    """What the engine is to the service, with answers in a queue."""

    def __init__(self) -> None:
        self.work: queue.Queue[list[Text] | Exception | None] = queue.Queue()
        self.answers: queue.Queue[tuple[int, dict[str, Any] | str]] = queue.Queue()
        self.refused: set[int] = set()

    def next_unplanned(self, timeout_ms: int) -> list[Text] | None:
        try:
            item = self.work.get(timeout=timeout_ms / 1000)
        except queue.Empty:
            return []
        if isinstance(item, Exception):
            raise item
        return item

    def planned(self, id: int, plan: dict[str, Any]) -> None:
        if id in self.refused:
            raise ValueError("secret literal")
        self.answers.put((id, plan))

    def unplanned(self, id: int, reason: str) -> None:
        self.answers.put((id, reason))

    def answer(self) -> tuple[int, dict[str, Any] | str]:
        return self.answers.get(timeout=SECONDS)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def catalogs() -> Catalogs:
    return Catalogs()


@pytest.fixture
def service(source: Source, catalogs: Catalogs) -> Iterator[PlannerService]:
    made = PlannerService(source, catalogs)
    made.start()
    yield made
    assert made.stop(SECONDS)


def test_plans_are_plain_data(source: Source, service: PlannerService) -> None:
    source.work.put([Text(7, "select set_config('a.b', '1', false); set work_mem = '1MB'")])

    assert source.answer() == (
        7,
        {
            "kind": "session",
            "effects": ["settings"],
            "reasons": ["set_config() sets a setting beyond the transaction"],
            "settings": ["a.b", "work_mem"],
            "exact": True,
            "is_multi": True,
            "tables": [],
            "reads": [],
            "defines": False,
            "block": None,
            "handling": None,
            "rerun": "repeats",
            "mutable": False,
            "kept": None,
            "holding": {
                "makes": [],
                "writes": [],
                "takes_locks": False,
                "frees_locks": False,
                "holds_cursor": False,
                "moves_cursor": False,
                "drops": False,
                "does_more": True,
            },
            "routing": {
                "route": "primary",
                "reason": "reads are not told from writes here",
                "origin": "statement",
                "node": None,
                "workload": None,
                "consistency": None,
                "max_lag_ms": None,
                "timeout_ms": None,
                "has_token": False,
                "write_mode": None,
                "notices": [],
            },
        },
    )


def test_calls_are_planned_by_the_catalog_of_their_database(
    source: Source, service: PlannerService, catalogs: Catalogs
) -> None:
    source.work.put([Text(1, "select clean()", defined=7), Text(2, "select clean()", database="other")])
    source.work.put([Text(3, "select other()"), Text(4, "create function f() returns int return 1")])
    answers = {id: answer for id, answer in (source.answer() for _ in range(4)) if not isinstance(answer, str)}

    assert [(answers[id]["effects"], answers[id]["reads"]) for id in (1, 2, 3)] == [
        ([], ["catalog"]),
        (["unknown"], ["catalog"]),
        (["unknown"], ["catalog"]),
    ]
    assert (answers[4]["reads"], answers[4]["defines"]) == ([], True)
    assert catalogs.asked == [("main", "app", 7), ("main", "other", 1), ("main", "app", 1)]
    assert catalogs.lacking == [("main", "app")]


def test_every_text_of_a_batch_is_answered(source: Source, service: PlannerService) -> None:
    source.work.put([Text(1, "select 1"), Text(2, "selec 'secret'"), Text(3, "select " + "1+" * 50_000 + "1")])
    source.work.put([Text(4, "begin")])
    answers = dict(source.answer() for _ in range(4))

    assert answers[2] == "refused by PostgreSQL's parser at character 1"
    assert answers[3] == "too long or nested too deeply to be planned"
    assert [answers[id]["kind"] for id in (1, 4)] == ["read", "txn"]  # type: ignore[index]


def test_a_fault_ends_neither_the_thread_nor_secrecy(
    source: Source, service: PlannerService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(question: Text, catalogs: Catalogs) -> dict[str, Any]:
        raise KeyError(question.text)

    with caplog.at_level(logging.ERROR), monkeypatch.context() as patch:
        patch.setattr(module, "plan_message", fail)
        source.work.put([Text(1, "select 'secret'")])
        assert source.answer() == (1, "planning failed with KeyError")
    source.work.put([Text(2, "select 1")])

    assert source.answer()[0] == 2
    assert "KeyError in fail" in caplog.text
    assert "secret" not in caplog.text


def test_an_answer_that_is_not_taken_is_survived(
    source: Source, service: PlannerService, caplog: pytest.LogCaptureFixture
) -> None:
    source.refused.add(1)
    source.work.put([Text(1, "select 1"), Text(2, "select 2")])

    assert source.answer() == (1, "planning failed with ValueError")
    assert source.answer()[0] == 2
    assert "secret" not in caplog.text


def test_a_source_that_fails_is_asked_again(
    source: Source, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
    service = PlannerService(source, Catalogs())
    service.start()
    source.work.put(OSError("gone"))
    source.work.put([Text(1, "select 1")])

    assert source.answer()[0] == 1
    assert "OSError" in caplog.text
    assert service.stop(SECONDS)


def test_counts(source: Source) -> None:
    source.refused.add(3)
    source.work.put([Text(1, "select 1"), Text(2, "selec"), Text(3, "select 3"), Text(4, "")])
    source.work.put(None)
    service = PlannerService(source, Catalogs())
    service.start()

    assert [source.answer()[0] for _ in range(4)] == [1, 2, 3, 4]
    assert service.stop(SECONDS)
    assert service.counts() == PlanCounts(planned=2, refused=1, failed=1)


@pytest.mark.parametrize("fault", ["dies", "hangs"])
def test_another_thread_goes_on_where_one_is_lost(
    source: Source, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    stuck, released = threading.Event(), threading.Event()

    def fail(question: Text, catalogs: Catalogs) -> dict[str, Any]:
        if fault in question.text:
            if fault == "dies":
                raise SystemExit(question.text)
            stuck.set()
            released.wait()
        return plan_message(question, catalogs)

    def is_hanging(shift: object) -> bool:
        was_stuck = stuck.is_set()
        stuck.clear()
        return was_stuck

    plan_message = module.plan_message
    monkeypatch.setattr(module, "plan_message", fail)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module._Shift, "is_hanging", is_hanging)
    service = PlannerService(source, Catalogs())
    service.start()
    source.work.put([Text(1, "select 1"), Text(2, f"select 'secret' as {fault}"), Text(3, "select 3")])
    answers = [source.answer() for _ in range(3)]
    released.set()

    assert [id for id, _ in answers] == [1, 2, 3], "what it had taken beside is planned by the next one"
    assert isinstance(answers[1][1], str) and not isinstance(answers[2][1], str)
    source.work.put([Text(4, "select 4")])
    assert source.answer()[0] == 4, "and the one that wakes up late answers nothing"
    assert service.stop(SECONDS)
    counts = service.counts()
    assert (counts.planned, counts.failed, counts.restarts) == (3, 1, 1)
    assert "secret" not in caplog.text


def test_ends_when_the_source_is_closed(source: Source) -> None:
    service = PlannerService(source, Catalogs())
    service.start()
    source.work.put(None)

    for thread in (service._shift.thread, service._watcher):
        assert thread is not None
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_stops_before_it_was_started(source: Source) -> None:
    assert PlannerService(source, Catalogs()).stop()
