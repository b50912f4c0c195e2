"""The command line, run as a user runs it, and the original's command line translated."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from helios.cli import COMMANDS, legacy_main, main
from helios.commands.legacy import serve_arguments
from helios.config import AuthMethod, LogFormat, LogLevel, NodeRole, PoolMode
from helios.config.loader import load
from helios.errors import ConfigError, UsageError

GOOD = '[auth]\nmethod = "trust"\n[[nodes]]\nhost = "db"\n'
BAD = 'listen_adress = "0.0.0.0:6432"\n[pool]\nmin_idle = 200\n' + GOOD


def _run(*words: str | Path, module: str = "helios") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", module, *words], capture_output=True, text=True, check=False)


def _write(folder: Path, text: str, name: str = "helios.toml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    result = _run("--version")

    assert (result.returncode, result.stdout) == (0, f"helios {project['version']}\n")


def test_help_lists_every_command_and_imports_none() -> None:
    result = _run("--help")

    assert result.returncode == 0
    assert all(name in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_own_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])

    assert caught.value.code == 0
    assert f"usage: helios {command}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["destroy"], ["check"], ["check", "--wrong", "x"]])
def test_a_wrong_command_line_is_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)

    assert caught.value.code == 2
    assert "usage: helios" in capsys.readouterr().err


def test_check_accepts_a_good_file(tmp_path: Path) -> None:
    file = _write(tmp_path, GOOD)

    result = _run("check", file)

    assert (result.returncode, result.stdout) == (0, f"{file}: no errors, no warnings\n")


def test_check_prints_every_problem_with_its_place(tmp_path: Path) -> None:
    file = _write(tmp_path, BAD)

    result = _run("check", file)

    assert result.returncode == 1
    assert result.stdout.splitlines() == [
        f'error: {file}:1: listen_adress: is no known key; did you mean "listen_address"?',
        f"error: {file}:3: pool.min_idle: min_idle is 200, more than max_size 100; lower it or raise max_size",
        f"{file}: 2 errors, no warnings",
    ]


def test_check_prints_json_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _write(tmp_path, GOOD + '[admin]\naddress = "0.0.0.0:9090"\n')

    status = main(["check", "--format", "json", str(file)])

    report = json.loads(capsys.readouterr().out)
    assert (status, report["problems"]) == (0, [])
    (warning,) = report["warnings"]
    assert (warning["field"], warning["source"], warning["line"]) == ("admin.address", str(file), 6)


def test_check_reads_secret_files_unless_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _write(tmp_path, '[auth]\nusers_file = "users.txt"\n[[nodes]]\nhost = "db"\n')

    assert main(["check", str(file)]) == 1
    out = capsys.readouterr().out
    assert f"error: {file}:2: auth.users_file: cannot read {tmp_path / 'users.txt'}: no such file" in out
    assert main(["check", "--without-secrets", str(file)]) == 0

    _write(tmp_path, "app hunter2\n", "users.txt")
    capsys.readouterr()
    assert main(["check", str(file)]) == 1
    out = capsys.readouterr().out
    assert f"error: {tmp_path / 'users.txt'}:1: auth.users_file: is no user and secret" in out
    assert "hunter2" not in out


@pytest.mark.parametrize("words", [["check"], ["convert"], ["serve", "-c"]])
@pytest.mark.parametrize("content", [b"\xff", b"a = ", b"config_version = 9"])
def test_every_command_names_a_bad_file_and_ends(
    words: list[str], content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(content)

    assert main([*words, str(file)]) == 1

    out, err = capsys.readouterr()
    assert f"{file}:1" in out + err


def test_convert_prints_todays_form_and_keeps_variables(tmp_path: Path) -> None:
    text = """
