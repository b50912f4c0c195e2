"""Each setting of PgBouncer, one by one: what it becomes, or what is said about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helios.config import ProxyConfig
from helios.config.foreign.draft import Imported
from helios.config.foreign.load import loading
from helios.config.foreign.pgbouncer import read_pgbouncer
from helios.config.foreign.pgbouncer_settings import DATABASES, PEERS, PGBOUNCER, USERS
from helios.config.foreign.settings import Fate
from helios.config.loader import dumps, loads
from helios.config.tree import parse_path_text
from helios.errors import ConfigError

FACTS = Path(__file__).parent / "fixtures" / "import" / "pgbouncer-settings.txt"
TABLES = {"pgbouncer": PGBOUNCER, "databases": DATABASES, "users": USERS, "peers": PEERS}
DOCUMENTED = [tuple(line.split(" ", 3)) for line in FACTS.read_text().splitlines() if not line.startswith("#")]

DIGEST = "A" * 43 + "="
VERIFIER = f"SCRAM-SHA-256$4096:c2FsdA==${DIGEST}:{DIGEST}"
USERLIST = f'"app" "secret"\n"old" "md50123456789abcdef0123456789abcdef"\n"new" "{VERIFIER}"\n'

CHANGED, NEEDLESS, LOST = Fate.CHANGED, Fate.NEEDLESS, Fate.LOST
DATABASE = "databases[0]"
POOL = f"{DATABASE}.pool"
TLS = "client_tls_cert_file = c.pem\nclient_tls_key_file = k.pem"
CA = "server_tls_ca_file = ca.pem"
CLIENT_CA = "client_tls_ca_file = client-ca.pem"
IDENT = 'users "cn one" app\n# a comment\nusers  other all  # more\n'

Becomes = dict[str, Any]
"""Our keys and their values; `{folder}` is the file's folder."""

