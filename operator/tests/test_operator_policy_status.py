"""The status of a policy: accepted or not and why, who uses it, and times that stay while nothing turns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from helios_operator.policies import policy_status
from helios_operator.records import Stored, stored_of

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = datetime(2026, 11, 21, 13, tzinfo=UTC)


def policy(kind: str, spec: dict[str, Any], generation: int = 3) -> Stored:
    metadata = {"name": "one", "namespace": "shop", "uid": "u", "resourceVersion": "9", "generation": generation}
    value = {"apiVersion": "helios.heliosproxy.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
    return stored_of(value)


def accepted(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    (condition,) = policy_status(kind, policy(kind, spec), (), {}, NOW)["conditions"]
    assert condition["type"] == "Accepted"
    return dict(condition)


@pytest.mark.parametrize(
    ("kind", "spec", "expected", "sentence"),
    [
        ("PoolProfile", {"maxPoolSize": 5}, ("True", "Valid"), "acts on all of it"),
        ("PoolProfile", {"maxPoolSize": 5, "minIdle": 6}, ("False", "Invalid"), "minIdle must not exceed maxPoolSize"),
        ("PoolProfile", {"later": 1}, ("False", "UnknownField"), "spec.later"),
        ("RoutingRule", {"match": {"queryPattern": "x"}, "route": "any"}, ("True", "Valid"), "acts on all of it"),
        ("RoutingRule", {"match": {"queryPattern": "x"}, "route": "sync"}, ("True", "Valid"), "acts on all of it"),
        ("TenantQuota", {"maxConcurrentConnections": 1}, ("True", "Valid"), "acts on all of it"),
        ("TenantQuota", {"maxQueriesPerMinute": 1}, ("False", "NotActedOn"), "no tenant would be limited"),
    ],
)
def test_accepted_with_reason_and_sentence(
    kind: str, spec: dict[str, Any], expected: tuple[str, str], sentence: str
) -> None:
    found = accepted(kind, spec)

    assert (found["status"], found["reason"]) == expected
    assert sentence in found["message"]
    assert found["observedGeneration"] == 3


def test_users_are_sorted_and_cut_after_a_thousand() -> None:
    stored = policy("PoolProfile", {})

    found = policy_status("PoolProfile", stored, (f"web-{number:04d}" for number in range(1_200, 0, -1)), {}, NOW)

    assert found["usedBy"][0] == {"kind": "HeliosProxy", "name": "web-0001"}
    assert len(found["usedBy"]) == 1_000
    assert "usedBy" not in policy_status("PoolProfile", stored, (), {}, NOW)


def test_time_changes_only_when_the_condition_turns() -> None:
    good, bad = policy("PoolProfile", {"maxPoolSize": 5}), policy("PoolProfile", {"maxPoolSize": 5, "minIdle": 6}, 4)
    before = policy_status("PoolProfile", good, (), {}, NOW)

    same = policy_status("PoolProfile", good, ("web",), before, LATER)
    turned = policy_status("PoolProfile", bad, (), before, LATER)

    assert same["conditions"] == before["conditions"]
    assert turned["conditions"][0]["lastTransitionTime"] == "2026-11-21T13:00:00Z"
    assert turned["observedGeneration"] == 4
