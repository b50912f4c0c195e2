"""A field enters a CRD together with the code that acts on it.

Every leaf of every spec is set and changed. It must change the rendered configuration, the workload, the files or the
discoveries that `helios play` and the operator act on, or be refused by a problem that says this version does not act
on it. What does neither stands in EXCEPTIONS, with the gap, and may not stand there longer than needed.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from helios_crds import API_VERSION, KINDS, AuditPolicy, HeliosProxy, Reason, TenantQuota, parse_as
from helios_crds.base import Resource
from helios_crds.node import Node, tree
from helios_crds.render import References, render
from helios_crds.unsupported import unsupported
from helios_crds.workload import workload

EXCEPTIONS: dict[str, str] = {}
"""`Kind:path` → the gap, in the words of an issue. Empty: every field acts or is refused."""

BASE: dict[str, dict[str, Any]] = {
    "HeliosProxy": {"nodes": [{"host": "db"}], "auth": {"method": "trust"}},
    "PoolProfile": {},
    "RoutingRule": {"match": {"queryPattern": "^select"}, "route": "primary"},
    "AuditPolicy": {"backend": {"type": "s3", "bucket": "records", "region": "eu"}},
    "TenantQuota": {"maxConcurrentConnections": 60},
}
"""The smallest spec of each kind that renders."""

CLUSTER = {"name": "one", "nodes": [{"host": "db"}]}
AROUND: dict[str, dict[str, Any]] = {
    "spec.auth": {
        "method": "trust",
        "usersSecretRef": {"name": "users"},
        "queryUser": "asker",
        "ident": [{"map": name, "systemUser": "x", "databaseUser": "y"} for name in ("alpha", "beta")],
    },
    "spec.auth.hbaSecretRef": {"auth": {"usersSecretRef": {"name": "users"}}},
    "spec.clusters": {"nodes": None, "clusters": [CLUSTER]},
    "spec.clusters[].patroniUrls": {"clusters": [{**CLUSTER, "provider": "patroni"}]},
    "spec.clusters[].discovery": {"clusters": [{"name": "one", "discovery": {"serviceName": "db"}}]},
    "spec.clusters[].discovery.clusterName": {
        "clusters": [{"name": "one", "provider": "zalando", "discovery": {"clusterName": "db"}}]
    },
    "spec.databases": {"databases": [{"name": "app", "user": "app"}]},
    "spec.databases[].cluster": {"nodes": None, "clusters": [CLUSTER, {**CLUSTER, "name": "two"}]},
    "spec.monitor": {"monitor": {"user": "watch"}},
    "spec.autoscaling": {"autoscaling": {"maxReplicas": 9}},
    "spec.tls": {
        "tls": {
            "mode": "allow",
            "secretRef": {"name": "shown"},
            "clientAuth": "optional",
            "clientCaSecretRef": {"name": "trusted"},
            "crlSecretRef": {"name": "revoked"},
        }
    },
    "spec.tls.certificate": {
        "tls": {"mode": "allow", "secretRef": None, "certificate": {"issuerRef": {"name": "who"}}}
    },
    "spec.routing.consistencyKeys": {
        "routing": {"consistencyKeys": {"url": "rediss://redis", "caSecretRef": {"name": "trusted"}}}
    },
    "spec.serverTls": {"serverTls": {"mode": "verify-ca", "caSecretRef": {"name": "trusted"}}},
    "spec.clusters[].serverTls": {
        "clusters": [{**CLUSTER, "serverTls": {"mode": "verify-ca", "caSecretRef": {"name": "trusted"}}}]
    },
    "spec.plugins": {"plugins": {"enabled": True}},
    "spec.match": {"match": {"queryPattern": "^select"}},
}
"""Siblings without which a field is not allowed or asks for nothing, put over BASE for every leaf below the path."""
AROUND["spec.auth"] = {"auth": AROUND["spec.auth"]}

VALUES: dict[str, tuple[Any, Any]] = {
    "spec.databases[].cluster": ("one", "two"),
    "spec.clusters[].name": ("one", "two"),
    "spec.clusters[].patroniUrls[]": ("http://db-1:8008", "http://db-2:8008"),
    "spec.clusters[].dnsNames[]": ("db-1:5432", "db-2:5432"),
    "spec.auth.method": ("trust", "md5"),
    "spec.routing.consistencyKeys.url": ("rediss://one", "rediss://two"),
    "spec.tls.mode": ("allow", "require"),
    "spec.tls.clientAuth": ("optional", "required"),
    "spec.monitor.intervalMillis": (100, 200),
    "spec.plugins.enabled": (True, True),
    "spec.autoscaling.minReplicas": (3, 4),
    "spec.networkPolicy.extraEgress[].cidr": ("10.0.0.0/8", "10.1.0.0/16"),
    "cidr": ("10.0.0.0/8", "10.1.0.0/16"),
    "spec.limits.maxServerConnections": (60, 120),
    "spec.maxConcurrentConnections": (60, 120),
    "spec.consistency": ("bounded", "eventual"),
}
WORDS: dict[str, tuple[Any, Any]] = {
    "integer": (60, 61),
    "boolean": (True, False),
    "int-or-string": ("250m", "1"),
    "open": ({"spec": {"hostNetwork": True}}, {"spec": {"hostNetwork": False}}),
}


def spec_leaves() -> Iterator[tuple[str, tuple[str, ...]]]:
    for kind, model in KINDS.items():
        for path, _ in tree(model).properties["spec"].leaves():
            yield kind, ("spec", *path)


def shown(path: tuple[str, ...]) -> str:
    return ".".join(path).replace(".[]", "[]")


def two_values(path: tuple[str, ...], node: Node) -> tuple[Any, Any]:
    if shown(path) in VALUES:
        return VALUES[shown(path)]
    if "enum" in node.bounds:
        return node.bounds["enum"][0], node.bounds["enum"][-1]
    if node.kind == "integer":
        low, high = node.bounds["minimum"], node.bounds["maximum"]
        return (60, 61) if low <= 60 < high else (low, low + 1)
    return WORDS.get(node.kind, ("alpha", "beta"))


def with_leaf(kind: str, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The smallest spec of `kind` in which the leaf at `path` is `value`; None leaves it out."""
    spec = copy.deepcopy(BASE[kind])
    for prefix, around in AROUND.items():
        if shown(path).startswith(prefix):
            spec |= copy.deepcopy(around)
    place(tree(KINDS[kind]).properties["spec"], spec, path[1:], value)
    return {key: child for key, child in spec.items() if child is not None}


