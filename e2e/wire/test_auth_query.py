"""Users whom only the server knows: the auth query, what it must not let in, and what must not be told by it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import frontend
from harness.client import Client, Connection, LoginRefusedError, Target
from harness.postgres import APP, DATABASE, PASSWORDS, PostgresCluster
from harness.proxy import HeliosProcess, StartProxy
from harness.scram import MECHANISM, ScramClient
from harness.wait import until
from harness.workload import in_parallel

ASKER = "asker"
SETUP = f"""
create role {ASKER} login password 'asker secret';
create role guest login password 'guest secret';
create role expired login password 'expired secret' valid until '2020-01-01';
create role fleeting login password 'fleeting secret' valid until 'infinity';
create role locked nologin password 'locked secret';
create role bare login;
create schema door;
create function door.look_up(wanted text, out name text, out secret text) language sql security definer
    set search_path = pg_catalog as
    $$ select rolname, rolpassword from pg_catalog.pg_authid where rolname = wanted $$;
revoke all on function door.look_up from public;
grant usage on schema door to {ASKER};
grant execute on function door.look_up to {ASKER};
"""
TEARDOWN = f"""
drop schema door cascade;
drop owned by {ASKER}; drop role {ASKER};
drop role guest; drop role expired; drop role fleeting; drop role locked; drop role bare;
"""
LOOK_UP = "select name, secret from door.look_up($1)"


@pytest.fixture(scope="module")
def roles(postgres: PostgresCluster) -> Iterator[PostgresCluster]:
    """The session's cluster with the roles of these tests."""
    postgres.execute(SETUP, "postgres")
    yield postgres
    postgres.execute("select count(pg_terminate_backend(pid)) from pg_stat_activity where usename in ('guest')")
    postgres.execute(TEARDOWN, "postgres")


def asking(start_proxy: StartProxy, **auth: object) -> HeliosProcess:
    """A proxy that has no users file."""
    defaults = {"users_file": None, "query_user": ASKER, "query_password": "asker secret", "query": LOOK_UP}
    return start_proxy(auth={**defaults, **auth})


def refusal(target: Target) -> dict[str, str]:
    with pytest.raises(LoginRefusedError) as refused:
        Client(target)
    return refused.value.event.fields


@pytest.mark.parametrize("method", ["scram-sha-256", "md5", "password"])
def test_a_role_of_the_server_logs_in_and_on(roles: PostgresCluster, start_proxy: StartProxy, method: str) -> None:
    proxy = asking(start_proxy, method=method)

    for user in ("guest", "fleeting"):
        with Client(proxy.target(user=user, password=f"{user} secret")) as client:
            assert client.value("select current_user") == user


@pytest.mark.checklist(12)
@pytest.mark.parametrize("method", ["scram-sha-256", "md5", "password"])
@pytest.mark.parametrize("user", ["guest", "nobody_known", "expired", "locked", "bare", "x" * 80])
def test_who_is_not_let_in_hears_the_same(
    roles: PostgresCluster, start_proxy: StartProxy, method: str, user: str
) -> None:
    proxy = asking(start_proxy, method=method)
    password = "wrong" if user == "guest" else f"{user} secret"

    for _ in range(2):
        fields = refusal(proxy.target(user=user, password=password))
        assert (fields["V"], fields["C"]) == ("FATAL", "28P01")
        assert fields["M"] == f'password authentication failed for user "{user}"'


def test_the_default_query_asks_as_a_superuser(roles: PostgresCluster, start_proxy: StartProxy) -> None:
    server = roles.primary
    proxy = start_proxy(
        auth={"users_file": None, "query_user": server.superuser, "query_password": server.password},
    )

    with Client(proxy.target(user="guest", password="guest secret")) as client:
        assert client.value("select current_user") == "guest"
    assert refusal(proxy.target(user="expired", password="expired secret"))["C"] == "28P01"


def test_the_users_file_goes_first(roles: PostgresCluster, start_proxy: StartProxy) -> None:
    proxy = start_proxy(auth={"query_user": ASKER, "query_password": "asker secret", "query": LOOK_UP})

    for user, password in ((APP, PASSWORDS[APP]), ("guest", "guest secret")):
        with Client(proxy.target(user=user, password=password)) as client:
            assert client.value("select current_user") == user


def test_what_a_client_sends_does_not_reach_the_query(roles: PostgresCluster, start_proxy: StartProxy) -> None:
    """A search_path of the startup packet once decided which objects an auth query meant (CVE-2025-12819)."""
    roles.execute(
        "create schema evil; grant usage on schema evil to public;"
        "create function evil.look_up(text, out name text, out secret text) language sql as"
        " $$ select 'nobody_known', 'guessed' $$;"
        f"alter role {ASKER} set search_path = evil",
        "postgres",
    )
    try:
        proxy = asking(start_proxy, query="select name, secret from look_up($1)")
        target = proxy.target(user="nobody_known", password="guessed").with_options(
            search_path="evil", options="-c search_path=evil"
        )
        with pytest.raises(LoginRefusedError):
            Client(target)
        until(lambda: "function look_up(unknown) does not exist" in proxy.log(), "the cause in the log")
    finally:
        roles.execute(f"alter role {ASKER} reset search_path; drop schema evil cascade", "postgres")


