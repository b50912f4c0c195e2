"""Fencing of a former primary: by a command that stops it for good, or by SQL as far as it can be reached.

Called by `controller`. The command is the only fence that holds against clients that do not come through Helios.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

from helios.config import FailoverConfig, NodeConfig
from helios.failover.lines import Lines, StepFailure
from helios.failover.obstacle import Obstacle
from helios.topology.node_poll import NodePoll

__all__ = ["FenceFailure", "by_command", "by_sql", "lift"]

_MAX_OUTPUT = 500
_SQL_SECONDS = 5.0

_RELOAD = "SELECT pg_reload_conf()"
_TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND ((SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
       OR usesysid NOT IN (SELECT oid FROM pg_roles WHERE rolsuper))
"""


class FenceFailure(Exception):
    """The node is not fenced; the message says why."""

    obstacle = Obstacle.FENCE


async def by_command(node: NodeConfig, config: FailoverConfig) -> None:
    """Run `fence_command`. `FenceFailure` unless it ends with status 0 in time."""
    where = {"HELIOS_NODE": node.name, "HELIOS_HOST": node.host, "HELIOS_PORT": str(node.port)}
    try:
        process = await asyncio.create_subprocess_exec(
            *config.fence_command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **where},
            start_new_session=True,
        )
    except OSError as error:
        raise FenceFailure(f"fence_command cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(config.fence_timeout_seconds):
            said, _ = await process.communicate()
    except TimeoutError as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise FenceFailure(f"fence_command did not end within {config.fence_timeout_seconds} s") from error
    if process.returncode != 0:
        last = said.decode(errors="replace").strip()[-_MAX_OUTPUT:]
        raise FenceFailure(f"fence_command ended with status {process.returncode}: {last or 'no output'}")


async def by_sql(lines: Lines, poll: NodePoll) -> None:
    """Have a node that can be reached accept no writes and end its clients. `FenceFailure` if that did not work."""
    read_only = "ALTER SYSTEM SET default_transaction_read_only = on"
    await _run(lines, poll, (read_only, _RELOAD, _TERMINATE))


async def lift(lines: Lines, poll: NodePoll) -> None:
    """Undo `by_sql`. `FenceFailure` if that did not work."""
    await _run(lines, poll, ("ALTER SYSTEM RESET default_transaction_read_only", _RELOAD))


async def _run(lines: Lines, poll: NodePoll, statements: Sequence[str]) -> None:
    try:
        async with lines.to(poll, _SQL_SECONDS) as connection:
            for statement in statements:
                await connection.execute(statement)
    except StepFailure as error:
        raise FenceFailure(str(error)) from error
