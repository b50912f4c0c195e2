"""The certificate of the webhooks, and how it is replaced without a moment at which the API server trusts none. Pure.

A renewal takes three steps, each published before the next one begins: the new certificate is trusted beside the old
one; it is shown instead of the old one; the old one is trusted no more.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from helios_operator.conditions import Finding, time_text
from helios_operator.credentials import CERTIFICATE, KEY, TRUST, self_signed
from helios_operator.names import EXPIRY_NOTICE, SIDECAR

__all__ = ["Served", "finding_of", "next_step"]

NEXT_CERTIFICATE: Final = "next.crt"
NEXT_KEY: Final = "next.key"
RENEW_PART: Final = 12
"""A certificate is replaced when no more than this part of its time is left: a month of a year."""


@dataclass(frozen=True)
class Served:
    """What the Secret of the webhooks holds."""

    certificate: bytes
    key: bytes = field(repr=False)
    trust: bytes
    """What the API server shall take, to be published: certificates that are shown, or were, or will be."""
    next_certificate: bytes = b""
    """Shown once it is trusted; empty where none is on its way."""
    next_key: bytes = field(default=b"", repr=False)

    @classmethod
    def of_files(cls, files: Mapping[str, bytes]) -> Served | None:
        """The certificate in a Secret's content; None where a part is missing."""
        certificate, key = files.get(CERTIFICATE, b""), files.get(KEY, b"")
        if not certificate or not key:
            return None
        following = files.get(NEXT_CERTIFICATE, b""), files.get(NEXT_KEY, b"")
        return cls(certificate, key, files.get(TRUST, b""), *(following if all(following) else (b"", b"")))

    def files(self) -> dict[str, bytes]:
        """Key of the Secret → content; what is empty is not there."""
        return {
            CERTIFICATE: self.certificate,
            KEY: self.key,
            TRUST: self.trust,
            NEXT_CERTIFICATE: self.next_certificate,
            NEXT_KEY: self.next_key,
        }

    @property
    def ends(self) -> datetime | None:
        """When it expires; None where it is no certificate."""
        made = _read(self.certificate)
        return None if made is None else made.not_valid_after_utc


def next_step(held: Served | None, hosts: list[str], now: datetime, valid: timedelta, waited: bool) -> Served | None:
    """What the Secret shall hold instead of `held`; None where it may stay as it is.

    `hosts`: names and addresses by which the API server comes; `waited`: everybody knows of the step before.
    """
    if held is None or not _is_good(held.certificate, hosts, now):
        # Nobody takes what is shown, so there is nothing to wait for.
        if held is not None and _is_good(held.next_certificate, hosts, now):
            return _shifted(held)
        certificate, key = self_signed(hosts[0], hosts, now, valid)
        return Served(certificate, key, certificate)
    if held.next_certificate:
        return _shifted(held) if waited else None
    if held.trust != held.certificate:
        return replace(held, trust=held.certificate) if waited else None
    ends = held.ends
    if ends is not None and ends - now <= valid / RENEW_PART:
        certificate, key = self_signed(hosts[0], hosts, now, valid)
        return replace(held, trust=certificate + held.certificate, next_certificate=certificate, next_key=key)
    return None


def finding_of(held: Served | None, place: str, hosts: list[str], now: datetime) -> Finding | None:
    """What is wrong, or soon will be, with the certificate in Secret `place`; None while all is well."""
    made = None if held is None else _read(held.certificate)
    what = f"the webhooks' certificate in Secret {place}"
    if held is None:
        return _unready("CertificateMissing", f"{what} is missing")
    if made is None:
        return _unready("CertificateInvalid", f"{what} is none")
    ends = made.not_valid_after_utc
    if now >= ends:
        return _unready("CertificateExpired", f"{what} expired at {time_text(ends)}")
    if not _is_good(held.certificate, hosts, now):
        return _unready("CertificateInvalid", f"{what} is not for {', '.join(hosts)}")
    if ends - now <= min(EXPIRY_NOTICE, (ends - made.not_valid_before_utc) / RENEW_PART):
        return Finding("WebhooksReady", "True", "CertificateExpires", f"{what} expires at {time_text(ends)}")
    return None


def _unready(reason: str, what: str) -> Finding:
    told = f"{what}; until another is there the API server cannot ask: no pod with label {SIDECAR} can be made"
    return Finding("WebhooksReady", "False", reason, told)


def _shifted(held: Served) -> Served:
    """The next certificate is shown, and the one before still trusted: another replica may show it a while longer."""
    return Served(held.next_certificate, held.next_key, held.next_certificate + held.certificate)


def _is_good(pem: bytes, hosts: list[str], now: datetime) -> bool:
    """Whether an API server that trusts it takes it: valid, and for all of `hosts`."""
    made = _read(pem)
    if made is None or now >= made.not_valid_after_utc:
        return False
    try:
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    known = {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}
    return {_plain(host) for host in hosts} <= known


def _plain(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def _read(pem: bytes) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        return None
