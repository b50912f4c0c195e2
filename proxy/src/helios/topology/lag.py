"""How far a standby is behind its primary, in bytes of WAL and in milliseconds.

Called by `monitor` with each reading of a standby. The time is taken from the primary's own positions as this
proxy saw them, because the age of the last replayed transaction alone calls a standby hours late as soon as an
idle primary writes again, and compares the clocks of two machines.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["Lag", "WalHistory"]

_MAX_SAMPLES = 4096
"""Distinct positions kept: seventeen minutes at the default interval under constant writes, 64 KiB."""


@dataclass(frozen=True)
class Lag:
    """What a standby has not replayed; None where it cannot be known."""

    bytes: int | None
    milliseconds: float | None


class WalHistory:
    """Positions of one primary with the time they were seen; cleared when another node becomes primary."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=_MAX_SAMPLES)

    def clear(self) -> None:
        """Forget the positions: those of another primary do not compare."""
        self._samples.clear()

    def add(self, now: float, position: int) -> None:
        """Note that the primary had written up to `position` (bytes) at `now` (seconds, monotonic)."""
        if not self._samples or self._samples[-1][1] < position:
            self._samples.append((now, position))

    def lag(self, now: float, replayed: int, fallback_ms: float | None) -> Lag:
        """The lag of a standby that has replayed up to `replayed` at `now`.

        `fallback_ms` is the standby's own answer (age of the last transaction it replayed, 0 if it has replayed all
        it received): used without a primary, and when the lag is older than the history.
        """
        if not self._samples:
            return Lag(bytes=None, milliseconds=fallback_ms)
        behind = self._samples[-1][1] - replayed
        if behind <= 0:
            return Lag(bytes=0, milliseconds=0.0)
        if self._samples[0][1] > replayed:
            return Lag(bytes=behind, milliseconds=fallback_ms)
        missed_at = next(at for at, position in self._samples if position > replayed)
        return Lag(bytes=behind, milliseconds=(now - missed_at) * 1000)
