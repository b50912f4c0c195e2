"""What is said to servers when a standby is promoted. Called by `promotion`, `switchover` and `widening`, which know
the order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg

from helios.config import NodeConfig
from helios.failover import conninfo
from helios.failover.candidate import Standby
from helios.failover.lines import Lines, StepFailure
from helios.failover.obstacle import Obstacle
from helios.failover.synchronous import Synchronous
from helios.topology.connection import Connection
from helios.topology.node_poll import NodePoll

__all__ = [
    "Promoted",
    "StepFailure",
    "ask",
    "await_position",
    "checkpoint",
    "configure",
    "end_of_wal",
    "follow",
    "promote",
    "streaming",
]

_ASK_SECONDS = 2.0
_CONFIGURE_SECONDS = 5.0
_CHECKPOINT_SECONDS = 600.0
_PLACE = ("host", "hostaddr", "port")
"""What a connection string says of where a server is."""

_ASK = """
SELECT pg_is_in_recovery() AS in_recovery,
       coalesce(substring(coalesce((SELECT setting FROM pg_settings WHERE name = 'primary_conninfo'), '')
                          FROM 'application_name\\s*=\\s*''?([^'' ]+)'),
                nullif(current_setting('cluster_name'), ''), 'walreceiver') AS application_name,
       coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn AS received,
       pg_last_wal_replay_lsn() - '0/0'::pg_lsn AS replayed,
       has_function_privilege('pg_promote(boolean, integer)', 'EXECUTE') AS may_promote,
       has_function_privilege('pg_reload_conf()', 'EXECUTE') AS may_reload,
       has_function_privilege('pg_ls_waldir()', 'EXECUTE') AS may_see,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       current_setting('server_version_num')::int AS version
"""

_PARAMETERS = """
SELECT has_parameter_privilege('synchronous_standby_names', 'ALTER SYSTEM')
   AND has_parameter_privilege('primary_conninfo', 'ALTER SYSTEM')
"""

# A standby that follows a new primary fetches the file first. What its walreceiver said of its timeline goes with it.
_KNOWN_TIMELINE = """
SELECT max(('x' || left(name, 8))::bit(32)::int) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{8}[.]history$'
"""

_IN_RECOVERY = "SELECT pg_is_in_recovery()"
_LOOK_SECONDS = 0.005

_HAS = """
SELECT pg_last_wal_receive_lsn() - '0/0'::pg_lsn >= $1::numeric
   AND pg_last_wal_replay_lsn() - '0/0'::pg_lsn >= $1::numeric
