"""Document → resource, refusing what the API server would refuse, all faults at once with file, line and field.

Called by `helios play`, the operator and the providers. The types and bounds are pydantic's, the CEL rules run as
their Python twins, unknown fields are errors as with `kubectl apply` (strict field validation).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from helios_crds.base import GROUP, METADATA_FIELDS, VERSION, Resource
from helios_crds.node import Node, tree
from helios_crds.problems import Problem, Reason, ResourceError, format_path
from helios_crds.v1alpha1 import KINDS
from helios_crds.yaml import Document

__all__ = ["API_VERSION", "check_rules", "is_helios", "parse", "parse_as"]

_CONTAINERS: Final[dict[str, type[dict[str, Any]] | type[list[Any]]]] = {"object": dict, "map": dict, "array": list}
API_VERSION: Final = f"{GROUP}/{VERSION}"
Path = tuple[str | int, ...]
R = TypeVar("R", bound=Resource)


def is_helios(document: Document) -> bool:
    """Whether a document claims to be of our group, in whatever version; Secrets and the like are not."""
    return document.api_version.partition("/")[0] == GROUP or document.kind in KINDS


def parse(document: Document, old: Document | None = None) -> Resource:
    """The resource in `document`. Raises ResourceError with every problem found.

    `old` is the object it replaces; with it the rules about immutable fields are checked as well.
    """
    return _parse(document, _model_of(document), old)


def parse_as(model: type[R], value: Mapping[str, Any], source: str = "<object>") -> R:
    """The same for a JSON object whose kind is known, as the API server returns it."""
    document = Document(dict(value), source)
    found = _model_of(document)
    if found is not model:
        raise _refusal(document, ("kind",), Reason.UNKNOWN_KIND, f"is {document.kind}, expected {model.__name__}")
    return _parse(document, model, None)


def _parse(document: Document, model: type[R], old: Document | None) -> R:
    root = tree(model)
    value = _without_nulls(document.value, root)
    problems: list[Problem] = []
    resource: R | None = None
    try:
        resource = model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as err:
        problems += [_from_pydantic(error, document, root) for error in err.errors()]
    before = None if old is None else _without_nulls(old.value, root)
    problems += [_place(problem, path, document) for path, problem in check_rules(root, value, before)]
    problems += _unknown_metadata(value.get("metadata"), document)
    if problems or resource is None:
        unique = dict.fromkeys(problems)
        raise ResourceError(sorted(unique, key=lambda problem: problem.line or 0))
    return resource


def _model_of(document: Document) -> type[Resource]:
    if not isinstance(document.value, dict):
        raise _refusal(document, (), Reason.INVALID, "is not a mapping with apiVersion, kind, metadata and spec")
    for key, found in (("apiVersion", document.api_version), ("kind", document.kind)):
        if not found:
            raise _refusal(document, (key,), Reason.INVALID, "is missing or no string")
    if document.kind not in KINDS:
        hint = _nearest(document.kind, KINDS, "kind")
        raise _refusal(document, ("kind",), Reason.UNKNOWN_KIND, f"{document.kind} is no kind of Helios", hint)
    if document.api_version != API_VERSION:
        message = f"{document.api_version} is no version of {document.kind} that this release reads"
        raise _refusal(document, ("apiVersion",), Reason.UNKNOWN_KIND, message, f"write {API_VERSION}")
    return KINDS[document.kind]


def _refusal(document: Document, path: Path, reason: Reason, message: str, hint: str = "") -> ResourceError:
    line = document.line(path)
    return ResourceError([Problem(message, format_path(path), hint, document.source, line, reason)])


def _place(problem: Problem, path: Path, document: Document) -> Problem:
    return problem.at(document.source, document.line(path))


def _unknown_metadata(metadata: Any, document: Document) -> list[Problem]:
    """Metadata belongs to Kubernetes, so the model reads a part of it; a misspelt name is refused all the same."""
    problems: list[Problem] = []
    for key in metadata if isinstance(metadata, dict) else ():
        if key not in METADATA_FIELDS:
            path = ("metadata", key)
            hint = _nearest(key, METADATA_FIELDS, "field")
            line = document.line(path)
            problems.append(
                Problem("no such field", format_path(path), hint, document.source, line, Reason.UNKNOWN_FIELD)
            )
    return problems


def _without_nulls(value: Any, node: Node | None) -> Any:
    """A field that is null counts as left out, as in the API server; one of another schema keeps its meaning."""
    if node is not None and node.kind == "open":
        return value
    if isinstance(value, dict):
        below = {key: None if node is None else node.child(key) for key in value}
        return {key: _without_nulls(item, below[key]) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        items = None if node is None else node.items
        return [_without_nulls(item, items) for item in value]
    return value


def _nearest(word: str, known: Iterable[str], what: str) -> str:
    names = list(known)
    lowered = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    if close:
        return f"did you mean {lowered[close[0]]}?"
    return f"known {what}s: {', '.join(names)}" if len(names) <= 12 else ""


def _from_pydantic(error: ErrorDetails, document: Document, root: Node) -> Problem:
    path = _document_path(error["loc"], root)
    line = document.line(path)
    if error["type"] == "extra_forbidden":
        parent = _descend(root, path[:-1])
        hint = _nearest(str(path[-1]), () if parent is None else parent.properties, "field")
        return Problem("no such field", format_path(path), hint, document.source, line, Reason.UNKNOWN_FIELD)
    node = _descend(root, path)
    message, hint = _words(error, node)
    return Problem(message, format_path(path), hint, document.source, line)


def _document_path(loc: Iterable[str | int], root: Node) -> Path:
    """pydantic adds the names of union arms and `[key]` to a location; the document has no such steps."""
    path: Path = ()
    node: Node | None = root
    for step in loc:
        below = node.child(step) if node is not None else None
        known = below is not None or (node is not None and node.kind == "object" and isinstance(step, str))
        if known:
            path, node = (*path, step), below
    return path


def _descend(root: Node, path: Path) -> Node | None:
    node: Node | None = root
    for step in path:
        node = None if node is None else node.child(step)
    return node


def _words(error: ErrorDetails, node: Node | None) -> tuple[str, str]:
    """(what is wrong, what would be right) of a pydantic error, in words that fit YAML."""
    given = error["input"]
    kind = "" if node is None else node.kind
    if error["type"] == "missing":
        text = "" if node is None else node.description.split(". ")[0].split(", ")[0].rstrip(".")
        text = text if text[1:2].isupper() else text[:1].lower() + text[1:]
        return "is missing", f"write the {text}" if text else ""
    if error["type"] in {"enum", "literal_error"} and node is not None:
        allowed = [str(value) for value in node.bounds.get("enum", ())]
        return f"is {_show(given)}", f"allowed: {', '.join(allowed)}"
    if error["type"].endswith("_type") or error["type"] in {"dataclass_exact_type", "is_instance_of"}:
        return f"is {_show(given)}", _expected(kind)
    if error["type"] == "value_error":
        return f"is {_show(given)}, {error['ctx']['error']!s}", ""
    words = error["msg"][:1].lower() + error["msg"][1:]
    words = words.replace("input should", "should").replace("string should", "should").replace("tuple should", "should")
    return f"is {_show(given)}", f"it {words}"


def _expected(kind: str) -> str:
    expected = {
        "integer": "write an integer without quotes, such as 100",
        "boolean": "write true or false",
        "string": "write a string; quote it if it looks like a number or a switch",
        "array": "write a list",
        "map": "write a mapping",
        "object": "write a mapping",
        "open": "write a mapping",
        "int-or-string": "write a quantity such as 250m or 512Mi",
    }
    return expected.get(kind, "")


def _show(value: object) -> str:
    text = json.dumps(value, default=str)
    names = {
        bool: "a boolean",
        str: "a string",
        dict: "a mapping",
        list: "a list",
        int: "an integer",
        float: "a number",
    }
    short = text if len(text) <= 60 else f"{text[:57]}…"
    return f"{short}, {names[type(value)]}" if type(value) in names else short


def check_rules(root: Node, value: Any, old: Any = None) -> list[tuple[Path, Problem]]:
    """Every CEL rule of `root` that `value` breaks, with the path it is about; `old` switches transition rules on."""
    found: list[tuple[Path, Problem]] = []
    _check(root, value, old, (), found)
    return found


def _check(node: Node, value: Any, old: Any, path: Path, found: list[tuple[Path, Problem]]) -> None:
    wanted = _CONTAINERS.get(node.kind)
    if wanted is None or not isinstance(value, wanted):
        return
    for rule in node.rules:
        if rule.is_transition and not isinstance(old, wanted):
            continue
        if not rule.holds(value, old):
            found.append((path, Problem(rule.message, format_path(path))))
    children = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in children:
        below = node.child(key)
        if below is not None and below.holds_rules:
            before = old.get(key) if isinstance(old, dict) else None
            _check(below, child, before, (*path, key), found)
