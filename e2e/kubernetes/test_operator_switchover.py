"""Somebody else's switchover under load: the operator hears of it, the proxies hold, and clients notice a pause alone.

The API server, the operator, the proxy and PostgreSQL are real. The test writes what CloudNativePG, Zalando's operator
or Patroni write, and does to the servers what they do then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster
from harness.client import Client
from harness.foreign import CLUSTERS, install_kinds, remove_kinds
from harness.ledger import SCHEMA, Ledger, lost
from harness.local_pod import LocalPod, can_mount
from harness.postgres import APP, DATABASE, MONITOR, PASSWORDS
from harness.replicas import ReplicatedCluster
from harness.resources import Shop
from harness.wait import until
from helios.play.process import free_port

PATIENCE = 60
BUSY = "select count(*) from pg_stat_activity where usename = 'app' and state <> 'idle'"
LABELS = {
    "cloudnativepg": {"cnpg.io/cluster": "pg", "cnpg.io/podRole": "instance"},
    "zalando": {"application": "spilo", "cluster-name": "pg"},
    "patroni": {"application": "patroni", "cluster-name": "pg"},
}
CLOUDNATIVE_PG = {
    "apiVersion": "postgresql.cnpg.io/v1",
    "kind": "Cluster",
    "metadata": {"name": "pg"},
    "spec": {"instances": 3, "storage": {"size": "1Gi"}},
}
Json = dict[str, Any]


class Owner:
    """Whoever looks after the servers, as far as the API server shows it."""

    def __init__(self, shop: Shop, provider: str) -> None:
        self.shop, self.provider = shop, provider
        if provider == "cloudnativepg":
            shop.kubectl("apply", "-f", "-", input=json.dumps(CLOUDNATIVE_PG))
            self.tell("db-1", "db-1")

    def tell(self, primary: str, target: str) -> None:
        """Who is primary, and who shall be."""
        if self.provider == "cloudnativepg":
            phase = "Cluster in healthy state" if primary == target else "Switchover in progress"
            status = {"currentPrimary": primary, "targetPrimary": target, "phase": phase}
            patch = json.dumps({"status": status})
            self.shop.kubectl(
                "patch", "clusters.postgresql.cnpg.io/pg", "--subresource=status", "--type=merge", "-p", patch
            )
            return
        kind = "Endpoints" if self.provider == "zalando" else "ConfigMap"
        annotations = {} if primary == target else {"leader": primary, "member": target}
        metadata = {"name": "pg-failover", "labels": LABELS[self.provider], "annotations": annotations}
        value = {"apiVersion": "v1", "kind": kind, "metadata": metadata}
        self.shop.kubectl("apply", "-f", "-", input=json.dumps(value))


def servers(shop: Shop, provider: str, postgres: ReplicatedCluster) -> None:
    """A pod for each server, with its port."""
    for name, each in postgres.servers.items():
        ports = [{"name": "postgresql", "containerPort": each.port}]
        container = {"name": "postgres", "image": "postgres", "ports": ports}
        metadata = {"name": name, "labels": LABELS[provider]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
        shop.kubectl("apply", "-f", "-", input=json.dumps(pod))
        status = {"status": {"phase": "Running", "podIP": each.host, "podIPs": [{"ip": each.host}]}}
        shop.kubectl("patch", "pod", name, "--subresource=status", "-p", json.dumps(status))


def deploy(shop: Shop, provider: str) -> None:
    """A HeliosProxy before the cluster, with the Secrets that it reads."""
    users = "".join(f'"{name}" "{password}"\n' for name, password in PASSWORDS.items())
    shop.kubectl("create", "secret", "generic", "people", f"--from-literal=users.txt={users}")
    shop.kubectl("create", "secret", "generic", "watch", f"--from-literal=password={PASSWORDS[MONITOR]}")
    shop.proxy(
        nodes=[],
        replicas=1,
        listenPort=free_port(),
        adminPort=free_port(),
        auth={"method": "scram-sha-256", "usersSecretRef": {"name": "people"}},
        monitor={"user": MONITOR, "secretRef": {"name": "watch", "key": "password"}},
        pool={"mode": "transaction", "acquireTimeoutSeconds": PATIENCE},
        clusters=[{"name": "main", "provider": provider, "discovery": {"clusterName": "pg"}}],
    )
    shop.await_deployed(deadline=PATIENCE)


@pytest.fixture
def postgres() -> Iterator[ReplicatedCluster]:
    made = ReplicatedCluster()
    with Client(made.app("db-1")) as client:
        client.query(SCHEMA)
    made.await_replay("db-1")
    yield made
    made.stop()


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Iterator[Shop]:
    if not can_mount():
        pytest.skip("this machine gives us no mount namespace, so no process can stand for a pod")
    install_kinds(installed, CLUSTERS)
    yield Shop(installed, namespace)
    remove_kinds(installed, CLUSTERS)


@pytest.mark.usefixtures("discovering_operator")
@pytest.mark.parametrize("provider", LABELS)
def test_nobody_notices_a_switchover_of_another_operator(
    shop: Shop, postgres: ReplicatedCluster, tmp_path: Path, provider: str
) -> None:
    owner = Owner(shop, provider)
    servers(shop, provider, postgres)
    deploy(shop, provider)
    with LocalPod(shop, tmp_path / "pod") as pod:
        target = pod.process.target(DATABASE, APP)
        until(
            lambda: {node["name"] for node in pod.json("/nodes") if node["healthy"]} == set(postgres.servers), "nodes"
        )
        with Ledger(target, extended=None) as ledger:
            ledger.await_more(50, PATIENCE)
            owner.tell("db-1", "db-2")
            until(lambda: "makes db-2 the primary" in str(pod.json("/topology")["reason"]), "the pause", PATIENCE)
            told = shop.await_condition("web", "SwitchingOver", "True", "HeldForProvider", PATIENCE)
            assert "makes db-2 the primary in the place of db-1" in told
            until(lambda: postgres.ask("db-1", BUSY) == "0", "what was under way ends", PATIENCE)
            before = len(ledger.acknowledged())
            postgres["db-1"].stop("fast")
            postgres["db-2"].promote()
            # The proxy goes on by what it sees; who promoted tells later, or never.
            ledger.await_more(50, PATIENCE)
            owner.tell("db-2", "db-2")
            shop.until(lambda: "SwitchingOver" not in shop.conditions(), "it is over", PATIENCE)

            owner.tell("db-2", "db-3")
            until(lambda: "makes db-3 the primary" in str(pod.json("/topology")["reason"]), "a pause again", PATIENCE)
            owner.tell("db-2", "db-2")
            ledger.await_more(50, PATIENCE)
        assert not ledger.errors, "nobody was told of an error"
        assert len(ledger.acknowledged()) - before >= 100
        assert lost(ledger, postgres.app("db-2")) == []
