"""`[auth]`: how clients prove who they are. Read by the engine through the snapshot."""

from __future__ import annotations

from enum import StrEnum

from helios.config.base import HeliosModel, Path

__all__ = ["AuthConfig", "AuthMethod"]


class AuthMethod(StrEnum):
    """How a client proves its name, in PostgreSQL's words."""

    TRUST = "trust"
    PASSWORD = "password"  # noqa: S105  # the name of a method
    MD5 = "md5"
    SCRAM_SHA_256 = "scram-sha-256"


class AuthConfig(HeliosModel):
    """Authentication of clients."""

    method: AuthMethod = AuthMethod.SCRAM_SHA_256
    """What a client must answer. SCRAM, because it is PostgreSQL's own default and never sends the password."""

    users_file: Path | None = None
    """File of lines `"user" "secret"` as PgBouncer's userlist.txt; a secret is plain text, md5 + 32 hex digits, or a
    SCRAM-SHA-256 verifier. Needed by every method but trust."""
