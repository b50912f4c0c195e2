"""The pump of the engine's events: logs are forwarded, suspicions handed over, a strange event stops nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import cast

import pytest

from harness.wait import until
from helios.core import Core, EngineEvent, LogEvent, NodeSuspect
from helios.errors import EngineError
from helios.telemetry.events import EventPump

SUSPECT = NodeSuspect(kind="node_suspect", cluster="main", node="db-0", reason="connection reset")

Step = Callable[[], EngineEvent]


class ScriptedCore:
    """Gives out the steps of a script, then nothing; a step may raise."""

    def __init__(self, *steps: Step) -> None:
        self._steps = list(steps)

    def next_event(self, timeout_ms: int) -> EngineEvent | None:
        if self._steps:
            return self._steps.pop(0)()
        time.sleep(timeout_ms / 1000)
        return None


def pumped(suspects: list[NodeSuspect], *steps: Step) -> EventPump:
    pump = EventPump(cast(Core, ScriptedCore(*steps)), suspects.append, lambda _: None)
    pump.start()
    return pump


def strange() -> EngineEvent:
    return LogEvent.model_validate_json(b'{"kind": "unheard of"}')


def ended() -> EngineEvent:
    raise EngineError("stopped")


def test_logs_keep_level_and_facts(caplog: pytest.LogCaptureFixture) -> None:
    event = LogEvent(kind="log", level="warning", message="100% of a pool in use", fields={"pool": "app"})
    with caplog.at_level(logging.DEBUG):
        pump = pumped([], lambda: event)
        until(lambda: caplog.records, "a record")
        pump.stop()

    record = caplog.records[0]
    assert (record.name, record.levelname, record.getMessage()) == ("helios.engine", "WARNING", event.message)
    assert record.__dict__["fields"] == {"pool": "app"}


def test_a_strange_event_is_logged_and_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    suspects: list[NodeSuspect] = []

    pump = pumped(suspects, strange, lambda: SUSPECT)
    until(lambda: suspects, "the event after the strange one")
    pump.stop()

    assert suspects == [SUSPECT]
    assert "not understood" in caplog.text


def test_the_pump_ends_when_the_engine_has_no_more_events(caplog: pytest.LogCaptureFixture) -> None:
    suspects: list[NodeSuspect] = []

    pump = pumped(suspects, ended, lambda: SUSPECT)
    until(lambda: "engine events end" in caplog.text, "the end is logged")
    pump.stop()

    assert suspects == []
