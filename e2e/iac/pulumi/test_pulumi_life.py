"""Resources under Pulumi's own command line: previewed, made, changed, replaced, drifted, imported, cancelled, gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pulumi
import pytest
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from cluster import Cluster
from harness.operator import OperatorProcess
from harness.pulumi_stack import Resource, Stack, StackError, running_provider
from harness.resources import Shop
from harness.wait import until
from helios_pulumi.marshal import pack, unpack

# Where an update fails, Pulumi's SDK leaves its event loop and the sockets of that to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
WEB: dict[str, Any] = {
    "name": "analytics",
    "waitForReady": "false",
    "nodes": [{"host": "db-0", "role": "primary"}, {"host": "db-1"}],
    "auth": {"method": "trust"},
}


def spec_of(shop: Shop, kind: str, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = shop.get(kind, name)["spec"]
    return spec


@pytest.mark.usefixtures("operator")
def test_the_original_s_stack_is_previewed_made_changed_and_destroyed(stack: Stack, shop: Shop) -> None:
    size = 20
    bucket = "records"

    def program() -> None:
        profile = Resource("PoolProfile", "default", name="default", mode="transaction", maxPoolSize=size)
        policy = Resource(
            "AuditPolicy",
            "pci",
            name="pci",
            hashChain=True,
            backend={"type": "s3", "bucket": bucket, "region": "eu-central-1"},
        )
        web = Resource("Instance", "analytics", **WEB, poolProfileRef=profile.name, auditPolicyRef=policy.name)
        pulumi.export("endpoint", web.endpoint)
        pulumi.export("currentPrimary", web.currentPrimary)

    assert stack.preview(program) == {"create": 4}

    # The stack itself is one of the four.
    assert stack.up(program) == {"create": 4}
    assert "NotActedOn" in stack.text
    assert stack.outputs(program)["endpoint"] == f"analytics.{shop.namespace}.svc:6432"
    web = spec_of(shop, "HeliosProxy", "analytics")
    assert web["poolProfileRef"] == {"name": "default"}
    assert web["nodes"] == [{"host": "db-0", "port": 5432, "role": "primary"}, {"host": "db-1", "port": 5432}]
    assert stack.preview(program) == {}

    size, bucket = 30, "others"
    before = shop.get("AuditPolicy", "pci")["metadata"]["uid"]
    assert stack.preview(program) == {"update": 1, "replace": 1}
    stack.up(program)
    assert spec_of(shop, "PoolProfile", "default") == {"mode": "transaction", "maxPoolSize": 30}
    assert shop.get("AuditPolicy", "pci")["metadata"]["uid"] != before

    stack.open(program).destroy()
    assert [name for kind in ("PoolProfile", "HeliosProxy", "AuditPolicy") for name in shop.names(kind)] == []


def test_a_name_is_made_up_and_kept_and_an_unknown_value_is_previewed(stack: Stack, shop: Shop) -> None:
    size = 5

    def program() -> None:
        profile = Resource("PoolProfile", "Fast_One", maxPoolSize=size, waitForReady="false")
        Resource("Instance", "web", **{**WEB, "poolProfileRef": profile.name, "name": "web"})

    assert stack.preview(program)["create"] == 3
    stack.up(program)
    [name] = shop.names("PoolProfile")
    assert name.startswith("fast-one-")
    assert spec_of(shop, "HeliosProxy", "web")["poolProfileRef"] == {"name": name}

    size = 6
    assert stack.up(program) == {"update": 1}
    assert shop.names("PoolProfile") == {name}


def test_drift_is_refreshed_its_owner_is_named_and_with_force_it_is_repaired(stack: Stack, shop: Shop) -> None:
    def program() -> None:
        Resource("Instance", "web", **{**WEB, "name": "web", "replicas": 3})

    stack.up(program)
    before = spec_of(shop, "HeliosProxy", "web")
    patch = [
        {"op": "replace", "path": "/spec/replicas", "value": 7},
        {"op": "add", "path": "/spec/nodes/-", "value": {"host": "db-9"}},
        {"op": "add", "path": "/spec/listenPort", "value": 7000},
    ]
    shop.kubectl("patch", "heliosproxy", "web", "--type=json", "--field-manager=bob", "-p", json.dumps(patch))

    stack.open(program).refresh(on_output=stack.said.append)
    assert stack.preview(program) == {"update": 1}
    with pytest.raises(StackError, match="is owned by bob"):
        stack.up(program)

    stack.config = {"heliosproxy:forceConflicts": "true"}
    stack.up(program)
    assert spec_of(shop, "HeliosProxy", "web") == before
    assert stack.preview(program) == {}


def test_an_object_of_kubectl_is_imported(stack: Stack, shop: Shop) -> None:
    shop.apply("PoolProfile", "fast", {"maxPoolSize": 5, "minIdle": 1})

    def clash() -> None:
        Resource("PoolProfile", "fast", name="fast", maxPoolSize=5)

    def imported() -> None:
        options = pulumi.ResourceOptions(import_=f"{shop.namespace}/fast")
        Resource("PoolProfile", "fast", options, name="fast", namespace=shop.namespace, maxPoolSize=5, minIdle=1)

    with pytest.raises(StackError, match=f"pulumi import heliosproxy:index:PoolProfile NAME {shop.namespace}/fast"):
        stack.up(clash)

    assert stack.up(imported)["import"] == 1
    assert stack.preview(imported) == {}


def test_a_password_is_encrypted_and_its_verifier_is_written(stack: Stack, shop: Shop) -> None:
    password = "gehe1m-und-lang"

    def program() -> None:
        Resource("Instance", "web", **{**WEB, "name": "web"}, credentials={"app": {"passwordWo": password}})

    stack.up(program)
    first = json.loads(shop.kubectl("get", "secret", "web-users", "-o", "json"))["data"]["users.txt"]
    assert stack.preview(program) == {}
    kept = [each for each in stack.folder.rglob("*") if each.is_file() and password.encode() in each.read_bytes()]

    password = "anders-und-lang"
    assert stack.up(program) == {"update": 1}

    second = json.loads(shop.kubectl("get", "secret", "web-users", "-o", "json"))["data"]["users.txt"]
    assert first != second
    assert kept == []
    assert "gehe1m" not in stack.text and "anders" not in stack.text


def test_a_pod_template_is_an_object_of_kubernetes(stack: Stack, shop: Shop) -> None:
    zone = "UTC"

    def program() -> None:
        containers = [{"name": "proxy", "env": [{"name": "TZ", "value": zone}]}]
        Resource("Instance", "web", **{**WEB, "name": "web", "podTemplate": {"spec": {"containers": containers}}})

    stack.up(program)
    assert spec_of(shop, "HeliosProxy", "web")["podTemplate"]["spec"]["containers"][0]["env"][0]["value"] == "UTC"
    assert stack.preview(program) == {}

    zone = "CET"
    assert stack.up(program) == {"update": 1}
    assert spec_of(shop, "HeliosProxy", "web")["podTemplate"]["spec"]["containers"][0]["env"][0]["value"] == "CET"


def test_a_bad_value_fails_at_preview_with_its_property(stack: Stack) -> None:
    def program() -> None:
        nodes = [{"host": "a", "role": "primary", "port": 70000}]
        Resource("Instance", "web", name="web", nodes=nodes, pool={"mode": "bouncy"}, replica=3)

    with pytest.raises(StackError) as caught:
        stack.preview(program)

    said = " ".join((stack.text + str(caught.value)).split())
    assert "nodes[0].port is 70000" in said
    assert 'pool.mode is "bouncy"' in said and "session, transaction, statement" in said
    assert "replica: no such property" in said


def test_a_cancel_ends_the_wait_and_the_object_is_told(shop: Shop, cluster: Cluster) -> None:
    # Over the protocol, as the engine does it: a program whose engine is interrupted leaves its own loop behind here.
    urn = "urn:pulumi:test::helios::heliosproxy:index:Instance::web"
    inputs = pack({"name": "web", "namespace": shop.namespace, "auth": {"method": "trust"}})
    with provider_process() as provider:
        arguments = pack({"kubeconfig": str(cluster.kubeconfig)})
        provider.Configure(provider_pb2.ConfigureRequest(args=arguments, acceptSecrets=True))
        created = provider.Create.future(provider_pb2.CreateRequest(urn=urn, properties=inputs))
        until(lambda: "web" in shop.names("HeliosProxy"), "the object is made", deadline=120)
        assert not created.done()

        provider.Cancel(Empty())
        answer = created.result(timeout=30)

    assert answer.id == f"{shop.namespace}/web"
    assert unpack(answer.properties)["endpoint"] == f"web.{shop.namespace}.svc:6432"


@contextmanager
def provider_process() -> Iterator[Any]:
    """A stub of the provider as Pulumi starts it."""
    with running_provider() as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield provider_pb2_grpc.ResourceProviderStub(channel)


def test_a_strict_wait_is_an_error_and_the_object_is_kept(stack: Stack, shop: Shop, operator: OperatorProcess) -> None:
    def program() -> None:
        Resource("TenantQuota", "q", name="q", maxBytesReadPerMinute=1000, waitForReady="strict")

    with pytest.raises(StackError, match="NotActedOn"):
        stack.up(program)

    assert operator.exit_status is None
    assert shop.names("TenantQuota") == {"q"}
    [kept] = stack.state(program)
    assert kept["id"] == f"{shop.namespace}/q"
