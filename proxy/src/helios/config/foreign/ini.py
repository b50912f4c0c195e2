"""PgBouncer's ini format: sections, `key = value` up to the end of the line, comments, `%include`.

Called by `pgbouncer`. Nothing continues on the next line; `;` and `#` start a comment at the start of a line only. A
key may stand in double quotes, a quote inside twice. `pairs` splits a value of `[databases]`, `[users]` and `[peers]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helios.config.foreign.draft import Draft, Origin
from helios.config.loader import decode, read_document
from helios.errors import ConfigError, Problem

__all__ = ["Entry", "pairs", "read_ini"]

MAX_INCLUDE_DEPTH = 10
"""As PgBouncer has it."""

_SECTION = re.compile(r"\[([^\]]*)\](.*)")
_INCLUDE = re.compile(r"%include[ \t]+(.*)")
_PAIR = re.compile(r'(?P<key>"(?:[^"]|"")*"|[A-Za-z0-9_.*-]+)[ \t]*=(?P<value>.*)')


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key = value`."""

    section: str
    key: str
    value: str
    origin: Origin


def read_ini(path: Path, draft: Draft) -> list[Entry]:
    """Every entry of a file and of those it includes, in order; what is wrong goes into `draft`.

    `ConfigError` where the file itself cannot be read.
    """
    return list(_Reader(path.absolute().parent, draft).read(path))


class _Reader:
    """The section goes on across the end of an included file, as in PgBouncer."""

    def __init__(self, folder: Path, draft: Draft) -> None:
        self._folder = folder
        self._draft = draft
        self._section = ""
        self._depth = 0

    def read(self, path: Path) -> Iterator[Entry]:
        text = decode(read_document(path), str(path))
        for number, line in enumerate(text.split("\n"), start=1):
            yield from self._line(line.strip(), Origin("", str(path), number))

    def _line(self, line: str, place: Origin) -> Iterator[Entry]:
        if not line or line[0] in ";#":
            return
        if match := _SECTION.fullmatch(line):
            self._section = match[1]
            yield from self._line(match[2].strip(), place)
        elif match := _INCLUDE.fullmatch(line):
            yield from self._include(match[1].strip(), Origin("%include", place.source, place.line))
        elif match := _PAIR.fullmatch(line):
            yield from self._entry(_unquoted(match["key"]), match["value"].strip(), place)
        else:
            self._draft.wrong(place, "is no section, setting or comment", "write key = value; nothing continues a line")

    def _entry(self, key: str, value: str, place: Origin) -> Iterator[Entry]:
        if not self._section:
            self._draft.wrong(Origin(key, place.source, place.line), "stands before any section", "write [pgbouncer]")
            return
        yield Entry(self._section, key, value, Origin(f"{self._section}.{key}", place.source, place.line))

    def _include(self, name: str, place: Origin) -> Iterator[Entry]:
        if self._depth == MAX_INCLUDE_DEPTH:
            self._draft.wrong(place, f"is nested more than {MAX_INCLUDE_DEPTH} deep", "does a file include itself?")
            return
        self._depth += 1
        try:
            yield from self.read(self._folder / name)
        except ConfigError as error:
            self._draft.problems += [_at_include(problem, place, name) for problem in error.problems]
        finally:
            self._depth -= 1


def _at_include(problem: Problem, place: Origin, name: str) -> Problem:
    """A file that cannot be opened is the fault of the line that names it; one that is no text, its own."""
    if problem.line is not None:
        return problem
    hint = f"{problem.hint}; a relative path starts at the first file's folder"
    return place.problem(f"{name} {problem.message}", hint)


def _unquoted(key: str) -> str:
    return key[1:-1].replace('""', '"') if key.startswith('"') else key


def pairs(text: str) -> list[tuple[str, str]]:
    """`host=db password='it''s'` as pairs. `ValueError` says what is wrong; it quotes no value."""
    found = []
    rest = text.strip(" ")
    while rest:
        key, equals, rest = rest.partition("=")
        key = key.strip(" ")
        if not equals or not key or " " in key:
            raise ValueError(f'"{key}" is followed by no "="' if key else '"=" follows no key')
        value, rest = _value(key, rest.lstrip(" "))
        found.append((key, value))
    return found


def _value(key: str, rest: str) -> tuple[str, str]:
    if not rest.startswith("'"):
        value, _, rest = rest.partition(" ")
    else:
        match = re.match(r"'((?:[^']|'')*)'(?: +|$)", rest)
        if match is None:
            raise ValueError(f"the value of {key} has no closing quote before a space or the end")
        value, rest = match[1].replace("''", "'"), rest[match.end() :]
    if not value:
        raise ValueError(f"{key} has no value")
    return value, rest.lstrip(" ")
