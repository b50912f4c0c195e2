"""Entries of `metadata.managedFields`, before an apply."""

from __future__ import annotations

from typing import Any

import pytest

from helios.kube.ownership import as_applied

STATUS = {"manager": "operator", "operation": "Apply", "subresource": "status", "fieldsV1": {"f:status": {}}}


def entry(operation: str, *fields: str, manager: str = "us") -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {f"f:{name}": {} for name in fields}}}


def test_a_create_becomes_an_apply() -> None:
    assert as_applied([entry("Update", "pool"), STATUS], "us") == [STATUS, entry("Apply", "pool")]


def test_a_create_joins_the_apply_that_is_there() -> None:
    """As with somebody's `kubectl edit` under our name."""
    made = as_applied([entry("Apply", "auth"), entry("Update", "pool"), STATUS], "us")

    assert made == [STATUS, entry("Apply", "auth", "pool")]


@pytest.mark.parametrize("entries", [[], [STATUS], [entry("Apply", "pool")], [entry("Apply", "pool"), STATUS]])
def test_what_was_applied_stays_ours(entries: list[dict[str, Any]]) -> None:
    """Or the next apply would leave what it leaves out."""
    assert as_applied(entries, "us") == entries


def test_others_keep_theirs() -> None:
    kubectl = entry("Update", "replicas", manager="kubectl")

    assert as_applied([kubectl, entry("Update", "pool")], "us") == [kubectl, entry("Apply", "pool")]
