"""Resources as other documents of the original product write them, in the form that Helios takes. Pure.

Called by `helios.commands.convert`. The original's pages disagree on group, version and field names; the tables here
are the whole knowledge of that. What has no place in today's form is left out, with a note for each.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final

from helios.config.base import split_address
from helios.config.tree import Finding, Path, Tree, get, put, remove

__all__ = ["API_VERSIONS", "FEATURES", "LEFT_OUT", "MOVED", "today"]

API_VERSIONS: Final = ("heliosproxy.heliosdatabase.io/v1", "heliosproxy.dev/v1alpha1")
"""Groups and versions of the original's other documents."""

FEATURES: Final = {
    "audit-chain": "auditChain",
    "ha-tr": "tr",
    "pool-modes": "poolModes",
    "query-cache": "queryCache",
    "rate-limiting": "rateLimiting",
}
"""Words of a `features` list → switches of today's `features`."""

MOVED: Final[dict[Path, Path]] = {
    ("spec", "service", "pgPort"): ("spec", "listenPort"),
    ("spec", "service", "adminPort"): ("spec", "adminPort"),
}
"""Old field → new field of a HeliosProxy."""

LEFT_OUT: Final[dict[Path, str]] = {
    ("spec", "ha"): "Helios does not promote a standby by itself yet",
    ("spec", "podDisruptionBudget"): "create one of your own",
    ("spec", "service"): "the Service is of type ClusterIP; create one of another type beside it",
}
"""Fields of a HeliosProxy without a place in today's form, and what to do instead."""


def today(document: Any, api_version: str) -> tuple[Any, list[Finding]]:
    """A copy of `document` in today's form (`api_version`), and a note for each change that needs a person's eye.

    Documents of other groups, and what is no resource at all, come back as they are.
    """
    if not isinstance(document, dict) or not isinstance(document.get("spec"), dict):
        return document, []
    if document.get("apiVersion") not in (*API_VERSIONS, api_version):
        return document, []
    converted = copy.deepcopy(document)
    converted["apiVersion"] = api_version
    convert = _KINDS.get(str(document.get("kind")))
    notes = convert(converted) if convert is not None else []
    return converted, notes


def _helios_proxy(tree: Tree) -> list[Finding]:
    notes = [*_features(tree), *_nodes(tree)]
    for old, new in MOVED.items():
        value = get(tree, old)
        if value is not None and get(tree, new) is None:
            put(tree, new, value)
        if value is not None:
            _drop(tree, old)
    if get(tree, ("spec", "service")) == {"type": "ClusterIP"}:
        remove(tree, ("spec", "service"))
    for path, instead in LEFT_OUT.items():
        if get(tree, path) is not None:
            remove(tree, path)
            notes.append(Finding(path, "has no place in today's form and is left out", instead))
    if get(tree, ("spec", "auth")) is None:
        message = "is missing: the original passed passwords through, Helios asks for them itself"
        hint = 'name a Secret with lines "user" "secret" in auth.usersSecretRef, or set auth.method: trust'
        notes.append(Finding(("spec", "auth"), message, hint))
    return notes


def _features(tree: Tree) -> list[Finding]:
    features = get(tree, ("spec", "features"))
    if not isinstance(features, list):
        return []
    known = {FEATURES[word]: True for word in features if isinstance(word, str) and word in FEATURES}
    put(tree, ("spec", "features"), known)
    if not known:
        remove(tree, ("spec", "features"))
    return [
        Finding(("spec", "features", index), f'"{word}" has no switch in today\'s form and is left out')
        for index, word in enumerate(features)
        if word not in FEATURES
    ]


def _nodes(tree: Tree) -> list[Finding]:
    notes: list[Finding] = []
    nodes = get(tree, ("spec", "nodes"))
    for index, node in enumerate(nodes if isinstance(nodes, list) else ()):
        if not isinstance(node, dict):
            continue
        if node.get("role") == "replica":
            node["role"] = "standby"
        if isinstance(node.get("address"), str) and "host" not in node:
            try:
                host, port = split_address(node["address"])
            except ValueError as error:
                notes.append(Finding(("spec", "nodes", index, "address"), str(error)))
                continue
            rest = {key: value for key, value in node.items() if key != "address"}
            node.clear()
            node.update({"host": host, "port": port} | rest)
    return notes


def _tenant_quota(tree: Tree) -> list[Finding]:
    """`100_000_000` is a number to a person and a string to Kubernetes."""
    for name, value in tree["spec"].items():
        digits = value.replace("_", "") if isinstance(value, str) else ""
        if digits.isascii() and digits.isdigit():
            tree["spec"][name] = int(digits)
    return []


def _drop(tree: Tree, path: Path) -> None:
    """Remove a field, and its block where that leaves it empty."""
    remove(tree, path)
    if get(tree, path[:-1]) == {}:
        remove(tree, path[:-1])


_KINDS: Final[dict[str, Callable[[Tree], list[Finding]]]] = {
    "HeliosProxy": _helios_proxy,
    "TenantQuota": _tenant_quota,
}
