"""Nodes behind Services: from EndpointSlices and from Endpoints."""

from __future__ import annotations

from helios_operator.discovery import endpoints_of, nodes_of
from helios_operator.records import Endpoint, slice_of


def test_every_address_counts_but_those_that_end() -> None:
    body = {
        "addressType": "IPv4",
        "ports": [{"name": "postgres", "port": 5433}],
        "endpoints": [
            {"addresses": ["198.18.0.1"], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": "pg-0"}},
            {"addresses": ["198.18.0.2"], "conditions": {"ready": False}},
            {"addresses": ["198.18.0.3"], "conditions": {"terminating": True}},
        ],
    }

    assert slice_of(body).endpoints == (Endpoint("198.18.0.1", 5433, "pg-0"), Endpoint("198.18.0.2", 5433, None))


def test_slice_without_a_port_names_nobody() -> None:
    assert slice_of({"addressType": "IPv4", "endpoints": [{"addresses": ["198.18.0.1"]}]}).endpoints == ()


def test_endpoints_object_is_read() -> None:
    value = {
        "subsets": [
            {
                "addresses": [{"ip": "198.18.0.2"}],
                "notReadyAddresses": [{"ip": "198.18.0.1", "targetRef": {"name": "pg-0"}}],
                "ports": [{"port": 5432}],
            }
        ]
    }

    assert endpoints_of(value) == [Endpoint("198.18.0.1", 5432, "pg-0"), Endpoint("198.18.0.2", 5432, None)]


def test_nodes_are_named_after_their_pods_only_if_all_have_one() -> None:
    pods = [Endpoint("198.18.0.2", 5432, "pg-1"), Endpoint("198.18.0.1", 5432, "pg-0")]

    assert [node.name for node in nodes_of(pods)] == ["pg-0", "pg-1"]
    assert [node.name for node in nodes_of([*pods, Endpoint("198.18.0.3", 5432, None)])] == [
        "198.18.0.3:5432",
        "198.18.0.1:5432",
        "198.18.0.2:5432",
    ]