BECOMES: dict[tuple[str, str, str], Becomes] = {
    ("pgbouncer", "listen_addr", "*"): {"listen_address": "0.0.0.0:6432"},
    ("pgbouncer", "listen_addr", "10.0.0.1"): {"listen_address": "10.0.0.1:6432"},
    ("pgbouncer", "listen_addr", "::1"): {"listen_address": "[::1]:6432"},
    ("pgbouncer", "listen_port", "5433"): {"listen_address": "0.0.0.0:5433"},
    ("pgbouncer", "unix_socket_dir", "/run/pooler"): {"unix_socket_dir": "/run/pooler"},
    ("pgbouncer", "unix_socket_dir", ""): {"unix_socket_dir": None},
    ("pgbouncer", "tcp_user_timeout", "9000"): {"tcp.user_timeout_ms": 9000},
    ("pgbouncer", "application_name_add_host", "1"): {"pool.application_name_add_host": True},
    ("pgbouncer", "unix_socket_mode", "0770"): {"unix_socket_mode": "0770"},
    ("pgbouncer", "pool_mode", "transaction"): {"pool.mode": "transaction"},
    ("pgbouncer", "pool_mode", "Statement"): {"pool.mode": "statement"},
    ("pgbouncer", "max_client_conn", "1000"): {"limits.max_client_connections": 1000},
    ("pgbouncer", "max_user_client_connections", "9"): {"limits.max_user_client_connections": 9},
    ("pgbouncer", "max_db_client_connections", "9"): {"limits.max_database_client_connections": 9},
    ("pgbouncer", "default_pool_size", "7"): {"pool.max_size": 7},
    ("pgbouncer", "default_pool_size", "0x10"): {"pool.max_size": 16},
    ("pgbouncer", "min_pool_size", "3"): {"pool.min_idle": 3},
    ("pgbouncer", "min_pool_size", "30"): {"pool.min_idle": 20},
    ("pgbouncer", "max_prepared_statements", "0"): {"pool.prepared_statements": "disable"},
    ("pgbouncer", "max_prepared_statements", "50"): {"pool.prepared_statements": "track"},
    ("pgbouncer", "auth_type", "any"): {"auth.method": "trust"},
    ("pgbouncer", "auth_type", "trust"): {"auth.method": "trust"},
    ("pgbouncer", "auth_type", "plain"): {"auth.method": "password"},
    ("pgbouncer", "auth_type", "md5"): {"auth.method": "md5"},
    ("pgbouncer", "auth_type", "scram-sha-256"): {"auth.method": "scram-sha-256"},
    ("pgbouncer", "auth_type", f"cert\nclient_tls_sslmode=verify-ca\n{TLS}\n{CLIENT_CA}"): {"auth.method": "cert"},
    ("pgbouncer", "auth_type", "hba\nauth_hba_file = hba.conf"): {"auth.hba_file": "{folder}/hba.conf"},
    ("pgbouncer", "auth_hba_file", "/hba.conf\nauth_type = hba"): {"auth.hba_file": "/hba.conf"},
    ("pgbouncer", "auth_ident_file", "ident.conf\nauth_type=hba\nauth_hba_file=hba.conf"): {
        "auth.ident[0].system_user": "cn one",
        "auth.ident[1].database_user": "all",
    },
    ("pgbouncer", "auth_user", "asker"): {"auth.query_user": "asker", "auth.query_database": "app"},
    ("pgbouncer", "auth_dbname", "users\nauth_user = asker"): {"auth.query_database": "users"},
    ("pgbouncer", "auth_query", "select 1\nauth_user = asker"): {"auth.query": "select 1"},
    ("pgbouncer", "admin_users", "ops, dba"): {"console.admin_users": ("ops", "dba")},
    ("pgbouncer", "stats_users", "exporter"): {"console.stats_users": ("exporter",)},
    ("pgbouncer", "client_tls_ca_file", f"/ca.pem\nclient_tls_sslmode=allow\n{TLS}"): {
        "tls.client_ca_file": "/ca.pem",
        "tls.client_auth": "optional",
    },
    ("pgbouncer", "auth_file", "userlist.txt"): {"auth.users_file": "{folder}/userlist.txt"},
    ("pgbouncer", "verbose", "0"): {"log.level": "info"},
    ("pgbouncer", "verbose", "2"): {"log.level": "debug"},
    ("pgbouncer", "server_lifetime", "1200"): {"pool.max_lifetime_seconds": 1200},
    ("pgbouncer", "server_lifetime", "0"): {"pool.max_lifetime_seconds": 1},
    ("pgbouncer", "server_idle_timeout", "0"): {"pool.idle_timeout_seconds": 0},
    ("pgbouncer", "server_idle_timeout", "1.5"): {"pool.idle_timeout_seconds": 2},
    ("pgbouncer", "server_connect_timeout", "3"): {"limits.connect_timeout_seconds": 3},
    ("pgbouncer", "client_login_timeout", "9"): {"limits.startup_timeout_seconds": 9},
    ("pgbouncer", "query_wait_timeout", "30.0"): {"pool.acquire_timeout_seconds": 30},
    ("pgbouncer", "query_wait_timeout", "0"): {"pool.acquire_timeout_seconds": 31_536_000},
    ("pgbouncer", "server_reset_query", "DISCARD ALL;"): {f"{POOL}.reset_query": None, "pool.reset_query": None},
    ("pgbouncer", "server_reset_query", "RESET ALL"): {f"{POOL}.reset_query": "RESET ALL"},
    ("pgbouncer", "server_reset_query", "RESET ALL\npool_mode = transaction"): {f"{POOL}.reset_query": None},
    (
        "pgbouncer",
        "server_reset_query_always",
        "1\nserver_reset_query = RESET ALL\npool_mode = transaction",
    ): {f"{POOL}.reset_query": "RESET ALL"},
    ("pgbouncer", "client_tls_sslmode", "disable"): {"tls.mode": "disable"},
    ("pgbouncer", "client_tls_sslmode", f"allow\n{TLS}"): {"tls.mode": "allow"},
    ("pgbouncer", "client_tls_sslmode", f"prefer\n{TLS}"): {"tls.mode": "allow"},
    ("pgbouncer", "client_tls_sslmode", f"require\n{TLS}"): {"tls.mode": "require"},
    ("pgbouncer", "client_tls_sslmode", f"verify-full\n{TLS}\n{CLIENT_CA}"): {
        "tls.mode": "require",
        "tls.client_auth": "required",
        "tls.client_ca_file": "{folder}/client-ca.pem",
    },
    ("pgbouncer", "client_tls_key_file", "k.pem"): {"tls.key_file": "{folder}/k.pem"},
    ("pgbouncer", "client_tls_cert_file", "/etc/c.pem"): {"tls.cert_file": "/etc/c.pem"},
    ("pgbouncer", "server_tls_sslmode", "disable"): {"clusters[0].tls.mode": "disable"},
    ("pgbouncer", "server_tls_sslmode", "allow"): {"clusters[0].tls.mode": "prefer"},
    ("pgbouncer", "server_tls_sslmode", "require"): {"clusters[0].tls.mode": "require"},
    ("pgbouncer", "server_tls_sslmode", f"verify-full\n{CA}"): {"clusters[0].tls.mode": "verify-full"},
    ("pgbouncer", "server_tls_ca_file", "ca.pem"): {"clusters[0].tls.ca_file": "{folder}/ca.pem"},
    ("databases", "dbname", "other"): {f"{DATABASE}.database": "other"},
    ("databases", "host", "db.example"): {"clusters[0].nodes[0].host": "db.example"},
    ("databases", "host", "a,b"): {"clusters[0].nodes[0].host": "a", "clusters[0].nodes[1].host": "b"},
    ("databases", "host", "/var/run/postgresql"): {"clusters[0].nodes[0].host": "/var/run/postgresql"},
    ("databases", "host", "@name"): {"clusters[0].nodes[0].host": "127.0.0.1"},
    ("databases", "port", "5433"): {"clusters[0].nodes[0].port": 5433},
    ("databases", "user", "login"): {f"{DATABASE}.user": "login", f"{DATABASE}.password": None},
    ("databases", "user", "app"): {f"{DATABASE}.user": "app", f"{DATABASE}.password": "secret"},
    ("databases", "password", "'it''s' user=login"): {f"{DATABASE}.password": "it's"},
    ("databases", "pool_size", "2"): {f"{POOL}.max_size": 2},
    ("databases", "min_pool_size", "2"): {f"{POOL}.min_idle": 2},
    ("databases", "min_pool_size", "9 pool_size=4"): {f"{POOL}.min_idle": 4},
    ("databases", "pool_mode", "statement"): {f"{POOL}.mode": "statement"},
    ("databases", "query_wait_timeout", "5"): {f"{POOL}.acquire_timeout_seconds": 5},
    ("databases", "query_wait_timeout", "-1"): {f"{POOL}.acquire_timeout_seconds": None},
    ("pgbouncer", "query_timeout", "7"): {"limits.query_timeout_seconds": 7},
    ("pgbouncer", "idle_transaction_timeout", "7"): {"limits.idle_transaction_timeout_seconds": 7},
    ("pgbouncer", "client_idle_timeout", "7"): {"limits.client_idle_timeout_seconds": 7},
    ("users", "query_timeout", "1.5"): {"users[0].query_timeout_seconds": 2},
    ("users", "idle_transaction_timeout", "8"): {"users[0].idle_transaction_timeout_seconds": 8},
    ("users", "client_idle_timeout", "0"): {"users[0].client_idle_timeout_seconds": 0},
    ("pgbouncer", "max_db_connections", "7"): {"limits.max_database_server_connections": 7},
    ("pgbouncer", "max_user_connections", "7"): {"limits.max_user_server_connections": 7},
    ("pgbouncer", "reserve_pool_size", "7"): {"pool.reserve_size": 7},
    ("pgbouncer", "reserve_pool_timeout", "7"): {"pool.reserve_timeout_seconds": 7},
    ("databases", "max_db_connections", "7"): {f"{DATABASE}.max_server_connections": 7},
    ("databases", "reserve_pool_size", "7"): {f"{POOL}.reserve_size": 7},
    ("databases", "reserve_pool", "7"): {f"{POOL}.reserve_size": 7},
    ("users", "max_user_connections", "7"): {"users[0].max_server_connections": 7},
    ("users", "pool_size", "7"): {"users[0].max_pool_size": 7},
    ("databases", "max_db_client_connections", "4"): {f"{DATABASE}.max_client_connections": 4},
    ("users", "max_user_client_connections", "4"): {"users[0].name": "1", "users[0].max_client_connections": 4},
    ("databases", "server_lifetime", "60"): {f"{POOL}.max_lifetime_seconds": 60},
}
"""(section, setting, value) → what it becomes."""

