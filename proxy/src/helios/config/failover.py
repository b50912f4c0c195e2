"""`[failover]`: what becomes of a cluster whose primary is gone. Read by `helios.failover`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from helios.config.base import Flag, HeliosModel, Path, PositiveMilliseconds, PositiveSeconds

__all__ = ["FailoverConfig", "PromotionPolicy"]

KubernetesName = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
Word = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]


class PromotionPolicy(StrEnum):
    """Which standby becomes primary, of those that have received most; one that has more could not follow it."""

    PREFER_SYNC = "prefer_sync"
    """A synchronous one."""
    LEAST_LAG = "least_lag"
    """The one that has replayed most."""
    PRIORITY = "priority"
    """The one with the highest `priority` among the nodes."""
    NEVER = "never"
    """None: clients wait until somebody else promotes one."""


class FailoverConfig(HeliosModel):
    """Promotion of a standby when the primary is gone, and on demand."""

    enabled: Flag = False
    """Whether Helios may promote a standby by itself. Off, since beside CloudNativePG, Patroni and their like two would
    promote; `helios switchover` needs it as well."""

    lease_file: Path | None = None
    """File whose lock is the right to promote; all proxies before the same servers, which run on this machine, name
    the same one. Beside it is kept what was promoted. Without it and `lease_name` nothing is ever promoted."""

    lease_name: KubernetesName | None = None
    """Lease of Kubernetes, in the pod's own namespace, that is the right to promote; all proxies before the same
    servers name the same one. It must exist, and the pod may `get` and `patch` it. Excludes `lease_file`."""

    service_account_dir: Path = "/var/run/secrets/kubernetes.io/serviceaccount"
    """Folder with `token`, `ca.crt` and `namespace` of the identity that may use the Lease. Where Kubernetes mounts it;
    another one for a projected volume."""

    lease_seconds: Annotated[int, Field(strict=True, ge=15, le=600)] = 15
    """Seconds after which a proxy that has not renewed its part of the Lease is not waited for any more. It has let go
    of the primary by then, unless the standbys tell it that nobody can have been promoted. Fifteen outlast a restart of
    the API server, and less would not outlast a poll that hangs."""

    policy: PromotionPolicy = PromotionPolicy.PREFER_SYNC
    """Which standby is promoted of those that have received most. A synchronous one, since that is where one expects
    the next primary."""

    silence_after_seconds: PositiveSeconds = 10
    """Seconds of silence after which a primary may count as gone whose connections are not refused, and only if no
    standby has heard from it for as long either, nor since it must have asked for a sign of life (half of
    `wal_receiver_timeout`). Ten seconds outlast a short break of the network; a primary that refuses connections is not
    waited for."""

    promote_timeout_seconds: PositiveSeconds = 30
    """Seconds that `pg_promote` may take. The standby first replays all that it has received."""

    confirm_timeout_ms: PositiveMilliseconds = 2_000
    """Milliseconds within which every proxy must confirm that it has let go of the old primary; else
    nobody is promoted. Confirming takes a moment unless a process hangs."""

    drain_after_seconds: PositiveSeconds = 10
    """Seconds that a switchover waits for open transactions to end; then it gives up and nothing has changed."""

    fence_command: Annotated[tuple[Word, ...], Field(max_length=64)] = ()
    """Program and arguments that stop the old primary for good before another is promoted; in a pod a program of the
    image, with the rights of the pod. It finds the node in HELIOS_NODE, HELIOS_HOST and HELIOS_PORT and says by status
    0 that it is done; anything else, and nobody is promoted. Empty: the old primary is told by SQL to accept no writes,
    as soon as it can be reached."""

    fence_timeout_seconds: Annotated[int, Field(strict=True, ge=1, le=3_600)] = 10
    """Seconds that `fence_command` may take."""
