"""Every command of the console: who may give it, and what it does. A command that is not in the table does not exist.
Called by `service`, one task a command, on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from helios import __version__
from helios.config import ANY_DATABASE, CONSOLE_DATABASE
from helios.console.answer import Answer, ConsoleError, Notice
from helios.console.averages import Averages
from helios.console.command import Command, unknown
from helios.console.control import Control, Shutdown
from helios.console.settings import assignment
from helios.console.show import SHOWS, View, entry_of
from helios.engine_state import OpenPool
from helios.errors import ConfigError
from helios.threads import on_daemon_thread

__all__ = ["COMMANDS", "Caller", "Right", "describe", "run"]

POLL_SECONDS: Final = 0.02
"""Between two looks at whether what a command waits for has come about."""

NO_STATE: Final = "55000"
NO_DATABASE: Final = "3D000"
UNSUPPORTED: Final = "0A000"
NO_RIGHT: Final = "42501"
BAD_VALUE: Final = "22023"

HELP: Final = """
\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION
\tSHOW PEERS|PEER_POOLS
\tSHOW SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE
\tSHOW DNS_HOSTS|DNS_ZONES
\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS
\tSET key = arg
\tRELOAD
\tPAUSE [<db>]
\tRESUME [<db>]
\tDISABLE <db>
\tENABLE <db>
\tRECONNECT [<db>]
\tKILL [<db>]
\tKILL_CLIENT <client_id>
\tSHUTDOWN
\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS
\tWAIT_CLOSE [<db>]"""


class Right(StrEnum):
    """What a user of the console must be."""

    STATS = "stats"
    """Anybody who may log in."""

    ADMIN = "admin"


@dataclass
class Caller:
    """Whoever gave a command, and what it is answered from."""

    user: str
    control: Control
    averages: Averages
    was_cancelled: bool = False
    """The client asked for an end of its command."""

    @property
    def right(self) -> Right | None:
        """By the configuration in force, so that a reload takes rights away at once. None: of those in neither list."""
        console = self.control.config.console
        if self.user in console.admin_users:
            return Right.ADMIN
        return Right.STATS if self.user in console.stats_users else None


Run = Callable[[Caller, Command], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One command."""

    right: Right
    run: Run


async def run(caller: Caller, command: Command) -> Answer:
    """Carry a command out; `ConsoleError` if it is none, is not allowed or cannot be done."""
    entry = _entry(command)
    if caller.right is None:
        raise ConsoleError(NO_RIGHT, "no access to the console any more", "Name the user in [console].")
    if entry.right is Right.ADMIN and caller.right is not Right.ADMIN:
        raise ConsoleError(NO_RIGHT, "admin access needed", "Name the user in console.admin_users.")
    return await entry.run(caller, command)


def describe(command: Command) -> Answer:
    """The columns of a command's result, without carrying it out."""
    _entry(command)
    shown = SHOWS.get(command.argument.lower()) if command.verb in ("show", "select") else None
    return Answer("", None if shown is None else shown.columns)


def _entry(command: Command) -> Entry:
    entry = COMMANDS.get(command.verb)
    if entry is None:
        raise unknown(f"{command.verb} {command.argument}".strip())
    return entry


async def _show(caller: Caller, command: Command) -> Answer:
    topic = command.argument.lower()
    if topic == "help":
        return Answer("SHOW", notice=Notice("Console usage", HELP))
    if topic == "fds":
        hint = "It hands sockets to another process; Helios is replaced by draining it."
        raise ConsoleError(UNSUPPORTED, "SHOW FDS is not supported", hint)
    shown = SHOWS.get(topic)
    if shown is None:
        raise unknown(f"{command.verb} {command.argument}".strip())
    control = caller.control
    sessions = await on_daemon_thread("console", control.sessions)
    view = View(
        config=control.config,
        state=control.engine_state(),
        sessions=sessions,
        clusters=control.clusters(),
        users=control.user_names,
        averages=caller.averages,
        version=__version__,
    )
    return Answer("SHOW", shown.columns, [list(row) for row in shown.rows(view)])


async def _set(caller: Caller, command: Command) -> Answer:
    """What drivers set whatever they are connected to is ignored, as PgBouncer does, also for those who may not SET."""
    if command.argument.lower() in ("client_encoding", "datestyle", "standard_conforming_strings", "timezone"):
        return Answer("SET", notice=Notice("SET ignored"))
    if caller.right is not Right.ADMIN:
        raise ConsoleError(NO_RIGHT, "admin access needed", "Name the user in console.admin_users.")
    path, value = assignment(command.argument, command.value)
    try:
        caller.control.change(path, value)
    except ConfigError as error:
        raise ConsoleError(BAD_VALUE, f"SET failed: {error}") from error
    return Answer(f"SET {command.argument}={command.value}")


async def _pause(caller: Caller, command: Command) -> Answer:
    """Waits until every server of the database is closed. Cancelled, it takes the pause back."""
    _not_paused(caller)
    database = _known(caller, command.argument)
    caller.control.order("pause", database=database)
    try:
        await _until_none(caller, database, lambda pool: pool.total)
    except asyncio.CancelledError:
        if caller.was_cancelled:
            caller.control.order("resume", database=database)
        raise
    return Answer("PAUSE")


