"""References from one resource to another object of the same namespace."""

from __future__ import annotations

from typing import Final

from helios_crds.base import SpecModel
from helios_crds.types import ObjectName, SecretKey

__all__ = [
    "CA_KEY",
    "CERTIFICATE_KEY",
    "CRL_KEY",
    "HBA_KEY",
    "MAX_REFS",
    "PASSWORD_KEY",
    "PRIVATE_KEY",
    "USERS_KEY",
    "CaRef",
    "CertificateRef",
    "CrlRef",
    "HbaRef",
    "LocalRef",
    "PasswordRef",
    "UsersRef",
]

MAX_REFS: Final = 32
PASSWORD_KEY: Final = "password"  # noqa: S105 - the name of a key
USERS_KEY: Final = "users.txt"
CA_KEY: Final = "ca.crt"
CRL_KEY: Final = "ca.crl"
HBA_KEY: Final = "pg_hba.conf"
CERTIFICATE_KEY: Final = "tls.crt"
PRIVATE_KEY: Final = "tls.key"


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


class CertificateRef(SpecModel):
    """A certificate and its key in a Secret of the same namespace, as type kubernetes.io/tls has them: keys `tls.crt`
    and `tls.key`. They are mounted as files; a renewed one is taken up without a restart."""

    name: ObjectName
    """Name of the Secret."""


class CaRef(SpecModel):
    """Certificates of trusted authorities in a Secret of the same namespace, mounted as a file."""

    name: ObjectName
    """Name of the Secret."""

    key: SecretKey = CA_KEY
    """Key in the Secret. `ca.crt`, where cert-manager puts it."""


class CrlRef(SpecModel):
    """Revocation lists of authorities in a Secret of the same namespace, mounted as a file."""

    name: ObjectName
    """Name of the Secret."""

    key: SecretKey = CRL_KEY
    """Key in the Secret. `ca.crl`, beside the authorities' own `ca.crt`."""


class HbaRef(SpecModel):
    """A `pg_hba.conf` in a Secret of the same namespace, mounted as a file."""

    name: ObjectName
    """Name of the Secret."""

    key: SecretKey = HBA_KEY
    """Key in the Secret. `pg_hba.conf`, as PostgreSQL calls the file."""