NOTED: dict[Fate, dict[str, str]] = {
    NEEDLESS: {
        "pgbouncer": "logfile=/var/log/x pidfile=/run/x user=postgres "
        "track_extra_parameters=search_path ignore_startup_parameters=options conffile=/x "
        "service_name=x job_name=x stats_period=9 scram_iterations=5000 syslog_ident=x syslog_facility=daemon "
        "log_connections=0 log_disconnections=0 log_pooler_errors=0 log_stats=0 server_check_delay=1 "
        "server_check_query=select server_login_retry=1 autodb_idle_timeout=1 pool_idle_timeout=1 dns_max_ttl=1 "
        "dns_nxdomain_ttl=1 dns_zone_check_period=1 client_tls_ciphers=all "
        "client_tls13_ciphers=x client_tls_ecdhcurve=auto client_tls_dheparams=auto "
        "server_tls_ciphers=all server_tls13_ciphers=x cancel_wait_timeout=1 suspend_timeout=1 pkt_buf=8192 "
        "listen_backlog=9 sbuf_loopcnt=0 so_reuseport=1 tcp_defer_accept=0 tcp_socket_buffer=1 tcp_keepalive=1",
        "databases": "load_balance_hosts=disable",
    },
    LOST: {
        "pgbouncer": "unix_socket_group=g peer_id=1 disable_pqexec=1 auth_ldap_options=x syslog=1 "
        "server_fast_close=1 resolv_conf=/x query_wait_notify=5 login_notify_message=hi "
        "server_tls_key_file=x server_tls_cert_file=x transaction_timeout=1 max_packet_size=1000 "
        "tcp_keepcnt=1 tcp_keepidle=1 tcp_keepintvl=1 server_round_robin=1 client_tls_protocols=tlsv1.3 "
        "server_tls_protocols=all",
        "databases": "auth_user=x auth_query=x auth_dbname=x connect_query=select "
        "target_session_attrs=read-only client_encoding=utf8 "
        "datestyle=ISO timezone=UTC application_name=x",
        "users": "reserve_pool_size=1 pool_mode=session query_wait_timeout=1 transaction_timeout=1",
        "peers": "host=x port=6432 pool_size=1",
    },
}
"""Settings that become nothing, each with a value that asks for something."""

