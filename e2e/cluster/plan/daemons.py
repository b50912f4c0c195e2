"""Command lines of etcd, the API server and the controller manager. Called by both levels; handed to the supervisor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.plan.addresses import ApiAddresses

__all__ = ["AUDIT_POLICY", "Daemon", "Seen", "controller_manager", "etcd", "kube_apiserver"]

AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
"""
"""Who asked for what and was told what, once per request; a watch when it begins and when it ends."""


@dataclass(frozen=True)
class Daemon:
    """A process that the supervisor keeps."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """A cluster's folder and programs as its daemons see them: a node has another view than the machine."""

    folder: Path
    programs: Mapping[str, Path]

    def file(self, name: str) -> str:
        """Path of a file of the cluster's folder."""
        return str(self.folder / name)

    def daemon(self, name: str, *flags: str, program: str | None = None) -> Daemon:
        """A daemon that runs one of the programs."""
        return Daemon(name, (str(self.programs[program or name]), *flags))


def etcd(seen: Seen, api: ApiAddresses) -> Daemon:
    """etcd on loopback. Nothing here has to survive a power cut, so it never waits for the disk."""
    clients, peers = f"http://127.0.0.1:{api.etcd_port}", f"http://127.0.0.1:{api.etcd_peer_port}"
    return seen.daemon(
        "etcd",
        f"--data-dir={seen.file('etcd')}",
        "--unsafe-no-fsync",
        "--log-level=warn",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
    )


def kube_apiserver(seen: Seen, api: ApiAddresses, *, has_node: bool) -> Daemon:
    """The API server, with RBAC and the audit log on."""
    flags = [
        f"--etcd-servers=http://127.0.0.1:{api.etcd_port}",
        f"--bind-address={api.host}",
        f"--secure-port={api.port}",
        f"--advertise-address={api.advertised}",
        f"--tls-cert-file={seen.file('apiserver.crt')}",
        f"--tls-private-key-file={seen.file('apiserver.key')}",
        f"--client-ca-file={seen.file('ca.crt')}",
        f"--service-cluster-ip-range={api.services}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={seen.file('service-accounts.key')}",
        f"--service-account-signing-key-file={seen.file('service-accounts.key')}",
        f"--audit-policy-file={seen.file('audit-policy.yaml')}",
        f"--audit-log-path={seen.file('audit.log')}",
        "--audit-log-maxsize=0",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged",
    ]
    if has_node:
        flags += [
            "--enable-admission-plugins=NodeRestriction",
            f"--kubelet-client-certificate={seen.file('apiserver-kubelet.crt')}",
            f"--kubelet-client-key={seen.file('apiserver-kubelet.key')}",
            f"--kubelet-certificate-authority={seen.file('ca.crt')}",
            "--kubelet-preferred-address-types=InternalIP",
        ]
    else:
        # Its address is not reachable under the Service `kubernetes`, so it must not be written there.
        flags += ["--endpoint-reconciler-type=none"]
    return seen.daemon("kube-apiserver", *flags)


def controller_manager(seen: Seen, api: ApiAddresses, *, has_node: bool) -> Daemon:
    """The built-in controllers: Deployments, garbage collection, namespaces, service accounts.

    With the default limits of 20 requests a second the ServiceAccount of a new namespace comes seconds late.
    """
    flags = [
        f"--kubeconfig={seen.file('kube-controller-manager.kubeconfig')}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={api.controller_port}",
        f"--cert-dir={seen.file('controller-manager')}",
        f"--service-account-private-key-file={seen.file('service-accounts.key')}",
        f"--root-ca-file={seen.file('ca.crt')}",
        f"--cluster-signing-cert-file={seen.file('ca.crt')}",
        f"--cluster-signing-key-file={seen.file('ca.key')}",
        "--use-service-account-credentials",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        f"--flex-volume-plugin-dir={seen.file('volume-plugins')}",
    ]
    if has_node:
        flags += ["--enable-hostpath-provisioner"]
    return seen.daemon("kube-controller-manager", *flags)
