"""Autoscalers that scale our pods beside or past the operator's."""

from __future__ import annotations

from typing import Any

import pytest
from operator_objects import KEY, OWNER, proxy

from helios_crds.problems import Problem, Severity
from helios_operator.scaling import Scaler, scaler_of, scaling_problems

OURS = "helios.heliosproxy.dev/v1alpha1"


def scaler(kind: str, api_version: str, name: str = KEY.name, owner: str | None = None) -> Scaler | None:
    metadata: dict[str, Any] = {"name": "load"}
    if owner is not None:
        metadata["ownerReferences"] = [{"uid": owner, "controller": True}]
    target = {"apiVersion": api_version, "kind": kind, "name": name}
    return scaler_of({"metadata": metadata, "spec": {"scaleTargetRef": target}})


def problems(known: Scaler | None, **spec: Any) -> list[Problem]:
    return scaling_problems(KEY, OWNER.uid, proxy(**spec), [known] if known else [])


@pytest.mark.parametrize(("kind", "version"), [("Deployment", "apps/v1"), ("HeliosProxy", OURS)])
def test_two_autoscalers_are_refused(kind: str, version: str) -> None:
    (problem,) = problems(scaler(kind, version), autoscaling={"maxReplicas": 3})

    assert problem.severity is Severity.ERROR
    assert str(problem).startswith(f"spec.autoscaling: HorizontalPodAutoscaler/load scales {kind}/web as well")
    assert problems(scaler(kind, version, "other"), autoscaling={"maxReplicas": 3}) == []
    assert problems(scaler(kind, version, owner=OWNER.uid), autoscaling={"maxReplicas": 3}) == []
    assert problems(scaler(kind, version, owner="another"), autoscaling={"maxReplicas": 3}) != []


def test_one_of_the_users_own_is_to_scale_the_resource() -> None:
    (problem,) = problems(scaler("Deployment", "apps/v1"))

    assert (problem.severity, problem.hint) == (Severity.WARNING, "have it scale HeliosProxy/web")
    assert problems(scaler("HeliosProxy", OURS)) == []


def test_what_scales_something_else_is_none_of_ours() -> None:
    assert scaler("StatefulSet", "apps/v1") is None
    assert scaler("Deployment", "example.com/v1") is None
