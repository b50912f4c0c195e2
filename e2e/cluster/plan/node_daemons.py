"""Command lines of what only a node has: containerd, kubelet, scheduler, kube-proxy, CoreDNS. For `node_level`."""

from __future__ import annotations

from cluster.plan.daemons import Daemon, Seen

__all__ = ["NODE_NAME", "containerd", "coredns", "kube_proxy", "kubelet", "scheduler"]

NODE_NAME = "node1"


def containerd(seen: Seen) -> Daemon:
    """The container runtime; its sockets and its state are in the node's own /run."""
    return seen.daemon("containerd", f"--config={seen.file('containerd.toml')}")


def scheduler(seen: Seen) -> Daemon:
    """The scheduler."""
    return seen.daemon(
        "kube-scheduler",
        f"--kubeconfig={seen.file('kube-scheduler.kubeconfig')}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--cert-dir={seen.file('scheduler')}",
    )


def kubelet(seen: Seen, address: str) -> Daemon:
    """The kubelet of the only node."""
    return seen.daemon(
        "kubelet",
        f"--config={seen.file('kubelet.yaml')}",
        f"--kubeconfig={seen.file('kubelet.kubeconfig')}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={address}",
        "--root-dir=/var/lib/kubelet",
    )


def kube_proxy(seen: Seen) -> Daemon:
    """What makes the Services' addresses lead to pods."""
    return seen.daemon("kube-proxy", f"--config={seen.file('kube-proxy.yaml')}", f"--hostname-override={NODE_NAME}")


def coredns(seen: Seen) -> Daemon:
    """The cluster's DNS, on the node's address."""
    return seen.daemon("coredns", f"-conf={seen.file('Corefile')}")
