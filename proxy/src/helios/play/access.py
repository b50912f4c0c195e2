"""As whom and where to a command connects: through Helios, and to the primary itself. Called by helios.play.session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from helios.config import ANY_DATABASE, DatabaseConfig, ProxyConfig
from helios.config.secrets import secret
from helios.config.users import SecretKind, User, users_of

__all__ = ["Access", "PlayedNode", "access_of", "make_dsn"]

FALLBACK_USER: Final = "app"


@dataclass(frozen=True)
class PlayedNode:
    """One PostgreSQL server as HELIOS_NODES shows it."""

    name: str
    dsn: str
    data: str | None
    """Its data folder; None: the server is not ours."""

    pid: int | None
    """Of the postmaster; None: the server is not ours."""


@dataclass(frozen=True)
class Access:
    """A client's login at Helios, and the login that Helios has at the server for it."""

    user: str
    password: str | None
    """None: the users file holds only hashes, or no password is asked for."""

    database: str
    """Name the client gives."""

    cluster: str
    server_user: str
    server_password: str | None
    server_database: str


def access_of(config: ProxyConfig, fallback_database: str) -> Access:
    """The first login of the users file with a plain password, and the first database that has a name.

    `fallback_database` is the name given where every name leads to the server. Raises SecretError.
    """
    user = _best_user(users_of(config))
    entries = config.resolved_databases()
    entry = next((entry for entry in entries if entry.name != ANY_DATABASE), entries[0])
    alias = fallback_database if entry.name == ANY_DATABASE else entry.name
    password = _plain(user)
    return Access(
        user=user.name if user is not None else entry.user or FALLBACK_USER,
        password=password,
        database=alias,
        cluster=entry.cluster or config.clusters[0].name,
        server_user=entry.user or (user.name if user is not None else FALLBACK_USER),
        server_password=_forced_password(entry) if entry.user is not None else password,
        server_database=entry.database or alias,
    )


def make_dsn(user: str, password: str | None, address: tuple[str, int], database: str) -> str:
    """`postgresql://user:password@host:port/database` with everything quoted that needs it."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    secret_part = f":{quote(password, safe='')}" if password else ""
    return f"postgresql://{quote(user, safe='')}{secret_part}@{host}:{address[1]}/{quote(database, safe='')}"


def _best_user(users: tuple[User, ...]) -> User | None:
    plain = (user for user in users if user.kind is SecretKind.PLAIN)
    return next(plain, users[0] if users else None)


def _plain(user: User | None) -> str | None:
    if user is None or user.secret is None or user.kind is not SecretKind.PLAIN:
        return None
    return user.secret.get_secret_value()


def _forced_password(entry: DatabaseConfig) -> str | None:
    value = secret(entry.password, entry.password_file, f'password_file of database "{entry.name}"')
    return None if value is None else value.get_secret_value()
