"""The NetworkPolicy, asked by an evaluator of Kubernetes' rules about every flow that a proxy has.

Whether a cluster enforces it is the network plug-in's matter; that of the test node does not.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

import pytest
from operator_objects import KEY, OWNER, document_of, proxy

from helios_crds.workload import workload
from helios_operator.desired import network_policy
from helios_operator.names import pod_labels

NODES = [{"host": "198.18.0.10", "port": 5432}, {"host": "198.18.0.11", "port": 5433}]


@dataclass(frozen=True)
class Peer:
    """The other end of a flow: a pod, or an address outside of the cluster."""

    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    address: str = "203.0.113.9"


OWN_POD = Peer("shop", tuple(pod_labels(KEY).items()))
OPERATOR, PROMETHEUS, SHOP, STRANGER = Peer("helios-system"), Peer("monitoring"), Peer("shop"), Peer("elsewhere")
PRIMARY, SECOND, OUTSIDE = Peer(address="198.18.0.10"), Peer(address="198.18.0.11"), Peer()


def allows(policy: dict[str, Any], direction: str, peer: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether the policy lets a new connection through; without a rule that matches it does not."""
    side = {"ingress": "from", "egress": "to"}[direction]
    for rule in policy["spec"][direction]:
        ports = [(each["port"], each["protocol"]) for each in rule.get("ports", ())]
        if ports and (port, protocol) not in ports:
            continue
        if side not in rule or any(is_picked(peer, each) for each in rule[side]):
            return True
    return False


def is_picked(peer: Peer, selector: dict[str, Any]) -> bool:
    if "ipBlock" in selector:
        return ipaddress.ip_address(peer.address) in ipaddress.ip_network(selector["ipBlock"]["cidr"])
    namespace = selector.get("namespaceSelector")
    if namespace is None:
        in_namespace = peer.namespace == KEY.namespace
    else:
        in_namespace = namespace["matchLabels"] == {"kubernetes.io/metadata.name": peer.namespace}
    return in_namespace and selector.get("podSelector", {}).get("matchLabels", {}).items() <= dict(peer.labels).items()


def policy_of(*, nodes: list[dict[str, Any]] | None = None, **network: Any) -> dict[str, Any]:
    spec = {"nodes": nodes or NODES, "networkPolicy": {"enabled": True, **network}}
    made = network_policy(OWNER, workload(proxy(**spec)), document_of(**spec), "helios-system")
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("direction", "peer", "port", "protocol"),
    [
        ("ingress", SHOP, 6432, "TCP"),
        ("ingress", OUTSIDE, 6432, "TCP"),
        ("ingress", OWN_POD, 6432, "TCP"),
        ("ingress", OPERATOR, 9090, "TCP"),
        ("ingress", PROMETHEUS, 9090, "TCP"),
        ("egress", OUTSIDE, 53, "UDP"),
        ("egress", OUTSIDE, 53, "TCP"),
        ("egress", PRIMARY, 5432, "TCP"),
        ("egress", SECOND, 5433, "TCP"),
        ("egress", OWN_POD, 6432, "TCP"),
        ("egress", OUTSIDE, 443, "TCP"),
    ],
)
def test_every_flow_of_a_proxy_is_allowed(direction: str, peer: Peer, port: int, protocol: str) -> None:
    extra = [{"cidr": "203.0.113.0/24", "ports": [443]}]
    policy = policy_of(monitoringNamespaces=["monitoring"], extraEgress=extra)

    assert allows(policy, direction, peer, port, protocol)


@pytest.mark.parametrize(
    ("direction", "peer", "port"),
    [
        ("ingress", STRANGER, 9090),
        ("ingress", PROMETHEUS, 9090),
        ("ingress", SHOP, 22),
        ("egress", OUTSIDE, 5432),
        ("egress", SECOND, 5432),
        ("egress", OUTSIDE, 443),
        ("egress", STRANGER, 6432),
    ],
)
def test_nothing_else_is(direction: str, peer: Peer, port: int) -> None:
    assert not allows(policy_of(), direction, peer, port)


def test_clients_may_be_kept_to_namespaces() -> None:
    policy = policy_of(clientNamespaces=["shop"])

    assert allows(policy, "ingress", SHOP, 6432)
    assert allows(policy, "ingress", OWN_POD, 6432), "a pod passes cancel requests on to another"
    assert not allows(policy, "ingress", STRANGER, 6432)


def test_server_known_by_name_opens_its_port_to_every_address() -> None:
    policy = policy_of(nodes=[{"host": "db-0", "port": 5432}, {"host": "198.18.0.10", "port": 5433}])

    assert allows(policy, "egress", OUTSIDE, 5432)
    assert not allows(policy, "egress", OUTSIDE, 5433)


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert network_policy(OWNER, workload(proxy()), document_of(), "helios-system") is None
