"""The webhooks of an operator that runs beside the cluster: the configurations of install.yaml, led to its own port."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from cluster import Cluster
from harness.operator import INSTALL, NAMESPACE, OperatorProcess
from harness.wait import until
from helios.play.process import free_port
from helios_operator.names import WEBHOOKS

__all__ = ["CONFIGURATIONS", "AdmittingOperator", "remove_webhooks"]

Json = dict[str, Any]
CONFIGURATIONS = ("validatingwebhookconfiguration", "mutatingwebhookconfiguration")


class AdmittingOperator(OperatorProcess):
    """An operator whose webhooks the API server asks."""

    def __init__(self, cluster: Cluster, kubeconfig: Path, folder: Path, *options: str, name: str = "operator") -> None:
        self._cluster = cluster
        self.port = free_port()
        quick = ("--webhook-refresh=1", "--webhook-overlap=3")
        here = (f"--webhook-address=127.0.0.1:{self.port}", "--webhook-host=127.0.0.1")
        super().__init__(kubeconfig, folder, *here, *quick, *options, name=name)

    def configure(self, **changes: Any) -> None:
        """Have the API server ask it; `changes` are fields of each webhook."""
        made = [each for each in yaml.safe_load_all(INSTALL.read_text()) if each["kind"].lower() in CONFIGURATIONS]
        for configuration in made:
            for webhook in configuration["webhooks"]:
                path = webhook["clientConfig"].pop("service")["path"]
                webhook["clientConfig"]["url"] = f"https://127.0.0.1:{self.port}{path}"
                webhook.update(changes)
        self._cluster.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(made))
        until(self.is_published, f"the API server knows the certificate; the log: {self.log[-2000:]}", 60)

    def is_published(self) -> bool:
        """Whether each webhook has the certificates that the Secret says."""
        return all(bundle == self.secret().get("ca.crt") for bundle in self.bundles())

    def bundles(self) -> list[str]:
        """What the API server trusts, of each webhook; in base64."""
        found = json.loads(self._cluster.kubectl("get", ",".join(CONFIGURATIONS), "-o", "json"))["items"]
        return [
            webhook["clientConfig"].get("caBundle", "")
            for configuration in found
            if configuration["metadata"]["name"] == WEBHOOKS
            for webhook in configuration["webhooks"]
        ]

    def secret(self) -> Json:
        """Content of the Secret with the certificate; empty where there is none."""
        text = self._cluster.kubectl("-n", NAMESPACE, "get", "secret", WEBHOOKS, "--ignore-not-found", "-o", "json")
        found: Json = json.loads(text)["data"] if text else {}
        return found


def remove_webhooks(cluster: Cluster) -> None:
    """No operator is asked any more, and the next one makes a certificate of its own."""
    for kind in CONFIGURATIONS:
        cluster.kubectl("delete", kind, WEBHOOKS, "--ignore-not-found")
    cluster.kubectl("-n", NAMESPACE, "delete", "secret", WEBHOOKS, "--ignore-not-found")
