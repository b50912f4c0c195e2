"""What the admin API needs from the running proxy. Implemented by `helios.app`; the routes see nothing else of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from aiohttp import web

from helios.config import ProxyConfig
from helios.core import EngineState
from helios.errors import Problem
from helios.topology.status import ClusterStatus

__all__ = ["CONTROL", "Control", "ReloadOutcome"]


@dataclass(frozen=True)
class ReloadOutcome:
    """How the last reload ended; the start of the process counts as a successful one."""

    at: datetime
    problems: tuple[Problem, ...] = ()
    """Why the file was refused and the old configuration kept; empty after success."""
    restart_needed: tuple[str, ...] = ()
    """Fields that differ from the running process and that only a restart can apply."""

    @property
    def succeeded(self) -> bool:
        """Whether the running configuration is that of the file."""
        return not self.problems


class Control(Protocol):
    """The running proxy."""

    @property
    def config(self) -> ProxyConfig:
        """The configuration in force."""

    @property
    def admin_token(self) -> str | None:
        """The bearer token of the admin API, read from its file where it is in one."""

    @property
    def last_reload(self) -> ReloadOutcome:
        """How the last reload ended."""

    @property
    def draining(self) -> bool:
        """Whether the process is about to end."""

    def engine_state(self) -> EngineState:
        """Counters and gauges of this moment."""

    def clusters(self) -> tuple[ClusterStatus, ...]:
        """Nodes and primaries as last polled."""

    def reload(self) -> ReloadOutcome:
        """Read the file again and apply it, or keep the old configuration and say why."""


CONTROL = web.AppKey("control", Control)
"""Where the routes find the proxy: `request.app[CONTROL]`."""