NOTED_ONE_BY_ONE = [
    (fate, section, *pair.split("=", 1))
    for fate, sections in NOTED.items()
    for section, text in sections.items()
    for pair in text.split()
]

UNSAFE = [
    ("pgbouncer", "auth_type", "ldap"),
    ("pgbouncer", "auth_type", "pam"),
    ("pgbouncer", "disable_pqexec", "1"),
    ("databases", "connect_query", "'set role app'"),
    ("databases", "target_session_attrs", "standby"),
]
"""What must not go missing unseen."""

INERT = [
    ("users", "reserve_pool_size", "0"),
    ("pgbouncer", "transaction_timeout", "0.0"),
    ("pgbouncer", "max_packet_size", "2147483647"),
    ("pgbouncer", "disable_pqexec", "0"),
    ("pgbouncer", "unix_socket_group", ""),
    ("databases", "target_session_attrs", "read-write"),
    ("databases", "query_wait_timeout", "-1"),
    ("users", "query_wait_timeout", "-1"),
]
"""Settings that we lack, at values that ask for nothing."""


def _text(section: str, name: str, value: str) -> str:
    """A pgbouncer.ini in which this setting stands on line 1 of its section, beside what a file needs."""
    parts = {"pgbouncer": "", "databases": "app = host=db", "users": "", "peers": ""}
    rest = "" if name == "auth_file" else "auth_file = userlist.txt\n"
    rest += "" if name == "listen_addr" else "listen_addr = *\n"
    if section == "pgbouncer":
        parts["pgbouncer"] = f"{name} = {value}"
    elif section == "databases":
        host = "" if name == "host" else "host=db "
        parts["databases"] = f"app = {host}{name}={value}"
    else:
        parts[section] = f"1 = {name}={value}"
    written = set(parts["pgbouncer"].partition(" ")[0].split())
    rest = "".join(line for line in rest.splitlines(keepends=True) if line.partition(" ")[0] not in written)
    sections = "".join(f"[{each}]\n{line}\n" for each, line in parts.items() if each != "pgbouncer")
    return f"[pgbouncer]\n{parts['pgbouncer']}\n{rest}{sections}"


def _import(folder: Path, text: str) -> Imported:
    (folder / "userlist.txt").write_text(USERLIST)
    (folder / "ident.conf").write_text(IDENT)
    (folder / "pgbouncer.ini").write_text(text)
    return read_pgbouncer(folder / "pgbouncer.ini")


