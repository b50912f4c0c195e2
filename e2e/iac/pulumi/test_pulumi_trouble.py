"""Under Pulumi's own command line: clusters that are away or not known yet, drift of every shape, imports, refusals."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pulumi
import pytest
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from cluster import Cluster
from cluster.local import LocalCluster
from harness.pulumi_stack import Resource, Stack, StackError, running_provider
from harness.resources import Shop
from helios_pulumi.marshal import pack

# Where an update fails, Pulumi's SDK leaves its event loop and the sockets of that to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
QUIET = {"maxPoolSize": 5, "waitForReady": "false"}


def test_an_api_server_that_goes_away_in_the_middle_is_told_and_the_next_up_heals(
    stack: Stack, shop: Shop, cluster: Cluster
) -> None:
    assert isinstance(cluster, LocalCluster)
    local, is_away = cluster, True

    def go_away(_made: str) -> str:
        if is_away:
            local.stop_apiserver()
        return "second"

    def program() -> None:
        first = Resource("PoolProfile", "first", name="first", **QUIET)
        Resource("PoolProfile", "second", name=first.id.apply(go_away), **QUIET)

    try:
        with pytest.raises(StackError, match="check that the API server runs"):
            stack.up(program)
    finally:
        cluster.start_apiserver()
    is_away = False

    assert stack.up(program) == {"create": 1}
    assert shop.names("PoolProfile") == {"first", "second"}
    assert stack.preview(program) == {}


class Provider(pulumi.ProviderResource):
    """Our provider with a configuration of its own."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("heliosproxy", "own", arguments)


def test_a_provider_whose_configuration_is_not_known_yet_is_previewed(
    stack: Stack, shop: Shop, cluster: Cluster
) -> None:
    def program() -> None:
        # The endpoint of a proxy that is not there yet stands for a cluster that the same program makes.
        web = Resource("Instance", "web", name="web", auth={"method": "trust"}, waitForReady="false")
        kubeconfig = web.endpoint.apply(lambda _: str(cluster.kubeconfig))
        other = pulumi.ResourceOptions(provider=Provider(kubeconfig=kubeconfig, namespace=shop.namespace))
        Resource("PoolProfile", "fast", other, name="fast", **QUIET)

    assert stack.preview(program) == {"create": 4}

    assert stack.up(program) == {"create": 4}
    assert shop.names("PoolProfile") == {"fast"}
    assert stack.preview(program) == {}


DRIFTS: dict[str, dict[str, Any]] = {
    "replicas": {"op": "replace", "path": "/spec/replicas", "value": 7},
    "pool.maxConnections": {"op": "replace", "path": "/spec/pool/maxConnections", "value": 99},
    "nodes": {"op": "add", "path": "/spec/nodes/-", "value": {"host": "db-9"}},
    "resources.requests": {"op": "replace", "path": "/spec/resources/requests/cpu", "value": "3"},
    "labels": {"op": "replace", "path": "/metadata/labels/team", "value": "other"},
}
"""Property → what somebody does to it: a scalar, a nested object, an element of a list, a key of a map, a label."""


def test_drift_of_every_shape_is_seen_and_repaired(stack: Stack, shop: Shop) -> None:
    def program() -> None:
        Resource(
            "Instance",
            "web",
            name="web",
            waitForReady="false",
            auth={"method": "trust"},
            labels={"team": "shop"},
            replicas=3,
            nodes=[{"host": "db-0", "role": "primary"}, {"host": "db-1"}],
            pool={"mode": "transaction", "maxConnections": 50},
            resources={"requests": {"cpu": "1", "memory": "1Gi"}},
        )

    stack.config = {"heliosproxy:forceConflicts": "true"}
    stack.up(program)
    before = shop.get("HeliosProxy", "web")
    patch = list(DRIFTS.values())
    shop.kubectl("patch", "heliosproxy", "web", "--type=json", "--field-manager=bob", "-p", json.dumps(patch))

    stack.open(program).refresh(on_output=stack.said.append)

    [kept] = stack.state(program)
    assert (kept["inputs"]["replicas"], kept["inputs"]["labels"]) == (7, {"team": "other"})
    assert [node["host"] for node in kept["inputs"]["nodes"]] == ["db-0", "db-1", "db-9"]
    assert kept["inputs"]["pool"]["maxConnections"] == 99
    assert stack.preview(program) == {"update": 1}
    stack.said.clear()
    stack.up(program)
    after = shop.get("HeliosProxy", "web")
    assert (after["spec"], after["metadata"]["labels"]) == (before["spec"], before["metadata"]["labels"])
    assert stack.preview(program) == {}


def test_what_was_imported_is_changed_and_loses_a_property(stack: Stack, shop: Shop) -> None:
    shop.proxy("web", replicas=4, listenPort=7000)
    said: dict[str, Any] = {"replicas": 4, "listenPort": 7000}
    options = pulumi.ResourceOptions(import_=f"{shop.namespace}/web")

    def program() -> None:
        nodes = [{"host": "db-0", "role": "primary", "port": 5432}, {"host": "db-1", "port": 5432}]
        fixed = {"name": "web", "namespace": shop.namespace, "auth": {"method": "trust"}, "nodes": nodes}
        Resource("Instance", "web", options, **fixed, waitForReady=None, **said)

    stack.config = {"heliosproxy:forceConflicts": "true"}
    assert stack.up(program)["import"] == 1
    said = {"pool": {"mode": "transaction"}}

    # Its replicas and its port go back to what they are where nobody says anything.
    options = pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(update="1s"))
    assert stack.up(program) == {"update": 1}

    spec = shop.get("HeliosProxy", "web")["spec"]
    assert (spec["replicas"], spec["pool"]) == (2, {"mode": "transaction"})
    assert "listenPort" not in spec
    assert stack.preview(program) == {}


REFUSALS = {
    "kubeconfig": ("missing", "missing cannot be read: no such file or directory: set `kubeconfig`"),
    "kubeContext": ("moon", "has no context named moon"),
    "namespace": ("no-such-namespace", "check that its namespace exists"),
}
"""Argument of the provider → a bad value and what is said of it."""


@pytest.mark.parametrize("argument", REFUSALS)
def test_each_refusal_says_what_to_do(argument: str, cluster: Cluster) -> None:
    # Over the protocol: a program whose update fails leaves its own loop behind here.
    value, said = REFUSALS[argument]
    urn = "urn:pulumi:test::helios::heliosproxy:index:PoolProfile::fast"
    with running_provider() as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        provider = provider_pb2_grpc.ResourceProviderStub(channel)

        with pytest.raises(grpc.RpcError) as caught:
            arguments = {"kubeconfig": str(cluster.kubeconfig), argument: value}
            provider.Configure(provider_pb2.ConfigureRequest(args=pack(arguments), acceptSecrets=True))
            inputs = provider.Check(provider_pb2.CheckRequest(urn=urn, news=pack({"name": "fast", **QUIET}))).inputs
            provider.Create(provider_pb2.CreateRequest(urn=urn, properties=inputs))

    assert said in str(caught.value)
