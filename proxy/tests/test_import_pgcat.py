"""Each setting of PgCat, one by one, and what its pools, users and shards become together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helios.config import ProxyConfig
from helios.config.foreign.draft import Imported
from helios.config.foreign.load import loading
from helios.config.foreign.pgcat import is_pgcat, read_pgcat
from helios.config.foreign.pgcat_settings import GENERAL, PLUGINS, POOL, SHARD, USER
from helios.config.foreign.settings import Fate
from helios.config.loader import dumps, loads
from helios.config.tree import parse_path_text
from helios.errors import ConfigError

FACTS = Path(__file__).parent / "fixtures" / "import" / "pgcat-settings.txt"
TABLES = {"general": GENERAL, "pool": POOL, "user": USER, "shard": SHARD}
DOCUMENTED = [tuple(line.split()) for line in FACTS.read_text().splitlines() if not line.startswith("#")]

NEEDLESS, LOST = Fate.NEEDLESS, Fate.LOST
DATABASE = "databases[0]"

BECOMES: dict[tuple[str, str], dict[str, Any]] = {
    ("general", 'host = "::1"'): {"listen_address": "[::1]:5432"},
    ("general", "port = 6433"): {"listen_address": "0.0.0.0:6433"},
    ("general", "enable_prometheus_exporter = true"): {"admin.address": "0.0.0.0:9930"},
    ("general", "enable_prometheus_exporter = false"): {"admin.address": "127.0.0.1:9090"},
    ("general", "prometheus_exporter_port = 9931\nenable_prometheus_exporter = true"): {
        "admin.address": "0.0.0.0:9931"
    },
    ("general", "connect_timeout = 5000"): {"pool.acquire_timeout_seconds": 5},
    ("general", "connect_timeout = 1"): {"pool.acquire_timeout_seconds": 1},
    ("general", "idle_timeout = 30500"): {"pool.idle_timeout_seconds": 31},
    ("general", "server_lifetime = 60000"): {"pool.max_lifetime_seconds": 60},
    ("general", "shutdown_timeout = 10000"): {"drain.timeout_seconds": 10},
    ("general", "autoreload = 5000"): {"watch.interval_ms": 5000},
    ("general", "autoreload = true"): {"watch.interval_ms": 15_000},
    ("general", "autoreload = false"): {"watch.interval_ms": 0},
    ("general", "worker_threads = 3"): {"workers": 3},
    ("general", 'tls_certificate = "c.pem"\ntls_private_key = "/k.pem"'): {
        "tls.mode": "allow",
        "tls.cert_file": "{folder}/c.pem",
    },
    ("general", 'tls_private_key = "k.pem"'): {"tls.mode": "disable", "tls.key_file": "{folder}/k.pem"},
    ("general", "server_tls = true"): {"clusters[0].tls.mode": "require"},
    ("general", "server_tls = false"): {"clusters[0].tls.mode": "disable"},
    ("general", "idle_client_in_transaction_timeout = 3000"): {"limits.idle_transaction_timeout_seconds": 3},
    ("pool", 'pool_mode = "session"'): {f"{DATABASE}.pool.mode": "session"},
    ("pool", "connect_timeout = 3000"): {f"{DATABASE}.pool.acquire_timeout_seconds": 3},
    ("pool", "idle_timeout = 3000"): {f"{DATABASE}.pool.idle_timeout_seconds": 3},
    ("pool", "server_lifetime = 3000"): {f"{DATABASE}.pool.max_lifetime_seconds": 3},
    ("pool", "prepared_statements_cache_size = 0"): {f"{DATABASE}.pool.prepared_statements": "disable"},
    ("pool", "prepared_statements_cache_size = 9"): {f"{DATABASE}.pool.prepared_statements": "track"},
    ("user", 'auth_type = "trust"'): {"auth.method": "trust"},
    ("user", 'auth_type = "md5"'): {"auth.method": "md5"},
    ("user", 'server_username = "other"'): {f"{DATABASE}.user": "other", f"{DATABASE}.password": None},
    ("user", 'server_password = "x"\nserver_username = "other"'): {f"{DATABASE}.password": "x"},
    ("user", "pool_size = 4"): {f"{DATABASE}.pool.max_size": 4},
    ("user", "min_pool_size = 2"): {f"{DATABASE}.pool.min_idle": 2},
    ("user", 'username = "bob"'): {"auth.users_file": "users.txt"},
    ("user", 'password = "x"'): {"auth.users_file": "users.txt"},
    ("pool", "query_parser_read_write_splitting = true"): {f"{DATABASE}.routing.read_write_split": True},
    ("pool", 'load_balancing_mode = "loc"'): {f"{DATABASE}.routing.read_strategy": "least_connections"},
    ("pool", 'default_role = "replica"'): {f"{DATABASE}.role": "standby"},
    ("pool", 'default_role = "any"'): {f"{DATABASE}.role": "primary"},
    ("shard", 'database = "other"'): {f"{DATABASE}.database": "other"},
    ("general", 'admin_username = "ops"\nadmin_password = "y"'): {"console.admin_users": ("ops",)},
    ("general", 'admin_password = "y"\nadmin_username = "ops"'): {"auth.users_file": "users.txt"},
    ("general", 'auth_query_user = "asker"'): {"auth.query_user": "asker"},
    ("general", 'auth_query_password = "z"\nauth_query_user = "asker"'): {"auth.query_password": "z"},
    ("general", 'auth_query = "select a, b from t where a = \'$1\'"\nauth_query_user = "asker"'): {
        "auth.query": "select a, b from t where a = $1"
    },
    ("shard", 'servers = [["a", 5433, "Primary"], ["b", 5434, "replica"]]'): {
        "clusters[0].nodes[0].role": "primary",
        "clusters[0].nodes[1].role": "standby",
        "clusters[0].nodes[1].port": 5434,
    },
    ("shard", 'servers = [{ host = "a", port = 5433, role = "primary" }]'): {"clusters[0].nodes[0].port": 5433},
}
"""(section, lines) → what they become; the setting is the first word."""

NOTED = {
    ("general", NEEDLESS): "healthcheck_timeout=1 healthcheck_delay=1 ban_time=1 log_client_connections=true "
    "log_client_disconnections=true dns_cache_enabled=true dns_max_ttl=1 server_round_robin=true validate_config=true",
    ("general", LOST): "tcp_keepalives_idle=5 tcp_keepalives_count=5 "
    "tcp_keepalives_interval=5 tcp_user_timeout=1 verify_server_certificate=true "
    'admin_auth_type="trust"',
    (
        "pool",
        NEEDLESS,
    ): "primary_reads_enabled=true query_parser_enabled=true db_activity_based_routing=true "
    "query_parser_max_length=1 db_activity_init_delay=1 "
    'db_activity_ttl=1 table_mutation_cache_ms_ttl=1 sharding_function="sha1" regex_search_limit=1 '
    "log_client_parameter_status_changes=true",
    ("pool", LOST): 'checkout_failure_limit=1 automatic_sharding_key="a.b" '
    'sharding_key_regex="x" shard_id_regex="x" default_shard="random" auth_query="x" auth_query_user="x" '
    'auth_query_password="x" cleanup_server_connections=false plugins={}',
    ("user", LOST): 'pool_mode="session" connect_timeout=1 idle_timeout=1 server_lifetime=1 statement_timeout=1',
    ("shard", LOST): 'mirrors=[["a",1,0]]',
}
"""Settings that become nothing, each with a value that asks for something."""

NOTED_ONE_BY_ONE = [
    (section, fate, *pair.split("=", 1)) for (section, fate), text in NOTED.items() for pair in text.split()
]
IN_EVERY_TEST = {("pool", "users"), ("pool", "shards")}


def _text(section: str = "", lines: str = "") -> str:
    """A pgcat.toml with these lines in one of its sections."""
    at = {name: lines if name == section else "" for name in TABLES}
    names = {line.split()[0] for line in lines.splitlines()}
    user = "".join(f'{name} = "{name}"\n' for name in ("username", "password") if name not in names)
    servers = "" if "servers" in names else 'servers = [["db", 5432, "primary"]]\n'
    return (
        f"[general]\n{at['general']}\n[pools.app]\n{at['pool']}\n[pools.app.users.0]\n{user}{at['user']}\n"
        f"[pools.app.shards.0]\n{servers}{at['shard']}\n"
    )


def _import(folder: Path, text: str) -> Imported:
    (folder / "pgcat.toml").write_text(text)
    return read_pgcat(folder / "pgcat.toml")


def _at(config: ProxyConfig, path: str) -> Any:
    value: Any = config
    for part in parse_path_text(path):
        value = getattr(value, part) if isinstance(part, str) else value[part]
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def _pool(name: str, user: str, password: str, more: str = "", server: str = "db") -> str:
    return (
        f'[pools.{name}]\n[pools.{name}.users.0]\nusername = "{user}"\npassword = "{password}"\n{more}\n'
        f'[pools.{name}.shards.0]\nservers = [["{server}", 5432, "primary"]]\ndatabase = "{name}_db"\n'
    )


def _unsafe(imported: Imported) -> list[str]:
    return [note.problem.field for note in imported.notes if note.unsafe]


def test_every_documented_setting_is_in_the_tables_and_no_other() -> None:
    assert {(section, name) for section, table in TABLES.items() for name in table} == set(DOCUMENTED)


def test_every_setting_of_the_tables_has_a_test() -> None:
    tested = {(section, lines.split()[0]) for section, lines in BECOMES}
    tested |= {(section, name) for section, _, name, _ in NOTED_ONE_BY_ONE}

    assert tested | IN_EVERY_TEST == set(DOCUMENTED)


@pytest.mark.parametrize(("section", "lines"), BECOMES)
def test_what_a_setting_becomes(tmp_path: Path, section: str, lines: str) -> None:
    imported = _import(tmp_path, _text(section, lines))

    for path, ours in BECOMES[section, lines].items():
        wanted = ours.replace("{folder}", str(tmp_path)) if isinstance(ours, str) else ours
        assert _at(imported.config, path) == wanted
    assert loads(dumps(imported.config)) == imported.config


@pytest.mark.parametrize(("section", "fate", "name", "value"), NOTED_ONE_BY_ONE)
def test_what_is_said_of_a_setting_that_becomes_nothing(
    tmp_path: Path, section: str, fate: Fate, name: str, value: str
) -> None:
    imported = _import(tmp_path, _text(section, f"{name} = {value}"))

    notes = [note for note in imported.notes if note.problem.field.endswith(f".{name}")]
    assert TABLES[section][name].note in [note.problem.message for note in notes]
    assert {note.fate for note in notes} == {fate}
    line = (tmp_path / "pgcat.toml").read_text().splitlines().index(f"{name} = {value}") + 1
    assert {note.problem.line for note in notes} == {line}


@pytest.mark.parametrize(
    ("section", "lines", "problem"),
    [
        ("general", "prot = 1", 'pgcat.toml:2: general.prot: is not known to PgCat; did you mean "port"?'),
        ("general", 'port = "x"', 'pgcat.toml:2: general.port: is "x"; an integer, without quotes, is wanted'),
        ("general", "connect_timeout = true", "pgcat.toml:2: general.connect_timeout: is True; an integer"),
        ("general", "worker_threads = 1000", "pgcat.toml:2: general.worker_threads: is 1000; at most 64"),
        ("pool", 'pool_mode = "statement"', 'pools.app.pool_mode: is "statement"; one of session, transaction'),
        ("pool", 'default_role = "any"\nshard = 1', "pools.app.shard: is not known to PgCat"),
        ("user", 'name = "x"', 'pools.app.users.0.name: is not known to PgCat; did you mean "username"?'),
        ("user", "pool_size = 0", "pools.app.users.0.pool_size: is 0; at least 1 is allowed"),
        ("shard", 'servers = [["a", 5432]]', "pools.app.shards.0.servers[0]: is no server; write"),
        ("shard", 'servers = [["a", 5432, "spare"]]', 'servers[0]: has the role "spare"; one of primary, replica'),
        ("shard", 'servers = [["a", 5432, "primary"], ["b", 1, "primary"]]', "pools.app.shards.0.servers: is"),
        ("shard", 'servers = [["a b", 5432, "primary"]]', "pools.app.shards.0.servers: has a character"),
        ("shard", "servers = []", 'pools.app.shards.0.servers: cluster "main" has no node'),
    ],
)
def test_bad_input_is_refused_with_file_line_and_key(tmp_path: Path, section: str, lines: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _import(tmp_path, _text(section, lines))

    found = [str(each).replace(f"{tmp_path}/", "") for each in caught.value.problems]
    assert any(problem in each for each in found), found
    assert all(each.line is not None for each in caught.value.problems)


@pytest.mark.parametrize("text", ["[general]\n", "[pools.a]\n", "[general]\n[pools]\n", "general = 1\npools = 2\n"])
def test_a_file_without_pools_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"pgcat\.toml.*: (pools|general)"):
        _import(tmp_path, text)


def test_pools_over_the_same_servers_share_a_cluster(tmp_path: Path) -> None:
    imported = _import(
        tmp_path,
        "[general]\n" + _pool("a", "u", "x") + _pool("b", "v", "y") + _pool("c", "u", "x", server="other"),
    )

    assert [cluster.name for cluster in imported.config.clusters] == ["a", "c"]
    assert [(entry.name, entry.cluster) for entry in imported.config.databases] == [("a", "a"), ("b", "a"), ("c", "c")]
    assert [user.name for user in imported.users or ()] == ["u", "v"]
    assert _unsafe(imported) == []


def test_pools_have_the_size_of_their_largest_user(tmp_path: Path) -> None:
    second = '[pools.a.users.1]\nusername = "v"\npassword = "y"\npool_size = 9\n'

    imported = _import(tmp_path, "[general]\n" + _pool("a", "u", "x", "pool_size = 3") + second)

    assert imported.config.databases[0].pool.max_size == 9
    (note,) = [note for note in imported.notes if note.fate is LOST]
    assert (note.problem.field, "is 3, but" in note.problem.message) == ("pools.a.users.0.pool_size", True)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (_pool("a", "u", "x") + _pool("b", "u", "y"), "pools.b.users.0"),
        (_pool("a", "u", "x", 'server_username = "s"') + _pool("b", "v", "y"), "pools.a.users"),
        (
            _pool("a", "u", "x", 'server_username = "s"') + '[pools.a.users.1]\nusername = "v"\npassword = "y"\n',
            "pools.a.users",
        ),
        (_pool("a", "u", "x") + '[pools.a.shards.1]\nservers = [["b", 1, "primary"]]\n', "pools.a.shards"),
        (_pool("a", "u", "x") + "[plugins.intercept]\nenabled = true\n", "plugins"),
    ],
)
def test_what_protects_somebody_is_not_served_without(tmp_path: Path, text: str, field: str) -> None:
    imported = _import(tmp_path, "[general]\n" + text)

    assert _unsafe(imported) == [field]
    with (
        loading(tmp_path / "pgcat.toml") as load,
        pytest.raises(ConfigError, match="must not go missing unseen"),
    ):
        load(tmp_path / "pgcat.toml")


def test_served_users_lie_in_a_private_file_for_as_long_as_they_are_served(tmp_path: Path) -> None:
    (tmp_path / "pgcat.toml").write_text("[general]\n" + _pool("a", "u", 'x\\"y'))

    with loading(tmp_path / "pgcat.toml") as load:
        users_file = Path(load(tmp_path / "pgcat.toml").config.auth.users_file or "")
        assert users_file.read_text() == '"u" "x""y"\n'
        assert users_file.parent.stat().st_mode & 0o077 == 0
    assert not users_file.exists()


def test_other_documents_are_not_taken_for_a_pgcat_toml() -> None:
    assert is_pgcat({"general": {}, "pools": {}})
    assert not is_pgcat({"general": {}, "pool": {}})
    assert PLUGINS is POOL["plugins"]
