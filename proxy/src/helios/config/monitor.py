"""`[monitor]`: how the control plane looks at the nodes. Read by `helios.topology`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from helios.config.base import HeliosModel, Path, PositiveSeconds, SqlName

__all__ = ["MonitorConfig"]


class MonitorConfig(HeliosModel):
    """Polling of every node for its role, position and health."""

    user: SqlName | None = None
    """Role the poll logs in as; one with `pg_monitor` is enough. None: the first login that Helios has anyway (of a
    database entry, then a plain one of the users file), at last `postgres`, which exists everywhere."""

    password: SecretStr | None = None
    """Password of `user`. None: the node must let the role in without one."""

    password_file: Path | None = None
    """File that holds the password (its first line). Excludes `password`."""

    database: SqlName = "postgres"
    """Database the poll connects to. `postgres` exists in every cluster; nothing is read from its tables."""

    interval_ms: Annotated[int, Field(strict=True, ge=50, le=60_000)] = 250
    """Milliseconds between two polls of a node. A quarter of a second finds a promotion within one interval and costs a
    node four tiny queries a second; below 50 ms the poll itself would be load."""

    timeout_ms: Annotated[int, Field(strict=True, ge=50, le=60_000)] = 2_000
    """Milliseconds until a poll without answer counts as failed. Two seconds outlast a retransmitted packet."""

    resolve_seconds: PositiveSeconds = 5
    """Seconds after which the name of a node is looked up again; after a failed poll that is done at once. Short, since
    a name that leads elsewhere is how some clusters fail over; connections to addresses that it no longer stands for
    are closed between transactions."""

    failure_threshold: Annotated[int, Field(strict=True, ge=1, le=100)] = 3
    """Failed polls in a row until a node counts as unhealthy. Three forgive one lost packet and one slow fork."""
