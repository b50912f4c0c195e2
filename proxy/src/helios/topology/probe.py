"""One poll of one node: log in if needed, ask for its role and position, say in one sentence what went wrong.

Called by `monitor`, one `Probe` a node. The connection is kept between polls, so a poll is one round trip, and
dropped after any error, so the next one starts afresh.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum

import asyncpg

from helios.topology.addresses import Addresses
from helios.topology.connection import FAILURES, Connection, cause, connect
from helios.topology.credentials import Login

__all__ = ["Probe", "ProbeFailure", "Reading", "Silence"]

_APPLICATION_NAME = "helios monitor"

# How values are written depends on these, and the configuration of one node may have others than that of the rest.
_FORMS = ("TimeZone", "DateStyle", "IntervalStyle", "bytea_output", "extra_float_digits", "lc_monetary", "xmlbinary")

# A position is counted in bytes from the beginning of the WAL. On a standby `received` is what is on its disk.
_READ = """
WITH role AS (SELECT pg_is_in_recovery() AS in_recovery),
     receiver AS (SELECT received_tli, coalesce(status, 'streaming') = 'streaming' AS streaming, last_msg_receipt_time
                  FROM pg_stat_wal_receiver)
SELECT in_recovery,
       CASE WHEN in_recovery THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_flush_lsn() END::text AS flushed,
       CASE WHEN in_recovery THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text AS replayed,
       CASE WHEN in_recovery THEN NULL ELSE pg_current_wal_insert_lsn() END::text AS written,
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 * 1000 AS replay_age_ms,
       coalesce((SELECT streaming FROM receiver), false) AS streaming,
       (SELECT extract(epoch FROM clock_timestamp() - last_msg_receipt_time)::float8 * 1000 FROM receiver) AS heard_ms,
       current_setting('synchronous_standby_names') AS synchronous_standby_names,
       EXISTS (SELECT FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) AS has_synchronous,
       extract(epoch FROM current_setting('wal_receiver_timeout')::interval)::float8 * 1000 AS wal_receiver_timeout_ms,
       CASE WHEN in_recovery THEN (SELECT received_tli FROM receiver)
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END AS timeline,
       (SELECT array_agg(current_setting(name) ORDER BY place)
        FROM unnest($1::text[]) WITH ORDINALITY AS form (name, place)) AS forms
FROM role
"""

_IDENTIFY = "SELECT system_identifier::text FROM pg_control_system()"


class Silence(StrEnum):
    """How a node did not answer a poll."""

    REFUSED = "refused"
    """Nobody listens there: its postmaster is gone."""
    RESET = "reset"
    """Somebody listened and closed the connection: its postmaster is gone, or starts anew after a crash."""
    QUIET = "quiet"
    """Nothing came back, which says nothing about the node: it may be the network."""
    ALIVE = "alive"
    """It answered, if only with an error."""


class ProbeFailure(Exception):
    """A poll that got no answer; the message is the cause, fit for a person."""

    def __init__(self, message: str, silence: Silence) -> None:
        super().__init__(message)
        self.silence = silence


@dataclass(frozen=True)
class Reading:
    """What a node said about itself."""

    in_recovery: bool
    flushed: int | None
    """End of the WAL on its disk, bytes; None on a standby that never received any by streaming."""
    replayed: int
    """End of the WAL it has applied, bytes; the same as `flushed` on a primary."""
    written: int
    """End of the WAL that a primary has made, on disk or not; of a standby as `replayed`."""
    replay_age_ms: float | None
    """0 when a streaming standby has replayed all it has received, else the age of the last transaction it replayed."""
    timeline: int | None
    system_identifier: str | None
    streaming: bool
    """A standby's walreceiver is connected to its primary, as far as it knows."""
    heard_ms: float | None
    """Since the walreceiver last heard from its primary; None without one, or where the role may not read it."""
    forms: tuple[tuple[str, str], ...]
    """Settings by which values are written, with what they are there."""
    synchronous_standby_names: str
    is_synchronous: bool
    """A primary has a synchronous standby, and may say so to the role that asks."""
    wal_receiver_timeout_ms: float
    """After half of it without a word a standby asks its primary for a sign of life, which has nothing to say of itself
    while nothing is written; 0 is never."""
    latency_ms: float
    """Duration of the question, without logging in."""


