"""The shape of every resource: `apiVersion`, `kind`, `metadata`, `spec`, `status`. `v1alpha1` builds on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

from helios.config.base import HeliosModel
from helios_crds.markers import NotActedOn, Rule, list_map
from helios_crds.types import LabelMap, ObjectName, UsedByName

__all__ = [
    "GROUP",
    "MAX_CONDITIONS",
    "MAX_USED_BY",
    "METADATA_FIELDS",
    "PROXY_NAME_LENGTH",
    "VERSION",
    "Column",
    "Condition",
    "Names",
    "ObjectMeta",
    "PolicyStatus",
    "Resource",
    "Scale",
    "SpecModel",
    "StatusModel",
    "UsedBy",
]

GROUP: Final = "helios.heliosproxy.dev"
VERSION: Final = "v1alpha1"
PROXY_NAME_LENGTH: Final = 52
"""Longest name of a HeliosProxy, in characters. The longest name made from it is `<name>-backends`, a Service, which
may have 63; two characters are left for what a later version appends."""
METADATA_FIELDS: Final = (
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
)
"""Every field of Kubernetes' ObjectMeta."""
MAX_CONDITIONS: Final = 16
MAX_USED_BY: Final = 1_000


class _CamelModel(HeliosModel):
    """camelCase outside, snake_case inside; CEL rules of the whole object in `rules`."""

    model_config = ConfigDict(alias_generator=to_camel)
    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        if cls.rules:
            handler.resolve_ref_schema(schema)["x-helios-rules"] = [rule.name for rule in cls.rules]
        return schema


class SpecModel(_CamelModel):
    """What a user writes: closed to unknown fields."""


class StatusModel(_CamelModel):
    """What the operator writes: a newer operator may have written fields that this version does not know."""

    model_config = ConfigDict(extra="ignore")


class ObjectMeta(StatusModel):
    """The part of Kubernetes' own metadata that Helios reads; the rest is left alone."""

    name: ObjectName
    """Name of the object, unique in its namespace."""
    namespace: str | None = None
    """Namespace; None stands for the current one."""
    labels: LabelMap = Field(default_factory=dict)
    """Labels, copied to nothing."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations."""
    uid: str | None = None
    """Given by the API server."""
    generation: int = 0
    """Counts changes of the spec; given by the API server, 0 for a file."""
    resource_version: str | None = None
    """Given by the API server."""


class Condition(StatusModel):
    """One observation about the object, in the standard form of Kubernetes."""

    type: Annotated[str, Field(max_length=316)]
    """What is observed, e.g. `Ready` or `Accepted`."""
    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""
    reason: Annotated[str, Field(max_length=1024)]
    """Cause in one CamelCase word."""
    message: Annotated[str, Field(max_length=32_768)] = ""
    """Cause in a sentence."""
    last_transition_time: datetime
    """When `status` changed last."""
    observed_generation: Annotated[int | None, Field(ge=0)] = None
    """The `metadata.generation` this was observed on."""


class UsedBy(StatusModel):
    """An object that refers to this one."""

    kind: Annotated[str, Field(max_length=63)]
    """Kind of the object that refers to this one."""
    name: UsedByName
    """Its name; it is in the same namespace."""


class PolicyStatus(StatusModel):
    """What the operator says about a PoolProfile, RoutingRule, AuditPolicy or TenantQuota."""

    observed_generation: Annotated[int | None, Field(ge=0)] = None
    """The `metadata.generation` this status is about."""
    conditions: Annotated[tuple[Condition, ...], list_map("type"), Field(max_length=MAX_CONDITIONS)] = ()
    """`Accepted`: the object is valid and this version of Helios acts on all of it."""
    used_by: Annotated[tuple[UsedBy, ...], list_map("kind", "name"), Field(max_length=MAX_USED_BY)] = ()
    """The objects that refer to this one; cut after 1 000."""


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`; priority 1 shows with `-o wide` only."""

    name: str
    path: str
    type: Literal["string", "integer", "date"] = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True)
class Scale:
    """Paths of the scale subresource, which `kubectl scale` and a HorizontalPodAutoscaler use."""

    spec_replicas: str
    status_replicas: str
    selector: str


@dataclass(frozen=True)
class Names:
    """How a kind is called on the command line."""

    plural: str
    short: tuple[str, ...]
    columns: tuple[Column, ...]
    scale: Scale | None = None


class Resource(_CamelModel):
    """Base of the five kinds. A subclass narrows `kind`, `spec` and `status` and sets `names`."""

    names: ClassVar[Names]
    spec_not_acted_on: ClassVar[NotActedOn | None] = None
    """Set where this version does nothing with the whole kind."""

    api_version: Literal["helios.heliosproxy.dev/v1alpha1"]
    """Group and version of this schema."""
    kind: str
    """Kind of the object."""
    metadata: ObjectMeta
    """Name, namespace and labels."""

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return self.metadata.name

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"
