"""`[log]`: what is written to stderr. Read by `helios.telemetry.logs`."""

from __future__ import annotations

from enum import StrEnum

from helios.config.base import HeliosModel

__all__ = ["LogConfig", "LogFormat", "LogLevel"]


class LogLevel(StrEnum):
    """The least important line that is still written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a line is written."""

    TEXT = "text"
    JSON = "json"


class LogConfig(HeliosModel):
    """Log lines on stderr."""

    level: LogLevel = LogLevel.INFO
    """The least important line that is written. Info tells of starts, ends and failovers, not of queries."""

    format: LogFormat = LogFormat.TEXT
    """`text` for people, `json` (an object a line) for log collectors. Text, because a person reads it first."""
