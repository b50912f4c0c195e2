"""The operator as a process, as it is run in a cluster: its own identity, its own Lease. Used by e2e/kubernetes.

`install` brings CRDs and rights, as `kubectl apply -f operator/install.yaml` does; `OperatorProcess` then runs beside
the cluster with a token of the ServiceAccount, so that a right that is missing shows.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import yaml

from cluster import Cluster
from harness.wait import until

ROOT = Path(__file__).resolve().parents[2]
INSTALL = ROOT / "operator" / "install.yaml"
NAMESPACE = "helios-system"
ACCOUNT = "helios-operator"
START_SECONDS = 30.0
STOP_SECONDS = 15.0
QUICK = ("--lease-duration=5", "--lease-renew=1", "--retry=1", "--poll-interval=1")
"""Times of tests: what takes seconds in a cluster may not hold up every test."""


OUTSIDE = ("Deployment", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
"""Kinds of install.yaml that mean an operator in the cluster; the API server would ask for it in vain."""


def install(cluster: Cluster) -> None:
    """Apply install.yaml without what needs the operator in the cluster, and wait until the kinds are served."""
    documents = [each for each in yaml.safe_load_all(INSTALL.read_text()) if each["kind"] not in OUTSIDE]
    cluster.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(documents))
    crds = {each["metadata"]["name"] for each in documents if each["kind"] == "CustomResourceDefinition"}
    until(lambda: crds <= established(cluster), "the CRDs are served", START_SECONDS)


def established(cluster: Cluster) -> set[str]:
    """Names of the CRDs that are served. `kubectl wait` fails on one that has no condition yet."""
    items = json.loads(cluster.kubectl("get", "crd", "-o", "json"))["items"]
    conditions = {item["metadata"]["name"]: (item.get("status") or {}).get("conditions") or () for item in items}
    return {name for name, listed in conditions.items() if ("Established", "True") in map(_turned, listed)}


def _turned(condition: dict[str, str]) -> tuple[str, str]:
    return condition["type"], condition["status"]


def kubeconfig_of_operator(cluster: Cluster, folder: Path, server: str | None = None) -> Path:
    """A kubeconfig with a token of the operator's ServiceAccount; `server` instead of the cluster's own URL."""
    token = cluster.kubectl("-n", NAMESPACE, "create", "token", ACCOUNT, "--duration=2h").strip()
    document = yaml.safe_load(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "yaml"))
    document["users"][0]["user"] = {"token": token}
    if server is not None:
        document["clusters"][0]["cluster"] = {"server": server, "insecure-skip-tls-verify": True}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    return file


class OperatorProcess:
    """One running operator. Its log is `log_file`; ended by `stop`, or killed as a node's failure would."""

    def __init__(
        self,
        kubeconfig: Path,
        folder: Path,
        *options: str,
        name: str = "operator",
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`environment` is added to that of this process."""
        folder.mkdir(parents=True, exist_ok=True)
        self.kubeconfig = kubeconfig
        self.log_file = folder / f"{name}.log"
        arguments = [f"--kubeconfig={kubeconfig}", f"--identity={name}", "--health-address=127.0.0.1:0", *QUICK]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "helios_operator", *arguments, *options],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**{key: value for key, value in os.environ.items() if key != "KUBECONFIG"}, **environment},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything logged so far."""
        return self.log_file.read_text(errors="replace")

    @property
    def exit_status(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    @property
    def url(self) -> str:
        """Base URL of its probes."""
        return until(self._url, f"the operator listens; its log: {self.log[-2000:]}", START_SECONDS)

    def _url(self) -> str:
        found = re.findall(r"health=(http://\S+)", self.log)
        assert self.exit_status is None, f"the operator ended:\n{self.log[-4000:]}"
        return str(found[-1]) if found else ""

    def get(self, path: str) -> str:
        """Text that a probe answers."""
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:
            return str(answer.read().decode())

    def metric(self, name: str) -> float:
        """A figure of /metrics, without the prefix."""
        return float(re.findall(rf"^helios_operator_{name} (\S+)$", self.get("/metrics"), re.M)[0])

    def wait_leading(self) -> OperatorProcess:
        """Return when it holds the Lease."""
        until(lambda: self.metric("leading") == 1, "the operator leads", START_SECONDS)
        return self

    def wait_idle(self, deadline: float = 30.0) -> None:
        """Return when it has nothing left to look at."""
        until(lambda: self.metric("queue_length") == 0 and self.metric("looks_total") > 0, "no work is left", deadline)

    def memory_bytes(self) -> int:
        """Resident memory of the process."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) * 1024

    def cpu_seconds(self) -> float:
        """Processor time used so far."""
        parts = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> int:
        """End it as the kubelet does; its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def freeze(self) -> None:
        """Stop it in its tracks, as a machine that swaps would."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self._process.kill()
        self._process.wait(STOP_SECONDS)


def objects(cluster: Cluster, namespace: str, kind: str) -> dict[str, dict[str, object]]:
    """Name → object of one kind in a namespace."""
    items = json.loads(cluster.kubectl("-n", namespace, "get", kind, "-o", "json"))["items"]
    return {item["metadata"]["name"]: item for item in items}
