"""`[tcp]`: when the other end of a connection counts as gone. Read by the engine through the snapshot."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from helios.config.base import HeliosModel, Milliseconds

__all__ = ["TcpConfig"]

KERNEL_MAX_SECONDS = 32_767


class TcpConfig(HeliosModel):
    """TCP connections of clients and of servers. A Unix socket tells at once when its other end is gone."""

    keepalive_idle_seconds: Annotated[int, Field(strict=True, ge=0, le=KERNEL_MAX_SECONDS)] = 30
    """Seconds of silence after which the other end is probed; 0 = never. Firewalls and address translators forget a
    silent connection after minutes, some load balancers after one."""

    keepalive_interval_seconds: Annotated[int, Field(strict=True, ge=1, le=KERNEL_MAX_SECONDS)] = 10
    """Seconds between two probes, and until the last counts as unanswered."""

    keepalive_count: Annotated[int, Field(strict=True, ge=1, le=127)] = 3
    """Probes without an answer after which the connection is given up: with the other two a minute after the last sign
    of life, so that a machine that is gone holds no server connection and no lock for long."""

    user_timeout_ms: Milliseconds = 0
    """Milliseconds that bytes may stay unacknowledged or untaken until the connection is given up (TCP_USER_TIMEOUT); 0
    = as long as the system tries, about a quarter of an hour. Linux takes a client that pauses reading, and a COPY that
    waits for a lock, for gone as well, hence 0; 60000 notices sooner that a server lost its power mid-request."""
