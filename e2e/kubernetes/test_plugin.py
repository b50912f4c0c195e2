"""`kubectl helios` as kubectl calls it: what it shows of a proxy, and that it writes nothing but a hold."""

from __future__ import annotations

import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster import Cluster, KubectlError
from harness.installed import Installed
from harness.operator import OperatorProcess
from harness.plugin import Plugin
from harness.resources import NODES, Shop
from harness.wait import until

MANAGED = ("get", "heliosproxy", "web", "-o", "json", "--show-managed-fields")


@pytest.fixture
def shop(installed: Cluster, namespace: str) -> Shop:
    return Shop(installed, namespace)


def test_status_and_configuration_without_pods(shop: Shop, operator: OperatorProcess, tmp_path: Path) -> None:
    plugin = Plugin(shop)
    value = {"apiVersion": "helios.heliosproxy.dev/v1alpha1", "kind": "HeliosProxy", "metadata": {"name": "web"}}
    file = tmp_path / "web.yaml"
    file.write_text(json.dumps({**value, "spec": {"nodes": NODES, "auth": {"method": "trust"}}}))
    shop.kubectl("apply", "--server-side", "-f", str(file))
    shop.await_deployed()
    operator.wait_idle()
    before = of_the_user(shop)

    status, shown, _ = plugin("status", "web")
    assert status == 1, "no pod is ready"
    assert "web: Pending, 0 of " in shown
    assert "PodsNotReady" in shown
    assert plugin("config", "diff", "-f", str(file)) == (0, "", "")
    status, rendered, _ = plugin("config", "render", "-f", str(file))
    assert (status, 'host = "db-0"' in rendered) == (0, True)

    file.write_text(file.read_text().replace('"trust"', '"trust"}, "pool": {"maxConnections": 7'))
    status, difference, _ = plugin("config", "diff", "-f", str(file))
    assert (status, "+max_size = 7" in difference) == (1, True)
    file.write_text(file.read_text().replace("maxConnections", "maxConections"))
    status, _, told = plugin("config", "render", "-f", str(file))
    assert (status, "maxConections" in told) == (1, True)
    assert plugin("status", "nothing")[0] == 1
    assert "no pod of web runs" in plugin("pools", "web")[2]
    assert "no pod of web runs" in plugin("switchover", "web", "--to", "db-1")[2]
    assert of_the_user(shop) == before, "it writes nothing"


def of_the_user(shop: Shop) -> tuple[object, ...]:
    """What somebody wrote who is not the operator, and who that was."""
    value = shop.get("heliosproxy", "web")
    metadata = value["metadata"]
    writers = {entry["manager"] for entry in json.loads(shop.kubectl(*MANAGED))["metadata"]["managedFields"]}
    return value["spec"], metadata["generation"], metadata.get("annotations"), metadata.get("labels"), writers


@pytest.mark.usefixtures("operator")
def test_hold_is_no_difference_from_what_was_applied(shop: Shop, tmp_path: Path) -> None:
    plugin = Plugin(shop)
    value = {"apiVersion": "helios.heliosproxy.dev/v1alpha1", "kind": "HeliosProxy", "metadata": {"name": "web"}}
    file = tmp_path / "web.yaml"
    file.write_text(json.dumps({**value, "spec": {"nodes": NODES, "auth": {"method": "trust"}}}))
    of_gitops = ("--server-side", "--field-manager=gitops", "-f", str(file))
    shop.kubectl("apply", *of_gitops)
    shop.await_deployed()
    generation = shop.get("heliosproxy", "web")["metadata"]["generation"]

    status, shown, told = plugin("pause", "web", "--for=1h", "--by=ann")
    assert status == 0, told
    assert "for ann, until 20" in shown
    assert 'mode = "hold"' in shop.document()
    shop.kubectl("apply", *of_gitops)
    assert shop.kubectl("diff", *of_gitops) == "", "kubectl finds no difference"
    assert shop.conditions()["Held"][:2] == ("True", "Held"), "who applies the YAML again does not end it"
    status, _, told = plugin("resume", "web", "--by=bob")
    assert (status, "held by ann" in told) == (1, True)
    status, _, told = plugin("drain", "web", "--by=bob", "--force", "--for=1h")
    assert status == 0, told
    assert 'mode = "drain"' in shop.document()
    assert plugin("switchover", "web", "--to=db-1")[0] == 1, "no pod runs"
    shop.kubectl("apply", *of_gitops)
    assert shop.kubectl("diff", *of_gitops) == ""
    assert shop.conditions()["Held"][:2] == ("True", "Draining")
    status, _, told = plugin("resume", "web", "--by=bob")
    assert status == 0, told
    assert "maintenance" not in shop.document()
    assert shop.kubectl("diff", *of_gitops) == ""
    assert shop.get("heliosproxy", "web")["metadata"]["generation"] == generation, "the spec was never touched"
    assert plugin("pause", "web", "--for=2d")[0] == 2


