"""Level kubeconfig: a cluster that somebody else runs, named by HELIOS_KUBECONFIG. Called by `open_cluster`."""

from __future__ import annotations

import json
from pathlib import Path

from cluster.cluster import Cluster
from cluster.errors import CannotRun
from cluster.level import Level
from cluster.programs import find_programs

__all__ = ["GivenCluster", "open_kubeconfig", "server_of"]


class GivenCluster(Cluster):
    """A cluster that is there before us and stays after us."""

    level = Level.KUBECONFIG

    def __init__(self, kubeconfig: Path, kubectl: Path) -> None:
        self.name = kubeconfig.stem
        self.kubeconfig = kubeconfig
        self.kubectl_program = kubectl

    def close(self) -> None:
        """Leave it as it is: tests remove the namespaces that they made."""


def open_kubeconfig(kubeconfig: Path) -> GivenCluster:
    """Use the current context of a kubeconfig.

    Raises:
        CannotRun: the file does not exist.
        KubectlError: the cluster does not answer.
    """
    if not kubeconfig.is_file():
        raise CannotRun(f"level kubeconfig cannot run here: {kubeconfig} does not exist")
    cluster = GivenCluster(kubeconfig, find_programs(Level.KUBECONFIG)["kubectl"])
    cluster.server = server_of(cluster)
    cluster.kubectl("get", "--raw", "/readyz")
    return cluster


def server_of(cluster: Cluster) -> str:
    """URL of the API server that a cluster's kubeconfig leads to."""
    view = json.loads(cluster.kubectl("config", "view", "--minify", "-o", "json"))
    return str(view["clusters"][0]["cluster"]["server"])
