"""Whether a primary is gone: every combination of what it and its standbys show."""

from __future__ import annotations

import pytest

from helios.failover.judge import PrimaryEvidence, StandbyEvidence, is_led, judge
from helios.topology.probe import Silence

SILENCE_AFTER = 10.0


def primary(silence: Silence | None, failing: float = 60.0) -> PrimaryEvidence:
    return PrimaryEvidence("a", silence, failing, failures=2)


def standby(*, streaming: bool, heard: float | None = None, asks_after: float | None = 3.0) -> StandbyEvidence:
    return StandbyEvidence("b", streaming, heard, asks_after)


@pytest.mark.parametrize(
    ("silence", "failing", "standbys", "is_gone"),
    [
        (None, 0.0, [standby(streaming=False)], False),
        (Silence.ALIVE, 60.0, [standby(streaming=False)], False),
        (Silence.REFUSED, 0.0, [standby(streaming=False)], True),
        (Silence.REFUSED, 0.0, [standby(streaming=False), standby(streaming=True, heard=0.1)], False),
        (Silence.REFUSED, 60.0, [], False),
        (Silence.QUIET, 9.9, [standby(streaming=False)], False),
        (Silence.QUIET, 10.0, [standby(streaming=False)], True),
        (Silence.QUIET, 10.0, [standby(streaming=True, heard=9.9)], False),
        (Silence.QUIET, 10.0, [standby(streaming=True, heard=10.0)], True),
        (Silence.QUIET, 10.0, [standby(streaming=True, heard=10.0), standby(streaming=True, heard=1.0)], False),
        # An idle primary says nothing until it is asked, which happens late here, or never.
        (Silence.QUIET, 30.0, [standby(streaming=True, heard=30.0, asks_after=30.0)], False),
        (Silence.QUIET, 33.0, [standby(streaming=True, heard=32.1, asks_after=30.0)], True),
        (Silence.QUIET, 999.0, [standby(streaming=True, heard=999.0, asks_after=None)], False),
        # The monitor's role may not see when it heard.
        (Silence.QUIET, 999.0, [standby(streaming=True, heard=None)], False),
    ],
)
def test_silence_is_not_death(
    silence: Silence | None, failing: float, standbys: list[StandbyEvidence], is_gone: bool
) -> None:
    verdict = judge(primary(silence, failing), standbys, SILENCE_AFTER)

    assert verdict.is_gone is is_gone
    assert "a " in verdict.reason


@pytest.mark.parametrize(
    ("standbys", "count", "expected"),
    [
        ([standby(streaming=True, heard=0.1), standby(streaming=True, heard=9.0)], 2, True),
        ([standby(streaming=True, heard=0.1)], 2, False),
        ([standby(streaming=True, heard=0.1), standby(streaming=False)], 2, False),
        ([standby(streaming=True, heard=0.1), standby(streaming=True, heard=60.0)], 2, False),
        ([], 0, True),
    ],
)
def test_nobody_can_hold_a_primary_for_gone_that_all_standbys_hear(
    standbys: list[StandbyEvidence], count: int, *, expected: bool
) -> None:
    assert is_led(standbys, count, SILENCE_AFTER) is expected


def test_a_postmaster_that_closes_a_connection_may_only_start_anew() -> None:
    alone = [standby(streaming=False)]

    assert not judge(PrimaryEvidence("a", Silence.RESET, 0.1, failures=1), alone, SILENCE_AFTER).is_gone
    assert judge(PrimaryEvidence("a", Silence.RESET, 0.2, failures=2), alone, SILENCE_AFTER).is_gone
    assert judge(PrimaryEvidence("a", Silence.REFUSED, 0.1, failures=1), alone, SILENCE_AFTER).is_gone
