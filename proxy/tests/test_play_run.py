"""`helios play` as a whole: what a command finds, how a run ends, what the next run finds again."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from play_harness import (
    DEADLINE,
    Play,
    descendants,
    playing,
    program_of,
    proxy_yaml,
    run_play,
    scratch,
    secret_yaml,
    write_yaml,
)

from harness.wait import until
from helios.play import sql
from helios.play.binaries import find_binaries
from helios.play.data_folder import DataFolder
from helios.play.postgres import ServerOptions, start_primary
from helios.play.process import is_alive, unprivileged_identity

PYTHON = shlex.quote(sys.executable)

REPORT = """
import asyncio, asyncpg, json, os, urllib.request
async def report():
    through = await asyncpg.connect()  # PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE
    direct = await asyncpg.connect(os.environ["HELIOS_DIRECT_DSN"])
    who = "select current_user || ' in ' || current_database()"
    nodes = json.loads(os.environ["HELIOS_NODES"])
    for node in nodes:
        server = await asyncpg.connect(node["dsn"])
        node["standby"] = await server.fetchval("select pg_is_in_recovery()")
        node["exe"] = os.path.basename(os.readlink(f"/proc/{node['pid']}/exe"))
        node["uid"] = os.stat(f"/proc/{node['pid']}").st_uid
        node["same"] = await server.fetchval("show data_directory") == node["data"]
        await server.close()
    port = await through.fetchval("select inet_server_port()")
    ready = urllib.request.urlopen(os.environ["HELIOS_ADMIN_URL"] + "/readyz").status
    print(json.dumps({"through": await through.fetchval(who), "direct": await direct.fetchval(who), "nodes": nodes,
                      "direct_recovers": await direct.fetchval("select pg_is_in_recovery()"), "ready": ready,
                      "same_server": port == await direct.fetchval("select inet_server_port()")}))
    await through.close(); await direct.close()
