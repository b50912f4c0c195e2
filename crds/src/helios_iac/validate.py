"""Attributes → everything wrong with them, by the very models that the operator reads with. No API is asked.

Called while a plan is made. What depends on a value that is not known yet is not judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from helios_crds import API_VERSION, Document, ResourceError, Severity, parse
from helios_crds.problems import Problem
from helios_crds.unsupported import unsupported
from helios_iac.fields import Field, ResourceType
from helios_iac.problems import Diagnostic, Level, Step
from helios_iac.values import UNKNOWN, Spelling, snake_spelling, spec_of

__all__ = ["document_of", "validate"]

_STEP: Final = re.compile(r"\['((?:[^'\\]|\\.)*)'\]|\[(\d+)\]|\.?([^.\[\]]+)")
_SOURCE: Final = "the configuration"


def validate(
    resource: ResourceType,
    attributes: Mapping[str, Any],
    before: Mapping[str, Any] | None = None,
    spell: Spelling = snake_spelling,
) -> list[Diagnostic]:
    """Errors, and warnings about what this version does not act on. With `before` also what may not change."""
    unknown: set[tuple[Step, ...]] = set()
    value = _known(document_of(resource, attributes, spell), (), unknown)
    value["metadata"].setdefault("name", "not-known-yet")
    old = None if before is None else Document(_known(document_of(resource, before, spell), (), set()), _SOURCE)
    try:
        parsed = parse(Document(value, _SOURCE), old)
    except ResourceError as error:
        problems = error.problems
    else:
        problems = unsupported(parsed)
    return [
        _told(resource, _in_json(resource, problem, path, spell), path, spell)
        for problem in problems
        if not _touches(path := tuple(_steps(problem.field)), unknown)
    ]


def document_of(resource: ResourceType, attributes: Mapping[str, Any], spell: Spelling = snake_spelling) -> Any:
    """The object of the API that the attributes ask for."""
    names = ("name", "namespace", "labels", "annotations")
    metadata = {name: attributes[name] for name in names if attributes.get(name) is not None}
    return {
        "apiVersion": API_VERSION,
        "kind": resource.kind,
        "metadata": metadata,
        "spec": spec_of(resource, attributes, spell),
    }


def _known(value: Any, path: tuple[Step, ...], unknown: set[tuple[Step, ...]]) -> Any:
    """`value` without what is not known; the paths of that go into `unknown`."""
    if isinstance(value, dict):
        for key, item in value.items():
            if item is UNKNOWN:
                unknown.add((*path, key))
        return {key: _known(item, (*path, key), unknown) for key, item in value.items() if item is not UNKNOWN}
    if isinstance(value, list):
        # Places must stay, so a list with an unknown item is not judged at all.
        if any(item is UNKNOWN for item in value):
            unknown.add(path)
        return [_known(item, (*path, index), unknown) for index, item in enumerate(value) if item is not UNKNOWN]
    return value


def _touches(path: tuple[Step, ...], unknown: set[tuple[Step, ...]]) -> bool:
    return any(path == each[: len(path)] or each == path[: len(each)] for each in unknown)


def _steps(field: str) -> Iterator[Step]:
    """`spec.nodes[0].port` → spec, nodes, 0, port."""
    for key, index, name in _STEP.findall(field):
        yield int(index) if index else key or name


def _told(resource: ResourceType, problem: Problem, path: tuple[Step, ...], spell: Spelling) -> Diagnostic:
    level = Level.ERROR if problem.severity is Severity.ERROR and problem.reason != "NotActedOn" else Level.WARNING
    where = tuple(_attribute_path(resource, path, spell))
    shown = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where).lstrip(".")
    message = _respelt(resource, problem.message, spell)
    summary = f"{shown} {message}" if message.startswith("is ") else f"{shown}: {message}" if shown else message
    return Diagnostic(summary, _respelt(resource, problem.hint, spell), where, level)


def _attribute_path(resource: ResourceType, path: tuple[Step, ...], spell: Spelling) -> Iterator[Step]:
    """A path in the object → the path of the attribute."""
    if path[:1] == ("metadata",):
        yield from path[1:]
        return
    field: Field | None = resource.spec
    for step in path[1:]:
        if field is None:
            return
        if field.is_name and field.kind == "string":
            return  # `.name` of a reference: the attribute is the name itself
        if field.kind == "object" and isinstance(step, str):
            field = field.by_key.get(step)
            if field is not None:
                yield spell(field)
        else:
            yield step
            field = field.item


def _in_json(resource: ResourceType, problem: Problem, path: tuple[Step, ...], spell: Spelling) -> Problem:
    """A problem of an attribute that is JSON text, told as such."""
    field = resource.spec.by_key.get(str(path[1])) if len(path) == 2 else None
    if field is None or field.kind != "json" or not spell.has_json_text:
        return problem
    return replace(problem, message="is no JSON text of an object", hint="write jsonencode({ ... })")


def _respelt(resource: ResourceType, text: str, spell: Spelling) -> str:
    """A sentence with the attributes' names for the fields' own."""
    for key, name in _names(resource, spell).items():
        text = re.sub(rf"\b{key}\b", name, text)
    return text.replace("spec.", "")


def _names(resource: ResourceType, spell: Spelling) -> dict[str, str]:
    """Keys that cannot be words of a sentence, because they have a capital letter inside → names."""
    return {each.key: spell(each) for _, each in resource.spec.walk() if re.search(r"[a-z][A-Z]", each.key)}