@pytest.mark.usefixtures("operator")
def test_hold_ends_by_itself_and_one_that_cannot_be_read_is_told(shop: Shop) -> None:
    shop.proxy()
    shop.await_deployed()

    status, _, told = Plugin(shop)("pause", "web", "--for=15s", "--by=ann")
    assert status == 0, told
    shop.until(lambda: "maintenance" not in shop.document(), "the hold is over", 60)
    shop.until(lambda: "Held" not in shop.conditions(), "the condition is gone", 30)
    shop.kubectl("annotate", "heliosproxy", "web", "helios.heliosproxy.dev/hold=for ever", "--overwrite")
    assert "for ever" in shop.await_condition("web", "Held", "False", "Invalid", 30)
    assert "maintenance" not in shop.document()
    shop.kubectl("annotate", "heliosproxy", "web", "helios.heliosproxy.dev/hold-")
    shop.proxy(maintenance={"mode": "reject"})
    assert "spec.maintenance" in shop.await_condition("web", "Held", "True", "Rejecting", 30)
    assert 'mode = "reject"' in shop.document()


@pytest.mark.level("node")
def test_pods_are_asked_through_the_user_s_own_kubectl(in_cluster: Installed, tmp_path: Path) -> None:
    plugin = Plugin(in_cluster)
    in_cluster.apply_example()
    until(lambda: in_cluster.psql("select 1"), "the Service answers psql", deadline=20)
    names = {pod["metadata"]["name"] for pod in in_cluster.pods()}

    status, shown, told = plugin("status", "minimal")
    assert status == 0, told
    assert "minimal: Ready, 2 of 2 pods ready" in shown
    for verb in ("pools", "clients"):
        status, shown, told = plugin(verb, "minimal")
        assert status == 0, told
        assert any(name in shown for name in names), shown
    status, shown, told = plugin("explain", "minimal", "--database=app", "insert into t values (1)")
    assert status == 0, told
    assert "kind: write" in shown
    status, shown, told = plugin("explain", "minimal", "--database=app", "selec 1")
    assert (status, "syntax error" in told) == (1, True)
    login = {"PGPASSWORD": "app-secret", "PGUSER": "app", "PGDATABASE": "app"}
    status, shown, told = plugin("psql", "minimal", "--", "-Atc", "select 6 * 7", **login)
    assert (status, shown.strip()) == (0, "42"), told
    assert "helios ready" in plugin("logs", "minimal", "--tail=-1")[1]
    held_clients_go_on(plugin, in_cluster)

    archive = tmp_path / "minimal.tar.gz"
    assert plugin("bundle", "minimal", "-o", str(archive))[0] == 0
    with tarfile.open(archive) as opened:
        held = {each.name: opened.extractfile(each) for each in opened.getmembers()}
        texts = {name: file.read().decode() for name, file in held.items() if file is not None}
    assert not [name for name in texts if name.endswith(".missing")]
    assert {f"minimal/{name}/config.json" for name in names} <= texts.keys()
    assert not [name for name, text in texts.items() if "app-secret" in text or "monitor-secret" in text]


def held_clients_go_on(plugin: Plugin, in_cluster: Installed) -> None:
    """A hold reaches the pods: a client waits for as long as it lasts, and is answered then."""
    status, _, told = plugin("pause", "minimal", "--for=10m", "--by=ann")
    assert status == 0, told
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(in_cluster.psql, "select 7")
        until(lambda: waiting(plugin) == 1, "a client waits", deadline=60)
        assert not answer.done()
        status, _, told = plugin("resume", "minimal", "--by=ann")
        assert status == 0, told
        assert answer.result(60) == "7"
    status, told, refused = plugin("drain", "minimal", "--for=10m", "--by=ann")
    assert (status, "no client is left" in told) == (0, True), refused
    with pytest.raises(KubectlError, match="in maintenance"):
        in_cluster.psql("select 8")
    status, _, told = plugin("resume", "minimal", "--by=ann")
    assert status == 0, told
    assert in_cluster.psql("select 8") == "8"


def waiting(plugin: Plugin) -> int:
    """Clients that wait for a server, over all pods."""
    rows = plugin("clients", "minimal")[1].splitlines()[1:]
    return sum(int(row.split()[2]) for row in rows)