asyncio.run(report())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for the YAML, the data and the output of one test."""
    with scratch() as path:
        yield path


def value(dsn: str, query: str) -> object:
    """The first column of the first row."""
    parts = urlsplit(dsn)
    assert parts.hostname and parts.port and parts.username
    target = sql.Target(parts.hostname, parts.port, parts.username, parts.password or "", parts.path[1:])
    return next(iter(sql.fetch(target, query)[0].values()))


def postmasters(play: Play) -> list[int]:
    """Direct children of play that are PostgreSQL servers."""
    return [pid for pid in play.known if is_alive(pid) and program_of(pid) == "postgres"]


def test_a_command_finds_everything_and_its_status_is_ours(folder: Path) -> None:
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())

    play = run_play(
        folder,
        "-f",
        file,
        "--data",
        folder / "data",
        command=["sh", "-c", f"{PYTHON} -c {shlex.quote(REPORT)}; exit 7"],
    )

    assert play.process.returncode == 7, play.stderr
    report = json.loads(play.stdout)  # nobody else writes to stdout
    assert report["through"] == "app in app"
    assert report["direct"] == "helios_play in app"
    assert (report["direct_recovers"], report["same_server"], report["ready"]) == (False, True, 200)
    assert [node["name"] for node in report["nodes"]] == ["node-1", "node-2"]
    assert [node["standby"] for node in report["nodes"]] == [False, True]
    identity = unprivileged_identity()
    for node in report["nodes"]:
        assert (node["exe"], node["same"]) == ("postgres", True)
        assert node["uid"] == (os.geteuid() if identity is None else identity.uid)
        assert not is_alive(node["pid"])


def test_data_is_kept_until_fresh_and_a_signal_that_ends_the_command_is_told(folder: Path) -> None:
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())
    arguments = ("-f", file, "--data", folder / "data")

    first = run_play(folder, *arguments, command=["sh", "-c", "psql -c 'create table kept ()' && kill -9 $$"])
    second = run_play(folder, *arguments, command=["psql", "-Atc", "select count(*) from kept"])
    fresh = run_play(folder, *arguments, "--fresh", command=["psql", "-Atc", "select count(*) from kept"])

    assert first.process.returncode == 128 + signal.SIGKILL, first.stderr
    assert (second.process.returncode, second.stdout) == (0, "0\n"), second.stderr
    assert fresh.process.returncode == 1, fresh.stderr
    assert 'relation "kept" does not exist' in fresh.stderr


def test_runs_until_ctrl_c_and_refuses_a_second_run_on_the_same_folder(folder: Path) -> None:
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())

    with playing(folder, "-f", file, "--data", folder / "data") as play:
        assert value(play.dsn(), "select current_user") == "app"
        with urlopen(f"{play.admin()}/topology") as answer:
            assert json.load(answer)["healthyNodes"] == 2
        second = run_play(folder, "-f", file, "--data", folder / "data", "--fresh")
        status = play.end(signal.SIGINT)

    assert second.process.returncode == 1
    assert f"data folder {folder}/data is in use by a helios play with pid {play.process.pid}" in second.stderr
    assert status == 0, play.stderr
    assert play.stdout == ""
    play.assert_nothing_left(seconds=0.1)


def test_nothing_outlives_a_killed_play_and_the_next_run_is_a_demo_without_a_terminal(folder: Path) -> None:
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())

    with playing(folder, "-f", file, "--data", folder / "data") as play:
        value(play.dsn(), "select 1")
        assert len(postmasters(play)) >= 2
        assert play.end(signal.SIGKILL) == -signal.SIGKILL
    again = run_play(folder, "-f", file, "--data", folder / "data", "--demo")

    play.assert_nothing_left()
    assert (again.process.returncode, again.stdout) == (0, ""), again.stderr
    assert "answered  hello from PostgreSQL" in again.stderr
    assert re.search(r"client -> Helios 127.0.0.1:\d+ \(transaction pooling.*\) -> primary 127.0.0.1:\d+", again.stderr)


def test_sigterm_ends_command_and_servers(folder: Path) -> None:
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())
    command = ["sh", "-c", "setsid sleep 600 & sleep 600 & echo started >&2; wait"]

    with playing(folder, "-f", file, "--data", folder / "data", command=command, ready=False) as play:
        play.wait_for("started")
        until(lambda: len(_sleepers(play)) == 2, "both sleepers")
        status = play.end(signal.SIGTERM)

    assert status == 128 + signal.SIGTERM, play.stderr
    play.assert_nothing_left(seconds=0.1)


def test_a_second_ctrl_c_ends_at_once(folder: Path) -> None:
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())
    sleeping = "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active'"

    with playing(folder, "-f", file, "--data", folder / "data") as play:
        psql = [str(find_binaries().tool("psql")), play.dsn(), "-c", "select pg_sleep(600)"]
        with subprocess.Popen(psql, stderr=subprocess.DEVNULL) as client:
            until(lambda: value(play.dsn(), sleeping) == 1, "the long query")
            play.process.send_signal(signal.SIGINT)
            until(lambda: "draining" in (folder / "data" / "helios.log").read_text(), "the drain")
            play.end(signal.SIGINT)
            assert client.wait(DEADLINE) != 0

    assert play.process.returncode == 0, play.stderr
    assert "Traceback" not in play.stderr
    play.assert_nothing_left(seconds=0.1)


def test_ctrl_c_while_starting_leaves_nothing(folder: Path) -> None:
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())

    with playing(folder, "-f", file, "--data", folder / "data", ready=False) as play:
        play.wait_for("starting PostgreSQL")
        until(lambda: descendants(play.process.pid), "the first process of PostgreSQL")
        status = play.end(signal.SIGINT)

    assert status == 128 + signal.SIGINT, play.stderr
    assert "Traceback" not in play.stderr
    play.assert_nothing_left(seconds=0.1)
    assert not list((folder / "data").rglob("*.new"))


def _sleepers(play: Play) -> list[int]:
    return [pid for pid in descendants(play.process.pid) if program_of(pid) == "sleep"]


def test_what_a_command_leaves_in_the_background_is_ended(folder: Path) -> None:
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())
    command = ["sh", "-c", "setsid sleep 600 >&- 2>&- & echo $!; sleep 600 >&- 2>&- & echo $!; exit 0"]

    play = run_play(folder, "-f", file, "--data", folder / "data", command=command)

    assert play.process.returncode == 0, play.stderr
    left = [int(pid) for pid in play.stdout.split()]
    assert len(left) == 2
    assert not [pid for pid in left if is_alive(pid)]


def test_taken_ports_are_passed_over_and_printed(folder: Path) -> None:
    resource = proxy_yaml()
    file = write_yaml(folder / "proxy.yaml", resource)
    listen, admin = resource["spec"]["listenPort"], resource["spec"]["adminPort"]

    with socket.create_server(("127.0.0.1", listen)), socket.create_server(("127.0.0.1", admin)):
        play = run_play(folder, "-f", file, "--data", folder / "data", command=["sh", "-c", "echo $PGPORT; psql -c ''"])

    assert play.process.returncode == 0, play.stderr
    assert f"port {listen} is taken: PostgreSQL clients get {play.stdout.split()[0]}" in play.stderr
    assert f"port {admin} is taken: the admin API get" in play.stderr


def test_a_promoted_standby_leads_the_next_run_too(folder: Path) -> None:
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())
    arguments = ("-f", file, "--data", folder / "data")
    standby = f'$({PYTHON} -c \'import json, os; print(json.loads(os.environ["HELIOS_NODES"])[1]["dsn"])\')'
    promote = f"""psql {standby} -qc 'select pg_promote()' -c 'create table after_promotion ()' >&2"""

    first = run_play(folder, *arguments, command=["sh", "-c", promote])
    second = run_play(folder, *arguments, command=["psql", "-Atc", "table after_promotion", "-c", "select 'there'"])

    assert first.process.returncode == 0, first.stderr
    assert (second.process.returncode, second.stdout) == (0, "there\n"), second.stderr
    assert re.search(r"node-2 127.0.0.1:\d+ \(primary\), node-1 127.0.0.1:\d+ \(standby\)", second.stderr)


def test_users_databases_and_monitor_come_from_secrets(folder: Path) -> None:
    spec = {
        "auth": {"usersSecretRef": {"name": "users"}},
        "monitor": {"user": "watcher", "secretRef": {"name": "watcher"}},
        "databases": [
            {"name": "shop", "database": "shop_v2", "user": "shop_rw", "passwordSecretRef": {"name": "shop"}},
            {"name": "*"},
        ],
    }
    secrets = [
        secret_yaml("users", **{"users.txt": '"alice" "al ""ice"\n"bob" "b\'ob"\n'}),
        secret_yaml("watcher", password="watch me"),
        secret_yaml("shop", password="shop's"),
    ]
    file = write_yaml(folder / "all.yaml", proxy_yaml(spec), *secrets)
    who = "select current_user || ' in ' || current_database()"
    monitor = "select pg_has_role('watcher', 'pg_monitor', 'member')"
    command = f"""
        psql -Atc "{who}"; PGUSER=bob PGPASSWORD="b'ob" PGDATABASE=app psql -Atc "{who}"
        psql "$HELIOS_DIRECT_DSN" -Atc "{monitor}"; psql "$HELIOS_DIRECT_DSN" -Atc "select current_database()"
    """

    play = run_play(folder, "-f", file, "--data", folder / "data", command=["sh", "-ec", command])

    assert play.process.returncode == 0, play.stderr
    assert play.stdout.split("\n")[:4] == ["shop_rw in shop_v2", "bob in app", "t", "shop_v2"]
    files = [path for path in (folder / "data" / "secrets").rglob("*") if path.is_file()]
    assert len(files) == 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_each_cluster_to_be_discovered_gets_servers_of_its_own(folder: Path) -> None:
    clusters = [{"name": name, "discovery": {"serviceName": f"{name}-pg"}} for name in ("east", "west")]
    databases = [{"name": "orders", "cluster": "east"}, {"name": "visits", "cluster": "west"}]
    file = write_yaml(folder / "proxy.yaml", proxy_yaml({"clusters": clusters, "databases": databases}))
    ask = "psql -Atc 'show port'; PGDATABASE=visits psql -Atc 'show port'; echo \"$HELIOS_NODES\""

    play = run_play(folder, "-f", file, "--data", folder / "data", command=["sh", "-ec", ask])

    assert play.process.returncode == 0, play.stderr
    east, west, shown = play.stdout.strip().split("\n")
    nodes = {node["name"]: urlsplit(node["dsn"]) for node in json.loads(shown)}
    assert sorted(nodes) == ["east/node-1", "east/node-2", "west/node-1", "west/node-2"]
    assert (nodes["east/node-1"].port, nodes["west/node-1"].port) == (int(east), int(west))
    assert nodes["east/node-1"].path == "/orders"


def test_kept_data_of_an_absent_major_version_is_named(folder: Path) -> None:
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())
    DataFolder(folder / "data").close()
    data = folder / "data" / "clusters" / "main" / "node-1"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("7\n")

    play = run_play(folder, "-f", file, "--data", folder / "data", command=["true"])

    assert play.process.returncode == 1
    assert f"the data in {data} was made by PostgreSQL 7: no usable PostgreSQL 7 on this machine" in play.stderr


def test_nodes_of_the_resource_are_used_as_they_are(folder: Path) -> None:
    server = start_primary(folder / "server", options=ServerOptions(fsync=False))
    nodes = [{"host": server.host, "port": server.port, "name": "mine"}]
    spec = {"nodes": nodes, "auth": {"usersSecretRef": {"name": "users"}}}
    users = secret_yaml("users", **{"users.txt": f'"{server.superuser}" "{server.password}"'})
    file = write_yaml(folder / "proxy.yaml", proxy_yaml(spec), users)
    command = 'psql -Atc "show port"; psql "$HELIOS_DIRECT_DSN" -Atc "show port"; echo "$HELIOS_NODES"'

    play = run_play(folder, "-f", file, "--data", folder / "data", command=["sh", "-ec", command])
    server.stop("immediate")

    assert play.process.returncode == 0, play.stderr
    through, direct, shown = play.stdout.strip().split("\n")
    assert through == direct == str(server.port)
    assert json.loads(shown) == [{"name": "mine", "dsn": server.dsn(), "data": None, "pid": None}]
    assert not (folder / "data" / "clusters").exists()


def on_terminal(folder: Path, *arguments: str | Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start play with a terminal of its own; the process and our side of the terminal."""
    ours, theirs = pty.openpty()
    words = ["setsid", "--ctty", sys.executable, "-m", "helios", "play", *map(str, arguments)]
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder)
    os.close(theirs)
    return process, ours