def _problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _import(folder, text)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def _at(config: ProxyConfig, path: str) -> Any:
    value: Any = config
    for part in parse_path_text(path):
        value = getattr(value, part) if isinstance(part, str) else value[part]
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def test_every_documented_setting_is_in_the_tables_and_no_other() -> None:
    documented = {(section, name) for section, name, _, _ in DOCUMENTED}

    assert {(section, name) for section, table in TABLES.items() for name in table} == documented


def test_every_setting_of_the_tables_has_a_test() -> None:
    tested = {(section, name) for section, name, _ in BECOMES}
    tested |= {(section, name) for _, section, name, _ in NOTED_ONE_BY_ONE}

    assert tested == {(section, name) for section, table in TABLES.items() for name in table}


@pytest.mark.parametrize(("section", "name", "unit", "default"), DOCUMENTED)
def test_defaults_are_as_documented_and_units_are_refused(section: str, name: str, unit: str, default: str) -> None:
    setting = TABLES[section][name]

    assert setting.default in ("", "-", default)
    # PgBouncer listens in /tmp unless told otherwise; who wants a socket says so here.
    if setting.becomes and default != "-" and section == "pgbouncer" and name != "unix_socket_dir":
        assert setting.default == default
    if unit == "-":
        return
    with pytest.raises(ValueError, match="without a unit"):
        setting.read(f"1{unit}")


@pytest.mark.parametrize(("section", "name", "value"), BECOMES)
def test_what_a_setting_becomes(tmp_path: Path, section: str, name: str, value: str) -> None:
    imported = _import(tmp_path, _text(section, name, value))

    for path, ours in BECOMES[section, name, value].items():
        wanted = ours.replace("{folder}", str(tmp_path)) if isinstance(ours, str) else ours
        assert _at(imported.config, path) == wanted
    assert loads(dumps(imported.config)) == imported.config


@pytest.mark.parametrize(("fate", "section", "name", "value"), NOTED_ONE_BY_ONE)
def test_what_is_said_of_a_setting_that_becomes_nothing(
    tmp_path: Path, fate: Fate, section: str, name: str, value: str
) -> None:
    key = {"pgbouncer": f"pgbouncer.{name}", "databases": f"databases.app.{name}"}.get(section, f"{section}.1.{name}")

    imported = _import(tmp_path, _text(section, name, value))

    (note,) = [note for note in imported.notes if note.problem.field == key]
    assert (note.fate, note.problem.message) == (fate, TABLES[section][name].note)
    assert note.problem.line == next(
        number
        for number, line in enumerate((tmp_path / "pgbouncer.ini").read_text().splitlines(), start=1)
        if name in line and value in line
    )


@pytest.mark.parametrize(("section", "name", "value"), INERT)
def test_nothing_is_said_where_nothing_goes_missing(tmp_path: Path, section: str, name: str, value: str) -> None:
    imported = _import(tmp_path, _text(section, name, value))

    assert [note for note in imported.notes if note.problem.field.endswith(f".{name}")] == []


