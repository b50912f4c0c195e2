"""Configurations of PgBouncer and PgCat, served as they are before real PostgreSQL."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from harness import scram
from harness.postgres import APP, APP_MD5, APP_PLAIN, DATABASE, PASSWORDS, PostgresCluster
from harness.proxy import HeliosProcess, write_users_file
from harness.wait import until
from harness.workload import in_parallel

CLIENTS = 6
POOL_SIZE = 2
ADMIN = ("--admin", "127.0.0.1:0")


def pgbouncer_ini(postgres: PostgresCluster, pool_size: int = POOL_SIZE) -> str:
    """Two databases: one that is logged in to as the client, one with a fixed user and a small pool."""
    server = f"host={postgres.primary.host} port={postgres.primary.port}"
    return f"""\
;; as a distribution ships it
[databases]
{DATABASE} = {server}
shared = {server} dbname={DATABASE} user={APP} password='{PASSWORDS[APP]}' pool_size={pool_size}

[pgbouncer]
logfile = /var/log/pgbouncer/pgbouncer.log
listen_addr = 127.0.0.1
listen_port = 0
auth_type = md5
auth_file = userlist.txt
pool_mode = transaction
max_prepared_statements = 100
server_reset_query = DISCARD ALL
%include more.ini
"""


def pgcat_toml(postgres: PostgresCluster) -> str:
    """One pool over the primary and its standby, with two users."""
    servers = [[postgres.primary.host, postgres.primary.port, "primary"]]
    if postgres.standby:
        servers.append([postgres.standby.host, postgres.standby.port, "replica"])
    return f"""\
[general]
host = "127.0.0.1"
port = 0
enable_prometheus_exporter = true
prometheus_exporter_port = 0
connect_timeout = 10000

[pools.shop]
pool_mode = "transaction"
default_role = "any"
query_parser_enabled = true
prepared_statements_cache_size = 500

[pools.shop.users.0]
username = "{APP}"
password = "{PASSWORDS[APP]}"
pool_size = {POOL_SIZE}

[pools.shop.users.1]
username = "{APP_PLAIN}"
password = "{PASSWORDS[APP_PLAIN]}"
pool_size = {POOL_SIZE}

