"""`[limits]`: bounds that protect the proxy and the servers. Read by the engine through the snapshot."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from helios.config.base import Bytes, Count, HeliosModel, PositiveCount, PositiveSeconds, Seconds

__all__ = ["LimitsConfig"]


class LimitsConfig(HeliosModel):
    """Bounds on clients, times and memory."""

    max_client_connections: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 10_000
    """Clients at most that are logged in, over all workers; the next one gets 53300. Ten thousand idle clients fit in
    well under 1 GiB."""

    max_user_client_connections: Count = 0
    """Clients at most of one user, unless `[[users]]` says otherwise; 0 = no such limit. The next one gets 53300."""

    max_database_client_connections: Count = 0
    """Clients at most of one database, unless `[[databases]]` says otherwise; 0 = no such limit."""

    max_address_client_connections: Count = 0
    """Clients at most from one address, an IPv6 address by its first 64 bits; 0 = no such limit. Off, because clients
    behind one gateway share an address."""

    max_unauthenticated_connections: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 10_000
    """Connections at most that have not logged in yet. As many as clients, since all may come back at once."""

    max_address_unauthenticated_connections: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 5_000
    """Of these at most from one address, an IPv6 address by its first 64 bits. Half, so that one address alone cannot
    keep the others out."""

    max_server_connections: Count = 0
    """Server connections at most, of all pools of this process; 0 = no such limit. Where they are used up, an idle one
    of another pool is closed for a client that waits, and who has waited longest is served first."""

    max_user_server_connections: Count = 0
    """Server connections at most that are logged in as one user, unless `[[users]]` says otherwise; 0 = no such limit.
    """

    max_database_server_connections: Count = 0
    """Server connections at most of one database, unless `[[databases]]` says otherwise; 0 = no such limit."""

    max_parallel_logins: PositiveCount = 16
    """Logins at most under way at one server. Each costs it a process and a proof of the password, so that more at
    once only make all of them late."""

    startup_timeout_seconds: PositiveSeconds = 30
    """Seconds a client has from TCP accept to a finished login. Bounds what a silent socket can hold."""

    connect_timeout_seconds: PositiveSeconds = 5
    """Seconds for TCP connect and login to a server. A live server answers within one; five forgive a lost packet."""

    query_timeout_seconds: Seconds = 0
    """Seconds a statement may run, from its request to the end of its answer, before it is cancelled (57014); 0 = as
    long as it takes. Off, as the three below, because a long or silent query is no fault. A second late at most."""

    idle_transaction_timeout_seconds: Seconds = 0
    """Seconds an open transaction may wait for its client before both are ended (25P03), which frees the server
    connection; 0 = as long as it takes."""

    client_idle_timeout_seconds: Seconds = 0
    """Seconds a client may do nothing outside a transaction before it is closed (57P05); 0 = as long as it likes."""

    client_write_timeout_seconds: Seconds = 0
    """Seconds a client that has a server may take nothing of its answer before both are ended (08006), which frees the
    server connection for others; 0 = as long as it likes. How fast a client reads does not matter: each byte it takes
    begins them anew."""

    client_max_age_seconds: Seconds = 0
    """Seconds after which a client that rests between two transactions is closed (57P01), a tenth earlier at most, so
    that it connects again and may meet another pod; 0 = never. One that keeps its server for what it holds there
    stays."""

    max_prepared_statements: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 8_192
    """Named prepared statements at most per client. Drivers keep a few hundred; more is a leak."""

    max_prepared_bytes: Bytes = 67_108_864
    """Bytes of text of prepared statements kept at most per client (64 MiB)."""

    server_prepared_bytes: Bytes = 4_194_304
    """Bytes of text of prepared statements kept at most on one server connection (4 MiB), oldest use dropped first.
    PostgreSQL needs a multiple of the text for its plans, on each of its connections."""

    max_channels: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 1_000
    """Channels at most that one client may LISTEN to. Applications use a few; names that are made up without end would
    fill memory here and on the server. One that listens to more is disconnected with 53400. Not in session mode."""

    max_notification_bytes: Annotated[int, Field(strict=True, ge=16_384, le=1 << 40)] = 4_194_304
    """Bytes of notifications kept at most for one client that listens and does not read, or is in a transaction
    (4 MiB). One that has more is disconnected with 53400, since a gap would go unnoticed. Not in session mode."""

    max_buffered_clients: Annotated[int, Field(strict=True, ge=0, le=100_000)] = 1_000
    """Clients of one pool at most that wait with a statement or a login while their cluster has no primary, each for
    `pool.acquire_timeout_seconds`; one more gets 57P03 at once. A thousand is what a failover of seconds gathers; more
    would only come down on the new primary together."""

    max_buffered_bytes: Annotated[int, Field(strict=True, ge=16_384, le=1 << 40)] = 16_777_216
    """Bytes at most that these clients have sent meanwhile, together for one pool (16 MiB); one more gets 57P03."""
