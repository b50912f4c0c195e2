"""The control statements: those on whose operands the engine's lexer acts at each execution.

`control.toml` beside this module is the table and explains itself; the lexer's is generated from it. The planner has
no list of its own: tests hold this one against the grammar, row by row and kind by kind.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["ControlStatement", "control_statements"]


@dataclass(frozen=True, slots=True)
class ControlStatement:
    """One row of the table."""

    kind: str
    """What it does, as `set_local`."""
    form: str
    """Its first tokens, in the notation that the file explains."""
    setting: str | None = None
    """The setting that the form means; None where the text names it, or where there is none."""


@cache
def control_statements() -> tuple[ControlStatement, ...]:
    """The table in its order."""
    text = files(__package__).joinpath("control.toml").read_text(encoding="utf-8")
    return tuple(ControlStatement(**row) for row in tomllib.loads(text)["statement"])
