"""Open a cluster of a level, or say in one sentence why that cannot be. Called by fixtures and by `make cluster`."""

from __future__ import annotations

from pathlib import Path

from cluster.apiserver_level import open_apiserver
from cluster.cluster import Cluster
from cluster.errors import CannotRun
from cluster.kind_level import open_kind
from cluster.kubeconfig_level import open_kubeconfig
from cluster.level import Level
from cluster.node_level import open_node
from cluster.obstacles import look, obstacle
from cluster.state import new_name

__all__ = ["open_cluster"]


def open_cluster(level: Level | str, name: str | None = None, *, owned: bool = True) -> Cluster:
    """Open a cluster; the caller closes it.

    Args:
        level: how much of a cluster.
        name: what it is called in the cache; a new name when None.
        owned: whether its processes end with this one, whatever ends that. Levels apiserver and node only.

    Raises:
        CannotRun: this machine cannot run the level; the text says why and names those it can.
        ClusterError: it did not come up; the text holds the end of a log.
    """
    level = Level(level)
    machine = look()
    if why := obstacle(level, machine):
        raise CannotRun(why)
    name = name or new_name()
    match level:
        case Level.APISERVER:
            return open_apiserver(name, owned=owned)
        case Level.NODE:
            return open_node(name, owned=owned)
        case Level.KIND:
            return open_kind(name)
        case Level.KUBECONFIG:
            return open_kubeconfig(Path(machine.kubeconfig or ""))
