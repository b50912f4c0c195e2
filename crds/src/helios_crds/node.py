"""One tree for every generator: a resource's schema without references, nulls and pydantic's noise.

`tree(model)` makes it once from pydantic's JSON schema. `structural` (CRDs), `editor` (JSON Schema), `reference`
(pages) and `parse` (rules, nearest field) walk it; the Terraform and Pulumi schemas will.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from helios_crds.markers import NotActedOn, Rule, rule_named

__all__ = ["MISSING", "Mirror", "Node", "tree"]

MISSING: Final = object()
"""Stands for "no default", since None could be one."""

_BOUNDS: Final = (
    "enum",
    "format",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
)
_LIST_KEYS: Final = ("x-kubernetes-list-type", "x-kubernetes-list-map-keys")


@dataclass(frozen=True)
class Mirror:
    """The configuration field that a resource's field stands for."""

    model: type[BaseModel]
    name: str
    otherwise: str = ""
    """What holds where the field is left out, if it is not `default`."""

    @property
    def default(self) -> Any:
        """The default in force where nothing else is said; None where there is none."""
        default = self.model.model_fields[self.name].default
        return None if default is PydanticUndefined else default

    @property
    def description(self) -> str:
        """The text of the configuration field."""
        return self.model.model_fields[self.name].description or ""


