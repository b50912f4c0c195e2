"""Level kind: a cluster of `kind` on a Docker engine that is there. Called by `open_cluster`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from cluster.cluster import Cluster
from cluster.errors import ClusterError
from cluster.kubeconfig_level import server_of
from cluster.level import Level
from cluster.programs import cache_folder, find_programs
from helios_make.kind import CONFIGURATION
from helios_make.places import find_places

__all__ = ["KindCluster", "open_kind"]

KIND_SECONDS = 600.0
"""The first one pulls kind's node image."""


class KindCluster(Cluster):
    """A cluster that kind made and will delete."""

    level = Level.KIND

    def __init__(self, name: str, folder: Path, kubectl: Path) -> None:
        self.name = name
        self.folder = folder
        self.kubeconfig = folder / "admin.kubeconfig"
        self.kubectl_program = kubectl

    def load_image(self, archive: Path) -> None:
        """Load a docker archive into the node."""
        kind("load", "image-archive", str(archive), "--name", self.name)

    def close(self) -> None:
        """Delete the cluster."""
        if self.folder.is_dir():
            kind("delete", "cluster", "--name", self.name, "--kubeconfig", str(self.kubeconfig))
            shutil.rmtree(self.folder)


def open_kind(name: str) -> KindCluster:
    """Create a cluster and wait until its node is ready.

    Raises:
        ClusterError: kind failed; the text is what it wrote.
    """
    folder = cache_folder() / "kind" / name
    configuration = find_places().root / CONFIGURATION
    folder.mkdir(parents=True)
    cluster = KindCluster(name, folder, find_programs(Level.KIND)["kubectl"])
    try:
        options = ("--config", str(configuration), "--name", name, "--kubeconfig", str(cluster.kubeconfig))
        kind("create", "cluster", *options, "--wait", "5m")
        cluster.server = server_of(cluster)
    except BaseException:
        cluster.close()
        raise
    return cluster


def kind(*arguments: str) -> None:
    """Run kind."""
    command = ["kind", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=KIND_SECONDS, check=False)
    if answer.returncode != 0:
        raise ClusterError(f"{' '.join(command)}: {answer.stderr.strip()}")
