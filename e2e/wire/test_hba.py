"""`pg_hba.conf` before the proxy: the same file and the same logins with Helios and with PostgreSQL itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from harness.certificates import Authority, Certificate
from harness.client import Client, LoginRefusedError, Target, asked
from harness.postgres import APP, APP_MD5, APP_PLAIN, APP_TRUST, DATABASE, PASSWORDS
from harness.proxy import HeliosProcess, StartProxy
from harness.tls_server import TlsServer, tls_server
from harness.wait import until
from helios.play.process import unprivileged_identity

RECORDS = """\
# TYPE    DATABASE          USER               ADDRESS         METHOD
local     all               all                                peer
host      app               app_trust          127.0.0.0/8     trust
host      other             app_trust          all             reject
hostssl   other             app                all             scram-sha-256
host      "app",postgres    "app",nobody_here  127.0.0.1  255.255.255.255  scram-sha-256
host      "app",postgres    app_md5            127.0.0.1/32    md5
host      "app"             app_plain, nobody_plain  samehost  password
hostnossl sameuser          all                ::1/128         trust
"""

LOGINS = [
    (APP, DATABASE),
    (APP, "other"),
    (APP, "postgres"),
    (APP_MD5, DATABASE),
    (APP_MD5, "other"),
    (APP_PLAIN, DATABASE),
    (APP_PLAIN, "other"),
    (APP_TRUST, DATABASE),
    (APP_TRUST, "other"),
    ("nobody_known", DATABASE),
    ("nobody_plain", DATABASE),
    ("nobody_here", DATABASE),
]


def hba(folder: Path, text: str) -> Path:
    file = folder / "pg_hba.conf"
    file.write_text(text)
    return file


def behind(start_proxy: StartProxy, file: Path, **sections: object) -> HeliosProcess:
    """A proxy with this file and the users file of the other tests."""
    return start_proxy(auth={"method": None, "hba_file": str(file)}, **sections)


@pytest.fixture(scope="module")
def postgres_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    """A PostgreSQL whose own pg_hba.conf the tests change."""
    with tls_server(tmp_path_factory.mktemp("authority")) as made:
        yield made


def test_the_same_file_asks_the_same_of_everybody(
    start_proxy: StartProxy, postgres_of_its_own: TlsServer, tmp_path: Path
) -> None:
    cluster = postgres_of_its_own.cluster
    proxy = behind(start_proxy, hba(tmp_path, RECORDS))
    theirs = cluster.primary.data / "pg_hba.conf"
    before = theirs.read_text()
    superuser = f"host all {cluster.primary.superuser} all scram-sha-256\n"
    theirs.write_text(superuser + RECORDS)
    identity = unprivileged_identity()
    if identity is not None:
        shutil.chown(theirs, identity.uid, identity.gid)
    try:
        assert cluster.value("select count(*) from pg_hba_file_rules where error is not null") == "0"
        cluster.execute("select pg_reload_conf()")
        direct = Target(cluster.primary.host, cluster.primary.port, APP_TRUST, None, "other")
        until(lambda: "rejects" in asked(direct)[-1], "PostgreSQL to have read it")
        for user, database in LOGINS:
            to_server = Target(cluster.primary.host, cluster.primary.port, user, None, database)
            to_proxy = Target("127.0.0.1", proxy.port, user, None, database)
            assert asked(to_proxy) == asked(to_server), (user, database)
    finally:
        theirs.write_text(before)
        cluster.execute("select pg_reload_conf()")


@pytest.mark.parametrize("user", [APP, APP_MD5, APP_PLAIN, APP_TRUST])
def test_who_fits_a_record_logs_in_by_its_method(start_proxy: StartProxy, tmp_path: Path, user: str) -> None:
    proxy = behind(start_proxy, hba(tmp_path, RECORDS))

    with Client(proxy.target(user=user)) as client:
        assert client.value("select current_user") == user
    if user != APP_TRUST:
        with pytest.raises(LoginRefusedError) as refused:
            Client(proxy.target(user=user, password="wrong"))
        assert refused.value.sqlstate == "28P01"


def test_no_record_and_a_rejecting_one_in_postgres_words(start_proxy: StartProxy, tmp_path: Path) -> None:
    proxy = behind(start_proxy, hba(tmp_path, "host all app_md5 all reject\nhost all app 10.0.0.0/8 trust\n"))

    assert asked(proxy.target(user=APP)) == [
        "28000",
        'no pg_hba.conf entry for host "127.0.0.1", user "app", database "app", no encryption',
    ]
    assert asked(proxy.target(user=APP_MD5)) == [
        "28000",
        'pg_hba.conf rejects connection for host "127.0.0.1", user "app_md5", database "app", no encryption',
    ]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Authority(tmp_path_factory.mktemp("own-authority")).sign("proxy")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("people"))


def tls(shown: Certificate, people: Authority) -> dict[str, str]:
    files = {"cert_file": str(shown.cert), "key_file": str(shown.key), "client_ca_file": str(people.cert)}
    return {"mode": "allow", "client_auth": "optional", **files}


def attempt(proxy: HeliosProcess, certificate: Certificate | None, user: str, sslmode: str = "require") -> str:
    """Empty when libpq logs in and asks, else why not."""
    try:
        with psycopg.connect(
            host="127.0.0.1",
            port=proxy.port,
            user=user,
            password=PASSWORDS[user],
            dbname=DATABASE,
            sslmode=sslmode,
            sslcert=str(certificate.cert) if certificate else "/nonexistent",
            sslkey=str(certificate.key) if certificate else "/nonexistent",
            connect_timeout=10,
        ) as connection:
            connection.execute("select 1")
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def test_encryption_and_certificates(
    start_proxy: StartProxy, tmp_path: Path, shown: Certificate, people: Authority
) -> None:
    records = (
        "hostnossl all all all reject\n"
        "hostssl all app all cert map=people\n"
        "hostssl all app_plain all scram-sha-256 clientcert=verify-ca\n"
        "hostssl all app_md5 all md5 clientcert=verify-full\n"
    )
    auth = {"ident": [{"map": "people", "system_user": "alice", "database_user": "app"}]}
    proxy = start_proxy(auth={"method": None, "hba_file": str(hba(tmp_path, records)), **auth}, tls=tls(shown, people))
    alice, named = people.sign("alice"), people.sign(APP_MD5)

    assert attempt(proxy, alice, APP) == ""
    assert 'certificate authentication failed for user "app"' in attempt(proxy, named, APP)
    assert "connection requires a valid client certificate" in attempt(proxy, None, APP_PLAIN)
    assert attempt(proxy, alice, APP_PLAIN) == ""
    assert attempt(proxy, named, APP_MD5) == ""
    assert 'password authentication failed for user "app_md5"' in attempt(proxy, alice, APP_MD5)
    assert "pg_hba.conf rejects connection" in attempt(proxy, None, APP, sslmode="disable")
    assert 'user "app_trust", database "app", SSL encryption' in attempt(proxy, None, APP_TRUST)


@pytest.mark.checklist(4)
def test_a_client_that_prefers_encryption_tries_again_without(
    start_proxy: StartProxy, tmp_path: Path, shown: Certificate, people: Authority
) -> None:
    records = "hostssl all all all reject\nhostnossl all all all scram-sha-256\n"
    proxy = start_proxy(auth={"method": None, "hba_file": str(hba(tmp_path, records))}, tls=tls(shown, people))

    assert attempt(proxy, None, APP, sslmode="prefer") == ""
    assert "pg_hba.conf rejects connection" in attempt(proxy, None, APP, sslmode="require")


def test_a_changed_file_is_taken_up_without_a_restart(start_proxy: StartProxy, tmp_path: Path) -> None:
    file = hba(tmp_path, "host all all all reject\n")
    proxy = behind(start_proxy, file, watch={"interval_ms": 50})
    assert asked(proxy.target())[0] == "28000"

    file.write_text("host all all all scram-sha-256\n")

    until(lambda: asked(proxy.target()) == ["Authentication SASL"], "the new file to hold")
    with Client(proxy.target()) as client:
        assert client.value("select 1") == "1"


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ("host all all all ldap ldapserver=x", 'authentication method \\"ldap\\" is not supported by Helios'),
        ("hostgssenc all all all trust", "Helios does not speak GSSAPI encryption"),
        ("host @names all all trust", "other files are not read"),
        ("hostssl all all all cert", "set tls.client_auth to optional or required"),
        ("host all all all scram-sha-256 map=absent", 'there is no user map \\"absent\\"'),
    ],
)
def test_what_cannot_be_acted_on_is_a_refused_reload_that_names_the_line(
    start_proxy: StartProxy, tmp_path: Path, record: str, why: str
) -> None:
    file = hba(tmp_path, "host all all all scram-sha-256\n")
    proxy = behind(start_proxy, file)

    file.write_text(f"host all all all scram-sha-256\n\n{record}\n")
    status, body = proxy.post("/config/reload")

    assert status == 400
    assert "auth.hba_file: line 3: " in body
    assert why in body
    with Client(proxy.target()) as client:
        assert client.value("select 1") == "1"
