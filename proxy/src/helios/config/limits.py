"""`[limits]`: bounds that protect the proxy and the servers. Read by the engine through the snapshot."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from helios.config.base import Bytes, HeliosModel, PositiveSeconds

__all__ = ["LimitsConfig"]


class LimitsConfig(HeliosModel):
    """Bounds on clients, times and memory."""

    max_client_connections: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 10_000
    """Clients at most, over all workers; the next one gets 53300. Ten thousand idle clients fit in well under 1 GiB."""

    startup_timeout_seconds: PositiveSeconds = 30
    """Seconds a client has from TCP accept to a finished login. Bounds what a silent socket can hold."""

    connect_timeout_seconds: PositiveSeconds = 5
    """Seconds for TCP connect and login to a server. A live server answers within one; five forgive a lost packet."""

    max_prepared_statements: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 8_192
    """Named prepared statements at most per client. Drivers keep a few hundred; more is a leak."""

    max_prepared_bytes: Bytes = 67_108_864
    """Bytes of text of prepared statements kept at most per client (64 MiB)."""

    server_prepared_bytes: Bytes = 4_194_304
    """Bytes of text of prepared statements kept at most on one server connection (4 MiB), oldest use dropped first.
    PostgreSQL needs a multiple of the text for its plans, on each of its connections."""