async def _resume(caller: Caller, command: Command) -> Answer:
    halts = caller.control.engine_state().halts
    if not command.argument:
        if not halts.all:
            raise ConsoleError(NO_STATE, "pooler is not paused/suspended")
        caller.control.order("resume", database=None)
    else:
        database = _known(caller, command.argument)
        if database not in halts.paused:
            raise ConsoleError(NO_STATE, f"database {database} is not paused")
        caller.control.order("resume", database=database)
    return Answer("RESUME")


async def _reconnect(caller: Caller, command: Command) -> Answer:
    caller.control.order("reconnect", database=_known(caller, command.argument))
    return Answer("RECONNECT")


async def _wait_close(caller: Caller, command: Command) -> Answer:
    await _until_none(caller, _known(caller, command.argument), lambda pool: pool.closing)
    return Answer("WAIT_CLOSE")


async def _kill(caller: Caller, command: Command) -> Answer:
    _not_paused(caller)
    caller.control.order("kill", database=_known(caller, command.argument))
    return Answer("KILL")


async def _kill_client(caller: Caller, command: Command) -> Answer:
    if not command.argument.isascii() or not command.argument.isdigit():
        raise ConsoleError(BAD_VALUE, "invalid client pointer supplied", "SHOW CLIENTS has it in the column id.")
    wanted = int(command.argument)
    sessions = await on_daemon_thread("console", caller.control.sessions)
    if all(client.id != wanted for client in sessions.clients):
        raise ConsoleError("42704", "client not found")
    caller.control.order("kill_client", id=wanted)
    return Answer("KILL_CLIENT")


async def _disable(caller: Caller, command: Command) -> Answer:
    caller.control.order("disable", database=_required(caller, command.argument))
    return Answer("DISABLE")


async def _enable(caller: Caller, command: Command) -> Answer:
    caller.control.order("enable", database=_required(caller, command.argument))
    return Answer("ENABLE")


async def _reload(caller: Caller, command: Command) -> Answer:
    if command.argument:
        raise unknown(f"{command.verb} {command.argument}")
    outcome = caller.control.reload()
    if not outcome.succeeded:
        problems = "; ".join(str(problem) for problem in outcome.problems)
        raise ConsoleError("F0000", f"RELOAD failed, the old configuration is kept: {problems}")
    late = ", ".join(outcome.restart_needed)
    return Answer("RELOAD", notice=Notice(f"takes effect with the next start only: {late}") if late else None)


async def _shutdown(caller: Caller, command: Command) -> Answer:
    try:
        how = Shutdown(f"SHUTDOWN {command.argument}".upper().strip())
    except ValueError as error:
        raise unknown(f"{command.verb} {command.argument}") from error
    caller.control.shut_down(how)
    return Answer("SHUTDOWN")


async def _suspend(_caller: Caller, _command: Command) -> Answer:
    hint = "PAUSE waits until no server is in use. To replace the process, start another one and drain this."
    raise ConsoleError(UNSUPPORTED, "SUSPEND is not supported", hint)


def _not_paused(caller: Caller) -> None:
    if caller.control.engine_state().halts.all:
        raise ConsoleError(NO_STATE, "already suspended/paused")


def _required(caller: Caller, name: str) -> str:
    database = _known(caller, name)
    if database is None:
        raise ConsoleError("42601", "a database is required")
    return database


def _known(caller: Caller, name: str) -> str | None:
    """The database of this name; None for all. `ConsoleError` if no client could ask for it."""
    if not name:
        return None
    if name == CONSOLE_DATABASE:
        raise ConsoleError(UNSUPPORTED, f"not possible for the console itself: {name}")
    entry = entry_of(caller.control.config, name)
    if entry is None or name == ANY_DATABASE or (entry.name == ANY_DATABASE and entry.database not in (None, name)):
        raise ConsoleError(NO_DATABASE, f"no such database: {name}", "SHOW DATABASES lists them.")
    return name


async def _until_none(caller: Caller, database: str | None, count: Callable[[OpenPool], int]) -> None:
    """Wait until there is none of what `count` counts in the pools of a database, or of all."""
    while any(  # noqa: ASYNC110 - the engine sends no news of it, and a look is cheap
        count(pool) for pool in caller.control.engine_state().open if database in (None, pool.name)
    ):
        await asyncio.sleep(POLL_SECONDS)


COMMANDS: Final[Mapping[str, Entry]] = {
    "disable": Entry(Right.ADMIN, _disable),
    "enable": Entry(Right.ADMIN, _enable),
    "kill": Entry(Right.ADMIN, _kill),
    "kill_client": Entry(Right.ADMIN, _kill_client),
    "pause": Entry(Right.ADMIN, _pause),
    "reconnect": Entry(Right.ADMIN, _reconnect),
    "reload": Entry(Right.ADMIN, _reload),
    "resume": Entry(Right.ADMIN, _resume),
    "select": Entry(Right.STATS, _show),
    "set": Entry(Right.STATS, _set),
    "show": Entry(Right.STATS, _show),
    "shutdown": Entry(Right.ADMIN, _shutdown),
    "suspend": Entry(Right.ADMIN, _suspend),
    "wait_close": Entry(Right.ADMIN, _wait_close),
}
"""Who may give which command. SHOW only looks; SET asks for more itself, once it is not one that is ignored."""
