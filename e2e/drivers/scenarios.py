"""The table of scenarios that a program of one of Python's drivers fills, and the JSON it prints for each.

Used by the programs beside it, which `harness.drivers` starts; the programs in other languages print the same lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

__all__ = ["Scenario", "Scenarios", "failures"]

Scenario = Callable[[str], Any]
"""Takes a DSN, returns what JSON can hold; opens and closes connections of its own. May be a coroutine function."""

DEADLINE = 20.0
"""Seconds that a scenario of coroutines may take; one that blocks is ended with the whole program."""


class Scenarios:
    """Scenarios by name, in the order in which they are written. An instance is the decorator that adds one."""

    def __init__(self) -> None:
        self._table: dict[str, Scenario] = {}

    def __call__(self, scenario: Scenario) -> Scenario:
        self._table[scenario.__name__] = scenario
        return scenario

    def main(self) -> None:
        """Run the scenarios against the DSN of the command line, all or those that are named after it."""
        dsn, *names = sys.argv[1:]
        for name in names or self._table:
            print(json.dumps({"scenario": name, **_outcome(self._table[name], dsn)}, default=str), flush=True)


def _outcome(scenario: Scenario, dsn: str) -> dict[str, Any]:
    try:
        saw = scenario(dsn)
        if inspect.iscoroutine(saw):
            saw = asyncio.run(_within_deadline(saw))
    except Exception as error:  # noqa: BLE001  # whatever ends a scenario is what this driver saw
        return {"failed": f"{type(error).__name__}: {error}"}
    return {"saw": saw}


async def _within_deadline(saw: Awaitable[Any]) -> Any:
    async with asyncio.timeout(DEADLINE):
        return await saw


@contextlib.contextmanager
def failures(seen: list[Any], *kinds: type[Exception]) -> Iterator[None]:
    """Note the SQLSTATE and the type of an expected error, or that there was none."""
    try:
        yield
    except kinds as error:
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        seen.append([type(error).__name__, state])
    else:
        seen.append("no error")
