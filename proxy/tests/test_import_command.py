"""`helios import` and its files, run as a user runs it; what it writes is read back."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from helios.config.foreign.load import read_foreign
from helios.config.loader import load, load_with_warnings
from helios.play.manifest import read_manifest
from helios_crds.placement import Placement

INI = """\
[databases]
shop = host=db1 port=5433 dbname=shop_v2 user=app password='p w' pool_size=5 pool_mode=session
* = host=db2
[pgbouncer]
listen_addr = *
auth_type = hba
auth_hba_file = hba.conf
auth_ident_file = ident.conf
auth_user = asker
auth_file = userlist.txt
admin_users = ops, dba
stats_users = exporter
client_tls_ca_file = ca.pem
pool_mode = transaction
client_tls_sslmode = require
client_tls_cert_file = c.pem
client_tls_key_file = k.pem
server_tls_sslmode = verify-full
server_tls_ca_file = ca.pem
logfile = /var/log/pgbouncer.log
"""
PGCAT = """\
[general]
server_tls = true
[pools.shop.users.0]
username = "app"
password = "p w"
pool_size = 9
[pools.shop.shards.0]
servers = [["db", 5432, "primary"]]
database = "shop_v2"
"""
SECRETS = ("p w", "from the list", "CERTIFICATE OF THE PROXY", "KEY OF THE PROXY", "AUTHORITY")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a pgbouncer.ini, a pgcat.toml and every file they name."""
    for name, text in {
        "pgbouncer.ini": INI,
        "pgcat.toml": PGCAT,
        "userlist.txt": '"app" "from the list"\n',
        "c.pem": "CERTIFICATE OF THE PROXY\n",
        "k.pem": "KEY OF THE PROXY\n",
        "ca.pem": "AUTHORITY\n",
        "hba.conf": "hostssl all all all cert map=users\n",
        "ident.conf": "users one app\n",
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def _import(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "helios", "import", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_toml_on_stdout_is_the_configuration_and_stderr_tells_the_rest(folder: Path) -> None:
    result = _import(folder, "pgbouncer.ini")

    assert result.returncode == 0
    (folder / "helios.toml").write_text(result.stdout)
    assert load(folder / "helios.toml") == read_foreign(folder / "pgbouncer.ini").config
    lines = result.stderr.splitlines()
    assert lines[-1].startswith("pgbouncer.ini: 23 settings carried over, 8 with a note, 1 ignored, 0 not carried over")
    assert "ignored: pgbouncer.ini:20: pgbouncer.logfile: the log goes to stderr" in lines[-2]


def test_a_written_file_is_private_and_has_its_users_beside_it(folder: Path) -> None:
    result = _import(folder, "pgcat.toml", "--output", "made.toml")

    assert (result.returncode, result.stdout) == (0, "")
    for name in ("made.toml", "made.users.txt"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    loaded = load_with_warnings(folder / "made.toml")
    assert loaded.config.auth.users_file == str(folder / "made.users.txt")
    assert (folder / "made.users.txt").read_text() == '"app" "p w"\n'


@pytest.mark.parametrize(
    ("line", "status"), [("transaction_timeout = 5", 1), ("transaction_timeout = 0", 0), ("logfile = /x", 0)]
)
def test_strict_fails_where_something_is_not_carried_over(folder: Path, line: str, status: int) -> None:
    (folder / "pgbouncer.ini").write_text(f"{INI}{line}\n")

    assert _import(folder, "pgbouncer.ini", "--strict").returncode == status
    assert _import(folder, "pgbouncer.ini").returncode == 0


@pytest.mark.parametrize("file", ["pgbouncer.ini", "pgcat.toml"])
def test_yaml_holds_no_secret_unless_it_is_asked_for(folder: Path, file: str) -> None:
    plain, full = _import(folder, file, "--to", "yaml"), _import(folder, file, "--to", "yaml", "--with-secrets")

    assert (plain.returncode, full.returncode) == (0, 0)
    assert not any(secret in plain.stdout + plain.stderr for secret in SECRETS)
    assert "kind: Secret" not in plain.stdout
    assert "p w" in full.stdout
    named = [line.partition(" ")[2].partition(" ")[0] for line in plain.stderr.splitlines() if "must exist" in line]
    assert named == [f"Secret/{part.split()[0]}" for part in full.stdout.split("name: ")[1:] if "\ntype: " in part]


@pytest.mark.parametrize("file", ["pgbouncer.ini", "pgcat.toml"])
def test_the_yaml_renders_to_the_configuration_it_was_made_of(folder: Path, file: str) -> None:
    result = _import(folder, file, "--to", "yaml", "--with-secrets", "--name", "shop", "--output", "made.yaml")

    assert result.returncode == 0
    manifest = read_manifest([folder / "made.yaml"])
    rendered = manifest.render(Placement(), {}).config
    wanted = read_foreign(folder / file).config
    assert rendered is not None
    assert manifest.proxy.name == "shop"
    assert (rendered.pool, rendered.limits, rendered.log) == (wanted.pool, wanted.limits, wanted.log)
    assert [cluster.nodes for cluster in rendered.clusters] == [cluster.nodes for cluster in wanted.clusters]
    assert [cluster.tls.mode for cluster in rendered.clusters] == [cluster.tls.mode for cluster in wanted.clusters]
    assert (rendered.tls.mode, rendered.auth.method) == (wanted.tls.mode, wanted.auth.method)
    for ours, theirs in zip(rendered.databases, wanted.databases, strict=True):
        assert (ours.name, ours.cluster, ours.database, ours.user) == (
            *(theirs.name, theirs.cluster, theirs.database, theirs.user),
        )
        assert ours.pool == theirs.pool
        assert (ours.password_file is None) == (theirs.password is None)
        if ours.password_file is not None and theirs.password is not None:
            secret, key = Path(ours.password_file).parts[-2:]
            assert manifest.secrets[secret][key].decode() == theirs.password.get_secret_value()
    assert manifest.secrets["shop-users"]["users.txt"].decode().startswith('"app" ')


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone.ini"], "gone.ini: cannot be read: no such file or directory"),
        (["gone.toml"], "gone.toml: cannot be read: no such file or directory"),
        (["userlist.txt"], "userlist.txt:1: is no valid TOML"),
        (["pgcat.toml", "--output", "no/such/folder.toml"], "cannot write no/such/folder"),
        (["pgcat.toml", "--to", "yaml", "--name", "Not Ours"], "metadata.name"),
    ],
)
def test_a_refusal_is_one_line_and_no_traceback(folder: Path, words: list[str], message: str) -> None:
    result = _import(folder, *words)

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("helios import: ")
    assert message in result.stderr


def test_check_reads_other_poolers_files_too(folder: Path) -> None:
    command = [sys.executable, "-m", "helios", "check"]
    (folder / "bad.ini").write_text("[databases]\na = hots=x\n")

    good = subprocess.run([*command, "pgcat.toml"], cwd=folder, capture_output=True, text=True, check=False)
    bad = subprocess.run([*command, "bad.ini"], cwd=folder, capture_output=True, text=True, check=False)

    assert (good.returncode, good.stdout.splitlines()[-1]) == (0, "pgcat.toml: no errors, no warnings")
    assert bad.returncode == 1
    assert 'error: bad.ini:2: databases.a.hots: "hots" is not known to PgBouncer' in bad.stdout


def test_serve_refuses_an_admin_address_that_is_none(folder: Path) -> None:
    command = [sys.executable, "-m", "helios", "serve", "-c", "pgcat.toml", "--admin", "nowhere"]

    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    assert result.returncode == 1
    assert result.stderr.startswith('helios serve: --admin is "nowhere"; must be host:port')
