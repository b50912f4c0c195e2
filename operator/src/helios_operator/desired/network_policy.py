"""NetworkPolicy `<name>`: who may reach the pods, and what they may reach.

A policy knows addresses and pods, not names: a server that is listed by name is allowed by its port alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from helios.kube.kinds import NETWORK_POLICY
from helios_crds.workload import Workload
from helios_operator.desired.metadata import Owner
from helios_operator.document import ConfigDocument
from helios_operator.names import pod_labels

__all__ = ["network_policy"]

Json = dict[str, Any]
NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""Label that Kubernetes puts on every namespace."""
DNS_PORT = 53
API_PORTS = (443, 6443)
"""Of the Service of the API server and of itself: some network plug-ins look at the one, some at the other."""


def network_policy(owner: Owner, work: Workload, document: ConfigDocument, operator: str) -> Json | None:
    """The policy; None where it is switched off. `operator` is the operator's namespace, which asks the admin API.

    The kubelet's probes come from the pod's own node, which no policy can keep out.
    """
    if not work.network.enabled:
        return None
    pods: Json = {"podSelector": {"matchLabels": pod_labels(owner.key)}}
    clients = [*map(_namespace, work.network.client_namespaces), pods] if work.network.client_namespaces else []
    askers = [*map(_namespace, sorted({operator, *work.network.monitoring_namespaces})), pods]
    postgres = _tcp(document.listen_port)
    for_clients = [postgres, *([] if document.read_port is None else [_tcp(document.read_port)])]
    spec = {
        "podSelector": pods["podSelector"],
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"ports": for_clients, **({"from": clients} if clients else {})},
            {"ports": [_tcp(document.admin_port)], "from": askers},
        ],
        "egress": [
            {"ports": [_tcp(DNS_PORT), {"port": DNS_PORT, "protocol": "UDP"}]},
            {"ports": [postgres], "to": [pods]},
            *([{"ports": list(map(_tcp, API_PORTS))}] if work.may_promote else []),
            *_servers(document.backends),
            *(_extra(each.cidr, each.ports) for each in work.network.extra_egress),
        ],
    }
    return {**owner.child(NETWORK_POLICY, owner.key.name), "spec": spec}


def _namespace(name: str) -> Json:
    return {"namespaceSelector": {"matchLabels": {NAMESPACE_NAME: name}}}


def _tcp(port: int) -> Json:
    return {"port": port, "protocol": "TCP"}


def _servers(backends: Iterable[tuple[str, int]]) -> list[Json]:
    """One rule for each port, and to which addresses; to all where one of its servers is known by name only."""
    hosts: dict[int, list[str]] = {}
    for host, port in backends:
        hosts.setdefault(port, []).append(host)
    rules = []
    for port, names in sorted(hosts.items()):
        blocks = [_block(name) for name in names]
        known = [{"ipBlock": {"cidr": block}} for block in sorted({block for block in blocks if block})]
        rules.append({"ports": [_tcp(port)], **({"to": known} if all(blocks) else {})})
    return rules


def _block(host: str) -> str | None:
    try:
        return str(ipaddress.ip_network(host))
    except ValueError:
        return None


def _extra(cidr: str, ports: Iterable[int]) -> Json:
    rule: Json = {"to": [{"ipBlock": {"cidr": cidr}}]}
    return {**rule, "ports": [_tcp(port) for port in ports]} if ports else rule
