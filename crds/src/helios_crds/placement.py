"""Where a rendered configuration will run: in a pod, or as a process of `helios play`. Read by `render`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from helios_crds.since import Version

__all__ = [
    "ADMIN_FOLDER",
    "CERTIFICATE_SUFFIX",
    "LEASE_SUFFIX",
    "PEERS_SUFFIX",
    "READERS_SUFFIX",
    "SECRETS_FOLDER",
    "Placement",
]

SECRETS_FOLDER: Final = PurePosixPath("/etc/heliosproxy/secrets")
ADMIN_FOLDER: Final = PurePosixPath("/etc/heliosproxy/admin")
READERS_SUFFIX: Final = "-ro"
"""Of the Service that leads to standbys, behind the proxy's name."""

PEERS_SUFFIX: Final = "-peers"
"""Of the headless Service over all pods of a proxy, behind the proxy's name."""

CERTIFICATE_SUFFIX: Final = "-tls"
"""Of the Secret with the certificate that cert-manager makes, behind the proxy's name."""

LEASE_SUFFIX: Final = "-failover"
"""Of the Lease that is the right to promote, behind the proxy's name."""


@dataclass(frozen=True)
class Placement:
    """What differs between the places; the defaults are those of a pod made by the operator."""

    secrets_folder: PurePosixPath = SECRETS_FOLDER
    """Folder with `<secret>/<key>` for every file of `RenderResult.secret_files`."""

    listen_host: str = "0.0.0.0"
    """Address for PostgreSQL clients; every interface, since a pod is reached by its Service."""

    listen_port: int | None = None
    """Port for PostgreSQL clients where `spec.listenPort` cannot be had; None: as the spec says."""

    admin_host: str = "0.0.0.0"
    """Address of the admin API; every interface, since the kubelet probes it."""

    admin_port: int | None = None
    """Port of the admin API where `spec.adminPort` cannot be had; None: as the spec says."""

    admin_token_file: str | None = str(ADMIN_FOLDER / "token")
    """File with the admin API's token; None: no token, right on loopback only."""

    admin_tls_cert_file: str | None = str(ADMIN_FOLDER / "tls.crt")
    """File with the admin API's certificate; None: plain HTTP."""

    admin_tls_key_file: str | None = str(ADMIN_FOLDER / "tls.key")
    """File with the key of that certificate."""

    users_file: str | None = None
    """Users file for a proxy that has no Secret with users; None: then Secret `<name>-users` must exist."""

    watch_interval_ms: int = 1000
    """Milliseconds between two looks at the mounted files; 0: a reload is asked for."""

    lease_file: str | None = None
    """File whose lock is the right to promote a standby; None: the pods share a Lease of Kubernetes."""

    pods: int | None = 0
    """Pods that share a total with it, where they are more than `spec.replicas`; None: it has the total for itself."""

    version: Version | None = None
    """Version of the oldest proxy that reads the configuration; None: this one."""

    generation: int = 0
    """Number of the configuration; a proxy never loads a lower one."""

    @classmethod
    def local(
        cls,
        secrets_folder: PurePosixPath,
        listen_port: int | None = None,
        admin_port: int | None = None,
        users_file: str | None = None,
        lease_file: str | None = None,
    ) -> Placement:
        """On this machine: everything on loopback, admin API without token and certificate."""
        return cls(
            secrets_folder=secrets_folder,
            listen_host="127.0.0.1",
            listen_port=listen_port,
            admin_host="127.0.0.1",
            admin_port=admin_port,
            admin_token_file=None,
            admin_tls_cert_file=None,
            admin_tls_key_file=None,
            users_file=users_file,
            lease_file=lease_file,
            watch_interval_ms=0,
            pods=None,
        )
