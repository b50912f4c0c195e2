"""References from one resource to another object of the same namespace."""

from __future__ import annotations

from typing import Final

from helios_crds.base import SpecModel
from helios_crds.types import ObjectName, SecretKey

__all__ = ["MAX_REFS", "PASSWORD_KEY", "USERS_KEY", "LocalRef", "PasswordRef", "UsersRef"]

MAX_REFS: Final = 32
PASSWORD_KEY: Final = "password"  # noqa: S105 - the name of a key
USERS_KEY: Final = "users.txt"


class LocalRef(SpecModel):
    """Another object, in the same namespace."""

    name: ObjectName
    """Name of the object."""


class PasswordRef(SpecModel):
    """A password in a Secret of the same namespace. It is mounted as a file and never copied into the configuration."""

    name: ObjectName
    """Name of the Secret."""

    key: SecretKey = PASSWORD_KEY
    """Key in the Secret. `password`, as in Secrets of type kubernetes.io/basic-auth."""


class UsersRef(SpecModel):
    """A users file in a Secret of the same namespace, mounted as a file and never copied into the configuration."""

    name: ObjectName
    """Name of the Secret."""

    key: SecretKey = USERS_KEY
    """Key in the Secret. It holds lines `"user" "secret"` as PgBouncer's userlist.txt."""
