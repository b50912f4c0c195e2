"""Roles and databases in an embedded PostgreSQL: what the resource's users file and databases suppose.

Called by helios.play.session after the primary answers. Everything may run again on kept data.
"""

from __future__ import annotations

from dataclasses import dataclass

from helios.play import sql
from helios.play.errors import PostgresError

__all__ = ["Role", "ensure_database", "ensure_monitor", "ensure_role", "identifier", "literal"]

MONITOR_STATEMENTS = (
    "alter role {role} connection limit 64",
    "grant pg_monitor to {role}",
    "grant execute on function pg_catalog.pg_promote(boolean, integer) to {role}",
)
"""What makes a role that may log in a monitor, as docs/guides/monitor-role.md has it."""

PROMOTER_STATEMENTS = (
    "alter role {role} replication",
    "grant pg_checkpoint, pg_signal_backend to {role}",
    "grant execute on function pg_catalog.pg_reload_conf() to {role}",
    "grant alter system on parameter synchronous_standby_names to {role}",
    "grant alter system on parameter primary_conninfo to {role}",
    "grant alter system on parameter default_transaction_read_only to {role}",
)
"""What it needs on top to make a standby the primary, as docs/guides/failover.md has it."""


@dataclass(frozen=True)
class Role:
    """A role that may log in."""

    name: str
    secret: str | None
    """Plain text, md5 or SCRAM verifier, as PostgreSQL takes either; None: no password."""


def identifier(name: str) -> str:
    """`name` quoted as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` quoted as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def ensure_role(target: sql.Target, role: Role) -> None:
    """Make the role, or give it this secret. The name `postgres` becomes a superuser, as people expect of it.

    Raises PostgresError with PostgreSQL's reason.
    """
    password = "null" if role.secret is None else literal(role.secret)
    rights = "superuser login" if role.name == "postgres" else "login"
    try:
        known = sql.fetch(target, "select 1 from pg_roles where rolname = $1", role.name)
        verb = "alter" if known else "create"
        sql.execute(target, f"{verb} role {identifier(role.name)} {rights} password {password}")
    except sql.SQL_ERRORS as error:
        raise PostgresError(f"cannot make the role {role.name!r}: {error}") from error


def ensure_monitor(target: sql.Target, role: Role, may_promote: bool = False) -> None:
    """Make the role that Helios looks at the nodes with, and that `may_promote`; `target` is where it connects to.

    Raises PostgresError.
    """
    ensure_role(target, role)
    try:
        for statement in (*MONITOR_STATEMENTS, *(PROMOTER_STATEMENTS if may_promote else ())):
            sql.execute(target, statement.format(role=identifier(role.name)))
    except sql.SQL_ERRORS as error:
        raise PostgresError(f"cannot make {role.name!r} a monitor: {error}") from error


def ensure_database(target: sql.Target, name: str, owner: str) -> None:
    """Make the database, and let `owner` use what the superuser creates in it. Raises PostgresError."""
    try:
        if not sql.fetch(target, "select 1 from pg_database where datname = $1", name):
            sql.execute(target, f"create database {identifier(name)} owner {identifier(owner)}")
            inside = sql.Target(target.host, target.port, target.user, target.password, name)
            for kind in ("tables", "sequences", "functions", "types", "schemas"):
                sql.execute(inside, f"alter default privileges grant all on {kind} to {identifier(owner)}")
    except sql.SQL_ERRORS as error:
        raise PostgresError(f"cannot make the database {name!r}: {error}") from error
