"""The text of a command to what it asks for, by PgBouncer's own small grammar. Pure; called by `service`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from helios.console.answer import ConsoleError

__all__ = ["Command", "parse"]

_WORD = r'("(?:[^"]|"")*"|[\w.$*-]+)'
_END = r"\s*(?:;\s*)*"
_COMMAND = re.compile(rf"\s*(\w+)(?:\s+{_WORD})?{_END}", re.ASCII)
_SET = re.compile(rf"\s*set\s+{_WORD}\s*(?:=|\bto\b)\s*(?:{_WORD}|'((?:[^']|'')*)'){_END}", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its word in small letters, what stands behind it, and for SET the value."""

    verb: str
    argument: str = ""
    value: str = ""


def parse(text: str) -> Command:
    """`ConsoleError` for what is no command by its form; whether there is such a one, `table` knows."""
    assignment = _SET.fullmatch(text)
    if assignment is not None:
        key, word, string = assignment.groups()
        value = _unquoted(word) if string is None else string.replace("''", "'")
        return Command("set", _unquoted(key), value)
    match = _COMMAND.fullmatch(text)
    if match is None or match[1].lower() == "set":
        raise unknown(text)
    return Command(match[1].lower(), _unquoted(match[2] or ""))


def unknown(text: str) -> ConsoleError:
    """In PgBouncer's words."""
    return ConsoleError("42601", f"invalid command '{text}', use SHOW HELP;")


def _unquoted(word: str) -> str:
    return word[1:-1].replace('""', '"') if word.startswith('"') else word
