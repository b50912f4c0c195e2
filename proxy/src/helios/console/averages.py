"""What PgBouncer calls averages: counts a second, and times a piece, over the last period that is over and the one
under way. Samples are noted by `service`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from helios.engine_state import DatabaseTraffic

__all__ = ["PERIOD_SECONDS", "Averages"]

PERIOD_SECONDS = 60
"""Between two samples; PgBouncer's own default of stats_period."""

_PER_PIECE = {"xact_time": "xact_count", "query_time": "query_count", "wait_time": "server_assignment_count"}
"""Times, and of what they are the time; everything else is counted by second."""

Totals = Mapping[str, Mapping[str, int]]
"""By database, the counters."""


@dataclass
class _Sample:
    at: float
    totals: Totals


@dataclass
class Averages:
    """The two last samples."""

    clock: Callable[[], float] = time.monotonic
    _older: _Sample = field(init=False)
    _newer: _Sample = field(init=False)

    def __post_init__(self) -> None:
        self._older = self._newer = _Sample(self.clock(), {})

    def note(self, traffic: tuple[DatabaseTraffic, ...]) -> None:
        """A period is over."""
        self._older, self._newer = self._newer, _Sample(self.clock(), {each.database: each.counts for each in traffic})

    def of(self, databases: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
        """The averages over all these databases together, given their counters of this moment."""
        seconds = self.clock() - self._older.at
        grown = dict.fromkeys(DatabaseTraffic.COUNTERS, 0)
        for name, counts in databases.items():
            before = self._older.totals.get(name, {})
            for counter in grown:
                grown[counter] += counts[counter] - before.get(counter, 0)
        return {counter: _average(grown, counter, seconds) for counter in grown}


def _average(grown: Mapping[str, int], counter: str, seconds: float) -> int:
    pieces = _PER_PIECE.get(counter)
    if pieces is not None:
        return grown[counter] // grown[pieces] if grown[pieces] else 0
    return int(grown[counter] / seconds) if seconds > 0 else 0
