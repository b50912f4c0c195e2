"""`[auth]`: how clients prove who they are. Read by the engine through the snapshot."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import SecretStr, StringConstraints

from helios.config.base import HeliosModel, Name, Path, Seconds, SqlName

__all__ = ["AuthConfig", "AuthMethod", "CertificateName", "IdentConfig"]

Sql = Annotated[str, StringConstraints(min_length=1, max_length=8192, pattern=r"^[^\x00]+$")]
"""One SQL statement."""

DEFAULT_QUERY = (
    "SELECT rolname, rolpassword FROM pg_catalog.pg_authid WHERE rolname OPERATOR(pg_catalog.=) $1::pg_catalog.name"
)

IdentName = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00]+$")]
"""A name in a user map, or a regular expression."""


class AuthMethod(StrEnum):
    """How a client proves its name, in PostgreSQL's words."""

    TRUST = "trust"
    PASSWORD = "password"  # noqa: S105  # the name of a method
    MD5 = "md5"
    SCRAM_SHA_256 = "scram-sha-256"
    CERT = "cert"
    PEER = "peer"

    @property
    def asks_secret(self) -> bool:
        """Whether a client must know something, rather than be somebody."""
        return self not in (AuthMethod.TRUST, AuthMethod.CERT, AuthMethod.PEER)


class CertificateName(StrEnum):
    """Which name of a client's certificate counts."""

    CN = "cn"
    DN = "dn"


class IdentConfig(HeliosModel):
    """One line of a user map, as in pg_ident.conf; a client may log in by any line of its map that fits."""

    map: Name
    """Name of the map; several lines may have it."""

    system_user: IdentName
    """Name in the certificate, or of the system's user with method peer. A regular expression when it begins with a
    slash."""

    database_user: IdentName
    """Role that it may log in as. `\\1` stands for what the expression's first parentheses matched, `all` for every
    role."""


class AuthConfig(HeliosModel):
    """Authentication of clients."""

    method: AuthMethod = AuthMethod.SCRAM_SHA_256
    """What a client must answer. SCRAM, because it is PostgreSQL's own default and never sends the password. `peer`
    lets in over the Unix socket whoever runs as a user of the role's name, and nobody else."""

    hba_file: Path | None = None
    """A `pg_hba.conf` as PostgreSQL has it, which says for each client what it must answer; then `method`,
    `client_name` and `map` are left out. What Helios cannot act on is refused with its line. None: `method` holds for
    everybody."""

    users_file: Path | None = None
    """File of lines `"user" "secret"` as PgBouncer's userlist.txt; a secret is plain text, md5 + 32 hex digits, or a
    SCRAM-SHA-256 verifier. Needed by every method but trust, cert and peer, unless `query_user` is set."""

    query_user: SqlName | None = None
    """Role that asks the server for what the users file does not have, by `query` on a connection of its own. None: the
    users file is all there is."""

    query_password: SecretStr | None = None
    """Password of `query_user`. None: as the users file has it, or none."""

    query_password_file: Path | None = None
    """File that holds the password (its first line). Excludes `query_password`."""

    query_database: SqlName = "postgres"
    """Database, on the server, that `query_user` logs in to. The one that every cluster has."""

    query: Sql = DEFAULT_QUERY
    """Takes a role's name as `$1` and returns it with its secret. The default needs a superuser; better is a function
    of your own, SECURITY DEFINER with a fixed search_path. Names must be qualified: the search_path is pg_catalog.
    Whatever it returns, a role that must not log in or whose password has expired is not let in."""

    query_cache_seconds: Seconds = 10
    """How long an answer holds, also that there is no such role; 0 asks at every login. Short, because a changed
    password counts only then, or after an attempt that failed."""

    client_name: CertificateName = CertificateName.CN
    """With method cert, the name in the client's certificate that must be the role's, or lead to it by `map`: the
    common name, as PostgreSQL's own default, or the distinguished name in the form of RFC 4514."""

    map: Name | None = None
    """With methods cert and peer, the user map (`auth.ident`) that says which names may log in as which roles. None:
    the name must be the role's."""

    ident: tuple[IdentConfig, ...] = ()
    """Lines of the user maps. None by default."""
