"""How much of a cluster there is. Called by the fixtures and by everything that opens a cluster.

`apiserver` has no nodes: objects are stored, validated and reconciled by the built-in controllers, no pod ever runs.
The others run pods: `node` on a kubelet of our own, `kind` on Docker, `kubeconfig` wherever the file leads.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Level"]


class Level(StrEnum):
    """A kind of cluster, and what a test may need of one."""

    APISERVER = "apiserver"
    NODE = "node"
    KIND = "kind"
    KUBECONFIG = "kubeconfig"

    @property
    def runs_pods(self) -> bool:
        """Whether there is a kubelet."""
        return self is not Level.APISERVER

    def serves(self, needed: Level) -> bool:
        """Whether a test that needs a level can run on this one."""
        return self.runs_pods if needed is Level.NODE else needed in (Level.APISERVER, self)