def place(node: Node, target: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    name, rest = path[0], path[1:]
    child = node.properties[name]
    if not rest:
        target.pop(name, None)
        if value is not None:
            target[name] = value
    elif rest[0] != "[]":
        target[name] = target.get(name) or required(child)
        place(child, target[name], rest, value)
    elif child.kind == "map":
        target[name] = {} if value is None else {"cpu": value}
    elif len(rest) == 1:
        target[name] = [] if value is None else [value]
    else:
        assert child.items is not None
        target[name] = target.get(name) or [required(child.items)]
        place(child.items, target[name][0], rest[1:], value)


def required(node: Node) -> dict[str, Any]:
    """The required fields of an object, with the first of their two values."""
    return {name: two_values((name,), child)[0] for name, child in node.properties.items() if name in node.required}


def resource(kind: str, spec: Mapping[str, Any], name: str = "alpha") -> Any:
    return parse_as(KINDS[kind], {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec})


def friends() -> list[Resource]:
    """Everything a HeliosProxy may refer to, under both names that leaves get."""
    made: list[Resource] = [resource("PoolProfile", {"maxPoolSize": size}, name) for name, size in NAMES]
    made += [resource("TenantQuota", {"maxConcurrentConnections": 10 * size}, name) for name, size in NAMES]
    for kind in ("RoutingRule", "AuditPolicy"):
        made += [resource(kind, BASE[kind], name) for name, _ in NAMES]
    return made


NAMES = (("alpha", 7), ("beta", 8))


def outcome(subject: Resource) -> tuple[object, frozenset[str]]:
    """(what will run, texts of what is refused as not acted on)."""
    if isinstance(subject, AuditPolicy):
        return None, frozenset(str(problem) for problem in unsupported(subject))
    proxy = subject if isinstance(subject, HeliosProxy) else resource("HeliosProxy", PROFILED)
    found = [subject, *(friend for friend in friends() if type(friend) is not type(subject))]
    result = render(proxy, References.among(found, discovered=DISCOVERED))
    told = (*result.problems, *(unsupported(subject) if isinstance(subject, TenantQuota) else ()))
    refused = frozenset(str(problem) for problem in told if problem.reason is Reason.NOT_ACTED_ON)
    runs = (result.config, workload(proxy), result.secret_files, result.discoveries)
    return runs, refused


PROFILED = {
    **BASE["HeliosProxy"],
    "poolProfileRef": {"name": "alpha"},
    "routingRuleRefs": [{"name": "alpha"}],
    "tenantQuotaRefs": [{"name": "alpha"}],
}
DISCOVERED = {"one": ()}


def is_named(path: tuple[str, ...], refused: frozenset[str]) -> bool:
    """Whether a refusal is about exactly this leaf: by its own path, or as the target of a reference."""
    leaf = (
        shown(path).replace("[]", "[0]").removesuffix("[0]") if path[-1] == "[]" else shown(path).replace("[]", "[0]")
    )
    reference = leaf.removesuffix(".name")
    return any(
        text.startswith((f"{leaf}:", f"{reference}:")) or f"{leaf}," in text or f"{leaf})" in text for text in refused
    )


def acts(kind: str, path: tuple[str, ...]) -> bool:
    node = tree(KINDS[kind])
    for step in path:
        below = node.items if step == "[]" else node.properties[step]
        assert below is not None
        node = below
    first, second = two_values(path, node)
    runs, refused = outcome(resource(kind, with_leaf(kind, path, first)))
    other, _ = outcome(resource(kind, with_leaf(kind, path, second)))
    return runs != other or is_named(path, refused)


LEAVES = [pytest.param(kind, path, id=f"{kind}:{shown(path)}") for kind, path in spec_leaves()]


@pytest.mark.parametrize(("kind", "path"), LEAVES)
def test_every_leaf_acts_or_is_refused(kind: str, path: tuple[str, ...]) -> None:
    assert acts(kind, path) != (f"{kind}:{shown(path)}" in EXCEPTIONS)


def test_exceptions_name_leaves_that_exist() -> None:
    assert EXCEPTIONS.keys() <= {f"{kind}:{shown(path)}" for kind, path in spec_leaves()}


def test_the_test_itself_sees_a_field_that_does_nothing() -> None:
    """Two values of which neither changes anything count as not acting."""
    runs, refused = outcome(resource("HeliosProxy", {**BASE["HeliosProxy"], "features": {"tr": False}}))

    assert runs == outcome(resource("HeliosProxy", BASE["HeliosProxy"]))[0]
    assert not is_named(("spec", "features", "tr"), refused)
