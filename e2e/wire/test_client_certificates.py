"""Certificates of clients: who must show one, which are refused, and logging in by nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest

from harness.certificates import Authority, Certificate
from harness.client import Client, LoginRefusedError
from harness.postgres import APP, DATABASE, PASSWORDS, PostgresCluster
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.wait import until

FORCED = {"name": DATABASE, "database": DATABASE, "user": APP, "password": PASSWORDS[APP]}
"""Whoever the client is, the server sees `app`."""

IDENT = [
    {"map": "people", "system_user": "alice", "database_user": "app"},
    {"map": "people", "system_user": r"/^(.*)@example\.com$", "database_user": r"\1"},
    {"map": "names", "system_user": "CN=alice,OU=Data,O=Example", "database_user": "app"},
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The proxy's own certificate."""
    return Authority(tmp_path_factory.mktemp("own-authority")).sign("proxy")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of the clients."""
    return Authority(tmp_path_factory.mktemp("people"))


def tls(shown: Certificate, people: Authority, client_auth: str = "optional", **more: str) -> dict[str, str]:
    files = {"cert_file": str(shown.cert), "key_file": str(shown.key), "client_ca_file": str(people.cert)}
    return {"mode": "allow", "client_auth": client_auth, **files, **more}


def current_user(
    proxy: HeliosProcess,
    certificate: Certificate | None,
    user: str = APP,
    password: str | None = None,
    sslmode: str = "require",
) -> object:
    """Log in by libpq; OperationalError if that is refused."""
    with psycopg.connect(
        host="127.0.0.1",
        port=proxy.port,
        user=user,
        password=password,
        dbname=DATABASE,
        sslmode=sslmode,
        sslcert=str(certificate.cert) if certificate else "/nonexistent",
        sslkey=str(certificate.key) if certificate else "/nonexistent",
        connect_timeout=10,
    ) as connection:
        row = connection.execute("select current_user").fetchone()
        return row and row[0]


def refused(why: str) -> AbstractContextManager[object]:
    return pytest.raises(psycopg.OperationalError, match=why)


NEEDS_ONE = "connection requires a valid client certificate"


@pytest.fixture(scope="module")
def by_certificate(
    postgres: PostgresCluster, shown: Certificate, people: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., HeliosProcess]]:
    """Proxies with method cert, one for each map and name that counts."""
    started: dict[tuple[str | None, str], HeliosProcess] = {}

    def get(map: str | None = None, client_name: str = "cn") -> HeliosProcess:
        if (map, client_name) not in started:
            folder: Path = tmp_path_factory.mktemp("cert-proxy")
            auth = {"method": "cert", "map": map, "client_name": client_name, "ident": IDENT, "users_file": None}
            settings = base_settings(postgres, folder, auth=auth, tls=tls(shown, people), databases=[FORCED])
            started[map, client_name] = HeliosProcess(folder, settings)
        return started[map, client_name]

    yield get
    for process in started.values():
        process.stop()


def test_the_name_in_the_certificate_is_the_role(
    by_certificate: Callable[..., HeliosProcess], people: Authority
) -> None:
    proxy = by_certificate()

    assert current_user(proxy, people.sign("app")) == APP
    with refused('certificate authentication failed for user "app"'):
        current_user(proxy, people.sign("alice"))
    until(lambda: "certificate=alice" in proxy.log(), "the name that was shown in the log")
    with refused(NEEDS_ONE):
        current_user(proxy, None)


def test_no_encryption_is_no_certificate(by_certificate: Callable[..., HeliosProcess]) -> None:
    with pytest.raises(LoginRefusedError) as refusal:
        Client(by_certificate().target())

    assert refusal.value.sqlstate == "28000"
    assert refusal.value.event.fields["M"] == NEEDS_ONE


@pytest.mark.parametrize(
    ("name", "user", "allowed"),
    [
        ("alice", "app", True),
        ("alice", "alice", False),
        ("app", "app", False),
        ("bob@example.com", "bob", True),
        ("bob@example.com", "app", False),
        ("bob@example.org", "bob", False),
    ],
)
def test_a_user_map(
    by_certificate: Callable[..., HeliosProcess], people: Authority, name: str, user: str, allowed: bool
) -> None:
    proxy, certificate = by_certificate("people"), people.sign("mapped", subject=f"/CN={name}")

    if allowed:
        assert current_user(proxy, certificate, user) == APP
    else:
        with refused(f'certificate authentication failed for user "{user}"'):
            current_user(proxy, certificate, user)


def test_the_distinguished_name(by_certificate: Callable[..., HeliosProcess], people: Authority) -> None:
    proxy = by_certificate("names", "dn")

    assert current_user(proxy, people.sign("dn", subject="/O=Example/OU=Data/CN=alice")) == APP
    with refused("certificate authentication failed"):
        current_user(proxy, people.sign("dn", subject="/O=Example/OU=Other/CN=alice"))


def test_two_common_names_count_as_the_first(by_certificate: Callable[..., HeliosProcess], people: Authority) -> None:
    certificate = people.sign("two", subject="/CN=alice/CN=app")

    with refused("certificate authentication failed"):
        current_user(by_certificate(), certificate)


@pytest.mark.parametrize("client_auth", ["optional", "required"])
def test_a_certificate_beside_a_password(
    start_proxy: StartProxy, shown: Certificate, people: Authority, client_auth: str
) -> None:
    proxy = start_proxy(tls=tls(shown, people, client_auth))
    anybody, password = people.sign("anybody"), PASSWORDS[APP]

    assert current_user(proxy, anybody, password=password) == APP
    with refused('password authentication failed for user "app"'):
        current_user(proxy, anybody, password="wrong")
    for sslmode in ("require", "disable"):
        if client_auth == "required":
            with refused(NEEDS_ONE):
                current_user(proxy, None, password=password, sslmode=sslmode)
        else:
            assert current_user(proxy, None, password=password, sslmode=sslmode) == APP


def test_a_certificate_of_somebody_else_ends_the_handshake(
    start_proxy: StartProxy, shown: Certificate, people: Authority, tmp_path: Path
) -> None:
    proxy = start_proxy(tls=tls(shown, people))

    with refused("unknown ca|certificate unknown|bad certificate"):
        current_user(proxy, Authority(tmp_path / "other", "other-ca").sign("app"), password=PASSWORDS[APP])


def test_a_list_of_the_revoked_is_taken_up_through_a_link(
    start_proxy: StartProxy, shown: Certificate, people: Authority, tmp_path: Path
) -> None:
    """As Kubernetes mounts a Secret: what changes is where a link leads."""
    certificate, password = people.sign("leaver"), PASSWORDS[APP]
    for version in ("first", "second"):
        (tmp_path / version).mkdir()
    people.revoke(tmp_path / "first" / "ca.crl")
    people.revoke(tmp_path / "second" / "ca.crl", certificate)
    data = tmp_path / "data"
    data.symlink_to("first")
    proxy = start_proxy(tls=tls(shown, people, crl_file=str(data / "ca.crl")), watch={"interval_ms": 50})
    assert current_user(proxy, certificate, password=password) == APP

    (tmp_path / "next").symlink_to("second")
    (tmp_path / "next").replace(data)

    def is_refused() -> bool:
        try:
            current_user(proxy, certificate, password=password)
        except psycopg.OperationalError as error:
            return "revoked" in str(error)
        return False

    until(is_refused, "the certificate to be refused as revoked")
    assert current_user(proxy, people.sign("stayer"), password=password) == APP


def test_a_list_that_is_out_of_date_lets_nobody_in(
    start_proxy: StartProxy, shown: Certificate, people: Authority, tmp_path: Path
) -> None:
    stale = people.revoke(tmp_path / "stale.crl", days=-1)
    proxy = start_proxy(tls=tls(shown, people, crl_file=str(stale)))

    with refused("SSL error"):
        current_user(proxy, people.sign("late"), password=PASSWORDS[APP])


def test_a_new_authority_is_taken_up_by_a_reload(
    start_proxy: StartProxy, shown: Certificate, people: Authority, tmp_path: Path
) -> None:
    trusted, other = tmp_path / "ca.crt", Authority(tmp_path / "other", "other-ca")
    trusted.write_bytes(people.cert.read_bytes())
    proxy = start_proxy(tls=tls(shown, people, client_ca_file=str(trusted)))

    trusted.write_bytes(other.cert.read_bytes())
    assert proxy.post("/config/reload")[0] == 200

    assert current_user(proxy, other.sign("app"), password=PASSWORDS[APP]) == APP
    with refused("SSL error"):
        current_user(proxy, people.sign("app"), password=PASSWORDS[APP])


@pytest.mark.parametrize("name", ["client_ca_file", "crl_file"])
def test_a_bad_file_is_a_refused_reload_that_names_it(
    start_proxy: StartProxy, shown: Certificate, people: Authority, tmp_path: Path, name: str
) -> None:
    good = {"client_ca_file": people.cert, "crl_file": people.revoke(tmp_path / "good.crl")}[name]
    file = tmp_path / "file"
    file.write_bytes(good.read_bytes())
    proxy = start_proxy(tls=tls(shown, people, **{name: str(file)}))

    file.write_text("no PEM")
    status, body = proxy.post("/config/reload")

    assert (status, f"tls.{name}" in body) == (400, True)
    assert current_user(proxy, people.sign("app"), password=PASSWORDS[APP]) == APP
