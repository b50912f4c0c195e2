"""Errors of `helios play`. Raised by helios.play, caught by helios.cli, which prints the message and exits with 1.

HeliosError
└── PlayError           anything that keeps a resource from being played
    └── PostgresError   the embedded PostgreSQL: not found, not reachable, does not start
"""

from helios.errors import HeliosError

__all__ = ["PlayError", "PostgresError", "last_lines"]

LOG_LINES = 12


class PlayError(HeliosError):
    """The resource cannot be played; the message is one sentence with cause and remedy."""

    def __init__(self, message: str, status: int = 1) -> None:
        """`status` is what play exits with: 127 and 126 for a command that cannot be run, as a shell does."""
        super().__init__(message)
        self.status = status


class PostgresError(PlayError):
    """The embedded PostgreSQL cannot be found, made, started or stopped."""


def last_lines(text: str, count: int = LOG_LINES) -> str:
    """The last `count` lines, indented, for an error message."""
    lines = [line for line in text.splitlines() if line.strip()][-count:]
    return "\n".join(f"  {line}" for line in lines) or "  (it said nothing)"
