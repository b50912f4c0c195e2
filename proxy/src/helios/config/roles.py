"""`[[users]]`: what holds for single users. Read by the engine through the snapshot.

Who may log in, and by which secret, is not said here but in `auth.users_file`, which `users` reads.
"""

from __future__ import annotations

from helios.config.base import Count, HeliosModel, PositiveCount, Seconds, SqlName

__all__ = ["UserConfig"]


class UserConfig(HeliosModel):
    """Settings of one user; what is left out is as for all users."""

    name: SqlName
    """Name the client logs in by."""

    max_client_connections: Count | None = None
    """Clients at most; 0 = no limit. None: `limits.max_user_client_connections`."""

    max_server_connections: Count | None = None
    """Server connections at most that are logged in as it; 0 = no limit. None: `limits.max_user_server_connections`."""

    max_pool_size: PositiveCount | None = None
    """Server connections at most in each pool that is logged in as it, in place of the database's `pool.max_size`."""

    query_timeout_seconds: Seconds | None = None
    """See limits.query_timeout_seconds."""

    idle_transaction_timeout_seconds: Seconds | None = None
    """See limits.idle_transaction_timeout_seconds."""

    client_idle_timeout_seconds: Seconds | None = None
    """See limits.client_idle_timeout_seconds."""

    client_write_timeout_seconds: Seconds | None = None
    """See limits.client_write_timeout_seconds."""

    client_max_age_seconds: Seconds | None = None
    """See limits.client_max_age_seconds."""
