"""The one table of what infrastructure code may say about the five kinds: every attribute, once, from the models.

`RESOURCES` is made of the trees of `helios_crds`. The Terraform schema, the Pulumi schema, the constructs for cdktf and
the reference pages are made of it; `values` translates by it. A name is that of the field in snake case, except where
`_RENAMED` keeps the spelling that users of the original know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from helios_crds import KINDS, Resource
from helios_crds.node import MISSING, Node, tree

__all__ = ["METADATA", "MISSING", "RESOURCES", "Field", "ResourceType", "camel", "resource_of_kind", "snake"]

_RENAMED: Final[Mapping[tuple[str, ...], str]] = {
    ("RoutingRule", "match", "applicationName"): "application_name_patterns",
    ("HeliosProxy", "provider"): "failover_provider",
}
"""Kind and path below spec → the name that the original's Terraform provider had, or another than one that Terraform
keeps for itself."""
_NAMED: Final = frozenset({"poolProfileRef", "auditPolicyRef", "routingRuleRefs", "tenantQuotaRefs"})
"""References to our own kinds are written as names, without an object around."""
_ONLY_EQUAL: Final = re.compile(r"^self\.(\w+) == oldSelf\.\1$")
"""A rule of this form makes a field immutable: another value needs another object."""
_SIMPLE: Final = frozenset({"string", "integer", "number", "boolean"})


def snake(name: str) -> str:
    """`idleTimeoutSeconds` → `idle_timeout_secs`: seconds are `_secs` throughout, as the original wrote them."""
    made = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return re.sub(r"_seconds$", "_secs", made)


def camel(name: str) -> str:
    """`idle_timeout_secs` → `idleTimeoutSecs`."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


@dataclass(frozen=True)
class Field:
    """One attribute: a value, a list or map of values, or an object of attributes."""

    name: str
    """In Terraform; Pulumi has it in camel case."""
    key: str
    """In the object, below its parent."""
    kind: str
    """`string`, `integer`, `number`, `boolean`, `quantity`, `list`, `map`, `object`, or `json`: an object of another
    schema, which is JSON text in Terraform."""
    description: str = ""
    required: bool = False
    default: Any = MISSING
    """What the API server writes where it is left out, in the shape of the attribute."""
    replaces: bool = False
    """Whether another value needs another object."""
    is_name: bool = False
    """Whether the object has `{name: value}` where the attribute is the value alone."""
    bounds: Mapping[str, Any] = field(default_factory=dict)
    item: Field | None = None
    """What a list or map holds."""
    fields: tuple[Field, ...] = ()
    """What an object holds."""

    @property
    def camel(self) -> str:
        """The name in Pulumi."""
        return camel(self.name)

    @property
    def has_default(self) -> bool:
        """Whether the API server fills it in."""
        return self.default is not MISSING

    @property
    def list_keys(self) -> tuple[str, ...]:
        """Keys that tell the items of a list apart, whatever their order; empty where the order counts."""
        match self.bounds.get("x-kubernetes-list-type"):
            case "map":
                return tuple(self.bounds["x-kubernetes-list-map-keys"])
            case "set":
                return ("",)
        return ()

    @cached_property
    def by_key(self) -> Mapping[str, Field]:
        """The attributes of an object by their key in the resource."""
        return {each.key: each for each in self.fields}

    def walk(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Field]]:
        """This attribute and all below with their paths; `[]` stands for every item of a list or map."""
        path = (*path, self.name)
        yield path, self
        for each in self.fields:
            yield from each.walk(path)
        if self.item is not None:
            for each in self.item.fields:
                yield from each.walk((*path, "[]"))


