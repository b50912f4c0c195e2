"""Autoscalers that are not the operator's, and what they write the number of pods of. Pure.

Called by `judge`, so by the reconciler and by the webhook alike. Two that scale the same pods would undo each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from helios.kube import Kind
from helios.kube.kinds import AUTOSCALER, DEPLOYMENT
from helios_crds import HeliosProxy
from helios_crds.problems import Problem, Reason, Severity
from helios_operator.names import PROXY, ProxyKey
from helios_operator.records import controller_of

__all__ = ["Scaler", "scaler_of", "scaling_problems"]

Json = Mapping[str, Any]
_TARGETS: Final = {(kind.group, kind.name): kind for kind in (DEPLOYMENT, PROXY)}


@dataclass(frozen=True, slots=True)
class Scaler:
    """A HorizontalPodAutoscaler of pods that may be ours."""

    name: str
    kind: Kind
    target: str
    """Name of the Deployment or HeliosProxy that it scales."""
    owner: str | None
    """uid of what controls it."""


def scaler_of(value: Json) -> Scaler | None:
    """The picture of a HorizontalPodAutoscaler; None for one of anything else than a Deployment or a HeliosProxy."""
    target = value["spec"]["scaleTargetRef"]
    group = str(target.get("apiVersion") or "").rpartition("/")[0]
    kind = _TARGETS.get((group, target["kind"]))
    if kind is None:
        return None
    return Scaler(value["metadata"]["name"], kind, target["name"], controller_of(value["metadata"]))


def scaling_problems(key: ProxyKey, uid: str | None, resource: HeliosProxy, known: Iterable[Scaler]) -> list[Problem]:
    """What is wrong with the autoscalers among `known` that are not that of the HeliosProxy `uid` itself."""
    others = sorted((each for each in known if each.target == key.name and (uid is None or each.owner != uid)), key=str)
    if resource.spec.autoscaling is not None:
        return [_clash(each) for each in others]
    return [_past_us(each) for each in others if each.kind is DEPLOYMENT]


def _clash(other: Scaler) -> Problem:
    message = (
        f"{AUTOSCALER.name}/{other.name} scales {other.kind.name}/{other.target} as well: two would undo each other"
    )
    hint = "delete it, or leave autoscaling out"
    return Problem(message, "spec.autoscaling", hint, reason=Reason.AUTOSCALERS_CLASH)


def _past_us(other: Scaler) -> Problem:
    message = (
        f"{AUTOSCALER.name}/{other.name} scales Deployment/{other.target}, which has as many pods as replicas says"
    )
    hint = f"have it scale {PROXY.name}/{other.target}"
    return Problem(message, "spec.replicas", hint, reason=Reason.AUTOSCALERS_CLASH, severity=Severity.WARNING)
