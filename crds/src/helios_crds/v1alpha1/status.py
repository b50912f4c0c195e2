"""Status of a HeliosProxy, written by the operator."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from helios_crds.base import MAX_CONDITIONS, Condition, StatusModel
from helios_crds.markers import list_map

__all__ = ["EffectiveSetting", "HeliosProxyStatus", "Phase", "PodStatus"]

MAX_EFFECTIVE: Final = 64
MAX_PODS: Final = 1000

Count = Annotated[int | None, Field(ge=0, le=100_000)]


class Phase(StrEnum):
    """Summary for people, derived from the conditions."""

    PENDING = "Pending"
    DEGRADED = "Degraded"
    READY = "Ready"
    FAILED = "Failed"


class EffectiveSetting(StatusModel):
    """A setting with the value in force and where it comes from."""

    field: Annotated[str, Field(max_length=128)]
    """Field of the spec, e.g. `pool.maxConnections`."""

    value: Annotated[str, Field(max_length=1024)]
    """Value in force, as text."""

    source: Annotated[str, Field(max_length=320)]
    """`spec`, `PoolProfile/<name>` or `default`; `features.poolModes` where that switch forces session mode."""


class PodStatus(StatusModel):
    """A pod of the proxy and the configuration it runs."""

    name: Annotated[str, Field(max_length=253)]
    """Name of the pod."""

    ready: bool | None = None
    """Whether the kubelet found it ready."""

    config_hash: Annotated[str | None, Field(max_length=128)] = None
    """Hash of the configuration in force in it; none while it cannot be asked."""

    config_generation: Annotated[int | None, Field(ge=0)] = None
    """Number of that configuration."""

    max_server_connections: Count = None
    """Its share of `limits.maxServerConnections`; none where that is not set, and while it cannot be asked."""

    message: Annotated[str | None, Field(max_length=1024)] = None
    """Why it cannot be asked, or why it refused the configuration."""


class HeliosProxyStatus(StatusModel):
    """What the operator observed."""

    observed_generation: Annotated[int | None, Field(ge=0)] = None
    """The `metadata.generation` this status is about."""

    phase: Phase | None = None
    """`Pending` (no pod ready), `Degraded` (fewer pods ready than wished), `Ready` or `Failed`."""

    current_primary: Annotated[str | None, Field(max_length=261)] = None
    """`host:port` of the primary, as the pods see it."""

    last_failover: datetime | None = None
    """When the primary changed last."""

    healthy_nodes: Count = None
    """Nodes that answered the last poll."""

    unhealthy_nodes: Count = None
    """Nodes that did not answer."""

    replicas: Count = None
    """Pods that exist."""

    ready_replicas: Count = None
    """Pods that are ready."""

    sidecars: Count = None
    """Pods of applications with this proxy in them; none is left out."""

    selector: Annotated[str | None, Field(max_length=1024)] = None
    """Label selector of the pods, for the scale subresource."""

    config_hash: Annotated[str | None, Field(max_length=128)] = None
    """Hash of the configuration that was written last."""

    pods: Annotated[tuple[PodStatus, ...], list_map("name"), Field(max_length=MAX_PODS)] = ()
    """The pods, and which configuration each of them runs."""

    effective: Annotated[tuple[EffectiveSetting, ...], list_map("field"), Field(max_length=MAX_EFFECTIVE)] = ()
    """Pool settings in force and where each comes from."""

    conditions: Annotated[tuple[Condition, ...], list_map("type"), Field(max_length=MAX_CONDITIONS)] = ()
    """Observations, among them `Ready`, `ReferencesResolved` and `ConfigValid`."""
