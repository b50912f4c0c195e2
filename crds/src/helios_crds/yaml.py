"""Read YAML exactly as `kubectl apply` does.

`helios play` and the example tests call it; it hands on `Document`s, which `helios_crds.parse` takes. kubectl uses
sigs.k8s.io/yaml, whose rules differ from PyYAML's and from YAML 1.2: `yes`, `on` and `y` are booleans, `0o17` and
`017` are both 15, `100_000_000` is an integer, `12:30:45` and dates are strings, and mapping keys become strings.
The table in tests/test_crd_yaml.py was recorded from kubectl itself. One thing is stricter: a key given twice is an
error here (kubectl silently takes the last).
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml as pyyaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from helios_crds.problems import Problem, ResourceError, format_path

__all__ = ["Document", "dump", "load_documents", "load_paths", "resolve_plain"]

Json = Any
"""A JSON value: dict, list, str, int, float, bool or None."""

MAX_BYTES: Final = 3 * 1024 * 1024
"""Largest file read; the API server refuses requests above 3 MiB."""
MAX_VALUES: Final = 200_000
"""Most values one document may expand to; stops alias bombs."""

_TRUE = {"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"}
_FALSE = {"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"}
_NULL = {"", "~", "null", "Null", "NULL"}
_INFINITE = {sign + word for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")} | {".nan", ".NaN", ".NAN"}
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_TAG = "tag:yaml.org,2002:"
_PLAIN = "plain"


@dataclass(frozen=True)
class Document:
    """One YAML document, or one item of a `kind: List`."""

    value: Json
    source: str = "<document>"
    """File name, used in messages."""
    lines: Mapping[tuple[str | int, ...], int] = field(default_factory=dict)
    """1-based line of every key and list item, by path."""

    @property
    def kind(self) -> str:
        """`kind`, or "" where it is missing or no string."""
        kind = self.value.get("kind") if isinstance(self.value, dict) else None
        return kind if isinstance(kind, str) else ""

    @property
    def api_version(self) -> str:
        """`apiVersion`, or "" where it is missing or no string."""
        version = self.value.get("apiVersion") if isinstance(self.value, dict) else None
        return version if isinstance(version, str) else ""

    @property
    def name(self) -> str:
        """`metadata.name`, or "" where it is missing or no string."""
        metadata = self.value.get("metadata") if isinstance(self.value, dict) else None
        name = metadata.get("name") if isinstance(metadata, dict) else None
        return name if isinstance(name, str) else ""

    def line(self, path: tuple[str | int, ...]) -> int | None:
        """Line of `path`, or of its nearest parent that has one."""
        for length in range(len(path), -1, -1):
            if (found := self.lines.get(path[:length])) is not None:
                return found
        return None


def resolve_plain(text: str) -> Json:
    """The JSON value of an unquoted scalar. Raises ValueError for infinities and NaN, which JSON has not."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if text in _INFINITE:
        raise ValueError(f"{text} is not a number that JSON can hold; give a finite number or quote it")
    if text[0] in "+-0123456789":
        return _number(text)
    if text[0] == "." and _FLOAT.match(text):
        return _whole(float(text))
    return text


def _number(text: str) -> Json:
    plain = text.replace("_", "")
    if _INTEGER.match(plain):
        digits = plain.lstrip("+-")
        negative = plain.startswith("-")
        base = {"x": 16, "b": 2, "o": 8}.get(digits[1:2].lower(), 8 if digits.startswith("0") and digits != "0" else 10)
        value = int(digits[2:] if digits[1:2].isalpha() else digits, base)
        return -value if negative else value
    if _FLOAT.match(plain):
        return _whole(float(plain))
    return text


def _whole(value: float) -> int | float:
    """kubectl writes 1.0 and 1e3 into its JSON as 1 and 1000."""
    if not math.isfinite(value):
        raise ValueError("the number is too large")
    return int(value) if value.is_integer() and abs(value) < 1e21 else value


def load_documents(text: str, source: str = "<document>") -> list[Document]:
    """Every document in `text`; empty ones are dropped and each `kind: List` is taken apart.

    Raises ResourceError with file and line for syntax errors, keys given twice and values that JSON cannot hold.
    """
    if len(text) > MAX_BYTES:
        raise _error(source, None, f"the file is larger than {MAX_BYTES} bytes")
    documents: list[Document] = []
    problems: list[Problem] = []
    try:
        for root in pyyaml.compose_all(text, Loader=_Loader):
            reader = _Reader(source)
            value = reader.read(root, (), frozenset())
            problems += reader.problems
            if value is not None:
                documents += _items(Document(value, source, reader.lines))
    except pyyaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        line = None if mark is None else mark.line + 1
        raise _error(source, line, f"is not valid YAML: {err.problem or err.context}") from err
    except pyyaml.reader.ReaderError as err:
        raise _error(source, None, f"is not valid YAML: {err.reason} at character {err.position}") from err
    except RecursionError as err:
        raise _error(source, None, "is nested too deeply") from err
    if problems:
        raise ResourceError(problems)
    return documents


def load_paths(paths: Iterable[Path]) -> list[Document]:
    """Documents of files and of folders (`*.yaml`, `*.yml`, `*.json`, sorted, not recursive, as `kubectl apply -f`).

    Raises ResourceError naming the file that is missing, empty of YAML files, unreadable or not UTF-8.
    """
    documents: list[Document] = []
    for path in paths:
        for file in _files(path):
            documents += load_documents(_read_text(file), str(file))
    return documents


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in {".yaml", ".yml", ".json"} and file.is_file())
    if not found:
        raise _error(str(path), None, "the folder holds no .yaml, .yml or .json file")
    return found


