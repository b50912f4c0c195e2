"""An operator killed after any of its writes leaves nothing that the next one does not bring to the same end."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import Cluster
from harness.api_relay import ApiRelay
from harness.operator import OperatorProcess, kubeconfig_of_operator
from harness.resources import Shop
from harness.wait import until

MOST_WRITES = 30
KINDS = ("configmap", "secret", "service", "deployment", "poddisruptionbudget")


def picture(shop: Shop) -> dict[str, Any]:
    """Everything the operator made, without what the API server adds or chance decides."""
    found: dict[str, Any] = {}
    owner = shop.get("heliosproxy", "web")["metadata"]["uid"]
    for kind in KINDS:
        for item in json.loads(shop.kubectl("get", kind, "-o", "json"))["items"]:
            metadata = item["metadata"]
            references = metadata.get("ownerReferences") or [{}]
            if references[0].get("uid") != owner:
                continue
            annotations = metadata.get("annotations") or {}
            made = {key: value for key, value in annotations.items() if "helios" in key and "/applied" not in key}
            content = sorted(item["data"]) if kind == "secret" else item.get("data")
            spec = {k: v for k, v in (item.get("spec") or {}).items() if not k.startswith(("clusterIP", "ipFam"))}
            found[f"{kind}/{metadata['name']}"] = [made, metadata["labels"], content, spec]
    return found


class Trial:
    """A namespace's proxy, worked on by operators one after the other."""

    def __init__(self, cluster: Cluster, shop: Shop, folder: Path) -> None:
        self.cluster, self.shop, self.folder = cluster, shop, folder
        self.direct = kubeconfig_of_operator(cluster, folder / "direct")
        self.count = 0

    def settle(self) -> dict[str, Any]:
        """Let an operator that nobody cuts finish; what is there then."""
        self.count += 1
        with OperatorProcess(self.direct, self.folder, name=f"whole-{self.count}").wait_leading() as operator:
            self.shop.await_deployed()
            operator.wait_idle()
            return picture(self.shop)

    def cut(self, after: int) -> list[str]:
        """Run an operator and kill it after so many writes; the writes it came to, fewer where it was done before."""
        self.count += 1
        box: list[OperatorProcess] = []
        relay = ApiRelay(self.cluster.server, after, lambda: box[0].kill())  # noqa: PLW0108 - not there yet
        try:
            kubeconfig = kubeconfig_of_operator(self.cluster, self.folder / f"relay-{self.count}", relay.url)
            box.append(OperatorProcess(kubeconfig, self.folder, name=f"cut-{self.count}"))
            operator = box[0]
            until(lambda: operator.exit_status is not None or self._is_done(operator), "cut or done", 40)
            assert operator.exit_status in (None, -signal.SIGKILL), operator.log
            operator.kill()
            return relay.changes[:after]
        finally:
            relay.stop()

    def _is_done(self, operator: OperatorProcess) -> bool:
        if operator.exit_status is not None or "health=" not in operator.log:
            return False
        try:
            idle = operator.metric("queue_length") == 0 and operator.metric("looks_total") > 0
        except (OSError, IndexError, AssertionError):
            return False  # it is being killed
        status = self.shop.get("heliosproxy", "web")
        seen = (status.get("status") or {}).get("observedGeneration") == status["metadata"]["generation"]
        return idle and seen


@pytest.fixture
def fresh(installed: Cluster, tmp_path: Path) -> Iterator[Callable[[str], Trial]]:
    """A new namespace for every trial: each cut starts from the same point."""
    made: list[str] = []

    def make(name: str) -> Trial:
        namespace = f"cut-{tmp_path.name[-8:].strip('-_').lower().replace('_', '-')}-{name}"
        installed.kubectl("create", "namespace", namespace)
        made.append(namespace)
        return Trial(installed, Shop(installed, namespace), tmp_path / name)

    yield make
    for namespace in made:
        installed.kubectl("delete", "namespace", namespace, "--wait=false")


def test_first_reconcile_cut_after_every_write(fresh: Callable[[str], Trial]) -> None:
    whole = fresh("whole")
    whole.shop.proxy(pool={"maxConnections": 9})
    wanted = whole.settle()
    whole.shop.kubectl("delete", "heliosproxy", "web")
    assert len(wanted) == 8

    cuts = 0
    for number in range(1, MOST_WRITES):
        trial = fresh(f"n{number}")
        trial.shop.proxy(pool={"maxConnections": 9})
        changes = trial.cut(number)
        assert trial.settle() == wanted, f"after a cut behind write {number}: {changes}"
        trial.shop.kubectl("delete", "heliosproxy", "web")
        if len(changes) < number:
            break
        cuts = number
    print(f"cut after each of {cuts} writes")
    assert cuts >= 7


def test_update_cut_after_every_write(fresh: Callable[[str], Trial]) -> None:
    def update(trial: Trial) -> None:
        trial.shop.proxy(pool={"maxConnections": 11}, workers=2, replicas=3, listenPort=5432)

    whole = fresh("whole")
    whole.shop.proxy()
    whole.settle()
    update(whole)
    wanted = whole.settle()
    whole.shop.kubectl("delete", "heliosproxy", "web")

    cuts = 0
    for number in range(1, MOST_WRITES):
        trial = fresh(f"n{number}")
        trial.shop.proxy()
        trial.settle()
        update(trial)
        changes = trial.cut(number)
        assert trial.settle() == wanted, f"after a cut behind write {number}: {changes}"
        trial.shop.kubectl("delete", "heliosproxy", "web")
        if len(changes) < number:
            break
        cuts = number
    print(f"cut after each of {cuts} writes")
    assert cuts >= 5
