"""Logs on stderr, one line an event, as text or as JSON.

Called once by `helios.app` before anything else and again after a reload that changes `[log]`. Everything
else uses `logging.getLogger(__name__)` and hands its facts over as `extra=fields(node="db-0:5432")`, so that
both formats show the same facts and no module formats values itself.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal

__all__ = ["LogFormat", "configure", "fields"]

LogFormat = Literal["text", "json"]

_NEEDS_QUOTES = frozenset(" \t\"'=\\")


def fields(**values: object) -> dict[str, dict[str, str]]:
    """Facts of one log line, for the `extra` argument of a logger; values are shown by `str`."""
    return {"fields": {name: str(value) for name, value in values.items()}}


def configure(level: str, log_format: LogFormat) -> None:
    """Send all logs from `level` ("debug", "info", "warning" or "error") up to stderr; replaces an earlier set-up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # asyncio reports slow callbacks at debug and aiohttp each aborted request at info; neither is ours to tell.
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)


class _TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO helios.app: message name=value name="two words"`."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_timestamp(record)} {record.levelname} {record.name}: {_one_line(record.getMessage())}"
        facts = "".join(f" {name}={_quoted(value)}" for name, value in _facts(record).items())
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return head + facts + trace


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, then the facts, then `exception` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            **_facts(record),
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _facts(record: logging.LogRecord) -> Mapping[str, str]:
    facts: Mapping[str, str] = getattr(record, "fields", {})
    return facts


def _timestamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _one_line(text: str) -> str:
    """`text` with control characters escaped: what a client sends must not forge a second log line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _quoted(value: str) -> str:
    if value and value.isprintable() and _NEEDS_QUOTES.isdisjoint(value):
        return value
    return json.dumps(value, ensure_ascii=not value.isprintable())
