"""A hold is read strictly, ends at its time, and makes of a proxy what `maintenance` would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from operator_objects import config_of, proxy, rendered

from helios.config import MaintenanceMode
from helios_operator.hold import Hold, HoldError, held, hold_finding, hold_of

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = Hold("ann", NOW + timedelta(minutes=10))


def test_what_is_written_is_what_is_read() -> None:
    assert hold_of(LATER.text) == LATER
    assert hold_of('{"by": "ann", "until": "2030-01-02T03:14:05"}') == LATER, "a time without a zone is UTC"
    assert hold_of(None) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"by": "ann", "until": "2030-01-02T03:14:05", "mode": "stop"}',
        "",
        "for ever",
        "{}",
        "[]",
        "3",
        "null",
        '{"by": "ann"}',
        '{"by": "ann", "until": 3}',
        '{"until": "x"}',
    ],
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


@pytest.mark.parametrize("mode", MaintenanceMode)
def test_it_is_a_maintenance_and_the_spec_is_not_touched(mode: MaintenanceMode) -> None:
    resource = proxy()
    hold = Hold("ann", LATER.until, mode)
    config = rendered(held(resource, hold)).config

    assert config == config_of(maintenance={"mode": mode.value})
    assert resource.spec.maintenance is None
    assert hold_of(hold.text) == hold


def test_condition_tells_of_the_spec_where_nobody_holds() -> None:
    finding = hold_finding(None, NOW, MaintenanceMode.REJECT)

    assert finding is not None
    assert (finding.reason, finding.message) == ("Rejecting", "new clients are refused, as spec.maintenance says")
    over = hold_finding(LATER.text, NOW, MaintenanceMode.REJECT)
    assert over is not None
    assert over.reason == "Held", "a hold goes before the spec"
