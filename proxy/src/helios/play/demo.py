"""One query through the proxy, shown with the way it took. Called by helios.play.session for `--demo`."""

from __future__ import annotations

import time

from helios.play import sql
from helios.play.errors import PlayError

__all__ = ["QUERY", "run_demo"]

QUERY = (
    "select 'hello from PostgreSQL ' || current_setting('server_version') as greeting, current_user as user, "
    "inet_server_port() as server_port, pg_backend_pid() as server_pid, pg_is_in_recovery() as standby"
)


def run_demo(target: sql.Target, pool: str) -> str:
    """Ask QUERY at `target`, which is Helios; the text to show. `pool` describes the pooling. Raises PlayError."""
    began = time.monotonic()
    try:
        row = sql.fetch(target, QUERY)[0]
    except sql.SQL_ERRORS as error:
        raise PlayError(f"the query through Helios at {target.host}:{target.port} failed: {error}") from error
    took_ms = (time.monotonic() - began) * 1000
    role = "standby" if row["standby"] else "primary"
    return (
        f"One query through Helios (connected and answered in {took_ms:.0f} ms):\n"
        f"  sent      {QUERY.partition(' as greeting')[0]}\n"
        f"  answered  {row['greeting']}\n"
        f"  as        {row['user']}\n"
        f"  way       client -> Helios {target.host}:{target.port} ({pool}) -> {role} "
        f"{target.host}:{row['server_port']}, server process {row['server_pid']}\n"
    )
