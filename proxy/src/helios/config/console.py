"""`[console]`: who may use the console, a database name that leads to the proxy itself. Read by the engine (who may log
in) and by `helios.console` (what they may do)."""

from __future__ import annotations

from typing import Final

from helios.config.base import HeliosModel, SqlName

__all__ = ["CONSOLE_DATABASE", "ConsoleConfig"]

CONSOLE_DATABASE: Final = "pgbouncer"
"""The database name that leads to the console; PgBouncer's, because scripts and exporters connect to it."""


class ConsoleConfig(HeliosModel):
    """The console: PgBouncer's commands over a PostgreSQL connection to the database `pgbouncer`. Its users log in as
    to every other database. Without users there is no console, and the name is one like any other."""

    admin_users: tuple[SqlName, ...] = ()
    """Users who may use every command. None by default, since they can pause and end the proxy."""

    stats_users: tuple[SqlName, ...] = ()
    """Users who may look, by SHOW, and change nothing. None by default; a Prometheus exporter needs one."""

    @property
    def users(self) -> tuple[str, ...]:
        """Everybody who may log in."""
        return tuple(dict.fromkeys((*self.admin_users, *self.stats_users)))
