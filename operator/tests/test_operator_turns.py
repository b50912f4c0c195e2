"""Which turns of conditions become Events: each once, and none while nothing turns."""

from __future__ import annotations

from typing import Any

from helios_operator.events import Turn, turns_of


def status(hash: str, **conditions: tuple[str, str]) -> dict[str, Any]:
    """A status with conditions by type: (status, reason)."""
    listed = [
        {"type": type, "status": truth, "reason": reason, "message": f"{reason} of {hash}"}
        for type, (truth, reason) in conditions.items()
    ]
    return {"configHash": hash, "conditions": listed}


def test_configuration_in_force_is_told_once_for_each_document() -> None:
    going = status("a", ConfigInForce=("False", "RollingOut"))
    first = status("a", ConfigInForce=("True", "InForce"))
    second = status("b", ConfigInForce=("True", "InForce"))

    assert turns_of({}, going) == []
    assert turns_of(going, first) == [Turn("Normal", "ConfigRolledOut", "InForce of a")]
    assert turns_of(first, first) == []
    assert turns_of(first, second) == [Turn("Normal", "ConfigRolledOut", "InForce of b")]


def test_refusal_is_told_when_it_begins() -> None:
    valid, refused = status("a", ConfigValid=("True", "Valid")), status("b", ConfigValid=("False", "RefusedByPod"))

    assert turns_of(valid, refused) == [Turn("Warning", "RefusedByPod", "RefusedByPod of b")]
    assert turns_of(refused, refused) == []
    assert turns_of(refused, valid) == []


def test_stalling_is_told_with_each_new_reason() -> None:
    going, foreign = status("a"), status("a", Stalled=("True", "InvalidOwnership"))
    missing = status("a", Stalled=("True", "RefMissing"))

    assert turns_of(going, foreign) == [Turn("Warning", "InvalidOwnership", "InvalidOwnership of a")]
    assert turns_of(foreign, foreign) == []
    assert turns_of(foreign, missing) == [Turn("Warning", "RefMissing", "RefMissing of a")]
    assert turns_of(missing, going) == []
