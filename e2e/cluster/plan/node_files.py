"""Configuration files of a node's daemons. Called by `node_level`; hands on file name → text, for the cluster's folder.

The values differ from the defaults for three reasons: a root without CAP_SYS_RESOURCE (no negative oom scores, no more
open files than it has), several nodes on one machine (nothing outside the node's own folder), and speed.
"""

from __future__ import annotations

import json

from cluster.plan.addresses import NodeAddresses
from cluster.plan.daemons import AUDIT_POLICY, Seen
from cluster.plan.node_mounts import KUBELET_FOLDER

__all__ = ["PAUSE_IMAGE", "node_files"]

PAUSE_IMAGE = "localhost/helios-pause:1"
DNS_READY_PORT = 8181
"""Where CoreDNS says that it has read the Services."""


def node_files(seen: Seen, addresses: NodeAddresses) -> dict[str, str]:
    """Every configuration file, by name."""
    return {
        "audit-policy.yaml": AUDIT_POLICY,
        "containerd.toml": containerd_toml(seen),
        "cni/10-helios.conflist": cni(addresses),
        "kubelet.yaml": as_yaml(kubelet(seen, addresses)),
        "kube-proxy.yaml": as_yaml(kube_proxy(seen, addresses)),
        "Corefile": corefile(seen, addresses),
        "resolv.conf": f"nameserver {addresses.node}\n",
    }


def as_yaml(document: dict[str, object]) -> str:
    """JSON, which is YAML."""
    return json.dumps(document, indent=1) + "\n"


def containerd_toml(seen: Seen) -> str:
    """containerd: layers on the cluster's disk space, sockets in /run of the node."""
    return f"""\
version = 2
root = "{seen.file("containerd")}"
state = "/run/containerd"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{seen.file("cni")}"
"""


def cni(addresses: NodeAddresses) -> str:
    """One bridge for all pods; they leave the node under its address."""
    ranges = [[{"subnet": addresses.pods}]]
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]},
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return as_yaml({"cniVersion": "1.0.0", "name": "helios", "plugins": [bridge, ports]})


def kubelet(seen: Seen, addresses: NodeAddresses) -> dict[str, object]:
    """The kubelet. Eviction starts late: the machine's disk is as full as its owner likes it."""
    full = dict.fromkeys(("nodefs.available", "nodefs.inodesFree", "imagefs.available"), "1%")
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "maxOpenFiles": 16384,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": seen.file("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": seen.file("kubelet.crt"),
        "tlsPrivateKeyFile": seen.file("kubelet.key"),
        "volumePluginDir": f"{KUBELET_FOLDER}/volume-plugins",
        "resolvConf": seen.file("resolv.conf"),
        "clusterDNS": [addresses.node],
        "clusterDomain": "cluster.local",
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", **full},
        # A changed ConfigMap or Secret reaches the pods at once instead of after a minute.
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "syncFrequency": "1s",
        "serializeImagePulls": False,
    }


def kube_proxy(seen: Seen, addresses: NodeAddresses) -> dict[str, object]:
    """kube-proxy by iptables, without a pause between two changes, leaving the kernel's conntrack table as it is."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": seen.file("kube-proxy.kubeconfig")},
        "mode": "iptables",
        "clusterCIDR": addresses.pods,
        "oomScoreAdj": 0,
        "iptables": {"minSyncPeriod": "50ms"},
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def corefile(seen: Seen, addresses: NodeAddresses) -> str:
    """CoreDNS: the cluster's own names, and nothing else."""
    return f"""\
.:53 {{
  bind {addresses.node}
  errors
  ready {addresses.node}:{DNS_READY_PORT}
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {seen.file("coredns.kubeconfig")}
  }}
  cache 5
}}
"""