admin_address = "127.0.0.1:9090"
admin_token = "${HELIOS_TEST_TOKEN:-hunter2}"
[health]
check_interval_secs = "${HELIOS_TEST_UNSET:-7}"
[cache.l2]
hosts = ["${HELIOS_TEST_UNSET:-redis}"]
[auth]
mode = "scram"
auth_file = "users.txt"
[pool_mode]
mode = "transaction"
[[nodes]]
host = "${HELIOS_TEST_UNSET:-db}.svc"
port = ${HELIOS_TEST_UNSET:-5432}
"""
    result = _run("convert", _write(tmp_path, text))

    assert result.returncode == 0
    assert result.stdout == (
        'config_version = 1\ngeneration = 0\n\n[admin]\ntoken = "${HELIOS_TEST_TOKEN:-hunter2}"\n\n'
        '[auth]\nusers_file = "users.txt"\n\n[monitor]\ninterval_ms = 7000\n\n'
        '[[clusters]]\nname = "main"\n\n'
        '[[clusters.nodes]]\nhost = "${HELIOS_TEST_UNSET:-db}.svc"\nport = "${HELIOS_TEST_UNSET:-5432}"\n'
    )
    assert "helios.toml:2: admin_address: is deprecated" in result.stderr
    assert main(["check", "--without-secrets", str(_write(tmp_path, result.stdout, "new.toml"))]) == 0


SKILL_VARIANT = """\
apiVersion: heliosproxy.heliosdatabase.io/v1
kind: HeliosProxy
metadata:
  name: orders
spec:
  replicas: 3
  features: ["pool-modes", "query-cache", "lag-routing"]
  nodes:
    - address: pg-0.pg:5432
      role: primary
    - address: pg-1.pg:5433
      role: replica
      weight: 50
  pool:
    maxConnections: 50
  ha:
    autoFailover: true
  service:
    type: ClusterIP
    pgPort: 6432
    adminPort: 9090
  podDisruptionBudget:
    minAvailable: 1
---
apiVersion: heliosproxy.dev/v1alpha1
kind: TenantQuota
metadata:
  name: acme
spec:
  maxBytesReadPerMinute: "100_000_000"
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: other
data:
  spec: untouched
"""

SKILL_VARIANT_TODAY = """\
apiVersion: helios.heliosproxy.dev/v1alpha1
kind: HeliosProxy
metadata:
  name: orders
spec:
  replicas: 3
  features:
    poolModes: true
    queryCache: true
  nodes:
    - host: pg-0.pg
      port: 5432
      role: primary
    - host: pg-1.pg
      port: 5433
      role: standby
      weight: 50
  pool:
    maxConnections: 50
  listenPort: 6432
  adminPort: 9090
---
apiVersion: helios.heliosproxy.dev/v1alpha1
kind: TenantQuota
metadata:
  name: acme
spec:
  maxBytesReadPerMinute: 100000000
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: other
data:
  spec: untouched
