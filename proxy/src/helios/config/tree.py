"""Plain trees (what a TOML parser returns) and paths into them. Used by every step of the loader."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from helios.errors import Problem

__all__ = [
    "Finding",
    "Locator",
    "Path",
    "Tree",
    "get",
    "leaves",
    "nearest",
    "parse_path",
    "parse_path_text",
    "path_text",
    "put",
    "remove",
    "unknown_key",
]

Path = tuple[str | int, ...]
Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to say about one field, before its place in the file is known."""

    path: Path
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Locator:
    """Turns findings into problems that name the key as it was written, and its line."""

    source: str
    lines: Mapping[Path, int] = field(default_factory=dict)
    origins: Mapping[Path, Path] = field(default_factory=dict)
    """Path in our format → path in the file, for keys that were translated."""

    def written(self, path: Path) -> Path:
        """The path as it stands in the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]] + path[length:]
        return path

    def line(self, written: Path) -> int | None:
        """The line of a key, or of the table it is missing from."""
        for length in range(len(written), 0, -1):
            if written[:length] in self.lines:
                return self.lines[written[:length]]
        return None

    def problem(self, finding: Finding) -> Problem:
        """The finding with its place."""
        written = self.written(finding.path)
        return Problem(finding.message, path_text(written), finding.hint, self.source, self.line(written))


def path_text(path: Path) -> str:
    """`("clusters", 0, "name")` as `clusters[0].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def parse_path(text: str) -> Path:
    """`auth.users_file` as a path; for the tables of `legacy`, which name no list item."""
    return tuple(text.split("."))


def get(tree: Any, path: Path) -> Any:
    """The value at `path`, or None where there is nothing."""
    for part in path:
        if isinstance(tree, dict) and isinstance(part, str):
            tree = tree.get(part)
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        else:
            return None
    return tree


def parse_path_text(text: str) -> Path:
    """The inverse of `path_text`."""
    return tuple(int(index) if index else key for key, index in re.findall(r"([^.\[\]]+)(?<!\])|\[(\d+)\]", text))


def put(tree: Tree, path: Path, value: Any) -> bool:
    """Set `path`, making the tables on the way. False where something else than a table stands in the way."""
    table: Any = tree
    for part in path[:-1]:
        if isinstance(table, dict):
            table = table.setdefault(part, {})
        elif isinstance(table, list) and isinstance(part, int):
            table = table[part]
    if not isinstance(table, list if isinstance(path[-1], int) else dict):
        return False
    table[path[-1]] = value  # type: ignore[index]  # the line above ties the kinds of table and key together
    return True


def remove(tree: Tree, path: Path) -> None:
    """Delete the value at `path` where there is one, and the top-level table that this leaves empty."""
    parent = get(tree, path[:-1])
    last = path[-1]
    if isinstance(parent, dict) and last in parent:
        del parent[last]
        if not parent and len(path[:-1]) == 1:
            del tree[str(path[0])]
    elif isinstance(parent, list) and isinstance(last, int) and last < len(parent):
        del parent[last]


def leaves(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that is neither a table nor a list, with its path."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from leaves(value, (*path, index))
    else:
        yield path, tree


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be."""
    matches = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def unknown_key(path: Path, known: Iterable[str]) -> Finding:
    """What to say about a key that stands where only `known` ones may."""
    known = sorted(known)
    guess = nearest(str(path[-1]), known)
    return Finding(path, "is no known key", f'did you mean "{guess}"?' if guess else f"known here: {', '.join(known)}")