INJECTIONS = ["guest' or '1'='1", "'; drop table items; --", "$1", "%s", 'a"b', "gu\\est", "ＧＵＥＳＴ"]


@pytest.mark.parametrize("user", INJECTIONS)
def test_a_name_is_only_ever_a_name(roles: PostgresCluster, start_proxy: StartProxy, user: str) -> None:
    proxy = asking(start_proxy)

    assert refusal(proxy.target(user=user, password="guest secret"))["C"] == "28P01"
    with Client(proxy.target(user="guest", password="guest secret")) as client:
        assert client.value("select 1") == "1"


def test_a_changed_password_counts_at_the_latest_after_an_attempt(
    roles: PostgresCluster, start_proxy: StartProxy
) -> None:
    proxy = asking(start_proxy, query_cache_seconds=3600)
    with Client(proxy.target(user="guest", password="guest secret")) as client:
        client.value("select 1")
    roles.execute("alter role guest password 'new secret'", "postgres")
    roles.execute("select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'guest'")
    try:

        def logs_in() -> bool:
            try:
                with Client(proxy.target(user="guest", password="new secret")) as client:
                    return client.value("select current_user") == "guest"
            except LoginRefusedError:
                return False

        until(logs_in, "the new password to count")
    finally:
        roles.execute("alter role guest password 'guest secret'", "postgres")


def test_an_answer_holds_for_a_while(roles: PostgresCluster, start_proxy: StartProxy) -> None:
    proxy = asking(start_proxy, query_cache_seconds=3600)
    calls = "select calls from pg_stat_user_functions where funcname = 'look_up'"
    roles.execute("alter system set track_functions = 'all'")
    roles.execute("select pg_reload_conf()")
    try:
        until(lambda: roles.value("show track_functions") == "all", "functions to be counted")

        def log_in(_: int) -> str | None:
            with Client(proxy.target(user="guest", password="guest secret"), deadline=20) as client:
                return client.value("select current_user")

        assert in_parallel(20, log_in) == ["guest"] * 20
        asked = "select count(*) from pg_stat_activity where application_name = 'helios auth_query'"
        assert roles.value(asked) == "1"
        proxy.stop()
        until(lambda: roles.value(calls, "postgres") == "1", "one call to be counted")
    finally:
        roles.execute("alter system reset track_functions")
        roles.execute("select pg_reload_conf()")


def test_a_connection_that_was_closed_is_made_anew(roles: PostgresCluster, start_proxy: StartProxy) -> None:
    proxy = asking(start_proxy, query_cache_seconds=0)
    for _ in range(2):
        with Client(proxy.target(user="guest", password="guest secret")) as client:
            assert client.value("select current_user") == "guest"
        roles.execute(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'helios auth_query'"
        )


def test_a_reload_keeps_what_servers_are_logged_in_to_by(roles: PostgresCluster, start_proxy: StartProxy) -> None:
    proxy = asking(start_proxy)
    with Client(proxy.target(user="guest", password="guest secret")) as client:
        client.value("select 1")
        assert proxy.post("/config/reload")[0] == 200
        roles.execute("select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = 'guest'")
        until(lambda: proxy.json("/pools")[0]["idle_connections"] == 0, "the pool to notice")

        assert client.value("select current_user") == "guest"


def test_when_nobody_can_be_asked_nobody_learns_who_exists(roles: PostgresCluster, start_proxy: StartProxy) -> None:
    proxy = asking(start_proxy, query_password="wrong")

    answers = {refusal(proxy.target(user=user, password="x"))["M"] for user in ("guest", "nobody_known")}

    assert answers == {"the proxy cannot find out who may log in"}
    assert "asker secret" not in proxy.log()


def test_unknown_users_have_a_stable_salt(roles: PostgresCluster, start_proxy: StartProxy) -> None:
    proxy = asking(start_proxy)

    def challenge(user: str) -> list[str]:
        connection = Connection("127.0.0.1", proxy.port)
        connection.send(frontend.startup({"user": user, "database": DATABASE}))
        connection.receive()
        connection.send(frontend.sasl_initial(MECHANISM, ScramClient("x").first()))
        parts = connection.receive().raw[4:].decode().split(",")
        connection.close()
        return parts[1:]

    assert challenge("ghost") == challenge("ghost") != challenge("other_ghost")
    assert challenge("ghost")[1] == challenge("guest")[1]
