"""Wait for a condition with a deadline. Called by tests that would otherwise sleep; hands on the condition's value."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.02


class DeadlineExceededError(AssertionError):
    """The awaited condition did not come true in time; the message names it and its last value."""


def until(condition: Callable[[], T], what: str, deadline: float = 10.0) -> T:
    """Poll `condition` until it is truthy and return its value.

    `deadline` is in seconds. Raises DeadlineExceededError with `what` and the last value seen.
    """
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise DeadlineExceededError(f"not within {deadline:g} s: {what} (last value: {value!r})")
        time.sleep(POLL_SECONDS)