@pytest.mark.parametrize(("section", "name", "value"), UNSAFE)
def test_what_protects_somebody_is_not_served_without(tmp_path: Path, section: str, name: str, value: str) -> None:
    imported = _import(tmp_path, _text(section, name, value))

    assert [note.fate for note in imported.notes if note.unsafe] == [LOST]
    with (
        loading(tmp_path / "pgbouncer.ini") as load,
        pytest.raises(ConfigError, match=rf"{name}: must not go missing unseen: .*helios import"),
    ):
        load(tmp_path / "pgbouncer.ini")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[pgbouncer]\nlisten_prot = 1\n", 'pgbouncer.ini:2: pgbouncer.listen_prot: "listen_prot" is not known'),
        ("[pgbouncer]\nlisten_prot = 1\n", 'did you mean "listen_port"?'),
        ("[pgbuoncer]\nlisten_port = 1\n", 'pgbouncer.ini:2: pgbuoncer.listen_port: "pgbuoncer" is not known'),
        ("[pgbouncer]\nserver_lifetime = 1h\n", 'pgbouncer.ini:2: pgbouncer.server_lifetime: is "1h"; a number of'),
        ("[pgbouncer]\nserver_lifetime = -1\n", 'server_lifetime: is "-1"; a number of seconds is wanted'),
        ("[pgbouncer]\nmax_client_conn = 08\n", 'max_client_conn: is "08"; an integer is wanted'),
        ("[pgbouncer]\nmax_client_conn = 0\n", "pgbouncer.ini:2: pgbouncer.max_client_conn: is 0; at least 1"),
        ("[pgbouncer]\nlogfile=/x\npkt_buf = 4kB\n", 'pgbouncer.ini:3: pgbouncer.pkt_buf: is "4kB"; an integer'),
        ("[pgbouncer]\npool_mode = sesion\n", 'pool_mode: is "sesion"; one of session, transaction, statement'),
        ("[pgbouncer]\nlisten_port = 99999\n", "pgbouncer.ini:2: pgbouncer.listen_port: is"),
        ("[pgbouncer]\nclient_tls_sslmode = require\n", "client_tls_key_file: is missing, and mode require needs it"),
        ("[databases]\nb = hots=x\n", 'pgbouncer.ini:2: databases.b.hots: "hots" is not known to PgBouncer'),
        ("[databases]\nb = host=x port=y\n", 'pgbouncer.ini:2: databases.b.port: is "y"; an integer is wanted'),
        ("[databases]\nb = host=x port=0\n", "pgbouncer.ini:2: databases.b: is 0; at least 1 is allowed"),
        ("[databases]\nb = host='x\n", "pgbouncer.ini:2: databases.b: is no list of settings: the value of host has"),
        (
            "[databases]\napp = host=x\n",
            "pgbouncer.ini:4: databases.app: is here for the second time; pgbouncer.ini:2 has it too",
        ),
        ("[databases]\npgbouncer = host=x\n", "databases.pgbouncer: is the name of PgBouncer's console"),
        ("[databases]\n%include gone.ini\n", "pgbouncer.ini:2: %include: gone.ini cannot be read"),
        ("[users]\na = pool_size=x\n", 'pgbouncer.ini:2: users.a.pool_size: is "x"; an integer'),
        ("[pgbouncer]\nauth_file = gone.txt\n", "pgbouncer.ini:2: pgbouncer.auth_file: cannot read gone.txt: no such"),
    ],
)
def test_bad_input_is_refused_with_file_line_and_key(tmp_path: Path, text: str, problem: str) -> None:
    rest = "[databases]\napp = host=db\n[pgbouncer]\nlisten_addr = *\n"
    rest += "" if "auth_file" in text else "auth_file = userlist.txt\n"

    found = _problems(tmp_path, text + rest)

    assert any(problem in each for each in found), found


def test_everything_wrong_is_said_at_once_and_no_password_is_shown(tmp_path: Path) -> None:
    found = _problems(
        tmp_path, "[databases]\na = password='hidden' host=x y=1\nb = password=hidden'x' z\n[pgbouncer]\nmax=1\n"
    )

    assert [each.partition(": ")[0] for each in found] == [
        *("pgbouncer.ini", "pgbouncer.ini:2", "pgbouncer.ini:3", "pgbouncer.ini:5")
    ]
    assert not any("hidden" in each for each in found)


def test_a_file_without_databases_is_refused_once(tmp_path: Path) -> None:
    found = _problems(tmp_path, "[databases]\n[pgbouncer]\nauth_file = userlist.txt\n")

    assert found == ["pgbouncer.ini: databases: names no database; nobody could connect"]


def test_without_an_auth_file_there_is_nobody_to_let_in(tmp_path: Path) -> None:
    (found,) = _problems(tmp_path, "[databases]\napp = host=db\n[pgbouncer]\n")

    assert found.startswith("pgbouncer.ini: pgbouncer.auth_file: is missing, and method md5 needs it")


def test_what_a_pg_hba_needs_is_said(tmp_path: Path) -> None:
    (found,) = _problems(
        tmp_path, "[databases]\napp = host=db\n[pgbouncer]\nauth_type = hba\nauth_file = userlist.txt\n"
    )
    assert found == "pgbouncer.ini:4: pgbouncer.auth_type: needs auth_hba_file; nobody could log in"
    (tmp_path / "maps").write_text("users one\n")
    ini = "[databases]\napp = host=db\n[pgbouncer]\nauth_type = hba\nauth_hba_file = h\nauth_ident_file = maps\n"
    (found,) = _problems(tmp_path, ini)
    assert "line 1 is none of a user map; write MAP SYSTEM-USER ROLE" in found


