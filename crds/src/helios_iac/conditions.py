"""What an object's conditions say about a wait for it. Pure; called by `operations`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from helios_iac.fields import ResourceType

__all__ = ["Verdict", "progress", "verdict"]


@dataclass(frozen=True)
class Verdict:
    """Whether the wait is over."""

    done: bool
    """The condition is true for this very generation."""
    refused: bool = False
    """It will not become true without another change."""
    why: str = "the operator has not looked at it yet"
    """The condition's own words."""


def verdict(resource: ResourceType, live: Mapping[str, Any]) -> Verdict:
    """What the conditions of `live` say."""
    generation = live["metadata"].get("generation", 0)
    conditions = _conditions(live)
    wanted = conditions.get(resource.ready)
    if wanted is None:
        return Verdict(done=False)
    why = _words(wanted)
    observed = wanted.get("observedGeneration") or (live.get("status") or {}).get("observedGeneration") or 0
    if observed < generation:
        return Verdict(done=False, why=f"{why} (of generation {observed}, waiting for {generation})")
    if wanted.get("status") == "True":
        return Verdict(done=True, why=why)
    # Accepted is the operator's judgement of the text: it does not change while the text does not.
    return Verdict(done=False, refused=resource.ready == "Accepted", why=why)


def progress(live: Mapping[str, Any]) -> str:
    """All conditions in one line."""
    return "; ".join(_words(each) for each in _conditions(live).values()) or "no condition yet"


def _conditions(live: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {str(each.get("type")): each for each in (live.get("status") or {}).get("conditions") or ()}


def _words(condition: Mapping[str, Any]) -> str:
    message = condition.get("message")
    said = f"{condition.get('type')}={condition.get('status')} ({condition.get('reason')})"
    return f"{said}: {message}" if message else said
