"""The webhooks' certificate: replaced step by step, at once where nothing is left to lose."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from helios_operator.admission.certificates import Served, finding_of, next_step
from helios_operator.credentials import self_signed

HOSTS = ["helios-operator-webhook.helios-system.svc"]
NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
YEAR = timedelta(days=365)


def step(held: Served | None, now: datetime = NOW, *, waited: bool = True, hosts: list[str] | None = None) -> Served:
    made = next_step(held, hosts or HOSTS, now, YEAR, waited)
    assert made is not None
    return made


def test_first_certificate_is_for_the_names_by_which_the_api_server_comes() -> None:
    made = step(None, hosts=["127.0.0.1", *HOSTS])

    (certificate,) = x509.load_pem_x509_certificates(made.trust)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == HOSTS
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert Served.of_files(made.files()) == made
    assert next_step(made, ["127.0.0.1", *HOSTS], NOW, YEAR, True) is None


def test_renewal_trusts_before_it_shows_and_shows_before_it_stops_to_trust() -> None:
    first = step(None)
    assert next_step(first, HOSTS, NOW + timedelta(days=330), YEAR, True) is None
    late = NOW + timedelta(days=336)

    announced = step(first, late)
    assert announced.certificate == first.certificate, "the old one is still shown"
    assert announced.trust == announced.next_certificate + first.certificate
    assert next_step(announced, HOSTS, late, YEAR, False) is None, "not before everybody knows"
    shown = step(announced, late)
    assert (shown.certificate, shown.trust) == (announced.next_certificate, announced.trust)
    assert next_step(shown, HOSTS, late, YEAR, False) is None
    settled = step(shown, late)
    assert settled == Served(shown.certificate, shown.key, shown.certificate)
    assert next_step(settled, HOSTS, late, YEAR, True) is None


@pytest.mark.parametrize("broken", ["expired", "other name", "no certificate", "no part of one"])
def test_what_nobody_takes_is_replaced_without_waiting(broken: str) -> None:
    held = step(None)
    now = NOW + YEAR + timedelta(days=1) if broken == "expired" else NOW
    hosts = ["other.helios-system.svc"] if broken == "other name" else HOSTS
    if broken == "no certificate":
        held = Served(b"nonsense", held.key, held.trust)

    made = step(Served.of_files({"tls.key": held.key}) if broken == "no part of one" else held, now, hosts=hosts)

    assert (made.trust, made.next_certificate) == (made.certificate, b"")
    assert made.ends is not None
    assert made.ends > now


@pytest.mark.parametrize(
    ("held", "after", "hosts", "told"),
    [
        (True, timedelta(), HOSTS, None),
        (True, YEAR - timedelta(days=8), HOSTS, None),
        (True, YEAR - timedelta(days=7), HOSTS, ("True", "CertificateExpires", "at 2031-01-31T12:00:00Z")),
        (True, YEAR, HOSTS, ("False", "CertificateExpired", "at 2031-01-31T12:00:00Z")),
        (True, timedelta(), ["other.svc"], ("False", "CertificateInvalid", "is not for other.svc")),
        (False, timedelta(), HOSTS, ("False", "CertificateMissing", "Secret ns/hooks is missing")),
    ],
)
def test_finding_says_what_is_wrong(
    held: bool, after: timedelta, hosts: list[str], told: tuple[str, str, str] | None
) -> None:
    found = finding_of(step(None) if held else None, "ns/hooks", hosts, NOW + after)

    assert (found and (found.status, found.reason)) == (told and told[:2])
    assert told is None or found is None or told[2] in found.message


def test_short_lived_certificate_is_not_told_of_all_its_life() -> None:
    day = timedelta(days=1)
    certificate, key = self_signed(HOSTS[0], HOSTS, NOW, day)
    held = Served(certificate, key, certificate)

    assert finding_of(held, "ns/hooks", HOSTS, NOW + timedelta(hours=20)) is None
    assert finding_of(held, "ns/hooks", HOSTS, NOW + timedelta(hours=23)) is not None


def test_one_that_is_announced_serves_when_the_old_one_expires_meanwhile() -> None:
    late = NOW + timedelta(days=364)
    announced = step(step(None), late)

    made = step(announced, late + timedelta(days=2), waited=False)

    assert made.certificate == announced.next_certificate


def test_secret_says_when_it_expires() -> None:
    certificate, key = self_signed("x", HOSTS, NOW, timedelta(days=3))

    assert Served(certificate, key, certificate).ends == NOW + timedelta(days=3)
    assert Served(b"nonsense", key, certificate).ends is None
