"""Logins: every method with the right, a wrong and an unknown user, and how Helios itself logs in to PostgreSQL."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from harness import frontend
from harness.client import Client, Connection, LoginRefusedError, Target, brief
from harness.postgres import APP, APP_MD5, APP_PLAIN, APP_TRUST, MONITOR, PASSWORDS, PostgresCluster
from harness.proxy import HeliosProcess, StartProxy, base_settings, write_users_file
from harness.relay import ChunkRelay
from harness.scram import MECHANISM, ScramClient, md5_secret, verifier
from harness.wait import until
from harness.workload import in_parallel

METHODS = ("trust", "password", "md5", "scram-sha-256")
REQUEST = {"password": "CleartextPassword", "md5": "MD5Password", "scram-sha-256": "SASL"}

VERIFIED = "verified"
MD5_ENTRY = "md5_entry"

SOFT_HYPHEN = "pen\u00adcil"
ProxyFor = Callable[[str], HeliosProcess]


@pytest.fixture(scope="module")
def proxy_for(postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyFor]:
    """A proxy per authentication method, started at first use.

    Every client role but `app` reaches the server through the database `forced`, which logs in as `app`.
    """
    started: dict[str, HeliosProcess] = {}

    def get(method: str) -> HeliosProcess:
        if method not in started:
            folder: Path = tmp_path_factory.mktemp(f"auth-{method}")
            started[method] = HeliosProcess(folder, auth_settings(postgres, folder, method))
        return started[method]

    yield get
    for process in started.values():
        process.stop()


def auth_settings(cluster: PostgresCluster, folder: Path, method: str) -> dict[str, object]:
    """Settings with users whose secrets are plain text, a SCRAM verifier and an md5 hash."""
    secrets = {
        APP: PASSWORDS[APP],
        VERIFIED: verifier("pencil"),
        MD5_ENTRY: md5_secret(MD5_ENTRY, "pencil"),
        'quo"ted': 'se"cret',
        "umlaut": "pässwörd",
        "soft": SOFT_HYPHEN,
        APP_MD5: md5_secret(APP_MD5, PASSWORDS[APP_MD5]),
        APP_PLAIN: PASSWORDS[APP_PLAIN],
        APP_TRUST: PASSWORDS[APP_TRUST],
    }
    forced = {"name": "forced", "database": "app", "user": APP, "password": PASSWORDS[APP]}
    refused = {"name": "refused", "database": "app", "user": APP, "password": "not the password"}
    users = write_users_file(folder / "secrets.txt", secrets)
    auth = {"method": method, "users_file": str(users)}
    return base_settings(cluster, folder, auth=auth, databases=[forced, refused, {"name": "*"}])


def attempt(target: Target) -> list[str]:
    """Brief transcript of a login and a query, or of the refusal until the connection is closed."""
    try:
        with Client(target) as client:
            return brief([*client.login_events, *client.query("select 1")])
    except LoginRefusedError as refused:
        return [refused.event.brief]


def logs_in(target: Target) -> bool:
    """Whether the login succeeds and a query runs."""
    return attempt(target)[-2:] == ["CommandComplete SELECT 1", "ReadyForQuery I"]


@pytest.mark.parametrize("method", METHODS)
def test_right_password(proxy_for: ProxyFor, method: str) -> None:
    transcript = attempt(proxy_for(method).target())

    requests = [text.split(" ")[1] for text in transcript if text.startswith("Authentication")]
    expected = {"trust": ["Ok"], "scram-sha-256": ["SASL", "SASLContinue", "SASLFinal", "Ok"]}
    assert requests == expected.get(method, [REQUEST.get(method, ""), "Ok"])
    assert transcript[-2:] == ["CommandComplete SELECT 1", "ReadyForQuery I"]


@pytest.mark.checklist(12)
@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize("user", [APP, "nobody_known"], ids=["wrong password", "unknown user"])
def test_wrong_password_and_unknown_user_look_the_same(proxy_for: ProxyFor, method: str, user: str) -> None:
    proxy = proxy_for(method)

    with pytest.raises(LoginRefusedError) as refusal:
        Client(proxy.target(user=user, password="wrong"))

    fields = refusal.value.event.fields
    assert (fields["V"], fields["C"]) == ("FATAL", "28P01")
    assert fields["M"] == f'password authentication failed for user "{user}"'


@pytest.mark.parametrize("method", METHODS[1:])
def test_connection_is_closed_after_a_refusal(proxy_for: ProxyFor, method: str) -> None:
    proxy = proxy_for(method)
    connection = Connection("127.0.0.1", proxy.port)
    connection.send(frontend.startup({"user": APP, "database": "forced"}))
    assert brief([connection.receive()]) == [f"Authentication {REQUEST[method]}"]

    if method == "scram-sha-256":
        exchange = ScramClient("wrong")
        connection.send(frontend.sasl_initial(MECHANISM, exchange.first()))
        connection.send(frontend.sasl_response(exchange.final(connection.receive().raw[4:])))
    else:
        connection.send(frontend.password("wrong"))
    events = connection.until_closed()

    assert brief(events) == ["ErrorResponse 28P01"]


@pytest.mark.checklist(12)
@pytest.mark.parametrize("method", METHODS[1:])
def test_empty_password_is_wrong(proxy_for: ProxyFor, method: str) -> None:
    target = proxy_for(method).target(password=None)

    with pytest.raises(LoginRefusedError) as refusal:
        Client(Target(target.host, target.port, APP, "", "forced"))

    assert refusal.value.sqlstate == "28P01"


def test_scram_verifier_is_enough_to_check_a_client(proxy_for: ProxyFor) -> None:
    proxy = proxy_for("scram-sha-256")

    assert logs_in(proxy.target("forced", VERIFIED, "pencil"))
    assert attempt(proxy.target("forced", VERIFIED, "pen")) == ["ErrorResponse 28P01"]


def test_scram_verifier_serves_the_cleartext_method(proxy_for: ProxyFor) -> None:
    proxy = proxy_for("password")

    assert logs_in(proxy.target("forced", VERIFIED, "pencil"))
    assert attempt(proxy.target("forced", VERIFIED, "pen")) == ["ErrorResponse 28P01"]


@pytest.mark.parametrize("method", ["md5", "password"])
def test_md5_entry(proxy_for: ProxyFor, method: str) -> None:
    proxy = proxy_for(method)

    assert logs_in(proxy.target("forced", MD5_ENTRY, "pencil"))
    assert attempt(proxy.target("forced", MD5_ENTRY, "pen")) == ["ErrorResponse 28P01"]


@pytest.mark.checklist(12)
@pytest.mark.parametrize("method", METHODS[1:])
def test_secrets_with_quotes_and_umlauts(proxy_for: ProxyFor, method: str) -> None:
    proxy = proxy_for(method)

    assert logs_in(proxy.target("forced", 'quo"ted', 'se"cret'))
    assert logs_in(proxy.target("forced", "umlaut", "pässwörd"))


@pytest.mark.checklist(12)
def test_scram_passwords_are_prepared_as_libpq_does(proxy_for: ProxyFor) -> None:
    """SASLprep drops a soft hyphen: who types it and who does not have the same password."""
    target = proxy_for("scram-sha-256").target("forced", "soft", SOFT_HYPHEN)

    with psycopg.connect(target.dsn(), connect_timeout=10) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert logs_in(proxy_for("scram-sha-256").target("forced", "soft", SOFT_HYPHEN.replace("\u00ad", "")))


def scram_first(proxy: HeliosProcess, first: bytes, mechanism: str = MECHANISM) -> Connection:
    """A connection that has sent its SASLInitialResponse."""
    connection = Connection("127.0.0.1", proxy.port)
    connection.send(frontend.startup({"user": APP, "database": "app"}))
    assert brief([connection.receive()]) == ["Authentication SASL"]
    connection.send(frontend.sasl_initial(mechanism, first))
    return connection


def test_only_scram_sha_256_is_offered_without_tls(proxy_for: ProxyFor) -> None:
    connection = Connection("127.0.0.1", proxy_for("scram-sha-256").port)
    connection.send(frontend.startup({"user": APP, "database": "app"}))

    assert connection.receive().raw[4:] == b"SCRAM-SHA-256\0\0"
    connection.close()


def test_client_that_could_bind_a_channel_is_welcome(proxy_for: ProxyFor) -> None:
    exchange = ScramClient(PASSWORDS[APP], gs2_header="y,,")
    connection = scram_first(proxy_for("scram-sha-256"), exchange.first())

    connection.send(frontend.sasl_response(exchange.final(connection.receive().raw[4:])))
    event = connection.receive()
    exchange.verify(event.raw[4:])

    assert brief(connection.until_ready())[0] == "Authentication Ok"
    connection.close()


BAD_FIRST = {
    "no header": b"n=,r=abc",
    "channel binding demanded": b"p=tls-server-end-point,,n=,r=abcdefgh",
    "no nonce": b"n,,n=",
    "empty": b"",
    "garbage": b"\xff" * 40,
    "extension": b"n,,m=x,n=,r=abcdefgh",
    "huge nonce": b"n,,n=,r=" + b"a" * 60_000,
}


@pytest.mark.parametrize("name", list(BAD_FIRST))
def test_bad_first_scram_message_is_refused(proxy_for: ProxyFor, name: str) -> None:
    connection = scram_first(proxy_for("scram-sha-256"), BAD_FIRST[name])

    events = connection.until_closed() if name != "huge nonce" else [connection.receive()]

    codes = [event.sqlstate for event in events if event.kind == "ErrorResponse"]
    assert codes in (["08P01"], ["28P01"], ["28000"], ["0A000"], ["22021"]) or (name == "huge nonce" and not codes)
    connection.close()


def test_unknown_mechanism_is_refused(proxy_for: ProxyFor) -> None:
    connection = scram_first(proxy_for("scram-sha-256"), b"n,,n=,r=abcdefgh", "SCRAM-SHA-512")

    assert [event.sqlstate for event in connection.until_closed()] in (["08P01"], ["28P01"], ["28000"])


@pytest.mark.parametrize("change", ["nonce", "binding", "proof", "short proof", "no proof"])
def test_tampered_final_scram_message_is_refused(proxy_for: ProxyFor, change: str) -> None:
    exchange = ScramClient(PASSWORDS[APP])
    connection = scram_first(proxy_for("scram-sha-256"), exchange.first())
    final = exchange.final(connection.receive().raw[4:]).decode()
    without_proof, proof = final.split(",p=")
    altered = {
        "nonce": final.replace(",r=", ",r=x"),
        "binding": final.replace("c=biws", "c=eSws"),
        "proof": f"{without_proof},p={base64.b64encode(bytes(32)).decode()}",
        "short proof": f"{without_proof},p={proof[:12]}",
        "no proof": without_proof,
    }[change]

    connection.send(frontend.sasl_response(altered.encode()))
    events = connection.until_closed()

    assert [event.sqlstate for event in events] in (["28P01"], ["08P01"])


@pytest.mark.checklist(12)
def test_unknown_user_gets_a_stable_mock_salt(proxy_for: ProxyFor) -> None:
    proxy = proxy_for("scram-sha-256")

    def salt(user: str) -> tuple[str, str]:
        connection = Connection("127.0.0.1", proxy.port)
        connection.send(frontend.startup({"user": user, "database": "app"}))
        connection.receive()
        connection.send(frontend.sasl_initial(MECHANISM, ScramClient("x").first()))
        _, salt_part, iterations = connection.receive().raw[4:].decode().split(",")
        connection.close()
        return salt_part, iterations

    assert salt("ghost") == salt("ghost")
    assert salt("ghost") != salt("other_ghost")
    assert salt("ghost")[1] == salt(VERIFIED)[1]


def test_message_that_is_no_password_ends_the_login(proxy_for: ProxyFor) -> None:
    connection = Connection("127.0.0.1", proxy_for("password").port)
    connection.send(frontend.startup({"user": APP, "database": "app"}))
    connection.receive()

    connection.send(frontend.query("select 1"))

    assert brief(connection.until_closed()) == ["ErrorResponse 08P01"]


@pytest.mark.checklist(11)
def test_password_longer_than_any_buffer(proxy_for: ProxyFor) -> None:
    assert attempt(proxy_for("password").target(password="x" * 40_000)) == ["ErrorResponse 28P01"]


@pytest.mark.parametrize("chunk", ["1", "7", "random"])
@pytest.mark.parametrize("method", METHODS)
def test_logins_in_chunks(proxy_for: ProxyFor, method: str, chunk: str) -> None:
    proxy = proxy_for(method)
    with ChunkRelay(proxy.port, chunk) as relay:
        assert logs_in(proxy.target().at(relay.port))


@pytest.mark.parametrize("user", [APP, APP_MD5, APP_PLAIN, APP_TRUST])
def test_server_login_with_the_clients_own_secret(proxy_for: ProxyFor, user: str) -> None:
    """The server asks for SCRAM, md5, a plain password or nothing; Helios answers from the users file."""
    method = "md5" if user == APP_MD5 else "scram-sha-256"

    with Client(proxy_for(method).target(user=user)) as client:
        assert client.value("select current_user") == user


def test_forced_user_is_who_the_server_sees(proxy_for: ProxyFor) -> None:
    with Client(proxy_for("scram-sha-256").target("forced", VERIFIED, "pencil")) as client:
        assert client.value("select current_user") == APP


def assert_login_or_query_fails(target: Target) -> str:
    """SQLSTATE with which the login or, at the latest, the first query fails."""
    try:
        with Client(target, deadline=15) as client:
            client.send(frontend.query("select 1"))
            return client.receive_until(lambda event: event.kind == "ErrorResponse")[-1].sqlstate
    except LoginRefusedError as refused:
        return refused.sqlstate


@pytest.fixture
def stored(postgres: PostgresCluster) -> str:
    """The verifier of `app` as the server stores it."""
    found = postgres.value(f"select rolpassword from pg_authid where rolname = '{APP}'")
    assert found is not None
    return found


@pytest.fixture
def with_verifier(start_proxy: StartProxy, tmp_path: Path) -> Callable[..., HeliosProcess]:
    """Start a proxy whose users file knows `app` by this verifier only."""

    def start(secret: str, **auth: str) -> HeliosProcess:
        users = write_users_file(tmp_path / "verifiers.txt", {APP: secret})
        return start_proxy(auth={"users_file": str(users), **auth})

    return start


@pytest.mark.parametrize("method", ["scram-sha-256", "md5", "password"])
def test_a_verifier_logs_in_to_the_server_that_stores_it(
    with_verifier: Callable[..., HeliosProcess], stored: str, method: str
) -> None:
    proxy = with_verifier(stored, method=method)

    with Client(proxy.target()) as client:
        assert client.value("select current_user") == APP
    with pytest.raises(LoginRefusedError) as refused:
        Client(proxy.target(password="wrong"))
    assert refused.value.sqlstate == "28P01"


def test_what_was_proven_outlives_server_connections_and_reloads(
    with_verifier: Callable[..., HeliosProcess], stored: str, postgres: PostgresCluster
) -> None:
    proxy = with_verifier(stored)
    end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'app'"
    with Client(proxy.target()) as client:
        assert client.value("select 1") == "1"
        assert proxy.post("/config/reload")[0] == 200
        postgres.execute(end)
        until(lambda: proxy.json("/pools")[0]["idle_connections"] == 0, "the pool to notice")

        assert client.value("select current_user") == APP


def test_another_verifier_of_the_same_password_is_said_to_be_the_reason(
    with_verifier: Callable[..., HeliosProcess],
) -> None:
    proxy = with_verifier(verifier(PASSWORDS[APP]))

    code = assert_login_or_query_fails(proxy.target())

    assert code in ("28000", "28P01", "08006", "08001")
    until(lambda: "its verifier there is not the one that Helios knows" in proxy.log(), "the reason in the log")


def test_keys_are_never_logged(with_verifier: Callable[..., HeliosProcess], stored: str) -> None:
    proxy = with_verifier(stored)

    with Client(proxy.target()) as client:
        client.value("select 1")

    assert not any(part in proxy.log() for part in stored.split("$")[2].split(":"))
    assert stored not in proxy.get("/config")[1]


def test_wrong_server_password_is_told_once_and_logged(proxy_for: ProxyFor) -> None:
    proxy = proxy_for("scram-sha-256")

    code = assert_login_or_query_fails(proxy.target("refused"))

    assert code in ("28000", "28P01", "08006", "08001")
    until(lambda: "password authentication failed" in proxy.log(), "a log line with PostgreSQL's reason")
    assert "not the password" not in proxy.log()


def test_no_secret_is_logged_at_debug_level(start_proxy: StartProxy) -> None:
    proxy = start_proxy(log={"level": "debug"})

    assert logs_in(proxy.target())
    assert attempt(proxy.target(password="a wrong secret")) == ["ErrorResponse 28P01"]

    for secret in (*PASSWORDS.values(), "a wrong secret"):
        if secret != "unused":
            assert secret not in proxy.log()


def test_forty_logins_in_parallel(proxy_for: ProxyFor) -> None:
    target = proxy_for("scram-sha-256").target("forced", VERIFIED, "pencil")

    assert in_parallel(40, lambda _: logs_in(target)) == [True] * 40


def test_monitor_role_is_not_a_client_role(proxy_for: ProxyFor) -> None:
    proxy = proxy_for("scram-sha-256")

    assert attempt(proxy.target(user=MONITOR)) == ["ErrorResponse 28P01"]
