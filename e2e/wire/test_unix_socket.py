"""Unix sockets: clients of this machine, whose word the system gives, and servers that are reached by a file."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from harness import frontend
from harness.certificates import Authority
from harness.client import Client, Connection, LoginRefusedError, Target, asked, rows, sqlstates
from harness.postgres import APP, APP_MD5, APP_TRUST, DATABASE, PASSWORDS, PostgresCluster
from harness.proxy import HeliosProcess, StartProxy, base_settings
from harness.tls_server import TlsServer, tls_server
from harness.wait import until
from helios.play.process import unprivileged_identity

ME = pwd.getpwuid(os.geteuid()).pw_name

RECORDS = f"""\
host   all    all      all            reject
local  app    app_md5                 md5
local  app    app                     scram-sha-256
local  other  app                     peer map=people
local  app    app_trust               trust
local  other  app_trust               ident
local  app    {ME}                    peer
local  all    nobody_known            reject
"""

LOGINS = [
    *((user, database) for user in (APP, APP_MD5, APP_TRUST, ME, "nobody_known") for database in (DATABASE, "other")),
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A short path, as a Unix socket needs, that servers of other users may write to."""
    made = Path(tempfile.mkdtemp(prefix="helios-"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    """A PostgreSQL with TLS that listens on a file in `folder` too."""
    with tls_server(tmp_path_factory.mktemp("authority"), unix_socket_directories=str(folder)) as made:
        replace(made.cluster, "pg_ident.conf", f"people {ME} app\n")
        own = made.cluster.primary.data / "pg_hba.conf"
        replace(made.cluster, own.name, f"local all all scram-sha-256\n{own.read_text()}")
        made.cluster.execute("select pg_reload_conf()")
        made.cluster.execute(f'create role "{ME}" login', "postgres")
        yield made


def replace(cluster: PostgresCluster, name: str, text: str) -> None:
    """Write a file of the server's, which stays the server's."""
    file = cluster.primary.data / name
    file.write_text(text)
    identity = unprivileged_identity()
    if identity is not None:
        shutil.chown(file, identity.uid, identity.gid)


def at(folder: Path, port: int, user: str = APP, database: str = DATABASE) -> Target:
    return Target(str(folder), port, user, PASSWORDS.get(user), database)


def with_hba(tmp_path: Path, text: str) -> dict[str, object]:
    file = tmp_path / "pg_hba.conf"
    file.write_text(text)
    return {"method": None, "hba_file": str(file)}


def test_clients_come_by_file_and_by_tcp_at_once(start_proxy: StartProxy, folder: Path) -> None:
    proxy = start_proxy(unix_socket_dir=str(folder), unix_socket_mode="0770", pool={"max_size": 4})
    clients = [Client(target) for _ in range(12) for target in (at(folder, proxy.port), proxy.target())]

    for number, client in enumerate(clients):
        assert rows(client.query(f"select {number}")) == [[str(number)]]
        assert rows(client.extended(f"select {number + 1}")) == [[str(number + 1)]]

    assert stat.S_IMODE((folder / f".s.PGSQL.{proxy.port}").stat().st_mode) == 0o770
    assert proxy.json("/sessions")["active_sessions"] == len(clients)


def test_files_on_both_sides_large_rows_copy_and_cancel(server: TlsServer, folder: Path, tmp_path: Path) -> None:
    """TLS is demanded on both sides, and is for networks only."""
    shown = Authority(tmp_path).sign("proxy")
    settings = base_settings(server.cluster, tmp_path / "proxy", unix_socket_dir=str(folder))
    settings["tls"] = {"mode": "require", "cert_file": str(shown.cert), "key_file": str(shown.key)}
    node = {"host": str(folder), "port": server.cluster.primary.port}
    settings["clusters"] = [{"name": "main", "nodes": [node], "tls": {"mode": "require"}}]
    with HeliosProcess(tmp_path / "proxy", settings) as proxy:
        client = Client(at(folder, proxy.port))

        assert client.value("select inet_server_addr()") is None
        assert client.value("select ssl from pg_stat_ssl where pid = pg_backend_pid()") == "f"
        assert len(client.value("select repeat('x', 3000000)") or "") == 3_000_000
        with (
            psycopg.connect(
                host=str(folder), port=proxy.port, user=APP, password=PASSWORDS[APP], dbname=DATABASE
            ) as pg,
            pg.cursor().copy("copy (select generate_series(1, 100000)) to stdout") as copy,
        ):
            assert sum(len(bytes(block)) for block in copy) == 588_895
        cancels_by_file(server.cluster, folder, proxy.port, client)
        with pytest.raises(LoginRefusedError) as refused:
            Client(proxy.target())
        assert refused.value.sqlstate == "28000"


def cancels_by_file(cluster: PostgresCluster, folder: Path, port: int, client: Client) -> None:
    sql = "select pg_sleep(20) /* by file */"
    running = f"select count(*) from pg_stat_activity where query = '{sql}' and state = 'active'"
    client.send(frontend.query(sql))
    until(lambda: cluster.value(running) == "1", "the statement to run")

    connection = Connection(str(folder), port)
    connection.send(frontend.cancel_request(client.pid, client.key))

    assert connection.until_closed() == []
    assert sqlstates(client.until_ready()) == ["57014"]


def test_tls_is_declined_on_a_file(start_proxy: StartProxy, folder: Path, tmp_path: Path) -> None:
    shown = Authority(tmp_path).sign("proxy")
    tls = {"mode": "allow", "cert_file": str(shown.cert), "key_file": str(shown.key)}
    proxy = start_proxy(unix_socket_dir=str(folder), tls=tls)
    connection = Connection(str(folder), proxy.port)

    connection.send(frontend.ssl_request())
    assert connection.read_exactly(1) == b"N"
    connection.send(frontend.startup({"user": APP, "database": DATABASE}))
    assert connection.receive().brief == "Authentication SASL"

    direct = Connection(str(folder), proxy.port)
    direct.send(b"\x16\x03\x01\x00\x05hello")
    assert direct.until_closed() == []


def test_the_same_local_records_ask_the_same_of_everybody(
    start_proxy: StartProxy, server: TlsServer, folder: Path, tmp_path: Path
) -> None:
    cluster = server.cluster
    auth = {**with_hba(tmp_path, RECORDS), "ident": [{"map": "people", "system_user": ME, "database_user": APP}]}
    proxy = start_proxy(unix_socket_dir=str(folder), auth=auth)
    before = (cluster.primary.data / "pg_hba.conf").read_text()
    superuser = f"host all {cluster.primary.superuser} all scram-sha-256\n"
    replace(cluster, "pg_hba.conf", superuser + RECORDS)
    try:
        assert cluster.value("select count(*) from pg_hba_file_rules where error is not null") == "0"
        cluster.execute("select pg_reload_conf()")
        there = cluster.primary.port
        until(lambda: "rejects" in asked(at(folder, there, "nobody_known"))[-1], "PostgreSQL to have read it")
        for user, database in LOGINS:
            ours, theirs = at(folder, proxy.port, user, database), at(folder, there, user, database)
            assert asked(ours) == asked(theirs), (user, database)
        assert "rejects" in asked(proxy.target())[-1]
    finally:
        replace(cluster, "pg_hba.conf", before)
        cluster.execute("select pg_reload_conf()")


def test_peer_without_a_file_of_records(start_proxy: StartProxy, folder: Path) -> None:
    """By the map, only for roles that it names, and by no network."""
    ident = [{"map": "people", "system_user": f"/^{ME[0]}(.*)$", "database_user": APP}]
    proxy = start_proxy(unix_socket_dir=str(folder), auth={"method": "peer", "map": "people", "ident": ident})

    with Client(Target(str(folder), proxy.port, APP, None, DATABASE)) as client:
        assert client.value("select current_user") == APP
    assert asked(at(folder, proxy.port, APP_MD5)) == ["28000", 'Peer authentication failed for user "app_md5"']
    until(lambda: f"peer={ME}" in proxy.log(), "the log to say as whom the client runs")
    assert asked(proxy.target()) == ["28000", "peer authentication is only supported on local sockets"]


def test_the_file_is_removed_at_the_end_and_a_dead_one_replaced(
    start_proxy: StartProxy, folder: Path, tmp_path: Path
) -> None:
    first = start_proxy(unix_socket_dir=str(folder))
    file = folder / f".s.PGSQL.{first.port}"
    held = Client(at(folder, first.port))
    held.query("begin")
    first.signal(signal.SIGINT)
    until(lambda: not file.exists(), "the file to go while a transaction is open")
    held.query("commit")
    assert first.wait() == 0

    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(file))
    dead.close()
    address = {"listen_address": f"127.0.0.1:{first.port}"}
    second = start_proxy(unix_socket_dir=str(folder), **address)
    with Client(at(folder, second.port)) as client:
        assert client.value("select 1") == "1"
    second.kill()
    assert file.exists()
    third = start_proxy(unix_socket_dir=str(folder), **address)
    with Client(at(folder, third.port)) as client:
        assert client.value("select 1") == "1"
    # Somebody else's file stays.
    file.unlink()
    file.write_text("mine")
    third.stop()
    assert file.read_text() == "mine"


@pytest.mark.parametrize("obstacle", ["listener", "file", "folder"])
def test_what_is_in_the_way_of_the_file_is_named(
    postgres: PostgresCluster, folder: Path, tmp_path: Path, obstacle: str
) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    taken.close()
    file = folder / f".s.PGSQL.{port}"
    where, why = str(folder), ""
    listener = socket.socket(socket.AF_UNIX)
    if obstacle == "listener":
        listener.bind(str(file))
        listener.listen()
        why = "in use by another process"
    elif obstacle == "file":
        file.write_text("mine")
        why = "something else than a socket is in the way"
    else:
        where, why = str(folder / "absent"), "no such name or folder"
    settings = base_settings(postgres, tmp_path, unix_socket_dir=where, listen_address=f"127.0.0.1:{port}")

    proxy = HeliosProcess(tmp_path, settings, expect_ready=False)

    assert proxy.wait() != 0
    assert f"cannot listen on {where}/.s.PGSQL.{port}: " in proxy.log()
    assert why in proxy.log()
    listener.close()
    if obstacle != "folder":
        file.unlink()
