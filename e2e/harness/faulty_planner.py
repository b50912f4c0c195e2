"""`helios` with a planner that fails at some statements: `python -P faulty_planner.py serve -c helios.toml`.

A statement that holds one of `FAULTS` has its planning end so. Everything else is as in life; of the times, only that
after which a thread is taken for hanging is shorter, so that a test need not wait for the real one.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from helios.cli import main
from helios.planner import service

HUNG_SECONDS = 5.0
LATE = "planner_is_late"
"""A statement that holds this has its planning succeed, when nobody waits for it any more."""
LATE_SECONDS = 2.0


def _raise(text: str) -> NoReturn:
    raise RuntimeError(text)


def _die(text: str) -> NoReturn:
    """As a thread does that an extension module ends, or whose error handling runs out of memory."""
    raise SystemExit(text)


def _hang(text: str) -> NoReturn:
    threading.Event().wait()
    raise AssertionError(text)


FAULTS: Mapping[str, Callable[[str], NoReturn]] = {
    "planner_raises": _raise,
    "planner_dies": _die,
    "planner_hangs": _hang,
}

_plan_message = service.plan_message


def plan_message(question: service.Question, catalogs: service.CatalogSource) -> dict[str, Any]:
    """In place of the planner's own."""
    for word, fail in FAULTS.items():
        if word in question.text:
            fail(question.text)
    if LATE in question.text:
        time.sleep(LATE_SECONDS)
    return _plan_message(question, catalogs)


if __name__ == "__main__":
    service.plan_message = plan_message
    service._HUNG_SECONDS = HUNG_SECONDS
    sys.exit(main())
