"""What becomes of one setting of another pooler. `pgbouncer_settings` and `pgcat_settings` are tables of it.

The readers act by these tables, and the guide's tables are generated from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Convert", "Fate", "Read", "Setting", "Table", "carried", "lost", "needless"]

Read = Callable[[Any], Any]
"""The value as written to what it means. `ValueError` says what would be right."""

Convert = Callable[[Any], tuple[Any, str]]
"""What a value means to our value, and what is different about it ("" where nothing is)."""


class Fate(StrEnum):
    """What becomes of a setting."""

    CARRIED = "carried over"
    CHANGED = "carried over, with a difference"
    NEEDLESS = "has no meaning here"
    LOST = "not carried over"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of another pooler."""

    fate: Fate
    read: Read
    becomes: str = ""
    """Our key; below `[[databases]]` or `[[users]]` for a setting of a database or user."""

    note: str = ""
    """What is different, why it has no meaning, or what goes missing."""

    default: str = ""
    """What the other pooler takes where nothing is written, as text; "" where that is nothing."""

    convert: Convert = lambda value: (value, "")
    inert: tuple[Any, ...] = ()
    """Values that ask for nothing: losing one of them is no loss."""

    unsafe: bool = False
    """Whether the file must not be served without it: it protects somebody, or says which data is meant."""


Table = Mapping[str, Setting]


def carried(read: Read, becomes: str, default: str = "", convert: Convert | None = None, note: str = "") -> Setting:
    """A setting that we have as well. `note`: in which way ours is another."""
    fate = Fate.CHANGED if note else Fate.CARRIED
    if convert is None:
        return Setting(fate, read, becomes, note, default)
    return Setting(fate, read, becomes, note, default, convert)


def needless(read: Read, note: str) -> Setting:
    """A setting about something that does not exist here; `note` says why nothing is missing."""
    return Setting(Fate.NEEDLESS, read, note=note)


def lost(read: Read, note: str, *inert: Any, unsafe: bool = False) -> Setting:
    """A setting that we lack."""
    return Setting(Fate.LOST, read, note=note, inert=inert, unsafe=unsafe)
