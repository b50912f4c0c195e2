"""What the console needs of the running proxy. Implemented by `helios.running`; it shares with the admin API what both
show, so that there is one truth."""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol

from helios.admin.control import ReloadOutcome
from helios.config import ProxyConfig
from helios.config.tree import Path
from helios.engine_state import EngineState, SessionsState
from helios.topology.status import ClusterStatus

__all__ = ["Control", "Shutdown"]


class Shutdown(Enum):
    """How the process is to end."""

    AT_ONCE = "SHUTDOWN"
    WAIT_FOR_SERVERS = "SHUTDOWN WAIT_FOR_SERVERS"
    """As SIGINT: no new clients from now on, transactions are waited for."""

    WAIT_FOR_CLIENTS = "SHUTDOWN WAIT_FOR_CLIENTS"
    """As SIGTERM: new clients are taken a while longer, then the same."""


class Control(Protocol):
    """The running proxy."""

    @property
    def config(self) -> ProxyConfig:
        """The configuration in force."""

    @property
    def user_names(self) -> tuple[str, ...]:
        """Users that the users file of the configuration in force has."""

    def engine_state(self) -> EngineState:
        """Counters and gauges of this moment."""

    def sessions(self) -> SessionsState:
        """Clients and servers of this moment; waits for the workers, so not on an event loop."""

    def clusters(self) -> tuple[ClusterStatus, ...]:
        """Nodes and primaries as last polled."""

    def order(self, verb: str, **operands: Any) -> None:
        """Have the engine pause, resume, reconnect, disable, enable or kill."""

    def reload(self) -> ReloadOutcome:
        """Read the file again and apply it, or keep the old configuration and say why."""

    def change(self, path: Path, value: Any) -> None:
        """Put one field of the configuration in force, until the next reload. `ConfigError` if it cannot be."""

    def shut_down(self, how: Shutdown) -> None:
        """Begin to end the process."""