"""

_STREAMING = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'"

_FIRST_WITH_PARAMETER_PRIVILEGES = 150_000


class Promoted:
    """What the new primary says of how it began."""

    def __init__(self, xid_bound: int, forked_at: int, timeline: int, *, is_ours: bool) -> None:
        self.xid_bound = xid_bound
        """The first transaction number of its own, or a later one."""
        self.forked_at = forked_at
        """Where its history parts from that of its predecessor, bytes."""
        self.timeline = timeline
        self.is_ours = is_ours
        """It was seen to become primary; else it may have been restarted since, and not say any more where that was."""


async def ask(lines: Lines, poll: NodePoll) -> Standby:
    """What a standby has, and what it lets us do. `StepFailure`."""
    async with lines.to(poll, _ASK_SECONDS) as connection:
        row = await connection.fetchrow(_ASK)
        assert row is not None, "a SELECT without FROM gives one row"
        if not row["in_recovery"]:
            raise StepFailure(f"{poll.node.name} is no standby any more")
        may_configure = row["is_superuser"]
        if not may_configure and row["version"] >= _FIRST_WITH_PARAMETER_PRIVILEGES:
            may_configure = await connection.fetchval(_PARAMETERS)
        known_timeline = await connection.fetchval(_KNOWN_TIMELINE) if row["may_see"] else None
        reading = poll.reading
        received, replayed = int(row["received"] or 0), int(row["replayed"] or 0)
        return Standby(
            name=poll.node.name,
            application_name=row["application_name"],
            received=max(received, replayed),
            replayed=replayed,
            system_identifier=reading.system_identifier if reading else None,
            timeline=reading.timeline if reading else None,
            known_timeline=known_timeline,
            priority=poll.node.priority,
            may_see=row["may_see"],
            may_promote=row["may_promote"],
            may_configure=bool(may_configure and row["may_reload"]),
        )


async def configure(lines: Lines, poll: NodePoll, synchronous: Synchronous) -> None:
    """Tell a server for whom its commits wait, as primary. Said before it is one, or they would hang. `StepFailure`."""
    async with lines.to(poll, _CONFIGURE_SECONDS) as connection:
        # Our own connection reads by the old setting until the reload; nobody writes here.
        await _set(connection, "synchronous_standby_names", str(synchronous))


async def streaming(lines: Lines, poll: NodePoll) -> set[str]:
    """Names of the standbys that stream from a primary. `StepFailure`."""
    async with lines.to(poll, _ASK_SECONDS) as connection:
        return {row["application_name"] for row in await connection.fetch(_STREAMING)}


async def promote(lines: Lines, poll: NodePoll, timeout_seconds: float, may: Callable[[], bool]) -> Promoted:
    """Make a standby the primary if `may` still says so when everything else is done; it replays what it has received
    first. `StepFailure`."""
    async with lines.to(poll, timeout_seconds + _CONFIGURE_SECONDS) as connection:
        is_ours = await connection.fetchval(_IN_RECOVERY)
        if is_ours:
            if not may():
                raise StepFailure("the lease was lost", Obstacle.LEASE)
            # It would itself look only ten times a second whether it is done.
            await connection.execute("SELECT pg_promote(false)")
        until = asyncio.get_running_loop().time() + timeout_seconds
        while await connection.fetchval(_IN_RECOVERY):
            if asyncio.get_running_loop().time() > until:
                raise StepFailure(f"{poll.node.name} was not promoted within {timeout_seconds:g} s")
            await asyncio.sleep(_LOOK_SECONDS)
        row = await connection.fetchrow(
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xid_bound, "
            "coalesce(pg_last_wal_replay_lsn(), pg_current_wal_lsn()) - '0/0'::pg_lsn AS forked_at, "
            "('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int AS timeline"
        )
        assert row is not None, "a SELECT without FROM gives one row"
        return Promoted(row["xid_bound"], int(row["forked_at"]), row["timeline"], is_ours=is_ours)


async def follow(lines: Lines, standby: NodePoll, primary: NodePoll) -> None:
    """Have a standby stream from the new primary, with a slot of its own there if it used one. `StepFailure`."""
    async with lines.to(standby, _CONFIGURE_SECONDS) as connection:
        settings = "SELECT name, setting FROM pg_settings WHERE name IN ('primary_conninfo', 'primary_slot_name')"
        found = {row["name"]: row["setting"] for row in await connection.fetch(settings)}
        slot = found.get("primary_slot_name")
        if slot:
            await _make_slot(lines, primary, slot)
        redirected = _redirected(found.get("primary_conninfo") or "", standby.node, primary.node)
        await _set(connection, "primary_conninfo", redirected)


async def end_of_wal(lines: Lines, poll: NodePoll) -> int:
    """How far a primary is that nobody writes to any more, in bytes; all of that is on disk. `StepFailure`."""
    async with lines.to(poll, _CONFIGURE_SECONDS) as connection:
        # A commit that is waited for flushes what was committed without waiting.
        await connection.execute("SET default_transaction_read_only = off; SET synchronous_commit = local")
        await connection.execute("SELECT pg_logical_emit_message(true, 'helios', 'switchover')")
        return int(await connection.fetchval("SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn"))


async def await_position(lines: Lines, poll: NodePoll, position: int, timeout_seconds: float) -> None:
    """Wait until a standby has received and replayed so much. `StepFailure`."""
    async with lines.to(poll, timeout_seconds) as connection:
        while not await connection.fetchval(_HAS, position):  # noqa: ASYNC110 - it happens at another server
            await asyncio.sleep(_LOOK_SECONDS)


async def checkpoint(lines: Lines, poll: NodePoll) -> None:
    """Have a primary write down what is dirty, so that its shutdown and its successor's start are short."""
    async with lines.to(poll, _CHECKPOINT_SECONDS) as connection:
        try:
            await connection.execute("CHECKPOINT", timeout=_CHECKPOINT_SECONDS)
        except asyncpg.InsufficientPrivilegeError:
            # pg_checkpoint was not granted; without it the switchover only takes longer.
            return


async def _make_slot(lines: Lines, primary: NodePoll, slot: str) -> None:
    async with lines.to(primary, _CONFIGURE_SECONDS) as connection:
        is_there = await connection.fetchval("SELECT 1 FROM pg_replication_slots WHERE slot_name = $1", slot)
        if not is_there:
            await connection.execute(f"SELECT pg_create_physical_replication_slot('{slot}', true)")


async def _set(connection: Connection, name: str, value: str) -> None:
    quoted = value.replace("'", "''")
    await connection.execute(f"ALTER SYSTEM SET {name} = '{quoted}'")
    await connection.execute("SELECT pg_reload_conf()")


def _redirected(text: str, standby: NodeConfig, primary: NodeConfig) -> str:
    """The same login at another server. `StepFailure`."""
    try:
        said = conninfo.parse(text)
    except ValueError as error:
        raise StepFailure(f"primary_conninfo of {standby.name}: {error}") from error
    where = {"host": primary.host, "port": str(primary.port)}
    return conninfo.write({name: value for name, value in said.items() if name not in _PLACE} | where)
