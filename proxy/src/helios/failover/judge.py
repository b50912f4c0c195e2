"""Whether a primary is gone: silence is not death. Pure.

Called by `controller` after every poll of a cluster that has a primary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from helios.topology.probe import Silence

__all__ = ["PrimaryEvidence", "StandbyEvidence", "Verdict", "is_led", "judge"]

_MARGIN_SECONDS = 2.0
"""How much later than due a sign of life that a standby asks for may come."""


_MOST_RESETS = 1
"""Polls in a row that a postmaster may close that is there: one that starts anew closes what has just come, then says
what it does."""


@dataclass(frozen=True)
class PrimaryEvidence:
    """What polls of the primary say."""

    name: str
    silence: Silence | None
    """How it does not answer; None while it does."""
    failing_seconds: float
    """Since the first poll that failed."""
    failures: int
    """Polls that have failed in a row."""


@dataclass(frozen=True)
class StandbyEvidence:
    """What a poll of a standby said that was begun after the primary failed."""

    name: str
    is_streaming: bool
    heard_seconds: float | None
    """Since it last heard from its primary."""
    asks_after_seconds: float | None
    """Without a word for so long it asks for a sign of life, as a primary may have nothing to say; None: never."""


@dataclass(frozen=True)
class Verdict:
    """The outcome; `reason` is for people."""

    is_gone: bool
    reason: str


def judge(primary: PrimaryEvidence, standbys: Sequence[StandbyEvidence], silence_after_seconds: float) -> Verdict:
    """Decide. `standbys` are only those that answer."""
    if primary.silence is None or primary.silence is Silence.ALIVE:
        return Verdict(False, f"{primary.name} answers")
    if not standbys:
        return Verdict(False, f"{primary.name} cannot be asked, and no standby has answered since")
    if primary.silence is Silence.RESET and primary.failures <= _MOST_RESETS:
        return Verdict(False, f"{primary.name} has closed a connection")
    streaming = [standby for standby in standbys if standby.is_streaming]
    if primary.silence in (Silence.REFUSED, Silence.RESET):
        if not streaming:
            return Verdict(True, f"{primary.name} refuses connections, and no standby streams from it")
        names = _names(streaming)
        return Verdict(False, f"{primary.name} refuses connections, but {names} still stream(s) from it")
    return _of_silence(primary, standbys, silence_after_seconds)


def is_led(standbys: Sequence[StandbyEvidence], count: int, silence_after_seconds: float) -> bool:
    """Whether nobody can hold the primary for gone: all `count` standbys answer and may hear from it."""
    hearing = [each for each in standbys if each.is_streaming and not _is_deaf(each, silence_after_seconds)]
    return len(hearing) == count


def _of_silence(primary: PrimaryEvidence, standbys: Sequence[StandbyEvidence], silence_after_seconds: float) -> Verdict:
    if primary.failing_seconds < silence_after_seconds:
        return Verdict(False, f"{primary.name} is silent for {primary.failing_seconds:.1f} s")
    streaming = [standby for standby in standbys if standby.is_streaming]
    if not streaming:
        return Verdict(True, f"{primary.name} is silent, and no standby streams from it")
    hearing = [each for each in streaming if not _is_deaf(each, silence_after_seconds)]
    if hearing:
        return Verdict(False, f"{primary.name} is silent here, but {_names(hearing)} may hear from it")
    return Verdict(True, f"{primary.name} is silent, and no standby has heard from it for as long as it might be")


def _is_deaf(standby: StandbyEvidence, silence_after_seconds: float) -> bool:
    """Whether it has not heard from its primary although it must have asked."""
    if standby.heard_seconds is None or standby.asks_after_seconds is None:
        return False
    return standby.heard_seconds >= max(silence_after_seconds, standby.asks_after_seconds + _MARGIN_SECONDS)


def _names(standbys: Sequence[StandbyEvidence]) -> str:
    return " and ".join(standby.name for standby in standbys)
