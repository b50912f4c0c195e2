"""What the console says to a command, as plain data for the engine. Made by `table` and `show`, sent by `service`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from helios.errors import HeliosError

__all__ = ["Answer", "Column", "ConsoleError", "Kind", "Notice"]


class Kind(StrEnum):
    """The type of a column, in PostgreSQL's words."""

    TEXT = "text"
    INT4 = "int4"
    INT8 = "int8"
    NUMERIC = "numeric"


Column = tuple[str, Kind]
"""Name and type."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something said beside the result."""

    message: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a command."""

    tag: str
    columns: Sequence[Column] | None = None
    rows: Sequence[Sequence[Any]] = ()
    notice: Notice | None = None

    def document(self) -> dict[str, Any]:
        """As the engine takes it."""
        return {
            "error": None,
            "notice": None if self.notice is None else asdict(self.notice),
            "columns": self.columns,
            "rows": self.rows,
            "tag": self.tag,
        }


class ConsoleError(HeliosError):
    """A command was refused. `sqlstate` is what a driver goes by."""

    def __init__(self, sqlstate: str, message: str, hint: str | None = None) -> None:
        self.sqlstate = sqlstate
        self.hint = hint
        super().__init__(message)

    def document(self) -> dict[str, Any]:
        """As the engine takes it."""
        error = {"sqlstate": self.sqlstate, "message": str(self), "hint": self.hint}
        return {"error": error, "notice": None, "columns": None, "rows": (), "tag": ""}