[pools.shop.shards.0]
servers = {servers!r}
database = "{DATABASE}"
"""


@pytest.fixture
def bouncer(postgres: PostgresCluster, tmp_path: Path) -> Iterator[HeliosProcess]:
    """A proxy that runs a pgbouncer.ini with an md5 and a SCRAM user."""
    secrets = {APP: scram.verifier(PASSWORDS[APP]), APP_MD5: scram.md5_secret(APP_MD5, PASSWORDS[APP_MD5])}
    write_users_file(tmp_path / "userlist.txt", secrets)
    (tmp_path / "more.ini").write_text("max_client_conn = 50\n")
    with HeliosProcess(tmp_path, pgbouncer_ini(postgres), name="pgbouncer.ini", arguments=ADMIN) as process:
        yield process


@pytest.fixture
def cat(postgres: PostgresCluster, tmp_path: Path) -> Iterator[HeliosProcess]:
    """A proxy that runs a pgcat.toml."""
    with HeliosProcess(tmp_path, pgcat_toml(postgres), name="pgcat.toml") as process:
        yield process


def dsn(process: HeliosProcess, user: str, database: str, **more: str) -> str:
    """A libpq connection string for psycopg."""
    rest = " ".join(f"{key}='{value}'" for key, value in {"password": PASSWORDS[user], **more}.items())
    return f"host=127.0.0.1 port={process.port} user={user} dbname={database} sslmode=disable connect_timeout=10 {rest}"


def transactions_share(process: HeliosProcess, user: str, database: str, pool_size: int) -> None:
    """More clients than servers: every one is served, in turns, by no more servers than the pool may have."""
    seen: set[int] = set()
    inside = threading.Barrier(CLIENTS)

    def use(number: int) -> None:
        with psycopg.connect(dsn(process, user, database), autocommit=True) as connection:
            inside.wait(timeout=20)  # all are connected at once
            for _ in range(4):
                with connection.transaction():
                    row = connection.execute("select pg_backend_pid(), %s::int, pg_sleep(0.02)", (number,)).fetchone()
                    assert row is not None
                    assert row[1] == number
                    seen.add(row[0])

    in_parallel(CLIENTS, use)
    assert len(seen) == pool_size


@pytest.mark.parametrize(("user", "database", "proof"), [(APP_MD5, DATABASE, "md5"), (APP, "shared", "scram-sha-256")])
def test_pgbouncer_users_log_in_as_their_secret_demands(
    bouncer: HeliosProcess, user: str, database: str, proof: str
) -> None:
    with psycopg.connect(dsn(bouncer, user, database, require_auth=proof)) as connection:
        assert connection.execute("select current_user, current_database()").fetchone() == (user, DATABASE)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn(bouncer, user, database, password="wrong"))


def test_pgbouncer_in_transaction_mode_keeps_to_the_pool_size(bouncer: HeliosProcess) -> None:
    transactions_share(bouncer, APP, "shared", POOL_SIZE)

    config = bouncer.json("/config")["config"]
    assert (config["pool"]["mode"], config["limits"]["max_client_connections"]) == ("transaction", 50)
    assert "pgbouncer.logfile" not in bouncer.log()
    assert "pgbouncer.auth_file: is relative" in bouncer.log()


def test_pgbouncer_is_read_again_on_sighup(bouncer: HeliosProcess, postgres: PostgresCluster) -> None:
    write_users_file(bouncer.config_file.with_name("userlist.txt"), {APP_PLAIN: PASSWORDS[APP_PLAIN]})
    bouncer.write(pgbouncer_ini(postgres, pool_size=1))

    bouncer.signal(signal.SIGHUP)
    until(lambda: "reloaded" in bouncer.log(), "the reload")

    transactions_share(bouncer, APP_PLAIN, "shared", 1)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn(bouncer, APP, "shared"))


def test_pgbouncer_with_a_faulty_line_is_refused_on_reload_and_the_old_one_kept(bouncer: HeliosProcess) -> None:
    bouncer.write(bouncer.config_file.read_text().replace("pool_mode = transaction", "pool_mode = transction"))

    bouncer.signal(signal.SIGHUP)
    until(lambda: "reload refused" in bouncer.log(), "the refusal")

    assert "pgbouncer.ini:12: pgbouncer.pool_mode: is " in bouncer.log()
    assert "one of session, transaction, statement is wanted" in bouncer.log()
    with psycopg.connect(dsn(bouncer, APP, "shared")) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("user", [APP, APP_PLAIN])
def test_pgcat_users_share_the_primary(cat: HeliosProcess, user: str) -> None:
    transactions_share(cat, user, "shop", POOL_SIZE)

    with psycopg.connect(dsn(cat, user, "shop")) as connection:
        row = connection.execute("select current_user, current_database(), pg_is_in_recovery()").fetchone()
        assert row == (user, DATABASE, False)
    assert cat.get("/metrics")[0] == 200
    assert "pools.shop.prepared_statements_cache_size: a server connection is bounded by bytes of text" in cat.log()


def test_an_imported_file_serves_as_the_one_it_was_made_of(postgres: PostgresCluster, tmp_path: Path) -> None:
    (tmp_path / "pgcat.toml").write_text(pgcat_toml(postgres))
    command = [sys.executable, "-m", "helios", "import", "pgcat.toml", "--output", "made.toml"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    with HeliosProcess(tmp_path, (tmp_path / "made.toml").read_text(), arguments=ADMIN) as process:
        transactions_share(process, APP, "shop", POOL_SIZE)


def test_what_must_not_go_missing_is_not_served(postgres: PostgresCluster, tmp_path: Path) -> None:
    text = pgbouncer_ini(postgres).replace("auth_type = md5", "auth_type = pam")
    write_users_file(tmp_path / "userlist.txt", {APP: PASSWORDS[APP]})
    (tmp_path / "more.ini").touch()

    process = HeliosProcess(tmp_path, text, name="pgbouncer.ini", arguments=ADMIN, expect_ready=False)

    assert process.wait() == 1
    assert "pgbouncer.ini:10: pgbouncer.auth_type: must not go missing unseen" in process.log()
