"""Token and certificate of a proxy's admin API: made, replaced, read back. Pure but for random numbers and the clock.

The certificate is signed by its own key, and whoever talks to the pods trusts exactly it (`ca.crt`). After a change
the token file has the new token first and the old one second, and `ca.crt` both certificates, until every pod has
read the new ones.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from helios.config.secrets import metrics_token
from helios_operator.names import ProxyKey

__all__ = [
    "CERTIFICATE",
    "KEY",
    "METRICS",
    "TOKEN",
    "TRUST",
    "Credentials",
    "host_of",
    "make_credentials",
    "self_signed",
]

TOKEN: Final = "token"  # noqa: S105 - the name of a key
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
TRUST: Final = "ca.crt"
METRICS: Final = "metrics-token"
"""For Prometheus, which has no business with the rest of the admin API."""
VALID: Final = timedelta(days=365)
RENEW_BEFORE: Final = timedelta(days=30)
CLOCK_SKEW: Final = timedelta(minutes=5)
TOKEN_BYTES: Final = 32
MAX_COMMON_NAME: Final = 64


@dataclass(frozen=True)
class Credentials:
    """What Secret `<name>-admin` holds."""

    tokens: tuple[str, ...] = field(repr=False)
    """The present token, then the one before it while that is still taken."""
    certificate: bytes
    key: bytes = field(repr=False)
    trust: bytes
    """Certificates that a pod may show: the present one, then the one before it."""

    def files(self) -> dict[str, bytes]:
        """Key of the Secret → content."""
        return {
            TOKEN: "".join(f"{token}\n" for token in self.tokens).encode(),
            CERTIFICATE: self.certificate,
            KEY: self.key,
            TRUST: self.trust,
            METRICS: metrics_token(self.tokens[0]).encode(),
        }

    @classmethod
    def of_files(cls, files: Mapping[str, bytes]) -> Credentials | None:
        """The credentials in a Secret's content; None where a part is missing."""
        tokens = tuple(files.get(TOKEN, b"").decode("ascii", "replace").split())
        certificate, key = files.get(CERTIFICATE, b""), files.get(KEY, b"")
        if not tokens or not certificate or not key:
            return None
        trust = files.get(TRUST) or certificate
        return cls(tokens, certificate, key, certificate if trust == certificate else trust)

    def is_expiring(self, now: datetime) -> bool:
        """Whether the certificate is so old, or so broken, that it must be replaced."""
        try:
            ends = x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc
        except ValueError:
            return True
        return ends - now < RENEW_BEFORE

    def replaced(self, key: ProxyKey, now: datetime) -> Credentials:
        """New credentials beside which these are still taken."""
        new = make_credentials(key, now)
        return Credentials((*new.tokens, self.tokens[0]), new.certificate, new.key, new.certificate + self.certificate)

    def settled(self) -> Credentials:
        """The same without what came before."""
        return Credentials(self.tokens[:1], self.certificate, self.key, self.certificate)


def host_of(key: ProxyKey) -> str:
    """The name in the certificate; whoever talks to a pod's address asks for this name."""
    return f"{key.admin}.{key.namespace}.svc"


def make_credentials(key: ProxyKey, now: datetime | None = None) -> Credentials:
    """A new token and a new certificate for a year."""
    pem, secret = self_signed(key.admin, _hosts(key), now or datetime.now(UTC), VALID)
    return Credentials((secrets.token_urlsafe(TOKEN_BYTES),), pem, secret, pem)


def self_signed(name: str, hosts: Iterable[str], now: datetime, valid: timedelta) -> tuple[bytes, bytes]:
    """(certificate, key) of a server at `hosts`, names or addresses; whoever trusts it trusts nothing else by that."""
    private = ec.generate_private_key(ec.SECP256R1())
    # A number in the name: of two trusted certificates with one name OpenSSL would look at one only.
    number = x509.NameAttribute(NameOID.SERIAL_NUMBER, secrets.token_hex(8))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:MAX_COMMON_NAME]), number])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + valid)
        .add_extension(x509.SubjectAlternativeName(list(map(_alternative, hosts))), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, secret


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hosts(key: ProxyKey) -> list[str]:
    in_cluster = f"{host_of(key)}.cluster.local"
    peers = f"*.{key.peers}.{key.namespace}.svc"
    return [key.admin, f"{key.admin}.{key.namespace}", host_of(key), in_cluster, peers]