def _read_text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except OSError as err:
        raise _error(str(file), None, f"cannot be read: {err.strerror}") from err
    except UnicodeDecodeError as err:
        message = f"is not UTF-8: byte 0x{err.object[err.start]:02x} at offset {err.start}; save the file as UTF-8"
        raise _error(str(file), err.object[: err.start].count(b"\n") + 1, message) from err


def _error(source: str, line: int | None, message: str) -> ResourceError:
    return ResourceError([Problem(message, source=source, line=line)])


def _items(document: Document) -> Iterator[Document]:
    items = document.value.get("items") if document.kind == "List" else None
    if not isinstance(items, list):
        yield document
        return
    for index, item in enumerate(items):
        prefix = ("items", index)
        lines = {path[2:]: line for path, line in document.lines.items() if path[:2] == prefix}
        yield from _items(Document(item, document.source, lines))


class _Reader:
    """Turns one composed YAML tree into JSON values, remembering lines and collecting problems."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: dict[tuple[str | int, ...], int] = {}
        self.problems: list[Problem] = []
        self._count = 0

    def read(self, node: Node, path: tuple[str | int, ...], above: frozenset[int]) -> Json:
        """The value of `node`; `above` holds the ids of its ancestors, to catch a cycle of aliases."""
        self._count += 1
        if self._count > MAX_VALUES or id(node) in above:
            what = "is an alias of one of its parents" if id(node) in above else f"expands to over {MAX_VALUES} values"
            raise _error(self.source, node.start_mark.line + 1, what)
        self.lines.setdefault(path, node.start_mark.line + 1)
        match node:
            case ScalarNode():
                return self._scalar(node, path)
            case SequenceNode():
                return [self.read(item, (*path, i), above | {id(node)}) for i, item in enumerate(node.value)]
            case MappingNode():
                return self._mapping(node, path, above | {id(node)})
        raise AssertionError(f"PyYAML composed a {type(node).__name__}")

    def _complain(self, node: Node, path: tuple[str | int, ...], message: str) -> None:
        self.problems.append(Problem(message, format_path(path), source=self.source, line=node.start_mark.line + 1))

    def _scalar(self, node: ScalarNode, path: tuple[str | int, ...]) -> Json:
        text: str = node.value
        tag = None if node.tag == _PLAIN else node.tag.removeprefix(_TAG)
        try:
            if tag == "str":
                return text
            if tag == "binary":
                return base64.b64decode(text, validate=False).decode("utf-8")
            value = resolve_plain(text)
            if tag not in (None, _kind_of(value), "timestamp") and not (tag == "float" and _kind_of(value) == "int"):
                self._complain(node, path, f"!!{tag} does not fit {text!r}")
        except (ValueError, binascii.Error) as err:
            self._complain(node, path, str(err))
            return None
        return value

    def _mapping(self, node: MappingNode, path: tuple[str | int, ...], above: frozenset[int]) -> dict[str, Json]:
        result: dict[str, Json] = {}
        merged: dict[str, Json] = {}
        for key_node, value_node in node.value:
            if isinstance(key_node, ScalarNode) and key_node.value == "<<" and key_node.style is None:
                merged = {**self._merge(value_node, path, above), **merged}
                continue
            key = self._key(key_node, path)
            if key in result:
                first = self.lines[(*path, key)]
                self._complain(key_node, (*path, key), f"is given twice; the first is in line {first}")
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = self.read(value_node, (*path, key), above)
        return {**merged, **result}

    def _merge(self, node: Node, path: tuple[str | int, ...], above: frozenset[int]) -> dict[str, Json]:
        parts = node.value if isinstance(node, SequenceNode) else [node]
        result: dict[str, Json] = {}
        for part in reversed(parts):
            if isinstance(part, MappingNode):
                result |= self._mapping(part, path, above)
            else:
                self._complain(node, path, "<< takes a mapping or a list of mappings")
        return result

    def _key(self, node: Node, path: tuple[str | int, ...]) -> str:
        if not isinstance(node, ScalarNode):
            self._complain(node, path, "a key must be a plain value, not a list or a mapping")
            return ""
        value = self._scalar(node, path)
        if value is None:
            self._complain(node, path, "a key must not be null")
        return str(value).lower() if isinstance(value, bool) else str(value)


class _Loader(pyyaml.SafeLoader):
    """Marks unquoted scalars without a tag, instead of guessing their type by PyYAML's own rules."""

    def resolve(self, kind: type[Node], value: str | None, implicit: Any) -> str:
        if kind is ScalarNode:
            return _PLAIN if implicit[0] else f"{_TAG}str"
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]  # PyYAML's stub has no types here


def _kind_of(value: Json) -> str:
    names = {bool: "bool", int: "int", float: "float", str: "str", type(None): "null"}
    return names[type(value)]


class _Dumper(pyyaml.SafeDumper):
    """Block style, no anchors, and quotes around every string that kubectl would read as something else."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_string(dumper: _Dumper, text: str) -> ScalarNode:
    if "\n" in text:
        return dumper.represent_scalar(f"{_TAG}str", text, style="|")
    try:
        ambiguous = resolve_plain(text) != text if text else True
    except ValueError:
        ambiguous = True
    return dumper.represent_scalar(f"{_TAG}str", text, style='"' if ambiguous else None)


_Dumper.add_representer(str, _represent_string)


def dump(value: Json) -> str:
    """YAML that kubectl reads back as `value`, keys in the given order."""
    return str(pyyaml.dump(value, Dumper=_Dumper, sort_keys=False, width=116, allow_unicode=True))