class Probe:
    """Asks one node, over one kept connection."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.addresses = Addresses(host)
        self._connection: Connection | None = None
        self._login: Login | None = None
        self._led_to: tuple[str, ...] = ()
        """What the name stood for when the connection was made."""
        self._system_identifier: str | None = None

    async def read(self, login: Login, timeout_seconds: float, resolve_seconds: float) -> Reading:
        """Ask once, within `timeout_seconds` for everything; `ProbeFailure` with the cause. The name is looked up again
        when that was done `resolve_seconds` ago."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.addresses.refresh(resolve_seconds)
                return await self._read(login, timeout_seconds)
        except TimeoutError as error:
            self._fail()
            raise ProbeFailure(f"no answer within {timeout_seconds * 1000:.0f} ms", Silence.QUIET) from error
        except FAILURES as error:
            self._fail()
            raise ProbeFailure(cause(error, login), _silence(error)) from error

    def stop(self) -> None:
        """Hold nothing any more."""
        self.addresses.stop()
        self.drop()

    def _fail(self) -> None:
        self.addresses.doubt()
        self.drop()

    def drop(self) -> None:
        """Close the connection without a word to the server, which may not be listening."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection = None

    async def _read(self, login: Login, timeout_seconds: float) -> Reading:
        # Where traffic goes is where to ask, so that a name that leads elsewhere makes the connection useless.
        is_current = self._login == login and self._led_to == self.addresses.known
        if self._connection is not None and is_current:
            try:
                return await self._ask(self._connection)
            except FAILURES:
                # It may have been closed for other reasons than the server's end; a fresh one tells.
                self.drop()
        self.drop()
        self._led_to = self.addresses.known
        self._connection = await connect(
            self.host, self.port, self._led_to, login, timeout_seconds, application_name=_APPLICATION_NAME
        )
        self._login = login
        self._system_identifier = await _identify(self._connection)
        return await self._ask(self._connection)

    async def _ask(self, connection: Connection) -> Reading:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        row = await connection.fetchrow(_READ, _FORMS)
        assert row is not None, "a SELECT over one row gives one row"
        return _reading(row, self._system_identifier, (loop.time() - asked_at) * 1000)


async def _identify(connection: Connection) -> str | None:
    try:
        identifier: str = await connection.fetchval(_IDENTIFY)
    except asyncpg.InsufficientPrivilegeError:
        return None
    return identifier


def _silence(error: Exception) -> Silence:
    match error:
        case asyncpg.CannotConnectNowError() | asyncpg.AdminShutdownError():
            return Silence.ALIVE
        case ConnectionRefusedError():
            return Silence.REFUSED
        case asyncpg.PostgresConnectionError() | ConnectionError():
            return Silence.RESET
        case asyncpg.PostgresError():
            return Silence.ALIVE
        case _:
            return Silence.QUIET


def _reading(row: asyncpg.Record, system_identifier: str | None, latency_ms: float) -> Reading:
    flushed, replayed = _position(row["flushed"]), _position(row["replayed"])
    has_all = row["streaming"] and flushed is not None and replayed is not None and flushed <= replayed
    return Reading(
        in_recovery=row["in_recovery"],
        flushed=flushed,
        replayed=replayed or 0,
        written=_position(row["written"]) or replayed or 0,
        replay_age_ms=0.0 if has_all or not row["in_recovery"] else _not_negative(row["replay_age_ms"]),
        timeline=row["timeline"],
        system_identifier=system_identifier,
        streaming=row["streaming"],
        heard_ms=_not_negative(row["heard_ms"]),
        forms=tuple(zip(_FORMS, row["forms"], strict=True)),
        synchronous_standby_names=row["synchronous_standby_names"],
        is_synchronous=row["has_synchronous"] and not row["in_recovery"],
        wal_receiver_timeout_ms=row["wal_receiver_timeout_ms"],
        latency_ms=latency_ms,
    )


def _position(lsn: str | None) -> int | None:
    """`16/B374D848` as bytes."""
    if lsn is None:
        return None
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def _not_negative(milliseconds: float | None) -> float | None:
    """Two clocks may disagree; a transaction from the future is a new one."""
    return None if milliseconds is None else max(0.0, milliseconds)
