"""The error tree of the control plane. Every module raises from here; `helios.cli` turns them into exit codes.

HeliosError
├── ConfigError          a configuration was refused; carries every Problem found
│   ├── SecretError      a *_file named by the configuration cannot be used
│   └── ReloadRefused    a new configuration must not replace the running one
├── StartError           the process cannot start although the configuration is sound (no disk, no child)
├── EngineError          the engine refused a call
│   ├── SnapshotError    it refused the configuration; the old one stays
│   └── ListenError      it could not bind an address
├── PlanError            a statement has no plan: PostgreSQL's parser refuses it, or it is nested too deeply
└── UsageError           the command line asks for something impossible
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = [
    "ConfigError",
    "EngineError",
    "HeliosError",
    "ListenError",
    "PlanError",
    "Problem",
    "ReloadRefused",
    "SecretError",
    "SnapshotError",
    "StartError",
    "UsageError",
]


class HeliosError(Exception):
    """Root of every error that Helios raises on purpose. Its text is meant for the person who runs the command."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a configuration."""

    message: str
    """What is wrong, one sentence without a full stop."""

    field: str = ""
    """Path of the field as in `clusters[0].nodes[1].port`; empty when the whole file is meant."""

    hint: str = ""
    """What would be right."""

    source: str = ""
    """File (or other origin) the value came from."""

    line: int | None = None
    """Line in `source`, from 1; None where it is not known."""

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source or '<config>'}:{self.line}"
        text = ": ".join(part for part in (place, self.field, self.message) if part)
        return f"{text}; {self.hint}" if self.hint else text


class ConfigError(HeliosError):
    """A configuration was refused. `problems` holds everything found, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SecretError(ConfigError):
    """A file that the configuration names for a secret is missing, unreadable or malformed."""


class ReloadRefused(ConfigError):
    """The new configuration is sound by itself but must not replace the running one."""


class StartError(HeliosError):
    """The process cannot start: a folder cannot be written, a child ended, the admin port is taken."""


class EngineError(HeliosError):
    """The engine refused a call."""


class SnapshotError(EngineError):
    """The engine refused a snapshot; the message names the field. The snapshot it had stays in force."""


class ListenError(EngineError):
    """The engine could not bind an address; the message names the address and the cause."""


class PlanError(HeliosError):
    """A statement has no plan. The text is the parser's message; it may quote the statement, so it is not for the log.

    `position` is the character it points at, from 1 as in PostgreSQL's ErrorResponse; None where none is known.
    """

    def __init__(self, message: str, position: int | None = None) -> None:
        self.position = position
        super().__init__(message)


class UsageError(HeliosError):
    """The command line asks for something impossible."""