"""


def test_convert_brings_resources_into_todays_form(tmp_path: Path) -> None:
    file = _write(tmp_path, SKILL_VARIANT, "proxy.yaml")

    result = _run("convert", file)

    assert (result.returncode, result.stdout) == (0, SKILL_VARIANT_TODAY)
    notes = [line.removeprefix(f"note: {file}:").split(": is ")[0] for line in result.stderr.splitlines()]
    assert notes == [
        '7: spec.features[2]: "lag-routing" has no switch in today\'s form and is left out',
        "16: spec.ha: has no place in today's form and is left out; Helios does not promote a standby by itself yet",
        "22: spec.podDisruptionBudget: has no place in today's form and is left out; create one of your own",
        "5: spec.auth",
    ]


def test_convert_leaves_todays_form_alone(tmp_path: Path) -> None:
    text = SKILL_VARIANT_TODAY.replace("spec:\n  replicas", "spec:\n  auth:\n    method: trust\n  replicas")

    result = _run("convert", _write(tmp_path, text, "proxy.yaml"))

    assert (result.returncode, result.stdout, result.stderr) == (0, text, "")


def test_convert_says_what_remains_to_be_corrected(tmp_path: Path) -> None:
    text = SKILL_VARIANT.replace("maxConnections: 50", "maxConnections: many").replace("pg-0.pg:5432", "pg-0.pg")

    result = _run("convert", _write(tmp_path, text, "proxy.yaml"))

    assert result.returncode == 1
    assert "maxConnections: many" in result.stdout
    assert "proxy.yaml:9: spec.nodes[0].address: must be host:port" in result.stderr
    assert "proxy.yaml:15: spec.pool.maxConnections" in result.stderr


def test_the_originals_command_line_passes_a_file_on_unchanged(tmp_path: Path) -> None:
    file = _write(tmp_path, GOOD)

    for words in (["--config", str(file)], ["-c", str(file)]):
        with serve_arguments(words) as args:
            assert (args.command, args.config) == ("serve", file)


def test_the_originals_options_override_the_file(tmp_path: Path) -> None:
    old = (
        'admin_address = "127.0.0.1:1"\nlisten_address = "0.0.0.0:2"\n[auth]\nauth_file = "u"\n[[nodes]]\nhost = "db"\n'
    )
    file = _write(tmp_path, old)
    words = f"-c {file} -l 0.0.0.0:3 --admin 127.0.0.1:4 --primary a:5 --standby b:6 --standby [::1]:7"

    with serve_arguments([*words.split(), "--log-level", "warn", "--json-logs", "--tr", "session"]) as args:
        merged = args.config
        config = load(merged)
        assert merged.stat().st_mode & 0o077 == 0 or merged.parent.stat().st_mode & 0o077 == 0

    assert (config.listen_address, config.admin.address) == ("0.0.0.0:3", "127.0.0.1:4")
    assert [(node.name, node.role) for node in config.clusters[0].nodes] == [
        ("a:5", NodeRole.PRIMARY),
        ("b:6", NodeRole.STANDBY),
        ("[::1]:7", NodeRole.STANDBY),
    ]
    assert (config.log.level, config.log.format) == (LogLevel.WARNING, LogFormat.JSON)
    assert config.auth.users_file == str(tmp_path / "u")
    assert not merged.exists()


def test_the_original_runs_without_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with serve_arguments(["--listen", "127.0.0.1:0", "--primary", "db:5432"]) as args:
        config = load(args.config)

    assert (config.listen_address, config.auth.method) == ("127.0.0.1:0", AuthMethod.TRUST)
    assert config.pool.mode is PoolMode.SESSION
    assert "pass-through" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no configuration"),
        (["--primary", "db"], '--primary is "db"; must be host:port'),
        (["--standby", "x:y"], "--standby"),
    ],
)
def test_command_lines_of_the_original_that_say_too_little(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message), serve_arguments(words):
        pass


def test_a_refused_override_leaves_nothing_behind(tmp_path: Path) -> None:
    file = _write(tmp_path, GOOD)

    with pytest.raises(ConfigError, match="listen_address"), serve_arguments(["-c", str(file), "-l", "nowhere"]):
        pass

    assert list(tmp_path.iterdir()) == [file]


def test_the_originals_command_ends_with_status_1_and_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert legacy_main(["--config", str(_write(tmp_path, BAD))]) == 1
    assert 'listen_adress: is no known key; did you mean "listen_address"?' in capsys.readouterr().err
    assert legacy_main([]) == 1
    assert capsys.readouterr().err.startswith("heliosdb-proxy: no configuration")


@pytest.mark.parametrize("with_options", [False, True])
def test_the_originals_command_line_really_serves(with_options: bool, tmp_path: Path) -> None:
    text = 'admin_address = "127.0.0.1:0"\nlisten_address = "127.0.0.1:0"\n[[nodes]]\nhost = "127.0.0.1"\nport = 1\n'
    code = "import sys; from helios.cli import legacy_main; sys.exit(legacy_main())"
    options = ["--primary", "127.0.0.1:1", "--log-level", "info"] if with_options else []
    command = [sys.executable, "-c", code, "--config", str(_write(tmp_path, text, "proxy.toml")), *options]

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = threading.Timer(30, process.kill)
        deadline.start()
        assert process.stderr is not None
        ready = next((line for line in iter(process.stderr.readline, "") if "helios ready" in line), "")
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        deadline.cancel()

    assert re.search(r"listen=127\.0\.0\.1:\d+ admin=http://127\.0\.0\.1:\d+", ready)
    assert process.returncode == 0, rest
