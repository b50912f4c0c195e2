"""How values are written in foreign files, and how they become ours. Named by the tables of settings.

Readers take what a file holds (text of an ini, values of TOML) and raise `ValueError` with what would be right.
"""

from __future__ import annotations

import math
import re
from typing import Any

from helios.config.base import YEAR_SECONDS
from helios.config.foreign.settings import Convert, Read

__all__ = [
    "anything",
    "flag",
    "integer",
    "ms_to_seconds",
    "names",
    "number",
    "of_type",
    "rounded",
    "seconds",
    "text",
    "to_words",
    "word",
]

_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)")
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?")


def text(written: str) -> str:
    """The text itself."""
    return written


def anything(written: Any) -> Any:
    """Whatever TOML holds; for settings of which only the presence matters."""
    return written


def names(written: str) -> list[str]:
    """A list of names with commas between them."""
    return [name for part in written.split(",") if (name := part.strip())]


def number(written: str) -> int:
    """An integer as C writes it: decimal, octal after `0`, hexadecimal after `0x`; no unit."""
    match = _INTEGER.fullmatch(written)
    digits = match[1] if match else ""
    try:
        octal = digits.startswith("0") and digits.isdigit()
        value = int(digits, 8) if octal else int(digits, 0)
    except ValueError:
        raise ValueError("an integer is wanted, without a unit") from None
    return -value if written.startswith("-") else value


def seconds(written: str) -> float:
    """A time in seconds; fractions are allowed, units are not."""
    if not _SECONDS.fullmatch(written) or not math.isfinite(float(written)):
        raise ValueError("a number of seconds is wanted, without a unit")
    return float(written)


def word(*known: str) -> Read:
    """One of these words, in any case."""

    def read(written: Any) -> str:
        if not isinstance(written, str) or written.lower() not in known:
            raise ValueError(f"one of {', '.join(known)} is wanted")
        return written.lower()

    return read


def of_type(kind: type, wanted: str) -> Read:
    """A value of TOML of one type; a flag is no integer."""

    def read(written: Any) -> Any:
        if not isinstance(written, kind) or (kind is int and isinstance(written, bool)):
            raise ValueError(f"{wanted} is wanted")
        return written

    return read


integer = of_type(int, "an integer, without quotes,")
flag = of_type(bool, "true or false")


def rounded(zero: int = 0, of_zero: str = "") -> Convert:
    """Seconds as whole seconds, at least one; 0 becomes `zero`, and `of_zero` says what is different then."""

    def convert(value: float) -> tuple[int, str]:
        if value == 0:
            return zero, of_zero
        whole = min(math.ceil(value), YEAR_SECONDS)
        return whole, "" if whole == value else f"is {value:g} seconds, {whole} here: whole seconds, a year at most"

    return convert


def ms_to_seconds(zero: int = 0, of_zero: str = "") -> Convert:
    """As `rounded`, of milliseconds."""
    convert = rounded(zero, of_zero)
    return lambda value: convert(value / 1000)


def to_words(ours: dict[str, str], **different: str) -> Convert:
    """Words that are called otherwise here; `different` says for some of them (`-` as `_`) what is not the same."""

    def convert(value: str) -> tuple[str, str]:
        return ours.get(value, value), different.get(value.replace("-", "_"), "")

    return convert
