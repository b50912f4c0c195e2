"""What a pydantic annotation cannot say about a field, said as annotation metadata.

The models in `v1alpha1` use these; they land in the JSON schema as `x-kubernetes-*` or `x-helios-*` keys, from which
`node` builds the tree that every generator and `parse` walk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from helios_crds.problems import Severity

__all__ = [
    "NotActedOn",
    "Rule",
    "atomic",
    "cel",
    "in_force",
    "list_map",
    "list_set",
    "mirrors",
    "not_acted_on",
    "rule_named",
]

_RULES: Final[dict[str, Rule]] = {}


@dataclass(frozen=True)
class Rule:
    """A CEL rule with its Python twin, so that `helios play` and the Terraform provider refuse what the server refuses.

    Tests evaluate both on the same good and bad objects.
    """

    name: str
    """Unique; tests list their objects under it."""

    rule: str
    """The CEL expression over `self` (and `oldSelf` for a transition)."""

    message: str
    """What would be right, one sentence without a full stop."""

    holds: Callable[[Any, Any], bool]
    """The twin: takes `self` and `oldSelf` (None on creation) as JSON values of the right container type."""

    def __post_init__(self) -> None:
        if _RULES.setdefault(self.name, self) != self:
            raise ValueError(f"two CEL rules are named {self.name}")

    @property
    def is_transition(self) -> bool:
        """Whether the rule compares with the object before the change."""
        return "oldSelf" in self.rule


def rule_named(name: str) -> Rule:
    """The rule that was made with this name; KeyError if none was."""
    return _RULES[name]


@dataclass(frozen=True)
class _Keys:
    """Adds keys to the JSON schema of the annotated type."""

    keys: dict[str, Any]

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), **self.keys}

    def __hash__(self) -> int:
        return id(self)


def list_map(*keys: str) -> _Keys:
    """A list whose items are told apart by these fields, so that two writers can own different items."""
    return _Keys({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)})


def list_set() -> _Keys:
    """A list of distinct scalars without an order."""
    return _Keys({"x-kubernetes-list-type": "set"})


def atomic() -> _Keys:
    """A list whose order matters: one writer owns the whole of it."""
    return _Keys({"x-kubernetes-list-type": "atomic"})


def cel(*rules: Rule) -> _Keys:
    """Rules about one field; a model's own rules are its `rules`."""
    return _Keys({"x-helios-rules": [rule.name for rule in rules]})


@dataclass(frozen=True)
class NotActedOn:
    """Part of the contract, but this version does nothing with it."""

    severity: Severity
    """ERROR where running without it would pretend a protection."""

    because: str
    """What happens instead, one sentence without a full stop."""

    harmless: Callable[[Any], bool] | None = None
    """Tells values that ask for nothing (`false` of a switch); None: every value asks for something."""


def not_acted_on(severity: Severity, because: str, harmless: Callable[[Any], bool] | None = None) -> _Keys:
    """The annotated field, with everything below it, is reported when it is set. See `NotActedOn`."""
    return _Keys({"x-helios-not-acted-on": NotActedOn(severity, because, harmless)})


def in_force(default: int) -> _Keys:
    """The value that holds where the field is left out, for its text; taken from a configuration model."""
    return _Keys({"x-helios-in-force": default})


@dataclass(frozen=True)
class mirrors:
    """The field is the field `name` of a configuration model: its type, bounds, text and default come from there.

    The annotated Python type is only for the type checker; a test compares the two. No CRD default is made: what is
    left out is decided by a reference or, last, by the configuration model of the running version.
    """

    model: type[BaseModel]
    name: str
    required: bool = False
    """Whether the field must be given here."""
    otherwise: str = ""
    """What holds where the field is left out; empty: the default of the configuration."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        info = self.model.model_fields[self.name]
        metadata = tuple(info.metadata)
        target: Any = Annotated[info.annotation, *metadata] if metadata else info.annotation
        return handler.generate_schema(target if self.required else target | None)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), "x-helios-mirrors": (self.model, self.name, self.otherwise)}
