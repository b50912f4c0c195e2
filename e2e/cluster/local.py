"""Clusters whose daemons are ours: the common part of the levels apiserver and node. Called by those two."""

from __future__ import annotations

import http.client
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from cluster import state
from cluster.cluster import Cluster
from cluster.control import Control, await_condition
from cluster.errors import ClusterError, KubectlError
from cluster.level import Level
from cluster.plan.credentials import ADMIN_KUBECONFIG
from cluster.plan.daemons import Daemon

__all__ = ["LocalCluster", "write_files"]

READY_SECONDS = 120.0
END_SECONDS = 30.0
SECRET = 0o600


class LocalCluster(Cluster):
    """Daemons below one supervisor, files in one folder."""

    def __init__(self, folder: Path, level: Level, server: str, programs: Mapping[str, Path]) -> None:
        self.name = folder.name
        self.level = level
        self.folder = folder
        self.server = server
        self.control = Control(folder)
        self.kubeconfig = folder / ADMIN_KUBECONFIG
        self.audit_log = folder / "audit.log"
        self.kubectl_program = programs["kubectl"]
        # Its addresses are this machine's, so no proxy; what it knows of the API goes with the cluster.
        self.kubectl_environment = {"KUBECACHEDIR": str(folder / "kubectl"), "NO_PROXY": "*", "no_proxy": "*"}
        self.apiserver: Daemon | None = None
        """How the API server is started again; None when this process did not start the cluster."""
        self.supervisor: subprocess.Popen[bytes] | None = None
        """None when another process started it."""
        self._http: urllib.request.OpenerDirector | None = None

    def start(self, daemon: Daemon) -> None:
        """Start a daemon."""
        self.control.start(daemon)

    def get(self, url: str) -> bool:
        """Whether a GET is answered with 200. Never through a proxy: the addresses are this machine's."""
        if self._http is None:
            trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self.folder / "ca.crt")))
            self._http = urllib.request.build_opener(trust, urllib.request.ProxyHandler({}))
        try:
            with self._http.open(url, timeout=5) as answer:
                return bool(answer.status == http.HTTPStatus.OK)
        except (urllib.error.URLError, http.client.HTTPException, OSError):
            # Not listening yet, or listening and not ready: the caller polls.
            return False

    def await_apiserver(self) -> None:
        """Wait until the API server is ready, its first objects included."""
        self.control.wait(lambda: self.get(f"{self.server}/readyz"), "the API server is ready", READY_SECONDS)

    def await_object(self, what: str, *arguments: str) -> None:
        """Wait until `kubectl get …` finds something."""

        def found() -> bool:
            try:
                self.kubectl("get", *arguments)
            except KubectlError:
                return False
            return True

        self.control.wait(found, what, READY_SECONDS)

    def stop_apiserver(self) -> None:
        """Kill the API server as a crash would; etcd and all others go on."""
        self.control.stop("kube-apiserver")

    def start_apiserver(self) -> None:
        """Start the API server with the same arguments and wait until it is ready."""
        if self.apiserver is None:
            raise ClusterError(f"{self.name}: was started by another process")
        self.start(self.apiserver)
        self.await_apiserver()

    def close(self) -> None:
        """End all processes, then remove what they leave."""
        if self.folder.is_dir():
            self.end_processes()
            with state.exclusive():
                state.remove(self.folder)

    def abandon(self) -> None:
        """Close a cluster that did not come up, by who holds `state.exclusive` already."""
        self.end_processes()
        state.remove(self.folder)

    def end_processes(self) -> None:
        """End the supervisor and with it everything that it started."""
        record = state.read_record(self.folder)
        if self.control.alive():
            self.control.call({"end": True})
        if self.supervisor is not None:
            if self.supervisor.stdin is not None:
                self.supervisor.stdin.close()
            self.supervisor.wait(END_SECONDS)
        elif record is not None and record.process:
            pid = record.process
            await_condition(lambda: has_ended(pid), f"process {pid} has ended", END_SECONDS)


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write a cluster's files, readable by its owner only: many hold keys."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(SECRET)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or only waits to be collected by its parent."""
    try:
        status = Path("/proc", str(pid), "stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] == "Z"
