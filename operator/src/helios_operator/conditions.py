"""Conditions in Kubernetes' standard form, made of findings. Pure; read by the status of proxies and of policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from helios_crds.problems import Problem

__all__ = ["Finding", "conditions_of", "time_text", "told"]

MAX_MESSAGE: Final = 4_000
"""Characters."""
Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was observed: a condition without its times."""

    type: str
    status: Truth
    reason: str
    message: str


def told(problems: Iterable[Problem]) -> str:
    """Problems as one sentence."""
    return "; ".join(str(problem) for problem in problems)


def conditions_of(
    findings: Iterable[Finding], generation: int, before: Mapping[str, Any], now: datetime
) -> list[dict[str, Any]]:
    """Conditions of the resource's `generation`; the time of one that did not turn is that in `before`, its status."""
    old = {each["type"]: each for each in before.get("conditions") or ()}
    made = []
    for each in findings:
        same = old.get(each.type)
        turned = same is None or same["status"] != each.status
        made.append(
            {
                "type": each.type,
                "status": each.status,
                "reason": each.reason,
                "message": each.message[:MAX_MESSAGE],
                "lastTransitionTime": time_text(now) if turned or same is None else same["lastTransitionTime"],
                "observedGeneration": generation,
            }
        )
    return made


def time_text(moment: datetime) -> str:
    """A moment as Kubernetes writes it, in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
