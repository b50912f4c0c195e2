"""Node tree → reference page in Markdown. Called by `generate`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from helios_crds.base import Resource
from helios_crds.node import MISSING, Node, tree
from helios_crds.parse import API_VERSION
from helios_crds.yaml import dump

__all__ = ["reference_index", "reference_page"]


@dataclass(frozen=True)
class Row:
    """One field of a page."""

    path: str
    type: str
    default: str
    text: str


def reference_page(model: type[Resource]) -> str:
    """The page of one kind: fields, rules, columns, and what this version does not act on."""
    root = tree(model)
    return _render(
        "kind.md.j2",
        kind=model.__name__,
        names=model.names,
        api_version=API_VERSION,
        description=root.description,
        whole=model.spec_not_acted_on,
        spec=list(_rows(root.properties["spec"], "spec")),
        status=list(_rows(root.properties["status"], "status")),
        rules=[(_shown(path), rule) for path, node in root.walk() for rule in node.rules],
        ignored=[(_shown(path), node.not_acted_on) for path, node in root.walk() if node.not_acted_on is not None],
    )


def reference_index(models: dict[str, type[Resource]]) -> str:
    """The page that lists the kinds."""
    kinds = [(kind, model.names, tree(model).description) for kind, model in models.items()]
    return _render("index.md.j2", kinds=kinds, api_version=API_VERSION)


def _render(template: str, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("helios_crds"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - the output is Markdown made from our own docstrings
    )
    environment.filters["cell"] = _cell
    return environment.get_template(template).render(**values)


def _cell(text: str) -> str:
    """Text that a Markdown table does not break on."""
    return text.replace("|", "\\|").replace("\n", " ")


def _shown(path: tuple[str, ...]) -> str:
    return ".".join(path).replace(".[]", "[]") or "(the object)"


def _rows(node: Node, path: str) -> Iterator[Row]:
    for name, child in node.properties.items():
        yield from _rows_of(child, f"{path}.{name}", name in node.required)


def _rows_of(node: Node, path: str, required: bool) -> Iterator[Row]:
    default = "" if node.default is MISSING else f"`{_inline(node.default)}`"
    yield Row(path, _type(node), "required" if required else default, node.description)
    inner = node.items if node.items is not None and node.items.properties else node
    yield from _rows(inner, path if inner is node else f"{path}[]")


def _inline(value: Any) -> str:
    return " ".join(dump(value).split()) if isinstance(value, dict) else str(value)


def _type(node: Node) -> str:
    bounds = node.bounds
    if "enum" in bounds:
        return " \\| ".join(f"`{value}`" for value in bounds["enum"])
    match node.kind:
        case "array" if node.items is not None:
            inner = "object" if node.items.properties else _type(node.items)
            return f"list of {inner}, at most {bounds['maxItems']}"
        case "map" if node.items is not None:
            return f"map of {_type(node.items)}"
        case "int-or-string":
            return "quantity"
        case "open":
            return "object with the fields of Kubernetes"
        case "integer":
            low, high = bounds.get("minimum"), bounds.get("maximum")
            span = f" {low}–{high}" if high is not None else f" ≥ {low}" if low is not None else ""
            return f"integer{span}"
        case "string" if "format" in bounds:
            return str(bounds["format"])
    return node.kind
