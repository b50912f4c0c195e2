"""Lines of the keys of a TOML document, which the standard library's parser does not tell.

Called by the loader with a text that `tomllib` accepted; hands on a mapping from key path to line. A path is a tuple of
keys and list indexes, as in `("clusters", 0, "nodes", 1, "port")`.
"""

from __future__ import annotations

import json

from helios.config.tree import Path

__all__ = ["key_lines"]

_BARE_END = " \t=.]\"'#\r\n"
_VALUE_END = ",]}#\r\n"


def key_lines(text: str) -> dict[Path, int]:
    """Line (from 1) of every table header, key and list item in `text`, which must be valid TOML."""
    return _Scanner(text).scan()


class _Scanner:
    """One pass over the text. Trusts its validity, so every construct may be told by its first character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.lines: dict[Path, int] = {}
        self.table_counts: dict[Path, int] = {}

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        self.skip_blank()
        while self.at < len(self.text):
            if self.peek() == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip_blank()
        return self.lines

    def header(self) -> Path:
        is_list = self.text.startswith("[[", self.at)
        self.move(2 if is_list else 1)
        keys = self.keys()
        self.move(2 if is_list else 1)
        path: Path = ()
        for number, key in enumerate(keys, start=1):
            path = (*path, key)
            if is_list and number == len(keys):
                self.table_counts[path] = self.table_counts.get(path, 0) + 1
            if path in self.table_counts:
                self.note(path)
                path = (*path, self.table_counts[path] - 1)
            self.note(path)
        return path

    def pair(self, table: Path) -> None:
        path = table
        for key in self.keys():
            path = (*path, key)
            self.note(path)
        self.move(1)
        self.skip_spaces()
        self.value(path)

    def value(self, path: Path) -> None:
        match self.peek():
            case '"' | "'":
                self.string()
            case "[":
                self.array(path)
            case "{":
                self.inline_table(path)
            case _:
                while self.at < len(self.text) and self.peek() not in _VALUE_END:
                    self.move(1)

    def array(self, path: Path) -> None:
        self.move(1)
        index = 0
        self.skip_blank()
        while self.peek() != "]":
            self.note((*path, index))
            self.value((*path, index))
            index += 1
            self.skip_separator()
        self.move(1)

    def inline_table(self, path: Path) -> None:
        self.move(1)
        self.skip_blank()
        while self.peek() != "}":
            self.pair(path)
            self.skip_separator()
        self.move(1)

    def skip_separator(self) -> None:
        self.skip_blank()
        if self.peek() == ",":
            self.move(1)
            self.skip_blank()

    def keys(self) -> list[str]:
        """The parts of a dotted key, up to `=` or `]`."""
        parts = []
        while True:
            self.skip_spaces()
            if self.peek() in "\"'":
                parts.append(self.string())
            else:
                start = self.at
                while self.peek() not in _BARE_END:
                    self.move(1)
                parts.append(self.text[start : self.at])
            self.skip_spaces()
            if self.peek() != ".":
                return parts
            self.move(1)

    def string(self) -> str:
        """Pass a string of any of the four kinds. What it returns is right for the kinds that a key may have."""
        quote = self.peek()
        start = self.at
        if self.text.startswith(quote * 3, self.at):
            self.move(3)
            self.pass_until(quote * 3, escapes=quote == '"')
            while self.text.startswith(quote, self.at):  # up to two quotes may stand before the closing three
                self.move(1)
            return ""
        self.move(1)
        self.pass_until(quote, escapes=quote == '"')
        raw = self.text[start : self.at]
        if quote == "'":
            return raw[1:-1]
        try:
            return str(json.loads(raw))
        except ValueError:  # an escape that TOML knows and JSON does not
            return raw[1:-1]

    def pass_until(self, end: str, *, escapes: bool) -> None:
        while self.at < len(self.text) and not self.text.startswith(end, self.at):
            self.move(2 if escapes and self.peek() == "\\" else 1)
        self.move(len(end))

    def skip_spaces(self) -> None:
        while self.peek() in (" ", "\t"):
            self.move(1)

    def skip_blank(self) -> None:
        while self.at < len(self.text) and self.peek() in " \t\r\n#":
            if self.peek() == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                self.move(1)

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else "\n"

    def move(self, count: int) -> None:
        self.line += self.text.count("\n", self.at, self.at + count)
        self.at += count

    def note(self, path: Path) -> None:
        self.lines.setdefault(path, self.line)
