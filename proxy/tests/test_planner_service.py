"""The planner's thread: answers everything, outlives every statement, stops when asked."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator
from typing import Any

import pytest

from helios.planner import service as module
from helios.planner.service import PlanCounts, PlannerService

SECONDS = 10.0


class Source:
    """What the engine is to the service, with answers in a queue."""

    def __init__(self) -> None:
        self.work: queue.Queue[list[tuple[int, str]] | Exception | None] = queue.Queue()
        self.answers: queue.Queue[tuple[int, dict[str, Any] | str]] = queue.Queue()
        self.refused: set[int] = set()

    def next_unplanned(self, timeout_ms: int) -> list[tuple[int, str]] | None:
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
def service(source: Source) -> Iterator[PlannerService]:
    made = PlannerService(source)
    made.start()
    yield made
    assert made.stop(SECONDS)


def test_plans_are_plain_data(source: Source, service: PlannerService) -> None:
    source.work.put([(7, "select set_config('a.b', '1', false); set work_mem = '1MB'")])

    assert source.answer() == (
        7,
        {
            "kind": "session",
            "effects": ["settings"],
            "reasons": ["set_config() sets a setting beyond the transaction"],
            "settings": ["*", "work_mem"],
            "exact": False,
            "is_multi": True,
            "reads": [],
        },
    )


def test_every_text_of_a_batch_is_answered(source: Source, service: PlannerService) -> None:
    source.work.put([(1, "select 1"), (2, "selec 'secret'"), (3, "select " + "1+" * 50_000 + "1")])
    source.work.put([(4, "begin")])
    answers = dict(source.answer() for _ in range(4))

    assert answers[2] == "refused by PostgreSQL's parser at character 1"
    assert answers[3] == "too long or nested too deeply to be planned"
    assert [answers[id]["kind"] for id in (1, 4)] == ["read", "txn"]  # type: ignore[index]


def test_a_fault_ends_neither_the_thread_nor_secrecy(
    source: Source, service: PlannerService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(text: str) -> dict[str, Any]:
        raise KeyError(text)

    with caplog.at_level(logging.ERROR), monkeypatch.context() as patch:
        patch.setattr(module, "plan_message", fail)
        source.work.put([(1, "select 'secret'")])
        assert source.answer() == (1, "planning failed with KeyError")
    source.work.put([(2, "select 1")])

    assert source.answer()[0] == 2
    assert "KeyError in fail" in caplog.text
    assert "secret" not in caplog.text


def test_an_answer_that_is_not_taken_is_survived(
    source: Source, service: PlannerService, caplog: pytest.LogCaptureFixture
) -> None:
    source.refused.add(1)
    source.work.put([(1, "select 1"), (2, "select 2")])

    assert source.answer() == (1, "planning failed with ValueError")
    assert source.answer()[0] == 2
    assert "secret" not in caplog.text


def test_a_source_that_fails_is_asked_again(
    source: Source, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.01)
    service = PlannerService(source)
    service.start()
    source.work.put(OSError("gone"))
    source.work.put([(1, "select 1")])

    assert source.answer()[0] == 1
    assert "OSError" in caplog.text
    assert service.stop(SECONDS)


def test_counts(source: Source) -> None:
    source.refused.add(3)
    source.work.put([(1, "select 1"), (2, "selec"), (3, "select 3"), (4, "")])
    source.work.put(None)
    service = PlannerService(source)
    service.start()

    assert [source.answer()[0] for _ in range(4)] == [1, 2, 3, 4]
    assert service.stop(SECONDS)
    assert service.counts == PlanCounts(planned=2, refused=1, failed=1)


def test_ends_when_the_source_is_closed(source: Source) -> None:
    service = PlannerService(source)
    service.start()
    source.work.put(None)

    assert service._thread is not None
    service._thread.join(SECONDS)
    assert not service._thread.is_alive()


def test_stops_before_it_was_started(source: Source) -> None:
    assert PlannerService(source).stop()
