"""What a resource asks for that this version does not do. Called by `render`; the operator makes `Accepted` of it.

A resource may carry every field of the contract, but nothing is silently ignored: where a field protects data, the
proxy does not start without it; elsewhere the user is told.
"""

from __future__ import annotations

from typing import Any, Final

from helios_crds.base import Resource
from helios_crds.markers import NotActedOn
from helios_crds.node import Node, tree
from helios_crds.problems import Problem, Reason, format_path

__all__ = ["NOT_ACTED_ON", "spec_of", "unsupported"]

NOT_ACTED_ON: Final = "this version of Helios does not act on"
Path = tuple[str | int, ...]


def spec_of(resource: Resource) -> dict[str, Any]:
    """The spec as the user wrote it, in JSON values with camelCase names; defaults are left out."""
    dumped: dict[str, Any] = resource.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    spec = dumped.get("spec")
    return spec if isinstance(spec, dict) else {}


def unsupported(resource: Resource) -> tuple[Problem, ...]:
    """One problem for each part of `resource` that is asked for and not acted on, naming every field set in it."""
    spec = spec_of(resource)
    whole = resource.spec_not_acted_on
    if whole is not None:
        return (_problem(f"{NOT_ACTED_ON} {resource.kind}", whole, ("spec",), spec),)
    found: list[Problem] = []
    _search(tree(type(resource)).properties["spec"], spec, ("spec",), found)
    return tuple(found)


def _search(node: Node, value: Any, path: Path, found: list[Problem]) -> None:
    mark = node.not_acted_on
    if mark is not None:
        if mark.harmless is None or not mark.harmless(value):
            found.append(_problem(f"{NOT_ACTED_ON} it", mark, path, value))
        return
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        below = node.child(key)
        if below is not None and below.holds_marks:
            _search(below, child, (*path, key), found)


def _problem(what: str, mark: NotActedOn, path: Path, value: Any) -> Problem:
    fields = list(_set_fields(value, path)) if isinstance(value, dict) else []
    named = f" ({', '.join(fields)})" if fields else ""
    return Problem(
        f"{what}{named}: {mark.because}",
        format_path(path),
        "leave it out, or use a release that has it",
        reason=Reason.NOT_ACTED_ON,
        severity=mark.severity,
    )


def _set_fields(value: Any, path: Path) -> list[str]:
    """Paths of everything that is set below `value`; a list counts as one field."""
    if not isinstance(value, dict):
        return [format_path(path)]
    return [name for key, child in value.items() for name in _set_fields(child, (*path, key))]