def test_users_are_looked_up_where_an_application_has_the_function(tmp_path: Path) -> None:
    """The first database that has a name, by its name on the server; that it is one for all is told."""
    ini = "[databases]\n* = host=db\nshop = host=db dbname=shop_1\n[pgbouncer]\nauth_user = asker\n"
    imported = _import(tmp_path, ini)

    assert imported.config.auth.query_database == "shop_1"
    (note,) = [str(note.problem) for note in imported.notes if "asks in database" in str(note.problem)]
    assert "pgbouncer.auth_user: asks in database shop_1, whoever logs in" in note


def test_databases_of_the_same_servers_share_a_cluster(tmp_path: Path) -> None:
    imported = _import(
        tmp_path,
        "[databases]\na = host=db\nb = host=db port=5433\nc = host=db dbname=x\n* = host=one,two\n"
        "[pgbouncer]\nauth_file = userlist.txt\n",
    )

    clusters = {cluster.name: [node.name for node in cluster.nodes] for cluster in imported.config.clusters}
    assert clusters == {"db": ["db:5432"], "db-2": ["db:5433"], "one": ["one:5432", "two:5432"]}
    databases = [(entry.name, entry.cluster) for entry in imported.config.databases]
    assert databases == [("a", "db"), ("b", "db-2"), ("c", "db"), ("*", "one")]


def test_the_defaults_are_pgbouncers(tmp_path: Path) -> None:
    config = _import(tmp_path, "[databases]\n* = host=db\n[pgbouncer]\nauth_file = userlist.txt\n").config

    assert config.listen_address == "127.0.0.1:6432"
    assert (config.pool.mode, config.pool.max_size, config.pool.acquire_timeout_seconds) == ("session", 20, 120)
    assert (config.auth.method, config.limits.max_client_connections) == ("md5", 100)
    assert (config.pool.max_lifetime_seconds, config.pool.idle_timeout_seconds) == (3600, 600)


def test_a_setting_that_is_written_again_wins_also_from_an_included_file(tmp_path: Path) -> None:
    (tmp_path / "more.ini").write_text("default_pool_size = 3\n")

    imported = _import(
        tmp_path,
        "[databases]\n* = host=db\n[pgbouncer]\nauth_file = userlist.txt\ndefault_pool_size = 9\n%include more.ini\n",
    )

    assert imported.config.pool.max_size == 3
    (note,) = [note for note in imported.notes if note.problem.field == "pgbouncer.default_pool_size"]
    assert (note.problem.line, "more.ini:1, which wins" in note.problem.message) == (5, True)


@pytest.mark.parametrize(
    ("lines", "users"),
    [
        (USERLIST, None),
        ('"a" "b" "more" fields\n', {"a": "b"}),
        ('"a" "b"\n; old\n"a" "c"\n', {"a": "c"}),
        ('"a","b""c"\n', {"a": 'b"c'}),
    ],
)
def test_a_userlist_that_we_would_read_otherwise_is_written_anew(
    tmp_path: Path, lines: str, users: dict[str, str] | None
) -> None:
    (tmp_path / "list.txt").write_text(lines)

    imported = _import(tmp_path, "[databases]\n* = host=db\n[pgbouncer]\nauth_file = list.txt\n")

    found = {user.name: user.secret.get_secret_value() for user in imported.users or () if user.secret}
    assert (None if imported.users is None else found) == users


@pytest.mark.parametrize("lines", ["app secret\n", '"app"\n', '"app" "SCRAM-SHA-256$x"\n', '"" "x"\n'])
def test_a_userlist_with_a_faulty_line_is_refused_with_its_number(tmp_path: Path, lines: str) -> None:
    (tmp_path / "list.txt").write_text(f'"a" "b"\n{lines}')

    (found,) = _problems(tmp_path, "[databases]\n* = host=db\n[pgbouncer]\nauth_file = list.txt\n")

    assert found.startswith("list.txt:2: pgbouncer.auth_file: ")


def test_a_fixed_user_whose_secret_logs_in_nowhere_is_named(tmp_path: Path) -> None:
    for user in ("old", "new"):
        imported = _import(tmp_path, _text("databases", "user", user))

        assert imported.config.databases[0].password is None
        (note,) = [note for note in imported.notes if note.fate is LOST]
        assert note.problem.field == "databases.app.user"
