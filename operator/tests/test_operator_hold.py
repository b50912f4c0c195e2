"""A hold is read strictly, ends at its time, and makes of a proxy what `paused` would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from operator_objects import config_of, proxy, rendered

from helios_operator.hold import Hold, HoldError, held, hold_finding, hold_of

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = Hold("ann", NOW + timedelta(minutes=10))


def test_what_is_written_is_what_is_read() -> None:
    assert hold_of(LATER.text) == LATER
    assert hold_of('{"by": "ann", "until": "2030-01-02T03:14:05"}') == LATER, "a time without a zone is UTC"
    assert hold_of(None) is None


@pytest.mark.parametrize(
    "text", ["", "for ever", "{}", "[]", "3", "null", '{"by": "ann"}', '{"by": "ann", "until": 3}', '{"until": "x"}']
)
def test_anything_else_is_refused_and_holds_nobody(text: str) -> None:
    with pytest.raises(HoldError, match="must be"):
        hold_of(text)
    finding = hold_finding(text, NOW)
    assert finding is not None
    assert (finding.status, finding.reason) == ("False", "Invalid")


def test_condition_is_there_until_the_end() -> None:
    finding = hold_finding(LATER.text, NOW)
    assert finding is not None
    assert finding.message == "clients wait between transactions, for ann, until 2030-01-02T03:14:05Z"
    assert hold_finding(LATER.text, LATER.until) is None
    assert not LATER.lasts(LATER.until + timedelta(seconds=1))


def test_it_is_paused_and_the_spec_is_not_touched() -> None:
    resource = proxy()
    config = rendered(held(resource)).config

    assert config == config_of(paused=True)
    assert resource.spec.paused is None