@dataclass(frozen=True)
class Node:
    """One value of a resource."""

    kind: str
    """`object`, `array`, `map`, `string`, `integer`, `number`, `boolean`, `int-or-string`, or `open`: an object whose
    fields are another schema's, so that everything in it is kept as it is."""
    description: str = ""
    bounds: Mapping[str, Any] = field(default_factory=dict)
    """JSON Schema keywords such as `maximum`; also `x-kubernetes-list-*`."""
    default: Any = MISSING
    """Default of the CRD, as a JSON value."""
    properties: Mapping[str, Node] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    items: Node | None = None
    """What an array or a map holds."""
    rules: tuple[Rule, ...] = ()
    not_acted_on: NotActedOn | None = None
    mirror: Mirror | None = None
    is_open: bool = False
    """Whether fields that are not listed are kept (metadata, status)."""

    def walk(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
        """This node and all below, with their paths; `[]` stands for every item of a list or map."""
        yield path, self
        for name, child in self.properties.items():
            yield from child.walk((*path, name))
        if self.items is not None:
            yield from self.items.walk((*path, "[]"))

    @cached_property
    def holds_rules(self) -> bool:
        """Whether this node or one below has a rule; parts of a resource without any need no walk."""
        return any(node.rules for _, node in self.walk())

    @cached_property
    def holds_marks(self) -> bool:
        """Whether this node or one below is not acted on."""
        return any(node.not_acted_on is not None for _, node in self.walk())

    def leaves(self) -> Iterator[tuple[tuple[str, ...], Node]]:
        """Nodes that hold a value of their own: everything but objects and lists of objects."""
        for path, node in self.walk():
            if not node.properties and node.items is None:
                yield path, node

    def child(self, key: str | int) -> Node | None:
        """The node below `key`; None where the schema has none."""
        if self.items is not None and (self.kind == "map" or isinstance(key, int)):
            return self.items
        return self.properties.get(key) if isinstance(key, str) else None


_TREES: Final[dict[type[BaseModel], Node]] = {}


def tree(model: type[BaseModel]) -> Node:
    """The tree of `model`, by its aliases, made once. Raises ValueError for what no CRD can say (unions, recursion)."""
    if model not in _TREES:
        schema = model.model_json_schema(by_alias=True, mode="validation")
        _TREES[model] = _Builder(schema.get("$defs", {})).node(schema, model.__name__)
    return _TREES[model]


class _Builder:
    """Turns pydantic's JSON schema into nodes."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._open: list[str] = []

    def node(self, schema: Mapping[str, Any], path: str) -> Node:
        """The node of one schema; `path` is for messages."""
        if "$ref" in schema:
            return self._referred(schema, path)
        if "anyOf" in schema:
            return self._optional(schema, path)
        return _decorate(self._plain(schema, path), schema)

    def _referred(self, schema: Mapping[str, Any], path: str) -> Node:
        name = schema["$ref"].removeprefix("#/$defs/")
        if name in self._open:
            raise ValueError(f"{path}: {name} contains itself; a CRD cannot be recursive")
        self._open.append(name)
        try:
            return _decorate(self.node(self._definitions[name], path), schema)
        finally:
            self._open.pop()

    def _optional(self, schema: Mapping[str, Any], path: str) -> Node:
        """`anyOf: [X, null]` is an optional X: a CRD leaves the field out instead."""
        arms = [arm for arm in schema["anyOf"] if arm.get("type") != "null"]
        if len(arms) != 1:
            raise ValueError(f"{path}: a union of {len(arms)} types is not structural; use sibling fields and a rule")
        return _decorate(self.node(arms[0], path), schema)

    def _plain(self, schema: Mapping[str, Any], path: str) -> Node:
        if schema.get("x-kubernetes-int-or-string"):
            return Node("int-or-string")
        if "const" in schema:
            return Node("string", bounds={"enum": [schema["const"]]})
        kind = schema.get("type")
        match kind:
            case "array":
                return Node("array", items=self.node(schema["items"], f"{path}[]"))
            case "object" if "properties" in schema:
                children = {key: self.node(value, f"{path}.{key}") for key, value in schema["properties"].items()}
                closed = schema.get("additionalProperties") is False
                return Node(
                    "object",
                    properties=children,
                    required=frozenset(schema.get("required", ())),
                    is_open=not closed,
                )
            case "object" if schema.get("additionalProperties") not in (None, True, False):
                return Node("map", items=self.node(schema["additionalProperties"], f"{path}[]"))
            case "object" if schema.get("additionalProperties") is True:
                return Node("open", is_open=True)
            case "string" | "integer" | "number" | "boolean":
                return Node(kind)
        raise ValueError(f"{path}: {kind or 'a value without type'} is not structural")


def _decorate(node: Node, schema: Mapping[str, Any]) -> Node:
    """`node` with what `schema` says beside its type; the outer schema goes before the inner one."""
    bounds = {**node.bounds, **{key: schema[key] for key in (*_BOUNDS, *_LIST_KEYS) if key in schema}}
    rules = tuple(rule_named(name) for name in schema.get("x-helios-rules", ()))
    mirror = Mirror(*schema["x-helios-mirrors"]) if "x-helios-mirrors" in schema else node.mirror
    default = _meaningful(schema.get("default", MISSING))
    return replace(
        node,
        description=_description(schema, mirror) or node.description,
        bounds=bounds,
        default=node.default if default is MISSING else default,
        rules=node.rules + tuple(rule for rule in rules if rule not in node.rules),
        not_acted_on=schema.get("x-helios-not-acted-on", node.not_acted_on),
        mirror=mirror,
    )


def _description(schema: Mapping[str, Any], mirror: Mirror | None) -> str:
    """The field's own text, or that of the configuration field it mirrors, and what holds where it is left out."""
    text = schema.get("description") or ""
    if mirror is not None and "x-helios-mirrors" in schema:
        text = text or mirror.description.replace("None: ", "Left out: ")
        if mirror.otherwise:
            text += f" Left out: {mirror.otherwise}."
        elif mirror.default is not None and not schema.get("description"):
            text += f" Default: {mirror.default}."
    if "x-helios-in-force" in schema:
        text += f" Default: {schema['x-helios-in-force']}."
    return " ".join(text.split())


def _meaningful(default: Any) -> Any:
    """A null or empty default says nothing, and the API server refuses a null."""
    if isinstance(default, dict):
        default = {key: value for key, value in default.items() if _meaningful(value) is not MISSING}
    return MISSING if default in (None, "", [], (), {}) or default is MISSING else default
