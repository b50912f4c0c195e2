"""Every CEL rule, evaluated by a CEL interpreter and by its Python twin on the same good and bad objects."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import celpy
import pytest
from celpy.adapter import json_to_cel

from helios_crds import API_VERSION, KINDS, Document, ResourceError, parse
from helios_crds.base import PROXY_NAME_LENGTH
from helios_crds.markers import Rule
from helios_crds.node import tree


@dataclass(frozen=True)
class Cases:
    """Values of `self`; for a transition, pairs of (oldSelf, self)."""

    good: tuple[Any, ...]
    bad: tuple[Any, ...]


def node(host: str, **more: object) -> dict[str, object]:
    return {"host": host, "port": 5432, **more}


def named(name: str) -> dict[str, object]:
    return {"metadata": {"name": name}}


NODES = [node("a"), node("b")]
CLUSTERS = [{"name": "one"}, {"name": "two"}]
S3 = {"type": "s3", "bucket": "records", "region": "eu"}

CASES: dict[str, Cases] = {
    "proxy-name": Cases(
        (named("web"), named("a"), named("a-1"), named("x" * PROXY_NAME_LENGTH)),
        (named("x" * (PROXY_NAME_LENGTH + 1)), named("1a"), named("a.b"), named("a-"), named("-a"), named("A")),
    ),
    "nodes-xor-clusters": Cases(
        (
            {},
            {"nodes": NODES},
            {"clusters": CLUSTERS},
            {"nodes": [], "clusters": CLUSTERS},
            {"nodes": NODES, "clusters": []},
        ),
        ({"nodes": NODES, "clusters": CLUSTERS},),
    ),
    "one-promotes": Cases(
        (
            {},
            {"provider": "patroni"},
            {"failover": {}, "provider": "patroni"},
            {"failover": {"enabled": False}, "clusters": [{"name": "one", "provider": "rds"}]},
            {"failover": {"enabled": True}, "provider": "static"},
            {"failover": {"enabled": True}, "clusters": [{"name": "one"}, {"name": "two", "provider": "static"}]},
        ),
        (
            {"failover": {"enabled": True}, "provider": "cloudnativepg"},
            {"failover": {"enabled": True}, "clusters": [{"name": "one"}, {"name": "two", "provider": "zalando"}]},
        ),
    ),
    "provider-of-nodes": Cases(
        ({}, {"provider": "rds"}, {"provider": "rds", "clusters": []}, {"clusters": CLUSTERS}),
        ({"provider": "rds", "clusters": CLUSTERS},),
    ),
    "ports-differ": Cases(
        ({}, {"listenPort": 1}, {"adminPort": 1}, {"listenPort": 1, "adminPort": 2}),
        ({"listenPort": 1, "adminPort": 1},),
    ),
    "read-port-differs": Cases(
        ({}, {"readListenPort": 1}, {"listenPort": 1, "adminPort": 2, "readListenPort": 3}),
        ({"listenPort": 1, "readListenPort": 1}, {"adminPort": 1, "readListenPort": 1}),
    ),
    "database-cluster": Cases(
        (
            {},
            {"databases": [{"name": "a"}]},
            {"databases": [{"name": "a", "cluster": "main"}]},
            {"clusters": [], "databases": [{"name": "a", "cluster": "main"}, {"name": "b"}]},
            {"clusters": CLUSTERS[:1], "databases": [{"name": "a"}]},
            {"clusters": CLUSTERS, "databases": [{"name": "a", "cluster": "two"}, {"name": "*", "cluster": "one"}]},
        ),
        (
            {"databases": [{"name": "a", "cluster": "one"}]},
            {"clusters": CLUSTERS, "databases": [{"name": "a"}]},
            {"clusters": CLUSTERS, "databases": [{"name": "a", "cluster": "three"}]},
            {"clusters": CLUSTERS[:1], "databases": [{"name": "a", "cluster": "main"}]},
        ),
    ),
    "clusters-need-databases": Cases(
        ({}, {"clusters": CLUSTERS[:1]}, {"clusters": CLUSTERS, "databases": [{"name": "a", "cluster": "one"}]}),
        ({"clusters": CLUSTERS}, {"clusters": CLUSTERS, "databases": []}),
    ),
    "pool-modes-off": Cases(
        (
            {},
            {"features": {}},
            {"features": {"poolModes": True}, "pool": {"mode": "statement"}},
            {"features": {"poolModes": False}},
            {"features": {"poolModes": False}, "pool": {}},
            {"features": {"poolModes": False}, "pool": {"mode": "session"}},
            {
                "features": {"poolModes": False},
                "databases": [{"name": "a"}, {"name": "b", "pool": {"mode": "session"}}],
            },
        ),
        (
            {"features": {"poolModes": False}, "pool": {"mode": "transaction"}},
            {"features": {"poolModes": False}, "databases": [{"name": "b", "pool": {"mode": "statement"}}]},
        ),
    ),
    "autoscaling-range": Cases(
        ({"maxReplicas": 2}, {"minReplicas": 1, "maxReplicas": 1}, {"minReplicas": 3, "maxReplicas": 9}),
        ({"maxReplicas": 1}, {"minReplicas": 3, "maxReplicas": 2}),
    ),
    "scraped-once": Cases(
        ({}, {"podMonitor": True}, {"podMonitor": False, "serviceMonitor": True}, {"prometheusRule": True}),
        ({"podMonitor": True, "serviceMonitor": True},),
    ),
    "server-connections-for-pods": Cases(
        (
            {},
            {"replicas": 5},
            {"limits": {}, "replicas": 5},
            {"limits": {"maxServerConnections": 3}},
            {"limits": {"maxServerConnections": 6}, "replicas": 5},
            {"limits": {"maxServerConnections": 6}, "replicas": 9, "autoscaling": {"maxReplicas": 5}},
        ),
        (
            {"limits": {"maxServerConnections": 5}, "replicas": 2, "autoscaling": {"maxReplicas": 5}},
            {"limits": {"maxServerConnections": 2}},
            {"limits": {"maxServerConnections": 5}, "replicas": 5},
        ),
    ),
    "refs-differ": Cases(
        ([{"name": "a"}], [{"name": "a"}, {"name": "b"}]),
        ([{"name": "a"}, {"name": "b"}, {"name": "a"}],),
    ),
    "one-primary": Cases(
        ([], NODES, [node("a", role="primary"), node("b", role="standby"), node("c")]),
        ([node("a", role="primary"), node("b", role="primary")],),
    ),
    "node-names": Cases(
        ([], NODES, [node("a", name="x"), node("b"), node("c", name="y")]),
        ([node("a", name="x"), node("b", name="x")],),
    ),
    "cluster-nodes-or-discovery": Cases(
        ({"name": "a", "nodes": NODES}, {"name": "a", "discovery": {"serviceName": "db"}}),
        ({"name": "a"}, {"name": "a", "nodes": []}, {"name": "a", "nodes": NODES, "discovery": {"serviceName": "db"}}),
    ),
    "discovery-one-source": Cases(
        ({"serviceName": "db"}, {"clusterName": "db"}),
        ({}, {"serviceName": "db", "clusterName": "db"}),
    ),
    "cluster-name-needs-provider": Cases(
        (
            {"name": "a", "discovery": {"serviceName": "db"}},
            {"name": "a", "provider": "rds", "discovery": {"serviceName": "db"}},
            *(
                {"name": "a", "provider": provider, "discovery": {"clusterName": "db"}}
                for provider in ("cloudnativepg", "crunchy", "patroni", "zalando")
            ),
        ),
        (
            {"name": "a", "discovery": {"clusterName": "db"}},
            {"name": "a", "provider": "static", "discovery": {"clusterName": "db"}},
            {"name": "a", "provider": "rds", "discovery": {"clusterName": "db"}},
        ),
    ),
    "database-password-needs-user": Cases(
        ({"name": "a"}, {"name": "a", "user": "u"}, {"name": "a", "user": "u", "passwordSecretRef": {"name": "s"}}),
        ({"name": "a", "passwordSecretRef": {"name": "s"}},),
    ),
    "tls-secret": Cases(
        ({}, {"mode": "disable"}, {"secretRef": {"name": "s"}}, {"mode": "require", "secretRef": {"name": "s"}}),
        ({"mode": "allow"}, {"mode": "require"}),
    ),
    "tls-one-certificate": Cases(
        ({}, {"secretRef": {"name": "s"}}, {"mode": "require", "certificate": {"issuerRef": {"name": "i"}}}),
        ({"secretRef": {"name": "s"}, "certificate": {"issuerRef": {"name": "i"}}},),
    ),
    "tls-client-ca": Cases(
        ({}, {"clientAuth": "none"}, {"clientAuth": "optional", "clientCaSecretRef": {"name": "s"}}),
        ({"clientAuth": "required"}, {"clientCaSecretRef": {"name": "s"}}),
    ),
    "tls-crl": Cases(
        ({}, {"clientCaSecretRef": {"name": "s"}, "crlSecretRef": {"name": "s"}}),
        ({"crlSecretRef": {"name": "s"}},),
    ),
    "server-tls-ca": Cases(
        ({}, {"mode": "require"}, {"caSecretRef": {"name": "s"}}, {"mode": "verify-ca", "caSecretRef": {"name": "s"}}),
        ({"mode": "verify-ca"}, {"mode": "verify-full"}),
    ),
    "server-tls-binding": Cases(
        ({}, {"channelBinding": "require"}, {"mode": "require", "channelBinding": "require"}, {"mode": "disable"}),
        ({"mode": "disable", "channelBinding": "require"},),
    ),
    "consistency-keys-ca": Cases(
        ({"url": "redis://r"}, {"url": "rediss://r", "caSecretRef": {"name": "s"}}),
        ({"url": "rediss://r"}, {"url": "redis://r", "caSecretRef": {"name": "s"}}),
    ),
    "auth-query-needs-user": Cases(
        ({}, {"queryUser": "u"}, {"queryUser": "u", "query": "select", "querySecretRef": {"name": "s"}}),
        ({"query": "select"}, {"querySecretRef": {"name": "s"}}),
    ),
    "auth-hba": Cases(
        ({}, {"hbaSecretRef": {"name": "s"}}, {"method": "cert", "clientName": "dn", "map": "m"}),
        tuple(
            {"hbaSecretRef": {"name": "s"}, **more} for more in ({"method": "md5"}, {"clientName": "cn"}, {"map": "m"})
        ),
    ),
    "monitor-password-needs-user": Cases(
        ({}, {"user": "watch"}, {"user": "watch", "secretRef": {"name": "s"}}),
        ({"secretRef": {"name": "s"}},),
    ),
    "pool-min-max": Cases(
        ({}, {"minConnections": 5}, {"maxConnections": 5}, {"minConnections": 5, "maxConnections": 5}),
        ({"minConnections": 6, "maxConnections": 5},),
    ),
    "pool-profile-min-max": Cases(
        ({}, {"minIdle": 5}, {"maxPoolSize": 5}, {"minIdle": 5, "maxPoolSize": 5}),
        ({"minIdle": 6, "maxPoolSize": 5},),
    ),
    "match-not-empty": Cases(({"queryPattern": "x"}, {"applicationName": ["bi-*"]}), ({},)),
    "routing-strong-is-primary": Cases(
        (
            {"route": "standby"},
            {"route": "standby", "consistency": "eventual", "maxLagMillis": 5000},
            {"route": "primary", "consistency": "strong"},
        ),
        (
            {"route": "standby", "consistency": "strong"},
            {"route": "primary", "consistency": "strong", "maxLagMillis": 1},
        ),
    ),
    "audit-backend-immutable": Cases(
        (({"backend": S3}, {"backend": dict(S3)}),),
        (({"backend": S3}, {"backend": {**S3, "bucket": "elsewhere"}}),),
    ),
    "audit-chain-stays-on": Cases(
        (
            ({"backend": S3}, {"backend": S3, "hashChain": True}),
            ({"hashChain": False}, {}),
            ({"hashChain": True}, {"hashChain": True}),
        ),
        (({"hashChain": True}, {"hashChain": False}), ({"hashChain": True}, {})),
    ),
    "quota-not-empty": Cases(({"maxQueriesPerMinute": 1}, {"costBudgetDollarsPerDay": 0}), ({},)),
}


def rules() -> dict[str, Rule]:
    return {rule.name: rule for model in KINDS.values() for _, found in tree(model).walk() for rule in found.rules}


def evaluate(rule: Rule, value: Any, old: Any) -> bool:
    environment = celpy.Environment()
    program = environment.program(environment.compile(rule.rule))
    context = {"self": json_to_cel(value)}
    if old is not None:
        context["oldSelf"] = json_to_cel(old)
    return bool(program.evaluate(context))


def cases() -> Iterator[Any]:
    for name, found in CASES.items():
        for expected, values in ((True, found.good), (False, found.bad)):
            for index, value in enumerate(values):
                yield pytest.param(name, value, expected, id=f"{name}-{'good' if expected else 'bad'}-{index}")


@pytest.mark.parametrize(("name", "value", "expected"), list(cases()))
def test_rule_and_twin_agree(name: str, value: Any, expected: bool) -> None:
    rule = rules()[name]
    old, new = value if rule.is_transition else (None, value)

    assert evaluate(rule, new, old) is expected
    assert rule.holds(new, old) is expected


def test_every_rule_has_good_and_bad_objects() -> None:
    assert rules().keys() == CASES.keys()
    assert all(found.good and found.bad for found in CASES.values())


@pytest.mark.parametrize("rule", list(rules().values()), ids=list(rules()))
def test_message_is_a_plain_sentence(rule: Rule) -> None:
    assert not rule.message.endswith(".")
    assert "self." not in rule.message
    assert (
        "must" in rule.message
        or "exclude" in rule.message
        or any(word in rule.message for word in ("needs", "at most", "immutable", "cannot", "allows", "may be"))
    )


@pytest.mark.parametrize("rule", list(rules().values()), ids=list(rules()))
@pytest.mark.parametrize(
    "rubbish", [{}, [], {"nodes": 3, "databases": [4], "clusters": {}, "pool": [], "metadata": 1}, [1, "x"]]
)
def test_twin_never_breaks_on_a_damaged_object(rule: Rule, rubbish: Any) -> None:
    """The types are reported by the schema; a twin must not hide that behind an exception."""
    wanted = {type(value[1] if rule.is_transition else value) for value in CASES[rule.name].good}
    if type(rubbish) in wanted:
        assert rule.holds(rubbish, rubbish if rule.is_transition else None) in (True, False)


def test_immutable_fields_are_checked_against_the_old_object() -> None:
    def policy(bucket: str, chain: bool) -> Document:
        spec = {"backend": {**S3, "bucket": bucket}, "hashChain": chain}
        value = {"apiVersion": API_VERSION, "kind": "AuditPolicy", "metadata": {"name": "pci"}, "spec": spec}
        return Document(value, "pci.yaml")

    parse(policy("records", True), policy("records", False))
    parse(policy("elsewhere", False))
    with pytest.raises(ResourceError) as caught:
        parse(policy("elsewhere", False), policy("records", True))

    assert [problem.field for problem in caught.value.problems] == ["spec", "spec"]
    assert "backend is immutable" in str(caught.value)
    assert "hashChain cannot be switched off" in str(caught.value)
