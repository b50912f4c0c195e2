"""Bad input on the command line's side: each message names file, field, what is wrong and what would be right."""

from __future__ import annotations

import copy
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, Settings, base_settings, dump_toml
from harness.wait import until

Change = Callable[[Settings], None]


def helios(*arguments: str, cwd: Path, timeout: float = 20) -> subprocess.CompletedProcess[str]:
    """Run a helios command to its end."""
    command = [sys.executable, "-m", "helios", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


def put(path: str, value: object) -> Change:
    """A change that sets `section.field`, or a field at the top."""

    def change(settings: Settings) -> None:
        section, _, field = path.rpartition(".")
        (settings.setdefault(section, {}) if section else settings)[field] = value

    return change


def two_that_promote(settings: Settings) -> None:
    settings["clusters"][0]["provider"] = "patroni"
    settings["failover"] = {"enabled": True}


def patroni_of_another(settings: Settings) -> None:
    settings["clusters"][0]["patroni_urls"] = ["http://db-1:8008"]


def two_primaries(settings: Settings) -> None:
    for node in settings["clusters"][0]["nodes"]:
        node["role"] = "primary"


def unknown_cluster(settings: Settings) -> None:
    settings["databases"] = [{"name": "app", "cluster": "mian"}]


def same_node_twice(settings: Settings) -> None:
    settings["clusters"][0]["nodes"][1]["port"] = settings["clusters"][0]["nodes"][0]["port"]


BAD_SETTINGS: dict[str, tuple[Change, tuple[str, ...]]] = {
    "unknown section": (put("pools", {"max_size": 1}), ("pools", "pool")),
    "unknown field": (put("pool.max_sise", 5), ("max_sise", "max_size")),
    "wrong type": (put("pool.max_size", "many"), ("pool.max_size",)),
    "out of range": (put("pool.max_size", 0), ("pool.max_size",)),
    "unknown choice": (put("pool.mode", "transactional"), ("pool.mode", "transaction")),
    "unknown method": (put("auth.method", "scram"), ("auth.method", "scram-sha-256")),
    "bad address": (put("listen_address", "localhost"), ("listen_address",)),
    "two primaries": (two_primaries, ("role", "primary")),
    "one server twice": (same_node_twice, ("clusters[0].nodes[1]",)),
    "unknown cluster": (unknown_cluster, ("mian", "main")),
    "missing users file": (put("auth.users_file", "/nowhere/users.txt"), ("users_file", "/nowhere/users.txt")),
    "missing password file": (
        put("monitor", {"user": "m", "password_file": "/nowhere/pw"}),
        ("password_file", "/nowhere/pw"),
    ),
    "newer version": (put("config_version", 2), ("config_version",)),
    "two that promote": (two_that_promote, ("failover.enabled", "patroni promotes the servers of cluster")),
    "Patroni's members of another": (patroni_of_another, ("clusters[0].patroni_urls", "provider of cluster")),
    "two leases": (
        put("failover", {"lease_file": "/tmp/lease", "lease_name": "lease"}),
        ("failover.lease_file", "lease_name"),
    ),
    "no cluster": (put("clusters", []), ("clusters",)),
}


@pytest.fixture
def settings(postgres: PostgresCluster, tmp_path: Path) -> Settings:
    """Good settings to be spoiled."""
    return copy.deepcopy(base_settings(postgres, tmp_path))


def refused(done: subprocess.CompletedProcess[str], *words: str) -> str:
    """Assert a clean refusal whose message holds every word; the message."""
    said = done.stderr + done.stdout
    assert done.returncode not in (0, None), said
    assert done.returncode > 0, f"ended by signal {-done.returncode}: {said}"
    assert "Traceback" not in said
    for word in words:
        assert word in said, said
    return said


@pytest.mark.parametrize("name", list(BAD_SETTINGS))
def test_bad_field_is_refused_with_its_name(settings: Settings, tmp_path: Path, name: str) -> None:
    change, words = BAD_SETTINGS[name]
    change(settings)
    file = tmp_path / "bad.toml"
    file.write_text(dump_toml(settings))

    refused(helios("check", str(file), cwd=tmp_path), "bad.toml", *words)


@pytest.mark.parametrize("name", ["unknown field", "two primaries", "missing users file", "missing password file"])
def test_serve_does_not_start_with_a_bad_file(settings: Settings, tmp_path: Path, name: str) -> None:
    change, words = BAD_SETTINGS[name]
    change(settings)
    file = tmp_path / "bad.toml"
    file.write_text(dump_toml(settings))

    refused(helios("serve", "-c", str(file), cwd=tmp_path), "bad.toml", *words)


def test_good_file_passes_the_check(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "good.toml"
    file.write_text(dump_toml(settings))

    done = helios("check", str(file), cwd=tmp_path)

    assert done.returncode == 0, done.stderr + done.stdout


def test_all_problems_are_shown_at_once_with_their_lines(settings: Settings, tmp_path: Path) -> None:
    for name in ("unknown field", "unknown choice", "unknown method"):
        BAD_SETTINGS[name][0](settings)
    file = tmp_path / "bad.toml"
    text = dump_toml(settings)
    file.write_text(text)

    said = refused(helios("check", str(file), cwd=tmp_path), "max_sise", "pool.mode", "auth.method")

    line = 1 + [text_line.split(" ")[0] for text_line in text.splitlines()].index("max_sise")
    assert f"bad.toml:{line}:" in said


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"listen_address = \xff\xfe", "UTF-8"), (b"[pool\nmax_size = 1", "bad.toml"), (b"", "clusters")],
    ids=["invalid UTF-8", "no TOML", "empty"],
)
def test_unreadable_file_is_refused(tmp_path: Path, content: bytes, word: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(content)

    refused(helios("check", str(file), cwd=tmp_path), word)


@pytest.mark.parametrize("command", ["check", "serve"])
def test_missing_file_is_named(tmp_path: Path, command: str) -> None:
    arguments = [command, *(["-c"] if command == "serve" else []), "nowhere.toml"]

    refused(helios(*arguments, cwd=tmp_path), "nowhere.toml")


@pytest.mark.parametrize("field", ["listen_address", "admin.address"])
def test_taken_port_is_named(settings: Settings, tmp_path: Path, field: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        put(field, address)(settings)
        file = tmp_path / "helios.toml"
        file.write_text(dump_toml(settings))

        refused(helios("serve", "-c", str(file), cwd=tmp_path), address)


def test_address_of_another_machine_is_named(settings: Settings, tmp_path: Path) -> None:
    settings["listen_address"] = "192.0.2.1:6432"
    file = tmp_path / "helios.toml"
    file.write_text(dump_toml(settings))

    refused(helios("serve", "-c", str(file), cwd=tmp_path), "192.0.2.1:6432")


def test_broken_users_file_is_named_with_its_line(settings: Settings, tmp_path: Path) -> None:
    users = tmp_path / "broken.txt"
    users.write_text('"app" "secret"\nthis line is wrong\n')
    settings["auth"]["users_file"] = str(users)
    file = tmp_path / "helios.toml"
    file.write_text(dump_toml(settings))

    refused(helios("check", str(file), cwd=tmp_path), "broken.txt:2")


def test_secret_is_not_repeated_in_an_error(settings: Settings, tmp_path: Path) -> None:
    settings["monitor"]["password"] = "hunter2 hunter2"
    settings["monitor"]["interval_ms"] = "soon"
    file = tmp_path / "helios.toml"
    file.write_text(dump_toml(settings))

    said = refused(helios("check", str(file), cwd=tmp_path), "monitor.interval_ms")

    assert "hunter2" not in said


def test_variable_that_is_not_set_is_named(settings: Settings, tmp_path: Path) -> None:
    settings["monitor"]["password"] = "${HELIOS_E2E_NOT_SET}"
    file = tmp_path / "helios.toml"
    file.write_text(dump_toml(settings))

    refused(helios("check", str(file), cwd=tmp_path), "HELIOS_E2E_NOT_SET")


def test_unresolvable_node_starts_and_says_what_is_wrong(settings: Settings, tmp_path: Path) -> None:
    """No network is not a reason to stay down: the proxy starts, is not ready, and names the node."""
    settings["clusters"] = [{"name": "main", "nodes": [{"name": "away", "host": "away.invalid", "role": "primary"}]}]
    with HeliosProcess(tmp_path, settings) as proxy:
        assert proxy.get("/readyz")[0] == 503
        until(lambda: proxy.json("/nodes")[0]["last_error"], "the fault to be shown")
        assert proxy.json("/topology")["currentPrimary"] is None
        assert proxy.get("/livez")[0] == 200


def test_full_disk_under_the_log_does_not_stop_the_proxy(settings: Settings, tmp_path: Path) -> None:
    """Its log goes to a device that is always full; clients are served all the same."""
    settings["log"] = {"level": "debug"}
    settings["listen_address"] = f"127.0.0.1:{_free_port()}"
    file = tmp_path / "helios.toml"
    file.write_text(dump_toml(settings))
    port = int(settings["listen_address"].rpartition(":")[2])
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "helios", "serve", "-c", str(file)]
        process = subprocess.Popen(command, stderr=full, stdout=full, cwd=tmp_path)
    try:
        until(lambda: _accepts(port), "the proxy to accept although it cannot log")
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