def read_until(terminal: int, text: str) -> str:
    """What stands on the terminal up to `text`."""
    seen = ""

    def found() -> bool:
        nonlocal seen
        seen += os.read(terminal, 65536).decode(errors="replace")
        return text in seen

    until(found, f"{text!r} on the terminal", DEADLINE)
    return seen


def test_the_demo_stays_on_a_terminal_until_ctrl_c(folder: Path) -> None:
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())
    process, terminal = on_terminal(folder, "-f", file, "--data", folder / "data", "--demo")
    seen = read_until(terminal, "Ctrl-C ends everything")
    play = Play(process, folder / "none", folder / "none", set())
    play.known |= descendants(process.pid)

    os.write(terminal, b"\x03")

    assert process.wait(DEADLINE) == 0
    assert "answered  hello from PostgreSQL" in seen
    play.assert_nothing_left(seconds=0.1)
    os.close(terminal)


def test_ctrl_c_on_a_terminal_is_the_commands_affair(folder: Path) -> None:
    file = write_yaml(folder / "proxy.yaml", proxy_yaml())
    script = "trap 'echo caught' INT; echo asleep; while ! read answer; do :; done; echo got $answer; exit 5"
    arguments = ("-f", file, "--data", folder / "data", "--", "sh", "-c", script)
    process, terminal = on_terminal(folder, *arguments)
    read_until(terminal, "asleep")

    os.write(terminal, b"\x03")
    read_until(terminal, "caught")
    os.write(terminal, b"word\n")
    read_until(terminal, "got word")

    assert process.wait(DEADLINE) == 5
    os.close(terminal)
