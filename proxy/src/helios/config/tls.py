"""`[tls]` and `[clusters.tls]`: encryption towards clients and towards servers. Read by the engine through the snapshot
and by `helios.topology`."""

from __future__ import annotations

from enum import StrEnum

from helios.config.base import HeliosModel, Path

__all__ = ["ChannelBinding", "ClientAuth", "ClientTlsConfig", "ClientTlsMode", "ServerTlsConfig", "ServerTlsMode"]


class ClientTlsMode(StrEnum):
    """Whether clients are encrypted."""

    DISABLE = "disable"
    ALLOW = "allow"
    REQUIRE = "require"


class ClientAuth(StrEnum):
    """Whether clients show certificates of their own."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


class ClientTlsConfig(HeliosModel):
    """Encryption of clients."""

    mode: ClientTlsMode = ClientTlsMode.DISABLE
    """`allow` leaves it to the client's sslmode, `require` refuses clients without it. Disabled, because it needs a
    certificate."""

    cert_file: Path | None = None
    """PEM certificate chain, the proxy's own first. Needed unless `mode` is `disable`; read again at each reload."""

    key_file: Path | None = None
    """PEM private key of `cert_file`."""

    client_auth: ClientAuth = ClientAuth.NONE
    """Whether clients are asked for a certificate. With `optional` one that is shown must be good, with `required`
    every client must show one, also before it is asked for a password. Not asked by default: it needs an authority."""

    client_ca_file: Path | None = None
    """PEM certificates of the authorities that clients' certificates come from. Needed unless `client_auth` is none."""

    crl_file: Path | None = None
    """PEM revocation lists of these authorities. With it every authority must have its list, and a list that is out of
    date refuses its clients, as in PostgreSQL. None: nothing is revoked."""


class ServerTlsMode(StrEnum):
    """What is demanded of a server, in libpq's words."""

    DISABLE = "disable"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


VERIFYING = (ServerTlsMode.VERIFY_CA, ServerTlsMode.VERIFY_FULL)


class ChannelBinding(StrEnum):
    """Whether a SCRAM login to a server is bound to the TLS connection it runs over, in libpq's words."""

    DISABLE = "disable"
    PREFER = "prefer"
    REQUIRE = "require"


class ServerTlsConfig(HeliosModel):
    """Encryption towards the servers of a cluster."""

    mode: ServerTlsMode = ServerTlsMode.PREFER
    """As libpq's sslmode, whose default it has. `prefer` and `require` keep eavesdroppers out; only `verify-full` also
    keeps out who pretends to be the server. A change holds for new server connections."""

    ca_file: Path | None = None
    """PEM certificates of the authorities that are trusted; needed by `verify-ca` and `verify-full`."""

    channel_binding: ChannelBinding = ChannelBinding.PREFER
    """As libpq's channel_binding, whose default it has. `require` fails unless the server proves by SCRAM-SHA-256-PLUS
    that it knows the password and is the other end of the encrypted connection: that keeps out who pretends to be the
    server, without an authority. The monitor's connections cannot be bound."""

    @property
    def verifies(self) -> bool:
        """Whether a server's certificate must come from a trusted authority."""
        return self.mode in VERIFYING