METADATA: Final = (
    Field("name", "name", "string", "Name of the object, unique in its namespace.", required=True, replaces=True),
    Field("namespace", "namespace", "string", "Namespace. Left out: that of the provider.", replaces=True),
    Field(
        "labels",
        "labels",
        "map",
        "Labels. Those that others set are left alone.",
        item=Field("labels", "labels", "string"),
    ),
    Field(
        "annotations",
        "annotations",
        "map",
        "Annotations. Those that others set are left alone.",
        item=Field("annotations", "annotations", "string"),
    ),
)
"""What every kind has beside its spec."""


@dataclass(frozen=True)
class ResourceType:
    """One kind as infrastructure code sees it."""

    word: str
    """`pool_profile`: the name in Terraform without the prefix."""
    kind: str
    description: str
    spec: Field
    """An object with the attributes of the spec."""
    status: Field
    """An object with what the operator observed."""
    ready: str
    """The condition that a wait is for."""

    @property
    def model(self) -> type[Resource]:
        """The pydantic model."""
        return KINDS[self.kind]

    @property
    def token(self) -> str:
        """The name in Pulumi without the package: `PoolProfile`."""
        return "".join(part.capitalize() for part in self.word.split("_"))

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """All attributes, flat: metadata, then the spec's."""
        return (*METADATA, *self.spec.fields)


def _field(kind: str, key: str, node: Node, path: tuple[str, ...], *, required: bool) -> Field:
    """The attribute of a node; `path` is that below spec."""
    name = _RENAMED.get((kind, *path), snake(key))
    made = Field(name, key, _kind(node), node.description, required, bounds=node.bounds)
    if key in _NAMED:
        return _named(made)
    if node.items is not None:
        item = _field(kind, key, node.items, path, required=False)
        made = replace(made, item=item)
    if node.properties:
        made = replace(made, fields=_below(kind, node, path))
    return replace(made, default=_default(node, made))


def _below(kind: str, node: Node, path: tuple[str, ...]) -> tuple[Field, ...]:
    equal = {found[1] for rule in node.rules if (found := _ONLY_EQUAL.match(rule.rule))}
    made = [
        _field(kind, key, child, (*path, key), required=key in node.required) for key, child in node.properties.items()
    ]
    return tuple(replace(each, replaces=True) if each.key in equal else each for each in made)


def _named(made: Field) -> Field:
    text = replace(made, kind="string", is_name=True, bounds={})
    return text if made.kind == "object" else replace(made, item=text)


def _kind(node: Node) -> str:
    if node.kind in _SIMPLE:
        return node.kind
    return {"int-or-string": "quantity", "array": "list", "open": "json"}.get(node.kind, node.kind)


def _default(node: Node, made: Field) -> Any:
    if node.default is MISSING or not isinstance(node.default, dict):
        return node.default
    # Objects default to the attributes' own names; maps such as resources.limits keep their keys.
    return _respelt(made, node.default)


def _respelt(made: Field, value: Any) -> Any:
    if made.kind == "object" and isinstance(value, dict):
        return {each.name: _respelt(each, value.get(each.key)) for each in made.fields}
    return value


_WORDS: Final = {
    "HeliosProxy": "instance",
    "PoolProfile": "pool_profile",
    "RoutingRule": "routing_rule",
    "AuditPolicy": "audit_policy",
    "TenantQuota": "tenant_quota",
}


def _resource(kind: str, word: str) -> ResourceType:
    root = tree(KINDS[kind])
    parts = {
        part: replace(_field(kind, part, root.properties[part], (), required=False), default=MISSING)
        for part in ("spec", "status")
    }
    ready = "Ready" if kind == "HeliosProxy" else "Accepted"
    return ResourceType(word, kind, root.description, parts["spec"], parts["status"], ready)


RESOURCES: Final[Mapping[str, ResourceType]] = {word: _resource(kind, word) for kind, word in _WORDS.items()}
"""Word → kind, in the order of the documentation."""


def resource_of_kind(kind: str) -> ResourceType:
    """The entry of a kind such as `PoolProfile`."""
    return RESOURCES[_WORDS[kind]]
