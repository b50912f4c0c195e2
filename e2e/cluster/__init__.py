"""Real Kubernetes clusters for tests and for `make cluster`: an API server alone, or a whole node on this machine.

`with open_cluster("node") as cluster: cluster.kubectl("get", "nodes")`. What a cluster consists of is worked out by
`cluster.plan`, which touches nothing; the modules beside it put that into effect. More in `docs/guides/cluster.md`.
"""

from cluster.cluster import Cluster
from cluster.errors import CannotRun, ClusterError, KubectlError
from cluster.images import BUSYBOX_IMAGE, busybox_archive
from cluster.level import Level
from cluster.obstacles import look, obstacle
from cluster.opening import open_cluster

__all__ = [
    "BUSYBOX_IMAGE",
    "CannotRun",
    "Cluster",
    "ClusterError",
    "KubectlError",
    "Level",
    "busybox_archive",
    "look",
    "obstacle",
    "open_cluster",
]
