"""Token and certificate of the admin API: what a Secret holds before, during and after a rotation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.x509 import DNSName, SubjectAlternativeName
from operator_objects import KEY

from helios_operator.credentials import Credentials, host_of, make_credentials

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_secret_is_read_back_as_it_was_made() -> None:
    made = make_credentials(KEY)

    assert Credentials.of_files(made.files()) == made
    assert Credentials.of_files({"token": b"x"}) is None


def test_certificate_names_the_admin_service() -> None:
    certificate = x509.load_pem_x509_certificate(make_credentials(KEY).certificate)
    names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value

    assert host_of(KEY) in names.get_values_for_type(DNSName)


def test_certificate_is_replaced_before_it_ends() -> None:
    made = make_credentials(KEY, NOW)

    assert not made.is_expiring(NOW + timedelta(days=300))
    assert made.is_expiring(NOW + timedelta(days=340))


def test_new_token_comes_first_and_the_old_one_is_still_taken() -> None:
    old = make_credentials(KEY, NOW)

    both = old.replaced(KEY, NOW)

    assert both.tokens[1] == old.tokens[0]
    assert both.tokens[0] != old.tokens[0]
    assert both.files()["token"] == f"{both.tokens[0]}\n{old.tokens[0]}\n".encode()
    assert both.trust == both.certificate + old.certificate
    assert both.settled().tokens == both.tokens[:1]
    assert both.settled().trust == both.certificate


def test_nothing_secret_is_shown() -> None:
    made = make_credentials(KEY)

    assert made.tokens[0] not in repr(made)
    assert "PRIVATE" not in repr(made)
