"""`[pool]` and `[databases.pool]`: server connections. Read by the engine through the snapshot."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

from helios.config.base import Count, Flag, HeliosModel, PositiveCount, PositiveSeconds, Seconds

__all__ = ["PoolConfig", "PoolMode", "PoolOverrides", "PreparedStatements"]

Statement = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00]+$")]


class PoolMode(StrEnum):
    """When a server connection returns to the pool."""

    SESSION = "session"
    TRANSACTION = "transaction"
    STATEMENT = "statement"


class PreparedStatements(StrEnum):
    """What becomes of a client's prepared statements when its server connection changes."""

    TRACK = "track"
    DISABLE = "disable"


class PoolConfig(HeliosModel):
    """Server connections kept per node, database and user."""

    mode: PoolMode = PoolMode.TRANSACTION
    """When a server connection returns to the pool: at the end of the session, the transaction or the statement.
    Transaction, because only then many clients share few connections; use `session` for temporary tables."""

    max_size: PositiveCount = 100
    """Server connections at most, per node, database and user. PostgreSQL's own `max_connections` is 100 by default.
    While clients LISTEN in transaction or statement mode there is one more, which listens for all of them."""

    reserve_size: Count = 0
    """Server connections beyond `max_size` for clients that have waited for `reserve_timeout_seconds`; closed once
    nobody waits. None, since `max_size` should say how many there are."""

    reserve_timeout_seconds: Seconds = 5
    """Seconds a client waits before the reserve is opened. Long enough to tell a peak from a moment."""

    min_idle: Count = 0
    """Idle server connections kept open ahead of need. None, because an unused proxy should hold nothing open."""

    idle_timeout_seconds: Seconds = 300
    """Seconds after which an idle server connection is closed; 0 = never. Some load balancers cut at 350 s."""

    max_lifetime_seconds: Seconds = 1_800
    """Seconds after which a server connection is closed once it is idle; 0 = never. Half an hour bounds the memory that
    a PostgreSQL process gathers and spreads connections again after a node returned."""

    acquire_timeout_seconds: PositiveSeconds = 30
    """Seconds a client waits for a server connection before it gets an error (53300). Less than most drivers wait."""

    reset_query: Statement | None = None
    """SQL sent to a server connection before another client gets it. None: Helios resets just what the last client
    changed, which is cheaper than `DISCARD ALL` and keeps prepared statements."""

    application_name_add_host: Flag = False
    """Whether the client's address and port stand behind its application_name on the server, as with PgBouncer. Off,
    because servers then have other settings for each client, which takes a round trip when they change hands."""

    pin_notices: Flag = False
    """Whether a client that begins to keep its server between transactions is told so by a NOTICE, with the reason.
    Off, because applications log what they did not ask for; metrics, `/sessions` and SHOW CLIENTS have it always."""

    prepared_statements: PreparedStatements = PreparedStatements.TRACK
    """`track`: prepared statements follow the client to another server connection. `disable`: they are passed on as
    they are, which is safe in session mode only."""


class PoolOverrides(HeliosModel):
    """Pool settings of one database; what is left out is taken from `[pool]`."""

    mode: PoolMode | None = None
    """See pool.mode. None: as `[pool]` says, here and below, so that a database states only its differences."""

    max_size: PositiveCount | None = None
    """See pool.max_size."""

    reserve_size: Count | None = None
    """See pool.reserve_size."""

    reserve_timeout_seconds: Seconds | None = None
    """See pool.reserve_timeout_seconds."""

    min_idle: Count | None = None
    """See pool.min_idle."""

    idle_timeout_seconds: Seconds | None = None
    """See pool.idle_timeout_seconds."""

    max_lifetime_seconds: Seconds | None = None
    """See pool.max_lifetime_seconds."""

    acquire_timeout_seconds: PositiveSeconds | None = None
    """See pool.acquire_timeout_seconds."""

    reset_query: Statement | None = None
    """See pool.reset_query."""

    application_name_add_host: Flag | None = None
    """See pool.application_name_add_host."""

    pin_notices: Flag | None = None
    """See pool.pin_notices."""

    prepared_statements: PreparedStatements | None = None
    """See pool.prepared_statements."""

    def over(self, pool: PoolConfig) -> PoolConfig:
        """`pool` with every setting that these overrides state."""
        return pool.model_copy(update=self.model_dump(exclude_none=True))
