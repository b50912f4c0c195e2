"""What the admin API needs from the running proxy. Implemented by `helios.app`; the routes see nothing else of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from aiohttp import web

from helios.config import ProxyConfig
from helios.engine_state import EngineState, SessionsState
from helios.errors import Problem
from helios.failover.status import FailoverStatus
from helios.planner.explain import Explanation
from helios.planner.service import PlanCounts
from helios.topology.catalogs import CatalogCounts
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
    outdated: bool = False
    """The refused document is sound, but not newer than the configuration in force."""

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
    def config_hash(self) -> str:
        """SHA-256 of the document in force, lower-case hex."""

    @property
    def admin_tokens(self) -> tuple[str, ...]:
        """The bearer tokens that the admin API accepts, read from their file where they are in one."""

    @property
    def last_reload(self) -> ReloadOutcome:
        """How the last reload ended."""

    @property
    def draining(self) -> bool:
        """Whether the process is about to end."""

    @property
    def server_connections(self) -> int:
        """Server connections that the process may have; 0 for any number."""

    @property
    def is_granted(self) -> bool:
        """Whether that was granted; else it is what the configuration says."""

    @property
    def awaits_share(self) -> bool:
        """Whether it must not be used before a share of the server connections was granted to it."""

    def engine_state(self) -> EngineState:
        """Counters and gauges of this moment."""

    def sessions(self) -> SessionsState:
        """Clients and servers of this moment; waits for the workers, so not on an event loop."""

    def clusters(self) -> tuple[ClusterStatus, ...]:
        """Nodes and primaries as last polled."""

    def switch_node(self, cluster: str, node: str, enabled: bool) -> None:
        """Take a node into use or out of it until the opposite is ordered or the process ends.

        Raises:
            HeliosError: a file that the configuration names can no longer be read.
        """

    def failovers(self) -> tuple[FailoverStatus, ...]:
        """What is decided about each cluster."""

    async def switch_over(self, cluster: str, to: str | None) -> str:
        """Make a standby the primary; the name of the new one.

        Raises:
            SwitchoverFailure: nothing has changed.
        """

    def hold(self, cluster: str, reason: str | None, seconds: float, leaver: str | None = None) -> bool:
        """Let no transaction begin in a cluster for so long at most, or until another node than `leaver` is primary; no
        reason ends it. Whether there is such a cluster."""

    def catalog_counts(self) -> CatalogCounts:
        """What is known of the functions of databases."""

    def plan_counts(self) -> PlanCounts:
        """What the planner did."""

    async def explain(self, sql: str, database: str, application_name: str) -> Explanation | None:
        """What the planner makes of a client's text for a database as clients name it; None where that is not
        configured.

        Raises:
            PlanError: the text cannot be planned.
        """

    def reload(self) -> ReloadOutcome:
        """Read the file again and apply it, or keep the old configuration and say why."""

    def load(self, document: bytes) -> ReloadOutcome:
        """As `reload`, of a document that was sent; the file stays as it is."""

    def grant(self, limit: int) -> ReloadOutcome:
        """From now on, and over reloads, so many server connections, where the configuration limits them at all."""


CONTROL = web.AppKey("control", Control)
"""Where the routes find the proxy: `request.app[CONTROL]`."""
